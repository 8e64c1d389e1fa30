package etcdcfg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/agent"
)

// ChangedError says that a document is not the one a change was based on.
type ChangedError struct {
	Host           string
	Base, Revision int64  // wanted and found; 0: the key does not exist
	Raw            []byte // found
}

func (e *ChangedError) Error() string {
	if e.Revision == 0 {
		return "document of " + e.Host + " was deleted by somebody else meanwhile"
	}
	return fmt.Sprintf("document of %s was changed by somebody else meanwhile: it has revision %d, the change was made on %d", e.Host, e.Revision, e.Base)
}

// Get returns a host's document as it stands in etcd with its revision; revision 0 and no
// error where there is none.
func (c *Client) Get(ctx context.Context, host string) (raw []byte, revision int64, err error) {
	if err := CheckHost(host); err != nil {
		return nil, 0, err
	}
	err = c.read(ctx, "read the document of "+host, func(ctx context.Context, etcd *clientv3.Client) error {
		r, err := etcd.Get(ctx, c.layout.Config(host))
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

// Set replaces a host's document where it still has the revision base; 0: where there is
// none. The document is checked first. The error is a *ChangedError where the document is
// another one by now; one that equals raw counts as saved, whoever saved it. Where etcd's
// answer is lost, the document is read again to learn what became of the write, and the
// error says so where that does not tell either: it may even take place later.
func (c *Client) Set(ctx context.Context, host string, raw []byte, base int64) (revision int64, err error) {
	if err := CheckHost(host); err != nil {
		return 0, err
	}
	if _, _, err := agent.ParseDocument(raw); err != nil {
		return 0, fmt.Errorf("document of %s not saved: %w", host, err)
	}
	revision, err = c.set(ctx, host, raw, base)
	var changed *ChangedError
	if err == nil || errors.As(err, &changed) || kindOf(err) != kindAway {
		return revision, err
	}
	if found, revision, readErr := c.Get(ctx, host); readErr == nil && revision != base && bytes.Equal(found, raw) {
		return revision, nil
	}
	return 0, fmt.Errorf("not known whether it was saved: %w", err)
}

// set is one try of Set.
func (c *Client) set(ctx context.Context, host string, raw []byte, base int64) (revision int64, err error) {
	key := c.layout.Config(host)
	var changed *ChangedError
	err = c.do(ctx, "save the document of "+host, func(ctx context.Context, etcd *clientv3.Client) error {
		r, err := etcd.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(key), "=", base)).
			Then(clientv3.OpPut(key, string(raw))).
			Else(clientv3.OpGet(key)).
			Commit()
		if err != nil {
			return err
		}
		if r.Succeeded {
			revision = r.Header.Revision
			return nil
		}
		changed = &ChangedError{Host: host, Base: base}
		if kvs := r.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
			changed.Revision, changed.Raw = kvs[0].ModRevision, kvs[0].Value
			if bytes.Equal(changed.Raw, raw) {
				revision, changed = changed.Revision, nil
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if changed != nil {
		return 0, changed
	}
	return revision, nil
}

// SetRate changes the send_rate of one entry from one value to another, 0 meaning no limit,
// and returns the document's new revision. All other bytes of the document stay as they
// are, also where somebody else changes other entries at the same time. Where the entry's
// rate is not from any more, or the entry is gone, the error is an *agent.ConflictError.
//
// Where etcd's answer to the write is lost, the document is read again to learn what became
// of it; the error says so where that is not possible either.
func (c *Client) SetRate(ctx context.Context, host, logPath string, from, to int64) (revision int64, err error) {
	unknown := false // whether an earlier write was taken
	for {
		raw, revision, err := c.Get(ctx, host)
		if err != nil {
			if unknown {
				return 0, fmt.Errorf("not known whether the rate of %s was saved: %w", logPath, err)
			}
			return 0, err
		}
		if revision == 0 {
			return 0, &agent.ConflictError{LogPath: logPath}
		}
		services, _, err := agent.ParseDocument(raw)
		if err != nil {
			return 0, fmt.Errorf("document of %s is broken in etcd, mend it first: %w", host, err)
		}
		i := slices.IndexFunc(services, func(s agent.Service) bool { return s.LogPath == logPath })
		if i < 0 {
			return 0, &agent.ConflictError{LogPath: logPath}
		}
		own(services, c.layout.Config(host))
		switch rate := services[i].SendRate; {
		case rate == to && (unknown || from == to):
			return revision, nil
		case rate != from:
			return 0, &agent.ConflictError{LogPath: logPath, Theirs: &services[i]}
		}
		edited, err := editRate(raw, logPath, to)
		if err != nil {
			return 0, fmt.Errorf("rate of %s on %s: %w", logPath, host, err)
		}
		if _, _, err := agent.ParseDocument(edited); err != nil {
			return 0, fmt.Errorf("document of %s not saved: %w", host, err)
		}
		saved, err := c.set(ctx, host, edited, revision)
		var changed *ChangedError
		switch {
		case err == nil:
			return saved, nil
		case errors.As(err, &changed):
			continue // somebody else's change: made again on top of it
		case kindOf(err) == kindAway && !unknown && sleep(ctx, 100*time.Millisecond):
			unknown = true
		case kindOf(err) == kindAway:
			return 0, fmt.Errorf("not known whether the rate of %s was saved: %w", logPath, err)
		default:
			return 0, err
		}
	}
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
