package agent

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// claim is an entry's claim to a path.
type claim struct{ path, logPath string }

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
	lapsed    []claim                      // paths that belong to their entry no more
	globErrs  map[string]error             // per entry: its folder cannot be listed
}

// finder looks for the files of the entries, in a goroutine of its own that never waits
// for readers, verdicts or disks under the state folder: a file rotated twice while
// Kafka is away is opened in time. One stat of a folder tells whether names in it have
// changed; only then are its files looked at one by one, and all of them every
// backstop. Folders whose every change is told (folder.go) are not even statted with every look.
//
// Whatever changed before a look began is seen by that look: it begins with taking what has
// been told until then.
type finder struct {
	poll   time.Duration
	access *access
	reg    *registry
	report func(lookReport)
	watch  *inotify // nil: every folder is polled

	wants chan wantSet  // size 1, the newest
	soon  chan struct{} // size 1: look before the next poll

	at       atomic.Pointer[looking] // nil between looks
	begun    atomic.Uint64           // looks
	ended    atomic.Uint64           // the last of them that has been reported
	set      wantSet
	born     map[string]uint64    // per entry
	globs    map[string]*globLook // per glob entry
	globErr  map[string]error     // whose folder could not be listed
	dirs     map[string]*folder
	polled   []*folder // of dirs: looked at with every look
	watched  []*folder // of dirs: one after the other, all of them in a round
	next     int       // of watched
	credit   float64   // part of a folder of watched that is due
	reshape  bool      // polled and watched have to be made anew
	odd      []oddPath // paths that are looked at with every look
	troubles map[string]trouble

	// Of one look.
	lastLook time.Time
	dirty    []*folder // their files are looked at
	changed  []*folder // dirty, and not only because it was time
	lists    map[*folder]listing
	told     []*folder
	marks    uint32
}

// backstop is how often all files of a folder are looked at that is polled.
const backstop = 5 * time.Second

// Of a folder whose changes are told, in polls: all its files are looked at every 30 s, and
// the folder itself is statted every 2 s, for what no watch of it tells (a folder above it
// was renamed, something was mounted over it). Of very many folders it is so many a second.
const (
	backstopPolls  = 150
	fullsPerSecond = 100
	roundPolls     = 10
	statsPerSecond = 500
)

// racyWindow is how close to now a folder's modification time must be for a change in
// the same tick of the kernel's clock to be possible after the look.
const racyWindow = 50 * time.Millisecond

// looking is where a look is.
type looking struct {
	path  string
	since time.Time
}

// pathLook is what was last seen at one path.
type pathLook struct {
	path    string
	logPath string // of the entry it belongs to
	id      fileID
	state   lookState
	link    bool
	allowed bool // access has been asked
	odd     bool // stands among the finder's odd paths
}

type lookState uint8

const (
	lookNew lookState = iota
	lookPresent
	lookMissing
	lookError
)

// oddPath is a path that its folder tells too little of: nobody has looked at it yet, it
// cannot be read, or it is a symbolic link, whose target changes elsewhere.
type oddPath struct {
	dir *folder
	p   *pathLook
}

func (p *pathLook) isOdd() bool { return p.state == lookNew || p.state == lookError || p.link }

// trouble is why a path cannot be followed.
type trouble struct {
	text    string
	nextTry time.Time
}

// globLook is what a glob matched last.
type globLook struct {
	fresh   bool // to be expanded whatever the folders tell
	matches []string

	// Of a deep one.
	told    bool      // folders it reads have changed since it was expanded
	quiet   bool      // every folder it reads is watched
	folders []*folder // that it reads
	next    time.Time // not before: what is slow to expand must not keep a core busy
	full    time.Time // at the latest
}

func newFinder(poll time.Duration, acc *access, reg *registry, report func(lookReport)) *finder {
	return &finder{
		poll: poll, access: acc, reg: reg, report: report,
		wants: make(chan wantSet, 1), soon: make(chan struct{}, 1),
		born: make(map[string]uint64), globs: make(map[string]*globLook), globErr: make(map[string]error),
		dirs: make(map[string]*folder), troubles: make(map[string]trouble), lists: make(map[*folder]listing),
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
	var ended time.Time
	var rest time.Duration // after a look, for those that are asked for
	for {
		fresh := false
		select {
		case <-ctx.Done():
			return
		case f.set = <-f.wants:
			fresh = true
		case <-f.soon:
			// A folder where names come and go all the time must not keep a core busy.
			if wait := rest - time.Since(ended); wait > 0 {
				t.Reset(wait)
				continue
			}
		case <-t.C:
		}
		began := time.Now()
		f.look(fresh)
		ended = time.Now()
		// Nor must folders that are slow to look at.
		rest = max(f.poll/4, 10*ended.Sub(began))
		t.Reset(max(f.poll, rest))
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
		if d, p := f.find(path); p != nil {
			f.forget(d, p)
		}
	}
	f.around(now)
	expanded, tell := f.match(now)
	if expanded || fresh {
		f.own(&r, now)
	}
	for _, d := range f.dirty {
		for p := range f.moved(d) {
			f.lookAt(d, p, now, &r)
		}
	}
	f.lookAtOdd(now, &r)
	for _, d := range f.dirty {
		f.siblings(d, now, &r)
	}
	if f.reshape {
		f.shape()
	}
	f.clean()
	if fresh || len(r.sightings) > 0 || r.taken != nil || tell {
		r.globErrs = maps.Clone(f.globErr)
		f.report(r)
	}
}

// clean forgets what belongs to one look.
func (f *finder) clean() {
	for _, d := range f.dirty {
		d.dirty, d.changed = false, false
	}
	f.dirty, f.changed, f.told = emptied(f.dirty), emptied(f.changed), emptied(f.told)
	if len(f.lists) > manyKept {
		f.lists = make(map[*folder]listing)
	}
	clear(f.lists)
	if cap(f.odd) > manyKept && len(f.odd) < cap(f.odd)/2 {
		f.odd = slices.Clone(f.odd)
	}
}

// manyKept is how much room for folders or paths is kept for the next look: the first one
// needs room for all of them.
const manyKept = 256

func emptied(s []*folder) []*folder {
	if cap(s) > manyKept {
		return nil
	}
	clear(s)
	return s[:0]
}

// dropUnwanted forgets what was seen for entries that are gone, or are there again: a
// want set that came and went between two looks must not leave the new entry without
// its files.
func (f *finder) dropUnwanted() {
	wanted := make(map[string]bool)
	anew := make(map[string]bool)
	born := make(map[string]uint64)
	for i := range f.set.list {
		w := &f.set.list[i]
		wanted[w.logPath] = true
		anew[w.logPath] = f.born[w.logPath] != w.born
		born[w.logPath] = w.born
		if w.glob == nil {
			continue
		}
		w.known = slices.DeleteFunc(w.known, func(p string) bool { return !w.glob.match(p) })
		slices.Sort(w.known)
		if f.globs[w.logPath] == nil {
			f.globs[w.logPath] = &globLook{}
		}
		f.globs[w.logPath].fresh = true // excludes may have changed
	}
	f.born = born
	for _, d := range f.dirs {
		for i := range d.files {
			if p := &d.files[i]; anew[p.logPath] {
				f.forget(d, p)
			}
		}
	}
	for lp := range f.globs {
		if !wanted[lp] {
			delete(f.globs, lp)
			delete(f.globErr, lp)
		}
	}
}

// forget has a path reported anew.
func (f *finder) forget(d *folder, p *pathLook) {
	delete(f.troubles, p.path)
	p.state, p.link, p.id = lookNew, false, fileID{}
	f.noteOdd(d, p)
}

func (f *finder) noteOdd(d *folder, p *pathLook) {
	if !p.odd && p.isOdd() {
		p.odd = true
		f.odd = append(f.odd, oddPath{d, p})
	}
}

// match brings the globs up to date and tells whether any match changed, and whether there
// is news of folders that can or cannot be listed.
func (f *finder) match(now time.Time) (changed, tell bool) {
	for i := range f.set.list {
		w := &f.set.list[i]
		if w.glob == nil {
			continue
		}
		g := f.globs[w.logPath]
		var found []string
		var err error
		if w.glob.deep {
			if !f.due(g, now) {
				continue
			}
			found, err = f.expand(w.glob, g, now)
		} else {
			d := f.folder(w.glob.dir, now)
			if !d.dirty && !g.fresh {
				continue
			}
			var names []string
			if names, err = f.list(d); err == nil {
				found = w.glob.pick(names, g.matches)
			}
		}
		g.fresh = false
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			tell = tell || f.globErr[w.logPath] == nil || f.globErr[w.logPath].Error() != err.Error()
			f.globErr[w.logPath] = err
			continue // what matched stays: its descriptors are read on
		}
		tell = tell || f.globErr[w.logPath] != nil
		delete(f.globErr, w.logPath)
		found = f.stillWanted(w, g.matches, found)
		if !slices.Equal(found, g.matches) {
			g.matches = slices.Clip(found)
			changed = true
		}
	}
	return changed, tell
}

// stillWanted completes what a glob matched just now, which is sorted, by the paths that it
// meant before, and leaves out what is never followed by a glob. Strings are those of matches
// and known where they are equal: a path is held in memory once.
func (f *finder) stillWanted(w *want, matches, found []string) []string {
	out := make([]string, 0, max(len(found), len(matches)))
	known := w.known
	for len(found) > 0 || len(matches) > 0 || len(known) > 0 {
		p := least(found, matches, known)
		isFound, isKnown, before := first(&found, p), first(&known, p), first(&matches, p)
		switch {
		case before != "":
			p = before
		case isKnown != "":
			p = isKnown
		}
		keep := isKnown != ""
		if isFound != "" && !keep {
			by, _ := compressedBy(p) // what is compressed is a rotated file, if anything
			keep = by == nil && !f.access.own(p)
		}
		if !keep && before != "" { // a path that matched and is gone stays wanted until it was reported gone
			_, l := f.find(p)
			keep = l != nil && l.state == lookPresent && w.glob.match(p)
		}
		if keep {
			out = append(out, p)
		}
	}
	return out
}

// least returns the first in order of the first strings of sorted lists, not all empty.
func least(lists ...[]string) string {
	best, any := "", false
	for _, l := range lists {
		if len(l) > 0 && (!any || l[0] < best) {
			best, any = l[0], true
		}
	}
	return best
}

// first takes p off the front of a sorted list, as often as it stands there, and returns the
// list's own string; "" where it is not there.
func first(list *[]string, p string) (own string) {
	for len(*list) > 0 && (*list)[0] == p {
		own, *list = (*list)[0], (*list)[1:]
	}
	return own
}

// own gives every path to one entry: the literal one, else the first in the document.
func (f *finder) own(r *lookReport, now time.Time) {
	type ranked struct {
		claim
		rank int
	}
	var all []ranked
	for _, w := range f.set.list {
		if w.glob == nil {
			all = append(all, ranked{claim{w.logPath, w.logPath}, -1})
		}
	}
	for i, w := range f.set.list {
		if w.glob != nil {
			for _, p := range f.globs[w.logPath].matches {
				all = append(all, ranked{claim{p, w.logPath}, i})
			}
		}
	}
	slices.SortFunc(all, func(a, b ranked) int {
		return cmp.Or(byFolder(a.path, b.path), cmp.Compare(a.rank, b.rank))
	})
	r.taken = make(map[string]map[string]string)
	owned := all[:0]
	for _, c := range all {
		if n := len(owned); n == 0 || owned[n-1].path != c.path {
			owned = append(owned, c)
		} else if t := r.taken[c.logPath]; t == nil {
			r.taken[c.logPath] = map[string]string{c.path: owned[n-1].logPath}
		} else {
			t[c.path] = owned[n-1].logPath
		}
	}
	before := make(map[*folder][]pathLook, len(f.dirs))
	for _, d := range f.dirs {
		if len(d.files) > 0 {
			before[d] = d.files
			d.files = nil
		}
	}
	f.odd = nil
	for len(owned) > 0 {
		dir := filepath.Dir(owned[0].path)
		n := 1
		for n < len(owned) && filepath.Dir(owned[n].path) == dir {
			n++
		}
		d := f.folder(dir, now)
		old := before[d]
		delete(before, d)
		d.files = make([]pathLook, n)
		for i, c := range owned[:n] {
			for len(old) > 0 && old[0].path < c.path {
				f.lapse(&old[0], r)
				old = old[1:]
			}
			p := &d.files[i]
			switch {
			case len(old) > 0 && old[0].path == c.path && old[0].logPath == c.logPath:
				*p = old[0]
				p.odd = false
				old = old[1:]
			default: // new, or to be reported anew for its new owner
				if len(old) > 0 && old[0].path == c.path {
					f.lapse(&old[0], r)
					old = old[1:]
				}
				*p = pathLook{path: c.path, logPath: c.logPath}
				f.soil(d) // its rotated files are looked for
			}
			f.noteOdd(d, p)
		}
		for i := range old {
			f.lapse(&old[i], r)
		}
		owned = owned[n:]
	}
	for _, old := range before {
		for i := range old {
			f.lapse(&old[i], r)
		}
	}
	f.reshape = true
}

func (f *finder) lapse(p *pathLook, r *lookReport) {
	delete(f.troubles, p.path)
	r.lapsed = append(r.lapsed, claim{p.path, p.logPath})
}

// byFolder orders paths by their folders first.
func byFolder(a, b string) int {
	i, j := strings.LastIndexByte(a, '/'), strings.LastIndexByte(b, '/')
	return cmp.Or(cmp.Compare(a[:i], b[:j]), cmp.Compare(a, b))
}

// find returns what was seen at a path that an entry means.
func (f *finder) find(path string) (*folder, *pathLook) {
	d := f.dirs[filepath.Dir(path)]
	if d == nil {
		return nil, nil
	}
	return d, d.find(path)
}

func (d *folder) find(path string) *pathLook {
	i, ok := slices.BinarySearchFunc(d.files, path, func(p pathLook, path string) int { return cmp.Compare(p.path, path) })
	if !ok {
		return nil
	}
	return &d.files[i]
}

// findName is find for a name in the folder.
func (d *folder) findName(name string) *pathLook {
	i, ok := slices.BinarySearchFunc(d.files, name, func(p pathLook, name string) int {
		return cmp.Compare(p.path[strings.LastIndexByte(p.path, '/')+1:], name)
	})
	if !ok {
		return nil
	}
	return &d.files[i]
}

// lookAtOdd looks at the paths that their folders tell too little of.
func (f *finder) lookAtOdd(now time.Time, r *lookReport) {
	odd := f.odd
	f.odd = f.odd[:0]
	for _, o := range odd {
		if !o.dir.dirty && (o.p.state != lookError || !now.Before(f.troubles[o.p.path].nextTry)) {
			f.lookAt(o.dir, o.p, now, r) // keeps its place: it is marked odd
		}
		if o.p.odd = o.p.isOdd(); o.p.odd {
			f.odd = append(f.odd, o)
		}
	}
	clear(odd[len(f.odd):])
}

// lookAt tells what stands at a path if that is news.
func (f *finder) lookAt(d *folder, p *pathLook, now time.Time, r *lookReport) {
	defer f.noteOdd(d, p)
	s := sighting{logPath: p.logPath, path: p.path}
	failed := func(err error) {
		text := err.Error()
		if p.state != lookError || f.troubles[p.path].text != text {
			p.state, p.id = lookError, fileID{}
			s.err = err
			r.sightings = append(r.sightings, s)
		}
		f.troubles[p.path] = trouble{text, now.Add(f.poll)}
	}
	if !p.allowed {
		if err := f.access.path(p.path); err != nil {
			failed(err)
			return
		}
		p.allowed = true
	}
	st, err := statPath(p.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		p.link = isLink(p.path) // what it should lead to appears elsewhere
		if p.state != lookMissing {
			delete(f.troubles, p.path)
			p.state, p.id = lookMissing, fileID{}
			s.gone = true
			r.sightings = append(r.sightings, s)
		}
		return
	case err != nil:
		failed(err)
		return
	case p.state == lookPresent && st.id == p.id:
		return
	}
	s.st = st
	file, opened, err := openRegular(p.path)
	if errors.Is(err, os.ErrNotExist) {
		return // gone between the two calls: the next look tells
	}
	if err == nil {
		if err = f.access.file(file); err != nil {
			file.Close()
		}
	}
	if err != nil {
		failed(err)
		return
	}
	if f.watch != nil {
		f.watch.learn(opened.id.Dev, int(file.Fd()))
	}
	delete(f.troubles, p.path)
	p.link = isLink(p.path)
	p.state, p.id = lookPresent, opened.id
	s.file, s.st = file, opened
	r.sightings = append(r.sightings, s)
}

// relook reports a file anew that was read to its end and is not as it was then: a rotated one
// that a glob matches, to which somebody wrote after it was finished.
func (f *finder) relook(d *folder, p *pathLook, now time.Time, r *lookReport) {
	key := fileKey{p.logPath, p.id}
	if p.state != lookPresent || !f.reg.finishedOnce(key) {
		return
	}
	if st, err := statPath(p.path); err == nil && st.id == p.id && !f.reg.knows(key, st) {
		f.forget(d, p)
		f.lookAt(d, p, now, r)
	}
}

func isLink(path string) bool {
	li, err := os.Lstat(path)
	return err == nil && li.Mode()&os.ModeSymlink != 0
}

// siblings opens the rotated files of owned paths in a folder that nobody knows yet.
func (f *finder) siblings(d *folder, now time.Time, r *lookReport) {
	if len(d.files) == 0 {
		return
	}
	names, err := f.list(d)
	if err != nil {
		return // the paths themselves report what is wrong with their folder
	}
	for _, name := range names {
		if p := d.findName(name); p != nil {
			f.relook(d, p, now, r)
			continue
		}
		for _, stem := range rotatedStems(name) {
			p := d.findName(stem)
			if p == nil {
				continue
			}
			full := filepath.Join(d.dir, name)
			if f.access.path(full) != nil {
				continue
			}
			st, err := statPath(full)
			if err != nil || !st.regular || f.reg.knows(fileKey{p.logPath, st.id}, st) {
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
			if f.watch != nil {
				f.watch.learn(st.id.Dev, int(file.Fd()))
			}
			r.sightings = append(r.sightings, sighting{logPath: p.logPath, path: p.path, file: file, st: st, sibling: full})
			break
		}
	}
}
