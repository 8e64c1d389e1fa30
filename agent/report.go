package agent

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// sample takes the measure of everything that moves, once a second.
func (l *loop) sample(now time.Time) {
	l.steps.tick(now)
	var lag int64
	changed := false
	var restful []*source
	for _, s := range l.awake {
		for in := range s.incarnations() {
			in.wait = l.setWait(in, in.wait, now)
			l.bookNow(in, now)
		}
		n := s.lag()
		lag += n
		s.meter.take(now, l.steps, &s.count, n)
		changed = l.judgeCause(s, now) || changed
		s.meter.pulse.decay()
		if s.restful() {
			restful = append(restful, s)
		}
	}
	for _, s := range restful {
		s.active.sizes.rest(s.active.seen.size, s.active.win.committed)
		l.rest(s)
	}
	if now.Sub(l.lastAt) > statusAge {
		l.last = &Status{} // ten thousand files are megabytes
	}
	sum := l.sum()
	l.meter.take(now, l.steps, &sum, lag)
	l.proc.take(now)
	var unwell int64
	for topic, n := range l.budget.byTopic {
		if l.opt.Sink.Topic(topic).Health != HealthOK {
			unwell += n
		}
	}
	l.budget.fit(l.meter.lately(), l.opt.Sink.Link().LatencyMS/1000, unwell, l.leastFlight(), l.opt.InFlightBytes)
	l.pool.trim()
	if changed {
		l.a.signalChanged()
	}
}

// sum returns the counters of the whole agent.
func (l *loop) sum() counters {
	sum := l.totals
	for _, e := range l.entries {
		sum.add(&e.sum)
	}
	return sum
}

// bookNow books the wait that goes on until now.
func (l *loop) bookNow(in *incarnation, now time.Time) {
	k := in.wait
	in.src.meter.pulse.book(k, now.Sub(in.waitSince))
	if k == waitThrottle {
		in.src.tally(counters{throttledNanos: uint64(now.Sub(in.waitSince))})
	}
	in.waitSince = now
}

// lag returns the bytes of complete lines of all files of the path that are not
// acknowledged.
func (s *source) lag() int64 {
	var n int64
	for in := range s.incarnations() {
		n += in.lag()
	}
	for _, c := range s.candidates {
		if !c.copied {
			n += c.bytes()
		}
	}
	for _, o := range s.orphans {
		n += max(0, o.old.pos-o.old.win.committed+o.unread)
	}
	return n
}

// bytes is the content's size; that on disk until it is known.
func (c *candidate) bytes() int64 {
	if c.look != nil {
		return c.look.size
	}
	return c.st.size
}

// judgeCause puts into words where the readers of a source really wait, and tells whether
// its state changed.
func (l *loop) judgeCause(s *source, now time.Time) bool {
	state, text := l.cause(s, now)
	c := &s.said
	if c.state == state && c.text == text {
		return false
	}
	old := c.state
	if old != state {
		c.since = now
		if state == StateOK {
			s.entry.fineSince = now
		}
	}
	c.state, c.text = state, text
	return old != state && (state.telling() || old.telling())
}

// telling marks the states whose beginning and end are told at once.
func (s State) telling() bool { return s == StateFailing || s == StatePaused }

// The causes, in an operator's words.
const (
	causeCaughtUp = "caught up"
	causeCatching = "catching up"
	causeLimited  = "limited by send_rate"
	causePaused   = "paused"
	causeMissing  = "missing"
	causeNoMatch  = "no file matches"
	causeLooking  = "looking for it"
	causeCopy     = "truncated, its copy is looked for"
)

func (l *loop) cause(s *source, now time.Time) (State, string) {
	e := s.entry
	var front *incarnation // the one whose wait matters: the oldest that is behind
	var rotatedUnread int64
	for in := range s.incarnations() {
		if in.readErr != nil {
			return StateFailing, "unreadable (" + reason(in.readErr) + ")"
		}
		if front == nil && (in.lag() > 0 || in == s.active) {
			front = in
		}
		if !in.rotatedAt.IsZero() {
			rotatedUnread += in.unread()
		}
	}
	switch {
	case errors.Is(s.err, errNotAllowed):
		return StateFailing, s.err.Error()
	case s.err != nil:
		return StateFailing, "unreadable (" + reason(s.err) + ")"
	case e.svc.Paused:
		return StatePaused, causePaused
	case s.sameAs != "":
		return StateOK, "same file as " + s.sameAs
	}
	lag := s.lag()
	topic := l.opt.Sink.Topic(e.svc.Topic)
	inFlight := false
	for in := range s.incarnations() {
		inFlight = inFlight || in.win.unresolved > 0
	}
	if topic.Health == HealthRefused && (lag > 0 || inFlight) {
		return StateFailing, "Kafka refuses (" + topic.Why + ")"
	}
	if s.missing && rotatedUnread == 0 && lag == 0 {
		return StateFailing, causeMissing
	}
	if front == nil || lag == 0 {
		if front == nil && !e.looked {
			return StateUnknown, causeLooking
		}
		return StateOK, causeCaughtUp
	}
	throttled := s.meter.pulse.share(waitThrottle)
	switch {
	case len(s.orphans) > 0:
		return StateBehind, causeCopy
	case topic.Health == HealthDown && (inFlight || front.wait == waitWindow):
		return StateBehind, "Kafka away (" + topic.Why + ")"
	case throttled >= 0.5 || throttled >= 0.2 && front.wait == waitThrottle:
		return StateBehind, causeLimited
	case topic.Health == HealthSlow && inFlight:
		return StateBehind, "Kafka slow (" + topic.Why + ")"
	case s.meter.pulse.share(waitWindow) >= 0.5:
		return StateBehind, "Kafka slow"
	case s.deletedUnread() > 0:
		return StateBehind, fmt.Sprintf("deleted, %d bytes unread", s.deletedUnread())
	case s.missing:
		return StateBehind, fmt.Sprintf("rotated away, %d bytes unread", rotatedUnread)
	case lag <= front.win.inFlightBytes && front.wait == waitEOF && now.Sub(front.lastTurn) < 2*time.Second:
		return StateOK, causeCaughtUp // all read a moment ago, the verdicts are under way
	}
	return StateBehind, causeCatching
}

// status returns a snapshot with every file, made anew where the last one is older than
// statusAge.
func (l *loop) status() *Status {
	now := time.Now()
	if l.last.Files != nil && now.Sub(l.lastAt) < statusAge && !l.draining {
		return l.last
	}
	s := l.brief(now)
	if l.sorted == nil {
		for _, lp := range l.order {
			if e := l.entries[lp]; e != nil && !e.leaving {
				l.sorted = slices.AppendSeq(l.sorted, maps.Values(e.sources))
			}
		}
		slices.SortFunc(l.sorted, func(a, b *source) int { return strings.Compare(a.path, b.path) })
	}
	s.Files = make([]FileStatus, 0, len(l.sorted))
	for _, src := range l.sorted {
		f := l.fileStatus(src, now)
		f.History = src.meter.history()
		s.Files = append(s.Files, f)
	}
	for _, lp := range l.order {
		if e := l.entries[lp]; e != nil && !e.leaving {
			s.Files = append(s.Files, l.takenFiles(e)...)
		}
	}
	l.last, l.lastAt = s, now
	return s
}

// brief returns a snapshot without its files: what it costs depends on those that move
// alone.
func (l *loop) brief(now time.Time) *Status {
	l.seq++
	s := &Status{
		Host: l.opt.Host, StateID: l.saver.meta.StateID, Boot: l.saver.meta.Boot, Seq: l.seq, At: now,
		Version: l.opt.Version, PID: os.Getpid(), Started: l.a.started, Draining: l.draining,
		Kafka: l.opt.Sink.Link(), History: l.meter.history(),
		Process: ProcessStatus{
			CPUPercent: l.proc.pct, RSSBytes: rssBytes(),
			InFlightBytes: l.budget.used, InFlightLimitBytes: l.opt.InFlightBytes,
		},
	}
	if l.opt.EtcdLink != nil {
		s.Etcd = l.opt.EtcdLink()
	}
	s.Problems = append(s.Problems, l.problems...)
	for _, name := range slices.Sorted(maps.Keys(l.named)) {
		s.Problems = append(s.Problems, l.named[name])
	}
	for _, d := range l.docs {
		s.Documents = append(s.Documents, DocumentStatus{Key: d.Key, Running: d.Revision, Refused: d.Refused, Warnings: d.Warnings, FromCache: d.FromCache})
	}
	at := make(map[*entry]int, len(l.order))
	for _, lp := range l.order {
		e := l.entries[lp]
		if e == nil || e.leaving {
			continue
		}
		at[e] = len(s.Services)
		s.Services = append(s.Services, ServiceStatus{Service: *e.wanted(), InForce: e.inForce(), FileCount: len(e.sources), Totals: e.sum.totals()})
	}
	moving := make([]int, len(s.Services))
	worst := make([]string, len(s.Services)) // the path of the file that gives the state
	for _, src := range l.awake {
		i, ok := at[src.entry]
		if !ok {
			continue
		}
		said, t := l.judged(src, now), src.numbers(now)
		moving[i]++
		es := &s.Services[i]
		es.Totals.flowing(&t)
		if d := said.state.rank() - es.State.rank(); moving[i] == 1 || d > 0 || d == 0 && src.path < worst[i] {
			es.State, es.Cause, es.Since, worst[i] = said.state, said.text, said.since, src.path
		}
		switch said.state {
		case StateFailing:
			s.FailingFiles++
		case StateBehind:
			s.BehindFiles++
		}
	}
	for e, i := range at {
		if len(e.sources) > moving[i] && s.Services[i].State.rank() == 0 { // those at rest are fine
			s.Services[i].State, s.Services[i].Cause = StateOK, causeCaughtUp
			s.Services[i].Since = e.fineSince
		}
		l.entryStatus(e, &s.Services[i])
		s.Totals.flowing(&s.Services[i].Totals)
	}
	sum := l.sum()
	t := sum.totals()
	l.meter.rates(&t)
	t.LagBytes, t.BehindSeconds, t.BehindAtLeast = s.Totals.LagBytes, s.Totals.BehindSeconds, s.Totals.BehindAtLeast
	t.InLinesPerSec, t.ThrottledShare = s.Totals.InLinesPerSec, s.Totals.ThrottledShare
	s.Totals = t
	return s
}

// flowing adds what flows and keeps the worst of what does not add up.
func (t *Totals) flowing(o *Totals) {
	t.LagBytes += o.LagBytes
	t.InLinesPerSec += o.InLinesPerSec
	t.InBytesPerSec += o.InBytesPerSec
	t.OutLinesPerSec += o.OutLinesPerSec
	t.OutBytesPerSec += o.OutBytesPerSec
	if o.BehindSeconds > t.BehindSeconds {
		t.BehindSeconds, t.BehindAtLeast = o.BehindSeconds, o.BehindAtLeast
	}
	t.ThrottledShare = max(t.ThrottledShare, o.ThrottledShare)
}

// rank orders states from fine to bad.
func (s State) rank() int {
	switch s {
	case StateFailing:
		return 4
	case StateBehind:
		return 3
	case StatePaused:
		return 2
	case StateUnknown:
		return 1
	}
	return 0
}

// entryStatus completes an entry's status with what does not come from its files.
func (l *loop) entryStatus(e *entry, es *ServiceStatus) {
	es.Totals.Errors += e.errors
	switch {
	case e.globErr != nil:
		es.State, es.Cause = StateFailing, "cannot list its folder ("+reason(e.globErr)+")"
	case len(e.sources) > 0:
	case !e.looked:
		es.State, es.Cause = StateUnknown, causeLooking
	case len(e.taken) > 0:
		es.State, es.Cause = StateUnknown, "every file is taken by another entry"
	default:
		es.State, es.Cause = StateUnknown, causeNoMatch
	}
}

// takenFiles shows the paths an entry matches and another one reads.
func (l *loop) takenFiles(e *entry) []FileStatus {
	var out []FileStatus
	for path, lp := range e.taken {
		by := lp
		if o := l.entries[lp]; o != nil {
			by = o.svc.Service
		}
		out = append(out, FileStatus{
			Path: path, LogPath: e.svc.LogPath, Service: e.svc.Service, Topic: e.svc.Topic,
			State: StateUnknown, Cause: "taken by " + by, Limit: e.svc.SendRate,
		})
	}
	slices.SortFunc(out, func(a, b FileStatus) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// numbers are the totals of one path.
func (s *source) numbers(now time.Time) Totals {
	t := s.count.totals()
	s.meter.rates(&t)
	for in := range s.incarnations() {
		lag := in.lag()
		if lag == 0 {
			continue
		}
		t.LagBytes += lag
		if age, atLeast := in.sizes.age(now, in.win.committed); age.Seconds() > t.BehindSeconds {
			t.BehindSeconds, t.BehindAtLeast = age.Seconds(), atLeast
		}
	}
	for _, c := range s.candidates {
		if !c.copied {
			t.LagBytes += c.bytes()
		}
	}
	for _, o := range s.orphans {
		t.LagBytes += max(0, o.old.pos-o.old.win.committed+o.unread)
	}
	return t
}

// judged brings what is said of a source up to date.
func (l *loop) judged(s *source, now time.Time) *judgement {
	if s.place == 0 {
		s.meter.catchUp(l.steps, s.count.flow(), 0)
	} else {
		l.judgeCause(s, now)
	}
	return &s.said
}

// fileStatus is the status of one path, without its history.
func (l *loop) fileStatus(s *source, now time.Time) FileStatus {
	e := s.entry
	said := l.judged(s, now)
	f := FileStatus{
		Path: s.path, LogPath: e.svc.LogPath, Service: e.svc.Service, Topic: e.svc.Topic,
		State: said.state, Cause: said.text, Since: said.since, Limit: e.wanted().SendRate,
		Totals: s.numbers(now),
	}
	for in := range s.incarnations() {
		if in != s.active {
			f.RotatedFiles++
			f.RotatedBytes += in.lag()
			if in.deleted {
				f.DeletedBytes += in.seen.size
			}
			continue
		}
		f.Device, f.Inode = in.id.Dev, in.id.Ino
		f.SizeBytes, f.ReadBytes, f.CommittedBytes, f.PartialBytes = in.seen.size, in.readPos, in.win.committed, in.partial
	}
	for _, c := range s.candidates {
		if c.deleted {
			f.DeletedBytes += c.st.size
		}
		if !c.copied {
			f.RotatedFiles++
			f.RotatedBytes += c.bytes()
		}
	}
	return f
}
