package sinktest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"logagent/agent"
)

// ledger hands out batches and keeps their verdicts.
type ledger struct {
	t        *testing.T
	mu       sync.Mutex // guards the rest
	sent     int
	verdicts map[*agent.Batch][]agent.Verdict
	changed  chan struct{}
}

func newLedger(t *testing.T) *ledger {
	return &ledger{t: t, verdicts: make(map[*agent.Batch][]agent.Verdict), changed: make(chan struct{}, 1)}
}

// batch makes a batch of the lines as they would stand in a file at start.
func (l *ledger) batch(s *agent.Service, path string, start int64, lines ...string) *agent.Batch {
	var buf []byte
	var cuts []agent.Line
	for _, line := range lines {
		from := len(buf)
		buf = append(buf, line...)
		cuts = append(cuts, agent.Line{From: uint32(from), To: uint32(len(buf))})
		buf = append(buf, '\n')
	}
	b := agent.NewBatch(s, path, buf, cuts, l.done)
	b.Start, b.End = start, start+int64(len(buf))
	l.mu.Lock()
	l.sent++
	l.mu.Unlock()
	return b
}

func (l *ledger) done(b *agent.Batch, v agent.Verdict) {
	l.mu.Lock()
	l.verdicts[b] = append(l.verdicts[b], v)
	l.mu.Unlock()
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// wait waits for the first verdict of b.
func (l *ledger) wait(b *agent.Batch) agent.Verdict {
	l.t.Helper()
	var out agent.Verdict
	l.until(fmt.Sprintf("a verdict of the batch of %s at %d", b.Path, b.Start), func() bool {
		v := l.verdicts[b]
		if len(v) > 0 {
			out = v[0]
		}
		return len(v) > 0
	})
	return out
}

// open tells whether b is without a verdict.
func (l *ledger) open(b *agent.Batch) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.verdicts[b]) == 0
}

// good waits until every batch has a verdict and fails on any but a clean success.
func (l *ledger) good() {
	l.t.Helper()
	l.until("all verdicts", func() bool { return len(l.verdicts) == l.sent })
	l.mu.Lock()
	defer l.mu.Unlock()
	for b, v := range l.verdicts {
		if len(v) != 1 || v[0] != (agent.Verdict{}) {
			l.t.Errorf("want one good verdict of the batch of %s at %d, got %+v", b.Path, b.Start, v)
		}
	}
}

func (l *ledger) until(what string, cond func() bool) {
	l.t.Helper()
	deadline := time.NewTimer(waitLimit)
	defer deadline.Stop()
	for {
		l.mu.Lock()
		ok := cond()
		have, sent := len(l.verdicts), l.sent
		l.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-l.changed:
		case <-deadline.C:
			l.t.Fatalf("waited %v for %s; %d of %d batches have a verdict", waitLimit, what, have, sent)
		}
	}
}

// poll waits until cond holds; the test fails after 20 s.
func poll(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(waitLimit)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", waitLimit, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
