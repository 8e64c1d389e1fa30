package agent

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// saveOnce makes one save of a loop that does not run, as its clock and saver do.
func saveOnce(t *testing.T, l *loop) *saveJob {
	t.Helper()
	l.saver.due = time.Time{}
	l.saveIfDue(time.Now())
	for l.saver.left > 0 {
		l.saveIfDue(time.Now())
	}
	if len(l.saves) == 0 {
		return nil
	}
	j := <-l.saves
	took := *j
	took.changed = slices.Clone(j.changed)
	err := l.saver.disk.save(j)
	l.saved(j, l.saver.disk.base.size, l.saver.disk.log.size, err)
	if err != nil {
		t.Fatal(err)
	}
	return &took
}

func TestSaveTakesWhatChangedAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	svc := Service{Service: "s", LogPath: filepath.Join(dir, "*.log"), Topic: "t", StartAt: StartBeginning}
	l, e := standing(t, &svc)
	var ins []*incarnation
	for i := range 3 * gatherAtOnce {
		in := &incarnation{src: l.source(e, fmt.Sprintf("%s/%d.log", dir, i), time.Now()), id: fileID{Ino: uint64(i)}}
		in.win = &window{owner: in}
		l.saveFirst(in)
		ins = append(ins, in)
	}
	if j := saveOnce(t, l); j == nil || !j.whole || len(j.files) != len(ins) {
		t.Fatalf("the first save of a run is to be whole: %+v", j)
	}
	if j := saveOnce(t, l); j != nil {
		t.Fatalf("nothing changed, and saved are %d", len(j.changed))
	}
	soiled := ins[:2*gatherAtOnce+1]
	for range 2 {
		for _, in := range soiled {
			in.win.committed++
			l.soil(in)
		}
	}
	rounds := 0
	for l.saver.due = (time.Time{}); len(l.saves) == 0; rounds++ {
		before := len(l.saver.soiled)
		l.saveIfDue(time.Now())
		if before-len(l.saver.soiled) > gatherAtOnce {
			t.Fatalf("%d records were made in one go", before-len(l.saver.soiled))
		}
	}
	j := <-l.saves
	if j.whole || len(j.changed) != len(soiled) || rounds != 3 {
		t.Errorf("want %d records and no more, gathered in 3 rounds; got %d in %d, whole: %v", len(soiled), len(j.changed), rounds, j.whole)
	}
	for _, k := range j.changed {
		if k.Committed != 2 {
			t.Fatalf("%+v is not what the file has come to", k)
		}
	}
	// While that save is out, its records are its own.
	in := soiled[0]
	in.win.committed = 50
	l.soil(in)
	l.saver.put(in)
	if i := slices.IndexFunc(j.changed, func(k *kept) bool { return k.fileID == in.id }); j.changed[i].Committed != 2 {
		t.Error("a record was written that a save had taken")
	}
	if r, _ := l.saver.file(fileKey{svc.LogPath, in.id}); r.Committed != 50 {
		t.Errorf("%+v is not what was put last", r)
	}
	l.saved(j, 1, 1, nil)
	if j := saveOnce(t, l); len(j.changed) != 1 || j.changed[0].Committed != 50 {
		t.Errorf("what was put while a save was out: %+v", j.changed)
	}
}

// What is told of a file after its end must not take the place of its last record.
func TestFileThatWasReleasedIsNotSavedAgain(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	svc := Service{Service: "s", LogPath: path, Topic: "t", StartAt: StartBeginning}
	l, e := standing(t, &svc)
	in := held(t, l, e, path)
	if len(l.saver.begun) != 1 {
		t.Fatal("it does not wait for its first position to be saved")
	}
	now := time.Now()
	l.rotate(in.src, now)
	in.win.committed, in.pos = 8, 8
	l.soil(in)
	l.finish(in, now)
	if len(l.saver.soiled)+len(l.saver.begun) > 0 {
		t.Error("the saver remembers a file that was closed")
	}
	l.soil(in)
	saveOnce(t, l)
	cp, err := peekCheckpoint(l.opt.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	if r := cp.files[fileKey{path, in.id}]; r == nil || !r.Done || r.Committed != 8 {
		t.Errorf("saved as %+v, want it done at 8", r)
	}
}

func TestFileThatWaitsForItsFirstPositionGoesOnWhenThatIsSaved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	svc := Service{Service: "s", LogPath: filepath.Join(dir, "*.log"), Topic: "t", StartAt: StartBeginning}
	l, e := standing(t, &svc)
	l.saver.done = 0
	now := time.Now()
	l.saver.dirty = true
	saveOnce(t, l)
	a := held(t, l, e, filepath.Join(dir, "a.log"))
	l.push(a)
	l.dispatch(now)
	if a.wait != waitSave {
		t.Fatalf("it waits for %s", a.wait)
	}
	l.saveIfDue(now)
	job := <-l.saves
	b := held(t, l, e, filepath.Join(dir, "b.log")) // too late for the save that is out
	l.push(b)
	l.dispatch(now)
	// A group that could not be appended has saved nobody's position.
	if job.whole {
		t.Fatal("want a save that is appended")
	}
	l.saved(job, 1, 1, errNotAsLeft)
	if a.queued || b.queued || !l.saver.now {
		t.Fatal("they go on with no position saved, or the next save waits")
	}
	l.saveIfDue(now)
	if job = <-l.saves; !job.whole {
		t.Fatal("want the checkpoint written anew")
	}
	c := held(t, l, e, filepath.Join(dir, "c.log"))
	l.push(c)
	l.dispatch(now)
	l.saved(job, 1, 1, nil)
	if !a.queued || !b.queued || c.queued || len(l.saver.begun) != 1 {
		t.Errorf("may go on: %v, %v, and %v before it is saved", a.queued, b.queued, c.queued)
	}
}

// A verdict moves the position of what was truncated, too.
func TestVerdictForAnOrphanIsSaved(t *testing.T) {
	t.Parallel()
	l, e := standing(t, &Service{Service: "s", LogPath: "/x", Topic: "t"})
	src := l.source(e, "/x", time.Now())
	sp := &span{start: 0, end: 40, anchor: markOf([]byte("a")), lineEnd: true}
	w := &window{orphaned: true}
	w.add(sp)
	o := &orphan{old: &incarnation{src: src, win: w, pos: 100, id: fileID{Ino: 7}, head: markOf([]byte("h"))}, since: time.Now()}
	src.orphans = append(src.orphans, o)
	saveOnce(t, l)
	verdict := func(sp *span) {
		l.unresolved, e.inFlight = 1, 1
		l.verdict(&Batch{Service: e.svc, flight: &flight{win: w, span: sp, src: src}}, Verdict{}, time.Now())
	}
	verdict(sp)
	j := saveOnce(t, l)
	if j == nil || len(j.changed) != 1 || j.changed[0].Committed != 40 || !j.changed[0].Gone {
		t.Fatalf("saved: %+v", j)
	}
	if j := saveOnce(t, l); j != nil {
		t.Errorf("saved again with nothing new: %+v", j.changed)
	}
	// Once its fate is known nothing of it comes back.
	sp = &span{start: 40, end: 50, lineEnd: true}
	w.add(sp)
	verdict(sp)
	l.settled(src, o, time.Now())
	if saveOnce(t, l); len(l.saver.files) > 0 || len(l.saver.orphans) > 0 {
		t.Errorf("left: %v, %v", l.saver.files, l.saver.orphans)
	}
	if cp, err := peekCheckpoint(l.opt.StateDir); err != nil || len(cp.files) > 0 {
		t.Errorf("on the disk: %v, %v", cp, err)
	}
}

// While no save ends, what comes and goes must not pile up.
func TestChangesDoNotPileUpWhileASaveHangs(t *testing.T) {
	t.Parallel()
	b := keepBooks(t, t.TempDir())
	b.grow(10)
	b.mustSave()
	for range 10_000 {
		b.grow(1)
		b.l.saver.dropFile(fileKey{"/l", fileID{Dev: 1, Ino: b.n - 1}})
	}
	if n := len(b.l.saver.changed); n > 3000 {
		t.Errorf("%d changes are kept of 10 files", n)
	}
	b.grow(1)
	b.mustSave()
	if b.l.saver.disk.after != (point{}) {
		t.Error("the new checkpoint is said to hold no more than was saved before it")
	}
	loads(t, "after many changes", copyState(t, b.dir), b.contents())
	b.grow(1)
	b.mustSave()
	loads(t, "appended after that", copyState(t, b.dir), b.contents())
}
