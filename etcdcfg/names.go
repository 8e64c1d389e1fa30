package etcdcfg

import (
	"context"
	"maps"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// Names returns the names that begin with prefix, sorted: of hosts that have a document or a live
// agent, and of groups that have a document. It reads no values.
func (c *Client) Names(ctx context.Context, prefix string) ([]string, error) {
	names := make(map[string]bool)
	group, groups := strings.CutPrefix(prefix, "@")
	read := func(from string, name func(key string) (string, bool)) error {
		_, err := c.pages(ctx, from, 0, true, func(kv *mvccpb.KeyValue) {
			if n, ok := name(string(kv.Key)); ok && strings.HasPrefix(n, prefix) {
				names[n] = true
			}
		})
		return err
	}
	if prefix == "" || groups {
		if err := read(c.layout.groups()+group, c.layout.NameOf); err != nil {
			return nil, err
		}
	}
	if !groups {
		if err := read(c.layout.before+prefix, c.layout.HostOf); err != nil {
			return nil, err
		}
		live := c.layout.Live("")
		if err := read(live+prefix, func(key string) (string, bool) { return hostUnder(live, key) }); err != nil {
			return nil, err
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}
