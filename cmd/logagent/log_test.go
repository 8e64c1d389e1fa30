package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func logTo(t *testing.T, path string) *ownLog {
	t.Helper()
	s := defaultSettings()
	s.Log, s.LogMaxSizeBytes, s.LogKeep = path, 1<<20, 2
	l, err := openLog(&s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestLogFolderIsCreated(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a", "b", "agent.log")
	l := logTo(t, path)
	l.Info("rotated", "path", "/x y", "left", 3)
	l.Debug("not at this level")
	if got := readFile(t, path); !strings.Contains(got, `msg=rotated path="/x y" left=3`) || strings.Count(got, "\n") != 1 {
		t.Errorf("got %q", got)
	}
	l.level.Set(slog.LevelDebug)
	l.Debug("now it is")
	if !strings.Contains(readFile(t, path), "now it is") {
		t.Error("the level did not take hold")
	}
}

func TestLogThatCannotBeWrittenIsFoundAtTheStart(t *testing.T) {
	t.Parallel()
	file := writeFile(t, filepath.Join(t.TempDir(), "file"), "")
	s := defaultSettings()
	for _, path := range []string{filepath.Join(file, "agent.log"), filepath.Dir(file)} {
		s.Log = path
		if _, err := openLog(&s); err == nil || !strings.Contains(err.Error(), path) && !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestReopenedLogIsWrittenByName(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "agent.log")
	l := logTo(t, path)
	const writers, lines = 4, 200
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range lines {
				l.Info("line")
			}
		})
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	l.Info("after")
	now := readFile(t, path)
	if !strings.Contains(now, "msg=after") {
		t.Errorf("the new file lacks the last line: %q", now)
	}
	if got := strings.Count(now+readFile(t, path+".1"), "msg=line"); got != writers*lines {
		t.Errorf("want %d lines in both files, got %d", writers*lines, got)
	}
}

func TestFullLogIsRotatedAndTheOldestDropped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := logTo(t, filepath.Join(dir, "agent.log"))
	text := strings.Repeat("x", 100_000)
	for range 60 { // six times what one file holds
		l.Info(text)
	}
	if err := l.Close(); err != nil { // waits for what tends the old ones
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "agent") || filepath.Ext(e.Name()) != ".log" {
			t.Errorf("unexpected %s", e.Name())
		}
		if info, err := e.Info(); err != nil || info.Size() > 1<<20 {
			t.Errorf("%s: %v, %v", e.Name(), info.Size(), err)
		}
	}
	if len(entries) != 3 { // the current one and LogKeep
		t.Errorf("want 3 files, got %v", entries)
	}
}
