// Command bench measures what following a log costs: it generates an access log, lets an
// agent send it to a counting broker, and prints lines per second, CPU seconds per million
// lines and peak memory, beside the same figures for the usual way, nxadm/tail with
// sarama's AsyncProducer. Everything that is measured is a process of its own.
//
//	bench [flags]          the agent, then the peer, and how they compare
//	bench run [flags]      the agent alone
//	bench peer [flags]     the peer alone
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
	case "", "run", "peer":
		set, err := parseSettings(args)
		if err != nil {
			return err
		}
		return measure(ctx, set, verb, os.Stdout)
	case "broker":
		return brokerMain(ctx, args, os.Stdin, os.Stdout)
	case peerVerb:
		return peerMain(ctx, args)
	}
	return fmt.Errorf("no verb %q; there are run, peer and broker", verb)
}

func parseSettings(args []string) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
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

// measure runs what the verb asks for and prints the table.
func measure(ctx context.Context, set settings, verb string, out io.Writer) (err error) {
	b, err := newBench(ctx, set)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	fmt.Fprintln(out, b.describe())
	t := newTable(out)
	if verb != "peer" {
		if err := b.repeat(ctx, t, "logagent", b.runAgent); err != nil {
			return err
		}
	}
	if verb != "run" {
		if err := b.repeat(ctx, t, "nxadm/tail + AsyncProducer", b.runPeer); err != nil {
			return err
		}
	}
	return t.finish()
}
