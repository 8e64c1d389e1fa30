package kafkaout

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

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
