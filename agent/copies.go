package agent

import (
	"bytes"
	"errors"
	"fmt"
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
	if slices.ContainsFunc(src.candidates, func(c *candidate) bool { return c.st.id == s.st.id }) {
		s.file.Close()
		return
	}
	rec, known := l.saver.file(key)
	switch {
	case e.first:
		// It was rotated before the entry came: not asked for.
		l.recordDone(src, s.file, s.st, now)
		s.file.Close()
		return
	case known && !rec.Done: // rotated away before it was read to its end
		l.takeRotated(src, s.file, s.st, s.sibling, now)
		return
	case known && !l.stillHolds(&rec, s.file, s.st):
		// Another file was written over it: what is known of the old one is void.
		l.saver.dropFile(key)
	case known && s.st.size == rec.Size: // touched
		rec.MTime = s.st.mtime
		l.saver.putFile(rec)
		l.reg.done(key, rec.Size, rec.MTime)
		s.file.Close()
		return
	}
	l.reg.hold(key) // until it is decided
	src.candidates = append(src.candidates, &candidate{file: s.file, name: s.sibling, st: s.st, since: now})
	l.judge(src, now)
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

// judge decides about the unknown rotated files of a source: another file is read whole; a
// copy of a known one is done once all it holds was delivered from the original. Until
// then it is held: a truncation makes it the only place of what is unread, and a crash
// must not find it recorded as done.
func (l *loop) judge(src *source, now time.Time) {
	keep := src.candidates[:0]
	for _, c := range src.candidates {
		st, err := statFile(c.file)
		if err != nil {
			st = c.st
		}
		if st.size != c.st.size || st.mtime != c.st.mtime {
			c.st, c.since = st, now
		}
		quiet := now.Sub(c.since) >= copyQuiet
		of, maybe := l.original(src, c)
		c.copied = of != nil
		key := fileKey{src.entry.svc.LogPath, st.id}
		switch {
		case of != nil && of.committed >= st.size && (quiet || !of.open):
			l.a.log.Info("copy of a followed file", "path", src.path, "file", c.name, "size", st.size)
			l.recordDone(src, c.file, c.st, now)
			c.file.Close()
		case of != nil && of.open:
			keep = append(keep, c)
		case of != nil: // longer than its original ever was: what follows is read
			l.saver.putFile(fileRecord{LogPath: key.logPath, Path: src.path, fileID: st.id, Committed: of.committed, Head: of.head, Anchor: of.anchor, SeenAt: now.Unix()})
			l.takeRotated(src, c.file, c.st, c.name, now)
		case st.size == 0 && now.Sub(c.since) >= l.opt.RotateWait:
			l.reg.done(key, 0, st.mtime)
			c.file.Close()
		case st.size == 0 || maybe && !quiet:
			keep = append(keep, c)
		default:
			l.a.log.Info("rotated unseen: read whole", "path", src.path, "file", c.name, "size", st.size)
			l.takeRotated(src, c.file, c.st, c.name, now)
		}
	}
	clear(src.candidates[len(keep):])
	src.candidates = keep
}

// original is what a candidate is a copy of.
type original struct {
	committed    int64
	head, anchor mark // of the committed prefix
	open         bool // still read
}

// original finds the known file that a candidate is a copy of; maybe, where the
// candidate is too short to tell.
func (l *loop) original(src *source, c *candidate) (of *original, maybe bool) {
	begins := func(head mark) bool {
		if c.st.size < int64(head.Len) {
			maybe = true
			return false
		}
		ok, err := head.holds(c.file, int64(head.Len))
		return err == nil && ok
	}
	for in := range src.incarnations() {
		if in.id == c.st.id || in.readHead.Len > 0 && !begins(in.readHead) {
			continue
		}
		pos, anchor := in.win.committed, in.win.committedAnchor
		if !in.busy { // else its position moves under a reader
			pos, anchor = in.pos, in.anchor
		}
		intact, err := anchor.holds(in.file, pos)
		if err != nil {
			continue
		}
		// An original whose own bytes are gone will look for its copy with its next turn.
		if !intact || samePrefix(in.file, c.file, c.st.size) {
			return &original{in.win.committed, in.readHead, in.win.committedAnchor, true}, false
		}
	}
	for r := range l.saver.filesOf(src.entry.svc.LogPath, src.path) {
		if r.fileID == c.st.id || r.Pending || r.Head.Len == 0 || len(l.held[r.fileID]) > 0 || !begins(r.Head) {
			continue
		}
		if c.st.size < r.Committed || r.Committed < headBytes && c.st.size != r.Committed {
			// Still being written; or known by so little (a header line that every
			// file begins with) that only the whole would prove it.
			maybe = true
			continue
		}
		if ok, err := r.Anchor.holds(c.file, r.Committed); err == nil && ok {
			return &original{r.Committed, r.Head, r.Anchor, false}, false
		}
	}
	return nil, maybe
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

// recordDone remembers a file as read to its present end.
func (l *loop) recordDone(src *source, f *os.File, st stat, now time.Time) {
	rec := fileRecord{LogPath: src.entry.svc.LogPath, Path: src.path, fileID: st.id, Done: true, Size: st.size, MTime: st.mtime, SeenAt: now.Unix()}
	var err1, err2, err3 error
	rec.Committed, err1 = lastLineEnd(f, st.size) // should it grow, its last line is whole
	rec.Head, err2 = markAt(f, min(rec.Committed, headBytes), headBytes)
	rec.Anchor, err3 = markAt(f, rec.Committed, anchorBytes)
	if err := errors.Join(err1, err2, err3); err != nil {
		l.a.log.Warn("cannot remember rotated file by its bytes", "file", f.Name(), "err", err)
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
	l.release(in)
	l.saver.dropFile(key)
	l.wakeNewer(src)
	if err != nil {
		l.reg.forget(key) // the finder will find it again
		return
	}
	src.candidates = append(src.candidates, &candidate{file: f, name: in.name, st: in.seen, since: now})
}

// staleCopies reopens the rotated files of a source that were written anew, other than in
// itself: one of them may be the copy of what was truncated. It tells whether a turn is
// out on any, so that nothing can be said yet.
func (l *loop) staleCopies(in *incarnation, now time.Time) (wait bool) {
	for _, o := range slices.Clone(in.src.rotated) {
		if o == in {
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
// takes over old's window: it holds the same bytes at the same places.
func (l *loop) takeCopy(old *incarnation, not fileID, now time.Time) bool {
	src := old.src
	if old.pos == 0 || old.head.Len == 0 {
		return false
	}
	names, err := os.ReadDir(filepath.Dir(src.path))
	if err != nil {
		return false
	}
	for _, d := range names {
		if !slices.Contains(rotatedStems(d.Name()), filepath.Base(src.path)) {
			continue
		}
		name := filepath.Join(filepath.Dir(src.path), d.Name())
		f, st, err := openRegular(name)
		if err != nil {
			continue
		}
		headHolds, err1 := old.head.holds(f, int64(old.head.Len))
		anchorHolds := false
		var err2 error
		if st.size >= old.pos {
			anchorHolds, err2 = old.anchor.holds(f, old.pos)
		}
		if st.id == not || len(l.held[st.id]) > 0 || err1 != nil || err2 != nil || !headHolds || !anchorHolds {
			f.Close()
			continue
		}
		l.dropCandidate(src, st.id)
		in := &incarnation{
			src: src, file: f, id: st.id, name: name, seen: st, seenAt: now, more: true,
			pos: old.pos, anchor: old.anchor, head: old.head, long: old.long, skips: old.skips, avgLine: old.avgLine,
			win: old.win, rotatedAt: now, pollGap: l.opt.PollInterval, nextPoll: now, waitSince: now,
		}
		in.win.owner = in
		in.sizes = old.sizes
		l.hold(in)
		if in.win.failedAny && in.win.unresolved == 0 {
			in.rewind()
		}
		src.rotated = append(src.rotated, in)
		l.a.log.Info("reading on in the copy", "path", src.path, "file", name, "from", in.pos, "size", st.size)
		l.push(in)
		return true
	}
	return false
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
