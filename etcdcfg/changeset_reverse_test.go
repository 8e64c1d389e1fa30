package etcdcfg

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/etcdcfg/change"
)

// stoppedAfter starts a change of so many hosts to rate 2 that is stopped after one transaction,
// and of a rollout after its canary: of 63 documents, or of two.
func stoppedAfter(t *testing.T, c *Client, many int, rollout bool) (id string, names []string, done int) {
	t.Helper()
	names = fleetOf(t, shared, c, many)
	o, drive := StartOptions{Meta: change.Meta{Who: alice}}, DriveOptions{}
	done = 63
	if rollout {
		o.Canary, o.Healthy, done = 2, time.Hour, 2
		drive.Health = (&hosts{c: c}).health
	}
	id = begin(t, c, planRate(t, c, 2), o)
	drive.Progress = func(s ChangeSet) {
		if s.Done == done {
			if err := c.Stop(t.Context(), id, change.Meta{Who: bob}); err != nil {
				t.Error(err)
			}
		}
	}
	set, err := c.Drive(t.Context(), id, drive)
	if err != nil || set.State != StateStopped || set.Done != done {
		t.Fatalf("got %s, %d, %v", set.State, set.Done, err)
	}
	return id, names, done
}

// wantRates checks how many of the hosts have which rate.
func wantRates(t *testing.T, c *Client, names []string, ones, twos int) {
	t.Helper()
	got := make(map[string]int)
	for _, name := range names {
		raw, _ := get(t, shared, c.layout.Config(name))
		got[raw]++
	}
	if got[entry("a", 1)] != ones || got[entry("a", 2)] != twos || ones+twos != len(names) {
		t.Errorf("want %d hosts with rate 1 and %d with 2, got %v", ones, twos, got)
	}
}

func TestChangeSetThatWasTakenBackIsNotTakenUpAgain(t *testing.T) {
	t.Parallel()
	for _, rollout := range []bool{false, true} {
		t.Run(fmt.Sprint("rollout ", rollout), func(t *testing.T) {
			t.Parallel()
			c := rolloutClient(t)
			id, names, done := stoppedAfter(t, c, 130, rollout)
			health := (&hosts{c: c}).health
			back, err := c.Reverse(t.Context(), id, change.Meta{Who: bob})
			if err != nil {
				t.Fatal(err)
			}
			// From the beginning: also while the reverse is on its way.
			refused := func() {
				t.Helper()
				set, err := c.Drive(t.Context(), id, DriveOptions{Health: health})
				if !errors.Is(err, ErrReversed) || !strings.Contains(err.Error(), "by "+back+"; make the change anew") || set.State != StateStopped || set.Done != done {
					t.Errorf("want it refused, got %s, %d, %v", set.State, set.Done, err)
				}
			}
			refused()
			set, err := c.Drive(t.Context(), back, DriveOptions{})
			if err != nil || set.State != StateDone || set.Done != done || set.Of != id {
				t.Fatalf("got %s, %d, %v", set.State, set.Done, err)
			}
			refused()
			wantRates(t, c, names, len(names), 0)
			if set := changeSet(t, c, id); set.ReversedBy != back || set.State != StateStopped || set.Driver != "" {
				t.Errorf("want it taken back by %s, got %s, %q", back, set.State, set.ReversedBy)
			}
			sets, err := c.ChangeSets(t.Context(), 0)
			if err != nil || len(sets) != 2 || sets[0].ReversedBy != "" || sets[1].ReversedBy != back {
				t.Errorf("got %+v, %v", sets, err)
			}
			// One that was whole is marked too, and stays what it was.
			redo, err := c.Reverse(t.Context(), back, change.Meta{Who: alice})
			if err != nil {
				t.Fatal(err)
			}
			if set, err = c.Drive(t.Context(), redo, DriveOptions{}); err != nil || set.Done != done {
				t.Fatalf("got %s, %d, %v", set.State, set.Done, err)
			}
			wantRates(t, c, names, len(names)-done, done)
			if set, err := c.Drive(t.Context(), back, DriveOptions{}); err != nil || set.State != StateDone || set.ReversedBy != redo {
				t.Errorf("got %s, %q, %v", set.State, set.ReversedBy, err)
			}
		})
	}
}

// whenMarked lets somebody else act just before the transaction that writes a key.
type whenMarked struct {
	clientv3.KV
	key   string
	other func()
}

func (w *whenMarked) Txn(ctx context.Context) clientv3.Txn {
	return &markedTxn{Txn: w.KV.Txn(ctx), w: w}
}

type markedTxn struct {
	clientv3.Txn
	w     *whenMarked
	marks bool
}

func (t *markedTxn) If(cs ...clientv3.Cmp) clientv3.Txn   { t.Txn = t.Txn.If(cs...); return t }
func (t *markedTxn) Else(ops ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(ops...); return t }
func (t *markedTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	for _, o := range ops {
		t.marks = t.marks || o.IsPut() && string(o.KeyBytes()) == t.w.key
	}
	t.Txn = t.Txn.Then(ops...)
	return t
}

func (t *markedTxn) Commit() (*clientv3.TxnResponse, error) {
	if other := t.w.other; t.marks && other != nil {
		t.w.other = nil
		other()
	}
	return t.Txn.Commit()
}

func TestChangeSetThatIsTakenUpWhileItsReverseIsMadeIsNotTakenBack(t *testing.T) {
	t.Parallel()
	for _, rollout := range []bool{false, true} { // in a sequence, and in one transaction
		t.Run(fmt.Sprint("rollout ", rollout), func(t *testing.T) {
			t.Parallel()
			c := rolloutClient(t)
			id, names, _ := stoppedAfter(t, c, 130, rollout)
			other := newClient(t, shared.Addr(), func(o *Options) { o.Pattern = c.opts.Pattern })
			other.timing.poll = time.Millisecond
			w := &whenMarked{KV: c.etcd.KV, key: c.layout.Changes(id), other: func() {
				if _, err := other.setHead(t.Context(), id, func(s *ChangeSet) error { s.Rollout = nil; return nil }); err != nil {
					t.Error(err)
				}
				set, err := other.Drive(t.Context(), id, DriveOptions{Who: bob})
				if err != nil || set.State != StateDone || set.Done != len(names) {
					t.Errorf("got %s, %d, %v", set.State, set.Done, err)
				}
			}}
			c.etcd.KV = w
			if _, err := c.Reverse(t.Context(), id, change.Meta{Who: bob}); err == nil || !strings.Contains(err.Error(), "meanwhile: nothing was written") || w.other != nil {
				t.Errorf("want it refused, got %v", err)
			}
			wantRates(t, c, names, 0, len(names))
			if set := changeSet(t, c, id); set.ReversedBy != "" {
				t.Errorf("want it not marked, got %q", set.ReversedBy)
			}
			if sets, err := c.ChangeSets(t.Context(), 0); err != nil || len(sets) != 1 {
				t.Errorf("want no other change set, got %+v, %v", sets, err)
			}
		})
	}
}

func TestReverseWhoseAnswersAreLostIsMadeOnce(t *testing.T) {
	t.Parallel()
	for _, rollout := range []bool{false, true} {
		t.Run(fmt.Sprint("rollout ", rollout), func(t *testing.T) {
			t.Parallel()
			c := rolloutClient(t)
			id, names, done := stoppedAfter(t, c, 130, rollout)
			kv := c.etcd.KV
			c.etcd.KV = &whenMarked{KV: &lossy{kv, 0, 0}, key: c.layout.Changes(id)}
			c.etcd.KV.(*whenMarked).other = func() { c.etcd.KV.(*whenMarked).KV.(*lossy).loseAnswers = 1 }
			back, err := c.Reverse(t.Context(), id, change.Meta{Who: bob})
			if err != nil || c.etcd.KV.(*whenMarked).KV.(*lossy).loseAnswers != 0 {
				t.Fatalf("want it made and an answer lost, got %v", err)
			}
			c.etcd.KV = kv
			if set, err := c.Drive(t.Context(), back, DriveOptions{}); err != nil || set.Done != done {
				t.Fatalf("got %s, %d, %v", set.State, set.Done, err)
			}
			wantRates(t, c, names, len(names), 0)
			if sets, err := c.ChangeSets(t.Context(), 0); err != nil || len(sets) != 2 || sets[1].ReversedBy != back {
				t.Errorf("got %+v, %v", sets, err)
			}
		})
	}
}

func TestChangeWhoseDriverWasKilledIsStoppedAndTakenBackAtOnce(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	names := fleetOf(t, shared, c, 200)
	id := begin(t, c, planRate(t, c, 2), StartOptions{Meta: change.Meta{Who: alice}})
	d := startDriver(t, c, id)
	if n := d.done(t); n != 63 {
		t.Fatalf("want one transaction, got %d documents", n)
	}
	d.kill()
	// Its lease is held on, as one of a longer time would.
	put(t, shared, c.driverKey(id), `{"token":"x","who":{"user":"alice"}}`)
	if set := changeSet(t, c, id); set.Driver == "" {
		t.Fatal("want the dead driver still shown")
	}
	if err := c.Stop(t.Context(), id, change.Meta{Who: bob}); err != nil {
		t.Fatal(err)
	}
	back, err := c.Reverse(t.Context(), id, change.Meta{Who: bob})
	if err != nil {
		t.Fatal(err)
	}
	if set, err := c.Drive(t.Context(), back, DriveOptions{Who: bob}); err != nil || set.Done != 63 {
		t.Fatalf("got %s, %d, %v", set.State, set.Done, err)
	}
	wantRates(t, c, names, len(names), 0)
}
