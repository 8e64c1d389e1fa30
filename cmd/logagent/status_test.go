package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"logagent/agent"
	"logagent/ui/store"
)

func contains(text, words string) bool { return strings.Contains(text, words) }

// json runs a verb and reads what it writes.
func (p *place) json(t *testing.T, into any, args ...string) (code int, stdout string) {
	t.Helper()
	code, stdout, stderr := runBinary(t, p.dir, args...)
	if err := json.Unmarshal([]byte(stdout), into); err != nil {
		t.Fatalf("%q: exit %d, %v\nstdout: %s\nstderr: %s", args, code, err, stdout, stderr)
	}
	return code, stdout
}

func TestStatusTellsOfEachEntryWhereItIsWrittenAndWhetherItRuns(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "groups = web")
	own, group := p.newLedger(t, "in/own.log", 0), p.newLedger(t, "in/group.log", 0)
	appendLines(t, 10, own, group)
	p.put(t, "/logagent.groups/web", document(t, p.whole("in/group.log", "lines")))
	d := start(t, p.dir, "--daemon")
	p.apply(t, document(t, p.whole("in/own.log", "lines")))
	p.complete(t, written(own, group), "lines")
	status := func(want int, args ...string) hostOut {
		t.Helper()
		var hosts []hostOut
		code, stdout := p.json(t, &hosts, append([]string{"status", "--json", "--timeout", "10s", "web-1"}, args...)...)
		if code != want || len(hosts) != 1 {
			t.Fatalf("want exit %d and one host, got %d\n%s", want, code, stdout)
		}
		return hosts[0]
	}
	h := status(exitDone, "--exit-code")
	if h.Config != "running" || h.Drifting == nil || *h.Drifting != 0 || h.Desired == 0 || h.Desired != h.Running || h.Refused != 0 ||
		len(h.Documents) != 2 || h.Documents[1].Name != "@web" || h.Documents[1].Running != h.Documents[1].Desired || len(h.Groups) != 1 {
		t.Errorf("%+v", h)
	}
	if len(h.Entries) != 2 || h.Entries[0].Origin != "web-1" || h.Entries[1].Origin != "@web" || h.Entries[0].Drift != "none" || h.Entries[1].Drift != "none" || h.Entries[0].State != agent.StateOK {
		t.Errorf("%+v", h.Entries)
	}
	running := h.Documents[1].Running
	broken := p.put(t, "/logagent.groups/web", `[{"service":"x"}]`)
	eventually(t, "the refusal is told", func() bool {
		c := p.coarse(t, "web-1")
		return len(c.Documents) == 2 && c.Documents[1].Refused != nil
	})
	h = status(exitDiffers, "--exit-code")
	if d := h.Documents[1]; d.Desired != broken || d.Running != running || d.Refused != broken || d.Config != "refused" || !contains(d.Error, "log_path") || h.Refused != broken || h.Config != "refused" {
		t.Errorf("%+v", h)
	}
	if h := status(exitDone); h.Entries[0].Drift != "none" {
		t.Errorf("the own entry runs as wanted: %+v", h.Entries)
	}
	code, stdout, _ := runBinary(t, p.dir, "status", "web-1")
	if code != exitDone || !contains(stdout, "LOG_PATH") || !contains(stdout, "REFUSED") || !contains(stdout, "@web") {
		t.Errorf("want a single host's entries beside it, exit %d\n%s", code, stdout)
	}
	if _, stdout, _ := runBinary(t, p.dir, "status"); contains(stdout, "LOG_PATH") {
		t.Errorf("want no entries unasked\n%s", stdout)
	}
	if _, stdout, _ := runBinary(t, p.dir, "status", "--entries", "group=web"); !contains(stdout, "  host ") || !contains(stdout, filepath.Join(p.dir, "in/own.log")) {
		t.Errorf("want the entries with their origin\n%s", stdout)
	}

	// A silent host is not fine.
	d.kill(t)
	h = status(exitDiffers, "--exit-code")
	if h.Drifting != nil || h.Entries[0].Drift != "unknown" || h.Entries[0].State != agent.StateUnknown {
		t.Errorf("want nothing known of a killed agent, got %+v", h)
	}
	if code, _, _ := runBinary(t, p.dir, "status", "--watch=nonsense"); code != exitUsage {
		t.Errorf("exit %d", code)
	}
}

func TestStatusWatchRepeatsUntilItIsInterrupted(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.document(t, "web-1", `[]`)
	d := start(t, p.dir, "--daemon")
	eventually(t, "the agent is there", func() bool { return len(p.coarse(t, "web-1").Documents) == 1 })

	// One line of JSON a round.
	w := start(t, p.dir, "status", "--json", "--watch=200ms", "--exit-code")
	rounds := func() (out [][]hostOut) {
		lines := bufio.NewScanner(strings.NewReader(w.stdout.String()))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var hosts []hostOut
			if json.Unmarshal(lines.Bytes(), &hosts) == nil {
				out = append(out, hosts)
			}
		}
		return out
	}
	eventually(t, "three rounds", func() bool { return len(rounds()) >= 3 })
	revision := p.put(t, "/logagent/web-1/logconfig", `[ ]`)
	eventually(t, "the change shows", func() bool {
		r := rounds()
		last := r[len(r)-1]
		return len(last) == 1 && last[0].Running == revision
	})
	w.signal(t, syscall.SIGINT)
	if code := w.exit(t); code != exitDone {
		t.Errorf("want exit 0 after an interrupt, got %d: %s", code, w.stderr.String())
	}

	// Blocks of text without a terminal, and no escape in them.
	w = start(t, p.dir, "status", "--watch=200ms", "--exit-code")
	eventually(t, "three blocks", func() bool { return strings.Count(w.stdout.String(), "HOST ") >= 3 })
	p.put(t, "/logagent/web-1/logconfig", `null`)
	eventually(t, "the refusal shows", func() bool { return contains(w.stdout.String(), "refused") })
	w.signal(t, syscall.SIGTERM)
	if code := w.exit(t); code != exitDiffers {
		t.Errorf("want exit 3 as of the last round, got %d: %s", code, w.stderr.String())
	}
	if contains(w.stdout.String(), "\x1b") {
		t.Errorf("escapes without a terminal: %q", w.stdout.String())
	}
	p.stop(t, d)
}

func TestStatusWatchOverwritesTheScreenAndNeverScrollsIt(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("a line longer than the screen is wide\n", 3)
	first := overwritten("12:00:00", text, 20, 10, 1)
	if !strings.HasPrefix(first, "\x1b[H\x1b[2J12:00:00\x1b[K\r\na line longer than …\x1b[K") || !strings.HasSuffix(first, "\x1b[K\x1b[J") {
		t.Errorf("%q", first)
	}
	if again := overwritten("12:00:02", text, 20, 10, 2); contains(again, "\x1b[2J") || strings.Count(again, "\n") != 3 {
		t.Errorf("want the screen not cleared before it is drawn again: %q", again)
	}
	tall := overwritten("12:00:02", strings.Repeat("line\n", 50), 20, 10, 2)
	if strings.Count(tall, "\n") != 9 || !contains(tall, "lines more: 42") {
		t.Errorf("want nine line ends on ten lines, got %q", tall)
	}
}

func TestRevisionsOfOtherDocumentsShowWhereTheyDiffer(t *testing.T) {
	t.Parallel()
	r := store.HostRow{Host: "a", State: agent.StateOK, HasStatus: true, Config: store.ConfigPending, Drifting: 2, Age: time.Second,
		Documents: []store.DocState{
			{Name: "a", Desired: 5, Running: 5, Config: store.ConfigRunning},
			{Name: "@fra", Desired: 6, Running: 6, Config: store.ConfigRunning},
			{Name: "@web", Desired: 9, Running: 7, Refused: 8, Config: store.ConfigPending}}}
	var b bytes.Buffer
	writeHost(&b, &r)
	if got := strings.Join(strings.Split(b.String(), "\t")[7:12], "|"); got != "pending|5, @web 9|5, @web 7|@web 8|2" {
		t.Errorf("got %s", got)
	}
}

func TestAHostOfGroupsAloneShowsTheirRevisions(t *testing.T) {
	t.Parallel()
	r := store.HostRow{Host: "a", State: agent.StateOK, HasStatus: true, Config: store.ConfigRunning,
		Documents: []store.DocState{{Name: "a", Config: store.ConfigRunning}, {Name: "@web", Desired: 9, Running: 9, Config: store.ConfigRunning}}}
	if d, n, x := revisionsWord(&r); d != "@web 9" || n != "@web 9" || x != "-" {
		t.Errorf("got %s, %s, %s", d, n, x)
	}
	r.Documents = r.Documents[:1]
	if d, n, x := revisionsWord(&r); d != "-" || n != "-" || x != "-" {
		t.Errorf("want nothing of a host without any document, got %s, %s, %s", d, n, x)
	}
}

func TestStateOfAnEntryThatIsLateIsNotShownAsNow(t *testing.T) {
	t.Parallel()
	e := agent.CoarseEntry{LogPath: "/a", Service: "s", State: agent.StateOK, Files: 1}
	bad := agent.CoarseEntry{LogPath: "/b", Service: "s", State: agent.StateFailing, Files: 1, Cause: "no"}
	r := store.HostRow{Host: "h", Live: &agent.Live{}, HasStatus: true, State: agent.StateBehind, Behind: 1, Entries: []store.Entry{
		{Service: agent.Service{Service: "s", LogPath: "/a"}, DocHost: "h", Drift: store.DriftNone},
		{Service: agent.Service{Service: "s", LogPath: "/b"}, DocHost: "h", Drift: store.DriftNone}}}
	told := store.Told{Entries: []agent.CoarseEntry{e, bad}, Age: 25 * time.Second}
	got := entriesOf(&r, told)
	if got[0].State != agent.StateUnknown || !contains(got[0].Cause, "host is behind") || got[0].Age == nil || *got[0].Age != 25 {
		t.Errorf("want it not known which entry is behind, and since when that is so, got %+v", got[0])
	}
	if got[1].State != agent.StateFailing || got[1].Cause != "no" {
		t.Errorf("got %+v", got[1])
	}
	told.Detail, told.Age = true, time.Second
	if got := entriesOf(&r, told); got[0].State != agent.StateOK {
		t.Errorf("want a fresh detail believed, got %+v", got[0])
	}
	told.Age = time.Minute
	if got := entriesOf(&r, told); got[0].State != agent.StateUnknown {
		t.Errorf("want an old detail not taken for now, got %+v", got[0])
	}
	r.Behind = 0
	if got := entriesOf(&r, store.Told{Entries: told.Entries, Age: -1}); got[0].State != agent.StateOK || got[0].Age != nil {
		t.Errorf("got %+v", got[0])
	}
}

func TestEntriesOfABrokenDocumentThatRunOnAreListed(t *testing.T) {
	t.Parallel()
	held := agent.CoarseEntry{LogPath: "/a", Service: "s", State: agent.StateOK, Files: 1, Key: "/g/web"}
	r := store.HostRow{Host: "h", Live: &agent.Live{}, HasStatus: true, Held: []agent.CoarseEntry{held}, Drifting: 1,
		Documents: []store.DocState{{Name: "h"}, {Name: "@web", Key: "/g/web", Desired: 9, Running: 7, Refused: 9, Error: "not JSON", Config: store.ConfigRefused}}}
	got := entriesOf(&r, store.Told{Entries: []agent.CoarseEntry{held}, Age: time.Second})
	if len(got) != 1 || got[0].Origin != "@web" || got[0].Drift != "refused" || got[0].State != agent.StateOK ||
		got[0].Cause != "rev 9 refused: not JSON; rev 7 runs" || rateWord(got[0]) != "-" {
		t.Errorf("got %+v", got)
	}
}

func TestStatusOfOneHostTellsOfItsEntriesAsTheyAreNow(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	l := p.newLedger(t, "in/slow.log", 0)
	quick := p.newLedger(t, "in/quick.log", 0)
	appendLines(t, 2000, l)
	appendLines(t, 3, quick)
	slow := p.whole("in/slow.log", "lines")
	slow.SendRate = 5
	p.document(t, "web-1", document(t, slow, p.whole("in/quick.log", "lines")))
	d := start(t, p.dir, "--daemon")
	p.arrived(t, "lines", 4)
	var hosts []hostOut
	eventually(t, "its host is behind", func() bool {
		p.json(t, &hosts, "status", "--json")
		return len(hosts) == 1 && hosts[0].State == agent.StateBehind && len(hosts[0].Entries) == 2
	})
	if es := hosts[0].Entries; es[0].State == agent.StateOK || es[1].State == agent.StateBehind {
		t.Errorf("want it not known which one is behind unless somebody looks, got %+v", es)
	}
	p.json(t, &hosts, "status", "--json", "web-1")
	es := hosts[0].Entries
	if es[0].State != agent.StateBehind || es[1].State != agent.StateOK || es[0].Age == nil || *es[0].Age > 5 {
		t.Errorf("want the one entry behind and not the other, as of now, got %+v", es)
	}
	if got := p.key(t, "/logagent.watch/web-1"); got != "" {
		t.Errorf("the agent is still asked for detail: %s", got)
	}
	d.kill(t)
}

func TestStatusSaysThatNoHostMatches(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.document(t, "web-1", `[]`)
	d := start(t, p.dir, "--daemon")
	eventually(t, "the agent is there", func() bool { return len(p.coarse(t, "web-1").Documents) == 1 })
	for _, args := range [][]string{{"host=x1"}, {"host=x1", "--entries"}, {"host=x1", "--json"}} {
		code, stdout, stderr := runBinary(t, p.dir, append([]string{"status", "--timeout", "10s"}, args...)...)
		if code != exitDone || stderr != "logagent: no host matches host=x1\n" || contains(stdout, "LOG_PATH") {
			t.Errorf("%q: exit %d\n%s\n%s", args, code, stdout, stderr)
		}
	}
	if code, _, stderr := runBinary(t, p.dir, "status", "--watch", "5s"); code != exitUsage || !contains(stderr, "write --watch=5s") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	p.stop(t, d)
}

func TestStatusWatchInJSONSaysOnceThatEtcdAndKafkaAreAway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeConfig(t, dir, "etcd_addr = 127.0.0.1:1", "kafka_addr = 127.0.0.1:1")
	w := start(t, dir, "status", "--json", "--watch=100ms", "--timeout=100ms")
	eventually(t, "some rounds", func() bool { return strings.Count(w.stdout.String(), "\n") >= 10 })
	w.signal(t, syscall.SIGINT)
	if code := w.exit(t); code != exitFailed {
		t.Errorf("want exit 1 where neither answers, got %d", code)
	}
	said := w.stderr.String()
	if strings.Count(said, "logagent: etcd: ") != 1 || strings.Count(said, "logagent: kafka: ") != 1 {
		t.Errorf("want each said once, got\n%s", said)
	}
}
