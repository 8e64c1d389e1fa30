package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"logagent/etcdcfg"
)

// fleetOptions are the flags of bench fleet.
type fleetOptions struct {
	Scale     string
	Hosts     int
	Processes int           // of agents
	Quiet     time.Duration // window in which nothing changes
	Changes   int           // of one host each
	Set       int           // hosts of the change set
	Ramp      float64       // agents that start a second, in all processes together

	binary, dir, json, page string
}

var fleetScales = map[string]fleetOptions{
	"full":  {Scale: "full", Hosts: 10_000, Processes: 5, Quiet: time.Minute, Changes: 200, Set: 500, Ramp: 80},
	"short": {Scale: "short", Hosts: 300, Processes: 3, Quiet: 10 * time.Second, Changes: 20, Set: 100, Ramp: 150},
}

func parseFleetOptions(args []string) (o fleetOptions, err error) {
	flags := flag.NewFlagSet("bench fleet", flag.ContinueOnError)
	name := flags.String("scale", "full", "full, or short to see that all of it works")
	hosts := flags.Int("hosts", 0, "hosts, each with an agent; 0: as the scale says, and so for all numbers")
	processes := flags.Int("processes", 0, "processes that share the agents")
	quiet := flags.Duration("quiet", 0, "how long is watched while nothing changes")
	changes := flags.Int("changes", 0, "changes of one host, one after the other")
	set := flags.Int("set", 0, "hosts of the change set")
	ramp := flags.Float64("ramp", 0, "agents that start a second")
	binary := flags.String("binary", "", "logagent whose console is measured; built from ./cmd/logagent when empty")
	dir := flags.String("dir", "", "folder for what etcd and Kafka hold; temporary when empty")
	json := flags.String("json", "", "file for the figures")
	page := flags.String("o", "", "file for the section of the page")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected %q", flags.Args())
	}
	o, known := fleetScales[*name]
	if !known {
		return o, fmt.Errorf("no scale %q; there are full and short", *name)
	}
	override(&o.Hosts, *hosts)
	override(&o.Processes, *processes)
	override(&o.Quiet, *quiet)
	override(&o.Changes, *changes)
	override(&o.Set, *set)
	override(&o.Ramp, *ramp)
	o.binary, o.dir, o.json, o.page = *binary, *dir, *json, *page
	o.Set = min(o.Set, o.Hosts)
	if o.Hosts < 1 || o.Processes < 1 || o.Processes > o.Hosts || o.Quiet < time.Second || o.Changes < 1 || o.Changes+o.Set > 2*o.Hosts || o.Ramp <= 0 {
		return o, errors.New("a fleet has at least a host for each process, a second of quiet and a change")
	}
	return o, nil
}

func override[T int | float64 | time.Duration](to *T, v T) {
	if v != 0 {
		*to = v
	}
}

// fleet is a measurement of many agents: etcd, Kafka and the agents run, each in processes
// of their own.
type fleet struct {
	o      fleetOptions
	dir    string
	temp   bool
	binary string
	ini    string // of the console

	etcd, kafka         *child
	etcdAddr, kafkaAddr string
	client              *clientv3.Client
	layout              etcdcfg.Layout
	agents              []*child
	console             *child // nil until it is needed

	before  etcdCounts // all changes
	changed int        // documents, by the changes made so far
}

// measureFleet prints what a fleet costs. It fails where anything is wrong, and not where
// something is slow.
func measureFleet(ctx context.Context, args []string, out io.Writer) (err error) {
	o, err := parseFleetOptions(args)
	if err != nil {
		return err
	}
	f := &fleet{o: o}
	defer func() { err = errors.Join(err, f.close()) }()
	if err := f.prepare(ctx); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d agents in %d processes; %d cores, %s\n", o.Hosts, o.Processes, runtime.NumCPU(), runtime.Version())
	printHead(out)
	var results []result
	for _, w := range f.rows() {
		r := result{Name: w.name, What: w.what, Runs: 1}
		got, err := w.run(ctx)
		r.Figures, r.Other, r.Steal = got.figures, got.machine.other, got.machine.steal
		if err != nil {
			r.Failed = err.Error()
		}
		results = append(results, r)
		printResult(out, &r)
		if err != nil { // what follows would be measured on something that is broken
			return errors.Join(fmt.Errorf("%s: %w", w.name, err), keepJSON(f.o.json, results))
		}
	}
	if err := keepJSON(o.json, results); err != nil {
		return err
	}
	return f.writePage(results)
}

// keepJSON writes the figures where a file was named.
func keepJSON(path string, results []result) error {
	if path == "" {
		return nil
	}
	return writeJSON(path, results)
}

// fleetRow is one thing that is measured; they are measured in their order.
type fleetRow struct {
	name string
	what string
	run  func(context.Context) (outcome, error)
}

// prepare starts etcd and Kafka and writes the documents.
func (f *fleet) prepare(ctx context.Context) error {
	f.dir, f.binary = f.o.dir, f.o.binary
	var err error
	if f.dir == "" {
		if f.dir, err = os.MkdirTemp("", "logagent-fleet-"); err != nil {
			return err
		}
		f.temp = true
	}
	if f.binary == "" {
		f.binary = filepath.Join(f.dir, "logagent")
		build := exec.CommandContext(ctx, "go", "build", "-o", f.binary, "./cmd/logagent")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build logagent: %w: %s", err, out)
		}
	}
	if f.binary, err = filepath.Abs(f.binary); err != nil {
		return err
	}
	var s served
	if f.etcd, err = startChild(ctx, "etcd", &s, fleetEtcdVerb, "-dir", filepath.Join(f.dir, "etcd"), "-clients", strconv.Itoa(f.o.Hosts+10)); err != nil {
		return err
	}
	f.etcdAddr = s.Addr
	if f.kafka, err = startChild(ctx, "kafka", &s, fleetKafkaVerb, "-dir", filepath.Join(f.dir, "kafka")); err != nil {
		return err
	}
	f.kafkaAddr = s.Addr
	f.client, err = clientv3.New(clientv3.Config{Endpoints: []string{f.etcdAddr}, Logger: zap.NewNop(), DialTimeout: 10 * time.Second})
	if err != nil {
		return err
	}
	if f.layout, err = etcdcfg.ParsePattern(etcdcfg.DefaultPattern); err != nil {
		return err
	}
	f.ini = filepath.Join(f.dir, "app.cfg")
	ini := "etcd_addr = " + f.etcdAddr + "\nkafka_addr = " + f.kafkaAddr + "\n"
	if err := os.WriteFile(f.ini, []byte(ini), 0o600); err != nil {
		return err
	}
	return f.writeDocuments(ctx)
}

// writeDocuments writes what the hosts are to follow, before there is any agent.
func (f *fleet) writeDocuments(ctx context.Context) error {
	const most = 100 // etcd takes 128 operations at once
	var puts []clientv3.Op
	flush := func() error {
		if len(puts) == 0 {
			return nil
		}
		_, err := f.client.Txn(ctx).Then(puts...).Commit()
		puts = puts[:0]
		if err != nil {
			return fmt.Errorf("write the documents: %w", err)
		}
		return nil
	}
	for name, raw := range fleetDocuments(f.o.Hosts) {
		puts = append(puts, clientv3.OpPut(f.layout.Config(name), string(raw)))
		if len(puts) == most {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// startAgents starts the processes of agents.
func (f *fleet) startAgents(ctx context.Context) error {
	for p := range f.o.Processes {
		var n int
		c, err := startChild(ctx, fmt.Sprintf("agents %d", p+1), &n, fleetAgentsVerb, "-etcd", f.etcdAddr, "-kafka", f.kafkaAddr,
			"-first", strconv.Itoa(p), "-step", strconv.Itoa(f.o.Processes), "-hosts", strconv.Itoa(f.o.Hosts),
			"-ramp", fmt.Sprint(f.o.Ramp/float64(f.o.Processes)))
		if err != nil {
			return err
		}
		f.agents = append(f.agents, c)
	}
	return nil
}

// agentsState asks all processes of agents how they are.
func (f *fleet) agentsState(ctx context.Context) (agentsState, error) {
	states := make([]agentsState, len(f.agents))
	for i, c := range f.agents {
		if err := c.ask(ctx, "state", nil, &states[i]); err != nil {
			return agentsState{}, err
		}
	}
	return sumOf(states), nil
}

// count returns how many keys begin with a prefix.
func (f *fleet) count(ctx context.Context, prefix string) (int, error) {
	r, err := f.client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return 0, fmt.Errorf("count %s: %w", prefix, err)
	}
	return int(r.Count), nil
}

func (f *fleet) close() error {
	var errs []error
	if f.console != nil {
		errs = append(errs, f.console.stop())
	}
	// All at once: each takes its live keys away.
	done := make(chan error, len(f.agents))
	for _, c := range f.agents {
		go func() { done <- c.stop() }() // heard below
	}
	for range f.agents {
		errs = append(errs, <-done)
	}
	if f.client != nil {
		errs = append(errs, f.client.Close())
	}
	for _, c := range []*child{f.kafka, f.etcd} {
		if c != nil {
			errs = append(errs, c.stop())
		}
	}
	if f.temp {
		errs = append(errs, os.RemoveAll(f.dir))
	}
	return errors.Join(errs...)
}
