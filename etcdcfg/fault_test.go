package etcdcfg

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/etcdcfg/change"
	"logagent/internal/lab"
)

// What etcd and the way to it do to a client: members stop, answers come late or never.

func startCluster(t *testing.T) *lab.EtcdCluster {
	t.Helper()
	c, err := lab.StartEtcdCluster(3, lab.EtcdOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func startProxy(t *testing.T, to string) *lab.Proxy {
	t.Helper()
	p, err := lab.StartProxy(to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// logTo gives a client a log that the test reads.
func logTo(log *safeBuffer) func(*Options) {
	return func(o *Options) { o.Log = logger(log) }
}

func logger(log *safeBuffer) *slog.Logger { return slog.New(slog.NewTextHandler(log, nil)) }

// unmarshal tells whether a text is JSON of v's kind, and fills v.
func unmarshal(text string, v any) bool { return json.Unmarshal([]byte(text), v) == nil }

// putSoon writes a key as soon as etcd takes it.
func putSoon(t *testing.T, etcd *clientv3.Client, key, value string) (revision int64) {
	t.Helper()
	eventually(t, "a write of "+key, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		r, err := etcd.Put(ctx, key, value)
		if err == nil {
			revision = r.Header.Revision
		}
		return err == nil
	})
	return revision
}

// agentOn runs on a client all that an agent runs.
func agentOn(t *testing.T, c *Client) (*recorder, *reporting) {
	t.Helper()
	var r recorder
	a := newReporting("s1", 1)
	following(t, c, r.options(t.TempDir(), "h"))
	a.start(t, c)
	start(t, func(ctx context.Context) error { return c.FollowWatched(ctx, "h", func(bool) {}) })
	return &r, a
}

func TestMembersThatAreLostOneAfterTheOtherTheLeaderFirstHideNoChange(t *testing.T) {
	t.Parallel()
	cluster := startCluster(t)
	var log safeBuffer
	c := newClient(t, "", func(o *Options) { o.Addrs = cluster.Addrs() }, logTo(&log))
	key := c.layout.Config("h")
	r, a := agentOn(t, c)
	rate := int64(1)
	change := func() {
		t.Helper()
		rate++
		revision := putSoon(t, cluster.Client(), key, entry("a", rate))
		eventually(t, fmt.Sprintf("revision %d", revision), func() bool { return r.runs(0, revision) })
		if got := r.effective()[0].SendRate; got != rate {
			t.Errorf("want the rate %d, got %d", rate, got)
		}
	}
	change()
	for round := range 3 {
		leader, err := cluster.Leader()
		if err != nil {
			t.Fatal(err)
		}
		lost := (leader + round) % 3 // the leader at first, then followers
		cluster.Member(lost).Stop()
		change()
		if err := cluster.Member(lost).Restart(); err != nil {
			t.Fatal(err)
		}
		change()
	}
	eventually(t, "live key", func() bool {
		got, err := cluster.Client().Get(t.Context(), c.layout.Live("h"))
		return err == nil && len(got.Kvs) == 1 && strings.Contains(string(got.Kvs[0].Value), a.live.StateID)
	})
	eventually(t, "link up", func() bool { return c.Link().Up })
	if n := strings.Count(log.String(), "level=WARN"); n > 9 {
		t.Errorf("want a few lines about three members, got %d:\n%s", n, &log)
	}
}

func TestEtcdWithoutAQuorumIsNoticedAndCaughtUpWith(t *testing.T) {
	t.Parallel()
	cluster := startCluster(t)
	first, err := cluster.Leader()
	if err != nil {
		t.Fatal(err)
	}
	stays := (first + 1) % 3
	for _, s := range []struct {
		name  string
		addrs []string
	}{{"all addresses", cluster.Addrs()}, {"one member's address", cluster.Addrs()[stays : stays+1]}} {
		var log safeBuffer
		c := newClient(t, "", func(o *Options) {
			o.Addrs, o.Timeout = s.addrs, time.Second
			o.Pattern = "/" + strings.ReplaceAll(s.name, " ", "-") + "/%s"
		}, logTo(&log))
		key := c.layout.Config("h")
		r, _ := agentOn(t, c)
		before := putSoon(t, cluster.Client(), key, entry("a", 1))
		eventually(t, "document", func() bool { return r.runs(0, before) && c.Link().Up })
		applied := r.count()

		for i := range 3 {
			if i != stays {
				cluster.Member(i).Stop()
			}
		}
		began := time.Now()
		eventually(t, "link down", func() bool { return !c.Link().Up })
		t.Logf("%s: noticed after %v: %s", s.name, time.Since(began).Round(time.Millisecond), c.Link().Error)
		// Every request ends with words and in time, however long it lasts. The members need
		// a moment to miss their leader.
		eventually(t, "the reason", func() bool {
			_, _, err := c.Get(t.Context(), "h")
			return err != nil && strings.Contains(err.Error(), "has no leader")
		})
		for range 2 {
			began := time.Now()
			_, _, err := c.Get(t.Context(), "h")
			if err == nil || !strings.Contains(err.Error(), "has no leader") {
				t.Errorf("%s: want the reason, got %v", s.name, err)
			}
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("%s: %v took %v", s.name, err, took)
			}
		}
		if n := strings.Count(log.String(), "level=WARN"); n > 3 {
			t.Errorf("%s: want what happened said once, got %d lines:\n%s", s.name, n, &log)
		}
		if r.count() != applied || !r.runs(0, before) {
			t.Errorf("%s: want the agent to go on with what it has, got %+v", s.name, r.last())
		}
		for i := range 3 {
			if i != stays {
				if err := cluster.Member(i).Restart(); err != nil {
					t.Fatal(err)
				}
			}
		}
		after := putSoon(t, cluster.Client(), key, entry("a", 2))
		eventually(t, "what came after", func() bool { return r.runs(0, after) && c.Link().Up })
	}
}

func TestSlowEtcdEndsRequestsInTimeAndHidesNoChange(t *testing.T) {
	t.Parallel()
	p := startProxy(t, shared.Addr())
	var log safeBuffer
	const timeout = 500 * time.Millisecond
	c := newClient(t, p.Addr(), func(o *Options) { o.Timeout = timeout }, logTo(&log))
	key := c.layout.Config("h")
	t.Cleanup(func() { forget(t, c) })
	r, _ := agentOn(t, c)
	revision := put(t, shared, key, entry("a", 1))
	eventually(t, "document", func() bool { return r.runs(0, revision) && c.Link().Up })

	p.Delay(50 * time.Millisecond) // slow, and fast enough
	for rate := range int64(3) {
		revision = put(t, shared, key, entry("a", 10+rate))
		eventually(t, "change over a slow connection", func() bool { return r.runs(0, revision) })
	}
	for name, hurt := range map[string]func(){"delayed": func() { p.Delay(10 * timeout) }, "stalled": p.Stall} {
		said := strings.Count(log.String(), "level=WARN")
		hurt()
		for range 4 {
			began := time.Now()
			_, _, err := c.Get(t.Context(), "h")
			if took := time.Since(began); err == nil || took > timeout+2*time.Second ||
				!strings.Contains(err.Error(), "no answer from "+p.Addr()+" within "+timeout.String()) {
				t.Errorf("%s: after %v: %v", name, took, err)
			}
			if _, err := c.SetRate(t.Context(), "h", "/var/log/a.log", 12, 99, change.Meta{}); err == nil {
				t.Errorf("%s: a write succeeded", name)
			}
		}
		if c.Link().Up {
			t.Errorf("%s: the link is up", name)
		}
		revision = put(t, shared, key, entry("a", 12)) // while nobody hears of it
		p.Delay(0)
		p.Flow()
		eventually(t, name+": what was missed", func() bool { return r.runs(0, revision) && c.Link().Up })
		if n := strings.Count(log.String(), "level=WARN") - said; n > 2 {
			t.Errorf("%s: want one or two lines, got %d:\n%s", name, n, &log)
		}
	}
}

// forget removes a test's keys from the shared etcd where its client reached it by another
// address.
func forget(t *testing.T, c *Client) {
	t.Helper()
	for _, end := range []string{"/", "."} {
		if _, err := shared.Client().Delete(context.Background(), c.layout.Root()+end, clientv3.WithPrefix()); err != nil {
			t.Error(err)
		}
	}
}

func TestLiveKeyIsBackAfterASilenceBeyondItsLease(t *testing.T) {
	t.Parallel()
	p := startProxy(t, shared.Addr())
	var log safeBuffer
	c := newClient(t, p.Addr(), func(o *Options) { o.Timeout = time.Second }, logTo(&log))
	c.timing.liveTTL = 1
	t.Cleanup(func() { forget(t, c) })
	a := newReporting("s1", 1)
	a.start(t, c)
	held := func() bool { l, id := holder(t, shared, c.layout.Live("h")); return id != 0 && sameLive(l, a.live) }
	eventually(t, "live key", held)
	for round := range 2 {
		p.Stall()
		eventually(t, "etcd has dropped the key", func() bool { return !held() })
		p.Flow()
		eventually(t, "live key again", held)
		if n := strings.Count(log.String(), "lease lost"); n != round+1 {
			t.Errorf("want each loss said once, got %d of %d:\n%s", n, round+1, &log)
		}
	}
}

func TestAddressesThatNeverAnswerHoldNobodyUp(t *testing.T) {
	t.Parallel()
	users := ownEtcd(t, lab.EtcdOptions{Password: "secret"})
	silent := startProxy(t, shared.Addr())
	silent.Stall()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]*lab.Etcd{"plain": shared, "signed in": users} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good := startProxy(t, to.Addr())
			c := newClient(t, "", func(o *Options) {
				o.Addrs = []string{silent.Addr(), "no-such-host.invalid:2379", nobody, good.Addr()}
				if to == users {
					o.User, o.Password = "root", "secret"
				}
				o.Timeout = 3 * time.Second
			})
			revision := put(t, to, c.layout.Config("h"), entry("a", 1))
			t.Cleanup(func() { forget(t, c) })
			var r recorder
			began := time.Now()
			following(t, c, r.options("", "h"))
			eventually(t, "document", func() bool { return r.runs(0, revision) })
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("the first document took %v", took)
			}
			for rate := range int64(8) { // whichever address has the turn
				began := time.Now()
				if _, err := c.SetRate(t.Context(), "h", "/var/log/a.log", 1+rate, 2+rate, change.Meta{}); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("a write took %v", took)
				}
			}
			if l := c.Link(); !l.Up {
				t.Errorf("want the link up, got %+v", l)
			}
			// A silent one is not excused by what ails the others.
			good.Stall()
			_, _, err := c.Get(t.Context(), "h")
			if err == nil || !strings.Contains(err.Error(), "no answer from ") || strings.Contains(err.Error(), "refused") {
				t.Errorf("want no answer, got %v", err)
			}
		})
	}
}

func TestEtcdThatIsAwayForLongCostsNoMemoryAndFewWords(t *testing.T) {
	t.Parallel()
	e := ownEtcd(t)
	var log safeBuffer
	c := newClient(t, e.Addr(), func(o *Options) { o.Timeout = 20 * time.Millisecond }, logTo(&log))
	c.timing.statusEvery = 10 * time.Millisecond
	r, _ := agentOn(t, c)
	eventually(t, "synced", func() bool { return r.count() > 0 })
	e.Stop()
	eventually(t, "link down", func() bool { return !c.Link().Up })
	lines, goroutines := 0, 0
	for range 200 {
		if _, _, err := c.Get(t.Context(), "h"); err == nil {
			t.Fatal("a stopped etcd answered")
		}
		if lines == 0 {
			eventually(t, "the reason is said", func() bool { return strings.Contains(log.String(), "etcd is away") })
			lines, goroutines = strings.Count(log.String(), "\n"), clients()
		}
	}
	if n := strings.Count(log.String(), "\n"); n > lines+1 { // the lease may be lost only now
		t.Errorf("want nothing more in the log, got %d lines and then %d:\n%s", lines, n, &log)
	}
	c.link.mu.Lock()
	open, complaints := len(c.link.open), len(c.link.complaints)
	c.link.mu.Unlock()
	if open > 1 || complaints > 4 {
		t.Errorf("%d connections are open, %d complaints kept", open, complaints)
	}
	// Other tests begin and end beside this one; 200 requests that left something would show.
	if n := clients(); n > goroutines+100 {
		t.Errorf("goroutines that wait for this package's requests: %d and then %d", goroutines, n)
	}
}

// clients counts the goroutines that stand in a function of the etcd client.
func clients() int {
	b := make([]byte, 8<<20)
	return strings.Count(string(b[:runtime.Stack(b, true)]), "etcd/client/v3.(")
}

func TestDocumentOverTheLimitIsRefusedWholeAndASmallerOneTaken(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	key := c.layout.Config("h")
	r, _ := agentOn(t, c)
	good := put(t, shared, key, entry("a", 1))
	eventually(t, "document", func() bool { return r.runs(0, good) })
	for _, bytes := range []int{256<<10 + 1, 1_400_000} {
		var entries []string
		size := 2
		for i := 0; size < bytes; i++ {
			entries = append(entries, strings.Trim(entry(fmt.Sprint("big", i), 1), "[]"))
			size += len(entries[i]) + 1
		}
		big := put(t, shared, key, "["+strings.Join(entries, ",")+"]")
		eventually(t, "refusal", func() bool { return r.refuses(0, big) })
		d := r.last().Documents[0]
		if d.Revision != good || len(d.Services) != 1 || d.Services[0].Service != "a" || !strings.Contains(d.Refused.Error, "at most 262144 are taken") {
			t.Fatalf("want revision %d in force and the size in words, got revision %d with %d entries: %s", good, d.Revision, len(d.Services), d.Refused.Error)
		}
		if !c.Link().Up {
			t.Errorf("want the link up, got %+v", c.Link())
		}
		good = put(t, shared, key, entry("a", int64(bytes)))
		eventually(t, "a smaller one", func() bool { return r.runs(0, good) })
	}
}
