package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
	"logagent/ui/termsafe"
)

func (a *app) configDiffVerb() *cobra.Command {
	var file string
	var exitCode bool
	c := a.jsonFlag(&cobra.Command{
		Use:   "diff -f FILE|-  |  diff HOST|@GROUP [ID [ID]]",
		Short: "Show by entry what a file would change, or what has changed",
		Long: `With -f: what config apply of the file would write.
With a host or @group: what the newest change of its document did; with one ID of its history:
what has changed since then; with two: what changed between them. ID^ is before that change,
now is what stands there.`,
		Args: func(_ *cobra.Command, args []string) error {
			if file != "" && len(args) > 0 || file == "" && (len(args) == 0 || len(args) > 3) {
				return usage("config diff takes -f FILE, or a host and at most two ids of its history")
			}
			return nil
		},
		ValidArgsFunction: a.completeRecords,
	})
	c.Flags().StringVarP(&file, "file", "f", "", "the `FILE` of documents; - is standard input")
	c.Flags().BoolVar(&exitCode, "exit-code", false, "exit 3 where there are differences")
	c.RunE = func(_ *cobra.Command, args []string) error {
		var fleet change.Fleet
		if file != "" {
			var err error
			if fleet, err = a.readFleet("diff", file); err != nil {
				return err
			}
		} else if err := etcdcfg.CheckName(args[0]); err != nil {
			return usage("host %q: %w", args[0], err)
		}
		return a.withEtcd(func(ctx context.Context, _ *settings, client *etcdcfg.Client) error {
			var o order
			var err error
			if file != "" {
				o, err = planFleet(ctx, client, fleet)
			} else {
				o, err = between(ctx, client, args[0], args[1:])
			}
			if err != nil {
				return err
			}
			return a.diff(ctx, client, o, exitCode)
		})
	}
	return c
}

// diff shows an order that nobody carries out.
func (a *app) diff(ctx context.Context, client *etcdcfg.Client, o order, exitCode bool) error {
	o.finish()
	if err := o.countHosts(ctx, client); err != nil {
		return err
	}
	switch {
	case len(o.plan.Problems) > 0:
		return problemsError(o.plan.Problems, 0)
	case a.json:
		if err := a.writeJSON(planJSON(&o)); err != nil {
			return err
		}
	case len(o.plan.Steps) == 0:
		if _, err := fmt.Fprintln(a.stdout, "no difference"); err != nil {
			return err
		}
	default:
		writeReview(a.stdout, &o)
	}
	if exitCode && len(o.plan.Steps) > 0 {
		return errDiffers
	}
	return nil
}

// between compares two moments of a document.
func between(ctx context.Context, client *etcdcfg.Client, name string, ids []string) (order, error) {
	from, to := "", etcdcfg.HistoryNow
	switch len(ids) {
	case 0:
		r, err := newestRecord(ctx, client, name)
		if err != nil {
			return order{}, err
		}
		return betweenRecord(name, r)
	case 1:
		from = ids[0]
	case 2:
		from, to = ids[0], ids[1]
	}
	before, _, err := client.Version(ctx, name, from)
	if err != nil {
		return order{}, err
	}
	after, _, err := client.Version(ctx, name, to)
	if err != nil {
		return order{}, err
	}
	return betweenTexts(name, 0, before, after)
}

// betweenTexts is an order that shows a difference; also between documents that nobody may
// write, because they are broken.
func betweenTexts(name string, base int64, before, after []byte) (order, error) {
	var o order
	if before == nil && after == nil || before != nil && after != nil && string(before) == string(after) {
		o.plan.Same = []string{name}
		return o, nil
	}
	diffs, err := differences(before, after)
	if err != nil {
		return o, fmt.Errorf("%s: %s", hostWord(name), termsafe.Line(err.Error()))
	}
	o.plan.Steps = []etcdcfg.Step{{Name: name, Base: base, Before: before, After: after, Diff: diffs}}
	return o, nil
}

// differences is change.Diff where what is broken has no entries.
func differences(before, after []byte) ([]change.EntryDiff, error) {
	return change.Diff(unbroken(before), unbroken(after))
}

func betweenRecord(name string, r change.Record) (order, error) {
	before, err := change.Unpack(r.Before)
	if err != nil {
		return order{}, fmt.Errorf("record %s of %s: %w", r.ID, name, err)
	}
	after, err := change.Unpack(r.After)
	if err != nil {
		return order{}, fmt.Errorf("record %s of %s: %w", r.ID, name, err)
	}
	return betweenTexts(name, r.Base, before, after)
}

// newestRecord is the newest one that changed the document.
func newestRecord(ctx context.Context, client *etcdcfg.Client, name string) (change.Record, error) {
	records, err := client.History(ctx, name, 0)
	if err != nil {
		return change.Record{}, err
	}
	for _, r := range records {
		if r.Kind != change.KindSeek {
			return r, nil
		}
	}
	return change.Record{}, fmt.Errorf("%s has no history", hostWord(name))
}
