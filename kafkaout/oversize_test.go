package kafkaout

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logagent/agent"
	"logagent/internal/lab"
)

// text is n bytes that compress badly and tell where they came from.
func text(name string, n int) string {
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "%s-%016x ", name, rand.Uint64())
	}
	return b.String()[:n]
}

// whole joins pieces back into lines, by the rule of the package comment.
func whole(t *testing.T, recs []lab.Record) []string {
	t.Helper()
	var lines []string
	var open []string // numbers of the levels that are open
	var line bytes.Buffer
	for _, r := range recs {
		part := r.Header("part")
		if part == "" {
			if len(open) > 0 {
				t.Errorf("want no whole line between pieces, got %.40q", r.Value)
			}
			lines = append(lines, string(r.Value))
			continue
		}
		line.Write(r.Value)
		now := strings.Split(part, ".")
		ends := 0
		if parts := r.Header("parts"); parts != "" {
			counts := strings.Split(parts, ".")
			ends = len(counts)
			for i := range counts {
				if at := now[len(now)-ends+i]; at != counts[i] {
					t.Errorf("piece %s with parts %s: want every level it ends at its last number", part, parts)
				}
			}
		}
		open = now
		if ends == len(now) {
			lines = append(lines, line.String())
			line.Reset()
			open = nil
		}
	}
	if len(open) > 0 {
		t.Errorf("want the last line ended, got %d bytes of an open one", line.Len())
	}
	return lines
}

func limitedKafka(t *testing.T, topic string, limit int) *lab.Kafka {
	k := startKafka(t, lab.KafkaOptions{})
	createTopic(t, k, topic, 1, map[string]string{"max.message.bytes": strconv.Itoa(limit)})
	return k
}

func TestLinesLongerThanATopicTakesAreSplit(t *testing.T) {
	t.Parallel()
	for _, compression := range []string{"none", "lz4"} {
		t.Run(compression, func(t *testing.T) {
			t.Parallel()
			k := limitedKafka(t, "small", 50_000)
			o := quick(k.Addrs())
			o.Compression = compression
			p, _ := startProducer(t, o)
			f := newFlow(t, p)
			s := entry("a", "small")
			var want []string
			for i := range 6 {
				lines := []string{text("short", 100), text("long", 400_000), text("short", 3000), text("long", 70_000), strings.Repeat("z", 300_000), text("last", 10)}
				want = append(want, lines[:1+i]...)
				f.sendLines(s, lines[:1+i]...)
			}
			v := f.settled()
			if v.Doubled+v.Truncated+v.Skipped > 0 || v.Split < 8 {
				t.Errorf("want 8 to 10 lines counted as split and nothing else, got %+v", v)
			}
			got := whole(t, records(t, k, "small"))
			if len(got) != len(want) {
				t.Fatalf("want %d lines, got %d", len(want), len(got))
			}
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("line %d: want %d bytes as sent, got %d", i, len(want[i]), len(got[i]))
				}
			}
		})
	}
}

func TestPiecesAreSplitOneLevelDown(t *testing.T) {
	t.Parallel()
	k := limitedKafka(t, "small", 20_000)
	p, _ := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	s := entry("a", "small")
	line := text("piece", 90_000)
	for i := range 3 { // as the agent cuts a line of 90,000 bytes where it may send 30,000
		b := f.batch(s, line[i*30_000:(i+1)*30_000])
		b.Part = i + 1
		if i == 2 {
			b.Parts = 3
		}
		p.Send(b)
	}
	if v := f.settled(); v.Split != 3 || v.Doubled+v.Truncated+v.Skipped > 0 {
		t.Errorf("want three pieces counted as split, got %+v", v)
	}
	recs := records(t, k, "small")
	if got := whole(t, recs); len(got) != 1 || got[0] != line {
		t.Errorf("want the line once it is joined, got %d lines", len(got))
	}
	first, last := recs[0], recs[len(recs)-1]
	n := strings.TrimPrefix(last.Header("part"), "3.")
	if first.Header("part") != "1.1" || first.Header("parts") != "" || last.Header("parts") != "3."+n {
		t.Errorf("want pieces 1.1 to 3.n with parts 3.n on the last, got %q %q to %q %q",
			first.Header("part"), first.Header("parts"), last.Header("part"), last.Header("parts"))
	}
}

func TestAPieceThatCompressesWorseIsSplitByItself(t *testing.T) {
	t.Parallel()
	k := limitedKafka(t, "small", 50_000)
	o := quick(k.Addrs())
	o.Compression = "zstd"
	p, _ := startProducer(t, o)
	f := newFlow(t, p)
	noise := make([]byte, 200_000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	line := strings.Repeat("z", 250_000) + string(noise)
	f.sendLines(entry("a", "small"), line)
	if v := f.settled(); v != (agent.Verdict{Split: 1}) {
		t.Errorf("want one line counted as split, got %+v", v)
	}
	recs := records(t, k, "small")
	if got := whole(t, recs); len(got) != 1 || got[0] != line {
		t.Errorf("want the line once it is joined, got %d lines, the first of %d bytes", len(got), len(got[0]))
	}
	if !slices.ContainsFunc(recs, func(r lab.Record) bool { return strings.HasPrefix(r.Header("part"), "2.") }) {
		t.Error("want the second piece split one level down, got none of its pieces")
	}
}

func TestLinesLongerThanATopicTakesAreTruncated(t *testing.T) {
	t.Parallel()
	k := limitedKafka(t, "small", 20_000)
	p, _ := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	s := entry("a", "small")
	s.Oversize = agent.OversizeTruncate
	long := strings.Repeat("日本語", 10_000)
	for range 20 {
		f.sendLines(s, "before", long, "after")
	}
	if v := f.settled(); v != (agent.Verdict{Truncated: 20}) {
		t.Errorf("want 20 lines counted as truncated, got %+v", v)
	}
	recs := records(t, k, "small")
	if len(recs) != 60 {
		t.Fatalf("want 60 records, got %d", len(recs))
	}
	for i, r := range recs {
		switch i % 3 {
		case 1:
			if !strings.HasPrefix(long, string(r.Value)) || len(r.Value)%3 != 0 || len(r.Value) < 9_000 || r.Header("part") != "" {
				t.Errorf("record %d: want a beginning of the line in whole characters, got %d bytes", i, len(r.Value))
			}
			if i > 45 && len(r.Value) < 16_000 { // the search is over by then
				t.Errorf("record %d: want nearly what the topic takes, got %d bytes", i, len(r.Value))
			}
		default:
			if want := []string{"before", "", "after"}[i%3]; string(r.Value) != want {
				t.Errorf("record %d: want %q, got %.40q", i, want, r.Value)
			}
		}
	}
}

func TestLinesLongerThanATopicTakesAreSkipped(t *testing.T) {
	t.Parallel()
	k := limitedKafka(t, "small", 20_000)
	p, _ := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	s := entry("a", "small")
	s.Oversize = agent.OversizeSkip
	for range 5 {
		f.sendLines(s, text("long", 60_000), "after", text("long", 60_000))
	}
	if v := f.settled(); v != (agent.Verdict{Skipped: 10}) {
		t.Errorf("want 10 lines counted as skipped, got %+v", v)
	}
	for i, r := range records(t, k, "small") {
		if string(r.Value) != "after" {
			t.Errorf("record %d: want only the short lines, got %d bytes", i, len(r.Value))
		}
	}
	if n := len(records(t, k, "small")); n != 5 {
		t.Errorf("want 5 records, got %d", n)
	}
}

func TestTheLimitOfATopicIsLearnedAndRemembered(t *testing.T) {
	t.Parallel()
	k := limitedKafka(t, "small", 50_000)
	p, _ := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	s := entry("a", "small")
	for range 10 { // learn
		f.sendLines(s, text("long", 500_000))
		f.settled()
	}
	seen := k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Observe: true, Count: -1})
	before := len(records(t, k, "small"))
	f.sendLines(s, text("long", 500_000))
	f.settled()
	pieces := len(records(t, k, "small")) - before
	// The line is tried once as it is, and then each piece is taken.
	if n := seen.Hits(); pieces < 10 || n > pieces+1 {
		t.Errorf("want at least 10 pieces in as many requests, got %d in %d", pieces, n)
	}
}

func TestATopicThatTakesNoLineIsRefusedInWords(t *testing.T) {
	t.Parallel()
	k := limitedKafka(t, "tiny", 100)
	createTopic(t, k, "fine", 1, nil)
	p, _ := startProducer(t, quick(k.Addrs()))
	p.Send(agent.NewBatch(entry("a", "tiny"), "/a", []byte("some line"), []agent.Line{{To: 9}}, func(*agent.Batch, agent.Verdict) {}))
	wait(t, "the topic refused", func() bool { return p.Topic("tiny").Health == agent.HealthRefused })
	if s := p.Topic("tiny"); !strings.Contains(s.Why, "takes no record of") {
		t.Errorf("want the cause in words, got %q", s.Why)
	}
	f := newFlow(t, p)
	f.send(entry("b", "fine"), 3)
	f.settled()
}

func TestLimitsAreFoundBySearchingAndForgotten(t *testing.T) {
	t.Parallel()
	for _, limit := range []int64{100, 1_000, 70_000, 899_999} {
		var l sizeLimit
		now := time.Now()
		tries := 0
		for range 40 {
			size := l.size(900_000)
			if size <= limit {
				l.accept(size)
			} else {
				tries++
				l.refuse(size, now)
			}
		}
		if tries > 17 {
			t.Errorf("limit %d: want it found in a few refusals, got %d", limit, tries)
		}
		if size := l.size(900_000); size > limit || size < limit*7/10 {
			t.Errorf("limit %d: want nearly that, got %d", limit, size)
		}
		l.forget(now.Add(limitMemory + time.Second))
		if size := l.size(900_000); size != 900_000 {
			t.Errorf("limit %d: want it forgotten after a while, got %d", limit, size)
		}
	}
}
