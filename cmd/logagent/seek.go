package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
	"logagent/ui/termsafe"
)

// planWait is how long the agent may take to make a plan: it may have to read through
// compressed files.
const planWait = 25 * time.Second

// seekFlags are those of the verbs that move positions.
type seekFlags struct {
	writeFlags
	wait time.Duration
}

func (f *seekFlags) add(c *cobra.Command) {
	f.writeFlags.add(c)
	c.Flags().DurationVar(&f.wait, "wait", 30*time.Second, "how long to wait until the agent has moved them; 0: not at all")
}

func (f *seekFlags) check() error {
	if f.wait < 0 {
		return usage("--wait %s: a time of 0 or more is wanted", f.wait)
	}
	return f.writeFlags.check()
}

func (a *app) seekVerb() *cobra.Command {
	var flags seekFlags
	var to string
	c := a.jsonFlag(&cobra.Command{
		Use:   "seek HOST PATH|SERVICE --to end|beginning|TIME|OFFSET",
		Short: "Move the position of a file, or of a service's files: over a backlog, or back",
		Long: `Moves positions on one host. Its agent says first which file would go from where to
where, and what that skips or repeats; after a yes exactly that is carried out, with a record
in the history of the host, and what became of each file is told.

--to end        after the last line. Rotated files that are still read are finished with it
--to beginning  to the first byte, also of rotated files that are still read. Those that were
                read to their end already are not taken up again
--to TIME       to the first line of that time or later: 2026-11-23T14:05:00Z, "2026-11-23 14:05"
                (local time), or -2h (two hours ago). The lines have to tell their times
--to OFFSET     to the first line that begins at this byte or after it; of one file

A path is that of a followed file, or the log_path of an entry, which may be a glob. A host
whose id is list or undo is named after two dashes: seek --to end -- list PATH.

These times of lines are known, at their beginning:

  2026-11-23T14:05:00Z            also with a blank or slashes, a fraction, +01:00, or UTC; local
                                  time without a zone. Also after one or two words (INFO, [main]),
                                  and as time= or ts= among the first fields
  Nov 23 14:05:00                 syslog, also with <13> before it; local time
  I1123 14:05:00.000000           klog; local time
  [23/Nov/2026:14:05:00 +0000]    access logs
  1795442700, 1795442700000       seconds or milliseconds since 1970
  {"time":"2026-11-23T14:05:00Z"} JSON: @timestamp, timestamp, time, ts or t, also as a number

11/23/2026 is not: it could be a day or a month.

What is skipped is never sent, unless it is sought back: seek undo gives back exactly the
lines that were skipped. An agent that is away carries a request out when it is back, within a
day.`,
		Args: args(2, 2, "seek takes a host, and a path or a service; or list HOST, or undo HOST ID"),
	})
	flags.add(c)
	c.Flags().StringVar(&to, "to", "", "`WHERE`: end, beginning, a time or an offset")
	c.RunE = func(_ *cobra.Command, args []string) error {
		goal, err := parseSeekTo(to, time.Now())
		if err == nil {
			err = flags.check()
		}
		if err == nil {
			err = checkSeekHost(args[0])
		}
		if err != nil {
			return err
		}
		q := agent.Question{Kind: agent.AskSeek, Seek: &goal}
		switch what := args[1]; {
		case strings.HasPrefix(what, "/") && strings.ContainsAny(what, "*?[{"):
			q.Path, goal.LogPath = what, what // a file may be called so
		case strings.HasPrefix(what, "/"):
			q.Path = what
		case goal.To == agent.SeekOffset:
			return usage("an offset belongs to one file: name its path")
		default:
			goal.Service = what
		}
		return a.withEtcd(func(ctx context.Context, _ *settings, client *etcdcfg.Client) error {
			return a.seek(ctx, client, args[0], q, "", flags)
		})
	}
	c.AddCommand(a.seekListVerb(), a.seekUndoVerb())
	return c
}

func checkSeekHost(host string) error {
	if err := checkHostID(host); err != nil {
		return usage("host %q: %w", host, err)
	}
	return nil
}

// seekTimes are the ways of writing --to TIME, beside RFC 3339.
var seekTimes = []string{"2006-01-02 15:04:05", "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02"}

// parseSeekTo reads --to.
func parseSeekTo(to string, now time.Time) (agent.SeekGoal, error) {
	switch to {
	case "end":
		return agent.SeekGoal{To: agent.SeekEnd}, nil
	case "beginning":
		return agent.SeekGoal{To: agent.SeekBeginning}, nil
	case "":
		return agent.SeekGoal{}, usage("--to is missing: end, beginning, a time or an offset")
	}
	if n, err := strconv.ParseInt(to, 10, 64); err == nil && n >= 0 {
		return agent.SeekGoal{To: agent.SeekOffset, Offset: n}, nil
	}
	if d, err := time.ParseDuration(to); err == nil && d < 0 {
		return agent.SeekGoal{To: agent.SeekTime, Time: now.Add(d)}, nil
	}
	if t, err := time.Parse(time.RFC3339, to); err == nil {
		return agent.SeekGoal{To: agent.SeekTime, Time: t}, nil
	}
	for _, layout := range seekTimes {
		if t, err := time.ParseInLocation(layout, to, now.Location()); err == nil {
			return agent.SeekGoal{To: agent.SeekTime, Time: t}, nil
		}
	}
	return agent.SeekGoal{}, usage(`--to %q is none of end, beginning, a time (2026-11-23T14:05:00Z, "2026-11-23 14:05", -2h) and an offset`, to)
}

// seekOut is what seek --json writes.
type seekOut struct {
	Host    string             `json:"host"`
	ID      string             `json:"id,omitempty"` // "": nothing was asked for
	Plan    agent.SeekPlan     `json:"plan"`
	Outcome *agent.SeekOutcome `json:"outcome,omitempty"`
}

// seek plans, reviews, asks, writes the request and tells what became of it. of is the request
// that is taken back.
func (a *app) seek(ctx context.Context, client *etcdcfg.Client, host string, q agent.Question, of string, flags seekFlags) error {
	asking, stop := context.WithTimeout(ctx, planWait)
	got, err := client.Ask(asking, host, q)
	stop()
	switch {
	case err != nil:
		return err
	case got.Error != "":
		return errors.New(termsafe.Line(host + ": " + got.Error))
	case got.Seek == nil:
		return fmt.Errorf("the agent of %s is older than this program: it moves no positions", host)
	}
	plan := *got.Seek
	out := seekOut{Host: host, Plan: plan}
	review := a.stdout
	if a.json {
		review = a.stderr // stdout is for one value
	}
	if !a.json || a.asks() && !flags.yes {
		writeSeekPlan(review, host, &plan)
	}
	if len(plan.Moves) == 0 || flags.dryRun {
		if a.json {
			return a.writeJSON(out)
		}
		return nil
	}
	if !flags.yes && a.asks() {
		answer, err := a.ask(ctx, "Move them? [y/N] ")
		if err == nil && !isYes(answer) {
			err = errors.New("nothing was moved")
		}
		if err != nil {
			return err
		}
	}
	out.ID, err = client.RequestSeek(ctx, host, plan, change.Meta{Who: a.who(), Note: flags.note, Of: of})
	if err != nil {
		return err
	}
	if !a.json {
		fmt.Fprintf(a.stdout, "asked for: %s\n", out.ID)
	}
	failed := a.awaitSeek(ctx, client, host, &out, flags.wait)
	if a.json {
		return errors.Join(a.writeJSON(out), failed)
	}
	return failed
}

// awaitSeek waits for the outcome and tells it; it fails where not every file was moved.
func (a *app) awaitSeek(ctx context.Context, client *etcdcfg.Client, host string, out *seekOut, wait time.Duration) error {
	if wait == 0 {
		return nil
	}
	waiting, stop := context.WithTimeout(ctx, wait)
	defer stop()
	r, err := client.AwaitSeek(waiting, host, out.ID)
	if errors.Is(err, etcdcfg.ErrSeekWaits) {
		return fmt.Errorf("not carried out within %s: it is once the agent is there and Kafka has answered for what is in flight; logagent seek list %s tells", wait, host)
	}
	if err != nil {
		return err
	}
	out.Outcome = r.Outcome
	if !a.json {
		writeSeekOutcome(a.stdout, r.Outcome)
		if r.Outcome.SkippedBytes > 0 && out.Plan.Goal.To != agent.SeekBack {
			fmt.Fprintf(a.stdout, "take it back with: logagent seek undo %s %s\n", host, out.ID)
		}
	}
	if _, refused := r.Outcome.Moved(); refused > 0 || r.Outcome.State == agent.SeekRefused {
		return errSaid
	}
	return nil
}

// seekGoalWord is where to, as a person says it.
func seekGoalWord(p *agent.SeekPlan) string {
	switch p.Goal.To {
	case agent.SeekTime:
		return "the first line of " + p.Goal.Time.Format(time.RFC3339) + " or later"
	case agent.SeekOffset:
		return fmt.Sprintf("offset %d", p.Goal.Offset)
	case agent.SeekBack:
		return "where they were"
	}
	return "the " + string(p.Goal.To)
}

// seekFileWord names one incarnation.
func seekFileWord(f *agent.SeekFile) string {
	name := termsafe.Clean(cmp.Or(f.Name, f.Path))
	if f.Stands != agent.StandsActive {
		name += " (" + termsafe.Clean(f.Stands) + ")"
	}
	return name
}

// seekBytesWord says what a move skips or sends. Nobody knows what of a file was sent ever.
func seekBytesWord(b agent.SeekBytes) string {
	var words []string
	if b.SkippedBytes > 0 {
		words = append(words, fmt.Sprintf("skips %d bytes", b.SkippedBytes))
	}
	if b.RepeatedBytes > 0 {
		words = append(words, fmt.Sprintf("sends again at most %d bytes", b.RepeatedBytes))
	}
	if b.ReturnedBytes > 0 {
		words = append(words, fmt.Sprintf("sends %d bytes that were skipped", b.ReturnedBytes))
	}
	if len(words) == 0 {
		return "nothing is skipped or repeated"
	}
	return strings.Join(words, ", ")
}

// seekLinesWord says how many lines that is.
func seekLinesWord(lines int64, guessed bool) string {
	switch {
	case lines == 0:
		return ""
	case guessed:
		return fmt.Sprintf(", perhaps %d lines (a guess: a compressed file is not read through)", lines)
	}
	return fmt.Sprintf(", about %d lines", lines)
}

func writeSeekPlan(out io.Writer, host string, p *agent.SeekPlan) {
	if len(p.Moves) == 0 {
		fmt.Fprintf(out, "%s: nothing is to be moved to %s\n", termsafe.Clean(host), seekGoalWord(p))
	} else {
		fmt.Fprintf(out, "%s: to %s\n", termsafe.Clean(host), seekGoalWord(p))
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i := range p.Moves {
		m := &p.Moves[i]
		fmt.Fprintf(w, "  %s\t%d → %d of %d bytes\t%s", seekFileWord(&m.SeekFile), m.From, m.To, m.SizeBytes, seekBytesWord(m.SeekBytes)+seekLinesWord(m.Lines, m.LinesGuessed))
		for _, more := range []string{m.Layout, m.Note} {
			if more != "" {
				fmt.Fprintf(w, "; %s", termsafe.Clean(more))
			}
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // a console that is gone is told of by the next write
	if len(p.Moves) > 1 {
		all := agent.SeekBytes{SkippedBytes: p.SkippedBytes, RepeatedBytes: p.RepeatedBytes, ReturnedBytes: p.ReturnedBytes}
		fmt.Fprintf(out, "in all: %d files, %s%s\n", len(p.Moves), seekBytesWord(all), seekLinesWord(p.Lines, p.LinesGuessed))
	}
	if p.Unmoved > 0 {
		fmt.Fprintf(out, "files that stay where they are: %d\n", p.Unmoved)
	}
	for _, warning := range p.Warnings {
		fmt.Fprintf(out, "warning: %s\n", termsafe.Line(warning))
	}
	if p.SkippedBytes > 0 && p.Goal.To != agent.SeekBack {
		fmt.Fprintln(out, "what is skipped is lost to Kafka, unless it is sought back")
	}
}

func writeSeekOutcome(out io.Writer, o *agent.SeekOutcome) {
	if o.Why != "" {
		fmt.Fprintf(out, "%s: %s\n", termsafe.Clean(o.State), termsafe.Line(o.Why))
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i := range o.Files {
		f := &o.Files[i]
		fmt.Fprintf(w, "  %s\t%s\t", seekFileWord(&f.SeekFile), termsafe.Clean(f.Result))
		switch f.Result {
		case agent.SeekWasMoved:
			fmt.Fprintf(w, "%d → %d: %s\n", f.From, f.To, seekBytesWord(f.SeekBytes))
		case agent.SeekWasPast:
			fmt.Fprintf(w, "stands at %d\n", f.From)
		default:
			fmt.Fprintf(w, "%s\n", termsafe.Line(f.Why))
		}
	}
	_ = w.Flush()
	moved, refused := o.Moved()
	fmt.Fprintf(out, "moved %d, refused %d: skipped %d bytes, repeated %s", moved, refused, o.SkippedBytes, atMost(o.RepeatedBytes))
	if o.ReturnedBytes > 0 {
		fmt.Fprintf(out, ", sent %d that were skipped", o.ReturnedBytes)
	}
	fmt.Fprintln(out)
}

// atMost says how many bytes are repeated.
func atMost(n int64) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("at most %d", n)
}

func (a *app) seekListVerb() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "list HOST",
		Short: "Tell what was asked for on a host in the last month, and what became of it",
		Args:  args(1, 1, "seek list takes one host"),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := checkSeekHost(args[0]); err != nil {
				return err
			}
			return a.withEtcd(func(ctx context.Context, _ *settings, client *etcdcfg.Client) error {
				all, err := client.Seeks(ctx, args[0])
				if err != nil {
					return err
				}
				if a.json {
					return a.writeJSON(append([]etcdcfg.SeekRequest{}, all...))
				}
				return writeSeeks(a.stdout, all)
			})
		},
	})
}

func writeSeeks(out io.Writer, all []etcdcfg.SeekRequest) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tWHEN\tWHO\tWHAT\tSTATE\tSKIPPED\tREPEATED\tRETURNED\tNOTE")
	for i := range all {
		r := &all[i]
		what := cmp.Or(r.Plan.Path, r.Plan.Goal.LogPath, r.Plan.Goal.Service)
		if r.Of != "" {
			what = "takes back " + r.Of
		} else {
			what += " to " + seekGoalWord(&r.Plan)
		}
		state, skipped, repeated, returned := "waits", "-", "-", "-"
		if o := r.Outcome; o != nil {
			state, skipped, repeated, returned = o.State, strconv.FormatInt(o.SkippedBytes, 10), strconv.FormatInt(o.RepeatedBytes, 10), strconv.FormatInt(o.ReturnedBytes, 10)
			if _, refused := o.Moved(); refused > 0 && o.State == agent.SeekDone {
				state = fmt.Sprintf("done, %d refused", refused)
			} else if o.Why != "" {
				state += ": " + o.Why
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", termsafe.Clean(r.ID), r.At.Local().Format("2006-01-02 15:04:05"), termsafe.Clean(r.Who.String()),
			termsafe.Clean(what), termsafe.Line(state), skipped, repeated, returned, termsafe.Clean(r.Note))
	}
	return w.Flush()
}

func (a *app) seekUndoVerb() *cobra.Command {
	var flags seekFlags
	c := a.jsonFlag(&cobra.Command{
		Use:   "undo HOST ID",
		Short: "Take a seek back: lines that it skipped are sent after all, those still to be repeated are not",
		Long: `Takes back what a seek moved, as far as its files are still there: exactly the lines that
were skipped are sent, and none that came after them again. A rotated file that was
finished meanwhile is not taken up again.`,
		Args: args(2, 2, "seek undo takes a host and the id of a request, as seek list tells it"),
	})
	flags.add(c)
	c.RunE = func(_ *cobra.Command, args []string) error {
		err := flags.check()
		if err == nil {
			err = checkSeekHost(args[0])
		}
		if err != nil {
			return err
		}
		return a.withEtcd(func(ctx context.Context, _ *settings, client *etcdcfg.Client) error {
			r, err := client.Seek(ctx, args[0], args[1])
			switch {
			case err != nil:
				return err
			case r.Outcome == nil:
				return fmt.Errorf("%s on %s: %w", args[1], args[0], etcdcfg.ErrSeekWaits)
			}
			if moved, _ := r.Outcome.Moved(); moved == 0 {
				return fmt.Errorf("%s on %s moved nothing", args[1], args[0])
			}
			goal := agent.SeekGoal{To: agent.SeekBack, Back: r.Outcome.Files}
			return a.seek(ctx, client, args[0], agent.Question{Kind: agent.AskSeek, Seek: &goal}, r.ID, flags)
		})
	}
	return c
}
