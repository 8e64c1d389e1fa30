package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/internal/lab"
	"logagent/ui/store"
)

func TestAFleetsOptionsComeFromItsScaleAndFromFlags(t *testing.T) {
	t.Parallel()
	o, err := parseFleetOptions(nil)
	if err != nil || o.Hosts != 10_000 || o.Quiet != time.Minute || o.Scale != "full" {
		t.Errorf("without flags %+v, %v", o, err)
	}
	o, err = parseFleetOptions([]string{"-scale", "short", "-hosts", "40", "-quiet", "3s", "-changes", "5", "-processes", "2"})
	if err != nil || o.Hosts != 40 || o.Quiet != 3*time.Second || o.Changes != 5 || o.Processes != 2 || o.Set != 40 || o.Scale != "short" {
		t.Errorf("with flags %+v, %v: a change set is of no more hosts than there are", o, err)
	}
	for _, args := range [][]string{
		{"-scale", "tiny"}, {"-hosts", "-1"}, {"-hosts", "2", "-processes", "3"}, {"-quiet", "1ms"}, {"-ramp", "-1"}, {"more"}, {"-changes", "-2"},
	} {
		if o, err := parseFleetOptions(args); err == nil {
			t.Errorf("%v gives %+v", args, o)
		}
	}
}

func TestEveryHostsDocumentsAreValidAndNameNothingTwice(t *testing.T) {
	t.Parallel()
	const hosts = 25
	documents := fleetDocuments(hosts)
	if want := hosts + fleetParts + 1; len(documents) != want {
		t.Errorf("%d documents, want %d", len(documents), want)
	}
	for i := range hosts {
		paths := make(map[string]bool)
		names := []string{fleetHost(i)}
		for _, g := range fleetGroups(i) {
			names = append(names, "@"+g)
		}
		for _, name := range names {
			if err := etcdcfg.CheckName(name); err != nil {
				t.Fatal(err)
			}
			services, warnings, err := agent.ParseDocument(documents[name])
			if err != nil || len(warnings) > 0 {
				t.Fatalf("%s: %v, %v in\n%s", name, err, warnings, documents[name])
			}
			for _, s := range services {
				paths[s.LogPath] = true
			}
		}
		if len(paths) != fleetEntries {
			t.Errorf("%s has %d entries, want %d", fleetHost(i), len(paths), fleetEntries)
		}
	}
}

func TestPickedHostsAreDifferentAndTheSameEachTime(t *testing.T) {
	t.Parallel()
	a, b := pick(1000, 200, 1), pick(1000, 200, 1)
	if !slices.Equal(a, b) {
		t.Error("the same seed gives others")
	}
	slices.Sort(a)
	if len(slices.Compact(a)) != 200 || a[0] < 0 || a[199] > 999 {
		t.Errorf("%d of 1000 hosts, none twice, are %v", 200, a)
	}
	if got := pick(3, 200, 1); len(got) != 3 {
		t.Errorf("%d of 3 hosts", len(got))
	}
}

const etcdSaid = `# HELP etcd_mvcc_put_total Total number of puts seen by this member.
etcd_mvcc_put_total 1234
etcd_mvcc_put_total_more 1
etcd_mvcc_delete_total 2
etcd_mvcc_range_total 3
etcd_mvcc_txn_total 4
etcd_debugging_lease_renewed_total 5
etcd_debugging_lease_granted_total 6
etcd_debugging_mvcc_total_put_size_in_bytes 1.5e+06
etcd_debugging_mvcc_events_total 8
etcd_debugging_mvcc_watcher_total 10
etcd_debugging_mvcc_watch_stream_total 11
etcd_mvcc_db_total_size_in_bytes 4096
etcd_mvcc_db_total_size_in_use_in_bytes 2048
grpc_server_started_total{grpc_method="Range"} 77
`

func TestWhatEtcdCountsIsReadFromItsMetrics(t *testing.T) {
	t.Parallel()
	var c etcdCounts
	if err := c.parse(strings.NewReader(etcdSaid)); err != nil {
		t.Fatal(err)
	}
	want := etcdCounts{puts: 1234, deletes: 2, ranges: 3, txns: 4, renewals: 5, grants: 6, putBytes: 1.5e6, events: 8, watches: 10, streams: 11, dbBytes: 4096, usedBytes: 2048}
	if c != want {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	for line := range strings.Lines(etcdSaid) {
		name, _, _ := strings.Cut(line, " ")
		if c.names()[name] == nil {
			continue
		}
		err := new(etcdCounts).parse(strings.NewReader(strings.Replace(etcdSaid, line, "", 1)))
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
		err = new(etcdCounts).parse(strings.NewReader(strings.Replace(etcdSaid, line, name+" many\n", 1)))
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("with %s many: %v", name, err)
		}
	}
}

func TestWhatTheConsoleCountsIsReadFromItsScreen(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		screen string
		want   screenCounts
		found  bool
	}{
		{" logagent   etcd ● kafka ○\n", screenCounts{}, false},
		{" 0 hosts  0 ●   no status received yet\n", screenCounts{}, true},
		{" x\n 1 host  1 ●   in 5/s   out 5/s   lag 0 B\n", screenCounts{hosts: 1, told: true}, true},
		{" 10,000 hosts  9,900 ●  100 ◐   in 5/s   lag 1 GB\n", screenCounts{hosts: 10_000, told: true}, true},
		{" 1,250 hosts  1000 ●  13 ◐  237 ○   in 5/s   lag ~1 GB\n", screenCounts{hosts: 1250, unknown: 237, told: true}, true},
		{" 300 hosts  0 ●  300 ○   no status received yet\n", screenCounts{hosts: 300, unknown: 300}, true},
	} {
		if got, found := countsOnScreen(c.screen); got != c.want || found != c.found {
			t.Errorf("%q: %+v, %v, want %+v, %v", c.screen, got, found, c.want, c.found)
		}
	}
}

func TestLatenciesCountFromBeforeTheWriteAndOnlyOfTheRevisionThatWasWritten(t *testing.T) {
	t.Parallel()
	const second = int64(time.Second)
	made := []changeMade{
		{Host: "a", Key: "ka", Revision: 5, Began: 10 * second, Wrote: 11 * second, Seen: 14 * second},
		{Host: "b", Key: "kb", Revision: 6, Began: 20 * second, Wrote: 21 * second, Seen: 26 * second},
	}
	applied := map[appliedAt]int64{
		{Host: "a", Key: "ka", Revision: 5}: 12 * second,
		{Host: "b", Key: "kb", Revision: 4}: 15 * second,
		{Host: "b", Key: "kb", Revision: 6}: 23 * second,
	}
	l, err := latenciesOf(made, applied)
	if err != nil {
		t.Fatal(err)
	}
	if l.written.max != time.Second || l.applied.max != 3*time.Second || l.seen.max != 6*time.Second || l.seen.n != 2 {
		t.Errorf("at most %v written, %v to Apply, %v to applied of %d", l.written.max, l.applied.max, l.seen.max, l.seen.n)
	}
	figures := l.figures()
	if f := figures[len(figures)-1]; f.Median != 6000 || f.Unit != millis {
		t.Errorf("the last figure is %s of %s", f.Name, f.text())
	}
	delete(applied, appliedAt{Host: "b", Key: "kb", Revision: 6})
	if _, err := latenciesOf(made, applied); err == nil || !strings.Contains(err.Error(), "b was never given revision 6 of kb") {
		t.Errorf("a change that was never applied: %v", err)
	}
}

func TestAChildDoesWhatItIsToldAndSaysWhatWentWrong(t *testing.T) {
	t.Parallel()
	type twice struct{ N int }
	deeds := map[string]deed{
		"twice": withArgs(func(_ context.Context, w twice) (any, error) { return 2 * w.N, nil }),
		"fail":  func(context.Context, json.RawMessage) (any, error) { return nil, errors.New("no more paper") },
	}
	orders := `{"do":"twice","with":{"N":21}}` + "\n" + `{"do":"fail"}` + "\n" + `{"do":"dance"}` + "\n" + `{"do":"twice","with":{"N":1}}` + "\n"
	var said strings.Builder
	if err := serveOrders(t.Context(), strings.NewReader(orders), &said, served{"here:1"}, deeds); err != nil {
		t.Fatal(err)
	}
	want := `{"value":{"addr":"here:1"}}
{"value":42}
{"error":"no more paper"}
{"error":"no order \"dance\""}
{"value":2}
`
	if said.String() != want {
		t.Errorf("said\n%s\nwant\n%s", said.String(), want)
	}
	if err := serveOrders(t.Context(), strings.NewReader("rubbish\n"), io.Discard, true, deeds); err == nil {
		t.Error("rubbish is an order")
	}
}

func TestSumsOfProcessesKeepTheirComplaints(t *testing.T) {
	t.Parallel()
	var c complaints
	log := slog.New(&c)
	for i := range keptComplaints + 3 {
		log.Info("fine", "n", i)
		log.Warn("etcd is lost", "n", i)
	}
	sum := sumOf([]agentsState{
		{Agents: 2, Goroutines: 70, HeapBytes: 10, StackBytes: 5, Sent: 3},
		{Agents: 3, Goroutines: 100, HeapBytes: 20, StackBytes: 6, Sent: 4, Unsent: 1, SendFailure: "full", Complaints: c.n, First: c.first},
	})
	if sum.Agents != 5 || sum.Goroutines != 170 || sum.HeapBytes != 30 || sum.StackBytes != 11 || sum.Sent != 7 || sum.Unsent != 1 || sum.SendFailure != "full" {
		t.Errorf("the sum is %+v", sum)
	}
	if err := sum.wrong(); err == nil || !strings.Contains(err.Error(), "8 times") || !strings.Contains(err.Error(), "etcd is lost n=0") {
		t.Errorf("the complaints are %v", err)
	}
	if len(sum.First) != keptComplaints {
		t.Errorf("%d complaints are kept, want %d", len(sum.First), keptComplaints)
	}
	if err := new(agentsState).wrong(); err != nil {
		t.Errorf("nothing was said and %v", err)
	}
}

func TestAStatusLacksWhatItDoesNotTell(t *testing.T) {
	t.Parallel()
	whole := func() *agent.Coarse {
		return &agent.Coarse{Seen: true, Entries: make([]agent.CoarseEntry, fleetEntries), Documents: []agent.DocumentStatus{{Key: "a", Running: 1}, {Key: "b", Running: 2}}}
	}
	if lack := lackIn(whole()); lack != "" {
		t.Errorf("a whole status lacks %s", lack)
	}
	for want, spoil := range map[string]func(*agent.Coarse){
		"entries":   func(c *agent.Coarse) { c.Entries = c.Entries[1:] },
		"runs of b": func(c *agent.Coarse) { c.Documents[1].Running = 0 },
		"seen key":  func(c *agent.Coarse) { c.Seen = false },
	} {
		c := whole()
		spoil(c)
		if lack := lackIn(c); !strings.Contains(lack, want) {
			t.Errorf("want a lack of %s, got %q", want, lack)
		}
	}
}

// smallFleet is an etcd with documents and simulated agents, all in this process.
type smallFleet struct {
	*fleet
	sim []*simAgent
}

func startSmallFleet(t *testing.T, hosts int) *smallFleet {
	t.Helper()
	e, err := lab.StartEtcd(lab.EtcdOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	f := &fleet{o: fleetOptions{Hosts: hosts}, etcdAddr: e.Addr(), client: e.Client()}
	if f.layout, err = etcdcfg.ParsePattern(etcdcfg.DefaultPattern); err != nil {
		t.Fatal(err)
	}
	if err := f.writeDocuments(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := &smallFleet{fleet: f}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	t.Cleanup(func() { stop(); wg.Wait() })
	for i := range hosts {
		a, err := newSimAgent(i, e.Addr(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		s.sim = append(s.sim, a)
		wg.Go(func() {
			if err := a.run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	return s
}

// until waits for something to be so.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

func TestSimulatedAgentsTellWhatTheirDocumentsAndGroupsAsk(t *testing.T) {
	t.Parallel()
	s := startSmallFleet(t, 3)
	statuses := func() []agent.Coarse {
		r, err := s.client.Get(t.Context(), s.layout.Status(""), clientv3.WithPrefix())
		if err != nil {
			t.Fatal(err)
		}
		var out []agent.Coarse
		for _, kv := range r.Kvs {
			var c agent.Coarse
			if err := json.Unmarshal(kv.Value, &c); err != nil {
				t.Fatal(err)
			}
			out = append(out, c)
		}
		return out
	}
	until(t, "statuses", func() bool {
		all := statuses()
		return len(all) == 3 && !slices.ContainsFunc(all, func(c agent.Coarse) bool { return len(c.Entries) != fleetEntries })
	})
	for _, prefix := range []string{s.layout.Live(""), s.layout.Seen("")} {
		until(t, prefix, func() bool {
			n, err := s.count(t.Context(), prefix)
			return err == nil && n == 3
		})
	}
	r, err := s.client.Put(t.Context(), s.layout.Config("@"+fleetAll), string(fleetDocument("auth", "mail")))
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the group's document in all statuses", func() bool {
		return !slices.ContainsFunc(statuses(), func(c agent.Coarse) bool {
			return len(c.Entries) != fleetEntries+1 || c.Documents[2].Running != r.Header.Revision
		})
	})
	for _, a := range s.sim {
		if got := a.taken(); !slices.ContainsFunc(got, func(x appliedAt) bool {
			return x.Host == a.host && x.Key == s.layout.Config("@"+fleetAll) && x.Revision == r.Header.Revision && x.Nano > 0
		}) {
			t.Errorf("%s does not know when it took the group's document: %+v", a.host, got)
		}
		if got := a.taken(); len(got) != 0 {
			t.Errorf("%s tells twice of %+v", a.host, got)
		}
		st := a.status()
		if m := st.Summary(); len(m.Encode()) > agent.MaxSummaryBytes || m.In == 0 || m.Files != (fleetEntries+1)*fleetFiles {
			t.Errorf("a summary of %d bytes: %s", len(m.Encode()), m.Encode())
		}
	}
}

func TestARevisionThatMovesInTheQuietIsNamed(t *testing.T) {
	t.Parallel()
	s := startSmallFleet(t, 0)
	ctx := t.Context()
	before, err := s.revision(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.moved(ctx, before, before); err != nil {
		t.Errorf("etcd stood still: %v", err)
	}
	if _, err := s.client.Put(ctx, s.layout.Status("chatty"), "{}"); err != nil {
		t.Fatal(err)
	}
	after, err := s.revision(ctx)
	if err != nil || after != before+1 {
		t.Errorf("after one write etcd went from %d to %d, %v", before, after, err)
	}
	if err := s.moved(ctx, before, after); err == nil || !strings.Contains(err.Error(), s.layout.Status("chatty")) {
		t.Errorf("a write is told as %v", err)
	}
	if _, err := s.client.Delete(ctx, s.layout.Status("chatty")); err != nil {
		t.Fatal(err)
	}
	if err := s.moved(ctx, after, after+1); err == nil {
		t.Error("a key that goes is no change")
	}
}

// newTestConsole has a store and feeds from etcd only.
func newTestConsole(t *testing.T, s *smallFleet) *fleetConsole {
	t.Helper()
	client, err := etcdcfg.New(etcdcfg.Options{Addrs: []string{s.etcdAddr}})
	if err != nil {
		t.Fatal(err)
	}
	c := &fleetConsole{etcd: client, said: &complaints{}, store: store.New(store.Options{}), runs: make(map[docOf]runsSince), changed: make(chan struct{})}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	t.Cleanup(func() { stop(); wg.Wait(); client.Close() })
	wg.Go(func() { c.note(client.FollowTree(ctx, consoleTree{c})) })
	return c
}

func TestAChangeIsSeenWhereItRunsAndNowhereBefore(t *testing.T) {
	t.Parallel()
	s := startSmallFleet(t, 2)
	c := newTestConsole(t, s)
	key := s.layout.Config(fleetHost(1))
	until(t, "first statuses", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.runs[docOf{fleetHost(1), key}].revision != 0
	})
	got, err := c.changeOneByOne(t.Context(), singleWith{[]int{1}})
	if err != nil {
		t.Fatal(err)
	}
	made := got.([]changeMade)
	if len(made) != 1 || made[0].Host != fleetHost(1) || made[0].Key != key {
		t.Fatalf("made %+v", made)
	}
	m := made[0]
	applied := make(map[appliedAt]int64)
	for _, a := range s.sim[1].taken() {
		applied[appliedAt{Host: a.Host, Key: a.Key, Revision: a.Revision}] = a.Nano
	}
	at := applied[appliedAt{Host: m.Host, Key: m.Key, Revision: m.Revision}]
	if !(m.Began < at && at < m.Seen && m.Began < m.Wrote) {
		t.Errorf("begun at 0, written after %d, applied after %d, seen after %d ns", m.Wrote-m.Began, at-m.Began, m.Seen-m.Began)
	}
	var v store.HostView
	until(t, "the store's row", func() bool {
		v = c.store.Host(fleetHost(1), store.Query{})
		return v.Row.Running == m.Revision && v.Row.Desired == m.Revision
	})
	if e := v.Row.Entries[0]; e.Service.SendRate == fleetRate || e.Drift != store.DriftNone {
		t.Errorf("after the change %s has %d lines per second, drift %v", e.Service.LogPath, e.Service.SendRate, e.Drift)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.await(ctx, []docOf{{fleetHost(0), key}}, func(int) int64 { return m.Revision }); err == nil {
		t.Error("a host runs what it never had")
	}
}

func TestChangeSetsAndGroupsAreSeenOnEveryHostAndLeaveTheirRecords(t *testing.T) {
	t.Parallel()
	const hosts = 4
	s := startSmallFleet(t, hosts)
	s.o.Set = hosts
	c := newTestConsole(t, s)
	until(t, "all as wanted", func() bool {
		rows := c.store.Fleet(store.Query{Count: hosts}).Rows
		return len(rows) == hosts && !slices.ContainsFunc(rows, func(r store.HostRow) bool { return len(r.Entries) != fleetEntries })
	})
	type deed struct {
		name string
		do   func() (any, error)
		want int // hosts
		docs int
		rate func(r *store.HostRow) int64
	}
	rate := func(service string) func(*store.HostRow) int64 {
		return func(r *store.HostRow) int64 {
			for _, e := range r.Entries {
				if e.Service.Service == service {
					return e.Service.SendRate
				}
			}
			return -1
		}
	}
	for _, d := range []deed{
		{"set", func() (any, error) { return c.changeSet(t.Context(), singleWith{[]int{0, 1, 2, 3}}) }, 4, 4, rate("app")},
		{"part", func() (any, error) {
			return c.changeGroup(t.Context(), groupWith{fleetPart(2), fleetPart(2), []int{2}})
		}, 1, 1, rate(fleetPart(2))},
		{"all", func() (any, error) {
			return c.changeGroup(t.Context(), groupWith{fleetAll, "auth", []int{0, 1, 2, 3}})
		}, 4, 1, rate("auth")},
	} {
		got, err := d.do()
		if err != nil {
			t.Fatalf("%s: %v", d.name, err)
		}
		made := got.([]changeMade)
		if len(made) != d.want {
			t.Errorf("%s: %d hosts, want %d", d.name, len(made), d.want)
		}
		applied := make(map[appliedAt]int64)
		for _, a := range s.sim {
			for _, at := range a.taken() {
				applied[appliedAt{Host: at.Host, Key: at.Key, Revision: at.Revision}] = at.Nano
			}
		}
		if _, err := latenciesOf(made, applied); err != nil {
			t.Errorf("%s: %v", d.name, err)
		}
		s.changed += d.docs
		for _, m := range made {
			until(t, d.name+" on "+m.Host, func() bool {
				r := c.store.Host(m.Host, store.Query{}).Row
				return d.rate(&r) == changedRate
			})
		}
	}
	records, bytes, err := s.sizeOf(t.Context(), s.layout.Root()+".history/")
	if err != nil || records != s.changed || bytes < 200*float64(records) || bytes > 2000*float64(records) {
		t.Errorf("%d records of %d changed documents, %.0f bytes, %v", records, s.changed, bytes, err)
	}
	if n, _, err := s.sizeOf(t.Context(), s.layout.Root()+".changes/"); err != nil || n < 2 {
		t.Errorf("%d keys of one change set, %v", n, err)
	}
}

func TestTheSectionOfTheFleetStandsInThePage(t *testing.T) {
	t.Parallel()
	s := fleetSection{Date: "2 May 2026", Hosts: thousands(12_345), Options: fleetScales["full"], Rows: []result{
		{Name: "quiet", What: "How it was.", Other: 0.125, Figures: []figure{
			measured("lease renewals", perSec, 333.3, atMost(500)), measured("revisions written", countless, 3, atMost(0)), measured("goroutines", countless, 35.04, nil),
		}},
	}}
	text, err := s.text()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"## A fleet of 12,345 hosts\n", "| **quiet** | lease renewals | 333.3 /s | ≤ 500.0 | met |",
		"|  | revisions written | 3 | ≤ 0 | **not met** |", "|  | goroutines | 35 |", "- **quiet**: How it was.", "others took 12.5 %",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	r := report{Scale: scales["full"], Fleet: strings.TrimSpace(string(text)), Peers: "| sender |"}
	var page strings.Builder
	if err := r.write(&page); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(page.String(), "| sender |\n\n"+r.Fleet+"\n\n## How to repeat it") {
		t.Errorf("the page is\n%s", page.String())
	}
	r.Fleet = ""
	page.Reset()
	if err := r.write(&page); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(page.String(), "| sender |\n\n## How to repeat it") {
		t.Errorf("without a fleet the page is\n%s", page.String())
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 10_000: "10,000", 1_234_567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d is %s", n, got)
		}
	}
}
