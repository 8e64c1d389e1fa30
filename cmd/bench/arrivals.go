package main

import "time"

// arrivalBin is how near to each other lines count as come together: at 2,000 lines a
// second, a fifth of the time from one to the next.
const arrivalBin = int64(100 * time.Microsecond)

// arrival is lines that came within the same bin.
type arrival struct {
	Nano  int64 `json:"t"` // when the first of them came
	Lines int64 `json:"n"`
}

// arrivals is when lines came, in order.
type arrivals []arrival

// add takes note of lines. Requests on several connections may overtake each other by
// less than a bin.
func (a arrivals) add(nano, lines int64) arrivals {
	if n := len(a); n > 0 && nano/arrivalBin <= a[n-1].Nano/arrivalBin {
		a[n-1].Lines += lines
		return a
	}
	return append(a, arrival{nano, lines})
}

// between counts the lines that came from one time to just before another.
func (a arrivals) between(from, to int64) (n int64) {
	for _, x := range a {
		if x.Nano >= from && x.Nano < to {
			n += x.Lines
		}
	}
	return n
}

// since leaves out what came before a time.
func (a arrivals) since(nano int64) arrivals {
	for len(a) > 0 && a[0].Nano < nano {
		a = a[1:]
	}
	return a
}

// depth is how deep a token bucket that fills at the given rate (lines per second) must at
// least be to let all arrivals through: the most that any span of time had above the rate.
func (a arrivals) depth(rate float64) float64 {
	var level, deepest float64
	for i, x := range a {
		if i > 0 {
			level = max(0, level-rate*time.Duration(x.Nano-a[i-1].Nano).Seconds())
		}
		level += float64(x.Lines)
		deepest = max(deepest, level)
	}
	return deepest
}

// nth is when the nth line came, counted from 1.
func (a arrivals) nth(n int64) (nano int64, ok bool) {
	for _, x := range a {
		if n -= x.Lines; n <= 0 {
			return x.Nano, true
		}
	}
	return 0, false
}

// lastBeyond is when the last lines came that a bucket of that depth and rate would not
// have let through; all later ones fit.
func (a arrivals) lastBeyond(rate, depth float64) (nano int64, ok bool) {
	for i := len(a) - 1; i >= 0; i-- {
		if a[i:].depth(rate) > depth {
			return a[i].Nano, true
		}
	}
	return 0, false
}
