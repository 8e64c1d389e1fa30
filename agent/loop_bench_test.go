package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// many makes a hand with n files of one line each that are read to their end, in as many
// entries, all followed by the loop.
func many(b *testing.B, files, entries int) (*hand, []*handFile) {
	b.Helper()
	h := newHand(b, Options{})
	var all []*handFile
	for i := range entries {
		e := h.entry(fmt.Sprint("s", i), "t", 0)
		for range files / entries {
			all = append(all, h.file(e, []byte(strings.Repeat("x", 600)+"\n")))
		}
	}
	h.run("all is read", func() bool { return read(all...) })
	for h.step() {
	}
	for _, f := range all {
		f.content = nil // what comes now is counted and no more
	}
	return h, all
}

// BenchmarkLine is what one appended line to one of many idle files costs the agent, from the
// kernel's word to the verdict: nudge, turn, batch, sink that acknowledges at once, committed.
// The hand-overs between goroutines are not in it, nor the looks of the poll and saving.
func BenchmarkLine(b *testing.B) {
	line := strings.Repeat("y", 179) + "\n"
	for _, c := range []struct{ files, entries int }{{100, 1}, {10_000, 1}, {10_000, 1000}} {
		b.Run(fmt.Sprint(c.files, "files-", c.entries, "entries"), func(b *testing.B) {
			h, all := many(b, c.files, c.entries)
			i := 0
			before := h.sink.lines
			b.ReportAllocs()
			for b.Loop() {
				if i%len(all) == 0 { // every file has a line again
					b.StopTimer()
					for _, f := range all {
						h.append(f, line)
					}
					b.StartTimer()
				}
				in := all[i%len(all)].in
				i++
				in.lastTurn = time.Time{} // its last turn was long ago
				h.tell(in)
				h.step()
				h.l.mailIn()
			}
			if got := h.sink.lines - before; got != int64(b.N) {
				b.Fatalf("%d lines came, want %d", got, b.N)
			}
			if n := h.l.unresolved; n != 0 {
				b.Fatalf("%d batches without a verdict", n)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}

// BenchmarkPoll is what 10,000 idle files cost with every poll (five a second): all of them
// looked at, as once in 30 s where the kernel tells of changes and once a second elsewhere,
// and none of them.
func BenchmarkPoll(b *testing.B) {
	for _, c := range []struct {
		name string
		all  bool
	}{{"all-due", true}, {"none-due", false}} {
		b.Run(c.name, func(b *testing.B) {
			h, all := many(b, 10_000, 10)
			l := h.l
			now := time.Now()
			if c.all {
				now = farFuture() // whatever the time of the next look is, it has passed
			}
			for _, f := range all {
				l.lookAgain(f.in, now.Add(time.Hour))
				if c.all {
					l.lookAgain(f.in, time.Time{})
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				l.poll(now)
				for len(l.pollsOut) > 0 {
					<-l.a.mail.wake
					l.mailIn()
				}
				l.tend(now)
			}
			for _, f := range all {
				if looked := f.in.pollGap == idlePoll; b.N > 5 && looked != c.all {
					b.Fatalf("looked at: %v", looked)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(all)), "ns/file")
		})
	}
}

// BenchmarkSample takes the measure of 10,000 idle files, as every second.
func BenchmarkSample(b *testing.B) {
	h, all := many(b, 10_000, 10)
	now := time.Now()
	for range rateSpan + 1 { // what has just been read is history
		now = now.Add(time.Second)
		h.l.sample(now)
	}
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Second)
		h.l.sample(now)
	}
	if s := all[0].in.src.said; s.state != StateOK {
		b.Fatalf("an idle file is %s: %s", s.state, s.text)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(all)), "ns/file")
}

// BenchmarkWake is one go of the loop in which nothing is to be done but to look at the clock:
// every nudge, every verdict and every timer begins with one.
func BenchmarkWake(b *testing.B) {
	for _, entries := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(entries, "entries"), func(b *testing.B) {
			h, _ := many(b, entries, entries)
			b.ReportAllocs()
			var next time.Time
			for b.Loop() {
				if h.step() {
					b.Fatal("a turn went out")
				}
				next = h.l.nextEvent()
			}
			if next.IsZero() {
				b.Fatal("no next event")
			}
		})
	}
}

// BenchmarkStat looks at one open file, as polls and turns do.
func BenchmarkStat(b *testing.B) {
	h := newHand(b, Options{})
	f := h.file(h.entry("s", "t", 0), []byte("one\n"))
	b.ReportAllocs()
	for b.Loop() {
		if st, err := f.in.stat(); err != nil || st.size != 4 {
			b.Fatal(st, err)
		}
	}
}
