package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
	"logagent/internal/term"
)

// history is what etcd holds of a document's history, newest first.
func (p *place) history(t *testing.T, name string) []change.Record {
	t.Helper()
	c := p.client(t)
	records, err := c.History(t.Context(), name, 0)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// client is another operator's way to etcd.
func (p *place) client(t *testing.T) *etcdcfg.Client {
	t.Helper()
	c, err := etcdcfg.New(etcdcfg.Options{Addrs: []string{p.etcd.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIn(t, c) })
	return c
}

func TestJourneyWithAGroupsEntryForOneHostAndForAll(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "groups = web")
	path := writeFile(t, filepath.Join(p.dir, "in", "a.log"), "one\n")
	group := fmt.Sprintf(` [ {"service":"svc","log_path":%q,"topic":"lines","send_rate":1000,"start_at":"beginning"} ] `, path)
	if _, err := p.etcd.Client().Put(t.Context(), "/logagent.groups/web", group); err != nil {
		t.Fatal(err)
	}
	d := start(t, p.dir, "--daemon")
	p.arrived(t, "lines", 1)
	o := sit(t, p.dir, 120, 36, nil, binary(t))
	o.sees("▌", "●", "web-1")
	o.press("enter")
	o.sees("▌", "a.log", "svc @web", "caught up")
	o.sees("from group @web, 1 host")

	// For all: the group's document, every other byte as it was.
	o.press("+")
	o.sees("comes from the group @web, 1 host")
	o.press("G", "enter")
	o.sees("@web svc", "1.0k/s → 1.05k/s (+5 %)", "applied")
	if want, got := strings.Replace(group, "1000", "1050", 1), p.key(t, "/logagent.groups/web"); got != want {
		t.Errorf("want %s, got %s", want, got)
	}
	o.until("the tuning is over", func(s term.Screen) bool { return !s.Contains("puts 1.0k/s back") })

	// For this host: an entry of its own, and esc takes it away again.
	group = p.key(t, "/logagent.groups/web")
	for _, back := range []bool{true, false} {
		o.press("+")
		o.sees("for web-1 only: its own entry from now on")
		o.press("j", "enter")
		o.sees("web-1 svc", "1.05k/s → 1.103k/s", "applied")
		if got := p.key(t, "/logagent/web-1/logconfig"); !strings.Contains(got, `"send_rate": 1103`) {
			t.Errorf("want an own entry, got %s", got)
		}
		if back {
			o.press("esc")
			o.sees("back to 1.05k/s", "applied")
			if got := strings.TrimSpace(p.key(t, "/logagent/web-1/logconfig")); got != "[]" {
				t.Errorf("want the own entry gone, got %s", got)
			}
			o.sees("a.log", "svc @web")
			// One tuning is one record.
			if h := p.history(t, "web-1"); len(h) != 1 || h[0].Kind != change.KindRate || h[0].Who.User == "" || h[0].Who.Host == "" {
				t.Errorf("want one record of a rate in the operator's name, got %+v", h)
			}
		}
		o.until("the tuning is over", func(s term.Screen) bool { return !s.Contains("puts 1.05k/s back") })
	}
	o.until("the entry is the host's own", func(s term.Screen) bool { return !s.Contains("svc @web") && s.Contains("1.103k") })
	if got := p.key(t, "/logagent.groups/web"); got != group {
		t.Errorf("want the group's document untouched, got %s", got)
	}
	appendFile(t, path, "two\n")
	o.press("q")
	o.ends()
	p.stop(t, d)
	got := p.arrived(t, "lines", 2) // of several partitions
	if slices.Sort(got); !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("want both lines once, got %q", got)
	}
}

func TestJourneyThroughAConflictAndBackByTheHistory(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	path := writeFile(t, filepath.Join(p.dir, "in", "a.log"), "one\n")
	before := fmt.Sprintf("[\n  {\"service\": \"svc\", \"log_path\": %q, \"topic\": \"lines\", \"send_rate\": 1000, \"start_at\": \"beginning\"}\n]\n", path)
	p.document(t, "web-1", before)
	d := start(t, p.dir, "--daemon")
	p.arrived(t, "lines", 1)
	o := sit(t, p.dir, 120, 36, []string{"SSH_CONNECTION=10.20.0.7 50000 10.0.0.1 22"}, binary(t))
	o.sees("▌", "●", "web-1")
	o.press("enter")
	o.sees("▌", "a.log", "caught up")

	// Somebody else changes the entry while a hand is on the key: a burst is not written before
	// its last key.
	second := p.client(t)
	var changed error
	done := make(chan struct{})
	o.press("+")
	o.sees("1.0k/s → 1.05k/s (+5 %)", "changing")
	go func() {
		defer close(done)
		_, changed = second.Edit(t.Context(), "web-1", []change.Edit{{Op: change.OpSet, LogPath: path,
			Fields: map[string]json.RawMessage{"send_rate": json.RawMessage("7000"), "oversize": json.RawMessage(`"skip"`)}}},
			change.Meta{Who: change.Who{User: "bob", Host: "adm-2"}, Note: "more room"})
	}()
	steps := 1
	for key := time.NewTicker(40 * time.Millisecond); ; steps++ {
		select {
		case <-done:
		case <-key.C:
			o.press("+")
			continue
		}
		key.Stop()
		break
	}
	if changed != nil {
		t.Fatal(changed)
	}
	o.sees("two changes of web-1 svc") // by itself, when the hand is off
	o.sees("send_rate", "1.0k/s", "7.0k/s")
	o.sees("oversize", "split", "skip")
	if got := p.key(t, "/logagent/web-1/logconfig"); !strings.Contains(got, `"send_rate": 7000`) {
		t.Fatalf("want nothing written over theirs unasked, got %s", got)
	}
	eventually(t, "m is heard", func() bool { // not in the first moment
		o.press("m")
		return !o.Screen().Contains("two changes of")
	})
	o.sees("7.0k/s → ", "applied")
	services, _, err := agent.ParseDocument([]byte(p.key(t, "/logagent/web-1/logconfig")))
	if err != nil || services[0].SendRate < 1050 || services[0].SendRate >= 7000 || services[0].Oversize != agent.OversizeSkip {
		t.Fatalf("want my rate on top of their change, got %+v, %v", services, err)
	}
	o.until("the tuning is over", func(s term.Screen) bool { return !s.Contains("puts 7.0k/s back") })

	// Who did what, and back to how it was before all of it.
	o.press("h")
	o.sees("fleet ▸ web-1 ▸ history")
	o.sees("●", "rate", "send_rate 7000 →")
	o.sees("bob@adm-2", "edit", "send_rate 1000 → 7000", "more room")
	o.sees("somebody", "outside", "+ svc")
	o.sees("(from 10.20.0.7) changed a send_rate")
	o.press("j", "enter")
	o.sees("bob@adm-2 edited it")
	o.sees("~ svc")
	o.sees("split → skip")
	o.press("r")
	o.sees("before the change of", "by bob@adm-2")
	o.press("G", "enter")
	o.sees("Roll back?", "1 entry changed", "y/N")
	o.press("enter") // the default is no
	o.until("the question is gone", func(s term.Screen) bool { return !s.Contains("Roll back?") })
	o.press("r", "G", "enter")
	o.sees("Roll back?")
	o.press("y")
	o.sees("note for the history:")
	o.press("as it was")
	o.press("enter")
	o.sees("rolled back to before the change of", "saved rev")
	o.press("esc")
	o.sees("●", "rollback", "as it was")
	o.sees("rolled back: saved rev", "applied")
	if got := p.key(t, "/logagent/web-1/logconfig"); got != before {
		t.Errorf("want every byte as it was before, got %s", got)
	}
	if h := p.history(t, "web-1"); len(h) != 4 || h[0].Kind != change.KindRollback || h[0].Note != "as it was" || h[0].Who.SSH != "10.20.0.7" {
		t.Errorf("want the rollback as a record of its own, got %+v", h)
	}
	o.press("q")
	o.ends()
	p.stop(t, d)
}
