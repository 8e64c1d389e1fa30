package agent

import (
	"slices"
	"time"
)

// orphan is what is left of a file that was truncated before it was read, or delivered, to
// its end: where its bytes would go on. They may stand in a copy that is still being
// compressed; until that is found or given up, nothing of them is lost.
type orphan struct {
	old    *incarnation // as it was; its file is not its own any more
	unread int64        // bytes that were seen and not read
	since  time.Time
	gone   time.Time  // when the bytes were seen to be gone: before since, where the agent was started again
	looks  uint64     // that had begun by then
	copied *candidate // a copy that ends before the position; nil: none was found
}

// record is what the checkpoint keeps of an orphan: the copy is known by it after a
// restart. The file itself has a record of its new generation, so this one stands under
// an identity no file can have.
func (o *orphan) record(now time.Time) fileRecord {
	r := o.old.record(now)
	r.fileID.Birth = -1 - int64(o.old.gen)
	r.Gone, r.Size = true, o.old.pos+o.unread
	r.SeenAt = o.gone.Unix()
	return r
}

// revive makes orphans of what was truncated before the agent was started, or the entry
// added, and has not been found since.
func (l *loop) revive(src *source, now time.Time) {
	for r := range l.saver.filesOf(src.entry.svc.LogPath, src.path) {
		if !r.Gone {
			continue
		}
		old := r.truncated(src)
		old.win.orphaned = true
		src.orphans = append(src.orphans, &orphan{
			old: old, unread: max(0, r.Size-r.Committed), since: now, gone: time.Unix(r.SeenAt+1, 0), looks: l.finder.begun.Load(),
		})
		l.a.log.Info("what was truncated before is still looked for", "path", src.path, "from", r.Committed)
	}
}

// truncated is the incarnation that a record remembers, without its file: its bytes are not
// there any more.
func (r *fileRecord) truncated(src *source) *incarnation {
	in := &incarnation{
		src: src, id: r.fileID, gen: r.Gen, skips: r.skips(), pos: r.Committed, anchor: r.Anchor, head: r.Head, trail: r.Trail, sought: r.Sought,
		win: &window{committed: r.Committed, committedAnchor: r.Anchor},
	}
	in.synced()
	return in
}

// mayBe tells whether a file can be the copy that ends before the position: it was there
// when the bytes were gone. What was written later is another file, whatever it begins with.
func (o *orphan) mayBe(c *candidate) bool {
	return !time.Unix(0, c.st.mtime).After(o.gone)
}

// orderWait is how long the lines that follow a rotation wait at most for older ones that
// stand in a file not decided about yet: order is worth a moment, not an outage.
const orderWait = 10 * time.Second

// bereave looks for the copy of what was truncated. Where there is none and none can
// come, the bytes are lost and counted.
func (l *loop) bereave(old *incarnation, not fileID, unread int64, now time.Time) {
	src := old.src
	o := &orphan{old: old, unread: unread, since: now, gone: now, looks: l.finder.begun.Load()}
	taken, later := l.takeCopy(o, not, now)
	switch {
	case taken:
	case o.copied == nil && !later:
		l.lost(src, o)
	case o.copied == nil && old.head.Len == 0: // a copy is read whole
	default:
		l.orphan(src, o, now)
	}
}

// orphan keeps what is looked for.
func (l *loop) orphan(src *source, o *orphan, now time.Time) {
	old := o.old
	old.win.owner, old.win.orphaned = nil, true
	src.orphans = append(src.orphans, o)
	l.saver.putFile(o.record(now))
	src.waitTill = now.Add(orderWait)
	l.a.log.Info("truncated before it was read: its copy is looked for", "path", src.path, "from", old.pos, "unread_at_last_look", o.unread)
	l.finder.hurry()
	l.tendOrphans(src, now)
}

// lost counts what stands nowhere any more.
func (l *loop) lost(src *source, o *orphan) {
	o.old.win.orphaned = false
	n := o.unread
	for _, s := range o.old.win.spans {
		if s.verdict == failed {
			n += s.end - s.start
		}
	}
	if n <= 0 {
		return
	}
	src.tally(counters{lost: uint64(n)})
	why := o.old.gaveUp
	if why == "" {
		why = "truncated before they were read"
	}
	l.a.log.Error("bytes lost: no copy found", "path", src.path, "bytes", n, "why", why)
	l.a.signalChanged()
}

// orphanOf returns the orphan that a content is of; later, where it is not known yet.
func (s *source) orphanOf(c *candidate, ct content) (_ *orphan, later bool) {
	var short *orphan
	for _, o := range s.orphans {
		if ok, _ := ct.holds(o.old.head, int64(o.old.head.Len)); !ok || o.copied != nil {
			continue
		}
		ok, known := ct.holds(o.old.anchor, o.old.pos)
		switch {
		case ok:
			return o, false
		case ct.length() < o.old.pos && o.mayBe(c): // lines came, and were read, between the copy and the truncation?
			if ok, known = o.old.trail.copiedBy(ct); ok {
				short = o
			}
		}
		later = later || !known
	}
	if later {
		return nil, true
	}
	return short, false
}

// holdsCopied tells whether a content is that of a copy which is held until all it holds is
// delivered: a copy and its .gz stand there both for a moment. Nothing else remembers those
// bytes until then: the file's own record is of its new generation.
func (s *source) holdsCopied(ct content) bool {
	return slices.ContainsFunc(s.orphans, func(o *orphan) bool {
		c := o.copied
		if c == nil || c.bytes() != ct.length() {
			return false
		}
		in := &incarnation{file: c.file}
		if c.by != nil {
			in.zip = &zipped{by: c.by, look: c.look}
		}
		return ct.begins(in)
	})
}

// adopt goes on in a copy where its orphan was. One that ends before that is held until
// all it holds is delivered.
func (l *loop) adopt(src *source, o *orphan, c *candidate, now time.Time) {
	if c.bytes() < o.old.pos {
		o.copied = c
		l.tendOrphans(src, now)
		return
	}
	l.settled(src, o, now)
	in := l.heir(src, o.old, c, now)
	src.rotated = slices.Insert(src.rotated, 0, in)
	l.push(in)
	l.stopWaiting(src, now)
}

// tendOrphans gives up what can be found nowhere, once every file beside it is decided, and
// settles what was read beyond the end of its copy.
func (l *loop) tendOrphans(src *source, now time.Time) {
	for _, o := range slices.Clone(src.orphans) {
		switch {
		case o.copied != nil && o.old.win.unresolved > 0:
			continue
		case o.copied != nil:
			l.settleShort(src, o, now)
		case len(src.candidates) > 0 || now.Sub(o.since) < copyQuiet || l.finder.ended.Load() <= o.looks:
			continue // the finder may not have seen the copy yet
		default:
			l.lost(src, o)
		}
		l.settled(src, o, now)
	}
	l.stopWaiting(src, now)
}

// settled forgets an orphan whose fate is known.
func (l *loop) settled(src *source, o *orphan, now time.Time) {
	src.orphans = slices.DeleteFunc(src.orphans, func(x *orphan) bool { return x == o })
	rec := o.record(now)
	l.saver.dropFile(rec.key())
}

// settleShort ends an orphan whose copy ends before its position, once it has every verdict.
// What the copy holds and Kafka did not take is read again from it; what was only in the
// truncated file is lost.
func (l *loop) settleShort(src *source, o *orphan, now time.Time) {
	c, win, end := o.copied, o.old.win, o.copied.bytes()
	for _, s := range win.spans {
		if s.verdict == failed && s.end > end {
			n := uint64(s.end - max(s.start, end))
			src.tally(counters{lost: n})
			l.a.log.Error("bytes lost: truncated before they were delivered", "path", src.path, "bytes", n)
		}
	}
	win.orphaned = false
	if win.committed >= end {
		l.a.log.Info("copy of a followed file", "path", src.path, "file", c.name, "size", end)
		l.recordDone(src, c, now)
		c.file.Close()
		return
	}
	in := l.heir(src, o.old, c, now)
	in.skips = slices.DeleteFunc(in.skips, func(s *span) bool { return s.end > end })
	in.synced()
	src.rotated = slices.Insert(src.rotated, 0, in)
	l.push(in)
}

// awaits tells whether older lines of the source may stand in a file that is not decided
// about: an orphan's, or, after a start, those of a file that was rotated and compressed
// while the agent was away, and then all that stand beside it.
func (l *loop) awaits(src *source, now time.Time) bool {
	if len(src.orphans) > 0 {
		return true
	}
	if now.Sub(src.born) > orderWait || !slices.ContainsFunc(src.candidates, func(c *candidate) bool { return c.by != nil && !c.copied && (c.look == nil || c.look.err == nil) }) {
		return false
	}
	if !src.waitTill.IsZero() {
		return true
	}
	for r := range l.saver.filesOf(src.entry.svc.LogPath, src.path) {
		if !r.Done && !r.Pending && !r.Gone && len(l.held[r.fileID]) == 0 {
			return true
		}
	}
	return false
}

// stopWaiting lets newer lines go once nothing older can come before them, or it has
// taken too long.
func (l *loop) stopWaiting(src *source, now time.Time) {
	switch waits := l.awaits(src, now); {
	case waits && src.waitTill.IsZero():
		src.waitTill = now.Add(orderWait)
	case !src.waitTill.IsZero() && (!waits || !now.Before(src.waitTill)):
		if !waits {
			src.waitTill = time.Time{}
		}
		l.wakeNewer(src)
	}
}
