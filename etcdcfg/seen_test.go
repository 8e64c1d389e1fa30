package etcdcfg

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"logagent/agent"
	"logagent/etcdcfg/change"
	"logagent/internal/lab"
)

// seenAs is the seen key of a host: its value, its lease and how often it was put.
func seenAs(t *testing.T, c *Client, host string) (value string, lease clientv3.LeaseID, version int64) {
	t.Helper()
	r, err := shared.Client().Get(t.Context(), c.layout.Seen(host))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Kvs) == 0 {
		return "", 0, 0
	}
	return string(r.Kvs[0].Value), clientv3.LeaseID(r.Kvs[0].Lease), r.Kvs[0].Version
}

func TestSeenKeyOutlivesTheAgentAndIsTakenUpByTheNext(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	c.timing.statusEvery = 2 * time.Second // where the first status came before the key
	a := newReporting("s1", 1)
	a.live.Groups = []string{"web"}
	var lease clientv3.LeaseID
	for boot := uint64(1); boot <= 3; boot++ {
		a.live.Boot = boot
		stop := a.start(t, c)
		var value string
		var version int64
		eventually(t, "seen key", func() bool { value, lease, version = seenAs(t, c, "h"); return lease != 0 })
		if value != `{"version":"1.4.0","groups":["web"]}` || version != 1 {
			t.Errorf("boot %d: want it put once, got %d times, %s", boot, version, value)
		}
		eventually(t, "a status that tells of it", func() bool {
			s, _ := get(t, shared, c.layout.Status("h"))
			return strings.Contains(s, fmt.Sprintf(`"boot":%d`, a.status.Boot)) && strings.Contains(s, `"seen":true`)
		})
		stop()
		if _, again, _ := seenAs(t, c, "h"); again != lease {
			t.Fatalf("boot %d: want it to stay under its lease %d, got %d", boot, lease, again)
		}
	}
	ttl, err := shared.Client().TimeToLive(t.Context(), lease)
	if err != nil || ttl.GrantedTTL < 7*24*3600 || ttl.TTL < ttl.GrantedTTL-60 {
		t.Errorf("want a week and more, just renewed, got %+v, %v", ttl, err)
	}
	// A version of its own is put once more, under the same lease.
	a.live.Version = "1.5.0"
	a.start(t, c)
	eventually(t, "the new version", func() bool {
		value, again, version := seenAs(t, c, "h")
		return strings.Contains(value, "1.5.0") && again == lease && version == 2
	})
}

func TestSeenKeyIsRenewedWithoutAWriteAndPutAgainWhereItIsLost(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	s := &seenKey{c: c, live: agent.Live{Host: "h", Version: "1"}}
	renew := func() (lease clientv3.LeaseID, version, revision int64) {
		t.Helper()
		if err := s.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, revision = get(t, shared, c.layout.Seen("h"))
		_, lease, version = seenAs(t, c, "h")
		return lease, version, revision
	}
	first, _, put1 := renew()
	if lease, version, put2 := renew(); lease != first || version != 1 || put2 != put1 {
		t.Errorf("want nothing written by a renewal, got version %d", version)
	}
	if _, err := shared.Client().Revoke(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	second, _, _ := renew()
	if second == first || second == 0 {
		t.Errorf("want another lease, got %d after %d", second, first)
	}
	remove(t, shared, c.layout.Seen("h"))
	if third, _, _ := renew(); third == 0 {
		t.Error("want the key put again")
	}
	put(t, shared, c.layout.Seen("h"), `{"version":"1"}`) // by hand, without a lease
	if fourth, _, _ := renew(); fourth == 0 {
		t.Error("want the key under a lease again")
	}
}

// troubledEtcd holds one seen key, and does not get leases renewed or keys put.
type troubledEtcd struct {
	pb.UnimplementedKVServer
	pb.UnimplementedLeaseServer
	found          atomic.Pointer[mvccpb.KeyValue]
	granted, tried atomic.Int64
}

func (e *troubledEtcd) Range(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error) {
	r := &pb.RangeResponse{Header: &pb.ResponseHeader{Revision: 7}}
	if kv := e.found.Load(); kv != nil {
		r.Kvs = []*mvccpb.KeyValue{kv}
	}
	return r, nil
}

func (e *troubledEtcd) LeaseKeepAlive(pb.Lease_LeaseKeepAliveServer) error {
	e.tried.Add(1)
	return rpctypes.ErrGRPCRequestTooManyRequests
}

func (e *troubledEtcd) LeaseGrant(context.Context, *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	return &pb.LeaseGrantResponse{ID: e.granted.Add(1), TTL: 1000}, nil
}

func (e *troubledEtcd) Put(context.Context, *pb.PutRequest) (*pb.PutResponse, error) {
	e.tried.Add(1)
	return nil, rpctypes.ErrGRPCNoSpace
}

func TestEtcdInTroubleIsNotGivenALeaseForEachTry(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e, server := &troubledEtcd{}, grpc.NewServer()
	pb.RegisterKVServer(server, e)
	pb.RegisterLeaseServer(server, e)
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(ln) }) // ends with Stop
	t.Cleanup(func() { server.Stop(); wg.Wait() })
	c := newClient(t, ln.Addr().String())
	s := &seenKey{c: c, live: agent.Live{Host: "h", Version: "1"}}
	try := func(what string, leases int64) {
		t.Helper()
		for range 3 {
			before := e.tried.Load()
			if err := s.renew(t.Context()); err == nil || e.tried.Load() == before {
				t.Errorf("%s: want it tried and failed, got %v", what, err)
			}
		}
		if n := e.granted.Load(); n != leases {
			t.Errorf("%s: want leases %d after three tries, got %d", what, leases, n)
		}
	}
	e.found.Store(&mvccpb.KeyValue{Key: []byte(c.layout.Seen("h")), Value: []byte(`{"version":"1"}`), Lease: 99})
	try("a renewal that is not answered", 0)
	e.found.Store(nil)
	try("a key that can not be put", 1)
}

func TestConsoleIsToldHowLongHostsAreGone(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	const ttl = 9000
	lease := func() clientv3.LeaseID {
		r, err := shared.Client().Grant(t.Context(), ttl)
		if err != nil {
			t.Fatal(err)
		}
		return r.ID
	}
	for _, host := range []string{"gone", "lives", "expired", "old", "back"} {
		put(t, shared, c.layout.Config(host), entry("s", 1))
	}
	put(t, shared, c.layout.Seen("gone"), "{}", clientv3.WithLease(lease()))
	put(t, shared, c.layout.Seen("lives"), "{}", clientv3.WithLease(lease()))
	put(t, shared, c.layout.Live("lives"), "{}")
	put(t, shared, c.layout.Status("expired"), `{"seen":true}`)
	put(t, shared, c.layout.Status("old"), `{}`)
	put(t, shared, c.layout.Config("zz"), entry("s", 1)) // asked for last
	put(t, shared, c.layout.Seen("zz"), "{}", clientv3.WithLease(lease()))
	f := watchFleet(t, c)
	eventually(t, "the last one", f.look(func() bool { _, ok := f.seen["zz"]; return ok }))
	f.look(func() bool {
		if got := slices.Sorted(maps.Keys(f.seen)); !slices.Equal(got, []string{"expired", "gone", "zz"}) {
			t.Errorf("want those of which something is known, and none that lives, got %v", got)
		}
		if d := f.seen["gone"]; d < 0 || d > time.Minute {
			t.Errorf("want the lease just renewed, got %v", d)
		}
		if d := f.seen["expired"]; d != seenTTL {
			t.Errorf("want one that ran out told with its whole length, got %v", d)
		}
		return true
	})()
}

func TestEtcdThatRefusesTheSeenKeyHoldsUpNothing(t *testing.T) {
	t.Parallel()
	e := ownEtcd(t, lab.EtcdOptions{Password: "secret"})
	root := "/" + t.Name()
	if err := lab.AddEtcdUser(t.Context(), e.Client(), "agent", agentPassword, root+"/", root+".live/", root+".status/", root+".groups/"); err != nil {
		t.Fatal(err)
	}
	var log safeBuffer
	c := newClient(t, e.Addr(), logTo(&log), func(o *Options) { o.User, o.Password = "agent", agentPassword })
	a := newReporting("s1", 1)
	a.start(t, c)
	f := watchFleet(t, c)
	put(t, e, c.layout.Config("gone"), entry("s", 1))
	eventually(t, "live key and status", f.look(func() bool {
		return f.live["h"].Host == "h" && f.coarse["h"].Host == "h" && f.docs["gone"].Revision != 0
	}))
	eventually(t, "the refusal in the log", func() bool { return strings.Contains(log.String(), "how long this host is gone will not be known") })
	f.look(func() bool {
		if f.coarse["h"].Seen || len(f.seen) > 0 {
			t.Errorf("want no seen key claimed, got %+v and %v", f.coarse["h"], f.seen)
		}
		return true
	})()
	if !c.Link().Up || strings.Contains(log.String(), "level=WARN") {
		t.Errorf("want nobody troubled, got %+v and\n%s", c.Link(), &log)
	}
}

func TestSurveyTellsAliveGoneAndNever(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	a := newReporting("s1", 1)
	a.live.Groups = []string{"web", "empty"}
	stop := a.start(t, c)
	eventually(t, "live and seen", func() bool {
		_, lease, _ := seenAs(t, c, "h")
		l, _ := holder(t, shared, c.layout.Live("h"))
		return lease != 0 && l.Host == "h"
	})
	own := put(t, shared, c.layout.Config("h"), entry("own", 1))
	web := put(t, shared, c.layout.Config("@web"), strings.TrimSuffix(entry("own", 2), "]")+","+strings.TrimPrefix(entry("web", 2), "["))
	put(t, shared, c.layout.Config("10.0.0.1"), entry("addr", 1))
	put(t, shared, c.layout.Config("never"), "null")
	a.change(func(s *agent.Status) {
		s.Documents = []agent.DocumentStatus{{Key: c.layout.Config("h"), Running: own}, {Key: c.layout.Config("10.0.0.1")}, {Key: c.layout.Config("@web"), Running: web}}
	})
	eventually(t, "the status", func() bool {
		s, _ := get(t, shared, c.layout.Status("h"))
		return strings.Contains(s, "10.0.0.1")
	})
	survey := func() map[string]Surveyed {
		t.Helper()
		list, err := c.Survey(t.Context(), func(string) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		out := make(map[string]Surveyed)
		for _, s := range list {
			out[s.Host] = s
		}
		return out
	}
	got := survey()
	if len(got) != 3 || got["10.0.0.1"].ServedBy != "h" {
		t.Errorf("want the host, its address, and the one that never was, without the group: %+v", got)
	}
	h := got["h"]
	if h.Live == nil || h.GoneLeast != 0 || h.Version != "1.4.0" || strings.Join(h.Groups, ",") != "web,empty" || strings.Join(h.Names, ",") != "h,10.0.0.1,@web" {
		t.Errorf("got %+v", h)
	}
	if es := h.Config.Effective(); len(es) != 3 || es[0].SendRate != 1 {
		t.Errorf("want three entries, the own one first, got %+v", es)
	}
	if n := got["never"]; !n.Never() || n.Config.Documents[0].Refused == nil || n.Held != -1 {
		t.Errorf("got %+v", n)
	}
	put(t, shared, c.layout.Config("broken"), "null")
	put(t, shared, c.layout.Status("broken"), fmt.Sprintf(`{"documents":[{"key":%q},{"key":%q}],"entries":[{"log_path":"/1"},{"log_path":"/2"},{"log_path":"/var/log/own.log","key":%[2]q}]}`,
		c.layout.Config("broken"), c.layout.Config("@web")))
	if b := survey()["broken"]; b.Held != 2 || len(b.Config.Effective()) != 2 {
		t.Errorf("want what runs of the broken document counted apart from the two of the group, got %d and %+v", b.Held, b.Config.Effective())
	}
	if h := survey()["h"]; h.Held != 0 {
		t.Errorf("want nothing held where no document is broken, got %d", h.Held)
	}
	stop()
	h = survey()["h"]
	if h.Live != nil || h.Never() && h.Coarse == nil || h.Version != "1.4.0" || strings.Join(h.Names, ",") != "h,10.0.0.1,@web" || h.GoneOver {
		t.Errorf("want a gone host to be known by what it left, got %+v", h)
	}
	remove(t, shared, c.layout.Seen("h"))
	if h = survey()["h"]; !h.GoneOver || h.GoneLeast != 7*24*time.Hour || strings.Join(h.Groups, ",") != "web" {
		t.Errorf("want one whose key ran out gone for more than a week, got %+v", h)
	}
}

func TestForgettingAHostTakesWhatIsLeftOfItAndKeepsItsHistory(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	keys := []string{c.layout.Config("h"), c.layout.Status("h"), c.layout.Seen("h"), c.layout.Watch("h"), c.layout.Ask("h", "1"), c.layout.Ask("h", "2"), c.layout.Seek("h", "1"), c.layout.Seek("h", "2")}
	for _, key := range keys {
		put(t, shared, key, entry("s", 1))
	}
	for _, key := range []string{c.layout.Config("h2"), c.layout.Status("h2"), c.layout.Ask("h2", "1"), c.layout.Seek("h2", "1"), c.layout.History("h", "0"), c.layout.Config("@h")} {
		put(t, shared, key, entry("s", 1))
	}
	_, base := get(t, shared, keys[0])
	meta := change.Meta{Who: change.Who{User: "alice", Host: "bastion"}, Note: "scrapped"}

	put(t, shared, c.layout.Live("h"), "{}")
	if err := c.Forget(t.Context(), "h", meta); err == nil || !strings.Contains(err.Error(), ErrLives.Error()) {
		t.Errorf("want a host with an agent refused, got %v", err)
	}
	for _, key := range keys {
		if _, revision := get(t, shared, key); revision == 0 {
			t.Fatalf("%s is gone with a refused forgetting", key)
		}
	}
	remove(t, shared, c.layout.Live("h"))
	if err := c.Forget(t.Context(), "h", meta); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if _, revision := get(t, shared, key); revision != 0 {
			t.Errorf("%s is still there", key)
		}
	}
	for _, key := range []string{c.layout.Config("h2"), c.layout.Status("h2"), c.layout.Ask("h2", "1"), c.layout.Seek("h2", "1"), c.layout.History("h", "0"), c.layout.Config("@h")} {
		if _, revision := get(t, shared, key); revision == 0 {
			t.Errorf("%s is none of its, and gone", key)
		}
	}
	r, err := shared.Client().Get(t.Context(), c.layout.histories("h"), clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(1))
	if err != nil {
		t.Fatal(err)
	}
	var record change.Record
	if err := json.Unmarshal(r.Kvs[0].Value, &record); err != nil {
		t.Fatal(err)
	}
	before, err := change.Unpack(record.Before)
	if err != nil || string(before) != entry("s", 1) || record.After != nil || record.Kind != change.KindForget || record.Who != meta.Who ||
		record.Note != "scrapped" || record.Name != "h" || record.Base != base || c.layout.History("h", record.ID) != string(r.Kvs[0].Key) {
		t.Errorf("got %+v, %s, %v", record, before, err)
	}
	if err := c.Forget(t.Context(), "h", meta); err == nil || !strings.Contains(err.Error(), ErrNothing.Error()) {
		t.Errorf("want nothing left to forget, got %v", err)
	}
	put(t, shared, c.layout.Seek("h", "3"), "{}")
	if err := c.Forget(t.Context(), "h", meta); err != nil {
		t.Errorf("a request to move positions is something to forget: %v", err)
	}
	put(t, shared, c.layout.Status("h"), "{}") // never had a document of its own
	if err := c.Forget(t.Context(), "h", meta); err != nil {
		t.Error(err)
	}
	if again, _ := shared.Client().Get(t.Context(), c.layout.histories("h"), clientv3.WithPrefix(), clientv3.WithCountOnly()); again.Count != 2 {
		t.Errorf("want no record where there was no document, got %d", again.Count)
	}
}

func TestForgettingGoesOnTopOfADocumentChangedMeanwhile(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	put(t, shared, c.layout.Config("h"), entry("s", 1))
	was, err := c.look(t.Context(), "h", "")
	if err != nil {
		t.Fatal(err)
	}
	put(t, shared, c.layout.Config("h"), entry("s", 2))
	if again, err := c.forget(t.Context(), "h", was, change.Meta{}); err != nil || !again {
		t.Fatalf("want another try, got %v, %v", again, err)
	}
	if err := c.Forget(t.Context(), "h", change.Meta{}); err != nil {
		t.Fatal(err)
	}
	if _, revision := get(t, shared, c.layout.Config("h")); revision != 0 {
		t.Error("the document is still there")
	}
}
