package ui

import (
	"fmt"

	tea "github.com/charmbracelet/bubbletea"

	"logagent/agent"
	"logagent/ui/store"
	"logagent/ui/termsafe"
)

// fleetPage is a row per host, problems on top.
type fleetPage struct {
	list
	view  store.FleetView
	sizes map[string]int // hosts of the groups on the screen
}

// fleetPull is what a pull of Fleet brings.
type fleetPull struct {
	store.FleetView
	sizes map[string]int
}

func pullFleet(st *store.Store, q store.Query) fleetPull {
	p := fleetPull{st.Fleet(q), make(map[string]int)}
	for i := range p.Rows {
		groupSizes(st, p.sizes, &p.Rows[i])
	}
	return p
}

func newFleet(e *env) *fleetPage {
	p := &fleetPage{}
	p.list = list{env: e, visible: 1, index: 0, fetch: func(q store.Query) any { return pullFleet(e.store, q) }, sorts: []sortChoice{
		{store.SortWorst, "state, the worst first"}, {store.SortLag, "lag"}, {store.SortBehind, "time behind"},
		{store.SortDrain, "time to drain"}, {store.SortIn, "lines in"}, {store.SortOut, "lines out"},
		{store.SortThrottle, "share throttled"}, {store.SortErrors, "files failing"}, {store.SortConfig, "config not in force"},
		{store.SortFiles, "files"}, {store.SortName, "name"},
	}}
	return p
}

func (p *fleetPage) Init() tea.Cmd { return nil }

func (p *fleetPage) Capturing() bool { return p.typing != nil }

func (p *fleetPage) Update(msg tea.Msg) tea.Cmd {
	switch m := msg.(type) {
	case resizedMsg:
		return p.resize(m.height - 4)
	case tickMsg:
		if p.env.frozen.IsZero() {
			return p.refresh()
		}
	case pulledMsg:
		wanted, again := p.answered(m)
		if wanted {
			v := m.view.(fleetPull)
			p.view, p.sizes = v.FleetView, v.sizes
			p.take(p.view.Window, len(p.view.Rows))
		}
		if again {
			return p.refresh()
		}
	case tea.KeyMsg:
		return p.key(m)
	case clickMsg:
		p.hold()
		if i := m.line - 3; i >= 0 && p.at(i) >= 0 {
			return p.move(p.offset + i - p.index)
		}
	case actionMsg:
		return p.do(action(m))
	}
	return nil
}

func (p *fleetPage) do(a action) tea.Cmd {
	p.hold()
	if cmd, known := p.act(a); known {
		return cmd
	}
	if a == actBack {
		cmd, _ := p.clear()
		return cmd
	}
	i := p.selected()
	if i < 0 {
		return nil
	}
	r := &p.view.Rows[i]
	switch a {
	case actOpen:
		return p.env.push(newHost(p.env, r.Host))
	case actCopy:
		return p.env.copy(r.Host)
	case actRateUp, actRateDown, actRateUpper, actRateLower, actRateType:
		return p.env.rateAction(a, r.Host, r.Entries, p.sizes)
	case actHistory:
		return p.env.historyOf(r, p.sizes, "")
	}
	return nil
}

func (p *fleetPage) Keys() []hint {
	return p.env.keys.hints(onFleet, func(a action) string {
		switch a {
		case actRateUp, actRateDown, actRateUpper, actRateLower, actRateType:
			return p.env.readOnly()
		case actBack:
			if !p.filtered() && !p.env.putsBack() {
				return "nothing to go back from"
			}
		case actOpen, actCopy:
			if p.selected() < 0 {
				return "no row"
			}
		case actHistory:
			if p.selected() < 0 {
				return "no row"
			}
			return p.env.noHistory()
		case actSave:
			return p.env.cannotSave()
		}
		return ""
	})
}

func (p *fleetPage) Frame() frame {
	f := frame{scope: onFleet, crumbs: []string{"fleet"}, overview: p.view.Overview, at: p.view.At,
		age: p.view.Overview.Newest, stale: p.view.Overview.Fresh == 0 && p.view.Overview.Newest >= 0, position: p.position(),
		filtered: p.filtered()}
	if i := p.selected(); i >= 0 {
		f.message = rowMessage(&p.view.Rows[i], p.env.size.width)
	}
	return f
}

func (p *fleetPage) View(width, height int) []string {
	th := p.env.theme
	lines := []string{fleetTotals(th, &p.view.Overview, width), p.filterLine(width, "all hosts")}
	cols := layout(p.columns(), width)
	lines = append(lines, titles(th, cols, width, p.by, p.reverse))
	for i := range max(height-4, 0) {
		k := p.at(i)
		if k < 0 {
			lines = append(lines, p.empty(i, width))
			continue
		}
		lines = append(lines, p.row(cols, k, p.offset+i == p.index, width))
	}
	return append(lines, " "+th.line().put(dim, dashes(width-2)).String()+" ")[:max(height, 0)]
}

// empty says why there are no rows, once.
func (p *fleetPage) empty(i, width int) string {
	l := p.env.theme.line()
	if i != 1 || p.given > 0 {
		return l.to(width).String()
	}
	o := &p.view.Overview
	why := "no hosts yet"
	switch {
	case p.filtered() && p.window.Total > 0:
		why = "no host matches; " + p.env.keys.first(actBack) + " shows all"
	case !o.EtcdSeen && !o.KafkaSeen:
		why = fmt.Sprintf("waiting for etcd at %s and Kafka at %s", orSomewhere(p.env.opts.EtcdAddr), orSomewhere(p.env.opts.KafkaAddr))
	case !o.EtcdSeen:
		why = "waiting for etcd at " + orSomewhere(p.env.opts.EtcdAddr)
	case p.view.At.IsZero():
		why = ""
	}
	return l.blank(lead).put(dim, termsafe.Head(why, max(width-lead, 0))).to(width).String()
}

func orSomewhere(addr string) string {
	if addr == "" {
		return "its address"
	}
	return termsafe.Clean(addr)
}

func (p *fleetPage) row(cols []placed, k int, current bool, width int) string {
	r := &p.view.Rows[k]
	l := p.env.theme.lead(current)
	sign, look := shape(r.State)
	l.put(look, sign).put(text, " ")
	return row(l, cols, k, width)
}

// hostWidth is how wide the names on the screen are.
func (p *fleetPage) hostWidth() int {
	w := 14
	for i := range p.visible {
		if k := p.at(i); k >= 0 {
			w = max(w, termsafe.Width(termsafe.Clean(p.view.Rows[k].Host)))
			if p.env.own(p.view.Rows[k].Host) {
				w = max(w, termsafe.Width(termsafe.Clean(p.view.Rows[k].Host))+len(here))
			}
		}
	}
	return w
}

// here marks the host of the own agent.
const here = " (here)"

// fleetTotals is the second status line. The narrower the screen, the less of it.
func fleetTotals(th *theme, o *store.Overview, width int) string {
	counts := []piece{{text, " "}, {strong, grouped(int64(o.Hosts))}, {text, plural(o.Hosts, " host", " hosts")}}
	for _, c := range []struct {
		n int
		s agent.State
	}{{o.OK, agent.StateOK}, {o.Behind, agent.StateBehind}, {o.Failing, agent.StateFailing}, {o.Unknown, agent.StateUnknown}} {
		if c.n > 0 || c.s == agent.StateOK {
			mark, look := shape(c.s)
			counts = append(counts, piece{text, "  "}, piece{look, fmt.Sprintf("%d %s", c.n, mark)})
		}
	}
	if o.Newest < 0 {
		return th.spread(width, append(counts, piece{dim, "   no status received yet"}), nil)
	}
	in, out, lag := rate(o.In)+"/s", rate(o.Out)+"/s", size(o.LagBytes)
	if o.Fresh == 0 {
		in, out = "?", "?"
	}
	if o.LagStale {
		lag = "~" + lag // some hosts are stale: their last known lag
	}
	short := append(append([]piece(nil), counts...), piece{dim, "   lag "}, piece{strong, lag})
	if w, look := trendWord(o.Trend); w != "" {
		short = append(short, piece{look, " " + w})
	}
	figures := func(rates, lags int) []piece {
		ps := append([]piece(nil), counts...)
		add := func(name, value string, v []float32, w int) {
			ps = append(ps, piece{dim, "   " + name + " "}, piece{strong, value})
			if w > 0 {
				ps = append(ps, piece{text, " "}, piece{spark, sparkline(v, w)})
			}
		}
		add("in", in, o.Series.In, rates)
		add("out", out, o.Series.Out, rates)
		add("lag", lag, o.Series.Lag, lags)
		if w, look := trendWord(o.Trend); w != "" {
			ps = append(ps, piece{look, " " + w})
		}
		return ps
	}
	for _, ps := range [][]piece{figures(10, 10), figures(8, 8), figures(0, 8), figures(0, 0)} {
		if widthOf(ps) <= width {
			return th.spread(width, ps, nil)
		}
	}
	return th.spread(width, short, nil)
}

func trendWord(t store.Trend) (string, role) {
	switch t {
	case store.TrendGrowing:
		return "growing", half
	case store.TrendDraining:
		return "draining", good
	case store.TrendSteady:
		return "steady", dim
	}
	return "", dim
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
