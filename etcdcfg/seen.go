package etcdcfg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/agent"
)

const (
	// seenTTL is how long ROOT.seen/<host> outlives the last renewal: a week, and as long
	// before an agent's end as its last renewal may have been.
	seenTTL = 7*24*time.Hour + 2*seenEvery
	// seenEvery is how often an agent renews it: 10,000 hosts renew 2.8 times a second, and
	// read the key as often. Neither is a write.
	seenEvery = time.Hour
	// firstSeenRetry is the wait after a first failure; it doubles, up to seenRetry while etcd
	// is away and up to seenEvery where it refuses.
	firstSeenRetry = time.Minute
	seenRetry      = 5 * time.Minute
)

// seenValue is the value of ROOT.seen/<host>: what is good to know of an agent that is gone.
type seenValue struct {
	Version string   `json:"version"`
	Groups  []string `json:"groups,omitempty"`
}

// seenKey keeps ROOT.seen/<host>. The key stands under a lease of a week that is renewed about
// once an hour and never ended, so that what has run off the lease tells how long the host is
// without an agent. An agent that starts again goes on with the key and lease it finds: a
// crash loop writes nothing. Nothing waits for any of this, and where it fails nothing but
// this number is missing.
//
// An etcd that was restored, or whose leader changed, begins the leases anew: a host is gone
// for at least as long as the lease tells.
type seenKey struct {
	c    *Client
	live agent.Live
	kept atomic.Bool // the key was there at least once

	granted clientv3.LeaseID // of renew alone: a lease under which no key stands yet
}

// run keeps the key until ctx ends.
func (s *seenKey) run(ctx context.Context) {
	wait, said := firstSeenRetry, false
	for first := true; ; first = false {
		again := seenEvery*9/10 + rand.N(seenEvery/5)
		err := s.renew(ctx)
		s.kept.Store(err == nil || s.kept.Load())
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			if kindOf(err) == kindAnswer && !said { // etcd away is said elsewhere
				said = true
				s.c.log.Info("how long this host is gone will not be known", "reason", err)
			}
			most := seenRetry
			if kindOf(err) == kindAnswer {
				most = seenEvery
			}
			again, wait = wait/2+rand.N(wait/2), min(2*wait, most)
		} else {
			wait, said = firstSeenRetry, false
			if first { // agents that were started together renew apart
				again = seenEvery/2 + rand.N(seenEvery/2)
			}
		}
		if !sleep(ctx, again) {
			return
		}
	}
}

// renew renews the lease of the key, and puts the key where it is missing or says something
// else. Only where etcd knows the lease no more is another one granted: each lives a week, and
// an etcd in trouble would have to keep one for every try of every agent.
func (s *seenKey) renew(ctx context.Context) error {
	value, err := json.Marshal(seenValue{s.live.Version, s.live.Groups})
	if err != nil {
		return fmt.Errorf("seen key of %s: %w", s.live.Host, err)
	}
	key := s.c.layout.Seen(s.live.Host)
	var found *mvccpb.KeyValue
	err = s.c.read(ctx, "read the seen key of "+s.live.Host, func(ctx context.Context, etcd *clientv3.Client) error {
		r, err := etcd.Get(ctx, key)
		if err == nil && len(r.Kvs) > 0 {
			found = r.Kvs[0]
		}
		return err
	})
	if err != nil {
		return err
	}
	id := clientv3.NoLease
	if found != nil && found.Lease != 0 {
		err = s.c.do(ctx, "renew the seen key of "+s.live.Host, func(ctx context.Context, etcd *clientv3.Client) error {
			_, err := etcd.KeepAliveOnce(ctx, clientv3.LeaseID(found.Lease))
			return err
		})
		switch {
		case err == nil:
			id = clientv3.LeaseID(found.Lease)
		case !errors.Is(err, rpctypes.ErrLeaseNotFound):
			return err
		}
	}
	if id != clientv3.NoLease && string(found.Value) == string(value) {
		return nil
	}
	return s.c.do(ctx, "write the seen key of "+s.live.Host, func(ctx context.Context, etcd *clientv3.Client) error {
		if id == clientv3.NoLease {
			if s.granted == clientv3.NoLease {
				r, err := etcd.Grant(ctx, int64(seenTTL.Seconds()))
				if err != nil {
					return err
				}
				s.granted = r.ID
			}
			id = s.granted
		}
		_, err := etcd.Put(ctx, key, string(value), clientv3.WithLease(id))
		if err == nil || errors.Is(err, rpctypes.ErrLeaseNotFound) {
			s.granted = clientv3.NoLease
		}
		return err
	})
}

// seenLeft tells what is left of a host's seen key and how long it lasts after a renewal;
// left is 0 where there is none, and so is ttl then.
func (c *Client) seenLeft(ctx context.Context, host string) (left, ttl time.Duration, err error) {
	err = c.read(ctx, "read the seen key of "+host, func(ctx context.Context, etcd *clientv3.Client) error {
		left, ttl = 0, 0
		r, err := etcd.Get(ctx, c.layout.Seen(host)) // keys alone come without their lease
		if err != nil || len(r.Kvs) == 0 || r.Kvs[0].Lease == 0 {
			return err
		}
		left, ttl, err = leaseLeft(ctx, etcd, clientv3.LeaseID(r.Kvs[0].Lease))
		return err
	})
	return left, ttl, err
}

// leaseLeft tells what is left of a lease; both are 0 where it has ended.
func leaseLeft(ctx context.Context, etcd *clientv3.Client, id clientv3.LeaseID) (left, ttl time.Duration, err error) {
	r, err := etcd.TimeToLive(ctx, id)
	if err != nil || r.TTL <= 0 {
		return 0, 0, err
	}
	return time.Duration(r.TTL) * time.Second, time.Duration(r.GrantedTTL) * time.Second, nil
}

// goneHosts asks for the seen keys of hosts without an agent, one at a time, so that a fleet
// that is cut off is no burden, and tells the handler.
type goneHosts struct {
	c *Client
	h *told

	changed chan struct{} // size 1

	mu   sync.Mutex      // guards todo and done
	todo []string        // hosts to ask for
	done map[string]bool // that were told and had no agent since
}

// seenPace is the wait between two hosts.
const seenPace = 10 * time.Millisecond

// ask notes the hosts without an agent.
func (g *goneHosts) ask(hosts []string) {
	g.mu.Lock()
	g.todo = hosts
	g.mu.Unlock()
	poke(g.changed)
}

// back notes that a host has an agent.
func (g *goneHosts) back(host string) {
	g.mu.Lock()
	delete(g.done, host)
	g.mu.Unlock()
}

func (g *goneHosts) next() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.todo) > 0 {
		host := g.todo[0]
		g.todo = g.todo[1:]
		if !g.done[host] {
			return host
		}
	}
	return ""
}

func (g *goneHosts) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.changed:
		}
		for host := g.next(); host != ""; host = g.next() {
			left, ttl, err := g.c.seenLeft(ctx, host)
			if err != nil {
				g.c.log.Debug("not known how long a host is gone", "host", host, "reason", err)
				break // at the next round
			}
			g.mu.Lock()
			g.done[host] = true
			g.mu.Unlock()
			g.h.seen(host, left, ttl)
			if !sleep(ctx, seenPace) {
				return
			}
		}
	}
}

// told passes everything on to a handler, one call at a time, and knows who lives.
type told struct {
	mu   sync.Mutex // guards all below, and is held during the handler's methods
	h    TreeHandler
	live map[string]bool
	kept map[string]bool // hosts whose status says that they keep a seen key
}

func (t *told) document(name string, d agent.Document, raw []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if isGroup(name) {
		t.h.Group(name, d, raw)
	} else {
		t.h.Document(name, d, raw)
	}
}

func (t *told) isLive(host string, l *agent.Live) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l != nil {
		t.live[host] = true
	} else {
		delete(t.live, host)
	}
	t.h.Live(host, l)
}

func (t *told) coarse(host string, s *agent.Coarse) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s != nil && s.Seen {
		t.kept[host] = true
	} else {
		delete(t.kept, host)
	}
	t.h.Coarse(host, s)
}

func (t *told) synced(revision int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.h.Synced(revision)
}

// seen tells of a host's seen key, unless the host lives by now or never had one.
func (t *told) seen(host string, left, ttl time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live[host] || ttl == 0 && !t.kept[host] {
		return
	}
	if ttl == 0 {
		ttl = seenTTL
	}
	t.h.Seen(host, left, ttl)
}
