package ui

import (
	"context"
	"errors"
	"fmt"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"logagent/etcdcfg/change"
	"logagent/ui/store"
	"logagent/ui/termsafe"
)

// A rollback puts a document back to what it was after or before one record of its history.
// It is asked for with its difference and its effect; nothing is written before the last
// answer, and nothing where the document is no longer the one the question was about.

// rollback is one that is being asked about.
type rollback struct {
	name string // of the document
	id   string // of the state
	to   string // what that is, in words
	doc  []byte // the state, packed
	now  []byte // what there is instead, packed
}

// rollbackMsg brings what a rollback would do.
type rollbackMsg struct {
	rollback
	page   *historyPage
	from   page // on the screen when it was asked for
	lines  []string
	effect string
	err    error
}

// rolledBackMsg is the answer to the write of one.
type rolledBackMsg struct {
	rollback
	page     *historyPage
	revision int64
	at       time.Time
	err      error
}

// rolled is a rollback on its way to the hosts.
type rolled struct {
	phase    phase // phaseSaving, phaseSaved, phaseApplied, phaseRefused
	revision int64 // written; 0: none was made
	at       time.Time
	applied  time.Duration
	why      string
}

// cannotRollBack is why not; "" when it can.
func (p *historyPage) cannotRollBack() string {
	switch {
	case p.env.readOnly() != "":
		return p.env.readOnly()
	case p.env.rollingBack > 0:
		return "a rollback is being saved"
	case p.selected() == nil:
		return "no change"
	}
	return ""
}

// askRollback asks to which of the two states around a change, where both are another one
// than there is now.
func (p *historyPage) askRollback(r *past) tea.Cmd {
	if why := p.cannotRollBack(); why != "" {
		p.env.say(half, " %s", why)
		return nil
	}
	if r.Kind == change.KindSeek {
		p.env.say(text, " positions of files were moved; the document is as it was")
		return nil
	}
	now := p.current()
	var to []rollback
	add := func(id string, doc []byte, where string) {
		if id != "" && string(doc) != string(now) {
			to = append(to, rollback{p.name, id, where + " the change of " + r.moment(p.env.clock), doc, now})
		}
	}
	add(r.ID, r.After, "after")
	add(p.before(r), r.Before, "before")
	switch len(to) {
	case 0:
		p.env.say(text, " that is how it is now")
		return nil
	case 1:
		return p.preview(to[0])
	}
	c := &chooser{title: "roll " + termsafe.Clean(p.name) + " back to how it was", ask: "nothing is written yet",
		items: []string{"leave it as it is", to[0].to, to[1].to}}
	c.chosen = func(i int) tea.Cmd {
		if i == 0 {
			return nil
		}
		return p.preview(to[i-1])
	}
	return p.env.openDialog(c)
}

// current is the document as it is now, packed.
func (p *historyPage) current() []byte {
	for i := range p.records {
		if p.records[i].Kind != change.KindSeek {
			return p.records[i].After
		}
	}
	return nil
}

// before is the id of the state before a record; "" where it has none. What was found and not
// made has no name for it but that of the record before.
func (p *historyPage) before(r *past) string {
	if r.Kind != change.KindOutside {
		return r.ID + "^"
	}
	for i := p.find(r.ID) + 1; i > 0 && i < len(p.records); i++ {
		if p.records[i].Kind != change.KindSeek {
			return p.records[i].ID
		}
	}
	return ""
}

// preview finds out what a rollback would do.
func (p *historyPage) preview(b rollback) tea.Cmd {
	from := p.env.top()
	return p.env.work.do(func() tea.Msg {
		m := rollbackMsg{rollback: b, page: p, from: from}
		diffs, err := differenceOf(b.now, b.doc)
		broken := ""
		if err != nil { // a broken document is what one most wants to go back from
			broken = err.Error()
			diffs, m.err = differenceOf(nil, b.doc)
		}
		m.lines = diffLines(diffs)
		switch {
		case broken != "":
			m.lines = append([]string{"- the whole of it: " + termsafe.Line(broken)}, m.lines...)
		case len(m.lines) == 0:
			m.lines = []string{"only spacing or order; it means the same"}
		}
		if b.doc == nil {
			m.lines = append([]string{"- the document itself, there was none then"}, m.lines...)
		}
		m.effect = change.EffectOf([][]change.EntryDiff{diffs}).String()
		return m
	})
}

// confirm asks, with the effect before the eyes, and then for a note.
func (p *historyPage) confirm(m rollbackMsg) tea.Cmd {
	if m.err != nil {
		p.env.say(bad, " no way back there: %s", termsafe.Line(m.err.Error()))
		return nil
	}
	note := func() tea.Cmd {
		return p.env.openDialog(&noteInput{field: newField(""), write: func(note string) tea.Cmd { return p.rollBack(m.rollback, note) }})
	}
	title := "roll " + termsafe.Clean(p.name) + " back to " + m.to
	q := &question{text: "Roll back? " + termsafe.Line(m.effect), title: title, lines: m.lines, yes: note}
	if hosts := p.size; hosts > countTyped {
		q.text = fmt.Sprintf("Roll back on %s hosts? %s", grouped(int64(hosts)), termsafe.Line(m.effect))
		q.yes = func() tea.Cmd {
			return p.env.openDialog(newCountInput(fmt.Sprintf("%s hosts of %s are rolled back", grouped(int64(hosts)), termsafe.Clean(p.name)), hosts, note))
		}
	}
	return p.env.openDialog(q)
}

func (p *historyPage) rollBack(b rollback, note string) tea.Cmd {
	p.env.rollingBack++
	p.saved = rolled{phase: phaseSaving}
	w, timeout, now := p.env.rates.writer, p.env.opts.WriteTimeout, p.env.now
	return p.env.work.with(func(ctx context.Context) tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		seen, err := change.Unpack(b.now)
		var rev int64
		if err == nil {
			rev, err = w.Rollback(ctx, b.name, b.id, seen, note)
		}
		return rolledBackMsg{b, p, rev, now(), err}
	})
}

// rolledBack says what became of a rollback, on whatever page.
func (e *env) rolledBack(m rolledBackMsg) {
	e.rollingBack--
	name := termsafe.Clean(m.name)
	switch {
	case errors.Is(m.err, context.DeadlineExceeded):
		e.say(bad, " %s: no answer in time; it may have been rolled back all the same", name)
	case m.err != nil:
		e.say(bad, " %s not rolled back: %s", name, termsafe.Line(m.err.Error()))
	default:
		if m.revision == 0 {
			e.say(good, " %s rolled back to %s: saved, it has no document any more", name, m.to)
			return
		}
		e.say(good, " %s rolled back to %s: saved rev %d", name, m.to, m.revision)
	}
}

// rolledBack reads the history anew: it holds the rollback, or what was in its way.
func (p *historyPage) rolledBack(m rolledBackMsg) tea.Cmd {
	if m.page != p {
		return nil
	}
	p.saved = rolled{}
	if m.err == nil {
		p.saved = rolled{phase: phaseSaved, revision: m.revision, at: m.at}
	}
	p.cursor, p.index = "", 0
	return tea.Batch(p.load(), p.refresh())
}

// take follows a rollback to the host that runs it.
func (r *rolled) take(p store.Progress) {
	switch {
	case r.phase != phaseSaved:
	case p.Applied:
		r.phase, r.applied = phaseApplied, max(p.AppliedAt.Sub(r.at), 0)
	case p.Refused:
		r.phase, r.why = phaseRefused, p.Error
	}
}

// message says how the last rollback stands; nil when there is nothing to say.
func (r *rolled) message(now time.Time) []piece {
	if r.phase == phaseSaving {
		return []piece{{half, " rolling back: saving"}}
	}
	if r.revision == 0 || r.phase != phaseRefused && now.Sub(r.at) > lookBack {
		return nil
	}
	out := []piece{{good, fmt.Sprintf(" rolled back: saved rev %d", r.revision)}}
	switch r.phase {
	case phaseApplied:
		return append(out, piece{good, fmt.Sprintf("  applied %.1f s", r.applied.Seconds())})
	case phaseRefused:
		return append(out, piece{bad, "  refused: " + termsafe.Line(r.why)})
	}
	return append(out, piece{text, "  not applied yet " + store.Ago(now.Sub(r.at))})
}

// noteInput takes a note for the history.
type noteInput struct {
	field
	write func(note string) tea.Cmd
}

func (n *noteInput) scope() scope           { return inInput }
func (n *noteInput) box(*env, int) []string { return nil }

func (n *noteInput) update(e *env, k tea.KeyMsg) (bool, tea.Cmd) {
	switch e.keys.action(inInput, k) {
	case actCancel:
		e.say(text, " nothing was written")
		return true, nil
	case actAccept:
		return true, n.write(n.value())
	}
	n.field.update(k)
	return false, nil
}

func (n *noteInput) message(e *env, w int) string {
	l := e.theme.line().put(text, " ").put(prompt, "note for the history: ")
	hint := " " + e.keys.first(actAccept) + " rolls back, with or without one"
	room := w - l.width
	if n.value() == "" && room > len(hint)+4 {
		n.draw(l, room-len(hint))
		return l.put(dim, hint).to(w).String()
	}
	n.draw(l, room)
	return l.to(w).String()
}
