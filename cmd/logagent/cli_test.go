package main

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

func TestVersionAsksTheTerminalNothingAndTakesNoTime(t *testing.T) {
	t.Parallel()
	c := exec.Command(binary(t), "version")
	c.Env = append(os.Environ(), "TERM=xterm-256color")
	begin := time.Now()
	terminal, err := pty.Start(c) // a terminal that answers nothing
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	out, _ := io.ReadAll(terminal) // ends with EIO when the program does
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	if !strings.HasPrefix(string(out), "logagent ") || strings.Contains(string(out), "\x1b") {
		t.Errorf("want one line without escapes, got %q", out)
	}
	if took > 3*time.Second { // a question without an answer takes five
		t.Errorf("took %s", took)
	}
}

func TestVersionTellsItselfAsJSON(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := runBinary(t, t.TempDir(), "version", "--json")
	var b build
	if err := json.Unmarshal([]byte(stdout), &b); err != nil || code != exitDone || b.Version == "" || b.Go == "" || stderr != "" {
		t.Errorf("code %d, error %v, %q, %q", code, err, stdout, stderr)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bad := writeFile(t, filepath.Join(dir, "bad.cfg"), "thread_num = lots\nlevel = loud\n")
	document := writeFile(t, filepath.Join(dir, "doc.json"), `[{"service":"s","log_path":"/a","topic":"t"}]`)
	broken := writeFile(t, filepath.Join(dir, "broken.json"), `[{"service":"","log_path":"a","topic":"t"}]`)
	for _, c := range []struct {
		args string
		code int
		says string // somewhere on stdout or stderr
	}{
		{"--help", exitDone, "--daemon"},
		{"version", exitDone, "logagent"},
		{"version extra", exitUsage, "no arguments"},
		{"frobnicate", exitUsage, "frobnicate"},
		{"--frobnicate", exitUsage, "frobnicate"},
		{"--daemon --attach", exitUsage, "exclude"},
		{"--daemon --read-only", exitUsage, "read-only"},
		{"--theme pink", exitUsage, "dark, light or mono"},
		{"--daemon", exitFailed, configHere},
		{"", exitFailed, configSystem},
		{"--daemon --config none.cfg", exitFailed, "none.cfg"},
		{"--daemon --config " + bad, exitFailed, bad + ":1: thread_num"},
		{"--daemon --config " + bad, exitFailed, bad + ":2: level"},
		{"config", exitUsage, "get, set, validate"},
		{"config frobnicate", exitUsage, "get, set, validate"},
		{"config get a b c", exitUsage, "one host"},
		{"config set h", exitUsage, "send_rate"},
		{"config set h e rate=5", exitUsage, "send_rate=N"},
		{"config set h e send_rate=-5", exitUsage, "lines per second"},
		{"config set a/b " + document, exitUsage, "/"},
		{"config set h none.json", exitFailed, "none.json"},
		{"config set h e rate=5", exitUsage, "did you mean"},
		{"config set h e send_rate=5 topic=", exitUsage, "topic"},
		{"config set --all e", exitUsage, "fields"},
		{"config set h e send_rate=5 --base 3", exitUsage, "whole documents"},
		{"config set h " + document + " --own", exitUsage, "--own"},
		{"config set h* e send_rate=5 --filter lag>1GB", exitUsage, "lag is not written in a document"},
		{"config set h* e send_rate=5 --wave 3", exitUsage, "--canary"},
		{"config set h* e send_rate=5 --canary 1 --healthy 0s", exitUsage, "--healthy"},
		{"config set h* e send_rate=5 --max-lag-growth lots", exitUsage, "size"},
		{"config add h", exitUsage, "fields"},
		{"config add h colour=red", exitUsage, "colour"},
		{"config remove h", exitUsage, "an entry"},
		{"config remove --all x y", exitUsage, "an entry"},
		{"config list a/b", exitUsage, "slash"},
		{"config export a b", exitUsage, "one glob"},
		{"config apply", exitUsage, "-f FILE"},
		{"config apply -f none.json", exitFailed, "none.json"},
		{"config apply -f " + document, exitFailed, document},
		{"config import -f none.json", exitFailed, "none.json"},
		{"config diff", exitUsage, "-f FILE"},
		{"config diff a -f b", exitUsage, "-f FILE"},
		{"config history a b", exitUsage, "one host"},
		{"config history -n -1", exitUsage, "-n"},
		{"config rollback", exitUsage, "takes a host"},
		{"config edit a/b", exitUsage, "/"},
		{"config resume", exitUsage, "id of a change"},
		{"config reverse a b", exitUsage, "id of a change"},
		{"config get @", exitUsage, "@web"},
		{"config get h --effective --at x", exitUsage, "--at"},
		{"config validate", exitUsage, "one file"},
		{"config validate " + document, exitDone, "valid"},
		{"config validate " + broken, exitFailed, "service"},
		{"config validate none.json", exitFailed, "none.json"},
		{"check --config " + bad, exitFailed, "FAILED"},
		{"check extra", exitUsage, "no arguments"},
		{"status lag>lots", exitUsage, "lag"},
		{"tail", exitUsage, "one file"},
		{"tail none.log", exitFailed, "none.log"},
		{"tail -n -1 x", exitUsage, "-n"},
		{"demo extra", exitUsage, "no arguments"},
		{"demo", exitFailed, "needs a terminal"},
	} {
		t.Run(strings.ReplaceAll(c.args, dir, ""), func(t *testing.T) {
			code, stdout, stderr := runBinary(t, dir, strings.Fields(c.args)...)
			if code != c.code || !strings.Contains(stdout+stderr, c.says) {
				t.Errorf("want exit %d and %q, got %d\nstdout: %s\nstderr: %s", c.code, c.says, code, stdout, stderr)
			}
			if code == exitUsage && stdout != "" {
				t.Errorf("wrong usage belongs on stderr, got stdout %q", stdout)
			}
		})
	}
}

func TestValidateTellsEveryProblemAsJSON(t *testing.T) {
	t.Parallel()
	var out, errs strings.Builder
	a := app{stdin: strings.NewReader(`[{"service":"","log_path":"/a","topic":"t","colour":1},{"service":"s","log_path":"/a","topic":"a b"}]`), stdout: &out, stderr: &errs, getenv: noEnv}
	if code := run(a, []string{"config", "validate", "-", "--json"}); code != exitFailed {
		t.Errorf("exit %d", code)
	}
	var v validation
	if err := json.Unmarshal([]byte(out.String()), &v); err != nil || v.Valid || len(v.Problems) < 3 || len(v.Warnings) == 0 || errs.Len() > 0 {
		t.Errorf("error %v, %+v, stderr %q", err, v, errs.String())
	}
}

func TestDocumentAboveTheLimitIsRefusedWithoutReadingItAll(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	a := app{stdin: io.MultiReader(strings.NewReader("["), endless(' ')), stdout: &out, stderr: &out, getenv: noEnv}
	if code := run(a, []string{"config", "validate", "-"}); code != exitFailed || !strings.Contains(out.String(), "at most") {
		t.Errorf("exit %d, %s", code, out.String())
	}
}

type endless byte

func (e endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(e)
	}
	return len(p), nil
}

func TestExampleFileStartsNothingBroken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "conf", "app.cfg"), readFile(t, exampleFile))
	_, stdout, stderr := runBinary(t, dir, "check", "--json")
	var findings []finding
	if err := json.Unmarshal([]byte(stdout), &findings); err != nil {
		t.Fatalf("%v: %q %q", err, stdout, stderr)
	}
	for _, f := range findings {
		if f.What == "config" && f.State != findingOK || f.What == "log" && f.State != findingOK || f.What == "state" && f.State != findingOK {
			t.Errorf("%+v", f)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("check changes nothing, but left %v, %v", entries, err)
	}
}
