package agent

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// atRest is a file that was read and acknowledged to its end, and what the clock did then.
func atRest(t *testing.T, l *loop, e *entry, path string, now time.Time) *incarnation {
	t.Helper()
	in := held(t, l, e, path)
	l.push(in)
	for range 3 {
		l.dispatch(now)
		for len(l.turns) > 0 {
			tn := <-l.turns
			l.read(&tn, tn.run(&l.pool))
			l.mailIn()
		}
	}
	if in.wait != waitEOF || in.win.committed != 8 {
		t.Fatalf("waits for %s at %d, want the end of the file at 8", in.wait, in.win.committed)
	}
	return in
}

// standingGlob is a loop that does not run with one entry for all logs of a folder.
func standingGlob(t *testing.T) (l *loop, e *entry, dir string, now time.Time) {
	t.Helper()
	dir, now = t.TempDir(), time.Now()
	l, e = standing(t, &Service{Service: "s", LogPath: filepath.Join(dir, "*.log"), Topic: "t", StartAt: StartBeginning})
	l.order, l.steps.at = []string{e.svc.LogPath}, now
	return l, e, dir, now
}

// seconds lets the clock take n samples and returns the time then.
func seconds(l *loop, now time.Time, n int) time.Time {
	for range n {
		now = now.Add(sampleEvery)
		l.sample(now)
	}
	return now
}

func TestFileThatStandsStillIsLeftAloneByTheClock(t *testing.T) {
	t.Parallel()
	l, e, dir, now := standingGlob(t)
	a := atRest(t, l, e, filepath.Join(dir, "a.log"), now)
	b := atRest(t, l, e, filepath.Join(dir, "b.log"), now)
	now = seconds(l, now, rateSpan+2)
	if len(l.awake) != 0 || a.src.meter.pulse != nil {
		t.Fatalf("%d sources are awake after everything stood still for %d samples", len(l.awake), rateSpan+2)
	}

	s := l.brief(now)
	if s.Totals.Lines != 4 || s.Services[0].Totals.Lines != 4 || s.Services[0].State != StateOK || s.Services[0].Cause != causeCaughtUp || s.Services[0].FileCount != 2 {
		t.Errorf("at rest the brief status says %+v, %+v", s.Totals, s.Services[0])
	}

	// A change that is told wakes it, and it alone.
	l.nudged(a)
	l.clock(now)
	if len(l.awake) != 1 || l.awake[0] != a.src {
		t.Fatalf("%d are awake after one was told to have changed", len(l.awake))
	}
	if e.waiting = nil; b.src.place != 0 {
		t.Error("the other one was woken, too")
	}
	// A changed entry wakes all of its files: what they show depends on it.
	paused := *e.svc
	paused.Paused = true
	l.change(e, &paused, now)
	now = seconds(l, now, 1)
	if s := l.brief(now); len(l.awake) != 2 || s.Services[0].State != StatePaused {
		t.Errorf("%d are awake after a pause, the entry shows %s", len(l.awake), s.Services[0].State)
	}
}

// The full status and the one without files are made in different ways and must tell the same.
func TestBriefStatusTellsWhatTheFullOneTells(t *testing.T) {
	t.Parallel()
	l, e, dir, now := standingGlob(t)
	for i := range 5 {
		atRest(t, l, e, filepath.Join(dir, fmt.Sprint(i, ".log")), now)
	}
	now = seconds(l, now, rateSpan+2)
	// One of them goes behind, one fails, one is missing.
	in := e.sources[filepath.Join(dir, "1.log")].active
	l.observe(in, stat{id: in.id, size: 1000, mtime: 1, links: 1}, now)
	in.more = true
	l.push(in)
	l.readFailed(e.sources[filepath.Join(dir, "2.log")].active, fmt.Errorf("stale"), now)
	l.sighted(sighting{logPath: e.svc.LogPath, path: filepath.Join(dir, "3.log"), gone: true}, now)
	now = seconds(l, now, 1)

	brief, full := l.brief(now), l.status()
	if brief.Files != nil || len(full.Files) != 5 {
		t.Fatalf("%d and %d files", len(brief.Files), len(full.Files))
	}
	var lag, lines = int64(0), uint64(0)
	count := make(map[State]int)
	for _, f := range full.Files {
		lag += f.Totals.LagBytes
		lines += f.Totals.Lines
		count[f.State]++
	}
	for _, s := range []*Status{brief, full} {
		if s.Totals.LagBytes != lag || s.Totals.Lines != lines || s.FailingFiles != count[StateFailing] || s.BehindFiles != count[StateBehind] {
			t.Errorf("lag %d, lines %d, %d failing, %d behind; the files say %d, %d, %v",
				s.Totals.LagBytes, s.Totals.Lines, s.FailingFiles, s.BehindFiles, lag, lines, count)
		}
		if es := s.Services[0]; es.State != StateFailing || es.Totals.LagBytes != lag || es.Totals.Lines != lines {
			t.Errorf("the entry says %s, lag %d, lines %d", es.State, es.Totals.LagBytes, es.Totals.Lines)
		}
	}
}

func TestHistoryGoesOnThroughARest(t *testing.T) {
	t.Parallel()
	l, e, dir, now := standingGlob(t)
	in := held(t, l, e, filepath.Join(dir, "a.log"))
	l.wake(in.src, now)
	now = seconds(l, now, 3)
	in.src.tally(counters{lines: 100, bytes: 800}) // they flow in the first step
	in.win.committed = in.seen.size
	in.wait, in.more, in.queued = waitEOF, false, false
	now = seconds(l, now, 32)
	if in.src.place != 0 {
		t.Fatal("it is not at rest")
	}
	h := l.status().Files[0].History
	if h == nil || !slices.Equal(h.Out, []uint32{10, 0, 0}) {
		t.Fatalf("history %+v, want 10 lines/s and then nothing", h)
	}
	l.wake(in.src, now)
	in.src.tally(counters{lines: 200, bytes: 1600})
	now = seconds(l, now, 10)
	l.lastAt = time.Time{}
	if h := l.status().Files[0].History; h == nil || !slices.Equal(h.Out, []uint32{10, 0, 0, 20}) {
		t.Fatalf("history %+v, want the rest as zeros", h)
	}
	// Ten quiet minutes later there is nothing left to remember.
	seconds(l, now, 10*60+20)
	l.lastAt = time.Time{}
	if h := l.status().Files[0].History; h != nil || in.src.meter.past != nil {
		t.Errorf("history %+v after ten quiet minutes", h)
	}
}

func TestEntryWhoseFileHasNotBeenLookedForIsNotFine(t *testing.T) {
	t.Parallel()
	l, e := standing(t, &Service{Service: "s", LogPath: "/x", Topic: "t"})
	e.looked = false
	l.order = []string{"/x"}
	now := time.Now()
	l.source(e, "/x", now)
	if s := l.brief(now).Services[0]; s.State != StateUnknown || s.Cause != causeLooking {
		t.Errorf("%s, %q: want %s", s.State, s.Cause, causeLooking)
	}
}

// A change that waits for what is in flight must reach those at rest, too.
func TestPauseThatCameWithANewTopicIsShownByFilesAtRest(t *testing.T) {
	t.Parallel()
	l, e, dir, now := standingGlob(t)
	atRest(t, l, e, filepath.Join(dir, "a.log"), now)
	now = seconds(l, now, rateSpan+2)
	changed := *e.svc
	changed.Topic, changed.Paused = "t2", true
	l.change(e, &changed, now)
	if s := l.brief(now).Services[0]; s.State != StatePaused {
		t.Errorf("%s, %q after a pause", s.State, s.Cause)
	}
}

func TestFileAtRestThatCannotBeLookedAtIsFailing(t *testing.T) {
	t.Parallel()
	l, e, dir, now := standingGlob(t)
	in := atRest(t, l, e, filepath.Join(dir, "a.log"), now)
	now = seconds(l, now, rateSpan+2)
	l.polled([]pollItem{{in: in, turns: in.turns, err: fmt.Errorf("stale file handle")}})
	if s := l.brief(now); s.FailingFiles != 1 || s.Services[0].State != StateFailing {
		t.Errorf("%d failing, the entry shows %s, %q", s.FailingFiles, s.Services[0].State, s.Services[0].Cause)
	}
}

func TestReadingAheadIsWhatTheWayToKafkaCanUse(t *testing.T) {
	t.Parallel()
	const least, most = 16 << 20, 64 << 20
	b := newBudget(least)
	for _, c := range []struct {
		what            string
		perSec, latency float64
		unwell, want    int64
	}{
		{"nothing flows", 0, 0, 0, least},
		{"near and fast: 1 GB/s, 2 ms", 1e9, 0.002, 0, least},
		{"far: 500 MB/s, 50 ms", 500e6, 0.05, 0, 37_500_000},
		{"farther than is allowed", 1e9, 0.5, 0, most},
		{"a topic holds 20 MiB and does not answer", 0, 0, 20 << 20, 56 << 20},
		{"and 30", 0, 0, 30 << 20, most},
	} {
		if b.fit(c.perSec, c.latency, c.unwell, least, most); b.limit != c.want {
			t.Errorf("%s: %d bytes, want %d", c.what, b.limit, c.want)
		}
	}
	// Whatever the sick topic holds, another may have as much as before it fell ill.
	b = newBudget(most)
	b.take("sick", 30<<20)
	b.fit(0, 0, 30<<20, least, most)
	if n := b.available("well", minGrantBytes); n < least {
		t.Errorf("%d bytes are left for a topic that is well", n)
	}
}

// Else a line a moment before the sample would be shown as a hundred a second.
func TestFirstRateAfterARestIsThatOfSeconds(t *testing.T) {
	t.Parallel()
	l, e, dir, now := standingGlob(t)
	in := atRest(t, l, e, filepath.Join(dir, "a.log"), now)
	now = seconds(l, now, rateSpan+2)
	l.wake(in.src, now.Add(sampleEvery-10*time.Millisecond))
	in.src.tally(counters{lines: 8, bytes: 80, inBytes: 80})
	seconds(l, now, 1)
	l.lastAt = time.Time{}
	if got := l.status().Files[0].Totals; got.OutLinesPerSec < 1.9 || got.OutLinesPerSec > 2.1 || got.InLinesPerSec < 1.9 || got.InLinesPerSec > 2.1 {
		t.Errorf("8 lines in the last seconds are shown as %.1f in and %.1f out a second, want 2", got.InLinesPerSec, got.OutLinesPerSec)
	}
}
