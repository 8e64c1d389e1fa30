package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestAChangeOf500HostsWhoseProcessIsKilledIsResumedAndReversed(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	const hosts = 500
	manyDocuments(t, p, hosts)
	written := func() (done, twice int) {
		t.Helper()
		r, err := p.etcd.Client().Get(t.Context(), "/logagent/h-", clientv3.WithPrefix())
		if err != nil || len(r.Kvs) != hosts {
			t.Fatal(len(r.Kvs), err)
		}
		for _, kv := range r.Kvs {
			if strings.Contains(string(kv.Value), "8000") {
				done++
			}
			if kv.Version > 2 {
				twice++
			}
		}
		return done, twice
	}
	// Killed behind its first step: the watch sees the first document that is written.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	watch := p.etcd.Client().Watch(ctx, "/logagent/h-", clientv3.WithPrefix(), clientv3.WithRev(p.revision(t)+1))
	d := start(t, p.dir, "config", "set", "h-*", "nginx", "send_rate=8000", "--note", "peak")
	if r, ok := <-watch; !ok || r.Err() != nil {
		t.Fatal("no document was written")
	}
	d.signal(t, syscall.SIGKILL)
	d.exit(t)
	done, _ := written()
	if done == 0 || done == hosts {
		t.Fatalf("want it killed in the middle, it had written %d", done)
	}
	var sets []changeSetOut
	s.decode(&sets, exitDone, "config", "changes", "--json")
	if len(sets) != 1 || sets[0].Done != done || sets[0].Waiting != hosts-done || sets[0].Atomic {
		t.Fatalf("%d are written, %+v", done, sets)
	}
	id := sets[0].ID
	if stdout, _ := s.run(exitDone, "config", "changes"); !strings.Contains(stdout, fmt.Sprintf("open   %d/500", done)) {
		t.Errorf("got %s", stdout)
	}
	s.says(exitFailed, "stop it first", "config", "reverse", id)
	// Somebody changes a document that waits: the same entry is a conflict, and named.
	p.document(t, "h-0499", strings.Replace(`[`+nginxEntry+`]`, "5000", "1", 1))
	stdout := s.says(exitFailed, "499 of 500 documents written, 1 conflict", "config", "resume", id)
	if !strings.Contains(stdout, "h-0499") {
		t.Errorf("the conflict is not named: %s", stdout)
	}
	if done, twice := written(); done != hosts-1 || twice != 0 {
		t.Errorf("%d are written, %d of them twice", done, twice)
	}
	s.says(exitDone, "499 of 499 documents written", "config", "reverse", id, "--yes")
	r, err := p.etcd.Client().Get(t.Context(), "/logagent/h-", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range r.Kvs {
		if want := `[` + nginxEntry + `]`; string(kv.Value) != want && !strings.HasPrefix(string(kv.Key), "/logagent/h-0499/") {
			t.Fatalf("%s: want what was before, got %s", kv.Key, kv.Value)
		}
	}
}

func TestAnInterruptEndsTheWorkOnAChangeAndSaysHowItGoesOn(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	p.document(t, "web-1", `[`+nginxEntry+`]`)
	p.document(t, "web-2", `[`+nginxEntry+`]`)
	agent := start(t, p.dir, "--daemon")
	p.running(t)
	d := start(t, p.dir, "config", "set", "web-*", "nginx", "send_rate=8000", "--canary", "1", "--healthy", "10m", "--max-lag-growth", "-1")
	eventually(t, "the canary is watched", func() bool { return strings.Contains(d.stderr.String(), "all run it") })
	if got := p.documentOf(t, "web-2"); strings.Contains(got, "8000") {
		t.Errorf("written before the canary was well: %s", got)
	}
	var sets []changeSetOut
	s.decode(&sets, exitDone, "config", "changes", "--json")
	id := sets[0].ID
	s.says(exitFailed, "somebody else works on", "config", "resume", id)
	s.says(exitDone, "worked on by ", "config", "changes")
	d.signal(t, syscall.SIGINT)
	d.saw(t, exitFailed, "interrupted", "1 of 2 documents", "config resume "+id, "config reverse "+id)
	s.says(exitDone, "nobody works on it", "config", "changes")
	s.says(exitDone, "nobody works on it", "config", "changes", id)
	// Another one takes it up at once; a third ends that.
	d = start(t, p.dir, "config", "resume", id)
	eventually(t, "the canary is watched again", func() bool { return strings.Contains(d.stderr.String(), "all run it") })
	s.says(exitDone, "stopped by", "config", "stop", id, "--note", "lunch")
	d.saw(t, exitFailed, "stopped by", "lunch", "config reverse "+id)
	s.run(exitDone, "config", "set", "web-1,web-2", "nginx", "topic=web2") // a newer one, finished
	s.run(exitDone, "config", "set", "web-1,web-2", "nginx", "topic=web")
	if got := completions(t, p.dir, "config", "resume", ""); len(got) != 3 || got[0] != id {
		t.Errorf("want what is not finished first, %s, got %q", id, got)
	}
	s.says(exitDone, "1 of 1 document written", "config", "reverse", id)
	if got := p.documentOf(t, "web-1"); got != `[`+nginxEntry+`]` {
		t.Errorf("want what was before, got %s", got)
	}
	s.says(exitFailed, "make the change anew", "config", "resume", id)
	if _, stderr := s.run(exitFailed, "config", "resume", id); strings.Contains(stderr, "goes on with it") {
		t.Errorf("what cannot be done is advised: %s", stderr)
	}
	s.decode(&sets, exitDone, "config", "changes", "--json")
	if len(sets) != 4 || sets[0].ID == id || sets[3].ReversedBy != sets[0].ID {
		t.Errorf("want it off the unfinished, got %+v", sets)
	}
	s.says(exitDone, "taken back by "+sets[0].ID, "config", "changes")
	s.says(exitDone, "taken back by "+sets[0].ID, "config", "changes", id)
	agent.stop(t)
}

// running waits until the agent of web-1 runs its document and says so.
func (p *place) running(t *testing.T) {
	t.Helper()
	eventually(t, "the agent runs its document", func() bool {
		_, stdout, _ := runBinary(t, p.dir, "status", "--json")
		return strings.Contains(stdout, `"config": "running"`)
	})
}

func TestACanaryWhoseFileCannotBeReadStopsTheChange(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	good := writeFile(t, filepath.Join(p.dir, "in", "good.log"), "one\n")
	p.document(t, "web-1", entry(good, "lines"))
	p.document(t, "web-2", entry(good, "lines"))
	d := start(t, p.dir, "--daemon")
	p.arrived(t, "lines", 1)
	p.running(t)
	stdout, stderr := s.run(exitFailed, "config", "add", "web-*", "service=new", "log_path="+filepath.Join(p.dir, "in"), "topic=lines", "--canary", "1", "--healthy", "20s")
	if !holdsAll(stdout, []string{"stopped: 1 of 2 documents written, 1 not touched", "canary: web-1 has 1 failing"}) || !strings.Contains(stderr, "config reverse") {
		t.Errorf("stdout: %s\nstderr: %s", stdout, stderr)
	}
	if got := p.documentOf(t, "web-2"); got != entry(good, "lines") {
		t.Errorf("a host behind the canary was changed: %s", got)
	}
	var sets []changeSetOut
	s.decode(&sets, exitDone, "config", "changes", "--json")
	s.says(exitDone, "1 of 1 document written", "config", "reverse", sets[0].ID)
	if got := p.documentOf(t, "web-1"); got != entry(good, "lines") {
		t.Errorf("want what was before, got %s", got)
	}
	d.stop(t)
}

func TestACanaryWhoseLagGrowsStopsTheChange(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	path := writeFile(t, filepath.Join(p.dir, "in", "a.log"), "one\n")
	p.document(t, "web-1", entry(path, "lines"))
	p.document(t, "web-2", entry(path, "lines"))
	d := start(t, p.dir, "--daemon")
	p.arrived(t, "lines", 1)
	p.running(t)
	c := start(t, p.dir, "config", "set", "web-*", "svc", "send_rate=1", "--canary", "1", "--healthy", "5m", "--max-lag-growth", "100 kB")
	eventually(t, "the canary is watched", func() bool { return strings.Contains(c.stderr.String(), "all run it") })
	appendFile(t, path, strings.Repeat(strings.Repeat("x", 99)+"\n", 2000))
	c.saw(t, exitFailed, "stopped: 1 of 2 documents written", "the lag of web-1 grew by", "config reverse")
	if got := p.documentOf(t, "web-2"); got != entry(path, "lines") {
		t.Errorf("a host behind the canary was changed: %s", got)
	}
	var sets []changeSetOut
	s.decode(&sets, exitDone, "config", "changes", "--json")
	s.says(exitDone, "1 of 1 document written", "config", "reverse", sets[0].ID)
	p.arrived(t, "lines", 2001) // without the limit it all flows again
	d.stop(t)
}

func TestAHealthyCanaryIsFollowedByTheOthers(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	path := writeFile(t, filepath.Join(p.dir, "in", "a.log"), "one\n")
	for _, host := range []string{"web-1", "web-2", "web-3"} {
		p.document(t, host, entry(path, "lines"))
	}
	d := start(t, p.dir, "--daemon")
	p.running(t)
	stdout, stderr := s.run(exitDone, "config", "set", "web-*", "svc", "send_rate=500", "--canary", "1", "--wave", "1", "--healthy", "1s", "--json")
	if !strings.Contains(stdout, `"state": "done"`) || !strings.Contains(stderr, "canary: all run it") {
		t.Errorf("stdout: %s\nstderr: %s", stdout, stderr)
	}
	for _, host := range []string{"web-1", "web-2", "web-3"} {
		if got := p.documentOf(t, host); !strings.Contains(got, "500") {
			t.Errorf("%s: %s", host, got)
		}
	}
	d.stop(t)
}
