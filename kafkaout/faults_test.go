package kafkaout

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logagent/agent"
	"logagent/internal/lab"
)

// stream sends batches of several entries until stop is called, never more than some at
// once, as the agent does.
func (f *flow) stream(topic string, files int) (stop func()) {
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			for f.openBatches() >= 64 && ctx.Err() == nil {
				time.Sleep(200 * time.Microsecond)
			}
			s := entry(fmt.Sprintf("%s-%d", topic, i%files), topic)
			s.Partition = []agent.Partitioning{"", agent.PartitionFile, agent.PartitionService}[i%files%3]
			f.send(s, 1+i%20)
			time.Sleep(100 * time.Microsecond)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// progress waits until n more batches were answered well.
func (f *flow) progress(n int) {
	f.t.Helper()
	f.mu.Lock()
	start := f.answered
	f.mu.Unlock()
	wait(f.t, fmt.Sprintf("%d more verdicts", n), func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.answered >= start+n
	})
}

func TestEveryCompressionArrivesFromManyFiles(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{Brokers: 3})
	for _, c := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		topic := "packed-" + c
		createTopic(t, k, topic, 7, nil)
		o := quick(k.Addrs())
		o.Compression = c
		p, _ := startProducer(t, o)
		f := newFlow(t, p)
		for i := range 400 {
			s := entry(fmt.Sprintf("%s-%d", c, i%50), topic)
			s.Partition = []agent.Partitioning{"", agent.PartitionFile, agent.PartitionHost, agent.PartitionService}[i%4]
			f.send(s, 1+i%40)
		}
		if v := f.settled(); v != (agent.Verdict{}) {
			t.Errorf("%s: want nothing counted, got %+v", c, v)
		}
		f.compare(k)
	}
}

func TestNothingIsLostOrDoubledByABrokerRestart(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{Brokers: 3})
	createTopic(t, k, "restart", 6, nil)
	p, j := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	stop := f.stream("restart", 6)
	for range 3 {
		f.progress(50)
		k.Stop()
		wait(t, "the link down", func() bool { return !p.Link().Up })
		wait(t, "the topic down with a cause", func() bool {
			h := p.Topic("restart")
			return h.Health == agent.HealthDown && h.Why != "" && !h.Since.IsZero()
		})
		if err := k.Restart(); err != nil {
			t.Fatal(err)
		}
		f.progress(50)
	}
	stop()
	if v := f.settled(); v != (agent.Verdict{}) {
		t.Errorf("want nothing counted, got %+v", v)
	}
	f.compare(k)
	if n := strings.Count(j.String(), "kafka does not answer"); n != 3 {
		t.Errorf("want each outage logged once, got %d entries", n)
	}
}

func TestNothingIsLostOrDoubledByCutConnections(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{Brokers: 2})
	createTopic(t, k, "cut", 4, nil)
	p, _ := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	stop := f.stream("cut", 5)
	for range 25 {
		f.progress(5)
		k.DropConnections()
	}
	stop()
	if v := f.settled(); v != (agent.Verdict{}) {
		t.Errorf("want nothing counted, got %+v", v)
	}
	f.compare(k)
}

func TestNothingIsLostOrDoubledWhenLeadersMove(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{Brokers: 3})
	createTopic(t, k, "moving", 6, nil)
	p, _ := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	stop := f.stream("moving", 6)
	for range 25 {
		f.progress(10)
		if err := k.Cluster().MoveTopicPartition("moving", rand.Int32N(6), rand.Int32N(3)); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if v := f.settled(); v != (agent.Verdict{}) {
		t.Errorf("want nothing counted, got %+v", v)
	}
	f.compare(k)
}

func TestTimeoutAfterAppendDoublesNothing(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	createTopic(t, k, "timeout", 3, nil)
	p, _ := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	h := k.Cluster().Fault(
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut, Count: 5},
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicasAfterAppend, Count: 5},
	)
	stop := f.stream("timeout", 4)
	hits(t, h, 10)
	f.progress(20)
	stop()
	if v := f.settled(); v != (agent.Verdict{}) {
		t.Errorf("want nothing counted, got %+v", v)
	}
	f.compare(k)
}

func TestTooFewReplicasMakeATopicSlowUntilTheyAreBack(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	createTopic(t, k, "replicas", 3, nil)
	createTopic(t, k, "healthy", 3, nil)
	p, j := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	h := produceFault(k, "replicas", kerr.NotEnoughReplicas, -1)
	f.send(entry("a", "replicas"), 3)
	wait(t, "the topic slow", func() bool { return p.Topic("replicas").Health == agent.HealthSlow })
	if s := p.Topic("replicas"); !strings.Contains(s.Why, "too few replicas are in sync") {
		t.Errorf("want the cause in words, got %+v", s)
	}
	healthy := newFlow(t, p)
	healthy.send(entry("b", "healthy"), 3)
	healthy.settled()
	h.Remove()
	f.settled()
	f.compare(k)
	wait(t, "the topic ok", func() bool { return p.Topic("replicas").Health == agent.HealthOK })
	if text := j.String(); strings.Count(text, "topic is slow") != 1 {
		t.Errorf("want the state logged once:\n%s", text)
	}
}

func TestOneDeadBrokerOfThreeLeavesTheOthersFlowing(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"closed", "frozen"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			g := newGates(t)
			k := startKafka(t, lab.KafkaOptions{Brokers: 3, Options: []kfake.Opt{kfake.ListenFn(g.listen)}})
			createTopic(t, k, "three", 3, nil)
			for i := range int32(3) {
				if err := k.Cluster().MoveTopicPartition("three", i, i); err != nil {
					t.Fatal(err)
				}
			}
			o := quick(k.Addrs())
			o.Timeout = 500 * time.Millisecond
			p, _ := startProducer(t, o)
			// One service for each partition.
			var services []*agent.Service
			for len(services) < 3 {
				for i := range 1000 {
					s := entry(fmt.Sprintf("%s-%d", how, i), "three")
					s.Partition = agent.PartitionService
					if keyPartition([]byte(s.Service), 3) == len(services) {
						services = append(services, s)
						break
					}
				}
			}
			warm := newFlow(t, p)
			for _, s := range services {
				warm.send(s, 1)
			}
			warm.settled()
			g.set(k.Addrs()[0], how)
			stuck := newFlow(t, p)
			stuck.tag = "stuck "
			stuck.send(services[0], 5)
			wait(t, "the topic shown as failing", func() bool { return p.Topic("three").Health != agent.HealthOK })
			others := newFlow(t, p)
			others.tag = "others "
			began := time.Now()
			for range 200 {
				others.send(services[1], 5)
				others.send(services[2], 5)
				others.settled()
			}
			// Twice the timeout for the metadata would be plenty; a wait per batch would be 200 times that.
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("want the other brokers' partitions to flow, 200 round trips took %v", took)
			}
			if stuck.openBatches() != 1 {
				t.Errorf("want the dead broker's batch to wait")
			}
			g.set(k.Addrs()[0], "")
			if v := stuck.settled(); v != (agent.Verdict{}) {
				t.Errorf("want nothing counted, got %+v", v)
			}
			for _, f := range []*flow{stuck, others} {
				f.mu.Lock()
				for line := range f.sent["three"] {
					warm.sent["three"][line] = 1
				}
				f.mu.Unlock()
			}
			warm.compare(k)
		})
	}
}

func TestWhatArrivesWhileARequestIsOutIsMerged(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	createTopic(t, k, "merge", 1, nil)
	p, _ := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	f.send(entry("a", "merge"), 1)
	f.settled()
	h := produceFault(k, "merge", kerr.NotEnoughReplicas, -1)
	f.send(entry("a", "merge"), 1)
	hits(t, h, 1)
	for range 500 {
		f.send(entry("a", "merge"), 2)
	}
	seen := k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Observe: true, Count: -1})
	h.Remove()
	f.settled()
	f.compare(k)
	if n := seen.Hits(); n > 5 {
		t.Errorf("want 500 waiting batches merged into a request or two, got %d requests", n)
	}
}

func TestNothingIsLostOrDoubledByEverythingAtOnce(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{Brokers: 3})
	createTopic(t, k, "storm", 8, map[string]string{"max.message.bytes": "20000"})
	createTopic(t, k, "calm", 3, nil)
	faults := func() {
		for _, err := range []*kerr.Error{
			kerr.RequestTimedOut, kerr.NotEnoughReplicas, kerr.NotLeaderForPartition, kerr.NotEnoughReplicasAfterAppend,
			kerr.TopicAuthorizationFailed, kerr.UnknownTopicOrPartition, kerr.KafkaStorageError,
		} {
			k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "storm", Err: err, Count: -1, When: func(kmsg.Request) bool { return rand.IntN(40) == 0 }})
		}
	}
	faults()
	o := quick(k.Addrs())
	o.Compression = "snappy"
	p, _ := startProducer(t, o)
	f, calm := newFlow(t, p), newFlow(t, p)
	stop, stopCalm := f.stream("storm", 9), calm.stream("calm", 3)
	for i := range 60 {
		f.progress(5)
		switch i % 6 {
		case 0:
			k.DropConnections()
		case 1, 2:
			if err := k.Cluster().MoveTopicPartition("storm", rand.Int32N(8), rand.Int32N(3)); err != nil {
				t.Fatal(err)
			}
		case 3:
			p.Recall(entry(fmt.Sprintf("storm-%d", rand.IntN(9)), "storm").LogPath)
		case 4:
			calm.progress(5)
		case 5:
			if i%30 == 29 {
				if err := k.Restart(); err != nil {
					t.Fatal(err)
				}
				faults()
			}
		}
	}
	stop()
	stopCalm()
	for _, f := range []*flow{f, calm} {
		if v := f.settled(); v != (agent.Verdict{}) {
			t.Errorf("want nothing counted, got %+v", v)
		}
		f.compare(k)
	}
}

func TestABrokerThatIsBackIsUsedAgain(t *testing.T) {
	t.Parallel()
	g := newGates(t)
	k := startKafka(t, lab.KafkaOptions{Brokers: 2, Options: []kfake.Opt{kfake.ListenFn(g.listen)}})
	createTopic(t, k, "back", 2, nil)
	move := func(partition, broker int32) {
		if err := k.Cluster().MoveTopicPartition("back", partition, broker); err != nil {
			t.Fatal(err)
		}
	}
	move(0, 0)
	move(1, 1)
	p, _ := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	f.send(entry("a", "back"), 1)
	f.settled()
	g.set(k.Addrs()[0], "closed")
	wait(t, "a batch stuck at the dead broker", func() bool {
		f.send(entry("a", "back"), 1)
		return p.Topic("back").Health == agent.HealthDown
	})
	move(0, 1)
	f.settled()
	g.set(k.Addrs()[0], "")
	move(0, 0)
	wait(t, "the leader's move noticed while there is nothing to send", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.askMap()
		c := p.topics["back"].partitions[0].conn
		return c != nil && c.broker == 0
	})
	before := partitionRecords(t, k, "back", 0)
	for range 100 {
		f.send(entry("a", "back"), 1)
		f.settled()
	}
	f.compare(k)
	if partitionRecords(t, k, "back", 0) == before {
		t.Error("want the partition of the broker that is back used, got 100 batches beside it")
	}
}

func partitionRecords(t *testing.T, k *lab.Kafka, topic string, partition int32) int {
	n := 0
	for _, r := range records(t, k, topic) {
		if r.Partition == partition {
			n++
		}
	}
	return n
}
