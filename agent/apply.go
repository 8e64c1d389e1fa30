package agent

import (
	"fmt"
	"slices"
	"time"
)

// keepRemoved is how long the positions of a removed entry are kept: added back within
// it, the entry resumes.
const keepRemoved = 7 * 24 * time.Hour

// apply brings what runs to what is wanted. Only what differs is touched.
func (l *loop) apply(c HostConfig, done chan error) {
	if l.draining {
		done <- ErrNotRunning
		return
	}
	now := time.Now()
	wanted := c.Effective()
	l.wantGen++
	relook := false

	keep := make(map[string]bool, len(wanted))
	l.order = l.order[:0]
	for i := range wanted {
		svc := &wanted[i]
		keep[svc.LogPath] = true
		l.order = append(l.order, svc.LogPath)
		e := l.entries[svc.LogPath]
		if e == nil {
			l.add(svc, now)
			relook = true
			continue
		}
		relook = l.change(e, svc, now) || relook
	}
	for lp, e := range l.entries {
		if !keep[lp] && !e.leaving {
			l.leave(e, now)
			relook = true
		}
	}
	if relook {
		l.sendWants()
	}
	l.applies = append(l.applies, pendingApply{gen: l.wantGen, docs: c.Documents, done: done})
}

func (l *loop) sendWants() {
	set := wantSet{gen: l.wantGen}
	for _, lp := range l.order {
		e := l.entries[lp]
		w := want{logPath: lp, born: e.gen}
		if isGlob(lp) {
			w.glob = newGlob(lp, e.wanted().Exclude)
			w.known = l.saver.unfinished(lp)
		}
		set.list = append(set.list, w)
	}
	l.finder.want(set)
}

// wanted is the newest Service of the entry, in force or about to be.
func (e *entry) wanted() *Service {
	if e.next != nil {
		return e.next
	}
	return e.svc
}

func (l *loop) add(svc *Service, now time.Time) {
	e := &entry{svc: svc, gen: l.wantGen, sources: make(map[string]*source)}
	e.throttle.set(svc.SendRate, now)
	rec, known := l.saver.entry(svc.LogPath)
	switch {
	case known:
		e.record = rec
		if rec.Removed != 0 {
			e.record.Removed = 0
			l.saver.putEntry(e.record)
		}
	case l.fromZero:
		// The checkpoint was lost: what was delivered is not known any more, and lines
		// sent twice are better than lines lost.
		e.record = entryRecord{LogPath: svc.LogPath, Since: now.Unix()}
		l.saver.putEntry(e.record)
	default:
		e.first = true
	}
	if !isGlob(svc.LogPath) {
		l.source(e, svc.LogPath, now)
	}
	l.entries[svc.LogPath] = e
	l.a.log.Info("entry added", "service", svc.Service, "log_path", svc.LogPath, "topic", svc.Topic, "send_rate", svc.SendRate, "first", e.first)
}

// change brings an entry to svc and tells whether its files have to be looked for anew.
func (l *loop) change(e *entry, svc *Service, now time.Time) (relook bool) {
	if e.leaving { // added back before it was gone
		e.leaving = false
		e.next = svc
		e.throttle.set(svc.SendRate, now)
		e.gen, e.looked = l.wantGen, false
		l.settle(e, now)
		return true
	}
	old := e.wanted()
	if old.Equal(svc) {
		return false
	}
	if old.SendRate != svc.SendRate {
		e.throttle.set(svc.SendRate, now)
		l.a.log.Info("send_rate changed", "service", svc.Service, "log_path", svc.LogPath, "from", old.SendRate, "to", svc.SendRate)
	}
	if e.svc.Topic != svc.Topic || e.svc.partition() != svc.partition() || e.svc.oversize() != svc.oversize() {
		// Order and exactness: what is in flight is resolved before the new way begins.
		e.next = svc
		l.opt.Sink.Recall(svc.LogPath)
		l.settle(e, now)
		return !slices.Equal(old.Exclude, svc.Exclude)
	}
	for _, s := range e.sources { // a pause is news to all of them
		l.wake(s, now)
	}
	e.svc = svc
	if e.next != nil { // the change that waited was taken back
		e.next = nil
	}
	l.unpark(e)
	return !slices.Equal(old.Exclude, svc.Exclude)
}

// leave stops an entry: no more reading from now on, gone once nothing is in flight.
func (l *loop) leave(e *entry, now time.Time) {
	e.leaving, e.next = true, nil
	l.a.log.Info("entry removed", "service", e.svc.Service, "log_path", e.svc.LogPath)
	l.opt.Sink.Recall(e.svc.LogPath)
	l.settle(e, now)
}

// remove forgets an entry that has left. Its positions stay on disk for keepRemoved.
func (l *loop) remove(e *entry, now time.Time) {
	for _, s := range e.sources {
		l.closeSource(s, now)
		l.rest(s)
	}
	l.sorted = nil
	l.wakeEntry(e, time.Time{})
	l.totals.add(&e.sum)
	e.record.LogPath, e.record.Removed = e.svc.LogPath, now.Unix()
	if e.record.Since == 0 {
		e.record.Since = now.Unix()
	}
	if !e.first {
		l.saver.putEntry(e.record)
	}
	delete(l.entries, e.svc.LogPath)
	l.a.log.Info("entry gone, positions kept", "service", e.svc.Service, "log_path", e.svc.LogPath, "for", fmt.Sprint(keepRemoved))
}

// closeSource closes every file of a source, positions saved.
func (l *loop) closeSource(s *source, now time.Time) {
	for in := range s.incarnations() {
		l.saver.put(in)
		l.release(in)
		l.reg.forget(fileKey{s.entry.svc.LogPath, in.id})
	}
	s.active, s.rotated = nil, nil
	for _, c := range s.candidates {
		c.file.Close()
		l.reg.forget(fileKey{s.entry.svc.LogPath, c.st.id})
	}
	for _, o := range s.orphans {
		l.saver.putFile(o.record(now))
		if o.copied != nil {
			o.copied.file.Close()
			l.reg.forget(fileKey{s.entry.svc.LogPath, o.copied.st.id})
		}
	}
	s.candidates, s.orphans = nil, nil
}

// lapse closes a source whose path its entry no longer means, once nothing is in flight.
func (l *loop) lapse(s *source, now time.Time) {
	for in := range s.incarnations() {
		if !in.resolved() {
			return
		}
	}
	l.closeSource(s, now)
}
