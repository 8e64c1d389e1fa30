package ui

import (
	"slices"
	"strings"
	"testing"
	"time"

	"logagent/agent"
	"logagent/etcdcfg/change"
)

// conflicted is a tuning of api-0007 from 6.0k/s to 6.3k/s that somebody else came before.
func conflicted(t *testing.T, width, height int, theirs *agent.Service) *person {
	t.Helper()
	p := sit(t, width, height, nil)
	p.goTo("api-0007")
	p.writer.err = &agent.ConflictError{LogPath: "/srv/api/log/api.log", Theirs: theirs}
	p.press("+")
	p.wait(time.Second)
	p.writer.err = nil
	return p
}

func theirs() *agent.Service {
	return &agent.Service{Service: "api", LogPath: "/srv/api/log/api.log", Topic: "api-eu", SendRate: 7000}
}

func TestConflictShowsItselfWhenTheHandIsOffAndTakesNoKeyMeantForAnother(t *testing.T) {
	t.Parallel()
	p := conflicted(t, 120, 36, theirs())
	p.sees("not saved: somebody else set 7.0k/s meanwhile", "v decides about your 6.3k/s")
	p.press("/") // a hand that types is left alone
	p.press("api")
	p.wait(10 * time.Second)
	p.doesNotSee("two changes of")
	p.press("enter")
	p.wait(handOff - 600*time.Millisecond)
	p.doesNotSee("two changes of")
	p.wait(time.Second)
	p.sees("two changes of api-0007.fra1 api /srv/api/log/api.log", "BEFORE", "YOURS", "THEIRS")
	if l := p.line("send_rate", "6.0k/s"); !strings.Contains(l, "6.3k/s") || !strings.Contains(l, "7.0k/s") {
		t.Errorf("want all three rates, got %q", l)
	}
	if l := strings.Fields(p.line("topic")); !slices.Equal(l, []string{"topic", "api", "api", "api-eu"}) {
		t.Errorf("want every field that differs, got %q", l)
	}
	p.doesNotSee("paused", "partition")
}

func TestKeyPressedJustAsAConflictShowsItselfDecidesNothing(t *testing.T) {
	t.Parallel()
	p := conflicted(t, 120, 36, theirs())
	for end := p.clock.now().Add(time.Minute); p.app.dialog == nil; {
		if p.clock.now().After(end) {
			t.Fatal("the conflict does not show itself")
		}
		p.wait(50 * time.Millisecond)
	}
	p.press("m")
	p.sees("two changes of")
	if got := p.writer.written(); len(got) != 1 {
		t.Fatalf("want nothing more written, got %v", got)
	}
	p.wait(unmeant)
	p.press("m")
	p.wait(time.Second)
	if got := p.writer.written(); len(got) != 2 {
		t.Fatalf("want m heard after a moment, got %v", got)
	}
}

func TestMineIsWrittenOverTheirsOnTopOfTheirs(t *testing.T) {
	t.Parallel()
	p := conflicted(t, 80, 24, theirs())
	p.press("v", "m")
	p.wait(time.Second)
	want := []write{{"api-0007.fra1", "/srv/api/log/api.log", 6000, 6300}, {"api-0007.fra1", "/srv/api/log/api.log", 7000, 6300}}
	if got := p.writer.written(); !slices.Equal(got, want) {
		t.Fatalf("want %v, got %v", want, got)
	}
	if ids := p.writer.tunings; ids[0] == ids[1] {
		t.Error("want it to be a record of its own: theirs is between")
	}
	p.sees("7.0k/s → 6.3k/s", "saved rev")
	p.press("esc", "esc") // the filter, then the rate: back to theirs
	p.wait(time.Second)
	if got := p.writer.written(); got[len(got)-1] != (write{"api-0007.fra1", "/srv/api/log/api.log", 6300, 7000}) {
		t.Errorf("want theirs put back, got %v", got)
	}
}

func TestTheirsStaysAndMineIsNotForgottenSilently(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"t", "esc"} {
		p := conflicted(t, 120, 36, theirs())
		p.press("+") // a rate key on that entry is the question, not another step
		p.sees("two changes of")
		p.press(key)
		p.sees("api: 7.0k/s stays; your 6.3k/s is not written")
		p.wait(time.Minute)
		p.doesNotSee("two changes of", "decides about")
		if got := p.writer.written(); len(got) != 1 {
			t.Fatalf("%s: want nothing more written, got %v", key, got)
		}
	}
}

func TestConflictWaitsUntilItIsDecidedAndQuittingAsks(t *testing.T) {
	t.Parallel()
	p := conflicted(t, 120, 36, theirs())
	p.press("/")
	p.press("x")
	p.wait(lookBack + time.Minute)
	p.press("esc", "esc")
	p.sees("v decides about your 6.3k/s")
	p.press("q")
	p.sees("A rate is not written: somebody else changed its entry. Quit all the same?")
	p.press("n", "v")
	p.sees("two changes of")
}

func TestKeysDuringAWriteThatFindsAConflictAreKeptAndNotWritten(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	p.goTo("api-0007")
	p.writer.err = &agent.ConflictError{LogPath: "/srv/api/log/api.log", Theirs: theirs()}
	p.writer.hold = make(chan struct{})
	p.press("+")
	p.wait(300 * time.Millisecond)
	p.press("+", "+")
	p.release()
	p.writer.err = nil
	p.wait(time.Second) // the burst ends
	if got := p.writer.written(); len(got) != 1 {
		t.Fatalf("want nothing written over theirs, got %v", got)
	}
	p.press("v", "m")
	p.wait(time.Second)
	if got := p.writer.written(); len(got) != 2 || got[1] != (write{"api-0007.fra1", "/srv/api/log/api.log", 7000, 6946}) {
		t.Fatalf("want the last key's rate over theirs, got %v", got)
	}
}

func TestConflictOpensNoQuestionThatCannotBeSeen(t *testing.T) {
	t.Parallel()
	p := conflicted(t, 120, 36, theirs())
	p.resize(59, 14)
	p.wait(time.Minute)
	p.press("m")
	p.resize(120, 36)
	p.sees("v decides about your 6.3k/s")
	p.wait(handOff + time.Second)
	p.sees("two changes of")
	if got := p.writer.written(); len(got) != 1 {
		t.Fatalf("want nothing more written, got %v", got)
	}
}

func TestConflictWithAnEntryThatIsGoneOffersNothingToOverwrite(t *testing.T) {
	t.Parallel()
	p := conflicted(t, 80, 24, nil)
	p.press("v")
	p.sees("gone", "the entry is gone", "leaves it so")
	p.press("m")
	p.wait(time.Second)
	p.sees("two changes of")
	p.press("t")
	p.sees("api: the entry is gone; your 6.3k/s is not written")
	if got := p.writer.written(); len(got) != 1 {
		t.Fatalf("want nothing more written, got %v", got)
	}
}

func TestConflictOfAnEditIsReadAsWell(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, nil)
	groupOf(p, 3)
	p.goTo("cache-02")
	p.writer.err = &change.ConflictError{Name: "cache-02", Conflicts: []change.Conflict{{LogPath: "/var/log/redis/*.log", Service: "redis",
		Mine: []byte(`{}`), Theirs: []byte(`{"service":"redis","log_path":"/var/log/redis/*.log","topic":"redis","send_rate":77}`)}}}
	p.press("+", "j", "enter")
	p.wait(time.Second)
	p.writer.err = nil
	p.press("v")
	p.sees("two changes of cache-02 redis", "77/s")
	p.press("m")
	p.wait(time.Second)
	if want, got := []write{{"cache-02", "/var/log/redis/*.log", 77, 315}}, p.writer.written(); !slices.Equal(got, want) {
		t.Fatalf("want theirs changed to mine %v, got %v", want, got)
	}
}
