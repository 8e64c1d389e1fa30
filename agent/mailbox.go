package agent

import "sync"

// mailbox brings work to the loop from any goroutine without blocking it. What waits in
// it is bounded by who sends: verdicts by the memory in flight, one outcome per reader,
// one look per helper goroutine, one call per waiting caller.
type mailbox struct {
	mu       sync.Mutex // guards the slices
	calls    []func()
	verdicts []verdictMail
	wake     chan struct{} // size 1
}

type verdictMail struct {
	b *Batch
	v Verdict
}

func (m *mailbox) post(f func()) {
	m.mu.Lock()
	m.calls = append(m.calls, f)
	m.mu.Unlock()
	m.nudge()
}

// verdict is what Batch.Done calls.
func (m *mailbox) verdict(b *Batch, v Verdict) {
	m.mu.Lock()
	m.verdicts = append(m.verdicts, verdictMail{b, v})
	m.mu.Unlock()
	m.nudge()
}

func (m *mailbox) nudge() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// take empties the box into the caller's slices.
func (m *mailbox) take(calls []func(), verdicts []verdictMail) ([]func(), []verdictMail) {
	m.mu.Lock()
	defer m.mu.Unlock()
	calls = append(calls, m.calls...)
	verdicts = append(verdicts, m.verdicts...)
	clear(m.calls)
	clear(m.verdicts)
	m.calls, m.verdicts = m.calls[:0], m.verdicts[:0]
	return calls, verdicts
}
