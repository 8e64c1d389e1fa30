package ui

import (
	"fmt"
	"math"
	"strings"

	tea "github.com/charmbracelet/bubbletea"

	"logagent/ui/store"
	"logagent/ui/termsafe"
)

// rateAction does what a rate key means for one of some entries of a host: at once where
// there is one or one is being tuned already, else after asking which. sizes counts the hosts
// of their groups.
func (e *env) rateAction(a action, host string, entries []store.Entry, sizes map[string]int) tea.Cmd {
	if why := e.readOnly(); why != "" {
		e.say(half, " %s", why)
		return nil
	}
	if len(entries) == 0 {
		e.say(half, " %s has no entry whose rate could be changed, or its document is not known yet", termsafe.Clean(host))
		return nil
	}
	if len(entries) == 1 {
		return e.rateEntry(a, targetOf(host, &entries[0]), sizes)
	}
	if e.rates.tuning() && e.rates.current.host == host {
		for i := range entries {
			t := targetOf(host, &entries[i])
			if u := e.rates.current; e.rates.find(t) == u || t.ofGroup() && e.rates.find(t.owned()) == u {
				return e.rateOn(a, u.target)
			}
		}
	}
	return e.openDialog(entryChooser(host, entries, func(t target) tea.Cmd { return e.rateEntry(a, t, sizes) }))
}

// rateEntry does what a rate key means for an entry. Where a change of it by somebody else is
// not decided upon, that comes first, and where it belongs to a group, for whom it is meant.
func (e *env) rateEntry(a action, t target, sizes map[string]int) tea.Cmd {
	of := []target{t}
	if t.ofGroup() {
		of = append(of, t.owned())
	}
	if u := e.rates.conflict(of...); u != nil {
		return e.openDialog(&conflictDialog{tune: u})
	}
	if !t.ofGroup() {
		return e.rateOn(a, t)
	}
	for _, o := range of {
		if u := e.rates.find(o); u != nil && u == e.rates.current && e.rates.tuning() {
			return e.rateOn(a, u.target) // it was asked already
		}
	}
	return e.rateFor(a, t, sizes[t.docHost])
}

func entryChooser(host string, entries []store.Entry, then func(target) tea.Cmd) *chooser {
	c := &chooser{title: "send_rate of which entry of " + termsafe.Clean(host) + "?"}
	for i := range entries {
		s := &entries[i].Service
		group := ""
		if isGroup(entries[i].DocHost) {
			group = termsafe.Clean(entries[i].DocHost) + "  "
		}
		c.items = append(c.items, fmt.Sprintf("%-14s %10s   %s%s", termsafe.Head(termsafe.Clean(s.Service), 14),
			perSecond(s.SendRate), group, termsafe.Clean(s.LogPath)))
	}
	c.chosen = func(i int) tea.Cmd { return then(targetOf(host, &entries[i])) }
	return c
}

func (e *env) rateOn(a action, t target) tea.Cmd {
	if a == actRateType || e.rates.unlimited(t) {
		return e.openDialog(newRateInput(t))
	}
	share := map[action]float64{actRateUp: 0.05, actRateDown: -0.05, actRateUpper: 0.25, actRateLower: -0.25}[a]
	return e.rates.step(t, share)
}

// openDialog puts a dialog over the page; the rows stand still until it is done.
func (e *env) openDialog(d dialog) tea.Cmd {
	e.dialog = d
	return e.top().Update(e.body())
}

// rateInput takes a typed rate.
type rateInput struct {
	target
	field
	wrong string
}

func newRateInput(t target) *rateInput { return &rateInput{target: t, field: newField("")} }

func (r *rateInput) scope() scope           { return inInput }
func (r *rateInput) box(*env, int) []string { return nil }

func (r *rateInput) update(e *env, k tea.KeyMsg) (bool, tea.Cmd) {
	switch e.keys.action(inInput, k) {
	case actCancel:
		return true, nil
	case actAccept:
		v, err := parseRate(r.value())
		if err != nil {
			r.wrong = err.Error()
			return false, nil
		}
		t := r.target
		if v == 0 {
			// A question follows: the safe answer is no.
			e.dialog = &question{
				text: fmt.Sprintf("No limit for %s %s: as fast as Kafka takes it?", termsafe.Clean(t.service), termsafe.Tail(termsafe.Clean(t.logPath), 40)),
				yes:  func() tea.Cmd { return e.rates.set(t, 0) },
			}
			return false, nil
		}
		return true, e.rates.set(t, v)
	}
	r.wrong = ""
	r.field.update(k)
	return false, nil
}

func (r *rateInput) message(e *env, w int) string {
	l := e.theme.line().put(text, " send_rate of ").put(strong, termsafe.Head(termsafe.Clean(r.service), 20))
	l.put(text, " in lines/s, now "+exact(r.rate)+": ")
	if w-l.width < 20 {
		l = e.theme.line().put(text, " lines/s: ")
	}
	room := w - l.width
	if r.wrong != "" {
		room = max(room-termsafe.Width(r.wrong)-2, 8)
	}
	r.draw(l, room)
	if r.wrong != "" {
		l.put(bad, termsafe.Head("  "+r.wrong, max(w-l.width, 0)))
	} else if r.value() == "" {
		l.put(dim, termsafe.Head(" such as 8500 or 8.5k; none for no limit", max(w-l.width, 0)))
	}
	return l.to(w).String()
}

// parseRate reads a rate as typed; none is 0.
func parseRate(s string) (int64, error) {
	s = strings.TrimSpace(s)
	if strings.EqualFold(s, "none") {
		return 0, nil
	}
	v, err := store.ParseCount(s)
	if err != nil {
		return 0, fmt.Errorf("a number such as 8500 or 8.5k, or none")
	}
	if v < 1 {
		return 0, fmt.Errorf("at least 1; none for no limit")
	}
	if v > float64(topRate) {
		return 0, fmt.Errorf("at most %s", exact(topRate))
	}
	return int64(math.Round(v)), nil
}
