package etcdcfg

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/etcdcfg/change"
)

// recordKey is where one record of any document's history stands.
type recordKey struct{ name, id string }

// recordKeys returns the keys of all histories, newest first. It reads no values, but the name
// of every record: 10,000 hosts with 50 records each are 30 MB.
func (c *Client) recordKeys(ctx context.Context) ([]recordKey, error) {
	prefix := c.layout.root + ".history/"
	var keys []recordKey
	_, err := c.pages(ctx, prefix, 0, true, func(kv *mvccpb.KeyValue) {
		name, id, ok := strings.Cut(strings.TrimPrefix(string(kv.Key), prefix), "/")
		if ok && CheckName(name) == nil && checkID(id) == nil {
			keys = append(keys, recordKey{name, id})
		}
	})
	slices.SortFunc(keys, func(a, b recordKey) int {
		return cmp.Or(strings.Compare(b.id, a.id), strings.Compare(a.name, b.name))
	})
	return keys, err
}

// Recent returns the newest records of all documents, newest first by the clocks of those who
// wrote them; most bounds it, 0: all there are. What was changed by other means is not among
// them: History finds that.
func (c *Client) Recent(ctx context.Context, most int) ([]change.Record, error) {
	keys, err := c.recordKeys(ctx)
	if err != nil {
		return nil, err
	}
	if most > 0 && len(keys) > most {
		keys = keys[:most]
	}
	return c.recordsAt(ctx, keys)
}

// FindRecord returns the record with an id, of whichever document. The error wraps ErrNoRecord
// where there is none, and names the documents where several have one.
func (c *Client) FindRecord(ctx context.Context, id string) (change.Record, error) {
	keys, err := c.recordKeys(ctx)
	if err != nil {
		return change.Record{}, err
	}
	keys = slices.DeleteFunc(keys, func(k recordKey) bool { return k.id != id })
	if len(keys) > 1 {
		return change.Record{}, fmt.Errorf("several documents have a record %s, among them %s and %s: name one", id, keys[0].name, keys[1].name)
	}
	records, err := c.recordsAt(ctx, keys)
	if err != nil {
		return change.Record{}, err
	}
	if len(records) == 0 {
		return change.Record{}, fmt.Errorf("%s: %w", id, ErrNoRecord)
	}
	return records[0], nil
}

// recordsPage bounds what one request reads: a record may have 100 KiB.
const recordsPage = 32

func (c *Client) recordsAt(ctx context.Context, keys []recordKey) ([]change.Record, error) {
	var records []change.Record
	for some := range slices.Chunk(keys, recordsPage) {
		ops := make([]clientv3.Op, len(some))
		for i, k := range some {
			ops[i] = clientv3.OpGet(c.layout.History(k.name, k.id))
		}
		err := c.read(ctx, "read the history", func(ctx context.Context, etcd *clientv3.Client) error {
			r, err := etcd.Txn(ctx).Then(ops...).Commit()
			if err != nil {
				return err
			}
			for i := range some {
				for _, kv := range r.Responses[i].GetResponseRange().Kvs {
					record, err := decodeRecord(kv)
					if err != nil {
						c.log.Debug("record of the history not understood", "key", string(kv.Key), "reason", err)
						continue
					}
					records = append(records, record)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return records, nil
}
