package etcdcfg

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
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
	wait, complaint := firstBackoff, ""
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
		case err == nil, errors.Is(err, rpctypes.ErrCompacted), errors.Is(err, rpctypes.ErrFutureRev), errors.Is(err, errLostConn), errors.Is(err, errClosedWatch):
			complaint = ""
		case loaded && kindOf(err) != kindCaller, kindOf(err) == kindAnswer:
			// A read that was not answered stands in the link already.
			reason := c.explain(f.what, err, nil).Error()
			c.link.refused(f.what, reason)
			if reason != complaint {
				complaint = reason
				c.log.Warn("etcd refuses, trying again", "what", f.what, "reason", reason)
			}
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
		wait = min(2*wait, maxBackoff)
	}
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
	wctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
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
			if err := r.Err(); err != nil {
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
