package kafkaout

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
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
			time.Sleep(f.pace)
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
	g := newFront(t)
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

// running tells whether the connection's goroutine is there: a stack names its receiver.
func (c *connection) running() bool {
	stacks := make([]byte, 1<<20)
	for {
		n := runtime.Stack(stacks, true)
		if n < len(stacks) {
			return bytes.Contains(stacks[:n], fmt.Appendf(nil, "(*connection).run(%p", c))
		}
		stacks = make([]byte, 2*len(stacks))
	}
}

func TestConnectionsToABrokerThatIsGoneForGoodEnd(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"idle", "with a request on its way"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			g := newFront(t)
			k := startKafka(t, lab.KafkaOptions{Brokers: 3, Options: []kfake.Opt{kfake.ListenFn(g.listen)}})
			createTopic(t, k, "leaving", 6, nil)
			for i := range int32(6) {
				if err := k.Cluster().MoveTopicPartition("leaving", i, i%3); err != nil {
					t.Fatal(err)
				}
			}
			o := quick(k.Addrs())
			o.Timeout = 500 * time.Millisecond
			p, _ := startProducer(t, o)
			f := newFlow(t, p)
			services := make([]*agent.Service, 0, 40)
			for i := range 40 { // so many that every partition gets some
				s := entry(fmt.Sprintf("a-%d", i), "leaving")
				s.Partition = agent.PartitionFile
				services = append(services, s)
				f.send(s, 2)
			}
			f.settled()
			toBroker := func() (conns []*connection) {
				p.mu.Lock()
				defer p.mu.Unlock()
				for at, c := range p.conns {
					if at.broker == 2 {
						conns = append(conns, c)
					}
				}
				return conns
			}
			old := toBroker()
			if len(old) == 0 || !old[0].running() {
				t.Fatal("want connections to broker 2 running, else this shows nothing")
			}
			if how != "idle" {
				g.set(k.Addrs()[2], "frozen")
				for _, s := range services {
					f.send(s, 2)
				}
				wait(t, "only the frozen broker's batches left", func() bool {
					p.mu.Lock()
					defer p.mu.Unlock()
					for _, part := range p.topics["leaving"].partitions {
						if part.conn.broker == 2 != (part.chunk != nil) {
							return false
						}
					}
					return true
				})
			}
			if err := k.Cluster().RemoveNode(2); err != nil {
				t.Fatal(err)
			}
			p.mu.Lock()
			p.askMap()
			p.mu.Unlock()
			wait(t, "no connection to the broker in the books", func() bool { return len(toBroker()) == 0 })
			for _, c := range old {
				wait(t, "its goroutine ended", func() bool { return !c.running() })
			}
			if v := f.settled(); v != (agent.Verdict{}) {
				t.Errorf("want nothing counted, got %+v", v)
			}
			// A broker of that number comes back.
			g.set("", "")
			_, port, err := net.SplitHostPort(k.Addrs()[2])
			if err != nil {
				t.Fatal(err)
			}
			number, err := strconv.Atoi(port)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := k.Cluster().AddNode(2, number); err != nil {
				t.Fatal(err)
			}
			for i := range int32(6) {
				if err := k.Cluster().MoveTopicPartition("leaving", i, i%3); err != nil {
					t.Fatal(err)
				}
			}
			p.mu.Lock()
			p.askMap()
			p.mu.Unlock()
			wait(t, "new connections to the broker", func() bool {
				for _, s := range services {
					f.send(s, 1)
				}
				f.settled()
				now := toBroker()
				return len(now) > 0 && now[0] != old[0] && now[0].running()
			})
			f.compare(k)
		})
	}
}
