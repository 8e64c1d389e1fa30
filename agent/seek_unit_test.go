package agent

import (
	"fmt"
	"slices"
	"strings"
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

// acks are stretches that are acknowledged.
func acks(stretches ...int64) (out []*span) {
	for i := 0; i < len(stretches); i += 2 {
		out = append(out, &span{start: stretches[i], end: stretches[i+1], lineEnd: true, verdict: acked})
	}
	return out
}

func TestMoveCountsWhatIsNeitherDeliveredNorLeftOut(t *testing.T) {
	t.Parallel()
	undo := SeekMove{To: 100, Until: 900, Sent: []SeekRange{{300, 400}}}
	for _, c := range []struct {
		name                        string
		move                        SeekMove
		committed                   int64
		ahead                       []*span
		was                         *sought
		skipped, repeated, returned int64
	}{
		{"over acknowledged stretches", SeekMove{To: 900}, 100, acks(200, 300, 800, 1000), nil, 600, 0, 0},
		{"back", SeekMove{To: 100}, 900, acks(950, 960), nil, 0, 800, 0},
		{"back over the last skip", SeekMove{To: 100}, 900, nil, &sought{From: 500, To: 700, Sent: []SeekRange{{600, 650}}}, 0, 650, 150},
		{"a skip taken back", undo, 1000, nil, &sought{From: 100, To: 900, Sent: undo.Sent}, 0, 0, 700},
		{"a skip taken back that nobody remembers", undo, 1000, nil, nil, 0, 0, 700},
		{"and again while it is sent", undo, 500, acks(900, 1000), &sought{From: 1000, To: 100, Until: 900}, 0, 300, 0},
		{"and again after a later one was taken back", undo, 1000, nil, &sought{From: 1200, To: 950, Until: 980}, 0, 0, 700},
		{"and after an earlier one was taken back", SeekMove{To: 600, Until: 800}, 1000, nil, &sought{From: 1200, To: 100, Until: 500}, 0, 0, 200},
		{"a repetition taken back", SeekMove{To: 900}, 100, acks(300, 500), &sought{From: 900, To: 0}, 600, 0, 0},
	} {
		n, lines := c.move.counts(c.committed, c.ahead, c.move.skipsFrom(c.committed, mark{}, c.ahead, nil), c.was)
		if want := (SeekBytes{c.skipped, c.repeated, c.returned}); n != want || sum(lines) != c.skipped+c.repeated+c.returned {
			t.Errorf("%s: want %+v, got %+v in %v", c.name, want, n, lines)
		}
	}
}

func TestStretchesThatAreLeftOutTwiceAreLeftOutOnce(t *testing.T) {
	t.Parallel()
	m := SeekMove{To: 100, Until: 900, Sent: []SeekRange{{200, 300}, {600, 700}}}
	got := rangesOf(m.skipsFrom(400, mark{}, acks(600, 750, 900, 1000), nil)) // taken back before: in the middle of it
	if want := []SeekRange{{200, 300}, {600, 750}, {900, 1000}}; !slices.Equal(got, want) {
		t.Errorf("want %v, got %v", want, got)
	}
}

func TestWhatASeekDidIsKnownFromItsRecord(t *testing.T) {
	t.Parallel()
	was := sought{ID: "1", From: 900, To: 100, Until: 800, SeekBytes: SeekBytes{1, 2, 3}, At: 7}
	b := appendFile(nil, &fileRecord{LogPath: "/a", Path: "/a", Sought: &was})
	l, err := readLine(b)
	if err != nil || l.File.Sought == nil || fmt.Sprintf("%+v", *l.File.Sought) != fmt.Sprintf("%+v", was) {
		t.Errorf("want %+v, got %+v, %v", was, l.File, err)
	}
	var out SeekMoved
	(&loop{}).wasMoved(l.File.Sought, &out)
	if out.SeekBytes != was.SeekBytes || out.Result != SeekWasMoved {
		t.Errorf("told of as %+v", out)
	}
}

func TestLinesOfALongCompressedFileAreGuessed(t *testing.T) {
	t.Parallel()
	short, long := strings.Repeat("ab\n", 1000), strings.Repeat("0123456\n", countSample)
	for _, c := range []struct {
		text       string
		in         []SeekRange
		compressed bool
		lines      int64
		guessed    bool
	}{
		{short, []SeekRange{{0, 300}, {600, 900}}, true, 200, false},
		{short, []SeekRange{{0, 300}, {600, 900}}, false, 200, false},
		{long, []SeekRange{{8, int64(len(long))}}, true, countSample - 1, true},
		{long, []SeekRange{{0, 800}, {int64(len(long)) / 2, int64(len(long))}}, false, countSample/2 + 100, false},
		{long, nil, true, 0, false},
	} {
		n, guessed, err := countLines(t.Context(), strings.NewReader(c.text), c.in, c.compressed)
		if err != nil || n != c.lines || guessed != c.guessed {
			t.Errorf("%v: want %d lines, guessed %v, got %d, %v, %v", c.in, c.lines, c.guessed, n, guessed, err)
		}
	}
}
