package kafkaout

import (
	"context"
	"errors"
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

func TestRecallUnderFaultsLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{Brokers: 2})
	createTopic(t, k, "recall", 4, nil)
	for _, err := range []*kerr.Error{kerr.RequestTimedOut, kerr.NotEnoughReplicas, kerr.NotLeaderForPartition, kerr.TopicAuthorizationFailed} {
		k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: err, Count: -1, When: func(kmsg.Request) bool { return rand.IntN(8) == 0 }})
	}
	p, _ := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	stop := f.stream("recall", 4)
	for i := range 100 {
		f.progress(1)
		p.Recall(entry(fmt.Sprintf("recall-%d", i%4), "recall").LogPath)
		if i%10 == 0 {
			k.DropConnections()
		}
	}
	stop()
	if v := f.settled(); v != (agent.Verdict{}) {
		t.Errorf("want nothing counted, got %+v", v)
	}
	f.compare(k)
	if f.recalls == 0 {
		t.Error("want some batches recalled, got none: the test shows nothing")
	}
}

func TestATopicRefusedForLongAbandonsWhatWasRecalled(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	createTopic(t, k, "hopeless", 1, nil)
	o := quick(k.Addrs())
	o.AbandonAfter = 50 * time.Millisecond
	p, _ := startProducer(t, o)
	verdict := make(chan agent.Verdict, 1)
	s := entry("a", "hopeless")
	k.Cluster().Fault(
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut},
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: -1},
	)
	p.Send(agent.NewBatch(s, "/a", []byte("one\ntwo"), []agent.Line{{From: 0, To: 3}, {From: 4, To: 7}}, func(_ *agent.Batch, v agent.Verdict) { verdict <- v }))
	wait(t, "the topic refused", func() bool { return p.Topic("hopeless").Health == agent.HealthRefused })
	p.Recall(s.LogPath)
	select {
	case v := <-verdict:
		if !errors.Is(v.Err, agent.ErrAbandoned) || v.Doubled != 2 {
			t.Errorf("want the batch abandoned and its 2 lines counted, got %+v", v)
		}
	case <-time.After(waitLimit):
		t.Error("waited for the batch to be abandoned")
	}
}

func TestEndingGivesEveryBatchItsVerdict(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	createTopic(t, k, "ending", 2, nil)
	produceFault(k, "ending", kerr.RequestTimedOut, -1)
	p, err := New(quick(k.Addrs()))
	if err != nil {
		t.Fatal(err)
	}
	verdicts := make(chan error, 100)
	done := func(_ *agent.Batch, v agent.Verdict) { verdicts <- v.Err }
	send := func(topic string) {
		p.Send(agent.NewBatch(entry("a", topic), "/a", []byte("x"), []agent.Line{{To: 1}}, done))
	}
	for range 20 {
		send("ending")
		send("missing")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	wait(t, "something written", func() bool { return p.Topic("ending").Health != agent.HealthOK })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	send("ending")
	for i := range 41 {
		select {
		case err := <-verdicts:
			if !errors.Is(err, agent.ErrClosed) {
				t.Errorf("want ErrClosed, got %v", err)
			}
		default:
			t.Fatalf("want 41 verdicts when Run has ended, got %d", i)
		}
	}
	if err := p.Run(t.Context()); err == nil {
		t.Error("want a second Run refused")
	}
}

func TestARecallLeavesTheRestOfALineThatIsHalfWritten(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	createTopic(t, k, "half", 1, nil)
	o := quick(k.Addrs())
	o.BatchBytes = 300 // one piece at a time
	p, _ := startProducer(t, o)
	f := newFlow(t, p)
	s := entry("a", "half")
	pieces := func(name string, n int, whole bool) {
		for i := range n {
			b := f.batch(s, fmt.Sprintf("%s piece %d %s", name, i+1, strings.Repeat("x", 150)))
			b.Part = i + 1
			if whole && i == n-1 {
				b.Parts = n
			}
			p.Send(b)
		}
	}
	// Two pieces of the first line arrive, the third is refused until the recall.
	h := k.Cluster().Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1,
		When: func(kmsg.Request) bool { return f.well() >= 2 },
	})
	pieces("first", 4, true)
	hits(t, h, 1)
	pieces("second", 4, true)
	p.Recall(s.LogPath)
	h.Remove()
	f.settled()
	f.compare(k)
	if f.recalls != 4 {
		t.Errorf("want the line of which nothing was written recalled, the other one not, got %d pieces recalled", f.recalls)
	}
}

func TestARecallLeavesABatchThatIsHalfWritten(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	createTopic(t, k, "half", 1, nil)
	o := quick(k.Addrs())
	o.BatchBytes = 1000 // a few lines at a time
	p, _ := startProducer(t, o)
	f := newFlow(t, p)
	s := entry("a", "half")
	h := produceFault(k, "half", kerr.NotEnoughReplicasAfterAppend, -1)
	f.send(s, 50)
	hits(t, h, 1)
	f.send(s, 50)
	p.Recall(s.LogPath)
	h.Remove()
	f.settled()
	f.compare(k)
	if f.recalls != 1 {
		t.Errorf("want the batch recalled of which nothing was written, the other one not, got %d recalled", f.recalls)
	}
}
