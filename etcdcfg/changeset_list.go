package etcdcfg

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/oklog/ulid/v2"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/etcdcfg/change"
)

// ChangeSets returns what became of change sets, newest first, without the outcomes of
// each document; most bounds it, 0: all there are.
func (c *Client) ChangeSets(ctx context.Context, most int) ([]ChangeSet, error) {
	ids, _, err := c.changeIDs(ctx)
	if err != nil {
		return nil, err
	}
	slices.Reverse(ids)
	var sets []ChangeSet
	for some := range slices.Chunk(ids, maxOps) {
		if most > 0 && len(sets) >= most {
			break
		}
		heads, err := c.heads(ctx, some)
		if err != nil {
			return nil, err
		}
		for _, kv := range heads {
			if kv == nil {
				continue // its writer died before the head, or it was removed by now
			}
			set, err := decodeHead(kv)
			if err != nil {
				c.log.Debug("change set not understood", "key", string(kv.Key), "reason", err)
				continue
			}
			sets = append(sets, set)
		}
	}
	if most > 0 && len(sets) > most {
		sets = sets[:most]
	}
	return sets, nil
}

// changeIDs returns the ids of all change sets, oldest first, and those that have a driver.
func (c *Client) changeIDs(ctx context.Context) (ids []string, driven map[string]bool, err error) {
	prefix := c.layout.Changes("")
	driven = make(map[string]bool)
	_, err = c.pages(ctx, prefix, 0, true, func(kv *mvccpb.KeyValue) {
		id, part, _ := strings.Cut(strings.TrimPrefix(string(kv.Key), prefix), "/")
		if len(ids) == 0 || ids[len(ids)-1] != id {
			ids = append(ids, id)
		}
		if part == "driver" {
			driven[id] = true
		}
	})
	return ids, driven, err
}

// heads reads at most maxOps heads; nil where one does not exist.
func (c *Client) heads(ctx context.Context, ids []string) ([]*mvccpb.KeyValue, error) {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = c.layout.Changes(id)
	}
	_, kvs, err := c.lookAll(ctx, nil, keys...)
	return kvs, err
}

// ChangeSet returns one change set with the outcome of each document and who works on it.
// The error wraps ErrNoChange where there is none of that id.
func (c *Client) ChangeSet(ctx context.Context, id string) (ChangeSet, error) {
	set, chunks, err := c.changeSet(ctx, id)
	if err != nil {
		return ChangeSet{}, err
	}
	set.Outcomes = outcomes(chunks)
	return set, nil
}

func outcomes(chunks []*chunk) []Outcome {
	var all []Outcome
	for _, k := range chunks {
		all = append(all, k.Outcomes...)
	}
	slices.SortFunc(all, func(a, b Outcome) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// changeSet reads a change set with all its chunks, in order.
func (c *Client) changeSet(ctx context.Context, id string) (ChangeSet, []*chunk, error) {
	fail := func(err error) (ChangeSet, []*chunk, error) { return ChangeSet{}, nil, err }
	if err := checkID(id); err != nil {
		return fail(err)
	}
	_, kvs, err := c.lookAll(ctx, nil, c.layout.Changes(id), c.driverKey(id))
	if err != nil {
		return fail(err)
	}
	if kvs[0] == nil {
		return fail(fmt.Errorf("%s: %w", id, ErrNoChange))
	}
	set, err := decodeHead(kvs[0])
	if err != nil {
		return fail(err)
	}
	if kvs[1] != nil {
		set.Driver = driverName(kvs[1].Value)
	}
	var chunks []*chunk
	var problem error
	prefix := c.layout.Changes(id) + "/"
	_, err = c.pages(ctx, prefix, 0, false, func(kv *mvccpb.KeyValue) {
		if _, err := strconv.Atoi(strings.TrimPrefix(string(kv.Key), prefix)); err != nil {
			return
		}
		k, err := decodeChunk(kv)
		if err != nil {
			problem = cmp.Or(problem, err)
			return
		}
		chunks = append(chunks, k)
	})
	switch {
	case err != nil:
		return fail(err)
	case problem != nil:
		return fail(problem)
	case len(chunks) != set.Chunks:
		return fail(fmt.Errorf("change %s: %d of its %d parts are in etcd", id, len(chunks), set.Chunks))
	}
	return set, chunks, nil
}

func checkID(id string) error {
	if _, err := ulid.ParseStrict(id); err != nil {
		return fmt.Errorf("%q is no id of a change set; an example: 01JD0000000000000000000000", id)
	}
	return nil
}

// Stop ends the work on a change set after the transaction that is on its way. What was
// done stays; Reverse takes it back, Drive goes on with it. The error wraps ErrFinished
// where there was nothing left to do.
func (c *Client) Stop(ctx context.Context, id string, m change.Meta) error {
	reason := "stopped by " + m.Who.String()
	if m.Note != "" {
		reason += ": " + m.Note
	}
	_, err := c.setHead(ctx, id, func(set *ChangeSet) error {
		switch set.State {
		case StateDone:
			return fmt.Errorf("%s: %w", id, ErrFinished)
		case StateStopped:
			return nil
		}
		set.State, set.Reason = StateStopped, reason
		return nil
	})
	return err
}

// setHead changes the head of a change set, on top of what others make of it.
func (c *Client) setHead(ctx context.Context, id string, edit func(*ChangeSet) error) (ChangeSet, error) {
	if err := checkID(id); err != nil {
		return ChangeSet{}, err
	}
	key := c.layout.Changes(id)
	var set ChangeSet
	err := c.again(ctx, id, func() (bool, error) {
		kvs, err := c.heads(ctx, []string{id})
		if err != nil {
			return false, err
		}
		if kvs[0] == nil {
			return false, fmt.Errorf("%s: %w", id, ErrNoChange)
		}
		if set, err = decodeHead(kvs[0]); err != nil {
			return false, err
		}
		if err := edit(&set); err != nil {
			return false, err
		}
		value, err := set.encode()
		if err != nil {
			return false, err
		}
		if value == string(kvs[0].Value) {
			return true, nil
		}
		var b batch
		b.put(key, value)
		return c.commitBatch(ctx, b, clientv3.Compare(clientv3.ModRevision(key), "=", set.revision))
	})
	return set, err
}

// Reverse starts a change set that takes back what another one did, as Start does: where it
// does not fit one transaction, Drive does it. A document that nobody changed since gets back
// the very bytes it had; of one that was, the entries are taken back that are still as the
// change left them, all of them or none, and what is not is a conflict in the outcome. A
// change set that is not finished must be stopped first. From the moment the new one is there
// the old one is marked with its id, and Drive does not take it up again: what was taken back
// would be missing among what it did.
//
// Nobody waits for a driver, dead or alive: each of its transactions asks that the change set
// is open, so none comes after the one that stopped it.
func (c *Client) Reverse(ctx context.Context, id string, m change.Meta) (id2 string, err error) {
	set, chunks, err := c.changeSet(ctx, id)
	if err != nil {
		return "", err
	}
	if set.State == StateOpen {
		return "", fmt.Errorf("change %s is not finished, stop it first", id)
	}
	var done []Outcome
	for _, o := range outcomes(chunks) {
		if o.State == StepDone {
			done = append(done, o)
		}
	}
	if len(done) == 0 {
		return "", fmt.Errorf("change %s changed no document: nothing to take back", id)
	}
	records, err := c.records(ctx, done)
	if err != nil {
		return "", err
	}
	var p Plan
	for i, o := range done {
		s := Step{Name: o.Name, Base: o.Revision, back: o.Record}
		if r := records[i]; r != nil {
			after, errAfter := unpack(r.After)
			before, errBefore := unpack(r.Before)
			if errAfter == nil && errBefore == nil {
				s.Before, s.After = after, before
				s.Edits, _ = change.Between(after, before) // for where the record is gone by then
			}
		}
		p.Steps = append(p.Steps, s)
	}
	m.Kind, m.Of = change.KindReverse, id
	return c.Start(ctx, p, StartOptions{Meta: m, reverses: &set})
}

// pruneChanges removes finished change sets beyond the newest hundred and those older than
// 180 days, ten of them kept as of every history. What fails is made up for by the next one.
func (c *Client) pruneChanges(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pruneWait)
	defer cancel()
	ids, driven, err := c.changeIDs(ctx)
	if err != nil {
		return
	}
	old := ids[:Limits{Keep: keepChanges, MaxAge: keepChangesAge}.cut(ids, c.timing.now())]
	for some := range slices.Chunk(old, maxOps) {
		heads, err := c.heads(ctx, some)
		if err != nil {
			return
		}
		for i, kv := range heads {
			var set ChangeSet
			if kv != nil {
				if set, err = decodeHead(kv); err != nil || set.State == StateOpen {
					continue
				}
			}
			if driven[some[i]] {
				continue
			}
			head := c.layout.Changes(some[i])
			b := batch{ops: []clientv3.Op{clientv3.OpDelete(head), clientv3.OpDelete(head+"/", clientv3.WithPrefix())}}
			if _, err := c.commitBatch(ctx, b, clientv3.Compare(clientv3.ModRevision(head), "=", set.revision)); err != nil {
				c.log.Debug("old change sets not removed", "reason", err)
				return
			}
		}
	}
}
