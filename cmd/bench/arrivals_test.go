package main

import (
	"testing"
	"time"
)

// came makes arrivals of pairs of milliseconds and lines.
func came(pairs ...int64) (a arrivals) {
	for i := 0; i < len(pairs); i += 2 {
		a = a.add(pairs[i]*int64(time.Millisecond), pairs[i+1])
	}
	return a
}

// even is n lines, one at a time, at a rate.
func even(n int64, rate float64) (a arrivals) {
	for i := range n {
		a = a.add(int64(float64(i)/rate*1e9), 1)
	}
	return a
}

func TestLinesOfOneBinAreOneArrival(t *testing.T) {
	t.Parallel()
	var a arrivals
	a = a.add(5*arrivalBin+1, 2)
	a = a.add(6*arrivalBin-1, 3)
	a = a.add(6*arrivalBin, 1)
	a = a.add(5*arrivalBin, 4) // overtaken on another connection
	if len(a) != 2 || a[0] != (arrival{5*arrivalBin + 1, 5}) || a[1] != (arrival{6 * arrivalBin, 5}) {
		t.Errorf("arrivals are %v", a)
	}
}

func TestBetweenCountsItsBeginAndNotItsEnd(t *testing.T) {
	t.Parallel()
	a := came(10, 1, 20, 2, 30, 4, 40, 8)
	if n := a.between(20e6, 40e6); n != 6 {
		t.Errorf("%d lines, want 6", n)
	}
	if b := a.since(30e6); len(b) != 2 || b[0].Lines != 4 {
		t.Errorf("since then came %v", b)
	}
}

func TestDepthIsTheMostThatAnySpanHasAboveTheRate(t *testing.T) {
	t.Parallel()
	near := func(a, b float64) bool { return max(a-b, b-a) < 1e-6 }
	for _, c := range []struct {
		name string
		a    arrivals
		want float64
	}{
		{"nothing", nil, 0},
		{"one line at a time", even(1000, 1000), 1},
		{"a hundred every tenth of a second", came(0, 100, 100, 100, 200, 100), 100},
		{"twice the rate for 50 ms", even(100, 2000), 50.5},
		{"a burst after a pause is not forgiven", came(0, 1, 5000, 500), 500},
		{"two bursts that follow closely add up", came(0, 60, 10, 60), 110},
		{"two bursts far apart do not", came(0, 60, 100, 60), 60},
	} {
		if got := c.a.depth(1000); !near(got, c.want) {
			t.Errorf("%s: %v lines, want %v", c.name, got, c.want)
		}
	}
}

// The depth found is the depth of a bucket that lets all through, and of no smaller one.
func TestDepthIsThatOfTheSmallestBucketWhichLetsAllThrough(t *testing.T) {
	t.Parallel()
	a := came(0, 10, 3, 50, 40, 1, 41, 30, 200, 90, 201, 4)
	passes := func(depth float64) bool {
		tokens, last := depth, int64(0)
		for _, x := range a {
			tokens = min(depth, tokens+500*float64(x.Nano-last)/1e9) - float64(x.Lines)
			last = x.Nano
			if tokens < 0 {
				return false
			}
		}
		return true
	}
	d := a.depth(500)
	if !passes(d+1e-6) || passes(d-1e-3) {
		t.Errorf("the depth %v lets all through: %v; a smaller one does: %v", d, passes(d+1e-6), passes(d-1e-3))
	}
}

func TestAChangeUpwardShowsWithTheThirdLine(t *testing.T) {
	t.Parallel()
	const written = 1000e6
	fast := came(990, 1, 1012, 1, 1013, 40)
	if got := upAfter(fast, written); got != 13*time.Millisecond {
		t.Errorf("in force after %v, want 13ms", got)
	}
	if got := upAfter(came(998, 3), written); got != 0 {
		t.Errorf("before the write had returned: %v, want 0", got)
	}
	if got := upAfter(came(1100, 1, 1600, 1), written); got != changeWatch {
		t.Errorf("a rate that stays low gives %v, want %v", got, changeWatch)
	}
}

func TestAChangeDownwardShowsWithTheLastLineTooMany(t *testing.T) {
	t.Parallel()
	const written = 1000e6
	a := came(999, 2, 1005, 10, 1020, 10, 1400, 1, 1900, 1, 2400, 1)
	if got := downAfter(a, written); got != 20*time.Millisecond {
		t.Errorf("in force after %v, want 20ms", got)
	}
	if got := downAfter(came(999, 1, 1499, 1, 1999, 1), written); got != 0 {
		t.Errorf("in force at once gives %v, want 0", got)
	}
	// Far below the high rate, and still more than the low one lets through.
	if got := downAfter(came(1000, 1, 1100, 1, 1200, 1, 1700, 1), written); got != 100*time.Millisecond {
		t.Errorf("ten lines a second until 200 ms after it give %v, want 100ms", got)
	}
	if got := downAfter(nil, written); got != 0 {
		t.Errorf("nothing at all gives %v, want 0", got)
	}
	stays := came()
	for ms := int64(1000); ms < 3000; ms += 10 {
		stays = append(stays, came(ms, 20)...)
	}
	if got := downAfter(stays, written); got < 1900*time.Millisecond {
		t.Errorf("a rate that stays high gives %v, want nearly all of the watch", got)
	}
}
