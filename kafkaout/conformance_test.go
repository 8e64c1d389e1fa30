package kafkaout

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logagent/internal/lab"
	"logagent/kafkaout/sinktest"
)

// patient options call nothing slow on a busy machine.
func patient(addrs []string) Options {
	o := quick(addrs)
	o.SlowAfter = waitLimit
	return o
}

func TestProducerIsASink(t *testing.T) {
	t.Parallel()
	sinktest.Run(t, func(t *testing.T) sinktest.Fixture {
		k := startKafka(t, lab.KafkaOptions{Brokers: 2})
		p, _ := startProducer(t, patient(k.Addrs()))
		return fixture(t, k, p)
	})
}

// A cluster whose every third answer is an error that passes must be no different.
func TestProducerIsASinkOnAFaultyCluster(t *testing.T) {
	t.Parallel()
	sinktest.Run(t, func(t *testing.T) sinktest.Fixture {
		k := startKafka(t, lab.KafkaOptions{Brokers: 2})
		for _, err := range []*kerr.Error{
			kerr.NotLeaderForPartition, kerr.RequestTimedOut, kerr.NotEnoughReplicas,
			kerr.NotEnoughReplicasAfterAppend, kerr.UnknownTopicOrPartition,
		} {
			k.Cluster().Fault(kfake.Fault{
				Keys: []kmsg.Key{kmsg.Produce}, Err: err, Count: -1,
				When: func(r kmsg.Request) bool { return rand.IntN(15) == 0 && !writes(r, "gone", "half") },
			})
		}
		p, _ := startProducer(t, patient(k.Addrs()))
		return fixture(t, k, p)
	})
}

// writes tells whether a produce request carries one of the topics of which a test says
// itself what becomes of each write.
func writes(r kmsg.Request, topics ...string) bool {
	p, ok := r.(*kmsg.ProduceRequest)
	return ok && slices.ContainsFunc(p.Topics, func(t kmsg.ProduceRequestTopic) bool { return slices.Contains(topics, t.Topic) })
}
