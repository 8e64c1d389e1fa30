package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"time"
)

// scale is how much is measured: full for figures worth quoting, short to see that
// everything works and every line arrives.
type scale struct {
	Name      string
	Lines     int           // of the access log
	Runs      int           // of the rows that are worth a median
	DeadBytes int64         // backlog while the broker is dead
	Window    time.Duration // of watching something that does not end by itself
	DeadLull  time.Duration // before that, how long a broker has been dead
	Live      time.Duration // window of the live row
	Warm      time.Duration // before that
	Files     int           // of the rows with many files
	Turn      time.Duration // before their window: in full, every file gets a line in it
	RateFor   time.Duration // window of the send_rate
	Changes   int           // of the send_rate
}

var scales = map[string]scale{
	"full": {
		Name: "full", Lines: 2_000_000, Runs: 3, DeadBytes: 2_000_000_000, Window: 30 * time.Second, DeadLull: 15 * time.Second,
		Live: 20 * time.Second, Warm: 3 * time.Second, Files: 10_000, Turn: 12 * time.Second, RateFor: 10 * time.Second, Changes: 24,
	},
	"short": {
		Name: "short", Lines: 200_000, Runs: 1, DeadBytes: 100_000_000, Window: 2 * time.Second, DeadLull: 2 * time.Second,
		Live: 2 * time.Second, Warm: time.Second, Files: 500, Turn: 2 * time.Second, RateFor: 2 * time.Second, Changes: 4,
	},
}

// row is one thing that is measured.
type row struct {
	name  string
	what  string // how, for the report
	again bool   // worth a median of several runs
	run   func(ctx context.Context, b *bench) (outcome, error)
	proof func(ctx context.Context, b *bench) error // one more run, for what those that are measured do not check; may be nil
}

// outcome is what one run of a row has shown.
type outcome struct {
	figures []figure
	machine usage
	latency *histogram // nil: lines have no write time there
}

// result is a row with all its runs.
type result struct {
	Name    string     `json:"name"`
	What    string     `json:"what"`
	Figures []figure   `json:"figures"`
	Runs    int        `json:"runs"`
	Other   float64    `json:"other"` // share of the machine others took, in the worst run, 0…1
	Steal   float64    `json:"steal"` // share it was not given
	Latency *histogram `json:"latency,omitempty"`
	Failed  string     `json:"failed,omitempty"` // a line that was lost, doubled or changed, or anything else that ended it
}

func (r *result) add(o outcome) {
	if r.Runs == 0 {
		r.Figures = o.figures
	} else {
		for i, f := range o.figures {
			r.Figures[i] = r.Figures[i].and(f)
		}
	}
	r.Runs++
	r.Other, r.Steal, r.Latency = max(r.Other, o.machine.other), max(r.Steal, o.machine.steal), o.latency
}

// rowOptions are the flags of the verbs that measure rows.
type rowOptions struct {
	only   *regexp.Regexp
	scale  scale
	json   string
	binary string
	dir    string
}

func parseRowOptions(verb string, args []string, more func(*flag.FlagSet)) (o rowOptions, err error) {
	flags := flag.NewFlagSet("bench "+verb, flag.ContinueOnError)
	only := flags.String("only", "", "regular expression: rows whose names it matches")
	name := flags.String("scale", "full", "full, or short to see that all of it works")
	runs := flags.Int("runs", 0, "runs of the rows that are worth a median; 0: 3, or 1 where short")
	flags.StringVar(&o.json, "json", "", "file for the figures of each run")
	flags.StringVar(&o.binary, "binary", "", "logagent to measure; built from ./cmd/logagent when empty")
	flags.StringVar(&o.dir, "dir", "", "folder for logs and state; temporary when empty")
	if more != nil {
		more(flags)
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected %q", flags.Args())
	}
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("-only: %w", err)
	}
	var known bool
	if o.scale, known = scales[*name]; !known {
		return o, fmt.Errorf("no scale %q; there are full and short", *name)
	}
	if *runs > 0 {
		o.scale.Runs = *runs
	}
	return o, nil
}

// measureRows measures the rows and prints each when it is done.
func measureRows(ctx context.Context, args []string, out io.Writer) error {
	o, err := parseRowOptions("rows", args, nil)
	if err != nil {
		return err
	}
	_, err = o.measure(ctx, out)
	return err
}

// measure returns the results also with an error, for each row that could be tried.
func (o *rowOptions) measure(ctx context.Context, out io.Writer) (results []result, err error) {
	set, err := parseSettings(nil)
	if err != nil {
		return nil, err
	}
	set.lines, set.binary, set.dir = o.scale.Lines, o.binary, o.dir
	b, err := newBench(ctx, set)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.startEtcd(); err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "%d lines, %.0f MB; %d cores, %s\n", set.lines, float64(b.size)/1e6, runtime.NumCPU(), runtime.Version())
	printHead(out)
	var failed []error
	for _, w := range allRows(o.scale) {
		if !o.only.MatchString(w.name) {
			continue
		}
		r := b.measureRow(ctx, w, o.scale.Runs)
		if ctx.Err() != nil {
			return results, ctx.Err()
		}
		results = append(results, r)
		printResult(out, &r)
		if r.Failed != "" {
			failed = append(failed, fmt.Errorf("%s: %s", r.Name, r.Failed))
		}
	}
	if top, ok := mostMemory(results); ok {
		results = append(results, top)
		printResult(out, &top)
	}
	if o.json != "" {
		failed = append(failed, writeJSON(o.json, results))
	}
	return results, errors.Join(failed...)
}

func (b *bench) measureRow(ctx context.Context, w row, runs int) result {
	r := result{Name: w.name, What: w.what}
	if !w.again {
		runs = 1
	}
	for n := range runs {
		o, err := w.run(ctx, b)
		if err != nil {
			r.Failed = fmt.Sprintf("run %d: %v", n+1, err)
			return r
		}
		r.add(o)
	}
	if w.proof != nil {
		if err := w.proof(ctx, b); err != nil {
			r.Failed = fmt.Sprintf("proof: %v", err)
		}
	}
	return r
}

func writeJSON(path string, results []result) error {
	text, err := json.MarshalIndent(results, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// Names and aims of memory. Where a broker is dead or files are idle it is a figure of
// another name, with an aim of its own.
const (
	peakName     = "peak RSS"
	peakAim      = 100
	deadPeakName = "peak RSS, broker dead"
	deadPeakAim  = 150
	idleName     = "RSS"
	idleAim      = 60
)

func peakFigure(bytes int64) figure {
	return measured(peakName, megabytes, float64(bytes)/1e6, atMost(peakAim))
}

// mostMemory is the row that needed the most memory, of those without an aim of their own.
func mostMemory(results []result) (top result, ok bool) {
	top.Name = "most memory of any row"
	top.What = "The greatest peak RSS of the rows above, but for the dead broker and the idle files."
	for i := range results {
		for _, f := range results[i].Figures {
			if f.Name == peakName && (!ok || f.Median > top.Figures[0].Median) {
				f := measured(peakName, megabytes, f.Median, atMost(peakAim))
				f.Name += " (" + results[i].Name + ")"
				top.Figures, top.Runs, ok = []figure{f}, 1, true
			}
		}
	}
	return top, ok
}
