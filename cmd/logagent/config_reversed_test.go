package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestAKilledChangeIsStoppedAndTakenBackAtOnceAndNotResumedAfterThat(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	path := writeFile(t, filepath.Join(p.dir, "in", "a.log"), "one\n")
	before := entry(path, "lines")
	p.document(t, "web-1", before)
	p.document(t, "web-2", before)
	agent := start(t, p.dir, "--daemon")
	p.running(t)
	d := start(t, p.dir, "config", "set", "web-*", "svc", "send_rate=500", "--canary", "1", "--healthy", "10m")
	eventually(t, "the canary is watched", func() bool { return strings.Contains(d.stderr.String(), "all run it") })
	d.signal(t, syscall.SIGKILL)
	d.exit(t)
	var sets []changeSetOut
	s.decode(&sets, exitDone, "config", "changes", "--json")
	id := sets[0].ID
	s.says(exitDone, "stopped: 1 of 2 documents written", "config", "stop", id)
	s.says(exitDone, "1 of 1 document written", "config", "reverse", id)
	s.decode(&sets, exitDone, "config", "changes", "--json")
	if len(sets) != 2 || sets[0].ReversedBy+sets[1].ReversedBy == "" {
		t.Errorf("want one marked as taken back, got %+v", sets)
	}
	_, stderr := s.run(exitFailed, "config", "resume", id)
	if !holdsAll(stderr, []string{"change " + id + ": the change set was taken back by ", "make the change anew"}) || strings.Contains(stderr, "goes on with it") {
		t.Errorf("want it refused, got %s", stderr)
	}
	for _, host := range []string{"web-1", "web-2"} {
		if got := p.documentOf(t, host); got != before {
			t.Errorf("%s: want what was before, got %s", host, got)
		}
	}
	agent.stop(t)
}
