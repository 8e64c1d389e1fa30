package etcdcfg

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/agent"
)

// liveKey claims ROOT.live/<host> for this agent. Its feed calls claim again after every
// change of the keys it looks at.
type liveKey struct {
	c     *Client
	o     ReportOptions
	mine  []byte // o.Live as JSON
	lease *lease
	turn  *turn

	held    bool   // this agent has held the key since it started
	problem string // last told
}

// turn says whose turn it is to write the status: the holder's of the live key.
type turn struct {
	changed chan struct{} // size 1

	mu    sync.Mutex // guards known and mine
	known bool
	mine  bool
}

func (t *turn) set(mine bool) {
	t.mu.Lock()
	changed := !t.known || t.mine != mine
	t.known, t.mine = true, mine
	t.mu.Unlock()
	if changed {
		poke(t.changed)
	}
}

// get tells whether it is known by now whose turn it is, and whether it is this agent's.
func (t *turn) get() (known, mine bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known, t.mine
}

// errRaced says that a key changed between the look at it and the write.
var errRaced = errors.New("the key changed meanwhile")

// claim looks who holds the key and takes it where it is free or this agent's own. It
// returns the revision it looked at: what it writes comes back as a change, and the next
// look finds everything in place.
func (l *liveKey) claim(ctx context.Context) (int64, error) {
	layout, host := l.c.layout, l.o.Live.Host
	id, err := l.lease.get(ctx)
	if err != nil {
		return 0, err
	}
	secondKey := layout.second(host, strconv.FormatInt(int64(id), 16))

	var revision int64
	var holder *mvccpb.KeyValue
	var others []*mvccpb.KeyValue
	standing := false // in the second place
	err = l.c.read(ctx, "read the live key of "+host, func(ctx context.Context, etcd *clientv3.Client) error {
		r, err := etcd.Txn(ctx).Then(
			clientv3.OpGet(layout.Live(host)),
			clientv3.OpGet(layout.seconds(host), clientv3.WithPrefix()),
		).Commit()
		if err != nil {
			return err
		}
		revision, holder, others, standing = r.Header.Revision, nil, nil, false
		if kvs := r.Responses[0].GetResponseRange().Kvs; len(kvs) == 1 {
			holder = kvs[0]
		}
		for _, kv := range r.Responses[1].GetResponseRange().Kvs {
			switch {
			case string(kv.Key) == secondKey:
				standing = true
			case !bytes.Equal(kv.Value, l.mine): // not this agent under a lease it lost
				others = append(others, kv)
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}

	var other *mvccpb.KeyValue
	if holder != nil && !l.own(holder) {
		other = holder
		if !standing {
			err = l.put(ctx, id, clientv3.Compare(clientv3.ModRevision(layout.Live(host)), "=", holder.ModRevision), secondKey, "")
		}
	} else {
		if len(others) > 0 {
			other = others[0]
		}
		switch {
		case holder == nil:
			err = l.put(ctx, id, clientv3.Compare(clientv3.CreateRevision(layout.Live(host)), "=", 0), layout.Live(host), secondKey)
		case !bytes.Equal(holder.Value, l.mine) || holder.Lease != int64(id):
			err = l.put(ctx, id, clientv3.Compare(clientv3.ModRevision(layout.Live(host)), "=", holder.ModRevision), layout.Live(host), secondKey)
		}
		l.held = l.held || err == nil
	}
	if err != nil {
		return 0, err
	}
	l.turn.set(other == nil || other != holder)
	l.tell(other)
	return revision, nil
}

// own tells whether the key's holder is this agent or one that ran on its state before. An
// agent that once held the key and finds its own state id in it under another start is
// looking at a copy of itself.
func (l *liveKey) own(holder *mvccpb.KeyValue) bool {
	if bytes.Equal(holder.Value, l.mine) {
		return true
	}
	var live agent.Live
	if json.Unmarshal(holder.Value, &live) != nil {
		return true // nobody's: replaced
	}
	return live.StateID == l.o.Live.StateID && !l.held
}

// put writes who runs under the lease, and removes another key where one is given, if the
// condition holds.
func (l *liveKey) put(ctx context.Context, id clientv3.LeaseID, condition clientv3.Cmp, key, remove string) error {
	ops := []clientv3.Op{clientv3.OpPut(key, string(l.mine), clientv3.WithLease(id))}
	if remove != "" {
		ops = append(ops, clientv3.OpDelete(remove))
	}
	err := l.c.do(ctx, "write "+key, func(ctx context.Context, etcd *clientv3.Client) error {
		r, err := etcd.Txn(ctx).If(condition).Then(ops...).Commit()
		if err == nil && !r.Succeeded {
			return errRaced
		}
		return err
	})
	return l.lease.checked(id, err)
}

// tell reports a second agent, or its going, once.
func (l *liveKey) tell(other *mvccpb.KeyValue) {
	problem := ""
	if other != nil {
		var live agent.Live
		if err := json.Unmarshal(other.Value, &live); err != nil {
			problem = "second agent with this host id: " + string(other.Key)
		} else {
			problem = fmt.Sprintf("second agent with this host id: pid %d, version %s, started %s", live.PID, live.Version, live.Started.Format(time.RFC3339))
			if live.StateID == l.o.Live.StateID {
				problem += ", on a copy of this agent's state_dir"
			}
		}
	}
	if problem == l.problem {
		return
	}
	l.problem = problem
	if problem != "" {
		l.c.log.Warn("second agent with this host id", "host", l.o.Live.Host, "key", string(other.Key), "other", string(other.Value))
	} else {
		l.c.log.Info("second agent is gone", "host", l.o.Live.Host)
	}
	l.o.Problem(problem)
}
