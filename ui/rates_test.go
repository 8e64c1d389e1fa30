package ui

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"logagent/agent"
)

func TestRateIsRaisedSavedAndApplied(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	p.press("/")
	p.press("api-0007")
	p.press("enter", "esc", "+", "+")
	if l := p.cursor(); !strings.Contains(l, "6.615k") || !strings.Contains(l, "↻") {
		t.Fatalf("want the new rate and ↻ in the row at once, got %q", l)
	}
	p.sees("6.0k/s → 6.615k/s (+10 %)", "changing", "esc puts 6.0k/s back")
	p.wait(200 * time.Millisecond)
	if n := len(p.writer.written()); n != 0 {
		t.Fatalf("want nothing written while keys may still come, got %d writes", n)
	}
	p.press("+")
	p.wait(299 * time.Millisecond)
	if n := len(p.writer.written()); n != 0 {
		t.Fatalf("want the burst to end 300 ms after its last key, got %d writes", n)
	}
	p.wait(time.Millisecond)
	want := []write{{"api-0007.fra1", "/srv/api/log/api.log", 6000, 6946}}
	if got := p.writer.written(); !slices.Equal(got, want) {
		t.Fatalf("want one write %v, got %v", want, got)
	}
	p.sees("saved rev 48301", "not applied yet")
	p.store.SetDocument("api-0007.fra1", agent.Document{Key: docKey("api-0007.fra1"), Revision: 48301,
		Services: []agent.Service{{Service: "api", LogPath: "/srv/api/log/api.log", Topic: "api", SendRate: 6946}}})
	p.wait(400 * time.Millisecond)
	p.sees("saved rev 48301", "not applied yet")
	p.store.SetSummary("api-0007.fra1", agent.Summary{StateID: "s-api-0007.fra1", Boot: 3, Seq: 1001, AtMS: p.clock.now().UnixMilli(),
		Running: 48301, Files: 6, Behind: 1, In: 9900, Out: 6900, Limit: 6946, Lag: 2_900_000_000}, 0)
	p.wait(250 * time.Millisecond)
	p.sees("saved rev 48301", "applied 0.4 s")
	if l := p.cursor(); !strings.Contains(l, "✓") {
		t.Errorf("want ✓ once the host runs it, got %q", l)
	}
}

func TestEscPutsTheOldRateBack(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	p.press("/")
	p.press("api-0007")
	p.press("enter", "esc", "]", "esc")
	p.wait(time.Second)
	if n := len(p.writer.written()); n != 0 {
		t.Fatalf("want nothing written when esc comes before the burst ends, got %v", p.writer.written())
	}
	p.sees("as it was, nothing written")
	p.press("]")
	p.wait(time.Second)
	p.press("esc")
	p.wait(100 * time.Millisecond)
	want := []write{{"api-0007.fra1", "/srv/api/log/api.log", 6000, 7500}, {"api-0007.fra1", "/srv/api/log/api.log", 7500, 6000}}
	if got := p.writer.written(); !slices.Equal(got, want) {
		t.Fatalf("want the old rate written back %v, got %v", want, got)
	}
	p.sees("fleet", "all hosts")
}

func TestEscPutsNoRateBackWhereThereIsSomethingElseToGoBackFrom(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	p.press("/")
	p.press("api-0007")
	p.press("enter", "]")
	p.wait(time.Second)
	raised := []write{{"api-0007.fra1", "/srv/api/log/api.log", 6000, 7500}}
	p.doesNotSee("puts 6.0k/s back")
	p.press("esc") // the filter
	p.sees("all hosts", "puts 6.0k/s back")
	p.press("enter")
	p.sees("fleet ▸ api-0007.fra1")
	p.doesNotSee("puts 6.0k/s back")
	p.press("esc") // the page
	p.doesNotSee("fleet ▸")
	if got := p.writer.written(); !slices.Equal(got, raised) {
		t.Fatalf("want the raised rate left alone, got %v", got)
	}
	p.sees("puts 6.0k/s back")
	p.press("?", "esc") // the help
	p.press("enter", "+")
	p.wait(time.Second)
	p.press("1") // the page that the tuning is on now
	p.doesNotSee("back  ")
	p.press("esc")
	p.wait(time.Second)
	if got := p.writer.written(); len(got) != 2 {
		t.Fatalf("want two raises and nothing put back, got %v", got)
	}
}

func TestEscWhileTheWriteHangsIsWrittenAfterIt(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	p.press("/")
	p.press("api-0007")
	p.press("enter", "esc")
	p.writer.hold = make(chan struct{})
	p.press("+")
	p.wait(300 * time.Millisecond)
	p.sees("saving")
	p.press("esc")
	p.release()
	p.wait(10 * time.Millisecond)
	want := []write{{"api-0007.fra1", "/srv/api/log/api.log", 6000, 6300}, {"api-0007.fra1", "/srv/api/log/api.log", 6300, 6000}}
	if got := p.writer.written(); !slices.Equal(got, want) {
		t.Fatalf("want %v, got %v", want, got)
	}
}

func TestWriteThatFailsSaysWhyAndTheNextKeyBeginsAnew(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	p.press("/")
	p.press("api-0007")
	p.press("enter")
	p.writer.err = errors.New("entry 1: send_rate: too much\nentry 2: bad")
	p.press("+")
	p.wait(time.Second)
	p.sees("not saved: entry 1: send_rate: too much; entry 2: bad")
	p.writer.err = nil
	p.press("-")
	p.wait(time.Second)
	want := []write{{"api-0007.fra1", "/srv/api/log/api.log", 6000, 6300}, {"api-0007.fra1", "/srv/api/log/api.log", 6000, 5700}}
	if got := p.writer.written(); !slices.Equal(got, want) {
		t.Fatalf("want %v, got %v", want, got)
	}
}

func TestRefusedByTheAgentIsSaid(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	p.press("/")
	p.press("api-0007")
	p.press("enter", "+")
	p.wait(time.Second)
	p.store.SetCoarse("api-0007.fra1", &agent.Coarse{Host: "api-0007.fra1", StateID: "s-api-0007.fra1", Boot: 3, Seq: 1002,
		Documents: []agent.DocumentStatus{{Key: docKey("api-0007.fra1"), Running: 48208, Refused: &agent.Refusal{Revision: 48301, Error: "entry 1: no"}}}})
	p.wait(time.Second)
	p.sees("refused: entry 1: no")
}

func TestSeveralEntriesAskWhichOne(t *testing.T) {
	t.Parallel()
	p := sit(t, 80, 24, nil)
	p.press("j", "+")
	p.sees("send_rate of which entry of web-0187.fra1?", "nginx", "audit", "batch", "no limit")
	p.press("j", "j", "enter")
	p.press("+")
	p.wait(time.Second)
	want := []write{{"web-0187.fra1", "/var/log/old/batch.log", 1000, 1103}}
	if got := p.writer.written(); !slices.Equal(got, want) {
		t.Fatalf("want %v (the second + on the same entry without asking), got %v", want, got)
	}
	p.wait(tuneHold)
	p.press("+", "esc")
	p.doesNotSee("which entry")
	if n := len(p.writer.written()); n != 1 {
		t.Fatalf("want nothing written when the list is left with esc, got %v", p.writer.written())
	}
}

func TestEntryWithoutLimitAsksForAValue(t *testing.T) {
	t.Parallel()
	p := sit(t, 80, 24, nil)
	p.press("j", "-", "j", "enter")
	p.sees("send_rate of audit in lines/s, now none:")
	p.press("0.2", "enter")
	p.sees("at least 1")
	p.press("backspace", "backspace", "backspace")
	p.press("8.5k", "enter")
	p.wait(10 * time.Millisecond)
	want := []write{{"web-0187.fra1", "/var/log/app/audit.log", 0, 8500}}
	if got := p.writer.written(); !slices.Equal(got, want) {
		t.Fatalf("want the typed value written at once %v, got %v", want, got)
	}
}

func TestNoLimitComesOnlyAfterAQuestionAndDefaultsToNo(t *testing.T) {
	t.Parallel()
	p := sit(t, 80, 24, nil)
	p.press("/")
	p.press("api-0007")
	p.press("enter", "=")
	p.press("none", "enter")
	p.sees("No limit for api", "y/N")
	p.press("enter")
	p.wait(time.Second)
	if n := len(p.writer.written()); n != 0 {
		t.Fatalf("want no write after enter, got %v", p.writer.written())
	}
	p.press("=")
	p.press("none", "enter", "y")
	p.wait(time.Second)
	want := []write{{"api-0007.fra1", "/srv/api/log/api.log", 6000, 0}}
	if got := p.writer.written(); !slices.Equal(got, want) {
		t.Fatalf("want %v, got %v", want, got)
	}
}

func TestRateNeverFallsBelowOne(t *testing.T) {
	t.Parallel()
	p := sit(t, 80, 24, nil)
	p.press("/")
	p.press("api-0007")
	p.press("enter", "=")
	p.press("2", "enter")
	p.wait(10 * time.Millisecond)
	p.press("-", "-", "-", "-")
	p.wait(time.Second)
	got := p.writer.written()
	if last := got[len(got)-1]; last.to != 1 {
		t.Fatalf("want 1 as the floor, got %v", got)
	}
}

func TestReadOnlyWritesNothingAndSaysWhy(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, func(o *Options) { o.Writer = nil })
	p.sees("RO prod")
	for _, k := range []string{"+", "-", "]", "[", "="} {
		p.press(k)
		p.sees("read-only: started with --read-only")
		p.doesNotSee("which entry")
	}
	p.press("?")
	p.sees("(off: read-only: started with --read-only)")
}

func TestOrderStandsStillWhileARateIsTuned(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	p.press("j", "j") // web-0042, below web-0187
	if !strings.Contains(p.cursor(), "web-0042.fra2") {
		t.Fatalf("want web-0042, got %q", p.cursor())
	}
	p.press("+", "enter")
	p.store.SetSummary("web-0042.fra2", agent.Summary{StateID: "s-web-0042.fra2", Boot: 3, Seq: 1001, AtMS: p.clock.now().UnixMilli(),
		Running: 48100, Files: 12, Behind: 1, In: 20, Out: 10, Lag: 90_000_000_000}, 0)
	p.wait(time.Second)
	rows := strings.Split(p.screen(), "\n")
	at := func() int {
		rows = strings.Split(p.screen(), "\n")
		return slices.IndexFunc(rows, func(l string) bool { return strings.Contains(l, "web-0042") && strings.Contains(l, "GB") })
	}
	before := at()
	p.wait(tuneHold + time.Second)
	if after := at(); after != before-1 || !strings.Contains(rows[after], "▌") {
		t.Fatalf("want the row to stand at %d while tuned and to move up one with its cursor after, got %d", before, after)
	}
}

func TestRateOnTheHostPageIsAppliedByTheAgentsOwnWord(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	p.press("j", "enter")
	p.store.SetDetail(webDetail(p.clock.now(), 1001, 48209, 5000), 0)
	p.wait(time.Second)
	p.press("g", "j", "]", "]")
	p.wait(300 * time.Millisecond)
	if l := p.cursor(); !strings.Contains(l, "◐↻") || !strings.Contains(l, "7.813k") {
		t.Fatalf("want ↻ and the wanted rate in the row, got %q", l)
	}
	p.store.SetDetail(webDetail(p.clock.now(), 1002, 48301, 7813), 0)
	p.wait(250 * time.Millisecond)
	p.sees("saved rev 48301  applied 0.0 s")
}

func TestWriteWithoutAnswerIsSaidToBeUncertain(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, func(o *Options) { o.WriteTimeout = 10 * time.Millisecond })
	p.press("/")
	p.press("api-0007")
	p.press("enter")
	p.writer.hold = make(chan struct{})
	p.press("+")
	p.wait(300 * time.Millisecond)
	p.late() // the write's own deadline ends it
	p.sees("not saved: no answer in time; it may have been written all the same")
}

func TestKeysDuringAWriteAreWrittenAfterIt(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	p.press("/")
	p.press("api-0007")
	p.press("enter")
	p.writer.hold = make(chan struct{})
	p.press("+")
	p.wait(300 * time.Millisecond)
	p.press("+", "+")
	p.wait(300 * time.Millisecond)
	if n := len(p.writer.written()); n != 1 {
		t.Fatalf("want one write at a time, got %v", p.writer.written())
	}
	p.release()
	want := []write{{"api-0007.fra1", "/srv/api/log/api.log", 6000, 6300}, {"api-0007.fra1", "/srv/api/log/api.log", 6300, 6946}}
	if got := p.writer.written(); !slices.Equal(got, want) {
		t.Fatalf("want %v, got %v", want, got)
	}
	p.sees("saved rev 48302")
}

func TestTuningTwoHostsWritesBoth(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	p.press("/")
	p.press("service=postgres")
	p.press("enter", "+", "j", "-")
	p.wait(time.Second)
	want := []write{{"db-0001.fra2", "/var/log/postgresql/postgresql.log", 2000, 2100}, {"db-0002.fra1", "/var/log/postgresql/postgresql.log", 2000, 1900}}
	if got := p.writer.written(); !slices.Equal(got, want) {
		t.Fatalf("want %v, got %v", want, got)
	}
}
