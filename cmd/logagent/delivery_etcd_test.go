package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"logagent/agent"
	"logagent/internal/lab"
)

func TestDeliveryFromTheCachedDocumentWhileEtcdIsAway(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	one, two := p.newLedger(t, "in/one.log", 100<<10), p.newLedger(t, "in/two.log", 0)
	d := start(t, p.dir, "--daemon")
	p.apply(t, document(t, p.whole("in/one.log", "lines")))
	appendLines(t, 500, one)
	p.complete(t, written(one), "lines")
	p.stop(t, d)

	p.etcd.Stop()
	appendLines(t, 1500, one)
	d = start(t, p.dir, "--daemon")
	p.complete(t, written(one), "lines")
	eventually(t, "the agent says that it works from the cache", func() bool {
		s, _ := p.status(t)
		return !s.Etcd.Up && len(s.Documents) == 1 && s.Documents[0].FromCache
	})

	// Once etcd is back it is followed again, within moments.
	if err := p.etcd.Restart(); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	appendLines(t, 1500, one, two)
	p.apply(t, document(t, p.whole("in/one.log", "lines"), p.whole("in/two.log", "lines")))
	t.Logf("a change is in force %s after etcd came back", time.Since(back))
	eventually(t, "the agent says that it works from etcd", func() bool {
		s, _ := p.status(t)
		return s.Etcd.Up && len(s.Documents) == 1 && !s.Documents[0].FromCache
	})
	p.exactly(t, d, written(one, two), "lines")
}

func TestDeliveryGoesOnWhileEtcdIsAwayAndFollowsItAgain(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	logs := []*lab.Ledger{p.newLedger(t, "in/one.log", 100<<10), p.newLedger(t, "in/two.log", 0)}
	one, two := p.whole("in/one.log", "lines"), p.whole("in/two.log", "lines")
	d := start(t, p.dir, "--daemon")
	p.apply(t, document(t, one))
	stop := keepWriting(t, 1000, logs...)
	p.more(t, "lines", 100)
	p.etcd.Stop()
	p.logged(t, "etcd is away")
	p.more(t, "lines", 1000)
	if err := p.etcd.Restart(); err != nil {
		t.Fatal(err)
	}
	p.apply(t, document(t, one, two))

	// An etcd that was restored from nothing: the document stands under a revision that
	// was another one's before, and a lower one.
	before := p.coarse(t, "web-1").Documents[0].Running
	if err := p.etcd.RestartEmpty(); err != nil {
		t.Fatal(err)
	}
	two.Topic = "others"
	two.SendRate = 100_000
	revision := p.put(t, "/logagent/web-1/logconfig", document(t, one, two))
	if revision >= before {
		t.Errorf("want a revision below %d, got %d", before, revision)
	}
	p.more(t, "others", 500)
	eventually(t, "the status is written anew", func() bool { return p.runs(t, "web-1", revision) })
	stop()
	p.exactly(t, d, written(logs...), "lines", "others")
}

func TestDeliveryGoesOnUnderTheRunningDocumentWhereANewOneIsRefused(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	const key = "/logagent/web-1/logconfig"
	log := p.newLedger(t, "in/a.log", 0)
	good := p.whole("in/a.log", "lines")
	d := start(t, p.dir, "--daemon")
	p.apply(t, document(t, good))
	running := p.coarse(t, "web-1").Documents[0].Running
	stop := keepWriting(t, 500, log)

	twice := document(t, good, good)
	for _, bad := range []struct {
		name, document string
		says           []string
	}{
		{"broken JSON", `[{"service":"svc",`, nil},
		{"null", `null`, []string{"null"}},
		{"nothing", ``, []string{"empty"}},
		{"no list", `{"service":"svc"}`, nil},
		{"one path twice", twice, []string{"entry 2", "log_path", "entry 1"}},
		{"a topic that Kafka does not allow", document(t, p.whole("in/a.log", "no spaces")), []string{"entry 1", "topic", "no spaces"}},
		{"a negative rate and a relative path", `[{"service":"svc","log_path":"a.log","topic":"t","send_rate":-5}]`, []string{"entry 1", "log_path", "send_rate"}},
	} {
		revision := p.put(t, key, bad.document)
		eventually(t, bad.name+" is refused in the status key", func() bool {
			c := p.coarse(t, "web-1")
			return len(c.Documents) == 1 && c.Documents[0].Refused != nil && c.Documents[0].Refused.Revision == revision
		})
		doc := p.coarse(t, "web-1").Documents[0]
		if doc.Running != running {
			t.Errorf("%s: revision %d runs, want %d as before", bad.name, doc.Running, running)
		}
		for _, word := range bad.says {
			if !strings.Contains(doc.Refused.Error, word) {
				t.Errorf("%s: want %q in the reason, got %q", bad.name, word, doc.Refused.Error)
			}
		}
		p.more(t, "lines", 50)
	}
	good.SendRate = 50_000
	p.apply(t, document(t, good))
	if r := p.coarse(t, "web-1").Documents[0].Refused; r != nil {
		t.Errorf("a good document is in force and the refusal still stands: %+v", r)
	}
	stop()
	p.exactly(t, d, written(log), "lines")
}

func TestDeliveryStopsWithADeletedKeyAndResumesWhenItIsPutBack(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	const key = "/logagent/web-1/logconfig"
	log := p.newLedger(t, "in/a.log", 50<<10)
	d := start(t, p.dir, "--daemon")
	p.apply(t, document(t, p.whole("in/a.log", "before")))
	stop := keepWriting(t, 1000, log)
	p.more(t, "before", 500)
	if _, err := p.etcd.Client().Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	deleted := time.Now()
	p.logged(t, "entry gone")
	t.Logf("the entry is gone %s after its key", time.Since(deleted))
	eventually(t, "no entry is reported", func() bool { return len(p.coarse(t, "web-1").Entries) == 0 })

	// What is written and rotated from here on may only stand in the new topic.
	n := len(p.records(t, "before"))
	from := log.Count()
	eventually(t, "the log is rotated several times while nobody reads it", func() bool { return log.Count() > from+2500 })
	p.apply(t, document(t, p.whole("in/a.log", "after")))
	p.more(t, "after", 500)
	if now := len(p.records(t, "before")); now != n {
		t.Errorf("%d lines were read after their entry was gone", now-n)
	}

	// An empty list says the same as no key.
	p.apply(t, `[]`)
	p.apply(t, document(t, p.whole("in/a.log", "after")))
	stop()
	p.exactly(t, d, written(log), "before", "after")
}

func TestDeliveryOverChangedEntriesInMidFlow(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	logs := []*lab.Ledger{p.newLedger(t, "in/a.log", 200<<10), p.newLedger(t, "in/b.log", 0), p.newLedger(t, "in/c.log", 100<<10)}
	d := start(t, p.dir, "--daemon")
	e := p.whole("in/*.log", "first")
	p.apply(t, document(t, e))
	stop := keepWriting(t, 2000, logs...)
	p.more(t, "first", 500)
	for _, change := range []func(){
		func() { e.Topic = "second" },
		func() { e.Partition = agent.PartitionFile },
		func() { e.Oversize = agent.OversizeTruncate },
		func() { e.Topic, e.Partition = "first", agent.PartitionHost },
		func() { e.SendRate = 40_000 },
		func() { e.Service, e.Partition = "renamed", agent.PartitionService },
		func() { e.Topic, e.SendRate = "second", 0 },
	} {
		change()
		p.apply(t, document(t, e))
		p.more(t, e.Topic, 300)
	}

	// Paused: what is in flight is finished, the rest waits.
	e.Paused = true
	p.apply(t, document(t, e))
	p.cause(t, filepath.Join(p.dir, "in/a.log"), agent.StatePaused, "paused")
	eventually(t, "nothing is in flight", func() bool {
		s, ok := p.status(t)
		return ok && s.Process.InFlightBytes == 0
	})
	n := len(p.records(t, "second"))
	from := logs[0].Count()
	eventually(t, "the logs grow while the entry is paused", func() bool { return logs[0].Count() > from+1000 })
	if now := len(p.records(t, "second")); now != n {
		t.Errorf("%d lines sent by a paused entry", now-n)
	}
	e.Paused = false
	p.apply(t, document(t, e))
	stop()
	p.exactly(t, d, written(logs...), "first", "second")
	for _, r := range p.records(t, "second")[n:] {
		if r.Header("service") == "renamed" && string(r.Key) != "renamed" {
			t.Fatalf("want the service as key, got %q", r.Key)
		}
	}
}

func TestDeliveryFollowsTheKeysOfNameAndAddresses(t *testing.T) {
	t.Parallel()
	ids, err := hostKeys("")
	if err != nil {
		t.Fatal(err)
	}
	if len(ids) < 2 {
		t.Skip("this host has no address beside its name")
	}
	p := newPlace(t)
	writeFile(t, filepath.Join(p.dir, "conf", "app.cfg"), "etcd_addr = "+p.etcd.Addr()+"\nkafka_addr = "+p.kafka.Addrs()[0]+"\npoll_interval = 20ms\n")
	byName, byAddress := p.newLedger(t, "in/name.log", 0), p.newLedger(t, "in/address.log", 0)
	d := start(t, p.dir, "--daemon")
	name := p.put(t, "/logagent/"+ids[0]+"/logconfig", document(t, p.whole("in/name.log", "name")))
	contested := p.whole("in/name.log", "wrong")
	address := p.put(t, "/logagent/"+ids[1]+"/logconfig", document(t, contested, p.whole("in/address.log", "address")))
	eventually(t, "both documents run", func() bool { return p.runs(t, ids[0], name) && p.runs(t, ids[0], address) })
	appendLines(t, 300, byName, byAddress)
	p.complete(t, written(byName), "name")
	p.complete(t, written(byAddress), "address")

	// A broken document is refused for its own key alone.
	broken := p.put(t, "/logagent/"+ids[1]+"/logconfig", `[{}]`)
	eventually(t, "the address's document is refused, the name's runs", func() bool {
		c := p.coarse(t, ids[0])
		return len(c.Documents) >= 2 && c.Documents[0].Refused == nil && c.Documents[1].Refused != nil && c.Documents[1].Refused.Revision == broken
	})
	appendLines(t, 300, byName, byAddress)
	p.exactly(t, d, append(written(byName), written(byAddress)...), "name", "address")
	if n := len(p.records(t, "wrong")); n > 0 {
		t.Errorf("the name's entry wins over the address's: %d lines in the wrong topic", n)
	}
}
