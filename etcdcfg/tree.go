package etcdcfg

import (
	"bytes"
	"context"
	"encoding/json"
	"hash/maphash"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/agent"
)

// TreeHandler is told about all hosts. Its methods are called from one goroutine at a time
// and must not block for long.
type TreeHandler interface {
	// Document gives a host's document as it was last valid, with Refused set where etcd
	// holds one that is not, and raw as etcd holds it. Revision 0 and raw nil: deleted.
	Document(host string, d agent.Document, raw []byte)
	// Live gives who runs on a host; nil: nobody any more.
	Live(host string, l *agent.Live)
	// Coarse gives a host's coarse status; nil: deleted.
	Coarse(host string, c *agent.Coarse)
	// Synced says that everything up to a revision was told.
	Synced(revision int64)
}

// pageKeys bounds the keys of one read: 10,000 hosts come in pages.
const pageKeys = 250

// FollowTree tells the handler about every host until ctx ends: all of it at first, then
// what changes. What is told twice is the same. It also asks etcd for a sign of life every
// two seconds, so that Link is true for the person who looks at it.
func (c *Client) FollowTree(ctx context.Context, h TreeHandler) error {
	t := &tree{
		c: c, h: h, seed: maphash.MakeSeed(),
		docs: make(map[string]*treeDocument), live: make(map[string]mark), coarse: make(map[string]mark),
	}
	ctx, cancel := context.WithCancel(ctx)
	var pinger sync.WaitGroup
	defer pinger.Wait()
	defer cancel()
	pinger.Go(func() { c.ping(ctx) })

	return c.follow(ctx, feed{
		what: "all hosts",
		targets: []target{
			{key: c.layout.before, prefix: true},
			{key: c.layout.Live(""), prefix: true},
			{key: c.layout.Status(""), prefix: true},
		},
		load: t.load, event: t.event, reached: h.Synced, every: c.timing.resync,
	})
}

// ping asks etcd for a sign of life now and then.
func (c *Client) ping(ctx context.Context) {
	for sleep(ctx, c.timing.ping) {
		// What comes of it stands in the link.
		_ = c.read(ctx, "ping", func(ctx context.Context, etcd *clientv3.Client) error {
			_, err := etcd.Get(ctx, c.layout.Live(""), clientv3.WithCountOnly())
			return err
		})
	}
}

// tree is what a console was told so far.
type tree struct {
	c    *Client
	h    TreeHandler
	seed maphash.Seed

	docs         map[string]*treeDocument
	live, coarse map[string]mark
}

// mark tells one value of a key from another.
type mark struct {
	revision int64
	sum      uint64 // of the value: a restored etcd may reach a revision again
}

type treeDocument struct {
	mark  mark
	valid agent.Document // last valid one
}

func (t *tree) mark(kv *mvccpb.KeyValue) mark {
	return mark{revision: kv.ModRevision, sum: maphash.Bytes(t.seed, kv.Value)}
}

// load reads all hosts at one revision and tells what differs, the deleted ones included.
func (t *tree) load(ctx context.Context) (int64, error) {
	docs, live, coarse := make(map[string]bool), make(map[string]bool), make(map[string]bool)
	revision, err := t.c.pages(ctx, t.c.layout.before, 0, false, func(kv *mvccpb.KeyValue) {
		if host, ok := t.c.layout.HostOf(string(kv.Key)); ok {
			docs[host] = true
			t.document(host, kv)
		}
	})
	if err != nil {
		return 0, err
	}
	for prefix, told := range map[string]func(string, *mvccpb.KeyValue){
		t.c.layout.Live(""):   func(host string, kv *mvccpb.KeyValue) { live[host] = true; t.isLive(host, kv) },
		t.c.layout.Status(""): func(host string, kv *mvccpb.KeyValue) { coarse[host] = true; t.hasStatus(host, kv) },
	} {
		_, err := t.c.pages(ctx, prefix, revision, false, func(kv *mvccpb.KeyValue) {
			if host, ok := hostUnder(prefix, string(kv.Key)); ok {
				told(host, kv)
			}
		})
		if err != nil {
			return 0, err
		}
	}
	for host := range t.docs {
		if !docs[host] {
			t.noDocument(host)
		}
	}
	for host := range t.live {
		if !live[host] {
			t.notLive(host)
		}
	}
	for host := range t.coarse {
		if !coarse[host] {
			t.noStatus(host)
		}
	}
	return revision, nil
}

func (t *tree) event(e *clientv3.Event) {
	key, put := string(e.Kv.Key), e.Type == clientv3.EventTypePut
	if host, ok := t.c.layout.HostOf(key); ok {
		if put {
			t.document(host, e.Kv)
		} else {
			t.noDocument(host)
		}
	} else if host, ok := hostUnder(t.c.layout.Live(""), key); ok {
		if put {
			t.isLive(host, e.Kv)
		} else {
			t.notLive(host)
		}
	} else if host, ok := hostUnder(t.c.layout.Status(""), key); ok {
		if put {
			t.hasStatus(host, e.Kv)
		} else {
			t.noStatus(host)
		}
	}
}

func (t *tree) document(host string, kv *mvccpb.KeyValue) {
	d := t.docs[host]
	m := t.mark(kv)
	if d == nil {
		d = &treeDocument{valid: agent.Document{Key: string(kv.Key)}}
		t.docs[host] = d
	} else if d.mark == m {
		return
	}
	d.mark = m
	services, warnings, err := agent.ParseDocument(kv.Value)
	told := d.valid
	if err != nil {
		told.Refused = &agent.Refusal{Revision: kv.ModRevision, Error: err.Error()}
	} else {
		told = agent.Document{Key: string(kv.Key), Revision: kv.ModRevision, Services: own(services, string(kv.Key)), Warnings: warnings}
		d.valid = told
	}
	t.h.Document(host, told, bytes.Clone(kv.Value))
}

func (t *tree) noDocument(host string) {
	if _, known := t.docs[host]; !known {
		return
	}
	delete(t.docs, host)
	t.h.Document(host, agent.Document{Key: t.c.layout.Config(host)}, nil)
}

func (t *tree) isLive(host string, kv *mvccpb.KeyValue) {
	m := t.mark(kv)
	if t.live[host] == m {
		return
	}
	t.live[host] = m
	var l agent.Live
	if err := json.Unmarshal(kv.Value, &l); err != nil {
		t.c.log.Debug("live key not understood", "key", string(kv.Key), "reason", err)
		return
	}
	t.h.Live(host, &l)
}

func (t *tree) notLive(host string) {
	if _, known := t.live[host]; !known {
		return
	}
	delete(t.live, host)
	t.h.Live(host, nil)
}

func (t *tree) hasStatus(host string, kv *mvccpb.KeyValue) {
	m := t.mark(kv)
	if t.coarse[host] == m {
		return
	}
	t.coarse[host] = m
	var c agent.Coarse
	if err := json.Unmarshal(kv.Value, &c); err != nil {
		t.c.log.Debug("status key not understood", "key", string(kv.Key), "reason", err)
		return
	}
	t.h.Coarse(host, &c)
}

func (t *tree) noStatus(host string) {
	if _, known := t.coarse[host]; !known {
		return
	}
	delete(t.coarse, host)
	t.h.Coarse(host, nil)
}

// pages reads every key below a prefix at one revision, the newest where it is 0, in pages,
// and returns that revision.
func (c *Client) pages(ctx context.Context, prefix string, revision int64, keysOnly bool, each func(*mvccpb.KeyValue)) (int64, error) {
	from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	for {
		var page *clientv3.GetResponse
		err := c.read(ctx, "read "+prefix, func(ctx context.Context, etcd *clientv3.Client) error {
			opts := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(pageKeys), clientv3.WithRev(revision)}
			if keysOnly {
				opts = append(opts, clientv3.WithKeysOnly())
			}
			r, err := etcd.Get(ctx, from, opts...)
			page = r
			return err
		})
		if err != nil {
			return 0, err
		}
		if revision == 0 {
			revision = page.Header.Revision
		}
		for _, kv := range page.Kvs {
			each(kv)
		}
		if !page.More || len(page.Kvs) == 0 {
			return revision, nil
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}
