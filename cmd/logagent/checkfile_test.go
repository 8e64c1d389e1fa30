package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"logagent/agent"
)

func TestCheckFileTellsWhatTheAgentBelieves(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.configure(t, "allow_paths = "+p.dir+"/in/**", "rotate_wait = 20s")
	log, globbed, slow := p.newLedger(t, "in/a.log", 0), p.newLedger(t, "in/g-1.log", 0), p.newLedger(t, "in/slow.log", 0)
	path := func(name string) string { return filepath.Join(p.dir, name) }
	secret := writeFile(t, path("secret.log"), "not for all\n")

	// words asks until every one of them is said, by a process that ends with the code.
	words := func(code int, name string, words ...string) {
		t.Helper()
		var said string
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("check --file %s, the last answer:\n%s", name, said)
			}
		})
		eventually(t, fmt.Sprintf("check --file %s says %q", name, words), func() bool {
			got, stdout, stderr := runBinary(t, p.dir, "check", "--file", name)
			said = fmt.Sprintf("exit %d\n%s%s", got, stdout, stderr)
			// Columns are for the eye.
			flat := strings.Join(strings.Fields(stdout+stderr), " ")
			return got == code && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(flat, w) })
		})
	}
	answer := func(name string) (a agent.Answer) {
		t.Helper()
		code, stdout, stderr := runBinary(t, p.dir, "check", "--json", "--file", name)
		if err := json.Unmarshal([]byte(stdout), &a); err != nil {
			t.Fatalf("exit %d, %v\n%s%s", code, err, stdout, stderr)
		}
		return a
	}

	words(exitFailed, "in/a.log", "no agent is running on this state folder", "positions of the agent of this host")
	d := start(t, p.dir, "--daemon")
	limited := p.whole("in/slow.log", "slow")
	limited.SendRate = 1
	p.apply(t, document(t, p.whole("in/a.log", "lines"), p.whole("in/g-*.log", "globbed"), limited,
		p.whole("in/none.log", "none"), agent.Service{Service: "svc", LogPath: secret, Topic: "none", StartAt: agent.StartBeginning}))
	appendLines(t, 100, log, globbed)
	appendLines(t, 1000, slow)
	p.complete(t, written(log), "lines")

	size := func(name string) int64 {
		t.Helper()
		info, err := os.Stat(path(name))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	whole := fmt.Sprintf("committed %[1]d of %[1]d bytes", size("in/a.log"))
	words(exitDone, "in/a.log", path("in/a.log"), "entry "+path("in/a.log")+" (svc → lines)", "state ok: caught up", whole+", lag 0", "active "+path("in/a.log"), "waits for more lines")
	words(exitDone, path("in/g-1.log"), "entry "+path("in/g-*.log")+" (svc → globbed)", "caught up")
	words(exitDone, "in/slow.log", "behind: limited by send_rate", "waits for send_rate", "open for writing")
	if got := answer("in/slow.log"); len(got.Held) != 1 || got.Held[0].Unread <= 0 || got.Held[0].Committed+got.Held[0].Unread > size("in/slow.log") || got.Held[0].Writer == "no" {
		t.Errorf("want some bytes unread and a writer, got %+v", got.Held)
	}
	words(exitDone, "in/none.log", "failing: missing")
	words(exitDone, "secret.log", "failing: not allowed", "outside allow_paths")
	words(exitFailed, "in/stranger.log", "no entry matches it")
	if got := answer("in/stranger.log"); got.Error == "" || got.File != nil || len(got.Held) > 0 {
		t.Errorf("a file nobody follows: %+v", got)
	}

	// A rotated file that its writer has not let go of, and the new one.
	if err := os.Rename(path("in/a.log"), path("in/a.log.1")); err != nil {
		t.Fatal(err)
	}
	old := writeFile(t, path("in/a.log"), "the new file\n")
	appendLines(t, 10, log) // late ones
	p.arrived(t, "lines", 111)
	words(exitDone, old, "active", "rotated", fmt.Sprintf("committed %[1]d of %[1]d bytes", size("in/a.log.1")), "committed 13 of 13 bytes")
	got := answer("in/a.log")
	if got.File == nil || got.File.RotatedFiles != 1 || len(got.Held) != 2 || got.Held[0].State != "active" || got.Held[1].State != "rotated" ||
		got.Held[0].Committed != 13 || got.Held[1].Committed != size("in/a.log.1") || got.Held[0].Inode == got.Held[1].Inode {
		t.Errorf("want the new file before the rotated one, got %+v", got)
	}

	words(exitDone, "in/a.log.1", "active", "rotated", "open for writing") // asked for by the name it has now

	// What Kafka has not answered for is not committed.
	p.kafka.Stop()
	appendText(t, old, "one that waits\n")
	words(exitDone, old, "Kafka away", "committed 13 of 28 bytes", "lag 15")
	if err := p.kafka.Restart(); err != nil {
		t.Fatal(err)
	}
	words(exitDone, old, "committed 28 of 28 bytes, lag 0")

	// Once nobody writes it any more and all of it is committed, the rotated one is done.
	if err := log.Reopen(); err != nil {
		t.Fatal(err)
	}
	words(exitDone, old, "done "+old)

	// A deleted file that is still read.
	if err := os.Remove(path("in/slow.log")); err != nil {
		t.Fatal(err)
	}
	words(exitDone, "in/slow.log", "rotated", "deleted, and kept on the disk while it is read")
	d.stop(t)

	// With nobody to ask the positions on disk tell.
	appendText(t, old, "written meanwhile\n")
	words(exitFailed, "in/a.log", "no agent is running on this state folder", "what follows is what it has left on disk",
		old+": followed by nobody now", "known "+old, "committed 28 of 46 bytes, unread 18", "done ")
	words(exitFailed, "in/stranger.log", "nothing is remembered of "+path("in/stranger.log"))
	if got := answer("in/a.log"); got.File != nil || len(got.Held) != 2 || got.Held[0].State != "known" || got.Held[0].Unread != 18 {
		t.Errorf("want the positions on disk, got %+v", got)
	}
}

func TestHeldFilesAreListedTheLivingFirst(t *testing.T) {
	t.Parallel()
	held := []agent.Incarnation{
		{State: "done", Path: "/a.log", Inode: 9, SizeBytes: 40, Committed: 40, Writer: "unknown"},
		{State: "rotated", Path: "/a.log.2.gz", Inode: 2, SizeBytes: 100, Committed: 10, Compressed: true, Waits: "an older file to be read first"},
		{State: "known", Path: "/a.log", Inode: 8, Generation: 1, SizeBytes: 9, Unread: 2, Committed: 7, Deleted: true},
		{State: "truncated", Path: "/a.log", Inode: 5, SizeBytes: 7, Committed: 7},
		{State: "rotated", Path: "/a.log.1", Inode: 1, SizeBytes: 100, Unread: 100, Waits: "reading", Writer: "no"},
		{State: "active", Path: "/a.log", Inode: 3, Device: 64, Waits: "more lines"},
	}
	slices.SortFunc(held, byAge)
	var b strings.Builder
	a := app{stdout: &b}
	a.writeFile("/a.log", &agent.Answer{Held: held})
	want := `/a.log: followed by nobody now
  active     /a.log  device 64 inode 3 generation 0  committed 0 of 0 bytes, unread 0  waits for more lines
  rotated    /a.log.1  device 0 inode 1 generation 0  committed 0 of 100 bytes, unread 100  nobody writes it  is being read
  rotated    /a.log.2.gz  device 0 inode 2 generation 0  committed 10 of 100 bytes, unread 0  compressed (bytes are of its content)  waits for an older file to be read first
  truncated  /a.log  device 0 inode 5 generation 0  committed 7 of 7 bytes, unread 0
  known      /a.log  device 0 inode 8 generation 1  committed 7 of 9 bytes, unread 2  deleted, and kept on the disk while it is read
  done       /a.log  device 0 inode 9 generation 0  committed 40 of 40 bytes, unread 0
`
	if b.String() != want {
		t.Errorf("want\n%s\ngot\n%s", want, b.String())
	}
}
