package store

import (
	"math"
	"time"

	"logagent/agent"
)

// The last ten minutes are kept in steps of the store's own clock.
const (
	Step  = 10 * time.Second
	Steps = 60
)

// ring is the last ten minutes of one host or file. A slot is the mean of what was
// reported within its step; a step without a report is a gap and is drawn as one.
type ring struct {
	newest int64 // number of the newest slot since 1970; 0: empty
	in     [Steps]float32
	out    [Steps]float32
	lag    [Steps]float32 // bytes
	n      [Steps]uint16  // samples in the slot; 0: a gap
}

func slotOf(t time.Time) int64 { return t.UnixNano() / int64(Step) }

// advance makes slot the newest one and clears what it passes.
func (r *ring) advance(slot int64) {
	if slot <= r.newest {
		return
	}
	for s := max(r.newest+1, slot-Steps+1); s <= slot; s++ {
		r.n[s%Steps] = 0
	}
	r.newest = slot
}

func (r *ring) holds(slot int64) bool { return slot <= r.newest && slot > r.newest-Steps && slot > 0 }

// add takes one report into the slot of t.
func (r *ring) add(t time.Time, in, out, lag float64) {
	slot := slotOf(t)
	r.advance(slot)
	if !r.holds(slot) {
		return
	}
	i := slot % Steps
	if r.n[i] == 0 {
		r.in[i], r.out[i], r.lag[i], r.n[i] = float32(in), float32(out), float32(lag), 1
		return
	}
	r.n[i]++
	n := float32(r.n[i])
	r.in[i] += (float32(in) - r.in[i]) / n
	r.out[i] += (float32(out) - r.out[i]) / n
	r.lag[i] += (float32(lag) - r.lag[i]) / n
}

// fill puts a reported history, whose newest step ended at end, into the gaps. Slots with
// reports of their own are finer and stay. It tells whether there was any gap to fill.
func (r *ring) fill(h *agent.History, end time.Time) (filled bool) {
	count := min(len(h.In), len(h.Out), len(h.Lag))
	if count == 0 || h.StepSeconds <= 0 {
		return false
	}
	step := time.Duration(h.StepSeconds) * time.Second
	r.advance(slotOf(end))
	for slot := r.newest - Steps + 1; slot <= r.newest; slot++ {
		i := slot % Steps
		if slot <= 0 || r.n[i] > 0 {
			continue
		}
		middle := time.Unix(0, slot*int64(Step)).Add(Step / 2)
		back := int(end.Sub(middle) / step)
		if middle.After(end) || back >= count {
			continue
		}
		k := count - 1 - back
		r.in[i], r.out[i], r.lag[i], r.n[i] = float32(h.In[k]), float32(h.Out[k]), float32(h.Lag[k]), 1
		filled = true
	}
	return filled
}

// Series is the last ten minutes, oldest first, one value a Step; NaN is a gap. The last
// value is the step that is still running.
type Series struct {
	In, Out, Lag []float32
}

// series copies the ring as seen at now.
func (r *ring) series(now time.Time) Series {
	buf := make([]float32, 3*Steps)
	s := Series{In: buf[:Steps:Steps], Out: buf[Steps : 2*Steps : 2*Steps], Lag: buf[2*Steps:]}
	last, nan := slotOf(now), float32(math.NaN())
	for k := range Steps {
		slot := last - Steps + 1 + int64(k)
		if !r.holds(slot) || r.n[slot%Steps] == 0 {
			s.In[k], s.Out[k], s.Lag[k] = nan, nan, nan
			continue
		}
		i := slot % Steps
		s.In[k], s.Out[k], s.Lag[k] = r.in[i], r.out[i], r.lag[i]
	}
	return s
}

// addTo sums the ring into the fleet's own line. A lag stays on disk while nobody reports
// it, so its last known value is carried on; what flows in and out is not known then.
func (r *ring) addTo(sum *Series, last int64) {
	if r.newest == 0 {
		return
	}
	lag, known := float32(0), false
	for slot := max(last-Steps+1, 1); slot <= last; slot++ {
		i, k := slot%Steps, slot-(last-Steps+1)
		told := r.holds(slot) && r.n[i] > 0
		if told {
			lag, known = r.lag[i], true
			add(&sum.In[k], r.in[i])
			add(&sum.Out[k], r.out[i])
		}
		if known {
			add(&sum.Lag[k], lag)
		}
	}
}

// add makes a number of a gap with its first value.
func add(sum *float32, v float32) {
	if *sum != *sum {
		*sum = 0
	}
	*sum += v
}
