package etcdcfg

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/agent"
)

// fleet is a TreeHandler that remembers.
type fleet struct {
	mu     sync.Mutex
	docs   map[string]agent.Document
	raws   map[string]string
	live   map[string]agent.Live
	coarse map[string]agent.Coarse
	seen   map[string]time.Duration // since the last renewal
	synced int64
	calls  int
}

func newFleet() *fleet {
	return &fleet{docs: map[string]agent.Document{}, raws: map[string]string{}, live: map[string]agent.Live{}, coarse: map[string]agent.Coarse{}, seen: map[string]time.Duration{}}
}

func (f *fleet) Document(host string, d agent.Document, raw []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if raw == nil {
		delete(f.docs, host)
		delete(f.raws, host)
		return
	}
	f.docs[host], f.raws[host] = d, string(raw)
}

func (f *fleet) Group(name string, d agent.Document, raw []byte) { f.Document(name, d, raw) }

func (f *fleet) Seen(host string, left, ttl time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen[host] = ttl - left
}

func (f *fleet) Live(host string, l *agent.Live) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if l == nil {
		delete(f.live, host)
		return
	}
	f.live[host] = *l
}

func (f *fleet) Coarse(host string, c *agent.Coarse) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if c == nil {
		delete(f.coarse, host)
		return
	}
	f.coarse[host] = *c
}

func (f *fleet) Synced(revision int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.synced = revision
}

func (f *fleet) look(see func() bool) func() bool {
	return func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return see()
	}
}

func watchFleet(t *testing.T, c *Client) *fleet {
	t.Helper()
	f := newFleet()
	start(t, func(ctx context.Context) error { return c.FollowTree(ctx, f) })
	return f
}

func TestConsoleSeesTwoThousandHostsAndEveryChange(t *testing.T) {
	t.Parallel()
	const hosts = 2000
	c := newClient(t, shared.Addr())
	name := func(i int) string { return fmt.Sprintf("web-%04d", i) }
	var ops []clientv3.Op
	var newest int64
	flush := func() {
		r, err := shared.Client().Txn(t.Context()).Then(ops...).Commit()
		if err != nil {
			t.Fatal(err)
		}
		newest, ops = r.Header.Revision, nil
	}
	for i := range hosts {
		live, _ := json.Marshal(agent.Live{Host: name(i), PID: i + 1})
		coarse, _ := json.Marshal(agent.Coarse{Host: name(i), Seq: uint64(i + 1)})
		ops = append(ops, clientv3.OpPut(c.layout.Config(name(i)), entry("s", int64(i))),
			clientv3.OpPut(c.layout.Live(name(i)), string(live)), clientv3.OpPut(c.layout.Status(name(i)), string(coarse)))
		if len(ops) > 120 {
			flush()
		}
	}
	ops = append(ops, clientv3.OpPut(c.layout.second(name(0), "1"), "{}"), clientv3.OpPut(c.layout.Root()+"/x/other", "no host"))
	flush()

	f := watchFleet(t, c)
	eventually(t, "synced", f.look(func() bool { return f.synced >= newest }))
	f.look(func() bool {
		if len(f.docs) != hosts || len(f.live) != hosts || len(f.coarse) != hosts || f.calls != 3*hosts {
			t.Errorf("want %d of each once, got %d, %d, %d in %d calls", hosts, len(f.docs), len(f.live), len(f.coarse), f.calls)
		}
		for i := range hosts {
			d := f.docs[name(i)]
			if d.Key != c.layout.Config(name(i)) || d.Revision == 0 || len(d.Services) != 1 || d.Services[0].SendRate != int64(i) ||
				f.raws[name(i)] != entry("s", int64(i)) || f.live[name(i)].PID != i+1 || f.coarse[name(i)].Seq != uint64(i+1) {
				t.Fatalf("%s: got %+v, %+v, %+v", name(i), d, f.live[name(i)], f.coarse[name(i)])
			}
		}
		return true
	})()

	revision := put(t, shared, c.layout.Config(name(7)), entry("s", 777))
	eventually(t, "changed rate", f.look(func() bool { d := f.docs[name(7)]; return d.Revision == revision && d.Services[0].SendRate == 777 }))
	bad := put(t, shared, c.layout.Config(name(7)), "null")
	eventually(t, "refused document", f.look(func() bool {
		d := f.docs[name(7)]
		return d.Refused != nil && d.Refused.Revision == bad && d.Revision == revision && d.Services[0].SendRate == 777 && f.raws[name(7)] == "null"
	}))
	remove(t, shared, c.layout.Config(name(7)))
	remove(t, shared, c.layout.Live(name(7)))
	remove(t, shared, c.layout.Status(name(7)))
	eventually(t, "host gone", f.look(func() bool { return len(f.docs) == hosts-1 && len(f.live) == hosts-1 && len(f.coarse) == hosts-1 }))
}

func TestConsoleThatWasCutOffHearsWhatChangedAndWhatWasDeleted(t *testing.T) {
	t.Parallel()
	e := ownEtcd(t)
	c := newClient(t, e.Addr())
	keys := func(host string) []string {
		return []string{c.layout.Config(host), c.layout.Live(host), c.layout.Status(host)}
	}
	for _, host := range []string{"stays", "changes", "goes"} {
		put(t, e, keys(host)[0], entry("s", 1))
		put(t, e, keys(host)[1], `{"pid":1}`)
		put(t, e, keys(host)[2], `{"seq":1}`)
	}
	f := watchFleet(t, c)
	eventually(t, "first sight", f.look(func() bool { return len(f.docs) == 3 && len(f.live) == 3 && len(f.coarse) == 3 }))
	calls := 0
	f.look(func() bool { calls = f.calls; return true })()

	// While the connection is down nothing can be told; all of it is compacted away.
	e.Stop()
	eventually(t, "link down", func() bool { return !c.Link().Up })
	if err := e.Restart(); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys("goes") {
		remove(t, e, key)
	}
	put(t, e, keys("changes")[1], `{"pid":2}`)
	newest := put(t, e, keys("changes")[0], entry("s", 2))
	if _, err := e.Client().Compact(t.Context(), newest); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what changed", f.look(func() bool {
		return len(f.docs) == 2 && len(f.live) == 2 && len(f.coarse) == 2 && f.docs["changes"].Revision == newest && f.live["changes"].PID == 2
	}))
	f.look(func() bool {
		if f.calls != calls+5 {
			t.Errorf("want the five changes told once each, got %d", f.calls-calls)
		}
		return true
	})()

	if err := e.RestartEmpty(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing left in a new etcd", f.look(func() bool { return len(f.docs)+len(f.live)+len(f.coarse) == 0 }))
	again := put(t, e, keys("new")[0], entry("s", 3))
	eventually(t, "new host below the old revision", f.look(func() bool { return f.docs["new"].Revision == again }))
}

func TestConsoleSeesTheDocumentsOfGroupsComeChangeAndGo(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	first := put(t, shared, c.layout.Config("@web"), entry("s", 1))
	f := watchFleet(t, c)
	is := func(revision int64) func() bool {
		return f.look(func() bool { d := f.docs["@web"]; return d.Revision == revision && d.Key == c.layout.Config("@web") })
	}
	eventually(t, "the document", is(first))
	second := put(t, shared, c.layout.Config("@web"), entry("s", 2))
	eventually(t, "its change", is(second))
	bad := put(t, shared, c.layout.Config("@web"), "null")
	eventually(t, "a broken one", f.look(func() bool {
		d := f.docs["@web"]
		return d.Refused != nil && d.Refused.Revision == bad && d.Revision == second
	}))
	put(t, shared, c.layout.groups()+"a/b", entry("s", 2)) // nobody's name
	remove(t, shared, c.layout.Config("@web"))
	eventually(t, "its end", f.look(func() bool { return len(f.docs) == 0 }))
}
