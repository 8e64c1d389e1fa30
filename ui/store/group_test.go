package store

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"logagent/agent"
)

const (
	webKey = "/logagent.groups/web"
	fraKey = "/logagent.groups/fra"
)

func hostKeyOf(host string) string { return "/logagent/" + host + "/logconfig" }

// ofGroup is a group's document.
func ofGroup(key string, rev int64, services ...agent.Service) agent.Document {
	return agent.Document{Key: key, Revision: rev, Services: services}
}

// living is a host with an agent in groups, that runs the documents as told.
func living(s *Store, host string, seq uint64, groups []string, docs []agent.DocumentStatus, entries ...agent.CoarseEntry) {
	s.SetLive(host, &agent.Live{Host: host, StateID: host, Boot: 1, Groups: groups})
	s.SetCoarse(host, &agent.Coarse{Host: host, StateID: host, Boot: 1, Seq: seq, Documents: docs, Entries: entries})
	m := summary(host, 1, seq+1, 0)
	m.Running = docs[0].Running
	s.SetSummary(host, m, 0)
}

// runsAs is what an agent tells of an entry that runs.
func runsAs(e agent.Service, key string) agent.CoarseEntry {
	return agent.CoarseEntry{LogPath: e.LogPath, Service: e.Service, State: agent.StateOK, Key: key, Sum: e.Sum()}
}

func origins(es []Entry) []string {
	var out []string
	for _, e := range es {
		out = append(out, fmt.Sprintf("%s %s %d", e.Service.LogPath, e.DocHost, e.Service.SendRate))
	}
	return out
}

func TestEntriesComeFromTheHostThenItsAddressesThenItsGroupsInOrder(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	e := func(path string, rate int64) agent.Service {
		return agent.Service{Service: "s", LogPath: path, SendRate: rate}
	}
	s.SetGroup("@web", ofGroup(webKey, 3, e("/own", 3), e("/addr", 3), e("/web", 3), e("/both", 3)))
	s.SetGroup("@fra", ofGroup(fraKey, 4, e("/both", 4), e("/fra", 4)))
	s.SetDocument("a", agent.Document{Key: hostKeyOf("a"), Revision: 1, Services: []agent.Service{e("/own", 1)}})
	s.SetDocument("10.0.0.7", agent.Document{Key: hostKeyOf("10.0.0.7"), Revision: 2, Services: []agent.Service{e("/addr", 2), e("/own", 2)}})
	living(s, "a", 1, []string{"web", "fra"}, []agent.DocumentStatus{
		{Key: hostKeyOf("a"), Running: 1}, {Key: hostKeyOf("10.0.0.7"), Running: 2}, {Key: webKey, Running: 3}, {Key: fraKey, Running: 4}})
	want := []string{"/own a 1", "/addr 10.0.0.7 2", "/web @web 3", "/both @web 3", "/fra @fra 4"}
	r := one(t, s, "a")
	if got := origins(r.Entries); !slices.Equal(got, want) {
		t.Errorf("want %q, got %q", want, got)
	}
	if r.Entries[2].Service.Key != webKey || r.Entries[2].Revision != 3 || !slices.Equal(r.Groups, []string{"web", "fra"}) {
		t.Errorf("want the key and revision of the group, got %+v in %v", r.Entries[2], r.Groups)
	}
	if r.Config != ConfigRunning || len(r.Documents) != 4 || r.Documents[3].Name != "@fra" || r.Desired != 1 || r.Running != 1 {
		t.Errorf("want four documents running and the first one's revisions, got %+v", r)
	}
	// The same entry of an earlier document comes and goes.
	s.SetDocument("a", agent.Document{Key: hostKeyOf("a")})
	want = []string{"/addr 10.0.0.7 2", "/own 10.0.0.7 2", "/web @web 3", "/both @web 3", "/fra @fra 4"}
	if got := origins(one(t, s, "a").Entries); !slices.Equal(got, want) {
		t.Errorf("want %q, got %q", want, got)
	}
	s.SetGroup("@web", agent.Document{Key: webKey})
	want = []string{"/addr 10.0.0.7 2", "/own 10.0.0.7 2", "/both @fra 4", "/fra @fra 4"}
	if got := origins(one(t, s, "a").Entries); !slices.Equal(got, want) {
		t.Errorf("with the group's key deleted: want %q, got %q", want, got)
	}
}

func TestHostOfAGroupAloneIsKnownByWhatItTells(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	s.SetLive("b", &agent.Live{Host: "b", Groups: []string{"web"}})
	s.SetCoarse("c", &agent.Coarse{StateID: "c", Boot: 1, Seq: 1, Documents: []agent.DocumentStatus{{Key: hostKeyOf("c")}, {Key: webKey, Running: 7}}})
	s.SetGroup("@web", ofGroup(webKey, 7, agent.Service{Service: "s", LogPath: "/x"}))
	if got := s.GroupHosts("@web"); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("want both, by live key and by status, got %v", got)
	}
	for _, h := range []string{"b", "c"} {
		if es := one(t, s, h).Entries; len(es) != 1 || es[0].DocHost != "@web" {
			t.Errorf("%s: want the group's entry, got %+v", h, es)
		}
	}
	s.SetLive("b", &agent.Live{Host: "b", Groups: []string{"fra"}})
	s.SetCoarse("c", nil)
	if got := s.GroupHosts("@web"); len(got) != 0 {
		t.Errorf("want nobody left, got %v", got)
	}
	if got := one(t, s, "b").Entries; len(got) != 0 {
		t.Errorf("want no entries in another group, got %+v", got)
	}
}

func TestPendingAndRefusedRevisionsOfAGroupShowOnItsHosts(t *testing.T) {
	t.Parallel()
	s, c := fresh(t)
	e := agent.Service{Service: "s", LogPath: "/x", SendRate: 1}
	s.SetGroup("@web", ofGroup(webKey, 7, e))
	s.SetRevision(7)
	docs := func(running int64, refused *agent.Refusal) []agent.DocumentStatus {
		return []agent.DocumentStatus{{Key: hostKeyOf("a")}, {Key: webKey, Running: running, Refused: refused}}
	}
	living(s, "a", 1, []string{"web"}, docs(7, nil), runsAs(e, webKey))
	if r := one(t, s, "a"); r.Config != ConfigRunning || r.Drifting != 0 || r.Entries[0].Drift != DriftNone || r.Problem != "" {
		t.Errorf("want it running, got %+v", r)
	}
	faster := e
	faster.SendRate = 2
	s.SetGroup("@web", ofGroup(webKey, 8, faster))
	c.at = c.at.Add(6 * time.Second)
	m := summary("a", 1, 50, 0) // newer than any status key, and silent about the group
	s.SetSummary("a", m, 0)
	r := one(t, s, "a")
	if r.Config != ConfigPending || r.Drifting != 1 || r.Entries[0].Drift != DriftPending || r.PendingFor != 6*time.Second || r.Desired != 0 {
		t.Errorf("want it pending for 6 s, got %+v", r)
	}
	if !strings.Contains(r.Problem, "has not applied rev 8 of @web for 6 s") {
		t.Errorf("want the group named, got %q", r.Problem)
	}
	// The status key was made before that summary and is written after it: it counts.
	s.SetCoarse("a", &agent.Coarse{Host: "a", StateID: "a", Boot: 1, Seq: 40, Documents: docs(7, &agent.Refusal{Revision: 8, Error: "entry 1: no"}), Entries: []agent.CoarseEntry{runsAs(e, webKey)}})
	r = one(t, s, "a")
	if r.Config != ConfigRefused || r.Refused != 8 || r.Entries[0].Drift != DriftRefused || r.State != agent.StateFailing || !strings.Contains(r.Problem, "config rev 8 of @web refused: entry 1: no") {
		t.Errorf("want it refused with the reason, got %+v", r)
	}
	if v := s.Host("a", Query{Count: 1}); v.Refusal != "entry 1: no" {
		t.Errorf("want the reason, got %q", v.Refusal)
	}
	s.SetCoarse("a", &agent.Coarse{Host: "a", StateID: "a", Boot: 1, Seq: 41, Documents: docs(8, nil), Entries: []agent.CoarseEntry{runsAs(faster, webKey)}})
	if r := one(t, s, "a"); r.Config != ConfigRunning || r.Drifting != 0 || r.Refused != 0 {
		t.Errorf("want it running again, got %+v", r)
	}
	// What the console itself cannot read is refused on every host that follows it.
	broken := ofGroup(webKey, 8, faster)
	broken.Refused = &agent.Refusal{Revision: 9, Error: "not JSON"}
	s.SetGroup("@web", broken)
	if r := one(t, s, "a"); r.Config != ConfigRefused || r.Refused != 9 || r.Drifting != 1 || r.Entries[0].Drift != DriftRefused {
		t.Errorf("want the broken document refused, got %+v", r)
	}
	// A key that is gone and still runs is pending too.
	s.SetGroup("@web", agent.Document{Key: webKey})
	if r := one(t, s, "a"); r.Config != ConfigPending || r.Drifting != 1 || len(r.Unwanted) != 1 || r.Unwanted[0].LogPath != "/x" {
		t.Errorf("want what runs without being wanted, got %+v", r)
	}
}

func TestDriftOfEachEntryIsKnownOrSaidToBeUnknown(t *testing.T) {
	t.Parallel()
	s, c := fresh(t)
	e := func(path string, rate int64) agent.Service {
		return agent.Service{Service: "s", LogPath: path, SendRate: rate}
	}
	key := hostKeyOf("a")
	same, changed, missing := e("/same", 1), e("/changed", 1), e("/missing", 1)
	s.SetDocument("a", agent.Document{Key: key, Revision: 5, Services: []agent.Service{same, changed, missing}})
	drifts := func() []Drift {
		var out []Drift
		for _, e := range one(t, s, "a").Entries {
			out = append(out, e.Drift)
		}
		return out
	}
	is := func(what string, want ...Drift) {
		t.Helper()
		if got := drifts(); !slices.Equal(got, want) {
			t.Errorf("%s: want %v, got %v", what, want, got)
		}
	}
	is("no agent ever", DriftUnknown, DriftUnknown, DriftUnknown)
	old := e("/changed", 9)
	resolved := same
	resolved.StartAt, resolved.Partition, resolved.Key = agent.StartEnd, agent.PartitionRandom, key
	living(s, "a", 1, nil, []agent.DocumentStatus{{Key: key, Running: 5}}, runsAs(e("/more", 1), ""), runsAs(old, ""), runsAs(resolved, ""))
	is("the revision runs, in the agent's words", DriftNone, DriftPending, DriftMissing)
	if r := one(t, s, "a"); r.Drifting != 3 || len(r.Unwanted) != 1 {
		t.Errorf("want two and the unwanted one, got %d, %+v", r.Drifting, r.Unwanted)
	}
	living(s, "a", 3, nil, []agent.DocumentStatus{{Key: key, Running: 4}}, runsAs(same, ""), runsAs(old, ""))
	is("an older revision runs", DriftNone, DriftPending, DriftPending)
	living(s, "a", 5, nil, []agent.DocumentStatus{{Key: key, Running: 4, Refused: &agent.Refusal{Revision: 5, Error: "no"}}}, runsAs(same, ""), runsAs(old, ""))
	m := summary("a", 1, 7, 0)
	m.Running, m.Refused = 4, 5
	s.SetSummary("a", m, 0)
	is("the revision was refused", DriftNone, DriftRefused, DriftRefused)
	living(s, "a", 9, nil, []agent.DocumentStatus{{Key: key, Running: 5}}, agent.CoarseEntry{LogPath: "/same"}, agent.CoarseEntry{LogPath: "/changed"})
	is("an agent that tells no sums", DriftUnknown, DriftUnknown, DriftMissing)
	if r := one(t, s, "a"); r.Config != ConfigRunning {
		t.Errorf("want its revision compared all the same, got %v", r.Config)
	}
	s.SetDetail(agent.Status{Host: "a", StateID: "a", Boot: 1, Seq: 20, At: c.at, Documents: []agent.DocumentStatus{{Key: key, Running: 5}},
		Services: []agent.ServiceStatus{{Service: resolved}, {Service: changed, InForce: &old}, {Service: missing}}}, 0)
	is("a detail, with a change that waits", DriftNone, DriftPending, DriftNone)
	c.at = c.at.Add(time.Minute)
	is("a silent host", DriftUnknown, DriftUnknown, DriftUnknown)
	if r := one(t, s, "a"); r.Config != ConfigUnknown || r.Drifting != 0 {
		t.Errorf("want a silent host's config unknown, got %+v", r)
	}
}

func TestAHostThatOnlyItsStatusKeyTellsOfIsNotFineWithoutAnAgent(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	e := agent.Service{Service: "s", LogPath: "/x"}
	key := hostKeyOf("a")
	s.SetDocument("a", agent.Document{Key: key, Revision: 5, Services: []agent.Service{e}})
	s.SetCoarse("a", &agent.Coarse{StateID: "a", Boot: 1, Seq: 1, Documents: []agent.DocumentStatus{{Key: key, Running: 5}}, Entries: []agent.CoarseEntry{runsAs(e, "")}})
	s.SetRevision(5)
	if r := one(t, s, "a"); r.Config != ConfigUnknown || r.Entries[0].Drift != DriftUnknown {
		t.Errorf("want it unknown, got %v %v", r.Config, r.Entries[0].Drift)
	}
	s.SetLive("a", &agent.Live{Host: "a"})
	if r := one(t, s, "a"); r.Config != ConfigRunning || r.Entries[0].Drift != DriftNone {
		t.Errorf("want it believed with a live key, got %v %v", r.Config, r.Entries[0].Drift)
	}
}

func TestGoneHostsAreCountedFromTheirLastSignAndNeverTooLong(t *testing.T) {
	t.Parallel()
	s, c := fresh(t)
	s.SetDocument("a", agent.Document{Key: hostKeyOf("a"), Revision: 5})
	s.SetSeen("a", 3*24*time.Hour, 7*24*time.Hour)
	// The last renewal may have been two hours before the end.
	if r := one(t, s, "a"); r.Gone != 4*24*time.Hour-2*time.Hour {
		t.Errorf("want four days less two hours, got %v", r.Gone)
	}
	c.at = c.at.Add(time.Hour)
	s.SetSeen("a", 5*24*time.Hour, 7*24*time.Hour) // the lease was begun anew: what is known stays
	if r := one(t, s, "a"); r.Gone != 4*24*time.Hour-time.Hour {
		t.Errorf("want an hour more, got %v", r.Gone)
	}
	s.SetLive("a", &agent.Live{Host: "a"})
	s.SetSeen("a", 0, 7*24*time.Hour) // asked before it came back
	if r := one(t, s, "a"); r.Gone != 0 {
		t.Errorf("want a host with an agent not gone, got %v", r.Gone)
	}
	s.SetLive("a", nil)
	c.at = c.at.Add(time.Minute)
	s.SetSeen("a", 7*24*time.Hour-time.Minute, 7*24*time.Hour)
	if r := one(t, s, "a"); r.Gone != time.Minute {
		t.Errorf("want a minute since its live key went, got %v", r.Gone)
	}
	s.SetSummary("a", summary("a", 1, 1, 0), 0) // cut off from etcd only
	if r := one(t, s, "a"); r.Gone != 0 {
		t.Errorf("want a host that is heard not gone, got %v", r.Gone)
	}
	s.SetLive("a", &agent.Live{Host: "a"})
	s.SetKafka(agent.LinkStatus{Up: true})
	c.at = c.at.Add(65 * time.Second) // killed: its live key stands until its lease ends
	s.SetLive("a", nil)
	if r := one(t, s, "a"); r.Gone != 0 {
		t.Errorf("want nobody gone for his silence before all of etcd is known, got %v", r.Gone)
	}
	s.SetRevision(9)
	if r := one(t, s, "a"); r.Gone != 65*time.Second || r.Age != r.Gone {
		t.Errorf("want it gone since its last report, got %v and an age of %v", r.Gone, r.Age)
	}
	s.SetSeen("a", 0, 7*24*time.Hour)
	if r := one(t, s, "a"); r.Gone != 65*time.Second {
		t.Errorf("want no host gone for longer than it is silent, got %v", r.Gone)
	}
	s.SetKafka(agent.LinkStatus{})
	s.SetLive("a", &agent.Live{Host: "a"})
	s.SetLive("a", nil)
	c.at = c.at.Add(time.Second)
	if r := one(t, s, "a"); r.Gone != time.Second {
		t.Errorf("want its silence to tell nothing while Kafka is away, got %v", r.Gone)
	}
	s.SetSeen("nobody", 0, time.Hour)
	if v := s.Fleet(Query{Count: 9}); v.Total != 1 {
		t.Errorf("want no host made of a seen key alone, got %v", hostNames(v))
	}
}

func TestAHostThatFollowsAnAddressNoMoreIsWithoutItsEntries(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	addr := hostKeyOf("10.0.0.7")
	s.SetDocument("a", agent.Document{Key: hostKeyOf("a"), Revision: 1})
	s.SetDocument("10.0.0.7", agent.Document{Key: addr, Revision: 2, Services: []agent.Service{{Service: "s", LogPath: "/x"}}})
	living(s, "a", 1, nil, []agent.DocumentStatus{{Key: hostKeyOf("a"), Running: 1}, {Key: addr, Running: 2}})
	if got := one(t, s, "a").Entries; len(got) != 1 {
		t.Errorf("want the address's entry, got %+v", got)
	}
	living(s, "a", 3, nil, []agent.DocumentStatus{{Key: hostKeyOf("a"), Running: 1}})
	if got := one(t, s, "a").Entries; len(got) != 0 {
		t.Errorf("want it gone, got %+v", got)
	}
	if got := hostNames(s.Fleet(Query{Count: 9})); !slices.Equal(got, []string{"10.0.0.7", "a"}) {
		t.Errorf("want the document that nobody follows to show, got %v", got)
	}
}

func TestProgressOfAGroupIsThatOfAllItsHostsWithAnAgent(t *testing.T) {
	t.Parallel()
	s, c := fresh(t)
	s.SetGroup("@web", ofGroup(webKey, 7))
	s.SetGroup("@web", ofGroup(webKey, 8))
	run := func(host string, seq uint64, rev int64) {
		living(s, host, seq, []string{"web"}, []agent.DocumentStatus{{Key: hostKeyOf(host)}, {Key: webKey, Running: rev}})
	}
	if p := s.Progress("@web", 8); p.Applied || p.Hosts != 0 {
		t.Errorf("want a group without hosts not applied, got %+v", p)
	}
	run("a", 1, 8)
	run("b", 1, 7)
	run("gone", 1, 7)
	s.SetLive("gone", nil)
	if p := s.Progress("@web", 8); p.Applied || p.Hosts != 2 || p.Running != 1 {
		t.Errorf("want one of two, got %+v", p)
	}
	if p := s.Progress("@web", 7); !p.Applied {
		t.Errorf("want the one before applied everywhere, got %+v", p)
	}
	c.at = c.at.Add(3 * time.Second)
	run("b", 5, 8)
	if p := s.Progress("@web", 8); !p.Applied || p.Running != 2 || !p.AppliedAt.Equal(c.at) {
		t.Errorf("want it applied when the last one said so, got %+v", p)
	}
	s.SetGroup("@web", ofGroup(webKey, 9))
	s.SetCoarse("b", &agent.Coarse{StateID: "b", Boot: 1, Seq: 9, Documents: []agent.DocumentStatus{{Key: hostKeyOf("b")}, {Key: webKey, Running: 8, Refused: &agent.Refusal{Revision: 9, Error: "no"}}}})
	if p := s.Progress("@web", 9); p.Applied || !p.Refused || p.Error != "b: no" {
		t.Errorf("want the refusal and who said it, got %+v", p)
	}
}

func TestHostsOfOneGroupShareOneListOfEntries(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	e1, e2 := agent.Service{Service: "s", LogPath: "/1"}, agent.Service{Service: "s", LogPath: "/2"}
	s.SetGroup("@web", ofGroup(webKey, 7, e1, e2))
	docs := func(host string) []agent.DocumentStatus {
		return []agent.DocumentStatus{{Key: hostKeyOf(host)}, {Key: webKey, Running: 7}}
	}
	for _, h := range []string{"a", "b"} {
		living(s, h, 1, []string{"web"}, docs(h), runsAs(e1, webKey), runsAs(e2, webKey))
	}
	living(s, "c", 1, []string{"web"}, docs("c"), runsAs(e1, webKey))
	a, b, c := one(t, s, "a").Entries, one(t, s, "b").Entries, one(t, s, "c").Entries
	if &a[0] != &b[0] || a[0].Drift != DriftNone {
		t.Errorf("want one list for both, got %+v and %+v", a, b)
	}
	if &c[0] == &a[0] || c[1].Drift != DriftMissing || a[1].Drift != DriftNone {
		t.Errorf("want the host that drifts to have its own, got %+v beside %+v", c, a)
	}
	s.SetSummary("c", summary("c", 1, 9, 5), 0)
	if again := one(t, s, "c").Entries; &again[0] != &c[0] {
		t.Error("want it kept while nothing changes")
	}
	// What was handed out stays as it is.
	living(s, "a", 5, []string{"web"}, docs("a"))
	if now := one(t, s, "a").Entries; now[0].Drift != DriftMissing || a[0].Drift != DriftNone || b[0].Drift != DriftNone {
		t.Errorf("want a new list and the old one untouched, got %v and %v", now[0].Drift, a[0].Drift)
	}
	f, err := ParseFilter("/2")
	if err != nil {
		t.Fatal(err)
	}
	if got := hostNames(s.Fleet(Query{Count: 9, Filter: f})); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("want all found by the group's path, got %v", got)
	}
}

// BenchmarkSetGroup changes the document of a group of 10,000 hosts and pulls the screen.
func BenchmarkSetGroup(b *testing.B) {
	s, _ := fresh(b)
	const hosts, entries = 10_000, 20
	doc := func(rate int64) agent.Document {
		d := agent.Document{Key: webKey, Revision: rate}
		for i := range entries {
			d.Services = append(d.Services, agent.Service{Service: fmt.Sprint("s", i), LogPath: fmt.Sprint("/var/log/", i, ".log"), Topic: "t", SendRate: rate})
		}
		return d
	}
	s.SetGroup("@web", doc(1))
	for i := range hosts {
		h := fmt.Sprintf("web-%05d", i)
		d := doc(1)
		var told []agent.CoarseEntry
		for _, e := range d.Services {
			told = append(told, runsAs(e, webKey))
		}
		living(s, h, 1, []string{"web"}, []agent.DocumentStatus{{Key: hostKeyOf(h)}, {Key: webKey, Running: 1}}, told...)
	}
	s.SetRevision(1)
	q := Query{Count: 30}
	if v := s.Fleet(q); v.Total != hosts || v.Rows[0].Config != ConfigRunning {
		b.Fatalf("%d hosts, %+v", v.Total, v.Rows[0])
	}
	rate := int64(1)
	b.ReportAllocs()
	for b.Loop() {
		rate++
		s.SetGroup("@web", doc(rate))
		if v := s.Fleet(q); v.Total != hosts || v.Rows[0].Config != ConfigPending || v.Rows[0].Entries[0].Service.SendRate != rate {
			b.Fatalf("%d hosts, %+v", v.Total, v.Rows[0])
		}
	}
}

func TestEntriesOfADocumentThatWasNeverSeenWholeAreHeldAndNotLost(t *testing.T) {
	t.Parallel()
	s, c := fresh(t)
	own, web, both := agent.Service{Service: "s", LogPath: "/own"}, agent.Service{Service: "s", LogPath: "/web"}, agent.Service{Service: "s", LogPath: "/both"}
	broken := agent.Document{Key: webKey, Refused: &agent.Refusal{Revision: 9, Error: "not JSON"}}
	s.SetGroup("@web", broken)
	s.SetDocument("a", agent.Document{Key: hostKeyOf("a"), Revision: 5, Services: []agent.Service{own, both}})
	living(s, "a", 1, []string{"web"}, []agent.DocumentStatus{{Key: hostKeyOf("a"), Running: 5}, {Key: webKey, Running: 8, Refused: broken.Refused}},
		runsAs(own, ""), runsAs(both, ""), runsAs(web, webKey))
	r := one(t, s, "a")
	if len(r.Held) != 1 || r.Held[0].LogPath != "/web" || len(r.Unwanted) != 0 || r.Drifting != 1 || r.Config != ConfigRefused {
		t.Errorf("want the one entry that runs on of the broken document, got %+v, unwanted %+v, drifting %d", r.Held, r.Unwanted, r.Drifting)
	}
	if d := r.Documents[1]; d.Refused != 9 || d.Running != 8 {
		t.Errorf("got %+v", d)
	}
	s.SetGroup("@web", ofGroup(webKey, 10, web))
	if r := one(t, s, "a"); len(r.Held) != 0 || len(r.Entries) != 3 {
		t.Errorf("want it wanted once its document is whole, got %+v", r)
	}
	told := s.Told("a")
	if told.Detail || told.Age >= 0 || len(told.Entries) != 3 {
		t.Errorf("want no age of a status that tells none, got %+v", told)
	}
	m := summary("a", 1, 5, 0)
	m.AtMS = c.at.Add(-time.Hour).UnixMilli() // its clock is an hour behind
	s.SetSummary("a", m, 0)
	s.SetCoarse("a", &agent.Coarse{StateID: "a", Boot: 1, Seq: 6, At: c.at.Add(-time.Hour - 20*time.Second)})
	if told := s.Told("a"); told.Age != 20*time.Second {
		t.Errorf("want it told 20 s ago on this clock, got %v", told.Age)
	}
	s.SetDetail(agent.Status{Host: "a", StateID: "a", Boot: 1, Seq: 7, At: c.at, Services: []agent.ServiceStatus{{Service: own, State: agent.StateBehind}}}, 3*time.Second)
	if told := s.Told("a"); !told.Detail || told.Age != 3*time.Second || len(told.Entries) != 1 || told.Entries[0].State != agent.StateBehind {
		t.Errorf("want the detail told, got %+v", told)
	}
	if told := s.Told("nobody"); told.Age >= 0 || told.Entries != nil {
		t.Errorf("got %+v", told)
	}
}
