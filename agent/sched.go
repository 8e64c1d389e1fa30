package agent

import (
	"time"
)

// push puts an incarnation at the end of the run queue, once.
func (l *loop) push(in *incarnation) {
	if in.queued || in.busy || in.closing {
		return
	}
	if in.src.place == 0 {
		l.wake(in.src, time.Now())
	}
	in.queued = true
	l.ready = append(l.ready, in)
}

// dispatch hands turns to idle readers. Everybody gets one chunk and goes to the end of
// the queue: that is the fairness between files, entries and topics.
func (l *loop) dispatch(now time.Time) {
	for l.idleReaders > 0 && len(l.ready) > 0 && !l.draining {
		in := l.ready[0]
		l.ready[0] = nil
		l.ready = l.ready[1:]
		in.queued = false
		if t, ok := l.admit(in, now); ok {
			in.busy = true
			l.out[in] = true
			in.turns++
			in.wait = l.setWait(in, waitNone, now)
			in.lastTurn = now
			l.idleReaders--
			l.turns <- t
		}
	}
	if len(l.ready) == 0 {
		l.ready = nil
	}
}

// admit decides whether an incarnation may read now. Where it may not it is parked with
// whoever will wake it, and its wait says why.
func (l *loop) admit(in *incarnation, now time.Time) (turn, bool) {
	e := in.src.entry
	due := in.due
	in.due = false
	park := func(k waitKind) (turn, bool) {
		in.wait = l.setWait(in, k, now)
		if in.told { // no turn will see it soon
			in.told = false
			l.lookAgain(in, now)
		}
		if due && k != waitThrottle {
			l.wakeThrottled(e) // its turn at send_rate goes to the next, or nobody would move
		}
		return turn{}, false
	}
	switch {
	case in.closing || in.gaveUp != "":
		return park(in.wait)
	case !in.more && !in.finishing:
		return park(waitEOF)
	case e.stopped() || in.win.failedAny || in.src.lapsed:
		return park(waitResolve) // woken by the last verdict
	case e.svc.Paused:
		return park(waitPaused) // woken by apply
	case in.savedSeq > l.saver.done:
		return park(waitSave) // woken by the saver
	case in.src.older(in):
		return park(waitOlder) // woken when the older one is drained
	case in.zip != nil && !l.mayInflate(in, now):
		return park(waitInflate) // woken by the poll
	case in.readErr != nil && momentOf(now) < in.retryAt:
		return park(waitError) // woken by the poll
	case in.win.inFlightBytes >= l.windowBytes():
		return park(waitWindow) // woken by its own next verdict
	}
	want := max(int64(in.need), int64(l.wantBytes(in)))
	least := max(int64(in.need), minGrantBytes)
	grant := min(l.budget.available(e.svc.Topic, min(least, want)), want)
	if grant < min(least, want) {
		in.queued = true
		l.budgetWaiters[e.svc.Topic] = append(l.budgetWaiters[e.svc.Topic], in)
		return park(waitWindow) // woken by verdicts of its topic or others
	}
	t := turn{
		in: in, svc: e.svc, lines: maxBatchLines, grant: grant,
		maxLine: int(l.opt.MaxLineBytes), final: in.finishing && (in.zip == nil || in.zip.look.err == nil), lastSeen: in.seen,
	}
	if e.throttle.lim != nil {
		if e.turnOut || len(e.waiting) > 0 && !due {
			in.queued = true
			e.waiting = append(e.waiting, in)
			return park(waitThrottle)
		}
		lines, wait := e.throttle.available(now)
		if lines == 0 {
			in.queued = true
			e.waiting = append([]*incarnation{in}, e.waiting...)
			l.wakeEntry(e, now.Add(wait))
			return park(waitThrottle)
		}
		// No more than the quantum, whatever a late wake-up saved up: the rest is for
		// those whose turn comes next.
		t.lines = min(lines, e.throttle.quantum, maxBatchLines)
		e.turnOut = true
	}
	l.budget.take(e.svc.Topic, grant)
	return t, true
}

// wantBytes is how much is worth reading: a chunk, less where less is there or send_rate
// allows only so many lines.
func (l *loop) wantBytes(in *incarnation) int {
	want := int64(chunkBytes)
	if t := &in.src.entry.throttle; t.lim != nil && in.avgLine > 0 {
		want = min(want, int64(float64(in.avgLine)*1.25*float64(burst(t.perSec)))+minGrantBytes)
	}
	if ahead := in.seen.size - in.pos; ahead >= 0 {
		want = min(want, max(ahead, minGrantBytes-anchorBytes))
	}
	return int(want) + in.anchor.Len
}

// wakeThrottled lets the first waiter of an entry ask again.
func (l *loop) wakeThrottled(e *entry) {
	l.wakeEntry(e, time.Time{})
	if len(e.waiting) == 0 || e.turnOut {
		return
	}
	for len(e.waiting) > 0 {
		in := e.waiting[0]
		e.waiting = e.waiting[1:]
		in.queued = false
		if in.busy || in.closing {
			continue
		}
		// To the front: its turn has come, and others' chunks must not make the flow uneven.
		in.queued, in.due = true, true
		l.ready = append([]*incarnation{in}, l.ready...)
		return
	}
}

// wakeEntry sets when the first who waits for send_rate may ask again; the zero time: nobody
// waits.
func (l *loop) wakeEntry(e *entry, at time.Time) {
	e.wakeAt = at
	if at.IsZero() {
		delete(l.throttled, e)
	} else {
		l.throttled[e] = true
	}
}

// unpark takes everything of an entry that waits for send_rate or memory back to the run
// queue: what it waited for has changed.
func (l *loop) unpark(e *entry) {
	waiting := e.waiting
	e.waiting = nil
	l.wakeEntry(e, time.Time{})
	for _, in := range waiting {
		in.queued = false
		l.push(in)
	}
	for _, s := range e.sources {
		for in := range s.incarnations() {
			if in.more || in.finishing {
				l.push(in)
			}
		}
	}
}

// wakeBudget lets the first waiter of every topic ask again, after memory came free.
func (l *loop) wakeBudget() {
	for topic, w := range l.budgetWaiters {
		in := w[0]
		if len(w) == 1 {
			delete(l.budgetWaiters, topic)
		} else {
			l.budgetWaiters[topic] = w[1:]
		}
		in.queued = false
		l.push(in)
	}
}

// setWait books the time spent in the wait that ends now and returns the new one.
func (l *loop) setWait(in *incarnation, k waitKind, now time.Time) waitKind {
	if in.wait == k {
		return k
	}
	in.src.meter.pulse.book(in.wait, now.Sub(in.waitSince))
	if in.wait == waitThrottle {
		in.src.tally(counters{throttledNanos: uint64(now.Sub(in.waitSince))})
	}
	in.waitSince = now
	return k
}

// reader takes turns until there are no more.
func (l *loop) reader() {
	for t := range l.turns {
		l.a.mail.read(t, t.run(&l.pool))
	}
}

// read takes a turn's outcome: the window learns of it, the sink gets the batch.
func (l *loop) read(t *turn, o outcome) {
	now := time.Now()
	in, e := t.in, t.in.src.entry
	src := in.src
	in.busy = false
	delete(l.out, in)
	in.synced()
	l.idleReaders++
	if in.gaveUp != "" {
		defer func() {
			if in.gaveUp != "" && !in.closing {
				l.giveUp(in, now)
			}
		}()
	}
	l.budget.give(t.svc.Topic, t.grant)
	if e.throttle.lim != nil || e.turnOut {
		e.turnOut = false
		e.throttle.took(o.counted, now)
		l.wakeThrottled(e)
	}
	if len(l.budgetWaiters) > 0 && (o.batch == nil || int64(len(o.buf.mem)) < t.grant) {
		l.wakeBudget()
	}
	if o.err != nil {
		l.readFailed(in, o.err, now)
		return
	}
	if in.readErr != nil {
		in.readErr = nil
		l.a.log.Info("readable again", "path", src.path, "file", in.name)
	}
	if o.truncated {
		l.foundTruncated(in, o.st, now)
		return
	}
	l.observe(in, o.st, now)
	if o.truncLine || o.skipLine || o.splitLine {
		src.tally(counters{truncated: one(o.truncLine), skipped: one(o.skipLine), split: one(o.splitLine)})
	}
	in.told = in.again
	in.partial = o.partial
	in.need = int32(o.need)
	in.more = !o.eof || in.again
	in.again = false
	if e.stopped() || in.win.failedAny {
		// A new order of things waits: what was just read is read again under it. What
		// needed no sending, or was acknowledged before, stays done. Whether this was the
		// end of the file is seen again then, too.
		in.more = true
		if o.batch != nil {
			l.pool.put(o.buf)
			in.win.failedAny = true
		} else if o.span != nil {
			in.win.add(o.span)
		}
		if in.win.failedAny && in.win.unresolved == 0 {
			in.rewind()
		}
		in.wait = l.setWait(in, waitResolve, now)
		l.settle(e, now)
		if !e.stopped() {
			l.push(in)
		}
		return
	}
	if o.span != nil {
		if o.batch != nil {
			l.send(in, t.svc, o)
		} else {
			in.win.add(o.span)
			l.soil(in)
		}
	}
	if in.more {
		in.quietSince = time.Time{}
		l.push(in)
		return
	}
	in.wait = l.setWait(in, waitEOF, now)
	l.atEnd(in, now)
}

// send hands a batch to the sink.
func (l *loop) send(in *incarnation, svc *Service, o outcome) {
	b := o.batch
	cost := int64(len(o.buf.mem)) + int64(cap(b.Lines))*8
	b.Service, b.Path = svc, in.src.path
	b.flight = &flight{win: in.win, span: o.span, src: in.src, buf: o.buf, cost: cost}
	b.done = l.done
	in.win.add(o.span)
	in.win.inFlightBytes += cost
	l.budget.take(svc.Topic, cost)
	l.unresolved++
	in.src.entry.inFlight++
	l.opt.Sink.Send(b)
}

// verdict takes what became of a batch.
func (l *loop) verdict(b *Batch, v Verdict, now time.Time) {
	f := b.flight
	l.unresolved--
	f.src.entry.inFlight--
	l.budget.give(b.Service.Topic, f.cost)
	f.win.inFlightBytes -= f.cost
	c := counters{doubled: uint64(v.Doubled), split: uint64(v.Split), truncated: uint64(v.Truncated), skipped: uint64(v.Skipped)}
	if v.Err == nil {
		c.lines, c.bytes = uint64(f.span.lines), uint64(f.span.end-f.span.start)
	}
	f.src.tally(c)
	moved := f.win.resolve(f.span, v.Err == nil)
	if f.buf != nil {
		l.pool.put(f.buf)
		b.Buf, b.Lines, f.buf = nil, nil, nil
	}
	if len(l.budgetWaiters) > 0 {
		l.wakeBudget()
	}
	in := f.win.owner
	if in == nil {
		l.soilOrphan(f.src, f.win)
		if v.Err != nil && !f.win.orphaned {
			// Its file was truncated meanwhile: the bytes stand nowhere any more.
			f.src.tally(counters{lost: uint64(f.span.end - f.span.start)})
			l.a.log.Error("bytes lost: truncated before they were delivered", "path", f.src.path, "bytes", f.span.end-f.span.start)
		}
		l.settle(f.src.entry, now)
		return
	}
	if moved {
		l.soil(in)
		in.sizes.forget(in.win.committed)
	}
	if in.win.failedAny {
		if !in.resolved() {
			return
		}
		in.rewind()
		l.push(in)
	}
	e := in.src.entry
	if e.stopped() {
		l.settle(e, now)
		return
	}
	if in.wait == waitWindow || in.wait == waitResolve {
		l.push(in)
	}
	if in.wait == waitEOF {
		l.atEnd(in, now)
	}
}

// settle carries out what waited for an entry's batches to be resolved.
func (l *loop) settle(e *entry, now time.Time) {
	if !e.stopped() || !e.resolved() {
		return
	}
	for _, s := range e.sources {
		for in := range s.incarnations() {
			if in.win.failedAny {
				in.rewind()
			}
		}
	}
	l.carryOut(e, now)
	if e.leaving {
		l.remove(e, now)
		return
	}
	if e.next != nil {
		e.svc, e.next = e.next, nil
		for _, s := range e.sources { // what they show may depend on it
			l.wake(s, now)
		}
		l.a.log.Info("entry changed", "service", e.svc.Service, "log_path", e.svc.LogPath, "topic", e.svc.Topic)
	}
	l.unpark(e)
}

// readFailed notes a read error: said once, tried again with every poll.
func (l *loop) readFailed(in *incarnation, err error, now time.Time) {
	if in.readErr == nil || in.readErr.Error() != err.Error() {
		l.a.log.Error("cannot read", "path", in.src.path, "file", in.name, "err", err)
		in.src.tally(counters{errors: 1})
		l.a.signalChanged()
	}
	l.wake(in.src, now) // it may have been a look at one that stood still
	in.readErr = err
	in.more = true
	retryAt := now.Add(time.Second)
	in.retryAt = momentOf(retryAt)
	l.lookAgain(in, retryAt)
	in.wait = l.setWait(in, waitError, now)
	l.wakeNewer(in.src)
	if e := in.src.entry; e.stopped() {
		l.settle(e, now)
	}
}

// one is 1 where something happened.
func one(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
