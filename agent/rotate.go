package agent

import (
	"cmp"
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// leaseTrust is how long a file that somebody has open for writing is kept open for that
// reason alone.
const leaseTrust = time.Hour

// takeRotated reads a rotated file from where the checkpoint knows it, or whole.
func (l *loop) takeRotated(src *source, f *os.File, st stat, name string, now time.Time) {
	in, err := l.open(src, f, st, name, now)
	if err != nil {
		f.Close()
		l.reg.done(fileKey{src.entry.svc.LogPath, st.id}, -1, 0) // no file has that size: it is tried again
		l.a.log.Error("cannot read rotated file", "path", src.path, "file", name, "err", err)
		src.tally(counters{errors: 1})
		return
	}
	in.rotatedAt = now
	src.putRotated(in)
	l.push(in)
}

// putRotated puts a rotated file among the others, the oldest first: by modification
// time, as rotation leaves it.
func (s *source) putRotated(in *incarnation) {
	at := slices.IndexFunc(s.rotated, func(o *incarnation) bool {
		return cmp.Or(cmp.Compare(o.seen.mtime, in.seen.mtime), byAge(o.name, in.name)) > 0
	})
	if at < 0 {
		at = len(s.rotated)
	}
	s.rotated = slices.Insert(s.rotated, at, in)
}

// atEnd is called when an incarnation has nothing more to read for now.
func (l *loop) atEnd(in *incarnation, now time.Time) {
	if in.rotatedAt.IsZero() {
		return
	}
	cut := in.zip != nil && in.zip.look.err != nil // a damaged file's last line is no line
	if in.zip != nil && in.finishing && in.pos < in.seen.size && !cut {
		in.more = true // its last line has no end: the next turn takes it as it is
		l.push(in)
		return
	}
	if !in.drained {
		in.drained = true
		l.wakeNewer(in.src)
	}
	if in.quietSince.IsZero() {
		in.quietSince = now
	}
	if in.finishing && (in.pos >= in.seen.size || cut) && in.resolved() && len(in.win.spans) == 0 {
		l.finish(in, now)
	}
}

// finish is for a rotated file that was read to its end and that nobody writes any more.
func (l *loop) finish(in *incarnation, now time.Time) {
	src := in.src
	l.a.log.Info("rotated file finished", "path", src.path, "inode", in.id.Ino, "bytes", in.pos)
	rec := in.record(now)
	rec.Done, rec.Packed, rec.Size, rec.MTime = true, in.zip != nil, in.onDisk(), in.seen.mtime
	l.saver.putFile(rec)
	l.reg.done(rec.key(), rec.Size, rec.MTime)
	src.rotated = slices.DeleteFunc(src.rotated, func(o *incarnation) bool { return o == in })
	l.release(in)
	l.wakeNewer(src)
}

// tend looks after rotated files, candidates and parked readers with every poll.
func (l *loop) tend(now time.Time) {
	// Whoever has something to read asks again with every poll, whatever he was parked
	// for: a wake-up that went astray costs a poll and never a stall.
	for range len(l.budgetWaiters) {
		l.wakeBudget()
	}
	for _, e := range l.entries {
		if len(e.waiting) > 0 && !e.turnOut && e.wakeAt.IsZero() {
			l.wakeThrottled(e)
		}
		l.settle(e, now)
	}
	for _, src := range slices.Clone(l.awake) {
		l.tendSource(src, now)
	}
}

func (l *loop) tendSource(src *source, now time.Time) {
	e := src.entry
	if len(src.candidates) > 0 {
		l.judge(src, now)
	}
	l.tendOrphans(src, now)
	for in := range src.incarnations() {
		if in.more || in.finishing {
			l.push(in)
		}
	}
	for _, in := range slices.Clone(src.rotated) {
		l.tendRotated(in, now)
	}
	if src.lapsed {
		l.lapse(src, now)
	}
	if src.idle() && !e.leaving && (src.lapsed || isGlob(e.svc.LogPath) && (src.missing || src.sameAs != "")) {
		l.forget(src)
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
	writer, sure := in.writer()
	if sure && writer && quiet < leaseTrust || !sure && quiet < l.opt.RotateWait {
		return
	}
	in.finishing = true
	l.push(in)
}

// writer is writerOf that remembers where it cannot be found out.
func (in *incarnation) writer() (writer, sure bool) {
	if in.leaseRefused {
		return false, false
	}
	writer, sure = writerOf(in.file)
	in.leaseRefused = !sure
	return writer, sure
}

// writerOf tells whether somebody has the file open for writing, and whether that could
// be found out: a read lease is refused while there is a writer. It takes the owner of the
// file or CAP_LEASE, and a local file system. The lease is given back in the same breath.
func writerOf(f *os.File) (writer, sure bool) {
	fd := f.Fd()
	_, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK)
	switch {
	case err == nil:
		_, _ = unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK)
		return false, true
	case errors.Is(err, unix.EAGAIN):
		return true, true
	}
	return false, false
}

// truncated begins a file anew whose bytes before the position are gone. What was not yet
// read of the old bytes is read from the copy, if there is one.
func (l *loop) truncated(in *incarnation, now time.Time) {
	src := in.src
	if in.zip != nil { // written over: inspected anew it tells what it is now
		in.win.owner, in.win.orphaned = nil, true
		l.reopen(in, now)
		l.judge(src, now)
		return
	}
	if l.staleCopies(in, now) {
		in.more = true // once its turn is over the copy may be what this file needs
		l.push(in)
		return
	}
	unread := max(0, in.seen.size-in.pos)
	if in.drained {
		unread = 0 // it was read to its end before it was written anew
	}
	l.a.log.Warn("truncated", "path", src.path, "position", in.pos, "unread_at_last_look", unread)
	old := *in
	in.win.owner = nil
	l.bereave(&old, in.id, unread, now)
	if !in.rotatedAt.IsZero() {
		l.reopen(in, now)
		l.judge(src, now)
		return
	}
	in.restart()
	in.seen.size = 0
	in.sizes.known = true
	l.saveFirst(in)
	l.push(in)
}
