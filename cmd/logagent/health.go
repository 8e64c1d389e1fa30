package main

import (
	"context"
	"log/slog"
	"maps"
	"math"
	"sync"
	"time"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/ui/store"
)

// health hears how hosts are while a change goes out in waves: by the same feeds as the console,
// the status topic and etcd.
type health struct {
	*fleet
	settings *settings

	mu    sync.Mutex        // guards hosts
	hosts map[string]*proof // by host id
}

// proof is what a host runs and what it told since. The status key tells the revision of each
// document in force, at once; the status topic how the host does, every two seconds.
type proof struct {
	coarse  *agent.Coarse // nil: no status key
	since   position      // the status that told first what runs now
	newest  position      // of those that were heard as they were made
	samples int           // how many of them were made after since
}

func newHealth(s *settings, client *etcdcfg.Client) (*health, error) {
	f, err := newFleet(s, client, "", slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return &health{fleet: f, settings: s, hosts: make(map[string]*proof)}, nil
}

// start runs the feeds until stop is called.
func (h *health) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{
		func(ctx context.Context) error { return h.etcd.FollowTree(ctx, healthTree{treeFeed{h.store}, h}) },
		func(ctx context.Context) error { return h.topic.Run(ctx, healthTopic{statusFeed{h.store}, h}) },
		h.links,
	} {
		wg.Go(func() { _ = run(ctx) }) // a feed that is down shows in hosts that are not fresh
	}
	return func() { cancel(); wg.Wait() }
}

// healthTree keeps the status keys beside what the console's store makes of them.
type healthTree struct {
	treeFeed
	h *health
}

func (t healthTree) Coarse(host string, c *agent.Coarse) {
	t.treeFeed.Coarse(host, c)
	t.h.mu.Lock()
	defer t.h.mu.Unlock()
	t.h.proof(host).runs(c)
}

// healthTopic counts the statuses of each host beside what the console's store makes of them.
type healthTopic struct {
	statusFeed
	h *health
}

func (t healthTopic) Summary(host string, s agent.Summary, age time.Duration) {
	t.statusFeed.Summary(host, s, age)
	t.h.told(host, position{s.StateID, s.Boot, s.Seq}, age)
}

func (t healthTopic) Detail(s agent.Status, age time.Duration) {
	t.statusFeed.Detail(s, age)
	t.h.told(s.Host, position{s.StateID, s.Boot, s.Seq}, age)
}

// told counts a status, after the store has it: who finds it counted finds its numbers too.
func (h *health) told(host string, at position, age time.Duration) {
	if age > 0 {
		return // of the past
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.proof(host).told(at)
}

// proof is called with mu held.
func (h *health) proof(host string) *proof {
	p := h.hosts[host]
	if p == nil {
		p = new(proof)
		h.hosts[host] = p
	}
	return p
}

// position is where a status stands among those of its host: never by clocks.
type position struct {
	stateID   string
	boot, seq uint64
}

// after tells whether p is known to be the later one.
func (p position) after(o position) bool {
	return p.stateID == o.stateID && (p.boot > o.boot || p.boot == o.boot && p.seq > o.seq)
}

// runs takes the host's status key. Another revision in force, or another state folder, makes
// worthless what was heard before.
func (p *proof) runs(c *agent.Coarse) {
	same := c != nil && p.coarse != nil && c.StateID == p.coarse.StateID && maps.Equal(running(c), running(p.coarse))
	p.coarse = c
	if !same {
		p.since, p.samples = position{}, 0
		if c != nil {
			p.since = position{c.StateID, c.Boot, c.Seq}
		}
	}
}

func (p *proof) told(at position) {
	if at.after(p.since) && (p.samples == 0 || at.after(p.newest)) {
		p.newest = at
		p.samples++
	}
}

// running is the revision in force of each document.
func running(c *agent.Coarse) map[string]int64 {
	out := make(map[string]int64, len(c.Documents))
	for _, d := range c.Documents {
		out[d.Key] = d.Running
	}
	return out
}

// of tells how hosts are. The first answers wait until every running agent could be heard, so that
// nobody is taken for silent who has not had the time to speak.
func (h *health) of(ctx context.Context, hosts []string) ([]etcdcfg.HostHealth, error) {
	for deadline := time.Now().Add(h.settings.EtcdTimeout + 2*summaryWait); !h.ready(hosts) && time.Now().Before(deadline); {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	wanted := make(map[string]bool, len(hosts))
	for _, host := range hosts {
		wanted[host] = true
	}
	proofs := make(map[string]proof, len(hosts)) // first: the numbers are at least as new
	h.mu.Lock()
	for _, host := range hosts {
		if p := h.hosts[host]; p != nil {
			proofs[host] = *p
		}
	}
	h.mu.Unlock()
	rows := h.store.Fleet(store.Query{Count: math.MaxInt32}).Rows
	out := make([]etcdcfg.HostHealth, 0, len(hosts))
	for i := range rows {
		if r := &rows[i]; wanted[r.Host] {
			out = append(out, healthOf(r, proofs[r.Host]))
		}
	}
	return out, nil
}

// ready tells whether every one of the hosts that has an agent was heard, or had the time.
func (h *health) ready(hosts []string) bool {
	link := h.topic.Link()
	view := h.store.Fleet(store.Query{Count: math.MaxInt32})
	if !link.Up || view.Overview.Revision == 0 {
		return false
	}
	if time.Since(link.Since) > 2*summaryWait {
		return true
	}
	wanted := make(map[string]bool, len(hosts))
	for _, host := range hosts {
		wanted[host] = true
	}
	for i := range view.Rows {
		if r := &view.Rows[i]; wanted[r.Host] && r.Live != nil && !r.Heard {
			return false
		}
	}
	return true
}

// healthOf is what a host's row and what it told lately tell a rollout.
func healthOf(r *store.HostRow, p proof) etcdcfg.HostHealth {
	h := etcdcfg.HostHealth{
		Host: r.Host, Failing: r.Failing, LagBytes: r.LagBytes, Running: make(map[string]int64), Samples: p.samples,
		Fresh: r.Live != nil && r.HasStatus && r.Heard && !r.Stale,
	}
	if p.coarse == nil {
		return h
	}
	h.Running = running(p.coarse)
	for _, d := range p.coarse.Documents {
		if d.Refused != nil && h.Refused == "" {
			h.Refused = d.Refused.Error
		}
	}
	return h
}
