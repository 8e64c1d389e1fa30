package agent_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"logagent/agent"
)

// compress does to a file what gzip does: a new file beside it, written bit by bit, that
// gets the original's time, and the original is removed.
func compress(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path+".gz", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	for len(text) > 0 {
		n := min(len(text), 10_000)
		if _, err := z.Write(text[:n]); err != nil {
			t.Fatal(err)
		}
		if err := z.Flush(); err != nil {
			t.Fatal(err)
		}
		text = text[n:]
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := os.Chtimes(path+".gz", info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestRotatedFileCompressedAtOnceIsReadOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	want := ""
	for i := range 4 {
		l := lines(fmt.Sprint("a", i), 0, 300)
		want += l
		r.write("app.log", l)
		rename(t, r.path("app.log"), r.path(fmt.Sprintf("app.log.%d", i)))
		compress(t, r.path(fmt.Sprintf("app.log.%d", i)))
	}
	r.write("app.log", "end\n")
	r.expect("t", want+"end\n")
	// Compressed files wander, too.
	rename(t, r.path("app.log.0.gz"), r.path("app.log.9.gz"))
	r.looks(2)
	r.expect("t", want+"end\n")
}

func TestFilesCompressedWhileTheAgentWasAwayAreReadOn(t *testing.T) {
	t.Parallel()
	for _, n := range []int{5, 40, 4000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.start()
			r.apply(r.svc("app.log"))
			a := lines("a", 0, n)
			r.write("app.log", a)
			r.expect("t", a)
			r.end()
			b := lines("b", 0, n)
			r.write("app.log", b)
			rename(t, r.path("app.log"), r.path("app.log.2"))
			c := lines("c", 0, n)
			r.write("app.log", c)
			rename(t, r.path("app.log"), r.path("app.log.1"))
			compress(t, r.path("app.log.2"))
			compress(t, r.path("app.log.1"))
			d := lines("d", 0, n)
			r.write("app.log", d+"and a last line without an end")
			rename(t, r.path("app.log"), r.path("app.log.0"))
			compress(t, r.path("app.log.0"))
			r.write("app.log", lines("e", 0, n))
			r.start()
			r.apply(r.svc("app.log"))
			r.ordered("t", a+b+c+d+"and a last line without an end\n"+lines("e", 0, n))
			// Nothing of it again after another start.
			r.end()
			r.start()
			r.apply(r.svc("app.log"))
			r.looks(2)
			r.expect("t", a+b+c+d+"and a last line without an end\n"+lines("e", 0, n))
		})
	}
}

func TestCompressedFilesFromBeforeTheEntryAreNotRead(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 3 {
		name := fmt.Sprintf("app.log.%d", i)
		r.write(name, lines(name, 0, 100))
		compress(t, r.path(name))
	}
	r.write("app.log", lines("a", 0, 100))
	r.start()
	r.apply(r.svc("app.log"))
	r.looks(2)
	r.ordered("t", lines("a", 0, 100))
}

func TestCopytruncateCompressedAtOnceLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.svc("app.log")
	s.SendRate = 500
	want := lines("a", 0, 3000)
	r.write("app.log", want)
	r.start()
	r.apply(s)
	r.sink.WaitLines(t, "t", 100)
	copytruncate(t, r.path("app.log"), r.path("app.log.1"))
	compress(t, r.path("app.log.1"))
	after := lines("b", 0, 500)
	r.write("app.log", after)
	r.until("seen to be truncated", func(agent.Status) bool { return strings.Contains(r.log.String(), "truncated") })
	s.SendRate = 0
	r.apply(s)
	r.ordered("t", want+after)
	if n := r.a.Status().Totals.LostBytes; n != 0 {
		t.Errorf("%d bytes shown as lost", n)
	}
}

// The copy is compressed slowly, and complete only long after the truncation was seen.
func TestCopyThatIsStillBeingCompressedIsWaitedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.RotateWait = 10 * time.Second
	s := r.svc("app.log")
	s.SendRate = 500
	want := lines("a", 0, 3000)
	r.write("app.log", want)
	r.start()
	r.apply(s)
	r.sink.WaitLines(t, "t", 100)
	s.Paused = true
	r.apply(s)
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write([]byte(want))
	w.Close()
	os.Truncate(r.path("app.log"), 0)
	appendTo(t, r.path("app.log.1.gz"), z.String()[:z.Len()/2])
	s.Paused = false
	r.apply(s)
	r.cause("app.log", "truncated, its copy is looked for")
	appendTo(t, r.path("app.log.1.gz"), z.String()[z.Len()/2:])
	r.write("app.log", lines("b", 0, 10))
	s.SendRate = 0
	r.apply(s)
	r.expect("t", want+lines("b", 0, 10))
	if n := r.a.Status().Totals.LostBytes; n != 0 {
		t.Errorf("%d bytes shown as lost", n)
	}
}

func TestCopyThatNeverComesIsGivenUpAndCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.svc("app.log")
	s.SendRate = 500
	all := lines("a", 0, 3000)
	r.write("app.log", all)
	r.start()
	r.apply(s)
	r.sink.WaitLines(t, "t", 100)
	s.Paused = true
	r.apply(s)
	r.until("nothing in flight", func(s agent.Status) bool { return s.Process.InFlightBytes == 0 })
	// Something compressed that is of another file.
	r.write("app.log.1", lines("other", 0, 100))
	compress(t, r.path("app.log.1"))
	os.Truncate(r.path("app.log"), 0)
	s.Paused, s.SendRate = false, 0
	r.apply(s)
	r.write("app.log", lines("b", 0, 10))
	st := r.until("counted as lost", func(s agent.Status) bool { return s.Totals.LostBytes > 0 })
	r.settle()
	sent := 0
	for _, v := range r.values("t") {
		if strings.HasPrefix(v, "a ") {
			sent += len(v) + 1
		}
	}
	if want := uint64(len(all) - sent); st.Totals.LostBytes != want {
		t.Errorf("%d bytes shown as lost, %d are", st.Totals.LostBytes, want)
	}
}

func TestCompressedFileIsReadOnAfterACrash(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.svc("app.log")
	r.start()
	r.apply(s)
	r.write("app.log", lines("a", 0, 10))
	r.expect("t", lines("a", 0, 10))
	r.end()
	all := lines("b", 0, 5000)
	r.write("app.log", all)
	rename(t, r.path("app.log"), r.path("app.log.1"))
	compress(t, r.path("app.log.1"))
	r.start()
	s.SendRate = 2000
	r.apply(s)
	r.sink.WaitLines(t, "t", 1000)
	r.end()
	r.start()
	s.SendRate = 0
	r.apply(s)
	r.ordered("t", lines("a", 0, 10)+all)
}

func TestDamagedCompressedFileIsReadAsFarAsItGoes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", "begin\n")
	r.expect("t", "begin\n")
	r.end()
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write([]byte(lines("a", 0, 100)))
	w.Flush()
	whole := z.Len()
	w.Write([]byte(lines("b", 0, 100)))
	w.Close()
	appendTo(t, r.path("app.log.1.gz"), z.String()[:whole])
	r.start()
	r.apply(r.svc("app.log"))
	r.expect("t", "begin\n"+lines("a", 0, 100))
	if log := r.log.String(); !strings.Contains(log, "damaged") {
		t.Error("the log does not tell of it")
	}
}

func TestOtherCompressionsAreReadToo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", "begin\n")
	r.expect("t", "begin\n")
	var z bytes.Buffer
	w, err := zstd.NewWriter(&z)
	if err != nil {
		t.Fatal(err)
	}
	w.Write([]byte(lines("z", 0, 5000)))
	w.Close()
	appendTo(t, r.path("app.log-20261122.zst"), z.String())
	// What bzip2 makes of "hello bzip2\n".
	b, err := os.ReadFile("testdata/hello.bz2")
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, r.path("app.log.3.bz2"), string(b))
	r.expect("t", "begin\n"+lines("z", 0, 5000)+"hello bzip2\n")
}

func TestGlobLeavesCompressedFilesToTheirPath(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("app.log.1", lines("old", 0, 100))
	s := r.svc("app.log*")
	r.start()
	r.apply(s)
	r.write("app.log", lines("a", 0, 100))
	r.expect("t", lines("old", 0, 100)+lines("a", 0, 100))
	compress(t, r.path("app.log.1"))
	r.looks(2)
	rename(t, r.path("app.log"), r.path("app.log.2"))
	r.looks(2)
	compress(t, r.path("app.log.2"))
	r.write("app.log", lines("b", 0, 100))
	r.looks(2)
	r.expect("t", lines("old", 0, 100)+lines("a", 0, 100)+lines("b", 0, 100))
}

func TestFileUnpackedBesideItsCompressedOneIsReadOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("a", 0, 3000))
	rename(t, r.path("app.log"), r.path("app.log.1"))
	compress(t, r.path("app.log.1"))
	r.write("app.log", "end\n")
	r.expect("t", lines("a", 0, 3000)+"end\n")
	r.write("app.log.1", lines("a", 0, 3000))
	r.looks(2)
	r.expect("t", lines("a", 0, 3000)+"end\n")
}

func TestRotatedNamesWithADateBeforeTheirExtensionBelongToTheirPath(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", "begin\n")
	r.expect("t", "begin\n")
	r.end()
	want := "begin\n"
	for i, name := range []string{"app-20261120.log", "app.2026-11-21.log", "app.2026-11-21.1.log", "app.log-20261121", "app.log.2026-11-22"} {
		l := lines(fmt.Sprint(i), 0, 20)
		r.write(name, l)
		want += l
	}
	for _, name := range []string{"app-1.log", "app.2.log", "app-20261399.log", "other-20261120.log", "app.log.bak", "app.log.1.swp"} {
		r.write(name, lines(name, 0, 5)) // logs of their own, or nobody's
	}
	r.start()
	r.apply(r.svc("app.log"))
	r.looks(2)
	r.expect("t", want)
}
