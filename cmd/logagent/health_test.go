package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"logagent/agent"
)

func TestOnlyStatusesMadeSinceTheDocumentRunsAreProof(t *testing.T) {
	t.Parallel()
	key := func(boot, seq uint64, running int64) *agent.Coarse {
		return &agent.Coarse{StateID: "s", Boot: boot, Seq: seq, Documents: []agent.DocumentStatus{{Key: "a", Running: running}}}
	}
	other := key(3, 40, 6)
	other.StateID = "t"
	var p proof
	for i, s := range []struct {
		what string
		do   func()
		want int
	}{
		{"a status before the status key is known", func() { p.told(position{"s", 1, 1}) }, 0},
		{"the status key", func() { p.runs(key(1, 5, 4)) }, 0},
		{"a status made before it", func() { p.told(position{"s", 1, 4}) }, 0},
		{"the one it was made of", func() { p.told(position{"s", 1, 5}) }, 0},
		{"the next", func() { p.told(position{"s", 1, 6}) }, 1},
		{"the same again", func() { p.told(position{"s", 1, 6}) }, 1},
		{"another state folder", func() { p.told(position{"t", 9, 9}) }, 1},
		{"the status key for another reason", func() { p.runs(key(1, 8, 4)) }, 1},
		{"the one after the next", func() { p.told(position{"s", 1, 7}) }, 2},
		{"another revision", func() { p.runs(key(1, 9, 5)) }, 0},
		{"a status of before", func() { p.told(position{"s", 1, 8}) }, 0},
		{"one since", func() { p.told(position{"s", 1, 10}) }, 1},
		{"one of the agent started anew", func() { p.told(position{"s", 2, 1}) }, 2},
		{"its status key", func() { p.runs(key(2, 2, 5)) }, 2},
		{"no document", func() { p.runs(&agent.Coarse{StateID: "s", Boot: 2, Seq: 3}) }, 0},
		{"a status without it", func() { p.told(position{"s", 2, 4}) }, 1},
		{"no status key", func() { p.runs(nil) }, 0},
		{"a status of nobody knows what runs", func() { p.told(position{"s", 2, 5}) }, 0},
		{"another state folder runs it", func() { p.runs(other) }, 0},
		{"its status", func() { p.told(position{"t", 3, 41}) }, 1},
	} {
		if s.do(); p.samples != s.want {
			t.Errorf("step %d, %s: want %d, got %+v", i, s.what, s.want, p)
		}
	}
}

func TestAStatusOfThePastIsNoProof(t *testing.T) {
	t.Parallel()
	h := &health{hosts: make(map[string]*proof)}
	h.proof("a").runs(&agent.Coarse{StateID: "s", Boot: 1, Seq: 1})
	h.told("a", position{"s", 1, 2}, time.Second)
	if n := h.proof("a").samples; n != 0 {
		t.Errorf("want none, got %d", n)
	}
	h.told("a", position{"s", 1, 3}, 0)
	if n := h.proof("a").samples; n != 1 {
		t.Errorf("want one, got %d", n)
	}
}

func TestACanaryWhoseFileIsMissingStopsTheChangeHoweverShortItMustBeHealthy(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	good := writeFile(t, filepath.Join(p.dir, "in", "good.log"), "one\n")
	p.document(t, "web-1", entry(good, "lines"))
	p.document(t, "web-2", entry(good, "lines"))
	d := start(t, p.dir, "--daemon")
	p.arrived(t, "lines", 1)
	p.running(t)
	for _, healthy := range []string{"100ms", "1s"} {
		stdout, stderr := s.run(exitFailed, "config", "add", "web-*", "service=new", "log_path="+filepath.Join(p.dir, "in", "missing.log"), "topic=lines", "--canary", "1", "--healthy", healthy, "--yes")
		if !holdsAll(stdout, []string{"stopped: 1 of 2 documents written, 1 not touched", "canary: web-1 has 1 failing"}) || !strings.Contains(stderr, "config reverse") {
			t.Errorf("healthy %s: stdout: %s\nstderr: %s", healthy, stdout, stderr)
		}
		if got := p.documentOf(t, "web-2"); got != entry(good, "lines") {
			t.Errorf("a host behind the canary was changed: %s", got)
		}
		var sets []changeSetOut
		s.decode(&sets, exitDone, "config", "changes", "--json")
		s.says(exitDone, "1 of 1 document written", "config", "reverse", sets[0].ID)
	}
	d.stop(t)
}
