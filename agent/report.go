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

// sample takes the measure of everything, once a second.
func (l *loop) sample(now time.Time) {
	var sum counters
	sum.add(&l.totals)
	var lag int64
	changed := false
	for _, e := range l.entries {
		sum.add(&e.gone)
		for _, s := range e.sources {
			for in := range s.incarnations() {
				in.wait = l.setWait(in, in.wait, now)
				l.bookNow(in, now)
			}
			n := s.lag()
			lag += n
			if !s.meter.quiet(&s.count, n) {
				s.meter.take(now, &s.count, n)
			}
			sum.add(&s.count)
			changed = l.judgeCause(s, now) || changed
			s.cause.decay()
		}
	}
	l.meter.take(now, &sum, lag)
	l.proc.take(now)
	if changed {
		l.a.signalChanged()
	}
}

// bookNow books the wait that goes on until now.
func (l *loop) bookNow(in *incarnation, now time.Time) {
	k := in.wait
	in.src.cause.book(k, now.Sub(in.waitSince))
	if k == waitThrottle {
		in.src.count.throttledNanos += uint64(now.Sub(in.waitSince))
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
	c := &s.cause
	if c.state == state && c.text == text {
		return false
	}
	old := c.state
	if old != state {
		c.since = now
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
	throttled := s.cause.share(waitThrottle)
	switch {
	case len(s.orphans) > 0:
		return StateBehind, causeCopy
	case topic.Health == HealthDown && (inFlight || front.wait == waitWindow):
		return StateBehind, "Kafka away (" + topic.Why + ")"
	case throttled >= 0.5 || throttled >= 0.2 && front.wait == waitThrottle:
		return StateBehind, causeLimited
	case topic.Health == HealthSlow && inFlight:
		return StateBehind, "Kafka slow (" + topic.Why + ")"
	case s.cause.share(waitWindow) >= 0.5:
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

// share is the part of the last seconds that the readers spent in a wait.
func (c *causeTrail) share(k waitKind) float64 {
	var sum time.Duration
	for _, d := range c.spent {
		sum += d
	}
	if sum == 0 {
		return 0
	}
	return float64(c.spent[k]) / float64(sum)
}

// status returns a snapshot, made anew where the last one is older than statusAge.
func (l *loop) status() *Status {
	now := time.Now()
	if now.Sub(l.lastAt) < statusAge && !l.draining {
		return l.last
	}
	l.seq++
	s := &Status{
		Host: l.opt.Host, StateID: l.saver.meta.StateID, Boot: l.saver.meta.Boot, Seq: l.seq, At: now,
		Version: l.opt.Version, PID: os.Getpid(), Started: l.a.started, Draining: l.draining,
		Kafka: l.opt.Sink.Link(), History: l.meter.history(),
		Process: ProcessStatus{
			CPUPercent: l.proc.pct, RSSBytes: rssBytes(),
			InFlightBytes: l.budget.used, InFlightLimitBytes: l.budget.limit,
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
	var sum counters
	sum.add(&l.totals)
	worst := Totals{}
	at := make(map[*entry]int)
	var sources []*source
	for _, lp := range l.order {
		e := l.entries[lp]
		if e == nil || e.leaving {
			continue
		}
		at[e] = len(s.Services)
		s.Services = append(s.Services, ServiceStatus{Service: *e.wanted(), FileCount: len(e.sources)})
		for _, src := range e.sources {
			sources = append(sources, src)
		}
	}
	slices.SortFunc(sources, func(a, b *source) int { return strings.Compare(a.path, b.path) })
	s.Files = make([]FileStatus, 0, len(sources))
	for _, src := range sources {
		f := l.fileStatus(src, now)
		s.Services[at[src.entry]].worsen(&f)
		s.Files = append(s.Files, f)
	}
	for e, i := range at {
		l.entryStatus(e, &s.Services[i])
		worst.merge(&s.Services[i].Totals)
		s.Files = append(s.Files, l.takenFiles(e)...)
	}
	for _, e := range l.entries {
		sum.add(&e.gone)
		for _, src := range e.sources {
			sum.add(&src.count)
		}
	}
	s.Totals = l.meter.totals(&sum)
	s.Totals.LagBytes, s.Totals.BehindSeconds, s.Totals.BehindAtLeast = worst.LagBytes, worst.BehindSeconds, worst.BehindAtLeast
	s.Totals.InLinesPerSec, s.Totals.ThrottledShare = worst.InLinesPerSec, worst.ThrottledShare
	l.last, l.lastAt = s, now
	return s
}

// merge adds what adds up and keeps the worst of what does not.
func (t *Totals) merge(o *Totals) {
	t.Lines += o.Lines
	t.Bytes += o.Bytes
	t.LagBytes += o.LagBytes
	t.InLinesPerSec += o.InLinesPerSec
	t.InBytesPerSec += o.InBytesPerSec
	t.OutLinesPerSec += o.OutLinesPerSec
	t.OutBytesPerSec += o.OutBytesPerSec
	if o.BehindSeconds > t.BehindSeconds {
		t.BehindSeconds, t.BehindAtLeast = o.BehindSeconds, o.BehindAtLeast
	}
	t.ThrottledShare = max(t.ThrottledShare, o.ThrottledShare)
	t.Doubled += o.Doubled
	t.LostBytes += o.LostBytes
	t.Split += o.Split
	t.Truncated += o.Truncated
	t.Skipped += o.Skipped
	t.Errors += o.Errors
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

// worsen takes a file of the entry into its status.
func (es *ServiceStatus) worsen(f *FileStatus) {
	es.Totals.merge(&f.Totals)
	if es.Cause == "" || f.State.rank() > es.State.rank() {
		es.State, es.Cause, es.Since = f.State, f.Cause, f.Since
	}
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

func (l *loop) fileStatus(s *source, now time.Time) FileStatus {
	e := s.entry
	l.judgeCause(s, now)
	f := FileStatus{
		Path: s.path, LogPath: e.svc.LogPath, Service: e.svc.Service, Topic: e.svc.Topic,
		State: s.cause.state, Cause: s.cause.text, Since: s.cause.since, Limit: e.wanted().SendRate,
		Totals: s.meter.totals(&s.count), History: s.meter.history(),
	}
	for in := range s.incarnations() {
		f.Totals.LagBytes += in.lag()
		if age, atLeast := in.sizes.age(now, in.win.committed); in.lag() > 0 && age.Seconds() > f.Totals.BehindSeconds {
			f.Totals.BehindSeconds, f.Totals.BehindAtLeast = age.Seconds(), atLeast
		}
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
		if c.copied {
			continue
		}
		f.RotatedFiles++
		f.RotatedBytes += c.bytes()
		f.Totals.LagBytes += c.bytes()
	}
	for _, o := range s.orphans {
		f.Totals.LagBytes += max(0, o.old.pos-o.old.win.committed+o.unread)
	}
	return f
}
