package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"logagent/agent"
	"logagent/internal/lab"
)

// held is how long something stays unreadable in these tests, at least. By then the agent,
// which looks every 20 ms, has met it; the cause it shows is waited for beside it.
const held = 500 * time.Millisecond

// TestDeliveryToAnUnprivilegedAgentSurvivesWhateverIsTakenFromIt runs the daemon as nobody
// and takes from it, one after the other, the file, the next file, the folder, and the
// folder's being one.
func TestDeliveryToAnUnprivilegedAgentSurvivesWhateverIsTakenFromIt(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	log, fine := p.newLedger(t, "in/deep/a.log", 0), p.newLedger(t, "fine/b.log", 0)
	path := filepath.Join(p.dir, "in", "deep", "a.log")
	folder := filepath.Dir(path)
	try := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	d := startWith(t, p.dir, []string{"--daemon"}, func(d *process) { p.unprivileged(t, d) })
	t.Cleanup(func() { _ = os.Chmod(folder, 0o755) }) // else the folder of a failed test could not be removed
	p.apply(t, document(t, p.whole("in/deep/a.log", "lines"), p.whole("fine/b.log", "lines")))
	stop := keepWriting(t, 500, log, fine)
	// flowing waits for lines of all that is followed.
	flowing := func() {
		t.Helper()
		for _, l := range []*lab.Ledger{log, fine} {
			appendLines(t, 100, l)
		}
		p.complete(t, written(log, fine), "lines")
	}
	// shown waits for the cause, for held at least, and for the other file's lines.
	shown := func(cause string) {
		t.Helper()
		began := time.Now()
		p.cause(t, path, agent.StateFailing, cause)
		appendLines(t, 100, fine)
		p.complete(t, written(fine), "lines")
		time.Sleep(held - time.Since(began))
	}
	flowing()

	// The file that is open: what is held is read on, and a daemon that has to open it waits.
	try(os.Chmod(path, 0))
	flowing()
	p.stop(t, d)
	d = startWith(t, p.dir, []string{"--daemon"}, func(d *process) { p.unprivileged(t, d) })
	shown("permission denied")
	try(os.Chmod(path, 0o644))
	flowing()

	// The next file.
	next, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY, 0)
	try(err)
	try(next.Close(), os.Chmod(path+".new", 0))
	appendLines(t, 100, log)
	try(os.Rename(path, path+".1"), os.Rename(path+".new", path))
	appendLines(t, 100, log) // late ones
	shown("permission denied")
	try(os.Chmod(path, 0o644), log.Reopen())
	flowing()

	// The folder.
	try(os.Chmod(folder, 0))
	p.cause(t, path, agent.StateFailing, "permission denied")
	shown("permission denied")
	try(os.Chmod(folder, 0o755))
	flowing()
	p.cause(t, path, agent.StateOK, "caught up")

	// A file in the folder's place.
	try(os.Rename(folder, folder+".away"))
	writeFile(t, folder, "not a folder\n")
	shown("a parent is not a folder")
	try(os.Remove(folder), os.Rename(folder+".away", folder))
	flowing()
	p.cause(t, path, agent.StateOK, "caught up")

	// And what is rotated then is found.
	try(os.Rename(path, path+".1"))
	appendLines(t, 100, log)
	try(log.Reopen())
	flowing()
	stop()
	p.exactly(t, d, written(log, fine), "lines")
}
