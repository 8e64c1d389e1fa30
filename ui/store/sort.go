package store

import (
	"cmp"
	"math"
	"strings"

	"logagent/agent"
)

// Sort names what rows are ordered by. Numbers come greatest first, names from A; what is
// not known comes last in either direction.
type Sort int

const (
	SortWorst   Sort = iota // failing, behind, unknown, then the rest by name
	SortName                // host or path
	SortService             // files only
	SortFiles               // hosts only
	SortLag
	SortBehind
	SortDrain
	SortIn
	SortOut
	SortLimit
	SortThrottle
	SortErrors // hosts only
	SortConfig // hosts only
	SortCause  // files only
)

func (d Drain) seconds() float64 {
	switch d.Kind {
	case DrainIn:
		return d.After.Seconds()
	case DrainNever:
		return math.Inf(1)
	case DrainUnknown:
		return math.NaN()
	}
	return 0
}

// severity orders states, worst first.
func severity(s agent.State) int {
	switch s {
	case agent.StateFailing:
		return 0
	case agent.StateBehind:
		return 1
	case agent.StateOK:
		return 4
	case agent.StatePaused:
		return 3
	}
	return 2 // unknown
}

// hostRank is what 10,000 hosts are sorted by at every pull: two numbers, the smaller
// first, and the place among the names. Comparing the rows themselves takes ten times as long.
type hostRank struct {
	first, second float64
	place         int32
}

func (a hostRank) compare(b hostRank) int {
	switch {
	case a.first != b.first:
		return cmp.Compare(a.first, b.first)
	case a.second != b.second:
		return cmp.Compare(a.second, b.second)
	}
	return int(a.place - b.place)
}

// hostKey gives the two numbers of a host, its place among the names being known.
func hostKey(by Sort, reverse bool) func(place int, r *HostRow) (float64, float64) {
	sign := -1.0 // the greatest first
	if reverse {
		sign = 1
	}
	figure := func(f func(*HostRow) float64) func(int, *HostRow) (float64, float64) {
		return func(_ int, r *HostRow) (float64, float64) {
			v := f(r)
			if v != v {
				return 1, 0 // what is not known comes last
			}
			return 0, sign * v
		}
	}
	status := func(f func(*HostRow) float64) func(int, *HostRow) (float64, float64) {
		return figure(func(r *HostRow) float64 {
			if !r.HasStatus || r.Stale {
				return math.NaN()
			}
			return f(r)
		})
	}
	switch by {
	case SortName:
		return func(place int, _ *HostRow) (float64, float64) { return -sign * float64(place), 0 }
	case SortFiles:
		return figure(func(r *HostRow) float64 { return float64(r.Files) })
	case SortLag:
		return status(func(r *HostRow) float64 { return float64(r.LagBytes) })
	case SortBehind:
		return status(func(r *HostRow) float64 { return r.BehindFor.Seconds() })
	case SortDrain:
		return status(func(r *HostRow) float64 { return r.Drain.seconds() })
	case SortIn:
		return status(func(r *HostRow) float64 { return r.In })
	case SortOut:
		return status(func(r *HostRow) float64 { return r.Out })
	case SortLimit:
		return status(func(r *HostRow) float64 { return limitRank(r.Limit) })
	case SortThrottle:
		return status(func(r *HostRow) float64 { return float64(r.Throttle) })
	case SortErrors:
		return figure(func(r *HostRow) float64 { return float64(r.Failing) })
	case SortConfig:
		return figure(func(r *HostRow) float64 {
			return [...]float64{ConfigUnknown: 1, ConfigRunning: 0, ConfigPending: 2, ConfigRefused: 3}[r.Config]
		})
	}
	return func(_ int, r *HostRow) (float64, float64) {
		sev := severity(r.State)
		if sev > severity(agent.StateBehind) {
			return -sign * float64(sev), 0 // numbers that only flicker move no row
		}
		return -sign * float64(sev), sign * float64(r.LagBytes)
	}
}

// fileOrder compares two files; a negative result puts the first before. One host's files
// are few enough to be compared as they are.
func fileOrder(by Sort, reverse bool) func(a, b *FileRow) int {
	text := func(f func(*FileRow) string) func(a, b *FileRow) int {
		return func(a, b *FileRow) int { return strings.Compare(f(a), f(b)) }
	}
	figure := func(f func(*FileRow) float64) func(a, b *FileRow) int {
		return func(a, b *FileRow) int { return cmp.Compare(f(b), f(a)) } // the greatest first
	}
	unknown := func(r *FileRow) bool { return !r.Numbers }
	var order func(a, b *FileRow) int
	switch by {
	case SortName:
		order, unknown = text(func(r *FileRow) string { return r.Path }), nil
	case SortService:
		order, unknown = text(func(r *FileRow) string { return r.Service }), nil
	case SortCause:
		order, unknown = text(func(r *FileRow) string { return r.Cause }), nil
	case SortLag:
		order = figure(func(r *FileRow) float64 { return float64(r.LagBytes) })
	case SortBehind:
		order = figure(func(r *FileRow) float64 { return r.BehindFor.Seconds() })
	case SortDrain:
		order = figure(func(r *FileRow) float64 { return r.Drain.seconds() })
		unknown = func(r *FileRow) bool { return !r.Numbers || r.Drain.Kind == DrainUnknown }
	case SortIn:
		order = figure(func(r *FileRow) float64 { return r.In })
	case SortOut:
		order = figure(func(r *FileRow) float64 { return r.Out })
	case SortLimit:
		order, unknown = figure(func(r *FileRow) float64 { return limitRank(r.Limit) }), nil
	case SortThrottle:
		order = figure(func(r *FileRow) float64 { return float64(r.Throttle) })
	default:
		order, unknown = worstFile, nil
	}
	return func(a, b *FileRow) int {
		if unknown != nil && unknown(a) != unknown(b) {
			if unknown(a) {
				return 1
			}
			return -1
		}
		c := order(a, b)
		if reverse {
			c = -c
		}
		if c == 0 || unknown != nil && unknown(a) {
			return strings.Compare(a.Key, b.Key)
		}
		return c
	}
}

// worstFile keeps what is fine in the order of paths: numbers that only flicker move no row.
func worstFile(a, b *FileRow) int {
	c := cmp.Compare(severity(a.State), severity(b.State))
	if c == 0 && severity(a.State) <= severity(agent.StateBehind) {
		c = cmp.Compare(b.LagBytes, a.LagBytes)
	}
	return c
}

// limitRank: no limit is the greatest one.
func limitRank(limit int64) float64 {
	if limit == 0 {
		return math.Inf(1)
	}
	return float64(limit)
}
