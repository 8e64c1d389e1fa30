package agent

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"
)

// want is what the finder is to look for: one entry.
type want struct {
	logPath string
	born    uint64 // tells an entry from one with the same log_path that was removed
	glob    *glob  // nil: a literal path
	// known are paths that a glob meant before: what stood there may only be found among
	// their rotated files, if nothing stands there any more.
	known []string
}

type wantSet struct {
	gen  uint64
	list []want
}

// sighting is something new about one path. Exactly one of file, err and gone is set.
type sighting struct {
	logPath string
	path    string // the path the entry matched
	file    *os.File
	st      stat // also with err, where the file could be looked at
	err     error
	gone    bool
	sibling string // name of a rotated file of path; "": the path itself
}

// lookReport is what one look around brought.
type lookReport struct {
	gen       uint64
	sightings []sighting
	taken     map[string]map[string]string // per entry: matched path → log_path of the entry that has it; nil: as before
	owned     map[string]string            // path → log_path of the entry it belongs to; nil: as before
	globErrs  map[string]error             // per entry: its folder cannot be listed
}

// finder looks for the files of the entries, in a goroutine of its own that never waits
// for readers, verdicts or disks under the state folder: a file rotated twice while
// Kafka is away is opened in time. One stat of a folder tells whether names in it have
// changed; only then are its files looked at one by one, and all of them every
// backstop.
type finder struct {
	poll   time.Duration
	access *access
	reg    *registry
	report func(lookReport)

	wants chan wantSet  // size 1, the newest
	soon  chan struct{} // size 1: look before the next poll

	at      atomic.Pointer[looking] // nil between looks
	begun   atomic.Uint64           // looks
	ended   atomic.Uint64           // the last of them that has been reported
	set     wantSet
	born    map[string]uint64   // per entry
	matches map[string][]string // per glob entry
	globAt  map[string]time.Time
	globErr map[string]error  // whose folder could not be listed
	owners  map[string]string // path → log_path
	paths   map[string]*pathLook
	dirs    map[string]*dirLook
}

const backstop = 5 * time.Second

// racyWindow is how close to now a folder's modification time must be for a change in
// the same tick of the kernel's clock to be possible after the look.
const racyWindow = 50 * time.Millisecond

// looking is where a look is.
type looking struct {
	path  string
	since time.Time
}

type pathLook struct {
	state   lookState
	id      fileID
	errText string
	link    bool
	nextTry time.Time
}

type lookState uint8

const (
	lookNew lookState = iota
	lookPresent
	lookMissing
	lookError
)

type dirLook struct {
	id       fileID
	mtime    int64
	err      string
	fullAt   time.Time
	racy     bool
	dirty    bool // in this look
	names    []string
	namesErr error
	listed   bool
}

func newFinder(poll time.Duration, acc *access, reg *registry, report func(lookReport)) *finder {
	return &finder{
		poll: poll, access: acc, reg: reg, report: report,
		wants: make(chan wantSet, 1), soon: make(chan struct{}, 1),
		born: make(map[string]uint64), matches: make(map[string][]string), globAt: make(map[string]time.Time), globErr: make(map[string]error),
		owners: make(map[string]string), paths: make(map[string]*pathLook), dirs: make(map[string]*dirLook),
	}
}

// want replaces what is looked for. The next report carries its gen or a later one.
func (f *finder) want(s wantSet) {
	select {
	case <-f.wants:
	default:
	}
	f.wants <- s
}

// hurry asks for a look before the next poll: a name was seen to change. Any goroutine
// may call it; it does not block.
func (f *finder) hurry() {
	select {
	case f.soon <- struct{}{}:
	default:
	}
}

// run looks around until ctx ends.
func (f *finder) run(ctx context.Context) {
	t := time.NewTimer(f.poll)
	defer t.Stop()
	for {
		fresh := false
		select {
		case <-ctx.Done():
			return
		case f.set = <-f.wants:
			fresh = true
		case <-f.soon:
		case <-t.C:
		}
		began := time.Now()
		f.look(fresh)
		// Folders that are slow to look at must not keep a core busy.
		t.Reset(max(f.poll, 10*time.Since(began)))
	}
}

func (f *finder) look(fresh bool) {
	n := f.begun.Add(1)
	defer func() {
		f.at.Store(nil)
		f.ended.Store(n)
	}()
	now := time.Now()
	r := lookReport{gen: f.set.gen}
	if fresh {
		f.dropUnwanted()
	}
	for _, path := range f.reg.takeRetries() {
		delete(f.paths, path)
	}
	for _, d := range f.dirs {
		d.dirty, d.listed, d.names = false, false, nil
	}
	seen := make(map[string]bool) // folders looked at in this look
	changed, tell := f.match(now, seen)
	if changed || fresh {
		f.own(&r)
	}
	for path, logPath := range f.owners {
		dir := filepath.Dir(path)
		d := f.dir(dir, seen, now)
		p := f.paths[path]
		if p == nil {
			p = &pathLook{}
			f.paths[path] = p
			d.dirty = true
		}
		if d.dirty || p.state == lookNew || p.link || p.state == lookError && !now.Before(p.nextTry) {
			f.lookAt(path, logPath, p, now, &r)
		}
	}
	for dir := range seen {
		if d := f.dirs[dir]; d.dirty {
			f.siblings(dir, d, &r)
		}
	}
	for dir := range f.dirs {
		if !seen[dir] {
			delete(f.dirs, dir)
		}
	}
	r.globErrs = maps.Clone(f.globErr)
	if fresh || len(r.sightings) > 0 || r.taken != nil || tell {
		f.report(r)
	}
}

// dropUnwanted forgets what was seen for entries that are gone, or are there again: a
// want set that came and went between two looks must not leave the new entry without
// its files.
func (f *finder) dropUnwanted() {
	wanted := make(map[string]bool)
	anew := make(map[string]bool)
	born := make(map[string]uint64)
	for _, w := range f.set.list {
		wanted[w.logPath] = true
		anew[w.logPath] = f.born[w.logPath] != w.born
		born[w.logPath] = w.born
	}
	f.born = born
	for path, lp := range f.owners {
		if anew[lp] {
			delete(f.paths, path)
		}
	}
	for lp := range f.matches {
		if !wanted[lp] {
			delete(f.matches, lp)
			delete(f.globAt, lp)
			delete(f.globErr, lp)
		}
	}
	for _, w := range f.set.list {
		f.globAt[w.logPath] = time.Time{} // excludes may have changed
	}
}

// dir looks at a folder once per look and tells whether names in it may have changed.
func (f *finder) dir(dir string, seen map[string]bool, now time.Time) *dirLook {
	d := f.dirs[dir]
	if d != nil && seen[dir] {
		return d
	}
	if d == nil {
		d = &dirLook{}
		f.dirs[dir] = d
	}
	seen[dir] = true
	f.at.Store(&looking{dir, time.Now()})
	st, err := statPath(dir)
	text := ""
	if err != nil {
		text = err.Error()
	}
	changed := st.id != d.id || st.mtime != d.mtime || text != d.err
	if changed || d.racy || now.Sub(d.fullAt) >= backstop {
		d.dirty = true
		d.fullAt = now
	}
	d.id, d.mtime, d.err = st.id, st.mtime, text
	d.racy = err == nil && now.Sub(time.Unix(0, st.mtime)) < racyWindow
	return d
}

// list returns the names in a folder, read once per look.
func (d *dirLook) list(dir string) ([]string, error) {
	if !d.listed {
		d.listed = true
		h, err := os.Open(dir)
		if err == nil {
			d.names, err = h.Readdirnames(-1)
			h.Close()
		}
		d.namesErr = err
	}
	return d.names, d.namesErr
}

// match brings the globs up to date and tells whether any match changed, and whether there
// is news of folders that can or cannot be listed.
func (f *finder) match(now time.Time, seen map[string]bool) (changed, tell bool) {
	for _, w := range f.set.list {
		if w.glob == nil {
			continue
		}
		var found []string
		var err error
		if w.glob.deep {
			if now.Before(f.globAt[w.logPath]) {
				continue
			}
			found, err = w.glob.expand()
			f.globAt[w.logPath] = now.Add(max(time.Second, 20*time.Since(now)))
		} else {
			d := f.dir(w.glob.dir, seen, now)
			if !d.dirty && !f.globAt[w.logPath].IsZero() {
				continue
			}
			f.globAt[w.logPath] = now
			var names []string
			if names, err = d.list(w.glob.dir); err == nil {
				found = w.glob.filter(names)
			}
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			tell = tell || f.globErr[w.logPath] == nil || f.globErr[w.logPath].Error() != err.Error()
			f.globErr[w.logPath] = err
			continue // what matched stays: its descriptors are read on
		}
		tell = tell || f.globErr[w.logPath] != nil
		delete(f.globErr, w.logPath)
		found = slices.DeleteFunc(found, func(p string) bool {
			by, _ := compressedBy(p) // what is compressed is a rotated file, if anything
			return by != nil || f.access.own(p)
		})
		for _, p := range w.known {
			if w.glob.match(p) {
				found = append(found, p)
			}
		}
		slices.Sort(found)
		found = slices.Compact(found)
		// A path that matched and is gone stays wanted until it was reported gone.
		for _, p := range f.matches[w.logPath] {
			if l := f.paths[p]; l != nil && l.state == lookPresent && w.glob.match(p) && !slices.Contains(found, p) {
				found = append(found, p)
			}
		}
		slices.Sort(found)
		if !slices.Equal(found, f.matches[w.logPath]) {
			f.matches[w.logPath] = found
			changed = true
		}
	}
	return changed, tell
}

// own gives every path to one entry: the literal one, else the first in the document.
func (f *finder) own(r *lookReport) {
	owners := make(map[string]string)
	for _, w := range f.set.list {
		if w.glob == nil {
			owners[w.logPath] = w.logPath
		}
	}
	r.taken = make(map[string]map[string]string)
	for _, w := range f.set.list {
		if w.glob == nil {
			continue
		}
		for _, p := range f.matches[w.logPath] {
			switch o, ok := owners[p]; {
			case !ok:
				owners[p] = w.logPath
			case o != w.logPath:
				if r.taken[w.logPath] == nil {
					r.taken[w.logPath] = make(map[string]string)
				}
				r.taken[w.logPath][p] = o
			}
		}
	}
	for path, lp := range f.owners {
		if owners[path] != lp {
			delete(f.paths, path) // dropped, or to be reported anew for its new owner
		}
	}
	f.owners, r.owned = owners, owners
}

// lookAt tells what stands at path if that is news.
func (f *finder) lookAt(path, logPath string, p *pathLook, now time.Time, r *lookReport) {
	s := sighting{logPath: logPath, path: path}
	trouble := func(err error) {
		p.nextTry = now.Add(f.poll)
		if text := err.Error(); p.state != lookError || p.errText != text {
			p.state, p.errText, p.id = lookError, text, fileID{}
			s.err = err
			r.sightings = append(r.sightings, s)
		}
	}
	if err := f.access.path(path); err != nil {
		trouble(err)
		return
	}
	st, err := statPath(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if p.state != lookMissing {
			p.state, p.id = lookMissing, fileID{}
			s.gone = true
			r.sightings = append(r.sightings, s)
		}
		return
	case err != nil:
		trouble(err)
		return
	case p.state == lookPresent && st.id == p.id:
		return
	}
	s.st = st
	file, opened, err := openRegular(path)
	if errors.Is(err, os.ErrNotExist) {
		p.nextTry = now // gone between the two calls: the next look tells
		return
	}
	if err == nil {
		if err = f.access.file(file); err != nil {
			file.Close()
		}
	}
	if err != nil {
		trouble(err)
		return
	}
	li, err := os.Lstat(path)
	p.link = err == nil && li.Mode()&os.ModeSymlink != 0
	p.state, p.id, p.errText = lookPresent, opened.id, ""
	s.file, s.st = file, opened
	r.sightings = append(r.sightings, s)
}

// siblings opens the rotated files of owned paths in a folder that nobody knows yet.
func (f *finder) siblings(dir string, d *dirLook, r *lookReport) {
	names, err := d.list(dir)
	if err != nil {
		return // the paths themselves report what is wrong with their folder
	}
	for _, name := range names {
		full := filepath.Join(dir, name)
		if _, owned := f.owners[full]; owned {
			continue
		}
		for _, stem := range rotatedStems(name) {
			path := filepath.Join(dir, stem)
			logPath, ok := f.owners[path]
			if !ok || f.access.path(full) != nil {
				continue
			}
			st, err := statPath(full)
			if err != nil || !st.regular || f.reg.knows(fileKey{logPath, st.id}, st) {
				break
			}
			file, st, err := openRegular(full)
			if err != nil {
				break // unreadable or moved on: the next look tells
			}
			if f.access.file(file) != nil { // a link to what may not be read
				file.Close()
				break
			}
			r.sightings = append(r.sightings, sighting{logPath: logPath, path: path, file: file, st: st, sibling: full})
			break
		}
	}
}
