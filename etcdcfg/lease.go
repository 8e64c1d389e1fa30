package etcdcfg

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// revokeWait bounds the good-bye of a program that ends: etcd removes the keys by itself
// when the lease runs out.
const revokeWait = time.Second

// renewals is how often a lease is renewed within its TTL: two may fail.
const renewals = 3

// lease is a lease that is granted on first use, kept alive, and granted anew after it was
// lost, which its owner hears through lost and then puts his keys again.
type lease struct {
	c    *Client
	what string
	ttl  int64 // seconds

	lost    chan struct{} // size 1: the lease is gone
	granted chan struct{} // size 1: there is one to keep alive

	mu sync.Mutex // guards id
	id clientv3.LeaseID
}

func (c *Client) newLease(what string, ttl int64) *lease {
	return &lease{c: c, what: what, ttl: ttl, lost: make(chan struct{}, 1), granted: make(chan struct{}, 1)}
}

// current returns the lease's id, 0 where there is none.
func (l *lease) current() clientv3.LeaseID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.id
}

// get returns the lease's id, granting one where there is none. One goroutine calls it.
func (l *lease) get(ctx context.Context) (clientv3.LeaseID, error) {
	if id := l.current(); id != clientv3.NoLease {
		return id, nil
	}
	var id clientv3.LeaseID
	err := l.c.do(ctx, "lease for "+l.what, func(ctx context.Context, etcd *clientv3.Client) error {
		r, err := etcd.Grant(ctx, l.ttl)
		if err == nil {
			id = r.ID
		}
		return err
	})
	if err != nil {
		return clientv3.NoLease, err
	}
	l.mu.Lock()
	l.id = id
	l.mu.Unlock()
	poke(l.granted)
	return id, nil
}

// forget drops a lease that etcd does not know any more.
func (l *lease) forget(id clientv3.LeaseID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.id == id {
		l.id = clientv3.NoLease
	}
}

// checked passes an error on, and forgets the lease where the error says that it is gone.
func (l *lease) checked(id clientv3.LeaseID, err error) error {
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		l.forget(id)
	}
	return err
}

// keep keeps the lease alive until ctx ends, then revokes it.
func (l *lease) keep(ctx context.Context) {
	defer l.revoke(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.granted:
		}
		id := l.current()
		if id == clientv3.NoLease {
			continue
		}
		etcd, err := l.c.connection(ctx)
		if err != nil {
			return // closed, or ctx ended
		}
		if l.replaced(ctx, etcd, id) {
			continue
		}
		if ctx.Err() != nil {
			return
		}
		l.forget(id)
		l.c.log.Warn("lease lost, taking a new one", "what", l.what)
		poke(l.lost)
	}
}

// replaced renews a lease until it is lost, and returns true where it was replaced by a
// new one before that.
//
// It does not use the etcd library's KeepAlive, which asks again twice a second for as long
// as an answer is out: 10,000 hosts would ask an etcd that needs longer than that 20,000
// times a second, and it would not come out of it. It also wakes up four times a second.
func (l *lease) replaced(ctx context.Context, etcd *clientv3.Client, id clientv3.LeaseID) bool {
	ttl := time.Duration(l.ttl) * time.Second
	renewed := time.Now()
	// After an outage ten thousand hosts take their leases in one moment: the first wait
	// spreads their renewals.
	wait := ttl/(2*renewals) + rand.N(ttl/(2*renewals))
	for {
		timer := time.NewTimer(wait)
		select {
		case <-l.granted:
			timer.Stop()
			poke(l.granted)
			return true
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
		asked := time.Now()
		rctx, cancel := context.WithTimeout(ctx, l.c.opts.Timeout)
		_, err := etcd.KeepAliveOnce(rctx, id)
		cancel()
		switch {
		case err == nil:
			l.c.link.answered()
			renewed, wait = asked, ttl/renewals
		case errors.Is(err, rpctypes.ErrLeaseNotFound), time.Since(renewed) > ttl:
			return false
		default:
			wait = ttl/(4*renewals) + rand.N(ttl/(4*renewals))
		}
	}
}

// revoke ends the lease and with it its keys.
func (l *lease) revoke(ended context.Context) {
	id := l.current()
	if id == clientv3.NoLease {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ended), revokeWait)
	defer cancel()
	err := l.c.do(ctx, "end the lease for "+l.what, func(ctx context.Context, etcd *clientv3.Client) error {
		_, err := etcd.Revoke(ctx, id)
		return err
	})
	if err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		l.c.log.Debug("lease not revoked, it ends by itself", "what", l.what, "reason", err)
	}
}
