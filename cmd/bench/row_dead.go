package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"logagent/agent"
)

// death is how a broker is dead.
type death int

const (
	refused  death = iota // nothing listens
	silenced              // it answered for a while; now it accepts and reads, and never answers
)

// deadRow watches an agent with a great backlog while the broker is dead, lets the broker
// come back, and sees that all of it arrives.
func deadRow(sc scale, name string, d death) row {
	what := fmt.Sprintf("A backlog of %.1f GB. ", float64(sc.DeadBytes)/1e9)
	switch d {
	case refused:
		what += "Nothing listens where the broker should be; "
	case silenced:
		what += "After the first twentieth of the lines the broker goes on to accept and to read, and never answers; "
	}
	what += fmt.Sprintf("CPU over %v, at least %v later. Then the broker comes back, and all lines must arrive once.", sc.Window, sc.DeadLull)
	return row{name: name, what: what, run: func(ctx context.Context, b *bench) (_ outcome, err error) {
		addr, err := freeAddr()
		if err != nil {
			return outcome{}, err
		}
		s, err := b.newStage(func(set *settings) { set.brokerAddr = addr })
		if err != nil {
			return outcome{}, err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		log := filepath.Join(s.dir, "backlog.log")
		if s.expects, err = b.writeBacklog(log, sc.DeadBytes); err != nil {
			return outcome{}, err
		}
		entry := agent.Service{Service: "bench", LogPath: log, Topic: benchTopic, StartAt: agent.StartBeginning}
		if d == silenced {
			if err := s.startBroker(); err != nil {
				return outcome{}, err
			}
		}
		if err := s.startAgent(ctx, []agent.Service{entry}); err != nil {
			return outcome{}, err
		}
		if d == silenced {
			if err := s.broker.wait(ctx, s.expects.Lines/20, s.agent, benchTopic); err != nil {
				return outcome{}, err
			}
			if err := s.broker.tell(doSilent); err != nil {
				return outcome{}, err
			}
		}
		return s.watchDeath(ctx, sc)
	}}
}

func (s *stage) watchDeath(ctx context.Context, sc scale) (o outcome, err error) {
	if err := s.settle(ctx, sc.DeadLull); err != nil {
		return o, err
	}
	w, err := beginWatch(s.agentPID())
	if err != nil {
		return o, err
	}
	if err := s.pass(ctx, sc.Window); err != nil {
		return o, err
	}
	if o.machine, err = w.end(); err != nil {
		return o, err
	}
	now, err := currentRSS(s.agentPID())
	if err != nil {
		return o, err
	}
	peak, err := peakRSS(s.agentPID())
	if err != nil {
		return o, err
	}
	back := time.Now()
	before, err := s.revive()
	if err != nil {
		return o, err
	}
	if err := s.arrived(ctx); err != nil {
		return o, err
	}
	took := time.Since(back)
	used, err := s.finish()
	if err != nil {
		return o, err
	}
	o.figures = []figure{
		measured("CPU", percent, o.machine.percent(0), atMost(1)),
		measured(idleName, megabytes, float64(now)/1e6, nil),
		measured(deadPeakName, megabytes, float64(peak)/1e6, atMost(deadPeakAim)),
		measured("peak RSS, broker back", megabytes, float64(used.peakRSS)/1e6, atMost(deadPeakAim)),
		measured("from its return to the last line", seconds, took.Seconds(), nil),
		measured("rate then", linesPerSec, float64(s.expects.Lines-before)/took.Seconds(), nil),
		measured("CPU, whole life", cpuPerM, used.cpu.Seconds()/float64(s.expects.Lines)*1e6, nil),
	}
	return o, nil
}

// revive brings the broker back and tells how many lines it had before.
func (s *stage) revive() (before int64, err error) {
	if s.broker == nil {
		return 0, s.startBroker()
	}
	c, err := s.broker.counts(benchTopic)
	if err != nil {
		return 0, err
	}
	return c.Records, s.broker.tell(doAnswer)
}

// writeBacklog writes the log as often as it takes to have that many bytes.
func (b *bench) writeBacklog(path string, bytes int64) (w written, err error) {
	out, err := os.Create(path)
	if err != nil {
		return w, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	in, err := os.Open(b.log)
	if err != nil {
		return w, err
	}
	defer in.Close()
	for w.Bytes < bytes {
		if _, err := in.Seek(0, io.SeekStart); err != nil {
			return w, err
		}
		n, err := io.Copy(out, in)
		if err != nil {
			return w, err
		}
		w = w.and(written{Lines: int64(b.set.lines), Bytes: n, Sum: b.sum})
	}
	return w, nil
}
