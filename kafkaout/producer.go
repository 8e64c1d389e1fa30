package kafkaout

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"logagent/agent"
)

// Producer is the agent.Sink that writes to Kafka. New makes it, Run makes it work; Send,
// Recall, Topic and Link may be called from any goroutine before, during and after that.
//
// It holds no more than the batches it was given and, per connection, one encoded request.
type Producer struct {
	opts Options
	host []byte
	cfg  *sarama.Config // set by Run before anything reads it
	ask  chan struct{}  // of size 1: the cluster loop has something to do

	mu      sync.Mutex // guards everything below, and all topics, partitions and parcels
	started bool
	closed  bool
	topics  map[string]*topic
	brokers map[int32]string // addresses
	conns   map[slot]*connection

	wantMap  bool       // leaders or topics are to be asked for
	wantID   bool       // a producer id is to be asked for
	id       producerID // of new record batches
	plain    bool       // the cluster refuses idempotence
	firstSeq int32      // where the sequences of id begin

	link     agent.LinkStatus
	saidDown bool    // that no broker answers was logged once
	latency  float64 // mean time from write to answer, ms
	news     []news  // to be logged
}

// producerID is what InitProducerID gave. The zero value is none.
type producerID struct {
	id    int64
	epoch int16
	ok    bool
}

// slot is one of the connections to a broker.
type slot struct {
	broker int32
	number int
}

// lastSequence is where a partition takes a new producer id: brokers differ in how they
// go on after 2³¹-1, and half of that is far enough.
const lastSequence = 1<<30 - 1<<24

// New checks the options. It touches no network and starts no goroutine.
func New(o Options) (*Producer, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Producer{
		opts:    o,
		host:    []byte(o.Host),
		ask:     make(chan struct{}, 1),
		topics:  make(map[string]*topic),
		brokers: make(map[int32]string),
		conns:   make(map[slot]*connection),
		link:    agent.LinkStatus{Error: "not connected yet", Since: time.Now()},
	}, nil
}

var _ agent.Sink = (*Producer)(nil)

// Run sends until ctx ends and owns every goroutine. Then every batch that is left gets
// agent.ErrClosed, and so does every later one. It may be called once.
func (p *Producer) Run(ctx context.Context) error {
	p.mu.Lock()
	if p.started {
		p.mu.Unlock()
		return errors.New("this producer was run before")
	}
	p.started = true
	p.mu.Unlock()

	p.cfg = p.opts.config(ctx)
	var group sync.WaitGroup // the cluster loop and every connection
	group.Go(func() { newCluster(p, &group).run(ctx) })
	<-ctx.Done()
	group.Wait()
	p.close()
	return nil
}

// Send queues the batch; it waits for nothing but the lock.
func (p *Producer) Send(b *agent.Batch) {
	if len(b.Lines) == 0 {
		b.Done(agent.Verdict{})
		return
	}
	q := p.newParcel(b)
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		b.Done(agent.Verdict{Err: agent.ErrClosed})
		return
	}
	t := p.topics[b.Service.Topic]
	if t == nil {
		t = &topic{name: b.Service.Topic}
		p.topics[t.name] = t
	}
	q.topic = t
	t.pending++
	t.lastUsed = time.Now()
	if b.Part > 0 {
		t.continueLine(q)
	}
	if len(t.partitions) > 0 {
		t.place(q)
	} else {
		t.waiting = append(t.waiting, q)
		p.askMap()
	}
	p.mu.Unlock()
}

// Recall gives back the batches of an entry that no broker can have stored.
//
// The race with a batch that is just being written: a connection takes records out of
// the queue under the lock, and only then writes them. So either Recall comes first, finds
// the batch in the queue, and it is never written; or the connection comes first, Recall
// finds the batch taken, and marks it. Then the answer decides: acknowledged, it gets its
// good verdict; refused for certain, putBack gives it ErrRecalled instead of queueing it
// again; unknown, it is written again as it was until one of these is true. A batch of
// which one part is in the queue and another taken or acknowledged counts as taken: to read
// it again would double what stands in Kafka.
func (p *Producer) Recall(logPath string) {
	var v verdicts
	p.mu.Lock()
	for _, t := range p.topics {
		t.recall(&v, logPath)
	}
	p.mu.Unlock()
	v.give()
}

func (t *topic) recall(v *verdicts, logPath string) {
	for key := range t.lines {
		if key.logPath == logPath {
			delete(t.lines, key)
		}
	}
	keep := t.waiting[:0]
	for _, q := range t.waiting {
		if q.batch.Service.LogPath == logPath {
			v.finish(q, agent.ErrRecalled)
		} else {
			keep = append(keep, q)
		}
	}
	clear(t.waiting[len(keep):])
	t.waiting = keep
	for _, part := range t.partitions {
		if part.chunk != nil {
			for _, s := range part.chunk.spans {
				s.p.recall = s.p.recall || s.p.batch.Service.LogPath == logPath
			}
		}
		for _, s := range part.queue {
			s.p.recall = s.p.recall || s.p.batch.Service.LogPath == logPath
		}
		part.sweep(v)
	}
}

// close gives every batch left its verdict. Nothing is running any more.
func (p *Producer) close() {
	var v verdicts
	p.mu.Lock()
	p.closed = true
	p.link.Up, p.link.Error, p.link.Since = false, "closed", time.Now()
	for _, t := range p.topics {
		for _, q := range t.waiting {
			v.finish(q, agent.ErrClosed)
		}
		t.waiting = nil
		for _, part := range t.partitions {
			spans := part.queue
			if part.chunk != nil {
				spans = append(part.chunk.spans, spans...)
			}
			for _, s := range spans {
				if s.p.verdict.Err == nil {
					v.finish(s.p, agent.ErrClosed)
				}
			}
			part.queue, part.chunk, part.queued = nil, nil, 0
		}
	}
	p.mu.Unlock()
	v.give()
}

// askMap wants topics and leaders looked up soon.
func (p *Producer) askMap() {
	p.wantMap = true
	signal(p.ask)
}

// askID wants a producer id soon.
func (p *Producer) askID() {
	p.wantID = true
	signal(p.ask)
}

// dropID retires a producer id: record batches made from now on wait for a new one.
func (p *Producer) dropID(id producerID) {
	if p.id == id {
		p.id = producerID{}
		p.askID()
	}
}
