package kafkaout

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"logagent/agent"
)

// sluice is a broker that answers a produce request when it is let through: what is counted
// in requests does not depend on time.
type sluice struct {
	*counter
	arrived chan []slice // one per request, when the broker has read it
	through chan struct{}
}

// slice is what a request carries of one partition.
type slice struct {
	topic     string
	partition int32
	bytes     int
}

func startSluice(t *testing.T, partitions int32) *sluice {
	s := &sluice{arrived: make(chan []slice, requestsPerConnection), through: make(chan struct{})}
	s.counter = startCounter(t, partitions, func(r *kmsg.ProduceRequest) {
		var all []slice
		for _, topic := range r.Topics {
			for _, p := range topic.Partitions {
				all = append(all, slice{topic.Topic, p.Partition, len(p.Records)})
			}
		}
		s.arrived <- all
		<-s.through
	})
	t.Cleanup(func() { close(s.through) }) // before the broker ends: it may be waiting
	return s
}

// next lets the request through that the broker holds, and returns the one after it.
func (s *sluice) next(t *testing.T) []slice {
	t.Helper()
	s.let(t)
	return s.read(t)
}

func (s *sluice) let(t *testing.T) {
	t.Helper()
	select {
	case s.through <- struct{}{}:
	case <-time.After(waitLimit):
		t.Fatal("the broker holds no request")
	}
}

func (s *sluice) read(t *testing.T) []slice {
	t.Helper()
	select {
	case r := <-s.arrived:
		return r
	case <-time.After(waitLimit):
		t.Fatal("no request comes")
		return nil
	}
}

// rest lets everything through until cond holds: nothing is on its way then.
func (s *sluice) rest(t *testing.T, cond func() bool) {
	t.Helper()
	deadline := time.After(waitLimit)
	for !cond() || len(s.arrived) > 0 {
		select {
		case s.through <- struct{}{}:
		case <-s.arrived:
		case <-time.After(time.Millisecond): // the last answers are on their way
		case <-deadline:
			t.Fatal("not every batch got its verdict")
		}
	}
}

// block is one batch of n lines of 180 bytes with their ends.
func block(s *agent.Service, n int, done func(*agent.Batch, agent.Verdict)) *agent.Batch {
	lines := make([]agent.Line, n)
	for i := range lines {
		lines[i] = agent.Line{From: uint32(i * 180), To: uint32(i*180 + 179)}
	}
	return agent.NewBatch(s, s.LogPath, []byte(strings.Repeat(strings.Repeat("x", 179)+"\n", n)), lines, done)
}

// One connection, a topic whose eight partitions always have more than a request takes, and
// another topic that has a line now and then.
func TestBusyTopicDoesNotKeepAnotherOneOffItsConnection(t *testing.T) {
	t.Parallel()
	const partitions, perRequest = 8, 3 // of 900 kB in a request that is full at 2 MB
	broker := startSluice(t, partitions)
	o := quick([]string{broker.listener.Addr().String()})
	o.Timeout = waitLimit
	o.Connections = 1
	p, _ := startProducer(t, o)
	var well atomic.Int64
	var sent int64
	done := func(_ *agent.Batch, v agent.Verdict) {
		switch v.Err {
		case nil:
			well.Add(1)
		case agent.ErrClosed: // the test has ended
		default:
			t.Error(v.Err)
		}
	}
	busy, quiet := entry("busy", "busy"), entry("quiet", "quiet")
	const blocks = 1200           // of 256 KiB
	p.Send(block(quiet, 1, done)) // the topic is known from now on
	sent++
	broker.rest(t, func() bool { return well.Load() == sent })
	b := block(busy, 1456, nil)
	for range blocks {
		p.Send(agent.NewBatch(busy, busy.LogPath, b.Buf, b.Lines, done))
		sent++
	}
	served := make(map[int32]int) // requests that carried a partition of busy
	look := func(r []slice) (carriesQuiet bool) {
		size := 0
		for _, s := range r {
			size += s.bytes
			if s.topic == "quiet" {
				carriesQuiet = true
				continue
			}
			served[s.partition]++
		}
		if most := int(p.opts.RequestBytes + p.opts.BatchBytes); size > most {
			t.Fatalf("a request of %d bytes, want %d at most", size, most)
		}
		return carriesQuiet
	}
	held := broker.read(t)
	look(held)
	for round := range 40 {
		p.Send(block(quiet, 1, done))
		sent++
		// One request may have been written before, and then everybody's turn comes once.
		const most = 1 + (partitions+1+perRequest-1)/perRequest
		requests := 0
		for came := false; !came; {
			r := broker.next(t)
			if came = look(r); came {
				break
			}
			if requests++; requests >= most {
				t.Fatalf("round %d: %d requests went by without the quiet topic's line, want it in number %d at the latest: the last one carries %v", round, requests, most, r)
			}
		}
		least, mostly := blocks, 0
		for i := range int32(partitions) {
			least, mostly = min(least, served[i]), max(mostly, served[i])
		}
		if mostly-least > 1 {
			t.Fatalf("round %d: one partition of the busy topic was in %d requests, another one in %d", round, least, mostly)
		}
	}
	broker.rest(t, func() bool { return well.Load() == sent })
	if got, want := broker.records.Load(), int64(blocks*1456+41); got != want {
		t.Errorf("%d records at the broker, want %d", got, want)
	}
}

// What comes while requests are on their way goes with the next one, whichever its topic and
// partition.
func TestOneRequestCarriesEveryPartitionThatIsReady(t *testing.T) {
	t.Parallel()
	broker := startSluice(t, 4)
	o := quick([]string{broker.listener.Addr().String()})
	o.Timeout = waitLimit
	o.Connections = 1
	p, _ := startProducer(t, o)
	var well atomic.Int64
	done := func(_ *agent.Batch, v agent.Verdict) {
		switch v.Err {
		case nil:
			well.Add(1)
		case agent.ErrClosed: // the test has ended
		default:
			t.Error(v.Err)
		}
	}
	const topics = 20
	services := make([]*agent.Service, topics)
	for i := range services {
		services[i] = entry(fmt.Sprint("s", i), fmt.Sprint("topic-", i))
		services[i].Partition = agent.PartitionService // always the same one
	}
	sent := int64(0)
	// The topics become known, one after the other: what comes meanwhile is taken as it comes.
	for _, s := range services {
		p.Send(block(s, 1, done))
		sent++
	}
	answer := func() {
		t.Helper()
		broker.rest(t, func() bool { return well.Load() == sent })
	}
	answer()
	for round := range 5 {
		// As many requests on their way as may be, of the last topics.
		for i := range requestsPerConnection {
			p.Send(block(services[topics-1-i], 1, done))
			sent++
			if i == 0 {
				broker.read(t) // held; the next one is written and waits behind it
			} else {
				wait(t, "two requests on their way", func() bool {
					p.mu.Lock()
					defer p.mu.Unlock()
					n := 0
					for _, topic := range p.topics {
						for _, part := range topic.partitions {
							if part.busy {
								n++
							}
						}
					}
					return n == requestsPerConnection
				})
			}
		}
		ready := topics - requestsPerConnection
		for _, s := range services[:ready] {
			p.Send(block(s, 1+round, done))
			sent++
		}
		if n := len(broker.next(t)); n != 1 {
			t.Fatalf("the second request carries %d partitions, it was written when one was ready", n)
		}
		if n := len(broker.next(t)); n != ready {
			t.Fatalf("round %d: the next request carries %d partitions, want all %d that are ready", round, n, ready)
		}
		answer()
	}
}
