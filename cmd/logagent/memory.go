package main

import (
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// collectorPercent is GOGC for the daemon. The data path makes next to no garbage, so
// collecting early costs next to nothing, and ten thousand idle files' state is not doubled
// by room to grow.
const collectorPercent = 50

// limitMemory tells the collector how much the agent means to need, unless the environment
// does. There is no limit beside it: what is alive grows with the number of files, and a
// collector that cannot get below its limit would run without end.
func limitMemory(getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(collectorPercent)
	}
}

const (
	restEvery  = 5 * time.Second
	restBytes  = 1 << 20 // allocated in restEvery: the process is at rest
	worthBytes = 4 << 20 // allocated since memory was given back last: worth a collection
)

// giveBack returns memory to the system whenever the process has come to rest after having
// used some, until done is closed. The collector alone would keep it: with nothing to do
// it runs every two minutes, and the scavenger leaves it a tenth more than it had in use.
func giveBack(done <-chan struct{}) {
	tick := time.NewTicker(restEvery)
	defer tick.Stop()
	allocated := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	var last, given uint64
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		metrics.Read(allocated)
		now := allocated[0].Value.Uint64()
		if now-last < restBytes && now-given > worthBytes {
			debug.FreeOSMemory()
			given = now
		}
		last = now
	}
}
