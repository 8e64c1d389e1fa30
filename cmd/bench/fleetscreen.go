package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"logagent/internal/term"
)

// Size of the terminal that the console is measured on.
const (
	fleetCols = 200
	fleetRows = 60
)

// screenTimes is how long the console's first screens took, from the start of its process.
type screenTimes struct {
	first time.Duration // some host stands on it
	all   time.Duration // all hosts are counted
	heard time.Duration // and the numbers of each are fresh
	rss   int64         // of the process after that
	peak  int64
}

// screenPatience is how long the console may take.
const screenPatience = 2 * time.Minute

// measureScreen runs the real console on a terminal until every host is on it.
func (f *fleet) measureScreen(ctx context.Context) (s screenTimes, err error) {
	ctx, cancel := context.WithTimeout(ctx, screenPatience)
	defer cancel()
	cmd := exec.Command(f.binary, "--config", f.ini, "--read-only")
	cmd.Dir = f.dir
	cmd.Env = append(os.Environ(), "TERM=xterm-256color", "COLORTERM=truecolor", "XDG_STATE_HOME="+filepath.Join(f.dir, "console"))
	began := time.Now()
	t, err := term.Start(cmd, fleetCols, fleetRows)
	if err != nil {
		return s, err
	}
	defer func() {
		if closed := t.Close(); err == nil {
			err = closed
		}
	}()
	for _, step := range []struct {
		what string
		at   *time.Duration
		ok   func(screenCounts) bool
	}{
		{"some host", &s.first, func(c screenCounts) bool { return c.hosts > 0 }},
		{"all hosts", &s.all, func(c screenCounts) bool { return c.hosts == f.o.Hosts }},
		{"all hosts with fresh numbers", &s.heard, func(c screenCounts) bool { return c.hosts == f.o.Hosts && c.told && c.unknown == 0 }},
	} {
		err := t.Wait(ctx, step.what, func(sc term.Screen) bool {
			c, found := countsOnScreen(sc.Text())
			return found && step.ok(c)
		})
		if err != nil {
			return s, err
		}
		*step.at = time.Since(began)
	}
	if s.rss, err = currentRSS(cmd.Process.Pid); err != nil {
		return s, err
	}
	s.peak, err = peakRSS(cmd.Process.Pid)
	return s, err
}

// screenCounts is what the second line of the console says of the fleet.
type screenCounts struct {
	hosts   int
	unknown int
	told    bool // some status was received
}

var (
	hostsWord   = regexp.MustCompile(`(?m)^ ([\d,]+) hosts?\b(.*)$`)
	unknownSign = regexp.MustCompile(`(\d+) ○`)
)

// countsOnScreen reads it; false where there is no such line yet.
func countsOnScreen(text string) (c screenCounts, found bool) {
	m := hostsWord.FindStringSubmatch(text)
	if m == nil {
		return c, false
	}
	var err error
	if c.hosts, err = strconv.Atoi(strings.ReplaceAll(m[1], ",", "")); err != nil {
		return c, false
	}
	if u := unknownSign.FindStringSubmatch(m[2]); u != nil {
		if c.unknown, err = strconv.Atoi(u[1]); err != nil {
			return c, false
		}
	}
	c.told = strings.Contains(m[2], "lag")
	return c, true
}

// measureStatus runs logagent status --json once, with all the time it needs to hear every
// agent, and returns how long it took.
func (f *fleet) measureStatus(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, screenPatience)
	defer cancel()
	began := time.Now()
	out, err := exec.CommandContext(ctx, f.binary, "status", "--json", "--timeout", "1m", "--config", f.ini).Output()
	if err != nil {
		return 0, fmt.Errorf("logagent status: %w: %s", err, stderrOf(err))
	}
	took := time.Since(began)
	var rows []struct {
		Host  string `json:"host"`
		Live  bool   `json:"live"`
		Stale bool   `json:"stale"`
	}
	if err := json.Unmarshal(out, &rows); err != nil {
		return 0, fmt.Errorf("logagent status: %w", err)
	}
	if len(rows) != f.o.Hosts {
		return 0, fmt.Errorf("logagent status tells of %d hosts of %d", len(rows), f.o.Hosts)
	}
	for _, r := range rows {
		if !r.Live || r.Stale {
			return 0, fmt.Errorf("logagent status: %s: live %v, stale %v", r.Host, r.Live, r.Stale)
		}
	}
	return took, nil
}

func stderrOf(err error) string {
	if e, ok := err.(*exec.ExitError); ok {
		return string(e.Stderr)
	}
	return ""
}
