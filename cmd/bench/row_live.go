package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"logagent/agent"
)

const liveRate = 2000

// liveRow writes single lines into one file, evenly, and looks how long each takes.
func liveRow(sc scale) row {
	return row{
		name: "live",
		what: fmt.Sprintf("%d lines a second into one file, each with a write(2) of its own at its own moment, by a process of its own. "+
			"A line carries the time just before its write; the time to its ack ends when the broker stand-in has written the answer to its socket. Over %v.", liveRate, sc.Live),
		run: func(ctx context.Context, b *bench) (_ outcome, err error) {
			s, err := b.newStage(func(*settings) {})
			if err != nil {
				return outcome{}, err
			}
			defer func() { err = errors.Join(err, s.close()) }()
			t := tree{dir: s.dir, files: 1}
			entry := agent.Service{Service: "bench", LogPath: t.path(0), Topic: benchTopic, StartAt: agent.StartBeginning}
			if err := s.begin(ctx, t, 1, []agent.Service{entry}); err != nil {
				return outcome{}, err
			}
			l, err := s.live(ctx, t, liveRate, sc.Warm, sc.Live)
			if err != nil {
				return outcome{}, err
			}
			l.figures = append([]figure{
				measured("write to ack, p50", millis, ms(l.latency.quantile(0.5)), atMost(6)),
				measured("write to ack, p90", millis, ms(l.latency.quantile(0.9)), nil),
				measured("write to ack, p99", millis, ms(l.latency.quantile(0.99)), atMost(15)),
				measured("write to ack, p99.9", millis, ms(l.latency.quantile(0.999)), nil),
				measured("write to ack, max", millis, ms(l.latency.max), nil),
				measured("CPU", percent, l.machine.percent(0), atMost(3)),
			}, l.figures...)
			return l, nil
		},
	}
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

// begin fills the files of a tree, starts broker and agent, and returns when all that is in
// the files has arrived.
func (s *stage) begin(ctx context.Context, t tree, lines int, entries []agent.Service) (err error) {
	if s.expects, err = t.fill(lines); err != nil {
		return err
	}
	if err := s.startBroker(); err != nil {
		return err
	}
	if err := s.startAgent(ctx, entries); err != nil {
		return err
	}
	return s.arrived(ctx)
}

// live lets the writer write into the files of a tree, measures for a window after a while
// of it, and returns when every line has arrived. The figures are those that all rows with
// a writer have.
func (s *stage) live(ctx context.Context, t tree, rate float64, warm, window time.Duration) (o outcome, err error) {
	const rest = 500 * time.Millisecond // so that the writer still writes when the window ends
	err = s.startWriter("-dir", t.dir, "-files", strconv.Itoa(t.files), "-rate", fmt.Sprint(rate), "-for", (warm + window + rest).String())
	if err != nil {
		return o, err
	}
	if err := s.pass(ctx, warm); err != nil {
		return o, err
	}
	if err := s.broker.tell(doForget); err != nil {
		return o, err
	}
	before, err := s.broker.counts(benchTopic)
	if err != nil {
		return o, err
	}
	w, err := beginWatch(s.agentPID(), s.broker.cmd.Process.Pid, s.writer.cmd.Process.Pid)
	if err != nil {
		return o, err
	}
	if err := s.pass(ctx, window); err != nil {
		return o, err
	}
	if o.machine, err = w.end(); err != nil {
		return o, err
	}
	after, err := s.broker.counts(benchTopic)
	if err != nil {
		return o, err
	}
	o.latency = &histogram{}
	if err := s.broker.ask(askLatency, o.latency); err != nil {
		return o, err
	}
	wrote, err := s.writerEnds(ctx)
	if err != nil {
		return o, err
	}
	s.expects = s.expects.and(wrote)
	if err := s.arrived(ctx); err != nil {
		return o, err
	}
	used, err := s.finish()
	if err != nil {
		return o, err
	}
	lines := float64(after.Records - before.Records)
	o.figures = []figure{
		measured("rate", linesPerSec, lines/o.machine.wall.Seconds(), nil),
		measured("CPU per line", cpuPerM, o.machine.cpu[0].Seconds()/lines*1e6, nil),
		peakFigure(used.peakRSS),
		measured("lines in a batch", lineCount, lines/float64(after.Batches-before.Batches), nil),
		measured("writer late, p50", millis, ms(wrote.Jitter.quantile(0.5)), nil),
		measured("writer late, p99", millis, ms(wrote.Jitter.quantile(0.99)), nil),
		measured("writer late, max", millis, ms(wrote.Jitter.max), nil),
	}
	return o, nil
}

// writerEnds waits for the writer and returns what it wrote.
func (s *stage) writerEnds(ctx context.Context) (w written, err error) {
	select {
	case <-ctx.Done():
		return w, ctx.Err()
	case <-s.writer.ended:
	case <-time.After(time.Minute):
		return w, errors.New("the writer does not end")
	}
	if s.writer.err != nil {
		return w, fmt.Errorf("the writer: %w: %s", s.writer.err, s.writer.output.Bytes())
	}
	if err := json.Unmarshal(s.writer.output.Bytes(), &w); err != nil {
		return w, fmt.Errorf("what the writer tells: %w", err)
	}
	return w, nil
}
