package agent_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"logagent/agent"
)

// What rotation, writers and people do beyond the ordinary: each of these broke a version
// of the agent that passed everything else.

// The agent is ended while a batch of a truncated file, whose copy is held, is refused for good.
func TestOrphanOverARemovedEntryIsNotForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.RotateWait = 10 * time.Second
	s := r.svc("app.log")
	s.SendRate = 500
	a := lines("a", 0, 3000)
	r.write("app.log", a)
	r.start()
	r.apply(s)
	r.sink.WaitLines(t, "t", 300)
	s.Paused = true
	r.apply(s)
	z := gz(t, 6, a)
	appendTo(t, r.path("app.log.1.gz"), string(z[:len(z)/2]))
	os.Truncate(r.path("app.log"), 0)
	r.cause("app.log", "")
	r.until("seen", func(agent.Status) bool { return r.a.Undecided() > 0 })
	r.apply()
	appendTo(t, r.path("app.log.1.gz"), string(z[len(z)/2:]))
	s.Paused, s.SendRate = false, 0
	r.apply(s)
	r.looks(2)
	r.expect("t", a)
}

// A rotated file without a plain name beside it is written on by its writer while paused.
func TestCompressedFileOfAnOpenOneWhileBlocked(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.sink.Block()
	a := lines("a", 0, 3000)
	w := r.open("app.log", os.O_APPEND|os.O_CREATE)
	w.WriteString(a)
	r.until("read", func(s agent.Status) bool { return len(s.Files) > 0 && s.Files[0].ReadBytes == int64(len(a)) })
	rename(t, r.path("app.log"), r.path("app.log.1"))
	os.WriteFile(r.path("app.log.1.gz"), gz(t, 6, a), 0o644)
	os.Remove(r.path("app.log.1"))
	late := lines("late", 0, 50)
	w.WriteString(late)
	r.write("app.log", "new\n")
	r.sink.Unblock()
	r.expect("t", a+late+"new\n")
	w.Close()
	r.looks(2)
	r.expect("t", a+late+"new\n")
}

// 2 KiB that every file of this program begins with.
func banner() string {
	return strings.Repeat("# the options of this program, the same each time it starts .....\n", 32)
}

// Orphan at SIGTERM whose copy never comes; later a short file with the same banner.
func TestGhostSwallowsNoFileWithTheSameBanner(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.RotateWait = 10 * time.Second
	r.start()
	r.apply(r.svc("app.log"))
	a := banner() + lines("a", 0, 3000)
	r.write("app.log", a)
	r.expect("t", a)
	z := gz(t, 6, a)
	appendTo(t, r.path("app.log.1.gz"), string(z[:len(z)/2])) // compression under way
	os.Truncate(r.path("app.log"), 0)
	r.until("seen", func(agent.Status) bool { return strings.Contains(r.log.String(), "its copy is looked for") })
	r.end()
	os.Remove(r.path("app.log.1.gz")) // disk full, moved to the archive
	b := banner() + lines("b", 0, 100)
	r.write("app.log", b)
	r.start()
	r.apply(r.svc("app.log"))
	r.expect("t", a+b)
	r.end()
	// While away: two rotations by rename; the second file came and went unseen.
	rename(t, r.path("app.log"), r.path("app.log.2"))
	c := banner() + lines("c", 0, 100)
	r.write("app.log", c)
	rename(t, r.path("app.log"), r.path("app.log.1"))
	d := banner() + lines("d", 0, 100)
	r.write("app.log", d)
	r.start()
	r.apply(r.svc("app.log"))
	r.looks(2)
	r.expect("t", a+b+c+d)
}

// An orphan waits for its copy; a short unknown file with the same banner appears.
func TestOrphanTakesNoFileWithTheSameBannerForItsCopy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.RotateWait = 10 * time.Second
	s := r.svc("app.log")
	s.SendRate = 500
	a := banner() + lines("a", 0, 3000)
	r.write("app.log", a)
	r.start()
	r.apply(s)
	r.sink.WaitLines(t, "t", 300)
	s.Paused = true
	r.apply(s)
	r.until("nothing in flight", func(s agent.Status) bool { return s.Process.InFlightBytes == 0 })
	z := gz(t, 6, a)
	appendTo(t, r.path("app.log.2.gz"), string(z[:len(z)/2]))
	os.Truncate(r.path("app.log"), 0)
	r.until("seen", func(agent.Status) bool { return strings.Contains(r.log.String(), "its copy is looked for") })
	b := banner() + lines("b", 0, 20)
	r.write("new", b)
	after := time.Now() // the kernel's clock for files ticks every few milliseconds
	if err := os.Chtimes(r.path("new"), after, after); err != nil {
		t.Fatal(err)
	}
	rename(t, r.path("new"), r.path("app.log.1")) // came and went between two looks
	r.looks(2)
	appendTo(t, r.path("app.log.2.gz"), string(z[len(z)/2:]))
	s.Paused, s.SendRate = false, 0
	r.apply(s)
	r.looks(2)
	r.expect("t", a+b)
	if n := r.a.Status().Totals.LostBytes; n != 0 {
		t.Errorf("%d bytes shown as lost", n)
	}
}

// Plain files with one banner, no orphans: two rotations unseen.
func TestFilesWithTheSameBannerAreAllRead(t *testing.T) {
	t.Parallel()
	for _, zip := range []bool{false, true} {
		for _, n := range []int{1, 50, 3000} {
			r := newRig(t)
			r.start()
			r.apply(r.svc("app.log"))
			a := banner() + lines("a", 0, 1000)
			r.write("app.log", a)
			r.expect("t", a)
			r.end()
			want := a
			rename(t, r.path("app.log"), r.path("app.log.5"))
			if zip {
				compress(t, r.path("app.log.5"))
			}
			for i, name := range []string{"app.log.4", "app.log.3", "app.log.2"} {
				l := banner() + lines(string(rune('b'+i)), 0, n)
				want += l
				r.write(name, l)
				if zip {
					compress(t, r.path(name))
				}
			}
			r.write("app.log", banner()+lines("z", 0, 10))
			want += banner() + lines("z", 0, 10)
			r.start()
			r.apply(r.svc("app.log"))
			r.looks(2)
			r.expect("t", want)
			r.end()
		}
	}
}

// What was unread at SIGTERM and is found nowhere after the start is counted.
func TestOrphanWhoseCopyNeverComesAfterARestartIsCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.RotateWait = 10 * time.Second
	s := r.svc("app.log")
	s.SendRate = 500
	a := lines("a", 0, 3000)
	r.write("app.log", a)
	r.start()
	r.apply(s)
	r.sink.WaitLines(t, "t", 300)
	z := gz(t, 6, a)
	appendTo(t, r.path("app.log.1.gz"), string(z[:len(z)/2]))
	os.Truncate(r.path("app.log"), 0)
	r.until("seen", func(agent.Status) bool { return strings.Contains(r.log.String(), "its copy is looked for") })
	r.end()
	os.Remove(r.path("app.log.1.gz"))
	r.start()
	s.SendRate = 0
	r.apply(s)
	r.write("app.log", lines("b", 0, 10))
	r.looks(2)
	r.until("counted as lost", func(s agent.Status) bool { return s.Totals.LostBytes > 0 })
}

// Verdicts that failed before the deleted file is given up.
func TestGivenUpFileCountsWhatWasRecalled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.DeletedMaxBytes = 1
	r.opt.RotateWait = time.Minute
	s := r.svc("app.log")
	r.start()
	r.apply(s)
	r.sink.Block()
	r.write("app.log", lines("a", 0, 1000))
	r.until("in flight", func(s agent.Status) bool {
		return s.Process.InFlightBytes > 0 && s.Files[0].ReadBytes == int64(len(lines("a", 0, 1000)))
	})
	r.sink.Disconnect("away")
	r.write("app.log", lines("b", 0, 1000))
	all := int64(len(lines("a", 0, 1000)) + len(lines("b", 0, 1000)))
	r.until("read", func(s agent.Status) bool { return s.Files[0].ReadBytes == all })
	s.Topic = "u"
	applied := make(chan struct{})
	go func() { // b is recalled, a stays on its way
		defer close(applied)
		r.apply(s)
	}()
	r.remove("app.log")
	r.until("given up", func(agent.Status) bool { return strings.Contains(r.log.String(), "given up") })
	r.sink.Unblock()
	<-applied
	r.sink.Connect()
	r.until("everything arrived or is counted", func(agent.Status) bool {
		got := 0
		for _, v := range append(r.values("t"), r.values("u")...) {
			got += len(v) + 1
		}
		return int64(got)+int64(r.a.FreshStatus().Totals.LostBytes) == all
	})
}

// A copy that is held until its original is delivered, and then deleted.
func TestDeletedCopyThatIsHeldIsShownAndGivenUpFirst(t *testing.T) {
	t.Parallel()
	for _, most := range []int64{0, 1} {
		r := newRig(t)
		r.opt.DeletedMaxBytes = most
		s := r.svc("app.log")
		s.Paused = true
		all := lines("a", 0, 3000)
		r.write("app.log", all)
		r.start()
		r.apply(s)
		r.write("copy", all)
		rename(t, r.path("copy"), r.path("app.log.1"))
		r.looks(2)
		r.until("held", func(agent.Status) bool { return r.openFiles() == 2 })
		os.Remove(r.path("app.log.1"))
		if most == 0 {
			r.until("shown", func(s agent.Status) bool { return s.Files[0].DeletedBytes == int64(len(all)) })
		} else {
			r.until("given up", func(agent.Status) bool { return r.openFiles() == 1 })
		}
		s.Paused = false
		r.apply(s)
		r.ordered("t", all)
		if n := r.a.FreshStatus().Totals.LostBytes; n != 0 {
			t.Errorf("%d bytes shown as lost", n)
		}
		r.end()
	}
}

func gz(t *testing.T, level int, text string) []byte {
	t.Helper()
	var z bytes.Buffer
	w, err := gzip.NewWriterLevel(&z, level)
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte(text))
	w.Close()
	return z.Bytes()
}

// gzip read app.log.1 before its writer's last lines; those are read through the descriptor.
func TestLateLinesAfterCompressionDoubleNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	a := lines("a", 0, 3000)
	r.write("app.log", a)
	r.expect("t", a)
	w := r.open("app.log", os.O_APPEND)
	rename(t, r.path("app.log"), r.path("app.log.1"))
	os.WriteFile(r.path("app.log.1.gz"), gz(t, 6, a), 0o644)
	os.Remove(r.path("app.log.1"))
	late := lines("late", 0, 5)
	w.WriteString(late)
	w.Close()
	r.write("app.log", lines("b", 0, 5))
	r.expect("t", a+late+lines("b", 0, 5))
	r.looks(2)
	r.expect("t", a+late+lines("b", 0, 5))
}

// The same, and the agent is restarted in order (SIGTERM) before the .gz is decided about.
func TestLateLinesAfterCompressionDoubleNothingOverARestart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	a := lines("a", 0, 3000)
	late := lines("late", 0, 5)
	r.write("app.log", a+late)
	r.expect("t", a+late)
	r.end()
	os.WriteFile(r.path("app.log.1.gz"), gz(t, 6, a), 0o644)
	os.Remove(r.path("app.log"))
	r.write("app.log", lines("b", 0, 5))
	r.start()
	r.apply(r.svc("app.log"))
	r.looks(2)
	r.expect("t", a+late+lines("b", 0, 5))
}

// "gzip -c app.log > app.log.1.gz; : > app.log": the same inode each time, and the same size.
func TestCompressedFileWrittenOverWithOneOfTheSameSizeIsRead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	a, b, c := lines("a", 0, 300), lines("b", 0, 300), lines("c", 0, 3)
	r.write("app.log", a)
	r.expect("t", a)
	os.WriteFile(r.path("app.log.1.gz"), gz(t, gzip.NoCompression, a), 0o644)
	os.Truncate(r.path("app.log"), 0)
	r.looks(2)
	r.settle()
	r.end()
	r.write("app.log", b)
	os.WriteFile(r.path("app.log.1.gz"), gz(t, gzip.NoCompression, b), 0o644) // same inode
	os.Truncate(r.path("app.log"), 0)
	r.write("app.log", c)
	r.start()
	r.apply(r.svc("app.log"))
	r.looks(2)
	r.expect("t", a+b+c)
}

// touch, chown's neighbour, of a .gz whose lines are in flight.
func TestTouchedCompressedFileInFlightDoublesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", "begin\n")
	r.expect("t", "begin\n")
	r.sink.Block()
	all := lines("z", 0, 3000)
	os.WriteFile(r.path("app.log.1.gz"), gz(t, 6, all), 0o644)
	r.sink.Wait(t, "in flight", func() bool { return true })
	r.until("in flight", func(s agent.Status) bool { return s.Process.InFlightBytes > 100_000 })
	now := time.Now().Add(time.Second)
	os.Chtimes(r.path("app.log.1.gz"), now, now)
	r.sink.Unblock()
	r.expect("t", "begin\n"+all)
}

func TestSymlinkedSiblingDoesNotLeadOutOfAllowPaths(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.Allow = []string{r.dir + "/**"}
	secret := filepath.Join(t.TempDir(), "secret")
	appendTo(t, secret, "root:hash\n")
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", "begin\n")
	r.expect("t", "begin\n")
	os.Symlink(secret, r.path("app.log.1"))
	r.looks(2)
	for _, v := range r.values("t") {
		if strings.Contains(v, "root:hash") {
			t.Fatal("a file outside allow_paths was sent to Kafka")
		}
	}
}

func TestSymlinkedCompressedSiblingDoesNotLeadOutOfAllowPaths(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.Allow = []string{r.dir + "/**"}
	secret := filepath.Join(t.TempDir(), "secret.gz")
	os.WriteFile(secret, gz(t, 6, "root:hash\n"), 0o644)
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", "begin\n")
	r.expect("t", "begin\n")
	os.Symlink(secret, r.path("app.log.1.gz"))
	r.looks(2)
	for _, v := range r.values("t") {
		if strings.Contains(v, "root:hash") {
			t.Fatal("a file outside allow_paths was sent to Kafka")
		}
	}
}

// gzip is held up for longer than rotate_wait and then goes on.
func TestCompressedFileCompletedAfterItWasTakenForDamaged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", "begin\n")
	r.expect("t", "begin\n")
	all := lines("z", 0, 5000)
	z := gz(t, 6, all)
	appendTo(t, r.path("app.log.1.gz"), string(z[:len(z)/2]))
	r.until("damaged", func(agent.Status) bool { return strings.Contains(r.log.String(), "damaged") })
	r.settle()
	appendTo(t, r.path("app.log.1.gz"), string(z[len(z)/2:]))
	r.expect("t", "begin\n"+all)
}

func (r *rig) openFiles() (n int) {
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, d := range fds {
		if l, _ := os.Readlink("/proc/self/fd/" + d.Name()); strings.HasPrefix(l, r.dir+"/") {
			n++
		}
	}
	return n
}

func TestDescriptorsAreGivenBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	want := ""
	for i := range 12 {
		l := lines(fmt.Sprint(i), 0, 400)
		want += l
		r.write("app.log", l)
		name := r.path(fmt.Sprintf("app.log.%d", i))
		if i%2 == 0 {
			rename(t, r.path("app.log"), name)
		} else {
			copytruncate(t, r.path("app.log"), name)
		}
		if i%3 == 0 {
			compress(t, name)
		}
	}
	r.expect("t", want)
	r.until("given back", func(agent.Status) bool { return r.openFiles() <= 1 })
	r.apply()
	r.until("all given back", func(agent.Status) bool { return r.openFiles() == 0 })
	r.end()
}

func TestEntryRemovedAndAddedBackDuringAnInspection(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	a := lines("a", 0, 3000)
	r.write("app.log", a)
	r.expect("t", a)
	want := a
	for i := range 5 {
		l := lines(fmt.Sprint("b", i), 0, 3000)
		want += l
		r.write("app.log", l)
		rename(t, r.path("app.log"), r.path(fmt.Sprintf("app.log.%d", i)))
		compress(t, r.path(fmt.Sprintf("app.log.%d", i)))
		r.apply()
		r.apply(r.svc("app.log"))
	}
	r.looks(2)
	r.expect("t", want)
}

func TestTimesInTheFutureAreHarmless(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	want := ""
	for i := range 4 {
		l := lines(fmt.Sprint(i), 0, 1000)
		want += l
		r.write("app.log", l)
		at := time.Now().Add(time.Hour)
		os.Chtimes(r.path("app.log"), at, at)
		name := fmt.Sprintf("app.log.%d", i)
		rename(t, r.path("app.log"), r.path(name))
		compress(t, r.path(name))
		os.Chtimes(r.dir, at, at)
	}
	r.looks(2)
	r.expect("t", want)
}

// start_at end: what was rotated before the entry and is compressed later stays unread.
func TestOldRotatedFileCompressedLaterIsNotSent(t *testing.T) {
	t.Parallel()
	for i, old := range []string{lines("old", 0, 5) + "no end", lines("old", 0, 500) + "no end", lines("old", 0, 5)} {
		r := newRig(t)
		r.write("app.log.1", old)
		r.write("app.log", lines("a", 0, 10))
		s := r.svc("app.log")
		s.StartAt = agent.StartEnd
		r.start()
		r.apply(s)
		r.write("app.log", lines("b", 0, 3))
		r.expect("t", lines("b", 0, 3))
		compress(t, r.path("app.log.1"))
		r.looks(2)
		if got := r.values("t"); len(got) != 3 {
			t.Errorf("%d: %d lines of before the entry were sent: %q", i, len(got)-3, got[3:])
		}
		r.end()
	}
}

// The disk is short, and the deleted file's bytes stand in the .gz beside it.
func TestDeletedFileGivenUpWhoseCompressedCopyStandsBesideIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.DeletedMinFree = 101
	s := r.svc("app.log")
	s.SendRate = 500
	all := lines("a", 0, 5000)
	r.write("app.log", all)
	r.start()
	r.apply(s)
	r.sink.WaitLines(t, "t", 300)
	rename(t, r.path("app.log"), r.path("app.log.1"))
	compress(t, r.path("app.log.1"))
	r.write("app.log", "end\n")
	s.SendRate = 0
	r.apply(s)
	r.looks(2)
	if n := r.a.FreshStatus().Totals.LostBytes; n != 0 {
		t.Errorf("%d bytes shown as lost", n)
	}
	r.expect("t", all+"end\n")
}

// A copy is proven by the bytes before the position, not by a beginning that all share.
func TestLongerFileWithTheSameBannerIsNotTakenForTheCopy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.svc("app.log")
	r.start()
	r.apply(s)
	a := banner() + lines("a", 0, 100)
	r.write("app.log", a)
	r.expect("t", a)
	s.Paused = true
	r.apply(s)
	other := banner() + lines("other", 0, 500)
	r.write("new", other)
	rename(t, r.path("new"), r.path("app.log.1"))
	os.Truncate(r.path("app.log"), 0)
	r.write("app.log", lines("b", 0, 10))
	s.Paused = false
	r.apply(s)
	r.expect("t", a+other+lines("b", 0, 10))
}

// "gzip > app.log.1.gz" writes another content into the file that is being read.
func TestCompressedFileWrittenOverWhileItIsReadIsReadAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.svc("app.log")
	r.start()
	r.apply(s)
	r.write("app.log", "begin\n")
	r.expect("t", "begin\n")
	s.SendRate = 500
	r.apply(s)
	a, b := lines("a", 0, 2000), lines("b", 0, 2000)
	if err := os.WriteFile(r.path("app.log.1.gz"), gz(t, gzip.NoCompression, a), 0o644); err != nil {
		t.Fatal(err)
	}
	r.sink.WaitLines(t, "t", 100)
	if err := os.WriteFile(r.path("app.log.1.gz"), gz(t, gzip.NoCompression, b), 0o644); err != nil {
		t.Fatal(err)
	}
	s.SendRate = 0
	r.apply(s)
	r.until("the new content arrived", func(agent.Status) bool {
		n := 0
		for _, v := range r.values("t") {
			if strings.HasPrefix(v, "b ") {
				n++
			}
		}
		return n >= 2000
	})
	r.looks(1)
	r.settle()
	for _, v := range r.values("t") {
		if !strings.HasPrefix(v, "b ") && !strings.HasPrefix(v, "a ") && v != "begin" {
			t.Fatalf("a line that nobody wrote: %q", v)
		}
	}
}

// start_at end, and the file has no line end for megabytes: the rest of that line is not one.
func TestFileWithoutALineEndIsBegunAfterTheLineThatIsBeingWritten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.svc("app.log")
	s.StartAt = agent.StartEnd
	r.write("app.log", strings.Repeat("x", 5<<20))
	r.start()
	r.apply(s)
	r.until("held", func(s agent.Status) bool { return s.Files[0].Inode != 0 })
	r.end()
	r.start()
	r.apply(s)
	r.write("app.log", "the rest\nnext\n")
	r.expect("t", "next\n")
}
