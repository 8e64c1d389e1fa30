package agent

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// loop owns every entry, source, incarnation and window. It waits for nothing but its
// mailbox and a timer: readers, finder, inspector and saver are goroutines of their own that
// get their orders from it and answer by mail.
type loop struct {
	a   *Agent
	opt *Options

	entries map[string]*entry // by log_path
	order   []string          // log_paths in the order of the documents
	docs    []Document
	held    map[fileID][]*incarnation // every open incarnation
	reg     registry
	wantGen uint64
	applies []pendingApply
	budget  *budget
	pool    buffers

	ready          []*incarnation            // have something to read and nothing known to wait for
	budgetWaiters  map[string][]*incarnation // per topic
	soon           []*incarnation            // nudged again before coalesce has passed
	throttled      map[*entry]bool           // somebody waits for send_rate: wakeAt is set
	out            map[*incarnation]bool     // a turn is out
	awake          []*source                 // what the clock looks after; all others are at rest
	sorted         []*source                 // by path; nil: to be sorted again
	looks          looks                     // when each open file is looked at next
	idleReaders    int
	turns          chan turn
	saves          chan *saveJob
	inspections    chan inspectJob
	toInspect      []inspectJob
	inspecting     bool // a job is out
	stopInspecting atomic.Bool
	inflating      []*incarnation // hold the memory to decompress
	unresolved     int            // batches without a verdict, those of closed files included

	saver      saverState
	readers    int                // goroutines that take turns
	pollsOut   map[uint64]pollOut // by device: looks that are out
	slowAfter  time.Duration
	nextPoll   time.Time
	nextSample time.Time
	nextPrune  time.Time

	fromZero bool       // the checkpoint was lost: nothing is "first applied" here
	sought   []*seekJob // done, and not on the disk yet
	problems []string
	named    map[string]string // problems by name
	totals   counters          // of entries that are no more
	meter    meter
	steps    stepClock
	proc     processMeter
	seq      uint64
	last     *Status
	lastAt   time.Time
	draining bool

	mail   mail
	done   func(*Batch, Verdict) // of every batch
	wg     sync.WaitGroup        // readers, finder, inspector, saver
	finder *finder
	nudges *nudges
}

type pendingApply struct {
	gen  uint64
	docs []Document // shown as running once applied
	done chan error
}

// readers is how many goroutines read files. Two keep the page cache busy; more of them
// help when a file system is slow to answer for some files.
func readers() int { return max(2, min(4, runtime.GOMAXPROCS(0))) }

// coalesce is how long a file rests after a turn before a nudge brings the next one: a
// writer of thousands of short lines must not cost a wake-up each.
const coalesce = 4 * time.Millisecond

// windowBytes bounds what one file may have in flight.
func (l *loop) windowBytes() int64 { return min(l.opt.InFlightBytes/4, l.budget.limit/2) }

// leastFlight is the least that all files may have in flight: a line of max_line_bytes must
// pass whatever else does.
func (l *loop) leastFlight() int64 {
	return min(l.opt.InFlightBytes, max(leastFlight, 4*l.opt.MaxLineBytes))
}

func (l *loop) init(a *Agent) {
	l.a, l.opt = a, &a.opt
	l.entries = make(map[string]*entry)
	l.held = make(map[fileID][]*incarnation)
	l.budget = newBudget(l.leastFlight())
	l.budgetWaiters = make(map[string][]*incarnation)
	l.named = make(map[string]string)
	l.throttled = make(map[*entry]bool)
	l.out = make(map[*incarnation]bool)
	l.done = a.mail.verdict
	n := readers()
	l.idleReaders = n
	l.turns = make(chan turn, n+maxExtraReaders)
	l.readers, l.slowAfter = n, slowAfter
	l.pollsOut = make(map[uint64]pollOut)
	l.saves = make(chan *saveJob, 1)
	l.inspections = make(chan inspectJob, 1)
	l.saver.init(a.opt.StateDir, a.cp)
	l.last = &Status{Host: a.opt.Host, StateID: a.cp.meta.StateID, Boot: a.cp.meta.Boot, Version: a.opt.Version}
	l.finder = newFinder(a.opt.PollInterval, &a.access, &l.reg, func(r lookReport) {
		a.mail.post(func() { l.found(r) })
	})
	l.nudges = newNudges(&a.mail, a.log, l.nudged, l.finder.hurry)
	l.finder.watch = l.nudges.watch
	for k, r := range a.cp.files {
		if r.Done {
			l.reg.done(k, r.Size, r.MTime)
		}
	}
}

func (l *loop) run(ctx context.Context) error {
	work, stopWork := context.WithCancel(context.Background())
	defer stopWork()
	for range l.readers {
		l.wg.Go(l.reader)
	}
	l.wg.Go(func() { l.finder.run(work) })
	l.wg.Go(func() { l.saveLoop() })
	l.wg.Go(l.inspector)

	now := time.Now()
	l.nextPoll, l.nextSample, l.nextPrune = now.Add(l.opt.PollInterval), now.Add(sampleEvery), now.Add(time.Hour)
	l.meter.begin(now, &l.totals)
	l.steps.at = now
	l.saver.dirty = true
	timer := time.NewTimer(0)
	defer timer.Stop()
	var deadline time.Time
	armed := now // when the timer fires
	stop := ctx.Done()
	for {
		select {
		case <-stop:
			stop = nil
			l.draining = true
			deadline = time.Now().Add(l.opt.DrainTimeout)
			l.a.log.Info("draining", "in_flight_batches", l.unresolved, "at_most", l.opt.DrainTimeout)
			stopWork() // the finder: nothing new is begun
			l.stopInspecting.Store(true)
		case <-l.a.mail.wake:
		case <-timer.C:
		}
		l.mailIn()
		now = time.Now()
		l.clock(now)
		l.dispatch(now)
		l.answerApplies()
		if l.draining {
			if l.idleReaders == l.readers && l.unresolved == 0 {
				break
			}
			if now.After(deadline) {
				l.a.log.Warn("drain timeout: what is in flight is sent again after the next start", "batches", l.unresolved)
				break
			}
		}
		next := l.nextEvent()
		if l.draining && deadline.Before(next) {
			next = deadline
		}
		// A timer that fires too early costs nothing; setting it with every message would make
		// the runtime's poller begin to wait anew each time.
		if next.Before(armed) || !now.Before(armed) {
			armed = next
			timer.Reset(max(0, time.Until(next)))
		}
	}
	return l.shutdown()
}

// shutdown saves the last positions and ends the helpers.
func (l *loop) shutdown() error {
	close(l.turns)
	close(l.inspections)
	for l.saver.out { // the running save first: one writer
		<-l.a.mail.wake
		l.mailIn()
	}
	for _, e := range l.entries {
		for _, s := range e.sources {
			for in := range s.incarnations() {
				l.nudges.drop(in)
				l.saver.put(in)
			}
			l.tendOrphans(s, time.Now())
			for _, o := range s.orphans {
				l.saver.putFile(o.record(time.Now()))
			}
		}
	}
	l.status()
	err := l.finalSave()
	close(l.saves)
	l.nudges.close()
	ended := make(chan struct{})
	go func() { l.wg.Wait(); close(ended) }() // as long as a file system that hangs, or the process
	select {
	case <-ended:
	case <-time.After(time.Second):
		l.a.log.Warn("a reader is stuck in a file system that does not answer")
		return err
	}
	l.mailIn() // outcomes and looks that came last: their files are closed
	for _, e := range l.entries {
		for _, s := range e.sources {
			for in := range s.incarnations() {
				in.file.Close()
			}
			for _, c := range s.candidates {
				c.file.Close()
			}
			for _, o := range s.orphans {
				if o.copied != nil {
					o.copied.file.Close()
				}
			}
		}
	}
	l.a.log.Info("stopped", "unresolved_batches", l.unresolved)
	return err
}

// mailIn does what came by mail.
func (l *loop) mailIn() {
	m := &l.mail
	l.a.mail.take(m)
	now := time.Now()
	for i := range m.verdicts {
		l.verdict(m.verdicts[i].b, m.verdicts[i].v, now)
	}
	for i := range m.reads {
		l.read(&m.reads[i].t, m.reads[i].o)
	}
	for _, f := range m.calls {
		f()
	}
	clear(m.calls)
	clear(m.verdicts)
	clear(m.reads)
}

// clock does what time brings.
func (l *loop) clock(now time.Time) {
	for e := range l.throttled {
		if !now.Before(e.wakeAt) {
			l.wakeThrottled(e)
		}
	}
	if len(l.soon) > 0 {
		keep := l.soon[:0]
		for _, in := range l.soon {
			if now.Sub(in.lastTurn) >= coalesce {
				in.queued = false
				l.push(in)
			} else {
				keep = append(keep, in)
			}
		}
		clear(l.soon[len(keep):])
		l.soon = keep
	}
	if !now.Before(l.nextPoll) {
		l.nextPoll = now.Add(l.opt.PollInterval)
		l.poll(now)
		l.tend(now)
	}
	if !now.Before(l.nextSample) {
		l.nextSample = now.Add(sampleEvery)
		l.sample(now)
		l.capDeleted(now)
		l.watchSlow(now)
	}
	if !now.Before(l.nextPrune) {
		l.nextPrune = now.Add(time.Hour)
		l.prune(now)
	}
	l.saveIfDue(now)
}

// nextEvent returns when the clock has something to do again.
func (l *loop) nextEvent() time.Time {
	next := l.nextSample
	if l.nextPoll.Before(next) {
		next = l.nextPoll
	}
	for e := range l.throttled {
		if e.wakeAt.Before(next) {
			next = e.wakeAt
		}
	}
	for _, in := range l.soon {
		if t := in.lastTurn.Add(coalesce); t.Before(next) {
			next = t
		}
	}
	return next
}

func (l *loop) answerApplies() {
	if len(l.applies) == 0 {
		return
	}
	for _, e := range l.entries {
		if e.leaving && e.reading() {
			return
		}
	}
	keep := l.applies[:0]
	for _, p := range l.applies {
		looked := true
		for _, e := range l.entries {
			if !e.leaving && !e.looked && e.gen <= p.gen {
				looked = false
			}
		}
		switch {
		case looked:
			l.docs, l.lastAt = p.docs, time.Time{}
			p.done <- nil
			l.a.signalChanged()
		case l.draining:
			p.done <- ErrNotRunning
		default:
			keep = append(keep, p)
		}
	}
	l.applies = keep
}

// setProblem keeps the problems of the agent as a whole by name.
func (l *loop) setProblem(name, text string) {
	if l.named[name] == text {
		return
	}
	if text == "" {
		delete(l.named, name)
		l.a.log.Info("problem over", "name", name)
	} else {
		l.named[name] = text
		l.a.log.Error("problem", "name", name, "what", text)
	}
	l.a.signalChanged()
}
