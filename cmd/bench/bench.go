package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"logagent/agent"
	"logagent/internal/lab"
)

// The topic and the host of all runs.
const (
	benchTopic = "bench"
	benchHost  = "bench"
)

// bench is one measurement: the log, and what the runs share.
type bench struct {
	set    settings
	dir    string
	temp   bool
	log    string
	size   int64  // bytes of the log
	sum    uint64 // of its lines: see lineSum
	etcd   *lab.Etcd
	binary string

	entries []agent.Service // what the agent follows; nil: the log alone, into benchTopic
}

// newBench writes the log. The caller closes the bench.
func newBench(ctx context.Context, set settings) (*bench, error) {
	b := &bench{set: set, dir: set.dir, binary: set.binary}
	if b.dir == "" {
		dir, err := os.MkdirTemp("", "logagent-bench-")
		if err != nil {
			return nil, err
		}
		b.dir, b.temp = dir, true
	}
	if err := b.prepare(ctx); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *bench) prepare(ctx context.Context) error {
	dir, err := filepath.Abs(b.dir)
	if err != nil {
		return err
	}
	b.dir, b.log = dir, filepath.Join(dir, "access.log")
	f, err := os.Create(b.log)
	if err != nil {
		return err
	}
	var sums summer
	b.size, err = lab.WriteAccessLog(io.MultiWriter(f, &sums), 1, b.set.lines)
	b.sum = sums.sum
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", b.log, err)
	}
	if b.binary != "" {
		return nil
	}
	b.binary = filepath.Join(dir, "logagent")
	build := exec.CommandContext(ctx, "go", "build", "-o", b.binary, "./cmd/logagent")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build logagent: %w: %s", err, out)
	}
	return nil
}

func (b *bench) close() error {
	var err error
	if b.etcd != nil {
		err = b.etcd.Close()
	}
	if b.temp {
		err = errors.Join(err, os.RemoveAll(b.dir))
	}
	return err
}

// describe tells what is measured.
func (b *bench) describe() string {
	headers := b.set.headers
	if headers == "" {
		headers = "none"
	}
	return fmt.Sprintf("%d lines, %.0f MB; compression %s, headers %s, %d partitions, answers after %v; %d cores, %s\n"+
		"lines/s from the first produce request to the last answer; CPU over the whole life of the sending process",
		b.set.lines, float64(b.size)/1e6, b.set.compression, headers, b.set.partitions, b.set.delay, runtime.NumCPU(), runtime.Version())
}

// sender starts what is measured, towards a broker.
type sender func(ctx context.Context, brokerAddr, dir string) (*process, error)

// repeat runs a sender as often as asked for and puts its figures into the table.
func (b *bench) repeat(ctx context.Context, t *table, name string, s sender) error {
	for n := range b.set.runs {
		f, err := b.once(ctx, s)
		if err != nil {
			return fmt.Errorf("%s, run %d: %w", name, n+1, err)
		}
		t.add(name, f)
	}
	t.median(name)
	return nil
}

// once measures one run against a broker of its own.
func (b *bench) once(ctx context.Context, s sender) (_ figures, err error) {
	dir, err := os.MkdirTemp(b.dir, "run-")
	if err != nil {
		return figures{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	broker, err := startBroker(b.set)
	if err != nil {
		return figures{}, err
	}
	defer func() { err = errors.Join(err, broker.stop()) }()
	p, err := s(ctx, broker.addr, dir)
	if err != nil {
		return figures{}, err
	}
	if err := broker.wait(ctx, 1, p, b.topics()...); err != nil {
		return figures{}, errors.Join(err, p.kill())
	}
	watch, err := beginWatch(p.cmd.Process.Pid, broker.cmd.Process.Pid)
	if err != nil {
		return figures{}, errors.Join(err, p.kill())
	}
	if err := broker.wait(ctx, int64(b.set.lines), p, b.topics()...); err != nil {
		return figures{}, errors.Join(err, p.kill())
	}
	machine, err := watch.end()
	if err != nil {
		return figures{}, errors.Join(err, p.kill())
	}
	used, err := p.finish()
	if err != nil {
		return figures{}, err
	}
	// What was sent twice arrives after the last line, so the counts are taken again.
	c, err := broker.counts(b.topics()...)
	if err != nil {
		return figures{}, err
	}
	if err := b.verify(c); err != nil {
		return figures{}, err
	}
	lines, wall := float64(b.set.lines), time.Duration(c.LastNano-c.FirstNano).Seconds()
	return figures{
		linesPerSec: lines / wall,
		cpuPerM:     used.cpu.Seconds() / lines * 1e6,
		peakRSS:     used.peakRSS,
		requests:    c.Requests,
		perBatch:    float64(c.Records) / float64(c.Batches),
		machine:     machine,
	}, nil
}

// topics are those the log is sent to.
func (b *bench) topics() []string {
	if len(b.entries) == 0 {
		return []string{benchTopic}
	}
	var out []string
	for i := range b.entries {
		out = append(out, b.entries[i].Topic)
	}
	return out
}

// verify tells whether every line arrived, once and whole.
func (b *bench) verify(c counts) error {
	if err := c.wrong(); err != nil {
		return err
	}
	if c.Records != int64(b.set.lines) {
		return fmt.Errorf("%d records of %d lines", c.Records, b.set.lines)
	}
	if c.Walked < c.Records {
		return nil // compressed batches that were not unpacked
	}
	if want := b.size - int64(b.set.lines); c.ValueBytes != want {
		return fmt.Errorf("the values have %d bytes, the lines %d", c.ValueBytes, want)
	}
	if c.Sum != b.sum {
		return errors.New("as many lines arrived as were written, and not the same")
	}
	if want := c.Records * int64(len(headerNames(b.set.headers))); c.Headers != want {
		return fmt.Errorf("%d headers, want %d", c.Headers, want)
	}
	return nil
}

// headerNames splits the value of -headers.
func headerNames(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// runAgent starts logagent --daemon with an entry for the log, or with those of the bench.
func (b *bench) runAgent(ctx context.Context, brokerAddr, dir string) (*process, error) {
	entries := b.entries
	if len(entries) == 0 {
		entries = []agent.Service{{Service: "bench", LogPath: b.log, Topic: benchTopic, StartAt: agent.StartBeginning}}
	}
	if err := b.writeDocument(ctx, entries); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "app.cfg")
	if err := os.WriteFile(path, []byte(iniText(&b.set, b.etcd.Addr(), brokerAddr, dir)), 0o644); err != nil {
		return nil, err
	}
	return startProcess(b.binary, "--daemon", "--config", path)
}

// writeDocument tells the agent what to follow. The first call starts etcd.
func (b *bench) writeDocument(ctx context.Context, entries []agent.Service) error {
	if err := b.startEtcd(); err != nil {
		return err
	}
	document, err := json.Marshal(entries)
	if err != nil {
		return err
	}
	if _, err := b.etcd.Client().Put(ctx, "/logagent/"+benchHost+"/logconfig", string(document)); err != nil {
		return fmt.Errorf("write the entries: %w", err)
	}
	return nil
}

func (b *bench) startEtcd() (err error) {
	if b.etcd == nil {
		b.etcd, err = lab.StartEtcd(lab.EtcdOptions{})
	}
	return err
}

// iniText is the agent's configuration under some settings.
func iniText(set *settings, etcdAddr, brokerAddr, dir string) string {
	return strings.Join([]string{
		"etcd_addr = " + etcdAddr,
		"kafka_addr = " + brokerAddr,
		"thread_num = " + strconv.Itoa(set.threads),
		"kafka_compression = " + set.compression,
		"headers = " + set.headers,
		"host = " + benchHost,
		"state_dir = " + filepath.Join(dir, "state"),
		"log = " + filepath.Join(dir, "logagent.log"),
		"level = info",
	}, "\n") + "\n"
}

// runPeer starts this program again as the peer.
func (b *bench) runPeer(_ context.Context, brokerAddr, _ string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return startProcess(self, peerVerb, "-log", b.log, "-broker", brokerAddr, "-topic", benchTopic,
		"-compression", b.set.compression, "-headers", b.set.headers)
}
