package kafkaout

import (
	"context"
	"fmt"
	"hash/crc32"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logagent/agent"
)

// Parts of the suite: what a broker remembers of its producers.

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
