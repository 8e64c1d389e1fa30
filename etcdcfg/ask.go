package etcdcfg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/agent"
)

// Why a question has no answer.
var (
	ErrNoAgent  = errors.New("host has no live agent")
	ErrNoAnswer = errors.New("agent did not answer")
)

const (
	// askWait is how long Ask waits where its ctx has no deadline.
	askWait = 10 * time.Second
	// answerWait bounds the work on one question.
	answerWait = 20 * time.Second
)

// exchange is the value of ROOT.ask/<host>/<ulid>: the asker puts the question under his
// lease, the agent adds the answer under the same one.
type exchange struct {
	Question agent.Question `json:"question"`
	Answer   *agent.Answer  `json:"answer,omitempty"`
}

// Ask puts a question to the agent of a host and waits for its answer until ctx ends, ten
// seconds where ctx has no deadline. The error wraps ErrNoAgent or ErrNoAnswer where that
// is why. A question that the agent could not answer is an Answer with Error set.
func (c *Client) Ask(ctx context.Context, host string, q agent.Question) (agent.Answer, error) {
	if err := CheckHost(host); err != nil {
		return agent.Answer{}, err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, askWait)
		defer cancel()
	}
	deadline, _ := ctx.Deadline()
	started := time.Now()
	what := "ask " + host
	b, err := json.Marshal(exchange{Question: q})
	if err != nil {
		return agent.Answer{}, fmt.Errorf("%s: %w", what, err)
	}

	// The lease outlives the wait a little: it ends with the question in any case.
	lease := c.newLease("a question to "+host, int64(time.Until(deadline)/time.Second)+10)
	id, err := lease.get(ctx)
	if err != nil {
		return agent.Answer{}, fmt.Errorf("%s: %w", what, err)
	}
	defer lease.revoke(ctx)
	key := c.layout.Ask(host, ulid.Make().String())
	alive := false
	err = c.do(ctx, what, func(ctx context.Context, etcd *clientv3.Client) error {
		r, err := etcd.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(c.layout.Live(host)), ">", 0)).
			Then(clientv3.OpPut(key, string(b), clientv3.WithLease(id))).
			Commit()
		alive = err == nil && r.Succeeded
		return err
	})
	if err != nil {
		return agent.Answer{}, err
	}
	if !alive {
		return agent.Answer{}, fmt.Errorf("%s: %w", what, ErrNoAgent)
	}

	var answer *agent.Answer
	wctx, cancel := context.WithCancel(ctx)
	defer cancel()
	look := func(value []byte) {
		var e exchange
		if json.Unmarshal(value, &e) == nil && e.Answer != nil {
			answer = e.Answer
			cancel()
		}
	}
	err = c.follow(wctx, feed{
		what: "question to " + host, targets: []target{{key: key}}, every: c.timing.resync,
		load: func(ctx context.Context) (revision int64, err error) {
			err = c.do(ctx, what, func(ctx context.Context, etcd *clientv3.Client) error {
				r, err := etcd.Get(ctx, key)
				if err != nil {
					return err
				}
				revision = r.Header.Revision
				for _, kv := range r.Kvs {
					look(kv.Value)
				}
				return nil
			})
			return revision, err
		},
		event: func(e *clientv3.Event) {
			if e.Type == clientv3.EventTypePut {
				look(e.Kv.Value)
			}
		},
	})
	switch {
	case answer != nil:
		return *answer, nil
	case err != nil:
		return agent.Answer{}, err
	case errors.Is(ctx.Err(), context.Canceled):
		return agent.Answer{}, fmt.Errorf("%s: %w", what, ctx.Err())
	}
	return agent.Answer{}, fmt.Errorf("%s: %w within %v", what, ErrNoAnswer, time.Since(started).Round(100*time.Millisecond))
}

// ServeQuestions answers what is asked of the host until ctx ends, one question at a time:
// answer is never called twice at once, and its ctx ends after twenty seconds. Questions
// that already wait when it starts are answered too.
func (c *Client) ServeQuestions(ctx context.Context, host string, answer func(context.Context, agent.Question) agent.Answer) error {
	if err := CheckHost(host); err != nil {
		return err
	}
	s := &server{c: c, host: host, answer: answer, waiting: make(map[string]*mvccpb.KeyValue), some: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(ctx)
	var worker sync.WaitGroup
	defer worker.Wait()
	defer cancel()
	worker.Go(func() { s.run(ctx) })

	prefix := c.layout.asks(host)
	return c.follow(ctx, feed{
		what: "questions to " + host, targets: []target{{key: prefix, prefix: true}}, every: c.timing.resync,
		load: func(ctx context.Context) (revision int64, err error) {
			err = c.read(ctx, "read the questions to "+host, func(ctx context.Context, etcd *clientv3.Client) error {
				r, err := etcd.Get(ctx, prefix, clientv3.WithPrefix())
				if err == nil {
					revision = r.Header.Revision
					s.restart(r.Kvs)
				}
				return err
			})
			return revision, err
		},
		event: func(e *clientv3.Event) {
			if e.Type == clientv3.EventTypePut {
				s.add(e.Kv)
			} else {
				s.remove(string(e.Kv.Key))
			}
		},
	})
}

// server answers questions.
type server struct {
	c      *Client
	host   string
	answer func(context.Context, agent.Question) agent.Answer

	mu      sync.Mutex                  // guards waiting
	waiting map[string]*mvccpb.KeyValue // unanswered, by key
	some    chan struct{}               // size 1: look into waiting
}

func (s *server) restart(kvs []*mvccpb.KeyValue) {
	s.mu.Lock()
	clear(s.waiting)
	s.mu.Unlock()
	for _, kv := range kvs {
		s.add(kv)
	}
}

func (s *server) add(kv *mvccpb.KeyValue) {
	var e exchange
	if json.Unmarshal(kv.Value, &e) == nil && e.Answer != nil {
		s.remove(string(kv.Key))
		return
	}
	s.mu.Lock()
	s.waiting[string(kv.Key)] = kv
	s.mu.Unlock()
	poke(s.some)
}

func (s *server) remove(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, key)
}

// oldest takes the question that waits longest; ulids sort by their time.
func (s *server) oldest() *mvccpb.KeyValue {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		return nil
	}
	key := slices.Min(slices.Collect(maps.Keys(s.waiting)))
	kv := s.waiting[key]
	delete(s.waiting, key)
	return kv
}

func (s *server) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.some:
		}
		for kv := s.oldest(); kv != nil && ctx.Err() == nil; kv = s.oldest() {
			s.serve(ctx, kv)
		}
	}
}

// serve answers one question in place, under the asker's lease. An answer that cannot be
// stored is not lost for good: the question is found again when the questions are read anew.
func (s *server) serve(ctx context.Context, kv *mvccpb.KeyValue) {
	var e exchange
	var a agent.Answer
	if err := json.Unmarshal(kv.Value, &e); err != nil {
		a.Error = "question not understood: " + err.Error()
	} else {
		actx, cancel := context.WithTimeout(ctx, answerWait)
		a = s.answer(actx, e.Question)
		cancel()
	}
	e.Answer = &a
	b, err := json.Marshal(e)
	if err != nil {
		s.c.log.Error("answer not stored", "host", s.host, "reason", err)
		return
	}
	key := string(kv.Key)
	err = s.c.do(ctx, "answer a question to "+s.host, func(ctx context.Context, etcd *clientv3.Client) error {
		// Where it changed or went meanwhile, nobody waits for this answer.
		_, err := etcd.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(key), "=", kv.ModRevision)).
			Then(clientv3.OpPut(key, string(b), clientv3.WithLease(clientv3.LeaseID(kv.Lease)))).
			Commit()
		return err
	})
	if err != nil && ctx.Err() == nil {
		s.c.log.Debug("answer not stored", "host", s.host, "key", key, "reason", err)
	}
}
