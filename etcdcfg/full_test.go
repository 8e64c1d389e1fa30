package etcdcfg

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/agent"
	"logagent/etcdcfg/change"
	"logagent/internal/lab"
)

// raftIndex counts what the members of an etcd had to write into their logs.
func raftIndex(t *testing.T, e *lab.Etcd) uint64 {
	t.Helper()
	s, err := e.Client().Status(t.Context(), e.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return s.RaftIndex
}

func TestFullEtcdIsReadSaidAndNotFlooded(t *testing.T) {
	t.Parallel()
	e := ownEtcd(t, lab.EtcdOptions{QuotaBytes: 2 << 20})
	var log safeBuffer
	c := newClient(t, e.Addr(), logTo(&log))
	c.timing.statusEvery = 10 * time.Millisecond
	r, a := agentOn(t, c)
	revision := put(t, e, c.layout.Config("h"), entry("a", 1))
	eventually(t, "document, live key and status", func() bool {
		_, live := get(t, e, c.layout.Live("h"))
		_, status := get(t, e, c.layout.Status("h"))
		return r.runs(0, revision) && live > 0 && status > 0
	})
	var newest int64
	eventually(t, "etcd is full", func() bool {
		answer, err := e.Client().Put(t.Context(), "/other", strings.Repeat("x", 50<<10))
		if err == nil {
			newest = answer.Header.Revision
		}
		return errors.Is(err, rpctypes.ErrNoSpace)
	})

	const words = "is full (its quota): compact it, defragment it, disarm the alarm"
	if _, err := c.SetRate(t.Context(), "h", "/var/log/a.log", 1, 2, change.Meta{}); err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("a write: want %s, got %v", words, err)
	}
	if raw, at, err := c.Get(t.Context(), "h"); err != nil || at != revision || string(raw) != entry("a", 1) {
		t.Errorf("want reads to go on, got %s@%d, %v", raw, at, err)
	}
	a.change(func(s *agent.Status) {
		s.Documents = []agent.DocumentStatus{{Key: "/k", Running: s.Documents[0].Running + 1}}
	})
	eventually(t, "words in the link", func() bool {
		return strings.Contains(c.Link().Error, "status key of h") || strings.Contains(c.Link().Error, words)
	})

	// A second agent of the machine starts and finds no room for its live key.
	late := newClient(t, e.Addr(), logTo(&log), func(o *Options) { o.Pattern = c.opts.Pattern })
	b := newReporting("s2", 2)
	b.live.Host = "other"
	b.start(t, late)
	eventually(t, "its words", func() bool { return strings.Contains(late.Link().Error, words) })

	// Each refused write is an entry in etcd's log. However much changes, they are few.
	before, lines := raftIndex(t, e), strings.Count(log.String(), "\n")
	for range 300 {
		eventually(t, "the last change is heard", func() bool { return len(a.changed) == 0 })
		a.change(func(s *agent.Status) {
			s.Documents = []agent.DocumentStatus{{Key: "/k", Running: s.Documents[0].Running + 1}}
		})
	}
	if n := raftIndex(t, e) - before; n > 60 {
		t.Errorf("300 changes made %d entries in the log of a full etcd", n)
	}
	if n := strings.Count(log.String(), "\n") - lines; n > 2 {
		t.Errorf("want it said once, got\n%s", &log)
	}

	// An operator makes room.
	if _, err := e.Client().Delete(t.Context(), "/other"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Client().Compact(t.Context(), newest); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Client().Defragment(t.Context(), e.Addr()); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Client().AlarmDisarm(t.Context(), &clientv3.AlarmMember{}); err != nil {
		t.Fatal(err)
	}
	saved, err := c.SetRate(t.Context(), "h", "/var/log/a.log", 1, 2, change.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the change", func() bool { return r.runs(0, saved) })
	want := a.options().Status().Documents[0].Running
	eventually(t, "the newest status and a live key of the late one", func() bool {
		text, _ := get(t, e, c.layout.Status("h"))
		var status agent.Coarse
		l, _ := holder(t, e, c.layout.Live("other"))
		return unmarshal(text, &status) && status.Documents[0].Running == want && sameLive(l, b.live) && c.Link().Up && late.Link().Up
	})
}

func TestStatusThatIsTooLargeForEtcdIsSaidAndWrittenOnceItIsSmaller(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	var log safeBuffer
	c.log, c.link.log = logger(&log), logger(&log)
	a := newReporting("s1", 1)
	c.timing.fullRetry = 200 * time.Millisecond
	for _, bytes := range []int{1_600_000, 3_000_000} { // more than etcd takes, more than the library sends
		a.change(func(s *agent.Status) {
			s.Documents = []agent.DocumentStatus{{Key: strings.Repeat("x", bytes), Running: 1}}
		})
		stop := a.start(t, c)
		eventually(t, "words in the link", func() bool {
			return strings.Contains(c.Link().Error, "takes no request as large as this (its limit is 1.5 MiB unless set otherwise)")
		})
		a.change(func(s *agent.Status) { s.Documents = []agent.DocumentStatus{{Key: "/k", Running: 1}} })
		eventually(t, "a smaller one", func() bool {
			text, _ := get(t, shared, c.layout.Status("h"))
			return strings.Contains(text, `"/k"`) && c.Link().Up
		})
		stop()
		remove(t, shared, c.layout.Status("h"))
	}
	if n := strings.Count(log.String(), "level=WARN"); n > 4 {
		t.Errorf("want each said once, got\n%s", &log)
	}
}

func TestRetriesWaitTwoSecondsAtMostUnlessEtcdIsFull(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	for err, want := range map[error]time.Duration{
		rpctypes.ErrNoLeader: 2 * time.Second, rpctypes.ErrPermissionDenied: 2 * time.Second,
		rpctypes.ErrNoSpace: 30 * time.Second, rpctypes.ErrRequestTooLarge: 30 * time.Second,
	} {
		wait := firstBackoff
		for range 100 {
			wait = c.longer(wait, c.explain("a test", err, nil, nil))
		}
		if wait != want {
			t.Errorf("after %v: want a wait of %v in the end, got %v", err, want, wait)
		}
	}
}
