package kafkaout

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"logagent/agent"
)

// Parts of the suite: brokers that are gone, or as good as that.

// notEnoughReplicasForLong holds a topic back for many rounds of the pauses between tries.
func notEnoughReplicasForLong(t *testing.T, r rig) {
	p, f, topic := begin(t, r, "starved", 3)
	well := r.name("well")
	r.create(t, well, 3, 3, nil)
	f.send(entry("warm", topic), 1)
	f.settled()
	feed := r.starve(t, topic)
	within := bounded(t, p, 2*mostHeld)
	stop := f.stream(topic, 6)
	free := slow(newFlow(t, p))
	stopFree := free.stream(well, 6)
	wait(t, "the topic slow, with its cause", func() bool {
		s := p.Topic(topic)
		return s.Health == agent.HealthSlow && strings.Contains(s.Why, "too few replicas are in sync")
	})
	wait(t, "twelve rounds", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return slices.ContainsFunc(p.topics[topic].partitions, func(part *partition) bool { return part.tries >= 12 })
	})
	free.progress(100)
	wait(t, "the starved topic's files to wait", func() bool { return f.openBatches() == mostOpen })
	feed()
	f.progress(mostOpen + 20)
	stop()
	stopFree()
	within()
	exact(t, r, f, free)
	wait(t, "the topic ok", func() bool { return p.Topic(topic).Health == agent.HealthOK })
}

func noLeaderForLong(t *testing.T, r rig) {
	topic, other := r.name("orphan"), r.name("beside-orphan")
	r.create(t, topic, 1, 1, nil) // at the first broker
	r.create(t, other, 3, 3, nil)
	p, f := produce(t, r)
	f.send(entry("warm", topic), 1)
	f.settled()
	adopt := r.orphan(t, topic)
	within := bounded(t, p, 2*mostHeld)
	stop := f.stream(topic, 3)
	wait(t, "the missing leader shown", func() bool {
		s := p.Topic(topic)
		return s.Health == agent.HealthDown && s.Why == "partition 0 has no leader"
	})
	free := slow(newFlow(t, p))
	stopFree := free.stream(other, 6)
	free.progress(100)
	stopFree()
	wait(t, "the orphan's files to wait", func() bool { return f.openBatches() == mostOpen })
	adopt()
	f.progress(mostOpen + 20)
	stop()
	within()
	exact(t, r, f, free)
}

func brokerStoppedAndBack(t *testing.T, r rig) {
	brokersGoAndComeBack(t, r, "stopped", []func(){func() { r.stop(t, 0) }, func() { r.stop(t, 1) }})
}

func brokerKilledAndBack(t *testing.T, r rig) {
	brokersGoAndComeBack(t, r, "killed", []func(){func() { r.kill(t, 1) }, func() { r.kill(t, 2) }})
}

func allBrokersKilledAndBack(t *testing.T, r rig) {
	brokersGoAndComeBack(t, r, "all-killed", []func(){func() {
		for i := range 3 {
			r.kill(t, i)
		}
	}})
}

// brokersGoAndComeBack does it under traffic. What was acknowledged stands in at least two
// copies, and none is elected that lacks it.
func brokersGoAndComeBack(t *testing.T, r rig, name string, hurts []func()) {
	r.mayStop(t)
	topic := r.name(name)
	r.create(t, topic, 6, 3, map[string]string{"min.insync.replicas": "2"})
	p, f := produce(t, r)
	stop, within := f.stream(topic, 6), bounded(t, p, mostHeld)
	for _, hurt := range hurts {
		f.progress(50)
		hurt()
		if name != "all-killed" {
			f.progress(mostOpen + 50)
		}
		r.run(t)
		f.progress(mostOpen + 50)
	}
	stop()
	exact(t, r, f)
	within()
}

// perPartition are entries whose lines go to partition 0, 1 and 2 of three.
func perPartition(name, topic string) (out []*agent.Service) {
	for i := 0; len(out) < 3; i++ {
		s := entry(fmt.Sprintf("%s-%d", name, i), topic)
		s.Partition = agent.PartitionService
		if keyPartition([]byte(s.Service), 3) == len(out) {
			out = append(out, s)
		}
	}
	return out
}

func oneDeadBrokerOfThree(t *testing.T, r rig) {
	r.mayStop(t)
	othersFlow(t, r, "dead", func() { r.kill(t, 0) }, func() { r.run(t) })
}

func frozenBroker(t *testing.T, r rig) {
	front := r.front(t)
	addr := r.options().Addrs[0]
	othersFlow(t, r, "frozen", func() { front.set(addr, "frozen") }, func() { front.set(addr, "") })
}

// othersFlow hurts broker 0 of a topic whose partitions have one copy each.
func othersFlow(t *testing.T, r rig, name string, hurt, mend func()) {
	topic := r.name(name)
	r.create(t, topic, 3, 1, nil)
	p, warm := produce(t, r, func(o *Options) { o.Timeout = 700 * time.Millisecond })
	services := perPartition(name, topic)
	for _, s := range services {
		warm.send(s, 1)
	}
	warm.settled()
	hurt()
	stuck := newFlow(t, p)
	stuck.tag = "stuck "
	stuck.send(services[0], 5)
	wait(t, "the topic shown as failing", func() bool { return p.Topic(topic).Health != agent.HealthOK })
	others := newFlow(t, p)
	others.tag = "others "
	began := time.Now()
	for range 200 {
		others.send(services[1], 5)
		others.send(services[2], 5)
		if v := others.settled(); v != (agent.Verdict{}) {
			t.Fatalf("want nothing counted, got %+v", v)
		}
	}
	// Some timeouts for the map are fine; one for each batch would be 200 times that.
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("want the other brokers' partitions to flow, 200 round trips took %v", took)
	}
	if stuck.openBatches() != 1 {
		t.Error("want the dead broker's batch to wait")
	}
	mend()
	exact(t, r, warm, stuck, others)
}

func everythingAtOnce(t *testing.T, r rig) {
	front := r.front(t)
	storm, calm := r.name("storm"), r.name("calm")
	r.create(t, storm, 6, 3, map[string]string{"min.insync.replicas": "2", "max.message.bytes": "20000"})
	r.create(t, calm, 3, 3, nil)
	p, f := produce(t, r, func(o *Options) { o.Compression = "snappy" })
	quiet := slow(newFlow(t, p))
	stop, stopQuiet, within := f.stream(storm, 9), quiet.stream(calm, 3), bounded(t, p, 2*mostHeld)
	for i := range 24 {
		f.progress(5)
		switch i % 8 {
		case 0:
			front.cut()
		case 1, 5:
			r.lead(t, storm, rand.IntN(6), rand.IntN(3))
		case 2:
			front.trouble(cutInside, 1+rand.IntN(500), 1+rand.IntN(3))
		case 3:
			front.trouble(cutAfter, 0, 1+rand.IntN(3))
		case 4:
			p.Recall(entry(fmt.Sprintf("%s-%d", storm, rand.IntN(9)), storm).LogPath)
		case 6:
			front.trouble(swallow, 0, 1)
		case 7:
			if i == 15 {
				r.kill(t, rand.IntN(3))
				f.progress(5)
				r.run(t)
			}
			quiet.progress(5)
		}
	}
	stop()
	stopQuiet()
	exact(t, r, f, quiet)
	within()
}
