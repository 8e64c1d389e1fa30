package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"logagent/agent"
)

// stage is one run of a row that is more than a backlog: a folder of its own and the
// processes, which close ends.
type stage struct {
	*bench
	dir     string
	broker  *brokerProcess // nil: none runs
	agent   *process
	writer  *process
	expects written // everything that is to arrive
}

// newStage makes a stage under other settings. The caller closes it.
func (b *bench) newStage(change func(*settings)) (*stage, error) {
	dir, err := os.MkdirTemp(b.dir, "run-")
	if err != nil {
		return nil, err
	}
	return &stage{bench: b.with(change), dir: dir}, nil
}

// startBroker starts the stage's broker where its settings say.
func (s *stage) startBroker() (err error) {
	s.broker, err = startBroker(s.set)
	return err
}

// startAgent starts the agent with some entries, towards the broker or where one will be.
func (s *stage) startAgent(ctx context.Context, entries []agent.Service) (err error) {
	addr := s.set.brokerAddr
	if s.broker != nil {
		addr = s.broker.addr
	}
	s.bench.entries = entries
	s.agent, err = s.runAgent(ctx, addr, s.dir)
	return err
}

func (s *stage) agentPID() int { return s.agent.cmd.Process.Pid }

// startWriter starts the writer of live lines.
func (s *stage) startWriter(args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	s.writer, err = startProcess(self, append([]string{writerVerb}, args...)...)
	return err
}

// arrived waits until everything that is expected has arrived.
func (s *stage) arrived(ctx context.Context) error {
	return s.broker.wait(ctx, s.expects.Lines, s.agent, benchTopic)
}

// finish ends the agent in order and tells whether exactly what is expected has arrived.
func (s *stage) finish() (cost, error) {
	used, err := s.agent.finish()
	if err != nil {
		return used, err
	}
	c, err := s.broker.counts(benchTopic)
	if err != nil {
		return used, err
	}
	return used, s.expects.same(c)
}

// same tells whether what arrived is what was written.
func (w *written) same(c counts) error {
	if err := c.wrong(); err != nil {
		return err
	}
	if c.Records != w.Lines {
		return fmt.Errorf("%d records of %d lines", c.Records, w.Lines)
	}
	if c.Sum != w.Sum || c.ValueBytes != w.Bytes-w.Lines {
		return errors.New("as many lines arrived as were written, and not the same")
	}
	return nil
}

// close ends whatever still runs and removes the folder.
func (s *stage) close() error {
	var errs []error
	for _, p := range []*process{s.agent, s.writer} {
		if p != nil {
			errs = append(errs, p.kill())
		}
	}
	if s.broker != nil {
		errs = append(errs, s.broker.stop())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// pass lets time go by, and fails when the agent or ctx ends in it.
func (s *stage) pass(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.agent.ended:
		return fmt.Errorf("the agent ended (%v): %s", s.agent.err, s.agent.output.Bytes())
	case <-time.After(d):
		return nil
	}
}

// settle waits until the agent does the same from one look to the next: its share of a core
// and its memory hardly change. After a minute it counts as settled whatever it does.
func (s *stage) settle(ctx context.Context, least time.Duration) error {
	const look = 2 * time.Second
	if err := s.pass(ctx, least); err != nil {
		return err
	}
	var lastCPU, lastRSS float64
	for n := range 30 {
		w, err := beginWatch(s.agentPID())
		if err != nil {
			return err
		}
		if err := s.pass(ctx, min(look, max(least, time.Second/2))); err != nil {
			return err
		}
		u, err := w.end()
		if err != nil {
			return err
		}
		rss, err := currentRSS(s.agentPID())
		if err != nil {
			return err
		}
		cpu, mem := u.percent(0), float64(rss)
		if n > 0 && near(cpu, lastCPU, 0.2, 0.3) && near(mem, lastRSS, 0.02, 0) {
			return nil
		}
		lastCPU, lastRSS = cpu, mem
	}
	return nil
}

// near tells whether two values differ by no more than a share of the first or a little.
func near(a, b, share, little float64) bool { return max(a-b, b-a) <= max(share*a, little) }

// freeAddr returns a loopback address nobody listens on, below the ports that the kernel
// gives to outgoing connections: among those, a client that dials over and over is
// connected to itself one day.
func freeAddr() (string, error) {
	var last error
	for range 50 {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 12000+rand.IntN(20000)))
		if err != nil {
			last = err
			continue
		}
		return ln.Addr().String(), ln.Close()
	}
	return "", fmt.Errorf("no free port: %w", last)
}
