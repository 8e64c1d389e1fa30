package main

import (
	"context"

	"github.com/spf13/cobra"

	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
)

func (a *app) configReverseVerb() *cobra.Command {
	var w writeFlags
	c := a.changeVerb("reverse ID", "Take back what a change of several documents did",
		`Takes back what a change did, document by document: one that nobody has changed since gets back the
bytes it had. Where somebody has changed the same entry since, the document is left as it is and
named. It is a change itself, and can be reversed too.`,
		func(ctx context.Context, s *settings, client *etcdcfg.Client, id string) error {
			return a.reverse(ctx, s, client, w, id)
		})
	w.add(c)
	return c
}

func (a *app) reverse(ctx context.Context, s *settings, client *etcdcfg.Client, w writeFlags, id string) error {
	set, err := client.ChangeSet(ctx, id)
	if err != nil {
		return err
	}
	if w.dryRun || a.asks() && !w.yes {
		o, err := reverseOrder(ctx, client, set)
		if err != nil {
			return err
		}
		if w.dryRun {
			return a.dryRun(&o)
		}
		writeReview(a.stdout, &o, mostGroups)
	}
	if err := a.confirm(ctx, w, set.Done); err != nil {
		return err
	}
	m := change.Meta{Who: a.who(), Note: w.note}
	back, err := client.Reverse(ctx, id, m)
	if err != nil {
		return err
	}
	return a.drive(ctx, s, client, back, w.yes, nil)
}

// reverseOrder shows what taking back means for the documents as they were left; what somebody
// else did since is not looked at, it may even be done while this is read.
func reverseOrder(ctx context.Context, client *etcdcfg.Client, set etcdcfg.ChangeSet) (order, error) {
	var o order
	for _, out := range set.Outcomes {
		if out.State != etcdcfg.StepDone {
			continue
		}
		before, _, err := client.Version(ctx, out.Name, out.Record+"^")
		if err != nil {
			return o, err
		}
		after, _, err := client.Version(ctx, out.Name, out.Record)
		if err != nil {
			return o, err
		}
		one, err := betweenTexts(out.Name, out.Revision, after, before)
		if err != nil {
			return o, err
		}
		o.add(one.plan)
	}
	o.finish()
	return o, o.countHosts(ctx, client)
}
