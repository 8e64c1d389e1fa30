package kafkaout

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"logagent/agent"
	"logagent/internal/lab"
	"logagent/kafkaout/sinktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testHost = "web-1"

// startKafka runs a cluster until the test ends.
func startKafka(t *testing.T, o lab.KafkaOptions) *lab.Kafka {
	t.Helper()
	o.Dir = t.TempDir()
	k, err := lab.StartKafka(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

func createTopic(t testing.TB, k *lab.Kafka, topic string, partitions int, configs map[string]string) {
	t.Helper()
	if err := k.CreateTopic(topic, partitions, configs); err != nil {
		t.Fatal(err)
	}
}

// quick is a producer's options with pauses that suit a test.
func quick(addrs []string) Options {
	return Options{
		Addrs: addrs, Host: testHost, Headers: []string{"host", "service", "path", "offset"},
		Timeout: 2 * time.Second, RetryMin: 5 * time.Millisecond, RetryMax: 100 * time.Millisecond,
		RefusedMin: 20 * time.Millisecond, RefusedMax: 50 * time.Millisecond,
		SlowAfter: 100 * time.Millisecond,
	}
}

// startProducer runs a producer until the test ends, with its log in the test's output.
func startProducer(t *testing.T, o Options, change ...func(*Producer)) (*Producer, *journal) {
	t.Helper()
	j := &journal{}
	o.Log = slog.New(slog.NewTextHandler(j, nil))
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(p)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(waitLimit):
			t.Error("Run did not end")
		}
		if t.Failed() {
			t.Log(j.String())
		}
	})
	return p, j
}

// journal is a log kept for looking at.
type journal struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// waitLimit is plenty: a broker of Java's that comes back on a busy machine takes ten seconds.
const waitLimit = 60 * time.Second

func wait(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(waitLimit)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", waitLimit, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// flow sends numbered lines and compares what arrived with them.
type flow struct {
	t *testing.T
	p *Producer

	tag  string        // begins every line
	pace time.Duration // of stream, between two batches

	mu sync.Mutex // guards the rest

	sent     map[string]map[string]int // by topic
	lines    map[string]origin         // of lines that were sent once
	starts   map[string]int64          // by path
	open     int
	answered int // well
	bad      []string
	total    agent.Verdict
	recalls  int
}

// origin is where a line came from.
type origin struct {
	path   string
	offset int64
	number int // lines were sent in this order
}

func newFlow(t *testing.T, p *Producer) *flow {
	return &flow{
		t: t, p: p, pace: 100 * time.Microsecond,
		sent: make(map[string]map[string]int), lines: make(map[string]origin), starts: make(map[string]int64),
	}
}

func entry(name, topic string) *agent.Service {
	return &agent.Service{Service: name, LogPath: "/var/log/" + name + ".log", Topic: topic}
}

// send sends one batch of n lines that exist nowhere else.
func (f *flow) send(s *agent.Service, n int) {
	f.mu.Lock()
	start := f.starts[s.LogPath]
	lines := make([]string, n)
	for i := range lines {
		lines[i] = fmt.Sprintf("%s%s at %d line %d", f.tag, s.LogPath, start, i)
	}
	f.mu.Unlock()
	f.sendLines(s, lines...)
}

func (f *flow) sendLines(s *agent.Service, lines ...string) {
	b := f.batch(s, lines...)
	f.p.Send(b)
}

func (f *flow) batch(s *agent.Service, lines ...string) *agent.Batch {
	f.mu.Lock()
	defer f.mu.Unlock()
	var buf []byte
	var cuts []agent.Line
	if f.sent[s.Topic] == nil {
		f.sent[s.Topic] = make(map[string]int)
	}
	for _, line := range lines {
		from := len(buf)
		buf = append(buf, line...)
		cuts = append(cuts, agent.Line{From: uint32(from), To: uint32(len(buf))})
		buf = append(buf, '\n')
		f.sent[s.Topic][line]++
		f.lines[line] = origin{s.LogPath, f.starts[s.LogPath] + int64(from), len(f.lines)}
	}
	b := agent.NewBatch(s, s.LogPath, buf, cuts, f.done)
	b.Start = f.starts[s.LogPath]
	b.End = b.Start + int64(len(buf))
	f.starts[s.LogPath] = b.End
	f.open++
	return b
}

func (f *flow) done(b *agent.Batch, v agent.Verdict) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open--
	f.total.Doubled += v.Doubled
	f.total.Split += v.Split
	f.total.Truncated += v.Truncated
	f.total.Skipped += v.Skipped
	if v.Err == agent.ErrRecalled {
		f.recalls++
		for _, l := range b.Lines {
			f.sent[b.Service.Topic][string(b.Buf[l.From:l.To])]--
		}
	} else if v.Err == nil {
		f.answered++
	} else {
		f.bad = append(f.bad, fmt.Sprintf("%s at %d: %v", b.Path, b.Start, v.Err))
	}
}

// settled waits until every batch has its verdict, and fails on errors.
func (f *flow) settled() agent.Verdict {
	f.t.Helper()
	wait(f.t, "every verdict", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.open == 0
	})
	held(f.t, f.p)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.bad) > 0 {
		f.t.Errorf("want no errors, got %d, the first: %s", len(f.bad), f.bad[0])
	}
	return f.total
}

func (f *flow) openBatches() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open
}

// well is how many batches were answered well.
func (f *flow) well() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.answered
}

// reader reads topics of some cluster.
type reader interface {
	Records(ctx context.Context, topic string) ([]lab.Record, error)
}

// compare holds what stands in the topics against what was sent, byte for byte: lost,
// doubled, foreign (which a corrupt line is, too), out of order or with a wrong header.
// Flows with tags of their own may share topics: all of them are compared at once.
func (f *flow) compare(k reader, others ...*flow) {
	f.t.Helper()
	topics := make(map[string][]*flow)
	for _, o := range append(others, f) {
		o.mu.Lock()
		defer o.mu.Unlock()
		for topic := range o.sent {
			topics[topic] = append(topics[topic], o)
		}
	}
	for topic, flows := range topics {
		var want []string
		for _, o := range flows {
			for line, n := range o.sent[topic] {
				for range n {
					want = append(want, line)
				}
			}
		}
		type file struct {
			flow      *flow
			path      string
			partition int32
		}
		last := make(map[file]int)
		wrong := 0
		recs := records(f.t, k, topic)
	records:
		for _, r := range recs {
			line := string(r.Value)
			for _, o := range flows {
				from, ok := o.lines[line]
				if !ok || o.sent[topic][line] != 1 || r.Header("part") != "" {
					continue
				}
				at := file{o, from.path, r.Partition}
				switch before, seen := last[at]; {
				case r.Header("path") != from.path || r.Header("offset") != fmt.Sprint(from.offset) || r.Header("host") != testHost:
					f.t.Errorf("topic %s: line %.60q of %s at %d has the headers %s", topic, line, from.path, from.offset, r.Headers)
					wrong++
				case seen && from.number < before:
					f.t.Errorf("topic %s, partition %d at %d: line %.60q comes after a later one of its file", topic, r.Partition, r.Offset, line)
					wrong++
				}
				last[at] = from.number
				if wrong > 5 {
					break records // the first ones tell enough
				}
			}
		}
		if d := lab.Compare(want, lab.Values(recs)); !d.None() {
			f.t.Errorf("topic %s, of %d lines: %s", topic, len(want), d)
		}
	}
}

func records(t testing.TB, k reader, topic string) []lab.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	r, err := k.Records(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// held audits the producer's books and returns the bytes of all batches it holds: every
// queue's count of bytes, every parcel's count of records.
func held(t testing.TB, p *Producer) (bytes int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, topic := range p.topics {
		left, out := make(map[*parcel]int), make(map[*parcel]int)
		for _, q := range topic.waiting {
			left[q] += len(q.batch.Lines)
		}
		for _, part := range topic.partitions {
			var queued int64
			for i := range part.queue {
				queued += part.queue[i].bytes()
				left[part.queue[i].p] += part.queue[i].records()
			}
			if c := part.chunk; c != nil {
				queued += c.bytes - batchOverhead
				for i := range c.spans {
					left[c.spans[i].p] += c.spans[i].records()
					out[c.spans[i].p] += c.spans[i].records()
				}
			}
			if queued != part.queued {
				t.Errorf("topic %s, partition %d: %d bytes are queued, its books say %d", topic.name, part.index, queued, part.queued)
			}
		}
		for q, n := range left {
			bytes += len(q.batch.Buf)
			if q.out != out[q] {
				t.Errorf("topic %s: a parcel has %d records on their way, its books say %d", topic.name, out[q], q.out)
			}
			if q.left != n {
				t.Errorf("topic %s: a parcel has %d records left, its books say %d", topic.name, n, q.left)
			}
		}
		if len(left) != topic.pending {
			t.Errorf("topic %s: holds %d parcels, its books say %d", topic.name, len(left), topic.pending)
		}
	}
	return bytes
}

// produceFault fails produce requests to a topic.
func produceFault(k *lab.Kafka, topic string, err *kerr.Error, count int) *kfake.FaultHandle {
	return k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: err, Count: count})
}

func hits(t testing.TB, h *kfake.FaultHandle, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	if err := h.Wait(ctx, n); err != nil {
		t.Fatalf("waited for %d faults: %v", n, err)
	}
}

// addPartitions widens a topic to n partitions.
func addPartitions(k *lab.Kafka, topic string, n int32) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Addrs()...))
	if err != nil {
		return err
	}
	defer cl.Close()
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: topic, Count: n}}
	_, err = req.RequestWith(context.Background(), cl)
	return err
}

// fixture lets the conformance suite look at a producer on its own cluster.
func fixture(t *testing.T, k *lab.Kafka, p *Producer) sinktest.Fixture {
	faults := make(map[string]*kfake.FaultHandle)
	return sinktest.Fixture{
		Sink: p, Host: testHost,
		Received:    func(t testing.TB, topic string) []sinktest.Received { return received(t, k, topic) },
		CreateTopic: func(t testing.TB, topic string) { createTopic(t, k, topic, 4, nil) },
		Block: func(t testing.TB, topic string) func() {
			faults[topic] = produceFault(k, topic, kerr.RequestTimedOut, -1)
			return faults[topic].Remove
		},
		Refuse: func(t testing.TB, topic string) func() {
			return produceFault(k, topic, kerr.TopicAuthorizationFailed, -1).Remove
		},
		Written: func(t testing.TB, topic string) { hits(t, faults[topic], 1) },
	}
}
