package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// inotify is the agent's one inotify instance: it tells that an open file was written to and
// that names in a folder changed. One goroutine reads it, whatever the number of watches.
// Polling is always behind it: whatever goes wrong here costs latency, never a line.
//
// A file is watched through /proc/self/fd/N, which names the very file we hold, whatever
// becomes of its path. Without /proc nothing is watched.
//
// The kernel tells by numbers (watch descriptors), and a number may be given again:
//
//	we drop watch 7; its last events still stand in the queue; a new file gets 7;
//	the reader reads "7 was written to", which the old file was.
//
// Linux hands numbers out upwards and begins anew only after two billion, but nothing here
// leans on that. The end of a watch is itself an event, IN_IGNORED, the last one of its number:
// drop notes that one is owed (watched.owed), and until it has been read every event of that
// number is the old file's and means nothing. An overflow of the queue may have swallowed
// it; then nothing is owed any more, and every file and folder counts as told.
type inotify struct {
	log   *slog.Logger
	mail  *mailbox
	moved func() // a name may have changed; any goroutine

	reading sync.Mutex // one reads and takes events at a time: their order counts
	buf     [16 << 10]byte

	mu     sync.Mutex // guards what follows
	file   *os.File   // nil: none yet, or none to be had
	conn   syscall.RawConn
	gate   *gate // to the events of file
	closed bool
	said   bool // that something cannot be watched
	wds    map[int32]watched
	told   []*folder       // with news, for the finder
	nudged []*incarnation  // with news, for the loop
	spare  []*incarnation  // the slice that nudged was before
	mailed bool            // the loop has mail to take nudged
	local  map[uint64]bool // by device: what is written there is told

	notify func(*incarnation) // runs in the loop
	wg     sync.WaitGroup     // the reader
}

// watched is who wants to know what the kernel tells under one number: the same inode always
// has the same, be it a file that two entries hold or a folder mounted twice.
type watched struct {
	files   *nudge
	folders *folder
	owed    int32 // ends of watches that had this number before
}

const (
	fileEvents   = unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_MOVE_SELF | unix.IN_DELETE_SELF
	folderEvents = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_CLOSE_WRITE |
		unix.IN_ATTRIB | unix.IN_MOVE_SELF | unix.IN_DELETE_SELF | unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK
)

// readRest is how long the events of busy writers gather before they are read again: the
// kernel merges equal neighbours meanwhile, and a thousand short lines cost one wake-up.
const readRest = 10 * time.Millisecond

// watchAgain is how long what could not be watched is polled before it is tried again.
const watchAgain = time.Minute

func newInotify(mail *mailbox, log *slog.Logger, notify func(*incarnation), moved func()) *inotify {
	return &inotify{mail: mail, log: log, notify: notify, moved: moved, wds: make(map[int32]watched), local: make(map[uint64]bool)}
}

// instance returns the inotify instance; the first call opens it.
func (w *inotify) instance() (syscall.RawConn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, os.ErrClosed
	}
	if w.file == nil {
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if err != nil {
			return nil, os.NewSyscallError("inotify_init1", err)
		}
		file := os.NewFile(uintptr(fd), "inotify") // blocking, so the runtime's poller leaves it alone
		conn, err := file.SyscallConn()
		if err == nil {
			err = unix.SetNonblock(fd, true) // take reads until there is nothing
		}
		if err == nil {
			w.gate, err = newGate(fd)
		}
		if err != nil {
			file.Close()
			return nil, err
		}
		w.file, w.conn = file, conn
		w.wg.Go(w.read)
	}
	return w.conn, nil
}

// watch asks for the events of the file or folder behind an open descriptor. It may block on
// a file system that hangs, so no lock is held; whoever is told of may not be known yet when
// its first event is read, so callers look at it once more after they were.
func (w *inotify) watch(fd int, mask uint32) (wd int32, err error) {
	conn, err := w.instance()
	if err != nil {
		return 0, err
	}
	closed := conn.Control(func(ifd uintptr) {
		var n int
		n, err = unix.InotifyAddWatch(int(ifd), fmt.Sprintf("/proc/self/fd/%d", fd), mask)
		wd, err = int32(n), os.NewSyscallError("inotify_add_watch", err)
	})
	return wd, errors.Join(closed, err)
}

// unwatch ends a watch that nobody wants any more. An error means that the kernel has ended
// it before us.
func (w *inotify) unwatch(wd int32) {
	w.mu.Lock()
	conn := w.conn
	w.mu.Unlock()
	_ = conn.Control(func(ifd uintptr) { _, _ = unix.InotifyRmWatch(int(ifd), uint32(wd)) })
}

// tells tells whether what is written on a device is told: the finder has found that out.
func (w *inotify) tells(dev uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.local[dev]
}

// addFile watches an open file. The loop calls it, and dropFile.
func (w *inotify) addFile(n *nudge) error {
	wd, err := w.watch(int(n.in.file.Fd()), fileEvents)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	n.wd, n.local = wd, w.local[n.in.id.Dev]
	at := w.wds[wd]
	n.next, at.files = at.files, n
	w.wds[wd] = at
	return nil
}

// dropFile ends what addFile began.
func (w *inotify) dropFile(n *nudge) {
	w.mu.Lock()
	at, ok := w.wds[n.wd]
	if n.ended.Load() {
		ok = false // the number is the kernel's again
	}
	if ok {
		for p := &at.files; *p != nil; p = &(*p).next {
			if *p == n {
				*p = n.next
				break
			}
		}
		ok = w.left(n.wd, at)
	}
	w.mu.Unlock()
	if ok {
		w.unwatch(n.wd)
	}
}

// addFolder watches an open folder. The finder calls it, and dropFolder.
func (w *inotify) addFolder(d *folder, fd int) error {
	wd, err := w.watch(fd, folderEvents)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	d.wd = wd
	at := w.wds[wd]
	d.next, at.folders = at.folders, d
	w.wds[wd] = at
	return nil
}

func (w *inotify) dropFolder(d *folder) {
	w.mu.Lock()
	at, ok := w.wds[d.wd]
	if d.ended {
		ok = false // the number is the kernel's again
	}
	if ok {
		for p := &at.folders; *p != nil; p = &(*p).next {
			if *p == d {
				*p = d.next
				break
			}
		}
		ok = w.left(d.wd, at)
	}
	wd := d.wd
	d.wd, d.next, d.ended, d.news = 0, nil, false, 0
	w.mu.Unlock()
	if ok {
		w.unwatch(wd)
	}
}

// left notes that someone does not want to be told any more, and tells whether that was the
// last one: then the watch is to be ended, and its end is owed. mu is held.
func (w *inotify) left(wd int32, at watched) bool {
	last := at.files == nil && at.folders == nil
	if last {
		at.owed++
	}
	w.wds[wd] = at
	return last
}

// failed says once that something is not watched, and what to raise.
func (w *inotify) failed(path string, err error) {
	w.mu.Lock()
	said := w.said || w.closed
	w.said = true
	w.mu.Unlock()
	if said {
		return
	}
	args := []any{"path", path, "err", err}
	switch {
	case errors.Is(err, unix.ENOSPC):
		args = append(args, "raise", "fs.inotify.max_user_watches")
	case errors.Is(err, unix.EMFILE):
		args = append(args, "raise", "fs.inotify.max_user_instances")
	}
	w.log.Warn("cannot watch for changes: files are polled", args...)
}

// mended says that what could not be watched is watched now.
func (w *inotify) mended() {
	w.mu.Lock()
	said := w.said
	w.said = false
	w.mu.Unlock()
	if said {
		w.log.Info("files are watched for changes again")
	}
}

// close ends the reader. What is added from now on fails.
func (w *inotify) close() {
	w.mu.Lock()
	w.closed = true
	file, gate := w.file, w.gate
	w.mu.Unlock()
	if file == nil {
		return
	}
	gate.file.Close() // wakes the reader
	w.wg.Wait()
	file.Close() // the watches end with it
}

// read takes events until the instance is closed.
func (w *inotify) read() {
	var last time.Time
	for {
		var moved bool
		err := w.gate.wait(func(fd int) (any bool) {
			any, moved = w.take(fd)
			return any
		})
		if err != nil {
			return
		}
		if moved {
			w.moved()
		}
		if time.Since(last) < 2*readRest {
			time.Sleep(readRest)
		}
		last = time.Now()
	}
}

// drain takes what the kernel has told until now: what changed before the call is known after
// it, as if it had been looked at.
func (w *inotify) drain() {
	w.mu.Lock()
	conn := w.conn
	w.mu.Unlock()
	if conn != nil {
		_ = conn.Control(func(fd uintptr) { w.take(int(fd)) })
	}
}

// take reads all there is. It tells whether there was anything, and whether names may have
// changed.
func (w *inotify) take(fd int) (any, moved bool) {
	w.reading.Lock()
	defer w.reading.Unlock()
	for {
		n, err := unix.Read(fd, w.buf[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return any, moved
		}
		any = true
		moved = w.events(w.buf[:n]) || moved
		if n < len(w.buf)-unix.SizeofInotifyEvent-unix.NAME_MAX-1 {
			return any, moved // that was all
		}
	}
}

// events hands events to those who wait for them and tells whether names may have changed.
func (w *inotify) events(b []byte) (moved bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(b) >= unix.SizeofInotifyEvent {
		ev := (*unix.InotifyEvent)(unsafe.Pointer(&b[0]))
		end := unix.SizeofInotifyEvent + int(ev.Len)
		name := b[unix.SizeofInotifyEvent:end]
		b = b[end:]
		if ev.Mask&unix.IN_Q_OVERFLOW != 0 {
			w.overflow()
			moved = true
			continue
		}
		at, ok := w.wds[ev.Wd]
		switch {
		case !ok:
			continue
		case at.owed > 0: // of a watch that we have dropped
			if ev.Mask&unix.IN_IGNORED != 0 {
				at.owed--
				w.settle(ev.Wd, at)
			}
			continue
		case ev.Mask&unix.IN_IGNORED != 0: // the kernel ended it: the file system is unmounted
			delete(w.wds, ev.Wd)
			for n := at.files; n != nil; n = n.next {
				n.ended.Store(true)
			}
			for d := at.folders; d != nil; d = d.next {
				d.ended = true
			}
		}
		for n := at.files; n != nil; n = n.next {
			w.nudge(n)
			moved = moved || ev.Mask&^unix.IN_MODIFY != 0 // IN_ATTRIB is what an unlink of an open file gives
		}
		if at.folders != nil {
			news := folderNews(ev.Mask, name)
			for d := at.folders; d != nil; d = d.next {
				moved = w.tell(d, news) || moved
			}
		}
	}
	if len(w.nudged) > 0 && !w.mailed {
		w.mailed = true
		w.mail.post(w.deliver)
	}
	return moved
}

// settle keeps what is left under a number, or forgets the number. mu is held.
func (w *inotify) settle(wd int32, at watched) {
	if at == (watched{}) {
		delete(w.wds, wd)
	} else {
		w.wds[wd] = at
	}
}

// overflow follows events that were lost: anything may have changed. mu is held.
func (w *inotify) overflow() {
	for wd, at := range w.wds {
		for n := at.files; n != nil; n = n.next {
			w.nudge(n)
		}
		for d := at.folders; d != nil; d = d.next {
			w.tell(d, newsNames|newsSelf|newsWritten)
		}
		at.owed = 0
		w.settle(wd, at)
	}
}

// nudge notes that a file has changed. mu is held.
func (w *inotify) nudge(n *nudge) {
	if !n.flag.Swap(true) {
		w.nudged = append(w.nudged, n.in)
	}
}

// deliver hands the files that have changed to the loop, in which it runs: one mail for all
// of them.
func (w *inotify) deliver() {
	w.mu.Lock()
	ins := w.nudged
	w.nudged, w.spare, w.mailed = w.spare[:0], nil, false
	w.mu.Unlock()
	for _, in := range ins {
		w.notify(in)
	}
	clear(ins)
	if cap(ins) > 1024 { // a burst
		return
	}
	w.mu.Lock()
	w.spare = ins[:0]
	w.mu.Unlock()
}

// news is what was told of a folder and has not been looked at.
type news uint8

const (
	newsNames   news = 1 << iota // names came or went
	newsSelf                     // the folder itself changed
	newsWritten                  // a rotated file was written over
)

func folderNews(mask uint32, name []byte) news {
	switch {
	case mask&(unix.IN_MOVE_SELF|unix.IN_DELETE_SELF|unix.IN_UNMOUNT|unix.IN_IGNORED) != 0:
		return newsSelf
	case mask&unix.IN_ATTRIB != 0:
		if len(name) == 0 {
			return newsSelf
		}
		return 0 // a file's: its descriptor is held, or it is tried with every poll
	case mask&unix.IN_CLOSE_WRITE != 0:
		if len(rotatedStems(unix.ByteSliceToString(name))) > 0 {
			return newsWritten
		}
		return 0
	}
	return newsNames
}

// tell notes news of a folder, and tells whether it is to be looked at soon. mu is held.
func (w *inotify) tell(d *folder, is news) bool {
	soon := is&(newsNames|newsSelf) != 0
	if soon && d.news&(newsNames|newsSelf) == 0 {
		w.told = append(w.told, d)
	}
	d.news |= is
	return soon
}

// takeTold returns the folders that have news, those included that came before the call.
func (w *inotify) takeTold(into []*folder) []*folder {
	w.drain()
	w.mu.Lock()
	defer w.mu.Unlock()
	into = append(into, w.told...)
	w.told = emptied(w.told)
	return into
}

// hear returns the news of a folder, which are none from then on, and whether its watch has
// been ended by the kernel.
func (w *inotify) hear(d *folder) (is news, ended bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	is, d.news = d.news, d.news&newsWritten
	return is, d.ended
}

// heardWritten forgets that rotated files were written over: they are looked at now.
func (w *inotify) heardWritten(d *folder) {
	w.mu.Lock()
	d.news &^= newsWritten
	w.mu.Unlock()
}

// learn notes whether what is written on the file system of an open file or folder is told
// to those who watch it. The finder calls it: it may block on a file system that hangs. A
// device number is given again to another file system, so every file that is opened tells
// anew.
func (w *inotify) learn(dev uint64, fd int) bool {
	var st unix.Statfs_t
	local := unix.Fstatfs(fd, &st) == nil && localFileSystem(int64(st.Type))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.local[dev] = local
	return local
}

// localFileSystem tells by its magic number whether a file system is one whose every write
// goes through this kernel's own inodes, and so is told. On what is shared (NFS, SMB, Ceph,
// GFS2), served by a process (FUSE, 9p) or stacked (overlay) others may write unseen.
func localFileSystem(magic int64) bool {
	switch magic {
	case unix.EXT4_SUPER_MAGIC, // ext2 and ext3, too
		unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.REISERFS_SUPER_MAGIC, unix.NILFS_SUPER_MAGIC,
		unix.TMPFS_MAGIC, unix.RAMFS_MAGIC, unix.MSDOS_SUPER_MAGIC, unix.EXFAT_SUPER_MAGIC,
		0x2fc12fc1, // ZFS
		0xca451a4e, // bcachefs
		0x3153464a: // JFS
		return true
	}
	return false
}
