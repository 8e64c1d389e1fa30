package main

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// A line on its way is handed on by half a dozen goroutines. Where little happens each
// hand-over finds an idle processor, wakes it, and lets it fall asleep again, which costs more
// than the work itself: with 2,000 lines a second twice the CPU of a single processor. So
// the scheduler gets one processor while the process is calm, and all of them when there is
// work for them.
const (
	calmEvery = 200 * time.Millisecond // how soon work gets all processors
	calmTicks = 10                     // how many calm ones in a row take them away
	calmShare = 0.25                   // of a core: less is calm
	busyShare = 0.5                    // more is work
)

// calmness counts for how long a process has been calm. The zero value is for one with all its
// processors.
type calmness struct {
	ticks int
	one   bool // one processor
}

// next takes the share of a core used in the last tick and tells whether one processor is
// enough from now on.
func (c *calmness) next(share float64) bool {
	switch {
	case share < calmShare:
		c.ticks++
	case !c.one || share > busyShare:
		c.ticks = 0
	}
	c.one = c.ticks >= calmTicks
	return c.one
}

// keepCalm runs until done is closed, unless the operator has set GOMAXPROCS. Then all
// processors are there again.
func keepCalm(done <-chan struct{}, getenv func(string) string) {
	if getenv("GOMAXPROCS") != "" || runtime.GOMAXPROCS(0) == 1 {
		return
	}
	defer runtime.SetDefaultGOMAXPROCS()
	tick := time.NewTicker(calmEvery)
	defer tick.Stop()
	var calm calmness
	cpu, at := cpuTime(), time.Now()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		used, now := cpuTime(), time.Now()
		was := calm.one
		switch one := calm.next(float64(used-cpu) / float64(now.Sub(at))); {
		case one && !was:
			runtime.GOMAXPROCS(1)
		case was && !one:
			runtime.SetDefaultGOMAXPROCS()
		}
		cpu, at = used, now
	}
}

// cpuTime is what the process has used, in user and system mode.
func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0 // it cannot fail
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
