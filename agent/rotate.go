package agent

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// copyQuiet is how long an unknown rotated file must be unchanged before it is taken for
// what it seems to be: a copy that is still being written begins like its original and is
// shorter.
const copyQuiet = time.Second

// leaseTrust is how long a file that somebody has open for writing is kept open for that
// reason alone.
const leaseTrust = time.Hour

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
	_, known := l.saver.file(key)
	switch {
	case e.first:
		// It was rotated before the entry came: not asked for.
		l.recordDone(src, s.file, s.st, now)
		s.file.Close()
	case known:
		// Read in part before it was rotated, or grown after it was done.
		l.takeRotated(src, s.file, s.st, s.sibling, now)
	default:
		l.reg.hold(key) // until it is decided
		src.candidates = append(src.candidates, &candidate{file: s.file, name: s.sibling, st: s.st, since: now})
		l.judge(src, now)
	}
}

// takeRotated reads a rotated file from where the checkpoint knows it, or whole.
func (l *loop) takeRotated(src *source, f *os.File, st stat, name string, now time.Time) {
	in, err := l.open(src, f, st, name, now)
	if err != nil {
		f.Close()
		l.reg.forget(fileKey{src.entry.svc.LogPath, st.id})
		l.a.log.Error("cannot read rotated file", "path", src.path, "file", name, "err", err)
		src.count.errors++
		return
	}
	in.rotatedAt = now
	// The oldest first: by modification time, as rotation leaves it.
	at, _ := slices.BinarySearchFunc(src.rotated, in, func(a, b *incarnation) int {
		return int(min(1, max(-1, a.seen.mtime-b.seen.mtime)))
	})
	src.rotated = slices.Insert(src.rotated, at, in)
	l.push(in)
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
		case of != nil && of.committed >= st.size:
			l.a.log.Info("copy of a followed file", "path", src.path, "file", c.name, "size", st.size)
			l.recordDone(src, c.file, c.st, now)
			c.file.Close()
		case of != nil && of.open:
			keep = append(keep, c)
		case of != nil: // longer than its original ever was: what follows is read
			l.saver.putFile(fileRecord{LogPath: key.logPath, Path: src.path, fileID: st.id, Committed: of.committed, Head: of.head, Anchor: of.anchor, SeenAt: now.Unix()})
			l.takeRotated(src, c.file, c.st, c.name, now)
		case st.size == 0 && now.Sub(c.since) >= l.opt.RotateWait:
			l.reg.done(key, 0)
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

// original finds the known file that a candidate begins like and has the same bytes as
// before its position; maybe, where the candidate is too short to tell.
func (l *loop) original(src *source, c *candidate) (of *original, maybe bool) {
	same := func(head, anchor mark, pos int64) bool {
		if head.Len == 0 {
			return false
		}
		if c.st.size < int64(head.Len) {
			maybe = true
			return false
		}
		if ok, err := head.holds(c.file, int64(head.Len)); err != nil || !ok {
			return false
		}
		if c.st.size < pos || pos < headBytes && c.st.size != pos {
			// Still being written; or known by so little (a header line that every
			// file begins with) that only the whole would prove it.
			maybe = true
			return false
		}
		ok, err := anchor.holds(c.file, pos)
		return err == nil && ok
	}
	for in := range src.incarnations() {
		if in.id == c.st.id {
			continue
		}
		pos, anchor := in.pos, in.anchor
		if in.busy { // its position moves
			pos, anchor = in.win.committed, in.win.committedAnchor
		}
		if same(in.readHead, anchor, pos) {
			return &original{in.win.committed, in.readHead, in.win.committedAnchor, true}, false
		}
	}
	for r := range l.saver.filesOf(src.entry.svc.LogPath, src.path) {
		if r.fileID != c.st.id && !r.Pending && len(l.held[r.fileID]) == 0 && same(r.Head, r.Anchor, r.Committed) {
			return &original{r.Committed, r.Head, r.Anchor, false}, false
		}
	}
	return nil, maybe
}

// recordDone remembers a file as read to its present end.
func (l *loop) recordDone(src *source, f *os.File, st stat, now time.Time) {
	rec := fileRecord{LogPath: src.entry.svc.LogPath, Path: src.path, fileID: st.id, Committed: st.size, Done: true, SeenAt: now.Unix()}
	var err1, err2 error
	rec.Head, err1 = markAt(f, min(st.size, headBytes), headBytes)
	rec.Anchor, err2 = markAt(f, st.size, anchorBytes)
	if err := errors.Join(err1, err2); err != nil {
		l.a.log.Warn("cannot remember rotated file by its bytes", "file", f.Name(), "err", err)
		rec.Head, rec.Anchor = mark{}, mark{}
	}
	l.saver.putFile(rec)
	l.reg.done(rec.key(), st.size)
}

// atEnd is called when an incarnation has nothing more to read for now.
func (l *loop) atEnd(in *incarnation, now time.Time) {
	if in.rotatedAt.IsZero() {
		return
	}
	if !in.drained {
		in.drained = true
		l.wakeNewer(in.src)
	}
	if in.quietSince.IsZero() {
		in.quietSince = now
	}
	if in.finishing && in.pos >= in.seen.size && in.resolved() && len(in.win.spans) == 0 {
		l.finish(in, now)
	}
}

// finish is for a rotated file that was read to its end and that nobody writes any more.
func (l *loop) finish(in *incarnation, now time.Time) {
	src := in.src
	l.a.log.Info("rotated file finished", "path", src.path, "inode", in.id.Ino, "bytes", in.pos)
	rec := in.record(now)
	rec.Done = true
	l.saver.putFile(rec)
	l.reg.done(rec.key(), rec.Committed)
	src.rotated = slices.DeleteFunc(src.rotated, func(o *incarnation) bool { return o == in })
	l.release(in)
	l.wakeNewer(src)
}

// tend looks after rotated files, candidates and parked readers with every poll.
func (l *loop) tend(now time.Time) {
	if len(l.budgetWaiters) > 0 {
		l.wakeBudget()
	}
	for _, e := range l.entries {
		if len(e.waiting) > 0 && !e.turnOut && e.wakeAt.IsZero() {
			l.wakeThrottled(e)
		}
		for path, src := range e.sources {
			if len(src.candidates) > 0 {
				l.judge(src, now)
			}
			for _, in := range slices.Clone(src.rotated) {
				l.tendRotated(in, now)
			}
			if src.lapsed {
				l.lapse(src, now)
			}
			if src.idle() && !e.leaving && (src.lapsed || isGlob(e.svc.LogPath) && (src.missing || src.sameAs != "")) {
				e.gone.add(&src.count)
				delete(e.sources, path)
			}
		}
	}
}

func (l *loop) tendRotated(in *incarnation, now time.Time) {
	if in.wait != waitEOF || in.busy || in.queued || in.polling || in.quietSince.IsZero() || in.closing {
		return
	}
	if in.finishing {
		l.atEnd(in, now)
		return
	}
	quiet := now.Sub(in.quietSince)
	if quiet < min(l.opt.RotateWait, time.Second) {
		return
	}
	writer, sure := writerOf(in)
	if sure && writer && quiet < leaseTrust || !sure && quiet < l.opt.RotateWait {
		return
	}
	in.finishing = true
	l.push(in)
}

// writerOf tells whether somebody has the file open for writing, and whether that could
// be found out: a read lease is refused while there is a writer. It takes the owner of the
// file or CAP_LEASE, and a local file system. The lease is given back in the same breath.
func writerOf(in *incarnation) (writer, sure bool) {
	if in.leaseRefused {
		return false, false
	}
	fd := in.file.Fd()
	_, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK)
	switch {
	case err == nil:
		_, _ = unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK)
		return false, true
	case errors.Is(err, unix.EAGAIN):
		return true, true
	}
	in.leaseRefused = true
	return false, false
}

// truncated begins a file anew whose bytes before the position are gone. What was not yet
// read of the old bytes is read from the copy, if there is one.
func (l *loop) truncated(in *incarnation, now time.Time) {
	src := in.src
	unread := max(0, in.seen.size-in.pos)
	l.a.log.Warn("truncated", "path", src.path, "position", in.pos, "unread_at_last_look", unread)
	old := *in
	in.win.owner = nil
	if !l.takeCopy(&old, in.id, now) && unread > 0 {
		src.count.lost += uint64(unread)
		l.a.log.Error("bytes lost: truncated before they were read, and no copy found", "path", src.path, "bytes", unread)
		l.a.signalChanged()
	}
	in.restart()
	in.seen.size = 0
	in.sizes.known = true
	l.saver.put(in)
	l.saver.now = true
	in.savedSeq = l.saver.nextSeq()
	l.push(in)
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
		in.synced()
		l.held[st.id] = append(l.held[st.id], in)
		l.reg.hold(fileKey{src.entry.svc.LogPath, st.id})
		l.saver.put(in)
		l.saver.now = true
		in.savedSeq = l.saver.nextSeq()
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
