package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logagent/agent"
	"logagent/internal/lab"
)

func TestDeliveryOverABrokerThatGoesAwayAndComesBack(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	logs := []*lab.Ledger{p.newLedger(t, "in/a.log", 300<<10), p.newLedger(t, "in/b.log", 0)}
	d := start(t, p.dir, "--daemon")
	p.apply(t, document(t, p.whole("in/*.log", "lines")))
	stop := keepWriting(t, 2000, logs...)
	for range 2 {
		p.more(t, "lines", 500)
		p.kafkaIs(t, true)
		p.kafka.Stop()
		p.kafkaIs(t, false)
		p.cause(t, filepath.Join(p.dir, "in/b.log"), agent.StateBehind, "Kafka away")
		if err := p.kafka.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	// Cut connections: the broker may have stored what it could not answer any more.
	for range 8 {
		p.more(t, "lines", 50)
		p.kafka.DropConnections()
	}
	p.more(t, "lines", 500)
	stop()
	p.exactly(t, d, written(logs...), "lines")
	if n := p.countLogged(t, "kafka does not answer"); n < 2 || n > 10 { // twice away, and eight times cut off
		t.Errorf("it is said %d times that Kafka does not answer", n)
	}
}

// kafkaIs waits until the agent knows whether Kafka answers.
func (p *place) kafkaIs(t *testing.T, up bool) {
	t.Helper()
	eventually(t, fmt.Sprintf("Kafka is known to be up: %v", up), func() bool {
		s, ok := p.status(t)
		return ok && s.Kafka.Up == up
	})
}

func TestDeliveryWhereTheBrokerComesAfterTheDaemon(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.kafka.Stop()
	log := p.newLedger(t, "in/a.log", 100<<10)
	d := start(t, p.dir, "--daemon")
	p.apply(t, document(t, p.whole("in/a.log", "lines")))
	p.logged(t, "kafka does not answer")
	for range 10 { // rotated again and again before a single line can go
		appendLines(t, 600, log)
	}
	p.cause(t, filepath.Join(p.dir, "in/a.log"), agent.StateBehind, "Kafka away")
	if err := p.kafka.Restart(); err != nil {
		t.Fatal(err)
	}
	p.exactly(t, d, written(log), "lines")
}

func TestDeliveryOfOthersGoesOnWhereOneTopicIsRefused(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if err := p.kafka.CreateTopic("closed", 2, nil); err != nil {
		t.Fatal(err)
	}
	fault := p.kafka.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "closed", Err: kerr.TopicAuthorizationFailed, Count: -1})
	closed, open := p.newLedger(t, "in/closed.log", 0), p.newLedger(t, "in/open.log", 200<<10)
	d := start(t, p.dir, "--daemon")
	p.apply(t, document(t, p.whole("in/closed.log", "closed"), p.whole("in/open.log", "open")))
	stop := keepWriting(t, 1000, closed, open)
	p.cause(t, filepath.Join(p.dir, "in/closed.log"), agent.StateFailing, "Kafka refuses (not authorized for topic closed)")
	p.more(t, "open", 2000)
	stop()
	if diff := p.complete(t, written(open), "open"); !diff.None() {
		t.Errorf("of the open topic: %s", diff)
	}
	if n := len(p.records(t, "closed")); n > 0 {
		t.Fatalf("%d records in a topic that refuses all", n)
	}
	if n := p.countLogged(t, "level=ERROR", "not authorized for topic closed") + p.countLogged(t, "level=WARN", "not authorized for topic closed"); n != 1 {
		t.Errorf("the refusal is said %d times, want once", n)
	}
	fault.Remove()
	p.exactly(t, d, append(written(open), written(closed)...), "open", "closed")
}

func TestDeliveryBeginsOnceAMissingTopicIsCreated(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	closeIn(t, p.kafka)
	var err error
	if p.kafka, err = lab.StartKafka(lab.KafkaOptions{}); err != nil { // creates no topics by itself
		t.Fatal(err)
	}
	p.configure(t)
	if err := p.kafka.CreateTopic("there", 3, nil); err != nil {
		t.Fatal(err)
	}
	missing, there := p.newLedger(t, "in/missing.log", 0), p.newLedger(t, "in/there.log", 0)
	appendLines(t, 1000, missing, there)
	d := start(t, p.dir, "--daemon")
	p.apply(t, document(t, p.whole("in/missing.log", "missing"), p.whole("in/there.log", "there")))
	p.complete(t, written(there), "there")
	p.cause(t, filepath.Join(p.dir, "in/missing.log"), agent.StateFailing, "Kafka refuses (topic missing does not exist")
	if err := p.kafka.CreateTopic("missing", 3, nil); err != nil {
		t.Fatal(err)
	}
	p.exactly(t, d, append(written(there), written(missing)...), "there", "missing")
}

func TestDeliveryGoesOnAtABrokerThatForgotEverything(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	closeIn(t, p.kafka)
	memory := t.TempDir()
	begin := func(dir string) *lab.Kafka {
		t.Helper()
		_, port, err := net.SplitHostPort(p.kafka.Addrs()[0])
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		k, err := lab.StartKafka(lab.KafkaOptions{AutoCreate: true, Dir: filepath.Join(memory, dir), Ports: []int{n}})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	p.kafka = begin("first")
	log := p.newLedger(t, "in/a.log", 200<<10)
	d := start(t, p.dir, "--daemon")
	p.apply(t, document(t, p.whole("in/a.log", "lines")))
	stop := keepWriting(t, 3000, log)
	p.more(t, "lines", 3000)
	closeIn(t, p.kafka)
	p.kafka = begin("second")
	p.more(t, "lines", 3000)
	stop()
	s := p.acknowledged(t, log.Count())
	p.stop(t, d)

	got := lab.Values(p.records(t, "lines"))
	closeIn(t, p.kafka)
	p.kafka = begin("first") // what the first one had stored
	diff := lab.Compare(written(log), append(got, lab.Values(p.records(t, "lines"))...))
	t.Logf("%d lines written: lost %d, doubled %d (%d counted), foreign %d", log.Count(), len(diff.Lost), len(diff.Doubled), s.Totals.Doubled, len(diff.Foreign))
	if len(diff.Lost)+len(diff.Foreign) > 0 || uint64(len(diff.Doubled)) > s.Totals.Doubled {
		t.Errorf("want nothing lost and what is doubled counted (%d are): %s", s.Totals.Doubled, diff)
	}
}
