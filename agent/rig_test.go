package agent_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"logagent/agent"
	"logagent/kafkaout/sinktest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// rig is an agent on real files with a sink in memory.
type rig struct {
	t     *testing.T
	dir   string // where the logs are
	state string
	sink  *sinktest.Memory
	opt   agent.Options
	rev   int64
	probe int

	entries []agent.Service // applied last

	a    *agent.Agent
	stop func() error
	log  *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), state: filepath.Join(t.TempDir(), "state"), sink: sinktest.NewMemory(), log: &lockedBuffer{}}
	r.opt = agent.Options{
		PollInterval: 20 * time.Millisecond, SaveEvery: 20 * time.Millisecond,
		RotateWait: 300 * time.Millisecond, DrainTimeout: 5 * time.Second,
		Log: slog.New(slog.NewTextHandler(r.log, nil)),
	}
	t.Cleanup(func() {
		if r.stop != nil {
			r.end()
		}
		r.sink.Close()
		if t.Failed() {
			t.Logf("agent's log:\n%s", r.log.String())
		}
	})
	return r
}

// start runs an agent on the rig's state.
func (r *rig) start() {
	r.t.Helper()
	o := r.opt
	o.Host, o.StateDir, o.Sink, o.Version = "h1", r.state, r.sink, "test"
	a, err := agent.New(o)
	if err != nil {
		r.t.Fatalf("agent.New: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	r.a = a
	r.stop = func() error { cancel(); return <-done }
}

// end stops the agent as SIGTERM does.
func (r *rig) end() {
	r.t.Helper()
	if err := r.stop(); err != nil {
		r.t.Errorf("Run: %v", err)
	}
	r.a, r.stop = nil, nil
}

// apply puts entries in force and waits until they are.
func (r *rig) apply(entries ...agent.Service) {
	r.t.Helper()
	r.rev++
	r.entries = entries
	doc := agent.Document{Key: "/logagent/h1/logconfig", Revision: r.rev, Services: entries}
	ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Second)
	defer cancel()
	if err := r.a.Apply(ctx, agent.HostConfig{Host: "h1", Documents: []agent.Document{doc}}); err != nil {
		r.t.Fatalf("Apply: %v", err)
	}
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

// svc is an entry for a file of the rig, read from its beginning, topic t.
func (r *rig) svc(name string) agent.Service {
	return agent.Service{Service: "s", LogPath: r.path(name), Topic: "t", StartAt: agent.StartBeginning}
}

func (r *rig) write(name, text string) {
	r.t.Helper()
	appendTo(r.t, r.path(name), text)
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// lines makes numbered lines from a to b-1, each unique by tag and number.
func lines(tag string, a, b int) string {
	var s strings.Builder
	for i := a; i < b; i++ {
		fmt.Fprintf(&s, "%s %06d some text to make the line as long as lines are\n", tag, i)
	}
	return s.String()
}

// expect waits until the topic holds exactly the lines of text, as a multiset, and then
// that nothing more comes while the agent settles.
func (r *rig) expect(topic string, text string) {
	r.t.Helper()
	want := split(text)
	deadline := time.Now().Add(20 * time.Second)
	for {
		got := r.values(topic)
		if len(got) >= len(want) || time.Now().After(deadline) {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	r.looks(1) // what was done last has been seen
	r.settle()
	compare(r.t, want, r.values(topic))
}

// settle waits until nothing is unread, in flight or undecided: what comes twice has
// come by then.
func (r *rig) settle() {
	r.t.Helper()
	r.until("settled", func(s agent.Status) bool {
		return s.Process.InFlightBytes == 0 && s.Totals.LagBytes == 0 && r.a.Undecided() == 0
	})
}

// looks lets the finder look around n times: each applied entry that is new takes one.
func (r *rig) looks(n int) {
	r.t.Helper()
	for range n {
		r.probe++
		extra := append(slices.Clone(r.entries), r.svc(fmt.Sprintf("probe-%d", r.probe)))
		kept := r.entries
		r.apply(extra...)
		r.apply(kept...)
	}
}

// expectAfterCrash is expect where lines may have come twice.
func (r *rig) expectAfterCrash(topic string, text string) {
	r.t.Helper()
	distinct := func() []string {
		v := r.values(topic)
		slices.Sort(v)
		return slices.Compact(v)
	}
	want := split(text)
	r.until("all arrived", func(agent.Status) bool { return len(distinct()) >= len(want) })
	compare(r.t, want, distinct())
}

func (r *rig) values(topic string) []string {
	var got []string
	for _, rec := range r.sink.Lines(topic) {
		got = append(got, string(rec.Value))
	}
	return got
}

func split(text string) []string {
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// compare fails on lines lost, doubled and foreign.
func compare(t *testing.T, want, got []string) {
	t.Helper()
	count := make(map[string]int)
	for _, l := range want {
		count[l]++
	}
	var lost, doubled, foreign []string
	for _, l := range got {
		n, known := count[l]
		switch {
		case !known:
			foreign = append(foreign, l)
		case n == 0:
			doubled = append(doubled, l)
		default:
			count[l]--
		}
	}
	for l, n := range count {
		for range n {
			lost = append(lost, l)
		}
	}
	if len(lost)+len(doubled)+len(foreign) > 0 {
		t.Fatalf("wanted %d lines, got %d: lost %d %.200q, doubled %d %.200q, foreign %d %.200q",
			len(want), len(got), len(lost), head(lost), len(doubled), head(doubled), len(foreign), head(foreign))
	}
}

func head(s []string) []string {
	slices.Sort(s)
	return s[:min(3, len(s))]
}

// ordered fails unless the topic's lines are exactly want, in that order.
func (r *rig) ordered(topic, text string) {
	r.t.Helper()
	r.expect(topic, text)
	got, want := r.values(topic), split(text)
	for i := range want {
		if got[i] != want[i] {
			r.t.Fatalf("line %d should be %q, is %q", i, want[i], got[i])
		}
	}
}

// until waits for a condition on the agent's status.
func (r *rig) until(what string, cond func(agent.Status) bool) agent.Status {
	r.t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		s := r.a.Status()
		if cond(s) {
			return s
		}
		if time.Now().After(deadline) {
			var held []agent.Incarnation
			for _, f := range s.Files {
				held = append(held, r.a.Answer(r.t.Context(), agent.Question{Kind: agent.AskFile, Path: f.Path}).Held...)
			}
			r.t.Fatalf("never %s; last status: %+v; %+v; candidates and in flight: %+v", what, s.Files, held, s.Process)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// cause waits until a file shows a cause.
func (r *rig) cause(name, cause string) agent.FileStatus {
	r.t.Helper()
	var f agent.FileStatus
	r.until(name+" "+cause, func(s agent.Status) bool {
		for i := range s.Files {
			if s.Files[i].Path == r.path(name) && strings.HasPrefix(s.Files[i].Cause, cause) {
				f = s.Files[i]
				return true
			}
		}
		return false
	})
	return f
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func contextFor(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx, cancel
}
