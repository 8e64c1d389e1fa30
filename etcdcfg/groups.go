package etcdcfg

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/agent"
)

// Groups returns the groups of every host whose id matches, as @names in their order; hosts
// without any are left out. A nil match takes all. A running agent says it in its live key; of a
// host without one the status key tells what it followed last.
func (c *Client) Groups(ctx context.Context, match func(host string) bool) (map[string][]string, error) {
	groups := make(map[string][]string)
	known := make(map[string]bool)
	live := c.layout.Live("")
	revision, err := c.pages(ctx, live, 0, false, func(kv *mvccpb.KeyValue) {
		host, ok := hostUnder(live, string(kv.Key))
		var l agent.Live
		if !ok || match != nil && !match(host) || json.Unmarshal(kv.Value, &l) != nil {
			return
		}
		known[host] = true
		if len(l.Groups) > 0 {
			groups[host] = groupNames(l.Groups)
		}
	})
	if err != nil {
		return nil, err
	}
	var silent []string
	status := c.layout.Status("")
	if _, err := c.pages(ctx, status, revision, true, func(kv *mvccpb.KeyValue) {
		if host, ok := hostUnder(status, string(kv.Key)); ok && !known[host] && (match == nil || match(host)) {
			silent = append(silent, host)
		}
	}); err != nil {
		return nil, err
	}
	followed, err := c.lastFollowed(ctx, silent)
	if err != nil {
		return nil, err
	}
	for host, names := range followed {
		if names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, "@") }); len(names) > 0 {
			groups[host] = names
		}
	}
	return groups, nil
}

// Follows returns the names of the documents that a host follows, in the order in which their
// entries win: its own, those of its addresses, those of its groups.
func (c *Client) Follows(ctx context.Context, host string) ([]string, error) {
	names := []string{host}
	add := func(more []string) {
		for _, n := range more {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	var live agent.Live
	if err := c.getJSON(ctx, "read the live key of "+host, c.layout.Live(host), &live); err != nil {
		return nil, err
	}
	followed, err := c.lastFollowed(ctx, []string{host})
	if err != nil {
		return nil, err
	}
	if len(live.Groups) > 0 { // newer than the status: the agent may just have begun
		followed[host] = slices.DeleteFunc(followed[host], func(n string) bool { return strings.HasPrefix(n, "@") })
	}
	add(followed[host])
	add(groupNames(live.Groups))
	return names, nil
}

func groupNames(groups []string) []string {
	var out []string
	for _, g := range groups {
		if name := "@" + g; CheckName(name) == nil {
			out = append(out, name)
		}
	}
	return out
}

// followReads is how many status keys are read at a time.
const followReads = 16

// lastFollowed returns the documents that hosts followed when they last told their status.
func (c *Client) lastFollowed(ctx context.Context, hosts []string) (map[string][]string, error) {
	out := make(map[string][]string, len(hosts))
	var mu sync.Mutex // guards out and first
	var first error
	var wg sync.WaitGroup
	slots := make(chan struct{}, followReads)
	for _, host := range hosts {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			var s agent.Coarse
			err := c.getJSON(ctx, "read the status key of "+host, c.layout.Status(host), &s)
			mu.Lock()
			defer mu.Unlock()
			if err != nil && first == nil {
				first = err
			}
			for _, d := range s.Documents {
				if name, ok := c.layout.NameOf(d.Key); ok {
					out[host] = append(out[host], name)
				}
			}
		})
	}
	wg.Wait()
	return out, first
}

// getJSON reads one key; what is not there, or not understood, leaves v as it is.
func (c *Client) getJSON(ctx context.Context, what, key string, v any) error {
	return c.read(ctx, what, func(ctx context.Context, etcd *clientv3.Client) error {
		r, err := etcd.Get(ctx, key)
		if err == nil && len(r.Kvs) > 0 {
			_ = json.Unmarshal(r.Kvs[0].Value, v) // written by another version
		}
		return err
	})
}
