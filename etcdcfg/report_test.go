package etcdcfg

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/agent"
	"logagent/internal/lab"
)

// reporting is an agent as Report sees it.
type reporting struct {
	mu      sync.Mutex
	live    agent.Live
	status  agent.Status
	problem string
	changed chan struct{}
}

func newReporting(state string, boot uint64) *reporting {
	return &reporting{
		live:    agent.Live{Host: "h", StateID: state, Boot: boot, PID: int(boot), Version: "1.4.0", Started: time.Unix(1_790_000_000, 0).UTC()},
		status:  agent.Status{Host: "h", StateID: state, Boot: boot, Documents: []agent.DocumentStatus{{Key: "/k", Running: 1}}},
		changed: make(chan struct{}, 1),
	}
}

func (r *reporting) options() ReportOptions {
	return ReportOptions{
		Live: r.live, Changed: r.changed,
		Status: func() agent.Status {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.status.Seq++
			r.status.At = time.Now()
			return r.status
		},
		Problem: func(p string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.problem = p
		},
	}
}

func (r *reporting) change(f func(*agent.Status)) {
	r.mu.Lock()
	f(&r.status)
	r.mu.Unlock()
	poke(r.changed)
}

func (r *reporting) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.problem
}

func (r *reporting) start(t *testing.T, c *Client) (stop func()) {
	t.Helper()
	return start(t, func(ctx context.Context) error { return c.Report(ctx, r.options()) })
}

func sameLive(a, b agent.Live) bool { return reflect.DeepEqual(a, b) }

// holder returns who stands in the live key, with its lease.
func holder(t *testing.T, e *lab.Etcd, key string) (agent.Live, clientv3.LeaseID) {
	t.Helper()
	r, err := e.Client().Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	var l agent.Live
	if len(r.Kvs) == 0 {
		return l, 0
	}
	if err := json.Unmarshal(r.Kvs[0].Value, &l); err != nil {
		t.Fatal(err)
	}
	return l, clientv3.LeaseID(r.Kvs[0].Lease)
}

func TestLiveKeyStandsUnderALeaseAndGoesWithACleanEnd(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	a := newReporting("s1", 1)
	stop := a.start(t, c)
	var id clientv3.LeaseID
	eventually(t, "live key", func() bool {
		var l agent.Live
		l, id = holder(t, shared, c.layout.Live("h"))
		return sameLive(l, a.live)
	})
	ttl, err := shared.Client().TimeToLive(t.Context(), id)
	if err != nil || ttl.GrantedTTL < 60 {
		t.Fatalf("want a lease of a minute or more, got %+v, %v", ttl, err)
	}
	stop()
	if l, _ := holder(t, shared, c.layout.Live("h")); l.Host != "" {
		t.Fatalf("want the key gone, got %+v", l)
	}
}

func TestLiveKeyIsPutAgainAfterItsLeaseOrItselfWasLost(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	c.timing.liveTTL = 3 // so that the loss is noticed soon
	a := newReporting("s1", 1)
	a.start(t, c)
	var first clientv3.LeaseID
	eventually(t, "live key", func() bool { _, first = holder(t, shared, c.layout.Live("h")); return first != 0 })
	if _, err := shared.Client().Revoke(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	eventually(t, "live key under a new lease", func() bool {
		l, id := holder(t, shared, c.layout.Live("h"))
		return sameLive(l, a.live) && id != first
	})
	remove(t, shared, c.layout.Live("h"))
	eventually(t, "live key again", func() bool { l, _ := holder(t, shared, c.layout.Live("h")); return sameLive(l, a.live) })
	if p := a.said(); p != "" {
		t.Errorf("want no problem, got %s", p)
	}
}

func TestPredecessorOnTheSameStateIsReplacedAtOnce(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	old := newReporting("s1", 4)
	lease, err := shared.Client().Grant(t.Context(), 600)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := json.Marshal(old.live)
	put(t, shared, c.layout.Live("h"), string(b), clientv3.WithLease(lease.ID))
	a := newReporting("s1", 5)
	a.start(t, c)
	eventually(t, "successor", func() bool {
		l, id := holder(t, shared, c.layout.Live("h"))
		return sameLive(l, a.live) && id != lease.ID
	})
	if p := a.said(); p != "" {
		t.Errorf("want no problem, got %s", p)
	}
}

func TestSecondAgentUnderOneHostIdIsShownOnBoth(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, state string }{{"of another state", "s2"}, {"on a copy of the state", "s1"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			one, two := newClient(t, shared.Addr()), newClient(t, shared.Addr())
			a, b := newReporting("s1", 1), newReporting(c.state, 2)
			stopA := a.start(t, one)
			eventually(t, "first agent", func() bool { l, _ := holder(t, shared, one.layout.Live("h")); return sameLive(l, a.live) })
			stopB := b.start(t, two)
			eventually(t, "first agent's status", func() bool { _, revision := get(t, shared, one.layout.Status("h")); return revision != 0 })
			eventually(t, "both know", func() bool {
				return strings.Contains(a.said(), "second agent with this host id: pid 2, version 1.4.0") &&
					strings.Contains(b.said(), "second agent with this host id: pid 1, version 1.4.0")
			})
			eventually(t, "the status of the one in the live key", func() bool {
				l, _ := holder(t, shared, one.layout.Live("h"))
				s, _ := get(t, shared, one.layout.Status("h"))
				return strings.Contains(s, fmt.Sprintf(`"state_id":%q,"boot":%d`, l.StateID, l.Boot))
			})
			stopB()
			eventually(t, "first agent alone", func() bool {
				l, _ := holder(t, shared, one.layout.Live("h"))
				return a.said() == "" && sameLive(l, a.live)
			})
			b = newReporting(c.state, 3)
			b.start(t, two)
			eventually(t, "both know again", func() bool { return a.said() != "" && b.said() != "" })
			stopA()
			eventually(t, "second agent took over", func() bool {
				l, _ := holder(t, shared, one.layout.Live("h"))
				return sameLive(l, b.live) && b.said() == ""
			})
			eventually(t, "its status", func() bool {
				s, _ := get(t, shared, one.layout.Status("h"))
				return strings.Contains(s, `"state_id":"`+c.state+`","boot":3`)
			})
		})
	}
}

func TestStatusKeyIsWrittenOnlyWhenSomethingChanges(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	c.timing.statusEvery = time.Hour
	key := c.layout.Status("h")
	a := newReporting("s1", 1)
	a.start(t, c)
	version := func() int64 {
		r, err := shared.Client().Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Kvs) == 0 {
			return 0
		}
		return r.Kvs[0].Version
	}
	eventually(t, "first status", func() bool { return version() == 1 })

	// Counters, lag and clocks are no change, and a cause waits for its half minute.
	a.change(func(s *agent.Status) { s.Totals.Lines, s.Totals.LagBytes = 1_000_000, 1<<40 })
	a.change(func(s *agent.Status) {
		s.Services = []agent.ServiceStatus{{Service: agent.Service{LogPath: "/p"}, State: agent.StateFailing, Cause: "permission denied"}}
	})
	// A new revision and a refusal don't wait; the write after them is the second and third.
	a.change(func(s *agent.Status) { s.Documents = []agent.DocumentStatus{{Key: c.layout.Config("h"), Running: 2}} })
	eventually(t, "running revision", func() bool { return version() == 2 })
	a.change(func(s *agent.Status) {
		s.Documents = []agent.DocumentStatus{{Key: c.layout.Config("h"), Running: 2, Refused: &agent.Refusal{Revision: 3, Error: "entry 1"}}}
	})
	eventually(t, "refused revision", func() bool { return version() == 3 })
	raw, _ := get(t, shared, key)
	var got agent.Coarse
	if err := json.Unmarshal([]byte(raw), &got); err != nil {
		t.Fatal(err)
	}
	if d := got.Documents[0]; d.Running != 2 || d.Refused == nil || d.Refused.Revision != 3 || len(got.Entries) != 1 || got.Entries[0].Cause != "permission denied" {
		t.Fatalf("got %s", raw)
	}
}

func TestOtherChangesOfTheStatusAreWrittenAtMostOnceInAWhile(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	a := newReporting("s1", 1)
	s := &statusKey{c: c, o: a.options(), turn: new(turn), seen: new(seenKey)}
	if _, err := s.write(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, wrote := s.text, s.at
	a.change(func(s *agent.Status) { s.Problems = []string{"state folder not writable"} })
	left, err := s.write(t.Context())
	if err != nil || s.text != first || left <= 0 || left > 30*time.Second {
		t.Fatalf("want it to wait up to 30 s, got %v, %v", left, err)
	}
	s.at = wrote.Add(-30 * time.Second)
	if _, err := s.write(t.Context()); err != nil || s.text == first || s.at == wrote {
		t.Fatalf("want it written after 30 s, got %v", err)
	}
	if left, err := s.write(t.Context()); err != nil || left != 30*time.Second {
		t.Fatalf("want nothing to do, got %v, %v", left, err)
	}
}

func TestLiveAndStatusAreWrittenAnewIntoARestoredEtcd(t *testing.T) {
	t.Parallel()
	e := ownEtcd(t)
	c := newClient(t, e.Addr())
	a := newReporting("s1", 1)
	a.start(t, c)
	both := func() bool {
		_, live := get(t, e, c.layout.Live("h"))
		_, status := get(t, e, c.layout.Status("h"))
		return live > 0 && status > 0
	}
	eventually(t, "both keys", both)
	if err := e.RestartEmpty(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both keys again", both)
}

func TestReportEndsSoonWhileEtcdIsAway(t *testing.T) {
	t.Parallel()
	e := ownEtcd(t)
	c := newClient(t, e.Addr())
	a := newReporting("s1", 1)
	stop := a.start(t, c)
	eventually(t, "live key", func() bool { _, id := holder(t, e, c.layout.Live("h")); return id != 0 })
	e.Stop()
	eventually(t, "link down", func() bool { return !c.Link().Up })
	ending := time.Now()
	stop()
	if took := time.Since(ending); took > 3*time.Second {
		t.Errorf("took %v to end", took)
	}
}

func TestStatusesOfAGroupAreWrittenOverASecondAndTellTheNewest(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	const hosts = 200
	agents := make([]*reporting, hosts)
	keys := make([]*statusKey, hosts)
	docs := func(i int, own, group int64) []agent.DocumentStatus {
		return []agent.DocumentStatus{{Key: c.layout.Config(fmt.Sprint("h", i)), Running: own}, {Key: c.layout.Config("@web"), Running: group}}
	}
	turn := &turn{changed: make(chan struct{}, 1)}
	turn.set(true)
	for i := range hosts {
		a := newReporting("s1", 1)
		a.live.Host, a.status.Host = fmt.Sprint("h", i), fmt.Sprint("h", i)
		a.change(func(s *agent.Status) { s.Documents = docs(i, 1, 1) })
		agents[i], keys[i] = a, &statusKey{c: c, o: a.options(), turn: turn, seen: new(seenKey)}
	}
	var mu sync.Mutex
	var took []time.Duration
	write := func(running int64) {
		t.Helper()
		took = took[:0]
		var all sync.WaitGroup
		changed := time.Now()
		for i := range hosts {
			all.Go(func() {
				if _, err := keys[i].write(t.Context()); err != nil {
					t.Error(err)
				}
				mu.Lock()
				took = append(took, time.Since(changed))
				mu.Unlock()
			})
		}
		if running > 0 { // applied while the write waits for its turn
			time.AfterFunc(time.Millisecond, func() {
				for i := range hosts {
					agents[i].change(func(s *agent.Status) { s.Documents = docs(i, 1, running) })
				}
			})
		}
		all.Wait()
		slices.Sort(took)
	}
	write(0)
	for i := range hosts {
		agents[i].change(func(s *agent.Status) { s.Documents = docs(i, 1, 2) })
	}
	write(3)
	early, late := took[hosts/10], took[hosts-hosts/10]
	t.Logf("a tenth within %v, nine tenths within %v, all within %v", early, late, took[hosts-1])
	if late-early < c.timing.jitter/2 || took[hosts-1] > c.timing.jitter+3*time.Second {
		t.Errorf("want the writes spread over a second, got %v to %v, the last after %v", early, late, took[hosts-1])
	}
	newest := 0
	for i := range hosts {
		raw, _ := get(t, shared, c.layout.Status(fmt.Sprint("h", i)))
		var got agent.Coarse
		if err := json.Unmarshal([]byte(raw), &got); err != nil || len(got.Documents) != 2 {
			t.Fatalf("%v in %s", err, raw)
		}
		if got.Documents[1].Running == 3 {
			newest++
		}
	}
	if newest < hosts/2 {
		t.Errorf("want what was applied while a write waited to be in it, of %d only %d tell it", hosts, newest)
	}
	write(0)

	// A change of the host's own document waits for nobody: with this it would for ever.
	c.timing.jitter = 24 * time.Hour
	for i := range hosts {
		agents[i].change(func(s *agent.Status) { s.Documents = docs(i, 2, 3) })
	}
	write(0)
}
