package agent_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"logagent/agent"
)

// plan asks for a plan of a path of the rig.
func (r *rig) plan(name string, goal agent.SeekGoal) agent.SeekPlan {
	r.t.Helper()
	q := agent.Question{Kind: agent.AskSeek, Seek: &goal}
	if name != "" {
		q.Path = r.path(name)
	}
	ctx, cancel := contextFor(r.t)
	defer cancel()
	ans := r.a.Answer(ctx, q)
	if ans.Error != "" || ans.Seek == nil {
		r.t.Fatalf("no plan: %s", ans.Error)
	}
	return *ans.Seek
}

// carryOut carries a plan out and wants none of it refused.
func (r *rig) carryOut(id string, p agent.SeekPlan) agent.SeekOutcome {
	r.t.Helper()
	out := r.attempt(id, p)
	if _, refused := out.Moved(); out.State != agent.SeekDone || refused > 0 {
		r.t.Fatalf("seek: %+v", out)
	}
	return out
}

func (r *rig) attempt(id string, p agent.SeekPlan) agent.SeekOutcome {
	r.t.Helper()
	ctx, cancel := contextFor(r.t)
	defer cancel()
	out, err := r.a.Seek(ctx, id, p)
	if err != nil {
		r.t.Fatalf("seek: %v", err)
	}
	return out
}

// stuck lets some lines be delivered and the rest be written while Kafka answers nothing.
func (r *rig) stuck(name, delivered, rest string) {
	r.t.Helper()
	r.write(name, delivered)
	r.until("delivered", func(s agent.Status) bool {
		return s.Totals.LagBytes == 0 && len(r.values("t")) == strings.Count(delivered, "\n") && s.Process.InFlightBytes == 0
	})
	r.sink.Disconnect("no broker answers")
	r.write(name, rest)
	r.until("in flight", func(s agent.Status) bool { return s.Process.InFlightBytes > 0 })
}

func TestSeekToTheEndSkipsTheBacklogAndNothingElse(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.stuck("app.log", lines("a", 0, 100), lines("b", 0, 5000)+"unfini")
	p := r.plan("app.log", agent.SeekGoal{To: agent.SeekEnd})
	backlog := int64(len(lines("b", 0, 5000)))
	if len(p.Moves) != 1 || p.SkippedBytes != backlog || p.RepeatedBytes != 0 || p.Lines != 5000 {
		t.Fatalf("want one move over %d bytes and 5000 lines, got %+v", backlog, p)
	}
	r.write("app.log", "shed\n"+lines("c", 0, 50))
	out := r.carryOut("1", p) // what is in flight is recalled: no broker had it
	if out.SkippedBytes != backlog {
		t.Errorf("want %d bytes skipped, got %+v", backlog, out)
	}
	r.sink.Connect()
	r.ordered("t", lines("a", 0, 100)+"unfinished\n"+lines("c", 0, 50))
	if s := r.a.FreshStatus(); s.Totals.SkippedBytes != uint64(backlog) || s.Totals.LostBytes != 0 || s.Files[0].Totals.SkippedBytes != uint64(backlog) {
		t.Errorf("counted: %+v", s.Totals)
	}
	if !strings.Contains(r.log.String(), "position moved") {
		t.Error("the move is not in the log")
	}
}

func TestSeekWaitsForBatchesOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.MaxLineBytes, r.opt.InFlightBytes = 1000, 100_000 // not all of the backlog is in flight
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("a", 0, 100))
	r.until("delivered", func(s agent.Status) bool { return len(r.values("t")) == 100 && s.Process.InFlightBytes == 0 })
	r.sink.Block()
	text := lines("b", 0, 5000)
	r.write("app.log", text)
	r.until("in flight", func(s agent.Status) bool { return r.sink.Held() > 0 })
	p := r.plan("app.log", agent.SeekGoal{To: agent.SeekEnd})
	done := make(chan agent.SeekOutcome, 1)
	go func() { done <- r.attempt("1", p) }()
	r.until("waiting", func(agent.Status) bool { return strings.Contains(r.log.String(), "moving positions") })
	select {
	case out := <-done:
		t.Fatalf("moved with an outcome unknown: %+v", out)
	default:
	}
	r.sink.Unblock()
	out := <-done
	// Lines that a broker may have are not skipped: they arrive. All others are.
	r.write("app.log", lines("c", 0, 10))
	sent := int64(len(text)) - out.SkippedBytes
	if sent == 0 || out.SkippedBytes == 0 {
		t.Fatalf("%d bytes were in flight, %d skipped: that proves nothing", sent, out.SkippedBytes)
	}
	r.ordered("t", lines("a", 0, 100)+text[:sent]+lines("c", 0, 10))
}

func TestSeekToTheBeginningRepeatsEverythingOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	text := lines("a", 0, 1000)
	r.write("app.log", text)
	r.expect("t", text)
	p := r.plan("app.log", agent.SeekGoal{To: agent.SeekBeginning})
	if p.RepeatedBytes != int64(len(text)) || p.SkippedBytes != 0 || p.Lines != 1000 || len(p.Warnings) != 1 {
		t.Fatalf("plan: %+v", p)
	}
	for range 2 { // the same request twice is one
		if out := r.carryOut("1", p); out.Files[0].From != int64(len(text)) || out.Files[0].To != 0 {
			t.Fatalf("outcome: %+v", out)
		}
	}
	r.write("app.log", lines("b", 0, 10))
	r.ordered("t", text+text+lines("b", 0, 10))
	if s := r.a.FreshStatus(); s.Totals.RepeatedBytes != uint64(len(text)) {
		t.Errorf("counted: %+v", s.Totals)
	}
	if p := r.plan("app.log", agent.SeekGoal{To: agent.SeekEnd}); len(p.Moves) != 0 || p.Unmoved != 1 {
		t.Errorf("there is nothing to skip: %+v", p)
	}
}

func TestSeekToAnOffsetGoesToTheNextLineStart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	text := lines("a", 0, 100)
	n := int64(len(lines("a", 0, 1)))
	r.write("app.log", text)
	r.expect("t", text)
	for i, c := range []struct {
		off, to int64
		note    string
	}{
		{40 * n, 40 * n, ""},
		{40*n + 1, 41 * n, "in the middle of a line: the next one begins at"},
		{41*n - 1, 41 * n, "in the middle of a line"},
		{100*n + 1000, 100 * n, "beyond the end"},
		{0, 0, ""},
	} {
		p := r.plan("app.log", agent.SeekGoal{To: agent.SeekOffset, Offset: c.off})
		switch {
		case c.to == 100*n:
			if len(p.Moves) != 0 {
				t.Errorf("%d: want no move, got %+v", c.off, p)
			}
			if len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], r.path("app.log")+": ") || !strings.Contains(p.Warnings[0], c.note) {
				t.Errorf("%d: want a warning of %q, got %q", c.off, c.note, p.Warnings)
			}
			continue
		case len(p.Moves) != 1 || p.Moves[0].To != c.to || p.RepeatedBytes != 100*n-c.to || !strings.Contains(p.Moves[0].Note, c.note) || (c.note == "") != (p.Moves[0].Note == ""):
			t.Fatalf("%d: want %d, got %+v", c.off, c.to, p)
		}
		before := r.values("t")
		r.carryOut(fmt.Sprint("off", i), p)
		want := strings.Join(before, "\n") + "\n" + text[c.to:]
		r.expect("t", want)
	}
	r.write("app.log", "unfinished")
	r.until("seen", func(s agent.Status) bool { return s.Files[0].PartialBytes == 10 })
	if p := r.plan("app.log", agent.SeekGoal{To: agent.SeekOffset, Offset: 100*n + 5}); len(p.Moves) != 0 || p.Unmoved != 1 {
		t.Errorf("an unfinished line is not begun in its middle: %+v", p)
	}
	ctx, cancel := contextFor(t)
	defer cancel()
	for _, q := range []agent.Question{
		{Kind: agent.AskSeek},
		{Kind: agent.AskSeek, Seek: &agent.SeekGoal{To: "nowhere"}, Path: r.path("app.log")},
		{Kind: agent.AskSeek, Seek: &agent.SeekGoal{To: agent.SeekEnd}},
		{Kind: agent.AskSeek, Seek: &agent.SeekGoal{To: agent.SeekEnd}, Path: "app.log"},
		{Kind: agent.AskSeek, Seek: &agent.SeekGoal{To: agent.SeekEnd}, Path: r.path("other.log")},
		{Kind: agent.AskSeek, Seek: &agent.SeekGoal{To: agent.SeekEnd, Service: "other"}},
		{Kind: agent.AskSeek, Seek: &agent.SeekGoal{To: agent.SeekOffset, Offset: 5, Service: "s"}},
		{Kind: agent.AskSeek, Seek: &agent.SeekGoal{To: agent.SeekOffset, Offset: -5}, Path: r.path("app.log")},
		{Kind: agent.AskSeek, Seek: &agent.SeekGoal{To: agent.SeekTime}, Path: r.path("app.log")},
		{Kind: agent.AskSeek, Seek: &agent.SeekGoal{To: agent.SeekEnd}, Path: r.state + "/checkpoint"},
	} {
		if ans := r.a.Answer(ctx, q); ans.Error == "" || ans.Seek != nil {
			t.Errorf("%+v: want an error, got %+v", q, ans)
		}
	}
}

func TestSeekUndoneGivesBackExactlyWhatWasSkippedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.stuck("app.log", lines("a", 0, 100), lines("b", 0, 5000))
	out := r.carryOut("1", r.plan("app.log", agent.SeekGoal{To: agent.SeekEnd}))
	r.sink.Connect()
	r.write("app.log", lines("c", 0, 50))
	r.ordered("t", lines("a", 0, 100)+lines("c", 0, 50))

	back := r.plan("", agent.SeekGoal{To: agent.SeekBack, Back: out.Files})
	if len(back.Moves) != 1 || back.ReturnedBytes != out.SkippedBytes || back.RepeatedBytes != 0 || back.SkippedBytes != 0 || back.Lines != 5000 {
		t.Fatalf("plan to undo: %+v", back)
	}
	undone := r.carryOut("2", back)
	if undone.ReturnedBytes != out.SkippedBytes || undone.RepeatedBytes != 0 {
		t.Errorf("outcome: %+v", undone)
	}
	if s := r.a.FreshStatus(); s.Totals.ReturnedBytes != uint64(out.SkippedBytes) || s.Totals.RepeatedBytes != 0 {
		t.Errorf("counted: %+v", s.Totals)
	}
	r.write("app.log", lines("d", 0, 50))
	r.ordered("t", lines("a", 0, 100)+lines("c", 0, 50)+lines("b", 0, 5000)+lines("d", 0, 50))
}

func TestSeekUndoneOverARestartStillLeavesOutWhatWasDelivered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.stuck("app.log", lines("a", 0, 100), lines("b", 0, 500))
	out := r.carryOut("1", r.plan("app.log", agent.SeekGoal{To: agent.SeekEnd}))
	r.sink.Connect()
	r.write("app.log", lines("c", 0, 50))
	r.expect("t", lines("a", 0, 100)+lines("c", 0, 50))
	svc := r.svc("app.log")
	svc.Paused = true
	r.apply(svc)
	r.carryOut("2", r.plan("", agent.SeekGoal{To: agent.SeekBack, Back: out.Files}))
	r.end()
	r.start()
	r.apply(r.svc("app.log"))
	r.ordered("t", lines("a", 0, 100)+lines("c", 0, 50)+lines("b", 0, 500))
}

func TestPlanAfterAnUndoTellsWhatIsCountedThen(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.stuck("app.log", lines("a", 0, 100), lines("b", 0, 500))
	first := r.carryOut("1", r.plan("app.log", agent.SeekGoal{To: agent.SeekEnd}))
	r.sink.Connect()
	r.write("app.log", lines("c", 0, 50))
	r.ordered("t", lines("a", 0, 100)+lines("c", 0, 50))
	svc := r.svc("app.log")
	svc.Paused = true
	r.apply(svc)
	r.carryOut("2", r.plan("", agent.SeekGoal{To: agent.SeekBack, Back: first.Files}))
	r.write("app.log", lines("d", 0, 20))
	r.until("seen", func(s agent.Status) bool {
		return s.Files[0].SizeBytes == int64(len(lines("a", 0, 100)+lines("b", 0, 500)+lines("c", 0, 50)+lines("d", 0, 20)))
	})
	p := r.plan("app.log", agent.SeekGoal{To: agent.SeekEnd}) // c is delivered, and not skipped once more
	if want := int64(len(lines("b", 0, 500) + lines("d", 0, 20))); p.SkippedBytes != want || p.Lines != 520 {
		t.Errorf("want %d bytes and 520 lines said, got %+v", want, p)
	}
	third := r.carryOut("3", p)
	if third.SkippedBytes != p.SkippedBytes {
		t.Errorf("said %d, counted %d", p.SkippedBytes, third.SkippedBytes)
	}
	p = r.plan("", agent.SeekGoal{To: agent.SeekBack, Back: third.Files})
	if fourth := r.carryOut("4", p); p.Lines != 520 || p.ReturnedBytes != third.SkippedBytes || fourth.ReturnedBytes != p.ReturnedBytes || fourth.RepeatedBytes != 0 {
		t.Errorf("said %+v, counted %+v", p, fourth)
	}
	svc.Paused = false
	r.apply(svc)
	r.ordered("t", lines("a", 0, 100)+lines("c", 0, 50)+lines("b", 0, 500)+lines("d", 0, 20))
}

func TestWhatWasSkippedIsNoRepetitionUntilItIsSent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	a, b, c := lines("a", 0, 100), lines("b", 0, 500), lines("c", 0, 50)
	r.stuck("app.log", a, b)
	skip := r.carryOut("1", r.plan("app.log", agent.SeekGoal{To: agent.SeekEnd}))
	r.sink.Connect()
	r.write("app.log", c)
	r.expect("t", a+c)
	p := r.plan("app.log", agent.SeekGoal{To: agent.SeekBeginning})
	if p.ReturnedBytes != int64(len(b)) || p.RepeatedBytes != int64(len(a+c)) || p.Lines != 650 {
		t.Errorf("want %d bytes that were skipped and %d again, got %+v", len(b), len(a+c), p)
	}
	undo := agent.SeekGoal{To: agent.SeekBack, Back: skip.Files}
	r.carryOut("2", r.plan("", undo))
	r.ordered("t", a+c+b)
	// Taken back once more, they are sent for the second time.
	p = r.plan("", undo)
	if p.ReturnedBytes != 0 || p.RepeatedBytes != int64(len(b)) {
		t.Errorf("want %d bytes again, got %+v", len(b), p)
	}
	if out := r.carryOut("3", p); out.ReturnedBytes != 0 || out.RepeatedBytes != p.RepeatedBytes {
		t.Errorf("said %+v, counted %+v", p, out)
	}
	r.ordered("t", a+c+b+b)
	if s := r.a.FreshStatus().Totals; s.SkippedBytes != uint64(len(b)) || s.ReturnedBytes != uint64(len(b)) || s.RepeatedBytes != uint64(len(b)) {
		t.Errorf("counted: %+v", s)
	}
}

func TestSeekOfAPathThatLooksLikeAGlobIsOfTheFileWhereOneIsCalledSo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	svc := r.svc("*.log")
	svc.Paused = true
	r.apply(svc)
	r.write("a[1].log", lines("a", 0, 100))
	r.write("a1.log", lines("b", 0, 100))
	r.until("seen", func(s agent.Status) bool { return s.Totals.LagBytes == int64(len(lines("a", 0, 200))) })
	named := func(name string) agent.SeekPlan {
		return r.plan(name, agent.SeekGoal{To: agent.SeekEnd, LogPath: r.path(name)})
	}
	p := named("a[1].log")
	if len(p.Moves) != 1 || p.Moves[0].Path != r.path("a[1].log") || p.Path != r.path("a[1].log") || p.Goal.LogPath != "" {
		t.Fatalf("plan: %+v", p)
	}
	if all := named("*.log"); len(all.Moves) != 2 || all.Path != "" || all.Goal.LogPath != r.path("*.log") {
		t.Errorf("plan of the entry: %+v", all)
	}
	for name, says := range map[string]string{"*.log": "an offset belongs to one file", "b*.log": "no entry has"} {
		ctx, cancel := contextFor(t)
		ans := r.a.Answer(ctx, agent.Question{Kind: agent.AskSeek, Path: r.path(name), Seek: &agent.SeekGoal{To: agent.SeekOffset, Offset: 5, LogPath: r.path(name)}})
		cancel()
		if ans.Seek != nil || !strings.Contains(ans.Error, says) {
			t.Errorf("%s: want %q, got %+v", name, says, ans)
		}
	}
	r.carryOut("1", p)
	svc.Paused = false
	r.apply(svc)
	r.ordered("t", lines("b", 0, 100))
}

func TestBeginningUndoneSkipsWhatIsNotRepeatedYet(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	svc := r.svc("app.log")
	r.apply(svc)
	r.write("app.log", lines("a", 0, 1000))
	r.expect("t", lines("a", 0, 1000))
	svc.Paused = true
	r.apply(svc)
	out := r.carryOut("1", r.plan("app.log", agent.SeekGoal{To: agent.SeekBeginning}))
	back := r.plan("", agent.SeekGoal{To: agent.SeekBack, Back: out.Files})
	if back.SkippedBytes != out.RepeatedBytes {
		t.Errorf("plan to undo: %+v", back)
	}
	r.carryOut("2", back)
	r.write("app.log", lines("b", 0, 10))
	r.apply(r.svc("app.log"))
	r.ordered("t", lines("a", 0, 1000)+lines("b", 0, 10))
}

// rotatedHeld leaves a rotated file and a new one unread.
func (r *rig) rotatedHeld(name string) {
	r.t.Helper()
	r.stuck(name, lines("a", 0, 10), lines("b", 0, 100))
	rename(r.t, r.path(name), r.path(name+".1"))
	r.write(name, lines("c", 0, 100))
	r.until("both held", func(s agent.Status) bool {
		return len(s.Files) == 1 && s.Files[0].RotatedFiles == 1 && s.Files[0].SizeBytes == int64(len(lines("c", 0, 100)))
	})
}

func TestSeekToTheEndFinishesRotatedFiles(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.rotatedHeld("app.log")
	p := r.plan("app.log", agent.SeekGoal{To: agent.SeekEnd})
	if len(p.Moves) != 2 || p.Moves[0].Stands != agent.StandsRotated || !strings.Contains(strings.Join(p.Warnings, ";"), "rotated files that are still read go with it: 1") {
		t.Fatalf("plan: %+v", p)
	}
	r.carryOut("1", p)
	r.sink.Connect()
	r.write("app.log", lines("d", 0, 10))
	r.ordered("t", lines("a", 0, 10)+lines("d", 0, 10))
	r.until("finished", func(s agent.Status) bool { return s.Files[0].RotatedFiles == 0 })
	compress(t, r.path("app.log.1")) // what was skipped does not come back by its copy
	r.write("app.log", lines("e", 0, 10))
	r.ordered("t", lines("a", 0, 10)+lines("d", 0, 10)+lines("e", 0, 10))
	if ans := r.a.Answer(t.Context(), agent.Question{Kind: agent.AskSeek, Seek: &agent.SeekGoal{To: agent.SeekBack, Back: r.attempt("1", p).Files}}); ans.Error != "" {
		t.Error(ans.Error)
	}
}

func TestSeekToTheBeginningTakesRotatedFilesThatAreHeld(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.rotatedHeld("app.log")
	r.carryOut("1", r.plan("app.log", agent.SeekGoal{To: agent.SeekBeginning}))
	r.sink.Connect()
	r.ordered("t", lines("a", 0, 10)+lines("a", 0, 10)+lines("b", 0, 100)+lines("c", 0, 100))
}

func TestSeekOfARotatedFileByItsNameMovesThatOneAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.rotatedHeld("app.log")
	n := int64(len(lines("a", 0, 1)))
	p := r.plan("app.log.1", agent.SeekGoal{To: agent.SeekOffset, Offset: 60 * n})
	if len(p.Moves) != 1 || p.Moves[0].Stands != agent.StandsRotated || p.SkippedBytes != 50*n {
		t.Fatalf("plan: %+v", p)
	}
	r.carryOut("1", p)
	r.sink.Connect()
	r.ordered("t", lines("a", 0, 10)+lines("b", 50, 100)+lines("c", 0, 100))
}

func TestSeekOfAFileThatWasTruncatedMeanwhileIsRefusedAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	svc := r.svc("*.log")
	r.apply(svc)
	r.write("a.log", lines("a", 0, 100))
	r.write("b.log", lines("b", 0, 100))
	r.expect("t", lines("a", 0, 100)+lines("b", 0, 100))
	svc.Paused = true
	r.apply(svc)
	r.write("a.log", lines("a", 100, 200))
	r.write("b.log", lines("b", 100, 200))
	r.until("seen", func(s agent.Status) bool {
		return len(s.Files) == 2 && s.Totals.LagBytes == int64(len(lines("a", 0, 200)))
	})
	p := r.plan("", agent.SeekGoal{To: agent.SeekEnd, Service: "s"})
	if len(p.Moves) != 2 {
		t.Fatalf("plan: %+v", p)
	}
	copytruncate(t, r.path("a.log"), r.path("a.log.1"))
	r.write("a.log", lines("new", 0, 300)) // longer than before
	out := r.attempt("1", p)
	if moved, refused := out.Moved(); moved != 1 || refused != 1 || out.State != agent.SeekDone || !strings.Contains(out.Files[0].Why, "truncated") || out.Files[0].Path != r.path("a.log") {
		t.Fatalf("outcome: %+v", out)
	}
	svc.Paused = false
	r.apply(svc)
	r.expect("t", lines("a", 0, 200)+lines("b", 0, 100)+lines("new", 0, 300))
}

func TestSeekThatIsAlreadyPastMovesNothingBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.stuck("app.log", lines("a", 0, 10), lines("b", 0, 100))
	p := r.plan("app.log", agent.SeekGoal{To: agent.SeekEnd})
	r.sink.Connect()
	r.write("app.log", lines("c", 0, 10))
	r.expect("t", lines("a", 0, 10)+lines("b", 0, 100)+lines("c", 0, 10))
	out := r.carryOut("1", p)
	if out.Files[0].Result != agent.SeekWasPast || out.SkippedBytes+out.RepeatedBytes != 0 {
		t.Errorf("outcome: %+v", out)
	}
	r.write("app.log", lines("d", 0, 10))
	r.expect("t", lines("a", 0, 10)+lines("b", 0, 100)+lines("c", 0, 10)+lines("d", 0, 10))
}

func TestSeekOutOfALongLineThatGoesInPieces(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.MaxLineBytes = 1000
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("a", 0, 10))
	r.expect("t", lines("a", 0, 10))
	r.write("app.log", strings.Repeat("x", 5000)) // pieces go, its end is not there
	r.until("pieces", func(s agent.Status) bool { return len(r.values("t")) == 14 && s.Process.InFlightBytes == 0 })
	pieces := len(r.values("t")) - 10
	if p := r.plan("app.log", agent.SeekGoal{To: agent.SeekEnd}); len(p.Moves) != 0 {
		t.Fatalf("no line ends beyond the position: %+v", p)
	}
	p := r.plan("app.log", agent.SeekGoal{To: agent.SeekBeginning})
	r.carryOut("1", p)
	r.write("app.log", strings.Repeat("y", 500)+"\n"+lines("b", 0, 3))
	last := split(lines("b", 0, 3))[2]
	r.until("all", func(agent.Status) bool { return slices.Contains(r.values("t"), last) })
	r.settle()
	long := strings.Repeat("x", 5000) + strings.Repeat("y", 500)
	var want []string
	want = append(want, split(lines("a", 0, 10))...)
	for i := range pieces {
		want = append(want, long[i*1000:(i+1)*1000])
	}
	want = append(want, split(lines("a", 0, 10))...)
	for i := 0; i < len(long); i += 1000 {
		want = append(want, long[i:min(len(long), i+1000)])
	}
	want = append(want, split(lines("b", 0, 3))...)
	if got := r.values("t"); !slices.Equal(got, want) {
		t.Errorf("want %d values, got %d", len(want), len(got))
	}
	for _, rec := range r.sink.Lines("t") {
		if whole := !strings.ContainsAny(string(rec.Value), "xy") || strings.Contains(string(rec.Value), " "); whole != (rec.Part == "") {
			t.Errorf("%.20q has part %q", rec.Value, rec.Part)
		}
	}
}

func TestCrashAfterASeekLosesNothingOutsideWhatWasSkipped(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.SaveEvery = time.Hour // what is on the disk is there because it had to be
	r.start()
	r.apply(r.svc("app.log"))
	r.stuck("app.log", lines("a", 0, 100), lines("b", 0, 2000))
	p := r.plan("app.log", agent.SeekGoal{To: agent.SeekEnd})
	out := r.carryOut("1", p)
	state := filepath.Join(t.TempDir(), "state") // as a crash at this moment leaves it
	if err := os.CopyFS(state, os.DirFS(r.state)); err != nil {
		t.Fatal(err)
	}
	r.sink.Connect()
	r.write("app.log", lines("c", 0, 100))
	r.until("a line after it", func(agent.Status) bool { return len(r.values("t")) > 100 })
	r.end()
	r.state = state
	r.start()
	r.apply(r.svc("app.log"))
	late := p
	late.Made = late.Made.Add(-25 * time.Hour)
	if told := r.carryOut("1", late); told.Files[0].Result != agent.SeekWasMoved {
		t.Errorf("a request that was carried out in time is told of a day later: %+v", told)
	}
	again := r.carryOut("1", p) // its outcome was not told before the crash
	if again.SkippedBytes != out.SkippedBytes || out.SkippedBytes == 0 || again.Files[0].From != out.Files[0].From || again.Files[0].Result != agent.SeekWasMoved {
		t.Errorf("the same request again: %+v, first %+v", again, out)
	}
	if s := r.a.FreshStatus(); s.Totals.SkippedBytes != 0 {
		t.Errorf("a move of before the start is counted once more: %+v", s.Totals)
	}
	r.write("app.log", lines("d", 0, 100))
	r.expectAfterCrash("t", lines("a", 0, 100)+lines("c", 0, 100)+lines("d", 0, 100))
}

func TestCrashBeforeASeekIsSavedLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	text := lines("a", 0, 1000)
	r.write("app.log", text)
	r.expect("t", text)
	before := filepath.Join(t.TempDir(), "state")
	r.until("a copy taken", func(s agent.Status) bool {
		return os.RemoveAll(before) == nil && os.CopyFS(before, os.DirFS(r.state)) == nil
	})
	p := r.plan("app.log", agent.SeekGoal{To: agent.SeekBeginning})
	r.carryOut("1", p)
	r.expect("t", text+text)
	r.end()
	r.state = before // as if the power had failed before any save: the request is carried out again
	r.start()
	r.apply(r.svc("app.log"))
	r.carryOut("1", p)
	r.write("app.log", lines("b", 0, 10))
	r.expectAfterCrash("t", text+lines("b", 0, 10))
	if n := len(r.values("t")); n < 3010 {
		t.Errorf("the request was not carried out after the crash: %d lines", n)
	}
}

func TestSeekBackIsNotUndoneByARestartThroughAnOlderEntrysPosition(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("*.log"))
	text := lines("a", 0, 100)
	r.write("app.log", text)
	r.expect("t", text)
	r.apply(r.svc("app.log")) // takes the file over, and goes on there
	r.write("app.log", lines("b", 0, 1))
	r.expect("t", text+lines("b", 0, 1))
	svc := r.svc("app.log")
	svc.Paused = true
	r.apply(svc)
	r.carryOut("1", r.plan("app.log", agent.SeekGoal{To: agent.SeekBeginning}))
	r.end()
	r.start()
	r.apply(r.svc("app.log"))
	r.ordered("t", text+lines("b", 0, 1)+text+lines("b", 0, 1))
}

func TestSeekIsRefusedWhereItsPlanIsStaleOrForeign(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.stuck("app.log", lines("a", 0, 10), lines("b", 0, 100))
	good := r.plan("app.log", agent.SeekGoal{To: agent.SeekEnd})
	old, foreign, gone := good, good, good
	old.Made = old.Made.Add(-25 * time.Hour)
	foreign.StateID = "other"
	gone.Moves = slices.Clone(good.Moves)
	gone.Moves[0].Inode++
	cut := good
	cut.Moves = slices.Clone(good.Moves)
	cut.Moves[0].To += 1000
	mad := good
	mad.Moves = slices.Clone(good.Moves)
	mad.Moves[0].To, mad.Moves[0].Until, mad.Moves[0].Sent = 0, mad.Moves[0].From, []agent.SeekRange{{Start: 3, End: 7}}
	for name, p := range map[string]agent.SeekPlan{"too old": old, "another state": foreign, "it is gone": gone, "truncated": cut, "no sense": mad} {
		out := r.attempt(name, p)
		why := out.Why
		if len(out.Files) > 0 {
			why = out.Files[0].Why
		}
		if out.State != agent.SeekRefused || !strings.Contains(why, name) {
			t.Errorf("%s: %+v", name, out)
		}
	}
	r.sink.Connect()
	r.ordered("t", lines("a", 0, 10)+lines("b", 0, 100))
}

func TestSeekWaitsForTheEntriesAfterAStart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.stuck("app.log", lines("a", 0, 10), lines("b", 0, 100))
	p := r.plan("app.log", agent.SeekGoal{To: agent.SeekEnd})
	r.end()
	r.start()
	done := make(chan agent.SeekOutcome, 1)
	go func() { done <- r.attempt("1", p) }()
	r.apply(r.svc("app.log"))
	if out := <-done; out.State != agent.SeekDone || out.Files[0].Result != agent.SeekWasMoved {
		t.Fatalf("outcome: %+v", out)
	}
	r.sink.Connect()
	r.write("app.log", lines("c", 0, 10))
	r.expect("t", lines("a", 0, 10)+lines("c", 0, 10))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.a.Seek(ctx, "2", p); !errors.Is(err, context.Canceled) {
		t.Errorf("want the context's end, got %v", err)
	}
	a := r.a
	r.end()
	if _, err := a.Seek(t.Context(), "3", p); !errors.Is(err, agent.ErrNotRunning) {
		t.Errorf("want ErrNotRunning, got %v", err)
	}
}

func TestSeekWhoseEntryIsRemovedMeanwhileIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.MaxLineBytes, r.opt.InFlightBytes = 1000, 100_000
	r.start()
	r.apply(r.svc("app.log"))
	r.sink.Block()
	text := lines("a", 0, 5000)
	r.write("app.log", text)
	r.until("in flight", func(agent.Status) bool { return r.sink.Held() > 0 })
	p := r.plan("app.log", agent.SeekGoal{To: agent.SeekEnd})
	done := make(chan agent.SeekOutcome, 1)
	go func() { done <- r.attempt("1", p) }()
	r.until("waiting", func(agent.Status) bool { return strings.Contains(r.log.String(), "moving positions") })
	r.apply()
	r.sink.Unblock()
	if out := <-done; out.State != agent.SeekRefused || !strings.Contains(out.Files[0].Why, "removed") {
		t.Errorf("outcome: %+v", out)
	}
	r.apply(r.svc("app.log"))
	r.ordered("t", text)
}

func TestSeekOfACompressedFileIsOfItsContent(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("a", 0, 10))
	r.expect("t", lines("a", 0, 10))
	r.end()
	r.write("app.log", lines("b", 0, 3000))
	rename(t, r.path("app.log"), r.path("app.log.1"))
	compress(t, r.path("app.log.1"))
	r.write("app.log", lines("c", 0, 10))
	r.sink.Disconnect("no broker answers")
	r.start()
	r.apply(r.svc("app.log"))
	r.until("held", func(s agent.Status) bool { return r.a.Undecided() == 0 && s.Files[0].RotatedFiles == 1 })
	n := int64(len(lines("a", 0, 1)))
	p := r.plan("app.log.1.gz", agent.SeekGoal{To: agent.SeekOffset, Offset: 1010*n - 3})
	if len(p.Moves) != 1 || !p.Moves[0].Compressed || p.Moves[0].To != 1010*n || p.SkippedBytes != 1000*n || p.Lines != 1000 || p.LinesGuessed {
		t.Fatalf("plan: %+v", p)
	}
	r.carryOut("1", p)
	r.sink.Connect()
	r.ordered("t", lines("a", 0, 10)+lines("b", 1000, 3000)+lines("c", 0, 10))
}

func TestSeekToTheEndGivesUpACopyThatIsWaitedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.stuck("app.log", lines("a", 0, 40), lines("b", 0, 400))
	svc := r.svc("app.log")
	svc.Paused = true
	r.apply(svc)
	half := lines("b", 400, 800)
	r.write("app.log", half)
	r.until("seen", func(s agent.Status) bool { return s.Files[0].SizeBytes == int64(len(lines("b", 0, 840))) })
	// The copy goes straight into a file that is not whole yet.
	content, err := os.ReadFile(r.path("app.log"))
	if err != nil {
		t.Fatal(err)
	}
	whole := gzipped(t, content)
	if err := os.WriteFile(r.path("app.log.1.gz"), whole[:len(whole)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(r.path("app.log"), 0); err != nil {
		t.Fatal(err)
	}
	r.until("orphan", func(s agent.Status) bool { return strings.Contains(r.log.String(), "its copy is looked for") })
	p := r.plan("app.log", agent.SeekGoal{To: agent.SeekEnd})
	if !slices.ContainsFunc(p.Moves, func(m agent.SeekMove) bool { return m.Stands == agent.StandsTruncated }) {
		t.Fatalf("plan: %+v", p)
	}
	for range 2 {
		r.carryOut("1", p)
	}
	if err := os.WriteFile(r.path("app.log.1.gz"), whole, 0o644); err != nil {
		t.Fatal(err)
	}
	r.sink.Connect()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("c", 0, 10))
	r.until("copy decided", func(agent.Status) bool { return strings.Contains(r.log.String(), "copy of a followed file") })
	r.ordered("t", lines("a", 0, 40)+lines("c", 0, 10))
	if s := r.a.FreshStatus(); s.Totals.LostBytes != 0 || s.Totals.SkippedBytes == 0 {
		t.Errorf("skipped is not lost: %+v", s.Totals)
	}
}

// gzipped is text as gzip writes it.
func gzipped(t *testing.T, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSeekOfAFileThatWasTruncatedBeforeAnythingOfItWasReadIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	svc := r.svc("app.log")
	svc.Paused = true
	r.apply(svc)
	r.write("app.log", lines("a", 0, 100))
	r.until("seen", func(s agent.Status) bool { return s.Totals.LagBytes == int64(len(lines("a", 0, 100))) })
	p := r.plan("app.log", agent.SeekGoal{To: agent.SeekEnd})
	if err := os.Truncate(r.path("app.log"), 0); err != nil {
		t.Fatal(err)
	}
	r.write("app.log", lines("b", 0, 200)) // longer, and no byte of the old ones was delivered to know them by
	if out := r.attempt("1", p); out.State != agent.SeekRefused || !strings.Contains(out.Files[0].Why, "truncated") {
		t.Errorf("outcome: %+v", out)
	}

	// So with one that was moved to its beginning, and is to be moved back.
	back := r.plan("app.log", agent.SeekGoal{To: agent.SeekEnd})
	r.carryOut("2", back)
	began := r.carryOut("3", r.plan("app.log", agent.SeekGoal{To: agent.SeekBeginning}))
	undo := agent.SeekGoal{To: agent.SeekBack, Back: began.Files}
	if err := os.Truncate(r.path("app.log"), 0); err != nil {
		t.Fatal(err)
	}
	r.write("app.log", lines("c", 0, 300))
	if out := r.attempt("4", r.plan("", undo)); out.State != agent.SeekRefused {
		t.Errorf("outcome: %+v", out)
	}
	svc.Paused = false
	r.apply(svc)
	r.ordered("t", lines("c", 0, 300))
}

func TestFileThatIsTruncatedAfterASeekToItsBeginningIsReadOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	svc := r.svc("app.log")
	r.apply(svc)
	r.write("app.log", lines("a", 0, 200))
	r.expect("t", lines("a", 0, 200))
	svc.Paused = true
	r.apply(svc)
	r.carryOut("1", r.plan("app.log", agent.SeekGoal{To: agent.SeekBeginning}))
	if err := os.Truncate(r.path("app.log"), 0); err != nil {
		t.Fatal(err)
	}
	r.write("app.log", lines("b", 0, 100))
	r.until("seen", func(s agent.Status) bool { return s.Files[0].SizeBytes == int64(len(lines("b", 0, 100))) })
	svc.Paused = false
	r.apply(svc)
	r.expect("t", lines("a", 0, 200)+lines("b", 0, 100))
	r.apply()
	r.apply(svc)
	r.write("app.log", lines("c", 0, 10))
	r.ordered("t", lines("a", 0, 200)+lines("b", 0, 100)+lines("c", 0, 10))
}
