package kafkaout

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"logagent/agent"
)

// Handler takes what is read from the status topic. Its methods are called from one
// goroutine, must return soon, and may keep what they are given. Age is how long before now
// the record reached the topic: 0 for what has just arrived, and above 0 for what stood in
// the topic already.
type Handler interface {
	Summary(host string, s agent.Summary, age time.Duration)
	Detail(s agent.Status, age time.Duration)
}

// StatusReaderOptions say where to read. Of Cluster, the addresses, timeouts, credentials
// and log count.
type StatusReaderOptions struct {
	Cluster Options
	Topic   string        // "" means logagent-status
	Back    time.Duration // how far back to begin; 0 means 75s: one summary with history of every host
}

// StatusReader reads the status topic: every partition, from some time back, for ever.
type StatusReader struct {
	opts StatusReaderOptions

	mu      sync.Mutex // guards link and current
	link    agent.LinkStatus
	current bool
	said    bool // of Run's goroutine: that reading fails was logged once

	// Of Run's goroutine:
	next  map[int32]int64 // offsets to go on from
	pages map[string]*pageJoiner
}

// heartbeat is how often a reader that hears nothing asks whether the cluster is there.
const heartbeat = 5 * time.Second

// NewStatusReader checks the options.
func NewStatusReader(o StatusReaderOptions) (*StatusReader, error) {
	orString(&o.Cluster.Host, "console") // a reader has no host
	cluster, err := o.Cluster.withDefaults()
	if err != nil {
		return nil, err
	}
	o.Cluster = cluster
	orString(&o.Topic, defaultStatusTopic)
	orNumber(&o.Back, 75*time.Second)
	return &StatusReader{
		opts:  o,
		link:  agent.LinkStatus{Error: "not connected yet", Since: time.Now()},
		next:  make(map[int32]int64),
		pages: make(map[string]*pageJoiner),
	}, nil
}

// Link tells whether the topic is being read; any goroutine may call it.
func (r *StatusReader) Link() agent.LinkStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.link
}

// Current tells whether all has been passed on that stood in the topic when the connection
// that reads it now was made; any goroutine may call it.
func (r *StatusReader) Current() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current
}

func (r *StatusReader) setCurrent(is bool) {
	r.mu.Lock()
	r.current = is
	r.mu.Unlock()
}

// Run reads until ctx ends, connecting again for as long as it takes. It may be called once.
func (r *StatusReader) Run(ctx context.Context, h Handler) error {
	quietFetches(r.opts.Topic)
	tries := 0
	for {
		began := time.Now()
		err := r.session(ctx, h)
		if ctx.Err() != nil {
			return nil
		}
		r.show(err)
		if time.Since(began) > r.opts.Cluster.RetryMax {
			tries = 0
		}
		tries++
		if !sleep(ctx, pause(tries, r.opts.Cluster.RetryMin, r.opts.Cluster.RetryMax)) {
			return nil
		}
	}
}

// show keeps the link's state and logs a change once.
func (r *StatusReader) show(err error) {
	r.mu.Lock()
	was := r.link
	if up := err == nil; up != was.Up {
		r.link = agent.LinkStatus{Up: up, Since: time.Now()}
	}
	r.link.Error = ""
	if err != nil {
		r.link.Error = err.Error()
	}
	now := r.link
	r.mu.Unlock()
	switch log := r.opts.Cluster.Log; {
	case now.Up && !was.Up:
		log.Info("status topic is read", "topic", r.opts.Topic)
	case !now.Up && (was.Up || !r.said):
		r.said = true
		log.Warn("status topic can not be read", "topic", r.opts.Topic, "why", now.Error, "next", "trying again")
	}
}

// session is one connection to the cluster; nil means that partitions were added and a
// new session will read them.
func (r *StatusReader) session(ctx context.Context, h Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cfg := r.opts.Cluster.config(ctx)
	cfg.Consumer.Return.Errors = true
	cfg.Consumer.Retry.Backoff = r.opts.Cluster.RetryMax
	cfg.Metadata.Retry.Max = 1
	cfg.Metadata.Retry.Backoff = r.opts.Cluster.RetryMin
	client, err := sarama.NewClient(r.opts.Cluster.Addrs, cfg)
	if err != nil {
		return fmt.Errorf("no broker answers: %s", words(err))
	}
	defer client.Close() // an error says that ctx has closed it already
	parts, err := r.partitions(client)
	if err != nil {
		return err
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		return fmt.Errorf("read topic %s: %s", r.opts.Topic, words(err))
	}
	defer consumer.Close()

	past := &past{began: time.Now(), back: r.opts.Back, ends: make(map[int32]int64)}
	from := make(map[int32]int64)
	left := make(map[int32]struct{}) // partitions with some of the past to read
	for _, p := range parts {
		if from[p], err = r.bounds(client, consumer, past, p); err != nil {
			return fmt.Errorf("read topic %s: %s", r.opts.Topic, words(err))
		}
		if from[p] < past.ends[p] {
			left[p] = struct{}{}
		}
	}
	r.setCurrent(len(left) == 0)
	defer r.setCurrent(false)
	var group sync.WaitGroup // one goroutine per partition and one heart
	defer group.Wait()
	defer cancel()
	messages := make(chan *sarama.ConsumerMessage, 256)
	failed := make(chan error, len(parts)+1)
	for _, p := range parts {
		pc, err := consumer.ConsumePartition(r.opts.Topic, p, from[p])
		if err != nil {
			delete(r.next, p) // the topic may have been created anew
			return fmt.Errorf("read topic %s: %s", r.opts.Topic, words(err))
		}
		group.Go(func() { failed <- forward(ctx, pc, messages) })
	}
	group.Go(func() { failed <- r.beat(ctx, client, len(parts)) })
	r.show(nil)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case m := <-messages:
			r.next[m.Partition] = m.Offset + 1
			r.handle(h, m, past.age(m))
			if len(left) > 0 && m.Offset+1 >= past.ends[m.Partition] {
				if delete(left, m.Partition); len(left) == 0 {
					r.setCurrent(true)
				}
			}
		}
	}
}

// partitions returns those of the topic.
func (r *StatusReader) partitions(client sarama.Client) ([]int32, error) {
	if err := client.RefreshMetadata(r.opts.Topic); err != nil {
		if errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			return nil, fmt.Errorf("status topic %s does not exist yet", r.opts.Topic)
		}
		if errors.Is(err, sarama.ErrOutOfBrokers) {
			return nil, fmt.Errorf("no broker answers: %s", words(err))
		}
		return nil, errors.New(topicWords(r.opts.Topic, err))
	}
	parts, err := client.Partitions(r.opts.Topic)
	if err != nil {
		return nil, errors.New(topicWords(r.opts.Topic, err))
	}
	return parts, nil
}

// past is what stood in the topic when a session began.
type past struct {
	began  time.Time       // on this machine's clock
	back   time.Duration   // how far back reading began
	newest time.Time       // the newest record then, on the broker's or the writer's clock
	ends   map[int32]int64 // the end of each partition then
}

// age is how long ago the record arrived: 0 for one that came after the session began. For
// one of the past it is a guess, for nobody tells how old the newest of them is: how much
// older it is than the newest, or how old it is by this machine's clock, whichever is more.
// That clock may be off, so it makes nothing older than what is read at all.
func (p *past) age(m *sarama.ConsumerMessage) time.Duration {
	if m.Offset >= p.ends[m.Partition] {
		return 0
	}
	byClock := min(p.began.Sub(m.Timestamp), p.back)
	return max(0, p.newest.Sub(m.Timestamp), byClock) + max(time.Since(p.began), 1)
}

// bounds finds where to begin in a partition, where its past ends, and how new that is.
func (r *StatusReader) bounds(client sarama.Client, consumer sarama.Consumer, past *past, p int32) (int64, error) {
	end, err := client.GetOffset(r.opts.Topic, p, sarama.OffsetNewest)
	if err != nil {
		return 0, err
	}
	past.ends[p] = end
	from, err := client.GetOffset(r.opts.Topic, p, time.Now().Add(-r.opts.Back).UnixMilli())
	if err != nil {
		return 0, err
	}
	if from < 0 || from > end {
		from = end // nothing is that new
	}
	if next, ok := r.next[p]; ok && next > from && next <= end {
		from = next
	}
	if from == end {
		return from, nil
	}
	pc, err := consumer.ConsumePartition(r.opts.Topic, p, end-1)
	if err != nil {
		return 0, err
	}
	defer pc.Close()
	timer := time.NewTimer(r.opts.Cluster.Timeout)
	defer timer.Stop()
	select {
	case m, ok := <-pc.Messages():
		if ok && m.Timestamp.After(past.newest) {
			past.newest = m.Timestamp
		}
		return from, nil
	case e := <-pc.Errors():
		return 0, e.Err
	case <-timer.C:
		return 0, errors.New("no answer in time")
	}
}

// forward passes on what a partition brings until ctx ends or reading fails.
func forward(ctx context.Context, pc sarama.PartitionConsumer, to chan<- *sarama.ConsumerMessage) error {
	var group sync.WaitGroup
	defer group.Wait()
	defer func() {
		pc.AsyncClose() // ends when both channels are drained
		group.Go(func() {
			for range pc.Errors() {
			}
		})
		for range pc.Messages() {
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-pc.Errors():
			if e == nil {
				return errors.New("reading ended")
			}
			return fmt.Errorf("read topic %s: %s", e.Topic, words(e.Err))
		case m, ok := <-pc.Messages():
			if !ok {
				return errors.New("reading ended")
			}
			select {
			case to <- m:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// beat asks for the topic now and then: silence may mean that there is no cluster, or
// that there are more partitions than are read (nil).
func (r *StatusReader) beat(ctx context.Context, client sarama.Client, have int) error {
	for sleep(ctx, heartbeat) {
		parts, err := r.partitions(client)
		if err != nil {
			return err
		}
		if len(parts) != have {
			return nil
		}
	}
	return ctx.Err()
}

// handle decodes one record. What can't be decoded is of another version: it is left out.
func (r *StatusReader) handle(h Handler, m *sarama.ConsumerMessage, age time.Duration) {
	host := string(m.Key)
	var kind string
	page, pages := 1, 1
	for _, header := range m.Headers {
		switch string(header.Key) {
		case headerKind:
			kind = string(header.Value)
		case headerPage:
			page, _ = strconv.Atoi(string(header.Value)) // 0 fits nowhere and is left out
		case headerPages:
			pages, _ = strconv.Atoi(string(header.Value))
		}
	}
	switch kind {
	case kindSummary:
		s, err := agent.DecodeSummary(m.Value)
		if err != nil {
			r.opts.Cluster.Log.Debug("status record left out", "host", host, "why", err)
			return
		}
		h.Summary(host, s, age)
	case kindDetail:
		j := r.pages[host]
		if j == nil {
			j = &pageJoiner{}
			r.pages[host] = j
		}
		s, err := j.add(m.Value, page, pages)
		if err != nil {
			r.opts.Cluster.Log.Debug("status record left out", "host", host, "why", err)
		}
		if s != nil {
			delete(r.pages, host)
			h.Detail(*s, age)
		}
	}
}
