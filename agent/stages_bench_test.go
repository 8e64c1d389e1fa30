package agent

import (
	"fmt"
	"testing"
	"time"
)

// perLine reports what one line took where one op is many of them.
func perLine(b *testing.B, linesPerOp int) {
	n := float64(b.N) * float64(linesPerOp)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/line")
	b.ReportMetric(n/b.Elapsed().Seconds(), "lines/s")
}

// BenchmarkCut finds the lines of one full chunk.
func BenchmarkCut(b *testing.B) {
	for _, n := range []int{40, 180, 1000} {
		b.Run(fmt.Sprint(n, "-byte-lines"), func(b *testing.B) {
			chunk := numbered("", n, chunkBytes)[:chunkBytes]
			want := chunkBytes / (n + 1)
			var lines []Line
			b.SetBytes(chunkBytes)
			b.ReportAllocs()
			for b.Loop() {
				var consumed int
				lines, consumed, _ = cut(lines[:0], chunk, maxBatchLines, 1_000_000)
				if len(lines) != want || consumed != want*(n+1) {
					b.Fatalf("%d lines in %d bytes, want %d", len(lines), consumed, want)
				}
			}
			perLine(b, want)
		})
	}
}

// BenchmarkThrottle is one turn's share of send_rate: the next file in line is woken when the
// tokens are there, admitted, its lines are taken, and it stands in line again. Nothing is
// read. The clock is the benchmark's: no op waits.
func BenchmarkThrottle(b *testing.B) {
	for _, files := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(files, "waiting"), func(b *testing.B) {
			const rate = 1000
			h := newHand(b, Options{})
			l, e := h.l, h.entry("limited", "t", rate)
			for i := range files {
				path := fmt.Sprint("/", i)
				src := l.source(e, path, time.Now())
				in := &incarnation{src: src, win: &window{}, more: true, avgLine: 180, seen: stat{size: 1 << 30}}
				src.active, in.win.owner = in, in
				l.push(in)
			}
			now := time.Now()
			lines, started := 0, now
			turns := func(n int) {
				for n > 0 {
					l.clock(now)
					for len(l.ready) > 0 {
						in := l.ready[0]
						l.ready = l.ready[1:]
						in.queued = false
						t, ok := l.admit(in, now)
						if !ok {
							continue
						}
						n--
						lines += t.lines
						// As read does with a turn's outcome.
						l.budget.give(e.svc.Topic, t.grant)
						e.turnOut = false
						e.throttle.took(t.lines, now)
						l.wakeThrottled(e)
						l.push(in)
					}
					if len(l.ready) == 0 && !e.wakeAt.IsZero() {
						now = e.wakeAt
					}
				}
			}
			turns(2 * files) // everybody stands in line
			lines, started = 0, now
			b.ReportAllocs()
			for b.Loop() {
				turns(1)
			}
			if b.N > 1000 { // fewer may all lie within one burst
				if got := float64(lines) / now.Sub(started).Seconds(); got < rate*0.9 || got > rate*1.1 {
					b.Errorf("%.0f lines a second by the benchmark's clock, want %d", got, rate)
				}
			}
			b.ReportMetric(float64(lines)/float64(b.N), "lines/turn")
		})
	}
}

// BenchmarkWindow is what one batch costs the window: it is added, and later its verdict
// moves committed. 64 in flight are a file that a distant broker answers late.
func BenchmarkWindow(b *testing.B) {
	for _, flying := range []int{1, 64} {
		b.Run(fmt.Sprint(flying, "inflight"), func(b *testing.B) {
			w := &window{}
			ring := make([]span, flying)
			var end int64
			next := func(s *span) {
				*s = span{start: end, end: end + 1000, lineEnd: true, lines: 5}
				end += 1000
				w.add(s)
			}
			for i := range ring {
				next(&ring[i])
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				s := &ring[i%flying]
				if !w.resolve(s, true) {
					b.Fatal("committed did not move")
				}
				next(s)
				i++
			}
			if want := end - int64(flying)*1000; w.committed != want {
				b.Errorf("committed is %d, want %d", w.committed, want)
			}
		})
	}
	// Partitions answer as they like: the oldest of 64 comes last. One op is one batch.
	b.Run("64inflight-reversed", func(b *testing.B) {
		const flying = 64
		w := &window{}
		ring := make([]span, flying)
		var end int64
		i := flying
		b.ReportAllocs()
		for b.Loop() {
			if i == flying {
				for k := range ring {
					ring[k] = span{start: end, end: end + 1000, lineEnd: true}
					end += 1000
					w.add(&ring[k])
				}
				i = 0
			}
			i++
			if moved := w.resolve(&ring[flying-i], true); moved != (i == flying) {
				b.Fatalf("committed moved %v with verdict %d of %d", moved, i, flying)
			}
		}
	})
	b.Run("ahead-of-64", func(b *testing.B) {
		w := &window{}
		var spans []*span
		for i := range int64(64) {
			s := &span{start: i * 1000, end: i*1000 + 1000, lineEnd: true}
			spans = append(spans, s)
			w.add(s)
		}
		for i := 1; i < len(spans); i += 2 {
			w.resolve(spans[i], true)
		}
		b.ReportAllocs()
		for b.Loop() {
			if got := len(w.ahead(nil)); got != 32 {
				b.Fatalf("%d stretches, want 32", got)
			}
		}
	})
}

// BenchmarkBudget is what one batch costs the memory's books, and its buffer.
func BenchmarkBudget(b *testing.B) {
	for _, topics := range []int{1, 1000} {
		b.Run(fmt.Sprint(topics, "topics"), func(b *testing.B) {
			bud := newBudget(1 << 30)
			names := make([]string, topics)
			for i := range names {
				names[i] = fmt.Sprint("topic-", i)
				if i > 0 {
					bud.take(names[i], 1000)
				}
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				topic := names[i%topics]
				i++
				n := min(bud.available(topic, minGrantBytes), chunkBytes)
				if n != chunkBytes {
					b.Fatalf("%d bytes to be had, want a chunk", n)
				}
				bud.take(topic, n)
				bud.give(topic, n)
			}
			if want := int64(topics-1) * 1000; bud.used != want {
				b.Errorf("%d bytes in use, want %d", bud.used, want)
			}
		})
	}
	b.Run("buffer", func(b *testing.B) {
		var pool buffers
		b.ReportAllocs()
		for b.Loop() {
			buf := pool.get(chunkBytes)
			if len(buf.mem) < chunkBytes {
				b.Fatal("too small")
			}
			pool.put(buf)
		}
	})
}

// BenchmarkTurn is one reader's go at a file in the page cache: look at its size, read, check
// the anchor, cut, remember the new anchor.
func BenchmarkTurn(b *testing.B) {
	for _, c := range []struct {
		name        string
		unread      int
		lines, want int
	}{
		{"chunk", chunkBytes - anchorBytes, maxBatchLines, (chunkBytes - anchorBytes) / 181},
		{"line", 181, maxBatchLines, 1},
		{"nothing", 0, maxBatchLines, 0},
	} {
		b.Run(c.name, func(b *testing.B) {
			h := newHand(b, Options{})
			content := numbered("", 180, 181*8000)
			from := len(content) - c.unread/181*181
			f := h.file(h.entry("s", "t", 0), content)
			in := f.in
			in.pos = int64(from)
			for _, m := range []struct {
				to  *mark
				off int
				n   int
			}{{&in.head, headBytes, headBytes}, {&in.anchor, from, anchorBytes}} {
				*m.to = markOf(content[m.off-m.n : m.off])
			}
			before := *in
			t := turn{in: in, svc: in.src.entry.svc, lines: c.lines, grant: int64(chunkBytes + anchorBytes), maxLine: 1_000_000, lastSeen: in.seen}
			if c.unread > 0 {
				b.SetBytes(int64(len(content) - from))
			}
			b.ReportAllocs()
			for b.Loop() {
				in.pos, in.anchor, in.head, in.trail = before.pos, before.anchor, before.head, before.trail
				o := t.run(&h.l.pool)
				if o.err != nil || o.truncated || o.counted != c.want {
					b.Fatalf("%d lines, want %d; truncated %v, %v", o.counted, c.want, o.truncated, o.err)
				}
				if o.buf != nil {
					h.l.pool.put(o.buf)
				}
			}
			if c.want > 0 {
				perLine(b, c.want)
			}
		})
	}
}

// BenchmarkAnchor remembers, and checks, the bytes before a position: once a turn each.
func BenchmarkAnchor(b *testing.B) {
	tail := numbered("", 180, 300)[:anchorBytes]
	m := markOf(tail)
	b.ReportAllocs()
	for b.Loop() {
		if !m.matches(tail) {
			b.Fatal("not the same")
		}
	}
}

// BenchmarkSummary shortens the status of 10,000 files and encodes it, as every two seconds.
func BenchmarkSummary(b *testing.B) {
	s := Status{StateID: "0123abcd", Boot: 12, Seq: 400_000, At: time.UnixMilli(1763800000000), Documents: []DocumentStatus{{Running: 48213}}}
	for i := range 10_000 {
		f := FileStatus{State: StateOK}
		if i%100 == 0 {
			f.State = StateBehind
		}
		s.Files = append(s.Files, f)
	}
	s.Services = []ServiceStatus{{Service: Service{SendRate: 12_000}, FileCount: len(s.Files)}}
	b.ReportAllocs()
	size := 0
	for b.Loop() {
		sum := s.Summary()
		size = len(sum.Encode())
		if sum.Behind != 100 || sum.Files != 10_000 {
			b.Fatalf("%d behind of %d", sum.Behind, sum.Files)
		}
	}
	b.ReportMetric(float64(size), "bytes")
}
