package kafkaout

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logagent/agent"
	"logagent/internal/lab"
)

func TestLostProducerMemoryDoublesNothingThatWasRefused(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	createTopic(t, k, "memory", 3, nil)
	p, _ := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	stop := f.stream("memory", 4)
	for _, err := range []*kerr.Error{kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerEpoch, kerr.ProducerFenced} {
		f.progress(10)
		hits(t, produceFault(k, "memory", err, 3), 3)
	}
	f.progress(10)
	stop()
	if v := f.settled(); v != (agent.Verdict{}) {
		t.Errorf("want nothing counted, got %+v", v)
	}
	f.compare(k)
}

func TestLostProducerMemoryAfterATimeoutIsCountedAsDoubled(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	createTopic(t, k, "forgot", 1, nil)
	p, _ := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	f.send(entry("a", "forgot"), 4)
	f.settled()
	// Written, unanswered, and then the broker knows nothing of the producer.
	k.Cluster().Fault(
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut},
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.UnknownProducerID},
	)
	f.send(entry("a", "forgot"), 7)
	if v := f.settled(); v.Doubled != 7 {
		t.Errorf("want the 7 lines counted as doubled, got %+v", v)
	}
	f.send(entry("a", "forgot"), 5)
	if v := f.settled(); v.Doubled != 7 {
		t.Errorf("want nothing more counted, got %+v", v)
	}
	if got := len(records(t, k, "forgot")); got != 4+7+7+5 {
		t.Errorf("want just those 7 lines twice, got %d records of 16 lines", got)
	}
}

func TestANewProducerIDComesWellBeforeTheSequenceWraps(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	createTopic(t, k, "wrap", 2, nil)
	first, _ := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, first)
	for _, partition := range []string{"a", "b", "c", "d", "e"} { // a broker takes any first sequence only where something stands
		s := entry(partition, "wrap")
		s.Partition = agent.PartitionService
		f.send(s, 2)
	}
	f.settled()
	ids := k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Observe: true, Count: -1})
	p, _ := startProducer(t, quick(k.Addrs()), func(p *Producer) { p.firstSeq = lastSequence - 30 })
	f.p = p
	for range 100 {
		for _, partition := range []string{"a", "b", "c", "d", "e"} {
			s := entry(partition, "wrap")
			s.Partition = agent.PartitionService
			f.send(s, 2)
		}
		f.settled()
	}
	if v := f.settled(); v != (agent.Verdict{}) {
		t.Errorf("want nothing counted, got %+v", v)
	}
	f.compare(k)
	if n := ids.Hits(); n != 2 {
		t.Errorf("want one producer id to begin with and one new one, got %d", n)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, part := range p.topics["wrap"].partitions {
		if part.seq > 2000 {
			t.Errorf("partition %d: want the new id's sequence to begin at 0, got %d", part.index, part.seq)
		}
	}
}

func TestAClusterWithoutIdempotenceIsWrittenAndSaidOnce(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	createTopic(t, k, "plain", 1, nil)
	k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.ClusterAuthorizationFailed, Count: -1})
	p, j := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	for range 5 {
		f.send(entry("a", "plain"), 3)
		f.settled()
	}
	f.compare(k)
	produceFault(k, "plain", kerr.RequestTimedOut, 1) // stored, but who would know
	f.send(entry("a", "plain"), 4)
	if v := f.settled(); v.Doubled != 4 {
		t.Errorf("want the 4 lines counted as doubled, got %+v", v)
	}
	if got := len(records(t, k, "plain")); got != 15+4+4 {
		t.Errorf("want just the 4 lines twice, got %d records", got)
	}
	if n := strings.Count(j.String(), "writing without idempotence"); n != 1 {
		t.Errorf("want it said once, got %d times", n)
	}
}
