package ui

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"logagent/ui/store"
	"logagent/ui/termsafe"
)

const (
	historyMost  = 200             // records shown of one document
	historyAgain = 2 * time.Second // after a reading that failed
)

// historyPage is what became of one document: a row per change, the newest first.
type historyPage struct {
	puller
	env  *env
	host string // it was opened for
	name string // of the document

	view store.HostView
	size int // hosts of the group, where the document is one's

	records []past
	asked   uint      // generation of the last reading asked for
	reading bool      // its answer has not come
	readFor int64     // the document's revision when it was asked for
	read    time.Time // when the last good one came; zero: none
	failed  time.Time // when the last one came, if it failed
	why     string    // it failed

	cursor  string // id of the record under the cursor; "": the first
	index   int
	offset  int
	visible int
	height  int

	saved rolled // the last rollback made here
}

// historyMsg is the answer to a reading.
type historyMsg struct {
	page    *historyPage
	asked   uint
	records []past
	at      time.Time
	err     error
}

// historyPull is what a history takes from the store: the top line, and whether the document
// is another one by now.
type historyPull struct {
	view     store.HostView
	size     int
	revision int64
	progress store.Progress
}

func newHistory(e *env, host, name string) *historyPage {
	return &historyPage{env: e, host: host, name: name, readFor: -1, visible: 1}
}

// noHistory is why no history can be shown; "" when it can.
func (e *env) noHistory() string {
	if e.opts.History == nil {
		return "no history here"
	}
	return ""
}

// historyOf opens the history of a host's document; where others give it entries too, after
// asking which. The one called name is proposed.
func (e *env) historyOf(row *store.HostRow, sizes map[string]int, name string) tea.Cmd {
	if why := e.noHistory(); why != "" {
		e.say(half, " %s", why)
		return nil
	}
	host, names := row.Host, []string{row.Host}
	for _, d := range row.Documents {
		if d.Name != "" && !slices.Contains(names, d.Name) {
			names = append(names, d.Name)
		}
	}
	if len(names) == 1 {
		return e.push(newHistory(e, host, host))
	}
	c := &chooser{title: "the history of which document of " + termsafe.Clean(host) + "?", cursor: max(slices.Index(names, name), 0)}
	for _, n := range names {
		what := "its own"
		switch {
		case isGroup(n):
			what = groupWords(n, sizes[n])
		case n != host:
			what = "that of its address"
		}
		c.items = append(c.items, termsafe.Clean(n)+"   "+what)
	}
	c.chosen = func(i int) tea.Cmd {
		e.dialog = nil // the page gets the whole room
		return e.push(newHistory(e, host, names[i]))
	}
	return e.openDialog(c)
}

func (p *historyPage) Init() tea.Cmd   { return p.refresh() }
func (p *historyPage) Capturing() bool { return false }

// refresh pulls from the store; the history itself is read where that shows a need.
func (p *historyPage) refresh() tea.Cmd {
	st, host, name, rev := p.env.store, p.host, p.name, p.saved.revision
	return p.pull(p.env, func() any {
		v := historyPull{view: st.Host(host, store.Query{})}
		for _, d := range v.view.Row.Documents {
			if d.Name == name {
				v.revision = d.Desired
			}
		}
		if isGroup(name) {
			v.size = len(st.GroupHosts(name))
		}
		if rev != 0 {
			v.progress = st.Progress(name, rev)
		}
		return v
	})
}

// load reads the history anew, whatever else is under way.
func (p *historyPage) load() tea.Cmd {
	p.asked++
	p.reading = true
	asked, name, from, timeout, now := p.asked, p.name, p.env.opts.History, p.env.opts.WriteTimeout, p.env.now
	return p.env.work.with(func(ctx context.Context) tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		records, err := from.History(ctx, name, historyMost)
		m := historyMsg{page: p, asked: asked, err: err}
		for _, r := range records {
			m.records = append(m.records, pastOf(r))
		}
		m.at = now()
		return m
	})
}

func (p *historyPage) Update(msg tea.Msg) tea.Cmd {
	switch m := msg.(type) {
	case resizedMsg:
		p.height = m.height
		p.visible = max(m.height-2-p.below(), 1)
		p.scroll()
	case tickMsg:
		if p.env.frozen.IsZero() {
			return p.refresh()
		}
	case pulledMsg:
		return p.pulled(m)
	case historyMsg:
		p.answer(m)
	case rolledBackMsg:
		return p.rolledBack(m)
	case rollbackMsg:
		if m.page == p && p.env.top() == m.from && p.env.dialog == nil {
			return p.confirm(m)
		}
	case clickMsg:
		if i := m.line - 2; i >= 0 && i < p.visible && p.offset+i < len(p.records) {
			p.move(p.offset + i - p.index)
		}
	case actionMsg:
		return p.do(action(m))
	}
	return nil
}

func (p *historyPage) pulled(m pulledMsg) tea.Cmd {
	wanted, again := p.answered(m)
	if !wanted {
		return nil
	}
	v := m.view.(historyPull)
	p.view, p.size = v.view, v.size
	p.saved.take(v.progress)
	var cmds []tea.Cmd
	if again {
		cmds = append(cmds, p.refresh())
	}
	if v.revision != p.readFor || !p.reading && !p.failed.IsZero() && p.env.now().Sub(p.failed) >= historyAgain {
		p.readFor = v.revision
		cmds = append(cmds, p.load())
	}
	return tea.Batch(cmds...)
}

// answer takes a reading; one that another was asked for after says nothing.
func (p *historyPage) answer(m historyMsg) {
	if m.page != p || m.asked != p.asked {
		return
	}
	p.reading = false
	if m.err != nil {
		p.failed, p.why = m.at, m.err.Error()
		if errors.Is(m.err, context.DeadlineExceeded) {
			p.why = "no answer in time"
		}
		return
	}
	p.records, p.read, p.failed, p.why = m.records, m.at, time.Time{}, ""
	if i := p.find(p.cursor); i >= 0 {
		p.index = i
	}
	p.index = min(p.index, max(len(p.records)-1, 0))
	if p.cursor != "" && len(p.records) > 0 {
		p.cursor = p.records[p.index].ID
	}
	p.scroll()
}

// find is where the record of an id stands; -1 where it does not.
func (p *historyPage) find(id string) int {
	return slices.IndexFunc(p.records, func(r past) bool { return r.ID == id })
}

func (p *historyPage) move(by int) {
	if len(p.records) == 0 {
		return
	}
	p.index = min(max(p.index+by, 0), len(p.records)-1)
	p.cursor = p.records[p.index].ID
	p.scroll()
}

func (p *historyPage) scroll() {
	p.offset = min(p.offset, max(len(p.records)-p.visible, 0), p.index)
	p.offset = max(p.offset, p.index-p.visible+1, 0)
}

// selected is the record under the cursor; nil where there is none.
func (p *historyPage) selected() *past {
	if p.index < len(p.records) {
		return &p.records[p.index]
	}
	return nil
}

func (p *historyPage) do(a action) tea.Cmd {
	page := max(p.visible-1, 1)
	if by, ok := map[action]int{actUp: -1, actDown: 1, actPageUp: -page, actPageDown: page,
		actTop: -len(p.records), actBottom: len(p.records)}[a]; ok {
		p.move(by)
		return nil
	}
	switch a {
	case actBack:
		return p.env.pop()
	case actFleet:
		return p.env.home()
	}
	r := p.selected()
	if r == nil {
		return nil
	}
	if p.cursor == "" {
		p.cursor = r.ID // from the first key on the cursor follows its record
	}
	switch a {
	case actOpen:
		return p.env.push(newChange(p, r))
	case actCopy:
		return p.env.copy(r.ID)
	case actRollback:
		return p.askRollback(r)
	}
	return nil
}

func (p *historyPage) Keys() []hint {
	return p.env.keys.hints(onHistory, func(a action) string {
		switch a {
		case actOpen, actCopy:
			if p.selected() == nil {
				return "no row"
			}
		case actRollback:
			return p.cannotRollBack()
		case actSave:
			return p.env.cannotSave()
		}
		return ""
	})
}

func (p *historyPage) Frame() frame {
	f := frame{scope: onHistory, crumbs: []string{"fleet", termsafe.Clean(p.name), "history"}, overview: p.view.Overview, at: p.view.At, age: -1}
	f.position = "no rows"
	if n := len(p.records); n > 0 {
		f.position = fmt.Sprintf("row %d of %d", p.index+1, n)
	}
	if !p.read.IsZero() {
		// As long as etcd is followed, a newer one would be known of.
		if f.age = 0; p.why != "" || !p.view.Overview.Etcd.Up {
			f.age, f.stale = p.env.clock.Sub(p.read), true
		}
	}
	r := p.selected()
	switch {
	case p.why != "" && p.read.IsZero():
		f.message = []piece{{bad, " the history is not read: " + termsafe.Line(p.why)}, {text, "; trying again"}}
	case p.why != "":
		f.message = []piece{{bad, " the history is not read anew: " + termsafe.Line(p.why)}, {text, "; trying again"}}
	case p.saved.message(p.env.clock) != nil:
		f.message = p.saved.message(p.env.clock)
	case r != nil:
		f.message = []piece{{text, " "}, {strong, whoWords(r)}, {text, " " + kindWords(r)}}
		if r.Note != "" {
			f.message = append(f.message, piece{text, ": " + termsafe.Line(r.Note)})
		}
	}
	return f
}
