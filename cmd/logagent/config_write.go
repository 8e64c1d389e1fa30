package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
	"logagent/ui/termsafe"
)

// manyHelp is what every verb says that writes any number of documents.
const manyHelp = `What changes is shown first, with what it comes to. On a terminal it is asked for, above 20
documents by typing their number; a script writes at once. Up to 63 documents are written in
one transaction of etcd. More, and those with --canary, are a recorded change that is made
in steps: config changes lists them, config resume goes on with one, config reverse takes back
what is done.`

// writing is the flags of a verb that writes documents.
type writing struct {
	writeFlags
	rollout rolloutFlags
	sel     selectFlags
	skip    bool
}

// add gives a verb the flags of one that writes any number of documents.
func (w *writing) add(c *cobra.Command) {
	w.writeFlags.add(c)
	w.rollout.add(c)
	c.PreRunE = func(*cobra.Command, []string) error { return cmp.Or(w.check(), w.rollout.check()) }
	c.Flags().BoolVar(&w.skip, "skip", false, "leave out documents that it cannot be done to, instead of doing nothing")
}

// order is what a verb wants written.
type order struct {
	kind   change.Kind // "" means KindEdit
	of     string      // of a rollback: the record
	plan   etcdcfg.Plan
	exact  bool // a single document: written on the very revision that it was planned on
	pinned bool // one document that was named: a script reads one line, saved KEY at revision N
	// revision of the single document, for when it is as it should be.
	revision int64
	// hosts counts those that follow each group of the plan: a change of its document reaches
	// them all.
	hosts map[string]int
	// reached counts the hosts that the plan reaches, known with hosts.
	reached int
	// instead are entries by host and log_path that the plan gives a host of its own, as it had
	// them from its group.
	instead map[string]map[string]json.RawMessage
}

// change plans edits of one document.
func (o *order) change(d etcdcfg.Document, edits []change.Edit) {
	o.revision = d.Revision
	if len(edits) == 0 {
		o.plan.Same = append(o.plan.Same, d.Name)
		return
	}
	o.add(etcdcfg.PlanEdits([]etcdcfg.Document{d}, edits))
}

func (o *order) add(p etcdcfg.Plan) {
	o.plan.Steps = append(o.plan.Steps, p.Steps...)
	o.plan.Same = append(o.plan.Same, p.Same...)
	o.plan.Problems = append(o.plan.Problems, p.Problems...)
}

// refuse notes why nothing can be done to a document.
func (o *order) refuse(name string, err error) {
	o.plan.Problems = append(o.plan.Problems, etcdcfg.Problem{Name: name, Err: err})
}

// finish sorts the plan and sums it up.
func (o *order) finish() {
	p := &o.plan
	slices.SortFunc(p.Steps, func(a, b etcdcfg.Step) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(p.Problems, func(a, b etcdcfg.Problem) int { return strings.Compare(a.Name, b.Name) })
	slices.Sort(p.Same)
	o.sumUp()
}

// sumUp tells what the plan comes to on all hosts that follow its documents.
func (o *order) sumUp() {
	parts := make([]change.Part, len(o.plan.Steps))
	for i := range parts {
		s := &o.plan.Steps[i]
		parts[i] = change.Part{Diff: s.Diff, Hosts: 1, Instead: o.instead[s.Name]}
		if n, ok := o.followers(s.Name); ok {
			parts[i].Hosts = n
		}
	}
	o.plan.Effect = change.EffectOn(parts)
	if o.plan.Effect.Documents > 0 {
		o.plan.Effect.Hosts = o.reached
	}
}

// countHosts learns how many hosts follow the groups whose documents are to be changed.
func (o *order) countHosts(ctx context.Context, client *etcdcfg.Client) error {
	if !slices.ContainsFunc(o.plan.Steps, func(s etcdcfg.Step) bool { return strings.HasPrefix(s.Name, "@") }) {
		return nil
	}
	groups, err := client.Groups(ctx, nil)
	if err != nil {
		return err
	}
	o.hosts = make(map[string]int)
	reached := make(map[string]bool)
	for _, s := range o.plan.Steps {
		if !strings.HasPrefix(s.Name, "@") {
			reached[s.Name] = true
		}
	}
	for host, in := range groups {
		for _, g := range in {
			o.hosts[g]++
			reached[host] = reached[host] || slices.ContainsFunc(o.plan.Steps, func(s etcdcfg.Step) bool { return s.Name == g })
		}
	}
	for _, is := range reached {
		if is {
			o.reached++
		}
	}
	o.sumUp()
	return nil
}

// write reviews an order and carries it out: a document that was named by itself in one write,
// others as a change set.
func (a *app) write(ctx context.Context, s *settings, client *etcdcfg.Client, w writing, o order) error {
	o.finish()
	if len(o.plan.Problems) > 0 {
		if !w.skip || len(o.plan.Steps)+len(o.plan.Same) == 0 {
			return problemsError(o.plan.Problems, len(o.plan.Steps))
		}
		for _, p := range o.plan.Problems {
			for i, line := range strings.Split(p.Err.Error(), "\n") {
				if i == 0 {
					line = "left out: " + p.Name + ": " + line
				}
				fmt.Fprintf(a.stderr, "logagent: %s\n", termsafe.Clean(line))
			}
		}
	}
	if len(o.plan.Steps) == 0 {
		return a.nothingToDo(ctx, s, client, &o, w.writeFlags)
	}
	shown := !a.json && (a.asks() || !o.pinned)
	if shown || w.dryRun || !o.pinned || a.asks() && !w.yes {
		if err := o.countHosts(ctx, client); err != nil {
			return err
		}
	}
	if w.dryRun {
		return a.dryRun(&o)
	}
	switch {
	case a.asks() && !w.yes && a.json: // what is asked for must be seen
		writeReview(a.stderr, &o)
	case a.asks() && !w.yes:
		writeReview(a.stdout, &o)
	case shown:
		writeReview(a.stdout, &o)
	}
	if err := a.confirm(ctx, w.writeFlags, len(o.plan.Steps)); err != nil {
		return err
	}
	m := change.Meta{Who: a.who(), Note: w.note, Kind: cmp.Or(o.kind, change.KindEdit), Of: o.of}
	if o.pinned && len(o.plan.Steps) == 1 && !w.rollout.set() {
		return a.writeOne(ctx, s, client, &o, m)
	}
	return a.writeMany(ctx, s, client, w, o.plan, m)
}

// dryRun shows a plan.
func (a *app) dryRun(o *order) error {
	if a.json {
		out := planJSON(o)
		out.State = statePlanned
		return a.writeJSON(out)
	}
	writeReview(a.stdout, o)
	_, err := fmt.Fprintln(a.stdout, "dry run: nothing was written")
	return err
}

// What --json says in "state" of what was asked for; a change set has more words of its own.
const (
	stateDone      = "done"
	stateUnchanged = "unchanged" // it was so already
	statePlanned   = "planned"   // by --dry-run
)

// planOut is what --dry-run --json writes.
type planOut struct {
	State   string        `json:"state,omitempty"`
	Changes []changeOut   `json:"changes"`
	Same    []string      `json:"same"` // stay as they are
	Effect  change.Effect `json:"effect"`
	// Conflicts are documents that are left as they are, of a change that is to be taken back.
	Conflicts []conflictOut `json:"conflicts,omitempty"`
}

type conflictOut struct {
	Name    string `json:"name"`
	Problem string `json:"problem"`
}

func planJSON(o *order) planOut {
	out := planOut{Changes: changesJSON(o), Same: append([]string{}, o.plan.Same...), Effect: o.plan.Effect}
	for _, p := range o.plan.Problems {
		if o.kind != change.KindReverse {
			break
		}
		out.Conflicts = append(out.Conflicts, conflictOut{p.Name, p.Err.Error()})
	}
	return out
}

// nothingToDo ends a verb whose documents are as they should be. A script that sets one document
// gets the line it reads.
func (a *app) nothingToDo(ctx context.Context, s *settings, client *etcdcfg.Client, o *order, w writeFlags) error {
	switch {
	case w.dryRun && a.json, a.json && !o.pinned:
		out := planJSON(o)
		out.State = stateUnchanged
		return a.writeJSON(out)
	case o.pinned && len(o.plan.Same) == 1 && (a.json || !a.asks() && !w.dryRun):
		name := o.plan.Same[0]
		if err := a.saved(client.Layout().Config(name), name, o.revision, stateUnchanged); err != nil {
			return err
		}
		a.sayIdle(ctx, s, client, name)
		return nil
	}
	what := "everything"
	if len(o.plan.Problems) > 0 {
		what = "the rest"
	}
	_, err := fmt.Fprintf(a.stdout, "nothing to change: %s is as it should be\n", what)
	return err
}

// mostProblems is how many documents an error names.
const mostProblems = 20

// problemsError names the documents that something cannot be done to.
func problemsError(problems []etcdcfg.Problem, others int) error {
	var errs []error
	for i, p := range problems {
		if i == mostProblems && len(problems) > mostProblems+1 {
			errs = append(errs, fmt.Errorf("and %d more", len(problems)-i))
			break
		}
		errs = append(errs, problemWords(p))
	}
	if others > 0 {
		errs = append(errs, fmt.Errorf("nothing was written; --skip leaves %s out and writes the other %d", counted(len(problems), "document"), others))
	}
	return errors.Join(errs...)
}

// problemWords puts the name before what is wrong, unless that begins with it.
func problemWords(p etcdcfg.Problem) error {
	var lines []string
	for i, line := range strings.Split(p.Err.Error(), "\n") {
		line = termsafe.Clean(line)
		if i == 0 && !strings.HasPrefix(line, p.Name+":") && !strings.HasPrefix(line, hostWord(p.Name)+" ") && !strings.Contains(line, " of "+p.Name+" ") {
			line = hostWord(termsafe.Clean(p.Name)) + ": " + line
		}
		lines = append(lines, line)
	}
	return errors.New(strings.Join(lines, "\n"))
}

// writeOne writes the single document of an order.
func (a *app) writeOne(ctx context.Context, s *settings, client *etcdcfg.Client, o *order, m change.Meta) error {
	step := &o.plan.Steps[0]
	var revision int64
	var err error
	if o.exact {
		revision, err = client.Save(ctx, step.Name, step.After, step.Base, m)
	} else {
		revision, err = client.Edit(ctx, step.Name, step.Edits, m)
	}
	if err != nil {
		return err
	}
	if err := a.saved(client.Layout().Config(step.Name), step.Name, revision, stateDone); err != nil {
		return err
	}
	if step.After != nil {
		a.sayIdle(ctx, s, client, step.Name)
	}
	return nil
}
