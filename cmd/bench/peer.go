package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/nxadm/tail"
)

// peerVerb is how bench runs itself as the peer.
const peerVerb = "peer-process"

// Settings of the AsyncProducer that did best: see peerSettings.
const (
	peerFlushBytes     = 900_000
	peerFlushFrequency = 50 * time.Millisecond
	peerChannelSize    = 8192
	peerOpenRequests   = 5
	peerStay           = 5000 // lines that go to one partition before the next has its turn
)

// peerSettings is the report's config of the peer.
var peerSettings = fmt.Sprintf(`tail.Config{Follow: true, ReOpen: true, MustExist: true}  // CompleteLines was no faster

Version                     2.8.0                   // record batches
Producer.RequiredAcks       WaitForAll
Producer.Compression        as in the table's title
Producer.Idempotent         false                   // would allow one open request only
Producer.Return.Successes   false                   // nobody would read them
Producer.Partitioner        own: %d lines each    // random and round robin, line by line: small batches, 15 %% slower
Producer.Flush.Bytes        %d                  // 400,000: smaller batches, slower
Producer.Flush.Frequency    %v                    // 10 ms: no faster
Producer.MaxMessageBytes    1000000
Net.MaxOpenRequests         %d                       // 1: slower
ChannelBufferSize           %d                    // 256, the default: 20 %% slower
GOGC                        100                     // 400: 5 %% less CPU, three times the memory`,
	peerStay, peerFlushBytes, peerFlushFrequency, peerOpenRequests, peerChannelSize)

// stayingPartitioner gives a partition n lines before the next has its turn, so that
// batches are as big as those of the others.
type stayingPartitioner struct{ n, sent int }

func (p *stayingPartitioner) Partition(_ *sarama.ProducerMessage, partitions int32) (int32, error) {
	at := int32(p.sent/p.n) % partitions
	p.sent++
	return at, nil
}

// RequiresConsistency says that a line may go elsewhere while its partition is away.
func (p *stayingPartitioner) RequiresConsistency() bool { return false }

// peerMain follows a log the usual way until ctx ends: nxadm/tail hands over line by line,
// sarama's AsyncProducer sends.
func peerMain(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench "+peerVerb, flag.ContinueOnError)
	path := flags.String("log", "", "file to follow")
	broker := flags.String("broker", "", "address of the broker")
	topic := flags.String("topic", "", "topic to send to")
	compression := flags.String("compression", "none", "none gzip snappy lz4 zstd")
	headers := flags.String("headers", "", "headers of every record")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := withTermination(ctx)
	defer cancel()

	cfg := sarama.NewConfig()
	cfg.Version = sarama.V2_8_0_0
	cfg.ChannelBufferSize = peerChannelSize
	cfg.Net.MaxOpenRequests = peerOpenRequests
	cfg.Producer.RequiredAcks = sarama.WaitForAll
	cfg.Producer.Return.Successes = false
	cfg.Producer.Flush.Bytes = peerFlushBytes
	cfg.Producer.Flush.Frequency = peerFlushFrequency
	cfg.Producer.MaxMessageBytes = 1_000_000
	cfg.Producer.Partitioner = func(string) sarama.Partitioner { return &stayingPartitioner{n: peerStay} }
	if err := cfg.Producer.Compression.UnmarshalText([]byte(*compression)); err != nil {
		return err
	}
	producer, err := sarama.NewAsyncProducer([]string{*broker}, cfg)
	if err != nil {
		return err
	}
	var failed error
	var wg sync.WaitGroup
	wg.Go(func() {
		for err := range producer.Errors() {
			failed = err
		}
	})

	t, err := tail.TailFile(*path, tail.Config{
		Follow: true, ReOpen: true, MustExist: true, Logger: log.New(io.Discard, "", 0),
	})
	if err != nil {
		return err
	}
	values := peerHeaders(*headers, *path)
	for running := true; running; {
		select {
		case line := <-t.Lines:
			if line == nil {
				return fmt.Errorf("tail of %s ended: %v", *path, t.Err())
			}
			producer.Input() <- &sarama.ProducerMessage{Topic: *topic, Value: sarama.StringEncoder(line.Text), Headers: values}
		case <-ctx.Done():
			running = false
		}
	}
	err = t.Stop()
	producer.AsyncClose()
	wg.Wait()
	return errors.Join(err, failed)
}

func peerHeaders(names, path string) []sarama.RecordHeader {
	var out []sarama.RecordHeader
	for _, name := range headerNames(names) {
		value := map[string]string{"host": benchHost, "service": "bench", "path": path}[name]
		out = append(out, sarama.RecordHeader{Key: []byte(name), Value: []byte(value)})
	}
	return out
}
