package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
	"logagent/ui/termsafe"
)

func (a *app) configChangesVerb() *cobra.Command {
	var most int
	c := a.jsonFlag(&cobra.Command{
		Use:   "changes [ID]",
		Short: "List the changes of several documents, those that are not finished first",
		Long: `Lists changes of several documents, those that are not finished first, or tells what became of
each document of one. A stopped or interrupted change is taken up by config resume; what
it did is taken back by config reverse.`,
		Args:              args(0, 1, "config changes takes one id at most"),
		ValidArgsFunction: a.completeChanges,
	})
	c.Flags().IntVarP(&most, "number", "n", 20, "how `MANY`; 0: all there are")
	c.RunE = func(_ *cobra.Command, args []string) error {
		return a.withEtcd(func(ctx context.Context, _ *settings, client *etcdcfg.Client) error {
			if len(args) == 1 {
				return a.showChange(ctx, client, args[0])
			}
			sets, err := client.ChangeSets(ctx, 0)
			if err != nil {
				return err
			}
			for i, s := range sets {
				if s.State != etcdcfg.StateOpen {
					continue
				}
				whole, err := client.ChangeSet(ctx, s.ID) // only that tells who works on it
				switch {
				case errors.Is(err, etcdcfg.ErrNoChange): // removed meanwhile
				case err != nil:
					return err
				default:
					sets[i] = whole
					sets[i].Outcomes = nil
				}
			}
			return a.listChanges(sets, most)
		})
	}
	return c
}

func (a *app) listChanges(sets []etcdcfg.ChangeSet, most int) error {
	var open, done []etcdcfg.ChangeSet
	for _, s := range sets {
		if unfinished(s) {
			open = append(open, s)
		} else {
			done = append(done, s)
		}
	}
	sets = append(open, done...)
	if most > 0 && len(sets) > most {
		sets = sets[:max(most, len(open))] // what is not finished is never left out
	}
	if a.json {
		out := make([]changeSetOut, 0, len(sets))
		for _, s := range sets {
			out = append(out, changeSetOut{ChangeSet: s, Waiting: s.Waiting()})
		}
		return a.writeJSON(out)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tWHEN\tWHO\tKIND\tSTATE\tDOCUMENTS\tNOTE")
	for _, s := range sets {
		var notes []string
		for _, n := range []string{s.Note, s.Reason, driverWord(s), backWord(s)} {
			if n != "" {
				notes = append(notes, n)
			}
		}
		note := strings.Join(notes, "; ")
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.ID, timeWord(s.At), termsafe.Clean(s.Who.String()), termsafe.Clean(string(s.Kind)), s.State, progressWord(s), termsafe.Line(note))
	}
	return w.Flush()
}

// unfinished tells whether something is left to do with a change set that can be done.
func unfinished(s etcdcfg.ChangeSet) bool {
	return s.State != etcdcfg.StateDone && s.ReversedBy == ""
}

// driverWord is who works on an open change set.
func driverWord(s etcdcfg.ChangeSet) string {
	switch {
	case s.State != etcdcfg.StateOpen:
		return ""
	case s.Driver == "":
		return "nobody works on it"
	}
	return "worked on by " + s.Driver
}

func backWord(s etcdcfg.ChangeSet) string {
	if s.ReversedBy == "" {
		return ""
	}
	return "taken back by " + s.ReversedBy
}

// progressWord is how far a change set is.
func progressWord(s etcdcfg.ChangeSet) string {
	out := fmt.Sprintf("%d/%d", s.Done+s.Same, s.Documents)
	if s.Conflicts > 0 {
		out += fmt.Sprintf(" %s", counted(s.Conflicts, "conflict"))
	}
	return out
}

func (a *app) showChange(ctx context.Context, client *etcdcfg.Client, id string) error {
	s, err := client.ChangeSet(ctx, id)
	if err != nil {
		return err
	}
	if a.json {
		return a.writeJSON(changeSetOut{ChangeSet: s, Waiting: s.Waiting()})
	}
	fmt.Fprintln(a.stdout, outcomeWord(s))
	fmt.Fprintf(a.stdout, "%s by %s, %s", termsafe.Clean(string(s.Kind)), termsafe.Clean(s.Who.String()), timeWord(s.At))
	if s.Of != "" {
		fmt.Fprintf(a.stdout, ", of %s", termsafe.Clean(s.Of))
	}
	if word := driverWord(s); word != "" {
		fmt.Fprintf(a.stdout, ", %s", termsafe.Clean(word))
	}
	fmt.Fprintln(a.stdout)
	if s.Note != "" {
		fmt.Fprintf(a.stdout, "note: %s\n", termsafe.Line(s.Note))
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tREVISION\tRECORD\tPROBLEM")
	for _, o := range s.Outcomes {
		record := o.Record
		if record == "" {
			record = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", termsafe.Clean(o.Name), o.State, revisionWord(o.Revision), record, termsafe.Line(o.Error))
	}
	return w.Flush()
}

// changeVerb is a verb about one recorded change.
func (a *app) changeVerb(use, short, long string, do func(context.Context, *settings, *etcdcfg.Client, string) error) *cobra.Command {
	verb, _, _ := strings.Cut(use, " ")
	return a.jsonFlag(&cobra.Command{
		Use: use, Short: short, Long: long,
		Args:              args(1, 1, "config "+verb+" takes the id of a change; config changes lists them"),
		ValidArgsFunction: a.completeChanges,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.withEtcd(func(ctx context.Context, s *settings, client *etcdcfg.Client) error {
				return do(ctx, s, client, args[0])
			})
		},
	})
}

func (a *app) configResumeVerb() *cobra.Command {
	return a.changeVerb("resume ID", "Go on with a change that was interrupted or stopped",
		`Goes on with a change where it was interrupted or stopped, whoever began it. Documents that were
written stay, those that somebody else has changed meanwhile are merged or named as conflicts.`,
		func(ctx context.Context, s *settings, client *etcdcfg.Client, id string) error {
			return a.drive(ctx, s, client, id, false, nil)
		})
}

func (a *app) configStopVerb() *cobra.Command {
	var note string
	c := a.changeVerb("stop ID", "End the work on a change after the step that is on its way",
		`Ends the work on a change, whoever is at it. What was written stays; config resume goes on,
config reverse takes it back.`,
		func(ctx context.Context, _ *settings, client *etcdcfg.Client, id string) error {
			if err := client.Stop(ctx, id, change.Meta{Who: a.who(), Note: note}); err != nil {
				return err
			}
			set, err := client.ChangeSet(ctx, id)
			if err != nil {
				return err
			}
			return a.writeOutcome(set, nil)
		})
	c.Flags().StringVar(&note, "note", "", "why: a `TEXT`")
	return c
}
