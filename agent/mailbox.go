package agent

import "sync"

// mailbox brings work to the loop from any goroutine without blocking it. What waits in
// it is bounded by who sends: verdicts by the memory in flight, one outcome per reader,
// one look per helper goroutine, one call per waiting caller.
type mailbox struct {
	mu       sync.Mutex // guards the slices
	calls    []func()
	verdicts []verdictMail
	reads    []readMail
	wake     chan struct{} // size 1
}

// readMail is what a turn has brought.
type readMail struct {
	t turn
	o outcome
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

// read brings a turn's outcome.
func (m *mailbox) read(t turn, o outcome) {
	m.mu.Lock()
	m.reads = append(m.reads, readMail{t, o})
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

// mail is what was in the box.
type mail struct {
	calls    []func()
	verdicts []verdictMail
	reads    []readMail
}

// take empties the box into the caller's slices.
func (m *mailbox) take(in *mail) {
	m.mu.Lock()
	defer m.mu.Unlock()
	in.calls = append(in.calls[:0], m.calls...)
	in.verdicts = append(in.verdicts[:0], m.verdicts...)
	in.reads = append(in.reads[:0], m.reads...)
	clear(m.calls)
	clear(m.verdicts)
	clear(m.reads)
	m.calls, m.verdicts, m.reads = m.calls[:0], m.verdicts[:0], m.reads[:0]
}
