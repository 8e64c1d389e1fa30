package agent

import (
	"bytes"
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

	"golang.org/x/sys/unix"
)

// nudgeRig is nudges with a loop that only notes who was nudged.
type nudgeRig struct {
	*nudges
	t    *testing.T
	mail *mailbox
	log  *bytes.Buffer

	mails, told int
	got         []*incarnation
	movedOnce   sync.Once
	moved       chan struct{}
}

func newNudgeRig(t *testing.T) *nudgeRig {
	r := &nudgeRig{t: t, mail: &mailbox{wake: make(chan struct{}, 1)}, log: &bytes.Buffer{}, moved: make(chan struct{})}
	r.nudges = newNudges(r.mail, slog.New(slog.NewTextHandler(r.log, nil)), func(in *incarnation) {
		if in.watch == nil {
			return
		}
		in.watch.flag.Store(false)
		r.told++
		r.got = append(r.got, in)
	}, func() { r.movedOnce.Do(func() { close(r.moved) }) })
	t.Cleanup(r.close)
	return r
}

// open holds a file, new or not.
func (r *nudgeRig) open(path string) *incarnation {
	r.t.Helper()
	appendText(r.t, path, "")
	f, st, err := openRegular(path)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { f.Close() })
	in := &incarnation{src: &source{path: path}, file: f, id: st.id}
	r.watch.learn(st.id.Dev, int(f.Fd()))
	r.add(in)
	return in
}

func appendText(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// work does what came by mail.
func (r *nudgeRig) work() {
	var m mail
	r.mail.take(&m)
	r.mails += len(m.calls)
	for _, c := range m.calls {
		c()
	}
}

func (r *nudgeRig) until(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("never %s", what)
		}
		r.work()
	}
}

// quiet takes every event there is, and forgets it.
func (r *nudgeRig) quiet() {
	r.watch.drain()
	r.work()
	r.got = nil
}

func (r *nudgeRig) nudged(in *incarnation) bool { return slices.Contains(r.got, in) }

func TestWhateverHappensToAWatchedFileIsTold(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(path string) error{
		"write":  func(p string) error { return os.WriteFile(p, []byte("x\n"), 0o644) },
		"rename": func(p string) error { return os.Rename(p, p+".1") },
		"unlink": os.Remove,
		"chmod":  func(p string) error { return os.Chmod(p, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newNudgeRig(t)
			path := filepath.Join(t.TempDir(), "a")
			in := r.open(path)
			other := r.open(path + ".other")
			r.quiet()
			if err := do(path); err != nil {
				t.Fatal(err)
			}
			r.until("told", func() bool { return r.nudged(in) })
			if r.nudged(other) {
				t.Error("the other file is nudged, too")
			}
			if name != "write" {
				<-r.moved
			}
		})
	}
}

func TestFileHeldTwiceIsToldToBothUntilTheLastIsDropped(t *testing.T) {
	t.Parallel()
	r := newNudgeRig(t)
	path := filepath.Join(t.TempDir(), "a")
	a, b := r.open(path), r.open(path)
	if a.watch.wd != b.watch.wd {
		t.Fatalf("one inode has the numbers %d and %d", a.watch.wd, b.watch.wd)
	}
	appendText(t, path, "one\n")
	r.until("both told", func() bool { return r.nudged(a) && r.nudged(b) })
	r.quiet()
	before := r.mails
	r.watch.events(event(a.watch.wd, unix.IN_MODIFY, ""))
	b.watch.flag.Store(false)
	r.watch.events(event(a.watch.wd, unix.IN_MODIFY, ""))
	if r.quiet(); r.mails != before+1 {
		t.Errorf("%d mails while the first was not read", r.mails-before)
	}
	r.drop(a)
	appendText(t, path, "two\n")
	r.until("the other told", func() bool { return r.nudged(b) })
	if r.nudged(a) {
		t.Error("a dropped file is nudged")
	}
	r.drop(b)
	r.until("the end of the watch read", func() bool { r.watch.drain(); return len(r.watch.wds) == 0 })
}

// event makes one as the kernel does.
func event(wd int32, mask uint32, name string) []byte {
	b := make([]byte, unix.SizeofInotifyEvent)
	if name != "" {
		b = append(b, name...)
		b = append(b, make([]byte, 16-len(name)%16)...)
	}
	*(*unix.InotifyEvent)(unsafe.Pointer(&b[0])) = unix.InotifyEvent{Wd: wd, Mask: mask, Len: uint32(len(b) - unix.SizeofInotifyEvent)}
	return b
}

// The kernel is played here: it gives a number again while the events of its last owner still
// stand in the queue.
func TestNumberThatIsGivenAgainNudgesNobodyForItsLastOwner(t *testing.T) {
	t.Parallel()
	w := newInotify(&mailbox{wake: make(chan struct{}, 1)}, slog.New(slog.DiscardHandler), func(*incarnation) {}, func() {})
	old, fresh := &nudge{in: &incarnation{}, wd: 7}, &nudge{in: &incarnation{}, wd: 7}
	w.mu.Lock()
	w.wds[7] = watched{files: old}
	at := w.wds[7]
	at.files = nil
	if !w.left(7, at) {
		t.Fatal("the last one left and the watch goes on")
	}
	at = w.wds[7]
	at.files = fresh
	w.wds[7] = at
	w.mu.Unlock()

	w.events(event(7, unix.IN_MODIFY, ""))
	if fresh.flag.Load() {
		t.Error("nudged by an event of the file that had the number before")
	}
	w.events(event(7, unix.IN_IGNORED, ""))
	if fresh.flag.Load() || fresh.ended.Load() {
		t.Error("the end of the old watch is taken for the end of the new one")
	}
	w.events(event(7, unix.IN_MODIFY, ""))
	if !fresh.flag.Load() {
		t.Error("its own events do not nudge it")
	}
	fresh.flag.Store(false)
	w.events(event(7, unix.IN_IGNORED, "")) // unmounted
	if !fresh.ended.Load() || !fresh.flag.Load() || fresh.trusted() || len(w.wds) != 0 {
		t.Error("the kernel ended the watch, and its file still counts as watched")
	}
}

func TestOverflowNudgesEveryFileAndTellsOfEveryFolder(t *testing.T) {
	t.Parallel()
	r := newNudgeRig(t)
	dir := t.TempDir()
	var ins []*incarnation
	for i := range 5 {
		ins = append(ins, r.open(filepath.Join(dir, fmt.Sprint(i))))
	}
	gone := r.open(filepath.Join(dir, "gone"))
	r.quiet()
	d := &folder{dir: dir, wd: 1 << 20}
	r.watch.mu.Lock()
	r.watch.wds[d.wd] = watched{folders: d}
	r.watch.mu.Unlock()
	wd := gone.watch.wd
	r.watch.mu.Lock() // its end is lost with the overflow
	r.watch.wds[wd] = watched{owed: 1}
	r.watch.mu.Unlock()
	gone.watch = nil
	if !r.watch.events(event(-1, unix.IN_Q_OVERFLOW, "")) {
		t.Error("nobody looks for names that were lost")
	}
	r.work()
	for _, in := range ins {
		if !r.nudged(in) {
			t.Errorf("%s is not nudged", in.src.path)
		}
	}
	if _, is := r.watch.wds[wd]; is {
		t.Error("an end is waited for that was lost")
	}
	if told := r.watch.takeTold(nil); !slices.Contains(told, d) {
		t.Error("the folder is not told of")
	}
}

// More events than the kernel keeps, read by nobody meanwhile: what is lost is made up for.
func TestMoreEventsThanTheKernelKeepsLoseNoFile(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Fatal(err)
	}
	var most int
	fmt.Sscan(string(b), &most)
	if most > 1<<17 {
		t.Skip("the kernel keeps too many events here")
	}
	r := newNudgeRig(t)
	dir := t.TempDir()
	a, b2, last := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "last")
	r.open(a)
	r.open(b2)
	in := r.open(last)
	fa, _ := os.OpenFile(a, os.O_WRONLY, 0)
	fb, _ := os.OpenFile(b2, os.O_WRONLY, 0)
	defer fa.Close()
	defer fb.Close()
	r.quiet()
	r.watch.reading.Lock()  // nobody reads
	for range most/2 + 10 { // in turns: equal neighbours would be merged
		fa.WriteString("x")
		fb.WriteString("x")
	}
	appendText(t, last, "x\n")
	r.watch.reading.Unlock()
	r.until("told", func() bool { return r.nudged(in) })
}

func TestTenThousandFilesAreWatchedByOneGoroutine(t *testing.T) {
	t.Parallel()
	r := newNudgeRig(t)
	dir := t.TempDir()
	const n, first = 10_000, 9_900
	path := func(i int) string { return filepath.Join(dir, fmt.Sprint(i)) }
	nudges := make([]*incarnation, 0, n)
	for i := range n {
		appendText(t, path(i), "")
		f, st, err := openRegular(path(i))
		if err != nil {
			t.Fatal(err)
		}
		in := &incarnation{src: &source{path: path(i)}, file: f, id: st.id}
		r.add(in)
		f.Close() // the watch is of the file, not of the descriptor
		if in.watch == nil {
			t.Skipf("the kernel gives no more watches than %d here: %s", i, r.log)
		}
		nudges = append(nudges, in)
	}
	for i := first; i < n; i++ {
		appendText(t, path(i), "x\n")
	}
	r.until("told of all that was written", func() bool { return r.told >= n-first })
	for i, in := range nudges {
		if got := r.nudged(in); got != (i >= first) {
			t.Errorf("file %d nudged: %v", i, got)
		}
	}
	if r.mails > 50 {
		t.Errorf("%d mails for %d files written at once", r.mails, n-first)
	}
	for _, in := range nudges {
		r.drop(in)
	}
	r.until("forgotten", func() bool { r.watch.drain(); return len(r.watch.wds) == 0 })
}

func TestTwoThousandWritesASecondCostAFewHundredWakeups(t *testing.T) {
	t.Parallel()
	r := newNudgeRig(t)
	path := filepath.Join(t.TempDir(), "a")
	in := r.open(path)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	began := time.Now()
	tick := time.NewTicker(500 * time.Microsecond)
	defer tick.Stop()
	for range 2000 {
		<-tick.C
		f.WriteString("x\n")
		r.work()
	}
	took := time.Since(began)
	r.until("told", func() bool { return r.nudged(in) })
	if most := int(took/(2*time.Millisecond)) + 10; r.mails > most {
		t.Errorf("%d mails for 2,000 writes in %v, want %d at most", r.mails, took, most)
	}
	t.Logf("2,000 writes in %v: %d mails", took.Round(time.Millisecond), r.mails)
}

func TestWhatCouldNotBeWatchedIsTriedAgainAndSaidOnce(t *testing.T) {
	t.Parallel()
	r := newNudgeRig(t)
	path := filepath.Join(t.TempDir(), "a")
	appendText(t, path, "")
	f, st, err := openRegular(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := &incarnation{src: &source{path: path}, file: f, id: st.id}
	r.watch.failed("/other", unix.ENOSPC)
	r.waiting[in] = struct{}{}
	r.watch.failed(path, unix.ENOSPC)
	if n := strings.Count(r.log.String(), "raise=fs.inotify.max_user_watches"); n != 1 {
		t.Errorf("said %d times: %s", n, r.log)
	}
	r.watch.learn(st.id.Dev, int(f.Fd()))
	r.retry()
	if in.watch == nil || len(r.waiting) > 0 {
		t.Fatal("not watched though there is room again")
	}
	if !r.nudged(in) && in.watch.trusted() {
		t.Error("what was written since its last poll waits for the next one")
	}
	if !strings.Contains(r.log.String(), "watched for changes again") {
		t.Errorf("not said that it works again: %s", r.log)
	}
}

func TestNudgesAreTrustedOnFileSystemsOfThisKernelAlone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		magic int64
		want  bool
	}{
		"ext4": {unix.EXT4_SUPER_MAGIC, true}, "xfs": {unix.XFS_SUPER_MAGIC, true}, "tmpfs": {unix.TMPFS_MAGIC, true},
		"nfs": {unix.NFS_SUPER_MAGIC, false}, "smb": {unix.SMB2_SUPER_MAGIC, false}, "fuse": {unix.FUSE_SUPER_MAGIC, false},
		"9p": {unix.V9FS_MAGIC, false}, "overlay": {unix.OVERLAYFS_SUPER_MAGIC, false}, "ceph": {unix.CEPH_SUPER_MAGIC, false},
		"gfs2": {0x01161970, false}, "none": {0, false},
	} {
		if got := localFileSystem(c.magic); got != c.want {
			t.Errorf("%s trusted: %v, want %v", name, got, c.want)
		}
	}
	var none *nudge
	if none.trusted() {
		t.Error("a file that is not watched is trusted")
	}
	n := &nudge{local: true}
	if !n.trusted() {
		t.Error("a watched file on a local file system is not trusted")
	}
	n.flag.Store(true) // told already
	if n.seenChanged(); !n.trusted() {
		t.Error("not trusted any more though the change was told")
	}
	n.flag.Store(false)
	if n.seenChanged(); n.trusted() {
		t.Error("trusted after a change that was not told")
	}
}
