package etcdcfg

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/agent"
	"logagent/etcdcfg/change"
)

// ChangedError says that a document is not the one a change was based on.
type ChangedError struct {
	Host           string // or @group
	Base, Revision int64  // wanted and found; 0: the key does not exist
	Raw            []byte // found
}

func (e *ChangedError) Error() string {
	if e.Revision == 0 {
		return "document of " + e.Host + " was deleted by somebody else meanwhile"
	}
	return fmt.Sprintf("document of %s was changed by somebody else meanwhile: it has revision %d, the change was made on %d", e.Host, e.Revision, e.Base)
}

// Get returns the document of a host, or of a group where the name begins with @, as it
// stands in etcd with its revision; revision 0 and no error where there is none.
func (c *Client) Get(ctx context.Context, name string) (raw []byte, revision int64, err error) {
	if err := CheckName(name); err != nil {
		return nil, 0, err
	}
	err = c.read(ctx, "read the document of "+name, func(ctx context.Context, etcd *clientv3.Client) error {
		r, err := etcd.Get(ctx, c.layout.Config(name))
		if err != nil {
			return err
		}
		if len(r.Kvs) > 0 {
			raw, revision = r.Kvs[0].Value, r.Kvs[0].ModRevision
		}
		return nil
	})
	return raw, revision, err
}

// Save replaces a document where it still has the revision base; 0: where there is none.
// raw nil deletes it. name is a host id or @ and a group. The document is checked first. What
// was there before, and who changed it, is recorded in its history in the same transaction.
// The revision is the document's new one, 0 where it was deleted.
//
// The error is a *ChangedError where the document is another one by now; one that equals
// raw counts as saved, whoever saved it, and one that equalled it before is not written
// again. Where etcd's answer is lost, history and document are read again to learn what
// became of the write, and the error says so where that does not tell either: it may even
// take place later.
func (c *Client) Save(ctx context.Context, name string, raw []byte, base int64, m change.Meta) (revision int64, err error) {
	if err := CheckName(name); err != nil {
		return 0, err
	}
	if raw != nil {
		if _, _, err := agent.ParseDocument(raw); err != nil {
			return 0, fmt.Errorf("document of %s not saved: %w", name, err)
		}
	}
	for {
		s, err := c.look(ctx, name, m.ID)
		if err != nil {
			return 0, err
		}
		if identical(s.raw, raw) {
			return s.revision, nil
		}
		if s.revision != base {
			return 0, &ChangedError{Host: name, Base: base, Revision: s.revision, Raw: s.raw}
		}
		w, err := c.newWrite(name, s, raw, m)
		if err != nil {
			return 0, err
		}
		revision, err = c.commit(ctx, w)
		var changed *ChangedError
		switch {
		case err == nil:
			return revision, nil
		case errors.As(err, &changed):
			// By somebody else, or only its history was: the next look tells.
		case kindOf(err) != kindAway:
			return 0, err
		default:
			if revision, ok := c.landed(ctx, w); ok {
				return revision, nil
			}
			if found, at, readErr := c.Get(ctx, name); readErr == nil && at != base && identical(found, raw) {
				return at, nil
			}
			return 0, fmt.Errorf("not known whether it was saved: %w", err)
		}
	}
}

// SetRate changes the send_rate of one entry from one value to another, 0 meaning no limit,
// and returns the document's new revision. All other bytes of the document stay as they
// are, also where somebody else changes other entries at the same time. Where the entry's
// rate is not from any more, or the entry is gone, the error is an *agent.ConflictError.
// Steps of one tuning have the same m.ID and are one record of the history.
//
// Where etcd's answer to the write is lost, history and document are read again to learn
// what became of it; the error says so where that is not possible either.
func (c *Client) SetRate(ctx context.Context, name, logPath string, from, to int64, m change.Meta) (revision int64, err error) {
	m.Kind = cmp.Or(m.Kind, change.KindRate)
	return c.modify(ctx, name, "the rate of "+logPath, m, func(raw []byte) ([]byte, error) {
		if raw == nil {
			return nil, &agent.ConflictError{LogPath: logPath}
		}
		services, _, err := agent.ParseDocument(raw)
		if err != nil {
			return nil, fmt.Errorf("document of %s is broken in etcd, mend it first: %w", name, err)
		}
		i := slices.IndexFunc(services, func(s agent.Service) bool { return s.LogPath == logPath })
		if i < 0 {
			return nil, &agent.ConflictError{LogPath: logPath}
		}
		if services[i].SendRate != from {
			return nil, &agent.ConflictError{LogPath: logPath, Theirs: &own(services, c.layout.Config(name))[i]}
		}
		if from == to {
			return raw, nil
		}
		edited, err := editRate(raw, logPath, to)
		if err != nil {
			return nil, fmt.Errorf("rate of %s on %s: %w", logPath, name, err)
		}
		if _, _, err := agent.ParseDocument(edited); err != nil {
			return nil, fmt.Errorf("document of %s not saved: %w", name, err)
		}
		return edited, nil
	})
}

// Edit changes entries of one document and returns its new revision, 0 where it was
// deleted. Where somebody else changes the document meanwhile the edits are made again on
// top of that; the error is a *change.ConflictError where an entry is not what Was says any
// more. Edits that change nothing are not written. A lost answer is resolved as by SetRate.
func (c *Client) Edit(ctx context.Context, name string, edits []change.Edit, m change.Meta) (revision int64, err error) {
	return c.modify(ctx, name, "the change of "+name, m, func(raw []byte) ([]byte, error) {
		return change.Apply(name, raw, edits)
	})
}

// modify writes what edit makes of a document, again and again until nobody else's change
// comes between. edit must return checked documents; raw is nil where there is none.
func (c *Client) modify(ctx context.Context, name, what string, m change.Meta, edit func(raw []byte) ([]byte, error)) (revision int64, err error) {
	if err := CheckName(name); err != nil {
		return 0, err
	}
	var lost *write // whose answer was lost
	unknown := func(err error) error {
		return fmt.Errorf("not known whether %s was saved: %w", what, err)
	}
	for {
		s, err := c.look(ctx, name, m.ID)
		if err == nil && lost != nil {
			// It may take place between any two looks: then the edits would not fit any more.
			if revision, ok := c.landed(ctx, *lost); ok {
				return revision, nil
			}
		}
		if err != nil {
			if lost != nil {
				return 0, unknown(err)
			}
			return 0, err
		}
		after, err := edit(s.raw)
		if err != nil {
			return 0, err
		}
		if identical(s.raw, after) {
			return s.revision, nil
		}
		w, err := c.newWrite(name, s, after, m)
		if err != nil {
			return 0, err
		}
		saved, err := c.commit(ctx, w)
		var changed *ChangedError
		switch {
		case err == nil:
			return saved, nil
		case errors.As(err, &changed):
			continue // somebody else's change: made again on top of it
		case kindOf(err) == kindAway && lost == nil && sleep(ctx, 100*time.Millisecond):
			lost = &w
		case kindOf(err) == kindAway:
			return 0, unknown(err)
		default:
			return 0, err
		}
	}
}

// seen is a document and the newest record of its history, read at one revision.
type seen struct {
	raw      []byte // nil: there is none
	revision int64  // of the document; 0: there is none
	newest   string // id of the newest record; "": there is none
	record   *change.Record
}

// look reads a document, and of its history the newest record: whole where a change under
// the id tuning may go on with it, else the name only.
func (c *Client) look(ctx context.Context, name, tuning string) (s seen, err error) {
	err = c.read(ctx, "read the document of "+name, func(ctx context.Context, etcd *clientv3.Client) error {
		r, err := etcd.Txn(ctx).Then(c.lookOps(name, tuning)...).Commit()
		if err == nil {
			s = c.sawIn(name, r.Responses)
		}
		return err
	})
	return s, err
}

// lookOps are the two requests that sawIn reads the answers of.
func (c *Client) lookOps(name, tuning string) []clientv3.Op {
	newest := append(clientv3.WithLastKey(), clientv3.WithRange(clientv3.GetPrefixRangeEnd(c.layout.histories(name))))
	if tuning == "" {
		newest = append(newest, clientv3.WithKeysOnly())
	}
	return []clientv3.Op{clientv3.OpGet(c.layout.Config(name)), clientv3.OpGet(c.layout.histories(name), newest...)}
}

func (c *Client) sawIn(name string, answers []*etcdserverpb.ResponseOp) seen {
	var s seen
	if kvs := answers[0].GetResponseRange().Kvs; len(kvs) > 0 {
		s.raw, s.revision = append([]byte{}, kvs[0].Value...), kvs[0].ModRevision
	}
	if kvs := answers[1].GetResponseRange().Kvs; len(kvs) > 0 {
		s.newest = strings.TrimPrefix(string(kvs[0].Key), c.layout.histories(name))
		if r, err := decodeRecord(kvs[0]); err == nil {
			s.record = &r
		}
	}
	return s
}

// write is one change of one document with its record.
type write struct {
	name      string
	key       string
	base      int64
	after     []byte // nil: deleted
	id        string // of the record
	record    string // its key
	value     string // its JSON
	recordWas int64  // revision of the record that this goes on with; 0: it is new
}

// newWrite makes the change of a document that was seen.
func (c *Client) newWrite(name string, s seen, after []byte, m change.Meta) (write, error) {
	r := change.Record{
		Version: change.RecordVersion, Name: name, At: c.timing.now().UTC(), Who: m.Who,
		Kind: cmp.Or(m.Kind, change.KindEdit), Note: m.Note, Of: m.Of, Change: m.Change,
		Base: s.revision, Older: s.newest != "", Before: change.Pack(s.raw), After: change.Pack(after),
	}
	w := write{name: name, key: c.layout.Config(name), base: s.revision, after: after}
	if old := s.record; old != nil && m.ID != "" && old.ID == c.tunings.record(name, m.ID) && old.Who == r.Who && old.Kind == r.Kind && holds(old.After, s.raw) {
		// The next step of one tuning.
		r.ID, r.At, r.Base, r.Older, r.Before = old.ID, old.At, old.Base, old.Older, old.Before
		r.Note = cmp.Or(r.Note, old.Note)
		w.recordWas = old.Revision
	} else {
		r.ID = c.nextID(m.ID, s.newest)
		c.tunings.note(name, m.ID, r.ID)
	}
	b, err := plainJSON(r)
	if err != nil {
		return write{}, fmt.Errorf("record the change of %s: %w", name, err)
	}
	w.id, w.record, w.value = r.ID, c.layout.History(name, r.ID), string(b)
	return w, nil
}

// conditions say that document and record are as they were seen.
func (w *write) conditions() []clientv3.Cmp {
	return []clientv3.Cmp{
		clientv3.Compare(clientv3.ModRevision(w.key), "=", w.base),
		clientv3.Compare(clientv3.ModRevision(w.record), "=", w.recordWas),
	}
}

func (w *write) ops() []clientv3.Op {
	document := clientv3.OpPut(w.key, string(w.after))
	if w.after == nil {
		document = clientv3.OpDelete(w.key)
	}
	return []clientv3.Op{document, clientv3.OpPut(w.record, w.value)}
}

// commit is one try of a write. The error is a *ChangedError where document or record are
// not as they were seen any more.
func (c *Client) commit(ctx context.Context, w write) (revision int64, err error) {
	var changed *ChangedError
	err = c.do(ctx, "save the document of "+w.name, func(ctx context.Context, etcd *clientv3.Client) error {
		r, err := etcd.Txn(ctx).If(w.conditions()...).Then(w.ops()...).
			Else(clientv3.OpGet(w.key), clientv3.OpGet(w.record)).Commit()
		if err != nil {
			return err
		}
		if r.Succeeded {
			revision = r.Header.Revision
			return nil
		}
		if kvs := r.Responses[1].GetResponseRange().Kvs; len(kvs) > 0 && string(kvs[0].Value) == w.value {
			revision = kvs[0].ModRevision // the library sent it twice
			return nil
		}
		changed = &ChangedError{Host: w.name, Base: w.base}
		if kvs := r.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
			changed.Revision, changed.Raw = kvs[0].ModRevision, kvs[0].Value
		}
		return nil
	})
	switch {
	case err != nil:
		return 0, err
	case changed != nil:
		return 0, changed
	}
	if w.recordWas == 0 {
		c.prune(ctx, w.name)
	}
	if w.after == nil {
		revision = 0
	}
	return revision, nil
}

// landed tells whether a write whose answer was lost took place: its record says so, even
// where the document was changed again since.
func (c *Client) landed(ctx context.Context, w write) (revision int64, ok bool) {
	err := c.read(ctx, "read the history of "+w.name, func(ctx context.Context, etcd *clientv3.Client) error {
		r, err := etcd.Get(ctx, w.record)
		if err != nil {
			return err
		}
		if len(r.Kvs) > 0 && string(r.Kvs[0].Value) == w.value {
			revision, ok = r.Kvs[0].ModRevision, true
		}
		return nil
	})
	if w.after == nil {
		revision = 0
	}
	return revision, ok && err == nil
}

// identical tells whether two documents have the same bytes; nil is no document.
func identical(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// plainJSON is JSON with < and > as they are: documents hold them.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// Hosts returns the hosts that have a document or a live agent, sorted.
func (c *Client) Hosts(ctx context.Context) ([]string, error) {
	hosts := make(map[string]bool)
	revision, err := c.pages(ctx, c.layout.before, 0, true, func(kv *mvccpb.KeyValue) {
		if host, ok := c.layout.HostOf(string(kv.Key)); ok {
			hosts[host] = true
		}
	})
	if err != nil {
		return nil, err
	}
	live := c.layout.Live("")
	_, err = c.pages(ctx, live, revision, true, func(kv *mvccpb.KeyValue) {
		if host, ok := hostUnder(live, string(kv.Key)); ok {
			hosts[host] = true
		}
	})
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(hosts)), nil
}
