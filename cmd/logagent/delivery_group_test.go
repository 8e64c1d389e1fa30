package main

import (
	"path/filepath"
	"slices"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestDeliveryOfAFreshHostThatHasNothingButItsGroup(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "groups = web, fra")
	log, more := p.newLedger(t, "in/a.log", 100<<10), p.newLedger(t, "in/b.log", 0)
	const web, fra, host = "/logagent.groups/web", "/logagent.groups/fra", "/logagent/web-1/logconfig"
	first := p.put(t, web, document(t, p.whole("in/a.log", "lines")))
	p.put(t, fra, document(t, p.whole("in/a.log", "wrong"), p.whole("in/b.log", "lines")))
	appendLines(t, 500, log, more)
	d := start(t, p.dir, "--daemon")
	p.complete(t, written(log, more), "lines")
	eventually(t, "the status lists each document with its revision", func() bool {
		c := p.coarse(t, "web-1")
		return len(c.Documents) == 3 && c.Documents[0].Key == host && c.Documents[0].Running == 0 &&
			c.Documents[1].Key == web && c.Documents[1].Running == first && c.Documents[2].Key == fra &&
			len(c.Entries) == 2 && c.Entries[0].Key == web && c.Entries[1].Key == fra && c.Entries[0].Sum != ""
	})

	// A broken document of one group stops nothing; the host's own entry wins; a group's key
	// that is deleted takes its entries away.
	broken := p.put(t, fra, `[{}]`)
	eventually(t, "the broken one is refused for itself", func() bool {
		c := p.coarse(t, "web-1")
		return len(c.Documents) == 3 && c.Documents[1].Refused == nil && c.Documents[2].Refused != nil && c.Documents[2].Refused.Revision == broken
	})
	appendLines(t, 300, log, more)
	p.complete(t, written(log, more), "lines")
	n := len(log.Lines())
	p.apply(t, document(t, p.whole("in/a.log", "own")))
	appendLines(t, 300, log)
	p.complete(t, log.Lines()[n:], "own")
	if _, err := p.etcd.Client().Delete(t.Context(), fra); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the group's entry is gone", func() bool { return len(p.coarse(t, "web-1").Entries) == 1 })
	p.stop(t, d)

	// Without etcd the agent works from the groups' documents on its disk.
	if _, err := p.etcd.Client().Delete(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	d = start(t, p.dir, "--daemon")
	eventually(t, "the group's entry again", func() bool {
		c := p.coarse(t, "web-1")
		return len(c.Entries) == 1 && c.Entries[0].Key == web
	})
	p.stop(t, d)
	p.etcd.Stop()
	d = start(t, p.dir, "--daemon")
	appendLines(t, 300, log)
	p.exactly(t, d, written(log, more), "lines", "own")
	if n := len(p.records(t, "wrong")); n > 0 {
		t.Errorf("the first group's entry wins: %d lines in the wrong topic", n)
	}
}

func TestCheckShowsTheDocumentsOfTheGroups(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "groups = web, slip")
	path := writeFile(t, filepath.Join(p.dir, "in", "a.log"), "one\n")
	p.put(t, "/logagent.groups/web", entry(path, "t"))
	var list []finding
	code, stdout := p.json(t, &list, "check", "--json")
	for _, want := range []struct{ what, state, says string }{
		{"host", findingOK, "in the groups web, slip"},
		{"document", findingOK, "/logagent.groups/web at revision"},
		{"document", findingWarning, "the group slip has no entries"},
		{"path", findingOK, "a.log (svc)"},
	} {
		if !slices.ContainsFunc(list, func(f finding) bool {
			return f.What == want.what && f.State == want.state && contains(f.Text, want.says)
		}) {
			t.Errorf("want %+v, exit %d\n%s", want, code, stdout)
		}
	}
}

func TestHostsListsWhoIsThereAndForgetsWhoIsGone(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "groups = web")
	path := writeFile(t, filepath.Join(p.dir, "in", "a.log"), "one\n")
	p.put(t, "/logagent.groups/web", entry(path, "t"))
	own := p.put(t, "/logagent/web-1/logconfig", `[]`)
	p.put(t, "/logagent/never-1/logconfig", entry(path, "t"))
	lease, err := p.etcd.Client().Grant(t.Context(), 7*24*3600)
	if err != nil {
		t.Fatal(err)
	}
	p.put(t, "/logagent/gone-1/logconfig", entry(path, "t"))
	p.put(t, "/logagent.status/gone-1", `{"host":"gone-1","seen":true}`)
	p.put(t, "/logagent.status/gone-2", `{"host":"gone-2"}`)
	if _, err := p.etcd.Client().Put(t.Context(), "/logagent.seen/gone-2", `{"version":"0.9","groups":["web"]}`, clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	d := start(t, p.dir, "--daemon")
	list := func(args ...string) map[string]surveyOut {
		t.Helper()
		var hosts []surveyOut
		p.json(t, &hosts, append([]string{"hosts", "--json"}, args...)...)
		by := make(map[string]surveyOut)
		for _, h := range hosts {
			by[h.Host] = h
		}
		return by
	}
	eventually(t, "the agent is there", func() bool { return list()["web-1"].State == hostAlive })
	got := list()
	if h := got["web-1"]; h.Entries == nil || *h.Entries != 1 || h.AtLeast || len(h.Documents) != 2 || h.Documents[0].Revision != own || h.Documents[1].Name != "@web" || h.Version == "" || !slices.Equal(h.Groups, []string{"web"}) {
		t.Errorf("%+v", h)
	}
	if h := got["never-1"]; h.State != hostNever || h.GoneLeast != nil {
		t.Errorf("%+v", h)
	}
	if h := got["gone-1"]; h.State != hostGone || !h.GoneOver || h.GoneLeast == nil || *h.GoneLeast != 7*24*3600 {
		t.Errorf("%+v", h)
	}
	if h := got["gone-2"]; h.State != hostGone || h.Version != "0.9" || h.Entries == nil || *h.Entries != 1 {
		t.Errorf("%+v", h)
	}
	if got := list("--gone"); len(got) != 3 {
		t.Errorf("want the three without an agent, got %+v", got)
	}
	if got := list("gone-*"); len(got) != 2 {
		t.Errorf("want those of the glob, got %+v", got)
	}
	_, stdout, _ := runBinary(t, p.dir, "hosts")
	for _, words := range []string{"HOST", "web-1    alive", "> 7d", "@web rev"} {
		if !contains(stdout, words) {
			t.Errorf("want %q in\n%s", words, stdout)
		}
	}

	want := func(code int, says string, args ...string) {
		t.Helper()
		got, stdout, stderr := runBinary(t, p.dir, args...)
		if got != code || !contains(stdout+stderr, says) {
			t.Errorf("%q: want exit %d and %q, got %d\nstdout: %s\nstderr: %s", args, code, says, got, stdout, stderr)
		}
	}
	want(exitUsage, "which hosts", "hosts", "forget")
	want(exitUsage, "is a group", "hosts", "forget", "@web")
	want(exitFailed, "an agent runs there", "hosts", "forget", "web-1", "--yes")
	want(exitFailed, "knows nothing of it", "hosts", "forget", "nobody", "--yes")
	want(exitDone, "would forget gone-1", "hosts", "forget", "gone-1", "--dry-run")
	if p.key(t, "/logagent/web-1/logconfig") == "" || p.key(t, "/logagent/gone-1/logconfig") == "" {
		t.Fatal("something is gone that was not forgotten")
	}
	want(exitDone, "forgot gone-1; its document of rev", "hosts", "forget", "*-1", "gone-2", "--yes", "--note", "scrapped")
	for _, key := range []string{"/logagent/gone-1/logconfig", "/logagent.status/gone-1", "/logagent.status/gone-2", "/logagent.seen/gone-2", "/logagent/never-1/logconfig"} {
		if p.key(t, key) != "" {
			t.Errorf("%s is still there", key)
		}
	}
	if p.key(t, "/logagent/web-1/logconfig") != `[]` {
		t.Error("a glob takes hosts with an agent")
	}
	history, err := p.etcd.Client().Get(t.Context(), "/logagent.history/gone-1/", clientv3.WithPrefix())
	if err != nil || len(history.Kvs) != 1 || !contains(string(history.Kvs[0].Value), `"scrapped"`) {
		t.Errorf("want the history kept with its record, got %v, %v", history.Kvs, err)
	}
	p.stop(t, d)
	eventually(t, "a stopped agent is gone", func() bool { return list()["web-1"].State == hostGone })
	if h := list()["web-1"]; h.GoneLeast != nil || h.Version == "" {
		t.Errorf("want it not known for how long, got %+v", h)
	}
}
