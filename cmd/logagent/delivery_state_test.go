package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"logagent/internal/lab"
)

// What becomes of the positions when their folder or their file is hurt.

// saved waits until the positions on disk are at the end of every log.
func (p *place) saved(t *testing.T, logs ...string) {
	t.Helper()
	eventually(t, "the positions on disk are the ends of the files", func() bool {
		committed := make(map[uint64]int64) // by inode: a path has a record for each file it ever named
		// The log's groups come after the checkpoint; what has no trailer yet is not saved. One
		// that is replaced between the two reads is read again with the next try.
		text := readFile(t, filepath.Join(p.dir, "state", "checkpoint"))
		log, err := os.ReadFile(filepath.Join(p.dir, "state", "checkpoint.log"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		text += string(log[:bytes.LastIndex(log, []byte("\nend "))+1])
		for line := range strings.Lines(text) {
			var r struct {
				File *struct {
					Inode     uint64 `json:"ino"`
					Committed int64  `json:"committed"`
				} `json:"file"`
			}
			if json.Unmarshal([]byte(line), &r) == nil && r.File != nil {
				committed[r.File.Inode] = r.File.Committed
			}
		}
		for _, log := range logs {
			info, err := os.Stat(filepath.Join(p.dir, log))
			if err != nil {
				t.Fatal(err)
			}
			if committed[info.Sys().(*syscall.Stat_t).Ino] != info.Size() {
				return false
			}
		}
		return true
	})
}

// problem waits until the agent tells of a problem with all of the words.
func (p *place) problem(t *testing.T, words ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("the status tells of a problem with %q", words), func() bool {
		s, _ := p.status(t)
		return slices.ContainsFunc(s.Problems, func(text string) bool {
			return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
		})
	})
}

// noProblem waits until the agent tells of none.
func (p *place) noProblem(t *testing.T) {
	t.Helper()
	eventually(t, "the status tells of no problem", func() bool {
		s, ok := p.status(t)
		return ok && len(s.Problems) == 0
	})
}

func modified(t *testing.T, path string) time.Time {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}

// onlyDoubled ends the daemon and wants no line lost and none foreign. It returns how many
// are doubled.
func (p *place) onlyDoubled(t *testing.T, d *process, want []string, topics ...string) int {
	t.Helper()
	p.complete(t, want, topics...)
	p.stop(t, d)
	diff := lab.Compare(want, lab.Values(p.records(t, topics...)))
	t.Logf("%d lines: %d lost, %d doubled, %d foreign", len(want), len(diff.Lost), len(diff.Doubled), len(diff.Foreign))
	if len(diff.Lost)+len(diff.Foreign) > 0 {
		t.Error(diff)
	}
	return len(diff.Doubled)
}

func TestDeliveryGoesOnWithAFullStateFolder(t *testing.T) {
	t.Parallel()
	if !ownMounts(t) {
		return
	}
	p := newPlace(t)
	state := filepath.Join(p.dir, "state")
	mount(t, "tmpfs", state, "size=1m")
	log := p.newLedger(t, "in/a.log", 20<<10)
	d := start(t, p.dir, "--daemon")
	p.apply(t, document(t, p.whole("in/a.log", "lines")))
	appendLines(t, 1000, log)
	p.complete(t, written(log), "lines")
	p.saved(t, "in/a.log")
	p.noProblem(t)

	free := fill(t, filepath.Join(state, "filler"))
	for range 20 { // with some rotations
		appendLines(t, 100, log)
	}
	p.complete(t, written(log), "lines")
	p.problem(t, "positions cannot be saved in ", "/state", "no space left on device", "make room there")
	p.logged(t, "positions cannot be saved in ")
	saidAt := p.countLogged(t, "positions cannot be saved in ")
	for range 20 {
		appendLines(t, 100, log)
	}
	p.complete(t, written(log), "lines")
	if n := p.countLogged(t, "positions cannot be saved in "); n != saidAt {
		t.Errorf("it is said %d times and not once", n)
	}

	// Killed like this, nothing is lost, and the next one works as far.
	d.kill(t)
	for range 20 {
		appendLines(t, 100, log)
	}
	d = start(t, p.dir, "--daemon")
	p.complete(t, written(log), "lines")
	p.problem(t, "positions cannot be saved in ", "no space left on device")
	for range 20 {
		appendLines(t, 100, log)
	}
	p.complete(t, written(log), "lines")

	// It goes on trying with nothing new to save: each try makes a file in the folder.
	for range 4 {
		last := modified(t, state)
		eventually(t, "another try to save", func() bool { return modified(t, state).After(last) })
	}
	// Once there is room again positions are saved, and the next crash doubles nothing.
	free()
	p.noProblem(t)
	p.saved(t, "in/a.log")
	p.logged(t, `msg="problem over" name=state`)
	before := lab.Compare(written(log), lab.Values(p.records(t, "lines")))
	d.kill(t)
	appendLines(t, 100, log)
	d = start(t, p.dir, "--daemon")
	if n := p.onlyDoubled(t, d, written(log), "lines"); n != len(before.Doubled) {
		t.Errorf("%d lines are doubled by a crash after positions were saved", n-len(before.Doubled))
	}
}

func TestDeliveryGoesOnWithAFullLogDisk(t *testing.T) {
	t.Parallel()
	if !ownMounts(t) {
		return
	}
	p := newPlace(t)
	folder := filepath.Join(p.dir, "log")
	mount(t, "tmpfs", folder, "size=1m")
	log := p.newLedger(t, "in/a.log", 20<<10) // each rotation is a few lines of the agent's own log
	d := start(t, p.dir, "--daemon")
	p.apply(t, document(t, p.whole("in/a.log", "lines")))
	free := fill(t, filepath.Join(folder, "filler"))
	for range 50 {
		appendLines(t, 100, log)
		appendLines(t, 100, log)
	}
	p.complete(t, written(log), "lines")
	p.acknowledged(t, log.Count())
	// The last page of the file may have had some room; what does not fit is cut off.
	text := readFile(t, filepath.Join(p.dir, daemonLog))
	if told := p.countLogged(t, "msg=following"); told > 30 || strings.HasSuffix(text, "\n") {
		t.Fatalf("%d of some 50 rotations stand in a log whose disk was to be full: this test proves nothing", told)
	}
	free()
	eventually(t, "the log is written again", func() bool {
		appendLines(t, 200, log)
		return len(readFile(t, filepath.Join(p.dir, daemonLog))) > len(text)
	})
	p.exactly(t, d, written(log), "lines")
}

func TestDeliveryGoesOnWithAReadOnlyStateFolder(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	state := filepath.Join(p.dir, "state")
	log := p.newLedger(t, "in/a.log", 20<<10)
	run := func() *process {
		return startWith(t, p.dir, []string{"--daemon"}, func(d *process) { p.unprivileged(t, d) })
	}
	mode := func(mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(state, mode); err != nil {
			t.Fatal(err)
		}
	}
	d := run()
	p.apply(t, document(t, p.whole("in/a.log", "lines")))
	appendLines(t, 1000, log)
	p.complete(t, written(log), "lines")
	p.saved(t, "in/a.log")

	mode(0o500)
	t.Cleanup(func() { _ = os.Chmod(state, 0o700) })
	appendLines(t, 100, log)
	p.complete(t, written(log), "lines")
	p.saved(t, "in/a.log") // the checkpoint's log needs nothing of its folder
	p.noProblem(t)
	if err := os.Chmod(filepath.Join(state, "checkpoint.log"), 0o400); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		appendLines(t, 100, log)
	}
	p.complete(t, written(log), "lines")
	p.problem(t, "positions cannot be saved in ", "permission denied")
	mode(0o700)
	p.noProblem(t)
	p.saved(t, "in/a.log")
	p.exactly(t, d, written(log), "lines")

	// One that finds it so at its start says what is wrong and with which file, and collects
	// as far as it can or ends; it does not pretend.
	if err := os.Remove(filepath.Join(state, "lock")); err != nil {
		t.Fatal(err)
	}
	mode(0o500)
	d = run()
	if code := d.exit(t); code != exitFailed || !strings.Contains(d.stderr.String(), "state/lock: permission denied") {
		t.Errorf("want exit 1 and what cannot be opened, got %d: %s", code, d.stderr)
	}
	mode(0o700)
	appendLines(t, 100, log)
	p.exactly(t, run(), written(log), "lines")
}

func TestDeliveryGoesOnAfterTheStateFolderIsRemoved(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	state := filepath.Join(p.dir, "state")
	log := p.newLedger(t, "in/a.log", 20<<10)
	d := start(t, p.dir, "--daemon")
	p.apply(t, document(t, p.whole("in/a.log", "lines")))
	appendLines(t, 1000, log)
	p.complete(t, written(log), "lines")

	if err := os.RemoveAll(state); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		appendLines(t, 100, log)
	}
	// The agent makes it again, and it is its own as before.
	p.complete(t, written(log), "lines")
	p.saved(t, "in/a.log")
	if diff := lab.Compare(written(log), lab.Values(p.records(t, "lines"))); !diff.None() {
		t.Error(diff)
	}
	if code, _, stderr := runBinary(t, p.dir, "--daemon"); code != exitFailed || !strings.Contains(stderr, "pid "+strconv.Itoa(d.Process.Pid)+" ") {
		t.Errorf("a second daemon in the new folder: exit %d, %s", code, stderr)
	}
	d.kill(t)
	appendLines(t, 100, log)
	p.exactly(t, start(t, p.dir, "--daemon"), written(log), "lines")
}

func TestDeliveryAfterADamagedCheckpoint(t *testing.T) {
	t.Parallel()
	whole := func(b []byte) []byte { return b }
	for _, c := range []struct {
		name   string
		hurt   func([]byte) []byte // the newest one
		prev   func([]byte) []byte // the one before
		log    func([]byte) []byte // the log of the newest one; nil: whole
		says   []string            // of the log
		zero   bool                // both are lost
		intact bool                // nothing is hurt: the control of this test
	}{
		{name: "not hurt", hurt: whole, prev: whole, intact: true},
		{name: "no bytes", hurt: func([]byte) []byte { return nil }, prev: whole, says: []string{"begins with", "previous checkpoint is used"}},
		{name: "half written", hurt: func(b []byte) []byte { return b[:len(b)/2] }, prev: whole, says: []string{"it was cut short", "previous checkpoint is used"}},
		{name: "one byte changed", hurt: func(b []byte) []byte { return flip(b, len(b)/2) }, prev: whole, says: []string{"checksum is", "previous checkpoint is used"}},
		{name: "of zeros", hurt: func(b []byte) []byte { return make([]byte, len(b)) }, prev: whole, says: []string{"begins with", "previous checkpoint is used"}},
		{name: "of a newer version", hurt: newer, prev: whole, says: []string{"was written by another version", "previous checkpoint is used"}},
		{name: "both", hurt: func(b []byte) []byte { return b[:len(b)/3] }, prev: func([]byte) []byte { return nil },
			says: []string{"it was cut short", "no checkpoint is usable: every file is read from its beginning"}, zero: true},
		{name: "its log changed in the middle", hurt: whole, prev: whole, log: func(b []byte) []byte { return flip(b, len(b)/2) },
			says: []string{"checkpoint log ", "what was saved before that is used"}},
		{name: "its log cut in the last save", hurt: whole, prev: whole, log: func(b []byte) []byte { return b[:len(b)-20] }},
		{name: "no bytes, and its log changed in the middle", hurt: func([]byte) []byte { return nil }, prev: whole, log: func(b []byte) []byte { return flip(b, len(b)/2) },
			says: []string{"begins with", "previous checkpoint is used", "checkpoint log "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			a, b := p.newLedger(t, "in/a.log", 0), p.newLedger(t, "in/b.log", 0)
			e := p.whole("in/*.log", "lines")
			d := start(t, p.dir, "--daemon")
			p.apply(t, document(t, e))
			for range 3 { // positions in the log of the newest one
				appendLines(t, 500, a, b)
				p.complete(t, written(a, b), "lines")
				p.saved(t, "in/a.log", "in/b.log")
			}
			d.kill(t)
			if c.log == nil {
				c.log = whole
			}
			for name, hurt := range map[string]func([]byte) []byte{"checkpoint": c.hurt, "checkpoint.prev": c.prev, "checkpoint.log": c.log} {
				path := filepath.Join(p.dir, "state", name)
				text := []byte(readFile(t, path))
				if len(text) == 0 {
					t.Fatalf("there is no %s to hurt", path)
				}
				if err := os.WriteFile(path, hurt(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			logBefore := len(readFile(t, filepath.Join(p.dir, daemonLog)))
			appendLines(t, 500, a, b)
			d = start(t, p.dir, "--daemon")
			p.complete(t, written(a, b), "lines")
			for _, words := range c.says {
				if !strings.Contains(readFile(t, filepath.Join(p.dir, daemonLog))[logBefore:], words) {
					t.Errorf("the log does not say %q:\n%s", words, readFile(t, filepath.Join(p.dir, daemonLog))[logBefore:])
				}
				p.problem(t, words)
			}
			logHurt := strings.Contains(c.name, "its log")
			switch doubled := p.onlyDoubled(t, d, written(a, b), "lines"); {
			case c.intact && doubled > 0:
				t.Errorf("%d lines are doubled by nothing", doubled)
			case c.zero && doubled != 3000:
				t.Errorf("want every file read from its beginning, got %d of 3000 lines doubled", doubled)
			case logHurt && (doubled == 0 || doubled >= 3000):
				t.Errorf("the log was used beyond the damage, or not before it: %d lines doubled", doubled)
			case !c.zero && !logHurt && doubled > 0:
				t.Errorf("the previous checkpoint was not used, with its log and the one of the damaged: %d lines doubled", doubled)
			}
			for name, want := range map[string]bool{
				"checkpoint.bad":     !c.intact && !strings.HasPrefix(c.name, "its log"),
				"checkpoint.log.bad": logHurt && len(c.says) > 0,
			} {
				if _, err := os.Stat(filepath.Join(p.dir, "state", name)); (err == nil) != want {
					t.Errorf("%s is kept aside: %v, want %v", name, err == nil, want)
				}
			}

			// The damage is over: what is saved now is used by the next one.
			had := len(p.records(t, "lines"))
			appendLines(t, 100, a, b)
			d = start(t, p.dir, "--daemon")
			p.arrived(t, "lines", had+200)
			p.stop(t, d)
			if n := len(p.records(t, "lines")); n != had+200 {
				t.Errorf("want 200 records more, got %d", n-had)
			}
		})
	}
}

func flip(b []byte, at int) []byte {
	b = slices.Clone(b)
	b[at] ^= 1
	return b
}

// newer is a checkpoint as a later version may write it: whole, and of another format.
func newer(b []byte) []byte {
	return bytes.Replace(b, []byte("logagent-checkpoint 1\n"), []byte("logagent-checkpoint 2\n"), 1)
}

func TestStateFolderIsHeldByTheLivingOnly(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	log := p.newLedger(t, "in/a.log", 0)
	first := start(t, p.dir, "--daemon")
	p.apply(t, document(t, p.whole("in/a.log", "lines")))
	appendLines(t, 500, log)
	p.complete(t, written(log), "lines")
	p.saved(t, "in/a.log")

	code, _, stderr := runBinary(t, p.dir, "--daemon")
	if code != exitFailed || !strings.Contains(stderr, "pid "+strconv.Itoa(first.Process.Pid)+" ") || !strings.Contains(stderr, "state_dir") {
		t.Errorf("want exit 1, the pid %d of the first and what to do, got %d: %s", first.Process.Pid, code, stderr)
	}
	// The refused one has taken nothing from the first.
	appendLines(t, 500, log)
	p.complete(t, written(log), "lines")
	if s, ok := p.status(t); !ok || s.PID != first.Process.Pid {
		t.Errorf("on the socket answers %d (%v)", s.PID, ok)
	}
	p.saved(t, "in/a.log")

	// The dead one's lock, pid and socket are no obstacle.
	first.kill(t)
	appendLines(t, 500, log)
	p.exactly(t, start(t, p.dir, "--daemon"), written(log), "lines")
}
