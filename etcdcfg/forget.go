package etcdcfg

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/etcdcfg/change"
)

// ErrLives says that a host has an agent, and so is not forgotten.
var ErrLives = errors.New("an agent runs there")

// ErrNothing says that etcd knows nothing of a host.
var ErrNothing = errors.New("etcd knows nothing of it")

// Forget takes a host out of etcd: its document, its status, the requests to move its
// positions, and what else tells of an agent that is gone. Its history stays, with a record of
// this in the same transaction where there was a document. In that transaction too it is made
// sure that no agent has its live key: else the error is ErrLives. An agent that is cut off
// from etcd has none; whoever calls this looks for its reports first.
func (c *Client) Forget(ctx context.Context, host string, m change.Meta) error {
	if err := CheckHost(host); err != nil {
		return err
	}
	for {
		now, err := c.look(ctx, host, "")
		if err != nil {
			return err
		}
		again, err := c.forget(ctx, host, now, m)
		if err != nil {
			return fmt.Errorf("forget %s: %w", host, err)
		}
		if !again {
			c.prune(ctx, host)
			return nil
		}
	}
}

// forget is one try; again where somebody changed the document meanwhile.
func (c *Client) forget(ctx context.Context, host string, now seen, m change.Meta) (again bool, err error) {
	l := c.layout
	ops := []clientv3.Op{
		clientv3.OpDelete(l.Status(host)), clientv3.OpDelete(l.Seen(host)), clientv3.OpDelete(l.Watch(host)),
		clientv3.OpDelete(l.asks(host), clientv3.WithPrefix()), clientv3.OpDelete(l.seeks(host), clientv3.WithPrefix()),
	}
	conditions := []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(l.Live(host)), "=", 0)}
	if now.revision == 0 {
		conditions = append(conditions, clientv3.Compare(clientv3.CreateRevision(l.Config(host)), "=", 0))
	} else {
		m.Kind = change.KindForget
		w, err := c.newWrite(host, now, nil, m)
		if err != nil {
			return false, err
		}
		conditions, ops = append(conditions, w.conditions()...), append(ops, w.ops()...)
	}
	var found error
	err = c.do(ctx, "forget "+host, func(ctx context.Context, etcd *clientv3.Client) error {
		r, err := etcd.Txn(ctx).If(conditions...).Then(ops...).Else(clientv3.OpGet(l.Live(host), clientv3.WithKeysOnly())).Commit()
		if err != nil {
			return err
		}
		if again, found = false, nil; !r.Succeeded {
			again = len(r.Responses[0].GetResponseRange().Kvs) == 0
			if !again {
				found = ErrLives
			}
			return nil
		}
		deleted := int64(0)
		for _, part := range r.Responses {
			if d := part.GetResponseDeleteRange(); d != nil {
				deleted += d.Deleted
			}
		}
		if deleted == 0 {
			found = ErrNothing
		}
		return nil
	})
	return again, cmp.Or(err, found)
}
