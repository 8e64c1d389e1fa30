package ui

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"

	"logagent/agent"
	"logagent/ui/store"
)

func TestWorstHostStandsOnTopWithItsReason(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	if !strings.Contains(p.cursor(), "mail-0001.ber1") {
		t.Fatalf("want the cursor on the failing host, got %q", p.cursor())
	}
	p.sees("config rev 48205 refused", `topic: "mail log"`, "31 hosts", "RW prod", "rev 48213")
	p.press("j")
	if l := p.cursor(); !strings.Contains(l, "web-0187.fra1") || !strings.Contains(l, "8.41 GB") || !strings.Contains(l, "never") {
		t.Fatalf("want the host with the greatest lag next, got %q", l)
	}
	if l := p.line("web-0042.fra2"); !strings.Contains(l, "≥3m44s") {
		t.Errorf("want ≥ where the time behind is at least that, got %q", l)
	}
	if l := p.line("web-0200.fra2"); !strings.Contains(l, "stale 4m12s") || !strings.Contains(l, "○") {
		t.Errorf("want a silent host shown as stale, got %q", l)
	}
	if l := p.line("new-0001.fra1"); !strings.Contains(l, "no agent") {
		t.Errorf("want a host with only a document, got %q", l)
	}
	p.press("/")
	p.press("web-0188")
	if l := p.line("web-0188.fra1", "●"); !strings.Contains(l, "(here)") {
		t.Errorf("want the own host marked, got %q", l)
	}
}

func TestFilterActsWhileTypedAndNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	p.press("/")
	p.press("service=postgres !db-000")
	p.sees("15 of 31")
	p.press(" lag>")
	p.sees("a value is missing", "15 of 31")
	p.press("enter")
	p.sees("a value is missing") // cannot be accepted
	p.press("esc")
	p.sees("all hosts")
	p.press("*")
	p.sees("only problems", "6 of 31")
	p.press("/")
	p.press("nosuchhost")
	p.sees("no host matches")
	p.press("esc", "esc")
	p.sees("all hosts")
}

func TestPastedTextIsNeverAKey(t *testing.T) {
	t.Parallel()
	p := sit(t, 80, 24, nil)
	p.send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("q+++"), Paste: true})
	if p.quit || len(p.app.rates.list) > 0 {
		t.Fatal("want a paste on a list to do nothing")
	}
	p.press("/")
	p.send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("api-0007"), Paste: true})
	p.sees("1 of 31")
}

func TestHostShowsWhatIsWantedUntilDetailComes(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	p.press("j", "enter")
	if p.watching != "web-0187.fra1" {
		t.Fatalf("want the open host watched, got %q", p.watching)
	}
	p.wait(3 * time.Second)
	p.sees("/var/log/nginx/access.log", "/var/log/old/batch.log", "waiting for detail 3 s")
	p.store.SetDetail(webDetail(p.clock.now(), 1001, 48209, 5000), 0)
	p.wait(time.Second)
	p.doesNotSee("waiting for detail")
	p.sees("unreadable (permission denied)", "limited by send_rate", "caught up", "agent 1.4.0 up 12d3h", "kafka ack 4 ms", "config rev 48209 ✓")
	p.press("g", "j")
	p.sees("committed 118,402,551,040 of 126,885,001,216", "topic nginx-access", "in  18.2k/s", "out 5.0k/s", "limit 5.0k/s", "10 min ago")
	p.press("esc")
	p.late() // ends the watch
	if got := <-p.watch.ended; got != "web-0187.fra1" {
		t.Fatalf("want the watch of the left host ended, got %q", got)
	}
	p.sees("31 hosts")
	if !strings.Contains(p.cursor(), "web-0187.fra1") {
		t.Errorf("want the cursor where it was, got %q", p.cursor())
	}
}

func TestHostWithoutAnAgentWaitsForNothing(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	for _, host := range []string{"new-0001", "web-0200"} { // none ever, and one that is gone
		p.store.SetLive("web-0200.fra2", nil)
		p.press("/")
		p.press(host)
		p.press("enter", "enter")
		p.wait(3 * time.Second)
		p.sees("/var/log/nginx/access.log", "no agent is running")
		p.doesNotSee("waiting for detail")
		p.press("esc", "esc")
	}
}

func TestReadOnlyOffersNoRateKeys(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, func(o *Options) { o.Writer = nil })
	for range 2 { // the fleet, then a host
		lines := p.app.lines()
		footer := ansi.Strip(lines[len(lines)-1])
		for _, key := range []string{"+/-", "]/[", "= type"} {
			if strings.Contains(footer, key) {
				t.Errorf("want no %s offered, got %q", key, footer)
			}
		}
		if !strings.Contains(footer, "/ filter") {
			t.Errorf("want the other keys offered, got %q", footer)
		}
		p.press("enter")
	}
}

func TestLostEtcdAndKafkaAreSaidAndTheLastKnownStays(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	p.press("j")
	p.store.SetEtcd(agent.LinkStatus{Error: "context deadline exceeded", Since: p.clock.now()})
	p.wait(12 * time.Second)
	p.sees("etcd ✕ 12 s", "etcd away, what was last known stays: context deadline exceeded", "web-0187.fra1")
	p.store.SetKafka(agent.LinkStatus{Error: "no broker answers", Since: p.clock.now()})
	p.wait(3 * time.Second)
	p.sees("etcd ✕ 15 s", "kafka ✕ 3 s", "stale 16 s", "in ?", "out ?", "lag ~16.4 GB")
	p.doesNotSee("draining", "growing")
	p.store.SetEtcd(agent.LinkStatus{Up: true, Since: p.clock.now()})
	p.wait(time.Second)
	p.sees("etcd ●")
}

func TestBeforeAnythingArrivedItSaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, func(o *Options) { o.Store = store.New(store.Options{Now: o.Now}) })
	p.sees("waiting for etcd at 127.0.0.1:2379 and Kafka at 127.0.0.1:9092", "etcd ○", "kafka ○", "0 hosts")
	p.store.SetEtcd(agent.LinkStatus{Error: "connection refused", Since: p.clock.now()})
	p.wait(time.Second)
	p.sees("waiting for etcd at 127.0.0.1:2379: connection refused")
	p.press("j", "G", "+", "enter", "y", "s", "*") // nothing to act on, nothing happens
}

func TestQuitAsksOnlyWhereSomethingStops(t *testing.T) {
	t.Parallel()
	p := sit(t, 80, 24, nil)
	p.press("q")
	if !p.quit {
		t.Fatal("want q to quit")
	}
	p = sit(t, 80, 24, func(o *Options) { o.AgentInside = true })
	p.press("q")
	p.sees("The agent of this host runs inside this console", "y/N")
	p.press("enter")
	if p.quit {
		t.Fatal("want enter to be no")
	}
	p.press("ctrl+c", "ctrl+c")
	if !p.quit {
		t.Fatal("want the second ctrl-c to quit at once")
	}
	p = sit(t, 80, 24, nil)
	p.press("/")
	p.press("api-0007")
	p.press("enter", "+", "q")
	p.sees("A rate is not written yet")
}

func TestKeysTypedAtOnceAreSingleKeys(t *testing.T) {
	t.Parallel()
	p := sit(t, 80, 24, nil)
	p.press("jjjk") // one message, as a fast typist over SSH sends it
	if l := p.cursor(); !strings.Contains(l, "web-0042.fra2") {
		t.Fatalf("want the third row, got %q", l)
	}
	p.press("/api-0007") // the slash opens the field, the rest is its text
	p.sees("1 of 31")
}

func TestCursorFollowsItsHostThroughAChangingOrder(t *testing.T) {
	t.Parallel()
	p := sit(t, 80, 24, nil)
	p.press("G")
	host := strings.Fields(strings.TrimPrefix(p.cursor(), "▌● "))[0]
	p.press("s", "s", "s")
	if l := p.cursor(); !strings.Contains(l, host) {
		t.Fatalf("want the cursor to stay on %s, got %q", host, l)
	}
	p.press("S")
	if l := p.cursor(); !strings.Contains(l, host) {
		t.Fatalf("want the cursor to stay on %s, got %q", host, l)
	}
	p.sees("▲")
}

func TestFrozenScreenStandsStillAndSaysSo(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	p.press("z")
	p.store.SetDocument("aaa-new", agent.Document{Key: docKey("aaa-new"), Revision: 5})
	p.wait(7 * time.Second)
	p.sees("frozen 7 s", "31 hosts")
	p.press("z")
	p.sees("32 hosts")
}

func TestCopyGoesByOSC52OnOneFrame(t *testing.T) {
	t.Parallel()
	p := sit(t, 80, 24, nil)
	p.press("j", "y")
	if v := p.app.View(); !strings.Contains(v, "\x1b]52;c;d2ViLTAxODcuZnJhMQ==") {
		t.Fatalf("want the host name as OSC 52 in the frame, got %q", v[len(v)-80:])
	}
	p.sees("copied: web-0187.fra1")
	p.wait(time.Second)
	if strings.Contains(p.app.View(), "\x1b]52") {
		t.Fatal("want the sequence gone after a moment")
	}
}

func TestHostileNamesDoNothingToTheTerminal(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	evil := "\x1b[2Jevil\u202e\x9b31m日本\xff"
	p.store.SetDocument(evil, agent.Document{Key: docKey(evil), Revision: 9, Services: []agent.Service{
		{Service: evil, LogPath: "/" + evil, Topic: evil, SendRate: 5}}, Refused: &agent.Refusal{Revision: 10, Error: evil + "\r\n\x07" + evil}})
	p.wait(time.Second)
	p.press("/")
	p.press("evil")
	p.press("enter")
	noControls := func() {
		t.Helper()
		for _, r := range p.app.View() {
			if r != '\n' && (r < 0x20 || r >= 0x7f && r < 0xa0 || r == '\u202e') {
				t.Fatalf("%U reached the terminal:\n%s", r, p.app.View())
			}
		}
	}
	noControls()
	p.sees("␛[2Jevil")
	p.press("+")
	noControls()
	p.wait(time.Second)
	p.press("enter")
	p.wait(time.Second)
	noControls()
	p.press("esc", "esc", "esc", "esc")
}

func TestScreenIsSavedAsPlainText(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := sit(t, 80, 24, func(o *Options) { o.SaveDir, o.Theme, o.Colours = dir, ThemeDark, ColoursTrue })
	p.press("ctrl+s")
	p.sees("screen saved as")
	content, err := os.ReadFile(filepath.Join(dir, "logagent-20261122-140231.000.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if s := string(content); !strings.Contains(s, "web-0187.fra1") || strings.Contains(s, "\x1b") || strings.Count(s, "\n") != 24 {
		t.Errorf("want the screen in plain text, got %q", s)
	}
}

func TestFailedWatchIsSaidAndTriedAgain(t *testing.T) {
	t.Parallel()
	p := sit(t, 80, 24, nil)
	p.press("j", "enter")
	h := p.app.top().(*hostPage)
	p.send(watchEndedMsg{h, errors.New("etcd: no leader")})
	p.sees("no detail from web-0187.fra1: etcd: no leader")
	p.watching = ""
	p.wait(watchPause)
	if p.watching != "web-0187.fra1" {
		t.Fatalf("want the watch held again after %s, got %q", watchPause, p.watching)
	}
}

func TestAnswerToAnOlderQuestionIsDropped(t *testing.T) {
	t.Parallel()
	p := sit(t, 80, 24, nil)
	f := p.app.top().(*fleetPage)
	first := f.refresh()
	if f.refresh() != nil {
		t.Fatal("want one pull at a time")
	}
	late := first().(pulledMsg)
	f.problems = true
	if f.requery() != nil {
		t.Fatal("want the new question to wait for the pull under way")
	}
	next := f.Update(late)
	if f.window.Order.Len() != 31 || next == nil {
		t.Fatal("want the old answer dropped and the new question asked")
	}
	p.run(next)
	if got := f.window.Order.Len(); got != 6 {
		t.Fatalf("want the new answer, got %d rows", got)
	}
}
