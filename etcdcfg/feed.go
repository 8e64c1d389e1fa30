package etcdcfg

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// feed keeps somebody in step with some keys: load reads the whole truth, event is told
// what changed after it. Neither is ever called while the other one runs.
type feed struct {
	what    string   // is kept in step, for errors and the log
	targets []target // to watch
	// load reads everything and returns the revision it read at.
	load func(context.Context) (revision int64, err error)
	// event is told each change after that revision, in order per target. nil: load is
	// called again after any change.
	event func(*clientv3.Event)
	// reached is told that all events up to a revision were handed out. May be nil.
	reached func(revision int64)
	again   <-chan struct{} // load again when this says so; may be nil
	every   time.Duration   // load again at least this often
}

// target is a key, or all keys that begin with it.
type target struct {
	key    string
	prefix bool
}

// Why a watch ended; after each of them the whole truth is read again.
var (
	errClosedWatch = errors.New("watch was closed")
	errLostConn    = errors.New("connection was lost")
)

const (
	// steady is how long a watch must have lasted to count as one that works.
	steady       = 5 * time.Second
	firstBackoff = 50 * time.Millisecond
	maxBackoff   = 2 * time.Second
)

// follow runs a feed until ctx ends. It fails only where the client was closed.
func (c *Client) follow(ctx context.Context, f feed) error {
	defer c.link.settled(f.what)
	wait := firstBackoff
	for {
		// Taken before the read: a connection lost since then may have moved the watch to
		// an etcd that came back with lower revisions.
		lost := c.link.lostConnection()
		started := time.Now()
		revision, err := f.load(ctx)
		loaded := err == nil
		if loaded {
			err = c.watch(ctx, f, revision, lost)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrClosed):
			return fmt.Errorf("%s: %w", f.what, err)
		case err == nil: // the watch was there until it was time
			c.link.settled(f.what)
		case errors.Is(err, rpctypes.ErrCompacted), errors.Is(err, rpctypes.ErrFutureRev), errors.Is(err, errLostConn), errors.Is(err, errClosedWatch):
		case loaded && signedOut(err) && c.opts.User != "":
			// Nobody's fault: the next watch begins on a stream that is signed in anew.
		case kindOf(err) == kindAnswer:
			c.link.refused(f.what, c.explain(f.what, err, nil, nil).Error())
		case loaded && kindOf(err) == kindAway:
			// A read that was not answered stands in the link already.
			c.link.failed(c.explain(f.what, err, nil, nil).reason)
		}
		if err == nil || time.Since(started) > steady {
			wait = firstBackoff
		}
		if err == nil {
			continue
		}
		if !sleep(ctx, wait/2+rand.N(wait/2)) {
			return nil
		}
		wait = c.longer(wait, err)
	}
}

// longer is how long to wait after one more failure.
func (c *Client) longer(wait time.Duration, err error) time.Duration {
	if takesNoWrites(err) {
		return min(2*wait, c.timing.fullRetry)
	}
	return min(2*wait, maxBackoff)
}

// watch hands out what happens after a revision. It returns nil where it is time to load
// again, and an error where the watch is no more.
func (c *Client) watch(ctx context.Context, f feed, revision int64, lost <-chan struct{}) error {
	etcd, err := c.connection(ctx)
	if err != nil {
		return err
	}
	if f.reached != nil {
		f.reached(revision)
	}
	wctx, stream := c.streams.current(clientv3.WithRequireLeader(ctx))
	wctx, cancel := context.WithCancel(wctx)
	responses := make(chan clientv3.WatchResponse)
	var watchers sync.WaitGroup
	defer watchers.Wait()
	defer cancel()
	for _, t := range f.targets {
		watchers.Go(func() {
			opts := []clientv3.OpOption{clientv3.WithRev(revision + 1)}
			if t.prefix {
				opts = append(opts, clientv3.WithPrefix())
			}
			forward(wctx, etcd.Watch(wctx, t.key, opts...), responses)
		})
	}

	loadAgain := time.NewTimer(f.every)
	defer loadAgain.Stop()
	// A watch that is refused ends at once: only one that lasts settles a complaint.
	lasted := time.NewTimer(steady)
	defer lasted.Stop()
	for {
		select {
		case r := <-responses:
			if err := watchError(r); err != nil {
				if signedOut(err) || c.doubtful(err) {
					c.streams.leave(stream)
				}
				return fmt.Errorf("watch: %w", err)
			}
			if r.Header == nil { // a closed channel's last word
				return errClosedWatch
			}
			c.link.answered()
			c.link.settled(f.what)
			if f.event == nil && len(r.Events) > 0 {
				return nil
			}
			for _, e := range r.Events {
				f.event(e)
			}
			if f.reached != nil {
				f.reached(r.Header.Revision)
			}
		case <-lasted.C:
			c.link.settled(f.what)
		case <-lost:
			return errLostConn
		case <-f.again:
			return nil
		case <-loadAgain.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// watchError returns why a watch ended, nil where it goes on. What etcd says when it refuses
// one comes as gRPC's text and not as its error.
func watchError(r clientv3.WatchResponse) error {
	err := r.Err()
	if err == nil {
		return nil
	}
	if _, reason, ok := strings.Cut(err.Error(), "desc = "); ok {
		if known, ok := rpctypes.Error(status.Error(codes.Unknown, reason)).(rpctypes.EtcdError); ok {
			return known
		}
	}
	return err
}

// forward passes responses on, and the zero response when there will be no more.
func forward(ctx context.Context, from clientv3.WatchChan, to chan<- clientv3.WatchResponse) {
	for {
		r := <-from // zero once closed, which it is when ctx ends
		select {
		case to <- r:
		case <-ctx.Done():
			return
		}
		if r.Header == nil {
			return
		}
	}
}
