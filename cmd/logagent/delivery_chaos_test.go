package main

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"logagent/agent"
	"logagent/internal/lab"
)

// chaos hurts a daemon, its etcd and its Kafka in a random order while its files are
// written and rotated.
type chaos struct {
	*place
	t      *testing.T
	random *rand.Rand
	logs   []*lab.Ledger
	entry  agent.Service
	d      *process
	did    []string
}

const (
	chaosKey   = "/logagent/web-1/logconfig"
	chaosSteps = 25
)

// trouble is one thing that happens.
type trouble struct {
	name string
	do   func(c *chaos)
}

var troubles = []trouble{
	{"two rotations within a moment", func(c *chaos) {
		l := c.logs[c.random.IntN(len(c.logs))]
		for range 2 {
			if err := l.Rotate(); err != nil {
				c.t.Fatal(err)
			}
		}
	}},
	{"a burst of lines", func(c *chaos) { appendLines(c.t, 2000, c.logs[c.random.IntN(len(c.logs))]) }},
	{"connections to Kafka cut", func(c *chaos) { c.kafka.DropConnections() }},
	{"Kafka away", func(c *chaos) {
		c.kafka.Stop()
		c.linger()
		if err := c.kafka.Restart(); err != nil {
			c.t.Fatal(err)
		}
	}},
	{"etcd away", func(c *chaos) {
		c.etcd.Stop()
		c.linger()
		if err := c.etcd.Restart(); err != nil {
			c.t.Fatal(err)
		}
	}},
	{"another topic", func(c *chaos) {
		c.entry.Topic = map[string]string{"first": "second", "second": "first"}[c.entry.Topic]
		c.put(c.t, chaosKey, document(c.t, c.entry))
	}},
	{"another partitioning", func(c *chaos) {
		all := []agent.Partitioning{agent.PartitionRandom, agent.PartitionFile, agent.PartitionHost}
		c.entry.Partition = all[c.random.IntN(len(all))]
		c.put(c.t, chaosKey, document(c.t, c.entry))
	}},
	{"another rate", func(c *chaos) {
		c.entry.SendRate = []int64{0, 50, 5000, 50_000}[c.random.IntN(4)]
		c.put(c.t, chaosKey, document(c.t, c.entry))
	}},
	{"paused for a moment", func(c *chaos) {
		paused := c.entry
		paused.Paused = true
		c.put(c.t, chaosKey, document(c.t, paused))
		c.linger()
		c.put(c.t, chaosKey, document(c.t, c.entry))
	}},
	{"its key deleted for a moment", func(c *chaos) {
		if _, err := c.etcd.Client().Delete(c.t.Context(), chaosKey); err != nil {
			c.t.Fatal(err)
		}
		c.linger()
		c.put(c.t, chaosKey, document(c.t, c.entry))
	}},
	{"a broken document", func(c *chaos) { c.put(c.t, chaosKey, `[{"service":`) }},
	{"SIGTERM and start", func(c *chaos) {
		c.stop(c.t, c.d)
		c.linger()
		c.d = start(c.t, c.dir, "--daemon")
	}},
}

var crash = trouble{"SIGKILL and start", func(c *chaos) {
	c.d.kill(c.t)
	c.linger()
	c.d = start(c.t, c.dir, "--daemon")
}}

// linger lets a random moment pass. Nothing is decided by its length.
func (c *chaos) linger() { time.Sleep(time.Duration(c.random.IntN(300)) * time.Millisecond) }

// run lets the troubles happen and returns how what arrived differs from what was written.
func (c *chaos) run(troubles []trouble) lab.Difference {
	t := c.t
	seed := uint64(time.Now().UnixNano())
	c.random = rand.New(rand.NewPCG(seed, 0))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d: %q", seed, c.did)
		}
	})
	c.logs = []*lab.Ledger{c.newLedger(t, "in/a.log", 150<<10), c.newLedger(t, "in/b.log", 0)}
	c.entry = c.whole("in/*.log", "first")
	c.begun(t, document(t, c.entry))
	stop := keepWriting(t, 1000, c.logs...)
	c.d = start(t, c.dir, "--daemon")
	c.more(t, "first", 100)
	for range chaosSteps {
		what := troubles[c.random.IntN(len(troubles))]
		c.did = append(c.did, what.name)
		what.do(c)
		c.linger()
	}
	stop()
	c.entry.SendRate = 0
	c.apply(t, document(t, c.entry))
	want := written(c.logs...)
	c.complete(t, want, "first", "second")
	c.stop(t, c.d)
	diff := lab.Compare(want, lab.Values(c.records(t, "first", "second")))
	t.Logf("%d lines written: lost %d, doubled %d, foreign %d", len(want), len(diff.Lost), len(diff.Doubled), len(diff.Foreign))
	return diff
}

func TestDeliveryOverManyTroublesAtOnceDoublesNothing(t *testing.T) {
	t.Parallel()
	c := &chaos{place: newPlace(t), t: t}
	if diff := c.run(troubles); !diff.None() {
		t.Error(diff)
	}
}

func TestDeliveryOverManyTroublesAndCrashesLosesNothing(t *testing.T) {
	t.Parallel()
	c := &chaos{place: newPlace(t), t: t}
	if diff := c.run(append(troubles[:len(troubles):len(troubles)], crash, crash)); len(diff.Lost)+len(diff.Foreign) > 0 {
		t.Error(fmt.Errorf("of lines that may be doubled: %s", diff))
	}
}
