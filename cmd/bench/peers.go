package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// peersVerb measures all senders side by side.
const peersVerb = "peers"

// baseSender is the row that the others are held against: what it does is what they do.
const baseSender = "logagent, no headers"

// peerPatience is how long nothing may arrive before a run counts as over: what has not
// come by then is lost.
const peerPatience = 20 * time.Second

// peerOptions are the flags of peers that other verbs do not have.
type peerOptions struct {
	compressions []string // a table for each
	only         []string // names of senders; empty: all
	confDir      string   // configs to use instead of the built-in ones
}

// peerSender is one row: who sends, and how it was set up.
type peerSender struct {
	name    string
	headers string // of every record
	config  string // how it is set up, as shown in the report
	note    string // what is promised over a restart, and what was tried
	find    func() (version string, err error)
	start   sender
}

// peerResult is one row of a table. Figures are medians.
type peerResult struct {
	figures
	name        string
	version     string
	compression string
	note        string
	config      string
	missing     string   // why there are no figures; "" when there are
	wrong       []string // of each run that was not so: lines lost, doubled or changed
	// Against baseSender; 0 when that was not measured.
	rateRatio, cpuRatio float64
}

// measurePeers prints the tables and the configs they were measured with, in Markdown.
func measurePeers(ctx context.Context, args []string, out io.Writer) (err error) {
	set, err := parseSettings(nil)
	if err != nil {
		return err
	}
	var opts peerOptions
	flags := flag.NewFlagSet("bench "+peersVerb, flag.ContinueOnError)
	flags.IntVar(&set.lines, "lines", set.lines, "lines of the log, about 180 bytes each")
	flags.IntVar(&set.runs, "runs", set.runs, "runs of each; the medians count")
	flags.IntVar(&set.partitions, "partitions", set.partitions, "partitions of the topic")
	flags.StringVar(&set.binary, "binary", "", "logagent to measure; built from ./cmd/logagent when empty")
	flags.StringVar(&set.dir, "dir", "", "folder for the log and the state; temporary when empty")
	compressions := flags.String("compression", "none,snappy", "a table for each of none gzip snappy lz4 zstd")
	only := flags.String("only", "", "senders to measure, by the beginnings of their names; empty for all")
	flags.StringVar(&opts.confDir, "conf", "", "folder with rsyslog.conf and syslog-ng.conf to try instead of the built-in ones")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected %q", flags.Args())
	}
	if set.lines < 1 || set.runs < 1 || set.partitions < 1 {
		return errors.New("-lines, -runs and -partitions are at least 1")
	}
	opts.compressions, opts.only = headerNames(*compressions), strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })
	b, err := newBench(ctx, set)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	results, err := runPeers(ctx, b, opts)
	if err != nil {
		return err
	}
	return writePeers(out, b, results)
}

// runPeers measures every sender with every compression. The senders take turns, so that
// a machine that slows down slows all of them.
func runPeers(ctx context.Context, b *bench, opts peerOptions) ([]peerResult, error) {
	if len(opts.compressions) == 0 {
		opts.compressions = []string{"none"}
	}
	senders, err := b.peerSenders(opts.confDir)
	if err != nil {
		return nil, err
	}
	senders = slices.DeleteFunc(senders, func(s peerSender) bool {
		return len(opts.only) > 0 && !slices.ContainsFunc(opts.only, func(name string) bool { return strings.HasPrefix(s.name, name) })
	})
	own := b.set
	defer func() { b.set = own }()
	var all []peerResult
	for _, compression := range opts.compressions {
		b.set.compression = compression
		results, err := b.peerTable(ctx, senders)
		if err != nil {
			return nil, err
		}
		all = append(all, results...)
	}
	return all, nil
}

// peerTable measures the senders with one compression.
func (b *bench) peerTable(ctx context.Context, senders []peerSender) ([]peerResult, error) {
	results := make([]peerResult, len(senders))
	for i, s := range senders {
		version, err := s.find()
		results[i] = peerResult{name: s.name, version: version, compression: b.set.compression, note: s.note, config: s.config}
		switch {
		case errors.Is(err, errNoPeer) && !peersRequired():
			results[i].missing = err.Error()
		case err != nil:
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	runs := make([][]figures, len(senders))
	turn := func(name string, keep bool) error {
		for i, s := range senders {
			r := &results[i]
			if r.missing != "" {
				continue
			}
			b.set.headers = s.headers
			f, wrong, err := b.peerRun(ctx, s)
			if err != nil {
				return fmt.Errorf("%s, compression %s, %s: %w", s.name, b.set.compression, name, err)
			}
			if wrong != "" {
				r.wrong = append(r.wrong, name+": "+wrong)
			}
			if keep {
				runs[i] = append(runs[i], f)
			}
		}
		return nil
	}
	for n := range b.set.runs {
		if err := turn(fmt.Sprintf("run %d", n+1), true); err != nil {
			return nil, err
		}
	}
	if b.set.compression != "none" && !b.set.unpack {
		// While it is measured, the broker counts compressed lines by the batches' headers.
		// Once more, it looks at every line.
		b.set.unpack = true
		err := turn("proof", false)
		b.set.unpack = false
		if err != nil {
			return nil, err
		}
	}
	compare(results, runs)
	return results, nil
}

// compare fills in the medians, and how they stand to those of the sender that the others
// are held against.
func compare(results []peerResult, runs [][]figures) {
	var base figures
	for i := range results {
		if results[i].missing != "" {
			continue
		}
		results[i].figures = medians(runs[i])
		if results[i].name == baseSender {
			base = results[i].figures
		}
	}
	for i := range results {
		if r := &results[i]; base.linesPerSec > 0 && base.cpuPerM > 0 {
			r.rateRatio, r.cpuRatio = r.linesPerSec/base.linesPerSec, r.cpuPerM/base.cpuPerM
		}
	}
}

// medians takes the median of each figure for itself.
func medians(runs []figures) figures {
	return figures{
		linesPerSec: median(runs, func(f figures) float64 { return f.linesPerSec }),
		cpuPerM:     median(runs, func(f figures) float64 { return f.cpuPerM }),
		peakRSS:     int64(median(runs, func(f figures) float64 { return float64(f.peakRSS) })),
		requests:    int64(median(runs, func(f figures) float64 { return float64(f.requests) })),
		perBatch:    median(runs, func(f figures) float64 { return f.perBatch }),
	}
}

// peerRun measures one sender against a broker of its own. Lines that were lost or came
// twice are told and not an error: they are a figure like the others.
func (b *bench) peerRun(ctx context.Context, s peerSender) (_ figures, wrong string, err error) {
	dir, err := os.MkdirTemp(b.dir, "run-")
	if err != nil {
		return figures{}, "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	broker, err := startBroker(b.set)
	if err != nil {
		return figures{}, "", err
	}
	defer func() { err = errors.Join(err, broker.stop()) }()
	p, err := s.start(ctx, broker.addr, dir)
	if err != nil {
		return figures{}, "", err
	}
	if err := b.awaitPeer(ctx, broker, p); err != nil {
		return figures{}, "", errors.Join(err, p.kill())
	}
	used, err := p.finish()
	if err != nil {
		return figures{}, "", err
	}
	// What was sent twice arrives after the last line, so the counts are taken again.
	c, err := broker.counts(benchTopic)
	if err != nil {
		return figures{}, "", err
	}
	if err := c.wrong(); err != nil {
		return figures{}, "", err
	}
	if c.Records == 0 {
		return figures{}, "", fmt.Errorf("nothing arrived: %s", p.output.Bytes())
	}
	seconds := time.Duration(c.LastNano - c.FirstNano).Seconds()
	return figures{
		linesPerSec: float64(c.Records) / seconds,
		cpuPerM:     used.cpu.Seconds() / float64(c.Records) * 1e6,
		peakRSS:     used.peakRSS,
		requests:    c.Requests,
		perBatch:    float64(c.Records) / float64(c.Batches),
	}, b.unlike(c), nil
}

// unlike tells in what the records that arrived differ from the lines of the log.
func (b *bench) unlike(c counts) string {
	switch more := c.Records - int64(b.set.lines); {
	case more < 0:
		return fmt.Sprintf("%d lines lost", -more)
	case more > 0:
		return fmt.Sprintf("%d lines doubled", more)
	}
	if !b.set.unpack { // so the lines that were walked are those that came uncompressed
		plain := b.set.compression == "none"
		// A sender may leave a batch as it is where packing would make it bigger.
		if odd := c.Walked; !plain && odd > c.Records/100 {
			return fmt.Sprintf("%d lines not compressed", odd)
		}
		if odd := c.Records - c.Walked; plain && odd > 0 {
			return fmt.Sprintf("%d lines compressed", odd)
		}
	}
	if err := b.verify(c); err != nil {
		return err.Error()
	}
	return ""
}

// awaitPeer returns when as many records have arrived as there are lines, or when no more
// come.
func (b *bench) awaitPeer(ctx context.Context, broker *brokerProcess, p *process) error {
	var last int64
	moved := time.Now()
	for {
		c, err := broker.counts(benchTopic)
		if err != nil {
			return err
		}
		if c.Records >= int64(b.set.lines) {
			return nil
		}
		if c.Records != last {
			last, moved = c.Records, time.Now()
		}
		if time.Since(moved) > peerPatience {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.ended:
			return fmt.Errorf("the sender ended (%v) after %d of %d records: %s", p.err, c.Records, b.set.lines, p.output.Bytes())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// peerSenders are the rows, the one the others are held against first.
func (b *bench) peerSenders(confDir string) ([]peerSender, error) {
	rsyslog, err := confOrOwn(confDir, "rsyslog.conf", rsyslogConf)
	if err != nil {
		return nil, err
	}
	syslogNG, err := confOrOwn(confDir, "syslog-ng.conf", syslogNGConf)
	if err != nil {
		return nil, err
	}
	defaults, err := parseSettings(nil)
	if err != nil {
		return nil, err
	}
	return []peerSender{
		{
			name: baseSender, config: "headers =",
			note: agentNote,
			find: treeVersion, start: b.runAgent,
		},
		{
			name: "logagent", headers: defaults.headers, config: "headers = " + strings.ReplaceAll(defaults.headers, ",", ", "),
			note: headersNote,
			find: treeVersion, start: b.runAgent,
		},
		{
			name: "rsyslog", config: rsyslog, note: rsyslogNote,
			find: func() (string, error) { return peerVersion("rsyslog", "rsyslogd", "-v") },
			start: func(_ context.Context, addr, dir string) (*process, error) {
				return b.runRsyslog(rsyslog, addr, dir)
			},
		},
		{
			name: "syslog-ng", config: syslogNG, note: syslogNGNote,
			find: func() (string, error) { return peerVersion("syslog-ng", "syslog-ng", "-V") },
			start: func(_ context.Context, addr, dir string) (*process, error) {
				return b.runSyslogNG(syslogNG, addr, dir)
			},
		},
		{
			name: "nxadm/tail + AsyncProducer", config: peerSettings, note: tailNote,
			find: libraryVersions, start: b.runPeer,
		},
	}, nil
}

func confOrOwn(dir, name, own string) (string, error) {
	if dir == "" {
		return own, nil
	}
	text, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		return own, nil
	}
	return string(text), err
}

func peerVersion(peer, program, flag string) (string, error) {
	home, err := findPeer(peer)
	if err != nil {
		return "", err
	}
	return home.version(program, flag)
}

func (b *bench) work(addr, dir string) peerWork {
	return peerWork{Log: b.log, Broker: addr, Topic: benchTopic, Compression: b.set.compression, Dir: dir}
}

// runRsyslog starts rsyslogd in the foreground, with all it remembers in dir.
func (b *bench) runRsyslog(conf, addr, dir string) (*process, error) {
	home, err := findPeer("rsyslog")
	if err != nil {
		return nil, err
	}
	modules, err := home.modules("usr/lib/*/rsyslog")
	if err != nil {
		return nil, err
	}
	path, err := writeConf(conf, b.work(addr, dir))
	if err != nil {
		return nil, err
	}
	c := home.command("rsyslogd", "-n", "-C", "-f", path, "-i", filepath.Join(dir, "rsyslog.pid"), "-M", modules)
	return startProcess(c[0], c[1:]...)
}

// runSyslogNG starts syslog-ng in the foreground, without its supervising process, with
// all it remembers in dir.
func (b *bench) runSyslogNG(conf, addr, dir string) (*process, error) {
	home, err := findPeer("syslog-ng")
	if err != nil {
		return nil, err
	}
	modules, err := home.modules("usr/lib/syslog-ng/[0-9]*")
	if err != nil {
		return nil, err
	}
	path, err := writeConf(conf, b.work(addr, dir))
	if err != nil {
		return nil, err
	}
	c := home.command("syslog-ng", "--foreground", "--no-caps", "--stderr", "--cfgfile="+path, "--module-path="+modules,
		"--persist-file="+filepath.Join(dir, "persist"), "--pidfile="+filepath.Join(dir, "pid"), "--control="+filepath.Join(dir, "control"))
	return startProcess(c[0], c[1:]...)
}

// treeVersion is logagent's: that of the tree.
func treeVersion() (string, error) { return "this tree", nil }

// libraryVersions are those that this program was built with.
func libraryVersions() (string, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", errors.New("this program does not know what it was built with")
	}
	var out []string
	for _, m := range info.Deps {
		if m.Path == "github.com/nxadm/tail" || m.Path == "github.com/IBM/sarama" {
			out = append(out, strings.TrimPrefix(m.Path, "github.com/")+" "+m.Version)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", "), nil
}
