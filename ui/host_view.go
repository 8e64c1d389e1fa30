package ui

import (
	"fmt"
	"strings"
	"time"

	"logagent/agent"
	"logagent/ui/store"
	"logagent/ui/termsafe"
)

func (p *hostPage) View(width, height int) []string {
	th := p.env.theme
	lines := []string{p.agentLine(width)}
	if p.filtered() {
		lines = append(lines, p.filterLine(width, "all files"))
	}
	cols := layout(p.columns(width), width)
	lines = append(lines, titles(th, cols, width, p.by, p.reverse))
	rows := max(height-len(lines)-p.below(), 1)
	for i := range rows {
		k := p.at(i)
		if k < 0 {
			lines = append(lines, p.empty(i, width))
			continue
		}
		lines = append(lines, p.row(cols, k, p.offset+i == p.index, width))
	}
	lines = append(lines, p.bottom(width)...)
	for len(lines) < height {
		lines = append(lines, th.line().to(width).String())
	}
	return lines[:max(height, 0)]
}

func (p *hostPage) empty(i, width int) string {
	l := p.env.theme.line()
	if i != 0 || p.given > 0 || p.view.At.IsZero() {
		return l.to(width).String()
	}
	why := "no entries are wanted on this host and none run"
	switch {
	case p.filtered() && p.view.Total > 0:
		why = "no file matches; " + p.env.keys.first(actBack) + " shows all"
	case p.view.Row.HasStatus && p.view.Detail == nil:
		why = "waiting for detail " + store.Ago(p.env.clock.Sub(p.opened))
		if p.agentless() {
			why = "no agent is running"
		}
	case !p.view.Known:
		why = "this host is gone: no document, no agent"
	}
	return l.blank(lead).put(dim, termsafe.Head(why, max(width-lead, 0))).to(width).String()
}

func (p *hostPage) row(cols []placed, k int, current bool, width int) string {
	r := &p.view.Rows[k]
	l := p.env.theme.lead(current)
	sign, look := shape(r.State)
	l.put(look, sign)
	mark, markLook := p.drift(r)
	l.put(markLook, mark)
	return row(l, cols, k, width)
}

// bottom is the selected row's course and details.
func (p *hostPage) bottom(width int) []string {
	th := p.env.theme
	i := p.selected()
	if i < 0 {
		out := []string{rule(th, "", width)}
		for range p.graphHeight() + 1 {
			out = append(out, th.line().to(width).String())
		}
		return out
	}
	r := &p.view.Rows[i]
	out := []string{rule(th, termsafe.Clean(r.Path), width)}
	if n := p.graphHeight(); n > 0 {
		if len(r.Series.In) > 0 {
			out = append(out, th.graph(r.Series, r.Limit, width, n)...)
		} else {
			for k := range n {
				l := th.line()
				if k == n/2 {
					l.put(dim, termsafe.Head("   no figures: "+p.cause(r), width))
				}
				out = append(out, l.to(width).String())
			}
		}
	}
	return append(out, p.details(r, width))
}

// details is the line under the graph.
func (p *hostPage) details(r *store.FileRow, width int) string {
	var ps []piece
	add := func(name, value string) {
		if value == "" {
			return
		}
		item := []piece{{dim, " " + name + " "}, {text, value + "  "}}
		if len(ps) == 0 || widthOf(ps)+widthOf(item) <= width+2 { // whole or not at all
			ps = append(ps, item...)
		}
	}
	if r.Entry != nil && isGroup(r.Entry.DocHost) {
		add("from", strings.TrimPrefix(groupWords(r.Entry.DocHost, p.sizes[r.Entry.DocHost]), "the group "))
	}
	add("topic", termsafe.Clean(r.Topic))
	if f := r.File; f != nil {
		add("committed", grouped(f.CommittedBytes)+" of "+grouped(f.SizeBytes))
		if f.PartialBytes > 0 {
			add("unfinished line", size(f.PartialBytes))
		}
		if f.RotatedFiles > 0 {
			add("rotated files being read", fmt.Sprintf("%d, %s unread", f.RotatedFiles, size(f.RotatedBytes)))
		}
		if f.DeletedBytes > 0 {
			add("deleted but held", size(f.DeletedBytes))
		}
		add("inode", fmt.Sprint(f.Inode))
		t := &f.Totals
		for _, c := range []struct {
			name string
			n    uint64
		}{{"doubled", t.Doubled}, {"lost bytes", t.LostBytes}, {"split", t.Split}, {"truncated", t.Truncated}, {"skipped", t.Skipped}} {
			if c.n > 0 {
				add(c.name, grouped(int64(c.n)))
			}
		}
	} else if r.Entry != nil {
		add("service", termsafe.Clean(r.Service))
		add("send_rate", exact(r.Entry.Service.SendRate))
	}
	if r.LogPath != r.Path {
		add("entry", termsafe.Tail(termsafe.Clean(r.LogPath), 40))
	}
	return p.env.theme.spread(width, ps, nil)
}

// cause in words; while no detail has come, how long it has been waited for.
func (p *hostPage) cause(r *store.FileRow) string {
	c := termsafe.Line(r.Cause)
	if r.Kind == store.KindWaiting && r.State == agent.StateUnknown && p.view.Detail == nil {
		if p.agentless() {
			return "no agent is running"
		}
		c += " " + store.Ago(p.env.clock.Sub(p.opened))
	}
	if r.Stale {
		c = "stale " + store.Ago(p.view.DetailAge) + ": " + c
	}
	return c
}

// agentless tells whether nobody is there to send detail, as far as etcd and Kafka tell.
func (p *hostPage) agentless() bool {
	r := &p.view.Row
	return r.Live == nil && (!r.HasStatus || r.Stale) && p.view.Overview.Revision != 0
}

// agentLine is the second status line: the agent itself and its config.
func (p *hostPage) agentLine(width int) string {
	th, r := p.env.theme, &p.view.Row
	if p.view.At.IsZero() {
		return th.line().to(width).String()
	}
	who := p.who()
	lag := []piece{{lost, "lag ?"}}
	if r.HasStatus && !r.Stale {
		lag = []piece{{dim, "lag "}, {strong, size(r.LagBytes)}, {dim, "  behind "}, {strong, behind(r.BehindFor, r.BehindAtLeast)}}
	} else if r.Stale {
		lag = []piece{{lost, "stale " + store.Ago(r.Age)}}
	}
	lag = append(lag, piece{text, " "})
	variants := configWords(r)
	for _, cfg := range variants {
		for n := len(who); n > 1; n-- { // the narrower the screen, the less of the agent
			ps := append([]piece{{text, " "}}, who[:n]...)
			ps = append(append(ps, piece{dim, "   config "}), cfg...)
			if widthOf(ps)+widthOf(lag)+1 <= width {
				return th.spread(width, ps, lag)
			}
		}
	}
	for _, cfg := range variants {
		if ps := append([]piece{{dim, " config "}}, cfg...); widthOf(ps)+widthOf(lag)+1 <= width {
			return th.spread(width, ps, lag)
		}
	}
	return th.spread(width, append([]piece{{text, " "}}, variants[len(variants)-1]...), lag)
}

// who is the agent in pieces, the most important first.
func (p *hostPage) who() []piece {
	live, d := p.view.Row.Live, p.view.Detail
	var version string
	var started time.Time
	switch {
	case d != nil && p.view.DetailAge < p.view.Row.Age+10*time.Second:
		version, started = d.Version, p.view.At.Add(-p.view.DetailAge).Add(-d.At.Sub(d.Started))
	case live != nil:
		version, started = live.Version, live.Started
	default:
		return []piece{{lost, "no agent"}}
	}
	name := "agent"
	if v := termsafe.Head(termsafe.Clean(version), 16); v != "" {
		name += " " + v
	}
	ps := []piece{{text, name}, {text, " up " + store.Compact(p.env.clock.Sub(started))}}
	if d == nil {
		return append(ps, piece{dim, "   waiting for detail " + store.Ago(p.env.clock.Sub(p.opened))})
	}
	kafka := "   kafka ✕"
	look := bad
	if d.Kafka.Up {
		kafka, look = fmt.Sprintf("   kafka ack %s ms", strings.TrimSuffix(fmt.Sprintf("%.1f", d.Kafka.LatencyMS), ".0")), text
	}
	return append(ps, piece{look, kafka},
		piece{text, fmt.Sprintf("   cpu %.1f%%", d.Process.CPUPercent)},
		piece{text, fmt.Sprintf("  rss %s", size(d.Process.RSSBytes))})
}
