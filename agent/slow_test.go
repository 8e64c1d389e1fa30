package agent

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hanging stands for a file on a file system that does not answer.
type hanging struct {
	io.ReaderAt
	answer chan struct{}
}

func (h hanging) ReadAt(p []byte, off int64) (int, error) {
	<-h.answer
	return h.ReaderAt.ReadAt(p, off)
}

func TestFilesOnAHangingFileSystemLeaveTheOthersMovingAndAreNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sink := &countingSink{}
	a, err := New(Options{Host: "h", StateDir: t.TempDir(), Sink: sink, PollInterval: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	a.loop.slowAfter = 2 * time.Second
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	answer := make(chan struct{})
	var services []Service
	names := []string{"0", "1", "2", "3", "4", "5", "fine"}
	for _, n := range names {
		path := filepath.Join(dir, n)
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		services = append(services, Service{Service: n, LogPath: path, Topic: "t", StartAt: StartBeginning})
	}
	if err := a.Apply(t.Context(), HostConfig{Host: "h", Documents: []Document{{Key: "k", Revision: 1, Services: services}}}); err != nil {
		t.Fatal(err)
	}
	wait := func(what string, cond func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("never %s: %+v", what, a.Status().Problems)
			}
		}
	}
	for _, n := range names[:len(names)-1] {
		path := filepath.Join(dir, n)
		hung := false
		wait("held", func() bool {
			a.do(func(l *loop) {
				if in := l.entries[path].sources[path].active; in != nil && !in.busy {
					in.data, hung = hanging{in.file, answer}, true
				}
			})
			return hung
		})
		if err := os.WriteFile(path, []byte("one\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	wait("named", func() bool { return strings.Contains(strings.Join(a.Status().Problems, "\n"), "does not answer") })
	if err := os.WriteFile(filepath.Join(dir, "fine"), []byte("one\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	wait("read beside those that hang", func() bool { return sink.lines.Load() == 1 })
	close(answer)
	wait("all read", func() bool { return sink.lines.Load() == int64(len(names)) })
	wait("the problem is over", func() bool { return len(a.Status().Problems) == 0 })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
