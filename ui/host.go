package ui

import (
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"logagent/ui/store"
	"logagent/ui/termsafe"
)

// hostPage is a row per file of one host, and the selected one's course below.
type hostPage struct {
	list
	host   string
	view   store.HostView
	sizes  map[string]int // hosts of the groups its entries come from
	opened time.Time

	watch  func() // ends the watch; nil: none held
	left   bool
	height int
}

// hostPull is what a pull of a host brings.
type hostPull struct {
	store.HostView
	sizes map[string]int
}

func pullHost(st *store.Store, host string, q store.Query) hostPull {
	p := hostPull{st.Host(host, q), make(map[string]int)}
	groupSizes(st, p.sizes, &p.Row)
	return p
}

// watchEndedMsg says that a watch ended before the page was left.
type watchEndedMsg struct {
	page *hostPage
	err  error
}

// watchAgainMsg holds it again.
type watchAgainMsg struct{ page *hostPage }

// watchPause is how long after a failed watch the next is tried.
const watchPause = 2 * time.Second

func newHost(e *env, host string) *hostPage {
	p := &hostPage{host: host, opened: e.now()}
	p.list = list{env: e, visible: 1, fetch: func(q store.Query) any { return pullHost(e.store, host, q) }, sorts: []sortChoice{
		{store.SortWorst, "state, the worst first"}, {store.SortLag, "lag"}, {store.SortBehind, "time behind"},
		{store.SortDrain, "time to drain"}, {store.SortIn, "lines in"}, {store.SortOut, "lines out"},
		{store.SortService, "service"}, {store.SortCause, "cause"}, {store.SortName, "path"},
	}}
	return p
}

func (p *hostPage) Init() tea.Cmd { return p.holdWatch() }

// holdWatch makes the host send detail until the page is left.
func (p *hostPage) holdWatch() tea.Cmd {
	w := p.env.watcher
	if w == nil || p.left {
		return nil
	}
	ctx, cancel := p.env.work.child()
	p.watch = cancel
	return p.env.work.do(func() tea.Msg {
		defer cancel()
		err := w.HoldWatch(ctx, p.host)
		if ctx.Err() != nil {
			return nil
		}
		return watchEndedMsg{p, err}
	})
}

func (p *hostPage) Capturing() bool { return p.typing != nil }

func (p *hostPage) Update(msg tea.Msg) tea.Cmd {
	switch m := msg.(type) {
	case resizedMsg:
		p.height = m.height
		return p.fit()
	case leftMsg:
		p.left = true
		if p.watch != nil {
			p.watch()
			p.watch = nil
		}
	case watchEndedMsg:
		if m.page == p && !p.left {
			p.watch = nil
			if m.err != nil {
				p.env.say(bad, " no detail from %s: %s", termsafe.Clean(p.host), termsafe.Line(m.err.Error()))
			}
			return p.env.after(watchPause, watchAgainMsg{p})
		}
	case watchAgainMsg:
		if m.page == p {
			return p.holdWatch()
		}
	case tickMsg:
		if p.env.frozen.IsZero() {
			return p.refresh()
		}
	case pulledMsg:
		wanted, again := p.answered(m)
		var fit tea.Cmd
		if wanted {
			v := m.view.(hostPull)
			p.view, p.sizes = v.HostView, v.sizes
			p.take(p.view.Window, len(p.view.Rows))
			fit = p.fit()
		}
		if again {
			return tea.Batch(fit, p.refresh())
		}
		return fit
	case tea.KeyMsg:
		return p.key(m)
	case clickMsg:
		p.hold()
		if i := m.line - p.above(); i >= 0 && i < p.visible && p.at(i) >= 0 {
			return p.move(p.offset + i - p.index)
		}
	case actionMsg:
		return p.do(action(m))
	}
	return nil
}

func (p *hostPage) do(a action) tea.Cmd {
	p.hold()
	if cmd, known := p.act(a); known {
		return cmd
	}
	switch a {
	case actBack:
		if cmd, cleared := p.clear(); cleared {
			return tea.Batch(cmd, p.fit())
		}
		return p.env.pop()
	case actFleet:
		return p.env.pop()
	}
	i := p.selected()
	if a == actHistory {
		name := ""
		if i >= 0 && p.view.Rows[i].Entry != nil {
			name = p.view.Rows[i].Entry.DocHost
		}
		return p.env.historyOf(&p.view.Row, p.sizes, name)
	}
	if i < 0 {
		return nil
	}
	r := &p.view.Rows[i]
	switch a {
	case actCopy:
		return p.env.copy(r.Path)
	case actRateUp, actRateDown, actRateUpper, actRateLower, actRateType:
		if r.Entry == nil {
			return p.env.rateAction(a, p.host, nil, nil)
		}
		return p.env.rateAction(a, p.host, []store.Entry{*r.Entry}, p.sizes)
	}
	return nil
}

// fit divides the room: the rows get what they need, the graph what is left between its
// bounds. It pulls only when the number of rows on the screen changes.
func (p *hostPage) fit() tea.Cmd {
	rows := max(p.height-p.above()-p.below(), 1)
	if rows == p.visible {
		p.scroll()
		return nil
	}
	return p.resize(rows)
}

// above is how many lines stand over the rows.
func (p *hostPage) above() int {
	if p.filtered() {
		return 3
	}
	return 2
}

// below is how many lines stand under the rows: title, graph and details.
func (p *hostPage) below() int { return 2 + p.graphHeight() }

func (p *hostPage) graphHeight() int {
	free := p.height - p.above() - 2
	if free < 12 {
		return 0 // rows matter more
	}
	n := min(max(p.window.Order.Len(), 3), free-5)
	return min(max(free-n, 5), 18)
}

func (p *hostPage) Keys() []hint {
	return p.env.keys.hints(onHost, func(a action) string {
		switch a {
		case actRateUp, actRateDown, actRateUpper, actRateLower, actRateType:
			if why := p.env.readOnly(); why != "" {
				return why
			}
			if i := p.selected(); i < 0 || p.view.Rows[i].Entry == nil {
				return "no entry"
			}
		case actCopy:
			if p.selected() < 0 {
				return "no row"
			}
		case actHistory:
			return p.env.noHistory()
		case actSave:
			return p.env.cannotSave()
		}
		return ""
	})
}

func (p *hostPage) Frame() frame {
	name := termsafe.Clean(p.host)
	if p.env.own(p.host) {
		name += here
	}
	f := frame{scope: onHost, crumbs: []string{"fleet", name}, overview: p.view.Overview, at: p.view.At, age: -1, position: p.position(),
		filtered: p.filtered()}
	if p.view.Row.HasStatus {
		f.age, f.stale = p.view.Row.Age, p.view.Row.Stale
	}
	if p.view.At.IsZero() {
		return f
	}
	f.message = rowMessage(&p.view.Row, p.env.size.width)
	i := p.selected()
	if i < 0 {
		return f
	}
	r := &p.view.Rows[i]
	if mark, look := shape(r.State); p.view.Refusal == "" && r.Cause != "" && (look == bad || f.message == nil && look != good) {
		f.message = []piece{{look, " " + mark + " "}, {strong, termsafe.Tail(termsafe.Clean(r.Path), 40)}, {text, " " + p.cause(r)}}
	}
	if f.message == nil {
		f.message = driftMessage(r)
	}
	if r.Entry != nil && isGroup(r.Entry.DocHost) {
		from := piece{dim, " from " + strings.TrimPrefix(groupWords(r.Entry.DocHost, p.sizes[r.Entry.DocHost]), "the ")}
		if f.message != nil {
			from.text = "  ·" + from.text
		}
		f.message = append(f.message, from)
	}
	return f
}
