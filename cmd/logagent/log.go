package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/DeRuina/timberjack"
)

// ownLog is the agent's own log: slog text in a rotating file. Rotated files stand beside
// it as NAME-TIME-size.EXT; the newest LogKeep of them are kept.
type ownLog struct {
	*slog.Logger
	level *slog.LevelVar

	mu   sync.Mutex // guards file; held while a line is written, so that Reopen loses none
	file *timberjack.Logger
	make func() *timberjack.Logger
}

// openLog creates the log's folder and file where they are missing. What keeps them from
// being written is found here and not at the first line.
func openLog(s *settings) (*ownLog, error) {
	if err := os.MkdirAll(filepath.Dir(s.Log), 0o755); err != nil {
		return nil, fmt.Errorf("log folder: %w", err)
	}
	f, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("log %s: %w", s.Log, err)
	}
	l := &ownLog{level: new(slog.LevelVar)}
	l.level.Set(s.Level)
	path, keep := s.Log, s.LogKeep
	megabytes := int((s.LogMaxSizeBytes + 1<<20 - 1) >> 20) // timberjack's unit
	l.make = func() *timberjack.Logger {
		return &timberjack.Logger{Filename: path, MaxSize: megabytes, MaxBackups: keep, Compression: "none"}
	}
	l.file = l.make()
	l.Logger = slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: l.level}))
	return l, nil
}

// agentLog opens the log of a process that has an agent in it, and lets what libraries
// print go there too. end ends both.
func agentLog(s *settings) (log *ownLog, end func(), err error) {
	if log, err = openLog(s); err != nil {
		return nil, nil, err
	}
	endQuiet, err := quietLibraries(log.Logger)
	if err != nil {
		return nil, nil, errors.Join(err, log.Close())
	}
	return log, func() { endQuiet(); _ = log.Close() }, nil
}

// Write takes one line; it is the slog handler's.
func (l *ownLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Write(p)
}

// Reopen closes the file and lets the next line open it by name again, for those who
// rotate it from outside. A closed timberjack.Logger opens the file anew for every line,
// so it is replaced.
func (l *ownLog) Reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.file.Close()
	l.file = l.make()
	return err
}

// Close ends what tends the rotated files. Lines written afterwards still arrive.
func (l *ownLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
