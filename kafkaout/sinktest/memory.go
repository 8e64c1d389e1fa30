package sinktest

import (
	"bytes"
	"strconv"
	"sync"
	"testing"
	"time"

	"logagent/agent"
)

// Received is one record as it stands in a topic.
type Received struct {
	Topic     string
	Partition int32
	Key       []byte // nil: no key
	Value     []byte
	Timestamp time.Time

	Host    string // header host
	Service string // header service
	Path    string // header path
	Offset  int64  // header offset; -1 where there is none
	Part    string // header part: "2", or "2.1" for a piece of a piece; "" for whole lines
	Parts   string // header parts, on the last piece
}

// memoryHost is the header host of what a Memory stores.
const memoryHost = "memory-host"

// Memory is an agent.Sink that keeps everything in memory: one partition per topic, so
// what it received is in the order of Send. It answers from a goroutine of its own, which
// lives only while there is something to do. Its controls hold, refuse, delay or fail
// batches. Every method may be called from any goroutine.
type Memory struct {
	mu      sync.Mutex // guards everything below
	changed chan struct{}
	closed  bool
	working bool
	done    sync.WaitGroup

	queue   []*agent.Batch // not written: a recall takes them back
	written []*agent.Batch // written, no answer yet: a recall leaves them
	stored  map[string][]Received
	order   []Received

	blocked bool
	away    string // why no broker answers; "" when one does
	since   time.Time
	delay   time.Duration
	fail    error
	judge   func(*agent.Batch) agent.Verdict
	topics  map[string]agent.TopicState // refused ones
}

// NewMemory returns a sink that acknowledges everything. Close ends it.
func NewMemory() *Memory {
	return &Memory{
		changed: make(chan struct{}),
		since:   time.Now(),
		stored:  make(map[string][]Received),
		topics:  make(map[string]agent.TopicState),
	}
}

var _ agent.Sink = (*Memory)(nil)

// Send takes the batch; its verdict comes from another goroutine.
func (m *Memory) Send(b *agent.Batch) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		b.Done(agent.Verdict{Err: agent.ErrClosed})
		return
	}
	m.queue = append(m.queue, b)
	m.changeLocked()
	m.mu.Unlock()
}

// Recall gives back what is queued for the entry. What was written (see Block) stays.
func (m *Memory) Recall(logPath string) {
	m.mu.Lock()
	var back, keep []*agent.Batch
	for _, b := range m.queue {
		if b.Service.LogPath == logPath {
			back = append(back, b)
		} else {
			keep = append(keep, b)
		}
	}
	m.queue = keep
	m.changeLocked()
	m.mu.Unlock()
	for _, b := range back {
		b.Done(agent.Verdict{Err: agent.ErrRecalled})
	}
}

// Topic is ok, refused by Refuse, down by Disconnect or slow by Block.
func (m *Memory) Topic(topic string) agent.TopicState {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, ok := m.topics[topic]; ok {
		return s
	}
	switch {
	case m.away != "":
		return agent.TopicState{Health: agent.HealthDown, Why: m.away, Since: m.since}
	case m.blocked:
		return agent.TopicState{Health: agent.HealthSlow, Why: "no answer yet", Since: m.since}
	}
	return agent.TopicState{}
}

// Link is up but for a Disconnect.
func (m *Memory) Link() agent.LinkStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	return agent.LinkStatus{Up: m.away == "", Error: m.away, Since: m.since, LatencyMS: 1}
}

// Block lets batches be written but not answered until Unblock: their outcome is unknown,
// and a recall does not give them back.
func (m *Memory) Block() { m.set(func() { m.blocked, m.since = true, time.Now() }) }

// Unblock stores and acknowledges what was held by Block.
func (m *Memory) Unblock() { m.set(func() { m.blocked, m.since = false, time.Now() }) }

// Disconnect keeps batches unwritten until Connect, as when no broker answers.
func (m *Memory) Disconnect(why string) { m.set(func() { m.away, m.since = why, time.Now() }) }

// Connect ends a Disconnect.
func (m *Memory) Connect() { m.set(func() { m.away, m.since = "", time.Now() }) }

// Refuse keeps the batches of one topic unwritten until Allow.
func (m *Memory) Refuse(topic, why string) {
	m.set(func() {
		m.topics[topic] = agent.TopicState{Health: agent.HealthRefused, Why: why, Since: time.Now()}
	})
}

// Allow ends a Refuse.
func (m *Memory) Allow(topic string) { m.set(func() { delete(m.topics, topic) }) }

// Delay lets every batch wait that long between being written and being acknowledged.
func (m *Memory) Delay(d time.Duration) { m.set(func() { m.delay = d }) }

// Fail answers every batch with err, storing nothing, until Fail(nil).
func (m *Memory) Fail(err error) { m.set(func() { m.fail = err }) }

// Judge lets f give the verdict of every batch, which is stored where Err is nil. f must
// not call the Memory. Judge(nil) ends it.
func (m *Memory) Judge(f func(*agent.Batch) agent.Verdict) { m.set(func() { m.judge = f }) }

// Lines returns a copy of what a topic received, in order.
func (m *Memory) Lines(topic string) []Received {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Received(nil), m.stored[topic]...)
}

// All returns a copy of everything received, in order over all topics.
func (m *Memory) All() []Received {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Received(nil), m.order...)
}

// Held returns how many batches are without a verdict.
func (m *Memory) Held() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.queue) + len(m.written)
}

// WaitLines waits until the topic received at least n lines and returns all of them; the
// test fails after 20 s.
func (m *Memory) WaitLines(t testing.TB, topic string, n int) []Received {
	t.Helper()
	m.Wait(t, strconv.Itoa(n)+" lines in "+topic, func() bool { return len(m.stored[topic]) >= n })
	return m.Lines(topic)
}

// WaitHeld waits until exactly n batches are without a verdict; the test fails after 20 s.
func (m *Memory) WaitHeld(t testing.TB, n int) {
	t.Helper()
	m.Wait(t, strconv.Itoa(n)+" batches held", func() bool { return len(m.queue)+len(m.written) == n })
}

// Wait waits until cond, which is called with the Memory locked and so must not call it,
// holds; the test fails after 20 s.
func (m *Memory) Wait(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(waitLimit)
	defer deadline.Stop()
	for {
		m.mu.Lock()
		ok, changed := cond(), m.changed
		received, held := len(m.order), len(m.queue)+len(m.written)
		m.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			t.Fatalf("waited %v for %s; received %d lines, %d batches held", waitLimit, what, received, held)
		}
	}
}

// waitLimit is generous: it only ends tests that have failed anyway.
const waitLimit = 20 * time.Second

// Close gives every batch left ErrClosed and returns when the sink's goroutine has ended.
func (m *Memory) Close() {
	m.mu.Lock()
	m.closed = true
	left := append(m.written, m.queue...)
	m.queue, m.written = nil, nil
	m.changeLocked()
	m.mu.Unlock()
	m.done.Wait()
	for _, b := range left {
		b.Done(agent.Verdict{Err: agent.ErrClosed})
	}
}

func (m *Memory) set(f func()) {
	m.mu.Lock()
	f()
	m.changeLocked()
	m.mu.Unlock()
}

// changeLocked wakes the waiters and sees to it that somebody works where there is work.
func (m *Memory) changeLocked() {
	m.tellLocked()
	if !m.working && !m.closed && m.readyLocked() {
		m.working = true
		m.done.Go(m.work)
	}
}

// tellLocked wakes the waiters.
func (m *Memory) tellLocked() {
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *Memory) readyLocked() bool {
	if m.away == "" {
		for _, b := range m.queue {
			if _, refused := m.topics[b.Service.Topic]; !refused {
				return true
			}
		}
	}
	return !m.blocked && len(m.written) > 0
}

// work writes and answers until nothing can be done; changeLocked starts it again.
func (m *Memory) work() {
	for {
		m.mu.Lock()
		if m.closed || !m.readyLocked() {
			m.working = false
			m.mu.Unlock()
			return
		}
		m.writeLocked()
		if m.blocked {
			m.tellLocked()
			m.mu.Unlock()
			continue
		}
		delay := m.delay
		if delay > 0 {
			changed := m.changed
			m.mu.Unlock()
			m.sleep(delay, changed)
			m.mu.Lock()
		}
		var b *agent.Batch
		var v agent.Verdict
		if !m.blocked && len(m.written) > 0 {
			b, m.written = m.written[0], m.written[1:]
			v = m.answerLocked(b)
		}
		m.tellLocked()
		m.mu.Unlock()
		if b != nil {
			b.Done(v)
		}
	}
}

// sleep waits d, or until the sink is closed.
func (m *Memory) sleep(d time.Duration, changed chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return
		case <-changed:
			m.mu.Lock()
			closed := m.closed
			changed = m.changed
			m.mu.Unlock()
			if closed {
				return
			}
		}
	}
}

// writeLocked moves what may be written from the queue, in order.
func (m *Memory) writeLocked() {
	if m.away != "" {
		return
	}
	var keep []*agent.Batch
	for _, b := range m.queue {
		if _, refused := m.topics[b.Service.Topic]; refused {
			keep = append(keep, b)
		} else {
			m.written = append(m.written, b)
		}
	}
	m.queue = keep
}

// answerLocked stores the batch if it is not failed and returns its verdict.
func (m *Memory) answerLocked(b *agent.Batch) agent.Verdict {
	var v agent.Verdict
	switch {
	case m.fail != nil:
		v.Err = m.fail
	case m.judge != nil:
		v = m.judge(b)
	}
	if v.Err != nil {
		return v
	}
	for _, l := range b.Lines {
		r := Received{
			Topic: b.Service.Topic, Key: recordKey(b.Service, b.Path, memoryHost),
			Value: bytes.Clone(b.Buf[l.From:l.To]), Timestamp: b.Read.Truncate(time.Millisecond),
			Host: memoryHost, Service: b.Service.Service, Path: b.Path, Offset: b.Start + int64(l.From),
		}
		if b.Part > 0 {
			r.Part = strconv.Itoa(b.Part)
		}
		if b.Parts > 0 {
			r.Parts = strconv.Itoa(b.Parts)
		}
		m.stored[r.Topic] = append(m.stored[r.Topic], r)
		m.order = append(m.order, r)
	}
	return v
}

// recordKey is the key that the entry asks for; nil is none.
func recordKey(s *agent.Service, path, host string) []byte {
	switch s.Partition {
	case agent.PartitionFile:
		return []byte(path)
	case agent.PartitionHost:
		return []byte(host)
	case agent.PartitionService:
		return []byte(s.Service)
	}
	return nil
}
