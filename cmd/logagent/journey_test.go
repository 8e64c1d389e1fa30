package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"logagent/agent"
	"logagent/internal/lab"
	"logagent/internal/term"
)

// The journeys are an operator's sessions: the binary in a terminal, keys in, screen out.

// operator sits in front of a logagent in a terminal.
type operator struct {
	*term.Terminal
	t   *testing.T
	ctx context.Context // of every wait
}

// sit starts a command line in folder dir, in a terminal of this size.
func sit(t *testing.T, dir string, cols, rows int, env []string, command ...string) *operator {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "HOME="+dir, "TMPDIR="+dir, "XDG_STATE_HOME=", "TERM=xterm-256color", "COLORTERM=truecolor"), env...)
	terminal, err := term.Start(cmd, cols, rows)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the screen is\n%s", terminal.Screen().Text())
		}
		cancel()
		closeIn(t, terminal)
	})
	return &operator{terminal, t, ctx}
}

func (o *operator) press(keys ...string) {
	o.t.Helper()
	if err := o.Type(keys...); err != nil {
		o.t.Fatal(err)
	}
}

// sees waits until a line of the screen holds all of the words.
func (o *operator) sees(words ...string) {
	o.t.Helper()
	o.until(strings.Join(words, " … "), func(s term.Screen) bool {
		for y := range s.Rows {
			if line := s.Line(y); holdsAll(line, words) {
				return true
			}
		}
		return false
	})
}

// until waits until the screen is as ok wants it.
func (o *operator) until(what string, ok func(term.Screen) bool) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.ctx, patience)
	defer cancel()
	if err := o.Wait(ctx, what, ok); err != nil {
		o.t.Fatal(err)
	}
}

// ends waits for the end of the program and wants it to be a good one.
func (o *operator) ends() {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.ctx, patience)
	defer cancel()
	if err := o.WaitExit(ctx); err != nil {
		o.t.Error(err)
	}
}

func holdsAll(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

func TestJourneyFromTheWorstHostToARaisedRateThatCuresIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := startDemo(t, dir)
	rate := func() (rate int64) {
		t.Helper()
		code, stdout, stderr := runBinary(t, dir, "config", "get", "web-01")
		services, _, err := agent.ParseDocument([]byte(stdout))
		if code != exitDone || err != nil {
			t.Fatalf("exit %d, %v: %s", code, err, stderr)
		}
		for _, s := range services {
			if s.Service == "nginx" {
				rate = s.SendRate
			}
		}
		return rate
	}
	before := rate()

	o := sit(t, dir, 120, 36, nil, binary(t))
	o.until("the host that falls behind on top, all others well", func(s term.Screen) bool {
		return s.Contains("▌◐ web-01") && s.Contains("● api-01") && s.Contains("● db-01")
	})
	o.press("/")
	o.press("web-")
	o.press("enter")
	o.sees("▌", "◐", "web-01")
	o.press("enter")
	o.sees("fleet ▸ web-01")
	o.sees("▌", "access.log", "limited by send_rate")

	// One step, and it is in force.
	o.press("+")
	o.sees("600/s → 630/s (+5 %)", "applied")
	if got := rate(); got != before*105/100 {
		t.Errorf("want a rate of %d in etcd, got %d", before*105/100, got)
	}
	// Enough of them, typed in one go, and the lag falls.
	worst := demoLag(t, dir, "web-01")
	o.press("]", "]", "]", "]", "]", "]", "]")
	o.sees("(+", "applied")
	eventually(t, "the rate stands in etcd", func() bool { return rate() > 2000 })
	eventually(t, "the lag falls below what it was", func() bool {
		lag := demoLag(t, dir, "web-01")
		worst = max(worst, lag)
		return lag < worst/3
	})
	o.sees("▌", "access.log", "caught up")

	// Filter, help, and back. As long as it is offered esc takes the rate back.
	o.until("the tuning is over", func(s term.Screen) bool { return !s.Contains("puts 630/s back") && !s.Contains("puts 600/s back") })
	o.press("1")
	o.sees("/web-")
	o.press("esc")
	o.sees("all hosts")
	o.press("/")
	o.press("db-")
	o.until("only db-01", func(s term.Screen) bool { return s.Contains("db-01") && !s.Contains("api-01") })
	o.press("enter")
	o.press("?")
	o.sees("send_rate 5 % up")
	o.press("?")
	o.until("the filtered list again", func(s term.Screen) bool { return s.Contains("db-01") && !s.Contains("api-01") })
	o.press("esc")
	o.sees("api-01")
	o.press("q") // asks nothing: no agent runs inside
	o.ends()
	d.stopDemo(t)
}

// demoLag is a host's lag in bytes as the status verb tells it.
func demoLag(t *testing.T, dir, host string) int64 {
	t.Helper()
	code, stdout, stderr := runBinary(t, dir, "status", "--json", host)
	var hosts []hostOut
	if err := json.Unmarshal([]byte(stdout), &hosts); err != nil || code != exitDone || len(hosts) != 1 {
		t.Fatalf("exit %d, %v: %s", code, err, stderr)
	}
	return hosts[0].LagBytes
}

// colours are the escape sequences that set one.
var colours = regexp.MustCompile(`\x1b\[([0-9;]*;)?(3[0-8]|4[0-8]|9[0-7]|10[0-7])(;[0-9;]*)?m`)

func TestJourneyWithTheAgentInsideOnASmallColourlessTerminal(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	log := p.newLedger(t, "in/a.log", 100<<10)
	e := p.whole("in/a.log", "lines")
	e.SendRate = 100
	p.document(t, "web-1", document(t, e))
	appendLines(t, 3000, log)
	o := sit(t, p.dir, 80, 24, []string{"NO_COLOR=1"}, "/bin/sh", "-c",
		`before=$(stty -g); "$0" --attach; code=$?; test "$before" = "$(stty -g)" && echo the terminal is as it was; echo exit $code; exit $code`, binary(t))
	o.sees("▌", "web-1")
	o.sees("(here)")
	o.press("enter")
	o.sees("▌", "a.log", "limited")
	o.press("=")
	o.press("50000")
	o.press("enter")
	o.sees("applied")
	if diff := p.complete(t, written(log), "lines"); !diff.None() {
		t.Error(diff)
	}
	o.sees("▌", "a.log", "caught up")
	if got := p.key(t, "/logagent/web-1/logconfig"); !strings.Contains(got, `"send_rate":50000`) {
		t.Errorf("want the typed rate in etcd, got %s", got)
	}

	// The agent would go with the console: q asks, and no is the default.
	o.press("q")
	o.sees("The agent of this host runs inside")
	o.press("enter")
	o.until("the question is gone", func(s term.Screen) bool { return !s.Contains("runs inside") })
	appendLines(t, 100, log)
	p.complete(t, written(log), "lines")
	o.press("q")
	o.sees("The agent of this host runs inside")
	o.press("y")
	o.sees("exit 0")
	o.sees("the terminal is as it was")
	o.ends()
	if s := o.Screen(); !s.CursorShown || s.Contains("fleet") {
		t.Errorf("want a cursor and the shell's own screen again, got\n%s", s.Text())
	}
	if at := colours.FindIndex(o.Output()); at != nil {
		t.Errorf("NO_COLOR is set and %q sets a colour", o.Output()[at[0]:at[1]])
	}

	// What it delivered is saved: the next one begins behind it.
	appendLines(t, 100, log)
	p.exactly(t, start(t, p.dir, "--daemon"), written(log), "lines")
}

func TestJourneyThatMayOnlyLook(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	path := writeFile(t, filepath.Join(p.dir, "in", "a.log"), "one\n")
	before := fmt.Sprintf(originalEntry, path, 1000)
	p.document(t, "web-1", before)
	d := start(t, p.dir, "--daemon")
	o := sit(t, p.dir, 80, 24, nil, binary(t), "--read-only", "--theme", "light")
	o.sees("▌", "●", "web-1")
	for _, key := range []string{"+", "]", "="} {
		o.press(key)
		o.sees("read-only: started with --read-only")
	}
	o.press("enter")
	o.sees("fleet ▸ web-1")
	o.sees("▌", "a.log")
	o.press("-")
	o.sees("read-only: started with --read-only")
	if err := o.Resize(40, 10); err != nil {
		t.Fatal(err)
	}
	o.until("one line asks for a larger window", func(s term.Screen) bool { return strings.Contains(s.Text(), "60") && !s.Contains("a.log") })
	if err := o.Resize(160, 50); err != nil {
		t.Fatal(err)
	}
	o.sees("▌", "a.log")
	if colours.FindIndex(o.Output()) == nil {
		t.Error("want colours where nothing forbids them")
	}
	o.press("q")
	o.ends()
	if got := p.key(t, "/logagent/web-1/logconfig"); got != before {
		t.Errorf("want the document untouched, got %s", got)
	}
	p.stop(t, d)
}

func TestJourneyKeepsTheLastKnownWhileEtcdAndKafkaAreAway(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	log := p.newLedger(t, "in/a.log", 0)
	p.document(t, "web-1", document(t, p.whole("in/a.log", "lines")))
	d := start(t, p.dir, "--daemon")
	o := sit(t, p.dir, 120, 36, nil, binary(t))
	o.sees("▌", "●", "web-1")
	o.sees("etcd ●", "kafka ●")
	p.etcd.Stop()
	p.kafka.Stop()
	o.sees("etcd ✕", "kafka ✕")
	o.sees("web-1")
	appendLines(t, 500, log)
	if err := errors.Join(p.etcd.Restart(), p.kafka.Restart()); err != nil {
		t.Fatal(err)
	}
	o.sees("etcd ●", "kafka ●")
	o.sees("▌", "●", "web-1")
	o.press("q")
	o.ends()
	p.exactly(t, d, written(log), "lines")
}

func TestJourneyOnAStalledTerminalDoesNotStopDelivery(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	logs := []*lab.Ledger{p.newLedger(t, "in/a.log", 200<<10), p.newLedger(t, "in/b.log", 0)}
	p.document(t, "web-1", document(t, p.whole("in/*.log", "lines")))
	o := sit(t, p.dir, 120, 36, nil, binary(t), "--attach")
	o.sees("▌", "web-1")
	stop := keepWriting(t, 2000, logs...)
	p.more(t, "lines", 500)
	release := o.Hold()
	defer release()
	pid := pidOf(t, p)
	eventually(t, "the console hangs in a write to its terminal", func() bool {
		o.press("?") // another page to draw
		return inWriteTo(t, pid, 1)
	})
	p.more(t, "lines", 8000)
	stop()
	if diff := p.complete(t, written(logs...), "lines"); !diff.None() {
		t.Error(diff)
	}
	release()
	o.sees("logagent")
	o.until("the fleet again", func(s term.Screen) bool {
		if s.Contains("fleet ▸ help") || !s.Contains("web-1") {
			o.press("?")
			return false
		}
		return true
	})
	o.press("q")
	o.sees("The agent of this host runs inside")
	o.press("y")
	o.ends()
	p.exactly(t, start(t, p.dir, "--daemon"), written(logs...), "lines")
}

func TestJourneyThatEndsWithAStalledTerminalSavesAndEnds(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	log := p.newLedger(t, "in/a.log", 0)
	p.document(t, "web-1", document(t, p.whole("in/a.log", "lines")))
	o := sit(t, p.dir, 120, 36, nil, binary(t), "--attach")
	o.sees("▌", "web-1")
	stop := keepWriting(t, 1000, log)
	p.more(t, "lines", 500)
	release := o.Hold()
	defer release()
	pid := pidOf(t, p)
	eventually(t, "the console hangs in a write to its terminal", func() bool {
		o.press("?")
		return inWriteTo(t, pid, 1)
	})
	if err := o.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(o.ctx, patience/2) // draining takes 10 s at most
	defer cancel()
	var code *exec.ExitError // the terminal could not be restored, so 1 is right as well
	if err := o.WaitExit(ctx); err != nil && !errors.As(err, &code) {
		t.Fatal(err)
	}
	stop()
	p.exactly(t, start(t, p.dir, "--daemon"), written(log), "lines")
}

// pidOf is the process of the agent that runs at a place.
func pidOf(t *testing.T, p *place) (pid int) {
	t.Helper()
	eventually(t, "the agent tells its pid", func() bool {
		s, ok := p.status(t)
		pid = s.PID
		return ok
	})
	return pid
}

// inWriteTo tells whether a thread of a process is in a write to a file descriptor.
func inWriteTo(t *testing.T, pid, fd int) bool {
	t.Helper()
	calls, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", pid))
	if err != nil || len(calls) == 0 {
		t.Skipf("the kernel does not tell what process %d waits for", pid)
	}
	for _, call := range calls {
		b, err := os.ReadFile(call)
		if err == nil && strings.HasPrefix(string(b), fmt.Sprintf("%d %#x ", syscall.SYS_WRITE, fd)) {
			return true
		}
	}
	return false
}
