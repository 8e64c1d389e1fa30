package etcdcfg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"

	"logagent/agent"
	"logagent/etcdcfg/change"
	"logagent/internal/lab"
)

// fleetOf gives so many hosts a document with the entry a at rate 1, and returns their names.
func fleetOf(t *testing.T, e *lab.Etcd, c *Client, n int) []string {
	t.Helper()
	names := make([]string, n)
	var ops []clientv3.Op
	for i := range n {
		names[i] = fmt.Sprintf("web-%04d", i)
		ops = append(ops, clientv3.OpPut(c.layout.Config(names[i]), entry("a", 1)))
		if len(ops) == maxOps || i == n-1 {
			if _, err := e.Client().Txn(t.Context()).Then(ops...).Commit(); err != nil {
				t.Fatal(err)
			}
			ops = nil
		}
	}
	return names
}

// planRate plans another rate for every host.
func planRate(t *testing.T, c *Client, rate int) Plan {
	t.Helper()
	docs, _, err := c.Documents(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	p := PlanEdits(docs, setRate(rate))
	if len(p.Problems) > 0 {
		t.Fatal(p.Problems)
	}
	return p
}

func begin(t *testing.T, c *Client, p Plan, o StartOptions) string {
	t.Helper()
	id, err := c.Start(t.Context(), p, o)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func changeSet(t *testing.T, c *Client, id string) ChangeSet {
	t.Helper()
	set, err := c.ChangeSet(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// everyHostOnce checks that each document has the rate and exactly one record of the change,
// written together, that the outcome names.
func everyHostOnce(t *testing.T, e *lab.Etcd, c *Client, set ChangeSet, names []string, rate int64) {
	t.Helper()
	if set.State != StateDone || set.Done != len(names) || set.Documents != len(names) || len(set.Outcomes) != len(names) || set.Waiting() != 0 {
		t.Errorf("want %d done, got state %s (%s), %d of %d done, %d same, %d conflicts, %d outcomes",
			len(names), set.State, set.Reason, set.Done, set.Documents, set.Same, set.Conflicts, len(set.Outcomes))
	}
	for i, o := range set.Outcomes {
		raw, at := get(t, e, c.layout.Config(names[i]))
		if o.Name != names[i] || o.State != StepDone || o.Revision != at || raw != entry("a", rate) {
			t.Errorf("%s: document %s@%d, outcome %+v", names[i], raw, at, o)
		}
		records := 0
		for _, r := range history(t, c, names[i]) {
			if r.Change == set.ID {
				records++
				if r.ID != o.Record || r.Revision != at || r.Who != set.Who || r.Kind != set.Kind || r.Note != set.Note {
					t.Errorf("%s: record %+v, outcome %+v", names[i], r, o)
				}
			}
		}
		if records != 1 {
			t.Errorf("%s: want one record of the change, got %d", names[i], records)
		}
	}
}

// measuring notes how large transactions that write are.
type measuring struct {
	clientv3.KV
	mu    sync.Mutex // guards all below
	ops   []int
	bytes []int
}

func (m *measuring) Txn(ctx context.Context) clientv3.Txn {
	return &measuredTxn{Txn: m.KV.Txn(ctx), m: m}
}

type measuredTxn struct {
	clientv3.Txn
	m *measuring
	r etcdserverpb.TxnRequest
}

func (t *measuredTxn) If(cs ...clientv3.Cmp) clientv3.Txn {
	for _, c := range cs {
		// What it compares with is not told; no revision and no token is longer.
		value := &etcdserverpb.Compare_Value{Value: make([]byte, 128)}
		t.r.Compare = append(t.r.Compare, &etcdserverpb.Compare{Key: c.KeyBytes(), TargetUnion: value})
	}
	t.Txn = t.Txn.If(cs...)
	return t
}

func (t *measuredTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	for _, o := range ops {
		switch {
		case o.IsPut():
			put := &etcdserverpb.PutRequest{Key: o.KeyBytes(), Value: o.ValueBytes()}
			t.r.Success = append(t.r.Success, &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestPut{RequestPut: put}})
		case o.IsDelete():
			del := &etcdserverpb.DeleteRangeRequest{Key: o.KeyBytes(), RangeEnd: o.RangeBytes()}
			t.r.Success = append(t.r.Success, &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestDeleteRange{RequestDeleteRange: del}})
		}
	}
	t.Txn = t.Txn.Then(ops...)
	return t
}

func (t *measuredTxn) Else(ops ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(ops...); return t }

func (t *measuredTxn) Commit() (*clientv3.TxnResponse, error) {
	if len(t.r.Success) > 0 {
		t.m.mu.Lock()
		t.m.ops = append(t.m.ops, max(len(t.r.Success), len(t.r.Compare)))
		encoded, err := encoding.GetCodecV2("proto").Marshal(&t.r)
		if err != nil {
			panic(err)
		}
		t.m.bytes = append(t.m.bytes, encoded.Len())
		t.m.mu.Unlock()
	}
	return t.Txn.Commit()
}

func measure(t *testing.T, c *Client) *measuring {
	t.Helper()
	if _, _, err := c.Get(t.Context(), "any"); err != nil {
		t.Fatal(err)
	}
	m := &measuring{KV: c.etcd.KV}
	c.etcd.KV = m
	return m
}

func TestUpToSixtyThreeDocumentsChangeInOneTransactionAndMoreInASequenceThatSaysSo(t *testing.T) {
	t.Parallel()
	for _, hosts := range []int{1, 63, 64} {
		t.Run(fmt.Sprint(hosts), func(t *testing.T) {
			t.Parallel()
			c := newClient(t, shared.Addr())
			names := fleetOf(t, shared, c, hosts)
			p := planRate(t, c, 2)
			m := measure(t, c)
			id := begin(t, c, p, StartOptions{Meta: change.Meta{Who: alice, Note: "slower"}})
			set := changeSet(t, c, id)
			if atomic := hosts <= 63; set.Atomic != atomic {
				t.Errorf("want atomic %v, got %+v", atomic, set)
			}
			if hosts > 63 {
				if set.State != StateOpen || set.Done != 0 || set.Waiting() != hosts {
					t.Errorf("want nothing done yet, got %+v", set)
				}
				var err error
				if set, err = c.Drive(t.Context(), id, DriveOptions{Who: bob}); err != nil {
					t.Fatal(err)
				}
			}
			everyHostOnce(t, shared, c, set, names, 2)
			revisions := make(map[int64]int)
			for _, o := range set.Outcomes {
				revisions[o.Revision]++
			}
			if want := (hosts + 62) / 63; len(revisions) != want {
				t.Errorf("want %d transactions, got %v", want, revisions)
			}
			for i := range m.ops {
				if m.ops[i] > 128 || m.bytes[i] > 1<<20 {
					t.Errorf("a transaction of %d operations and %d bytes", m.ops[i], m.bytes[i])
				}
			}
			if hosts == 63 && (len(m.ops) != 1 || m.ops[0] != 128) {
				t.Errorf("want one transaction of 128 operations, got %v", m.ops)
			}
			if sets, err := c.ChangeSets(t.Context(), 0); err != nil || len(sets) != 1 || sets[0].ID != id || sets[0].State != StateDone || sets[0].Done != hosts {
				t.Errorf("got %+v, %v", sets, err)
			}
		})
	}
}

func TestLargeDocumentsChangeInTransactionsBelowOneMiB(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	want := make(map[string][]byte)
	p := Plan{}
	for i := range 6 {
		name := fmt.Sprintf("h%02d", i)
		before := bigDocument(200<<10, "x")
		at := put(t, shared, c.layout.Config(name), string(before))
		want[name] = bigDocument(200<<10, "y")
		edits, err := change.Between(before, want[name])
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			edits = []change.Edit{change.Replace(want[name])}
		}
		p.Steps = append(p.Steps, Step{Name: name, Edits: edits, Base: at, Before: before, After: want[name]})
	}
	m := measure(t, c)
	id := begin(t, c, p, StartOptions{Meta: change.Meta{Who: alice}})
	set, err := c.Drive(t.Context(), id, DriveOptions{})
	if err != nil || set.Done != len(want) || set.Atomic {
		t.Fatalf("got %+v, %v", set, err)
	}
	most := 0
	for i := range m.ops {
		most = max(most, m.bytes[i])
	}
	if most > 1<<20 || most < 300<<10 {
		t.Errorf("want transactions up to 1 MiB, the largest has %d bytes", most)
	}
	t.Logf("%d transactions, the largest of %d bytes", len(m.ops), most)
	for name, doc := range want {
		raw, _ := get(t, shared, c.layout.Config(name))
		if !change.Same([]byte(raw), doc) {
			t.Errorf("%s is not what was wanted", name)
		}
	}
	id2, err := c.Reverse(t.Context(), id, change.Meta{Who: bob})
	if err != nil {
		t.Fatal(err)
	}
	if set, err = c.Drive(t.Context(), id2, DriveOptions{}); err != nil || set.Done != len(want) {
		t.Fatalf("got %+v, %v", set, err)
	}
	for _, s := range p.Steps {
		if raw, _ := get(t, shared, c.layout.Config(s.Name)); raw != string(s.Before) {
			t.Errorf("%s did not come back byte for byte", s.Name)
		}
	}
}

func TestConflictsAreNamedByHostAndTheRestGoesOn(t *testing.T) {
	t.Parallel()
	for _, hosts := range []int{5, 80} {
		t.Run(fmt.Sprint(hosts), func(t *testing.T) {
			t.Parallel()
			c := newClient(t, shared.Addr())
			names := fleetOf(t, shared, c, hosts)
			p := planRate(t, c, 2)
			two := "[" + strings.Trim(entry("a", 1), "[]") + ", " + strings.Trim(entry("b", 1), "[]") + "]"
			put(t, shared, c.layout.Config(names[0]), entry("a", 7)) // the same entry
			put(t, shared, c.layout.Config(names[1]), two)           // another one
			remove(t, shared, c.layout.Config(names[2]))
			put(t, shared, c.layout.Config(names[3]), entry("a", 2)) // what is wanted
			put(t, shared, c.layout.Config(names[4]), "[")
			id := begin(t, c, p, StartOptions{Meta: change.Meta{Who: alice}})
			set, err := c.Drive(t.Context(), id, DriveOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if set.State != StateDone || set.Conflicts != 3 || set.Same != 1 || set.Done != hosts-4 {
				t.Errorf("got %+v", set)
			}
			for i, want := range []struct {
				state     StepState
				says, doc string
			}{
				{StepConflict, "send_rate was 1 and is 7 now", entry("a", 7)},
				{StepDone, "", strings.Replace(two, `"send_rate":1}`, `"send_rate":2}`, 1)},
				{StepConflict, names[2], ""},
				{StepSame, "", entry("a", 2)},
				{StepConflict, "broken", "["},
			} {
				o := set.Outcomes[i]
				raw, _ := get(t, shared, c.layout.Config(names[i]))
				if o.State != want.state || !strings.Contains(o.Error, want.says) || (o.Error == "") != (want.says == "") || raw != want.doc {
					t.Errorf("%s: want %+v, got %+v and %s", names[i], want, o, raw)
				}
				if want.state != StepDone && len(history(t, c, names[i])) > 0 && history(t, c, names[i])[0].Change != "" {
					t.Errorf("%s: recorded without a change", names[i])
				}
			}
		})
	}
}

// between lets somebody else write just before the first transaction that writes documents.
type between struct {
	clientv3.KV
	other func()
}

func (w *between) Txn(ctx context.Context) clientv3.Txn {
	return &betweenTxn{lossyTxn: &lossyTxn{Txn: w.KV.Txn(ctx), l: &lossy{}}, w: w}
}

type betweenTxn struct {
	*lossyTxn
	w    *between
	many bool // it writes documents: more than head and chunks
}

func (t *betweenTxn) If(cs ...clientv3.Cmp) clientv3.Txn { t.lossyTxn.If(cs...); return t }
func (t *betweenTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	t.lossyTxn.Then(ops...)
	t.many = t.writes && len(ops) > 2
	return t
}
func (t *betweenTxn) Else(ops ...clientv3.Op) clientv3.Txn { t.lossyTxn.Else(ops...); return t }

func (t *betweenTxn) Commit() (*clientv3.TxnResponse, error) {
	if t.many && t.w.other != nil {
		t.w.other()
		t.w.other = nil
	}
	return t.lossyTxn.Commit()
}

func TestDocumentsThatChangeWhileTheirTransactionIsMadeAreMergedOrNamed(t *testing.T) {
	t.Parallel()
	two := "[" + strings.Trim(entry("a", 1), "[]") + ", " + strings.Trim(entry("b", 1), "[]") + "]"
	for what, s := range map[string]struct{ before, other, want string }{
		"the same entry":               {entry("a", 1), entry("a", 7), entry("a", 7)},
		"another entry":                {entry("a", 1), two, strings.Replace(two, `"send_rate":1}`, `"send_rate":2}`, 1)},
		"what was as wanted, and back": {entry("a", 2), entry("a", 1), entry("a", 2)},
	} {
		for _, hosts := range []int{5, 80} {
			t.Run(fmt.Sprint(what, hosts), func(t *testing.T) {
				t.Parallel()
				c := newClient(t, shared.Addr())
				names := fleetOf(t, shared, c, hosts)
				p := planRate(t, c, 2)
				put(t, shared, c.layout.Config(names[0]), s.before)
				c.etcd.KV = &between{KV: c.etcd.KV, other: func() { put(t, shared, c.layout.Config(names[0]), s.other) }}
				id := begin(t, c, p, StartOptions{Meta: change.Meta{Who: alice}})
				set, err := c.Drive(t.Context(), id, DriveOptions{})
				if err != nil || c.etcd.KV.(*between).other != nil {
					t.Fatal(err)
				}
				conflict := s.want == s.other
				if (set.Conflicts == 1) != conflict || set.Done+set.Conflicts != hosts || strings.Contains(set.Outcomes[0].Error, "is 7 now") != conflict {
					t.Errorf("got %+v", set)
				}
				if raw, _ := get(t, shared, c.layout.Config(names[0])); raw != s.want {
					t.Errorf("want %s, got %s", s.want, raw)
				}
			})
		}
	}
}

func TestDriverThatIsKilledInTheMiddleOfFiveHundredHostsIsFollowedByAnotherThatDoesEachOnce(t *testing.T) {
	t.Parallel()
	const hosts = 500
	for _, how := range []string{"process", "client"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, shared.Addr())
			c.timing.driverTTL = 1
			names := fleetOf(t, shared, c, hosts)
			id := begin(t, c, planRate(t, c, 2), StartOptions{Meta: change.Meta{Who: alice, Note: "half"}})
			if how == "process" {
				d := startDriver(t, c, id)
				d.done(t) // of the first transaction
				d.next(t)
				d.done(t)
				d.next(t)
				if n := d.done(t); n != 3*63 {
					t.Fatalf("want three transactions, got %d documents", n)
				}
				d.next(t) // in the middle of the fourth, or of the fifth
				d.kill()
			} else {
				first := newClient(t, shared.Addr(), func(o *Options) { o.Pattern = c.opts.Pattern })
				first.timing.driverTTL = 1
				_, err := first.Drive(t.Context(), id, DriveOptions{Progress: func(s ChangeSet) {
					if s.Done == 3*63 {
						if err := first.Close(); err != nil {
							t.Error(err)
						}
					}
				}})
				if !errors.Is(err, ErrClosed) {
					t.Fatalf("want the driver's end, got %v", err)
				}
			}
			// Somebody edits another entry of one that is done and of one that is not, and
			// lists what is not finished.
			sets, err := c.ChangeSets(t.Context(), 10)
			if err != nil || len(sets) != 1 || sets[0].State != StateOpen || sets[0].Waiting() < 100 || sets[0].Done < 3*63 {
				t.Fatalf("got %+v, %v", sets, err)
			}
			set, err := c.Drive(t.Context(), id, DriveOptions{Who: bob})
			if err != nil {
				t.Fatal(err)
			}
			everyHostOnce(t, shared, c, set, names, 2)
			for _, name := range names {
				if n := len(history(t, c, name)); n != 2 { // and what was there before
					t.Errorf("%s has %d records", name, n)
				}
			}
			if again, err := c.Drive(t.Context(), id, DriveOptions{}); err != nil || again.State != StateDone || again.Done != hosts {
				t.Errorf("once more: got %s, %d, %v", again.State, again.Done, err)
			}
		})
	}
}

func TestOneDriverAtATimeWorksOnAChangeSet(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	c.timing.driverTTL = 1
	names := fleetOf(t, shared, c, 130)
	id := begin(t, c, planRate(t, c, 2), StartOptions{})
	hold, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var first ChangeSet
	var firstErr error
	var wg sync.WaitGroup
	wg.Go(func() {
		first, firstErr = c.Drive(t.Context(), id, DriveOptions{Who: alice, Progress: func(ChangeSet) {
			once.Do(func() { close(held); <-hold })
		}})
	})
	<-held
	second := newClient(t, shared.Addr(), func(o *Options) { o.Pattern = c.opts.Pattern })
	second.timing.driverTTL = 1
	if set := changeSet(t, second, id); set.Driver != alice.String() {
		t.Errorf("want alice shown, got %q", set.Driver)
	}
	if _, err := second.Drive(t.Context(), id, DriveOptions{Who: bob}); !errors.Is(err, ErrDriven) || !strings.Contains(err.Error(), "alice@bastion") {
		t.Errorf("want alice named, got %v", err)
	}
	close(hold)
	wg.Wait()
	if firstErr != nil {
		t.Fatal(firstErr)
	}
	everyHostOnce(t, shared, c, first, names, 2)
	if set := changeSet(t, second, id); set.Driver != "" {
		t.Errorf("want nobody at work, got %q", set.Driver)
	}
}

func TestDriverWhoseLeaseEndedWritesNothingAfterAnotherTookOver(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	names := fleetOf(t, shared, c, 130)
	id := begin(t, c, planRate(t, c, 2), StartOptions{})
	second := newClient(t, shared.Addr(), func(o *Options) { o.Pattern = c.opts.Pattern })
	var taken ChangeSet
	var once sync.Once
	_, err := c.Drive(t.Context(), id, DriveOptions{Who: alice, Progress: func(s ChangeSet) {
		once.Do(func() {
			remove(t, shared, c.driverKey(id)) // as etcd does when the lease ends
			var err error
			if taken, err = second.Drive(t.Context(), id, DriveOptions{Who: bob}); err != nil {
				t.Error(err)
			}
		})
	}})
	if err != nil {
		t.Errorf("want it found done, got %v", err)
	}
	everyHostOnce(t, shared, c, taken, names, 2)
	everyHostOnce(t, shared, c, changeSet(t, c, id), names, 2)
}

func TestDriverThatFindsAnotherInItsPlaceWritesNoMore(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	fleetOf(t, shared, c, 130)
	id := begin(t, c, planRate(t, c, 2), StartOptions{})
	set, err := c.Drive(t.Context(), id, DriveOptions{Who: alice, Progress: func(s ChangeSet) {
		if s.Done == 63 {
			put(t, shared, c.driverKey(id), `{"token":"x","who":{"user":"bob"}}`)
		}
	}})
	if !errors.Is(err, ErrDriven) || !strings.Contains(err.Error(), "bob") || set.Done != 63 {
		t.Errorf("want bob named and 63 done, got %d, %v", set.Done, err)
	}
	if set := changeSet(t, c, id); set.Done != 63 || set.State != StateOpen {
		t.Errorf("got %d, %s", set.Done, set.State)
	}
}

// late does the first write only just before the second, long after its writer was told
// that the connection is lost.
type late struct {
	clientv3.KV
	held func()
	once bool
}

func (l *late) Txn(ctx context.Context) clientv3.Txn {
	return &lateTxn{&lossyTxn{Txn: l.KV.Txn(ctx), l: &lossy{}}, l}
}

type lateTxn struct {
	*lossyTxn
	late *late
}

func (t *lateTxn) If(cs ...clientv3.Cmp) clientv3.Txn   { t.lossyTxn.If(cs...); return t }
func (t *lateTxn) Then(ops ...clientv3.Op) clientv3.Txn { t.lossyTxn.Then(ops...); return t }
func (t *lateTxn) Else(ops ...clientv3.Op) clientv3.Txn { t.lossyTxn.Else(ops...); return t }

func (t *lateTxn) Commit() (*clientv3.TxnResponse, error) {
	switch l := t.late; {
	case !t.writes:
	case !l.once:
		l.once = true
		l.held = func() { _, _ = t.lossyTxn.Commit() }
		return nil, status.Error(codes.Unavailable, "transport is closing")
	case l.held != nil:
		l.held()
		l.held = nil
	}
	return t.lossyTxn.Commit()
}

func TestWriteThatArrivesLongAfterItWasGivenUpDoublesNothing(t *testing.T) {
	t.Parallel()
	t.Run("change set", func(t *testing.T) {
		t.Parallel()
		c := newClient(t, shared.Addr())
		c.timing.poll = time.Millisecond
		names := fleetOf(t, shared, c, 130)
		id := begin(t, c, planRate(t, c, 2), StartOptions{Meta: change.Meta{Who: alice}})
		hurt := false
		set, err := c.Drive(t.Context(), id, DriveOptions{Progress: func(s ChangeSet) {
			if s.Done == 63 && !hurt {
				hurt = true
				c.etcd.KV = &late{KV: c.etcd.KV}
			}
		}})
		if err != nil || !hurt {
			t.Fatal(err)
		}
		everyHostOnce(t, shared, c, set, names, 2)
	})
	t.Run("at once", func(t *testing.T) {
		t.Parallel()
		c := newClient(t, shared.Addr())
		names := fleetOf(t, shared, c, 20)
		p := planRate(t, c, 2)
		c.etcd.KV = &late{KV: c.etcd.KV}
		id := begin(t, c, p, StartOptions{Meta: change.Meta{Who: alice}})
		everyHostOnce(t, shared, c, changeSet(t, c, id), names, 2)
	})
	t.Run("edit", func(t *testing.T) {
		t.Parallel()
		c := newClient(t, shared.Addr())
		if _, err := c.Save(t.Context(), "h", []byte(entry("b", 1)), 0, change.Meta{Who: alice}); err != nil {
			t.Fatal(err)
		}
		c.etcd.KV = &late{KV: c.etcd.KV}
		add := []change.Edit{{Op: change.OpAdd, Value: []byte(strings.Trim(entry("a", 1), "[]"))}}
		if _, err := c.Edit(t.Context(), "h", add, change.Meta{Who: bob}); err != nil {
			t.Fatal(err)
		}
		wantHistory(t, c, "h", "bob edit 1→1+1, alice edit -→1")
	})
}

func TestChangeSetStopsWhenToldAndGoesOnWhenToldOrIsTakenBack(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	c.timing.driverTTL = 1
	names := fleetOf(t, shared, c, 200)
	id := begin(t, c, planRate(t, c, 2), StartOptions{Meta: change.Meta{Who: alice}})
	if _, err := c.Reverse(t.Context(), id, change.Meta{}); err == nil || !strings.Contains(err.Error(), "stop it first") {
		t.Errorf("want a refusal, got %v", err)
	}
	set, err := c.Drive(t.Context(), id, DriveOptions{Progress: func(s ChangeSet) {
		if s.Done == 63 {
			if err := c.Stop(t.Context(), id, change.Meta{Who: bob, Note: "wrong rate"}); err != nil {
				t.Error(err)
			}
		}
	}})
	if err != nil || set.State != StateStopped || set.Reason != "stopped by bob@desk: wrong rate" || set.Done != 63 {
		t.Fatalf("want it stopped by bob after 63, got %s, %q, %d, %v", set.State, set.Reason, set.Done, err)
	}
	if set, err = c.Drive(t.Context(), id, DriveOptions{}); err != nil {
		t.Fatal(err)
	}
	everyHostOnce(t, shared, c, set, names, 2)
	if err := c.Stop(t.Context(), id, change.Meta{}); !errors.Is(err, ErrFinished) {
		t.Errorf("want it said that it is finished, got %v", err)
	}
	if _, err := c.ChangeSet(t.Context(), at(time.Now())); !errors.Is(err, ErrNoChange) {
		t.Errorf("want it said that there is none, got %v", err)
	}

	// Taken back: one host was changed since in this entry, one in another, one was deleted.
	two := "[" + strings.Trim(entry("a", 2), "[]") + ", " + strings.Trim(entry("b", 9), "[]") + "]"
	put(t, shared, c.layout.Config(names[0]), entry("a", 50))
	put(t, shared, c.layout.Config(names[1]), two)
	remove(t, shared, c.layout.Config(names[2]))
	put(t, shared, c.layout.Config(names[3]), entry("a", 1)) // back already
	back, err := c.Reverse(t.Context(), id, change.Meta{Who: bob, Note: "back"})
	if err != nil {
		t.Fatal(err)
	}
	if set, err = c.Drive(t.Context(), back, DriveOptions{}); err != nil || set.Conflicts != 2 || set.Same != 1 || set.Done != 197 ||
		set.Kind != change.KindReverse || set.Of != id {
		t.Fatalf("got %+v, %v", set, err)
	}
	for i, name := range names {
		want := entry("a", 1)
		switch i {
		case 0:
			want = entry("a", 50)
		case 1:
			want = strings.Replace(two, `"send_rate":2`, `"send_rate":1`, 1)
		case 2:
			want = ""
		}
		if raw, _ := get(t, shared, c.layout.Config(name)); raw != want {
			t.Errorf("%s: want %s, got %s", name, want, raw)
		}
	}
	if o := set.Outcomes[0]; o.State != StepConflict || !strings.Contains(o.Error, names[0]) || !strings.Contains(o.Error, "50") {
		t.Errorf("want the conflict named, got %+v", o)
	}
}

func TestReverseDeletesWhatTheChangeMadeAndMakesWhatItDeleted(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	const odd = "[ {\"log_path\":\"/var/log/a.log\", \"topic\":\"t\",\"service\":\"a\",\"exclude\":[\"<*&\"],\"future\":[1.50]} ]\n"
	put(t, shared, c.layout.Config("deleted"), odd)
	put(t, shared, c.layout.Config("@web"), odd)
	docs, _, err := c.Documents(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	p := PlanEdits(docs[1:], []change.Edit{{Op: change.OpDelete}})
	p.Steps = append(p.Steps, PlanEdits(docs[:1], setRate(5)).Steps...)
	p.Steps = append(p.Steps, PlanFleet(nil, change.FleetOf(map[string][]byte{"new": []byte(entry("n", 1))})).Steps...)
	id := begin(t, c, p, StartOptions{Meta: change.Meta{Who: alice}})
	set := changeSet(t, c, id)
	if set.Done != 3 || !set.Atomic {
		t.Fatalf("got %+v", set)
	}
	if _, at := get(t, shared, c.layout.Config("deleted")); at != 0 {
		t.Error("not deleted")
	}
	if raw, _ := get(t, shared, c.layout.Config("new")); !change.Same([]byte(raw), []byte(entry("n", 1))) {
		t.Errorf("got %s", raw)
	}
	back, err := c.Reverse(t.Context(), id, change.Meta{Who: bob})
	if err != nil {
		t.Fatal(err)
	}
	if set := changeSet(t, c, back); set.Done != 3 || set.State != StateDone {
		t.Errorf("got %+v", set)
	}
	for name, want := range map[string]string{"deleted": odd, "@web": odd, "new": ""} {
		if raw, _ := get(t, shared, c.layout.Config(name)); raw != want {
			t.Errorf("%s: want %q, got %q", name, want, raw)
		}
	}
	if _, err := c.Reverse(t.Context(), back, change.Meta{}); err != nil {
		t.Errorf("a reverse can be taken back: %v", err)
	}
}

func TestPlanIsTheChangeThatIsMade(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	two := "[" + strings.Trim(entry("a", 1), "[]") + ",\n" + strings.Replace(strings.Trim(entry("b", 3), "[]"), `"service":"b"`, `"service":"a"`, 1) + "]"
	put(t, shared, c.layout.Config("both"), two)
	put(t, shared, c.layout.Config("one"), entry("a", 1))
	put(t, shared, c.layout.Config("none"), entry("z", 1))
	put(t, shared, c.layout.Config("broken"), "[")
	put(t, shared, c.layout.Config("@web"), entry("a", 4))
	docs, _, err := c.Documents(t.Context(), func(name string) bool { return name != "one" })
	if err != nil || len(docs) != 4 || docs[0].Name != "@web" || docs[3].Name != "none" {
		t.Fatalf("got %+v, %v", docs, err)
	}
	edits := setRate(9)
	edits[0].LogPath, edits[0].Service = "", "a"
	p := PlanEdits(docs, edits)
	if len(p.Steps) != 2 || len(p.Same) != 1 || p.Same[0] != "none" || len(p.Problems) != 1 || p.Problems[0].Name != "broken" ||
		!strings.Contains(p.Problems[0].Err.Error(), "broken") || p.Effect.Documents != 2 || p.Effect.Changed != 3 {
		t.Fatalf("got %+v", p)
	}
	id := begin(t, c, p, StartOptions{})
	for _, s := range p.Steps {
		if raw, _ := get(t, shared, c.layout.Config(s.Name)); raw != string(s.After) || strings.Count(raw, `"send_rate":9`) != len(s.Diff) {
			t.Errorf("%s: want %s, got %s", s.Name, s.After, raw)
		}
	}
	if set := changeSet(t, c, id); set.Done != 2 {
		t.Errorf("got %+v", set)
	}
	// The file of a fleet that was written a moment ago changes nothing.
	docs, _, err = c.Documents(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	raws := make(map[string][]byte)
	for _, d := range docs {
		raws[d.Name] = d.Raw
	}
	fleet, err := change.ParseFleet(change.FleetOf(raws).Encode())
	if err != nil {
		t.Fatal(err)
	}
	if p := PlanFleet(docs, fleet); len(p.Steps) != 0 || len(p.Problems) != 0 || len(p.Same) != 5 {
		t.Errorf("want everything the same, got %+v", p)
	}
	if _, err := c.Start(t.Context(), Plan{}, StartOptions{}); err == nil {
		t.Error("a plan without steps was started")
	}
}

func TestFinishedChangeSetsBeyondAHundredAreRemovedAndOpenOnesKept(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	fleetOf(t, shared, c, 64)
	open := begin(t, c, planRate(t, c, 2), StartOptions{})
	rate := func(n int) Plan {
		docs, _, err := c.Documents(t.Context(), func(name string) bool { return name == "web-0000" })
		if err != nil {
			t.Fatal(err)
		}
		return PlanEdits(docs, setRate(n))
	}
	orphan := at(time.Now())
	put(t, shared, c.chunkKey(orphan, 1), "{}") // its writer died before the head
	var first, last string
	for n := range 101 {
		id := begin(t, c, rate(n+10), StartOptions{})
		if n == 0 {
			first = id
		}
		last = id
	}
	sets, err := c.ChangeSets(t.Context(), 0)
	if err != nil || len(sets) != 101 || sets[0].ID != last || sets[100].ID != open {
		t.Errorf("want 100 and the open one, got %d, %v", len(sets), err)
	}
	r, err := shared.Client().Get(t.Context(), c.layout.Changes(""), clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range r.Kvs {
		if strings.Contains(string(kv.Key), first) || strings.Contains(string(kv.Key), orphan) {
			t.Errorf("%s is still there", kv.Key)
		}
	}
	if len(r.Kvs) != 100*2+3 {
		t.Errorf("want two keys of each finished one and three of the open one, got %d", len(r.Kvs))
	}
	// Old ones go by age, the newest ten stay.
	c.timing.now = func() time.Time { return time.Now().Add(200 * 24 * time.Hour) }
	begin(t, c, rate(1000), StartOptions{})
	if sets, err = c.ChangeSets(t.Context(), 0); err != nil || len(sets) != 11 || sets[10].ID != open {
		t.Errorf("want ten and the open one, got %d, %v", len(sets), err)
	}
	if sets, err = c.ChangeSets(t.Context(), 3); err != nil || len(sets) != 3 {
		t.Errorf("want three, got %d, %v", len(sets), err)
	}
}

func TestAnswersThatAreLostInTheMiddleOfAChangeSetDoubleNothing(t *testing.T) {
	t.Parallel()
	t.Run("lost", func(t *testing.T) {
		t.Parallel()
		c := newClient(t, shared.Addr())
		c.timing.poll = 10 * time.Millisecond
		names := fleetOf(t, shared, c, 200)
		p := planRate(t, c, 2)
		l := &lossy{c.etcd.KV, 2, 0}
		c.etcd.KV = l
		id := begin(t, c, p, StartOptions{Meta: change.Meta{Who: alice}})
		if l.loseAnswers != 0 {
			t.Fatal("no answer was lost")
		}
		set, err := c.Drive(t.Context(), id, DriveOptions{Progress: func(s ChangeSet) {
			if s.Done > 0 && s.Done%126 == 0 {
				l.loseRequests = 1
			} else if s.Done > 0 {
				l.loseAnswers = 2
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		everyHostOnce(t, shared, c, set, names, 2)
	})
	t.Run("at once", func(t *testing.T) {
		t.Parallel()
		c := newClient(t, shared.Addr())
		names := fleetOf(t, shared, c, 20)
		p := planRate(t, c, 2)
		c.etcd.KV = &lossy{c.etcd.KV, 1, 0}
		id := begin(t, c, p, StartOptions{Meta: change.Meta{Who: alice}})
		everyHostOnce(t, shared, c, changeSet(t, c, id), names, 2)
		c.etcd.KV.(*lossy).loseRequests = 9
		if id, err := c.Start(t.Context(), planRate(t, c, 3), StartOptions{}); err == nil || id == "" || !strings.Contains(err.Error(), "not known whether change "+id) {
			t.Errorf("want it said, got %s, %v", id, err)
		}
	})
	t.Run("late and cut", func(t *testing.T) {
		t.Parallel()
		p := startProxy(t, shared.Addr())
		c := newClient(t, p.Addr(), func(o *Options) { o.Timeout = 300 * time.Millisecond })
		c.timing.poll = 10 * time.Millisecond
		t.Cleanup(func() { forget(t, c) })
		names := fleetOf(t, shared, c, 300)
		id := begin(t, c, planRate(t, c, 2), StartOptions{Meta: change.Meta{Who: alice}})
		hurt := 0
		set, err := c.Drive(t.Context(), id, DriveOptions{Progress: func(s ChangeSet) {
			switch {
			case s.Doing == "waiting for etcd":
				p.Delay(0)
				p.Flow()
			case s.Done >= 63*(hurt+1):
				hurt++
				switch hurt {
				case 1:
					p.Delay(2 * time.Second)
				case 2:
					p.Stall()
				default:
					p.Cut()
				}
			}
		}})
		if err != nil || hurt < 3 {
			t.Fatalf("hurt %d times: %v", hurt, err)
		}
		everyHostOnce(t, shared, c, set, names, 2)
	})
}

func TestChangeSetGoesOnFromWhatARestoredEtcdHolds(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "etcd")
	e := ownEtcd(t, lab.EtcdOptions{Dir: dir})
	c := newClient(t, e.Addr())
	c.timing.driverTTL = 1
	names := fleetOf(t, e, c, 200)
	id := begin(t, c, planRate(t, c, 2), StartOptions{Meta: change.Meta{Who: alice}})
	stopAt := func(n int) {
		t.Helper()
		set, err := c.Drive(t.Context(), id, DriveOptions{Progress: func(s ChangeSet) {
			if s.Done == n {
				if err := c.Stop(t.Context(), id, change.Meta{Who: bob}); err != nil {
					t.Error(err)
				}
			}
		}})
		if err != nil || set.Done != n {
			t.Fatalf("got %d, %v", set.Done, err)
		}
	}
	stopAt(63)
	// A backup of now, to which etcd is put back after it went on.
	e.Stop()
	backup := filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := e.Restart(); err != nil {
		t.Fatal(err)
	}
	stopAt(126)
	e.Stop()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	if err := e.Restart(); err != nil {
		t.Fatal(err)
	}
	if set := changeSet(t, c, id); set.Done != 63 {
		t.Fatalf("want the state of the backup, got %d done", set.Done)
	}
	set, err := c.Drive(t.Context(), id, DriveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	everyHostOnce(t, e, c, set, names, 2)
	if err := e.RestartEmpty(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new etcd", func() bool {
		_, err := c.Drive(t.Context(), id, DriveOptions{})
		return errors.Is(err, ErrNoChange)
	})
}

func BenchmarkHistoryOfOneChange(b *testing.B) {
	var entries []string
	for i := range 5 {
		entries = append(entries, strings.Trim(entry(fmt.Sprint("service-", i), 1000), "[]"))
	}
	doc := []byte("[" + strings.Join(entries, ",\n ") + "]\n")
	if _, _, err := agent.ParseDocument(doc); err != nil {
		b.Fatal(err)
	}
	c, err := New(Options{Addrs: []string{shared.Addr()}, Pattern: "/bench/%s"})
	if err != nil {
		b.Fatal(err)
	}
	total, n := 0, int64(0)
	for b.Loop() {
		after, err := editRate(doc, "/var/log/service-2.log", 1000+n)
		if err != nil {
			b.Fatal(err)
		}
		w, err := c.newWrite("web-0187.fra1", seen{raw: doc, revision: 1}, after, change.Meta{Who: alice, Note: "a note of some words", Kind: change.KindRate})
		if err != nil {
			b.Fatal(err)
		}
		total += len(w.record) + len(w.value)
		n++
	}
	b.ReportMetric(float64(total)/float64(n), "history-B/change")
	b.ReportMetric(float64(len(doc)), "document-B")
}

func BenchmarkChangeOfFiveHundredHosts(b *testing.B) {
	const hosts = 500
	ctx := context.Background()
	c, err := New(Options{Addrs: []string{shared.Addr()}, Pattern: "/bench500/%s"})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for i := range hosts {
		if _, err := shared.Client().Put(ctx, c.layout.Config(fmt.Sprintf("web-%04d", i)), entry("a", 1)); err != nil {
			b.Fatal(err)
		}
	}
	rate := 1
	for b.Loop() {
		rate++
		docs, _, err := c.Documents(ctx, nil)
		if err != nil {
			b.Fatal(err)
		}
		id, err := c.Start(ctx, PlanEdits(docs, setRate(rate)), StartOptions{Meta: change.Meta{Who: alice}})
		if err != nil {
			b.Fatal(err)
		}
		if set, err := c.Drive(ctx, id, DriveOptions{}); err != nil || set.Done != hosts {
			b.Fatal(set.Done, err)
		}
	}
	for _, prefix := range []string{c.layout.Root() + "/", c.layout.Root() + "."} {
		if _, err := shared.Client().Delete(ctx, prefix, clientv3.WithPrefix()); err != nil {
			b.Fatal(err)
		}
	}
}
