package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"time"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/kafkaout"
	"logagent/ui/store"
)

// fleetConsoleVerb is how bench runs itself as a console without a screen.
const fleetConsoleVerb = "fleet-console"

// fleetConsole has a console's store with its feeds, wired as the console wires them, and
// makes changes with the console's own client. It notes when the store knew what.
type fleetConsole struct {
	etcd  *etcdcfg.Client
	topic *kafkaout.StatusReader
	said  *complaints
	store *store.Store // nil after heap, which comes last

	mu      sync.Mutex // guards what follows
	runs    map[docOf]runsSince
	changed chan struct{} // closed and replaced when runs changed
}

// docOf is one document on one host.
type docOf struct{ host, key string }

// runsSince is the revision that runs by the last status, and when the store had that status.
type runsSince struct {
	revision int64
	at       time.Time
}

// consoleLinkEvery is how often the store hears of the links, as in the console.
const consoleLinkEvery = time.Second

// fleetConsoleMain is the process of the console's store.
func fleetConsoleMain(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("bench "+fleetConsoleVerb, flag.ContinueOnError)
	etcdAddr := flags.String("etcd", "", "address of etcd")
	kafkaAddr := flags.String("kafka", "", "address of Kafka")
	if err := flags.Parse(args); err != nil {
		return err
	}
	said := &complaints{}
	log := slog.New(said)
	client, err := etcdcfg.New(etcdcfg.Options{Addrs: []string{*etcdAddr}, Log: log})
	if err != nil {
		return err
	}
	topic, err := kafkaout.NewStatusReader(kafkaout.StatusReaderOptions{Cluster: kafkaout.Options{Addrs: []string{*kafkaAddr}, Log: log}})
	if err != nil {
		return err
	}
	c := &fleetConsole{
		etcd: client, topic: topic, said: said, store: store.New(store.Options{}),
		runs: make(map[docOf]runsSince), changed: make(chan struct{}),
	}
	feeding, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	end := sync.OnceFunc(func() {
		stop()
		wg.Wait()
	})
	defer end()
	defer func() { end(); _ = client.Close() }() // it is the end of everything here
	wg.Go(func() { c.note(client.FollowTree(feeding, consoleTree{c})) })
	wg.Go(func() { c.note(topic.Run(feeding, consoleTopic{c})) })
	wg.Go(func() { c.links(feeding) })
	return serveOrders(ctx, in, out, true, map[string]deed{
		"ready":  withArgs(c.ready),
		"single": withArgs(c.changeOneByOne),
		"set":    withArgs(c.changeSet),
		"group":  withArgs(c.changeGroup),
		"heap":   func(context.Context, json.RawMessage) (any, error) { end(); return c.heap(), nil },
	})
}

// withArgs reads what comes with an order.
func withArgs[T any](do func(context.Context, T) (any, error)) deed {
	return func(ctx context.Context, with json.RawMessage) (any, error) {
		var args T
		if err := json.Unmarshal(with, &args); err != nil {
			return nil, err
		}
		return do(ctx, args)
	}
}

// note keeps why a feed ended, which none does by itself.
func (c *fleetConsole) note(err error) {
	if err != nil {
		slog.New(c.said).Error("feed of the console ended", "error", err)
	}
}

// links tells the store how the connections are.
func (c *fleetConsole) links(ctx context.Context) {
	tick := time.NewTicker(consoleLinkEvery)
	defer tick.Stop()
	for {
		c.store.SetEtcd(c.etcd.Link())
		c.store.SetKafka(c.topic.Link())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// consoleTree takes what stands in etcd into the store.
type consoleTree struct{ *fleetConsole }

var _ etcdcfg.TreeHandler = consoleTree{}

func (t consoleTree) Document(host string, d agent.Document, _ []byte) { t.store.SetDocument(host, d) }
func (t consoleTree) Group(name string, d agent.Document, _ []byte)    { t.store.SetGroup(name, d) }
func (t consoleTree) Seen(host string, left, ttl time.Duration)        { t.store.SetSeen(host, left, ttl) }
func (t consoleTree) Live(host string, l *agent.Live)                  { t.store.SetLive(host, l) }
func (t consoleTree) Synced(revision int64)                            { t.store.SetRevision(revision) }

func (t consoleTree) Coarse(host string, c *agent.Coarse) {
	t.store.SetCoarse(host, c)
	if c == nil {
		return
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, d := range c.Documents {
		t.saw(docOf{host, d.Key}, d.Running, now)
	}
}

// consoleTopic takes what comes by the status topic into the store.
type consoleTopic struct{ *fleetConsole }

var _ kafkaout.Handler = consoleTopic{}

func (t consoleTopic) Detail(s agent.Status, age time.Duration) { t.store.SetDetail(s, age) }

func (t consoleTopic) Summary(host string, s agent.Summary, age time.Duration) {
	t.store.SetSummary(host, s, age)
	if age > 0 {
		return // it stood in the topic before
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.saw(docOf{host, t.etcd.Layout().Config(host)}, s.Running, now)
}

// saw notes a running revision, which the store has by now. A summary that is older than
// the status key that came before it tells an older revision: it is no news. The caller
// holds mu.
func (c *fleetConsole) saw(d docOf, revision int64, at time.Time) {
	if revision <= c.runs[d].revision { // etcd is never restored here, so revisions grow
		return
	}
	c.runs[d] = runsSince{revision, at}
	close(c.changed)
	c.changed = make(chan struct{})
}

// patience is how long a change may take before it counts as never applied.
const patience = time.Minute

// await waits until all documents run at least at a revision, and returns since when each.
func (c *fleetConsole) await(ctx context.Context, docs []docOf, revision func(int) int64) ([]time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	at := make([]time.Time, len(docs))
	for i, d := range docs {
		for {
			c.mu.Lock()
			r, changed := c.runs[d], c.changed
			c.mu.Unlock()
			if r.revision >= revision(i) {
				at[i] = r.at
				break
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return nil, fmt.Errorf("%s runs revision %d of %s, and not %d after %v: %w", d.host, r.revision, d.key, revision(i), patience, ctx.Err())
			}
		}
	}
	return at, nil
}

// readyWith says what a store must hold.
type readyWith struct {
	Hosts int `json:"hosts"`
}

// lookAgain is how often the store is asked: each time costs as much as drawing all rows.
const lookAgain = 200 * time.Millisecond

// ready waits until the store has every host, each with fresh numbers and as wanted.
func (c *fleetConsole) ready(ctx context.Context, with readyWith) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	for {
		why := c.unsettled(with.Hosts)
		if why == nil {
			return with.Hosts, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the console's store after %v: %w", 2*patience, why)
		case <-time.After(lookAgain):
		}
	}
}

// unsettled says what is not as it should be in the store.
func (c *fleetConsole) unsettled(hosts int) error {
	v := c.store.Fleet(store.Query{Count: math.MaxInt32})
	if len(v.Rows) != hosts {
		return fmt.Errorf("%d hosts of %d", len(v.Rows), hosts)
	}
	for i := range v.Rows {
		r := &v.Rows[i]
		switch {
		case r.Live == nil:
			return fmt.Errorf("%s has no live key", r.Host)
		case !r.Heard || r.Stale:
			return fmt.Errorf("%s was not heard", r.Host)
		case r.Config != store.ConfigRunning:
			return fmt.Errorf("%s does not run what is wanted: %d, wanted %d", r.Host, r.Running, r.Desired)
		case r.Drifting > 0:
			return fmt.Errorf("%s does not run %d entries as wanted", r.Host, r.Drifting)
		case len(r.Entries) != fleetEntries:
			return fmt.Errorf("%s has %d entries, want %d", r.Host, len(r.Entries), fleetEntries)
		}
	}
	return nil
}

// changeMade is one change on one host, on the clock that all processes of a machine share.
type changeMade struct {
	Host     string `json:"h"`
	Key      string `json:"k"`
	Revision int64  `json:"r"`
	Began    int64  `json:"b"` // before the write was asked for
	Wrote    int64  `json:"w"` // etcd had answered
	Seen     int64  `json:"s"` // the store knew that it runs
}

// seen waits for a change to run everywhere.
func (c *fleetConsole) seen(ctx context.Context, began, wrote time.Time, docs []docOf, revision func(int) int64) ([]changeMade, error) {
	at, err := c.await(ctx, docs, revision)
	if err != nil {
		return nil, err
	}
	out := make([]changeMade, len(docs))
	for i, d := range docs {
		out[i] = changeMade{d.host, d.key, revision(i), began.UnixNano(), wrote.UnixNano(), at[i].UnixNano()}
	}
	return out, nil
}

// consoleHeap is what the store keeps in memory, and what it takes to hold it.
type consoleHeap struct {
	Store uint64 `json:"store"` // bytes that nothing but the store refers to
	Rest  uint64 `json:"rest"`  // live bytes beside it, the feeds having ended
	Rows  int    `json:"rows"`
}

// heap measures the store once its feeds have ended: all that is freed with it.
func (c *fleetConsole) heap() consoleHeap {
	rows := len(c.store.Fleet(store.Query{Count: math.MaxInt32}).Rows)
	_ = c.etcd.Close() // what the connections hold does not belong to the store
	with := liveHeap()
	c.store = nil
	without := liveHeap()
	return consoleHeap{Store: with - min(with, without), Rest: without, Rows: rows}
}
