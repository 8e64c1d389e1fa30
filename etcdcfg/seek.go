package etcdcfg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/agent"
	"logagent/etcdcfg/change"
)

// A request to move positions stands at ROOT.seek/<host>/<ulid>. Whoever asks for it writes it
// together with a record of the host's history; the host's agent carries it out, in the
// order of the ids, writes what became of it in place, and removes it a month later:
//
//	console: plan (a question) ── review ── RequestSeek ─► ROOT.seek/web-1/01K…
//	                                                        │ ServeSeeks, now or when the agent is back
//	console: AwaitSeek ◄──────────────────── outcome in place ◄┘ Agent.Seek
//
// An agent that dies between the move and its outcome carries the request out again; the
// agent knows its id and moves nothing twice.

// SeekRequest is the value of ROOT.seek/<host>/<ulid>.
type SeekRequest struct {
	Version int                `json:"v"` // SeekVersion
	ID      string             `json:"id"`
	Host    string             `json:"host"`
	At      time.Time          `json:"at"` // the writer's clock
	Who     change.Who         `json:"who"`
	Note    string             `json:"note,omitempty"`
	Of      string             `json:"of,omitempty"` // the request it takes back
	Plan    agent.SeekPlan     `json:"plan"`
	Outcome *agent.SeekOutcome `json:"outcome,omitempty"` // nil: not carried out yet
}

// SeekVersion is the version of SeekRequest that is written.
const SeekVersion = 1

const (
	// keepSeeks is how long a request stands there, carried out or not.
	keepSeeks = 30 * 24 * time.Hour
	// maxSeekBytes bounds a request with its record of the history: etcd takes 1.5 MiB at once.
	maxSeekBytes = 1 << 20
)

// ErrNoSeek says that there is no such request.
var ErrNoSeek = errors.New("no such request to move positions")

// ErrSeekWaits says that a request was not carried out yet.
var ErrSeekWaits = errors.New("not carried out yet")

// RequestSeek asks the agent of a host to carry a plan out, now or when it is back, and
// returns the id of the request, which is that of its record in the host's history. m's
// Kind is KindSeek whatever it says. Where etcd's answer is lost the request is looked for; the
// error says so where it is not known whether it stands there.
func (c *Client) RequestSeek(ctx context.Context, host string, plan agent.SeekPlan, m change.Meta) (id string, err error) {
	if err := CheckHost(host); err != nil {
		return "", err
	}
	if len(plan.Moves) == 0 {
		return "", errors.New("the plan moves nothing")
	}
	planned, err := json.Marshal(plan)
	if err != nil {
		return "", fmt.Errorf("seek on %s: %w", host, err)
	}
	what := "ask " + host + " to move positions"
	config := c.layout.Config(host)
	for unknown := false; ; {
		var raw []byte
		var base int64
		var last string
		err := c.read(ctx, what, func(ctx context.Context, etcd *clientv3.Client) error {
			newest := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(1), clientv3.WithKeysOnly()}
			r, err := etcd.Txn(ctx).Then(clientv3.OpGet(config), clientv3.OpGet(c.layout.histories(host), newest...), clientv3.OpGet(c.layout.seeks(host), newest...)).Commit()
			if err != nil {
				return err
			}
			raw, base, last = nil, 0, ""
			if kvs := r.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
				raw, base = kvs[0].Value, kvs[0].ModRevision
			}
			for _, answer := range r.Responses[1:] {
				for _, kv := range answer.GetResponseRange().Kvs {
					last = max(last, lastSegment(string(kv.Key)))
				}
			}
			return nil
		})
		if err != nil {
			return "", sureOrNot(err, unknown)
		}
		if !unknown { // else the one that may stand there already
			id = c.nextID("", last)
		}
		now := c.timing.now().UTC()
		request, err1 := json.Marshal(SeekRequest{Version: SeekVersion, ID: id, Host: host, At: now, Who: m.Who, Note: m.Note, Of: m.Of, Plan: plan})
		packed := change.Pack(raw)
		record, err2 := json.Marshal(change.Record{
			Version: change.RecordVersion, ID: id, Name: host, At: now, Who: m.Who, Kind: change.KindSeek, Note: m.Note, Of: m.Of, Change: m.Change,
			Base: base, Before: packed, After: packed, Seek: planned,
		})
		if err := errors.Join(err1, err2); err != nil {
			return "", fmt.Errorf("%s: %w", what, err)
		}
		if n := len(request) + len(record); n > maxSeekBytes {
			return "", fmt.Errorf("%s: %d files make %d bytes, more than etcd takes at once: name fewer of them", what, len(plan.Moves), n)
		}
		key := c.layout.Seek(host, id)
		done, there := false, false
		err = c.do(ctx, what, func(ctx context.Context, etcd *clientv3.Client) error {
			r, err := etcd.Txn(ctx).
				If(clientv3.Compare(clientv3.ModRevision(config), "=", base), clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
				Then(clientv3.OpPut(key, string(request)), clientv3.OpPut(c.layout.History(host, id), string(record))).
				Else(clientv3.OpGet(key, clientv3.WithCountOnly())).
				Commit()
			if err != nil {
				return err
			}
			done = r.Succeeded
			there = !done && r.Responses[0].GetResponseRange().Count > 0
			return nil
		})
		switch {
		case done, err == nil && there && unknown:
			c.prune(ctx, host)
			return id, nil
		case err == nil: // the document was changed meanwhile, or somebody else has the id
			if !sleep(ctx, rand.N(20*time.Millisecond)) {
				return "", sureOrNot(fmt.Errorf("%s: %w", what, ctx.Err()), unknown)
			}
		case kindOf(err) == kindAway && !unknown && sleep(ctx, 100*time.Millisecond):
			unknown = true
		default:
			return "", sureOrNot(err, unknown || kindOf(err) == kindAway)
		}
	}
}

func sureOrNot(err error, unknown bool) error {
	if unknown {
		return fmt.Errorf("not known whether it was asked for: %w", err)
	}
	return err
}

func lastSegment(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }

// Seeks returns the requests to move positions of a host's files, the newest first.
func (c *Client) Seeks(ctx context.Context, host string) ([]SeekRequest, error) {
	if err := CheckHost(host); err != nil {
		return nil, err
	}
	var out []SeekRequest
	_, err := c.pages(ctx, c.layout.seeks(host), 0, false, func(kv *mvccpb.KeyValue) {
		if r, err := decodeSeek(kv.Key, kv.Value); err == nil {
			out = append(out, r)
		} else {
			c.log.Debug("request to move positions not understood", "key", string(kv.Key), "reason", err)
		}
	})
	slices.Reverse(out)
	return out, err
}

// Seek returns one request. The error wraps ErrNoSeek where there is none.
func (c *Client) Seek(ctx context.Context, host, id string) (r SeekRequest, err error) {
	if err := errors.Join(CheckHost(host), CheckHost(id)); err != nil {
		return r, err
	}
	what := "read a request to " + host
	key := c.layout.Seek(host, id)
	var value []byte
	err = c.read(ctx, what, func(ctx context.Context, etcd *clientv3.Client) error {
		got, err := etcd.Get(ctx, key)
		if err == nil && len(got.Kvs) > 0 {
			value = got.Kvs[0].Value
		}
		return err
	})
	switch {
	case err != nil:
		return r, err
	case value == nil:
		return r, fmt.Errorf("%s on %s: %w", id, host, ErrNoSeek)
	}
	return decodeSeek([]byte(key), value)
}

func decodeSeek(key, value []byte) (SeekRequest, error) {
	var r SeekRequest
	if err := json.Unmarshal(value, &r); err != nil {
		return r, err
	}
	r.ID = lastSegment(string(key))
	return r, nil
}

// AwaitSeek waits until a request is carried out, or ctx ends: then the error wraps
// ErrSeekWaits, and the request stands as before.
func (c *Client) AwaitSeek(ctx context.Context, host, id string) (SeekRequest, error) {
	r, err := c.Seek(ctx, host, id)
	if err != nil || r.Outcome != nil {
		return r, err
	}
	key := c.layout.Seek(host, id)
	wctx, cancel := context.WithCancel(ctx)
	defer cancel()
	gone := false
	err = c.follow(wctx, feed{
		what: "request to " + host, targets: []target{{key: key}}, every: c.timing.resync,
		load: func(ctx context.Context) (revision int64, err error) {
			err = c.read(ctx, "read a request to "+host, func(ctx context.Context, etcd *clientv3.Client) error {
				got, err := etcd.Get(ctx, key)
				if err != nil {
					return err
				}
				revision = got.Header.Revision
				if len(got.Kvs) == 0 {
					gone = true
				} else if r, err = decodeSeek(got.Kvs[0].Key, got.Kvs[0].Value); err != nil {
					return err
				}
				if gone || r.Outcome != nil {
					cancel()
				}
				return nil
			})
			return revision, err
		},
		event: func(e *clientv3.Event) {
			if e.Type != clientv3.EventTypePut {
				gone = true
			} else if now, err := decodeSeek(e.Kv.Key, e.Kv.Value); err == nil {
				r = now
			}
			if gone || r.Outcome != nil {
				cancel()
			}
		},
	})
	switch {
	case r.Outcome != nil:
		return r, nil
	case gone:
		return r, fmt.Errorf("%s on %s: %w", id, host, ErrNoSeek)
	case err != nil:
		return r, err
	case errors.Is(ctx.Err(), context.Canceled):
		return r, fmt.Errorf("request %s to %s: %w", id, host, ctx.Err())
	}
	return r, fmt.Errorf("request %s to %s: %w", id, host, ErrSeekWaits)
}

// ServeSeeks has the requests to a host carried out until ctx ends, one at a time, in the
// order of their ids, those that wait when it starts among them. seek's ctx ends with that of
// ServeSeeks; where it returns an error it is called again. Before the next request is begun the
// outcome of this one stands in etcd.
func (c *Client) ServeSeeks(ctx context.Context, host string, seek func(ctx context.Context, id string, plan agent.SeekPlan) (agent.SeekOutcome, error)) error {
	if err := CheckHost(host); err != nil {
		return err
	}
	s := &seekServer{c: c, host: host, seek: seek, waiting: make(map[string]bool), some: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(ctx)
	var worker sync.WaitGroup
	defer worker.Wait()
	defer cancel()
	worker.Go(func() { s.run(ctx) })
	prefix := c.layout.seeks(host)
	return c.follow(ctx, feed{
		what: "requests to move positions of " + host, targets: []target{{key: prefix, prefix: true}}, every: c.timing.resync,
		load: func(ctx context.Context) (revision int64, err error) {
			var old []string
			s.forget()
			revision, err = c.pages(ctx, prefix, 0, false, func(kv *mvccpb.KeyValue) {
				s.note(kv)
				id, err := ulid.ParseStrict(lastSegment(string(kv.Key)))
				if err == nil && c.timing.now().Sub(id.Timestamp()) > keepSeeks {
					old = append(old, string(kv.Key))
				}
			})
			if err == nil {
				s.remove(ctx, old)
			}
			return revision, err
		},
		event: func(e *clientv3.Event) {
			if e.Type == clientv3.EventTypePut {
				s.note(e.Kv)
			}
		},
	})
}

// seekServer carries requests out.
type seekServer struct {
	c    *Client
	host string
	seek func(context.Context, string, agent.SeekPlan) (agent.SeekOutcome, error)

	mu      sync.Mutex      // guards waiting
	waiting map[string]bool // keys of requests without an outcome
	some    chan struct{}   // size 1: look into waiting
}

func (s *seekServer) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.waiting)
}

func (s *seekServer) note(kv *mvccpb.KeyValue) {
	r, err := decodeSeek(kv.Key, kv.Value)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && r.Outcome != nil {
		delete(s.waiting, string(kv.Key))
		return
	}
	s.waiting[string(kv.Key)] = true
	poke(s.some)
}

// remove takes away what is older than anybody asks for.
func (s *seekServer) remove(ctx context.Context, keys []string) {
	for some := range slices.Chunk(keys, 100) {
		ops := make([]clientv3.Op, len(some))
		for i, key := range some {
			ops[i] = clientv3.OpDelete(key)
		}
		err := s.c.do(ctx, "remove old requests to "+s.host, func(ctx context.Context, etcd *clientv3.Client) error {
			_, err := etcd.Txn(ctx).Then(ops...).Commit()
			return err
		})
		if err != nil { // the next time, then
			s.c.log.Debug("old requests to move positions not removed", "host", s.host, "reason", err)
			return
		}
	}
}

func (s *seekServer) oldest() (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		return "", false
	}
	key := slices.Min(slices.Collect(maps.Keys(s.waiting)))
	delete(s.waiting, key)
	return key, true
}

func (s *seekServer) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.some:
		}
		for key, ok := s.oldest(); ok && ctx.Err() == nil; key, ok = s.oldest() {
			s.serve(ctx, key)
		}
	}
}

// serve carries one request out. It is read first: what was noted may have been carried out
// since, and after a later request it must not be carried out again.
func (s *seekServer) serve(ctx context.Context, key string) {
	var value []byte
	var revision int64
	s.persist(ctx, func() error {
		return s.c.read(ctx, "read a request to "+s.host, func(ctx context.Context, etcd *clientv3.Client) error {
			r, err := etcd.Get(ctx, key)
			if err == nil && len(r.Kvs) > 0 {
				value, revision = r.Kvs[0].Value, r.Kvs[0].ModRevision
			}
			return err
		})
	})
	if value == nil || ctx.Err() != nil {
		return
	}
	r, err := decodeSeek([]byte(key), value)
	refused := func(why string) *agent.SeekOutcome {
		return &agent.SeekOutcome{State: agent.SeekRefused, Why: why, At: time.Now()}
	}
	switch {
	case err != nil:
		r = SeekRequest{Version: SeekVersion, ID: lastSegment(key), Host: s.host, Outcome: refused("not understood: " + err.Error())}
	case r.Outcome != nil:
		return
	case r.Version > SeekVersion:
		r.Outcome = refused("made by a newer version")
	default:
		var out agent.SeekOutcome
		s.persist(ctx, func() (err error) {
			out, err = s.seek(ctx, r.ID, r.Plan)
			return err
		})
		if ctx.Err() != nil { // carried out when the agent is back
			return
		}
		r.Outcome = &out
	}
	b, err := json.Marshal(r)
	if err != nil {
		s.c.log.Error("outcome of a request not stored", "host", s.host, "id", r.ID, "reason", err)
		return
	}
	s.persist(ctx, func() error {
		return s.c.do(ctx, "tell what became of a request to "+s.host, func(ctx context.Context, etcd *clientv3.Client) error {
			// Where it changed or went meanwhile nobody waits for the outcome.
			_, err := etcd.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).Then(clientv3.OpPut(key, string(b))).Commit()
			return err
		})
	})
}

// persist tries until it is done or ctx ends.
func (s *seekServer) persist(ctx context.Context, try func() error) {
	for wait := firstBackoff; ; {
		err := try()
		if err == nil || ctx.Err() != nil || errors.Is(err, ErrClosed) || !sleep(ctx, wait/2+rand.N(wait/2)) {
			return
		}
		s.c.log.Debug("request to move positions held up", "host", s.host, "reason", err)
		wait = s.c.longer(wait, err)
	}
}
