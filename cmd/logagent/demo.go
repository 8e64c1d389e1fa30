package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
	"logagent/internal/lab"
)

// Sizes of the demo: an hour of it stays small.
const (
	demoTopicBytes = 64 << 20
	demoCompact    = 10 * time.Minute
)

// demoFlags are the flags of the demo.
type demoFlags struct {
	dir      string
	seed     uint64
	headless bool
	console  consoleFlags
}

func (a *app) demoVerb() *cobra.Command {
	var f demoFlags
	c := a.jsonFlag(&cobra.Command{
		Use:   "demo",
		Short: "Show it all on this machine: etcd, Kafka, three hosts with live logs, the console on top",
		Long: `Runs an etcd, a Kafka, and three hosts whose services write logs, each with an agent, in
this one process, and the console over them. Everything listens on the loopback interface
and is gone at the end, unless --dir keeps it. Raise the rate of nginx on web-01 with +.`,
		Args: args(0, 0, "demo takes no arguments"),
		RunE: func(*cobra.Command, []string) error {
			if err := f.console.check(); err != nil {
				return err
			}
			if a.json && !f.headless {
				return usage("--json is for --headless")
			}
			return a.demo(f)
		},
	})
	c.Flags().StringVar(&f.dir, "dir", "", "keep everything in this `FOLDER` and go on from it the next time")
	c.Flags().Uint64Var(&f.seed, "seed", 1, "the same `NUMBER` writes the same lines")
	c.Flags().BoolVar(&f.headless, "headless", false, "no console: write the addresses and run until SIGTERM")
	f.console.add(c.Flags())
	return c
}

func (a *app) demo(f demoFlags) (err error) {
	if !f.headless {
		if err := a.onTerminal(); err != nil {
			return err
		}
	}
	dir, err := filepath.Abs(f.dir)
	if err != nil {
		return err
	}
	if f.dir == "" {
		removeDeadDemos()
		var remove func() error
		if dir, remove, err = temporaryDemo(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, remove()) }()
	}
	s := defaultSettings()
	s.Log = filepath.Join(dir, "logagent.log")
	log, endLog, err := agentLog(&s)
	if err != nil {
		return err
	}
	defer endLog()
	ctx, end := untilSignal()
	defer end()

	w, err := startWorld(ctx, dir, &s, f.seed, log.Logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	if f.headless {
		if err := a.writeAddresses(reachable{Etcd: w.settings.EtcdAddrs[0], Kafka: w.settings.KafkaAddrs[0], Folder: dir}); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}
	client, err := etcdcfg.New(w.settings.etcdOptions(log.Logger))
	if err != nil {
		return err
	}
	defer client.Close()
	return a.show(ctx, screen{settings: w.settings, etcd: client, log: log.Logger, flags: f.console, name: "demo"})
}

// reachable is where a headless demo is.
type reachable struct {
	Etcd   string `json:"etcd"`
	Kafka  string `json:"kafka"`
	Folder string `json:"folder"`
}

func (a *app) writeAddresses(d reachable) error {
	if a.json {
		return a.writeJSON(d)
	}
	_, err := fmt.Fprintf(a.stdout, "etcd   %s\nkafka  %s\nfolder %s\n", d.Etcd, d.Kafka, d.Folder)
	return err
}

// world is what the demo stands on.
type world struct {
	settings *settings // of a console over it
	etcd     *lab.Etcd
	kafka    *lab.Kafka

	end     context.CancelFunc // of the agents
	hush    context.CancelFunc // of the writers
	running sync.WaitGroup     // agents
	writing sync.WaitGroup

	mu     sync.Mutex // guards failed
	failed []error
}

// startWorld starts etcd, Kafka, the writers and an agent for each host in dir. Documents
// that stand in etcd from an earlier run are left as they are.
func startWorld(ctx context.Context, dir string, base *settings, seed uint64, log *slog.Logger) (w *world, err error) {
	w = &world{hush: func() {}, end: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.stop())
		}
	}()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var starting sync.WaitGroup
	var etcdErr, kafkaErr error
	starting.Go(func() {
		w.etcd, etcdErr = lab.StartEtcd(lab.EtcdOptions{Dir: filepath.Join(dir, "etcd"), CompactEvery: demoCompact})
	})
	starting.Go(func() {
		w.kafka, kafkaErr = lab.StartKafka(lab.KafkaOptions{Dir: filepath.Join(dir, "kafka"), AutoCreate: true, TopicBytes: demoTopicBytes})
	})
	starting.Wait()
	if err := errors.Join(etcdErr, kafkaErr); err != nil {
		return nil, err
	}
	s := *base
	s.EtcdAddrs, s.KafkaAddrs = []string{w.etcd.Addr()}, w.kafka.Addrs()
	w.settings = &s

	hosts := lab.Hosts(filepath.Join(dir, "hosts"), seed)
	if err := writeDocuments(ctx, &s, hosts, log); err != nil {
		return nil, err
	}
	after := context.WithoutCancel(ctx)
	writing, hush := context.WithCancel(after)
	w.hush = hush
	running, end := context.WithCancel(after)
	w.end = end
	for _, h := range hosts {
		if err := h.Create(); err != nil {
			return nil, err
		}
		own := s
		own.Host, own.StateDir = h.ID, filepath.Join(dir, "state", h.ID)
		n, err := newNode(&own, []string{h.ID}, log.With("host", h.ID))
		if err != nil {
			return nil, fmt.Errorf("host %s: %w", h.ID, err)
		}
		w.running.Go(func() { w.note(n.run(running)) })
		w.writing.Go(func() { w.note(h.Run(writing)) })
	}
	return w, nil
}

// writeDocuments gives the hosts their documents where they have none.
func writeDocuments(ctx context.Context, s *settings, hosts []*lab.Host, log *slog.Logger) error {
	client, err := etcdcfg.New(s.etcdOptions(log))
	if err != nil {
		return err
	}
	defer client.Close()
	for _, h := range hosts {
		_, revision, err := client.Get(ctx, h.ID)
		if err == nil && revision == 0 {
			_, err = client.Save(ctx, h.ID, h.Document(), 0, change.Meta{Who: change.Who{User: "demo"}, Note: "first document of the demo"})
		}
		if err != nil {
			return fmt.Errorf("document of %s: %w", h.ID, err)
		}
	}
	return nil
}

func (w *world) note(err error) {
	if err == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = append(w.failed, err)
}

// stop ends writers, agents, Kafka and etcd in this order, and returns what went wrong in
// any of them.
func (w *world) stop() error {
	w.hush()
	w.writing.Wait()
	w.end()
	w.running.Wait()
	if w.kafka != nil {
		w.note(w.kafka.Close())
	}
	if w.etcd != nil {
		w.note(w.etcd.Close())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.failed...)
}
