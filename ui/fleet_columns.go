package ui

import (
	"fmt"
	"strings"
	"time"

	"logagent/agent"
	"logagent/ui/store"
	"logagent/ui/termsafe"
)

// last10 is the title of the column that tells how things went.
const last10 = "LAST 10 MIN"

func (p *fleetPage) columns() []column {
	name := p.hostWidth()
	host := column{title: "HOST", full: min(name, 24), narrow: min(name, 20), sort: store.SortName, draw: p.drawHost}
	if p.env.wide {
		host.full, host.narrow = name, name
	} else if name <= 40 {
		host.full = name
	}
	num := func(title string, width, rank int, by store.Sort, f func(*store.HostRow) (role, string)) column {
		return column{title: title, full: width, rank: rank, right: true, sort: by, draw: func(l *line, i, w int) {
			look, s := f(&p.view.Rows[i])
			l.right(look, s, w)
		}}
	}
	return []column{
		host,
		num("FILES", 6, 8, store.SortFiles, func(r *store.HostRow) (role, string) {
			if !r.HasStatus && r.Files == 0 {
				return lost, "-"
			}
			return text, fmt.Sprint(r.Files)
		}),
		num("LAG", 8, 1, store.SortLag, func(r *store.HostRow) (role, string) {
			if !r.HasStatus || r.Stale {
				return lost, "?"
			}
			if r.State == agent.StateBehind || r.State == agent.StateFailing {
				return strong, size(r.LagBytes)
			}
			return text, size(r.LagBytes)
		}),
		num("BEHIND", 7, 2, store.SortBehind, func(r *store.HostRow) (role, string) {
			if !r.HasStatus {
				return lost, "?"
			}
			if r.Stale {
				return lost, store.Compact(r.Age)
			}
			return text, behind(r.BehindFor, r.BehindAtLeast)
		}),
		num("DRAIN", 7, 6, store.SortDrain, func(r *store.HostRow) (role, string) {
			if !r.HasStatus || r.Stale {
				return lost, "?"
			}
			if r.Drain.Kind == store.DrainNever {
				return half, "never"
			}
			return text, drain(r.Drain)
		}),
		num("IN/s", 7, 5, store.SortIn, func(r *store.HostRow) (role, string) {
			if !r.HasStatus || r.Stale {
				return lost, "-"
			}
			return text, estimate(r.In, r.InEstimate)
		}),
		num("OUT/s", 7, 3, store.SortOut, func(r *store.HostRow) (role, string) {
			if !r.HasStatus || r.Stale {
				return lost, "-"
			}
			return text, rate(r.Out)
		}),
		num("LIMIT/s", 8, 3, store.SortLimit, p.limitCell),
		{title: "THROTTLED", brief: "THR", full: 13, narrow: 4, whole: true, rank: 7, right: true, sort: store.SortThrottle, draw: p.drawThrottle},
		num("ERR", 4, 9, store.SortErrors, func(r *store.HostRow) (role, string) {
			if !r.HasStatus || r.Stale {
				return lost, "-"
			}
			if r.Failing > 0 {
				return bad, fmt.Sprint(r.Failing)
			}
			return text, "0"
		}),
		num("CFG", 4, 4, store.SortConfig, p.configCell),
		{title: last10, brief: "LAST 10M", full: 16, narrow: 8, rank: 10, draw: p.drawLast},
	}
}

// estimate marks a figure that lines not yet read make an estimate.
func estimate(v float64, is bool) string {
	if is {
		return "~" + rate(v)
	}
	return rate(v)
}

func (p *fleetPage) drawHost(l *line, i, w int) {
	r := &p.view.Rows[i]
	name := termsafe.Clean(r.Host)
	look := text
	if r.State == agent.StateBehind || r.State == agent.StateFailing {
		look = strong
	}
	if p.env.own(r.Host) && termsafe.Width(name)+len(here) <= w {
		l.put(look, name).left(dim, here, w-termsafe.Width(name))
		return
	}
	l.left(look, name, w)
}

// limitCell is the rate as wanted while it is changed, else as it runs.
func (p *fleetPage) limitCell(r *store.HostRow) (role, string) {
	if len(r.Entries) == 1 {
		e := &r.Entries[0]
		if v, pending := p.env.rates.pending(r.Host, e); pending {
			return half, exact(v)
		}
		if !r.HasStatus {
			return lost, exact(e.Service.SendRate)
		}
	}
	if !r.HasStatus {
		return lost, "-"
	}
	look := text
	if r.Stale {
		look = lost
	}
	if r.Limit == 0 && limited(r.Entries) {
		return look, "mixed" // some entries have a limit, some none
	}
	return look, exact(r.Limit)
}

func limited(es []store.Entry) bool {
	for i := range es {
		if es[i].Service.SendRate > 0 {
			return len(es) > 1
		}
	}
	return false
}

func (p *fleetPage) configCell(r *store.HostRow) (role, string) {
	for i := range r.Entries {
		if _, pending := p.env.rates.pending(r.Host, &r.Entries[i]); pending {
			return half, "↻"
		}
	}
	switch r.Config {
	case store.ConfigRunning:
		return good, "✓"
	case store.ConfigPending:
		return half, "↻"
	case store.ConfigRefused:
		return bad, "✕"
	}
	return lost, "?"
}

func (p *fleetPage) drawThrottle(l *line, i, w int) {
	r := &p.view.Rows[i]
	share := fmt.Sprintf("%d%%", r.Throttle)
	if !r.HasStatus || r.Stale {
		l.right(lost, "-", w)
		return
	}
	look := text
	if r.Throttle > 0 {
		look = half
	}
	if w < 13 {
		l.right(look, share, w)
		return
	}
	l.put(look, bar(r.Throttle, 8)).right(look, share, w-8)
}

func (p *fleetPage) drawLast(l *line, i, w int) {
	r := &p.view.Rows[i]
	switch {
	case r.Gone > 0:
		l.left(lost, goneWords(r.Gone, w), w)
	case !r.HasStatus && r.Live == nil:
		l.left(lost, "no agent", w)
	case !r.HasStatus:
		l.left(lost, "no status yet", w)
	case r.Stale:
		s := "stale " + store.Ago(r.Age)
		if len(s) > w {
			s = "stale"
		}
		l.left(lost, s, w)
	default:
		drawLast10(l, r.Series, w)
	}
}

// drawLast10 draws the lag's course, or that of what goes out where there was no lag.
func drawLast10(l *line, s store.Series, w int) {
	if flat(s.Lag) {
		l.left(sparkDim, sparkline(s.Out, w), w)
		return
	}
	l.left(spark, sparkline(s.Lag, w), w)
}

// goneWords is for how long a host has no agent, in width cells.
func goneWords(d time.Duration, width int) string {
	exact := store.Compact(d)
	day := exact
	if i := strings.IndexByte(exact, 'd'); i > 0 {
		day = exact[:i+1]
	}
	for _, s := range []string{"gone ≥ " + exact, "gone ≥" + day, "≥" + day} {
		if termsafe.Width(s) <= width {
			return s
		}
	}
	return "gone"
}
