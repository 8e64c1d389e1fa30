package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/oklog/ulid/v2"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
)

// changedRate is what a changed entry is sent at.
const changedRate = 8000

// fleetMeta is what an operator's change says about itself.
func fleetMeta() change.Meta {
	return change.Meta{ID: ulid.Make().String(), Who: change.Who{User: "alice", Host: "bastion-1.fra1", SSH: "10.134.7.21"}, Note: "more for the morning peak"}
}

// singleWith says which hosts are changed.
type singleWith struct {
	Hosts []int `json:"hosts"`
}

// changeOneByOne changes one entry's rate on each host, waiting for each before the next.
func (c *fleetConsole) changeOneByOne(ctx context.Context, with singleWith) (any, error) {
	made := make([]changeMade, 0, len(with.Hosts))
	for _, i := range with.Hosts {
		host := fleetHost(i)
		e := fleetEntry(fleetServices[0])
		began := time.Now()
		revision, err := c.etcd.SetRate(ctx, host, e.LogPath, e.SendRate, changedRate, fleetMeta())
		if err != nil {
			return nil, err
		}
		wrote := time.Now()
		m, err := c.seen(ctx, began, wrote, []docOf{{host, c.etcd.Layout().Config(host)}}, func(int) int64 { return revision })
		if err != nil {
			return nil, err
		}
		made = append(made, m...)
	}
	return made, nil
}

// setRateOf is the edit that changes one entry's rate.
func setRateOf(service string) []change.Edit {
	return []change.Edit{{
		Op: change.OpSet, LogPath: fleetEntry(service).LogPath, Fields: map[string]json.RawMessage{"send_rate": json.RawMessage(strconv.Itoa(changedRate))},
	}}
}

// changeSet changes another entry of many hosts as one change set.
func (c *fleetConsole) changeSet(ctx context.Context, with singleWith) (any, error) {
	wanted := make(map[string]bool, len(with.Hosts))
	for _, i := range with.Hosts {
		wanted[fleetHost(i)] = true
	}
	began := time.Now()
	documents, _, err := c.etcd.Documents(ctx, func(name string) bool { return wanted[name] })
	if err != nil {
		return nil, err
	}
	plan := etcdcfg.PlanEdits(documents, setRateOf(fleetServices[1]))
	if len(plan.Steps) != len(wanted) {
		return nil, fmt.Errorf("a change set of %d documents, want %d: %v", len(plan.Steps), len(wanted), plan.Problems)
	}
	meta := fleetMeta()
	id, err := c.etcd.Start(ctx, plan, etcdcfg.StartOptions{Meta: meta})
	if err != nil {
		return nil, err
	}
	set, err := c.etcd.Drive(ctx, id, etcdcfg.DriveOptions{Who: meta.Who})
	if err != nil {
		return nil, err
	}
	wrote := time.Now()
	if set.State != etcdcfg.StateDone || set.Done != len(wanted) {
		return nil, fmt.Errorf("the change set is %s with %d of %d documents done: %s", set.State, set.Done, len(wanted), set.Reason)
	}
	docs := make([]docOf, len(set.Outcomes))
	for i, o := range set.Outcomes {
		docs[i] = docOf{o.Name, c.etcd.Layout().Config(o.Name)}
	}
	return c.seen(ctx, began, wrote, docs, func(i int) int64 { return set.Outcomes[i].Revision })
}

// groupWith says which group's document is changed, and who belongs to it.
type groupWith struct {
	Group   string `json:"group"`
	Service string `json:"service"`
	Hosts   []int  `json:"hosts"`
}

// changeGroup changes the document of a group.
func (c *fleetConsole) changeGroup(ctx context.Context, with groupWith) (any, error) {
	name := "@" + with.Group
	began := time.Now()
	revision, err := c.etcd.Edit(ctx, name, setRateOf(with.Service), fleetMeta())
	if err != nil {
		return nil, err
	}
	wrote := time.Now()
	docs := make([]docOf, len(with.Hosts))
	for i, n := range with.Hosts {
		docs[i] = docOf{fleetHost(n), c.etcd.Layout().Config(name)}
	}
	return c.seen(ctx, began, wrote, docs, func(int) int64 { return revision })
}

// measureOne changes hosts one by one.
func (f *fleet) measureOne(ctx context.Context) (out outcome, err error) {
	if f.before, err = readEtcdCounts(ctx, f.etcdAddr); err != nil {
		return out, err
	}
	l, made, err := f.change(ctx, "single", singleWith{pick(f.o.Hosts, f.o.Changes, 1)})
	if err != nil {
		return out, err
	}
	after, err := readEtcdCounts(ctx, f.etcdAddr)
	if err != nil {
		return out, err
	}
	f.changed += len(made)
	n := float64(len(made))
	out.figures = append([]figure{measured("changes", times, n, nil)}, l.figures()...)
	out.figures = append(out.figures,
		measured("keys written, for each", countless, (after.puts-f.before.puts)/n, nil),
		measured("bytes written, for each", kilobytes, (after.putBytes-f.before.putBytes)/1e3/n, nil))
	return out, nil
}

// measureSet changes many hosts as one change set.
func (f *fleet) measureSet(ctx context.Context) (out outcome, err error) {
	l, made, err := f.change(ctx, "set", singleWith{pick(f.o.Hosts, f.o.Set, 2)})
	if err != nil {
		return out, err
	}
	f.changed += len(made)
	out.figures = append([]figure{
		measured("hosts", hostCount, float64(len(made)), nil),
		measured("until all are written", millis, float64(l.written.max)/1e6, nil),
	}, l.arrivals()...)
	return out, nil
}

// measureGroup changes the document of a group.
func (f *fleet) measureGroup(group, service string, belongs func(int) bool) func(context.Context) (outcome, error) {
	return func(ctx context.Context) (out outcome, err error) {
		with := groupWith{Group: group, Service: service}
		for i := range f.o.Hosts {
			if belongs(i) {
				with.Hosts = append(with.Hosts, i)
			}
		}
		l, made, err := f.change(ctx, "group", with)
		if err != nil {
			return out, err
		}
		f.changed++ // one document
		out.figures = append([]figure{
			measured("hosts", hostCount, float64(len(made)), nil),
			measured("write", millis, float64(l.written.max)/1e6, nil),
		}, l.arrivals()...)
		return out, nil
	}
}

// Changes an hour that the history is reckoned for.
const hourlyChanges = 60

// measureHistory looks what all these changes left in etcd.
func (f *fleet) measureHistory(ctx context.Context) (out outcome, err error) {
	records, recordBytes, err := f.sizeOf(ctx, f.layout.Root()+".history/")
	if err != nil {
		return out, err
	}
	if records != f.changed {
		return out, fmt.Errorf("the history has %d records of %d changed documents", records, f.changed)
	}
	_, setBytes, err := f.sizeOf(ctx, f.layout.Root()+".changes/")
	if err != nil {
		return out, err
	}
	after, err := readEtcdCounts(ctx, f.etcdAddr)
	if err != nil {
		return out, err
	}
	record := recordBytes / float64(records)
	out.figures = []figure{
		measured("records", countless, float64(records), nil),
		measured("bytes of a record", countless, record, nil),
		measured("bytes of a change set's own, a host", countless, setBytes/float64(f.o.Set), nil),
		measured(fmt.Sprintf("an hour of %d changes", hourlyChanges), kilobytes, hourlyChanges*record/1e3, nil),
		measured(fmt.Sprintf("and a change set of %d hosts in it", f.o.Set), kilobytes, (hourlyChanges*record+float64(f.o.Set)*record+setBytes)/1e3, nil),
		measured("database before all changes", megabytes, f.before.usedBytes/1e6, nil),
		measured("database after them", megabytes, after.usedBytes/1e6, nil),
	}
	return out, nil
}

// sizeOf counts the keys below a prefix, and the bytes of keys and values.
func (f *fleet) sizeOf(ctx context.Context, prefix string) (keys int, bytes float64, err error) {
	const most = 500 // of one read
	for from, end := prefix, clientv3.GetPrefixRangeEnd(prefix); ; {
		r, err := f.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(most))
		if err != nil {
			return 0, 0, fmt.Errorf("read %s: %w", prefix, err)
		}
		for _, kv := range r.Kvs {
			keys++
			bytes += float64(len(kv.Key) + len(kv.Value))
		}
		if !r.More {
			return keys, bytes, nil
		}
		from = string(r.Kvs[len(r.Kvs)-1].Key) + "\x00"
	}
}
