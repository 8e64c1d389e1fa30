package agent_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"logagent/agent"
)

// nullSink acknowledges at once.
type nullSink struct{ lines atomic.Int64 }

func (n *nullSink) Send(b *agent.Batch) {
	n.lines.Add(int64(len(b.Lines)))
	b.Done(agent.Verdict{})
}
func (n *nullSink) Recall(string)                 {}
func (n *nullSink) Topic(string) agent.TopicState { return agent.TopicState{} }
func (n *nullSink) Link() (l agent.LinkStatus)    { l.Up = true; return l }

func runAgent(b *testing.B, sink agent.Sink) (*agent.Agent, func()) {
	b.Helper()
	a, err := agent.New(agent.Options{Host: "h", StateDir: filepath.Join(b.TempDir(), "state"), Sink: sink})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { a.Run(ctx); close(done) }()
	return a, func() { cancel(); <-done }
}

func applyTo(b *testing.B, a *agent.Agent, rev int64, s ...agent.Service) {
	b.Helper()
	if err := a.Apply(b.Context(), agent.HostConfig{Documents: []agent.Document{{Revision: rev, Services: s}}}); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkBacklog reads a file of access-log lines, from the disk cache to a sink that
// acknowledges at once: what following, cutting, windows and checkpoints cost.
func BenchmarkBacklog(b *testing.B) {
	line := `203.0.113.7 - - [22/Nov/2026:10:00:00 +0000] "GET /shop/item/1234567?ref=mail HTTP/1.1" 200 5123 "https://example.org/start" "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/130.0"` + "\n"
	const n = 200_000
	path := filepath.Join(b.TempDir(), "access.log")
	if err := os.WriteFile(path, []byte(strings.Repeat(line, n)), 0o644); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(line)) * n)
	b.ReportAllocs()
	for b.Loop() {
		sink := &nullSink{}
		a, stop := runAgent(b, sink)
		applyTo(b, a, 1, agent.Service{Service: "s", LogPath: path, Topic: "t", StartAt: agent.StartBeginning})
		for sink.lines.Load() < n {
			time.Sleep(100 * time.Microsecond)
		}
		stop()
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}

// BenchmarkStatus makes snapshots of an agent with many idle files.
func BenchmarkStatus(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n, "files"), func(b *testing.B) {
			dir := b.TempDir()
			for i := range n {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%05d.log", i)), []byte("x\n"), 0o644); err != nil {
					b.Fatal(err)
				}
			}
			a, stop := runAgent(b, &nullSink{})
			defer stop()
			applyTo(b, a, 1, agent.Service{Service: "s", LogPath: dir + "/*.log", Topic: "t"})
			for len(a.Status().Files) < n {
				time.Sleep(time.Millisecond)
			}
			b.ReportAllocs()
			for b.Loop() {
				a.FreshStatus()
			}
		})
	}
}
