package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"logagent/agent"
)

func TestChangedTopicLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.svc("app.log")
	r.start()
	r.apply(s)
	var want strings.Builder
	for i := range 6 {
		l := lines("a", i*500, i*500+500)
		r.write("app.log", l)
		want.WriteString(l)
		s.Topic = []string{"t", "u"}[i%2]
		r.apply(s)
	}
	r.until("all arrived", func(agent.Status) bool {
		return len(r.sink.All()) >= strings.Count(want.String(), "\n")
	})
	var got []string
	for _, rec := range r.sink.All() {
		got = append(got, string(rec.Value))
	}
	compare(t, split(want.String()), got)
}

func TestTopicChangedWhileRefusedMovesTheLines(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.svc("app.log")
	r.sink.Refuse("t", "not authorized")
	r.start()
	r.apply(s)
	r.write("app.log", lines("a", 0, 100))
	r.cause("app.log", "Kafka refuses (not authorized)")
	s.Topic = "u"
	r.apply(s)
	r.expect("u", lines("a", 0, 100))
	if n := len(r.sink.Lines("t")); n != 0 {
		t.Errorf("%d lines in the refused topic", n)
	}
}

func TestRateIsChangedWithoutTouchingTheFile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.svc("app.log")
	s.SendRate = 10
	r.start()
	r.apply(s)
	r.write("app.log", lines("a", 0, 5000))
	r.cause("app.log", "limited by send_rate")
	f := r.until("lag shown", func(s agent.Status) bool {
		return s.Files[0].Totals.LagBytes > 100_000 && s.Files[0].Totals.ThrottledShare > 0.5
	}).Files[0]
	if f.Limit != 10 {
		t.Errorf("limit %d, want 10", f.Limit)
	}
	if n := len(r.values("t")); n > 200 {
		t.Errorf("%d lines passed a limit of 10/s in no time", n)
	}
	s.SendRate = 0
	r.apply(s)
	r.ordered("t", lines("a", 0, 5000))
	if n := strings.Count(r.log.String(), "msg=following"); n != 1 {
		t.Errorf("the file was opened %d times, want once", n)
	}
}

func TestFilesOfALimitedEntryTakeTurns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.write("a.log", lines("a", 0, 2000))
	r.write("b.log", lines("b", 0, 2000))
	s := r.svc("*.log")
	s.SendRate = 500
	r.start()
	r.apply(s)
	got := r.sink.WaitLines(t, "t", 300)
	n := map[string]int{}
	for _, rec := range got[:300] {
		n[filepath.Base(rec.Path)]++
	}
	if n["a.log"] < 100 || n["b.log"] < 100 {
		t.Errorf("of the first 300 lines %v; both files should have had their turns", n)
	}
}

func TestPausedKeepsThePositionAndSendsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.svc("app.log")
	r.start()
	r.apply(s)
	r.write("app.log", lines("a", 0, 10))
	r.expect("t", lines("a", 0, 10))
	s.Paused = true
	r.apply(s)
	r.write("app.log", lines("b", 0, 10))
	rename(t, r.path("app.log"), r.path("app.log.1"))
	r.write("app.log", lines("c", 0, 10))
	r.cause("app.log", "paused")
	r.until("lag seen", func(s agent.Status) bool { return s.Totals.LagBytes == int64(len(lines("b", 0, 10))*2) })
	if n := len(r.values("t")); n != 10 {
		t.Errorf("%d lines while paused, want the 10 from before", n)
	}
	s.Paused = false
	r.apply(s)
	r.ordered("t", lines("a", 0, 10)+lines("b", 0, 10)+lines("c", 0, 10))
}

func TestRemovedEntryStopsAndResumesWhenAddedBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.svc("app.log")
	r.start()
	r.apply(s)
	r.write("app.log", lines("a", 0, 100))
	r.expect("t", lines("a", 0, 100))
	r.apply()
	r.write("app.log", lines("b", 0, 100))
	r.until("gone", func(s agent.Status) bool { return len(s.Services) == 0 && len(s.Files) == 0 })
	if n := len(r.values("t")); n != 100 {
		t.Fatalf("%d lines after the removal, want 100", n)
	}
	s.StartAt = agent.StartEnd // applies once: not to an entry that comes back
	r.apply(s)
	r.expect("t", lines("a", 0, 100)+lines("b", 0, 100))
}

func TestRemovedEntryOfARefusedTopicLeavesAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.sink.Refuse("t", "no")
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("a", 0, 100))
	r.cause("app.log", "Kafka refuses")
	r.apply()
	r.until("gone", func(s agent.Status) bool { return s.Process.InFlightBytes == 0 })
	r.sink.Allow("t")
	r.apply(r.svc("app.log"))
	r.expect("t", lines("a", 0, 100))
}

func TestOneRefusedTopicLeavesOthersFlowingAndMemoryBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.InFlightBytes = 1 << 20
	r.opt.MaxLineBytes = 10_000
	r.sink.Refuse("bad", "no such topic")
	bad, ok := r.svc("bad.log"), r.svc("ok.log")
	bad.Topic, ok.Topic = "bad", "ok"
	r.write("bad.log", lines("bad", 0, 100_000))
	r.start()
	r.apply(bad, ok)
	r.until("bad fills its share", func(s agent.Status) bool { return s.Process.InFlightBytes > 200_000 })
	want := lines("ok", 0, 50_000)
	r.write("ok.log", want)
	r.sink.WaitLines(t, "ok", 50_000)
	s := r.a.Status()
	if s.Process.InFlightBytes > 1<<20 {
		t.Errorf("%d bytes in flight, the bound is 1 MiB", s.Process.InFlightBytes)
	}
	r.sink.Allow("bad")
	r.expect("bad", lines("bad", 0, 100_000))
}

func TestSigtermSavesWhatWasAcknowledged(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("a", 0, 5000))
	r.sink.WaitLines(t, "t", 1)
	r.end() // in the middle: what is in flight is waited for
	r.write("app.log", lines("a", 5000, 6000))
	r.start()
	r.apply(r.svc("app.log"))
	r.ordered("t", lines("a", 0, 6000))
}

func TestDrainGivesUpAtItsDeadlineAndLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.DrainTimeout = 50 * time.Millisecond
	r.sink.Block()
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("a", 0, 100))
	r.sink.WaitHeld(t, 1)
	r.end()
	r.start()
	r.sink.Unblock()
	r.apply(r.svc("app.log"))
	r.until("all there", func(agent.Status) bool { return len(r.values("t")) >= 100 })
}

func TestCrashLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	var want strings.Builder
	for i := range 5 {
		l := lines("a", i*300, i*300+300)
		r.write("app.log", l)
		want.WriteString(l)
		r.sink.WaitLines(t, "t", i*300+1)
		// What SIGKILL leaves is the state folder as it is at some moment.
		crashed := ""
		r.until("a copy taken", func(agent.Status) bool { // a save may rename a file under it
			crashed = filepath.Join(t.TempDir(), "state")
			return os.CopyFS(crashed, os.DirFS(r.state)) == nil
		})
		r.end()
		os.Remove(filepath.Join(crashed, "agent.sock"))
		r.state = crashed
		rename(t, r.path("app.log"), r.path("app.log."+string(rune('1'+i))))
		r.start()
		r.apply(r.svc("app.log"))
	}
	r.expectAfterCrash("t", want.String())
}

func TestSecondAgentOnAStateFolderIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	_, err := agent.New(agent.Options{Host: "h2", StateDir: r.state, Sink: r.sink})
	if err == nil || !strings.Contains(err.Error(), "held by another agent: pid ") {
		t.Fatalf("second agent: %v, want a refusal that names the first", err)
	}
}

func TestDamagedCheckpointIsReplacedByThePreviousOne(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("a", 0, 100))
	r.expect("t", lines("a", 0, 100))
	r.end()
	name := filepath.Join(r.state, "checkpoint")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	os.WriteFile(name, b, 0o600)
	r.start()
	r.until("said", func(s agent.Status) bool {
		return len(s.Problems) == 2 && strings.Contains(s.Problems[0], "checksum") && strings.Contains(s.Problems[1], "previous")
	})
	if _, err := os.Stat(name + ".bad"); err != nil {
		t.Error("the damaged file was not kept")
	}
	r.end()
	// Both damaged: from the beginning, whatever start_at says.
	for _, n := range []string{name, name + ".prev"} {
		os.WriteFile(n, []byte("logagent-checkpoint 1\n"), 0o600)
	}
	before := len(r.values("t"))
	s := r.svc("app.log")
	s.StartAt = agent.StartEnd
	r.start()
	r.apply(s)
	r.sink.WaitLines(t, "t", before+100)
}

func TestUnwritableStateFolderStopsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	// A folder in the temporary file's place fails every save, for root too.
	r.until("in its place", func(agent.Status) bool {
		return os.MkdirAll(filepath.Join(r.state, "checkpoint.tmp", "x"), 0o700) == nil
	})
	r.write("app.log", lines("a", 0, 100))
	r.expect("t", lines("a", 0, 100))
	r.until("said", func(s agent.Status) bool {
		return len(s.Problems) == 1 && strings.Contains(s.Problems[0], "positions cannot be saved")
	})
	os.RemoveAll(filepath.Join(r.state, "checkpoint.tmp"))
	r.until("over", func(s agent.Status) bool { return len(s.Problems) == 0 })
}

func TestKafkaAwayIsTheCause(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.sink.Disconnect("connection refused")
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("a", 0, 100))
	r.cause("app.log", "Kafka away (connection refused)")
	s := r.until("behind", func(s agent.Status) bool { return s.Files[0].Totals.BehindSeconds > 0.1 })
	if s.Kafka.Up || s.Files[0].Totals.LagBytes != int64(len(lines("a", 0, 100))) {
		t.Errorf("kafka up %v lag %d", s.Kafka.Up, s.Files[0].Totals.LagBytes)
	}
	r.sink.Connect()
	r.expect("t", lines("a", 0, 100))
	r.cause("app.log", "caught up")
}

func TestSocketStreamsStatusAndAnswers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.state = filepath.Join(r.state, strings.Repeat("deep/", 30)) // longer than an address may be
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("a", 0, 10))
	done := make(chan error, 1)
	ctx, cancel := contextFor(t)
	go func() { done <- r.a.ServeSocket(ctx) }()
	var remote *agent.Remote
	r.until("listening", func(agent.Status) bool {
		var err error
		remote, err = agent.DialSocket(t.Context(), r.state)
		return err == nil
	})
	if info, err := os.Stat(agent.SocketPath(r.state)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket mode %v, want 0600", info.Mode())
	}
	wctx, wcancel := contextFor(t)
	if err := remote.Watch(wctx, 50*time.Millisecond, func(s agent.Status) {
		if s.Totals.Lines == 10 {
			wcancel()
		}
	}); err != nil {
		t.Errorf("Watch: %v", err)
	}
	ans, err := remote.Answer(t.Context(), agent.Question{Kind: agent.AskFile, Path: r.path("app.log")})
	if err != nil || ans.File == nil || len(ans.Held) != 1 || ans.Held[0].State != "active" {
		t.Errorf("Answer: %+v %v", ans, err)
	}
	ans, err = remote.Answer(t.Context(), agent.Question{Kind: agent.AskGlob, Path: r.path("*.log")})
	if err != nil || ans.MatchCount != 1 {
		t.Errorf("glob: %+v %v", ans, err)
	}
	ans, _ = remote.Answer(t.Context(), agent.Question{Kind: agent.AskPath, Path: r.path("none")})
	if ans.Exists || ans.Why != "missing" {
		t.Errorf("missing path: %+v", ans)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("ServeSocket: %v", err)
	}
}

func TestEntryRemovedAndAddedBackBetweenTwoLooksIsFollowed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	var want strings.Builder
	for i := range 30 {
		l := lines("a", i*10, i*10+10)
		r.write("app.log", l)
		want.WriteString(l)
		// Two states at once: the finder may see the second one only.
		ctx, cancel := contextFor(t)
		gone := make(chan error, 1)
		go func() { gone <- r.a.Apply(ctx, agent.HostConfig{Host: "h1"}) }()
		if err := <-gone; err != nil {
			t.Fatal(err)
		}
		cancel()
		r.apply(r.svc("app.log"))
		r.expect("t", want.String())
	}
}

// What was rotated away while the agent was down, and nothing stands in its place.
func TestFilesOfAGlobThatAreOnlyThereUnderTheirRotatedNamesAreReadOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.svc("*.log")
	r.start()
	r.apply(s)
	want := ""
	for _, n := range []string{"plain", "packed"} {
		r.write(n+".log", lines(n, 0, 30))
		want += lines(n, 0, 30)
	}
	r.expect("t", want)
	r.end()
	for _, n := range []string{"plain", "packed"} {
		r.write(n+".log", lines(n, 30, 60))
		want += lines(n, 30, 60)
		rename(t, r.path(n+".log"), r.path(n+".log.1"))
	}
	compress(t, r.path("packed.log.1"))
	r.start()
	r.apply(s)
	r.expect("t", want)
}
