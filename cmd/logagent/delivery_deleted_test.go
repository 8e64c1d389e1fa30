package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"logagent/agent"
	"logagent/internal/lab"
)

// TestDeliveryGivesUpDeletedFilesBeyondTheirBound holds that deleted_max of the configuration
// frees the disk, counts what that lost, and touches nothing else.
func TestDeliveryGivesUpDeletedFilesBeyondTheirBound(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "deleted_max = 150 kB", "deleted_min_free = 0")
	log, fine := p.newLedger(t, "in/a.log", 0), p.newLedger(t, "in/fine.log", 0)
	path := filepath.Join(p.dir, "in", "a.log")
	slow := p.whole("in/a.log", "slow")
	slow.SendRate = 1
	d := start(t, p.dir, "--daemon")
	p.apply(t, document(t, slow, p.whole("in/fine.log", "fine")))
	appendLines(t, 1000, log, fine) // some 100 kB each
	file := func() (f agent.FileStatus) {
		t.Helper()
		s, _ := p.status(t)
		if i := slices.IndexFunc(s.Files, func(f agent.FileStatus) bool { return f.Path == path }); i >= 0 {
			f = s.Files[i]
		}
		return f
	}
	again := func() {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := log.Reopen(); err != nil {
			t.Fatal(err)
		}
		appendLines(t, 1000, log)
	}
	// One deleted file is within the bound: it is shown, and kept.
	again()
	eventually(t, "the deleted file is shown with its size", func() bool { return file().DeletedBytes > 90_000 })
	if f := file(); f.Totals.LostBytes != 0 {
		t.Errorf("%d bytes are lost within the bound", f.Totals.LostBytes)
	}
	// With two the older one is given up, and only that.
	again()
	eventually(t, "what the older one held unread is counted", func() bool { return file().Totals.LostBytes > 90_000 })
	eventually(t, "the disk is free of it", func() bool { n := file().DeletedBytes; return n > 90_000 && n < 150_000 })
	p.logged(t, "deleted file given up")
	if n := p.countLogged(t, "deleted file given up", "deleted_max"); n != 1 {
		t.Errorf("want it said once, with the key that bounds it, got %d times:\n%s", n, readFile(t, filepath.Join(p.dir, daemonLog)))
	}
	// What is left is delivered once it may be.
	slow.SendRate = 0
	p.apply(t, document(t, slow, p.whole("in/fine.log", "fine")))
	left := written(log)[1000:]
	p.complete(t, left, "slow")
	p.complete(t, written(fine), "fine")
	p.stop(t, d)
	got := lab.Values(p.records(t, "slow"))
	diff := lab.Compare(written(log), got)
	if len(diff.Doubled)+len(diff.Foreign) > 0 || len(diff.Lost) == 0 || len(diff.Lost) > 1000 {
		t.Errorf("want only lines of the first file lost: %s", diff)
	}
	if slices.ContainsFunc(diff.Lost, func(line string) bool { return strings.Compare(line, written(log)[999]) > 0 }) {
		t.Errorf("lines of another file are lost: %s", diff)
	}
	if diff := lab.Compare(written(fine), lab.Values(p.records(t, "fine"))); !diff.None() {
		t.Errorf("the other log: %s", diff)
	}
}
