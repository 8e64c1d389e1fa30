package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
	"logagent/ui/termsafe"
)

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
		if id != "" && uncertain(err) {
			err = fmt.Errorf("%w; config changes tells whether it was, config resume %s goes on with it", err, id)
		}
		return err
	}
	return a.drive(ctx, s, client, id, w.yes, &p.Effect)
}

// uncertain tells whether a write that failed may have taken place, or may yet: a refusal is none.
func uncertain(err error) bool {
	return errors.Is(err, etcdcfg.ErrUnknown) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
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
		left := "left as they are"
		if s.Conflicts == 1 {
			left = "left as it is"
		}
		line += fmt.Sprintf(", %s %s", counted(s.Conflicts, "conflict"), left)
	}
	if n := s.Waiting(); n > 0 {
		line += fmt.Sprintf(", %d not touched", n)
	}
	if s.Reason != "" {
		line += "; " + s.Reason
	}
	if word := backWord(s); word != "" {
		line += "; " + word
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
