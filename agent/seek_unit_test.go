package agent

import (
	"testing"
	"time"
)

func TestSeekIsForgottenOnceNobodyAsksForIt(t *testing.T) {
	t.Parallel()
	h := newHand(t, Options{})
	f := h.file(h.entry("a", "t", 0), numbered("a", 40, 1000))
	now := time.Now()
	f.in.sought = &sought{ID: "1", At: now.Add(-keepSought - time.Hour).Unix()}
	young := &sought{ID: "2", At: now.Add(-SeekGoodFor).Unix()}
	g := h.file(h.entry("b", "t", 0), numbered("b", 40, 1000))
	g.in.sought = young
	h.l.prune(now)
	if f.in.sought != nil || g.in.sought != young {
		t.Errorf("want the old one forgotten and the young one kept: %v, %v", f.in.sought, g.in.sought)
	}
	if _, stale := h.l.saver.soiled[f.in]; !stale {
		t.Error("its record is not written anew")
	}
}

func TestLookThatWasAskedForBeforeASeekIsNoTruncation(t *testing.T) {
	t.Parallel()
	h := newHand(t, Options{})
	f := h.file(h.entry("a", "t", 0), numbered("a", 40, 1000))
	h.run("the file is read", func() bool { return read(f) })
	h.step() // its verdicts
	in := f.in
	more := numbered("b", 40, 1000)
	h.append(f, string(more[:400]))
	st, err := in.stat()
	if err != nil {
		t.Fatal(err)
	}
	asked := pollItem{in: in, turns: in.turns, st: st}
	h.append(f, string(more[400:]))
	to := int64(len(f.content))
	anchor, err := markAt(in.file, to, anchorBytes)
	if err != nil {
		t.Fatal(err)
	}
	job := &seekJob{id: "1", out: make([]SeekMoved, 1)}
	h.l.move(job, &seekReady{SeekMove: &SeekMove{SeekFile: in.seekFile(), From: in.win.committed, To: to}, anchor: anchor}, &job.out[0], time.Now())
	if out := job.out[0]; out.Result != SeekWasMoved || out.SkippedBytes != int64(len(more)) {
		t.Fatalf("not moved: %+v", out)
	}
	h.l.polled([]pollItem{asked})
	if in.gen != 0 || in.pos != to {
		t.Errorf("a look of before was taken for a truncation: generation %d, position %d, want 0 and %d", in.gen, in.pos, to)
	}
}

func TestSeekIsToldOfOnceItIsOnTheDisk(t *testing.T) {
	t.Parallel()
	h := newHand(t, Options{})
	e := h.entry("a", "t", 0)
	f := h.file(e, numbered("a", 40, 1000))
	h.run("the file is read", func() bool { return read(f) })
	h.step() // its verdicts
	h.l.saver.done = 0
	job := &seekJob{id: "1", out: make([]SeekMoved, 1), done: make(chan []SeekMoved, 1)}
	h.l.seek(job, []*seekReady{{SeekMove: &SeekMove{SeekFile: f.in.seekFile(), From: f.in.win.committed}}})
	if len(job.done) > 0 || job.out[0].Result != SeekWasMoved {
		t.Fatalf("told before any save: %+v", job.out)
	}
	h.l.saved(&saveJob{n: job.saved}, 0, 0, nil)
	if len(job.done) != 1 {
		t.Error("not told after the save")
	}
}
