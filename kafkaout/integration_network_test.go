package kafkaout

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"logagent/agent"
)

// Parts of the suite: what happens between the producer and a broker that is there.

func leadersMove(t *testing.T, r rig) {
	p, f, topic := begin(t, r, "moving", 4)
	stop, within := f.stream(topic, 6), bounded(t, p, mostHeld)
	for i := range 12 {
		f.progress(20)
		r.lead(t, topic, i%4, (i/4+i+1)%3)
	}
	f.progress(20)
	stop()
	exact(t, r, f)
	within()
}

func requestCutInTheMiddle(t *testing.T, r rig) {
	front := r.front(t)
	_, f, topic := begin(t, r, "cut-inside", 3)
	stop := f.stream(topic, 6)
	for _, bytes := range []int{1, 4, 12, 40, 61, 100, 150, 300, 1 << 20} {
		f.progress(5)
		cut := front.trouble(cutInside, bytes, 2)
		wait(t, "two requests cut", func() bool { return front.hits(cut) == 2 })
	}
	f.progress(20)
	stop()
	exact(t, r, f)
}

func answerLostWithItsConnection(t *testing.T, r rig) {
	front := r.front(t)
	_, f, topic := begin(t, r, "answer-lost", 3)
	stop := f.stream(topic, 6)
	for range 10 {
		f.progress(5)
		cut := front.trouble(cutAfter, 0, 2)
		wait(t, "two answers lost", func() bool { return front.hits(cut) == 2 })
	}
	f.progress(20)
	stop()
	exact(t, r, f)
}

func answerThatNeverComes(t *testing.T, r rig) {
	front := r.front(t)
	p, f, topic := begin(t, r, "silence", 3, func(o *Options) { o.Timeout = 700 * time.Millisecond })
	stop, within := f.stream(topic, 6), bounded(t, p, mostHeld)
	for range 2 {
		f.progress(5)
		mute := front.trouble(swallow, 0, 3)
		wait(t, "three answers swallowed", func() bool { return front.hits(mute) == 3 })
	}
	f.progress(20)
	stop()
	exact(t, r, f)
	within()
}

// A leader that loses its place while it waits for the replicas says that it is none,
// although the next one has what it was given.
func leaderReplacedAfterTheAppend(t *testing.T, r rig) {
	front := r.front(t)
	_, f, topic := begin(t, r, "replaced", 1)
	stop := f.stream(topic, 6)
	for range 10 {
		f.progress(5)
		lie := front.trouble(misname, int(kerr.NotLeaderForPartition.Code), 1)
		wait(t, "the leader denied", func() bool { return front.hits(lie) == 1 })
	}
	f.progress(20)
	stop()
	exact(t, r, f)
}

func connectionsCut(t *testing.T, r rig) {
	front := r.front(t)
	_, f, topic := begin(t, r, "cuts", 4)
	stop := f.stream(topic, 5)
	for range 15 {
		f.progress(5)
		front.cut()
	}
	f.progress(20)
	stop()
	exact(t, r, f)
}

// timedOutAfterTheAppend has a replica that is in sync and answers no more: the leader has
// appended, waits, and gives up waiting.
func timedOutAfterTheAppend(t *testing.T, r rig) {
	r.mayStop(t)
	p, f, topic := begin(t, r, "stalled", 1)
	stop, within := f.stream(topic, 6), bounded(t, p, mostHeld)
	f.progress(20)
	end := r.stall(t, topic)
	wait(t, "the topic slow, with its cause", func() bool {
		s := p.Topic(topic)
		return s.Health == agent.HealthSlow && strings.Contains(s.Why, "the replicas do not answer in time")
	})
	end()
	f.progress(mostOpen + 20)
	stop()
	exact(t, r, f)
	within()
}
