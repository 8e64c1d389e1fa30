package ui

import (
	"strings"
	"testing"
	"time"

	"logagent/agent"
)

func TestDriftIsSaidOnTheFleetAndMarkedOnTheHost(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	groupOf(p, 3)
	redis := agent.Service{Service: "redis", LogPath: "/var/log/redis/*.log", Topic: "redis", SendRate: 400}
	p.store.SetGroup("@cache", agent.Document{Key: docKey("@cache"), Revision: 48215, Services: []agent.Service{redis}})
	p.store.SetCoarse("cache-01", &agent.Coarse{Host: "cache-01", StateID: "s-cache-01", Boot: 1, Seq: 2,
		Documents: []agent.DocumentStatus{{Key: docKey("cache-01"), Running: 48002},
			{Key: docKey("@cache"), Running: 48001, Refused: &agent.Refusal{Revision: 48215, Error: "entry 1: no"}}},
		Entries: []agent.CoarseEntry{{Service: "redis", LogPath: redis.LogPath, State: agent.StateOK, Key: docKey("@cache"), Sum: "00000000"},
			{Service: "own", LogPath: "/var/log/own.log", State: agent.StateOK, Sum: (&agent.Service{Service: "own", LogPath: "/var/log/own.log", Topic: "own", SendRate: 50}).Sum()}}})
	p.wait(time.Second)
	p.goTo("cache-01")
	p.sees("cache-01 1 of 2 entries not as wanted: redis; @cache desired 48215, running 48001, refused 48215: entry 1: no")
	if l := p.cursor(); !strings.Contains(l, "✕") {
		t.Errorf("want ✕ under CFG, got %q", l)
	}
	p.press("enter")
	p.wait(time.Second)
	p.sees("config @cache desired 48215, running 48001, refused 48215 ✕")
	if l := p.line("redis @cache"); !strings.Contains(l, "○✕") && !strings.Contains(l, "●✕") {
		t.Errorf("want the row of the refused entry marked, got %q", l)
	}
	if l := p.line("/var/log/own.log", "own "); strings.Contains(l, "✕") {
		t.Errorf("want no mark on the other, got %q", l)
	}
	p.resize(80, 24)
	p.sees("48001 runs ✕")
	p.press("esc")
	p.sees("rev 48215 of @cache refused: entry 1: no") // the reason first where not all has room
}

// longGone makes web-0200 a host whose agent went away three days ago, as its key and its last
// report tell.
func longGone(p *person) {
	const host = "web-0200.fra2"
	p.store.SetSummary(host, agent.Summary{StateID: "s-" + host, Boot: 3, Seq: 1001, Running: 48101, Files: 9, In: 8100, Out: 8000, Limit: 5000, Lag: 40_000}, 75*time.Hour)
	p.store.SetLive(host, nil)
	p.store.SetSeen(host, 91*time.Hour, 168*time.Hour)
}

func TestHostThatIsGoneForLongIsSaidToBeAndHowToForgetIt(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	longGone(p)
	p.wait(time.Second)
	p.goTo("web-0200")
	if l := p.cursor(); !strings.Contains(l, "gone ≥ 3d3h") {
		t.Errorf("want how long it is gone at least, got %q", l)
	}
	p.sees("no agent for at least 3 d; logagent hosts forget web-0200.fra2 takes it off")
	for width, want := range map[int]string{16: "gone ≥ 3d3h", 10: "gone ≥3d", 8: "gone ≥3d", 4: "≥3d"} {
		if got := goneWords(75*time.Hour, width); got != want {
			t.Errorf("%d cells: want %q, got %q", width, want, got)
		}
	}
}
