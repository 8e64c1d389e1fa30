package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"logagent/agent"
	"logagent/etcdcfg"
)

func TestAHostWhoseAgentIsOnlyCutOffFromEtcdIsNotForgotten(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	path := writeFile(t, filepath.Join(p.dir, "in", "a.log"), "one\n")
	p.document(t, "web-1", entry(path, "lines"))
	d := start(t, p.dir, "--daemon")
	p.arrived(t, "lines", 1)
	p.stop(t, d)
	writeConfig(t, p.dir, "etcd_addr = 127.0.0.1:1", "kafka_addr = "+strings.Join(p.kafka.Addrs(), ","))
	d = start(t, p.dir, "--daemon")
	appendText(t, path, "two\n")
	p.arrived(t, "lines", 2) // by what it remembers
	p.configure(t)
	want := func(code int, says string, args ...string) {
		t.Helper()
		got, stdout, stderr := runBinary(t, p.dir, args...)
		if got != code || !contains(stdout+stderr, says) {
			t.Errorf("%q: want exit %d and %q, got %d\nstdout: %s\nstderr: %s", args, code, says, got, stdout, stderr)
		}
	}
	gone := func() surveyOut {
		t.Helper()
		var hosts []surveyOut
		if _, stdout := p.json(t, &hosts, "hosts", "--gone", "--json"); len(hosts) != 1 {
			t.Fatalf("want the one host, got %s", stdout)
		}
		return hosts[0]
	}
	if h := gone(); h.State != hostCutOff || h.GoneLeast != nil {
		t.Errorf("want it told from a gone one, got %+v", h)
	}
	for _, args := range [][]string{{"web-1"}, {"web-*"}, {"web-1", "--force"}, {"web-1", "--dry-run"}} {
		want(exitFailed, "web-1 is not forgotten: its agent runs and reports through Kafka", append([]string{"hosts", "forget", "--yes"}, args...)...)
	}
	if p.key(t, "/logagent/web-1/logconfig") == "" {
		t.Fatal("the document of a running agent is gone")
	}

	d.kill(t)
	killed := time.Now()
	eventually(t, "it is silent", func() bool { return time.Since(killed) > time.Second })
	want(exitFailed, "reported through Kafka", "hosts", "forget", "web-1", "--yes")
	if h := gone(); h.State != hostGone || h.GoneLeast == nil || *h.GoneLeast < 1 || *h.GoneLeast > 60 {
		t.Errorf("want a killed one gone since its last report, got %+v", h)
	}
	p.kafka.Stop()
	want(exitFailed, "it was not checked whether its agent reports through Kafka", "hosts", "forget", "web-1", "--yes")
	want(exitDone, "cut off from etcd are not told apart", "hosts", "--gone")
	if p.key(t, "/logagent/web-1/logconfig") == "" {
		t.Fatal("forgotten unchecked")
	}
	want(exitDone, "not checked whether their agents report", "hosts", "forget", "web-1", "--yes", "--force")
	if p.key(t, "/logagent/web-1/logconfig") != "" {
		t.Error("want it forgotten by force")
	}
}

func TestForgettingNeedsForceWhereItIsNotSureThatAnAgentIsGone(t *testing.T) {
	t.Parallel()
	host := func(name string, byKey time.Duration) *etcdcfg.Surveyed {
		h := &etcdcfg.Surveyed{Host: name, Coarse: &agent.Coarse{Host: name}, GoneLeast: byKey}
		h.Config.Host = name
		return h
	}
	lives := host("lives", 0)
	lives.Live = &agent.Live{}
	never := host("never", 0)
	never.Coarse = nil
	read := reports{ago: map[string]time.Duration{"now": 0, "lately": time.Minute}, now: map[string]bool{"now": true}}
	unread := reports{unread: errors.New("kafka: away")}
	for _, c := range []struct {
		r             reports
		h             *etcdcfg.Surveyed
		byName, force bool
		says          string // "": forgotten
	}{
		{read, lives, true, true, "an agent runs there"},
		{read, host("now", 0), true, true, "reports through Kafka, cut off from etcd"},
		{read, host("now", 9*time.Hour), false, false, "reports through Kafka, cut off from etcd"},
		{read, host("lately", 0), true, false, "reported through Kafka 1m00s ago"},
		{read, host("lately", 0), false, true, ""},
		{read, host("silent", 0), true, false, ""},
		{read, host("silent", 0), false, false, "does not tell for how long"},
		{read, host("silent", 0), false, true, ""},
		{read, host("silent", time.Hour), false, false, ""},
		{read, never, false, false, ""},
		{unread, host("silent", time.Hour), true, false, "was not checked"},
		{unread, never, true, false, "was not checked"},
		{unread, host("silent", 0), false, true, ""},
		{unread, &etcdcfg.Surveyed{Host: "nobody"}, true, false, ""},
	} {
		err := c.r.refusal(c.h, c.byName, c.force)
		if got := fmt.Sprint(err); (err == nil) != (c.says == "") || !strings.Contains(got, c.says) && err != nil {
			t.Errorf("%s by name %v, force %v: want %q, got %v", c.h.Host, c.byName, c.force, c.says, err)
		}
	}
}

func TestHowLongAHostIsGoneIsToldByItsLastReportAndItsKeyTogether(t *testing.T) {
	t.Parallel()
	r := &reports{ago: map[string]time.Duration{"now": 0, "lately": time.Minute}, now: map[string]bool{"now": true}}
	part := &reports{ago: r.ago, unread: errors.New("kafka: away")}
	for _, c := range []struct {
		r     *reports
		host  string
		byKey time.Duration
		want  string
	}{
		{nil, "a", 0, "gone ?"},
		{nil, "a", 3 * time.Hour, "gone ≥ 3h00m"},
		{r, "a", 0, "gone ≥ 5m00s"},
		{r, "a", 3 * time.Hour, "gone ≥ 3h00m"},
		{r, "lately", 0, "gone ≥ 1m00s"},
		{r, "lately", 3 * time.Hour, "gone ≥ 1m00s"}, // it reported long after its key was renewed
		{r, "now", 3 * time.Hour, "cut off -"},
		{part, "a", 0, "gone ?"},
		{part, "a", 3 * time.Hour, "gone ≥ 3h00m"},
		{part, "lately", 3 * time.Hour, "gone ≥ 1m00s"},
		{part, "lately", 0, "gone ?"},
	} {
		hosts := []etcdcfg.Surveyed{{Host: c.host, Coarse: &agent.Coarse{}, GoneLeast: c.byKey}}
		c.r.goneBy(hosts)
		state := c.r.state(&hosts[0])
		if got := state + " " + goneWord(&hosts[0], state); got != c.want {
			t.Errorf("%s, %v by its key: want %q, got %q", c.host, c.byKey, c.want, got)
		}
	}
}

func TestEntriesOfAHostWithABrokenDocumentAreAtLeastThoseThatRun(t *testing.T) {
	t.Parallel()
	entry := agent.Document{Services: []agent.Service{{Service: "s", LogPath: "/a"}}}
	broken := agent.Document{Refused: &agent.Refusal{Revision: 9, Error: "no"}}
	for _, c := range []struct {
		docs []agent.Document
		held int
		want string
	}{
		{nil, 0, "0"},
		{[]agent.Document{entry}, 0, "1"},
		{[]agent.Document{broken}, 2, "≥2"},
		{[]agent.Document{entry, broken}, 2, "≥3"},
		{[]agent.Document{entry, broken}, -1, "≥1"},
		{[]agent.Document{broken}, -1, "?"},
		{[]agent.Document{broken}, 0, "?"},
	} {
		h := &etcdcfg.Surveyed{Host: "h", Held: c.held}
		h.Config.Documents, h.Names = c.docs, []string{"h", "@web"}[:len(c.docs)]
		if got := entriesWord(h); got != c.want {
			t.Errorf("%d documents, %d held: want %s, got %s", len(c.docs), c.held, c.want, got)
		}
		if o := surveyJSON(h, nil); (o.Entries == nil) != (c.want == "?") || o.AtLeast != strings.HasPrefix(c.want, "≥") {
			t.Errorf("want %s in JSON too, got %+v", c.want, o)
		}
	}
}
