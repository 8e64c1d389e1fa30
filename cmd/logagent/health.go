package main

import (
	"context"
	"log/slog"
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

	mu     sync.Mutex               // guards what follows
	coarse map[string]*agent.Coarse // status keys: they tell the revision of each document that runs
}

func newHealth(s *settings, client *etcdcfg.Client) (*health, error) {
	f, err := newFleet(s, client, "", slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return &health{fleet: f, settings: s, coarse: make(map[string]*agent.Coarse)}, nil
}

// start runs the feeds until stop is called.
func (h *health) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{
		func(ctx context.Context) error { return h.etcd.FollowTree(ctx, healthTree{treeFeed{h.store}, h}) },
		func(ctx context.Context) error { return h.topic.Run(ctx, statusFeed{h.store}) },
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
	t.h.mu.Lock()
	t.h.coarse[host] = c
	t.h.mu.Unlock()
	t.treeFeed.Coarse(host, c)
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
	rows := h.store.Fleet(store.Query{Count: math.MaxInt32}).Rows
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]etcdcfg.HostHealth, 0, len(hosts))
	for i := range rows {
		if r := &rows[i]; wanted[r.Host] {
			out = append(out, healthOf(r, h.coarse[r.Host]))
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

// healthOf is what a host's row and its status key tell a rollout.
func healthOf(r *store.HostRow, c *agent.Coarse) etcdcfg.HostHealth {
	h := etcdcfg.HostHealth{
		Host: r.Host, Failing: r.Failing, LagBytes: r.LagBytes, Running: make(map[string]int64),
		Fresh: r.Live != nil && r.HasStatus && r.Heard && !r.Stale,
	}
	if c == nil {
		return h
	}
	for _, d := range c.Documents {
		h.Running[d.Key] = d.Running
		if d.Refused != nil && h.Refused == "" {
			h.Refused = d.Refused.Error
		}
	}
	return h
}
