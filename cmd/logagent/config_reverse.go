package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

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
		writeReview(a.stdout, &o)
		if len(o.plan.Steps) == 0 {
			return fmt.Errorf("nothing of change %s can be taken back", id)
		}
		if err := a.confirm(ctx, w, len(o.plan.Steps)); err != nil {
			return err
		}
	}
	m := change.Meta{Who: a.who(), Note: w.note}
	back, err := client.Reverse(ctx, id, m)
	if err != nil {
		return err
	}
	return a.drive(ctx, s, client, back, w.yes, nil)
}

// reverseOrder plans the taking back on the documents as they are now, as the change set that does
// it will: entry by entry, and what somebody else has changed since is named.
func reverseOrder(ctx context.Context, client *etcdcfg.Client, set etcdcfg.ChangeSet) (order, error) {
	o := order{kind: change.KindReverse}
	if set.State == etcdcfg.StateOpen {
		return o, fmt.Errorf("change %s is not finished, stop it first: logagent config stop %[1]s", set.ID)
	}
	done := slices.DeleteFunc(slices.Clone(set.Outcomes), func(out etcdcfg.Outcome) bool { return out.State != etcdcfg.StepDone })
	if len(done) == 0 {
		return o, fmt.Errorf("change %s changed no document: nothing to take back", set.ID)
	}
	named := make(map[string]bool, len(done))
	for _, out := range done {
		named[out.Name] = true
	}
	docs, _, err := client.Documents(ctx, func(name string) bool { return named[name] })
	if err != nil {
		return o, err
	}
	now := make(map[string]etcdcfg.Document, len(docs))
	for _, d := range docs {
		now[d.Name] = d
	}
	backs := make([]takeBack, len(done))
	var wg sync.WaitGroup
	slots := make(chan struct{}, historyReads)
	for i, out := range done {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			backs[i] = readTakeBack(ctx, client, out)
		})
	}
	wg.Wait()
	for i, out := range done {
		b := backs[i]
		switch {
		case errors.Is(b.err, etcdcfg.ErrNoRecord):
			o.refuse(out.Name, fmt.Errorf("the history holds record %s no more", out.Record))
			continue
		case b.err != nil:
			return o, b.err
		}
		d := now[out.Name]
		text, err := change.Merge(out.Name, b.after, b.before, d.Raw)
		if err != nil {
			o.refuse(out.Name, err)
			continue
		}
		one, err := betweenTexts(out.Name, d.Revision, d.Raw, text)
		if err != nil {
			return o, err
		}
		o.add(one.plan)
	}
	o.finish()
	return o, o.countHosts(ctx, client)
}

// takeBack is a document before and after a change of it.
type takeBack struct {
	before, after []byte
	err           error
}

func readTakeBack(ctx context.Context, client *etcdcfg.Client, out etcdcfg.Outcome) (b takeBack) {
	if b.before, _, b.err = client.Version(ctx, out.Name, out.Record+"^"); b.err == nil {
		b.after, _, b.err = client.Version(ctx, out.Name, out.Record)
	}
	return b
}
