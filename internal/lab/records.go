package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// recordsPoll is how often WaitRecords looks whether more has arrived.
const recordsPoll = 20 * time.Millisecond

// Record is one record as it stands in a topic.
type Record struct {
	Partition int32
	Offset    int64
	Key       []byte // nil: none
	Value     []byte
	Headers   []Header
	Timestamp time.Time
}

// Header is one header of a Record.
type Header struct {
	Key   string
	Value []byte
}

// Header returns the value of the first header of that name, or "".
func (r *Record) Header(key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// Records returns everything that stands in the topic now, by partition and offset. A
// topic that does not exist is empty.
func (k *Kafka) Records(ctx context.Context, topic string) ([]Record, error) {
	return ReadTopic(ctx, k.Addrs(), topic)
}

// WaitRecords waits until at least n records stand in the topic and returns all of them.
// When ctx ends first it returns those that are there with the error.
func (k *Kafka) WaitRecords(ctx context.Context, topic string, n int) ([]Record, error) {
	return WaitTopic(ctx, k.Addrs(), topic, n)
}

// ReadTopic returns everything that stands in a topic of any cluster now, by partition
// and offset. A topic that does not exist is empty.
func ReadTopic(ctx context.Context, addrs []string, topic string) ([]Record, error) {
	out, err := readTopic(ctx, addrs, topic)
	if err != nil {
		return nil, fmt.Errorf("read topic %s: %w", topic, err)
	}
	return out, nil
}

// WaitTopic waits until at least n records stand in a topic of any cluster and returns
// all of them. When ctx ends first it returns those that are there with the error. A
// cluster that does not answer is waited for.
func WaitTopic(ctx context.Context, addrs []string, topic string, n int) ([]Record, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.MetadataMinAge(recordsPoll))
	if err != nil {
		return nil, fmt.Errorf("wait for topic %s: %w", topic, err)
	}
	defer cl.Close()
	var have int64
	for {
		spans, err := spansOf(ctx, cl, topic)
		if err == nil {
			if have = total(spans); have >= int64(n) {
				return ReadTopic(ctx, addrs, topic)
			}
		}
		select {
		case <-ctx.Done():
			// What is there helps to see what is missing, so it is read on borrowed time.
			late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			out, readErr := ReadTopic(late, addrs, topic)
			return out, errors.Join(fmt.Errorf("wait for %d records in %s, %d are there: %w", n, topic, have, ctx.Err()), readErr)
		case <-time.After(recordsPoll):
		}
	}
}

// span is what one partition holds: offsets start to end-1.
type span struct{ start, end int64 }

func total(spans map[int32]span) (n int64) {
	for _, s := range spans {
		n += s.end - s.start
	}
	return n
}

// spansOf returns what each partition holds, without the empty ones.
func spansOf(ctx context.Context, cl *kgo.Client, topic string) (map[int32]span, error) {
	adm := kadm.NewClient(cl)
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	spans := make(map[int32]span)
	for part, end := range ends[topic] {
		start := starts[topic][part]
		if err := errors.Join(end.Err, start.Err); err != nil {
			if errors.Is(err, kerr.UnknownTopicOrPartition) {
				continue
			}
			return nil, fmt.Errorf("partition %d: %w", part, err)
		}
		if end.Offset > start.Offset {
			spans[part] = span{start.Offset, end.Offset}
		}
	}
	return spans, nil
}

func readTopic(ctx context.Context, addrs []string, topic string) ([]Record, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.FetchMaxWait(100*time.Millisecond), kgo.DisableFetchSessions())
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	spans, err := spansOf(ctx, cl, topic)
	if err != nil {
		return nil, err
	}
	from := make(map[int32]kgo.Offset, len(spans))
	for part, s := range spans {
		from[part] = kgo.NewOffset().At(s.start)
	}
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: from})

	out := make([]Record, 0, total(spans))
	for len(spans) > 0 {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			s, wanted := spans[r.Partition]
			if !wanted || r.Offset >= s.end {
				return
			}
			out = append(out, record(r))
			if r.Offset == s.end-1 {
				delete(spans, r.Partition)
			}
		})
	}
	slices.SortFunc(out, func(a, b Record) int {
		if a.Partition != b.Partition {
			return int(a.Partition - b.Partition)
		}
		return int(a.Offset - b.Offset)
	})
	return out, nil
}

func record(r *kgo.Record) Record {
	out := Record{Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, Header{h.Key, h.Value})
	}
	return out
}
