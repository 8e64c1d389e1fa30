package store

import (
	"math"
	"time"

	"logagent/agent"
)

// slopeMemory is how long a change of the lag's course takes to show in DRAIN: long
// enough to even out batches, short enough to see a raised rate act.
const slopeMemory = 8 * time.Second

// slope is how fast the lag grows, in bytes per second. A lag in bytes changes by what is
// appended less what is acknowledged, so this is in − out measured in bytes, which a
// summary does not carry.
type slope struct {
	at    time.Time
	lag   float64
	value float64
	known bool
}

func (s *slope) add(at time.Time, lag float64) {
	dt := at.Sub(s.at).Seconds()
	if !s.at.IsZero() && dt < 0.2 {
		return
	}
	if !s.at.IsZero() && dt < 60 {
		now := (lag - s.lag) / dt
		if !s.known {
			s.value, s.known = now, true
		} else {
			s.value += (1 - math.Exp(-dt/slopeMemory.Seconds())) * (now - s.value)
		}
	} else {
		s.known = false
	}
	s.at, s.lag = at, lag
}

// seed takes the course from a reported history, so that it is known with the first status.
func (s *slope) seed(h *agent.History, end time.Time) {
	n := len(h.Lag)
	if s.known || n < 2 || h.StepSeconds <= 0 {
		return
	}
	back := min(n-1, max(1, 30/h.StepSeconds))
	s.value = float64(h.Lag[n-1]-h.Lag[n-1-back]) / float64(back*h.StepSeconds)
	s.known = true
	s.at, s.lag = end, float64(h.Lag[n-1])
}

// drainBySlope is lag / (out − in) with out − in taken from the lag's own course.
func drainBySlope(lag int64, s *slope) Drain {
	if !s.known {
		return Drain{Kind: DrainUnknown}
	}
	return drain(float64(lag), -s.value)
}

// drain is lag / excess, where excess is out − in in bytes per second.
func drain(lag, excess float64) Drain {
	if lag <= 0 {
		return Drain{}
	}
	// A surplus that would need a year is no surplus.
	if excess <= 0 || lag/excess > (365*24*time.Hour).Seconds() {
		return Drain{Kind: DrainNever}
	}
	return Drain{Kind: DrainIn, After: time.Duration(lag / excess * float64(time.Second))}
}
