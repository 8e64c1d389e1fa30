package main

import (
	"context"

	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
)

// writer is what the console writes through.
type writer struct{ etcd *etcdcfg.Client }

func (w writer) SetRate(ctx context.Context, host, logPath string, from, to int64) (int64, error) {
	return w.etcd.SetRate(ctx, host, logPath, from, to, change.Meta{Kind: change.KindRate})
}
