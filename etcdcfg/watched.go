package etcdcfg

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// FollowWatched tells whether a console wants detail about the host, until ctx ends. It
// starts from false and calls watched after each change, from one goroutine at a time. A
// key that goes and comes back within a few seconds, as when one of two consoles ends, is
// no change. While etcd is away the last word stands.
func (c *Client) FollowWatched(ctx context.Context, host string, watched func(bool)) error {
	if err := CheckHost(host); err != nil {
		return err
	}
	var mu sync.Mutex // guards present
	present := false
	changed := make(chan struct{}, 1)
	set := func(p bool) {
		mu.Lock()
		present = p
		mu.Unlock()
		poke(changed)
	}

	ctx, cancel := context.WithCancel(ctx)
	var teller sync.WaitGroup
	defer teller.Wait()
	defer cancel()
	teller.Go(func() {
		told := false
		away := time.NewTimer(0)
		away.Stop()
		defer away.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
				mu.Lock()
				now := present
				mu.Unlock()
				switch {
				case now && !told:
					told = true
					watched(true)
				case now:
					away.Stop()
				case told:
					away.Reset(c.timing.unwatchedAfter)
				}
			case <-away.C:
				told = false
				watched(false)
			}
		}
	})

	key := c.layout.Watch(host)
	return c.follow(ctx, feed{
		what: "watch key of " + host, targets: []target{{key: key}}, every: c.timing.resync,
		load: func(ctx context.Context) (revision int64, err error) {
			err = c.read(ctx, "read the watch key of "+host, func(ctx context.Context, etcd *clientv3.Client) error {
				r, err := etcd.Get(ctx, key, clientv3.WithKeysOnly())
				if err == nil {
					revision = r.Header.Revision
					set(len(r.Kvs) > 0)
				}
				return err
			})
			return revision, err
		},
		event: func(e *clientv3.Event) { set(e.Type == clientv3.EventTypePut) },
	})
}

// HoldWatch says that this console wants detail about the host, until ctx ends. Several
// consoles share the one key: it stands under the lease of one of them, and when that one
// goes another puts it again.
func (c *Client) HoldWatch(ctx context.Context, host string) error {
	if err := CheckHost(host); err != nil {
		return err
	}
	key := c.layout.Watch(host)
	lease := c.newLease("the watch key of "+host, c.timing.watchTTL)

	ctx, cancel := context.WithCancel(ctx)
	var keeper sync.WaitGroup
	defer keeper.Wait()
	defer cancel()
	keeper.Go(func() { lease.keep(ctx) })
	return c.follow(ctx, feed{
		what: "watch key of " + host, targets: []target{{key: key}}, again: lease.lost, every: c.timing.resync,
		load: func(ctx context.Context) (int64, error) {
			id, err := lease.get(ctx)
			if err != nil {
				return 0, err
			}
			var revision int64
			err = c.do(ctx, "hold the watch key of "+host, func(ctx context.Context, etcd *clientv3.Client) error {
				r, err := etcd.Txn(ctx).
					If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
					Then(clientv3.OpPut(key, "{}", clientv3.WithLease(id))).
					Commit()
				if err == nil {
					revision = r.Header.Revision
				}
				return err
			})
			return revision, lease.checked(id, err)
		},
	})
}
