package agent

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"
)

// finderRig is a finder whose sightings are only noted.
type finderRig struct {
	*finder
	t   *testing.T
	dir string
	log lockedLog

	mu     sync.Mutex
	seen   []string // "stands a.log", "gone a.log", "beside a.log: a.log.1", "error a.log"
	lapsed []string
	at     map[string]fileID
}

type lockedLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func newFinderRig(t *testing.T, told bool) *finderRig {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &finderRig{t: t, dir: dir, at: make(map[string]fileID)}
	reg := &registry{}
	r.finder = newFinder(20*time.Millisecond, &access{}, reg, func(l lookReport) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, s := range l.sightings {
			name, _ := filepath.Rel(dir, s.path)
			switch {
			case s.sibling != "":
				reg.done(fileKey{s.logPath, s.st.id}, s.st.size, s.st.mtime)
				r.seen = append(r.seen, "beside "+name+": "+filepath.Base(s.sibling))
			case s.gone:
				delete(r.at, name)
				r.seen = append(r.seen, "gone "+name)
			case s.err != nil:
				delete(r.at, name)
				r.seen = append(r.seen, "error "+name)
			default:
				reg.hold(fileKey{s.logPath, s.st.id})
				r.at[name] = s.st.id
				r.seen = append(r.seen, "stands "+name)
			}
			if s.file != nil {
				s.file.Close()
			}
		}
		for _, c := range l.lapsed {
			name, _ := filepath.Rel(dir, c.path)
			r.lapsed = append(r.lapsed, name)
		}
	})
	if told {
		r.watch = newInotify(&mailbox{wake: make(chan struct{}, 1)}, slog.New(slog.NewTextHandler(&r.log, nil)), func(*incarnation) {}, r.hurry)
		t.Cleanup(r.watch.close)
	}
	return r
}

func (r *finderRig) path(name string) string { return filepath.Join(r.dir, name) }

func (r *finderRig) put(name, text string) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Dir(r.path(name)), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(r.path(name), []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r *finderRig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// wants makes a set of the entries' paths.
func (r *finderRig) setFor(names ...string) wantSet {
	set := wantSet{gen: 1}
	for _, n := range names {
		w := want{logPath: r.path(n), born: 1}
		if isGlob(n) {
			w.glob = newGlob(w.logPath, nil)
		}
		set.list = append(set.list, w)
	}
	return set
}

func (r *finderRig) start(names ...string) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	r.want(r.setFor(names...))
	wg.Go(func() { r.run(ctx) })
	r.t.Cleanup(func() { cancel(); wg.Wait() })
}

func (r *finderRig) until(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		r.mu.Lock()
		is := ok()
		seen := slices.Clone(r.seen)
		r.mu.Unlock()
		if is {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("never %s; seen: %q", what, seen)
		}
	}
}

func (r *finderRig) saw(what string) {
	r.t.Helper()
	r.until(what, func() bool { return slices.Contains(r.seen, what) })
}

// stands waits until what was found last under a name is the file that stands there.
func (r *finderRig) stands(name string) {
	r.t.Helper()
	r.until(name+" found", func() bool {
		st, err := statPath(r.path(name))
		return err == nil && r.at[name] == st.id
	})
}

// Everything that can happen to names, found where folders are watched and where they are
// not.
func TestWhatHappensToNamesIsFoundToldOrNot(t *testing.T) {
	t.Parallel()
	for _, told := range []bool{true, false} {
		for name, do := range map[string]func(r *finderRig){
			"a file appears": func(r *finderRig) {
				r.put("d/other", "")
				r.start("d/a.log")
				r.saw("gone d/a.log")
				r.put("d/a.log", "x\n")
				r.stands("d/a.log")
			},
			"its folder appears": func(r *finderRig) {
				r.start("d/e/a.log")
				r.saw("gone d/e/a.log")
				r.put("d/e/a.log", "x\n")
				r.stands("d/e/a.log")
			},
			"rotations": func(r *finderRig) {
				r.put("d/a.log", "x\n")
				r.start("d/a.log")
				r.stands("d/a.log")
				for range 3 {
					r.must(os.Rename(r.path("d/a.log"), r.path("d/a.log.1")))
					r.put("d/a.log", "y\n")
					r.stands("d/a.log")
				}
			},
			"two rotations between two looks": func(r *finderRig) {
				r.put("d/a.log", "x\n")
				r.start("d/a.log")
				r.stands("d/a.log")
				r.must(os.Rename(r.path("d/a.log"), r.path("d/a.log.2")))
				r.put("d/a.log.1", "y\n") // came and went
				r.put("d/a.log", "z\n")
				r.stands("d/a.log")
				r.saw("beside d/a.log: a.log.1")
			},
			"deleted and made again": func(r *finderRig) {
				r.put("d/a.log", "x\n")
				r.start("d/*.log")
				r.stands("d/a.log")
				r.must(os.Remove(r.path("d/a.log")))
				r.saw("gone d/a.log")
				r.put("d/a.log", "x\n")
				r.stands("d/a.log")
			},
			"a glob's new match": func(r *finderRig) {
				r.put("d/a.log", "x\n")
				r.start("d/*.log")
				r.stands("d/a.log")
				r.put("d/b.log", "x\n")
				r.stands("d/b.log")
			},
			"a deep glob's new folders and files": func(r *finderRig) {
				r.put("d/p/1/a.log", "x\n")
				r.start("d/*/*/*.log")
				r.stands("d/p/1/a.log")
				for _, name := range []string{"d/p/1/b.log", "d/p/2/a.log", "d/q/1/a.log"} {
					r.put(name, "x\n")
					r.stands(name)
				}
				r.must(os.RemoveAll(r.path("d/p")))
				r.saw("gone d/p/1/a.log")
				r.put("d/p/1/a.log", "again\n")
				r.stands("d/p/1/a.log")
			},
			"a deep glob with a literal folder below its wildcard": func(r *finderRig) {
				r.put("d/p/other/a.log", "x\n")
				r.start("d/*/logs/a.log")
				r.put("d/p/logs/a.log", "x\n")
				r.stands("d/p/logs/a.log")
				r.put("d/q/logs/a.log", "x\n")
				r.stands("d/q/logs/a.log")
			},
			"folders at any depth": func(r *finderRig) {
				r.put("d/a.log", "x\n")
				r.start("d/**/*.log")
				r.stands("d/a.log")
				r.put("d/1/2/3/a.log", "x\n")
				r.stands("d/1/2/3/a.log")
				r.put("d/1/2/b.log", "x\n")
				r.stands("d/1/2/b.log")
			},
			"a link turned, and its target rotated": func(r *finderRig) {
				r.put("t/1", "x\n")
				r.put("t/2", "y\n")
				r.put("d/other", "")
				r.must(os.Symlink("../t/1", r.path("d/a.log")))
				r.start("d/a.log")
				r.stands("d/a.log")
				r.must(os.Symlink("../t/2", r.path("d/new")))
				r.must(os.Rename(r.path("d/new"), r.path("d/a.log")))
				r.stands("d/a.log")
				r.must(os.Rename(r.path("t/2"), r.path("t/old"))) // d does not change
				r.saw("gone d/a.log")
				r.put("t/2", "z\n")
				r.stands("d/a.log")
			},
			"a linked folder turned": func(r *finderRig) { // kubernetes turns ..data
				r.put("v1/a.log", "x\n")
				r.put("v2/a.log", "y\n")
				r.must(os.Symlink("v1", r.path("data")))
				r.start("data/*.log", "data/deep/a.log")
				r.stands("data/a.log")
				r.must(os.Symlink("v2", r.path("new")))
				r.must(os.Rename(r.path("new"), r.path("data")))
				r.stands("data/a.log")
				r.put("v2/b.log", "y\n")
				r.stands("data/b.log")
			},
			"the folder renamed and made anew": func(r *finderRig) {
				r.put("d/a.log", "x\n")
				r.start("d/*.log")
				r.stands("d/a.log")
				r.must(os.Rename(r.path("d"), r.path("old")))
				r.put("d/a.log", "y\n")
				r.stands("d/a.log")
				r.put("d/b.log", "y\n")
				r.stands("d/b.log")
			},
			"a folder above it renamed": func(r *finderRig) { // nobody is told of that
				r.put("d/e/f/a.log", "x\n")
				r.start("d/e/f/a.log")
				r.stands("d/e/f/a.log")
				r.must(os.Rename(r.path("d"), r.path("old")))
				r.put("d/e/f/a.log", "y\n")
				r.stands("d/e/f/a.log")
			},
			"the folder moved away and linked to": func(r *finderRig) {
				r.put("d/a.log", "x\n")
				r.put("t/a.log", "x\n")
				r.start("d/a.log")
				r.stands("d/a.log")
				r.must(os.Rename(r.path("d"), r.path("e")))
				r.must(os.Symlink("e", r.path("d")))
				r.put("e/a.log.new", "z\n")
				r.must(os.Rename(r.path("e/a.log.new"), r.path("e/a.log")))
				r.stands("d/a.log")
				r.must(os.Symlink("t", r.path("new")))
				r.must(os.Rename(r.path("new"), r.path("d")))
				r.stands("d/a.log")
			},
			"a file where the folder was": func(r *finderRig) {
				r.put("d/a.log", "x\n")
				r.start("d/a.log")
				r.stands("d/a.log")
				r.must(os.Rename(r.path("d"), r.path("old")))
				r.put("d", "a file\n")
				r.saw("error d/a.log")
				r.must(os.Remove(r.path("d")))
				r.put("d/a.log", "y\n")
				r.stands("d/a.log")
			},
			"a rotated file written over in its place": func(r *finderRig) {
				r.put("d/a.log", "x\n")
				r.put("d/a.log.1", "old\n")
				r.start("d/a.log")
				r.saw("beside d/a.log: a.log.1")
				r.put("d/a.log.1", "another and longer\n")
				r.until("found again", func() bool {
					n := 0
					for _, s := range r.seen {
						if s == "beside d/a.log: a.log.1" {
							n++
						}
					}
					return n == 2
				})
			},
		} {
			t.Run(fmt.Sprintf("%s, told %v", name, told), func(t *testing.T) {
				t.Parallel()
				do(newFinderRig(t, told))
			})
		}
	}
}

// now looks once, whatever was slow to expand before, and without a folder's turn in the round.
func (r *finderRig) now() {
	for _, g := range r.globs {
		g.next = time.Time{}
	}
	r.credit, r.lastLook = 0, time.Now()
	r.look(false)
}

// What changed before a look began is seen by that look, also where the folder is not statted
// and nobody has read yet what the kernel told of it: a truncated file is given up once a
// look that began later has not found its copy.
func TestLookSeesWhatChangedBeforeItBegan(t *testing.T) {
	t.Parallel()
	r := newFinderRig(t, true)
	r.poll = time.Hour // nothing is looked at because it is time
	found := func(name string) {
		t.Helper()
		r.now()
		if st, err := statPath(r.path(name)); err != nil || r.at[name] != st.id {
			t.Fatalf("%s was there before the look and is not found by it: %v", name, err)
		}
	}
	r.put("d/a.log", "x\n")
	r.put("deep/1/a.log", "x\n")
	r.put("lit/p/other", "x\n")
	r.put("t/1", "x\n")
	r.must(os.Symlink("../t/1", r.path("d/link")))
	r.must(os.Symlink("../t/dangling", r.path("d/dangling")))
	r.put("alt/p/other", "x\n")
	r.set = r.setFor("d/*.log", "deep/*/*.log", "lit/*/logs/a.log", "alt/{p,q}/a.log", "d/link", "d/dangling")
	r.look(true)
	r.look(false)
	if len(r.polled) > 0 {
		t.Fatalf("%q is not watched", r.polled[0].dir)
	}
	for i := range 200 {
		for _, dir := range []string{"d", "deep/1", fmt.Sprint("deep/new", i)} {
			name := fmt.Sprintf("%s/%d.log", dir, i)
			r.put(name, "x\n")
			found(name)
		}
	}
	r.put("lit/p/logs/a.log", "x\n")
	found("lit/p/logs/a.log")
	r.put("lit/q/logs/a.log", "x\n")
	found("lit/q/logs/a.log")
	if g := r.globs[r.path("alt/{p,q}/a.log")]; !g.quiet {
		t.Error("a glob is expanded over and over though all it reads is watched")
	}
	r.put("alt/q/a.log", "x\n")
	found("alt/q/a.log")

	r.must(os.Rename(r.path("t/1"), r.path("t/old"))) // what links lead to is in no folder of ours
	r.put("t/1", "y\n")
	found("d/link")
	r.put("t/dangling", "x\n")
	found("d/dangling")

	r.must(os.Rename(r.path("d"), r.path("old")))
	r.put("d/a.log", "y\n")
	found("d/a.log")
	r.put("d/b.log", "y\n") // told of by the folder that stands there now
	found("d/b.log")

	r.put("e/a.log", "x\n")
	r.put("e/b.log.1", "rotated before\n")
	r.set = r.setFor("e/a.log")
	r.look(true)
	r.look(false)
	r.set = r.setFor("e/a.log", "e/b.log") // the folder has not changed
	r.look(true)
	if !slices.Contains(r.seen, "beside e/b.log: b.log.1") {
		t.Error("the rotated file of a new entry is not found")
	}
}

func TestRotatedFileWrittenOverIsFoundBeforeItsFolderIsDue(t *testing.T) {
	t.Parallel()
	r := newFinderRig(t, true)
	r.poll = time.Hour
	r.put("d/a.log", "x\n")
	r.put("d/a.log.1", "old\n")
	r.set = r.setFor("d/a.log")
	r.look(true)
	r.look(false)
	d := r.dirs[r.path("d")]
	r.put("d/a.log.1", "another and longer\n")
	r.put("d/a.log", "x\ny\n") // written to, as it should be
	d.fullAt = time.Since(processStart)
	again := func() bool {
		r.seen = nil
		r.credit, r.lastLook = 1, time.Now()
		r.look(false)
		return slices.Contains(r.seen, "beside d/a.log: a.log.1")
	}
	if again() {
		t.Error("a folder whose rotated files are written to is looked at all the time")
	}
	d.fullAt -= backstop
	if !again() {
		t.Error("not found")
	}
	d.fullAt -= backstop
	if r.put("d/a.log", "x\ny\nz\n"); again() || d.fullAt > time.Since(processStart)-backstop {
		t.Error("a file that is written to has its folder looked at")
	}
}

// Whatever is lost on the way from the kernel, a new file is found when its folder is due.
func TestFileThatNobodyToldOfIsFoundWhenItsFolderIsDue(t *testing.T) {
	t.Parallel()
	r := newFinderRig(t, true)
	r.poll = time.Hour
	r.put("d/a.log", "x\n")
	r.put("d/b.log", "x\n")
	r.set = r.setFor("d/*.log")
	r.look(true)
	r.look(false)
	d := r.dirs[r.path("d")]
	r.put("d/new", "y\n")
	r.must(os.Rename(r.path("d/new"), r.path("d/a.log")))
	r.watch.takeTold(nil)
	r.watch.hear(d) // and forgotten
	st, err := statPath(d.dir)
	r.must(err)
	d.mtime, d.fullAt = st.mtime, time.Since(processStart)
	r.seen = nil
	r.credit = 1
	if r.look(false); len(r.seen) > 0 {
		t.Fatalf("%q without being told and before it is due", r.seen)
	}
	d.fullAt -= backstopPolls * r.poll
	r.credit = 1
	if r.look(false); !slices.Equal(r.seen, []string{"stands d/a.log"}) {
		t.Errorf("%q, want the new file and nothing else", r.seen)
	}
}

func TestFoldersThatTellAreLeftAloneAndOthersAreNot(t *testing.T) {
	t.Parallel()
	r := newFinderRig(t, true)
	r.put("d/a.log", "x\n")
	r.put("t/a.log", "x\n")
	r.put("deep/1/a.log", "x\n")
	r.must(os.Symlink("t", r.path("link")))
	r.set = r.setFor("d/*.log", "link/*.log", "deep/*/*.log", "missing/a.log")
	r.look(true)
	var watched, polled []string
	for _, d := range r.watched {
		watched = append(watched, strings.TrimPrefix(d.dir, r.dir+"/"))
	}
	for _, d := range r.polled {
		polled = append(polled, strings.TrimPrefix(d.dir, r.dir+"/"))
	}
	slices.Sort(watched)
	slices.Sort(polled)
	if want := []string{"d", "deep", "deep/1"}; !slices.Equal(watched, want) {
		t.Errorf("watched: %q, want %q", watched, want)
	}
	if want := []string{"link", "missing"}; !slices.Equal(polled, want) {
		t.Errorf("looked at with every look: %q, want %q", polled, want)
	}
	r.must(os.Rename(r.path("deep/1"), r.path("elsewhere")))
	r.must(os.Symlink("../elsewhere", r.path("deep/1")))
	r.now()
	if d := r.dirs[r.path("deep/1")]; d == nil || d.wd != 0 {
		t.Error("a folder that a link leads to now counts as watched")
	}
	r.must(os.Remove(r.path("deep/1")))
	r.must(os.Rename(r.path("elsewhere"), r.path("deep/1")))
	r.dirs[r.path("deep/1")].watchAt = 0
	r.now()
	r.set.list = r.set.list[1:]
	r.set.gen++
	r.look(true)
	if r.dirs[r.path("d")] != nil || !slices.Equal(r.lapsed, []string{"d/a.log"}) {
		t.Errorf("a folder that nobody needs is kept; lapsed: %q", r.lapsed)
	}
	r.watch.drain()
	if n := len(r.watch.wds); n != 2 {
		t.Errorf("%d watches, want those of deep and deep/1", n)
	}
}

func unsafeData(s string) uintptr { return uintptr(unsafe.Pointer(unsafe.StringData(s))) }

func TestFolderOfManyNamesIsReadWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	want := make(map[string]uint64)
	for i := range 3000 { // several buffers
		name := strings.Repeat("n", 1+i%200) + fmt.Sprint(i)
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		st, err := statPath(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want[name] = st.id.Ino
	}
	names, inos, err := readFolder(dir)
	if err != nil || len(names) != len(want) {
		t.Fatalf("%d names, want %d: %v", len(names), len(want), err)
	}
	for i, n := range names {
		if ino, ok := want[n]; !ok || ino != inos[i] {
			t.Errorf("%q is inode %d, want %d", n, inos[i], ino)
		}
	}
	if _, _, err := readFolder(filepath.Join(dir, names[0])); err == nil {
		t.Error("a file is listed as a folder")
	}
}

// A path is one string, whoever remembers it.
func TestPathThatIsListedAgainIsTheSameString(t *testing.T) {
	t.Parallel()
	r := newFinderRig(t, true)
	r.put("d/a.log", "x\n")
	known := strings.Clone(r.path("d/a.log"))
	r.set = r.setFor("d/*.log")
	r.set.list[0].known = []string{known}
	r.look(true)
	same := func(a, b string) bool { return a == b && unsafeData(a) == unsafeData(b) }
	g := r.globs[r.path("d/*.log")]
	if len(g.matches) != 1 || !same(g.matches[0], known) {
		t.Error("the path of the checkpoint's record is not used")
	}
	r.put("d/b.log", "x\n")
	r.look(false)
	b := g.matches[1]
	r.put("d/c.log", "x\n")
	r.put("deep/1/a.log", "x\n")
	r.set.list = append(r.set.list, r.setFor("deep/*/*.log").list...)
	r.look(true)
	deep := r.globs[r.path("deep/*/*.log")]
	a := deep.matches[0]
	r.put("deep/1/b.log", "x\n")
	r.now()
	if len(deep.matches) != 2 || !same(deep.matches[0], a) {
		t.Error("the path is another string after the folders were walked again")
	}
	if len(g.matches) != 3 || !same(g.matches[1], b) || !same(g.matches[0], known) || !same(r.dirs[r.path("d")].files[0].path, known) {
		t.Error("the path is another string after its folder was listed again")
	}
}
