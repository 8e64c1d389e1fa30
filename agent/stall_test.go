package agent

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// standing is a loop that does not run: its steps are made by hand.
func standing(t *testing.T, svc *Service) (*loop, *entry) {
	t.Helper()
	a, err := New(Options{Host: "h", StateDir: t.TempDir(), Sink: &countingSink{}})
	if err != nil {
		t.Fatal(err)
	}
	l := &a.loop
	l.saver.done = 1 << 40 // positions count as saved
	e := &entry{svc: svc, sources: map[string]*source{}, looked: true}
	e.throttle.set(svc.SendRate, time.Now())
	l.entries[svc.LogPath] = e
	t.Cleanup(func() {
		l.wg.Wait() // looks that are out
		for _, s := range e.sources {
			for in := range s.incarnations() {
				l.nudges.drop(in)
				if in.file != nil {
					in.file.Close()
				}
			}
		}
		l.nudges.close()
		a.Close()
	})
	return l, e
}

func held(t *testing.T, l *loop, e *entry, path string) *incarnation {
	t.Helper()
	if err := os.WriteFile(path, []byte("one\ntwo\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, st, err := openRegular(path)
	if err != nil {
		t.Fatal(err)
	}
	src := &source{entry: e, path: path}
	e.sources[path] = src
	in, err := l.open(src, f, st, path, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	src.active = in
	return in
}

func TestChangeOfTopicBeginsAfterATurnThatFoundATruncation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	svc := Service{Service: "s", LogPath: path, Topic: "t1", StartAt: StartBeginning}
	l, e := standing(t, &svc)
	in := held(t, l, e, path)
	in.busy = true
	l.idleReaders--
	changed := svc
	changed.Topic = "t2"
	l.change(e, &changed, time.Now())
	if e.next == nil {
		t.Fatal("the change did not wait for the turn that is out")
	}
	l.read(&turn{in: in, svc: &svc}, outcome{in: in, st: in.seen, truncated: true})
	if e.next != nil || e.svc.Topic != "t2" {
		t.Error("the change never begins: nobody is left to begin it")
	}
}

func TestFailingFileOfALimitedEntryLeavesTheOthersMoving(t *testing.T) {
	dir := t.TempDir()
	svc := Service{Service: "s", LogPath: filepath.Join(dir, "*.log"), Topic: "t", StartAt: StartBeginning, SendRate: 10}
	l, e := standing(t, &svc)
	a := held(t, l, e, filepath.Join(dir, "a.log"))
	b := held(t, l, e, filepath.Join(dir, "b.log"))
	now := time.Now()
	l.push(a)
	l.push(b)
	l.dispatch(now) // both wait for send_rate
	if len(e.waiting) != 2 {
		t.Fatalf("%d wait for send_rate, want both", len(e.waiting))
	}
	l.readFailed(e.waiting[0], errors.New("stale file handle"), now)
	now = now.Add(300 * time.Millisecond)
	l.clock(now)
	l.dispatch(now)
	if !b.busy {
		t.Error("the other file got no turn")
	}
	if b.busy { // take the turn back so that nothing is out
		<-l.turns
	}
}

func TestSkippedStretchOfADiscardedTurnStaysDone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	svc := Service{Service: "s", LogPath: path, Topic: "t", StartAt: StartBeginning}
	l, e := standing(t, &svc)
	in := held(t, l, e, path)
	anchor, err := markAt(in.file, 4, anchorBytes)
	if err != nil {
		t.Fatal(err)
	}
	in.skips = []*span{{start: 0, end: 4, anchor: anchor, lineEnd: true, verdict: acked}}
	tn := turn{in: in, svc: &svc, lines: 100, grant: 8192, maxLine: 1000, lastSeen: in.seen}
	in.busy = true
	l.idleReaders--
	o := tn.run(&l.pool)
	changed := svc
	changed.Topic = "t2"
	l.change(e, &changed, time.Now())
	l.read(&tn, o)
	if in.win.committed != 4 && len(in.skips) == 0 {
		t.Error("an acknowledged stretch is forgotten: it would be sent twice")
	}
}

func TestRotatedFileWhoseLastTurnFellIntoAChangeHoldsUpNoNewerOne(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	svc := Service{Service: "s", LogPath: path, Topic: "t1", StartAt: StartBeginning}
	l, e := standing(t, &svc)
	old := held(t, l, e, path)
	src := old.src
	now := time.Now()
	l.rotate(src, now)
	l.ready, old.queued = nil, false
	newer := held(t, l, e, filepath.Join(dir, "b.log"))
	newer.src, src.active = src, newer
	delete(e.sources, filepath.Join(dir, "b.log"))

	old.busy = true // the turn that reads to the end
	l.idleReaders--
	changed := svc
	changed.Topic = "t2"
	l.change(e, &changed, now)
	l.read(&turn{in: old, svc: &svc}, outcome{in: old, st: old.seen, eof: true})
	for range 3 { // turns by hand until nothing moves any more
		l.dispatch(now)
		for len(l.turns) > 0 {
			tn := <-l.turns
			l.read(&tn, tn.run(&l.pool))
			l.mailIn()
		}
	}
	if !old.drained || newer.wait == waitOlder {
		t.Errorf("drained %v, the newer file waits for %s", old.drained, newer.wait)
	}
}

// Else its lag would stand still on the screen until the next look, 30 s later.
func TestNudgedFileThatWaitsIsLookedAtWithTheNextPoll(t *testing.T) {
	t.Parallel()
	l, e := standing(t, &Service{Service: "s", LogPath: "/x", Topic: "t", Paused: true})
	now := time.Now()
	for k := waitThrottle; k < waitKinds; k++ {
		in := &incarnation{src: &source{entry: e}, wait: k, watch: &nudge{}, nextPoll: momentOf(now.Add(idlePollNudged)), win: &window{}}
		l.nudged(in)
		if later := time.Duration(in.nextPoll - momentOf(now)); later > time.Second {
			t.Errorf("waiting for %s it is looked at only %v later", k, later)
		}
	}
}

// A look that was asked for before a turn and told after it is older than the turn.
func TestLookOlderThanATurnIsNoTruncation(t *testing.T) {
	t.Parallel()
	l, e := standing(t, &Service{Service: "s", LogPath: "/x", Topic: "t"})
	src := l.source(e, "/x", time.Now())
	in := &incarnation{src: src, win: &window{}, polling: true, turns: 3, pos: 100, seen: stat{size: 100}}
	in.win.owner = in
	src.active = in
	asked := pollItem{in: in, turns: in.turns, st: stat{size: 100}}
	in.turns, in.pos, in.seen.size = 4, 150, 150 // meanwhile a line came and a turn read it
	l.polled([]pollItem{asked})
	if in.gen != 0 || in.pos != 150 || in.seen.size != 150 {
		t.Errorf("generation %d, position %d, size %d: taken for a truncation", in.gen, in.pos, in.seen.size)
	}
	in.turns = 3 // the same look, but nothing was read since
	in.pos = 150
	l.saver.next = 1
	if l.polled([]pollItem{asked}); in.gen != 1 {
		t.Error("a truncation is not seen")
	}
}

// The change was told just before the pause: no turn will see it, so a look must.
func TestChangeToldBeforeAPauseIsLookedAtDuringIt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	svc := Service{Service: "s", LogPath: path, Topic: "t"}
	l, e := standing(t, &svc)
	in := held(t, l, e, path)
	now := time.Now()
	in.wait, in.more = waitEOF, false
	if in.watch == nil { // no inotify here
		in.watch = &nudge{}
		defer func() { in.watch = nil }()
	}
	l.lookAgain(in, now.Add(idlePollNudged))
	l.nudged(in)
	paused := svc
	paused.Paused = true
	l.change(e, &paused, now)
	l.clock(now.Add(2 * coalesce))
	l.dispatch(now)
	if later := time.Duration(in.nextPoll - momentOf(now)); in.busy || later > time.Second {
		t.Errorf("busy %v; its new size is seen only %v later", in.busy, later)
	}
}

// Times of the loop come from the monotonic clock: one set back by hours, as after a wrong
// battery clock was corrected, must not keep files from being looked at for as long.
func TestClockThatIsSetBackKeepsNoFileFromBeingLookedAt(t *testing.T) {
	t.Parallel()
	now := time.Now()
	l := &loop{}
	in := &incarnation{}
	l.startLooking(in)
	l.lookAgain(in, now.Add(idlePoll))
	if !l.looks.due(now.Add(idlePoll)) || l.looks.due(now) {
		t.Error("not looked at when its time has come")
	}
	if in.nextPoll > moment(24*time.Hour) {
		t.Errorf("the next look is at %v: counted by the wall clock, not from the beginning of the process", time.Duration(in.nextPoll))
	}
}

func TestFileThatWasRotatedUnseenGoesBehindTheOneThatStoodThereBefore(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	svc := Service{Service: "s", LogPath: path + "*", Topic: "t", StartAt: StartBeginning}
	l, e := standing(t, &svc)
	old := held(t, l, e, path)
	src := old.src
	// The finder looks at a.log, which stands there; it is rotated twice; the finder goes on.
	for _, to := range []string{".2", ".1"} {
		if err := errors.Join(os.Rename(path, path+to), os.WriteFile(path, []byte("three\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	f, st, err := openRegular(path + ".1")
	if err != nil {
		t.Fatal(err)
	}
	l.found(lookReport{sightings: []sighting{{logPath: svc.LogPath, path: path + ".1", file: f, st: st}}})
	if src.active != nil || len(src.rotated) != 2 || src.rotated[0] != old || src.rotated[1].id != st.id {
		t.Errorf("want the file that stood at the path and then the unseen one to be read as rotated ones, got %+v of %+v", src.rotated, src)
	}
}
