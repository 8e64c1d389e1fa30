package kafkaout

import (
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logagent/agent"
	"logagent/kafkaout/sinktest"
)

// The suite: what can happen to a cluster, and that no line is lost, doubled, corrupt or
// foreign by it. It runs on the Kafka inside the process and on real Apache Kafka.
var suite = []struct {
	name string
	test func(t *testing.T, r rig)
}{
	{"EveryCompressionArrives", everyCompressionArrives},
	{"LeadersMove", leadersMove},
	{"ARequestCutInTheMiddleIsSentAgain", requestCutInTheMiddle},
	{"AnAnswerLostWithItsConnectionDoublesNothing", answerLostWithItsConnection},
	{"AnAnswerThatNeverComesDoublesNothing", answerThatNeverComes},
	{"ALeaderReplacedAfterTheAppendDoublesNothing", leaderReplacedAfterTheAppend},
	{"ConnectionsCutAgainAndAgain", connectionsCut},
	{"TopicMissingUntilItIsCreated", topicMissing},
	{"TopicDeletedAndCreatedAgain", topicDeletedAndCreatedAgain},
	{"TopicDeletedUnderTraffic", topicDeletedUnderTraffic},
	{"PartitionsAddedUnderTraffic", partitionsAdded},
	{"RecordsTooLargeAreSplit", tooLargeIsSplit},
	{"RecordsTooLargeAreTruncated", tooLargeIsTruncated},
	{"RecordsTooLargeAreSkipped", tooLargeIsSkipped},
	{"SequenceBeginsNearItsWrap", sequenceNearItsWrap},
	{"OutOfOrderSequenceBeginsAnew", outOfOrderSequence},
	{"FencedProducerBeginsAnew", fencedProducer},
	{"ForgottenProducerGoesOn", forgottenProducer},
	{"WritingRefusedThenGranted", writingRefusedThenGranted},
	{"TopicHiddenThenShown", topicHiddenThenShown},
	{"ThrottledByAQuota", throttledByAQuota},
	{"StatusGoesRound", statusGoesRound},
	{"TimedOutAfterTheAppend", timedOutAfterTheAppend},
	{"NotEnoughReplicasForLong", notEnoughReplicasForLong},
	{"NoLeaderForLong", noLeaderForLong},
	{"BrokerStoppedAndBack", brokerStoppedAndBack},
	{"BrokerKilledAndBack", brokerKilledAndBack},
	{"AllBrokersKilledAndBack", allBrokersKilledAndBack},
	{"OneDeadBrokerOfThreeLeavesTheOthersFlowing", oneDeadBrokerOfThree},
	{"FrozenBrokerLeavesTheOthersFlowing", frozenBroker},
	{"EverythingAtOnce", everythingAtOnce},
}

func TestIntegration(t *testing.T) {
	t.Parallel()
	for _, c := range suite {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, newFakeRig(t))
		})
	}
}

// Not parallel, nor are its parts: they hurt the same brokers.
func TestIntegrationOnRealKafka(t *testing.T) {
	r := startReal(t)
	for _, c := range suite {
		t.Run(c.name, func(t *testing.T) { c.test(t, r) })
	}
	t.Run("Sink", func(t *testing.T) {
		t.Run("plain", func(t *testing.T) { sinktest.Run(t, r.sinks("plain-", "none")) })
		t.Run("zstd", func(t *testing.T) { sinktest.Run(t, r.sinks("zstd-", "zstd")) })
	})
}

// mostOpen is how many batches stream leaves open, and mostHeld what they may weigh.
const (
	mostOpen = 64
	mostHeld = mostOpen * 20 * 100
)

// begin runs a producer and a flow for a test, with a topic of some partitions and three
// replicas.
func begin(t *testing.T, r rig, topic string, partitions int, change ...func(*Options)) (*Producer, *flow, string) {
	t.Helper()
	topic = r.name(topic)
	r.create(t, topic, partitions, 3, nil)
	p, f := produce(t, r, change...)
	return p, f, topic
}

func produce(t *testing.T, r rig, change ...func(*Options)) (*Producer, *flow) {
	t.Helper()
	o := r.options()
	for _, c := range change {
		c(&o)
	}
	p, _ := startProducer(t, o)
	return p, slow(newFlow(t, p))
}

// slow is a pace at which a broker is busy and the test's reading of the topic is not.
func slow(f *flow) *flow {
	f.pace = time.Millisecond
	return f
}

// exact ends a flow: nothing was counted, nothing is held any more, and every line stands
// in its topic once.
func exact(t *testing.T, r rig, f *flow, others ...*flow) {
	t.Helper()
	for _, o := range append(others, f) {
		if v := o.settled(); v != (agent.Verdict{}) {
			t.Errorf("want nothing counted, got %+v", v)
		}
	}
	if n := held(t, f.p); n != 0 {
		t.Errorf("want nothing held when all is answered, got %d bytes", n)
	}
	f.compare(r, others...)
}

// bounded watches what the producer holds until the returned function is called.
func bounded(t *testing.T, p *Producer, most int) (stop func()) {
	t.Helper()
	end := make(chan struct{})
	var group sync.WaitGroup
	var largest int
	group.Go(func() {
		for tick := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-end:
				tick.Stop()
				return
			case <-tick.C:
				largest = max(largest, held(t, p))
			}
		}
	})
	over := sync.OnceFunc(func() {
		close(end)
		group.Wait()
	})
	t.Cleanup(over) // where the test ended before it called stop
	return func() {
		t.Helper()
		over()
		if largest > most {
			t.Errorf("want at most %d bytes held, got %d", most, largest)
		}
	}
}

func everyCompressionArrives(t *testing.T, r rig) {
	for _, c := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		_, f, topic := begin(t, r, "packed-"+c, 6, func(o *Options) { o.Compression = c })
		for i := range 200 {
			s := entry(fmt.Sprintf("%s-%d", c, i%30), topic)
			s.Partition = []agent.Partitioning{"", agent.PartitionFile, agent.PartitionHost, agent.PartitionService}[i%4]
			f.send(s, 1+i%40)
		}
		exact(t, r, f)
	}
}

func leadersMove(t *testing.T, r rig) {
	p, f, topic := begin(t, r, "moving", 4)
	stop, within := f.stream(topic, 6), bounded(t, p, mostHeld)
	for i := range 12 {
		f.progress(20)
		r.lead(t, topic, i%4, (i/4+i+1)%3)
	}
	f.progress(20)
	stop()
	exact(t, r, f)
	within()
}

func requestCutInTheMiddle(t *testing.T, r rig) {
	front := r.front(t)
	_, f, topic := begin(t, r, "cut-inside", 3)
	stop := f.stream(topic, 6)
	for _, bytes := range []int{1, 4, 12, 40, 61, 100, 150, 300, 1 << 20} {
		f.progress(5)
		cut := front.trouble(cutInside, bytes, 2)
		wait(t, "two requests cut", func() bool { return front.hits(cut) == 2 })
	}
	f.progress(20)
	stop()
	exact(t, r, f)
}

func answerLostWithItsConnection(t *testing.T, r rig) {
	front := r.front(t)
	_, f, topic := begin(t, r, "answer-lost", 3)
	stop := f.stream(topic, 6)
	for range 10 {
		f.progress(5)
		cut := front.trouble(cutAfter, 0, 2)
		wait(t, "two answers lost", func() bool { return front.hits(cut) == 2 })
	}
	f.progress(20)
	stop()
	exact(t, r, f)
}

func answerThatNeverComes(t *testing.T, r rig) {
	front := r.front(t)
	p, f, topic := begin(t, r, "silence", 3, func(o *Options) { o.Timeout = 700 * time.Millisecond })
	stop, within := f.stream(topic, 6), bounded(t, p, mostHeld)
	for range 2 {
		f.progress(5)
		mute := front.trouble(swallow, 0, 3)
		wait(t, "three answers swallowed", func() bool { return front.hits(mute) == 3 })
	}
	f.progress(20)
	stop()
	exact(t, r, f)
	within()
}

// A leader that loses its place while it waits for the replicas says that it is none,
// although the next one has what it was given.
func leaderReplacedAfterTheAppend(t *testing.T, r rig) {
	front := r.front(t)
	_, f, topic := begin(t, r, "replaced", 1)
	stop := f.stream(topic, 6)
	for range 10 {
		f.progress(5)
		lie := front.trouble(misname, int(kerr.NotLeaderForPartition.Code), 1)
		wait(t, "the leader denied", func() bool { return front.hits(lie) == 1 })
	}
	f.progress(20)
	stop()
	exact(t, r, f)
}

func connectionsCut(t *testing.T, r rig) {
	front := r.front(t)
	_, f, topic := begin(t, r, "cuts", 4)
	stop := f.stream(topic, 5)
	for range 15 {
		f.progress(5)
		front.cut()
	}
	f.progress(20)
	stop()
	exact(t, r, f)
}

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

func sequenceNearItsWrap(t *testing.T, r rig) {
	topic := r.name("wrap")
	r.create(t, topic, 2, 3, nil)
	_, warm := produce(t, r)
	for i := range 10 { // where nothing stands some brokers take no sequence but 0
		s := entry(fmt.Sprintf("warm-%d", i), topic)
		s.Partition = agent.PartitionService
		warm.send(s, 1)
	}
	warm.settled()
	p, _ := startProducer(t, r.options(), func(p *Producer) { p.firstSeq = lastSequence - 30 })
	f := newFlow(t, p)
	var first producerID
	for i := range 60 {
		s := entry(fmt.Sprintf("wrap-%d", i%10), topic)
		s.Partition = agent.PartitionService
		f.send(s, 2)
		f.settled()
		p.mu.Lock()
		if i == 0 {
			first = p.id
		}
		p.mu.Unlock()
	}
	exact(t, r, f, warm)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.id == first || !p.id.ok {
		t.Errorf("want a new producer id in place of %+v, got %+v", first, p.id)
	}
	for _, part := range p.topics[topic].partitions {
		if part.seq > 2000 {
			t.Errorf("partition %d: want the new id's sequence to begin at 0, got %d", part.index, part.seq)
		}
	}
}

// outOfOrderSequence leaves a gap in a partition's sequence, which the broker refuses.
func outOfOrderSequence(t *testing.T, r rig) {
	p, f, topic := begin(t, r, "gap", 1)
	f.send(entry("a", topic), 3)
	f.settled()
	p.mu.Lock()
	before := p.id
	p.topics[topic].partitions[0].seq += 5
	p.mu.Unlock()
	f.send(entry("a", topic), 4)
	f.send(entry("a", topic), 4)
	exact(t, r, f)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.id == before {
		t.Error("want a new producer id, got the one whose sequence has a gap: nothing was refused")
	}
}

// fencedProducer has somebody else write under the same producer id and a later epoch.
func fencedProducer(t *testing.T, r rig) {
	p, f, topic := begin(t, r, "fenced", 1)
	f.send(entry("a", topic), 3)
	f.settled()
	p.mu.Lock()
	before := p.id
	p.mu.Unlock()
	usurp(t, r, topic, before)
	f.send(entry("a", topic), 4)
	f.send(entry("a", topic), 4)
	if v := f.settled(); v != (agent.Verdict{}) {
		t.Errorf("want nothing counted, got %+v", v)
	}
	f.mu.Lock()
	f.sent[topic]["usurped"] = 1
	f.mu.Unlock()
	f.compare(r)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.id == before {
		t.Error("want a new producer id, got the one that was fenced")
	}
}

// usurp writes one record under the next epoch of a producer id.
func usurp(t *testing.T, r rig, topic string, id producerID) {
	t.Helper()
	record := kmsg.Record{Value: []byte("usurped")}
	record.Length = int32(len(record.AppendTo(nil)) - 1)
	batch := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, FirstTimestamp: time.Now().UnixMilli(), MaxTimestamp: time.Now().UnixMilli(),
		ProducerID: id.id, ProducerEpoch: id.epoch + 1, FirstSequence: 0, NumRecords: 1, Records: record.AppendTo(nil),
	}
	raw := batch.AppendTo(nil)
	batch.Length = int32(len(raw) - 12)
	batch.CRC = int32(crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	cl := r.client(t)
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 5000
	req.Topics = []kmsg.ProduceRequestTopic{{Topic: topic, Partitions: []kmsg.ProduceRequestTopicPartition{{Records: batch.AppendTo(nil)}}}}
	leader, topicID := leaderOf(t, r, topic)
	req.Topics[0].TopicID = topicID // newer versions want this in place of the name
	res, err := req.RequestWith(ctx, cl.Broker(int(leader)))
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(res.Topics[0].Partitions[0].ErrorCode); err != nil {
		t.Fatalf("a later epoch of the producer was refused: %v", err)
	}
}

// leaderOf is the id of the leader of partition 0, and the topic's own.
func leaderOf(t *testing.T, r rig, topic string) (int32, [16]byte) {
	t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	mt := kmsg.NewMetadataRequestTopic()
	mt.Topic = &topic
	req.Topics = []kmsg.MetadataRequestTopic{mt}
	res, err := req.RequestWith(t.Context(), r.client(t))
	if err != nil {
		t.Fatal(err)
	}
	return res.Topics[0].Partitions[0].Leader, res.Topics[0].TopicID
}

func forgottenProducer(t *testing.T, r rig) {
	_, f, topic := begin(t, r, "forgotten", 2)
	for range 3 {
		for i := range 10 {
			f.send(entry(fmt.Sprintf("a-%d", i), topic), 3)
		}
		f.settled()
		r.forget(t, topic)
	}
	f.send(entry("a", topic), 3)
	exact(t, r, f)
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

// statusGoesRound creates the status topic, writes and reads it, and cuts both off.
func statusGoesRound(t *testing.T, r rig) {
	front := r.front(t)
	topic := r.name("status")
	v, reader := startReaderOf(t, StatusReaderOptions{Cluster: r.options(), Topic: topic})
	s := newSource("web-7")
	s.look(true)
	startWriterOf(t, r.options(), topic, s, 50*time.Millisecond)
	for range 3 {
		before, _ := v.count("web-7")
		wait(t, "three more summaries", func() bool { n, _ := v.count("web-7"); return n >= before+3 })
		front.cut()
	}
	wait(t, "details", func() bool { _, n := v.count("web-7"); return n > 0 })
	wait(t, "the reader's link up", func() bool { return reader.Link().Up })
	v.mu.Lock()
	defer v.mu.Unlock()
	last := uint64(0)
	for _, got := range v.summaries["web-7"] {
		if got.Seq < last || got.Lag != 77 || got.StateID != "state-web-7" {
			t.Errorf("want the summaries in order and as they were written, got %+v after %d", got, last)
		}
		last = got.Seq
	}
}

// timedOutAfterTheAppend has a replica that is in sync and answers no more: the leader has
// appended, waits, and gives up waiting.
func timedOutAfterTheAppend(t *testing.T, r rig) {
	r.mayStop(t)
	p, f, topic := begin(t, r, "stalled", 1)
	stop, within := f.stream(topic, 6), bounded(t, p, mostHeld)
	f.progress(20)
	end := r.stall(t, topic)
	wait(t, "the topic slow, with its cause", func() bool {
		s := p.Topic(topic)
		return s.Health == agent.HealthSlow && strings.Contains(s.Why, "the replicas do not answer in time")
	})
	end()
	f.progress(mostOpen + 20)
	stop()
	exact(t, r, f)
	within()
}

// notEnoughReplicasForLong holds a topic back for many rounds of the pauses between tries.
func notEnoughReplicasForLong(t *testing.T, r rig) {
	p, f, topic := begin(t, r, "starved", 3)
	well := r.name("well")
	r.create(t, well, 3, 3, nil)
	f.send(entry("warm", topic), 1)
	f.settled()
	feed := r.starve(t, topic)
	within := bounded(t, p, 2*mostHeld)
	stop := f.stream(topic, 6)
	free := slow(newFlow(t, p))
	stopFree := free.stream(well, 6)
	wait(t, "the topic slow, with its cause", func() bool {
		s := p.Topic(topic)
		return s.Health == agent.HealthSlow && strings.Contains(s.Why, "too few replicas are in sync")
	})
	wait(t, "twelve rounds", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return slices.ContainsFunc(p.topics[topic].partitions, func(part *partition) bool { return part.tries >= 12 })
	})
	free.progress(100)
	wait(t, "the starved topic's files to wait", func() bool { return f.openBatches() == mostOpen })
	feed()
	f.progress(mostOpen + 20)
	stop()
	stopFree()
	within()
	exact(t, r, f, free)
	wait(t, "the topic ok", func() bool { return p.Topic(topic).Health == agent.HealthOK })
}

func noLeaderForLong(t *testing.T, r rig) {
	topic, other := r.name("orphan"), r.name("beside-orphan")
	r.create(t, topic, 1, 1, nil) // at the first broker
	r.create(t, other, 3, 3, nil)
	p, f := produce(t, r)
	f.send(entry("warm", topic), 1)
	f.settled()
	adopt := r.orphan(t, topic)
	within := bounded(t, p, 2*mostHeld)
	stop := f.stream(topic, 3)
	wait(t, "the missing leader shown", func() bool {
		s := p.Topic(topic)
		return s.Health == agent.HealthDown && s.Why == "partition 0 has no leader"
	})
	free := slow(newFlow(t, p))
	stopFree := free.stream(other, 6)
	free.progress(100)
	stopFree()
	wait(t, "the orphan's files to wait", func() bool { return f.openBatches() == mostOpen })
	adopt()
	f.progress(mostOpen + 20)
	stop()
	within()
	exact(t, r, f, free)
}

func brokerStoppedAndBack(t *testing.T, r rig) {
	brokersGoAndComeBack(t, r, "stopped", []func(){func() { r.stop(t, 0) }, func() { r.stop(t, 1) }})
}

func brokerKilledAndBack(t *testing.T, r rig) {
	brokersGoAndComeBack(t, r, "killed", []func(){func() { r.kill(t, 1) }, func() { r.kill(t, 2) }})
}

func allBrokersKilledAndBack(t *testing.T, r rig) {
	brokersGoAndComeBack(t, r, "all-killed", []func(){func() {
		for i := range 3 {
			r.kill(t, i)
		}
	}})
}

// brokersGoAndComeBack does it under traffic. What was acknowledged stands in at least two
// copies, and none is elected that lacks it.
func brokersGoAndComeBack(t *testing.T, r rig, name string, hurts []func()) {
	r.mayStop(t)
	topic := r.name(name)
	r.create(t, topic, 6, 3, map[string]string{"min.insync.replicas": "2"})
	p, f := produce(t, r)
	stop, within := f.stream(topic, 6), bounded(t, p, mostHeld)
	for _, hurt := range hurts {
		f.progress(50)
		hurt()
		if name != "all-killed" {
			f.progress(mostOpen + 50)
		}
		r.run(t)
		f.progress(mostOpen + 50)
	}
	stop()
	exact(t, r, f)
	within()
}

// perPartition are entries whose lines go to partition 0, 1 and 2 of three.
func perPartition(name, topic string) (out []*agent.Service) {
	for i := 0; len(out) < 3; i++ {
		s := entry(fmt.Sprintf("%s-%d", name, i), topic)
		s.Partition = agent.PartitionService
		if keyPartition([]byte(s.Service), 3) == len(out) {
			out = append(out, s)
		}
	}
	return out
}

func oneDeadBrokerOfThree(t *testing.T, r rig) {
	r.mayStop(t)
	othersFlow(t, r, "dead", func() { r.kill(t, 0) }, func() { r.run(t) })
}

func frozenBroker(t *testing.T, r rig) {
	front := r.front(t)
	addr := r.options().Addrs[0]
	othersFlow(t, r, "frozen", func() { front.set(addr, "frozen") }, func() { front.set(addr, "") })
}

// othersFlow hurts broker 0 of a topic whose partitions have one copy each.
func othersFlow(t *testing.T, r rig, name string, hurt, mend func()) {
	topic := r.name(name)
	r.create(t, topic, 3, 1, nil)
	p, warm := produce(t, r, func(o *Options) { o.Timeout = 700 * time.Millisecond })
	services := perPartition(name, topic)
	for _, s := range services {
		warm.send(s, 1)
	}
	warm.settled()
	hurt()
	stuck := newFlow(t, p)
	stuck.tag = "stuck "
	stuck.send(services[0], 5)
	wait(t, "the topic shown as failing", func() bool { return p.Topic(topic).Health != agent.HealthOK })
	others := newFlow(t, p)
	others.tag = "others "
	began := time.Now()
	for range 200 {
		others.send(services[1], 5)
		others.send(services[2], 5)
		if v := others.settled(); v != (agent.Verdict{}) {
			t.Fatalf("want nothing counted, got %+v", v)
		}
	}
	// Some timeouts for the map are fine; one for each batch would be 200 times that.
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("want the other brokers' partitions to flow, 200 round trips took %v", took)
	}
	if stuck.openBatches() != 1 {
		t.Error("want the dead broker's batch to wait")
	}
	mend()
	exact(t, r, warm, stuck, others)
}

func everythingAtOnce(t *testing.T, r rig) {
	front := r.front(t)
	storm, calm := r.name("storm"), r.name("calm")
	r.create(t, storm, 6, 3, map[string]string{"min.insync.replicas": "2", "max.message.bytes": "20000"})
	r.create(t, calm, 3, 3, nil)
	p, f := produce(t, r, func(o *Options) { o.Compression = "snappy" })
	quiet := slow(newFlow(t, p))
	stop, stopQuiet, within := f.stream(storm, 9), quiet.stream(calm, 3), bounded(t, p, 2*mostHeld)
	for i := range 24 {
		f.progress(5)
		switch i % 8 {
		case 0:
			front.cut()
		case 1, 5:
			r.lead(t, storm, rand.IntN(6), rand.IntN(3))
		case 2:
			front.trouble(cutInside, 1+rand.IntN(500), 1+rand.IntN(3))
		case 3:
			front.trouble(cutAfter, 0, 1+rand.IntN(3))
		case 4:
			p.Recall(entry(fmt.Sprintf("%s-%d", storm, rand.IntN(9)), storm).LogPath)
		case 6:
			front.trouble(swallow, 0, 1)
		case 7:
			if i == 15 {
				r.kill(t, rand.IntN(3))
				f.progress(5)
				r.run(t)
			}
			quiet.progress(5)
		}
	}
	stop()
	stopQuiet()
	exact(t, r, f, quiet)
	within()
}

// sinks are producers for the conformance suite. Topics of one suite may share a cluster:
// they have names of their own, and get a prefix.
func (r *realRig) sinks(prefix, compression string) sinktest.Factory {
	return func(t *testing.T) sinktest.Fixture {
		o := r.options()
		o.SlowAfter, o.Compression = waitLimit, compression
		p, _ := startProducer(t, o)
		f := sinktest.Fixture{
			Sink: p, Host: testHost, Topics: r.name(prefix),
			Received:    func(t testing.TB, topic string) []sinktest.Received { return received(t, r, topic) },
			CreateTopic: func(t testing.TB, topic string) { r.create(t, topic, 4, 3, nil) },
			Refuse:      func(t testing.TB, topic string) func() { return r.deny(t, topic) },
		}
		var mute *rule
		f.Block = func(t testing.TB, topic string) func() {
			mute = r.front(t).troubleOf(topic, swallow, 0, 1<<30)
			return func() { r.before.end(mute) }
		}
		f.Written = func(t testing.TB, topic string) {
			wait(t, "a produce request without an answer", func() bool { return r.before.hits(mute) > 0 })
		}
		return f
	}
}

func received(t testing.TB, k reader, topic string) []sinktest.Received {
	var out []sinktest.Received
	for _, r := range records(t, k, topic) {
		offset := int64(-1)
		if v := r.Header("offset"); v != "" {
			var err error
			if offset, err = strconv.ParseInt(v, 10, 64); err != nil {
				t.Errorf("header offset: %v", err)
			}
		}
		out = append(out, sinktest.Received{
			Topic: topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp,
			Host: r.Header("host"), Service: r.Header("service"), Path: r.Header("path"),
			Offset: offset, Part: r.Header("part"), Parts: r.Header("parts"),
		})
	}
	return out
}
