package etcdcfg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/etcdcfg/change"
)

// again calls try until it is done, some times where etcd's answer is lost: what it writes
// can be written twice. The last error says that it is not known.
func (c *Client) again(ctx context.Context, id string, try func() (done bool, err error)) error {
	const tries = 3
	for n := 1; ; n++ {
		done, err := try()
		switch {
		case done:
			return nil
		case err == nil:
			n = 0 // somebody else's change came between
			if !sleep(ctx, 5*time.Millisecond) {
				return ctx.Err()
			}
		case !unanswered(err) || kindOf(err) != kindAway:
			return err
		case n == tries || !sleep(ctx, 100*time.Millisecond):
			return unknownError{fmt.Errorf("not known whether change %s was saved: %w", id, err)}
		}
	}
}

// ErrUnknown says that etcd's answer to a write was lost: it may have taken place, or may yet.
var ErrUnknown = errors.New("not known whether it was saved")

type unknownError struct{ error }

func (e unknownError) Unwrap() error      { return e.error }
func (unknownError) Is(target error) bool { return target == ErrUnknown }

// atOnce does a whole change set in one transaction, with its record; reverses, unless nil, is
// marked as taken back in it. done is false where that would be too large.
func (c *Client) atOnce(ctx context.Context, set ChangeSet, k *chunk, reverses *ChangeSet) (done bool, err error) {
	set.Atomic, set.State = true, StateDone
	head := c.layout.Changes(set.ID)
	waiting := k.waiting(nil)
	keys := []string{head}
	if reverses != nil {
		keys = append(keys, c.layout.Changes(reverses.ID))
	}
	var names []string
	err = c.again(ctx, set.ID, func() (bool, error) {
		docs, kvs, err := c.lookAll(ctx, waiting, keys...)
		if err != nil {
			return false, err
		}
		if kvs[0] != nil { // an earlier try, whose answer was lost
			done = true
			return true, nil
		}
		if reverses != nil && (kvs[1] == nil || kvs[1].ModRevision != reverses.revision) {
			return false, meanwhile(reverses)
		}
		b, err := c.batch(ctx, set, *k, waiting, docs, nil)
		if err != nil {
			return false, err
		}
		if err := c.mark(&b, reverses, set.ID); err != nil {
			return false, err
		}
		if !b.whole || len(b.ops) > maxOps || b.bytes > maxRequest {
			return true, nil
		}
		ok, err := c.commitBatch(ctx, b, clientv3.Compare(clientv3.CreateRevision(head), "=", 0))
		if ok {
			done, names = true, b.names
		}
		return ok, err
	})
	if done {
		c.prune(ctx, names...)
	}
	return done, err
}

// waiting returns the steps that are left, of these names only where some are given.
func (k *chunk) waiting(only map[string]bool) []planned {
	var left []planned
	for _, o := range k.Outcomes {
		if o.State == StepWaiting && (only == nil || only[o.Name]) {
			left = append(left, k.plan[o.Name])
		}
	}
	return left
}

// lookAll reads the documents of steps with the newest records of their histories and
// other keys, nil where one does not exist, all at one revision.
func (c *Client) lookAll(ctx context.Context, steps []planned, keys ...string) (docs []seen, kvs []*mvccpb.KeyValue, err error) {
	var ops []clientv3.Op
	for _, s := range steps {
		ops = append(ops, c.lookOps(s.Name, "")...)
	}
	for _, key := range keys {
		ops = append(ops, clientv3.OpGet(key))
	}
	err = c.read(ctx, "read what is to be changed", func(ctx context.Context, etcd *clientv3.Client) error {
		r, err := etcd.Txn(ctx).Then(ops...).Commit()
		if err != nil {
			return err
		}
		docs, kvs = nil, make([]*mvccpb.KeyValue, len(keys))
		for i, s := range steps {
			docs = append(docs, c.sawIn(s.Name, r.Responses[2*i:2*i+2]))
		}
		for i := range keys {
			if found := r.Responses[2*len(steps)+i].GetResponseRange().Kvs; len(found) > 0 {
				kvs[i] = found[0]
			}
		}
		return nil
	})
	return docs, kvs, err
}

// batch is one transaction of a change set.
type batch struct {
	conditions []clientv3.Cmp
	ops        []clientv3.Op
	bytes      int
	names      []string // of documents that it writes
	whole      bool     // all steps asked for are in it
}

// put adds one key.
func (b *batch) put(key, value string) {
	b.ops = append(b.ops, clientv3.OpPut(key, value))
	b.bytes += len(key) + len(value) + opBytes
}

// opBytes is more than what the encoding adds to one operation or comparison.
const opBytes = 32

const (
	outcomeBytes = 512  // of one without words
	headBytes    = 4096 // without lists and words
	// errorBytes bounds the words of one conflict: a chunk holds 63 of them.
	errorBytes = 1024
)

func shortened(text string) string {
	if len(text) <= errorBytes {
		return text
	}
	return strings.ToValidUTF8(text[:errorBytes], "") + " …"
}

// batch makes one transaction of as many steps as fit, with what it makes of the chunk and
// the head. baseline is how hosts are before it, of a rollout.
func (c *Client) batch(ctx context.Context, set ChangeSet, k chunk, steps []planned, docs []seen, baseline map[string]HostHealth) (batch, error) {
	b := batch{whole: true}
	// The chunk as it is now and the head; what is done makes the chunk smaller.
	rest := len(k.Plan)*4/3 + outcomeBytes*len(k.Outcomes) + headBytes + len(set.Note) + len(set.Reason)
	if set.Rollout != nil {
		rest += len(strings.Join(set.Rollout.Hosts, `","`))
	}
	k.Outcomes = slices.Clone(k.Outcomes)
	for i, s := range steps {
		after, err := c.result(ctx, s, docs[i])
		o := Outcome{Name: s.Name}
		var w write
		switch {
		case err != nil && unanswered(err):
			return batch{}, err
		case err != nil:
			o.State, o.Error = StepConflict, shortened(err.Error())
			set.Conflicts++
		case identical(after, docs[i].raw):
			o.State, o.Revision = StepSame, docs[i].revision
			set.Same++
		default:
			if w, err = c.newWrite(s.Name, docs[i], after, set.meta()); err != nil {
				return batch{}, err
			}
			o.State, o.Record, o.Deleted = StepDone, w.id, after == nil
			set.Done++
		}
		if set.Rollout != nil {
			h := baseline[s.Name]
			o.Wave, o.Unwatched, o.Failing, o.LagBytes, o.Refused = set.Rollout.Current, !h.Fresh, h.Failing, h.LagBytes, h.Refused
		}
		at := slices.IndexFunc(k.Outcomes, func(o Outcome) bool { return o.Name == s.Name })
		before := k.Outcomes[at]
		k.Outcomes[at] = o
		added := w.bytes() + len(o.Error)
		if len(b.names) > 0 && b.bytes+added+rest > maxRequest {
			k.Outcomes[at] = before
			switch o.State {
			case StepDone:
				set.Done--
			case StepSame:
				set.Same--
			case StepConflict:
				set.Conflicts--
			}
			b.whole = false
			break
		}
		if o.State == StepDone {
			b.conditions = append(b.conditions, w.conditions()[0])
			b.ops = append(b.ops, w.ops()...)
			b.bytes += added
			b.names = append(b.names, s.Name)
		} else if o.State == StepSame {
			b.conditions = append(b.conditions, clientv3.Compare(clientv3.ModRevision(c.layout.Config(s.Name)), "=", docs[i].revision))
			b.bytes += opBytes + len(c.layout.Config(s.Name))
		}
	}
	value, err := k.encode()
	if err != nil {
		return batch{}, err
	}
	b.put(k.key, value)
	if value, err = set.encode(); err != nil {
		return batch{}, err
	}
	b.put(c.layout.Changes(set.ID), value)
	return b, nil
}

// bytes is what the write adds to a request, a little more at most.
func (w *write) bytes() int {
	if w.key == "" {
		return 0
	}
	return 2*len(w.key) + len(w.after) + len(w.record) + len(w.value) + 3*opBytes
}

// result is what a step makes of a document. The error is a conflict, unless it is etcd's.
func (c *Client) result(ctx context.Context, s planned, now seen) ([]byte, error) {
	if s.Back != "" {
		after, err := c.takenBack(ctx, s, now)
		if !errors.Is(err, ErrNoRecord) {
			return after, err
		}
	}
	if len(s.Edits) == 0 {
		return nil, fmt.Errorf("document of %s: the history holds record %s no more", s.Name, s.Back)
	}
	after, err := change.Apply(s.Name, now.raw, s.Edits)
	if err != nil || identical(after, now.raw) {
		return after, err
	}
	for _, e := range s.Edits {
		if (e.Op == change.OpReplace || e.Op == change.OpDelete) && e.Was == nil && now.revision != s.Base {
			return nil, &ChangedError{Host: s.Name, Base: s.Base, Revision: now.revision, Raw: now.raw}
		}
	}
	return after, nil
}

// takenBack is a document without what one record did to it: byte for byte what was before,
// where it is still what the record left, else merged by entry.
func (c *Client) takenBack(ctx context.Context, s planned, now seen) ([]byte, error) {
	records, err := c.records(ctx, []Outcome{{Name: s.Name, Record: s.Back}})
	if err != nil {
		return nil, err
	}
	r := records[0]
	if r == nil {
		return nil, fmt.Errorf("%s of %s: %w", s.Back, s.Name, ErrNoRecord)
	}
	before, err := unpack(r.Before)
	if err != nil {
		return nil, fmt.Errorf("record %s of %s: %w", s.Back, s.Name, err)
	}
	after, err := unpack(r.After)
	if err != nil {
		return nil, fmt.Errorf("record %s of %s: %w", s.Back, s.Name, err)
	}
	return change.Merge(s.Name, after, before, now.raw)
}

// records reads the records that outcomes name; nil where one is gone.
func (c *Client) records(ctx context.Context, outcomes []Outcome) ([]*change.Record, error) {
	var records []*change.Record
	for some := range slices.Chunk(outcomes, maxOps) {
		var ops []clientv3.Op
		for _, o := range some {
			ops = append(ops, clientv3.OpGet(c.layout.History(o.Name, o.Record)))
		}
		var found []*change.Record
		err := c.read(ctx, "read the history of a change set", func(ctx context.Context, etcd *clientv3.Client) error {
			r, err := etcd.Txn(ctx).Then(ops...).Commit()
			if err != nil {
				return err
			}
			found = make([]*change.Record, len(some))
			for i := range some {
				for _, kv := range r.Responses[i].GetResponseRange().Kvs {
					if record, err := decodeRecord(kv); err == nil {
						found[i] = &record
					}
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		records = append(records, found...)
	}
	return records, nil
}

// unanswered tells whether an error is etcd's.
func unanswered(err error) bool {
	var e *etcdError
	return errors.As(err, &e)
}

// commitBatch is one try; ok is false where something is not as it was seen any more.
func (c *Client) commitBatch(ctx context.Context, b batch, more ...clientv3.Cmp) (ok bool, err error) {
	err = c.do(ctx, "save a change of several documents", func(ctx context.Context, etcd *clientv3.Client) error {
		r, err := etcd.Txn(ctx).If(append(more, b.conditions...)...).Then(b.ops...).Commit()
		ok = err == nil && r.Succeeded
		return err
	})
	return ok, err
}
