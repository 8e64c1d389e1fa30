package etcdcfg

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"logagent/agent"
)

// ReportOptions say what an agent tells about itself in etcd.
type ReportOptions struct {
	Live agent.Live // who runs; Live.Host names the keys
	// Status returns the newest status. It must not block for long.
	Status func() agent.Status
	// Changed says that a revision, a refusal or a cause changed. Size 1; may be nil, then
	// Status is asked every half minute.
	Changed <-chan struct{}
	// Problem is told, in words for an operator, that another agent runs under this host
	// id, and "" once it does not any more. May be nil. It must not block.
	Problem func(string)
}

// Report keeps ROOT.live/<host> and ROOT.status/<host> true until ctx ends, then takes the
// live key away and returns nil. It stops nobody: where etcd is away or refuses, it tries
// again for ever. It fails at once where the options are wrong, and later only where the
// client was closed.
//
// An agent that finds another one under its host id stands in ROOT.live/<host>/<lease>
// meanwhile, so that both of them know; it writes no status and takes over when the other
// one's key goes.
//
// ROOT.seen/<host> is renewed about once an hour and left behind, so that it is known for how
// long a host is gone.
func (c *Client) Report(ctx context.Context, o ReportOptions) error {
	if err := CheckHost(o.Live.Host); err != nil {
		return err
	}
	if o.Status == nil {
		return fmt.Errorf("report of %s needs Status", o.Live.Host)
	}
	if o.Problem == nil {
		o.Problem = func(string) {}
	}
	mine, err := json.Marshal(o.Live)
	if err != nil {
		return fmt.Errorf("live key of %s: %w", o.Live.Host, err)
	}
	lease := c.newLease("the live key of "+o.Live.Host, c.timing.liveTTL)
	turn := &turn{changed: make(chan struct{}, 1)}
	l := &liveKey{c: c, o: o, mine: mine, lease: lease, turn: turn}
	seen := &seenKey{c: c, live: o.Live}
	s := &statusKey{c: c, o: o, turn: turn, seen: seen}

	ctx, cancel := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer cancel()
	helpers.Go(func() { lease.keep(ctx) })
	helpers.Go(func() { s.run(ctx) })
	helpers.Go(func() { seen.run(ctx) })
	return c.follow(ctx, feed{
		what: "live key of " + o.Live.Host,
		targets: []target{
			{key: c.layout.Live(o.Live.Host)},
			{key: c.layout.seconds(o.Live.Host), prefix: true},
		},
		load: l.claim, again: lease.lost, every: c.timing.resync,
	})
}
