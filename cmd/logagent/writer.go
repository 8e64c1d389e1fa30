package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
	"logagent/ui"
)

// writer is what the console writes through: every write has a record in the history, in the
// name of who sits in front of it.
type writer struct {
	etcd *etcdcfg.Client
	who  change.Who
}

var (
	_ ui.Writer  = writer{}
	_ ui.History = (*etcdcfg.Client)(nil)
)

// tuning is what a write of one tuning says about itself.
func (w writer) tuning(id string) change.Meta {
	return change.Meta{ID: id, Who: w.who, Kind: change.KindRate}
}

func (w writer) SetRate(ctx context.Context, name, logPath string, from, to int64, tuning string) (int64, error) {
	return w.etcd.SetRate(ctx, name, logPath, from, to, w.tuning(tuning))
}

func (w writer) Own(ctx context.Context, host, logPath string, from agent.Service, rate int64, tuning string) (int64, error) {
	entry, err := ownCopy(from, rate)
	if err != nil {
		return 0, err
	}
	return w.etcd.Edit(ctx, host, []change.Edit{{Op: change.OpAdd, LogPath: logPath, Value: entry,
		Was: map[string]json.RawMessage{logPath: nil}}}, w.tuning(tuning))
}

func (w writer) Disown(ctx context.Context, host, logPath string, from agent.Service, rate int64, tuning string) (int64, error) {
	entry, err := ownCopy(from, rate)
	if err != nil {
		return 0, err
	}
	return w.etcd.Edit(ctx, host, []change.Edit{{Op: change.OpRemove, LogPath: logPath,
		Was: map[string]json.RawMessage{logPath: entry}}}, w.tuning(tuning))
}

// ownCopy is a group's entry as one of a host's own, with another rate.
func ownCopy(from agent.Service, rate int64) (json.RawMessage, error) {
	from.Key, from.SendRate = "", rate
	entry, err := json.Marshal(from)
	if err != nil {
		return nil, fmt.Errorf("entry %s: %w", from.LogPath, err)
	}
	return entry, nil
}

// Rollback compares the document with the one that the question was about, and writes on that
// revision alone: a change between question and answer is nobody's to take back unseen.
func (w writer) Rollback(ctx context.Context, name, id string, now []byte, note string) (int64, error) {
	raw, _, err := w.etcd.Version(ctx, name, id)
	if err != nil {
		return 0, err
	}
	found, base, err := w.etcd.Version(ctx, name, etcdcfg.HistoryNow)
	if err != nil {
		return 0, err
	}
	if (found == nil) != (now == nil) || !bytes.Equal(found, now) {
		return 0, fmt.Errorf("the document of %s was changed by somebody else meanwhile, look at its history again", name)
	}
	return w.etcd.Save(ctx, name, raw, base, change.Meta{Who: w.who, Kind: change.KindRollback, Of: id, Note: note})
}
