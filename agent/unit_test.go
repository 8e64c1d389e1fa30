package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestSummaryStaysUnderItsBound(t *testing.T) {
	t.Parallel()
	s := Summary{
		StateID: "0123abcd", Boot: 99999, Seq: 1 << 40, AtMS: 1763800000000, Running: 1 << 40, Refused: 1 << 40,
		Files: 10000, Failing: 10000, Behind: 10000, Lag: 1 << 50, BehindS: -86400 * 365, In: 99_999_999, Out: 99_999_999,
		Limit: 99_999_999, Throttle: 100, KafkaBad: true, EtcdBad: true, Trouble: true,
	}
	b := s.Encode()
	if len(b) > MaxSummaryBytes+40 { // every field at its largest at once
		t.Errorf("the worst summary has %d bytes: %s", len(b), b)
	}
	s = Summary{StateID: "0123abcd", Boot: 12, Seq: 400000, AtMS: 1763800000000, Running: 48213, Files: 120, Behind: 3, Lag: 8_400_000_000, BehindS: 370, In: 21400, Out: 8000, Limit: 12000, Throttle: 63}
	if b := s.Encode(); len(b) > MaxSummaryBytes {
		t.Errorf("a usual summary has %d bytes: %s", len(b), b)
	}
	back, err := DecodeSummary(s.Encode())
	if err != nil || !reflect.DeepEqual(back, s) {
		t.Errorf("DecodeSummary(Encode) = %+v, %v", back, err)
	}
}

func TestNewerGoesByBootAndSequence(t *testing.T) {
	t.Parallel()
	now := time.Now()
	at := func(id string, boot, seq uint64, age time.Duration) *Status {
		return &Status{StateID: id, Boot: boot, Seq: seq, At: now.Add(-age)}
	}
	for _, c := range []struct {
		a, b *Status
		want bool
	}{
		{at("x", 1, 5, time.Hour), at("x", 1, 4, 0), true}, // clocks do not count
		{at("x", 2, 1, 0), at("x", 1, 900, 0), true},
		{at("x", 1, 4, 0), at("x", 1, 4, 0), false},
		{at("y", 1, 1, 0), at("x", 9, 9, 0), true},
	} {
		if got := c.a.Newer(c.b); got != c.want {
			t.Errorf("Newer(%v/%d/%d, %v/%d/%d) = %v", c.a.StateID, c.a.Boot, c.a.Seq, c.b.StateID, c.b.Boot, c.b.Seq, got)
		}
	}
}

func TestCommittedIsTheContiguousPrefix(t *testing.T) {
	t.Parallel()
	w := &window{}
	var s []*span
	for i := range int64(4) {
		s = append(s, &span{start: i * 10, end: i*10 + 10, lineEnd: true})
		w.add(s[i])
	}
	for _, step := range []struct {
		i    int
		want int64
	}{{2, 0}, {0, 10}, {1, 30}, {3, 40}} {
		if w.resolve(s[step.i], true); w.committed != step.want {
			t.Errorf("after verdict %d committed is %d, want %d", step.i, w.committed, step.want)
		}
	}
	if w.spans != nil || w.unresolved != 0 {
		t.Errorf("window not empty: %d spans, %d unresolved", len(w.spans), w.unresolved)
	}
}

func TestCommittedWaitsForTheLastPieceOfALongLine(t *testing.T) {
	t.Parallel()
	w := &window{}
	a := &span{start: 0, end: 10, lineEnd: true}
	p1 := &span{start: 10, end: 20, piece: true}
	p2 := &span{start: 20, end: 25, piece: true, lineEnd: true}
	for _, s := range []*span{a, p1, p2} {
		w.add(s)
	}
	w.resolve(p1, true)
	w.resolve(a, true)
	if w.committed != 10 {
		t.Errorf("committed %d inside the long line, want 10", w.committed)
	}
	w.resolve(p2, true)
	if w.committed != 25 {
		t.Errorf("committed %d, want 25", w.committed)
	}
}

func TestRewindLeavesOutWhatIsAcknowledged(t *testing.T) {
	t.Parallel()
	w := &window{}
	mk := func(from, to int64, piece, end bool) *span {
		s := &span{start: from, end: to, piece: piece, lineEnd: end}
		w.add(s)
		return s
	}
	a, b, c := mk(0, 10, false, true), mk(10, 20, false, true), mk(20, 30, false, true)
	p, q := mk(30, 40, true, false), mk(40, 45, true, true)
	w.resolve(a, false)
	w.resolve(b, true)
	w.resolve(c, true)
	w.resolve(p, true)
	w.resolve(q, false)
	got := w.rewind()
	if len(got) != 2 || got[0] != b || got[1] != c {
		t.Errorf("rewind keeps %d spans, want b and c: the long line is sent whole again", len(got))
	}
}

func TestThrottleIsEvenAndTakesANewRateAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var th throttle
		th.set(1000, time.Now())
		run := func(d time.Duration) (n, most int) {
			for end := time.Now().Add(d); time.Now().Before(end); {
				k, wait := th.available(time.Now())
				if k == 0 {
					time.Sleep(wait)
					continue
				}
				th.took(k, time.Now())
				n, most = n+k, max(most, k)
			}
			return n, most
		}
		n, most := run(10 * time.Second)
		if n < 9_900 || n > 10_100 {
			t.Errorf("1000/s let %d lines through in 10 s, want 10,000 ± 1 %%", n)
		}
		if most > 100 {
			t.Errorf("a burst of %d lines, want at most a tenth of a second's worth", most)
		}
		th.set(50, time.Now())
		if n, _ := run(10 * time.Second); n < 495 || n > 505+100 {
			t.Errorf("after a change to 50/s %d lines in 10 s", n)
		}
		th.set(0, time.Now())
		if k, _ := th.available(time.Now()); k != -1 {
			t.Errorf("no limit: available %d, want -1", k)
		}
		th.set(1, time.Now())
		if n, _ := run(10 * time.Second); n < 9 || n > 11 {
			t.Errorf("1/s let %d lines through in 10 s", n)
		}
	})
}

func TestBudgetLeavesAShareForTopicsThatFlow(t *testing.T) {
	t.Parallel()
	b := newBudget(64 << 20)
	for _, blocked := range []string{"x", "y", "z"} {
		for {
			n := min(b.available(blocked, chunkBytes), chunkBytes)
			if n == 0 {
				break
			}
			b.take(blocked, n)
		}
	}
	if free := b.available("flows", chunkBytes); free < 4<<20 {
		t.Errorf("three blocked topics leave %d bytes for a fourth", free)
	}
	if b.used > b.limit {
		t.Errorf("used %d of %d", b.used, b.limit)
	}
}

func TestBehindIsTheAgeOfTheOldestUnsentByte(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tr sizeTrail
		t0 := time.Now()
		for i := range int64(1000) {
			tr.note(time.Now(), i*100)
			time.Sleep(time.Second)
		}
		now := time.Now()
		for _, pos := range []int64{0, 50_000, 90_000, 99_000} {
			want := now.Sub(t0.Add(time.Duration(pos/100+1) * time.Second))
			got, _ := tr.age(now, pos)
			if got < want || got > want+want/8+2*time.Second {
				t.Errorf("age of the byte after %d is %v, want %v or a little more", pos, got, want)
			}
		}
		if _, atLeast := tr.age(now, 0); atLeast {
			// the first sample was of an empty file: nothing is older
			t.Log("a file seen empty may say at least; it must not claim less")
		}
		tr.forget(99_000)
		if _, atLeast := tr.age(now, 99_500); atLeast {
			t.Error("a byte that came under our eyes is not at-least")
		}
	})
}

func FuzzCutTakesEveryLineOnce(f *testing.F) {
	f.Add([]byte("a\nb\r\n\n  \nlong line\nrest"), 3, 5)
	f.Add([]byte("\r\n\r\n"), 1, 16)
	f.Fuzz(func(t *testing.T, b []byte, limit, maxLine int) {
		limit, maxLine = 1+abs(limit)%100, 1+abs(maxLine)%100
		var got [][]byte
		rest := b
		for {
			lines, n, tooLong := cut(nil, rest, limit, maxLine)
			for _, l := range lines {
				got = append(got, rest[l.From:l.To])
			}
			if n == 0 {
				if !tooLong {
					break
				}
				i := bytes.IndexByte(rest, '\n') // pass over the long line
				got = append(got, bytes.TrimSuffix(rest[:i], []byte("\r")))
				n = i + 1
			}
			rest = rest[n:]
		}
		var want [][]byte
		whole := b[:bytes.LastIndexByte(b, '\n')+1]
		for l := range bytes.SplitSeq(whole, []byte("\n")) {
			l = bytes.TrimSuffix(l, []byte("\r"))
			if len(bytes.Trim(l, " \t\v\f\r")) > 0 || len(l) > maxLine {
				want = append(want, l)
			}
		}
		if len(want) != len(got) {
			t.Fatalf("%q: got %q, want %q", b, got, want)
		}
		for i := range want {
			if !bytes.Equal(want[i], got[i]) {
				t.Fatalf("line %d is %q, want %q", i, got[i], want[i])
			}
		}
		if !bytes.Equal(rest, b[len(whole):]) {
			t.Fatalf("rest %q, want %q", rest, b[len(whole):])
		}
	})
}

func abs(n int) int { return max(n, -(n + 1)) }

func TestRotatedNamesLeadToTheirStem(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"app.log.1": "app.log", "app.log-20260101": "app.log", "app.log.2026-01-02_10": "app.log",
		"app.log.1.gz": "app.log", "app.log-20261122.zst": "app.log", "app.log.gz": "app.log", "app-20261122.log": "app.log", "app.2026-11-22.log.gz": "app.log", "app-1.log": "", "app.log.bak": "", "app.log.swp": "", "app.log": "", "app.log.": "", "app.log.pos": "",
	} {
		got := rotatedStems(name)
		if want == "" && len(got) > 0 || want != "" && (len(got) == 0 || got[0] != want) {
			t.Errorf("rotatedStems(%q) = %q, want %q first", name, got, want)
		}
	}
}

func TestStatusTravelsAsJSON(t *testing.T) {
	t.Parallel()
	s := Status{Host: "h", Services: []ServiceStatus{{Service: Service{Service: "nginx", LogPath: "/l"}, State: StateOK}}}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back Status
	if err := json.Unmarshal(b, &back); err != nil || back.Services[0].Service.Service != "nginx" || back.Services[0].LogPath != "/l" {
		t.Errorf("%s came back as %+v, %v", b, back.Services, err)
	}
}

func TestFileThatCannotBeReadIsReadAgainOnceItCan(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := dir + "/app.log"
	if err := os.WriteFile(path, []byte("one\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	sink := &countingSink{}
	a, err := New(Options{Host: "h", StateDir: dir + "/state", Sink: sink, PollInterval: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	defer func() { cancel(); <-done }()
	doc := Document{Services: []Service{{Service: "s", LogPath: path, Topic: "t", StartAt: StartBeginning}}}
	if err := a.Apply(ctx, HostConfig{Documents: []Document{doc}}); err != nil {
		t.Fatal(err)
	}
	wait := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("never %s: %+v", what, a.Status().Files)
			}
		}
	}
	wait("first line", func() bool { return sink.lines.Load() == 1 })
	// A closed descriptor fails as a disk that is gone does; a new one is its cure. Neither is
	// changed under a turn or a look.
	atRest := func(f func(*incarnation)) {
		wait("left alone", func() (did bool) {
			a.do(func(l *loop) {
				if in := l.entries[path].sources[path].active; !in.busy && !in.polling {
					f(in)
					did = true
				}
			})
			return did
		})
	}
	atRest(func(in *incarnation) { in.file.Close() })
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("two\n") // brings the turn that fails: a file that stands still is looked at every 30 s
	wait("shown", func() bool { return strings.HasPrefix(a.Status().Files[0].Cause, "unreadable (") })
	atRest(func(in *incarnation) { in.file, in.data = f, f })
	wait("read again", func() bool { return sink.lines.Load() == 2 })
	wait("fine again", func() bool { return a.Status().Files[0].Cause == causeCaughtUp })
}

type countingSink struct{ lines atomic.Int64 }

func (s *countingSink) Send(b *Batch) {
	s.lines.Add(int64(len(b.Lines)))
	b.Done(Verdict{})
}
func (s *countingSink) Recall(string)           {}
func (s *countingSink) Topic(string) TopicState { return TopicState{} }
func (s *countingSink) Link() LinkStatus        { return LinkStatus{Up: true} }

func TestOwnLogsAndStateAreRefused(t *testing.T) {
	t.Parallel()
	a, err := newAccess([]string{"/var/**", "/srv/**"}, "/var/lib/logagent", []string{"/var/log/logagent.log", "/srv/agentlog"})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"/var/log/logagent.log":                     false,
		"/var/log/logagent-2026-11-22T10-00-00.log": false, // rotated
		"/srv/agentlog":                             false,
		"/srv/agentlog-2026-11-22":                  false,
		"/var/lib/logagent/checkpoint":              false,
		"/var/lib/logagent-other/app.log":           true,
		"/var/log/logagents.log":                    true,
		"/home/x.log":                               false, // outside what is allowed
	} {
		if got := a.path(path) == nil; got != want {
			t.Errorf("%s allowed: %v, want %v", path, got, want)
		}
	}
}

// truncatedAfter is a file that is truncated as soon as it has been read once.
type truncatedAfter struct{ *os.File }

func (f truncatedAfter) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	return n, errors.Join(err, os.Truncate(f.Name(), 0))
}

// A copy is known by the head: it has to be of the bytes that were read.
func TestHeadIsOfTheBytesThatWereReadThoughTheFileIsTruncatedMeanwhile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.log")
	text := []byte(strings.Repeat("a line\n", 300))
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	f, st, err := openRegular(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := &incarnation{file: f, data: truncatedAfter{f}, id: st.id, seen: st}
	tn := turn{in: in, svc: &Service{}, lines: 1000, grant: chunkBytes, maxLine: 1000, lastSeen: st}
	o := tn.run(&buffers{})
	if o.err != nil || o.span == nil || o.span.end != int64(len(text)) {
		t.Fatalf("a turn brought %+v", o)
	}
	if want := markOf(text[:headBytes]); in.head != want {
		t.Errorf("the head is %+v, not %+v", in.head, want)
	}
}
