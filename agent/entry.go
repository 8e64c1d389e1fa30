package agent

import "time"

// entry is one Service at work. It belongs to the loop.
type entry struct {
	svc     *Service     // in force for what is read from now on
	next    *Service     // waits until what is in flight is resolved; nil: nothing waits
	leaving bool         // removed: no more reading; gone once resolved
	seeks   []*entrySeek // positions to be moved once what is in flight is resolved

	throttle throttle
	turnOut  bool           // limited entries have one reader at a time
	waiting  []*incarnation // for send_rate, in turn
	wakeAt   time.Time      // when the first of them may go on; zero: nobody waits

	first   bool   // applied for the first time, and its files have not been looked for yet
	gen     uint64 // of the want set it came with
	looked  bool   // its files have been looked for
	record  entryRecord
	sources map[string]*source
	taken   map[string]string // matched paths that belong to another entry → its log_path
	globErr error             // its folder cannot be listed

	inFlight int // batches without a verdict, those of truncated files included

	errors    uint64
	fineSince time.Time // when the last of its files that was not fine became so
	sum       counters  // of its sources, those that are no more included
}

// stopped tells whether readers of the entry have to wait for a new order of things.
func (e *entry) stopped() bool { return e.leaving || e.next != nil || len(e.seeks) > 0 }

// resolved tells whether nothing of the entry is in flight or being read.
func (e *entry) resolved() bool {
	if e.inFlight > 0 {
		return false
	}
	for _, s := range e.sources {
		for in := range s.incarnations() {
			if !in.resolved() {
				return false
			}
		}
	}
	return true
}

// reading tells whether a reader is out for the entry.
func (e *entry) reading() bool {
	for _, s := range e.sources {
		for in := range s.incarnations() {
			if in.busy {
				return true
			}
		}
	}
	return false
}

// inForce is what runs while a change waits; nil where none does.
func (e *entry) inForce() *Service {
	if e.next == nil {
		return nil
	}
	return e.svc
}
