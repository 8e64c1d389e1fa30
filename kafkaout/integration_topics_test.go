package kafkaout

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"logagent/agent"
)

// Parts of the suite: what becomes of a topic, of the right to write to it, and of what it
// takes.

func topicMissing(t *testing.T, r rig) {
	p, f, there := begin(t, r, "there", 1)
	missing := r.name("missing")
	late := slow(newFlow(t, p))
	late.send(entry("a", missing), 3)
	wait(t, "the topic refused", func() bool { return p.Topic(missing).Health == agent.HealthRefused })
	if want, got := "topic "+missing+" does not exist and the broker does not create it", p.Topic(missing).Why; got != want {
		t.Errorf("want the cause %q, got %q", want, got)
	}
	f.send(entry("b", there), 3)
	exactlyBeside(t, r, f, late)
	r.create(t, missing, 2, 3, nil)
	exact(t, r, late)
	wait(t, "the topic ok", func() bool { return p.Topic(missing).Health == agent.HealthOK })
}

// exactlyBeside is exact for a flow whose producer still holds another one's batches.
func exactlyBeside(t *testing.T, r rig, f, held *flow) {
	t.Helper()
	if v := f.settled(); v != (agent.Verdict{}) {
		t.Errorf("want nothing counted, got %+v", v)
	}
	if held.openBatches() == 0 {
		t.Error("want the other flow held: else this shows nothing")
	}
	f.compare(r)
}

func topicDeletedAndCreatedAgain(t *testing.T, r rig) {
	p, f, topic := begin(t, r, "again", 4)
	for round, partitions := range []int{2, 5, 5} { // fewer, more, as many
		for i := range 30 {
			f.send(entry(fmt.Sprintf("before-%d-%d", round, i), topic), 2)
		}
		exact(t, r, f)
		r.remove(t, topic)
		f = slow(newFlow(t, p))
		for i := range 30 {
			f.send(entry(fmt.Sprintf("after-%d-%d", round, i), topic), 2)
		}
		wait(t, "the topic missed", func() bool { return p.Topic(topic).Health == agent.HealthRefused })
		r.create(t, topic, partitions, 3, nil)
	}
	// The sequences of the producer id went on, or a new one began; both must do.
	exact(t, r, f)
}

// What is acknowledged in a topic goes with it: nothing but the lines sent once it is there
// again can be counted on, and those must all be there; of the others none is doubled.
func topicDeletedUnderTraffic(t *testing.T, r rig) {
	p, f, topic := begin(t, r, "deleted", 4)
	f.tag = "before "
	stop := f.stream(topic, 6)
	f.progress(30)
	r.remove(t, topic)
	wait(t, "the topic missed", func() bool { return p.Topic(topic).Health == agent.HealthRefused })
	r.create(t, topic, 3, 3, nil)
	f.progress(30)
	stop()
	v := f.settled()
	after := slow(newFlow(t, p))
	for i := range 50 {
		after.send(entry(fmt.Sprintf("after-%d", i), topic), 3)
	}
	if late := after.settled(); late != (agent.Verdict{}) {
		t.Errorf("want nothing counted once the topic is there, got %+v", late)
	}
	left := make(map[string]int)
	for _, flow := range []*flow{f, after} {
		flow.mu.Lock()
		for line, n := range flow.sent[topic] {
			left[line] += n
		}
		flow.mu.Unlock()
	}
	doubled := 0
	for _, rec := range records(t, r, topic) {
		n, known := left[string(rec.Value)]
		switch {
		case !known:
			t.Errorf("foreign line %q", rec.Value)
		case n <= 0:
			doubled++
		}
		left[string(rec.Value)] = n - 1
	}
	if doubled > v.Doubled {
		t.Errorf("want no line doubled that is not counted, got %d with %d counted", doubled, v.Doubled)
	}
	for line, n := range left {
		if n > 0 && !strings.HasPrefix(line, "before ") {
			t.Errorf("line %q was sent once the topic was there again, and is lost", line)
		}
	}
}

func partitionsAdded(t *testing.T, r rig) {
	p, f, topic := begin(t, r, "wider", 1)
	stop := f.stream(topic, 6)
	f.progress(30)
	r.widen(t, topic, 5)
	p.mu.Lock()
	p.askMap()
	p.mu.Unlock()
	wait(t, "records in all partitions", func() bool {
		f.progress(20)
		used := make(map[int32]bool)
		for _, rec := range records(t, r, topic) {
			used[rec.Partition] = true
		}
		return len(used) == 5
	})
	stop()
	exact(t, r, f)
}

// narrow makes a topic of one partition that takes at most limit bytes in a record batch.
func narrow(t *testing.T, r rig, topic string, limit int) (*flow, string) {
	t.Helper()
	topic = r.name(topic)
	r.create(t, topic, 1, 3, map[string]string{"max.message.bytes": strconv.Itoa(limit)})
	_, f := produce(t, r)
	return f, topic
}

func tooLargeIsSplit(t *testing.T, r rig) {
	f, topic := narrow(t, r, "split", 50_000)
	var want []string
	for i := range 6 {
		lines := []string{text("short", 100), text("long", 400_000), text("short", 3000), text("long", 70_000), strings.Repeat("z", 300_000), text("last", 10)}
		want = append(want, lines[:1+i]...)
		f.sendLines(entry("a", topic), lines[:1+i]...)
	}
	if v := f.settled(); v.Doubled+v.Truncated+v.Skipped > 0 || v.Split < 8 {
		t.Errorf("want 8 to 10 lines counted as split and nothing else, got %+v", v)
	}
	if got := whole(t, records(t, r, topic)); !slices.Equal(got, want) {
		t.Errorf("want the %d lines put together again as they were sent, got %d others", len(want), len(got))
	}
	if n := held(t, f.p); n != 0 {
		t.Errorf("want nothing held, got %d bytes", n)
	}
}

func tooLargeIsTruncated(t *testing.T, r rig) {
	f, topic := narrow(t, r, "truncated", 20_000)
	s := entry("a", topic)
	s.Oversize = agent.OversizeTruncate
	var long []string
	for range 10 {
		long = append(long, text("long", 90_000))
		f.sendLines(s, "before", long[len(long)-1], "after")
	}
	if v := f.settled(); v != (agent.Verdict{Truncated: 10}) {
		t.Errorf("want 10 lines counted as truncated, got %+v", v)
	}
	recs := records(t, r, topic)
	if len(recs) != 30 {
		t.Fatalf("want 30 records, got %d", len(recs))
	}
	for i, rec := range recs {
		switch value := string(rec.Value); {
		case i%3 == 1 && (!strings.HasPrefix(long[i/3], value) || len(value) < 9_000 || len(value) > 20_000):
			t.Errorf("record %d: want a beginning of its line that the topic takes, got %d bytes", i, len(value))
		case i%3 == 0 && value != "before", i%3 == 2 && value != "after":
			t.Errorf("record %d: want the short line, got %.40q", i, value)
		}
	}
}

func tooLargeIsSkipped(t *testing.T, r rig) {
	f, topic := narrow(t, r, "skipped", 20_000)
	s := entry("a", topic)
	s.Oversize = agent.OversizeSkip
	for i := range 5 {
		f.sendLines(s, text("long", 60_000), "after "+strconv.Itoa(i), text("long", 60_000))
	}
	if v := f.settled(); v != (agent.Verdict{Skipped: 10}) {
		t.Errorf("want 10 lines counted as skipped, got %+v", v)
	}
	var got []string
	for _, rec := range records(t, r, topic) {
		got = append(got, string(rec.Value))
	}
	if want := []string{"after 0", "after 1", "after 2", "after 3", "after 4"}; !slices.Equal(got, want) {
		t.Errorf("want the short lines alone, got %d records", len(got))
	}
}

func writingRefusedThenGranted(t *testing.T, r rig) {
	refusedThenGranted(t, r, "denied", r.deny)
}

func topicHiddenThenShown(t *testing.T, r rig) {
	refusedThenGranted(t, r, "hidden", r.hide)
}

// refusedThenGranted takes a right away in the middle of things and gives it back; another
// topic flows all the while.
func refusedThenGranted(t *testing.T, r rig, name string, deny func(testing.TB, string) func()) {
	p, f, topic := begin(t, r, name, 3)
	open := r.name("open-beside-" + name)
	r.create(t, open, 3, 3, nil)
	stop := f.stream(topic, 5)
	f.progress(20)
	within := bounded(t, p, 2*mostHeld)
	grant := deny(t, topic)
	wait(t, "the topic refused", func() bool { return p.Topic(topic).Health == agent.HealthRefused })
	if want, got := "not authorized for topic "+topic, p.Topic(topic).Why; got != want {
		t.Errorf("want the cause %q, got %q", want, got)
	}
	free := slow(newFlow(t, p))
	stopFree := free.stream(open, 5)
	free.progress(100)
	stopFree()
	wait(t, "the refused topic's files to wait", func() bool { return f.openBatches() == mostOpen })
	grant()
	f.progress(mostOpen + 20)
	stop()
	within()
	exact(t, r, f, free)
}

func throttledByAQuota(t *testing.T, r rig) {
	p, f, topic := begin(t, r, "quota", 3)
	f.send(entry("warm", topic), 1)
	f.settled()
	within := bounded(t, p, 200_000)
	end := r.throttle(t)
	said := false
	for i := 0; i < 20 || !said; i++ {
		if i == 500 {
			t.Fatalf("want the quota shown, %d lines went without that", i)
		}
		f.sendLines(entry(fmt.Sprintf("q-%d", i%10), topic), text("quota", 12_000)) // random, so that nothing makes it small
		wait(t, "room for another one, or the quota shown", func() bool {
			s := p.Topic(topic)
			said = said || s.Health == agent.HealthSlow && strings.HasPrefix(s.Why, "the quota of broker ")
			return f.openBatches() < 8
		})
	}
	// The last of them were held back by the broker's wish alone, and are written all the same.
	if v := f.settled(); v != (agent.Verdict{}) {
		t.Errorf("want nothing counted, got %+v", v)
	}
	end()
	exact(t, r, f)
	within()
}
