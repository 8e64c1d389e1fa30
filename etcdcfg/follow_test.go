package etcdcfg

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/agent"
)

func (r *recorder) options(dir string, hosts ...string) FollowOptions {
	return FollowOptions{Hosts: hosts, CacheDir: dir, Apply: r.apply}
}

func following(t *testing.T, c *Client, o FollowOptions) (stop func()) {
	t.Helper()
	return start(t, func(ctx context.Context) error { return c.Follow(ctx, o) })
}

func TestChangeInEtcdIsAppliedAtOnce(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	key := c.layout.Config("h")
	first := put(t, shared, key, entry("a", 1))
	var r recorder
	following(t, c, r.options("", "h"))
	eventually(t, "first document", func() bool { return r.runs(0, first) })
	if got := r.last(); got.Host != "h" || got.Documents[0].Key != key || got.Documents[0].Services[0].Key != key || got.Documents[0].FromCache {
		t.Fatalf("got %+v", got)
	}
	changed := time.Now()
	second := put(t, shared, key, entry("a", 2))
	eventually(t, "changed document", func() bool { return r.runs(0, second) })
	if took := time.Since(changed); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
	if rate := r.last().Documents[0].Services[0].SendRate; rate != 2 {
		t.Errorf("want rate 2, got %d", rate)
	}
	if !c.Link().Up {
		t.Errorf("want the link up, got %+v", c.Link())
	}
}

func TestDeletedKeyAbsentKeyAndEmptyArrayMeanNoEntries(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	key := c.layout.Config("h")
	var r recorder
	following(t, c, r.options("", "h"))
	eventually(t, "absent key", func() bool { return r.runs(0, 0) })
	one := put(t, shared, key, entry("a", 1))
	eventually(t, "document", func() bool { return r.runs(0, one) })
	remove(t, shared, key)
	eventually(t, "deleted key", func() bool { return r.runs(0, 0) && len(r.effective()) == 0 })
	two := put(t, shared, key, entry("a", 1))
	eventually(t, "document again", func() bool { return r.runs(0, two) })
	none := put(t, shared, key, "[]")
	eventually(t, "empty array", func() bool { return r.runs(0, none) && len(r.effective()) == 0 })
}

func TestBrokenDocumentLeavesTheRunningOneInForce(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	key := c.layout.Config("h")
	good := put(t, shared, key, entry("a", 1))
	var r recorder
	following(t, c, r.options("", "h"))
	eventually(t, "good document", func() bool { return r.runs(0, good) })
	for _, broken := range []string{"", "null", "{", `[{"service":"a"}]`} {
		bad := put(t, shared, key, broken)
		eventually(t, "refusal of "+broken, func() bool { return r.refuses(0, bad) })
		d := r.last().Documents[0]
		if d.Revision != good || len(d.Services) != 1 || d.Refused.Error == "" {
			t.Fatalf("%q: want revision %d in force and a reason, got %+v", broken, good, d)
		}
	}
	if reason := r.last().Documents[0].Refused.Error; !strings.Contains(reason, "entry 1 (a): log_path") || !strings.Contains(reason, "topic") {
		t.Errorf("want every problem named, got %s", reason)
	}
	mended := put(t, shared, key, entry("a", 2))
	eventually(t, "mended document", func() bool { return r.runs(0, mended) })
}

func TestDocumentsOfAllItsKeysAreFollowedTogether(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	id := put(t, shared, c.layout.Config("h"), entry("a", 1))
	address := put(t, shared, c.layout.Config("10.0.0.1"), entry("a", 99))
	var r recorder
	following(t, c, r.options("", "h", "10.0.0.1", "10.0.0.2", "h"))
	eventually(t, "both documents", func() bool { return r.runs(0, id) && r.runs(1, address) && r.runs(2, 0) })
	got := r.last()
	if len(got.Documents) != 3 {
		t.Fatalf("want a key once, got %+v", got.Documents)
	}
	if e := r.effective(); len(e) != 1 || e[0].SendRate != 1 || e[0].Key != c.layout.Config("h") {
		t.Fatalf("want the host name's entry to win, got %+v", e)
	}
	bad := put(t, shared, c.layout.Config("10.0.0.1"), "null")
	eventually(t, "refusal for its own key alone", func() bool { return r.refuses(1, bad) && r.runs(0, id) })
	other := put(t, shared, c.layout.Config("10.0.0.2"), entry("b", 1))
	eventually(t, "another key", func() bool { return r.runs(2, other) && len(r.effective()) == 2 })
}

func TestSlowApplyIsGivenTheNewestAndNeverCalledTwiceAtOnce(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	hold := make(chan struct{})
	r := recorder{hold: hold}
	key := c.layout.Config("h")
	f := &follower{
		c: c, o: r.options("", "h"), keys: []string{key}, docs: []followed{{doc: agent.Document{Key: key}}},
		cache: openCache("", c.log), synced: true, dirty: make(chan struct{}, 1),
	}
	start(t, func(ctx context.Context) error { f.applyAll(ctx); return nil })
	for revision := range int64(31) {
		f.event(&clientv3.Event{Type: clientv3.EventTypePut, Kv: &mvccpb.KeyValue{
			Key: []byte(key), Value: []byte(entry("a", revision)), ModRevision: revision + 1,
		}})
		eventually(t, "first Apply", func() bool { return r.count() == 1 })
	}
	close(hold)
	eventually(t, "newest document", func() bool { return r.runs(0, 31) })
	if n := r.count(); n != 2 || r.overlap {
		t.Fatalf("want two calls and none at once for 31 changes, got %d, overlap %v", n, r.overlap)
	}
}

func TestFailedApplyIsTriedAgain(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	put(t, shared, c.layout.Config("h"), entry("a", 0))
	r := recorder{fail: 1}
	following(t, c, r.options("", "h"))
	eventually(t, "second try", func() bool { return r.count() == 2 })
}

func TestFollowRefusesWrongOptionsAtOnce(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	var r recorder
	if err := c.Follow(t.Context(), r.options("")); err == nil {
		t.Error("no host: want an error")
	}
	if err := c.Follow(t.Context(), r.options("", "a/b", "")); err == nil || !strings.Contains(err.Error(), "slash") || !strings.Contains(err.Error(), "empty") {
		t.Errorf("bad hosts: want both named, got %v", err)
	}
}

func TestAgentStartedWithoutEtcdWorksFromItsCacheAndFollowsEtcdOnceItIsThere(t *testing.T) {
	t.Parallel()
	e, dir := ownEtcd(t), t.TempDir()
	c := newClient(t, e.Addr())
	key := c.layout.Config("h")
	good := put(t, e, key, entry("a", 1))
	var before recorder
	stop := following(t, c, before.options(dir, "h"))
	eventually(t, "first run", func() bool { return before.runs(0, good) })
	stop()
	e.Stop()

	c = newClient(t, e.Addr())
	var r recorder
	following(t, c, r.options(dir, "h"))
	eventually(t, "config from the cache", func() bool { return r.runs(0, good) })
	if d := r.last().Documents[0]; !d.FromCache || len(d.Services) != 1 || d.Services[0].Key != key {
		t.Fatalf("want the cached document, got %+v", d)
	}
	if l := c.Link(); l.Up || !strings.Contains(l.Error, "connection refused") {
		t.Errorf("want the link down with the reason, got %+v", l)
	}
	if err := e.Restart(); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	eventually(t, "etcd's own document", func() bool { return r.runs(0, good) && !r.last().Documents[0].FromCache })
	if took := time.Since(back); took > 5*time.Second {
		t.Errorf("followed %v after etcd was back", took)
	}
	next := put(t, e, key, entry("a", 2))
	eventually(t, "next document", func() bool { return r.runs(0, next) })
}

func TestEtcdThatAnswersFirstIsNotPrecededByTheCache(t *testing.T) {
	t.Parallel()
	c, dir := newClient(t, shared.Addr()), t.TempDir()
	key := c.layout.Config("h")
	old := entry("old", 1)
	openCache(dir, c.log).save([]cacheEntry{{Key: key, Revision: 3, Document: &old}})
	revision := put(t, shared, key, entry("new", 1))
	var r recorder
	following(t, c, r.options(dir, "h"))
	eventually(t, "document", func() bool { return r.runs(0, revision) })
	if r.count() != 1 {
		t.Fatalf("want one Apply, got %+v", r.configs)
	}
}

func TestDocumentRefusedAtStartLeavesTheCachedOneInForce(t *testing.T) {
	t.Parallel()
	c, dir := newClient(t, shared.Addr()), t.TempDir()
	key := c.layout.Config("h")
	good := entry("good", 1)
	openCache(dir, c.log).save([]cacheEntry{{Key: key, Revision: 3, Document: &good}})
	bad := put(t, shared, key, "null")
	var r recorder
	stop := following(t, c, r.options(dir, "h"))
	eventually(t, "refusal", func() bool { return r.refuses(0, bad) })
	if d := r.last().Documents[0]; d.Revision != 3 || len(d.Services) != 1 || d.Services[0].Service != "good" {
		t.Fatalf("want the cached document in force, got %+v", d)
	}
	stop()
	if e := openCache(dir, c.log).load(); len(e) != 1 || e[0].Revision != 3 || *e[0].Document != good {
		t.Fatalf("want the good document still cached, got %+v", e)
	}
}

func TestEtcdAwayAndBackWhileRunningMissesNothing(t *testing.T) {
	t.Parallel()
	e := ownEtcd(t)
	c := newClient(t, e.Addr())
	key := c.layout.Config("h")
	first := put(t, e, key, entry("a", 1))
	var r recorder
	following(t, c, r.options("", "h"))
	eventually(t, "first document", func() bool { return r.runs(0, first) })
	eventually(t, "link up", func() bool { return c.Link().Up })

	e.Stop()
	gone := time.Now()
	eventually(t, "link down", func() bool { return !c.Link().Up })
	if took := time.Since(gone); took > 3*time.Second {
		t.Errorf("link down only after %v", took)
	}
	if d := r.last().Documents[0]; d.Revision != first || d.FromCache {
		t.Errorf("want the running document to stay, got %+v", d)
	}
	if err := e.Restart(); err != nil {
		t.Fatal(err)
	}
	// Changed and compacted before the follower is back, as far as it is not back yet.
	second := put(t, e, key, entry("a", 2))
	third := put(t, e, key, entry("a", 3))
	if _, err := e.Client().Compact(t.Context(), third); err != nil {
		t.Fatal(err)
	}
	eventually(t, "newest document", func() bool { return r.runs(0, third) })
	eventually(t, "link up again", func() bool { return c.Link().Up })
	if second == third {
		t.Fatal("one revision for two changes")
	}
}

func TestRestoredEtcdWithLowerRevisionsIsFollowed(t *testing.T) {
	t.Parallel()
	e, dir := ownEtcd(t), t.TempDir()
	c := newClient(t, e.Addr())
	key := c.layout.Config("h")
	for i := range int64(20) {
		put(t, e, "/other", entry("x", i))
	}
	high := put(t, e, key, entry("a", 1))
	var r recorder
	following(t, c, r.options(dir, "h"))
	eventually(t, "document", func() bool { return r.runs(0, high) })

	if err := e.RestartEmpty(); err != nil {
		t.Fatal(err)
	}
	low := put(t, e, key, entry("a", 2))
	if low >= high {
		t.Fatalf("want a lower revision, got %d after %d", low, high)
	}
	eventually(t, "document of the restored etcd", func() bool { return r.runs(0, low) })
	lower := put(t, e, key, entry("a", 3))
	eventually(t, "live change below the old revision", func() bool { return r.runs(0, lower) })
}

func TestSameRevisionWithAnotherValueIsAChange(t *testing.T) {
	t.Parallel()
	e := ownEtcd(t)
	c := newClient(t, e.Addr())
	key := c.layout.Config("h")
	before := put(t, e, key, entry("a", 1))
	var r recorder
	following(t, c, r.options("", "h"))
	eventually(t, "document", func() bool { return r.runs(0, before) })
	if err := e.RestartEmpty(); err != nil {
		t.Fatal(err)
	}
	after := put(t, e, key, entry("b", 1))
	if after != before {
		t.Fatalf("this test wants equal revisions, got %d and %d", before, after)
	}
	eventually(t, "the other document", func() bool {
		d := r.last().Documents
		return len(d) == 1 && len(d[0].Services) == 1 && d[0].Services[0].Service == "b"
	})
}

func TestWatchOnACompactedRevisionReadsAgain(t *testing.T) {
	t.Parallel()
	e := ownEtcd(t)
	c := newClient(t, e.Addr())
	old := put(t, e, "/k", "1")
	put(t, e, "/k", "2")
	newest := put(t, e, "/k", "3")
	if _, err := e.Client().Compact(t.Context(), newest); err != nil {
		t.Fatal(err)
	}
	loads := 0
	var seen []string
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := c.follow(ctx, feed{
		what: "a test", targets: []target{{key: "/k"}}, every: time.Hour,
		load: func(context.Context) (int64, error) {
			loads++
			if loads == 1 {
				return old, nil // what a read before the compaction would have returned
			}
			put(t, e, "/k", "4")
			return newest, nil
		},
		event: func(e *clientv3.Event) {
			seen = append(seen, string(e.Kv.Value))
			cancel()
		},
	})
	if err != nil || loads != 2 || len(seen) != 1 || seen[0] != "4" {
		t.Fatalf("want a second read and the change after it, got %d reads, %q, %v", loads, seen, err)
	}
}

func TestClosedWatchReadsAgain(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	key := c.layout.Config("h")
	var r recorder
	following(t, c, r.options("", "h"))
	eventually(t, "link up", func() bool { return r.count() > 0 })
	// A change that came through the watch proves that there is one.
	first := put(t, shared, key, entry("a", 1))
	eventually(t, "live change", func() bool { return r.runs(0, first) })
	watcher := c.etcd.Watcher
	c.etcd.Watcher = clientv3.NewWatcher(c.etcd)
	if err := watcher.Close(); err != nil {
		t.Fatal(err)
	}
	second := put(t, shared, key, entry("a", 2))
	eventually(t, "change after the watch was closed", func() bool { return r.runs(0, second) })
	third := put(t, shared, key, entry("a", 3))
	eventually(t, "live change after that", func() bool { return r.runs(0, third) })
}

func TestDocumentsOfGroupsComeAfterTheHostsOwnInTheOrderOfTheGroups(t *testing.T) {
	t.Parallel()
	c, dir := newClient(t, shared.Addr()), t.TempDir()
	pair := func(a, b int64) string {
		return strings.TrimSuffix(entry("a", a), "]") + "," + strings.TrimPrefix(entry("b", b), "[")
	}
	web := put(t, shared, c.layout.Config("@web"), pair(2, 2))
	fra := put(t, shared, c.layout.Config("@fra"), strings.TrimSuffix(pair(3, 3), "]")+","+strings.TrimPrefix(entry("c", 3), "["))
	if got := c.layout.Config("@web"); got != c.layout.Root()+".groups/web" {
		t.Errorf("the key of a group is %s", got)
	}
	var r recorder
	o := r.options(dir, "h", "10.0.0.1")
	o.Groups = []string{"web", "fra"}
	stop := following(t, c, o)
	eventually(t, "a host of groups alone", func() bool { return r.runs(2, web) && r.runs(3, fra) })
	is := func(what string, want ...string) {
		t.Helper()
		eventually(t, what+": "+strings.Join(want, " "), func() bool {
			var got []string
			for _, e := range r.effective() {
				name, _ := c.layout.NameOf(e.Key)
				got = append(got, fmt.Sprintf("%s=%d@%s", e.Service, e.SendRate, strings.TrimPrefix(name, "@")))
			}
			return slices.Equal(got, want)
		})
	}
	is("the first group wins", "a=2@web", "b=2@web", "c=3@fra")
	put(t, shared, c.layout.Config("10.0.0.1"), entry("b", 5))
	put(t, shared, c.layout.Config("h"), entry("a", 1))
	is("the host and its address win", "a=1@h", "b=5@10.0.0.1", "c=3@fra")

	// A broken document is refused for its own key alone, also across a restart.
	remove(t, shared, c.layout.Config("h"))
	is("without the host's own", "b=5@10.0.0.1", "a=2@web", "c=3@fra")
	bad := put(t, shared, c.layout.Config("@web"), "null")
	eventually(t, "refusal for its own key alone", func() bool { return r.refuses(2, bad) && r.runs(3, fra) })
	is("what ran before the refusal", "b=5@10.0.0.1", "a=2@web", "c=3@fra")
	stop()
	stop = following(t, c, o)
	eventually(t, "refusal after a restart", func() bool { return r.refuses(2, bad) && r.runs(3, fra) })
	is("what ran before the restart", "b=5@10.0.0.1", "a=2@web", "c=3@fra")
	remove(t, shared, c.layout.Config("@web"))
	is("without the group's key", "b=5@10.0.0.1", "a=3@fra", "c=3@fra")
	stop()

	// A host that left the group does without its entries.
	o.Groups = []string{"web"}
	following(t, c, o)
	is("out of the group", "b=5@10.0.0.1")
}

func TestAgentOfAGroupStartedWithoutEtcdWorksFromItsCache(t *testing.T) {
	t.Parallel()
	e, dir := ownEtcd(t), t.TempDir()
	c := newClient(t, e.Addr())
	good := put(t, e, c.layout.Config("@web"), entry("a", 1))
	var before recorder
	o := before.options(dir, "h")
	o.Groups = []string{"web"}
	stop := following(t, c, o)
	eventually(t, "first run", func() bool { return before.runs(1, good) })
	stop()
	e.Stop()

	c = newClient(t, e.Addr())
	var r recorder
	o.Apply = r.apply
	following(t, c, o)
	eventually(t, "config from the cache", func() bool { return r.runs(1, good) })
	if d := r.last().Documents[1]; !d.FromCache || len(r.effective()) != 1 || r.effective()[0].Key != c.layout.Config("@web") {
		t.Errorf("want the cached document of the group, got %+v", d)
	}
}

func TestChangeOfAGroupIsAppliedByEveryHostWithinASecond(t *testing.T) {
	t.Parallel()
	const hosts = 100
	clients := []*Client{newClient(t, shared.Addr()), newClient(t, shared.Addr()), newClient(t, shared.Addr())}
	key := clients[0].layout.Config("@web")
	first := put(t, shared, key, entry("a", 1))
	recorders := make([]recorder, hosts)
	for i := range recorders {
		o := recorders[i].options("", fmt.Sprint("h", i))
		o.Groups = []string{"web"}
		following(t, clients[i%len(clients)], o)
	}
	all := func(revision int64) func() bool {
		return func() bool {
			for i := range recorders {
				if !recorders[i].runs(1, revision) {
					return false
				}
			}
			return true
		}
	}
	eventually(t, "the first document everywhere", all(first))
	changed := time.Now()
	second := put(t, shared, key, entry("a", 2))
	eventually(t, "the change everywhere", all(second))
	took := time.Since(changed)
	t.Logf("%d hosts applied it within %v", hosts, took)
	if took > time.Second {
		t.Errorf("want a second at most, took %v", took)
	}
}

func TestFollowRefusesWrongGroups(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	var r recorder
	o := r.options("", "h")
	o.Groups = []string{"a/b", ""}
	if err := c.Follow(t.Context(), o); err == nil || strings.Count(err.Error(), "an example: @web") != 2 {
		t.Errorf("want both named, got %v", err)
	}
}
