package main

import (
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// completions are the words that a shell would offer; what is typed last may be empty.
func completions(t *testing.T, dir string, typed ...string) []string {
	t.Helper()
	code, stdout, stderr := runBinary(t, dir, append([]string{"__complete"}, typed...)...)
	if code != exitDone {
		t.Fatalf("%q: exit %d: %s", typed, code, stderr)
	}
	for line := range strings.Lines(stderr) { // cobra's own, which the shells throw away
		if !strings.HasPrefix(line, "Completion ended with directive:") {
			t.Errorf("%q: stderr: %s", typed, stderr)
		}
	}
	var out []string
	for line := range strings.Lines(stdout) {
		if word, _, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t"); !strings.HasPrefix(word, ":") {
			out = append(out, word)
		}
	}
	return out
}

func TestShellsCompleteHostsEntriesFieldsAndIds(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	p.document(t, "web-1", `[`+nginxEntry+`,`+appEntry+`]`)
	p.document(t, "web-2", `[`+nginxEntry+`]`)
	p.document(t, "db-1", `[{"service":"two words","log_path":"/x y","topic":"t"}]`)
	p.put(t, "/logagent.live/web-3", `{"groups":["web"]}`)
	p.group(t, "web", `[{"service":"syslog","log_path":"/var/log/syslog","topic":"t"}]`)
	s.run(exitDone, "config", "set", "web-1", "app", "send_rate=7")
	s.run(exitDone, "config", "set", "web-*", "nginx", "send_rate=8")
	var records []recordOut
	s.decode(&records, exitDone, "config", "history", "web-1", "--json")
	var sets []changeSetOut
	s.decode(&sets, exitDone, "config", "changes", "--json")
	for _, c := range []struct {
		typed string // _ stands for nothing
		want  []string
	}{
		{"config get _", []string{"@web", "db-1", "web-1", "web-2", "web-3"}},
		{"config get web-", []string{"web-1", "web-2", "web-3"}},
		{"config edit @", []string{"@web"}},
		{"config list web-1,d", []string{"web-1,db-1"}},
		{"config get web-1 _", []string{"app", "nginx"}},
		{"config get web-1 /", []string{"/srv/app.log", "/var/log/nginx/access.log"}},
		{"config set web-3 _", []string{"syslog"}}, // from its group
		{"config get db-1 _", nil},                 // not one plain word
		{"config set web-* n", []string{"nginx"}},
		{"config remove --all sys", nil}, // of groups only where they are named
		{"config remove @* sys", []string{"syslog"}},
		{"config set web-1 nginx send", []string{"send_rate="}},
		{"config set web-1 nginx send_rate=5 pa", []string{"partition=", "paused="}},
		{"config set web-1 nginx paused=", []string{"paused=false", "paused=true"}},
		{"config add web-1 serv", []string{"service="}},
		{"config rollback web-1 _", []string{records[0].ID, records[1].ID}},
		{"config history show web-1 " + records[1].ID[:12], nil},
		{"config resume _", []string{sets[0].ID}},
		{"config ed", []string{"edit"}},
	} {
		args := strings.Fields(strings.ReplaceAll(c.typed, "_", "\x00"))
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "\x00", "_")
		}
		if args[len(args)-1] == "_" {
			args[len(args)-1] = ""
		}
		if strings.HasPrefix(c.typed, "config history show") {
			got := completions(t, p.dir, args...)
			if !slices.Contains(got, records[1].ID) {
				t.Errorf("%s: want %s, got %q", c.typed, records[1].ID, got)
			}
			continue
		}
		if got := completions(t, p.dir, args...); !slices.Equal(got, c.want) {
			t.Errorf("%s: want %q, got %q", c.typed, c.want, got)
		}
	}
}

func TestCompletionIsSilentAndQuickWhereEtcdIsAway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if got := completions(t, dir, "config", "get", ""); len(got) > 0 { // no configuration
		t.Errorf("got %q", got)
	}
	silent := listenSilently(t)
	for _, addr := range []string{"127.0.0.1:1", silent} {
		writeConfig(t, dir, "etcd_addr = "+addr, "kafka_addr = 127.0.0.1:1", "unknown_key = 1")
		begin := time.Now()
		if got := completions(t, dir, "config", "set", "w"); len(got) > 0 {
			t.Errorf("got %q", got)
		}
		if took := time.Since(begin); took > 3500*time.Millisecond { // one second, and the start of a process on a busy machine
			t.Errorf("%s: took %s", addr, took)
		}
	}
}

func TestShellsGetAScriptThatTheyTake(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"bash", "zsh", "fish"} {
		code, stdout, stderr := runBinary(t, dir, "completion", name)
		if code != exitDone || !strings.Contains(stdout, "logagent") || stderr != "" {
			t.Fatalf("%s: exit %d: %s", name, code, stderr)
		}
		if path, err := exec.LookPath(name); err == nil {
			if out, err := exec.Command(path, "-n", writeFile(t, filepath.Join(dir, name), stdout)).CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", name, err, out)
			}
		}
	}
}

// listenSilently is an address that takes connections and never answers.
func listenSilently(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}
