package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"logagent/agent"
	"logagent/ui/store"
)

func TestConfigVerbsReadAndWriteDocuments(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	document := `[{"service":"nginx","log_path":"/a.log","topic":"t","send_rate":5000,"colour":"red"},{"service":"x","log_path":"/b.log","topic":"t"},{"service":"x","log_path":"/c.log","topic":"t"}]`
	file := writeFile(t, filepath.Join(p.dir, "doc.json"), document)
	want := func(code int, says string, args ...string) (stdout string) {
		t.Helper()
		got, stdout, stderr := runBinary(t, p.dir, args...)
		if got != code || !strings.Contains(stdout+stderr, says) {
			t.Errorf("%q: want exit %d and %q, got %d\nstdout: %s\nstderr: %s", args, code, says, got, stdout, stderr)
		}
		return stdout
	}
	want(exitFailed, "/logagent/web-1/logconfig", "config", "get")
	want(exitFailed, "has no document", "config", "set", "web-1", "nginx", "send_rate=1")
	want(exitDone, "saved /logagent/web-1/logconfig", "config", "set", "web-1", file)
	want(exitDone, "no agent named web-1 is running now", "config", "set", "web-1", file)
	want(exitDone, "no agent named web-1 is running now", "config", "set", "web-1", "nginx", "send_rate=5000")
	if _, _, stderr := runBinary(t, p.dir, "config", "set", "10.9.8.7", file); stderr != "" {
		t.Errorf("an address is no agent's name: %s", stderr)
	}
	if _, err := p.etcd.Client().Put(t.Context(), "/logagent.live/web-1", "{}"); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := runBinary(t, p.dir, "config", "set", "web-1", file); code != exitDone || stderr != "" {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if got := want(exitDone, "", "config", "get"); got != document+"\n" {
		t.Errorf("want the document as it was written, got %s", got)
	}
	want(exitDone, "saved", "config", "set", "web-1", "nginx", "send_rate=8000")
	if got, wanted := p.key(t, "/logagent/web-1/logconfig"), strings.Replace(document, "5000", "8000", 1); got != wanted {
		t.Errorf("a changed rate touches nothing else\nwant %s\ngot  %s", wanted, got)
	}
	want(exitFailed, "/b.log, /c.log", "config", "set", "web-1", "x", "send_rate=1")
	want(exitDone, "saved", "config", "set", "web-1", "/c.log", "send_rate=1")
	want(exitFailed, "no entry", "config", "set", "web-1", "nobody", "send_rate=1")

	var got documentOut
	if err := json.Unmarshal([]byte(want(exitDone, "revision", "config", "get", "web-1", "--json")), &got); err != nil || got.Revision == 0 || got.Host != "web-1" {
		t.Fatalf("%+v, %v", got, err)
	}
	want(exitFailed, "", "config", "set", "web-1", file, "--base", fmt.Sprint(got.Revision-1))
	want(exitDone, "saved", "config", "set", "web-1", file, "--base", fmt.Sprint(got.Revision))
	broken := writeFile(t, filepath.Join(p.dir, "broken.json"), `[{"service":"nginx"}]`)
	want(exitFailed, "log_path", "config", "set", "web-1", broken)
	if got := p.key(t, "/logagent/web-1/logconfig"); got != document {
		t.Errorf("a refused document is not written, got %s", got)
	}
}

func TestVerbsSayThatEtcdIsAway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeConfig(t, dir, "etcd_addr = 127.0.0.1:1", "kafka_addr = 127.0.0.1:1", "etcd_timeout = 500ms")
	for _, args := range [][]string{{"config", "get"}, {"status", "--timeout", "1s"}, {"check"}} {
		code, stdout, stderr := runBinary(t, dir, args...)
		if code != exitFailed || !strings.Contains(stdout+stderr, "127.0.0.1:1") {
			t.Errorf("%q: want exit 1 and the address, got %d\nstdout: %s\nstderr: %s", args, code, stdout, stderr)
		}
		if strings.Count(stderr, "\n") > 2 {
			t.Errorf("%q: stderr holds more than the error: %s", args, stderr)
		}
		for line := range strings.Lines(stdout + stderr) {
			if strings.Count(line, "127.0.0.1:1") > 1 {
				t.Errorf("%q: the address twice: %s", args, line)
			}
		}
		for line := range strings.Lines(stderr) {
			if !strings.HasPrefix(line, "logagent: ") {
				t.Errorf("%q: want every line to say who speaks: %s", args, line)
			}
		}
	}
}

func TestCheckTellsWhatIsUsable(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	good := writeFile(t, filepath.Join(p.dir, "in", "a.log"), "one\n")
	findings := func(code int) map[string][]finding {
		t.Helper()
		got, stdout, stderr := runBinary(t, p.dir, "check", "--json")
		var list []finding
		if err := json.Unmarshal([]byte(stdout), &list); err != nil || got != code || stderr != "" {
			t.Fatalf("want exit %d, got %d, %v\nstdout: %s\nstderr: %s", code, got, err, stdout, stderr)
		}
		byWhat := make(map[string][]finding)
		for _, f := range list {
			byWhat[f.What] = append(byWhat[f.What], f)
		}
		return byWhat
	}
	is := func(f []finding, state, says string) {
		t.Helper()
		for _, one := range f {
			if one.State == state && strings.Contains(one.Text, says) {
				return
			}
		}
		t.Errorf("want %s and %q, got %+v", state, says, f)
	}

	got := findings(exitDone)
	for _, what := range []string{"config", "host", "log", "state", "etcd", "kafka"} {
		is(got[what], findingOK, "")
	}
	is(got["document"], findingWarning, "/logagent/web-1/logconfig")

	p.document(t, "web-1", fmt.Sprintf(`[{"service":"a","log_path":%q,"topic":"t"},{"service":"b","log_path":%q,"topic":"t"},{"service":"c","log_path":%q,"topic":"t"},{"service":"d","log_path":%q,"topic":"t"}]`,
		good, p.dir+"/in/*.log", p.dir+"/in/none.log", p.dir+"/none/**/*.log"))
	got = findings(exitDone)
	is(got["document"], findingOK, "entries 4")
	is(got["topic"], findingWarning, "t does not exist yet")
	if topics := p.kafka.Cluster().TopicInfo("t"); topics != nil {
		t.Error("check has created a topic")
	}
	if err := p.kafka.CreateTopic("t", 1, nil); err != nil {
		t.Fatal(err)
	}
	is(findings(exitDone)["topic"], findingOK, "t exists")
	is(got["path"], findingOK, "a.log (a)")
	is(got["path"], findingOK, "matches files: 1")
	is(got["path"], findingWarning, "does not exist yet")
	is(got["path"], findingWarning, "matches nothing yet")

	ownOnly := fmt.Sprintf(`[{"service":"a","log_path":%q,"topic":"t"},{"service":"b","log_path":%q,"topic":"t"}]`,
		p.dir+"/log/*.log", filepath.Join(p.dir, daemonLog))
	p.document(t, "web-1", ownOnly)
	own := func() {
		t.Helper()
		got := findings(exitDone)["path"]
		if len(got) != 2 {
			t.Fatalf("want a finding for each entry, got %+v", got)
		}
		for _, f := range got {
			is([]finding{f}, findingWarning, "is the agent's own log")
		}
	}
	own()

	d := start(t, p.dir, "--daemon")
	eventually(t, "the agent answers", func() bool {
		_, stdout, _ := runBinary(t, p.dir, "check")
		return strings.Contains(stdout, "an agent is running")
	})
	own()
	p.document(t, "web-1", entry(good, "t"))
	is(findings(exitDone)["path"], findingOK, "a.log (svc)")
	eventually(t, "the agent tells of the file", func() bool {
		code, stdout, _ := runBinary(t, p.dir, "check", "--file", "in/a.log")
		return code == exitDone && strings.Contains(stdout, "caught up")
	})
	if code, _, _ := runBinary(t, p.dir, "check", "--file", "in/none.of.these"); code != exitFailed {
		t.Errorf("a file nobody follows: exit %d", code)
	}
	d.stop(t)

	p.document(t, "web-1", `[{"service":""}]`)
	is(findings(exitFailed)["document"], findingFailed, "service")
	p.kafka.Stop()
	p.etcd.Stop()
	p.configure(t, "etcd_timeout = 300ms", "state_dir = conf/app.cfg/state")
	got = findings(exitFailed)
	is(got["etcd"], findingFailed, p.etcd.Addr())
	is(got["kafka"], findingFailed, p.kafka.Addrs()[0])
	is(got["state"], findingFailed, "app.cfg")
}

func TestStatusTellsOfEveryHost(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	path := writeFile(t, filepath.Join(p.dir, "in", "a.log"), "one\n")
	p.document(t, "web-1", entry(path, "lines"))
	p.document(t, "gone-1", entry(path, "lines"))
	d := start(t, p.dir, "--daemon")
	p.arrived(t, "lines", 1)
	status := func(args ...string) map[string]hostOut {
		t.Helper()
		code, stdout, stderr := runBinary(t, p.dir, append([]string{"status", "--json", "--timeout", "10s"}, args...)...)
		var hosts []hostOut
		if err := json.Unmarshal([]byte(stdout), &hosts); err != nil || code != exitDone {
			t.Fatalf("exit %d, %v\nstdout: %s\nstderr: %s", code, err, stdout, stderr)
		}
		by := make(map[string]hostOut)
		for _, h := range hosts {
			by[h.Host] = h
		}
		return by
	}
	eventually(t, "the revision runs and the line is delivered", func() bool {
		h := status()["web-1"]
		return h.Config == "running" && h.LagBytes == 0
	})
	got := status()
	if h := got["web-1"]; !h.Live || h.Files != 1 || h.LagBytes != 0 || h.AgeSeconds == nil || h.Stale {
		t.Errorf("%+v", h)
	}
	if h, ok := got["gone-1"]; !ok || h.Live || h.AgeSeconds != nil {
		t.Errorf("a host without an agent: %v %+v", ok, h)
	}
	if got := status("web"); len(got) != 1 {
		t.Errorf("filtered: %+v", got)
	}
	code, stdout, _ := runBinary(t, p.dir, "status")
	if code != exitDone || !strings.HasPrefix(stdout, "HOST") || !strings.Contains(stdout, "web-1") {
		t.Errorf("exit %d: %s", code, stdout)
	}

	d.signal(t, syscall.SIGKILL)
	d.exit(t)
	h := status()["web-1"]
	if !h.Stale || h.State != agent.StateUnknown || h.AgeSeconds == nil || *h.AgeSeconds < 1 || h.Files != 1 {
		t.Errorf("want a killed agent stale, with its last numbers and their age, got %+v", h)
	}
	code, stdout, _ = runBinary(t, p.dir, "status")
	if code != exitDone || !strings.Contains(stdout, "no status for") || strings.Contains(stdout, "clock is") {
		t.Errorf("exit %d: %s", code, stdout)
	}
}

func TestStatusHearsAnAgentThatEtcdDoesNotKnowOf(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	path := writeFile(t, filepath.Join(p.dir, "in", "a.log"), "one\n")
	p.document(t, "web-1", entry(path, "lines"))
	d := start(t, p.dir, "--daemon")
	p.arrived(t, "lines", 1)
	eventually(t, "the host lives by what it says, without a live key", func() bool {
		if _, err := p.etcd.Client().Delete(t.Context(), "/logagent.live/web-1"); err != nil {
			t.Fatal(err)
		}
		_, stdout, _ := runBinary(t, p.dir, "status", "--json")
		var hosts []hostOut
		return json.Unmarshal([]byte(stdout), &hosts) == nil && len(hosts) == 1 && hosts[0].AgeSeconds != nil && !hosts[0].Stale
	})
	d.stop(t)
}

func TestCheckWarnsOfAnEtcdThatIsNeverCompacted(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if _, stdout, _ := runBinary(t, p.dir, "check"); strings.Contains(stdout, "never compacted") {
		t.Errorf("a young etcd is no worry:\n%s", stdout)
	}
	const writers = 50
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range manyRevisions / writers {
				if _, err := p.etcd.Client().Put(t.Context(), "k", "v"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	code, stdout, _ := runBinary(t, p.dir, "check")
	if code != exitDone || !strings.Contains(stdout, "never compacted") || !strings.Contains(stdout, "--auto-compaction-retention") {
		t.Errorf("exit %d:\n%s", code, stdout)
	}
}

func TestAProblemOfSeveralLinesIsOneLineOfStatus(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	writeHost(&b, &store.HostRow{Host: "web-1", State: agent.StateFailing, Problem: "config rev 2 refused: entry 1: no\nentry 2: no"})
	if got := b.String(); !strings.Contains(got, "entry 1: no; entry 2: no\n") || strings.Contains(got, "␊") {
		t.Errorf("want one line with ; between, got %q", got)
	}
}
