package ui

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"logagent/agent"
	"logagent/etcdcfg/change"
	"logagent/ui/termsafe"
)

// sitAtHistory opens the history of the sample's worst host.
func sitAtHistory(t *testing.T, width, height int, with func(*Options)) *person {
	t.Helper()
	p := sit(t, width, height, with)
	p.press("j", "h")
	p.sees("fleet ▸ web-0187.fra1 ▸ history")
	return p
}

func TestHistoryTellsWhoChangedWhatNewestFirst(t *testing.T) {
	t.Parallel()
	p := sitAtHistory(t, 120, 36, nil)
	p.sees("5 changes", "nightly batch job, INC-2231", "+ batch /var/log/old/batch.log")
	lines := strings.Split(p.screen(), "\n")
	at := func(words ...string) int {
		return slices.IndexFunc(lines, func(l string) bool {
			return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(l, w) })
		})
	}
	newest := at("bob@adm-2", "edit", "48209", "+ batch")
	rate := at("alice@bastion-1", "rate", "48190", "send_rate 4000 → 5000")
	outside := at("somebody", "outside", "47100", "≤13:36:31", "audit", "100 → no limit")
	spacing := at("alice", "edit", "44120", "only spacing")
	first := at("2025-10-18", "bob", "apply", "31004", "and 1 more", "first r")
	for i, n := range []int{newest, rate, outside, spacing, first} {
		if n != newest+i || n < 0 {
			t.Fatalf("want the five changes one below the other, got %v on\n%s", []int{newest, rate, outside, spacing, first}, p.screen())
		}
	}
	p.press("j")
	p.sees("~ nginx /var/log/nginx/access.log", "send_rate 4000 → 5000", "alice@bastion-1 (from 10.20.0.7) changed a send_rate")
	p.press("enter")
	p.sees("history ▸ change", "2026-11-22 13:36:31 UTC", "48190, made on 47100", "~ nginx /var/log/nginx/access.log  send_rate 4000 → 5000")
	p.press("esc")
	if l := p.cursor(); !strings.Contains(l, "48190") {
		t.Errorf("want the cursor where it was, got %q", l)
	}
	p.press("esc")
	p.sees("31 hosts")
}

func TestHistoryAsksWhoseWhereAGroupGivesEntries(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	groupOf(p, 3)
	p.past.records["@cache"] = []change.Record{{Name: "@cache", ID: "01JD0000000000000000000009", At: p.clock.now(), Kind: change.KindEdit,
		Who: change.Who{User: "carol"}, After: change.Pack([]byte(`[{"service":"redis","log_path":"/var/log/redis/*.log","topic":"redis","send_rate":300}]`))}}
	p.press("/")
	p.press("cache-01")
	p.press("enter", "h")
	p.sees("the history of which document of cache-01?", "cache-01   its own", "@cache   the group @cache, 3 hosts")
	p.press("j", "enter")
	p.sees("fleet ▸ @cache ▸ history", "the group @cache, 3 hosts", "carol", "+ redis /var/log/redis/*.log")
	p.press("esc", "enter")
	p.wait(time.Second)
	p.press("j", "h") // on a row of the group's entry its document is proposed
	if l := p.cursor(); !strings.Contains(l, "@cache") {
		t.Errorf("want the group's document proposed on its row, got %q", l)
	}
}

func TestHistoryIsReadAnewWhenTheDocumentHasANewRevisionAndOnlyThen(t *testing.T) {
	t.Parallel()
	p := sitAtHistory(t, 120, 36, nil)
	p.wait(time.Minute)
	if p.past.reads != 1 {
		t.Fatalf("want one reading while nothing changes, got %d", p.past.reads)
	}
	p.press("j", "j") // the cursor stays on its record
	p.past.set(func() {
		newest := p.past.records["web-0187.fra1"][0]
		newest.ID, newest.Revision, newest.Note, newest.Before = "01JD0000000000000000000005", 48301, "one more", newest.After
		p.past.records["web-0187.fra1"] = append([]change.Record{newest}, p.past.records["web-0187.fra1"]...)
	})
	p.store.SetDocument("web-0187.fra1", agent.Document{Key: docKey("web-0187.fra1"), Revision: 48301})
	p.wait(time.Second)
	p.sees("6 changes", "one more")
	if l := p.cursor(); !strings.Contains(l, "47100") {
		t.Errorf("want the cursor on its record, got %q", l)
	}
}

func TestHistoryThatCannotBeReadSaysSoKeepsWhatItHasAndTriesAgain(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	p.past.err = errors.New("etcd at 10.0.0.1:2379: no answer\nwithin 5s")
	p.press("j", "h")
	p.sees("the history could not be read yet", "the history is not read: etcd at 10.0.0.1:2379: no answer; within 5s; trying again")
	p.past.set(func() { p.past.err = nil })
	p.wait(historyAgain + time.Second)
	p.sees("5 changes", "nightly b")
	p.doesNotSee("not read")
	p.past.set(func() { p.past.err = errors.New("no leader") })
	p.store.SetDocument("web-0187.fra1", agent.Document{Key: docKey("web-0187.fra1"), Revision: 48301})
	p.wait(3 * time.Second)
	p.sees("nightly b", "the history is not read anew: no leader; trying again", "stale")
}

func TestAnOldReadingNeverOverwritesANewerOne(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	hold := make(chan struct{})
	p.past.hold = hold
	p.press("j", "h")
	p.sees("reading the history")
	p.past.set(func() {
		p.past.hold = nil
		newest := p.past.records["web-0187.fra1"][0]
		newest.ID, newest.Revision, newest.Note = "01JD0000000000000000000005", 48301, "one more"
		p.past.records["web-0187.fra1"] = append([]change.Record{newest}, p.past.records["web-0187.fra1"]...)
	})
	p.store.SetDocument("web-0187.fra1", agent.Document{Key: docKey("web-0187.fra1"), Revision: 48301})
	p.wait(time.Second)
	p.sees("6 changes", "one more")
	close(hold)
	p.late() // the five of before
	p.sees("6 changes", "one more")
}

func TestRollbackAsksWithItsEffectAndItsDefaultIsNo(t *testing.T) {
	t.Parallel()
	p := sitAtHistory(t, 120, 36, nil)
	p.press("j", "r")
	p.sees("roll web-0187.fra1 back to how it was", "leave it as it is", "after the change of 13:36:31", "before the change of 13:36:31")
	p.press("enter") // the first answer is to do nothing
	p.doesNotSee("before the change of")
	p.press("r", "j", "enter")
	p.sees("roll web-0187.fra1 back to after the change of 13:36:31", "- batch /var/log/old/batch.log", "1 entry removed", "Roll back?", "y/N")
	p.press("enter")
	p.press("r", "j", "j", "enter")
	p.sees("- batch /var/log/old/batch.log", "send_rate 5000 → 4000")
	p.press("y")
	p.sees("note for the history:")
	p.press("esc")
	p.sees("nothing was written")
	if got := p.writer.told(); len(got) != 0 {
		t.Fatalf("want nothing written, got %q", got)
	}
	p.press("r", "j", "j", "enter", "y")
	p.press("too fast for Kafka")
	p.press("enter")
	want := []string{`rollback web-0187.fra1 01JD0000000000000000000003^ "too fast for Kafka"`}
	if got := p.writer.told(); !slices.Equal(got, want) {
		t.Fatalf("want %q, got %q", want, got)
	}
	if s := string(p.writer.seen); !strings.Contains(s, `"batch"`) {
		t.Errorf("want the document that the question was about handed on, got %q", s)
	}
	p.sees("rolled back to before the change of 13:36:31 by alice@bastion-1: saved rev 48301")
	if p.past.reads != 2 {
		t.Errorf("want the history read anew, got %d readings", p.past.reads)
	}
	p.wait(7 * time.Second)
	p.sees("rolled back: saved rev 48301  not applied yet 7 s")
	p.store.SetDocument("web-0187.fra1", agent.Document{Key: docKey("web-0187.fra1"), Revision: 48301})
	p.store.SetSummary("web-0187.fra1", agent.Summary{StateID: "s-web-0187.fra1", Boot: 3, Seq: 1001, AtMS: p.clock.now().UnixMilli(), Running: 48301}, 0)
	p.wait(time.Second)
	p.sees("rolled back: saved rev 48301  applied 7.0 s")
}

func TestNewestChangeIsTakenBackWithOneQuestion(t *testing.T) {
	t.Parallel()
	p := sitAtHistory(t, 80, 24, nil)
	p.press("enter", "r") // on the whole of the change as well
	p.sees("back to before the change of 13:58:31", "- batch", "Roll back?")
	p.press("y", "enter")
	want := []string{`rollback web-0187.fra1 01JD0000000000000000000004^ ""`}
	if got := p.writer.told(); !slices.Equal(got, want) {
		t.Fatalf("want %q, got %q", want, got)
	}
}

func TestStateBeforeWhatWasFoundIsThatAfterTheChangeBefore(t *testing.T) {
	t.Parallel()
	p := sitAtHistory(t, 120, 36, nil)
	p.press("j", "j", "r", "j", "j", "enter")
	p.sees("send_rate no limit → 100", "send_rate 5000 → 4000")
	p.press("y", "enter")
	want := []string{`rollback web-0187.fra1 01JD0000000000000000000002 ""`}
	if got := p.writer.told(); !slices.Equal(got, want) {
		t.Fatalf("want %q, got %q", want, got)
	}
}

func TestRollbackThatFailsIsSaidAndTheHistoryReadAnew(t *testing.T) {
	t.Parallel()
	p := sitAtHistory(t, 120, 36, nil)
	p.writer.err = errors.New("document of web-0187.fra1 was changed by somebody else meanwhile")
	p.press("r", "y", "enter")
	p.sees("web-0187.fra1 not rolled back: document of web-0187.fra1 was changed by somebody else meanwhile")
	if p.past.reads != 2 {
		t.Errorf("want the history read anew, got %d readings", p.past.reads)
	}
	p.writer.err = nil
	p.writer.hold = make(chan struct{})
	p.press("r", "y", "enter")
	p.wait(7 * time.Second)
	p.sees("rolling back: saving")
	p.press("r")
	p.sees("a rollback is being saved")
	p.press("1", "q")
	p.sees("A rollback is not written yet. Quit all the same?")
	p.press("n")
	p.release() // its page is gone
	p.sees("rolled back to before the change of 13:58:31 by bob@adm-2: saved rev")
	if p.quit {
		t.Error("want n to be no")
	}
}

func TestRollbackOfAGroupOfManyHostsHasTheirCountTyped(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	groupOf(p, 31)
	p.past.records["@cache"] = []change.Record{
		{Name: "@cache", ID: "01JD0000000000000000000009", At: p.clock.now(), Kind: change.KindEdit, After: change.Pack([]byte(`[]`)),
			Before: change.Pack([]byte(`[{"service":"redis","log_path":"/var/log/redis/*.log","topic":"redis","send_rate":300}]`))}}
	p.press("/")
	p.press("cache-01")
	p.press("enter", "h", "j", "enter", "r")
	p.sees("Roll back on 31 hosts?")
	p.press("y")
	p.sees("31 hosts of @cache are rolled back; type 31:")
	p.press("3", "enter")
	p.sees("not that number")
	p.press("1", "enter")
	p.sees("note for the history")
	p.press("enter")
	want := []string{`rollback @cache 01JD0000000000000000000009^ ""`}
	if got := p.writer.told(); !slices.Equal(got, want) {
		t.Fatalf("want %q, got %q", want, got)
	}
}

func TestBrokenDocumentIsShownAndCanBeGoneBackFromButNotTo(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	good := change.Pack([]byte(`[{"service":"redis","log_path":"/var/log/redis/*.log","topic":"redis","send_rate":300}]`))
	bad := change.Pack([]byte("[{\"service\":\"\x1b[31mevil\"}"))
	p.past.records["web-0187.fra1"] = []change.Record{
		{ID: "now", At: p.clock.now(), Kind: change.KindOutside, Before: good, After: bad, Revision: 48301},
		{ID: "01JD0000000000000000000002", At: p.clock.now(), Kind: change.KindEdit, Before: bad, After: good, Revision: 48300},
		{ID: "01JD0000000000000000000001", At: p.clock.now(), Kind: change.KindEdit, Before: good, After: bad, Revision: 48299},
	}
	p.press("j", "h")
	p.sees("not to be told: the document after is broken")
	p.press("enter")
	p.sees("── before", `"redis"`, "── after", "␛[31mevil")
	p.press("r")
	p.sees("- the whole of it: the document before is broken", "+ redis")
	p.press("y", "enter")
	want := []string{`rollback web-0187.fra1 01JD0000000000000000000002 ""`}
	if got := p.writer.told(); !slices.Equal(got, want) {
		t.Fatalf("want %q, got %q", want, got)
	}
	p.press("esc", "G")
	p.past.set(func() { p.past.records["web-0187.fra1"] = p.past.records["web-0187.fra1"][1:] })
	p.store.SetDocument("web-0187.fra1", agent.Document{Key: docKey("web-0187.fra1"), Revision: 48300})
	p.wait(time.Second)
	p.press("G", "r")
	p.sees("no way back there: the document after is broken")
}

func TestReadOnlyShowsTheHistoryAndRollsNothingBack(t *testing.T) {
	t.Parallel()
	p := sitAtHistory(t, 120, 36, func(o *Options) { o.Writer = nil })
	p.press("r")
	p.sees("read-only: started with --read-only", "5 changes")
	p = sit(t, 120, 36, func(o *Options) { o.History = nil })
	p.press("h")
	p.sees("no history here")
}

func TestHostileHistoryDoesNothingToTheTerminal(t *testing.T) {
	t.Parallel()
	evil := "\x1b[2Jevil\u202e\x9b31m日本\xff"
	doc := change.Pack([]byte(`[{"service":"evil","log_path":"/evil","topic":"t","x\u001b[2J\u202e":"\u009b31m\u202e","send_rate":5}]`))
	p := sit(t, 120, 36, nil)
	p.past.records["web-0187.fra1"] = []change.Record{{ID: evil, At: p.clock.now(), Kind: change.Kind(evil), Note: evil + "\r\n" + evil, Of: evil, Change: evil,
		Who: change.Who{User: evil, Host: evil, SSH: evil}, After: doc, Revision: 5}}
	noControls := func() {
		t.Helper()
		for _, r := range p.app.View() {
			if r != '\n' && (r < 0x20 || r >= 0x7f && r < 0xa0 || r == '\u202e') {
				t.Fatalf("%U reached the terminal:\n%s", r, p.app.View())
			}
		}
	}
	p.press("j", "h")
	p.sees("+ evil")
	noControls()
	p.press("enter")
	p.sees("+ evil")
	noControls()
	p.press("r")
	p.sees("- the document itself")
	noControls()
	p.press("y")
	noControls()
	p.past.set(func() { p.past.err = errors.New(evil) })
	p.press("enter")
	noControls()
	p.wait(10 * time.Second)
	p.press("esc")
	noControls()
}

func TestChoppedTextFitsAndLosesNothing(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "a", "send_rate 1000 → 7000, oversize split → skip", strings.Repeat("x", 100), "日本 語 " + strings.Repeat("長い ", 30), strings.Repeat(" ", 50), "e\u0301e\u0301 e\u0301e\u0301e\u0301"} {
		for width := 2; width < 60; width++ {
			parts := chop(s, width)
			if got := strings.Join(parts, ""); got != s {
				t.Fatalf("%d: want %q, got %q", width, s, got)
			}
			for _, part := range parts {
				if termsafe.Width(part) > width {
					t.Fatalf("%d: %q is too wide", width, part)
				}
			}
		}
	}
	if got := chop("send_rate 1000 → 7000, oversize split → skip", 30); !slices.Equal(got, []string{"send_rate 1000 → 7000, ", "oversize split → skip"}) {
		t.Errorf("want it cut behind blanks, got %q", got)
	}
}
