package agent

import "time"

// Most files of most hosts stand still. What the clock brings (samples, causes, rotated files,
// candidates) is brought to sources that are awake alone: ten thousand files at rest cost
// a look at each now and then, and nothing else.
//
// Whatever gives a source something to do or to show wakes it: a change that was told or
// seen (push), a sighting, a changed entry. Counters of a source at rest may still grow: they
// are summed up where they grow.

// wake has the clock look after a source.
func (l *loop) wake(s *source, now time.Time) {
	if s.place > 0 {
		return
	}
	l.awake = append(l.awake, s)
	s.place = len(l.awake)
	s.meter.beginStill(now, &s.count)
	s.meter.catchUp(l.steps, s.count.flow(), 0)
	for in := range s.incarnations() {
		in.waitSince = now // resting is no waiting
	}
}

// rest has the clock leave a source alone.
func (l *loop) rest(s *source) {
	if s.place == 0 {
		return
	}
	last := l.awake[len(l.awake)-1]
	l.awake[s.place-1], last.place = last, s.place
	l.awake[len(l.awake)-1] = nil
	l.awake = l.awake[:len(l.awake)-1]
	s.place = 0
	s.meter.pulse = nil
}

// restful tells whether nothing about the source changes with time: its one file is read and
// acknowledged to its end, and its rates are 0.
func (s *source) restful() bool {
	in := s.active
	switch {
	case in == nil || len(s.rotated) > 0 || len(s.candidates) > 0 || len(s.orphans) > 0 || s.lapsed:
		return false
	case s.said.state != StateOK || s.said.text != causeCaughtUp || s.entry.stopped() || !s.entry.looked:
		return false
	case in.wait != waitEOF || in.more || in.busy || in.queued || in.again || in.readErr != nil:
		return false
	case len(in.win.spans) > 0 || in.win.unresolved > 0 || in.lag() > 0:
		return false
	}
	return s.meter.pulse.steady(&s.count)
}

// forget is for a source that is no more.
func (l *loop) forget(s *source) {
	l.rest(s)
	delete(s.entry.sources, s.path)
	l.sorted = nil
}
