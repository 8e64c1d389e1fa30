package ui

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"logagent/agent"
	"logagent/etcdcfg/change"
	"logagent/ui/termsafe"
)

// Two people changed one entry, and the second one's write was not taken. It is shown as soon
// as the hand is off the keys: what the entry was, what it was to be, and what it is.
const (
	handOff = 2 * time.Second        // without a key for so long a conflict shows itself
	unmeant = 500 * time.Millisecond // and takes no key for so long: it was meant for what stood there before
)

// theirsOf is the entry as somebody else left it, nil where it is gone; false where err is
// another one.
func theirsOf(err error) (theirs *agent.Service, conflict bool) {
	if c, ok := errors.AsType[*agent.ConflictError](err); ok {
		return c.Theirs, true
	}
	c, ok := errors.AsType[*change.ConflictError](err)
	if !ok {
		return nil, false
	}
	for _, one := range c.Conflicts {
		if s := new(agent.Service); one.Theirs != nil && json.Unmarshal(one.Theirs, s) == nil {
			return s, true
		}
	}
	return nil, true
}

// conflict is the oldest one that nobody decided yet, of any entry or of this one; nil: none.
func (r *rates) conflict(of ...target) *tune {
	for _, u := range r.list {
		if u.phase == phaseConflict && (len(of) == 0 || slices.ContainsFunc(of, func(t target) bool { return r.find(t) == u })) {
			return u
		}
	}
	return nil
}

// theirRate is what somebody else set, in words.
func (u *tune) theirRate() string {
	if u.theirs == nil {
		return "somebody else took the entry away"
	}
	if u.theirs.SendRate == u.base {
		return "somebody else changed the entry"
	}
	return "somebody else set " + perSecond(u.theirs.SendRate)
}

// showConflict opens the question about a conflict once no key was pressed for a while.
func (e *env) showConflict() tea.Cmd {
	u := e.rates.conflict()
	if u == nil || e.dialog != nil || e.top().Capturing() || e.now().Sub(e.keyAt) < handOff {
		return nil
	}
	return e.openDialog(&conflictDialog{tune: u, deaf: e.now().Add(unmeant)})
}

// conflictDialog lets a person choose between two changes of one entry.
type conflictDialog struct {
	tune *tune
	deaf time.Time // until when keys are not heard
}

func (d *conflictDialog) scope() scope { return inConflict }

func (d *conflictDialog) update(e *env, k tea.KeyMsg) (bool, tea.Cmd) {
	if e.now().Before(d.deaf) {
		return false, nil
	}
	switch e.keys.action(inConflict, k) {
	case actMine:
		if d.tune.theirs == nil {
			return false, nil // the message says that there is nothing to write it to
		}
		return true, e.rates.mine(d.tune)
	case actTheirs, actCancel:
		e.rates.drop(d.tune)
		if e.rates.current == d.tune {
			e.rates.current = nil
		}
		now := "the entry is gone"
		if d.tune.theirs != nil {
			now = perSecond(d.tune.theirs.SendRate) + " stays"
		}
		e.say(text, " %s: %s; your %s is not written", termsafe.Clean(d.tune.service), now, perSecond(d.tune.want))
		return true, nil
	}
	return false, nil
}

// mine writes what was wanted over what somebody else left, whose other fields stay.
func (r *rates) mine(u *tune) tea.Cmd {
	r.drop(u)
	t := u.target
	t.from, t.entry, t.rate, t.revision = "", *u.theirs, u.theirs.SendRate, 0
	return r.set(t, u.want)
}

func (d *conflictDialog) box(e *env, width int) []string {
	u := d.tune
	out := []string{rule(e.theme, "two changes of "+termsafe.Clean(u.where())+" "+termsafe.Clean(u.service)+" "+termsafe.Clean(u.logPath), width)}
	rows := threeWays(&u.entry, u.want, u.theirs)
	name := 8
	for _, r := range rows {
		name = max(name, termsafe.Width(r.field))
	}
	name = min(name, 16)
	cell := max((width-2-name-6)/3, 4)
	put := func(looks [4]role, r threeWay) {
		l := e.theme.line().put(text, "  ").left(looks[0], r.field, name)
		for i, s := range []string{r.base, r.mine, r.theirs} {
			l.blank(2).left(looks[1+i], s, cell)
		}
		out = append(out, l.to(width).String())
	}
	put([4]role{head, head, head, head}, threeWay{"", "BEFORE", "YOURS", "THEIRS, NOW"})
	for _, r := range rows {
		looks := [4]role{text, dim, dim, dim}
		if r.mine != r.base {
			looks[2] = strong
		}
		if r.theirs != r.base {
			looks[3] = strong
		}
		put(looks, r)
	}
	return out
}

func (d *conflictDialog) message(e *env, w int) string {
	u := d.tune
	var variants [][]piece
	if u.theirs == nil {
		for _, s := range []string{": there is nothing left to write your " + perSecond(u.want) + " to", ""} {
			variants = append(variants, []piece{{bad, " the entry is gone"}, {text, s}, {text, "  "}, {key, e.keys.first(actTheirs)}, {text, " leaves it so"}})
		}
	} else {
		mine, theirs := perSecond(u.want), perSecond(u.theirs.SendRate)
		for _, s := range []string{" not saved: " + u.theirRate() + " meanwhile", " " + u.theirRate(), ""} {
			variants = append(variants, []piece{{bad, s}, {text, "  "}, {key, e.keys.first(actMine)}, {text, " writes your " + mine + " over it  "},
				{key, e.keys.first(actTheirs)}, {text, " leaves " + theirs}})
		}
	}
	for _, v := range variants {
		if widthOf(v) <= w {
			return e.theme.spread(w, v, nil)
		}
	}
	return e.theme.spread(w, variants[len(variants)-1], nil)
}

// where is whose document holds the entry.
func (t target) where() string {
	if t.ofGroup() {
		return t.docHost
	}
	return t.host
}

// threeWay is one field of an entry in its three states, clean.
type threeWay struct{ field, base, mine, theirs string }

// threeWays are the fields that are not the same in all three; theirs nil: gone.
func threeWays(base *agent.Service, rate int64, theirs *agent.Service) []threeWay {
	mine := *base
	mine.SendRate = rate
	b, m := fieldsOf(base), fieldsOf(&mine)
	t := make([]string, len(b))
	if theirs != nil {
		t = fieldsOf(theirs)
	}
	var out []threeWay
	for i, name := range entryFields() {
		if theirs == nil {
			t[i] = "gone"
		}
		if b[i] != m[i] || theirs != nil && b[i] != t[i] {
			out = append(out, threeWay{name, b[i], m[i], t[i]})
		}
	}
	return out
}

func entryFields() []string {
	return []string{"service", "topic", "send_rate", "start_at", "exclude", "paused", "partition", "oversize"}
}

// fieldsOf writes the fields of an entry for people, in the order of entryFields; those that
// are not set with what that means.
func fieldsOf(s *agent.Service) []string {
	or := func(v, what string) string {
		if v == "" {
			return what
		}
		return termsafe.Clean(v)
	}
	exclude := "none"
	if len(s.Exclude) > 0 {
		exclude = termsafe.Line(fmt.Sprintf("%q", s.Exclude))
	}
	return []string{termsafe.Clean(s.Service), termsafe.Clean(s.Topic), perSecond(s.SendRate), or(string(s.StartAt), string(agent.StartEnd)), exclude,
		fmt.Sprint(s.Paused), or(string(s.Partition), string(agent.PartitionRandom)), or(string(s.Oversize), string(agent.OversizeSplit))}
}
