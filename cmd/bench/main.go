// Command bench measures what following logs costs: it makes logs, lets an agent send them
// to a counting broker, and prints what whole processes did, measured from outside, beside
// what they should. Everything that is measured is a process of its own.
//
//	bench rows [flags]     every figure of BENCHMARKS.md's first table; the same without a verb
//	bench peers [flags]    the backlog sent by other collectors, side by side
//	bench report [flags]   both, as BENCHMARKS.md
//	bench fleet [flags]    what thousands of agents ask of etcd and of a console
//	bench run [flags]      the agent alone on a backlog, with settings of one's choice
//	bench broker [flags]   the counting broker alone: a line on stdin asks for its counts
//
// The figures depend on the machine; they are printed and never judged. What is judged is
// that every line arrived once and every checksum is right.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"
)

// settings are the flags of all verbs that measure.
type settings struct {
	lines       int
	compression string
	partitions  int
	threads     int
	runs        int
	delay       time.Duration
	headers     string
	unpack      bool
	arrivals    bool   // the broker remembers when lines came
	brokerAddr  string // where the broker listens; "" means a free port
	binary      string
	dir         string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	verb := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		verb, args = args[0], args[1:]
	}
	switch verb {
	case "", "rows":
		return measureRows(ctx, args, os.Stdout)
	case peersVerb:
		return measurePeers(ctx, args, os.Stdout)
	case "report":
		return writeReport(ctx, args, os.Stdout)
	case "run":
		set, err := parseSettings(args)
		if err != nil {
			return err
		}
		return measureAgent(ctx, set, os.Stdout)
	case "broker":
		return brokerMain(ctx, args, os.Stdin, os.Stdout)
	case writerVerb:
		return writerMain(ctx, args, os.Stdout)
	case peerVerb:
		return peerMain(ctx, args)
	case "fleet":
		return measureFleet(ctx, args, os.Stdout)
	case fleetEtcdVerb:
		return fleetEtcdMain(ctx, args, os.Stdin, os.Stdout)
	case fleetKafkaVerb:
		return fleetKafkaMain(ctx, args, os.Stdin, os.Stdout)
	case fleetAgentsVerb:
		return fleetAgentsMain(ctx, args, os.Stdin, os.Stdout)
	case fleetConsoleVerb:
		return fleetConsoleMain(ctx, args, os.Stdin, os.Stdout)
	}
	return fmt.Errorf("no verb %q; there are rows, peers, report, fleet, run and broker", verb)
}

func parseSettings(args []string) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("bench run", flag.ContinueOnError)
	flags.IntVar(&s.lines, "lines", 2_000_000, "lines of the log, about 180 bytes each")
	flags.StringVar(&s.compression, "compression", "none", "none gzip snappy lz4 zstd")
	flags.IntVar(&s.partitions, "partitions", 8, "partitions of the topic")
	flags.IntVar(&s.threads, "threads", 4, "thread_num of the agent: connections to the broker")
	flags.IntVar(&s.runs, "runs", 3, "runs of each; the medians count")
	flags.DurationVar(&s.delay, "delay", 0, "how long the broker holds back each answer to a produce request")
	flags.StringVar(&s.headers, "headers", "host,service,path", "headers of every record; \"\" for none")
	flags.BoolVar(&s.unpack, "unpack", false, "let the broker unpack and walk compressed batches too, at its own cost")
	flags.StringVar(&s.binary, "binary", "", "logagent to measure; built from ./cmd/logagent when empty")
	flags.StringVar(&s.dir, "dir", "", "folder for the log and the state; temporary when empty")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("unexpected %q", flags.Args())
	}
	if s.lines < 1 || s.runs < 1 || s.partitions < 1 || s.threads < 1 {
		return s, errors.New("-lines, -runs, -partitions and -threads are at least 1")
	}
	return s, nil
}

// measureAgent measures the agent on a backlog.
func measureAgent(ctx context.Context, set settings, out io.Writer) (err error) {
	b, err := newBench(ctx, set)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	fmt.Fprintln(out, b.describe())
	t := newTable(out)
	if err := b.repeat(ctx, t, "logagent", b.runAgent); err != nil {
		return err
	}
	return t.finish()
}
