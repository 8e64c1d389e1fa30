package etcdcfg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/etcdcfg/change"
)

// Limits bound the history of one document.
type Limits struct {
	Keep   int           // newest records; 0 means 50, fewer than ten are taken for ten
	MaxAge time.Duration // of a record; 0 means 180 days. The newest ten are kept however old they are
}

const (
	defaultKeep   = 50
	defaultMaxAge = 180 * 24 * time.Hour
	// keepAtLeast: one writer may be told to keep a single record of what all write, and the
	// clock of one may be years ahead, so that every record looks old to it. What none can
	// remove is enough to go back.
	keepAtLeast = 10
	// pruneWait bounds what a write waits for that is done already.
	pruneWait = 2 * time.Second
)

// HistoryNow is the id of the document as it stands now, where that is not what the newest
// record left.
const HistoryNow = "now"

// Why a rollback was not made.
var (
	// ErrUnchanged says that there is nothing to do: nothing was written.
	ErrUnchanged = errors.New("the document is already as it was then, nothing was written")
	ErrNoRecord  = errors.New("no such record in the history")
)

// cut returns how many of the ids, oldest first, are beyond the limits.
func (l Limits) cut(ids []string, now time.Time) int {
	keep, age := l.Keep, l.MaxAge
	if keep == 0 {
		keep = defaultKeep
	}
	if age == 0 {
		age = defaultMaxAge
	}
	n := max(0, len(ids)-max(keep, keepAtLeast))
	for ; n < len(ids)-keepAtLeast; n++ {
		id, err := ulid.ParseStrict(ids[n])
		if err != nil || now.Sub(id.Timestamp()) <= age {
			break
		}
	}
	return n
}

// nextID is the id of a new record: the wanted one, if any, as long as it is above the
// newest there is; the order of ids is that of the changes, however the clocks of their
// writers stand.
func (c *Client) nextID(wanted, newest string) string {
	id, err := ulid.ParseStrict(wanted)
	if err != nil {
		id = ulid.MustNew(ulid.Timestamp(c.timing.now()), ulid.DefaultEntropy())
	}
	last, err := ulid.ParseStrict(newest)
	if err != nil || id.Compare(last) > 0 {
		return id.String()
	}
	after, err := ulid.New(last.Time()+1, ulid.DefaultEntropy())
	if err != nil { // at the end of time, which somebody wrote there by hand
		return id.String()
	}
	return after.String()
}

// tunings remembers under which id a tuning was recorded, where its own was too low.
type tunings struct {
	mu  sync.Mutex // guards ids
	ids map[[2]string]string
}

// mostTunings bounds what a console that runs for months remembers. A tuning that is
// forgotten begins a new record.
const mostTunings = 256

func (t *tunings) record(name, tuning string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if id, ok := t.ids[[2]string{name, tuning}]; ok {
		return id
	}
	return tuning
}

func (t *tunings) note(name, tuning, id string) {
	if tuning == "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ids == nil || len(t.ids) >= mostTunings {
		t.ids = make(map[[2]string]string)
	}
	t.ids[[2]string{name, tuning}] = id
}

// History returns what became of a document, newest first; most bounds it, 0: all there is.
// Changes that were made by other means than this program are not recorded when they happen;
// where what one record left is not what the next one found, a record of KindOutside is put
// between them. Its id is that of the next one with ^ behind it, or HistoryNow; its time is
// the latest it can have been. What was there before records that are not kept any more is not
// told so: it was most likely made from here. The oldest record says Older then.
func (c *Client) History(ctx context.Context, name string, most int) ([]change.Record, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	var now seen
	var records []change.Record
	more := false
	err := c.read(ctx, "read the history of "+name, func(ctx context.Context, etcd *clientv3.Client) error {
		newest := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend)}
		if most > 0 {
			newest = append(newest, clientv3.WithLimit(int64(most)+1))
		}
		r, err := etcd.Txn(ctx).Then(clientv3.OpGet(c.layout.Config(name)), clientv3.OpGet(c.layout.histories(name), newest...)).Commit()
		if err != nil {
			return err
		}
		now, records = c.sawIn(name, r.Responses), nil
		for _, kv := range r.Responses[1].GetResponseRange().Kvs {
			record, err := decodeRecord(kv)
			if err != nil {
				c.log.Debug("record of the history not understood", "key", string(kv.Key), "reason", err)
				continue
			}
			records = append(records, record)
		}
		more = r.Responses[1].GetResponseRange().More
		return nil
	})
	if err != nil {
		return nil, err
	}
	records = withOutside(name, records, now, !more, c.timing.now().UTC())
	if most > 0 && len(records) > most {
		records = records[:most]
	}
	return records, nil
}

// withOutside puts a record between two that do not meet. Those about positions changed no
// document and stand between no two. whole: the oldest record given is the oldest there is.
func withOutside(name string, records []change.Record, now seen, whole bool, at time.Time) []change.Record {
	outside := func(id string, at time.Time, before, after []byte, revision int64) change.Record {
		return change.Record{
			Version: change.RecordVersion, ID: id, Name: name, At: at, Kind: change.KindOutside,
			Before: before, After: after, Revision: revision,
		}
	}
	var out []change.Record
	id, revision := HistoryNow, now.revision
	meets := change.Pack(now.raw)
	for _, r := range records {
		if r.Kind == change.KindSeek {
			out = append(out, r)
			continue
		}
		if !samePacked(meets, r.After) {
			out = append(out, outside(id, at, r.After, meets, revision))
		}
		out = append(out, r)
		id, revision, at, meets = r.ID+"^", r.Base, r.At, r.Before
	}
	if whole && meets != nil && !pruned(records) {
		out = append(out, outside(id, at, nil, meets, revision))
	}
	return out
}

// pruned tells whether there may have been records before the oldest one about the document. Of
// fewer than are always kept there were none.
func pruned(records []change.Record) bool {
	for i, r := range slices.Backward(records) {
		if r.Kind != change.KindSeek {
			return r.Older && (i == len(records)-1 || len(records) >= keepAtLeast)
		}
	}
	return false
}

// Version returns the document as it was after a record of its history, nil where there was
// none; with ^ behind the id: before it. HistoryNow is what stands there now, whose revision
// comes with every answer: Save on it as base goes back to what the caller has seen.
func (c *Client) Version(ctx context.Context, name, id string) (raw []byte, now int64, err error) {
	raw, s, err := c.version(ctx, name, id)
	return raw, s.revision, err
}

func (c *Client) version(ctx context.Context, name, id string) (raw []byte, s seen, err error) {
	if err := CheckName(name); err != nil {
		return nil, seen{}, err
	}
	bare, before := strings.CutSuffix(id, "^")
	var found *mvccpb.KeyValue
	err = c.read(ctx, "read the history of "+name, func(ctx context.Context, etcd *clientv3.Client) error {
		r, err := etcd.Txn(ctx).Then(append(c.lookOps(name, ""), clientv3.OpGet(c.layout.History(name, bare)))...).Commit()
		if err != nil {
			return err
		}
		s, found = c.sawIn(name, r.Responses), nil
		if kvs := r.Responses[2].GetResponseRange().Kvs; len(kvs) > 0 {
			found = kvs[0]
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, seen{}, err
	case id == HistoryNow:
		return s.raw, s, nil
	case found == nil:
		return nil, seen{}, fmt.Errorf("%s of %s: %w", id, name, ErrNoRecord)
	}
	record, err := decodeRecord(found)
	if err != nil {
		return nil, seen{}, fmt.Errorf("record %s of %s: %w", id, name, err)
	}
	if record.Kind == change.KindSeek {
		return nil, seen{}, fmt.Errorf("record %s of %s moved positions of files and changed no document", id, name)
	}
	packed := record.After
	if before {
		packed = record.Before
	}
	if raw, err = unpack(packed); err != nil {
		return nil, seen{}, fmt.Errorf("record %s of %s: %w", id, name, err)
	}
	return raw, s, nil
}

// Rollback makes a document what it was after a record of its history, or before it with ^
// behind the id; a document that did not exist then is deleted. It is a change with a record
// itself, so that it can be taken back too. The error wraps ErrUnchanged where there is
// nothing to do and is a *ChangedError where somebody else changes the document meanwhile;
// else it is one of Save. A document that was broken then is not written.
func (c *Client) Rollback(ctx context.Context, name, id string, m change.Meta) (revision int64, err error) {
	raw, s, err := c.version(ctx, name, id)
	if err != nil {
		return 0, err
	}
	if identical(raw, s.raw) {
		return s.revision, fmt.Errorf("%s back to %s: %w", name, id, ErrUnchanged)
	}
	m.Kind, m.Of = change.KindRollback, id
	return c.Save(ctx, name, raw, s.revision, m)
}

// prune removes what is beyond the limits of each document's history. The writes are done:
// what fails here is made up for by the next one.
func (c *Client) prune(ctx context.Context, names ...string) {
	ctx, cancel := context.WithTimeout(ctx, pruneWait)
	defer cancel()
	for some := range slices.Chunk(names, maxOps) {
		if err := c.pruneSome(ctx, some); err != nil {
			c.log.Debug("old history not removed", "names", len(names), "reason", err)
			return
		}
	}
}

func (c *Client) pruneSome(ctx context.Context, names []string) error {
	var gets, deletes []clientv3.Op
	for _, name := range names {
		gets = append(gets, clientv3.OpGet(c.layout.histories(name), clientv3.WithPrefix(), clientv3.WithKeysOnly()))
	}
	err := c.read(ctx, "read the history", func(ctx context.Context, etcd *clientv3.Client) error {
		r, err := etcd.Txn(ctx).Then(gets...).Commit()
		if err != nil {
			return err
		}
		deletes = nil
		for i, name := range names {
			prefix := c.layout.histories(name)
			var ids []string
			for _, kv := range r.Responses[i].GetResponseRange().Kvs {
				ids = append(ids, strings.TrimPrefix(string(kv.Key), prefix))
			}
			if n := c.opts.History.cut(ids, c.timing.now()); n > 0 {
				deletes = append(deletes, clientv3.OpDelete(prefix, clientv3.WithRange(prefix+ids[n])))
			}
		}
		return nil
	})
	if err != nil || len(deletes) == 0 {
		return err
	}
	return c.do(ctx, "remove old history", func(ctx context.Context, etcd *clientv3.Client) error {
		_, err := etcd.Txn(ctx).Then(deletes...).Commit()
		return err
	})
}

func decodeRecord(kv *mvccpb.KeyValue) (change.Record, error) {
	var r change.Record
	if err := json.Unmarshal(kv.Value, &r); err != nil {
		return r, err
	}
	r.ID = string(kv.Key[strings.LastIndexByte(string(kv.Key), '/')+1:])
	r.Revision = kv.ModRevision
	return r, nil
}

// unpack keeps no document and an empty value apart: etcd may hold either.
func unpack(packed []byte) ([]byte, error) {
	if packed == nil {
		return nil, nil
	}
	raw, err := change.Unpack(packed)
	if raw == nil && err == nil {
		raw = []byte{}
	}
	return raw, err
}

// holds tells whether a packed document is this one.
func holds(packed, raw []byte) bool {
	unpacked, err := unpack(packed)
	return err == nil && identical(unpacked, raw)
}

func samePacked(a, b []byte) bool {
	raw, err := unpack(a)
	return err == nil && holds(b, raw)
}
