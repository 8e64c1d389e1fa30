package etcdcfg

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/etcdcfg/change"
)

// DriveOptions are what Drive needs to work on a change set.
type DriveOptions struct {
	Who change.Who // shown to others who want to work on it
	// Health tells how hosts are, of a rollout: about once a second, from their real status.
	// A host it does not know is left out of the answer.
	Health func(ctx context.Context, hosts []string) ([]HostHealth, error)
	// Progress, where set, is told after each transaction and each look at a wave. It is
	// called from Drive's goroutine and must not block for long.
	Progress func(ChangeSet)
	Silence  time.Duration // how long a host of a wave may have no fresh status; 0 means 30s
	Apply    time.Duration // how long a host may take to run a document; 0 means 2m
}

// driver works on one change set. One goroutine uses it.
type driver struct {
	c      *Client
	o      DriveOptions
	set    ChangeSet
	chunks []*chunk
	lease  *lease
	mine   string // value of the driver's key
}

// driverValue is the value of ROOT.changes/<ulid>/driver.
type driverValue struct {
	Token string     `json:"token"`
	Who   change.Who `json:"who"`
}

func driverName(value []byte) string {
	var v driverValue
	if json.Unmarshal(value, &v) != nil {
		return "unknown"
	}
	return v.Who.String()
}

// Drive does what is left of a change set and returns it with the outcome of every
// document: until nothing is left, somebody stops it, its rollout stops by itself (State and
// Reason tell), or ctx ends. Each transaction writes documents, their history and what
// became of them together, so whoever drives after the death of another begins where that
// one ended; no document is written twice. A stopped change set is taken up again, unless it
// was taken back: the error wraps ErrReversed.
//
// One works on a change set at a time: the error wraps ErrDriven where somebody else does.
// A driver that died is taken over from when its lease ends, which Drive waits for. Where
// etcd does not answer for a minute Drive gives up; all that was done is recorded.
func (c *Client) Drive(ctx context.Context, id string, o DriveOptions) (ChangeSet, error) {
	o.Silence = cmp.Or(o.Silence, defaultSilence)
	o.Apply = cmp.Or(o.Apply, defaultApply)
	set, chunks, err := c.changeSet(ctx, id)
	if err != nil {
		return ChangeSet{}, err
	}
	if set.State == StateDone {
		set.Outcomes = outcomes(chunks)
		return set, nil
	}
	if err := set.takenBack(); err != nil {
		return set, err
	}
	if set.Rollout != nil && o.Health == nil {
		return ChangeSet{}, fmt.Errorf("change %s goes out in waves: it needs to know how hosts are", id)
	}
	token, err := plainJSON(driverValue{Token: ulid.Make().String(), Who: o.Who})
	if err != nil {
		return ChangeSet{}, err
	}
	d := &driver{c: c, o: o, set: set, lease: c.newLease("the work on change "+id, c.timing.driverTTL), mine: string(token)}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.lease.keep(ctx)
	}()
	defer func() { cancel(); <-ended }()

	err = d.run(ctx)
	d.set.Outcomes = outcomes(d.chunks)
	return d.set, err
}

func (d *driver) run(ctx context.Context) error {
	if err := d.acquire(ctx); err != nil {
		return err
	}
	// What the last driver did before its lease ended.
	var err error
	if err = d.reload(ctx); err != nil {
		return err
	}
	if d.set.State == StateStopped {
		if d.set, err = d.c.setHead(ctx, d.set.ID, func(s *ChangeSet) error {
			if err := s.takenBack(); err != nil {
				return err
			}
			s.State, s.Reason = StateOpen, ""
			return nil
		}); err != nil {
			return err
		}
	}
	if d.set.Rollout != nil {
		err = d.rollout(ctx)
	} else {
		for _, k := range d.chunks {
			if err = d.finish(ctx, k, nil, nil); err != nil {
				break
			}
		}
	}
	if err != nil || d.set.State != StateOpen {
		if errors.Is(err, errStopped) {
			err = nil
		}
		return err
	}
	if err := d.head(ctx, func(s *ChangeSet) { s.State = StateDone }); err != nil {
		if errors.Is(err, errStopped) {
			err = nil
		}
		return err
	}
	d.progress("")
	return nil
}

// takenBack says that there is nothing to go on with: what was done is done no more.
func (s *ChangeSet) takenBack() error {
	if s.ReversedBy == "" {
		return nil
	}
	return fmt.Errorf("change %s: %w by %s; make the change anew", s.ID, ErrReversed, s.ReversedBy)
}

// errStopped says that somebody stopped the change set: the head tells who.
var errStopped = errors.New("the change set was stopped")

// acquire makes this driver the only one.
func (d *driver) acquire(ctx context.Context) error {
	key := d.c.driverKey(d.set.ID)
	began := time.Now()
	last := int64(-1) // what was left of the other's lease
	for {
		id, err := d.lease.get(ctx)
		if err != nil {
			return err
		}
		var holder *mvccpb.KeyValue
		err = d.c.do(ctx, "take up change "+d.set.ID, func(ctx context.Context, etcd *clientv3.Client) error {
			r, err := etcd.Txn(ctx).
				If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
				Then(clientv3.OpPut(key, d.mine, clientv3.WithLease(id))).
				Else(clientv3.OpGet(key)).Commit()
			if err == nil && !r.Succeeded {
				if kvs := r.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
					holder = kvs[0]
				}
			}
			return d.lease.checked(id, err)
		})
		if err != nil {
			return err
		}
		if holder == nil || string(holder.Value) == d.mine && holder.Lease == int64(id) {
			return nil
		}
		driven := fmt.Errorf("change %s: %w: %s", d.set.ID, ErrDriven, driverName(holder.Value))
		var left, granted int64
		err = d.c.read(ctx, "read the lease of change "+d.set.ID, func(ctx context.Context, etcd *clientv3.Client) error {
			r, err := etcd.TimeToLive(ctx, clientv3.LeaseID(holder.Lease))
			if err == nil {
				left, granted = r.TTL, r.GrantedTTL
			}
			return err
		})
		switch {
		case err != nil && kindOf(err) == kindAway:
			return err
		case holder.Lease == 0, // somebody put it there by hand
			last >= 0 && left > last,                                 // renewed: he lives
			time.Since(began) > time.Duration(granted+3)*time.Second: // he must
			return driven
		}
		last = left
		d.progress("waiting whether " + driverName(holder.Value) + " still works on it")
		if !sleep(ctx, 200*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// reload reads head and chunks.
func (d *driver) reload(ctx context.Context) error {
	set, chunks, err := d.c.changeSet(ctx, d.set.ID)
	if err != nil {
		return err
	}
	d.set, d.chunks = set, chunks
	d.set.Driver = ""
	return nil
}

// refresh reads the head: somebody may have stopped it, or be in this driver's place.
func (d *driver) refresh(ctx context.Context) error {
	return d.patiently(ctx, func() error {
		_, kvs, err := d.c.lookAll(ctx, nil, d.c.layout.Changes(d.set.ID), d.c.driverKey(d.set.ID))
		switch {
		case err != nil:
			return err
		case kvs[0] == nil:
			return fmt.Errorf("%s: %w", d.set.ID, ErrNoChange)
		}
		if d.set, err = decodeHead(kvs[0]); err != nil {
			return err
		}
		if kvs[1] == nil || string(kvs[1].Value) != d.mine {
			return d.acquire(ctx)
		}
		return nil
	})
}

// head changes the head, unless somebody stopped the change set: errStopped. An edit may be
// made twice.
func (d *driver) head(ctx context.Context, edit func(*ChangeSet)) error {
	key := d.c.layout.Changes(d.set.ID)
	return d.patiently(ctx, func() error {
		for {
			if err := d.refresh(ctx); err != nil {
				return err
			}
			if d.set.State == StateStopped {
				return errStopped
			}
			before, err := d.set.encode()
			if err != nil {
				return err
			}
			edit(&d.set)
			after, err := d.set.encode()
			if err != nil || after == before {
				return err
			}
			var b batch
			b.put(key, after)
			ok, err := d.c.commitBatch(ctx, b,
				clientv3.Compare(clientv3.ModRevision(key), "=", d.set.revision),
				clientv3.Compare(clientv3.Value(d.c.driverKey(d.set.ID)), "=", d.mine))
			if ok || err != nil {
				return err
			}
			if !sleep(ctx, 5*time.Millisecond) {
				return ctx.Err()
			}
		}
	})
}

// stop ends the rollout with a reason.
func (d *driver) stop(ctx context.Context, reason string) error {
	err := d.head(ctx, func(s *ChangeSet) { s.State, s.Reason = StateStopped, reason })
	if errors.Is(err, errStopped) {
		return nil
	}
	d.progress("")
	return err
}

// patiently calls try until etcd answers, for as long as Drive is patient.
func (d *driver) patiently(ctx context.Context, try func() error) error {
	began := time.Now()
	for {
		err := try()
		if err == nil || !unanswered(err) || kindOf(err) != kindAway || ctx.Err() != nil || time.Since(began) > d.c.timing.driveWait {
			return err
		}
		d.progress("waiting for etcd")
		if !sleep(ctx, d.c.timing.poll) {
			return err
		}
	}
}

// finish does what is left of one chunk, of some names only where they are given. Each
// transaction asks that head, chunk and driver are as this driver saw them: one whose
// answer was lost is seen in the chunk, and one that another driver began in vain fails.
func (d *driver) finish(ctx context.Context, k *chunk, only map[string]bool, health map[string]HostHealth) error {
	for {
		waiting := k.waiting(only)
		if len(waiting) == 0 {
			return nil
		}
		// Read no more than one transaction could write.
		size, n := 0, 0
		for n < len(waiting) && (n == 0 || size+waiting[n].Bytes < maxRequest) {
			size += waiting[n].Bytes
			n++
		}
		waiting = waiting[:min(n, chunkDocuments)]
		var done batch
		ok := false
		err := d.patiently(ctx, func() (err error) {
			ok, done, err = d.try(ctx, k, waiting, health)
			return err
		})
		if err != nil {
			return err
		}
		if ok {
			d.c.prune(ctx, done.names...)
			d.progress("")
		}
		if d.set.State != StateOpen {
			return errStopped
		}
		if !ok && !sleep(ctx, 5*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// try is one transaction of a chunk. Where something was not as it was seen, ok is false
// and the chunk and the head are as they are by now.
func (d *driver) try(ctx context.Context, k *chunk, waiting []planned, health map[string]HostHealth) (ok bool, b batch, err error) {
	head := d.c.layout.Changes(d.set.ID)
	docs, kvs, err := d.c.lookAll(ctx, waiting, head, k.key)
	if err != nil {
		return false, b, err
	}
	if kvs[0] == nil || kvs[1] == nil {
		return false, b, fmt.Errorf("%s: %w", d.set.ID, ErrNoChange)
	}
	if d.set, err = decodeHead(kvs[0]); err != nil {
		return false, b, err
	}
	if kvs[1].ModRevision != k.revision {
		now, err := decodeChunk(kvs[1])
		if err != nil {
			return false, b, err
		}
		*k = *now
		return false, b, nil
	}
	if d.set.State != StateOpen {
		return false, b, nil
	}
	if b, err = d.c.batch(ctx, d.set, *k, waiting, docs, health); err != nil {
		return false, b, err
	}
	ok, err = d.c.commitBatch(ctx, b,
		clientv3.Compare(clientv3.ModRevision(head), "=", d.set.revision),
		clientv3.Compare(clientv3.ModRevision(k.key), "=", k.revision),
		clientv3.Compare(clientv3.Value(d.c.driverKey(d.set.ID)), "=", d.mine))
	if err != nil {
		return false, b, err
	}
	if !ok { // a document or the head changed, which the next look tells, or the lease ended
		return false, b, d.acquire(ctx)
	}
	// What it left is read back: the revision of what was written is that of its transaction.
	return true, b, d.reread(ctx, k)
}

// reread reads the head and one chunk.
func (d *driver) reread(ctx context.Context, k *chunk) error {
	_, kvs, err := d.c.lookAll(ctx, nil, d.c.layout.Changes(d.set.ID), k.key)
	if err != nil {
		return err
	}
	if kvs[0] == nil || kvs[1] == nil {
		return fmt.Errorf("%s: %w", d.set.ID, ErrNoChange)
	}
	if d.set, err = decodeHead(kvs[0]); err != nil {
		return err
	}
	now, err := decodeChunk(kvs[1])
	if err == nil {
		*k = *now
	}
	return err
}

// overwritten tells in words which of the documents are not as the rollout left them.
func (d *driver) overwritten(ctx context.Context, wave []Outcome) (string, error) {
	for len(wave) > 0 {
		n := min(len(wave), maxOps)
		keys := make([]string, n)
		for i := range n {
			keys[i] = d.c.layout.Config(wave[i].Name)
		}
		_, kvs, err := d.c.lookAll(ctx, nil, keys...)
		if err != nil {
			return "", err
		}
		for i, kv := range kvs {
			o := wave[i]
			switch {
			case kv == nil && !o.Deleted:
				return fmt.Sprintf("the document of %s was deleted by somebody else during the rollout", o.Name), nil
			case kv != nil && (o.Deleted || kv.ModRevision != o.Revision):
				return fmt.Sprintf("the document of %s was changed by somebody else during the rollout: it has revision %d, the rollout wrote %d", o.Name, kv.ModRevision, o.Revision), nil
			}
		}
		wave = wave[n:]
	}
	return "", nil
}

// progress tells how far the work is.
func (d *driver) progress(doing string) {
	if d.o.Progress == nil {
		return
	}
	set := d.set
	set.Doing = strings.TrimSpace(doing)
	d.o.Progress(set)
}
