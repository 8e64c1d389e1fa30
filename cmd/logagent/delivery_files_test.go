package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"logagent/agent"
	"logagent/internal/lab"
)

func TestDeliveryOfOthersGoesOnPastMissingAndUnreadableFiles(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	folder, odd := filepath.Join(p.dir, "not", "there", "yet"), filepath.Join(p.dir, "in", "odd.log")
	if err := os.MkdirAll(odd, 0o755); err != nil { // unreadable for root, too: a folder in the file's place
		t.Fatal(err)
	}
	file := writeFile(t, filepath.Join(p.dir, "in", "plain"), "") // a file in a folder's place
	fine := p.newLedger(t, "in/fine.log", 0)
	d := start(t, p.dir, "--daemon")
	p.apply(t, document(t,
		p.whole("not/there/yet/a.log", "lines"), p.whole("not/there/**/g-*.log", "lines"),
		p.whole("in/odd.log", "lines"), p.whole("in/plain/x.log", "lines"), p.whole("in/fine.log", "lines")))
	stop := keepWriting(t, 500, fine)
	p.cause(t, filepath.Join(folder, "a.log"), agent.StateFailing, "missing")
	p.cause(t, odd, agent.StateFailing, "unreadable (")
	p.cause(t, filepath.Join(file, "x.log"), agent.StateFailing, "a parent is not a folder")
	p.more(t, "lines", 500)
	if n := p.countLogged(t, odd, "cannot follow"); n != 1 {
		t.Errorf("the unreadable file is named %d times, want once", n)
	}
	eventually(t, "the status key names what fails", func() bool {
		failing := 0
		for _, e := range p.coarse(t, "web-1").Entries {
			if e.State == agent.StateFailing && e.Cause != "" {
				failing++
			}
		}
		return failing == 3
	})

	// Each is followed as soon as it can be.
	if err := os.Remove(odd); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	logs := []*lab.Ledger{fine, p.newLedger(t, "not/there/yet/a.log", 50<<10), p.newLedger(t, "not/there/deep/g-1.log", 50<<10), p.newLedger(t, "in/odd.log", 0), p.newLedger(t, "in/plain/x.log", 0)}
	appendLines(t, 1000, logs[1:]...)
	appendLines(t, 1000, logs[1:]...)
	for _, path := range []string{filepath.Join(folder, "a.log"), odd, filepath.Join(file, "x.log")} {
		p.cause(t, path, agent.StateOK, "caught up")
	}
	stop()
	p.exactly(t, d, written(logs...), "lines")
}

func TestDeliveryOfFilesWithoutPermissionBeginsOnceItIsGranted(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	logs := []*lab.Ledger{p.newLedger(t, "in/a.log", 0), p.newLedger(t, "closed/b.log", 0), p.newLedger(t, "in/fine.log", 0)}
	file, folder := filepath.Join(p.dir, "in", "a.log"), filepath.Join(p.dir, "closed")
	mode := func(path string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	mode(file, 0)
	mode(folder, 0)
	t.Cleanup(func() { mode(folder, 0o755) })
	d := startWith(t, p.dir, []string{"--daemon"}, func(d *process) { p.unprivileged(t, d) })
	p.apply(t, document(t, p.whole("in/a.log", "lines"), p.whole("closed/b.log", "lines"), p.whole("in/fine.log", "lines")))
	stop := keepWriting(t, 500, logs...)
	p.cause(t, file, agent.StateFailing, "permission denied")
	p.cause(t, filepath.Join(folder, "b.log"), agent.StateFailing, "permission denied")
	p.more(t, "lines", 300)
	mode(file, 0o644)
	mode(folder, 0o755)
	p.cause(t, file, agent.StateOK, "caught up")
	p.cause(t, filepath.Join(folder, "b.log"), agent.StateOK, "caught up")

	// What is open is read on, and the next file, too, once it may be.
	mode(folder, 0)
	p.more(t, "lines", 300)
	if err := logs[1].Rotate(); err != nil && os.Getuid() == 0 {
		t.Fatal(err)
	}
	p.more(t, "lines", 300)
	mode(folder, 0o755)
	stop()
	p.exactly(t, d, written(logs...), "lines")
}

// unprivileged makes a process of root's one of nobody's, who owns the place's folder.
func (p *place) unprivileged(t *testing.T, d *process) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	const nobody = 65534
	d.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if err := errors.Join(os.Chmod(filepath.Dir(p.dir), 0o755), os.Chown(p.dir, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
}

func TestDeliveryOfLinesOverTheTopicsLimitFollowsOversize(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	const limit = 2000
	long := strings.Repeat("0123456789abcdef", 600) // 9600 bytes
	text := ""
	var short []string
	for i := range 30 {
		line := fmt.Sprintf("short line %d", i)
		short = append(short, line)
		text += line + "\n"
		if i%10 == 5 {
			text += long + fmt.Sprint(i) + "\n"
		}
	}
	var entries []agent.Service
	for _, policy := range []agent.Oversize{agent.OversizeSplit, agent.OversizeTruncate, agent.OversizeSkip} {
		topic := string(policy)
		if err := p.kafka.CreateTopic(topic, 1, map[string]string{"max.message.bytes": strconv.Itoa(limit)}); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(p.dir, "in", topic+".log"), text)
		e := p.whole("in/"+topic+".log", topic)
		e.Oversize = policy
		entries = append(entries, e)
	}
	fine := p.newLedger(t, "in/fine.log", 0)
	appendLines(t, 1000, fine)
	d := start(t, p.dir, "--daemon")
	p.apply(t, document(t, append(entries, p.whole("in/fine.log", "fine"))...))
	p.complete(t, written(fine), "fine")
	for _, f := range p.acknowledged(t, fine.Count()+3*strings.Count(text, "\n")).Files {
		if f.Cause != "caught up" {
			t.Errorf("%s: all is acknowledged and its cause is %s", f.Path, f.Cause)
		}
		if n := map[string]uint64{"split": f.Totals.Split, "truncate": f.Totals.Truncated, "skip": f.Totals.Skipped}[f.Topic]; f.Topic != "fine" && n != 3 {
			t.Errorf("%s: want 3 long lines counted, got %+v", f.Topic, f.Totals)
		}
	}
	p.stop(t, d)

	for _, topic := range []string{"split", "truncate", "skip"} {
		var whole, cut []string
		pieces := ""
		for _, r := range p.records(t, topic) { // of one partition: in order
			value := string(r.Value)
			switch {
			case strings.HasPrefix(value, "short"):
				whole = append(whole, value)
			case topic == "split":
				if r.Header("part") == "" {
					t.Errorf("split: a piece without its number: %+v", r.Headers)
				}
				if pieces += value; r.Header("parts") != "" {
					cut = append(cut, pieces)
					pieces = ""
				}
			default:
				cut = append(cut, value)
			}
			if len(value) > limit {
				t.Errorf("%s: a record of %d bytes", topic, len(value))
			}
		}
		if diff := lab.Compare(short, whole); !diff.None() {
			t.Errorf("%s, the lines that are short enough: %s", topic, diff)
		}
		switch topic {
		case "split":
			if diff := lab.Compare([]string{long + "5", long + "15", long + "25"}, cut); !diff.None() {
				t.Errorf("split: the pieces do not make the lines again: %s", diff)
			}
		case "truncate":
			if len(cut) != 3 || !strings.HasPrefix(long, cut[0]) || len(cut[0]) < limit/2 {
				t.Errorf("truncate: want the beginnings of three lines, got %.100q", cut)
			}
		case "skip":
			if len(cut) != 0 {
				t.Errorf("skip: got %.100q", cut)
			}
		}
	}
	if diff := lab.Compare(written(fine), lab.Values(p.records(t, "fine"))); !diff.None() {
		t.Error(diff)
	}
}

func TestDeliveryOfLinesOverMaxLineBytesFollowsOversize(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "max_line_bytes = 1000")
	long := strings.Repeat("x", 2500)
	path := writeFile(t, filepath.Join(p.dir, "in", "a.log"), "one\n"+long+"\ntwo\n")
	d := start(t, p.dir, "--daemon")
	e := p.whole("in/a.log", "")
	for i, step := range []struct {
		policy agent.Oversize
		want   []string
	}{
		{agent.OversizeSplit, []string{"one", long[:1000], long[:1000], long[:500], "two"}},
		{agent.OversizeTruncate, []string{"one", long[:1000], "two"}},
		{agent.OversizeSkip, []string{"one", "two"}},
	} {
		e.Oversize, e.Topic = step.policy, string(step.policy)
		p.apply(t, document(t, e))
		if i > 0 {
			appendText(t, path, "one\n"+long+"\ntwo\n")
		}
		p.complete(t, step.want, e.Topic)
	}
	p.stop(t, d)
	for topic, n := range map[string]int{"split": 5, "truncate": 3, "skip": 2} {
		if got := len(p.records(t, topic)); got != n {
			t.Errorf("%s: want %d records, got %d", topic, n, got)
		}
	}
}

func TestDeliveryLeavesOutTheAgentsOwnLogAndState(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	log := p.newLedger(t, "in/a.log", 100<<10)
	d := start(t, p.dir, "--daemon")
	own := filepath.Join(p.dir, daemonLog)
	p.apply(t, document(t, p.whole("**", "lines"), agent.Service{Service: "own", LogPath: own, Topic: "own", StartAt: agent.StartBeginning}))
	p.cause(t, own, agent.StateFailing, "not allowed")
	appendLines(t, 5000, log)
	conf := strings.Split(strings.TrimSpace(readFile(t, filepath.Join(p.dir, "conf", "app.cfg"))), "\n")
	p.exactly(t, d, append(written(log), conf...), "lines")
	if n := len(p.records(t, "own")); n > 0 {
		t.Errorf("%d lines of the agent's own log are sent", n)
	}
}
