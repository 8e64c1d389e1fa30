package agent

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// One file that is far behind, and fifty of other entries that get a line now and then, half
// of them of the same topic: their lines must not queue up behind its chunks.
func TestLineOfALiveFileWaitsForOneChunkOfABacklogAtMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHand(t, Options{})
		far := h.file(h.entry("far", "busy", 0), numbered("far ", 180, 32*chunkBytes))
		var live []*handFile
		for i := range 25 {
			topic := "busy"
			if i%2 == 0 {
				topic = fmt.Sprint("quiet-", i)
			}
			e := h.entry(fmt.Sprint("live", i), topic, 0)
			live = append(live, h.file(e, []byte("first\n")), h.file(e, []byte("first\n")))
		}
		between := 0
		h.took = func(tn *turn) {
			if tn.in == far.in && !read(live...) {
				between++
			}
		}
		rounds := 0
		for ; !read(far); rounds++ {
			between = 0
			h.run("the live files are read", func() bool { return read(live...) })
			if between > 1 {
				t.Fatalf("round %d: %d chunks of the backlog went before the last of 50 lines, want one at most", rounds, between)
			}
			for range 2 {
				h.step() // the backlog goes on
			}
			for i, f := range live {
				h.append(f, fmt.Sprintf("%d of file %d\n", rounds, i))
				if (i+rounds)%2 == 0 {
					h.tell(f.in)
				} else {
					h.look(f.in)
				}
			}
			time.Sleep(coalesce)
		}
		h.run("what came last is read", func() bool { return read(live...) })
		if rounds < 8 {
			t.Errorf("the backlog was read in %d rounds: it was not there to be waited for", rounds)
		}
		if n := far.batches; n < 32 || n > 35 {
			t.Errorf("the backlog of 32 chunks went in %d batches", n)
		}
	})
}

// A topic of which nothing is answered may hold half of the memory, two that fill up side by
// side a third each; the rest is for those that flow, in chunks worth reading.
func TestStuckTopicsLeaveTheOthersTheirShareOfMemory(t *testing.T) {
	t.Parallel()
	for _, stuck := range []int{1, 2} {
		t.Run(fmt.Sprint(stuck, " stuck"), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const memory = 16 << 20
				h := newHand(t, Options{InFlightBytes: memory})
				// What comes of a turn may take a whole buffer, whatever was granted.
				out := int64(readers()) * (int64(classBytes(chunkBytes+anchorBytes)) + maxBatchLines*8)
				share := int64(memory) / int64(stuck+1)
				var blocked, free []*handFile
				for i := range stuck {
					topic := fmt.Sprint("stuck-", i)
					h.sink.stuck[topic] = true
					e := h.entry(topic, topic, 0)
					for range 6 { // of which each may have a quarter of the memory in flight
						blocked = append(blocked, h.file(e, numbered("stuck ", 180, 8*chunkBytes)))
					}
				}
				h.took = func(*turn) {
					if h.l.budget.used > memory {
						t.Fatalf("%d bytes in use of %d", h.l.budget.used, memory)
					}
					for i := range stuck {
						if n := h.l.budget.byTopic[fmt.Sprint("stuck-", i)]; n > share+out {
							t.Fatalf("stuck topic %d holds %d bytes, its share is %d of %d", i, n, share, memory)
						}
					}
				}
				for h.step() {
				}
				for i := range stuck {
					if n := h.l.budget.byTopic[fmt.Sprint("stuck-", i)]; n < share-out {
						t.Errorf("stuck topic %d holds %d bytes only: the memory is not used", i, n)
					}
				}
				const chunks = 60
				e := h.entry("free", "free", 0)
				for range 2 {
					free = append(free, h.file(e, numbered("free ", 180, chunks/2*chunkBytes)))
				}
				h.run("what flows is read", func() bool { return read(free...) })
				if n := free[0].batches + free[1].batches; n > chunks+6 {
					t.Errorf("%d chunks went in %d batches: too little memory was left for whole ones", chunks, n)
				}
				h.took = nil
				h.sink.stuck = nil
				for i := range stuck {
					for h.sink.answer(fmt.Sprint("stuck-", i)) {
					}
				}
				h.run("what was stuck is read", func() bool { return read(blocked...) })
			})
		})
	}
}

// A topic that is stuck and then another one: what the first one holds does not grow, and
// the second can't take the last.
func TestTopicThatIsStuckLaterTakesNoMoreThanHalfOfTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const memory = 12 << 20
		h := newHand(t, Options{InFlightBytes: memory})
		out := int64(readers()) * (int64(classBytes(chunkBytes+anchorBytes)) + maxBatchLines*8)
		var files []*handFile
		want := int64(memory)
		for _, topic := range []string{"first", "second"} {
			want /= 2
			h.sink.stuck[topic] = true
			e := h.entry(topic, topic, 0)
			for range 6 {
				files = append(files, h.file(e, numbered(topic, 180, 8*chunkBytes)))
			}
			for h.step() {
			}
			if n := h.l.budget.byTopic[topic]; n > want+out || n < want-out {
				t.Errorf("the %s stuck topic holds %d bytes, want about %d", topic, n, want)
			}
		}
		free := h.file(h.entry("free", "free", 0), numbered("free", 180, 20*chunkBytes))
		h.run("what flows is read", func() bool { return read(free) })
		if free.batches > 22 {
			t.Errorf("20 chunks went in %d batches", free.batches)
		}
		h.sink.stuck = nil
		for h.sink.answer("first") || h.sink.answer("second") {
		}
		h.run("what was stuck is read", func() bool { return read(files...) })
	})
}

// A topic that answers slowly, one batch at a time: the files of its entries wait for memory
// and get it in turn.
func TestFilesOfASlowTopicGetItsMemoryInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const chunks = 10
		h := newHand(t, Options{InFlightBytes: 4 << 20})
		h.sink.stuck["slow"] = true
		var files []*handFile
		for i := range 2 {
			e := h.entry(fmt.Sprint("slow-", i), "slow", 0)
			for range 6 {
				files = append(files, h.file(e, numbered("slow ", 180, chunks*chunkBytes)))
			}
		}
		for !read(files...) {
			if !h.step() && !h.sink.answer("slow") {
				t.Fatal("nothing moves, nothing is in flight, and not all is read")
			}
			least, most := turnsOf(files)
			if most-least > 2 && least < chunks-1 {
				t.Fatalf("a file had %d turns, another one %d", least, most)
			}
		}
	})
}

// turnsOf returns the fewest and the most turns that one of the files has had.
func turnsOf(files []*handFile) (least, most uint32) {
	least = files[0].in.turns
	for _, f := range files {
		least, most = min(least, f.in.turns), max(most, f.in.turns)
	}
	return least, most
}

// Whatever the length of their lines, files that are behind get the same number of chunks at
// any time, and those of usual lines the same number of bytes.
func TestBacklogsGetTheSameNumberOfChunksWhateverTheirLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const chunks = 16
		h := newHand(t, Options{})
		lengths := []int{18, 60, 180, 1000, 20_000, 100_000, 250_000}
		var files []*handFile
		for _, n := range lengths {
			e := h.entry(fmt.Sprint("lines-of-", n), fmt.Sprint("topic-", n%3), 0)
			files = append(files, h.file(e, numbered("x", n, chunks*chunkBytes)))
		}
		usual := files[:4]
		for first := false; !first; {
			if !h.step() {
				t.Fatal("nothing moves any more")
			}
			if least, most := turnsOf(files); most-least > 1 {
				t.Fatalf("a file had %d turns, another one %d", least, most)
			}
			sent := func(f *handFile) int64 { return f.sent }
			if l, m := extremes(usual, sent); m-l > chunkBytes+chunks*1000 {
				t.Fatalf("of one file of usual lines %d bytes went, of another one %d", l, m)
			}
			// A line that does not fit into what is left of a chunk waits for the next.
			if l, m := extremes(files, sent); m > 2*l+2*chunkBytes {
				t.Fatalf("of one file %d bytes went, of another one %d", l, m)
			}
			first = slices.ContainsFunc(files, func(f *handFile) bool { return read(f) })
		}
		h.run("all is read", func() bool { return read(files...) })
		for i, f := range files {
			if want := (len(f.content) + lengths[i]) / (lengths[i] + 1); f.lines != want {
				t.Errorf("lines of %d: %d of them arrived, want %d", lengths[i], f.lines, want)
			}
		}
	})
}

func extremes(files []*handFile, of func(*handFile) int64) (least, most int64) {
	least = of(files[0])
	for _, f := range files {
		least, most = min(least, of(f)), max(most, of(f))
	}
	return least, most
}

// Entries with a send_rate beside one without: each keeps to its own rate, its files share
// it, and the one without goes on in between.
func TestLimitedEntriesKeepTheirRatesBesideAnUnlimitedOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const perChunk = 6 * time.Millisecond // what a chunk takes to be read
		h := newHand(t, Options{})
		rates := []int64{1000, 100}
		limited := make([][]*handFile, len(rates))
		entries := make([]*entry, len(rates))
		for i, rate := range rates {
			entries[i] = h.entry(fmt.Sprint("limited-", rate), "t", rate)
			for j, n := range []int{60, 180, 1000, 180} {
				limited[i] = append(limited[i], h.file(entries[i], numbered(fmt.Sprint(rate, "-", j, " "), n, 1_500_000)))
			}
		}
		e := h.entry("unlimited", "t", 0)
		unlimited := []*handFile{
			h.file(e, numbered("u0 ", 180, 60*chunkBytes)), h.file(e, numbered("u1 ", 90, 60*chunkBytes)),
		}
		h.took = func(tn *turn) {
			if tn.in.src.entry == e {
				time.Sleep(perChunk)
			}
		}
		lines := func(files []*handFile) (n int64) {
			for _, f := range files {
				n += int64(f.lines)
			}
			return n
		}
		began := time.Now()
		for time.Since(began) < 2*time.Second {
			if !h.step() {
				time.Sleep(max(time.Until(h.l.nextEvent()), time.Microsecond))
			}
			for i, rate := range rates {
				n, most := lines(limited[i]), float64(rate)*time.Since(began).Seconds()
				quantum := int64(entries[i].throttle.quantum)
				if float64(n) > most+1 {
					t.Fatalf("after %v %d lines at %d a second", time.Since(began), n, rate)
				}
				if float64(n) < most-float64(burst(rate))-1 {
					t.Fatalf("after %v only %d lines at %d a second", time.Since(began), n, rate)
				}
				if l, m := extremes(limited[i], func(f *handFile) int64 { return int64(f.lines) }); m-l > quantum {
					t.Fatalf("of one file %d lines went, of another one %d: want them to differ by %d at most", l, m, quantum)
				}
			}
			if l, m := turnsOf(unlimited); m-l > 1 && !read(unlimited[0]) && !read(unlimited[1]) {
				t.Fatalf("of one unlimited file %d chunks went, of the other one %d", l, m)
			}
		}
		if !read(unlimited...) {
			t.Errorf("the unlimited entry had two seconds for %d chunks of %v: %d and %d went", 120, perChunk, unlimited[0].batches, unlimited[1].batches)
		}
		for i, rate := range rates {
			want := float64(2 * rate)
			if n := float64(lines(limited[i])); n < want*0.98 || n > want+1 {
				t.Errorf("%v lines in 2 s at %d a second", n, rate)
			}
		}
	})
}
