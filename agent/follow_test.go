package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"logagent/agent"
)

func TestLinesOfAFileArriveInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.write("app.log", lines("a", 0, 1000))
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("a", 1000, 2000))
	r.ordered("t", lines("a", 0, 2000))
	rec := r.sink.Lines("t")[0]
	if rec.Path != r.path("app.log") || rec.Service != "s" {
		t.Errorf("headers path %q service %q, want %q and s", rec.Path, rec.Service, r.path("app.log"))
	}
}

func TestLinesWrittenInTwoHalvesStayWhole(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	want := lines("half", 0, 300)
	for i, l := range strings.SplitAfter(want, "\n") {
		r.write("app.log", l[:len(l)/2])
		if i%50 == 0 {
			time.Sleep(30 * time.Millisecond) // lets the agent see halves; decides nothing
		}
		r.write("app.log", l[len(l)/2:])
	}
	r.ordered("t", want)
}

func TestStartAtEndLeavesWhatWasThere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("app.log", lines("old", 0, 10)+"unfini")
	r.write("app.log.1", lines("older", 0, 10))
	s := r.svc("app.log")
	s.StartAt = ""
	r.start()
	r.apply(s)
	r.write("app.log", "shed\n"+lines("new", 0, 5))
	r.expect("t", "unfinished\n"+lines("new", 0, 5))
}

func TestFileThatAppearsLaterIsReadFromItsBeginning(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.svc("sub/app.log")
	s.StartAt = agent.StartEnd
	r.start()
	r.apply(s)
	r.cause("sub/app.log", "missing")
	if err := os.Mkdir(r.path("sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.write("sub/app.log", lines("a", 0, 100))
	r.expect("t", lines("a", 0, 100))
	r.cause("sub/app.log", "caught up")
}

func TestStartAtAppliesOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("app.log", lines("old", 0, 10))
	s := r.svc("app.log")
	s.StartAt = agent.StartEnd
	r.start()
	r.apply(s)
	r.write("app.log", lines("seen", 0, 10))
	r.expect("t", lines("seen", 0, 10))
	r.end()
	// While the agent is down: more lines, a rotation, a new file.
	r.write("app.log", lines("down", 0, 10))
	rename(t, r.path("app.log"), r.path("app.log.1"))
	r.write("app.log", lines("fresh", 0, 10))
	r.start()
	r.apply(s)
	r.expect("t", lines("seen", 0, 10)+lines("down", 0, 10)+lines("fresh", 0, 10))
}

func TestRenameRotationWhileBusyLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	var want strings.Builder
	for i := range 10 {
		before, after := lines("before", i*50, i*50+50), lines("after", i*50, i*50+50)
		r.write("app.log", before)
		rename(t, r.path("app.log"), r.path(fmt.Sprintf("app.log.%d", i+1)))
		r.write("app.log", after)
		want.WriteString(before + after)
	}
	r.expect("t", want.String())
}

func TestLateLinesToTheOldDescriptorArrive(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	var want strings.Builder
	for i := range 3 {
		old, err := os.OpenFile(r.path("app.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		rename(t, r.path("app.log"), r.path("app.log.1"))
		fresh := lines("fresh", i*50, i*50+50)
		r.write("app.log", fresh)
		want.WriteString(fresh)
		for j := range 50 {
			l := lines("late", i*50+j, i*50+j+1)
			if _, err := old.WriteString(l); err != nil {
				t.Fatal(err)
			}
			want.WriteString(l)
			time.Sleep(4 * time.Millisecond) // spreads the writes over looks; decides nothing
		}
		old.Close()
	}
	r.expect("t", want.String())
}

func TestTwoRotationsWhileTheSinkIsBlockedLoseNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	want := lines("a", 0, 300)
	r.write("app.log", want)
	r.expect("t", want)
	r.sink.Block()
	for i, tag := range []string{"b", "c"} {
		rename(t, r.path("app.log"), r.path(fmt.Sprintf("app.log.%d", i+1)))
		r.write("app.log", lines(tag, 0, 300))
		want += lines(tag, 0, 300)
		r.until("rotated", func(s agent.Status) bool { return s.Files[0].SizeBytes > 0 })
	}
	r.sink.Unblock()
	r.expect("t", want)
}

func TestTwoRotationsWithinOneLookLoseNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	var want strings.Builder
	put := func(tag string, i int) {
		l := lines(tag, i*20, i*20+20)
		r.write("app.log", l)
		want.WriteString(l)
	}
	for i := range 3 {
		put("x", i)
		os.Rename(r.path("app.log.1"), r.path("app.log.2"))
		rename(t, r.path("app.log"), r.path("app.log.1"))
		put("y", i)
		os.Rename(r.path("app.log.1"), r.path("app.log.2"))
		rename(t, r.path("app.log"), r.path("app.log.1"))
		put("z", i)
		r.until("all arrived", func(agent.Status) bool { return len(r.values("t")) == strings.Count(want.String(), "\n") })
	}
	r.expect("t", want.String())
}

func TestRotatedFileIsReadBeforeTheNext(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	s := r.svc("app.log")
	s.SendRate = 2000
	r.apply(s)
	r.write("app.log", lines("a", 0, 1000))
	rename(t, r.path("app.log"), r.path("app.log.1"))
	r.write("app.log", lines("b", 0, 100))
	r.ordered("t", lines("a", 0, 1000)+lines("b", 0, 100))
}

func TestUnterminatedLastLineGoesWhenTheRotatedFileIsDone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("a", 0, 3)+"the end")
	r.expect("t", lines("a", 0, 3))
	f := r.cause("app.log", "caught up")
	if f.PartialBytes != int64(len("the end")) || f.Totals.LagBytes != 0 {
		t.Errorf("partial %d lag %d, want 7 and 0", f.PartialBytes, f.Totals.LagBytes)
	}
	rename(t, r.path("app.log"), r.path("app.log.1"))
	r.expect("t", lines("a", 0, 3)+"the end\n")
	r.until("released", func(s agent.Status) bool { return s.Files[0].RotatedFiles == 0 })
}

func TestCopytruncateLosesNothing(t *testing.T) {
	t.Parallel()
	for name, regrow := range map[string]int{"smaller": 20, "same size": 100, "longer": 250} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.start()
			r.apply(r.svc("app.log"))
			r.write("app.log", lines("a", 0, 50))
			r.expect("t", lines("a", 0, 50))
			// 50 lines more, unread by the time of the copy or not: both are right.
			r.write("app.log", lines("a", 50, 100))
			copytruncate(t, r.path("app.log"), r.path("app.log.1"))
			r.write("app.log", lines("b", 0, regrow))
			r.expect("t", lines("a", 0, 100)+lines("b", 0, regrow))
		})
	}
}

func TestCopytruncateWithLinesUnreadGoesOnInTheCopy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.svc("app.log")
	s.SendRate = 1000
	r.start()
	r.apply(s)
	r.write("app.log", lines("a", 0, 600))
	r.sink.WaitLines(t, "t", 20)
	copytruncate(t, r.path("app.log"), r.path("app.log.1"))
	r.write("app.log", lines("b", 0, 50))
	r.ordered("t", lines("a", 0, 600)+lines("b", 0, 50))
}

func copytruncate(t *testing.T, path, to string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
}

func TestWriterWithoutAppendLeavesNoNulPrefix(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	w, err := os.Create(r.path("app.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.WriteString(lines("a", 0, 100))
	r.expect("t", lines("a", 0, 100))
	copytruncate(t, r.path("app.log"), r.path("app.log.1"))
	w.WriteString(lines("b", 0, 100)) // at its old offset: a hole of NULs before it
	r.expect("t", lines("a", 0, 100)+lines("b", 0, 100))
}

func TestSymlinkSwitchDrainsTheOldTarget(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("one.log", lines("one", 0, 30))
	if err := os.Symlink(r.path("one.log"), r.path("current")); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.apply(r.svc("current"))
	r.expect("t", lines("one", 0, 30))
	r.write("two.log", lines("two", 0, 30))
	os.Symlink(r.path("two.log"), r.path("next"))
	rename(t, r.path("next"), r.path("current"))
	r.write("one.log", lines("late", 0, 30))
	r.expect("t", lines("one", 0, 30)+lines("two", 0, 30)+lines("late", 0, 30))
}

func TestDeletedAndRecreatedFileIsReadAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("a", 0, 100))
	r.expect("t", lines("a", 0, 100))
	os.Remove(r.path("app.log"))
	r.write("app.log", lines("b", 0, 10))
	r.expect("t", lines("a", 0, 100)+lines("b", 0, 10))
	old, _ := os.OpenFile(r.path("app.log"), os.O_WRONLY|os.O_APPEND, 0)
	defer old.Close()
	os.Remove(r.path("app.log"))
	old.WriteString(lines("c", 0, 10))
	r.write("app.log", lines("d", 0, 200))
	r.expect("t", lines("a", 0, 100)+lines("b", 0, 10)+lines("c", 0, 10)+lines("d", 0, 200))
}

func TestReusedInodeIsNotTakenForTheOldFile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("a", 0, 100))
	r.expect("t", lines("a", 0, 100))
	r.end()
	// Whether the inode comes again is the file system's choice; either way the new
	// file is longer than the old offset and must be read from its beginning.
	os.Remove(r.path("app.log"))
	r.write("app.log", lines("b", 0, 200))
	r.start()
	r.apply(r.svc("app.log"))
	r.expect("t", lines("a", 0, 100)+lines("b", 0, 200))
}

func TestTruncatedAndGrownWhileTheAgentWasAwayIsReadAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("a", 0, 100))
	r.expect("t", lines("a", 0, 100))
	r.end()
	r.write("app.log", lines("a", 100, 120))
	copytruncate(t, r.path("app.log"), r.path("app.log.1"))
	r.write("app.log", lines("b", 0, 300))
	r.start()
	r.apply(r.svc("app.log"))
	r.expect("t", lines("a", 0, 120)+lines("b", 0, 300))
}

func TestAwkwardBytesArriveAsTheyAre(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", "crlf\r\n\n  \t\nnul\x00in\n\xff\xfe\n\r\nsplit\r")
	r.sink.WaitLines(t, "t", 3)
	r.write("app.log", "\nlast\n")
	r.ordered("t", "crlf\nnul\x00in\n\xff\xfe\nsplit\nlast\n")
}

func TestLongLinesFollowOversize(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789", 1000) // 10,000 bytes
	for _, c := range []struct {
		oversize agent.Oversize
		want     []string
		parts    []string
	}{
		{agent.OversizeSplit, []string{"before", long[:4096], long[4096:8192], long[8192:], "after"}, []string{"/", "1/", "2/", "3/3", "/"}},
		{agent.OversizeTruncate, []string{"before", long[:4096], "after"}, []string{"/", "/", "/"}},
		{agent.OversizeSkip, []string{"before", "after"}, []string{"/", "/"}},
	} {
		t.Run(string(c.oversize), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.opt.MaxLineBytes = 4096
			r.start()
			s := r.svc("app.log")
			s.Oversize = c.oversize
			r.apply(s)
			r.write("app.log", "before\n"+long[:5000])
			r.sink.WaitLines(t, "t", 1)
			r.write("app.log", long[5000:]+"\r\nafter\n")
			got := r.sink.WaitLines(t, "t", len(c.want))
			for i, rec := range got {
				if string(rec.Value) != c.want[i] || rec.Part+"/"+rec.Parts != c.parts[i] {
					t.Errorf("record %d: %d bytes part %s/%s, want %d bytes part %s", i, len(rec.Value), rec.Part, rec.Parts, len(c.want[i]), c.parts[i])
				}
			}
			r.until("committed", func(s agent.Status) bool { return s.Files[0].CommittedBytes == s.Files[0].SizeBytes })
		})
	}
}

func TestLineOfExactlyTheLimitIsWhole(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.MaxLineBytes = 5000
	r.start()
	r.apply(r.svc("app.log"))
	exact := strings.Repeat("x", 5000)
	r.write("app.log", exact+"\r\n"+exact+"\n"+exact+"y\nend\n")
	got := r.sink.WaitLines(t, "t", 5)
	var shape []string
	for _, g := range got {
		shape = append(shape, g.Part+"/"+g.Parts)
	}
	if want := "/ / 1/ 2/2 /"; strings.Join(shape, " ") != want {
		t.Errorf("parts %q, want %q", strings.Join(shape, " "), want)
	}
}

func TestEightMegabyteLineGoesInPieces(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	long := strings.Repeat("0123456789abcdef", 512<<10)
	r.write("app.log", long+"\nend\n")
	got := r.sink.WaitLines(t, "t", 10)
	var joined strings.Builder
	for _, g := range got[:9] {
		joined.Write(g.Value)
	}
	if joined.String() != long || string(got[9].Value) != "end" {
		t.Error("the pieces do not make the line")
	}
}

func TestGlobFollowsEveryMatchAndNewOnes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("a.log", lines("a", 0, 10))
	r.write("b.log", lines("b", 0, 10))
	r.write("c.txt", lines("c", 0, 10))
	r.write("skip.log", lines("skip", 0, 10))
	s := r.svc("*.log")
	s.Exclude = []string{"skip*"}
	r.start()
	r.apply(s)
	r.write("d.log", lines("d", 0, 10))
	r.expect("t", lines("a", 0, 10)+lines("b", 0, 10)+lines("d", 0, 10))
}

func TestDeepGlobFollowsFoldersThatAppear(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("**/*.log"))
	if err := os.MkdirAll(r.path("x/y"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.write("x/y/a.log", lines("a", 0, 10))
	r.expect("t", lines("a", 0, 10))
}

func TestGlobThatMatchesRotatedNamesDoublesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log*"))
	var want strings.Builder
	for i := range 5 {
		l := lines("a", i*20, i*20+20)
		r.write("app.log", l)
		want.WriteString(l)
		r.expect("t", want.String())
		os.Rename(r.path("app.log.1"), r.path("app.log.2"))
		rename(t, r.path("app.log"), r.path("app.log.1"))
	}
	r.until("rotated files done", func(s agent.Status) bool {
		return s.Totals.LagBytes == 0 && len(s.Files) <= 3
	})
	r.expect("t", want.String())
}

func TestFileOfTwoEntriesBelongsToTheLiteralOne(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("app.log", lines("a", 0, 10))
	r.write("b.log", lines("b", 0, 10))
	g, lit := r.svc("*.log"), r.svc("app.log")
	g.Service, g.Topic, lit.Service, lit.Topic = "all", "all", "app", "app"
	r.start()
	r.apply(g, lit)
	r.expect("app", lines("a", 0, 10))
	r.expect("all", lines("b", 0, 10))
	r.until("said", func(s agent.Status) bool {
		for _, f := range s.Files {
			if f.LogPath == g.LogPath && f.Path == r.path("app.log") && f.Cause == "taken by app" {
				return true
			}
		}
		return false
	})
}

func TestPathThatIsAFolderOrHasNoFolderIsSaidAndCured(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if err := os.Mkdir(r.path("a.log"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.write("file", "x\n")
	bad := r.svc("file/below.log")
	r.start()
	r.apply(r.svc("a.log"), bad, r.svc("ok.log"))
	r.cause("a.log", "unreadable (")
	r.cause("file/below.log", "unreadable (a parent is not a folder)")
	r.write("ok.log", lines("ok", 0, 5))
	r.expect("t", lines("ok", 0, 5))
	os.Remove(r.path("a.log"))
	r.write("a.log", lines("a", 0, 5))
	r.expect("t", lines("ok", 0, 5)+lines("a", 0, 5))
}

func TestAllowPathsAndOwnStateAreHeldTo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.Allow = []string{filepath.Join(r.dir, "ok", "**")}
	os.Mkdir(r.path("ok"), 0o755)
	r.write("secret.log", lines("secret", 0, 5))
	os.Symlink(r.path("secret.log"), r.path("ok/link.log"))
	r.write("ok/a.log", lines("a", 0, 5))
	r.start()
	own := agent.Service{Service: "own", LogPath: filepath.Join(r.state, "checkpoint"), Topic: "t", StartAt: agent.StartBeginning}
	r.apply(r.svc("secret.log"), r.svc("ok/link.log"), r.svc("ok/a.log"), own)
	r.expect("t", lines("a", 0, 5))
	r.cause("secret.log", "not allowed")
	r.cause("ok/link.log", "not allowed")
	r.until("own state refused", func(s agent.Status) bool {
		for _, f := range s.Files {
			if f.Path == own.LogPath {
				return strings.HasPrefix(f.Cause, "not allowed")
			}
		}
		return false
	})
	r.expect("t", lines("a", 0, 5))
}

// A copy seen while its original is behind must not be taken for done: after a crash the
// truncated original cannot give what only the copy holds.
func TestCopyIsNotDoneBeforeItsOriginalIsDelivered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("a", 0, 100))
	r.expect("t", lines("a", 0, 100))
	r.sink.Block()
	r.write("app.log", lines("b", 0, 100))
	r.until("held", func(agent.Status) bool { return r.sink.Held() > 0 })
	b, err := os.ReadFile(r.path("app.log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path("app.log.1"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	// Give the agent looks enough to judge the copy: each Apply below takes one.
	for i := range 3 {
		r.apply(r.svc("app.log"), r.svc(fmt.Sprintf("other%d.log", i)))
	}
	var crashed string
	r.until("a copy of the state taken", func(agent.Status) bool {
		crashed = filepath.Join(t.TempDir(), "state")
		return os.CopyFS(crashed, os.DirFS(r.state)) == nil
	})
	os.Truncate(r.path("app.log"), 0)
	r.sink.Fail(agent.ErrClosed) // nothing of b ever reached a broker
	r.sink.Unblock()
	r.end()
	r.sink.Fail(nil)
	r.state = crashed
	r.write("app.log", lines("c", 0, 10))
	r.start()
	r.apply(r.svc("app.log"))
	r.expectAfterCrash("t", lines("a", 0, 100)+lines("b", 0, 100)+lines("c", 0, 10))
}

// The first of those who wait for send_rate may have to wait for something else when its
// turn comes; the turn then goes to the next one.
func TestThrottledFileThatMustWaitForAnOlderOneHoldsUpNobody(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.svc("app.log")
	s.SendRate = 500
	r.start()
	r.apply(s)
	r.write("app.log", lines("a", 0, 300))
	r.sink.WaitLines(t, "t", 20)
	for i := range 3 {
		r.write(fmt.Sprintf("app.log.%d", i+1), lines(fmt.Sprint("older", i), 0, 100))
	}
	r.expect("t", lines("a", 0, 300)+lines("older0", 0, 100)+lines("older1", 0, 100)+lines("older2", 0, 100))
}

func TestFinishedFileThatGrowsAfterAllIsTakenUpAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.RotateWait = 50 * time.Millisecond
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("a", 0, 100))
	rename(t, r.path("app.log"), r.path("app.log.1"))
	r.write("app.log", lines("b", 0, 100))
	r.expect("t", lines("a", 0, 100)+lines("b", 0, 100))
	r.until("finished", func(s agent.Status) bool { return s.Files[0].RotatedFiles == 0 })
	r.write("app.log.1", lines("late", 0, 30))
	r.looks(1)
	r.expect("t", lines("a", 0, 100)+lines("b", 0, 100)+lines("late", 0, 30))
	// And over a restart, too.
	r.until("finished", func(s agent.Status) bool { return s.Files[0].RotatedFiles == 0 })
	r.end()
	r.write("app.log.1", lines("later", 0, 30))
	r.start()
	r.apply(r.svc("app.log"))
	r.expect("t", lines("a", 0, 100)+lines("b", 0, 100)+lines("late", 0, 30)+lines("later", 0, 30))
}
