package main

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
	"logagent/internal/lab"
)

// without are the lines of a file but for those that begin in what an outcome skipped.
func without(text string, o *agent.SeekOutcome) (kept, skipped []string) {
	at := int64(0)
	for line := range strings.Lines(text) {
		begins := at
		at += int64(len(line))
		line = strings.TrimSuffix(line, "\n")
		gone := slices.ContainsFunc(o.Files, func(f agent.SeekMoved) bool {
			sent := slices.ContainsFunc(f.Sent, func(r agent.SeekRange) bool { return begins >= r.Start && begins < r.End })
			return f.Result == agent.SeekWasMoved && begins >= f.From && begins < f.To && !sent
		})
		if gone {
			skipped = append(skipped, line)
		} else {
			kept = append(kept, line)
		}
	}
	return kept, skipped
}

// seek runs the verb and returns what it tells.
func (p *place) seek(t *testing.T, args ...string) seekOut {
	t.Helper()
	code, stdout, stderr := runBinary(t, p.dir, append([]string{"seek"}, append(args, "--json")...)...)
	var out seekOut
	if err := json.Unmarshal([]byte(stdout), &out); err != nil || code != exitDone {
		t.Fatalf("%q: exit %d, %v\nstdout: %s\nstderr: %s", args, code, err, stdout, stderr)
	}
	return out
}

func TestDeliveryOverASeekSkipsWhatItToldAndUndoGivesExactlyThatBack(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	path := filepath.Join(p.dir, "in", "a.log")
	log := p.newLedger(t, "in/a.log", 0)
	appendLines(t, 5000, log)
	slow := p.whole("in/*.log", "lines")
	slow.SendRate = 50 // a backlog of minutes
	d := start(t, p.dir, "--daemon")
	p.apply(t, document(t, slow))
	p.arrived(t, "lines", 20)

	planned := p.seek(t, "web-1", path, "--to", "end", "--dry-run")
	if planned.ID != "" || len(planned.Plan.Moves) != 1 || planned.Plan.SkippedBytes == 0 {
		t.Fatalf("plan: %+v", planned)
	}
	if all := p.key(t, "/logagent.seek/web-1/"+planned.ID); all != "" {
		t.Error("a dry run asked for something")
	}
	done := p.seek(t, "web-1", path, "--to", "end", "--yes", "--note", "nobody reads it")
	if done.Outcome == nil || done.Outcome.SkippedBytes == 0 || done.Outcome.RepeatedBytes != 0 {
		t.Fatalf("outcome: %+v", done.Outcome)
	}
	appendLines(t, 100, log)
	fast := slow
	fast.SendRate = 0
	p.apply(t, document(t, fast))
	kept, skipped := without(readFile(t, path), done.Outcome)
	if len(skipped) < 1000 {
		t.Fatalf("%d lines were skipped: that proves nothing", len(skipped))
	}
	if diff := p.complete(t, kept, "lines"); !diff.None() {
		t.Fatalf("after the seek: %s", diff)
	}
	s := p.acknowledged(t, len(kept))
	if s.Totals.SkippedBytes != uint64(done.Outcome.SkippedBytes) || s.Totals.LostBytes != 0 {
		t.Errorf("counted: %+v", s.Totals)
	}

	code, list, _ := runBinary(t, p.dir, "seek", "list", "web-1")
	if code != exitDone || !strings.Contains(list, done.ID) || !strings.Contains(list, "nobody reads it") || !strings.Contains(list, "done") {
		t.Errorf("list: %d %s", code, list)
	}
	var r change.Record
	if err := json.Unmarshal([]byte(p.key(t, "/logagent.history/web-1/"+done.ID)), &r); err != nil || r.Kind != change.KindSeek {
		t.Errorf("history: %+v, %v", r, err)
	}

	back := p.seek(t, "undo", "web-1", done.ID, "--yes")
	if back.Outcome == nil || back.Outcome.ReturnedBytes != done.Outcome.SkippedBytes || back.Outcome.RepeatedBytes != 0 {
		t.Fatalf("undone: %+v", back.Outcome)
	}
	appendLines(t, 100, log)
	p.exactly(t, d, written(log), "lines") // each line once
}

func TestDeliveryWithASeekThatWaitsForAKilledAgentLosesNothingElse(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	path := filepath.Join(p.dir, "in", "a.log")
	log := p.newLedger(t, "in/a.log", 0)
	appendLines(t, 5000, log)
	slow := p.whole("in/a.log", "lines")
	slow.SendRate = 50
	d := start(t, p.dir, "--daemon")
	p.apply(t, document(t, slow))
	p.arrived(t, "lines", 20)
	planned := p.seek(t, "web-1", "svc", "--to", "end", "--dry-run")
	d.kill(t)

	client, err := etcdcfg.New(etcdcfg.Options{Addrs: []string{p.etcd.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIn(t, client) })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	id, err := client.RequestSeek(ctx, "web-1", planned.Plan, change.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	appendLines(t, 500, log)
	// It dies again and again, around the move and its outcome.
	var outcome *agent.SeekOutcome
	for i := 0; outcome == nil; i++ {
		d = start(t, p.dir, "--daemon")
		if i < 4 {
			time.Sleep(time.Duration(100+60*i) * time.Millisecond) // a moment to die at; decides nothing
			d.kill(t)
			continue
		}
		r, err := client.AwaitSeek(ctx, "web-1", id)
		if err != nil {
			t.Fatal(err)
		}
		outcome = r.Outcome
	}
	if moved, refused := outcome.Moved(); moved != 1 || refused != 0 {
		t.Fatalf("outcome: %+v", outcome)
	}
	fast := slow
	fast.SendRate = 0
	p.apply(t, document(t, fast))
	kept, skipped := without(readFile(t, path), outcome)
	if len(skipped) < 1000 {
		t.Fatalf("%d lines were skipped: that proves nothing", len(skipped))
	}
	p.complete(t, kept, "lines")
	p.stop(t, d)
	// What the crashes doubled may be of any line that was sent; nothing beyond From may be.
	values := lab.Values(p.records(t, "lines"))
	if diff := lab.Compare(kept, values); len(diff.Lost)+len(diff.Foreign) > 0 {
		// Lines that were sent before a crash, and not known to be, stand in the skipped range.
		foreign := diff.Foreign
		foreign = slices.DeleteFunc(slices.Clone(foreign), func(l string) bool { return slices.Contains(skipped, l) })
		if len(diff.Lost)+len(foreign) > 0 || len(diff.Foreign) > 200 {
			t.Error(diff)
		}
	}
}

func TestSeekVerbRefusesWhatMeansNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeConfig(t, dir, "etcd_addr = 127.0.0.1:1", "kafka_addr = 127.0.0.1:1", "etcd_timeout = 500ms")
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{exitUsage, "--to is missing", []string{"web-1", "/a"}},
		{exitUsage, "none of end, beginning", []string{"web-1", "/a", "--to", "soon"}},
		{exitUsage, "none of end, beginning", []string{"web-1", "/a", "--to", "2h"}},
		{exitUsage, "an offset belongs to one file", []string{"web-1", "svc", "--to", "5"}},
		{exitUsage, "takes a host", []string{"web-1"}},
		{exitUsage, "takes a host and the id", []string{"undo", "web-1"}},
		{exitUsage, "takes one host", []string{"list"}},
		{exitUsage, "--wait", []string{"web-1", "/a", "--to", "end", "--wait", "-1s"}},
		{exitUsage, "holds a /", []string{"a/b", "/a", "--to", "end"}},
		{exitFailed, "127.0.0.1:1", []string{"web-1", "/a", "--to", "end"}},
		{exitFailed, "127.0.0.1:1", []string{"list", "web-1"}},
		{exitFailed, "127.0.0.1:1", []string{"--to", "end", "--", "list", "/a"}}, // a host of that name
		{exitFailed, "127.0.0.1:1", []string{"--to", "900", "--", "undo", "/a[1].log"}},
	} {
		code, stdout, stderr := runBinary(t, dir, append([]string{"seek"}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.says) || stdout != "" {
			t.Errorf("%q: want exit %d and %q, got %d\nstdout: %s\nstderr: %s", c.args, c.code, c.says, code, stdout, stderr)
		}
	}
}

func TestPlacesToSeekToAreRead(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 14, 0, 0, 0, time.FixedZone("x", 3600))
	for _, c := range []struct {
		to   string
		want agent.SeekGoal
	}{
		{"end", agent.SeekGoal{To: agent.SeekEnd}},
		{"beginning", agent.SeekGoal{To: agent.SeekBeginning}},
		{"0", agent.SeekGoal{To: agent.SeekOffset}},
		{"900", agent.SeekGoal{To: agent.SeekOffset, Offset: 900}},
		{"-2h", agent.SeekGoal{To: agent.SeekTime, Time: now.Add(-2 * time.Hour)}},
		{"2026-11-23T13:00:00Z", agent.SeekGoal{To: agent.SeekTime, Time: now}},
		{"2026-11-23 14:00", agent.SeekGoal{To: agent.SeekTime, Time: now}},
		{"2026-11-23 14:00:00", agent.SeekGoal{To: agent.SeekTime, Time: now}},
	} {
		got, err := parseSeekTo(c.to, now)
		if err != nil || got.To != c.want.To || got.Offset != c.want.Offset || !got.Time.Equal(c.want.Time) {
			t.Errorf("%s: want %+v, got %+v, %v", c.to, c.want, got, err)
		}
	}
}

func TestSeekReviewTellsEveryFileHarmlessly(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	p := agent.SeekPlan{Goal: agent.SeekGoal{To: agent.SeekEnd}, SkippedBytes: 900, Lines: 12, Unmoved: 2, Warnings: []string{"one\ntwo"}}
	for i, stands := range []string{agent.StandsRotated, agent.StandsActive} {
		p.Moves = append(p.Moves, agent.SeekMove{
			SeekFile: agent.SeekFile{Path: "/var/log/\x1b[2J.log", Name: "", Stands: stands}, From: int64(100 * i), To: 450, SizeBytes: 460, SeekBytes: agent.SeekBytes{SkippedBytes: 450}, Lines: 6, Note: "a\x07note",
		})
	}
	writeSeekPlan(&b, "web-1", &p)
	got := b.String()
	for _, want := range []string{"web-1: to the end", "(rotated)", "100 → 450 of 460 bytes", "skips 450 bytes, about 6 lines", "in all: 2 files, skips 900 bytes, about 12 lines", "files that stay where they are: 2", "warning: one; two", "lost to Kafka, unless it is sought back"} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
	if strings.ContainsAny(got, "\x1b\x07") {
		t.Errorf("control characters in %q", got)
	}
}

func TestSeekReviewTellsRepetitionsFromWhatWasSkippedBefore(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	n := agent.SeekBytes{RepeatedBytes: 300, ReturnedBytes: 50}
	writeSeekPlan(&b, "web-1", &agent.SeekPlan{Goal: agent.SeekGoal{To: agent.SeekBeginning}, Moves: []agent.SeekMove{{From: 350, SizeBytes: 350, SeekBytes: n, Lines: 9, LinesGuessed: true}}})
	writeSeekOutcome(&b, &agent.SeekOutcome{State: agent.SeekDone, RepeatedBytes: 300, ReturnedBytes: 50, Files: []agent.SeekMoved{{Result: agent.SeekWasMoved, From: 350, SeekBytes: n}}})
	if err := writeSeeks(&b, []etcdcfg.SeekRequest{{ID: "1", Outcome: &agent.SeekOutcome{State: agent.SeekDone, SkippedBytes: 1, RepeatedBytes: 300, ReturnedBytes: 50}}}); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	for _, want := range []string{
		"350 → 0 of 350 bytes  sends again at most 300 bytes, sends 50 bytes that were skipped, perhaps 9 lines (a guess",
		"350 → 0: sends again at most 300 bytes, sends 50 bytes that were skipped\n",
		"moved 1, refused 0: skipped 0 bytes, repeated at most 300, sent 50 that were skipped\n",
		"SKIPPED  REPEATED  RETURNED", "1        300       50",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("want %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "lost to Kafka") {
		t.Errorf("nothing is skipped:\n%s", got)
	}
}
