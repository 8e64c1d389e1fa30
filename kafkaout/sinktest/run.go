package sinktest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"logagent/agent"
)

// Fixture is one sink to be measured, with the world behind it.
type Fixture struct {
	Sink agent.Sink
	Host string // header host of what it stores; the headers host, service, path and offset must be on

	// Topics begins the names of all topics, where they share a cluster with others.
	Topics string

	// Received returns what stands in a topic now, in order within each partition.
	Received func(t testing.TB, topic string) []Received
	// CreateTopic makes a topic with several partitions if the sink can have them.
	CreateTopic func(t testing.TB, topic string)
	// Block keeps written batches of a topic without an answer until the returned
	// function is called.
	Block func(t testing.TB, topic string) (unblock func())
	// Refuse has a topic refused for good until the returned function is called.
	Refuse func(t testing.TB, topic string) (allow func())
	// Written waits until the sink has written something to a blocked topic.
	Written func(t testing.TB, topic string)
}

// Factory makes a fixture for one test, which cleans up behind it.
type Factory func(t *testing.T) Fixture

// Run holds a sink to what agent.Sink promises.
func Run(t *testing.T, factory Factory) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Fixture)
	}{
		{"EveryBatchGetsExactlyOneVerdict", everyBatchGetsExactlyOneVerdict},
		{"BytesHeadersAndKeysArriveExactly", bytesHeadersAndKeysArriveExactly},
		{"LinesOfOnePathStayInOrderWithinAPartition", linesOfOnePathStayInOrder},
		{"PiecesOfALineStayTogether", piecesOfALineStayTogether},
		{"RefusedTopicHoldsOnlyItself", refusedTopicHoldsOnlyItself},
		{"RecallTakesBackWhatNoBrokerHas", recallTakesBackWhatNoBrokerHas},
		{"RecallLeavesWhatMayBeStored", recallLeavesWhatMayBeStored},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := factory(t)
			c.test(t, f)
		})
	}
}

func service(name, topic string, p agent.Partitioning) *agent.Service {
	return &agent.Service{Service: name, LogPath: "/var/log/" + name + "/*.log", Topic: topic, Partition: p}
}

func everyBatchGetsExactlyOneVerdict(t *testing.T, f Fixture) {
	const files, batches, perBatch = 8, 60, 5
	l := newLedger(t)
	want := make(map[string]int)
	var group sync.WaitGroup
	for topic := range 2 {
		name := f.Topics + "every-" + strconv.Itoa(topic)
		f.CreateTopic(t, name)
		for file := range files {
			s := service("app"+strconv.Itoa(file), name, agent.PartitionRandom)
			path := fmt.Sprintf("/var/log/%s/%d.log", name, file)
			var all []*agent.Batch
			start := int64(0)
			for i := range batches {
				var lines []string
				for j := range perBatch {
					line := fmt.Sprintf("%s line %d", path, i*perBatch+j)
					want[line]++
					lines = append(lines, line)
				}
				b := l.batch(s, path, start, lines...)
				start = b.End
				all = append(all, b)
			}
			group.Go(func() {
				for _, b := range all {
					f.Sink.Send(b)
				}
			})
		}
	}
	group.Wait()
	l.good()
	for topic := range 2 {
		for _, r := range f.Received(t, f.Topics+"every-"+strconv.Itoa(topic)) {
			want[string(r.Value)]--
		}
	}
	lost, doubled, foreign := 0, 0, 0
	for line, n := range want {
		switch {
		case n > 0:
			lost++
		case n < 0 && len(line) > 0 && line[0] == '/':
			doubled -= n
		case n < 0:
			foreign++
		}
	}
	if lost+doubled+foreign > 0 {
		t.Errorf("want every line once, got lost %d, doubled %d, foreign %d", lost, doubled, foreign)
	}
	if link := f.Sink.Link(); !link.Up || link.Error != "" {
		t.Errorf("want the link up after acknowledgements, got %+v", link)
	}
	poll(t, "the topic ok", func() bool {
		s := f.Sink.Topic(f.Topics + "every-0")
		return s.Health == agent.HealthOK && s.Why == ""
	})
	if s := f.Sink.Topic("never-seen"); s != (agent.TopicState{}) {
		t.Errorf("want the zero state of a topic never seen, got %+v", s)
	}
}

func bytesHeadersAndKeysArriveExactly(t *testing.T, f Fixture) {
	const path = "/var/log/exact/ü b.log"
	topic := f.Topics + "exact"
	f.CreateTopic(t, topic)
	lines := []string{"plain", "\xff\xfe\x00binary\x00", "umlauts äöü 世界", "\ttabs and  blanks ", "a\rb", "{\"json\": true}", "x"}
	for _, p := range []agent.Partitioning{"", agent.PartitionRandom, agent.PartitionFile, agent.PartitionHost, agent.PartitionService} {
		s := service("exact-"+string(p), topic, p)
		l := newLedger(t)
		b := l.batch(s, path, 1_000_000, lines...)
		at := time.Date(2026, 2, 3, 4, 5, 6, 789_123_456, time.UTC)
		b.Read = at
		f.Sink.Send(b)
		l.good()
		var got []Received
		for _, r := range f.Received(t, topic) {
			if r.Service == s.Service {
				got = append(got, r)
			}
		}
		if len(got) != len(lines) {
			t.Fatalf("partition %q: want %d records, got %d", p, len(lines), len(got))
		}
		offset := b.Start
		for i, r := range got {
			want := Received{Topic: topic, Key: recordKey(s, path, f.Host), Value: []byte(lines[i]), Host: f.Host, Service: s.Service, Path: path, Offset: offset}
			offset += int64(len(lines[i])) + 1
			if string(r.Value) != string(want.Value) || string(r.Key) != string(want.Key) || (r.Key == nil) != (want.Key == nil) ||
				r.Host != want.Host || r.Service != want.Service || r.Path != want.Path || r.Offset != want.Offset || r.Part != "" || r.Parts != "" {
				t.Errorf("partition %q line %d: want %+v, got %+v", p, i, want, r)
			}
			if !r.Timestamp.Equal(at.Truncate(time.Millisecond)) {
				t.Errorf("partition %q line %d: want timestamp %v, got %v", p, i, at.Truncate(time.Millisecond), r.Timestamp)
			}
			if r.Partition != got[0].Partition {
				t.Errorf("partition %q: want the lines of a batch in one partition, got %d and %d", p, got[0].Partition, r.Partition)
			}
		}
	}
}

func linesOfOnePathStayInOrder(t *testing.T, f Fixture) {
	const batches = 200
	topic := f.Topics + "order"
	f.CreateTopic(t, topic)
	l := newLedger(t)
	for _, p := range []agent.Partitioning{agent.PartitionRandom, agent.PartitionFile} {
		s := service("order-"+string(p), topic, p)
		path, start := "/var/log/order/"+string(p), int64(0)
		for i := range batches {
			b := l.batch(s, path, start, strconv.Itoa(2*i), strconv.Itoa(2*i+1))
			start = b.End
			f.Sink.Send(b)
		}
	}
	l.good()
	last := make(map[string]int) // by service and partition
	partitions := make(map[int32]bool)
	count := 0
	for _, r := range f.Received(t, topic) {
		n, err := strconv.Atoi(string(r.Value))
		if err != nil {
			t.Fatalf("want a number, got %q", r.Value)
		}
		key := fmt.Sprint(r.Service, r.Partition)
		if before, ok := last[key]; ok && n <= before {
			t.Errorf("%s partition %d: want lines in order, got %d after %d", r.Service, r.Partition, n, before)
		}
		last[key] = n
		count++
		if r.Service == "order-file" {
			partitions[r.Partition] = true
		}
	}
	if count != 4*batches {
		t.Errorf("want %d records, got %d", 4*batches, count)
	}
	if len(partitions) != 1 {
		t.Errorf("want a file's records in one partition where its entry asks for it, got %d", len(partitions))
	}
}

func piecesOfALineStayTogether(t *testing.T, f Fixture) {
	const path, lines, parts = "/var/log/pieces/a.log", 12, 4
	topic := f.Topics + "pieces"
	f.CreateTopic(t, topic)
	s := service("pieces", topic, agent.PartitionRandom)
	l := newLedger(t)
	start := int64(0)
	for line := range lines {
		for part := 1; part <= parts; part++ {
			b := l.batch(s, path, start, fmt.Sprintf("line %d piece %d", line, part))
			b.Part, start = part, b.End
			if part == parts {
				b.Parts = parts
			}
			f.Sink.Send(b)
		}
	}
	l.good()
	at := make(map[int]int32)
	next := make(map[int]int)
	for _, r := range f.Received(t, topic) {
		var line, piece int
		if _, err := fmt.Sscanf(string(r.Value), "line %d piece %d", &line, &piece); err != nil {
			t.Fatalf("want a piece, got %q", r.Value)
		}
		if before, ok := at[line]; ok && before != r.Partition {
			t.Errorf("line %d: want all pieces in one partition, got %d and %d", line, before, r.Partition)
		}
		at[line] = r.Partition
		next[line]++
		wantParts := ""
		if piece == parts {
			wantParts = strconv.Itoa(parts)
		}
		if piece != next[line] || r.Part != strconv.Itoa(piece) || r.Parts != wantParts {
			t.Errorf("line %d: want piece %d with parts %q, got %q with part %q parts %q", line, next[line], wantParts, r.Value, r.Part, r.Parts)
		}
	}
	for line := range lines {
		if next[line] != parts {
			t.Errorf("line %d: want %d pieces, got %d", line, parts, next[line])
		}
	}
}

func refusedTopicHoldsOnlyItself(t *testing.T, f Fixture) {
	closedTopic := f.Topics + "closed"
	openTopic := f.Topics + "open"
	f.CreateTopic(t, closedTopic)
	f.CreateTopic(t, openTopic)
	allow := f.Refuse(t, closedTopic)
	l := newLedger(t)
	held := l.batch(service("closed", closedTopic, ""), "/var/log/closed/a", 0, "one", "two")
	f.Sink.Send(held)
	free := l.batch(service("open", openTopic, ""), "/var/log/open/a", 0, "three")
	f.Sink.Send(free)
	if v := l.wait(free); v.Err != nil {
		t.Errorf("want the other topic to flow, got %v", v.Err)
	}
	poll(t, "the topic shown as refused", func() bool { return f.Sink.Topic(closedTopic).Health == agent.HealthRefused })
	if s := f.Sink.Topic(closedTopic); s.Why == "" || s.Since.IsZero() {
		t.Errorf("want the refusal's cause and time, got %+v", s)
	}
	if !l.open(held) {
		t.Errorf("want the refused batch held, got %+v", l.wait(held))
	}
	allow()
	l.good()
	poll(t, "the topic ok again", func() bool { return f.Sink.Topic(closedTopic).Health == agent.HealthOK })
	if got := f.Received(t, closedTopic); len(got) != 2 {
		t.Errorf("want the 2 lines of the refused topic once it is allowed, got %d", len(got))
	}
}

func recallTakesBackWhatNoBrokerHas(t *testing.T, f Fixture) {
	goneTopic := f.Topics + "gone"
	f.CreateTopic(t, goneTopic)
	allow := f.Refuse(t, goneTopic)
	l := newLedger(t)
	var mine, other []*agent.Batch
	for i := range 10 {
		mine = append(mine, l.batch(service("mine", goneTopic, ""), "/var/log/mine/a", int64(i)*100, "mine "+strconv.Itoa(i)))
		other = append(other, l.batch(service("other", goneTopic, ""), "/var/log/other/a", int64(i)*100, "other "+strconv.Itoa(i)))
		f.Sink.Send(mine[i])
		f.Sink.Send(other[i])
	}
	poll(t, "the topic shown as refused", func() bool { return f.Sink.Topic(goneTopic).Health == agent.HealthRefused })
	f.Sink.Recall(mine[0].Service.LogPath)
	for i, b := range mine {
		if v := l.wait(b); !errors.Is(v.Err, agent.ErrRecalled) {
			t.Errorf("batch %d of the recalled entry: want ErrRecalled, got %+v", i, v)
		}
	}
	// What is sent after the recall belongs to the new order of things.
	later := l.batch(mine[0].Service, "/var/log/mine/a", 0, "mine again")
	f.Sink.Send(later)
	allow()
	for i, b := range append(other, later) {
		if v := l.wait(b); v.Err != nil {
			t.Errorf("batch %d of what was not recalled: want success, got %+v", i, v)
		}
	}
	var got []string
	for _, r := range f.Received(t, goneTopic) {
		if r.Service == "mine" {
			got = append(got, string(r.Value))
		}
	}
	if !slices.Equal(got, []string{"mine again"}) {
		t.Errorf("want nothing of the recalled batches in the topic, got %q", got)
	}
}

func recallLeavesWhatMayBeStored(t *testing.T, f Fixture) {
	halfTopic := f.Topics + "half"
	f.CreateTopic(t, halfTopic)
	unblock := f.Block(t, halfTopic)
	l := newLedger(t)
	written := l.batch(service("half", halfTopic, agent.PartitionService), "/var/log/half/a", 0, "written")
	f.Sink.Send(written)
	f.Written(t, halfTopic)
	f.Sink.Recall(written.Service.LogPath)
	if !l.open(written) {
		t.Errorf("want a written batch left without a verdict by a recall, got %+v", l.wait(written))
	}
	unblock()
	if v := l.wait(written); v != (agent.Verdict{}) {
		t.Errorf("want success once the broker has answered, got %+v", v)
	}
	l.good()
	if got := f.Received(t, halfTopic); len(got) != 1 {
		t.Errorf("want the line once, got %d", len(got))
	}
}
