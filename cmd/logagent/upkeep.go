package main

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// manyRevisions is where an etcd that keeps every revision begins to be a worry.
const manyRevisions = 10_000

// upkeep warns of an etcd that will stop taking writes: one that fills its quota, and one
// that was never compacted. What this user may not see is no finding.
func (c *checkup) upkeep(ctx context.Context) {
	s := &c.settings
	ctx, cancel := context.WithTimeout(ctx, s.EtcdTimeout)
	defer cancel()
	client, err := s.plainEtcd(ctx)
	if err != nil {
		return
	}
	defer client.Close()
	for _, addr := range s.EtcdAddrs {
		st, err := client.Status(ctx, addr)
		if err != nil {
			if !errors.Is(err, rpctypes.ErrPermissionDenied) {
				c.add(findingWarning, "etcd", "", "%s does not tell how it is: %v", addr, err)
			}
			continue
		}
		for _, alarm := range st.Errors {
			c.add(findingWarning, "etcd", "see the alarm list of etcdctl; with NOSPACE nothing can be written", "%s: %s", addr, alarm)
		}
		if quota := st.DbSizeQuota; quota > 0 && st.DbSize > quota/2 {
			c.add(findingWarning, "etcd", "compact and defragment it, or raise --quota-backend-bytes",
				"%s: its data base holds %s of a quota of %s", addr, megabytes(st.DbSize), megabytes(quota))
		}
	}
	// Revision 1 can be read only as long as nothing was compacted.
	got, err := client.Get(ctx, "logagent", clientv3.WithRev(1), clientv3.WithKeysOnly())
	if err == nil && got.Header.Revision > manyRevisions {
		c.add(findingWarning, "etcd", "start etcd with --auto-compaction-retention, for example 1h",
			"keeps all its %d revisions: it was never compacted, and its quota fills up", got.Header.Revision)
	}
}

// plainEtcd is a connection for one question that etcdcfg has no word for. It ends with ctx,
// and with Close.
func (s *settings) plainEtcd(ctx context.Context) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: s.EtcdAddrs, DialTimeout: s.EtcdTimeout, TLS: s.EtcdTLS,
		Username: s.EtcdUser, Password: string(s.EtcdPassword), Context: ctx,
		Logger: zap.NewNop(), DialOptions: []grpc.DialOption{grpc.WithUserAgent("logagent")},
	})
}

// lacks tells whether etcd answers that it has no such key.
func (s *settings) lacks(ctx context.Context, key string) bool {
	ctx, cancel := context.WithTimeout(ctx, s.EtcdTimeout)
	defer cancel()
	client, err := s.plainEtcd(ctx)
	if err != nil {
		return false
	}
	defer client.Close()
	got, err := client.Get(ctx, key, clientv3.WithCountOnly())
	return err == nil && got.Count == 0
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
