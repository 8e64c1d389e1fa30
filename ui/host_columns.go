package ui

import (
	"fmt"

	"logagent/agent"
	"logagent/ui/store"
	"logagent/ui/termsafe"
)

func (p *hostPage) columns(width int) []column {
	path, service, cause := 8, 7, 8
	for i := range p.visible {
		if k := p.at(i); k >= 0 {
			r := &p.view.Rows[k]
			path = max(path, termsafe.Width(termsafe.Clean(r.Path)))
			service = max(service, termsafe.Width(termsafe.Clean(r.Service))+termsafe.Width(origin(r)))
			cause = max(cause, termsafe.Width(p.cause(r)))
		}
	}
	file := column{title: "FILE", full: min(path, max(width/3, 28)), narrow: min(path, max(width/4-4, 18)), sort: store.SortName, draw: p.drawPath}
	if p.env.wide {
		file.full, file.narrow = path, min(path, max(width-lead, 1))
	}
	causeNarrow := 22
	if width < 72 {
		causeNarrow = 16
	}
	num := func(title string, width, rank int, by store.Sort, f func(*store.FileRow) (role, string)) column {
		return column{title: title, full: width, rank: rank, right: true, sort: by, draw: func(l *line, i, w int) {
			r := &p.view.Rows[i]
			look, s := f(r)
			if r.Stale {
				look = lost
			}
			l.right(look, s, w)
		}}
	}
	return []column{
		file,
		{title: "SERVICE", full: min(service, 26), narrow: min(service, 12), rank: 7, sort: store.SortService, draw: func(l *line, i, w int) {
			r := &p.view.Rows[i]
			from := origin(r)
			name := termsafe.Head(termsafe.Clean(r.Service), max(w-termsafe.Width(from), w/2))
			l.put(text, name).left(dim, from, w-termsafe.Width(name))
		}},
		num("LAG", 8, 2, store.SortLag, func(r *store.FileRow) (role, string) {
			if !r.Numbers {
				return dim, "-"
			}
			if r.State != agent.StateOK {
				return strong, size(r.LagBytes)
			}
			return text, size(r.LagBytes)
		}),
		num("BEHIND", 7, 5, store.SortBehind, func(r *store.FileRow) (role, string) {
			if !r.Numbers {
				return dim, "-"
			}
			return text, behind(r.BehindFor, r.BehindAtLeast)
		}),
		num("DRAIN", 7, 8, store.SortDrain, func(r *store.FileRow) (role, string) {
			if !r.Numbers {
				return dim, "-"
			}
			if r.Drain.Kind == store.DrainNever {
				return half, "never"
			}
			return text, drain(r.Drain)
		}),
		num("IN/s", 7, 6, store.SortIn, func(r *store.FileRow) (role, string) {
			if !r.Numbers {
				return dim, "-"
			}
			return text, estimate(r.In, r.InEstimate)
		}),
		num("OUT/s", 7, 4, store.SortOut, func(r *store.FileRow) (role, string) {
			if !r.Numbers {
				return dim, "-"
			}
			return text, rate(r.Out)
		}),
		num("LIMIT/s", 8, 3, store.SortLimit, func(r *store.FileRow) (role, string) {
			if r.Entry != nil {
				if v, pending := p.env.rates.pending(p.host, r.Entry); pending {
					return half, exact(v)
				}
			}
			return text, exact(r.Limit)
		}),
		num("THR", 4, 10, store.SortThrottle, func(r *store.FileRow) (role, string) {
			if !r.Numbers {
				return dim, "-"
			}
			look := text
			if r.Throttle > 0 {
				look = half
			}
			return look, fmt.Sprintf("%d%%", r.Throttle)
		}),
		{title: "CAUSE", full: min(cause, 34), narrow: min(cause, causeNarrow), rank: 1, sort: store.SortCause, draw: p.drawCause},
		{title: last10, brief: "LAST 10M", full: 16, narrow: 8, rank: 9, draw: func(l *line, i, w int) {
			if s := p.view.Rows[i].Series; len(s.In) > 0 && p.view.Rows[i].Numbers {
				drawLast10(l, s, w)
			} else {
				l.blank(w)
			}
		}},
	}
}

func (p *hostPage) drawPath(l *line, i, w int) {
	r := &p.view.Rows[i]
	look := text
	if r.State == agent.StateBehind || r.State == agent.StateFailing {
		look = strong
	}
	l.left(look, termsafe.Tail(termsafe.Clean(r.Path), w), w)
}

func (p *hostPage) drawCause(l *line, i, w int) {
	r := &p.view.Rows[i]
	_, look := shape(r.State)
	if r.State == agent.StateOK {
		look = text
	}
	l.left(look, p.cause(r), w)
}

// origin marks an entry that its host has from a group.
func origin(r *store.FileRow) string {
	if r.Entry == nil || !isGroup(r.Entry.DocHost) {
		return ""
	}
	return " " + termsafe.Clean(r.Entry.DocHost)
}
