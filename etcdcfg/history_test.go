package etcdcfg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/agent"
	"logagent/etcdcfg/change"
	"logagent/internal/lab"
)

var (
	alice = change.Who{User: "alice", Host: "bastion", SSH: "10.0.0.7"}
	bob   = change.Who{User: "bob", Host: "desk"}
)

// at is a ulid of some time.
func at(t time.Time) string {
	return ulid.MustNew(ulid.Timestamp(t), ulid.DefaultEntropy()).String()
}

// history returns a document's, newest first.
func history(t *testing.T, c *Client, name string) []change.Record {
	t.Helper()
	records, err := c.History(t.Context(), name, 0)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// words is a history in short, newest first: who did what from which rate to which.
func words(t *testing.T, records []change.Record) string {
	t.Helper()
	state := func(packed []byte) string {
		raw, err := change.Unpack(packed)
		if err != nil {
			t.Fatal(err)
		}
		if raw == nil {
			return "-"
		}
		services, _, err := agent.ParseDocument(raw)
		if err != nil {
			return string(raw)
		}
		var rates []string
		for _, s := range services {
			rates = append(rates, fmt.Sprint(s.SendRate))
		}
		return strings.Join(rates, "+")
	}
	var out []string
	for _, r := range records {
		user := r.Who.User
		if user == "" {
			user = "?"
		}
		out = append(out, fmt.Sprintf("%s %s %s→%s", user, r.Kind, state(r.Before), state(r.After)))
	}
	return strings.Join(out, ", ")
}

func setRate(rate int) []change.Edit {
	fields, err := change.ParseFields([]string{fmt.Sprint("send_rate=", rate)})
	if err != nil {
		panic(err)
	}
	return []change.Edit{{Op: change.OpSet, LogPath: "/var/log/a.log", Fields: fields}}
}

func wantHistory(t *testing.T, c *Client, name, want string) []change.Record {
	t.Helper()
	records := history(t, c, name)
	if got := words(t, records); got != want {
		t.Fatalf("history of %s:\nwant %s\n got %s", name, want, got)
	}
	return records
}

func TestEveryWriteKeepsWhoWhenWhyAndTheDocumentBeforeAndAfterInOneTransaction(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"h", "@web"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, shared.Addr())
			began := time.Now().Add(-time.Second)
			check := func(revision int64, err error, want change.Record) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				_, docAt := get(t, shared, c.layout.Config(name))
				if revision != docAt {
					t.Errorf("want revision %d, got %d", docAt, revision)
				}
				got := history(t, c, name)[0]
				if docAt != 0 && got.Revision != docAt {
					t.Errorf("document is of revision %d, its record of %d: not one transaction", docAt, got.Revision)
				}
				if got.At.Before(began) || got.At.After(time.Now().Add(time.Second)) {
					t.Errorf("want it stamped now, got %v", got.At)
				}
				if _, err := ulid.ParseStrict(got.ID); err != nil || got.Name != name || got.Version != 1 ||
					got.Who != want.Who || got.Kind != want.Kind || got.Note != want.Note || got.Of != want.Of || got.Base != want.Base {
					t.Errorf("want %+v\n got %+v", want, got)
				}
			}
			first, err := c.Save(t.Context(), name, []byte(entry("a", 1)), 0, change.Meta{Who: alice, Note: "begin"})
			check(first, err, change.Record{Who: alice, Kind: change.KindEdit, Note: "begin"})
			second, err := c.SetRate(t.Context(), name, "/var/log/a.log", 1, 2, change.Meta{Who: bob})
			check(second, err, change.Record{Who: bob, Kind: change.KindRate, Base: first})
			third, err := c.Edit(t.Context(), name, setRate(3), change.Meta{Who: alice, Kind: change.KindApply})
			check(third, err, change.Record{Who: alice, Kind: change.KindApply, Base: second})
			of := history(t, c, name)[2].ID
			fourth, err := c.Rollback(t.Context(), name, of, change.Meta{Who: bob, Note: "too much"})
			check(fourth, err, change.Record{Who: bob, Kind: change.KindRollback, Note: "too much", Of: of, Base: third})
			gone, err := c.Save(t.Context(), name, nil, fourth, change.Meta{Who: alice, Kind: change.KindForget})
			check(gone, err, change.Record{Who: alice, Kind: change.KindForget, Base: fourth})
			records := wantHistory(t, c, name, "alice forget 1→-, bob rollback 3→1, alice apply 2→3, bob rate 1→2, alice edit -→1")
			if few, err := c.History(t.Context(), name, 2); err != nil || words(t, few) != words(t, records[:2]) {
				t.Errorf("want the newest two, got %s, %v", words(t, few), err)
			}
			// A deleted document comes back, byte for byte.
			if _, err := c.Rollback(t.Context(), name, records[2].ID, change.Meta{Who: bob}); err != nil {
				t.Fatal(err)
			}
			if raw, _ := get(t, shared, c.layout.Config(name)); raw != entry("a", 3) {
				t.Errorf("want %s, got %s", entry("a", 3), raw)
			}
		})
	}
}

func TestWriteThatChangesNothingIsNotRecorded(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	revision, err := c.Save(t.Context(), "h", []byte(entry("a", 1)), 0, change.Meta{Who: alice})
	if err != nil {
		t.Fatal(err)
	}
	for what, write := range map[string]func() (int64, error){
		"save": func() (int64, error) { return c.Save(t.Context(), "h", []byte(entry("a", 1)), revision, change.Meta{}) },
		"edit": func() (int64, error) { return c.Edit(t.Context(), "h", setRate(1), change.Meta{}) },
		"rate": func() (int64, error) { return c.SetRate(t.Context(), "h", "/var/log/a.log", 1, 1, change.Meta{}) },
	} {
		if got, err := write(); err != nil || got != revision {
			t.Errorf("%s: want revision %d, got %d, %v", what, revision, got, err)
		}
	}
	for _, id := range []string{history(t, c, "h")[0].ID, HistoryNow} {
		if _, err := c.Rollback(t.Context(), "h", id, change.Meta{Who: bob}); !errors.Is(err, ErrUnchanged) {
			t.Errorf("rollback to %s: want it said that nothing changes, got %v", id, err)
		}
	}
	wantHistory(t, c, "h", "alice edit -→1")
}

func TestChangeMadeByOtherMeansStandsInTheHistoryAndCanBeGoneBackTo(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	key := c.layout.Config("h")
	wantHistory(t, c, "h", "")
	put(t, shared, key, entry("a", 1)) // etcdctl, before all else
	records := wantHistory(t, c, "h", "? outside -→1")
	if records[0].ID != HistoryNow {
		t.Errorf("want the id %s, got %s", HistoryNow, records[0].ID)
	}
	if _, err := c.Edit(t.Context(), "h", setRate(2), change.Meta{Who: alice}); err != nil {
		t.Fatal(err)
	}
	put(t, shared, key, entry("a", 3)) // etcdctl again, and again
	put(t, shared, key, entry("a", 4))
	if _, err := c.Edit(t.Context(), "h", setRate(5), change.Meta{Who: bob}); err != nil {
		t.Fatal(err)
	}
	remove(t, shared, key)
	records = wantHistory(t, c, "h", "? outside 5→-, bob edit 4→5, ? outside 2→4, alice edit 1→2, ? outside -→1")
	if want := records[1].ID + "^"; records[2].ID != want {
		t.Errorf("want the id %s, got %s", want, records[2].ID)
	}
	for _, step := range []struct{ id, want string }{
		{records[2].ID, entry("a", 4)}, {records[4].ID, entry("a", 1)}, {records[3].ID, entry("a", 2)}, {records[1].ID, entry("a", 5)},
	} {
		if raw, now, err := c.Version(t.Context(), "h", step.id); err != nil || string(raw) != step.want {
			t.Errorf("version %s at %d: want %s, got %s, %v", step.id, now, step.want, raw, err)
		}
		revision, err := c.Rollback(t.Context(), "h", step.id, change.Meta{Who: alice})
		if raw, at := get(t, shared, key); err != nil || raw != step.want || at != revision {
			t.Errorf("back to %s: want %s@%d, got %s@%d, %v", step.id, step.want, revision, raw, at, err)
		}
	}
	if _, err := c.Rollback(t.Context(), "h", at(time.Now()), change.Meta{}); !errors.Is(err, ErrNoRecord) {
		t.Errorf("want it said that there is no such record, got %v", err)
	}
	// A broken document that somebody put there is part of the history, and never written.
	put(t, shared, key, "[")
	if _, err := c.Save(t.Context(), "h", []byte(entry("a", 6)), revisionOf(t, key), change.Meta{Who: bob}); err != nil {
		t.Fatal(err)
	}
	if got := words(t, history(t, c, "h")[:2]); got != "bob edit [→6, ? outside 5→[" {
		t.Errorf("got %s", got)
	}
	if _, err := c.Rollback(t.Context(), "h", history(t, c, "h")[1].ID, change.Meta{}); err == nil || !strings.Contains(err.Error(), "not saved") {
		t.Errorf("want a refusal, got %v", err)
	}
}

func revisionOf(t *testing.T, key string) int64 {
	t.Helper()
	_, at := get(t, shared, key)
	return at
}

func TestRollbackReachesEveryRecordAfterEtcdForgotItsRevisions(t *testing.T) {
	t.Parallel()
	e := ownEtcd(t)
	c := newClient(t, e.Addr())
	for _, name := range []string{"h", "@web", "gone"} {
		revision := put(t, e, c.layout.Config(name), entry("a", 1))
		for rate := range int64(4) {
			var err error
			if revision, err = c.Save(t.Context(), name, []byte(entry("a", rate+2)), revision, change.Meta{Who: alice}); err != nil {
				t.Fatal(err)
			}
		}
		if name == "gone" {
			if _, err := c.Save(t.Context(), name, nil, revision, change.Meta{Who: bob}); err != nil {
				t.Fatal(err)
			}
		}
		now := put(t, e, "/any", "")
		if _, err := e.Client().Compact(t.Context(), now, clientv3.WithCompactPhysical()); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Client().Defragment(t.Context(), e.Addr()); err != nil {
			t.Fatal(err)
		}
		records := history(t, c, name)
		for i, r := range records {
			want, err := change.Unpack(r.After)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Rollback(t.Context(), name, r.ID, change.Meta{Who: bob}); err != nil && !errors.Is(err, ErrUnchanged) {
				t.Fatalf("%s back to %s: %v", name, r.ID, err)
			}
			if raw, _ := get(t, e, c.layout.Config(name)); raw != string(want) {
				t.Errorf("%s, record %d: want %s, got %s", name, i, want, raw)
			}
		}
		if len(records) < 5 {
			t.Errorf("%s: want five records at least, got %s", name, words(t, records))
		}
	}
}

func TestStepsOfOneTuningAreOneRecordUntilSomebodyElseWrites(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	put(t, shared, c.layout.Config("h"), entry("a", 1))
	tuning := change.Meta{ID: at(time.Now()), Who: alice, Kind: change.KindRate}
	step := func(m change.Meta, from, to int64) {
		t.Helper()
		if _, err := c.SetRate(t.Context(), "h", "/var/log/a.log", from, to, m); err != nil {
			t.Fatal(err)
		}
	}
	for rate := range int64(5) {
		step(tuning, rate+1, rate+2)
	}
	records := wantHistory(t, c, "h", "alice rate 1→6, ? outside -→1")
	if records[0].ID != tuning.ID || records[0].Revision != revisionOf(t, c.layout.Config("h")) {
		t.Errorf("want record %s of the document's revision, got %+v", tuning.ID, records[0])
	}
	step(change.Meta{Who: bob}, 6, 10) // somebody else
	step(tuning, 10, 11)
	step(tuning, 11, 12)
	put(t, shared, c.layout.Config("h"), entry("a", 20)) // other means
	step(tuning, 20, 21)
	step(tuning, 21, 22)
	other := tuning
	other.Who = bob
	step(other, 22, 23)
	records = wantHistory(t, c, "h", "bob rate 22→23, alice rate 20→22, ? outside 12→20, alice rate 10→12, bob rate 6→10, alice rate 1→6, ? outside -→1")
	// What is continued stands where it began.
	for i, r := range records[1:] {
		if r.Kind != change.KindOutside && r.ID >= records[i].ID {
			t.Errorf("record %d is not older than the one before it", i+1)
		}
	}
}

func TestRecordsStandInTheOrderOfTheChangesHoweverTheClocksOfTheWritersStand(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	now := time.Now()
	revision, want := int64(0), ""
	for i, off := range []time.Duration{0, time.Hour, -24 * time.Hour, 200 * 365 * 24 * time.Hour, -40 * 365 * 24 * time.Hour, 0} {
		c.timing.now = func() time.Time { return now.Add(off) }
		var err error
		if revision, err = c.Save(t.Context(), "h", []byte(entry("a", int64(i+1))), revision, change.Meta{Who: alice}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			want = "alice edit -→1"
		} else {
			want = fmt.Sprintf("alice edit %d→%d, ", i, i+1) + want
		}
		wantHistory(t, c, "h", want)
	}
}

func TestHistoryIsBoundedByCountAndAgeAndNeverWipedByAClockThatIsFarOff(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr(), func(o *Options) { o.History = Limits{Keep: 20, MaxAge: 30 * 24 * time.Hour} })
	now := time.Now()
	revision := int64(0)
	write := func(n int, at time.Time) int {
		t.Helper()
		c.timing.now = func() time.Time { return at }
		for range n {
			var err error
			if revision, err = c.Save(t.Context(), "h", []byte(entry("a", revision+1)), revision, change.Meta{Who: alice}); err != nil {
				t.Fatal(err)
			}
		}
		r, err := shared.Client().Get(t.Context(), c.layout.histories("h"), clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			t.Fatal(err)
		}
		return int(r.Count)
	}
	other := at(now.Add(-99 * 24 * time.Hour)) // of a host whose name begins alike
	put(t, shared, c.layout.History("h2", other), "{}")
	if got := write(25, now.Add(-40*24*time.Hour)); got != 20 {
		t.Errorf("want 20 kept by count, got %d", got)
	}
	if got := write(1, now.Add(-39*24*time.Hour)); got != 20 {
		t.Errorf("nothing is too old: want 20, got %d", got)
	}
	if got := write(1, now); got != 10 {
		t.Errorf("all others are too old: want the newest 10, got %d", got)
	}
	if got := write(12, now); got != 13 {
		t.Errorf("want all of the last 13 and nothing older, got %d", got)
	}
	if got := write(1, now.Add(100*365*24*time.Hour)); got != 10 {
		t.Errorf("a clock a hundred years ahead: want the newest 10, got %d", got)
	}
	if got := write(30, now.Add(-50*365*24*time.Hour)); got != 20 {
		t.Errorf("a clock fifty years behind: want 20, got %d", got)
	}
	records := history(t, c, "h")
	if records[0].Revision != revision {
		t.Errorf("want the newest record kept, got %+v", records[0])
	}
	if _, at := get(t, shared, c.layout.History("h2", other)); at == 0 {
		t.Error("another host's history was removed")
	}
}

func TestWriteSucceedsWhereOldHistoryCannotBeRemoved(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr(), func(o *Options) { o.History.Keep = 10 })
	revision := writeTimes(t, c, 10, 0)
	kept := c.etcd.KV
	c.etcd.KV = &refuseDeletes{KV: kept}
	revision = writeTimes(t, c, 2, revision)
	if n := len(history(t, c, "h")); n != 12 {
		t.Errorf("want twelve records, got %d", n)
	}
	c.etcd.KV = kept
	writeTimes(t, c, 1, revision)
	if n := len(history(t, c, "h")); n != 10 {
		t.Errorf("want it made up for, got %d records", n)
	}
}

// writeTimes changes the document of h so many times, and returns its revision.
func writeTimes(t *testing.T, c *Client, n int, revision int64) int64 {
	t.Helper()
	for range n {
		var err error
		if revision, err = c.Save(t.Context(), "h", []byte(entry("a", revision+1)), revision, change.Meta{Who: alice}); err != nil {
			t.Fatal(err)
		}
	}
	return revision
}

func TestOneWritersLimitsLeaveTenChangesOfWhatAllWrote(t *testing.T) {
	t.Parallel()
	for _, limits := range []Limits{{Keep: 1}, {Keep: 9}, {MaxAge: time.Nanosecond}, {Keep: 1, MaxAge: time.Nanosecond}} {
		t.Run(fmt.Sprint(limits), func(t *testing.T) {
			t.Parallel()
			c := newClient(t, shared.Addr())
			revision := writeTimes(t, c, 15, 0)
			few := newClient(t, shared.Addr(), func(o *Options) { o.Pattern, o.History = c.opts.Pattern, limits })
			few.timing.now = func() time.Time { return time.Now().Add(time.Hour) }
			writeTimes(t, few, 1, revision)
			if n := len(history(t, c, "h")); n != 10 {
				t.Errorf("want the newest ten, got %d", n)
			}
		})
	}
}

func TestWhatIsOlderThanTheHistoryIsNotTakenForSomebodyElsesChange(t *testing.T) {
	t.Parallel()
	outside := func(t *testing.T, c *Client) (n int) {
		t.Helper()
		records := history(t, c, "h")
		for _, r := range records {
			if r.Kind == change.KindOutside {
				n++
			}
		}
		if oldest := records[len(records)-1]; oldest.Older == (n > 0) {
			t.Errorf("%d by other means, and the oldest record says older %v", n, oldest.Older)
		}
		return n
	}
	few := func(o *Options) { o.History.Keep = 10 }
	t.Run("made from here", func(t *testing.T) {
		t.Parallel()
		c := newClient(t, shared.Addr(), few)
		writeTimes(t, c, 13, 0)
		if n := outside(t, c); n != 0 {
			t.Errorf("want none by other means, got %d", n)
		}
		if _, err := c.Rollback(t.Context(), "h", history(t, c, "h")[9].ID+"^", change.Meta{Who: bob}); err != nil {
			t.Error(err)
		}
	})
	t.Run("made by other means", func(t *testing.T) {
		t.Parallel()
		c := newClient(t, shared.Addr(), few)
		revision := writeTimes(t, c, 10, put(t, shared, c.layout.Config("h"), entry("a", 1)))
		if n := outside(t, c); n != 1 {
			t.Errorf("want one by other means, got %d", n)
		}
		writeTimes(t, c, 1, revision) // its successor is not kept any more
		if n := outside(t, c); n != 0 {
			t.Errorf("want none by other means, got %d", n)
		}
	})
	t.Run("one tuning", func(t *testing.T) { // one record that is written many times
		t.Parallel()
		c := newClient(t, shared.Addr(), few)
		tuning := change.Meta{ID: at(time.Now()), Who: alice}
		put(t, shared, c.layout.Config("h"), entry("a", 1))
		for rate := range int64(3) {
			if _, err := c.SetRate(t.Context(), "h", "/var/log/a.log", rate+1, rate+2, tuning); err != nil {
				t.Fatal(err)
			}
		}
		if n := outside(t, c); n != 1 {
			t.Errorf("want one by other means, got %d", n)
		}
	})
	t.Run("positions moved before", func(t *testing.T) {
		t.Parallel()
		c := newClient(t, shared.Addr(), few)
		revision := put(t, shared, c.layout.Config("h"), entry("a", 1))
		put(t, shared, c.layout.History("h", at(time.Now())), `{"v":1,"kind":"seek"}`)
		writeTimes(t, c, 1, revision)
		records := wantHistory(t, c, "h", fmt.Sprintf("alice edit 1→%d, ? seek -→-, ? outside -→1", revision+1))
		if !records[0].Older {
			t.Error("want what came before it known")
		}
	})
}

// refuseDeletes is an etcd that lets nobody delete.
type refuseDeletes struct{ clientv3.KV }

func (r *refuseDeletes) Txn(ctx context.Context) clientv3.Txn {
	return &refusingTxn{Txn: r.KV.Txn(ctx)}
}

type refusingTxn struct {
	clientv3.Txn
	refused bool
}

func (t *refusingTxn) If(cs ...clientv3.Cmp) clientv3.Txn   { t.Txn = t.Txn.If(cs...); return t }
func (t *refusingTxn) Else(ops ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(ops...); return t }
func (t *refusingTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	t.refused = slices.ContainsFunc(ops, clientv3.Op.IsDelete)
	t.Txn = t.Txn.Then(ops...)
	return t
}

func (t *refusingTxn) Commit() (*clientv3.TxnResponse, error) {
	if t.refused {
		return nil, errors.New("permission denied")
	}
	return t.Txn.Commit()
}

func TestOfTwoEditorsOfDifferentEntriesBothSucceedAndOfOneTheSecondSeesBaseMineAndTheirs(t *testing.T) {
	t.Parallel()
	setup := newClient(t, shared.Addr())
	two := "[" + strings.Trim(entry("a", 1), "[]") + ",\n " + strings.Trim(entry("b", 1), "[]") + "]\n"
	was := func(path string) map[string]json.RawMessage {
		raw, ok := change.EntryAt([]byte(two), path)
		if !ok {
			t.Fatal("no entry", path)
		}
		return map[string]json.RawMessage{path: raw}
	}
	edit := func(service string, rate int) []change.Edit {
		e := setRate(rate)
		e[0].LogPath = "/var/log/" + service + ".log"
		e[0].Was = was(e[0].LogPath)
		return e
	}
	for round := range 5 {
		name := fmt.Sprint("h", round)
		put(t, shared, setup.layout.Config(name), two)
		var wg sync.WaitGroup
		for i, service := range []string{"a", "b"} {
			c := newClient(t, shared.Addr())
			wg.Go(func() {
				if _, err := c.Edit(t.Context(), name, edit(service, 10+i), change.Meta{Who: alice}); err != nil {
					t.Errorf("entry %s: %v", service, err)
				}
			})
		}
		wg.Wait()
		want := strings.Replace(strings.Replace(two, `"send_rate":1}`, `"send_rate":10}`, 1), `"send_rate":1}`, `"send_rate":11}`, 1)
		if raw, _ := get(t, shared, setup.layout.Config(name)); raw != want {
			t.Errorf("want %s\n got %s", want, raw)
		}
		if n := len(history(t, setup, name)); n != 3 {
			t.Errorf("want both changes and what was before, got %d records", n)
		}
		_, err := setup.Edit(t.Context(), name, edit("a", 20), change.Meta{Who: bob})
		var conflict *change.ConflictError
		if !errors.As(err, &conflict) || conflict.Name != name || len(conflict.Conflicts) != 1 {
			t.Fatalf("want a conflict, got %v", err)
		}
		got := conflict.Conflicts[0]
		if !strings.Contains(string(got.Base), `"send_rate":1}`) || !strings.Contains(string(got.Mine), `"send_rate":20}`) || !strings.Contains(string(got.Theirs), `"send_rate":10}`) {
			t.Errorf("want the rates 1, 20 and 10, got %s, %s, %s", got.Base, got.Mine, got.Theirs)
		}
	}
}

func TestEditWhoseAnswerWasLostIsMadeAndRecordedOnce(t *testing.T) {
	t.Parallel()
	for _, s := range []struct {
		name              string
		answers, requests int
		saved             bool
	}{{"answer lost", 1, 0, true}, {"request lost", 0, 1, true}, {"both requests lost", 0, 2, false}} {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, shared.Addr())
			if _, err := c.Save(t.Context(), "h", []byte(entry("b", 1)), 0, change.Meta{Who: alice}); err != nil {
				t.Fatal(err)
			}
			c.etcd.KV = &lossy{c.etcd.KV, s.answers, s.requests}
			// Made twice, this would be refused.
			add := []change.Edit{{Op: change.OpAdd, Value: []byte(strings.Trim(entry("a", 1), "[]"))}}
			revision, err := c.Edit(t.Context(), "h", add, change.Meta{Who: bob})
			if !s.saved {
				if err == nil || !strings.Contains(err.Error(), "not known whether the change of h was saved") {
					t.Fatalf("want it said, got %v", err)
				}
				wantHistory(t, c, "h", "alice edit -→1")
				return
			}
			if err != nil || revision != revisionOf(t, c.layout.Config("h")) {
				t.Fatalf("got %d, %v", revision, err)
			}
			wantHistory(t, c, "h", "bob edit 1→1+1, alice edit -→1")
		})
	}
}

func TestWriteThatWasTakenWhileItsAnswerWaitedIsKnownEvenWhereSomebodyElseWroteSince(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	base, err := c.Save(t.Context(), "h", []byte(entry("a", 1)), 0, change.Meta{Who: alice})
	if err != nil {
		t.Fatal(err)
	}
	c.etcd.KV = &thenOther{KV: c.etcd.KV, other: func() { put(t, shared, c.layout.Config("h"), entry("a", 9)) }}
	if revision, err := c.Save(t.Context(), "h", []byte(entry("a", 2)), base, change.Meta{Who: bob}); err != nil || revision <= base {
		t.Errorf("want the write known as taken, got %d, %v", revision, err)
	}
	wantHistory(t, c, "h", "? outside 2→9, bob edit 1→2, alice edit -→1")
}

// thenOther loses the answer of the first write, after which somebody else writes.
type thenOther struct {
	clientv3.KV
	other func()
}

func (o *thenOther) Txn(ctx context.Context) clientv3.Txn {
	return &otherTxn{&lossyTxn{Txn: o.KV.Txn(ctx), l: &lossy{}}, o}
}

type otherTxn struct {
	*lossyTxn
	o *thenOther
}

func (t *otherTxn) If(cs ...clientv3.Cmp) clientv3.Txn   { t.lossyTxn.If(cs...); return t }
func (t *otherTxn) Then(ops ...clientv3.Op) clientv3.Txn { t.lossyTxn.Then(ops...); return t }
func (t *otherTxn) Else(ops ...clientv3.Op) clientv3.Txn { t.lossyTxn.Else(ops...); return t }

func (t *otherTxn) Commit() (*clientv3.TxnResponse, error) {
	if !t.writes || t.o.other == nil {
		return t.lossyTxn.Commit()
	}
	t.l.loseAnswers = 1
	r, err := t.lossyTxn.Commit()
	t.o.other()
	t.o.other = nil
	return r, err
}

func TestRecordOfTheLargestDocumentFitsAndComesBackWhole(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	first, second := bigDocument(agent.MaxDocumentBytes-1000, "x"), bigDocument(agent.MaxDocumentBytes-1000, "y")
	revision, err := c.Save(t.Context(), "h", first, 0, change.Meta{Who: alice})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.Save(t.Context(), "h", second, revision, change.Meta{Who: alice}); err != nil {
		t.Fatal(err)
	}
	id := history(t, c, "h")[0].ID
	value, _ := get(t, shared, c.layout.History("h", id))
	t.Logf("two documents of %d bytes are a record of %d", len(first), len(value))
	if _, err := c.Rollback(t.Context(), "h", id+"^", change.Meta{Who: bob}); err != nil {
		t.Fatal(err)
	}
	if raw, _ := get(t, shared, c.layout.Config("h")); raw != string(first) {
		t.Error("the document did not come back as it was")
	}
}

// bigDocument has about so many bytes, hard to make smaller.
func bigDocument(bytes int, salt string) []byte {
	out := []byte("[")
	for i := 0; len(out) < bytes-300; i++ {
		if i > 0 {
			out = append(out, ',', '\n')
		}
		name := fmt.Sprintf("%s%d%s%s", salt, i, ulid.Make(), ulid.Make())
		out = append(out, strings.Trim(entry(name, int64(i)), "[]")...)
	}
	return append(out, ']')
}

func TestEtcdRestoredFromABackupLeavesHistoryAndDocumentsThatMeet(t *testing.T) {
	t.Parallel()
	e := ownEtcd(t, lab.EtcdOptions{})
	c := newClient(t, e.Addr())
	if _, err := c.Save(t.Context(), "h", []byte(entry("a", 1)), 0, change.Meta{Who: alice}); err != nil {
		t.Fatal(err)
	}
	if err := e.RestartEmpty(); err != nil {
		t.Fatal(err)
	}
	putSoon(t, e.Client(), c.layout.Config("h"), entry("a", 7))
	if _, err := c.Edit(t.Context(), "h", setRate(8), change.Meta{Who: bob}); err != nil {
		t.Fatal(err)
	}
	wantHistory(t, c, "h", "bob edit 7→8, ? outside -→7")
	if _, err := c.Rollback(t.Context(), "h", history(t, c, "h")[1].ID, change.Meta{Who: bob}); err != nil {
		t.Fatal(err)
	}
	if raw, _ := get(t, e, c.layout.Config("h")); raw != entry("a", 7) {
		t.Errorf("got %s", raw)
	}
}

// twice sends every transaction two times, as the library does where a connection ends in
// between, and gives the second answer.
type twice struct{ clientv3.KV }

func (w *twice) Txn(ctx context.Context) clientv3.Txn {
	return &twiceTxn{w.KV.Txn(ctx), w.KV.Txn(ctx)}
}

type twiceTxn struct{ first, second clientv3.Txn }

func (t *twiceTxn) If(cs ...clientv3.Cmp) clientv3.Txn {
	t.first, t.second = t.first.If(cs...), t.second.If(cs...)
	return t
}

func (t *twiceTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	t.first, t.second = t.first.Then(ops...), t.second.Then(ops...)
	return t
}

func (t *twiceTxn) Else(ops ...clientv3.Op) clientv3.Txn {
	t.first, t.second = t.first.Else(ops...), t.second.Else(ops...)
	return t
}

func (t *twiceTxn) Commit() (*clientv3.TxnResponse, error) {
	if _, err := t.first.Commit(); err != nil {
		return nil, err
	}
	return t.second.Commit()
}

func TestWriteThatTheLibrarySendsTwiceIsMadeOnce(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	names := fleetOf(t, shared, c, 70)
	p := planRate(t, c, 2)
	c.etcd.KV = &twice{c.etcd.KV}
	tuning := change.Meta{ID: at(time.Now()), Who: alice}
	if _, err := c.Edit(t.Context(), "h", []change.Edit{{Op: change.OpAdd, Value: []byte(strings.Trim(entry("a", 1), "[]"))}}, change.Meta{Who: alice}); err != nil {
		t.Fatal(err)
	}
	for rate := range int64(3) {
		if revision, err := c.SetRate(t.Context(), "h", "/var/log/a.log", rate+1, rate+2, tuning); err != nil || revision != revisionOf(t, c.layout.Config("h")) {
			t.Fatal(revision, err)
		}
	}
	wantHistory(t, c, "h", "alice rate 1→4, alice edit -→1")
	set, err := c.Drive(t.Context(), begin(t, c, p, StartOptions{Meta: change.Meta{Who: bob}}), DriveOptions{Who: bob})
	if err != nil {
		t.Fatal(err)
	}
	everyHostOnce(t, shared, c, set, names, 2)
}

func TestMovedPositionsStandInTheHistoryAndChangeNoDocument(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	tuning := change.Meta{ID: at(time.Now()), Who: alice}
	put(t, shared, c.layout.Config("h"), entry("a", 1))
	if _, err := c.SetRate(t.Context(), "h", "/var/log/a.log", 1, 2, tuning); err != nil {
		t.Fatal(err)
	}
	seek := c.nextID("", history(t, c, "h")[0].ID)
	value, err := plainJSON(change.Record{Version: 1, ID: seek, Name: "h", Who: bob, Kind: change.KindSeek})
	if err != nil {
		t.Fatal(err)
	}
	put(t, shared, c.layout.History("h", seek), string(value))
	wantHistory(t, c, "h", "bob seek -→-, alice rate 1→2, ? outside -→1")
	if _, err := c.SetRate(t.Context(), "h", "/var/log/a.log", 2, 3, tuning); err != nil {
		t.Fatal(err)
	}
	wantHistory(t, c, "h", "alice rate 2→3, bob seek -→-, alice rate 1→2, ? outside -→1")
	for _, id := range []string{seek, seek + "^"} {
		if _, err := c.Rollback(t.Context(), "h", id, change.Meta{}); err == nil || !strings.Contains(err.Error(), "changed no document") {
			t.Errorf("rollback to %s: want a refusal, got %v", id, err)
		}
	}
	if raw, _ := get(t, shared, c.layout.Config("h")); raw != entry("a", 3) {
		t.Errorf("got %s", raw)
	}
}
