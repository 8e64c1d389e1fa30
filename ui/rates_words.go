package ui

import (
	"fmt"
	"math"

	"logagent/ui/store"
	"logagent/ui/termsafe"
)

// message says how the last tuning stands in width cells, the name of the entry as long as
// there is room for it; nil when there is nothing to say.
func (r *rates) message(width int) []piece {
	u := r.current
	if u == nil {
		return nil
	}
	now := r.env.now()
	if u.phase == phaseSaved && now.Sub(u.lastKey) > lookBack {
		return nil // the row says by itself that its host has not applied it
	}
	out := []piece{{strong, u.change()}, {text, "  "}}
	switch u.phase {
	case phaseEditing:
		out = append(out, piece{half, "changing"})
	case phaseSaving:
		out = append(out, piece{half, "saving"})
	case phaseSaved:
		out = append(out, piece{good, fmt.Sprintf("saved rev %d", u.revision)},
			piece{text, fmt.Sprintf("  not applied yet %s", store.Ago(now.Sub(u.savedAt)))})
		if u.hosts > 1 {
			out = append(out, piece{text, fmt.Sprintf(", %s of %s hosts run it", grouped(int64(u.running)), grouped(int64(u.hosts)))})
		}
	case phaseApplied:
		out = append(out, piece{good, fmt.Sprintf("saved rev %d  applied %.1f s", u.revision, u.applied.Seconds())})
	case phaseRefused:
		out = append(out, piece{bad, "refused: " + termsafe.Line(u.why)})
	case phaseFailed:
		out = append(out, piece{bad, "not saved: " + termsafe.Line(u.why)})
	case phaseConflict:
		out = append(out, piece{bad, "not saved: " + u.theirRate() + " meanwhile"}, piece{text, "  "}, piece{key, r.env.keys.first(actConflict)},
			piece{text, " decides about your " + perSecond(u.want)})
	case phaseUndone:
		out = append(out, piece{text, "as it was, nothing written"})
	}
	var back []piece
	if r.env.putsBack() && u.want != u.base {
		back = []piece{{text, "  "}, {key, r.env.keys.first(actBack)}, {dim, " puts " + perSecond(u.base) + " back"}}
	}
	host, service, path := termsafe.Clean(u.where()), termsafe.Clean(u.service), termsafe.Tail(termsafe.Clean(u.logPath), 40)
	names := []string{" " + host + " " + service + " " + path + " ", " " + service + " " + path + " ", " " + host + " " + service + " ", " " + service + " ", ""}
	for _, tail := range [][]piece{back, nil} { // the way back matters more than the name
		for _, name := range names {
			named := join(piece{}, []piece{{text, name + " "}}, out, tail)
			if widthOf(named) <= width {
				return named
			}
		}
	}
	if u.phase == phaseConflict {
		out = out[2:] // what to do about it matters more than from where to where
	}
	return append([]piece{{text, " "}}, out...)
}

// change is from and to in words.
func (u *tune) change() string {
	if u.phase == phaseConflict {
		return fmt.Sprintf("%s → %s", perSecond(u.base), perSecond(u.want))
	}
	if u.back {
		return "back to " + perSecond(u.want)
	}
	if u.want == u.base {
		return perSecond(u.want)
	}
	by := ""
	if u.base > 0 && u.want > 0 {
		by = fmt.Sprintf(" (%+.0f %%)", math.Round(100*float64(u.want-u.base)/float64(u.base)))
	}
	return perSecond(u.base) + " → " + perSecond(u.want) + by
}
