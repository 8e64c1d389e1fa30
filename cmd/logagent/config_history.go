package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
	"logagent/ui/termsafe"
)

func (a *app) configHistoryVerb() *cobra.Command {
	var most int
	var long bool
	c := a.jsonFlag(&cobra.Command{
		Use:   "history [HOST|@GROUP]",
		Short: "List what was changed, by whom, when and why, newest first",
		Long: `Lists the changes of one document, or the newest of all. A document that was written by other
means (etcdctl, a restored backup) is found at its next change, and stands in the history of that
document as outside; the list of all leaves such ones out.
config get HOST --at ID writes the document as it was after a change, ID^ as it was before;
config rollback HOST ID goes back to it.`,
		Args:              args(0, 1, "config history takes one host or @group at most"),
		ValidArgsFunction: a.completeHost,
	})
	c.Flags().IntVarP(&most, "number", "n", 20, "how `MANY`; 0: all there are")
	c.Flags().BoolVarP(&long, "long", "l", false, "with every difference")
	c.RunE = func(_ *cobra.Command, args []string) error {
		if most < 0 {
			return usage("-n %d: how many, 0 for all", most)
		}
		if len(args) > 0 {
			if err := etcdcfg.CheckName(args[0]); err != nil {
				return usage("host %q: %w", args[0], err)
			}
		}
		return a.withEtcd(func(ctx context.Context, _ *settings, client *etcdcfg.Client) error {
			var records []change.Record
			var err error
			if len(args) > 0 {
				records, err = client.History(ctx, args[0], most)
			} else {
				records, err = client.Recent(ctx, most)
			}
			if err != nil {
				return err
			}
			if len(args) > 0 && len(records) == 0 {
				if _, revision, err := client.Get(ctx, args[0]); err != nil {
					return err
				} else if revision == 0 {
					return fmt.Errorf("%s has no history and no document", hostWord(args[0]))
				}
			}
			if err := a.writeHistory(records, len(args) == 0, long); err != nil {
				return err
			}
			if len(args) == 0 && !a.json {
				fmt.Fprintln(a.stderr, "logagent: what was written by other means is left out here: config history HOST tells it")
			}
			return nil
		})
	}
	c.AddCommand(a.configHistoryShowVerb())
	return c
}

// recordOut is one record of the history as --json writes it.
type recordOut struct {
	ID       string             `json:"id"`
	Name     string             `json:"name"`
	At       time.Time          `json:"at"`
	Who      change.Who         `json:"who"`
	Kind     change.Kind        `json:"kind"`
	Note     string             `json:"note,omitempty"`
	Of       string             `json:"of,omitempty"`
	Change   string             `json:"change,omitempty"`
	Base     int64              `json:"base"`
	Revision int64              `json:"revision"`
	Entries  []change.EntryDiff `json:"entries"`
	Words    []string           `json:"words,omitempty"`   // what the entries do not tell
	Problem  string             `json:"problem,omitempty"` // why the entries are not known
}

func recordJSON(r change.Record) recordOut {
	o := recordOut{ID: r.ID, Name: r.Name, At: r.At, Who: r.Who, Kind: r.Kind, Note: r.Note, Of: r.Of,
		Change: r.Change, Base: r.Base, Revision: r.Revision, Entries: []change.EntryDiff{}}
	diffs, words, err := recordDiff(r)
	o.Words = words
	if err != nil {
		o.Problem = err.Error()
	} else if len(diffs) > 0 {
		o.Entries = diffs
	} else {
		o.Problem = strings.Join(words, "; ")
	}
	return o
}

// recordDiff is what a record changed, and what the entries do not tell.
func recordDiff(r change.Record) ([]change.EntryDiff, []string, error) {
	if r.Kind == change.KindSeek {
		return nil, []string{"positions of files"}, nil
	}
	o, err := betweenRecord(r.Name, r)
	if err != nil || len(o.plan.Steps) == 0 {
		return nil, nil, err
	}
	s := &o.plan.Steps[0]
	return s.Diff, stepWords(s), nil
}

// recordLines tell people what a record changed.
func recordLines(r change.Record) []string {
	diffs, words, err := recordDiff(r)
	if err != nil {
		words = append(words, err.Error())
	}
	var out []string
	for _, w := range words {
		out = append(out, termsafe.Line(w))
	}
	return append(out, diffLines(diffs)...)
}

func (a *app) writeHistory(records []change.Record, names, long bool) error {
	if a.json {
		out := make([]recordOut, 0, len(records))
		for _, r := range records {
			out = append(out, recordJSON(r))
		}
		return a.writeJSON(out)
	}
	if long {
		for i, r := range records {
			if i > 0 {
				fmt.Fprintln(a.stdout)
			}
			a.writeRecord(r)
		}
		return nil
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	name := ""
	if names {
		name = "NAME\t"
	}
	fmt.Fprintf(w, "ID\tWHEN\tWHO\tKIND\tREVISION\t%sCHANGE\n", name)
	for _, r := range records {
		if names {
			name = termsafe.Clean(r.Name) + "\t"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s%s\n", termsafe.Clean(r.ID), recordTime(r), termsafe.Clean(whoWord(r)), termsafe.Clean(string(r.Kind)),
			revisionWord(r.Revision), name, summaryWord(r))
	}
	return w.Flush()
}

// recordTime is when a change was made; of one that was found, the latest it can have been.
func recordTime(r change.Record) string {
	if r.Kind == change.KindOutside {
		return "by " + timeWord(r.At)
	}
	return timeWord(r.At)
}

func revisionWord(revision int64) string {
	if revision == 0 {
		return "-"
	}
	return fmt.Sprint(revision)
}

// summaryWord is a record in one line: its first difference, how many more, and the note.
func summaryWord(r change.Record) string {
	lines := recordLines(r)
	out := ""
	if len(lines) > 0 {
		out = lines[0]
	}
	if n := len(lines); n > 1 {
		out += fmt.Sprintf(" (and %d more)", n-1)
	}
	if r.Note != "" {
		out += "  # " + termsafe.Line(r.Note)
	}
	return out
}

// writeRecord writes all there is of a record.
func (a *app) writeRecord(r change.Record) {
	fmt.Fprintf(a.stdout, "%s  %s  revision %s\n", termsafe.Clean(r.ID), termsafe.Clean(r.Name), revisionWord(r.Revision))
	fmt.Fprintf(a.stdout, "%s by %s, %s", termsafe.Clean(string(r.Kind)), termsafe.Clean(whoWord(r)), recordTime(r))
	if r.Of != "" {
		fmt.Fprintf(a.stdout, ", of %s", termsafe.Clean(r.Of))
	}
	if r.Change != "" {
		fmt.Fprintf(a.stdout, ", part of change %s", termsafe.Clean(r.Change))
	}
	fmt.Fprintln(a.stdout)
	if r.Note != "" {
		fmt.Fprintf(a.stdout, "note: %s\n", termsafe.Line(r.Note))
	}
	for _, l := range recordLines(r) {
		fmt.Fprintf(a.stdout, "  %s\n", l)
	}
}

func (a *app) configHistoryShowVerb() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "show [HOST|@GROUP] ID",
		Short: "Show one change with every difference",
		Long: `Shows one change. Its id alone is looked for in the histories of all documents, which takes a
moment where there are many.`,
		Args:              args(1, 2, "config history show takes the id of a change, with its host before it or not"),
		ValidArgsFunction: a.completeRecords,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.withEtcd(func(ctx context.Context, _ *settings, client *etcdcfg.Client) error {
				id := args[len(args)-1]
				var r change.Record
				var err error
				if len(args) == 2 {
					r, err = recordOf(ctx, client, args[0], id)
				} else {
					r, err = client.FindRecord(ctx, id)
				}
				if err != nil {
					return err
				}
				if a.json {
					return a.writeJSON(recordJSON(r))
				}
				a.writeRecord(r)
				return nil
			})
		},
	})
}

func recordOf(ctx context.Context, client *etcdcfg.Client, name, id string) (change.Record, error) {
	records, err := client.History(ctx, name, 0)
	if err != nil {
		return change.Record{}, err
	}
	for _, r := range records {
		if r.ID == id {
			return r, nil
		}
	}
	return change.Record{}, fmt.Errorf("%s of %s: %w; config history %s lists what there is", id, name, etcdcfg.ErrNoRecord, shellWord(name))
}

func (a *app) configRollbackVerb() *cobra.Command {
	var w writing
	c := a.jsonFlag(&cobra.Command{
		Use:   "rollback HOST|@GROUP [ID]",
		Short: "Make a document what it was before its newest change, or after any change of its history",
		Long: `Makes a document what it was before its newest change; with an ID of its history, what it was
after that change (ID^: before it). It is a change like any other: it is shown first, it has its
own place in the history, and it can be taken back. A document that did not exist then is deleted.`,
		Args:              args(1, 2, "config rollback takes a host or @group, and an id of its history"),
		ValidArgsFunction: a.completeRecords,
	})
	w.writeFlags.add(c)
	c.RunE = func(_ *cobra.Command, args []string) error {
		name := args[0]
		if err := etcdcfg.CheckName(name); err != nil {
			return usage("host %q: %w", name, err)
		}
		return a.withEtcd(func(ctx context.Context, s *settings, client *etcdcfg.Client) error {
			o, err := rollbackOrder(ctx, client, name, args[1:])
			if err != nil {
				return err
			}
			return a.write(ctx, s, client, w, o)
		})
	}
	return c
}

func rollbackOrder(ctx context.Context, client *etcdcfg.Client, name string, ids []string) (order, error) {
	o := order{kind: change.KindRollback, pinned: true, exact: true}
	now, revision, err := client.Get(ctx, name)
	if err != nil {
		return o, err
	}
	if revision == 0 {
		now = nil
	}
	o.revision = revision
	var then []byte
	if len(ids) > 0 {
		o.of = ids[0]
		then, _, err = client.Version(ctx, name, o.of)
		if errors.Is(err, etcdcfg.ErrNoRecord) {
			err = fmt.Errorf("%w; config history %s lists what there is", err, shellWord(name))
		}
	} else {
		then, o.of, err = beforeNewest(ctx, client, name)
	}
	if err != nil {
		return o, err
	}
	if then != nil {
		if _, _, err := agent.ParseDocument(then); err != nil {
			return o, fmt.Errorf("the document of %s was broken then and is not written: %w", name, err)
		}
	}
	p, err := betweenTexts(name, revision, now, then)
	o.add(p.plan)
	return o, err
}

// beforeNewest is the document as it was before its newest change, and the id of that moment.
func beforeNewest(ctx context.Context, client *etcdcfg.Client, name string) (raw []byte, id string, err error) {
	records, err := client.History(ctx, name, 0)
	if err != nil {
		return nil, "", err
	}
	for i, r := range records {
		if r.Kind == change.KindSeek {
			continue
		}
		if raw, err = change.Unpack(r.Before); err != nil {
			return nil, "", fmt.Errorf("record %s of %s: %w", r.ID, name, err)
		}
		if r.Kind != change.KindOutside {
			return raw, r.ID + "^", nil
		}
		for _, older := range records[i+1:] {
			if older.Kind != change.KindSeek {
				return raw, older.ID, nil
			}
		}
		return nil, "", fmt.Errorf("nothing is known of %s from before it was first changed from here", hostWord(name))
	}
	return nil, "", fmt.Errorf("%s has no history", hostWord(name))
}
