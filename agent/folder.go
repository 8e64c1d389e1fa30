package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// folder is one the finder looks at: files of entries stand in it, or a glob reads it.
//
// It is watched where every change of its names is told: it is on a local file system, and its
// path leads to it without a symbolic link (which may be turned to another folder, and
// nobody who watches this one hears of that). Such a folder is looked at when something was
// told, and seldom otherwise. Every other one is statted with each look.
type folder struct {
	dir   string
	files []pathLook // what entries mean here, by path

	id      fileID
	mtime   int64
	err     string
	fullAt  time.Duration // since the start of the process: all its files were looked at
	watchAt time.Duration // watching it is tried again

	next  *folder // inotify's, guarded by its mu: of the same inode
	wd    int32   // 0: not watched
	news  news
	ended bool // the kernel ended the watch

	racy    bool
	dirty   bool // in this look
	changed bool // in this look, and not only because it was time
	needed  bool // by files or globs
	often   bool // by files or a glob that reads it alone
	mark    uint32
}

// processStart is what folders count time from, in half the space.
var processStart = time.Now()

type listing struct {
	names []string
	inos  []uint64
	err   error
}

// around finds out which folders have to be looked at.
func (f *finder) around(now time.Time) {
	if f.watch != nil {
		f.told = f.watch.takeTold(f.told[:0])
		for _, d := range f.told {
			if f.dirs[d.dir] == d {
				f.see(d, now)
			}
		}
	}
	for _, d := range f.polled {
		f.see(d, now)
	}
	if len(f.watched) > 0 {
		round := max(roundPolls*f.poll, time.Duration(len(f.watched))*time.Second/statsPerSecond)
		f.credit += float64(len(f.watched)) * float64(now.Sub(f.lastLook)) / float64(round)
		for n := min(int(f.credit), len(f.watched)); n > 0; n-- {
			f.next = (f.next + 1) % len(f.watched)
			f.see(f.watched[f.next], now)
		}
		f.credit -= float64(int(f.credit))
	}
	f.lastLook = now
}

// folder returns a folder that is needed, looked at if it is new.
func (f *finder) folder(dir string, now time.Time) *folder {
	d := f.dirs[dir]
	if d == nil {
		d = &folder{dir: dir}
		f.dirs[dir] = d
		f.see(d, now)
		d.fullAt -= rand.N(f.backstop(d)) // not all of them at once
		f.reshape = true
	}
	return d
}

// see looks at a folder and notes whether names in it may have changed.
func (f *finder) see(d *folder, now time.Time) {
	f.at.Store(&looking{d.dir, time.Now()})
	var is news
	var ended bool
	if d.wd != 0 {
		is, ended = f.watch.hear(d) // before the look: what is told from now on is for the next
	}
	st, err := statPath(d.dir)
	text := ""
	if err != nil {
		text = err.Error()
	}
	at := now.Sub(processStart)
	full := at-d.fullAt >= f.backstop(d)
	other := st.id != d.id || text != d.err
	if d.wd != 0 && (ended || other || (is&newsSelf != 0 || full) && !leadsTo(d.dir, st.id)) {
		f.watch.dropFolder(d)
		f.reshape, other = true, true
	}
	if f.watch != nil && d.wd == 0 && err == nil && st.dir && (at >= d.watchAt || other) {
		d.watchAt = at + watchAgain
		if f.watchFolder(d, st.id) {
			f.reshape, other = true, true // what came before the watch is looked at now
		}
	}
	racy := d.racy
	d.racy = err == nil && d.wd == 0 && now.Sub(time.Unix(0, st.mtime)) < racyWindow
	if other || racy || st.mtime != d.mtime || is&(newsNames|newsSelf) != 0 {
		if !d.changed {
			d.changed = true
			f.changed = append(f.changed, d)
		}
		full = true
	}
	d.id, d.mtime, d.err = st.id, st.mtime, text
	if full || is&newsWritten != 0 && at-d.fullAt >= backstop {
		d.fullAt = at
		f.soil(d)
		if is&newsWritten != 0 {
			f.watch.heardWritten(d)
		}
	}
}

// soil has the files of a folder looked at in this look.
func (f *finder) soil(d *folder) {
	if !d.dirty {
		d.dirty = true
		f.dirty = append(f.dirty, d)
	}
}

func (f *finder) backstop(d *folder) time.Duration {
	if d.wd != 0 {
		return f.watchedBackstop()
	}
	return backstop
}

func (f *finder) watchedBackstop() time.Duration {
	return max(backstopPolls*f.poll, time.Duration(len(f.watched))*time.Second/fullsPerSecond)
}

// watchFolder watches a folder if all that changes in it is told then.
func (f *finder) watchFolder(d *folder, id fileID) bool {
	fd, ok := openReal(d.dir, id)
	if !ok {
		return false
	}
	defer unix.Close(fd)
	if !f.watch.learn(id.Dev, fd) {
		return false
	}
	if err := f.watch.addFolder(d, fd); err != nil {
		if !os.IsPermission(err) { // it may be searched and not listed
			f.watch.failed(d.dir, err)
		}
		return false
	}
	return true
}

// leadsTo tells whether a path still leads to a folder without a symbolic link.
func leadsTo(dir string, id fileID) bool {
	fd, ok := openReal(dir, id)
	if ok {
		unix.Close(fd)
	}
	return ok
}

// openReal opens the folder that stands at a path if it is the one known by id and its path is
// the one it really has.
func openReal(dir string, id fileID) (fd int, ok bool) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, false
	}
	var x unix.Statx_t
	if unix.Statx(fd, "", unix.AT_EMPTY_PATH, statMask, &x) == nil && fromStatx(&x).id == id {
		if real, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil && real == dir {
			return fd, true
		}
	}
	unix.Close(fd)
	return 0, false
}

// list returns the names in a folder, read once per look.
func (f *finder) list(d *folder) ([]string, error) {
	l, ok := f.lists[d]
	if !ok {
		l.names, l.inos, l.err = readFolder(d.dir)
		f.lists[d] = l
	}
	return l.names, l.err
}

// readFolder returns the names in a folder with the inodes that the folder itself remembers
// for them.
func readFolder(dir string) (names []string, inos []uint64, err error) {
	h, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0) // a named pipe would block
	if err != nil {
		return nil, nil, err
	}
	defer h.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.Getdents(int(h.Fd()), buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, nil, &os.PathError{Op: "readdirent", Path: dir, Err: err}
		}
		if n == 0 {
			return names, inos, nil
		}
		for b := buf[:n]; len(b) > 0; {
			const inoAt, lenAt, nameAt = unsafe.Offsetof(unix.Dirent{}.Ino), unsafe.Offsetof(unix.Dirent{}.Reclen), unsafe.Offsetof(unix.Dirent{}.Name)
			ino, size := binary.NativeEndian.Uint64(b[inoAt:]), binary.NativeEndian.Uint16(b[lenAt:])
			name := unix.ByteSliceToString(b[nameAt:size])
			if b = b[size:]; ino != 0 && name != "." && name != ".." {
				names, inos = append(names, name), append(inos, ino)
			}
		}
	}
}

// moved yields the paths in a folder that are to be looked at one by one. Of a watched one
// that nothing was told of, and that is looked at because it is time, those whose names still
// stand for the same inode are left out: one call tells that of hundreds of files.
func (f *finder) moved(d *folder) iter.Seq[*pathLook] {
	return func(yield func(*pathLook) bool) {
		same := make(map[*pathLook]bool)
		if _, err := f.list(d); err == nil && d.wd != 0 && !d.changed {
			l := f.lists[d]
			for i, name := range l.names {
				if p := d.findName(name); p != nil && p.state == lookPresent && p.id.Ino == l.inos[i] {
					same[p] = true
				}
			}
		}
		for i := range d.files {
			if p := &d.files[i]; !same[p] && !yield(p) {
				return
			}
		}
	}
}

// shape forgets the folders that nobody needs any more and sorts the others by how they are
// looked at.
func (f *finder) shape() {
	f.reshape = false
	for _, w := range f.set.list {
		if w.glob != nil && !w.glob.deep {
			if d := f.dirs[w.glob.dir]; d != nil {
				d.needed, d.often = true, true
			}
		}
	}
	for _, g := range f.globs {
		for _, d := range g.folders {
			d.needed = true
		}
	}
	clear(f.polled)
	clear(f.watched)
	f.polled, f.watched = f.polled[:0], f.watched[:0]
	for dir, d := range f.dirs {
		switch {
		case !d.needed && len(d.files) == 0:
			delete(f.dirs, dir)
			if d.wd != 0 {
				f.watch.dropFolder(d)
			}
		case d.wd != 0:
			f.watched = append(f.watched, d)
		case d.often || len(d.files) > 0:
			f.polled = append(f.polled, d)
		}
		d.needed, d.often = false, false
	}
	f.next = 0
}

// due tells whether a deep glob is to be expanded.
func (f *finder) due(g *globLook, now time.Time) bool {
	if len(f.changed) > 0 && !g.told {
		g.told = slices.ContainsFunc(g.folders, func(d *folder) bool { return d.changed })
	}
	return g.fresh || !now.Before(g.next) && (g.told || !g.quiet) || !now.Before(g.full)
}

// expand walks the file system for a deep glob. It blocks as long as that takes.
func (f *finder) expand(gl *glob, g *globLook, now time.Time) ([]string, error) {
	began := time.Now()
	f.marks++
	seen := &globFS{f: f, base: gl.dir, now: now, mark: f.marks}
	found, err := gl.expandIn(seen)
	g.folders, g.told = seen.folders, false
	g.quiet = !slices.ContainsFunc(g.folders, func(d *folder) bool { return d.wd == 0 })
	took := time.Since(began)
	if g.next = now.Add(20 * took); !g.quiet {
		g.next = now.Add(max(time.Second, 20*took))
	}
	g.full = now.Add(max(f.watchedBackstop(), 20*took))
	f.reshape = true
	return found, err
}

// globFS is the file system below a glob's first wildcard. It notes every folder whose names
// the glob depends on, and has it watched before it is read: what changes after that is told.
type globFS struct {
	f       *finder
	base    string
	now     time.Time
	mark    uint32
	folders []*folder
}

var (
	_ fs.ReadDirFS = (*globFS)(nil)
	_ fs.StatFS    = (*globFS)(nil)
)

func (s *globFS) visit(name string) {
	dir := filepath.Join(s.base, name)
	d := s.f.dirs[dir]
	if d == nil {
		d = s.f.folder(dir, s.now)
	} else if d.wd == 0 && d.mark != s.mark && s.now.Sub(processStart) >= d.watchAt {
		s.f.see(d, s.now)
	}
	s.f.at.Store(&looking{dir, time.Now()})
	if d.mark != s.mark {
		d.mark = s.mark
		s.folders = append(s.folders, d)
	}
}

func (s *globFS) ReadDir(name string) ([]fs.DirEntry, error) {
	s.visit(name)
	return os.ReadDir(filepath.Join(s.base, name))
}

func (s *globFS) Stat(name string) (fs.FileInfo, error) {
	s.visit(path.Dir(name))
	return os.Stat(filepath.Join(s.base, name))
}

func (s *globFS) Open(name string) (fs.File, error) {
	s.visit(path.Dir(name))
	return os.Open(filepath.Join(s.base, name))
}
