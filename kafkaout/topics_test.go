package kafkaout

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logagent/agent"
	"logagent/internal/lab"
)

func TestAMissingTopicIsShownAndWrittenOnceItExists(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	createTopic(t, k, "there", 1, nil)
	p, _ := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	f.send(entry("a", "missing"), 3)
	wait(t, "the topic refused", func() bool { return p.Topic("missing").Health == agent.HealthRefused })
	if s := p.Topic("missing"); s.Why != "topic missing does not exist and the broker does not create it" {
		t.Errorf("want the cause in words, got %q", s.Why)
	}
	other := newFlow(t, p)
	other.send(entry("b", "there"), 3)
	other.settled()
	createTopic(t, k, "missing", 2, nil)
	f.settled()
	f.compare(k)
	wait(t, "the topic ok", func() bool { return p.Topic("missing").Health == agent.HealthOK })
}

func TestAMissingTopicIsCreatedWhereTheClusterDoesThat(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{AutoCreate: true, Partitions: 5})
	p, _ := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	f.send(entry("a", "made"), 3)
	f.settled()
	f.compare(k)
	if n := len(k.Cluster().PartitionInfos("made")); n != 5 {
		t.Errorf("want the cluster's 5 partitions, got %d", n)
	}
}

func TestMetadataRefusalBlocksTheTopicUntilItIsGranted(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	createTopic(t, k, "secret", 1, nil)
	h := k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "secret", Err: kerr.TopicAuthorizationFailed, Count: -1})
	p, j := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	f.send(entry("a", "secret"), 3)
	wait(t, "the topic refused", func() bool { return p.Topic("secret").Health == agent.HealthRefused })
	if s := p.Topic("secret"); s.Why != "not authorized for topic secret" {
		t.Errorf("want the cause in words, got %q", s.Why)
	}
	hits(t, h, 4)
	h.Remove()
	f.settled()
	f.compare(k)
	if n := strings.Count(j.String(), "topic is refused"); n != 1 {
		t.Errorf("want the refusal logged once, got %d", n)
	}
}

func TestADeletedTopicGoesOnWithFewerPartitions(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	createTopic(t, k, "again", 6, nil)
	p, _ := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	for i := range 30 {
		f.send(entry(fmt.Sprintf("a-%d", i), "again"), 2)
	}
	f.settled()
	if err := k.Cluster().DeleteTopic("again"); err != nil {
		t.Fatal(err)
	}
	second := newFlow(t, p)
	for i := range 30 {
		second.send(entry(fmt.Sprintf("b-%d", i), "again"), 2)
	}
	wait(t, "the topic missed", func() bool { return p.Topic("again").Health == agent.HealthRefused })
	createTopic(t, k, "again", 2, nil)
	second.settled()
	second.compare(k)
}

func TestAddedPartitionsAreUsed(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	createTopic(t, k, "wider", 1, nil)
	p, _ := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	f.send(entry("a", "wider"), 2)
	f.settled()
	if err := addPartitions(k, "wider", 4); err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.askMap()
	p.mu.Unlock()
	used := make(map[int32]bool)
	wait(t, "records in other partitions", func() bool {
		f.send(entry("a", "wider"), 1)
		f.settled()
		for _, r := range records(t, k, "wider") {
			used[r.Partition] = true
		}
		return len(used) > 1
	})
	f.compare(k)
}
