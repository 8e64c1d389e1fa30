package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/kafkaout"
	"logagent/ui/store"
)

// Pauses of the console's feeds.
const (
	linkEvery   = time.Second            // how often the links are looked at
	ownEvery    = 500 * time.Millisecond // how often the own agent is asked
	rejoinEvery = time.Second            // between two tries to join an agent that went away
)

// summaryWait is how long after the status topic is read every living agent has been heard:
// they report every two seconds.
const summaryWait = 2500 * time.Millisecond

// fleet feeds a console's store: what is wanted from etcd, what is from the status topic
// and the status keys, and the own host from its agent.
type fleet struct {
	store *store.Store
	etcd  *etcdcfg.Client
	topic *kafkaout.StatusReader
	log   *slog.Logger
}

// newFleet makes the feeds of all hosts; nothing runs yet and nothing has to be there. The
// caller closes the client.
func newFleet(s *settings, client *etcdcfg.Client, own string, log *slog.Logger) (*fleet, error) {
	host := own
	if host == "" {
		host = "console"
	}
	topic, err := kafkaout.NewStatusReader(kafkaout.StatusReaderOptions{Cluster: s.kafkaOptions(host, log), Topic: s.StatusTopic})
	if err != nil {
		return nil, fmt.Errorf("kafka status: %w", err)
	}
	return &fleet{store: store.New(store.Options{NameOf: client.Layout().NameOf}), etcd: client, topic: topic, log: log}, nil
}

// run feeds the store until ctx ends; own, which may be nil, does so for the own host.
func (f *fleet) run(ctx context.Context, own func(context.Context, *store.Store)) {
	var wg sync.WaitGroup
	feed := func(name string, run func(context.Context) error) {
		wg.Go(func() {
			if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				f.log.Error("feed of the console ended", "feed", name, "error", err)
			}
		})
	}
	feed("etcd", func(ctx context.Context) error { return f.etcd.FollowTree(ctx, treeFeed{f.store}) })
	feed("status topic", func(ctx context.Context) error { return f.topic.Run(ctx, statusFeed{f.store}) })
	feed("links", f.links)
	if own != nil {
		wg.Go(func() { own(ctx, f.store) })
	}
	wg.Wait()
}

// links tells the store how the connections are, and when every agent could be heard.
func (f *fleet) links(ctx context.Context) error {
	return every(ctx, linkEvery, func() {
		f.store.SetEtcd(f.etcd.Link())
		kafka := f.topic.Link()
		f.store.SetKafka(kafka)
		if kafka.Up && time.Since(kafka.Since) > 2*summaryWait { // on a screen no host should flicker
			f.store.DoubtUnheard()
		}
	})
}

// every calls f now and then at each interval until ctx ends.
func every(ctx context.Context, interval time.Duration, f func()) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		f()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// treeFeed takes what stands in etcd into the store.
type treeFeed struct{ *store.Store }

var _ etcdcfg.TreeHandler = treeFeed{}

func (t treeFeed) Document(host string, d agent.Document, _ []byte) { t.SetDocument(host, d) }
func (t treeFeed) Group(name string, d agent.Document, _ []byte)    { t.SetGroup(name, d) }
func (t treeFeed) Seen(host string, left, ttl time.Duration)        { t.SetSeen(host, left, ttl) }
func (t treeFeed) Live(host string, l *agent.Live)                  { t.SetLive(host, l) }
func (t treeFeed) Coarse(host string, c *agent.Coarse)              { t.SetCoarse(host, c) }
func (t treeFeed) Synced(revision int64)                            { t.SetRevision(revision) }

// statusFeed takes what comes by the status topic into the store.
type statusFeed struct{ *store.Store }

var _ kafkaout.Handler = statusFeed{}

func (t statusFeed) Summary(host string, s agent.Summary, age time.Duration) {
	t.SetSummary(host, s, age)
}
func (t statusFeed) Detail(s agent.Status, age time.Duration) { t.SetDetail(s, age) }

// ownAgent feeds the store from an agent of this process.
func ownAgent(a *agent.Agent) func(context.Context, *store.Store) {
	return func(ctx context.Context, st *store.Store) {
		_ = every(ctx, ownEvery, func() { st.SetDetail(a.Status(), 0) }) // ends with ctx only
	}
}

// joinedAgent feeds the store from the daemon on the state folder through its socket, and
// joins it again when it was restarted.
func joinedAgent(stateDir string, log *slog.Logger) func(context.Context, *store.Store) {
	return func(ctx context.Context, st *store.Store) {
		lost := false
		_ = every(ctx, rejoinEvery, func() { // ends with ctx only
			remote, err := agent.DialSocket(ctx, stateDir)
			if err == nil {
				if lost {
					log.Info("joined the agent of this host again", "state_dir", stateDir)
				}
				lost = false
				err = remote.Watch(ctx, ownEvery, func(s agent.Status) { st.SetDetail(s, 0) })
			}
			if !lost && ctx.Err() == nil {
				lost = true
				log.Warn("the agent of this host went away, trying again", "state_dir", stateDir, "error", err)
			}
		})
	}
}
