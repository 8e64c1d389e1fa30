package store

import (
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"logagent/agent"
)

func TestNewerStatusWinsWhateverItsClockSays(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	s.SetSummary("a", summary("x", 2, 10, 100), 0)
	s.SetSummary("a", summary("x", 2, 9, 1), 0)   // an older sequence
	s.SetSummary("a", summary("x", 1, 999, 2), 0) // an older boot
	s.SetSummary("a", summary("x", 2, 10, 3), 0)  // the same again
	if got := one(t, s, "a").LagBytes; got != 100 {
		t.Errorf("want 100 from boot 2 sequence 10, got %d", got)
	}
	s.SetSummary("a", summary("x", 3, 1, 200), 0) // a later boot begins at 1
	if got := one(t, s, "a").LagBytes; got != 200 {
		t.Errorf("want 200 from boot 3, got %d", got)
	}
	s.SetSummary("a", summary("y", 1, 1, 300), 0) // another state: the one received last
	if got := one(t, s, "a").LagBytes; got != 300 {
		t.Errorf("want 300 from the other state, got %d", got)
	}
	s.SetDetail(agent.Status{Host: "a", StateID: "y", Boot: 1, Seq: 5, At: start(), Totals: agent.Totals{LagBytes: 400}}, 0)
	s.SetSummary("a", summary("y", 1, 4, 5), time.Second) // late, through Kafka
	if got := one(t, s, "a").LagBytes; got != 400 {
		t.Errorf("want 400 from the newer detail, got %d", got)
	}
	s.SetSummary("a", summary("y", 1, 6, 500), 0)
	if got := one(t, s, "a").LagBytes; got != 500 {
		t.Errorf("want 500 from the newer summary, got %d", got)
	}
}

func TestSilentHostBecomesStaleOnTheStoresOwnClock(t *testing.T) {
	t.Parallel()
	s, c := fresh(t)
	m := summary("x", 1, 1, 100)
	m.AtMS = start().Add(30 * time.Minute).UnixMilli() // a host whose clock is off
	s.SetLive("a", &agent.Live{Host: "a"})
	s.SetSummary("a", m, 0)
	c.at = c.at.Add(10 * time.Second)
	if r := one(t, s, "a"); r.Stale || r.Age != 10*time.Second || !strings.Contains(r.Problem, "clock is 30m00s ahead") {
		t.Errorf("want an age of 10 s, not stale, and the clock named, got %v %v %q", r.Age, r.Stale, r.Problem)
	}
	c.at = c.at.Add(32 * time.Second)
	r := one(t, s, "a")
	if !r.Stale || r.State != agent.StateUnknown || r.Age != 42*time.Second || !strings.Contains(r.Problem, "no status for 42 s") {
		t.Errorf("want stale after 42 s, got %+v", r)
	}
	s.SetLive("a", nil)
	if r := one(t, s, "a"); !strings.Contains(r.Problem, "agent is gone") {
		t.Errorf("want the agent gone with its live key, got %q", r.Problem)
	}
	s.SetSummary("a", summary("x", 1, 2, 100), 0)
	if r := one(t, s, "a"); r.Stale || r.State != agent.StateOK {
		t.Errorf("want it fine with the next status, got %+v", r)
	}
	s.SetSummary("b", summary("b", 1, 1, 0), 75*time.Second) // read from 75 s back
	if r := one(t, s, "b"); !r.Stale || r.Age != 75*time.Second {
		t.Errorf("want an old summary stale at once, got %v %v", r.Stale, r.Age)
	}
}

func TestConfigIsRunningPendingOrRefused(t *testing.T) {
	t.Parallel()
	s, c := fresh(t)
	doc := agent.Document{Key: "/logagent/a/logconfig", Revision: 7}
	s.SetDocument("a", doc)
	if r := one(t, s, "a"); r.Config != ConfigUnknown || r.Problem != "no agent has reported for this host" || r.State != agent.StateUnknown {
		t.Errorf("want a host with only a document, got %+v", r)
	}
	m := summary("x", 1, 1, 0)
	m.Running = 9 // greater than wanted, as after a restored etcd: not the same, so not applied
	s.SetSummary("a", m, 0)
	c.at = c.at.Add(6 * time.Second)
	if r := one(t, s, "a"); r.Config != ConfigPending || !strings.Contains(r.Problem, "has not applied rev 7 for 6 s") {
		t.Errorf("want pending with its time, got %v %q", r.Config, r.Problem)
	}
	m.Seq, m.Running, m.AtMS = 2, 7, c.at.UnixMilli()
	s.SetSummary("a", m, 0)
	if r := one(t, s, "a"); r.Config != ConfigRunning || r.Problem != "" {
		t.Errorf("want running, got %v %q", r.Config, r.Problem)
	}
	doc.Revision = 8
	s.SetDocument("a", doc)
	m.Seq, m.Refused = 3, 8
	s.SetSummary("a", m, 0)
	s.SetCoarse("a", &agent.Coarse{StateID: "x", Boot: 1, Seq: 3, Documents: []agent.DocumentStatus{{Key: doc.Key, Running: 7,
		Refused: &agent.Refusal{Revision: 8, Error: "entry 1: no topic"}}}})
	if r := one(t, s, "a"); r.Config != ConfigRefused || r.State != agent.StateFailing || r.Problem != "config rev 8 refused: entry 1: no topic" {
		t.Errorf("want refused with the reason, got %v %v %q", r.Config, r.State, r.Problem)
	}
	doc.Refused = &agent.Refusal{Revision: 11, Error: "not JSON"}
	s.SetDocument("b", doc)
	if r := one(t, s, "b"); r.Config != ConfigRefused || r.Desired != 11 || !strings.Contains(r.Problem, "not JSON") {
		t.Errorf("want a broken document seen by the console itself, got %+v", r)
	}
}

func TestAppliedIsEqualOrLaterWantedAndNeverGreater(t *testing.T) {
	t.Parallel()
	s, c := fresh(t)
	run := func(seq uint64, rev int64) {
		m := summary("x", 1, seq, 0)
		m.Running = rev
		s.SetSummary("a", m, 0)
	}
	want := func(rev int64, applied bool, why string) {
		t.Helper()
		if got := s.Progress("a", rev).Applied; got != applied {
			t.Errorf("%s: revision %d applied: want %v, got %v", why, rev, applied, got)
		}
	}
	set := func(rev int64) {
		s.SetDocument("a", agent.Document{Key: "/logagent/a/logconfig", Revision: rev})
	}
	want(10, false, "unknown host")
	set(50) // an etcd that was restored later goes on with smaller revisions
	run(1, 50)
	want(10, false, "a greater revision from before")
	set(10)
	want(10, false, "wanted only")
	c.at = c.at.Add(3 * time.Second)
	run(2, 10)
	want(10, true, "running")
	if got := s.Progress("a", 10).AppliedAt; !got.Equal(c.at) {
		t.Errorf("want the time it was first heard %v, got %v", c.at, got)
	}
	c.at = c.at.Add(3 * time.Second)
	run(3, 10)
	if got := s.Progress("a", 10).AppliedAt; !got.Equal(c.at.Add(-3 * time.Second)) {
		t.Errorf("want the first time to stay, got %v", got)
	}
	set(5)
	set(6)
	run(4, 6)
	want(5, true, "a later wanted one runs")
	want(50, true, "a later wanted one runs")
	want(7, false, "never seen")
}

func TestEntriesOfAnAddressBelongToTheHostThatFollowsThem(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	own, addr := "/logagent/web/logconfig", "/logagent/10.0.0.7/logconfig"
	s.SetDocument("web", agent.Document{Key: own, Revision: 1, Services: []agent.Service{{Service: "a", LogPath: "/a", SendRate: 1}}})
	s.SetDocument("10.0.0.7", agent.Document{Key: addr, Revision: 2, Services: []agent.Service{{Service: "x", LogPath: "/a", SendRate: 9}, {Service: "b", LogPath: "/b"}}})
	if got := hostNames(s.Fleet(Query{Count: 9})); len(got) != 2 {
		t.Errorf("want both while nobody follows the address, got %v", got)
	}
	s.SetCoarse("web", &agent.Coarse{StateID: "x", Boot: 1, Seq: 1, Documents: []agent.DocumentStatus{{Key: own, Running: 1}, {Key: addr, Running: 2}}})
	if got := hostNames(s.Fleet(Query{Count: 9})); !slices.Equal(got, []string{"web"}) {
		t.Errorf("want only the host, got %v", got)
	}
	es := one(t, s, "web").Entries
	if len(es) != 2 || es[0].Service.SendRate != 1 || es[1].DocHost != "10.0.0.7" || es[1].Service.LogPath != "/b" {
		t.Errorf("want the host's own /a and the address's /b, got %+v", es)
	}
	if !s.Progress("10.0.0.7", 2).Applied {
		t.Error("want the address's revision applied by the host that follows it")
	}
	s.SetDocument("10.0.0.7", agent.Document{Key: addr, Revision: 3, Services: []agent.Service{{Service: "c", LogPath: "/c"}}})
	if es := one(t, s, "web").Entries; len(es) != 2 || es[1].Service.LogPath != "/c" {
		t.Errorf("want a change under the address to show, got %+v", es)
	}
}

func TestDrainIsLagOverOutLessIn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lag, excess float64
		want        Drain
	}{
		{0, 5, Drain{}}, {100, 0, Drain{Kind: DrainNever}}, {100, -5, Drain{Kind: DrainNever}},
		{100, 10, Drain{Kind: DrainIn, After: 10 * time.Second}}, {1e15, 1e-3, Drain{Kind: DrainNever}},
	} {
		if got := drain(c.lag, c.excess); got != c.want {
			t.Errorf("drain(%v, %v): want %v, got %v", c.lag, c.excess, c.want, got)
		}
	}
	s, clk := fresh(t)
	for i := range 60 { // 1000 bytes a second less
		m := summary("x", 1, uint64(i+1), int64(1_000_000-2000*i))
		m.Behind, m.BehindS = 1, 90
		s.SetSummary("a", m, 0)
		clk.at = clk.at.Add(2 * time.Second)
	}
	d := one(t, s, "a").Drain
	if want := 882 * time.Second; d.Kind != DrainIn || (d.After-want).Abs() > 2*time.Second {
		t.Errorf("want about %v from the lag's course, got %v", want, d)
	}
	s.SetDetail(agent.Status{Host: "b", StateID: "b", Boot: 1, Seq: 1, At: clk.at, Files: []agent.FileStatus{{Path: "/a", LogPath: "/a", State: agent.StateBehind,
		Totals: agent.Totals{LagBytes: 1000, InBytesPerSec: 50, OutBytesPerSec: 150, BehindSeconds: 9}}}}, 0)
	if d := s.Host("b", Query{Count: 9}).Rows[0].Drain; d != (Drain{Kind: DrainIn, After: 10 * time.Second}) {
		t.Errorf("want 1000 / (150 - 50) = 10 s, got %v", d)
	}
}

func TestHistoryFillsTheGapsAndReportsGoOn(t *testing.T) {
	t.Parallel()
	s, c := fresh(t)
	m := summary("x", 1, 1, 600)
	m.In, m.Out = 7, 8
	m.History = &agent.History{StepSeconds: 30}
	for i := range 20 {
		m.History.In = append(m.History.In, uint32(i))
		m.History.Out = append(m.History.Out, uint32(100+i))
		m.History.Lag = append(m.History.Lag, int64(30*i))
	}
	s.SetSummary("a", m, 0)
	got := one(t, s, "a").Series
	if got.In[Steps-1] != 7 || got.Lag[Steps-1] != 600 {
		t.Errorf("want the running step from the report, got in %v lag %v", got.In[Steps-1], got.Lag[Steps-1])
	}
	if got.In[Steps-2] != 19 || got.In[Steps-5] != 18 || got.In[0] != 0 || got.Out[Steps-2] != 119 {
		t.Errorf("want each 30 s step in three of 10 s, got %v", got.In)
	}
	c.at = c.at.Add(65 * time.Second) // silence: a gap, not a made-up line
	got = one(t, s, "a").Series
	if v := float64(got.Lag[Steps-1]); !math.IsNaN(v) {
		t.Errorf("want a gap while nothing is reported, got %v", v)
	}
}

func TestEntriesStandInUntilDetailComesAndMissingOnesAfter(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	s.SetDocument("a", agent.Document{Key: "/logagent/a/logconfig", Revision: 1, Services: []agent.Service{
		{Service: "n", LogPath: "/n.log", SendRate: 5}, {Service: "m", LogPath: "/m/*.log"}}})
	v := s.Host("a", Query{Count: 9, Sort: SortName})
	if len(v.Rows) != 2 || v.Rows[1].Cause != "waiting for detail" || v.Rows[1].Kind != KindWaiting || v.Rows[1].Limit != 5 {
		t.Fatalf("want both entries waiting, got %+v", v.Rows)
	}
	s.SetDetail(agent.Status{Host: "a", StateID: "x", Boot: 1, Seq: 1, At: start(),
		Services: []agent.ServiceStatus{{Service: agent.Service{Service: "m", LogPath: "/m/*.log"}, State: agent.StateFailing, Cause: "missing"}},
		Files:    []agent.FileStatus{{Path: "/n.log", LogPath: "/n.log", State: agent.StateOK, Cause: "caught up"}}}, 0)
	v = s.Host("a", Query{Count: 9, Sort: SortName})
	if len(v.Rows) != 2 || v.Rows[0].Kind != KindEntry || v.Rows[0].Cause != "missing" || v.Rows[1].Kind != KindFile || v.Rows[1].Entry == nil {
		t.Fatalf("want the entry without a file and the file, got %+v", v.Rows)
	}
	if v.Row.State != agent.StateFailing {
		t.Errorf("want the host failing with its missing entry, got %v", v.Row.State)
	}
	if v := s.Host("nobody", Query{}); v.Known || v.Cursor != -1 {
		t.Errorf("want an unknown host to be no rows, got %+v", v)
	}
}

func TestGoneHostLeavesTheFleet(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	s.SetDocument("a", agent.Document{Key: "/logagent/a/logconfig", Revision: 4})
	s.SetDocument("a", agent.Document{Key: "/logagent/a/logconfig"})
	if v := s.Fleet(Query{Count: 9}); v.Total != 0 {
		t.Errorf("want nothing left, got %v", hostNames(v))
	}
	s.SetDocument("b", agent.Document{Key: "/logagent/b/logconfig", Revision: 4})
	v := s.Fleet(Query{Count: 9})
	s.SetDocument("b", agent.Document{Key: "/logagent/b/logconfig"})
	if kept := s.Fleet(Query{Count: 9, Keep: v.Order}); kept.Rows[0].Problem != "this host is gone" {
		t.Errorf("want a kept order to show what is gone, got %+v", kept.Rows)
	}
}

func TestManyFeedersAndReadersAtOnce(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 200 {
				sampleFleet(s, 5, uint64(g))
				s.SetDetail(agent.Status{Host: "web-00001.fra1", StateID: "d", Boot: 1, Seq: uint64(i), Files: []agent.FileStatus{{Path: "/a"}}}, 0)
				s.SetEtcd(agent.LinkStatus{Up: i%2 == 0})
			}
		})
		wg.Go(func() {
			for range 200 {
				s.Fleet(Query{Count: 5})
				s.Host("web-00001.fra1", Query{Count: 5})
				s.Progress("web-00001.fra1", 3)
			}
		})
	}
	wg.Wait()
	if got := s.Fleet(Query{Count: 50}).Total; got != 5 {
		t.Errorf("want 5 hosts, got %d", got)
	}
}

func TestADocumentThatWasDeletedAndRunsOnIsSaidToBeDeletedAndNotWaitedForSinceEver(t *testing.T) {
	t.Parallel()
	s, c := fresh(t)
	runs := func(host string, seq uint64) {
		living(s, host, seq, []string{"web"}, []agent.DocumentStatus{{Key: hostKeyOf(host), Running: 7}, {Key: webKey, Running: 8}})
	}
	runs("a", 1) // etcd holds none of its documents: they were deleted before this began to read
	s.SetRevision(9)
	c.at = c.at.Add(7 * time.Second)
	runs("a", 3)
	r := one(t, s, "a")
	if r.Config != ConfigPending || r.PendingFor != 7*time.Second {
		t.Errorf("want it pending since all of etcd was known, got %v for %v", r.Config, r.PendingFor)
	}
	if !strings.Contains(r.Problem, "still runs a document that was deleted: rev 7") || strings.Contains(r.Problem, "rev 0") || strings.Contains(r.Problem, "106751d") {
		t.Errorf("got %q", r.Problem)
	}
	s.SetDocument("a", agent.Document{Key: hostKeyOf("a"), Revision: 10})
	s.SetDocument("a", agent.Document{Key: hostKeyOf("a")}) // deleted while this looks
	c.at = c.at.Add(6 * time.Second)
	runs("a", 5)
	if r := one(t, s, "a"); !strings.Contains(r.Problem, "deleted: rev 7") || r.PendingFor > time.Minute {
		t.Errorf("got %q for %v", r.Problem, r.PendingFor)
	}
}
