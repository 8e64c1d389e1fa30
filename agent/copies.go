package agent

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// copyQuiet is how long an unknown rotated file must be unchanged before it is taken for
// what it seems to be: a copy that is still being written begins like its original and is
// shorter.
const copyQuiet = time.Second

// siblingSeen takes a rotated file nobody knew.
func (l *loop) siblingSeen(src *source, s sighting, now time.Time) {
	e := src.entry
	key := fileKey{e.svc.LogPath, s.st.id}
	for in := range src.incarnations() {
		if in.id == s.st.id {
			s.file.Close()
			return
		}
	}
	if src.hasCandidate(s.st.id) || src.hasCopied(s.st.id) {
		s.file.Close()
		return
	}
	by, _ := compressedBy(s.sibling)
	rec, known := l.saver.file(key)
	switch {
	case e.first, !known && by != nil && s.st.bornBefore(e.record.Since):
		// It was rotated before the entry came: not asked for.
		l.recordDone(src, &candidate{file: s.file, st: s.st, by: by}, now)
		s.file.Close()
		return
	case known && !rec.Done && by == nil: // rotated away before it was read to its end
		l.takeRotated(src, s.file, s.st, s.sibling, now)
		return
	case known && by == nil && !l.stillHolds(&rec, s.file, s.st):
		// Another file was written over it: what is known of the old one is void.
		l.saver.dropFile(key)
	case known && rec.Done && by == nil && s.st.size == rec.Size: // touched
		rec.MTime = s.st.mtime
		l.saver.putFile(rec)
		l.reg.done(key, rec.Size, rec.MTime)
		s.file.Close()
		return
	}
	l.reg.hold(key) // until it is decided
	src.candidates = append(src.candidates, &candidate{file: s.file, name: s.sibling, st: s.st, by: by, since: now})
	l.judge(src, now)
	l.stopWaiting(src, now)
}

// bornBefore tells whether the file was certainly there before a time in Unix seconds.
func (s stat) bornBefore(unix int64) bool {
	return s.id.Birth != 0 && time.Unix(0, s.id.Birth).Before(time.Unix(unix, 0))
}

// stillHolds tells whether a file has the bytes its record remembers.
func (l *loop) stillHolds(rec *fileRecord, f *os.File, st stat) bool {
	if st.size < rec.Committed {
		return false
	}
	head, err1 := rec.Head.holds(f, int64(rec.Head.Len))
	anchor, err2 := rec.Anchor.holds(f, rec.Committed)
	return head && anchor && err1 == nil && err2 == nil
}

// judge decides about the unknown rotated files of a source, the oldest first: another file
// is read whole; a copy of a known one is done once all it holds was delivered from the
// original. Until then it is held: a truncation makes it the only place of what is unread,
// and a crash must not find it recorded as done.
func (l *loop) judge(src *source, now time.Time) {
	slices.SortStableFunc(src.candidates, func(a, b *candidate) int {
		return cmp.Or(cmp.Compare(a.st.mtime, b.st.mtime), byAge(a.name, b.name))
	})
	var keep []*candidate
	inspecting := false // an older one: whatever is decided of it may decide of this
	for _, c := range src.candidates {
		if c.by != nil && inspecting || !l.decided(src, c, now) {
			keep = append(keep, c)
			inspecting = inspecting || c.by != nil && c.look == nil
		}
	}
	src.candidates = keep
}

// decided is judge for one candidate. False keeps it.
func (l *loop) decided(src *source, c *candidate, now time.Time) bool {
	st, err := statFile(c.file)
	if err != nil {
		st = c.st
	}
	c.deleted = st.links == 0
	if st.size != c.st.size || st.mtime != c.st.mtime {
		c.st, c.since, c.look, c.like = st, now, nil, nil
	}
	quiet := now.Sub(c.since) >= copyQuiet
	key := fileKey{src.entry.svc.LogPath, st.id}
	if st.size == 0 {
		if now.Sub(c.since) < l.opt.RotateWait {
			return false
		}
		l.reg.done(key, 0, st.mtime)
		c.file.Close()
		return true
	}
	var ct content = plain{c}
	if c.by != nil {
		if !l.inspectedWhole(src, c, now) {
			return false
		}
		ct = c.look
	}
	if o, later := src.orphanOf(c, ct); o != nil || later {
		if o != nil {
			l.adopt(src, o, c, now)
		} else {
			l.inspect(src, c)
		}
		return o != nil
	}
	if src.holdsCopied(ct) {
		c.copied = true
		return false
	}
	of, maybe := l.original(src, c, ct)
	c.copied = of != nil && of.open
	switch {
	case maybe && c.by != nil: // the bytes of a record have to be looked for in it
		l.inspect(src, c)
		return false
	case of != nil && of.committed >= ct.length() && (quiet || !of.open):
		l.a.log.Info("copy of a followed file", "path", src.path, "file", c.name, "size", ct.length())
		l.recordDone(src, c, now)
		c.file.Close()
	case of != nil && of.open:
		return false
	case of != nil: // longer than its original ever was: what follows is read
		rec := *of.rec
		rec.fileID, rec.Path, rec.Done, rec.Packed, rec.Gen, rec.SeenAt = st.id, src.path, false, false, 0, now.Unix()
		if old := of.rec.key(); !of.rec.Done && old != key {
			l.saver.dropFile(old) // it goes on here
		}
		l.saver.putFile(rec)
		l.takeCandidate(src, c, now)
	case maybe && !quiet:
		return false
	default:
		l.a.log.Info("rotated unseen: read whole", "path", src.path, "file", c.name, "size", ct.length())
		if c.by != nil {
			l.saver.dropFile(key) // what it tells of was something else
		}
		l.takeCandidate(src, c, now)
	}
	return true
}

// takeCandidate reads a candidate from where its record says, or whole.
func (l *loop) takeCandidate(src *source, c *candidate, now time.Time) {
	if c.by != nil {
		rec, _ := l.saver.file(fileKey{src.entry.svc.LogPath, c.st.id})
		l.takeCompressed(src, c, &rec, now)
		return
	}
	l.takeRotated(src, c.file, c.st, c.name, now)
}

// original is what a candidate is a copy of.
type original struct {
	committed int64
	open      bool        // still read
	rec       *fileRecord // where it is not open
}

// original finds the known file that a candidate is a copy of; maybe, where too little of
// the candidate is there, or known of its original, to tell, and of a compressed one where
// it has to be inspected for more.
func (l *loop) original(src *source, c *candidate, ct content) (of *original, maybe bool) {
	begins := func(head mark) bool {
		ok, _ := ct.holds(head, int64(head.Len)) // known: it is one of the first bytes
		return ok
	}
	for _, s := range l.sourcesOf(src, c) {
		for in := range s.incarnations() {
			if in.id == c.st.id {
				continue
			}
			if in.readHead.Len > 0 && !begins(in.readHead) {
				maybe = maybe || c.by == nil && ct.length() < int64(in.readHead.Len)
				continue
			}
			// An original whose own bytes are gone will look for its copy with its next turn.
			// That is asked last: else a truncation between the two would make a copy
			// look like another file.
			if c.like == in && c.likeGen == in.gen || ct.begins(in) {
				c.like, c.likeGen = in, in.gen // not compared again with every look
				return &original{committed: in.win.committed, open: true}, false
			}
			if in.zip == nil && !in.intact() {
				return &original{committed: in.win.committed, open: true}, false
			}
			if in.busy && in.win.committed == 0 { // nothing to tell a truncation by until the turn is over
				return &original{committed: -1, open: true}, false
			}
		}
		for r := range l.saver.filesOf(src.entry.svc.LogPath, s.path) {
			if r.fileID == c.st.id && c.by == nil || r.Pending || r.Gone || r.Head.Len == 0 || len(l.held[r.fileID]) > 0 {
				continue
			}
			if !begins(r.Head) {
				maybe = maybe || c.by == nil && ct.length() < int64(r.Head.Len)
				continue
			}
			if ct.length() < r.Committed {
				// Lines came, and were read, between the copy and the truncation?
				copied, known := r.Trail.copiedBy(ct)
				if copied && (of == nil || r.Committed > of.committed) {
					of = &original{committed: r.Committed, rec: &r}
				}
				if copied || !known {
					maybe = maybe || !known
					continue
				}
			}
			end := r.Committed // of what is not to be read
			if r.Done && !r.Packed {
				end = max(end, r.Size)
			}
			whole := ct.length() == end || ct.length() == r.Committed
			if ct.length() < r.Committed || r.Committed < headBytes && !whole && (c.by == nil || r.Done) {
				// Still being written; or known by so little (a header line that every
				// file begins with) that only the whole would prove it.
				maybe = maybe || c.by == nil
				continue
			}
			ok, known := ct.holds(r.Anchor, r.Committed)
			if !known {
				maybe = true
			}
			if ok && (of == nil || end > of.committed) {
				of = &original{committed: end, rec: &r}
			}
		}
	}
	if maybe && c.by != nil {
		return nil, true
	}
	return of, maybe && of == nil
}

// intact tells whether the bytes before the position of an open file are still there. While
// a reader moves the position, those before committed are asked for.
func (in *incarnation) intact() bool {
	pos, anchor := in.win.committed, in.win.committedAnchor
	if !in.busy {
		pos, anchor = in.pos, in.anchor
	}
	ok, err := anchor.holds(in.file, pos)
	return ok || err != nil
}

// sourcesOf returns the sources whose files a candidate may be a copy of: its name may be
// rotated from several paths that a glob means.
func (l *loop) sourcesOf(src *source, c *candidate) []*source {
	out := []*source{src}
	for _, stem := range rotatedStems(filepath.Base(c.name)) {
		path := filepath.Join(filepath.Dir(c.name), stem)
		if path == src.path {
			continue
		}
		if s := src.entry.sources[path]; s != nil {
			out = append(out, s)
		} else {
			out = append(out, &source{entry: src.entry, path: path}) // for its records
		}
	}
	return out
}

// samePrefix tells whether a file of size bytes is a copy of the beginning of f: its first
// bytes and its last ones are compared.
func samePrefix(f, copied *os.File, size int64) bool {
	const most = 64 << 10
	if size == 0 {
		return false
	}
	same := func(from, n int64) bool {
		a, b := make([]byte, n), make([]byte, n)
		if _, err := f.ReadAt(a, from); err != nil {
			return false
		}
		_, err := copied.ReadAt(b, from)
		return err == nil && bytes.Equal(a, b)
	}
	n := min(size, most)
	return same(0, n) && same(size-n, n)
}

// recordDone remembers a candidate as read to its present end.
func (l *loop) recordDone(src *source, c *candidate, now time.Time) {
	st := c.st
	rec := fileRecord{LogPath: src.entry.svc.LogPath, Path: src.path, fileID: st.id, Done: true, Size: st.size, MTime: st.mtime, SeenAt: now.Unix()}
	var err1, err2, err3 error
	switch {
	case c.look != nil:
		rec.Packed = true
		rec.Committed = c.look.size
		rec.Head = markOf(c.look.first[:min(headBytes, len(c.look.first))])
		rec.Anchor = markOf(c.look.last[max(0, len(c.look.last)-anchorBytes):])
	case c.by != nil: // known by what the kernel calls it: nobody writes to a compressed file
		rec.Packed = true
	default:
		rec.Committed, err1 = lastLineEnd(c.file, st.size) // should it grow, its last line is whole
		rec.Head, err2 = markAt(c.file, min(rec.Committed, headBytes), headBytes)
		rec.Anchor, err3 = markAt(c.file, rec.Committed, anchorBytes)
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		l.a.log.Warn("cannot remember rotated file by its bytes", "file", c.file.Name(), "err", err)
		rec.Committed, rec.Head, rec.Anchor = st.size, mark{}, mark{}
	}
	l.saver.putFile(rec)
	l.reg.done(rec.key(), rec.Size, rec.MTime)
}

// reopen makes a candidate of a rotated file that was written anew under our eyes, as
// "cp app.log app.log.1" does to an older backup: what stands in it now is another file.
func (l *loop) reopen(in *incarnation, now time.Time) {
	src := in.src
	key := fileKey{src.entry.svc.LogPath, in.id}
	src.rotated = slices.DeleteFunc(src.rotated, func(o *incarnation) bool { return o == in })
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", in.file.Fd()))
	if in.zip != nil {
		l.saver.put(in)
	} else {
		l.saver.dropFile(key)
	}
	l.release(in)
	l.wakeNewer(src)
	if err != nil {
		l.reg.forget(key) // the finder will find it again
		return
	}
	st := in.seen
	if in.zip != nil {
		st = in.zip.look.st
	}
	src.candidates = append(src.candidates, &candidate{file: f, name: in.name, st: st, by: in.compression(), since: now})
}

// staleCopies reopens the rotated files of a source that were written anew, other than in
// itself: one of them may be the copy of what was truncated. It tells whether a turn is
// out on any, so that nothing can be said yet.
func (l *loop) staleCopies(in *incarnation, now time.Time) (wait bool) {
	for _, o := range slices.Clone(in.src.rotated) {
		if o == in || o.zip != nil {
			continue
		}
		if o.busy {
			wait = true
			continue
		}
		if intact, err := o.anchor.holds(o.file, o.pos); err == nil && !intact {
			o.win.owner = nil
			l.reopen(o, now)
		}
	}
	return wait
}

// takeCopy looks beside the path for the copy of old's bytes and reads on in it. The copy
// takes over old's window: it holds the same bytes at the same places. later tells that
// it may be in a file that is not decided about yet. A copy that ends before old's position
// is noted in the orphan.
func (l *loop) takeCopy(o *orphan, not fileID, now time.Time) (taken, later bool) {
	old := o.old
	src := old.src
	later = len(src.candidates) > 0
	names, err := os.ReadDir(filepath.Dir(src.path))
	if err != nil {
		return false, later
	}
	for _, d := range names {
		if !slices.Contains(rotatedStems(d.Name()), filepath.Base(src.path)) {
			continue
		}
		name := filepath.Join(filepath.Dir(src.path), d.Name())
		if by, _ := compressedBy(d.Name()); by != nil {
			st, err := statPath(name)
			later = later || err == nil && !l.reg.knows(fileKey{src.entry.svc.LogPath, st.id}, st)
			continue
		}
		f, st, err := openRegular(name)
		if err == nil && l.a.access.file(f) != nil {
			f.Close()
			continue
		}
		if err != nil {
			later = later || errors.Is(err, fs.ErrNotExist) // compressed this moment
			continue
		}
		headHolds, err1 := old.head.holds(f, int64(old.head.Len))
		anchorHolds := false
		var err2 error
		if st.size >= old.pos {
			anchorHolds, err2 = old.anchor.holds(f, old.pos)
		}
		if old.head.Len == 0 { // nothing of it was read: whatever the copy is, it is read whole
			later = later || !l.reg.knows(fileKey{src.entry.svc.LogPath, st.id}, st)
			f.Close()
			continue
		}
		c := &candidate{file: f, name: name, st: st, since: now}
		short := st.size < old.pos && (src.hasCandidate(st.id) || !l.reg.knows(fileKey{src.entry.svc.LogPath, st.id}, st))
		if short {
			short = o.mayBe(c)
			if short {
				short, _ = old.trail.copiedBy(plain{c})
			}
		}
		if st.id == not || len(l.held[st.id]) > 0 || err1 != nil || err2 != nil || !headHolds || !anchorHolds && (!short || o.copied != nil) {
			f.Close()
			continue
		}
		l.dropCandidate(src, st.id)
		if short {
			l.reg.hold(fileKey{src.entry.svc.LogPath, st.id})
			o.copied = c
			continue
		}
		if o.copied != nil { // the shorter one was another's
			o.copied.since = now
			src.candidates = append(src.candidates, o.copied)
			o.copied = nil
		}
		in := l.heir(src, old, c, now)
		src.rotated = append(src.rotated, in)
		l.push(in)
		return true, false
	}
	return false, later
}

// heir makes the incarnation that goes on in a copy where old was.
func (l *loop) heir(src *source, old *incarnation, c *candidate, now time.Time) *incarnation {
	in := l.incarnate(src, c, now)
	in.pos, in.anchor, in.head, in.trail = old.pos, old.anchor, old.head, old.trail
	in.long, in.skips, in.avgLine, in.sought = old.long, old.skips, old.avgLine, old.sought
	in.win = old.win
	in.win.owner, in.win.orphaned = in, false
	in.sizes = old.sizes
	l.hold(in)
	if in.win.failedAny && in.win.unresolved == 0 {
		in.rewind()
	}
	l.a.log.Info("reading on in the copy", "path", src.path, "file", c.name, "from", in.pos, "size", in.seen.size)
	return in
}

func (l *loop) dropCandidate(src *source, id fileID) {
	src.candidates = slices.DeleteFunc(src.candidates, func(c *candidate) bool {
		if c.st.id == id {
			c.file.Close()
			return true
		}
		return false
	})
}
