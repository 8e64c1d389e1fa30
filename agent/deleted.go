package agent

import (
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// freePercent tells how much of a file's file system is left to ordinary users.
func freePercent(f *os.File) (percent int, ok bool) {
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &s); err != nil || s.Blocks == 0 {
		return 0, false
	}
	return int(s.Bavail * 100 / s.Blocks), true
}

// capDeleted keeps deleted files from eating the host: what is deleted and not read to its
// end stays on the disk as long as the agent holds it. Where that is more than allowed the
// oldest are given up, and what they held is counted as lost. Closing a file that its
// writer still has open frees nothing, so that one is kept.
func (l *loop) capDeleted(now time.Time) {
	if l.opt.DeletedMaxBytes == 0 && l.opt.DeletedMinFree == 0 {
		return
	}
	var deleted []*incarnation
	var sum int64
	for _, s := range l.awake {
		for _, in := range s.rotated {
			if in.deleted && in.gaveUp == "" {
				deleted = append(deleted, in)
				sum += in.seen.disk
			}
		}
		for _, c := range s.candidates {
			if c.deleted {
				sum += c.st.disk
			}
		}
		if l.opt.DeletedMaxBytes > 0 && sum > l.opt.DeletedMaxBytes {
			sum -= s.dropDeletedCopies()
		}
	}
	slices.SortFunc(deleted, func(a, b *incarnation) int { return a.rotatedAt.Compare(b.rotatedAt) })
	short := make(map[uint64]bool) // file systems one file of which was given up this time
	for _, in := range deleted {
		why := ""
		switch {
		case l.opt.DeletedMaxBytes > 0 && sum > l.opt.DeletedMaxBytes:
			why = fmt.Sprintf("deleted files keep %d bytes of the disk, more than deleted_max", sum)
		case in.freeKnown && int(in.free) < l.opt.DeletedMinFree && !short[in.id.Dev]:
			why = fmt.Sprintf("the disk has %d %% free, less than deleted_min_free", in.free)
		default:
			continue
		}
		if writer, sure := in.writer(); sure && writer {
			continue
		}
		short[in.id.Dev] = true
		sum -= in.seen.disk
		in.gaveUp = why
		if !in.busy {
			l.giveUp(in, now)
		}
	}
}

// dropDeletedCopies closes deleted copies whose original is read: nothing is lost with them.
func (s *source) dropDeletedCopies() (disk int64) {
	s.candidates = slices.DeleteFunc(s.candidates, func(c *candidate) bool {
		if !c.deleted || !c.copied {
			return false
		}
		disk += c.st.disk
		c.file.Close()
		return true
	})
	return disk
}

// giveUp closes a deleted file with what is unread in it. What stands in a copy is read on
// there; the rest is lost. No turn is out.
func (l *loop) giveUp(in *incarnation, now time.Time) {
	src := in.src
	unread := max(0, in.seen.size-in.readPos)
	for _, s := range in.readSkips { // acknowledged before a rewind
		unread -= s.end - max(s.start, min(s.end, in.readPos))
	}
	l.a.log.Warn("deleted file given up", "path", src.path, "file", in.name, "unread", unread, "why", in.gaveUp)
	old := *in
	in.win.owner = nil // what is in flight may still arrive
	src.rotated = slices.DeleteFunc(src.rotated, func(o *incarnation) bool { return o == in })
	key := fileKey{src.entry.svc.LogPath, in.id}
	l.release(in)
	l.saver.dropFile(key)
	l.reg.forget(key)
	l.bereave(&old, in.id, unread, now)
	l.wakeNewer(src)
	l.settle(src.entry, now)
	l.a.signalChanged()
}

// deletedUnread returns what deleted files of the source hold that is not delivered.
func (s *source) deletedUnread() (n int64) {
	for _, in := range s.rotated {
		if in.deleted {
			n += in.lag()
		}
	}
	return n
}
