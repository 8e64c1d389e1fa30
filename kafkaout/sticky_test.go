package kafkaout

import (
	"testing"
	"time"

	"logagent/agent"
)

func TestABurstOfSmallBatchesGoesToOnePartition(t *testing.T) {
	t.Parallel()
	now := time.Now()
	topic := &topic{name: "t", lastUsed: now}
	for range 16 {
		topic.partitions = append(topic.partitions, &partition{topic: topic, conn: newConnection(&Producer{}, 1)})
	}
	send := func(bytes int) *partition {
		b := &agent.Batch{Service: &agent.Service{}, Lines: []agent.Line{{From: 0, To: uint32(bytes)}}}
		q := &parcel{batch: b, topic: topic, left: 1}
		part := topic.choose(q)
		topic.place(q)
		return part
	}
	used := func(n, bytes int) map[*partition]bool {
		seen := make(map[*partition]bool)
		for range n {
			seen[send(bytes)] = true
		}
		return seen
	}
	if n := len(used(50, 100)); n != 1 {
		t.Errorf("50 lines at once went to %d partitions", n)
	}
	topic.lastUsed = now.Add(2 * stickyFor)
	before := topic.sticky
	for range 50 { // one in sixteen is the same by chance
		if send(100) != before {
			break
		}
		topic.lastUsed = topic.lastUsed.Add(2 * stickyFor)
	}
	if topic.sticky == before {
		t.Error("it stays with its partition for ever")
	}
	if n := len(used(50, 2*stickyBytes)); n < 4 {
		t.Errorf("50 large batches went to %d of 16 partitions", n)
	}
	// Where answers take long, lines of a burst must not wait for each other.
	topic.slowly, topic.stickyUntil = 50*time.Millisecond, time.Time{}
	for _, p := range topic.partitions {
		p.queue, p.queued = nil, 0
	}
	if n := len(used(50, 100)); n < 4 {
		t.Errorf("with slow answers 50 lines went to %d of 16 partitions", n)
	}
	// A partition that stopped working is left.
	topic.slowly, topic.sticky = 0, nil
	gone := send(100)
	gone.trouble = "not enough replicas"
	if send(100) == gone {
		t.Error("the burst goes on into a partition that does not work")
	}
}
