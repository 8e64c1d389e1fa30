package lab

import (
	"context"
	"math"
	"time"
)

// pace is how often a writer writes what has come due.
const pace = 50 * time.Millisecond

// wave is how the traffic of one log varies: a slow tide, a faster swell on it, and a
// surge now and then.
type wave struct {
	mean   float64 // lines per second
	tide   float64 // share of mean the slow change adds and takes away
	swell  float64 // the same for the fast one
	surge  float64 // times mean that a surge adds for a short while; 0: none
	offset time.Duration
}

// Periods of the parts of a wave. They share no short common multiple, so that no two
// minutes look the same.
const (
	tidePeriod  = 7 * time.Minute
	swellPeriod = 47 * time.Second
	surgePeriod = 83 * time.Second
	surgeLength = 6 * time.Second
)

// at returns the lines per second at a time since the start.
func (w wave) at(elapsed time.Duration) float64 {
	t := elapsed + w.offset
	turn := func(period time.Duration) float64 {
		return math.Sin(2 * math.Pi * t.Seconds() / period.Seconds())
	}
	rate := w.mean * (1 + w.tide*turn(tidePeriod) + w.swell*turn(swellPeriod))
	if t%surgePeriod < surgeLength {
		rate += w.mean * w.surge
	}
	return max(0, rate)
}

// paced calls write with the number of lines that have come due at the given rate (lines
// per second), until ctx ends or write fails. What a slow machine could not write in time
// is written later, at most one second of it.
func paced(ctx context.Context, rate func(elapsed time.Duration) float64, write func(now time.Time, n int) error) error {
	start := time.Now()
	last, due := start, 0.0
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now()
		perSecond := rate(now.Sub(start))
		due = min(due+perSecond*now.Sub(last).Seconds(), max(1, perSecond))
		last = now
		if n := int(due); n > 0 {
			if err := write(now, n); err != nil {
				return err
			}
			due -= float64(n)
		}
	}
}
