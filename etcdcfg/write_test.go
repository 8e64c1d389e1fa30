package etcdcfg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"logagent/agent"
	"logagent/etcdcfg/change"
)

func TestDocumentIsSavedOnlyOnTheRevisionItWasReadAt(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	if raw, revision, err := c.Get(t.Context(), "h"); raw != nil || revision != 0 || err != nil {
		t.Fatalf("want nothing, got %s, %d, %v", raw, revision, err)
	}
	first, err := c.Save(t.Context(), "h", []byte(entry("a", 1)), 0, change.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	var changed *ChangedError
	if _, err := c.Save(t.Context(), "h", []byte(entry("b", 1)), 0, change.Meta{}); !errors.As(err, &changed) || changed.Revision != first || string(changed.Raw) != entry("a", 1) {
		t.Fatalf("want a ChangedError with theirs, got %v", err)
	}
	second, err := c.Save(t.Context(), "h", []byte(entry("a", 2)), first, change.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	if raw, revision, err := c.Get(t.Context(), "h"); string(raw) != entry("a", 2) || revision != second || err != nil {
		t.Fatalf("got %s, %d, %v", raw, revision, err)
	}
	remove(t, shared, c.layout.Config("h"))
	if _, err := c.Save(t.Context(), "h", []byte(entry("a", 3)), second, change.Meta{}); !errors.As(err, &changed) || changed.Revision != 0 ||
		!strings.Contains(err.Error(), "was deleted by somebody else") {
		t.Fatalf("want a ChangedError saying deleted, got %v", err)
	}
}

func TestInvalidDocumentIsNotSaved(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	for _, raw := range []string{"", "null", "{}", `[{"service":"s"}]`} {
		if _, err := c.Save(t.Context(), "h", []byte(raw), 0, change.Meta{}); err == nil || !strings.Contains(err.Error(), "document of h not saved") {
			t.Errorf("%s: want a refusal, got %v", raw, err)
		}
	}
	if _, revision, _ := c.Get(t.Context(), "h"); revision != 0 {
		t.Fatal("something was saved")
	}
}

func TestRateIsSavedWithEverythingElseByteForByte(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	const before = "[ {\"future\": {\"b\":1,\"a\":2.50},\n  \"send_rate\": 5000 , \"topic\":\"t\",\"log_path\":\"/p\",\"service\":\"s\"} ]\n"
	put(t, shared, c.layout.Config("h"), before)
	revision, err := c.SetRate(t.Context(), "h", "/p", 5000, 8500, change.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	got, at := get(t, shared, c.layout.Config("h"))
	if want := strings.Replace(before, "5000", "8500", 1); got != want || at != revision {
		t.Fatalf("want %s@%d\n got %s@%d", want, revision, got, at)
	}
	if again, err := c.SetRate(t.Context(), "h", "/p", 8500, 8500, change.Meta{}); err != nil || again != revision {
		t.Fatalf("want no write for no change, got %d, %v", again, err)
	}
}

func TestRateChangedBySomebodyElseIsAConflict(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	var conflict *agent.ConflictError
	if _, err := c.SetRate(t.Context(), "h", "/var/log/a.log", 1, 2, change.Meta{}); !errors.As(err, &conflict) || conflict.Theirs != nil {
		t.Fatalf("no document: want a conflict, got %v", err)
	}
	put(t, shared, c.layout.Config("h"), entry("a", 7))
	if _, err := c.SetRate(t.Context(), "h", "/var/log/a.log", 1, 2, change.Meta{}); !errors.As(err, &conflict) || conflict.Theirs == nil || conflict.Theirs.SendRate != 7 {
		t.Fatalf("want a conflict with theirs, got %v", err)
	}
	if _, err := c.SetRate(t.Context(), "h", "/var/log/b.log", 1, 2, change.Meta{}); !errors.As(err, &conflict) || conflict.Theirs != nil {
		t.Fatalf("entry gone: want a conflict, got %v", err)
	}
	put(t, shared, c.layout.Config("h"), "[")
	if _, err := c.SetRate(t.Context(), "h", "/var/log/a.log", 7, 2, change.Meta{}); err == nil || errors.As(err, &conflict) || !strings.Contains(err.Error(), "broken in etcd") {
		t.Fatalf("broken document: want it said, got %v", err)
	}
	put(t, shared, c.layout.Config("h"), entry("a", 7))
	if _, err := c.SetRate(t.Context(), "h", "/var/log/a.log", 7, -1, change.Meta{}); err == nil || !strings.Contains(err.Error(), "send_rate: -1") {
		t.Fatalf("bad rate: want a refusal, got %v", err)
	}
}

func TestEditorsOfDifferentEntriesAllSucceed(t *testing.T) {
	t.Parallel()
	const editors, steps = 4, 10
	var entries []string
	for i := range editors {
		entries = append(entries, strings.Trim(entry(fmt.Sprint(i), 0), "[]"))
	}
	setup := newClient(t, shared.Addr())
	put(t, shared, setup.layout.Config("h"), "["+strings.Join(entries, ",\n")+"]")

	var wg sync.WaitGroup
	for i := range editors {
		c := newClient(t, shared.Addr())
		wg.Go(func() {
			for rate := range int64(steps) {
				if _, err := c.SetRate(t.Context(), "h", fmt.Sprintf("/var/log/%d.log", i), rate, rate+1, change.Meta{}); err != nil {
					t.Errorf("editor %d at %d: %v", i, rate, err)
					return
				}
			}
		})
	}
	wg.Wait()
	raw, _ := get(t, shared, setup.layout.Config("h"))
	services, _, err := agent.ParseDocument([]byte(raw))
	if err != nil || len(services) != editors {
		t.Fatalf("%s: %v", raw, err)
	}
	for _, s := range services {
		if s.SendRate != steps {
			t.Errorf("%s: want rate %d, got %d", s.LogPath, steps, s.SendRate)
		}
	}
}

func TestOfTwoEditorsOfOneEntryTheSecondHearsOfTheFirst(t *testing.T) {
	t.Parallel()
	setup := newClient(t, shared.Addr())
	put(t, shared, setup.layout.Config("h"), entry("a", 1))
	results := make(chan error, 2)
	for i := range 2 {
		c := newClient(t, shared.Addr())
		go func() {
			_, err := c.SetRate(t.Context(), "h", "/var/log/a.log", 1, int64(10+i), change.Meta{})
			results <- err
		}()
	}
	var conflict *agent.ConflictError
	a, b := <-results, <-results
	if a != nil {
		a, b = b, a
	}
	if a != nil || !errors.As(b, &conflict) || conflict.Theirs.SendRate < 10 {
		t.Fatalf("want one success and one conflict with theirs, got %v and %v", a, b)
	}
}

func TestHostsAreThoseWithADocumentOrALiveAgent(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	for _, key := range []string{c.layout.Config("b"), c.layout.Config("a"), c.layout.Live("c"), c.layout.Live("a"),
		c.layout.second("d", "1"), c.layout.Status("e"), c.layout.Root() + "/x/other"} {
		put(t, shared, key, "{}")
	}
	got, err := c.Hosts(t.Context())
	if err != nil || strings.Join(got, " ") != "a b c" {
		t.Fatalf("want a b c, got %v, %v", got, err)
	}
}

// lossy is etcd's key-value service where the answers to some writes are lost after the
// write was done, or the request before it.
type lossy struct {
	clientv3.KV
	loseAnswers, loseRequests int
}

func (l *lossy) Txn(ctx context.Context) clientv3.Txn { return &lossyTxn{Txn: l.KV.Txn(ctx), l: l} }

type lossyTxn struct {
	clientv3.Txn
	l      *lossy
	writes bool
}

func (t *lossyTxn) If(cs ...clientv3.Cmp) clientv3.Txn { t.Txn = t.Txn.If(cs...); return t }
func (t *lossyTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	t.Txn = t.Txn.Then(ops...)
	t.writes = slices.ContainsFunc(ops, func(o clientv3.Op) bool { return !o.IsGet() })
	return t
}
func (t *lossyTxn) Else(ops ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(ops...); return t }

func (t *lossyTxn) Commit() (*clientv3.TxnResponse, error) {
	if !t.writes {
		return t.Txn.Commit()
	}
	lost := status.Error(codes.Unavailable, "transport is closing")
	if t.l.loseRequests > 0 {
		t.l.loseRequests--
		return nil, lost
	}
	r, err := t.Txn.Commit()
	if t.l.loseAnswers > 0 {
		t.l.loseAnswers--
		return nil, lost
	}
	return r, err
}

func TestDocumentWhoseAnswerWasLostIsSavedOnceAndSaidWhereThatIsNotKnown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name              string
		answers, requests int
		saved             bool
	}{{"answer lost", 1, 0, true}, {"request lost", 0, 1, false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, shared.Addr())
			base := put(t, shared, client.layout.Config("h"), entry("a", 1))
			if _, _, err := client.Get(t.Context(), "h"); err != nil {
				t.Fatal(err)
			}
			client.etcd.KV = &lossy{client.etcd.KV, c.answers, c.requests}
			revision, err := client.Save(t.Context(), "h", []byte(entry("a", 2)), base, change.Meta{})
			raw, at := get(t, shared, client.layout.Config("h"))
			if c.saved && (err != nil || revision != at || raw != entry("a", 2)) {
				t.Errorf("got %d, %v; etcd has %s@%d", revision, err, raw, at)
			}
			if !c.saved && (err == nil || !strings.Contains(err.Error(), "not known whether it was saved") || at != base) {
				t.Errorf("want it said, got %v and %s@%d", err, raw, at)
			}
			if _, err := client.Save(t.Context(), "h", []byte(entry("a", 3)), base-1, change.Meta{}); err == nil || strings.Contains(err.Error(), "not known") {
				t.Errorf("another document on an older base: want it said that somebody changed it, got %v", err)
			}
			// Whoever saves the same once more on the old base has what he wants.
			again, err := client.Save(t.Context(), "h", []byte(entry("a", 2)), base, change.Meta{})
			if raw, at := get(t, shared, client.layout.Config("h")); err != nil || again != at || raw != entry("a", 2) {
				t.Errorf("once more: got %d, %v; etcd has %s@%d", again, err, raw, at)
			}
		})
	}
}

func TestRateWhoseAnswerWasLostIsSavedOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name              string
		answers, requests int
		saved             bool
	}{{"answer lost", 1, 0, true}, {"request lost", 0, 1, true}, {"both requests lost", 0, 2, false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, shared.Addr())
			before := put(t, shared, client.layout.Config("h"), entry("a", 1))
			if _, _, err := client.Get(t.Context(), "h"); err != nil {
				t.Fatal(err)
			}
			client.etcd.KV = &lossy{client.etcd.KV, c.answers, c.requests}
			revision, err := client.SetRate(t.Context(), "h", "/var/log/a.log", 1, 2, change.Meta{})
			raw, at := get(t, shared, client.layout.Config("h"))
			if !c.saved {
				if err == nil || !strings.Contains(err.Error(), "not known whether the rate of /var/log/a.log was saved") || at != before {
					t.Fatalf("want it said, got %v and revision %d", err, at)
				}
				return
			}
			if err != nil || revision != at || raw != entry("a", 2) {
				t.Fatalf("got %d, %v; etcd has %s@%d", revision, err, raw, at)
			}
		})
	}
}
