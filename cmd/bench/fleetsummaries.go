package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"logagent/kafkaout"
)

// summaries send the short statuses of a process's agents to the status topic. A real agent
// has a kafkaout.StatusWriter with a connection of its own; here the first agent has one,
// which makes the topic as it makes it anywhere, and all the others share a producer, which
// writes the same records at the same times: key, header, partition and value.
type summaries struct {
	agents []*simAgent
	writer *kafkaout.StatusWriter
	client *kgo.Client
	told   []int // of run's goroutine: how many each agent has sent

	sent, unsent atomic.Int64
	failure      atomic.Value // string: why one was not taken
}

const (
	summaryTopic   = "logagent-status"
	summaryEvery   = 2 * time.Second
	summarySlots   = 20      // the agents of a process report in so many parts, spread over that time
	historyEvery   = 30      // summaries: one in a minute carries the history
	summaryBacklog = 100_000 // records that may wait; what is beyond is dropped, the next is newer
)

func newSummaries(agents []*simAgent, kafkaAddr string, log *slog.Logger) (*summaries, error) {
	if len(agents) == 0 {
		return nil, errors.New("no agent whose status could be told")
	}
	s := &summaries{agents: agents, told: make([]int, len(agents))}
	first := agents[0]
	var err error
	s.writer, err = kafkaout.NewStatusWriter(kafkaout.StatusWriterOptions{
		Cluster: kafkaout.Options{Addrs: []string{kafkaAddr}, Host: first.host, Log: log},
		Status:  first.status, Brief: first.status,
	})
	if err != nil {
		return nil, err
	}
	s.client, err = kgo.NewClient(
		kgo.SeedBrokers(kafkaAddr), kgo.DefaultProduceTopic(summaryTopic),
		kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite(), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(summaryBacklog),
		kgo.UnknownTopicRetries(-1), // until the writer has made it
	)
	return s, err
}

// run sends until ctx ends.
func (s *summaries) run(ctx context.Context) error {
	defer s.client.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wrote error
	wg.Go(func() {
		wrote = s.writer.Run(ctx)
		cancel()
	})
	tick := time.NewTicker(summaryEvery / summarySlots)
	defer tick.Stop()
	for round := 0; ; round++ {
		select {
		case <-ctx.Done():
			wg.Wait()
			return wrote
		case <-tick.C:
		}
		for i := 1 + round%summarySlots; i < len(s.agents); i += summarySlots {
			s.send(ctx, i)
		}
	}
}

// send puts one agent's summary on its way, unless the agent has no config yet.
func (s *summaries) send(ctx context.Context, i int) {
	a := s.agents[i]
	status := a.status()
	if len(status.Documents) == 0 {
		return
	}
	summary := status.Summary()
	if s.told[i]%historyEvery == 0 {
		summary.History = status.History
	}
	s.told[i]++
	r := &kgo.Record{
		Key: []byte(a.host), Value: summary.Encode(), Headers: []kgo.RecordHeader{{Key: "kind", Value: []byte("summary")}},
	}
	s.client.TryProduce(ctx, r, func(_ *kgo.Record, err error) {
		if err == nil {
			s.sent.Add(1)
			return
		}
		if ctx.Err() == nil && !errors.Is(err, kgo.ErrClientClosed) {
			s.unsent.Add(1)
			s.failure.Store(err.Error())
		}
	})
}

func (s *summaries) counts() (sent, unsent int64, failure string) {
	failure, _ = s.failure.Load().(string)
	return s.sent.Load(), s.unsent.Load(), failure
}
