package ui

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"logagent/agent"
)

// groupOf puts n hosts into the group @cache, which gives them one entry, beside an own one.
func groupOf(p *person, n int) {
	redis := agent.Service{Service: "redis", LogPath: "/var/log/redis/*.log", Topic: "redis", SendRate: 300}
	own := agent.Service{Service: "own", LogPath: "/var/log/own.log", Topic: "own", SendRate: 50}
	p.store.SetGroup("@cache", agent.Document{Key: docKey("@cache"), Revision: 48001, Services: []agent.Service{redis}})
	for i := range n {
		h := fmt.Sprintf("cache-%02d", i+1)
		services := []agent.CoarseEntry{{Service: redis.Service, LogPath: redis.LogPath, State: agent.StateOK, Cause: "caught up", Key: docKey("@cache"), Sum: redis.Sum()}}
		docs := []agent.DocumentStatus{{Key: docKey(h)}, {Key: docKey("@cache"), Running: 48001}}
		if i == 0 {
			p.store.SetDocument(h, agent.Document{Key: docKey(h), Revision: 48002, Services: []agent.Service{own}})
			services = append(services, agent.CoarseEntry{Service: own.Service, LogPath: own.LogPath, State: agent.StateOK, Cause: "caught up", Sum: own.Sum()})
			docs[0].Running = 48002
		}
		p.store.SetLive(h, &agent.Live{Host: h, StateID: "s-" + h, Boot: 1, Version: "1.5.0", Started: p.clock.now(), Groups: []string{"cache"}})
		p.store.SetCoarse(h, &agent.Coarse{Host: h, StateID: "s-" + h, Boot: 1, Seq: 1, Documents: docs, Entries: services})
		p.store.SetSummary(h, agent.Summary{StateID: "s-" + h, Boot: 1, Seq: 1, AtMS: p.clock.now().UnixMilli(), Running: docs[0].Running, Files: 2}, 0)
	}
	p.wait(time.Second)
}

// at goes to one host's row.
func (p *person) goTo(host string) {
	p.t.Helper()
	p.press("/")
	p.press(host)
	p.press("enter")
	if l := p.cursor(); !strings.Contains(l, host) {
		p.t.Fatalf("want the cursor on %s, got %q", host, l)
	}
}

func TestEntriesOfAGroupSayWhereTheyComeFrom(t *testing.T) {
	t.Parallel()
	for _, width := range []int{120, 80} {
		p := sit(t, width, 24, nil)
		groupOf(p, 3)
		p.goTo("cache-01")
		p.press("+")
		p.sees("@cache  /var/log/redis/*.log")
		p.press("esc", "enter")
		p.wait(time.Second)
		p.press("g")
		for range 2 {
			l := p.cursor()
			fromGroup := strings.Contains(l, "redis")
			if width == 120 && fromGroup != strings.Contains(l, "redis @cache") {
				t.Errorf("want the group beside its service and beside no other, got %q", l)
			}
			if lines := strings.Split(p.screen(), "\n"); fromGroup != strings.Contains(lines[len(lines)-2], "from group @cache, 3 hosts") {
				t.Errorf("%d: want the group and its size in the message line of its row alone, got %q on %q", width, lines[len(lines)-2], l)
			}
			p.press("j")
		}
	}
}

func TestRateOnAGroupsEntryAsksForWhomAndTheFirstAnswerIsNobody(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	groupOf(p, 3)
	for _, key := range []string{"+", "]", "="} {
		p.goTo("cache-02") // it has that entry alone
		p.press(key)
		p.sees("redis /var/log/redis/*.log comes from the group @cache, 3 hosts", "change nothing",
			"for cache-02 only: its own entry from now on", "for the group @cache, 3 hosts", "for whom is the new send_rate?")
		p.press("enter")
		p.doesNotSee("for whom", "lines/s, now")
		p.press("esc")
	}
	p.wait(time.Second)
	if got := append(p.writer.told(), fmt.Sprint(p.writer.written())); !slices.Equal(got, []string{"[]"}) {
		t.Fatalf("want nothing written, got %q", got)
	}
}

func TestRateForTheGroupIsWrittenToItsDocumentAndFollowedOnAllHosts(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	groupOf(p, 3)
	p.goTo("cache-")
	p.press("j") // cache-02
	p.press("+", "j", "j", "enter")
	for _, h := range []string{"cache-01", "cache-02", "cache-03"} {
		if l := p.line(h, "own"[:0]); !strings.Contains(l, "↻") {
			t.Errorf("want ↻ on every host of the group, got %q", l)
		}
	}
	p.press("+") // goes on without a question
	p.wait(time.Second)
	want := []write{{"@cache", "/var/log/redis/*.log", 300, 331}}
	if got := p.writer.written(); !slices.Equal(got, want) {
		t.Fatalf("want %v, got %v", want, got)
	}
	p.sees("@cache redis", "saved rev 48301", "not applied yet")
	redis := agent.Service{Service: "redis", LogPath: "/var/log/redis/*.log", Topic: "redis", SendRate: 331}
	p.store.SetGroup("@cache", agent.Document{Key: docKey("@cache"), Revision: 48301, Services: []agent.Service{redis}})
	for i, h := range []string{"cache-01", "cache-02", "cache-03"} {
		own := int64(0)
		if i == 0 {
			own = 48002
		}
		p.store.SetCoarse(h, &agent.Coarse{Host: h, StateID: "s-" + h, Boot: 1, Seq: 2,
			Documents: []agent.DocumentStatus{{Key: docKey(h), Running: own}, {Key: docKey("@cache"), Running: 48301}},
			Entries:   []agent.CoarseEntry{{Service: "redis", LogPath: redis.LogPath, State: agent.StateOK, Key: docKey("@cache"), Sum: redis.Sum()}}})
		if i == 1 {
			p.wait(250 * time.Millisecond)
			p.sees("not applied yet", "2 of 3 hosts run it")
		}
	}
	p.wait(250 * time.Millisecond)
	p.sees("applied")
	p.doesNotSee("not applied")
}

func TestRateForOneHostGivesItAnEntryOfItsOwnAndPuttingBackTakesItAway(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	groupOf(p, 31)
	p.goTo("cache-02")
	p.press("esc", "+", "j", "enter") // no filter: esc puts back
	p.wait(200 * time.Millisecond)
	if got := p.writer.told(); len(got) != 0 {
		t.Fatalf("want nothing written before the rate stands still, got %q", got)
	}
	p.press("+")
	p.wait(time.Second)
	p.press("-")
	p.wait(time.Second)
	own := `own cache-02 /var/log/redis/*.log redis 300 → 331`
	if got := p.writer.told(); !slices.Equal(got, []string{own}) {
		t.Fatalf("want %q, got %q", own, got)
	}
	if want, got := []write{{"cache-02", "/var/log/redis/*.log", 331, 314}}, p.writer.written(); !slices.Equal(got, want) {
		t.Fatalf("want the next step to be an ordinary one %v, got %v", want, got)
	}
	if l := p.line("cache-02", "↻"); !strings.Contains(l, "314") {
		t.Errorf("want the rate to come in the row of its host, got %q", l)
	}
	if l := p.line("cache-03"); strings.Contains(l, "↻") {
		t.Errorf("want nothing on another host of the group, got %q", l)
	}
	p.press("esc")
	p.wait(time.Second)
	if got, want := p.writer.told(), []string{own, `disown cache-02 /var/log/redis/*.log redis 314`}; !slices.Equal(got, want) {
		t.Fatalf("want %q, got %q", want, got)
	}
	if ids := p.writer.tunings; len(ids) != 3 || ids[0] == "" || ids[0] != ids[1] || ids[1] != ids[2] {
		t.Errorf("want one tuning, got %q", ids)
	}
}

func TestOwnEntryIsTakenAwayAlsoWhereTheRateWasBackBeforeEsc(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	groupOf(p, 3)
	p.goTo("cache-02")
	p.press("esc", "+", "j", "enter")
	p.wait(time.Second)
	p.press("=")
	p.press("300", "enter")
	p.wait(time.Second)
	p.press("esc")
	p.wait(time.Second)
	want := []string{`own cache-02 /var/log/redis/*.log redis 300 → 315`, `disown cache-02 /var/log/redis/*.log redis 300`}
	if got := p.writer.told(); !slices.Equal(got, want) {
		t.Fatalf("want %q, got %q", want, got)
	}
}

func TestOwnEntryWhoseWriteHangsIsTakenAwayAfterIt(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	groupOf(p, 3)
	p.goTo("cache-02")
	p.writer.hold = make(chan struct{})
	p.press("esc", "+", "j", "enter")
	p.wait(300 * time.Millisecond)
	p.press("esc")
	p.release()
	p.wait(10 * time.Millisecond)
	want := []string{`own cache-02 /var/log/redis/*.log redis 300 → 315`, `disown cache-02 /var/log/redis/*.log redis 315`}
	if got := p.writer.told(); !slices.Equal(got, want) {
		t.Fatalf("want %q, got %q", want, got)
	}
}

func TestRateForAGroupOfManyHostsHasTheirCountTyped(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	groupOf(p, 31)
	p.goTo("cache-02")
	p.press("+", "j", "j", "enter")
	p.sees("31 hosts of @cache get another rate for redis; type 31:")
	p.press("enter", "y", "enter", "backspace", "3", "enter")
	p.sees("not that number")
	p.press("esc")
	p.wait(time.Second)
	if got := p.writer.written(); len(got) != 0 {
		t.Fatalf("want nothing written, got %v", got)
	}
	p.press("=", "j", "j", "enter")
	p.press("31", "enter")
	p.sees("send_rate of redis in lines/s, now 300:")
	p.press("120", "enter")
	p.wait(time.Second)
	if want, got := []write{{"@cache", "/var/log/redis/*.log", 300, 120}}, p.writer.written(); !slices.Equal(got, want) {
		t.Fatalf("want %v, got %v", want, got)
	}
}

func TestAllWritesOfATuningAreOneRecordAndTheNextTuningIsAnother(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	p.goTo("api-0007")
	p.press("esc", "+")
	p.wait(time.Second)
	p.press("+")
	p.wait(time.Second)
	p.press("esc") // puts back
	p.wait(tuneHold + time.Second)
	p.press("+")
	p.wait(time.Second)
	ids := p.writer.tunings
	if len(ids) != 4 || ids[0] == "" || ids[0] != ids[1] || ids[1] != ids[2] || ids[2] == ids[3] {
		t.Fatalf("want three writes of one tuning and one of another, got %q", ids)
	}
}
