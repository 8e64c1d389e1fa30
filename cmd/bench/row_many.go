package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"logagent/agent"
)

const (
	manyFiles  = 100
	manyTopics = 4
	// manyShare is how much of one file's rate many files must keep.
	manyShare = 0.85
)

// manyRow compares the backlog in many files with the same lines in one.
func manyRow() row {
	return row{
		name: "100 files, 4 topics", again: true,
		what: "The lines of the backlog in 100 files, 25 for each of 4 topics; before each such run, one with the single file for the ratio.",
		run: func(ctx context.Context, b *bench) (outcome, error) {
			one, err := b.once(ctx, b.runAgent)
			if err != nil {
				return outcome{}, fmt.Errorf("one file: %w", err)
			}
			c := *b
			if c.entries, err = b.split(); err != nil {
				return outcome{}, err
			}
			many, err := c.once(ctx, c.runAgent)
			if err != nil {
				return outcome{}, err
			}
			return outcome{machine: many.machine, figures: []figure{
				measured("rate", linesPerSec, many.linesPerSec, nil),
				measured("CPU", cpuPerM, many.cpuPerM, nil),
				peakFigure(many.peakRSS),
				measured("rate of one file", linesPerSec, one.linesPerSec, nil),
				measured("of one file's rate", share, 100*many.linesPerSec/one.linesPerSec, atLeast(100*manyShare)),
			}}, nil
		},
	}
}

// split spreads the log's lines over the files, once, and returns the entries for them.
func (b *bench) split() (entries []agent.Service, err error) {
	dir := filepath.Join(b.dir, "many")
	for i := range manyTopics {
		topic := fmt.Sprintf("%s-%d", benchTopic, i)
		entries = append(entries, agent.Service{
			Service: topic, LogPath: filepath.Join(dir, topic, "*.log"), Topic: topic, StartAt: agent.StartBeginning,
		})
	}
	complete := filepath.Join(dir, "complete")
	if _, err := os.Stat(complete); err == nil {
		return entries, nil
	}
	in, err := os.Open(b.log)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	var files []*os.File
	defer func() {
		for _, f := range files {
			err = errors.Join(err, f.Close())
		}
	}()
	writers := make([]*bufio.Writer, manyFiles)
	for i := range writers {
		folder := filepath.Dir(entries[i%manyTopics].LogPath)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return nil, err
		}
		f, err := os.Create(filepath.Join(folder, fmt.Sprintf("f%03d.log", i)))
		if err != nil {
			return nil, err
		}
		files = append(files, f)
		writers[i] = bufio.NewWriterSize(f, 256<<10)
	}
	lines := bufio.NewScanner(in)
	for i := 0; lines.Scan(); i++ {
		w := writers[i%manyFiles]
		if _, err := w.Write(append(lines.Bytes(), '\n')); err != nil {
			return nil, err
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	for _, w := range writers {
		if err := w.Flush(); err != nil {
			return nil, err
		}
	}
	return entries, os.WriteFile(complete, nil, 0o644)
}
