package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"logagent/agent"
)

const (
	steadyRate = 1000
	// Between these two the rate is changed. At the low one, three lines take a second: the
	// third line after a change upward is a sign of the high one.
	lowRate, highRate = 2, 2000
	// lowDepth is the bucket of the low rate, of one line, and what a millisecond adds.
	lowDepth = 1.2
)

// rateRow measures how true the agent is to send_rate, and how fast a change takes hold.
func rateRow(sc scale) row {
	return row{
		name: "send_rate",
		what: fmt.Sprintf("A backlog with send_rate %d: lines that arrive within %v, and the depth of the smallest token bucket of that rate that would let all arrivals through. "+
			"Then %d changes by turns to %d and to %d, each from the return of the write to etcd: up until the third line after it, down until the last line that the new rate would not let through. "+
			"Arrivals are of the broker stand-in, when it has read the request.", steadyRate, sc.RateFor, sc.Changes, highRate, lowRate),
		run: func(ctx context.Context, b *bench) (o outcome, err error) {
			s, err := b.newStage(func(set *settings) { set.arrivals = true })
			if err != nil {
				return o, err
			}
			defer func() { err = errors.Join(err, s.close()) }()
			if err := s.startBroker(); err != nil {
				return o, err
			}
			if err := s.startAgent(ctx, s.limited(steadyRate)); err != nil {
				return o, err
			}
			if err := s.broker.wait(ctx, 1, s.agent, benchTopic); err != nil {
				return o, err
			}
			w, err := beginWatch(s.agentPID(), s.broker.cmd.Process.Pid)
			if err != nil {
				return o, err
			}
			steady, err := s.steady(ctx, sc.RateFor)
			if err != nil {
				return o, err
			}
			if o.machine, err = w.end(); err != nil {
				return o, err
			}
			up, down, err := s.changes(ctx, sc.Changes)
			if err != nil {
				return o, err
			}
			used, err := s.finishPrefix()
			if err != nil {
				return o, err
			}
			o.figures = append(steady,
				measured("CPU", percent, o.machine.percent(0), nil),
				peakFigure(used.peakRSS),
				measured("changed up, in force, p50", millis, ms(up.quantile(0.5)), atMost(50)),
				measured("changed up, in force, max", millis, ms(up.max), atMost(50)),
				measured("changed down, in force, p50", millis, ms(down.quantile(0.5)), atMost(50)),
				measured("changed down, in force, max", millis, ms(down.max), atMost(50)),
				measured("changes", times, float64(up.n+down.n), nil))
			return o, nil
		},
	}
}

// limited is the entry of the log under a send_rate.
func (s *stage) limited(rate int64) []agent.Service {
	return []agent.Service{{Service: "bench", LogPath: s.log, Topic: benchTopic, StartAt: agent.StartBeginning, SendRate: rate}}
}

func (s *stage) arrivals() (a arrivals, err error) {
	return a, s.broker.ask(askArrivals+benchTopic, &a)
}

// steady looks at a rate that does not change, from its first line on.
func (s *stage) steady(ctx context.Context, window time.Duration) ([]figure, error) {
	const margin = time.Second // the window does not begin with the first line
	if err := s.pass(ctx, margin+window); err != nil {
		return nil, err
	}
	a, err := s.arrivals()
	if err != nil {
		return nil, err
	}
	from := a[0].Nano + int64(margin/2)
	got := float64(a.between(from, from+int64(window)))
	want := steadyRate * window.Seconds()
	return []figure{
		measured("rate", linesPerSec, got/window.Seconds(), nil),
		measured("off the rate", share, 100*math.Abs(got-want)/want, atMost(1)),
		measured("burst", lineCount, a.depth(steadyRate), atMost(steadyRate/10)),
	}, nil
}

// changes changes the rate up and down by turns, and measures until each is in force.
func (s *stage) changes(ctx context.Context, n int) (up, down histogram, err error) {
	if err := s.writeDocument(ctx, s.limited(lowRate)); err != nil {
		return up, down, err
	}
	if err := s.pass(ctx, 2*time.Second); err != nil {
		return up, down, err
	}
	for i := range n {
		if i%2 == 0 {
			a, written, err := s.change(ctx, highRate, changeWatch)
			if err != nil {
				return up, down, err
			}
			up.add(upAfter(a, written))
			continue
		}
		// Longer, so that lines at the low rate are seen.
		a, written, err := s.change(ctx, lowRate, 2*changeWatch)
		if err != nil {
			return up, down, err
		}
		down.add(downAfter(a, written))
	}
	return up, down, nil
}

// changeWatch is how long a change upward is looked for.
const changeWatch = time.Second

// change writes a rate and returns what arrived from just before that on, and when the
// write was done.
func (s *stage) change(ctx context.Context, rate int64, watch time.Duration) (a arrivals, written int64, err error) {
	if err := s.broker.tell(doForget); err != nil {
		return nil, 0, err
	}
	asked := time.Now().UnixNano()
	if err := s.writeDocument(ctx, s.limited(rate)); err != nil {
		return nil, 0, err
	}
	written = time.Now().UnixNano()
	if err := s.pass(ctx, watch); err != nil {
		return nil, 0, err
	}
	a, err = s.arrivals()
	return a.since(asked), written, err
}

// upAfter is how long after its writing the arrivals show the high rate. What does not show
// took at least as long as it was looked for.
func upAfter(a arrivals, written int64) time.Duration {
	third, ok := a.nth(3)
	if !ok {
		return changeWatch
	}
	return max(0, time.Duration(third-written))
}

// downAfter is the same for the low rate: 0 where no line came that it would not have let
// through.
func downAfter(a arrivals, written int64) time.Duration {
	last, ok := a.lastBeyond(lowRate, lowDepth)
	if !ok {
		return 0
	}
	return max(0, time.Duration(last-written))
}

// finishPrefix ends the agent and tells whether what has arrived is the beginning of the
// log: what was acknowledged is a prefix of it once the agent has drained.
func (s *stage) finishPrefix() (cost, error) {
	used, err := s.agent.finish()
	if err != nil {
		return used, err
	}
	c, err := s.broker.counts(benchTopic)
	if err != nil {
		return used, err
	}
	f, err := os.Open(s.log)
	if err != nil {
		return used, err
	}
	defer f.Close()
	var want written
	lines := bufio.NewScanner(f)
	for want.Lines < c.Records && lines.Scan() {
		want.Lines++
		want.Bytes += int64(len(lines.Bytes())) + 1
		want.Sum += lineSum(lines.Bytes())
	}
	if err := errors.Join(lines.Err(), want.same(c)); err != nil {
		return used, err
	}
	if want.Lines == int64(s.set.lines) {
		return used, errors.New("the backlog ended before the measurement")
	}
	return used, nil
}
