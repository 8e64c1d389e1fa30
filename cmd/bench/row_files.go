package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// idleLines is what stands in an idle file.
const idleLines = 20

func treeWords(files int) string {
	return fmt.Sprintf("%d files in %d folders, matched by %d globs (of %d folders each)", files, treeGlobs*treeFolders, treeGlobs, treeFolders)
}

// idleRow watches an agent whose many files do not change.
func idleRow(sc scale) row {
	return row{
		name: fmt.Sprintf("%d idle files", sc.Files),
		what: treeWords(sc.Files) + fmt.Sprintf(", %d lines in each, all of it delivered. CPU over %v after that has settled, RSS at the end.", idleLines, sc.Window),
		run: func(ctx context.Context, b *bench) (o outcome, err error) {
			s, err := b.newStage(func(*settings) {})
			if err != nil {
				return o, err
			}
			defer func() { err = errors.Join(err, s.close()) }()
			t := tree{dir: s.dir + "/logs", files: sc.Files}
			if err := s.begin(ctx, t, idleLines, t.entries()); err != nil {
				return o, err
			}
			if err := s.settle(ctx, sc.Warm); err != nil {
				return o, err
			}
			w, err := beginWatch(s.agentPID(), s.broker.cmd.Process.Pid)
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
			used, err := s.finish()
			if err != nil {
				return o, err
			}
			o.figures = []figure{
				measured("CPU", percent, o.machine.percent(0), atMost(0.5)),
				measured(idleName, megabytes, float64(now)/1e6, atMost(idleAim)),
				measured("peak RSS, while it began", megabytes, float64(used.peakRSS)/1e6, nil),
			}
			return o, nil
		},
	}
}

// trickleEvery is how often each file gets a line.
const trickleEvery = 10 * time.Second

// trickleRow watches an agent whose many files get a line each now and then.
func trickleRow(sc scale) row {
	return row{
		name: fmt.Sprintf("%d files, a line each every 10 s", sc.Files),
		what: treeWords(sc.Files) + fmt.Sprintf("; the writer of the live row writes into them by turns, evenly. Over %v, after %v of it.", sc.Window, sc.Turn),
		run: func(ctx context.Context, b *bench) (o outcome, err error) {
			s, err := b.newStage(func(*settings) {})
			if err != nil {
				return o, err
			}
			defer func() { err = errors.Join(err, s.close()) }()
			t := tree{dir: s.dir + "/logs", files: sc.Files}
			if err := s.begin(ctx, t, 1, t.entries()); err != nil {
				return o, err
			}
			o, err = s.live(ctx, t, float64(sc.Files)/trickleEvery.Seconds(), sc.Turn, sc.Window)
			if err != nil {
				return o, err
			}
			o.figures = append([]figure{
				measured("CPU", percent, o.machine.percent(0), atMost(5)),
				measured("write to ack, p50", millis, ms(o.latency.quantile(0.5)), nil),
				measured("write to ack, p99", millis, ms(o.latency.quantile(0.99)), nil),
				measured("write to ack, max", millis, ms(o.latency.max), nil),
			}, o.figures...)
			return o, nil
		},
	}
}
