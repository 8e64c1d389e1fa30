package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"logagent/agent"
	"logagent/etcdcfg"
)

// fleetAgentsVerb is how bench runs itself as many agents.
const fleetAgentsVerb = "fleet-agents"

// simAgent is an agent with everything it has towards etcd, wired as the daemon wires it,
// and nobody who follows files: what Apply is given runs at once, and the numbers of the
// status are made up. A status has as much in it as that of a real host.
type simAgent struct {
	number  int
	host    string
	groups  []string
	started time.Time
	stateID string
	etcd    *etcdcfg.Client
	watched atomic.Bool
	toEtcd  chan struct{} // as agent.Changed: of size 1

	mu      sync.Mutex // guards what follows
	config  agent.HostConfig
	entries []agent.Service // of config, those in force
	seq     uint64
	applied []appliedAt
	running map[string]int64 // by key: the revision in applied last
}

// appliedAt is when a host took a revision of a document.
type appliedAt struct {
	Host     string `json:"h"`
	Key      string `json:"k"`
	Revision int64  `json:"r"`
	Nano     int64  `json:"n"` // the wall clock, which all processes of a machine share
}

func newSimAgent(number int, etcdAddr string, log *slog.Logger) (*simAgent, error) {
	client, err := etcdcfg.New(etcdcfg.Options{Addrs: []string{etcdAddr}, Log: log})
	if err != nil {
		return nil, err
	}
	return &simAgent{
		number: number, host: fleetHost(number), groups: fleetGroups(number), started: time.Now(),
		stateID: fmt.Sprintf("%08x", rand.Uint32()), etcd: client,
		toEtcd: make(chan struct{}, 1), running: make(map[string]int64),
	}, nil
}

// run works until ctx ends and takes the live key away then. It fails where a part gave up
// by itself.
func (a *simAgent) run(ctx context.Context) error {
	parts := map[string]func(context.Context) error{
		"report": func(ctx context.Context) error {
			return a.etcd.Report(ctx, etcdcfg.ReportOptions{Live: a.live(), Status: a.status, Changed: a.toEtcd})
		},
		"watch keys": func(ctx context.Context) error { return a.etcd.FollowWatched(ctx, a.host, a.watched.Store) },
		"questions":  func(ctx context.Context) error { return a.etcd.ServeQuestions(ctx, a.host, a.answer) },
		"seeks":      func(ctx context.Context) error { return a.etcd.ServeSeeks(ctx, a.host, a.seek) },
		"documents": func(ctx context.Context) error {
			return a.etcd.Follow(ctx, etcdcfg.FollowOptions{Hosts: []string{a.host}, Groups: a.groups, Apply: a.apply})
		},
	}
	var wg sync.WaitGroup
	var mu sync.Mutex // guards failed
	var failed error
	for name, run := range parts {
		wg.Go(func() {
			err := run(ctx)
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				err = errors.New("ended by itself")
			}
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, fmt.Errorf("%s: %s: %w", a.host, name, err))
		})
	}
	wg.Wait()
	return errors.Join(failed, a.etcd.Close())
}

func (a *simAgent) live() agent.Live {
	return agent.Live{Host: a.host, StateID: a.stateID, Boot: 1, Version: "bench", PID: os.Getpid(), Started: a.started, Groups: a.groups}
}

// apply is the follower that there is not.
func (a *simAgent) apply(_ context.Context, config agent.HostConfig) error {
	now := time.Now().UnixNano()
	a.mu.Lock()
	a.config, a.entries = config, config.Effective()
	for _, d := range config.Documents {
		if a.running[d.Key] != d.Revision {
			a.running[d.Key] = d.Revision
			a.applied = append(a.applied, appliedAt{a.host, d.Key, d.Revision, now})
		}
	}
	a.mu.Unlock()
	select {
	case a.toEtcd <- struct{}{}:
	default: // told already and not yet taken
	}
	return nil
}

func (a *simAgent) answer(_ context.Context, q agent.Question) agent.Answer {
	return agent.Answer{Error: "no file is followed here: " + q.Path}
}

func (a *simAgent) seek(context.Context, string, agent.SeekPlan) (agent.SeekOutcome, error) {
	return agent.SeekOutcome{State: agent.SeekDone, At: time.Now()}, nil
}

// taken returns what was applied since it was asked last.
func (a *simAgent) taken() []appliedAt {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := a.applied
	a.applied = nil
	return out
}

// status is what an agent's brief status would be on a host whose files grow steadily. One
// host of a hundred is behind.
func (a *simAgent) status() agent.Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seq++
	now := time.Now()
	up := agent.LinkStatus{Up: true, Since: a.started, LatencyMS: 3}
	s := agent.Status{
		Host: a.host, StateID: a.stateID, Boot: 1, Seq: a.seq, At: now, Version: "bench", PID: os.Getpid(), Started: a.started,
		Etcd: a.etcd.Link(), Kafka: up, History: a.history(),
		Process: agent.ProcessStatus{CPUPercent: 1, RSSBytes: 40 << 20, InFlightLimitBytes: 64 << 20},
	}
	for _, d := range a.config.Documents {
		s.Documents = append(s.Documents, agent.DocumentStatus{Key: d.Key, Running: d.Revision, Refused: d.Refused, Warnings: d.Warnings, FromCache: d.FromCache})
	}
	for _, e := range a.entries {
		t := a.totals(now)
		s.Services = append(s.Services, agent.ServiceStatus{
			Service: e, State: agent.StateOK, Cause: "caught up", Since: a.started, FileCount: fleetFiles, Totals: t,
		})
		s.Totals.InLinesPerSec += t.InLinesPerSec
		s.Totals.OutLinesPerSec += t.OutLinesPerSec
		s.Totals.LagBytes += t.LagBytes
	}
	if a.behind() {
		s.BehindFiles, s.Totals.BehindSeconds = 1, 30
	}
	return s
}

func (a *simAgent) behind() bool { return a.number%100 == 7 }

// totals move all the time, as those of a real entry.
func (a *simAgent) totals(now time.Time) agent.Totals {
	rate := float64(100 + a.number%900 + int(now.Unix())%50)
	t := agent.Totals{Lines: a.seq * 200, Bytes: a.seq * 36_000, InLinesPerSec: rate, OutLinesPerSec: rate}
	if a.behind() {
		t.LagBytes = 50<<20 + int64(now.Unix()%1000)<<10
	}
	return t
}

// history is ten minutes in steps of ten seconds.
func (a *simAgent) history() *agent.History {
	const steps = 60
	h := &agent.History{StepSeconds: 10, In: make([]uint32, steps), Out: make([]uint32, steps), Lag: make([]int64, steps)}
	for i := range steps {
		h.In[i] = uint32(300 + (a.number+7*i)%900)
		h.Out[i] = h.In[i]
	}
	return h
}

// complaints counts what agents say at Warn and above, and keeps the first of it: in a run
// in which nothing is wrong there is nothing to say.
type complaints struct {
	mu    sync.Mutex // guards what follows
	n     int
	first []string
}

const keptComplaints = 5

// Enabled implements slog.Handler.
func (c *complaints) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

// Handle implements slog.Handler.
func (c *complaints) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	if len(c.first) < keptComplaints {
		c.first = append(c.first, text)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (c *complaints) WithAttrs([]slog.Attr) slog.Handler { return c }

// WithGroup implements slog.Handler.
func (c *complaints) WithGroup(string) slog.Handler { return c }

// simFleet is the agents of one process.
type simFleet struct {
	agents     []*simAgent
	complaints *complaints
	summaries  *summaries

	mu     sync.Mutex // guards failed
	failed error
}

// agentsState is what a process of agents tells of itself.
type agentsState struct {
	Agents      int      `json:"agents"`
	Goroutines  int      `json:"goroutines"`
	HeapBytes   uint64   `json:"heap"`  // of live objects
	StackBytes  uint64   `json:"stack"` // in use
	Complaints  int      `json:"complaints"`
	First       []string `json:"first,omitempty"`
	Sent        int64    `json:"sent"`   // summaries
	Unsent      int64    `json:"unsent"` // and those that were not taken
	SendFailure string   `json:"send_failure,omitempty"`
}

// fleetAgentsMain is a process of agents, numbered from a first one in steps: those of a
// group are spread over all processes.
func fleetAgentsMain(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("bench "+fleetAgentsVerb, flag.ContinueOnError)
	etcdAddr := flags.String("etcd", "", "address of etcd")
	kafkaAddr := flags.String("kafka", "", "address of Kafka")
	first := flags.Int("first", 0, "number of the first agent")
	step := flags.Int("step", 1, "from one number to the next")
	hosts := flags.Int("hosts", 1, "hosts of the fleet")
	rate := flags.Float64("ramp", 100, "agents that start a second")
	if err := flags.Parse(args); err != nil {
		return err
	}
	// Thousands of agents wait in here, and wake for a moment each: handing such work from
	// one thread to another would cost twice as much as doing it.
	runtime.GOMAXPROCS(1)
	f := &simFleet{complaints: &complaints{}}
	log := slog.New(f.complaints)
	for i := *first; i < *hosts; i += *step {
		a, err := newSimAgent(i, *etcdAddr, log)
		if err != nil {
			return err
		}
		f.agents = append(f.agents, a)
	}
	if err := allowFiles(2 * len(f.agents)); err != nil {
		return err
	}
	var err error
	if f.summaries, err = newSummaries(f.agents, *kafkaAddr, log); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { f.start(ctx, *rate) })
	wg.Go(func() { f.note(ctx, f.summaries.run(ctx)) })
	return serveOrders(ctx, in, out, len(f.agents), map[string]deed{
		"state":   func(context.Context, json.RawMessage) (any, error) { return f.state() },
		"applied": func(context.Context, json.RawMessage) (any, error) { return f.applied(), nil },
	})
}

// start runs the agents, so many a second, until ctx ends.
func (f *simFleet) start(ctx context.Context, rate float64) {
	var wg sync.WaitGroup
	defer wg.Wait()
	began := time.Now()
	for i, a := range f.agents {
		due := began.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(due)):
			wg.Go(func() { f.note(ctx, a.run(ctx)) })
		}
	}
}

// note keeps why a part ended before its time.
func (f *simFleet) note(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = errors.Join(f.failed, err)
}

func (f *simFleet) state() (agentsState, error) {
	f.mu.Lock()
	failed := f.failed
	f.mu.Unlock()
	if failed != nil {
		return agentsState{}, failed
	}
	heap := liveHeap()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s := agentsState{Agents: len(f.agents), Goroutines: runtime.NumGoroutine(), HeapBytes: heap, StackBytes: m.StackInuse}
	s.Sent, s.Unsent, s.SendFailure = f.summaries.counts()
	f.complaints.mu.Lock()
	defer f.complaints.mu.Unlock()
	s.Complaints, s.First = f.complaints.n, f.complaints.first
	return s, nil
}

func (f *simFleet) applied() []appliedAt {
	out := []appliedAt{}
	for _, a := range f.agents {
		out = append(out, a.taken()...)
	}
	return out
}

// liveHeap is the memory of objects that are still referred to. What a finalizer kept is
// gone after the second collection only.
func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// sumOf adds up what all processes of agents tell.
func sumOf(states []agentsState) (sum agentsState) {
	first := make(map[string]bool)
	for _, s := range states {
		sum.Agents += s.Agents
		sum.Goroutines += s.Goroutines
		sum.HeapBytes += s.HeapBytes
		sum.StackBytes += s.StackBytes
		sum.Complaints += s.Complaints
		sum.Sent += s.Sent
		sum.Unsent += s.Unsent
		if sum.SendFailure == "" {
			sum.SendFailure = s.SendFailure
		}
		for _, text := range s.First {
			first[text] = true
		}
	}
	for text := range maps.Keys(first) {
		sum.First = append(sum.First, text)
	}
	return sum
}

// wrong says what agents complained of.
func (s *agentsState) wrong() error {
	if s.Complaints == 0 {
		return nil
	}
	return fmt.Errorf("agents complained %d times, for example: %s", s.Complaints, strings.Join(s.First, "; "))
}
