package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
	"logagent/ui/termsafe"
)

// rolloutFlags say how a change of several documents goes out.
type rolloutFlags struct {
	canary, wave int
	healthy      time.Duration
	growth       sizeFlag
}

func (r *rolloutFlags) add(c *cobra.Command) {
	r.healthy, r.growth = time.Minute, 64<<20
	c.Flags().IntVar(&r.canary, "canary", 0, "to this `MANY` hosts first; go on in waves once they run it and stay well")
	c.Flags().IntVar(&r.wave, "wave", 0, "hosts of each wave behind the canary (default: a tenth of them)")
	c.Flags().DurationVar(&r.healthy, "healthy", r.healthy, "how long the hosts of a wave must be well before the next")
	c.Flags().Var(&r.growth, "max-lag-growth", "by how much a host's lag may grow in that time: a `SIZE`; -1 for any")
}

// set tells whether the change goes out in waves.
func (r *rolloutFlags) set() bool { return r.canary > 0 }

func (r *rolloutFlags) check() error {
	switch {
	case r.canary < 0 || r.wave < 0:
		return usage("--canary and --wave are numbers of hosts, from 0")
	case r.canary > 0 && r.healthy <= 0:
		return usage("--healthy %s: a time above 0, such as 60s", r.healthy)
	case r.canary == 0 && r.wave > 0:
		return usage("--wave is for what goes out behind a --canary")
	}
	return nil
}

// options of a change set. Of the library's numbers 0 means the default.
func (r *rolloutFlags) options(m change.Meta) etcdcfg.StartOptions {
	o := etcdcfg.StartOptions{Meta: m, Canary: r.canary, Wave: r.wave, Healthy: r.healthy, MaxLagGrowthBytes: int64(r.growth)}
	if o.MaxLagGrowthBytes == 0 {
		o.MaxLagGrowthBytes = 1 // 0 would mean the default: no more than a byte comes next
	}
	return o
}

// sizeFlag is a number of bytes on the command line; -1 is any.
type sizeFlag int64

var _ pflag.Value = (*sizeFlag)(nil)

func (f *sizeFlag) Set(text string) error {
	if text == "-1" {
		*f = -1
		return nil
	}
	n, err := parseSize(text, 0, 1<<50)
	*f = sizeFlag(n)
	return err
}

func (f *sizeFlag) String() string {
	if n := int64(*f); n >= 1<<20 && n%(1<<20) == 0 {
		return strconv.FormatInt(n>>20, 10) + "MiB"
	}
	return strconv.FormatInt(int64(*f), 10)
}

func (*sizeFlag) Type() string { return "SIZE" }

// changeSetOut is a change set as --json writes it.
type changeSetOut struct {
	etcdcfg.ChangeSet
	Waiting int            `json:"waiting"`
	Effect  *change.Effect `json:"effect,omitempty"`
}

// writeMany records a change of several documents and carries it out.
func (a *app) writeMany(ctx context.Context, s *settings, client *etcdcfg.Client, w writing, p etcdcfg.Plan, m change.Meta) error {
	id, err := client.Start(ctx, p, w.rollout.options(m))
	if err != nil {
		if id != "" {
			err = fmt.Errorf("%w; config changes tells whether it was, config resume %s goes on with it", err, id)
		}
		return err
	}
	return a.drive(ctx, s, client, id, w.yes, &p.Effect)
}

// drive carries out what is left of a change set and says what became of it.
func (a *app) drive(ctx context.Context, s *settings, client *etcdcfg.Client, id string, yes bool, effect *change.Effect) error {
	set, err := client.ChangeSet(ctx, id)
	if err != nil {
		return err
	}
	if set.State != etcdcfg.StateDone {
		if set, err = a.driveOn(ctx, s, client, set); err != nil {
			return a.undriven(ctx, set, err)
		}
	}
	if err := a.writeOutcome(set, effect); err != nil {
		return err
	}
	switch {
	case set.State == etcdcfg.StateStopped:
		return a.offerReverse(ctx, s, client, set, yes)
	case set.Conflicts > 0:
		return errSaid
	}
	return nil
}

// driveOn works on a change set until it is done, stops, or ctx ends.
func (a *app) driveOn(ctx context.Context, s *settings, client *etcdcfg.Client, set etcdcfg.ChangeSet) (etcdcfg.ChangeSet, error) {
	o := etcdcfg.DriveOptions{Who: a.who()}
	told := &driveLines{a: a}
	o.Progress = told.say
	if set.Rollout != nil {
		h, err := newHealth(s, client)
		if err != nil {
			return set, err
		}
		defer h.start(ctx)()
		o.Health = h.of
	} else {
		fmt.Fprintf(a.stderr, "logagent: change %s: %s, in steps: it is not atomic, and can be resumed and reversed\n", set.ID, counted(set.Documents, "document"))
	}
	return client.Drive(ctx, set.ID, o)
}

// undriven says what is left of a change set whose driver was ended.
func (a *app) undriven(ctx context.Context, set etcdcfg.ChangeSet, err error) error {
	if errors.Is(err, etcdcfg.ErrDriven) {
		return fmt.Errorf("%w; it goes on there, config changes tells how far it is", err)
	}
	if errors.Is(err, etcdcfg.ErrReversed) {
		return err
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	return fmt.Errorf("%w: change %s has written %d of %s\n  logagent config resume %s    goes on with it\n  logagent config stop %s && logagent config reverse %s    takes back what is done",
		err, set.ID, set.Done, counted(set.Documents, "document"), set.ID, set.ID, set.ID)
}

// How often a wait that goes on is told, and steps that follow each other quickly.
const (
	driveEvery = 5 * time.Second
	stepEvery  = time.Second
)

// driveLines writes how far a change set is, a line for every step and now and then one for a
// wait.
type driveLines struct {
	a    *app
	last string    // what was told, without the numbers of a wait
	at   time.Time // when
}

func (l *driveLines) say(s etcdcfg.ChangeSet) {
	line := fmt.Sprintf("%d of %d written", s.Done+s.Same, s.Documents)
	if s.Conflicts > 0 {
		line += fmt.Sprintf(", %s", counted(s.Conflicts, "conflict"))
	}
	what := line
	if s.Doing != "" {
		line += ": " + s.Doing
		what += strings.Map(func(r rune) rune { // a wait that grows shorter is the same wait
			if r >= '0' && r <= '9' || strings.ContainsRune("hms.", r) {
				return -1
			}
			return r
		}, s.Doing)
	}
	now := time.Now()
	if what == l.last && now.Sub(l.at) < driveEvery || s.Doing == "" && s.Waiting() > 0 && now.Sub(l.at) < stepEvery {
		return
	}
	l.last, l.at = what, now
	fmt.Fprintf(l.a.stderr, "logagent: change %s: %s\n", s.ID, termsafe.Line(line))
}

// writeOutcome says what became of a change set.
func (a *app) writeOutcome(set etcdcfg.ChangeSet, effect *change.Effect) error {
	if a.json {
		return a.writeJSON(changeSetOut{set, set.Waiting(), effect})
	}
	fmt.Fprintln(a.stdout, outcomeWord(set))
	n := 0
	for _, o := range set.Outcomes {
		if o.State != etcdcfg.StepConflict {
			continue
		}
		if n++; n > mostProblems {
			fmt.Fprintf(a.stdout, "  and %d more conflicts: config changes %s lists them\n", set.Conflicts-mostProblems, set.ID)
			break
		}
		fmt.Fprintf(a.stdout, "  conflict: %s\n", termsafe.Line(problemWords(etcdcfg.Problem{Name: o.Name, Err: errors.New(o.Error)}).Error()))
	}
	return nil
}

// outcomeWord is a change set in one line.
func outcomeWord(s etcdcfg.ChangeSet) string {
	line := fmt.Sprintf("change %s %s: %d of %s written", s.ID, s.State, s.Done, counted(s.Documents, "document"))
	if s.Atomic {
		line += " in one transaction"
	}
	if s.Same > 0 {
		line += fmt.Sprintf(", %d already as wanted", s.Same)
	}
	if s.Conflicts > 0 {
		line += fmt.Sprintf(", %s left as they are", counted(s.Conflicts, "conflict"))
	}
	if n := s.Waiting(); n > 0 {
		line += fmt.Sprintf(", %d not touched", n)
	}
	if s.Reason != "" {
		line += "; " + s.Reason
	}
	return termsafe.Line(line)
}

// offerReverse tells how to take back what a change set did that stopped, and does it where
// somebody on the terminal wants it.
func (a *app) offerReverse(ctx context.Context, s *settings, client *etcdcfg.Client, set etcdcfg.ChangeSet, yes bool) error {
	if set.Done == 0 {
		fmt.Fprintf(a.stderr, "logagent: nothing was written; config resume %s tries again\n", set.ID)
		return errSaid
	}
	fmt.Fprintf(a.stderr, "logagent: logagent config reverse %s takes back what is done, config resume %s goes on\n", set.ID, set.ID)
	if yes || !a.asks() {
		return errSaid
	}
	answer, err := a.ask(ctx, fmt.Sprintf("Take back what is done, on %s? [y/N] ", counted(set.Done, "host")))
	if err != nil || !isYes(answer) {
		return errors.Join(err, errSaid)
	}
	id, err := client.Reverse(ctx, set.ID, change.Meta{Who: a.who(), Note: "the change stopped: " + set.Reason})
	if err == nil {
		err = a.drive(ctx, s, client, id, true, nil)
	}
	return errors.Join(err, errSaid) // what was asked for is not done
}

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
			return a.listChanges(sets, most)
		})
	}
	return c
}

func (a *app) listChanges(sets []etcdcfg.ChangeSet, most int) error {
	var open, done []etcdcfg.ChangeSet
	for _, s := range sets {
		if s.State != etcdcfg.StateDone {
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
		note := s.Note
		if s.Reason != "" {
			note = strings.TrimPrefix(note+"; "+s.Reason, "; ")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.ID, timeWord(s.At), termsafe.Clean(s.Who.String()), termsafe.Clean(string(s.Kind)), s.State, progressWord(s), termsafe.Line(note))
	}
	return w.Flush()
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
	if s.Driver != "" {
		fmt.Fprintf(a.stdout, ", worked on by %s", termsafe.Clean(s.Driver))
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
