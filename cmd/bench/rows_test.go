package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"logagent/agent"
)

func TestAFigureIsJudgedByItsMedian(t *testing.T) {
	t.Parallel()
	three := func(a *aim) *figure {
		f := measured("x", megabytes, 90, a).and(measured("x", megabytes, 300, a)).and(measured("x", megabytes, 100, a))
		return &f
	}
	for _, c := range []struct {
		aim  *aim
		want string
	}{{nil, ""}, {atMost(100), "met"}, {atMost(99), "NOT MET"}, {atLeast(100), "met"}, {atLeast(101), "NOT MET"}} {
		f := three(c.aim)
		if f.Median != 100 || f.verdict() != c.want {
			t.Errorf("the median %v of %v against %v is %q, want %q", f.Median, f.Values, c.aim, f.verdict(), c.want)
		}
	}
	if got := three(nil).runsText(); got != "90–300" {
		t.Errorf("the runs are %q", got)
	}
	if f := measured("x", cpuPerM, 1/zero(), nil); f.Median != 0 {
		t.Errorf("what was divided by nothing is %v, which no JSON can hold", f.Median)
	}
}

func zero() float64 { return 0 }

func TestEveryRowHasANameAnExplanationAndAFewAimsOfTheirOwn(t *testing.T) {
	t.Parallel()
	for name, s := range scales {
		seen := make(map[string]bool)
		for _, r := range allRows(s) {
			if r.name == "" || r.what == "" || r.run == nil || seen[r.name] {
				t.Errorf("scale %s: row %q is not whole or there twice", name, r.name)
			}
			seen[r.name] = true
		}
		if s.Name != name || len(seen) < 14 {
			t.Errorf("scale %s calls itself %s and has %d rows", name, s.Name, len(seen))
		}
	}
}

func TestTheMostMemoryIsThatOfRowsWithoutAnAimOfTheirOwn(t *testing.T) {
	t.Parallel()
	peak := func(name string, mb int64) result {
		return result{Name: name, Figures: []figure{measured("rate", linesPerSec, 1e9, nil), peakFigure(mb * 1e6)}}
	}
	dead := result{Name: "dead", Figures: []figure{measured(deadPeakName, megabytes, 500, nil)}}
	top, ok := mostMemory([]result{peak("a", 80), dead, peak("b", 120), peak("c", 90)})
	if !ok || !strings.Contains(top.Figures[0].Name, "(b)") || top.Figures[0].Median != 120 || top.Figures[0].verdict() != "NOT MET" {
		t.Errorf("the most memory is %+v", top)
	}
	if _, ok := mostMemory([]result{dead}); ok {
		t.Error("a row with an aim of its own counts")
	}
}

func TestARowThatFailsSaysWhyAndEndsItsRuns(t *testing.T) {
	t.Parallel()
	runs := 0
	r := (&bench{}).measureRow(t.Context(), row{name: "x", again: true, run: func(context.Context, *bench) (outcome, error) {
		if runs++; runs == 2 {
			return outcome{}, errors.New("a line was lost")
		}
		return outcome{figures: []figure{measured("rate", linesPerSec, 1, nil)}}, nil
	}}, 3)
	if runs != 2 || !strings.Contains(r.Failed, "run 2: a line was lost") || len(r.Figures[0].Values) != 1 {
		t.Errorf("after %d runs: %+v", runs, r)
	}
	var out bytes.Buffer
	if printResult(&out, &r); !strings.Contains(out.String(), "FAILED") {
		t.Errorf("nobody is told:\n%s", &out)
	}
	r = (&bench{}).measureRow(t.Context(), row{
		run:   func(context.Context, *bench) (outcome, error) { return outcome{}, nil },
		proof: func(context.Context, *bench) error { return errors.New("not the same") },
	}, 1)
	if !strings.Contains(r.Failed, "proof: not the same") {
		t.Errorf("a proof that fails is told as %q", r.Failed)
	}
}

func TestTheTreesGlobsMatchEveryFileOnce(t *testing.T) {
	t.Parallel()
	tr := tree{dir: t.TempDir(), files: 1234}
	w, err := tr.fill(3)
	if err != nil {
		t.Fatal(err)
	}
	matched := make(map[string]int)
	for _, e := range tr.entries() {
		files, err := filepath.Glob(e.LogPath)
		if err != nil {
			t.Fatal(err)
		}
		if len(files) < tr.files/treeGlobs {
			t.Errorf("%s matches %d files of %d", e.LogPath, len(files), tr.files)
		}
		for _, f := range files {
			matched[f]++
		}
	}
	folders := make(map[string]int)
	for i := range tr.files {
		folders[tr.folder(i)]++
	}
	if len(folders) != treeGlobs*treeFolders {
		t.Errorf("%d folders, want %d", len(folders), treeGlobs*treeFolders)
	}
	for folder, n := range folders {
		if n != 12 && n != 13 {
			t.Errorf("%s has %d of 1234 files", folder, n)
		}
	}
	var s summer
	var size int64
	for i := range tr.files {
		if matched[tr.path(i)] != 1 {
			t.Errorf("file %d is matched %d times", i, matched[tr.path(i)])
		}
		text, err := os.ReadFile(tr.path(i))
		if err != nil {
			t.Fatal(err)
		}
		size += int64(len(text))
		_, _ = s.Write(text)
	}
	if len(matched) != tr.files || w.Lines != s.lines || w.Sum != s.sum || w.Bytes != size || w.Lines != int64(3*tr.files) {
		t.Errorf("%d files; told of %+v, there are %d lines, %d bytes", len(matched), w, s.lines, size)
	}
}

func TestTheWriterWritesWhatItTellsEachLineAtItsTime(t *testing.T) {
	t.Parallel()
	tr := tree{dir: t.TempDir(), files: 7}
	if _, err := tr.fill(0); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	start := time.Now()
	err := writerMain(t.Context(), []string{"-dir", tr.dir, "-files", "7", "-rate", "500", "-for", "400ms", "-size", "100"}, &out)
	took := time.Since(start)
	if err != nil {
		t.Fatal(err)
	}
	var w written
	if err := json.Unmarshal(out.Bytes(), &w); err != nil {
		t.Fatal(err)
	}
	var s summer
	var first, last int64
	for i := range tr.files {
		text, err := os.ReadFile(tr.path(i))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = s.Write(text)
		lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
		if len(lines) != 200/7 && len(lines) != 200/7+1 {
			t.Errorf("file %d has %d lines of 200", i, len(lines))
		}
		for _, line := range lines {
			nano, ok := stampOf(line)
			if !ok || len(line) != 99 {
				t.Fatalf("line %q", line)
			}
			if first == 0 || nano < first {
				first = nano
			}
			last = max(last, nano)
		}
	}
	if w.Lines != 200 || s.lines != 200 || w.Sum != s.sum || w.Bytes != 200*100 || w.Jitter.n != 200 {
		t.Errorf("told of %d lines, %d bytes; there are %d", w.Lines, w.Bytes, s.lines)
	}
	// 199 pauses of 2 ms: it may be late, and is never early by more than the first was late.
	if span := time.Duration(last - first); took < 398*time.Millisecond || span < 398*time.Millisecond-w.Jitter.max {
		t.Errorf("200 lines at 500 a second took %v, with the stamps over %v", took, span)
	}
	if err := writerMain(t.Context(), []string{"-size", "30"}, &out); err == nil {
		t.Error("lines without room for their time are no error")
	}
}

func TestTheLogsLinesAreSplitOverTheFilesAndTopics(t *testing.T) {
	t.Parallel()
	b, err := newBench(t.Context(), settings{lines: 1003, dir: t.TempDir(), binary: "none"})
	if err != nil {
		t.Fatal(err)
	}
	var s summer
	topics := make(map[string]bool)
	for range 2 { // the second time finds the files
		s = summer{}
		entries, err := b.split()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			files, err := filepath.Glob(e.LogPath)
			if err != nil || len(files) != manyFiles/manyTopics {
				t.Errorf("%s matches %d files, %v", e.LogPath, len(files), err)
			}
			for _, f := range files {
				text, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				if n := bytes.Count(text, []byte("\n")); n != 10 && n != 11 {
					t.Errorf("%s has %d of 1003 lines", f, n)
				}
				_, _ = s.Write(text)
			}
			topics[e.Topic] = true
		}
	}
	if s.lines != 1003 || s.sum != b.sum || len(topics) != manyTopics {
		t.Errorf("%d lines in %d topics, sum %d, want %d", s.lines, len(topics), s.sum, b.sum)
	}
	w, err := b.writeBacklog(filepath.Join(t.TempDir(), "long"), 3*b.size-1)
	if err != nil {
		t.Fatal(err)
	}
	if w.Lines != 3*1003 || w.Bytes != 3*b.size || w.Sum != 3*b.sum {
		t.Errorf("three times the log is told as %+v", w)
	}
	b.entries = []agent.Service{{Topic: "a"}, {Topic: "b"}}
	if got := strings.Join(b.topics(), " "); got != "a b" {
		t.Errorf("the topics are %q", got)
	}
}

func TestProcessorTimeOfAProcessGrowsWithItsWork(t *testing.T) {
	t.Parallel()
	w, err := beginWatch(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	block := make([]byte, 1<<20)
	for {
		lineSum(block) // work
		u, err := w.end()
		if err != nil {
			t.Fatal(err)
		}
		if u.cpu[0] > 5*time.Millisecond {
			if u.percent(0) <= 0 || u.wall <= 0 || u.other < 0 || u.steal < 0 {
				t.Errorf("the usage is %+v", u)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("20 s of work are %v", u.cpu[0])
		}
	}
}

// The clock is the scheduler's: the others that a process has count user time alone, or in
// ticks.
func TestProcessorTimeIsThatOfUserAndSystemTogether(t *testing.T) {
	t.Parallel()
	before := ownUsage(t)
	got, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	after := ownUsage(t)
	const ofRounding = 10 * time.Millisecond // getrusage scales ticks to the scheduler's sum
	if got < before-ofRounding || got > after+ofRounding {
		t.Errorf("the clock says %v, getrusage %v before and %v after", got, before, after)
	}
	if got%tick == 0 {
		t.Errorf("%v is counted in ticks", got)
	}
}

// ownUsage is user and system time of this process as getrusage tells it.
func ownUsage(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestProcessorTimeOfNoProcessIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := cpuTime(1 << 28); err == nil {
		t.Error("a process that there is not has used nothing, which is no error")
	}
}

func TestTheMachinesTimeIsReadAsTheKernelWritesIt(t *testing.T) {
	t.Parallel()
	m, err := parseMachineTime([]byte("cpu  100 20 30 4000 50 6 7 80 9 1\ncpu0 1 1 1 1\n"))
	if want := (machineTime{busy: 1630 * time.Millisecond, steal: 800 * time.Millisecond}); err != nil || m != want {
		t.Errorf("it is %+v, %v, want %+v", m, err, want)
	}
	for _, text := range []string{"", "cpu 1 2 3", "cpux 1 2 3 4 5 6 7 8", "cpu 1 2 3 4 5 6 7 x"} {
		if _, err := parseMachineTime([]byte(text)); err == nil {
			t.Errorf("%q is no error", text)
		}
	}
	if _, err := readMachineTime(); err != nil {
		t.Error(err)
	}
}

func TestTheReportHoldsEveryRowItsAimsAndNothingOfTheMachinesName(t *testing.T) {
	t.Parallel()
	var h histogram
	h.add(3 * time.Millisecond)
	m, err := thisMachine()
	if err != nil {
		t.Fatal(err)
	}
	if m.Cores < 1 || m.CPU == "" || m.Memory == "" || !regexp.MustCompile(`^Linux [0-9.]+$`).MatchString(m.Kernel) {
		t.Errorf("the machine is %+v", m)
	}
	set, err := parseSettings(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := report{Machine: m, Date: "1 March 2026", Scale: scales["full"], Peers: "| sender |", INI: iniText(&set, "e:1", "k:2", "."), Rows: []result{
		{Name: "backlog", What: "A file.", Figures: []figure{measured("rate", linesPerSec, 2e6, atLeast(1.6e6)), measured("CPU", cpuPerM, 0.9, atMost(0.7))}, Other: 0.123},
		{Name: "live", What: "Lines.", Figures: []figure{measured("write to ack, p50", millis, 3, atMost(6))}, Latency: &h},
	}}
	var out bytes.Buffer
	if err := r.write(&out); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	for _, want := range []string{
		"| **backlog** | rate | 2.00 M lines/s | ≥ 1.60 M | met |", "|  | CPU | 0.90 CPU s / M lines | ≤ 0.70 | **not met** |",
		"| **live** | write to ack, p50 |", "| backlog | 12.3 % | 0.0 % |", "- **live**: Lines.", "< ", "100.00 %",
		"kafka_compression = none", "headers = host,service,path", "| sender |", "1 March 2026", "make BENCHMARKS.md",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %q", want)
		}
	}
	if strings.Contains(page, "Notes") {
		t.Error("the page has notes where there are none")
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if len(host) > 4 && strings.Contains(page, host) || strings.Contains(page, os.TempDir()) {
		t.Error("the page names the machine or a path of it")
	}
	r.Notes = "zstd is slow because."
	out.Reset()
	if err := r.write(&out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "## Notes\n\nzstd is slow because.\n") {
		t.Error("the notes are not on the page")
	}
}

func TestNotesAreThereOrNot(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notes.md")
	if text, err := readNotes(path); text != "" || err != nil {
		t.Errorf("notes that there are not: %q, %v", text, err)
	}
	if err := os.WriteFile(path, []byte("\nwhy\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if text, err := readNotes(path); text != "why" || err != nil {
		t.Errorf("notes: %q, %v", text, err)
	}
}
