package etcdcfg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/agent"
)

// FollowOptions say whose documents are followed and who is told.
type FollowOptions struct {
	// Hosts are the names whose keys this host honours: its id first, then its addresses.
	// Where two documents name one log_path, the earlier host's wins.
	Hosts []string
	// Groups are the groups whose documents come after those, in order of precedence.
	Groups []string
	// CacheDir holds the last good documents in config.json; "" means there is no cache.
	CacheDir string
	// Apply is given the whole desired state whenever a document, or the refusal of one,
	// changed. It is never called twice at once. While it runs, newer states replace each
	// other and the newest is given next. After an error the newest state is given again.
	Apply func(context.Context, agent.HostConfig) error
}

const (
	firstApplyRetry = time.Second
	maxApplyRetry   = 30 * time.Second
	// maxTxnKeys keeps a read below etcd's limit of 128 operations.
	maxTxnKeys = 100
)

// Follow keeps Apply in step with the documents of a host until ctx ends, and returns nil
// then. It fails at once where the options are wrong, and later only where the client was
// closed.
//
// Where etcd does not answer within two seconds, the last good documents are applied from
// the cache, marked FromCache; etcd is followed as soon as it is there. A refused document
// leaves the one before it in force, across restarts too.
func (c *Client) Follow(ctx context.Context, o FollowOptions) error {
	if len(o.Hosts) == 0 || o.Apply == nil {
		return errors.New("follow needs a host and Apply")
	}
	f := &follower{c: c, o: o, dirty: make(chan struct{}, 1)}
	var problems []error
	honour := func(name string, check func(string) error) {
		if err := check(name); err != nil {
			problems = append(problems, err)
		}
		if key := c.layout.Config(name); !slices.Contains(f.keys, key) {
			f.keys = append(f.keys, key)
			f.docs = append(f.docs, followed{doc: agent.Document{Key: key}})
		}
	}
	for _, h := range o.Hosts {
		honour(h, CheckHost)
	}
	for _, g := range o.Groups {
		honour("@"+g, CheckName)
	}
	if len(problems) > 0 {
		return errors.Join(problems...)
	}
	f.cache = openCache(o.CacheDir, c.log)
	f.seed()

	ctx, cancel := context.WithCancel(ctx)
	var applier sync.WaitGroup
	defer applier.Wait()
	defer cancel()
	applier.Go(func() { f.applyAll(ctx) })

	targets := make([]target, len(f.keys))
	for i, key := range f.keys {
		targets[i] = target{key: key}
	}
	return c.follow(ctx, feed{
		what: "documents of " + o.Hosts[0], targets: targets, load: f.load, event: f.event, every: c.timing.followResync,
	})
}

// follower is what one Follow knows. The feed's goroutine writes it, the applier reads it.
type follower struct {
	c     *Client
	o     FollowOptions
	keys  []string
	cache *cache

	mu     sync.Mutex // guards docs, synced and cached
	docs   []followed // of keys
	synced bool       // etcd has answered
	cached bool       // at least one document came from the cache

	dirty chan struct{} // size 1: docs changed
}

// followed is one key.
type followed struct {
	doc     agent.Document
	raw     []byte // of the document in force; nil where there is none
	refused []byte // the refused value, while doc.Refused is set
}

// seed takes what the cache has, to be applied if etcd stays silent and to stay in force
// for a key whose document etcd holds is refused.
func (f *follower) seed() {
	for _, e := range f.cache.load() {
		i := slices.Index(f.keys, e.Key)
		if i < 0 {
			continue
		}
		doc := agent.Document{Key: e.Key, Revision: e.Revision, FromCache: true}
		var raw []byte
		if e.Document != nil {
			raw = []byte(*e.Document)
			services, warnings, err := agent.ParseDocument(raw)
			if err != nil {
				f.c.log.Warn("cached document is not valid any more, left out", "key", e.Key, "revision", e.Revision, "reason", err)
				continue
			}
			doc.Services, doc.Warnings = own(services, e.Key), warnings
		}
		f.docs[i] = followed{doc: doc, raw: raw}
		f.cached = true
	}
}

// load reads all keys at one revision.
func (f *follower) load(ctx context.Context) (int64, error) {
	values := make([]value, len(f.keys))
	var revision int64
	err := f.c.read(ctx, "read the documents of "+f.o.Hosts[0], func(ctx context.Context, etcd *clientv3.Client) error {
		revision = 0
		for first := 0; first < len(f.keys); first += maxTxnKeys {
			chunk := f.keys[first:min(first+maxTxnKeys, len(f.keys))]
			gets := make([]clientv3.Op, len(chunk))
			for i, key := range chunk {
				gets[i] = clientv3.OpGet(key, clientv3.WithRev(revision)) // 0: the newest
			}
			r, err := etcd.Txn(ctx).Then(gets...).Commit()
			if err != nil {
				return err
			}
			if revision == 0 {
				revision = r.Header.Revision
			}
			for i, part := range r.Responses {
				values[first+i] = value{}
				if kvs := part.GetResponseRange().Kvs; len(kvs) == 1 {
					values[first+i] = value{raw: kvs[0].Value, revision: kvs[0].ModRevision}
				}
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	changed := !f.synced
	f.synced = true
	for i, v := range values {
		changed = f.set(i, v) || changed
	}
	if changed {
		poke(f.dirty)
	}
	return revision, nil
}

// event takes one change.
func (f *follower) event(e *clientv3.Event) {
	i := slices.Index(f.keys, string(e.Kv.Key))
	if i < 0 {
		return
	}
	v := value{}
	if e.Type == clientv3.EventTypePut {
		v = value{raw: e.Kv.Value, revision: e.Kv.ModRevision}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.set(i, v) {
		poke(f.dirty)
	}
}

// value is what etcd holds under a key; revision 0 means nothing.
type value struct {
	raw      []byte
	revision int64
}

// set takes a key's value and tells whether anything changed by it. The caller holds mu.
func (f *follower) set(i int, v value) bool {
	d := &f.docs[i]
	key := f.keys[i]
	fresh := !d.doc.FromCache
	d.doc.FromCache = false
	if v.revision == 0 {
		same := fresh && d.doc.Revision == 0 && d.doc.Refused == nil
		*d = followed{doc: agent.Document{Key: key}}
		return !same
	}
	// Bytes are compared too: a restored etcd may reach the same revision with another value.
	if r := d.doc.Refused; r != nil && r.Revision == v.revision && bytes.Equal(d.refused, v.raw) {
		return !fresh
	}
	if d.doc.Refused == nil && d.doc.Revision == v.revision && bytes.Equal(d.raw, v.raw) {
		return !fresh
	}
	services, warnings, err := agent.ParseDocument(v.raw)
	if err != nil {
		d.doc.Refused, d.refused = &agent.Refusal{Revision: v.revision, Error: err.Error()}, bytes.Clone(v.raw)
		f.c.log.Warn("config refused, the running one stays", "key", key, "revision", v.revision, "running", d.doc.Revision, "reason", err)
		return true
	}
	*d = followed{
		doc: agent.Document{Key: key, Revision: v.revision, Services: own(services, key), Warnings: warnings},
		raw: bytes.Clone(v.raw),
	}
	if len(warnings) > 0 {
		f.c.log.Warn("config has warnings", "key", key, "revision", v.revision, "warnings", strings.Join(warnings, "; "))
	}
	return true
}

// own notes in the entries which key they came from.
func own(services []agent.Service, key string) []agent.Service {
	for i := range services {
		services[i].Key = key
	}
	return services
}

// snapshot returns the whole desired state and what the cache should hold after it was
// applied; synced tells whether etcd has answered.
func (f *follower) snapshot() (config agent.HostConfig, entries []cacheEntry, synced bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	config = agent.HostConfig{Host: f.o.Hosts[0]}
	for i := range f.docs {
		d := &f.docs[i]
		config.Documents = append(config.Documents, d.doc)
		e := cacheEntry{Key: d.doc.Key, Revision: d.doc.Revision}
		if d.raw != nil {
			text := string(d.raw)
			e.Document = &text
		}
		// A key whose only document so far was refused has nothing worth keeping.
		if d.raw != nil || d.doc.Refused == nil {
			entries = append(entries, e)
		}
	}
	return config, entries, f.synced
}

// applyAll calls Apply whenever something changed, until ctx ends.
func (f *follower) applyAll(ctx context.Context) {
	silence := time.NewTimer(f.c.timing.cacheAfter)
	defer silence.Stop()
	retry := time.NewTimer(0)
	retry.Stop()
	defer retry.Stop()
	wait := firstApplyRetry
	for {
		fromCache := false
		select {
		case <-ctx.Done():
			return
		case <-silence.C:
			fromCache = true
		case <-f.dirty:
		case <-retry.C:
		}
		config, entries, synced := f.snapshot()
		if fromCache {
			if synced || !f.cached {
				continue
			}
			f.c.log.Warn("etcd has not answered, working from the last good config", "cache", f.cache.path, "reason", f.c.link.status().Error)
		}
		if err := f.o.Apply(ctx, config); err != nil {
			if ctx.Err() != nil {
				return
			}
			f.c.log.Error("config not applied, trying again", "reason", err, "again_in", wait)
			retry.Reset(wait)
			wait = min(2*wait, maxApplyRetry)
			continue
		}
		wait = firstApplyRetry
		retry.Stop()
		f.c.log.Info("config applied", describe(config)...)
		if synced {
			f.cache.save(entries)
		}
	}
}

// describe lists what was applied as pairs for the log.
func describe(config agent.HostConfig) []any {
	pairs := []any{"entries", len(config.Effective())}
	for _, d := range config.Documents {
		pairs = append(pairs, "document", fmt.Sprintf("%s@%d", d.Key, d.Revision))
	}
	return pairs
}

// poke fills a channel of size 1.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
