package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/kafkaout"
)

// node is one host's agent with everything around it. The daemon, --attach and each host
// of the demo run one.
//
//	etcd ── Follow ── Apply ─► agent ── Send ─► producer ── Kafka
//	     ◄─ Report, questions ── Status ── status writer ──┘
//
// It ends from the left to the right, so that each part still has what it needs: nothing
// new is applied; the agent stops reading and waits for verdicts while the producer still
// works; the producer ends; the last status goes out and the live key goes away; then the
// connection to etcd ends.
type node struct {
	hosts    []string // ids whose documents are followed, the host's own first
	groups   []string // whose documents are followed after those
	stateDir string
	log      *slog.Logger

	etcd     *etcdcfg.Client
	producer *kafkaout.Producer
	agent    *agent.Agent
	status   *kafkaout.StatusWriter
	watched  atomic.Bool // a console looks at this host

	toTopic, toEtcd chan struct{} // agent.Changed for each of those who report; of size 1
}

// lastWords bounds the last status and the revoking of the live key, beyond the time to
// drain: with etcd or Kafka away nobody hears them.
const lastWords = 2 * time.Second

// newNode checks and makes the parts and takes the state folder; nothing runs yet, and
// neither etcd nor Kafka has to be there. ids are those of hostKeys.
func newNode(s *settings, ids []string, log *slog.Logger) (*node, error) {
	n := &node{hosts: ids, groups: s.Groups, stateDir: s.StateDir, log: log, toTopic: make(chan struct{}, 1), toEtcd: make(chan struct{}, 1)}
	host := ids[0]
	var err error
	if n.etcd, err = etcdcfg.New(s.etcdOptions(log)); err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	kafka := s.kafkaOptions(host, log)
	if n.producer, err = kafkaout.New(kafka); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	if n.agent, err = takeState(s.agentOptions(host, n.producer, n.etcd.Link, log)); err != nil {
		return nil, errors.Join(err, n.etcd.Close())
	}
	n.status, err = kafkaout.NewStatusWriter(kafkaout.StatusWriterOptions{
		Cluster: kafka, Topic: s.StatusTopic, Status: n.agent.Status, Brief: n.agent.Brief, Watched: n.watched.Load, Changed: n.toTopic,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("kafka status: %w", err), n.agent.Close())
	}
	return n, nil
}

// How long the state folder is waited for: the process before may be dead and the kernel
// still at work on its end.
const (
	stateWait  = 3 * time.Second
	stateRetry = 50 * time.Millisecond
)

// takeState makes the agent. While another one holds its state folder it tries again, for
// stateWait at most.
func takeState(o agent.Options) (*agent.Agent, error) {
	for began := time.Now(); ; time.Sleep(stateRetry) {
		made, err := agent.New(o)
		if err == nil || !errors.Is(err, agent.ErrStateHeld) || time.Since(began) > stateWait {
			return made, err
		}
	}
}

// stage is parts that end together.
type stage struct {
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
}

func newStage(ctx context.Context) *stage {
	s := &stage{}
	s.ctx, s.stop = context.WithCancel(ctx)
	return s
}

// end stops the parts and waits for them.
func (s *stage) end() {
	s.stop()
	s.wg.Wait()
}

// run works until ctx ends, then drains and saves. It returns an error where positions
// could not be saved or a part gave up by itself, which none does because something is
// away.
func (n *node) run(ctx context.Context) error {
	life, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	after := context.WithoutCancel(ctx)
	orders, sink, words := newStage(life), newStage(after), newStage(after)

	// start runs a part in its stage. Where it gives up the whole node ends.
	start := func(s *stage, part string, f func(context.Context) error) {
		s.wg.Go(func() {
			err := f(s.ctx)
			if s.ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
				return
			}
			if err == nil {
				err = errors.New("ended by itself")
			}
			stop(fmt.Errorf("%s: %w", part, err))
		})
	}
	host := n.hosts[0]
	live := n.agent.Live()
	live.Groups = n.groups
	start(sink, "kafka", n.producer.Run)
	start(words, "changes", n.tellChanges)
	start(words, "socket", n.serveSocket)
	start(words, "status topic", n.status.Run)
	start(words, "etcd status", func(ctx context.Context) error {
		return n.etcd.Report(ctx, etcdcfg.ReportOptions{
			Live: live, Status: n.agent.Brief, Changed: n.toEtcd,
			Problem: func(text string) { n.agent.SetProblem("second agent", text) },
		})
	})
	start(orders, "etcd watch keys", func(ctx context.Context) error {
		return n.etcd.FollowWatched(ctx, host, n.watched.Store)
	})
	start(orders, "etcd questions", func(ctx context.Context) error {
		return n.etcd.ServeQuestions(ctx, host, n.agent.Answer)
	})
	start(orders, "etcd seeks", func(ctx context.Context) error { return n.etcd.ServeSeeks(ctx, host, n.agent.Seek) })
	start(orders, "etcd documents", func(ctx context.Context) error {
		return n.etcd.Follow(ctx, etcdcfg.FollowOptions{Hosts: n.hosts, Groups: n.groups, CacheDir: n.stateDir, Apply: n.agent.Apply})
	})

	err := n.agent.Run(life) // drains at the end
	orders.end()
	sink.end()
	words.stop()
	gone := make(chan struct{})
	go func() { // ends with the last part of the stage, which closing etcd cuts short
		words.wg.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-time.After(lastWords):
	}
	if closed := n.etcd.Close(); closed != nil {
		n.log.Warn("etcd not closed cleanly", "error", closed)
	}
	<-gone
	if ctx.Err() == nil {
		err = errors.Join(context.Cause(life), err)
	}
	return err
}

// tellChanges passes each change of the agent on to both who report it: the agent's
// channel gives it to one receiver only.
func (n *node) tellChanges(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-n.agent.Changed():
		}
		for _, c := range []chan struct{}{n.toTopic, n.toEtcd} {
			select {
			case c <- struct{}{}:
			default: // told already and not yet taken
			}
		}
	}
}

// serveSocket answers on this host's socket. Where that can not be had the agent collects
// all the same, and says so.
func (n *node) serveSocket(ctx context.Context) error {
	err := n.agent.ServeSocket(ctx)
	if err != nil && ctx.Err() == nil {
		n.log.Error("nobody can join this agent on its host", "error", err)
		n.agent.SetProblem("socket", "nobody can join this agent on its host: "+err.Error())
	}
	<-ctx.Done()
	return ctx.Err()
}
