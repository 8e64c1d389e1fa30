package etcdcfg

import (
	"bytes"
	"context"
	"encoding/json"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"time"

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
	// Group gives the document of a group, whose name begins with @, as Document gives a host's.
	Group(name string, d agent.Document, raw []byte)
	// Live gives who runs on a host; nil: nobody any more.
	Live(host string, l *agent.Live)
	// Coarse gives a host's coarse status; nil: deleted.
	Coarse(host string, c *agent.Coarse)
	// Seen gives what is left of the key that outlives a host's agent, of the ttl it has after
	// each renewal, for a host without a live key; 0: it ran out.
	Seen(host string, left, ttl time.Duration)
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
		c: c, h: &told{h: h, live: make(map[string]bool), kept: make(map[string]bool)}, seed: maphash.MakeSeed(),
		docs: make(map[string]*treeDocument), live: make(map[string]mark), coarse: make(map[string]mark),
	}
	t.gone = &goneHosts{c: c, h: t.h, changed: make(chan struct{}, 1), done: make(map[string]bool)}
	ctx, cancel := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer cancel()
	helpers.Go(func() { c.ping(ctx) })
	helpers.Go(func() { t.gone.run(ctx) })

	return c.follow(ctx, feed{
		what: "all hosts",
		targets: []target{
			{key: c.layout.before, prefix: true},
			{key: c.layout.groups(), prefix: true},
			{key: c.layout.Live(""), prefix: true},
			{key: c.layout.Status(""), prefix: true},
		},
		load: t.load, event: t.event, reached: t.h.synced, every: c.timing.resync,
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
	h    *told
	gone *goneHosts
	seed maphash.Seed

	docs         map[string]*treeDocument // by name: a host, or @group
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
	document := func(kv *mvccpb.KeyValue) {
		if name, ok := t.c.layout.NameOf(string(kv.Key)); ok {
			docs[name] = true
			t.document(name, kv)
		}
	}
	revision, err := t.c.pages(ctx, t.c.layout.before, 0, false, document)
	if err != nil {
		return 0, err
	}
	if _, err := t.c.pages(ctx, t.c.layout.groups(), revision, false, document); err != nil {
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
	t.gone.ask(t.withoutAgent())
	return revision, nil
}

// withoutAgent are the hosts that have a document or a status and no live key, in order.
func (t *tree) withoutAgent() []string {
	hosts := make(map[string]bool)
	for name := range t.docs {
		hosts[name] = !isGroup(name)
	}
	for host := range t.coarse {
		hosts[host] = true
	}
	maps.DeleteFunc(hosts, func(host string, is bool) bool { _, live := t.live[host]; return live || !is })
	return slices.Sorted(maps.Keys(hosts))
}

func (t *tree) event(e *clientv3.Event) {
	key, put := string(e.Kv.Key), e.Type == clientv3.EventTypePut
	if name, ok := t.c.layout.NameOf(key); ok {
		if put {
			t.document(name, e.Kv)
		} else {
			t.noDocument(name)
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

func (t *tree) document(name string, kv *mvccpb.KeyValue) {
	d := t.docs[name]
	m := t.mark(kv)
	if d == nil {
		d = &treeDocument{valid: agent.Document{Key: string(kv.Key)}}
		t.docs[name] = d
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
	t.h.document(name, told, bytes.Clone(kv.Value))
}

func (t *tree) noDocument(name string) {
	if _, known := t.docs[name]; !known {
		return
	}
	delete(t.docs, name)
	t.h.document(name, agent.Document{Key: t.c.layout.Config(name)}, nil)
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
	t.h.isLive(host, &l)
	t.gone.back(host)
}

func (t *tree) notLive(host string) {
	if _, known := t.live[host]; !known {
		return
	}
	delete(t.live, host)
	t.h.isLive(host, nil)
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
	t.h.coarse(host, &c)
}

func (t *tree) noStatus(host string) {
	if _, known := t.coarse[host]; !known {
		return
	}
	delete(t.coarse, host)
	t.h.coarse(host, nil)
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
