package sinktest

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"go.uber.org/goleak"

	"logagent/agent"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func memoryFixture(t *testing.T, m *Memory) Fixture {
	t.Cleanup(m.Close)
	return Fixture{
		Sink: m, Host: memoryHost,
		Received:    func(_ testing.TB, topic string) []Received { return m.Lines(topic) },
		CreateTopic: func(testing.TB, string) {},
		Block:       func(testing.TB, string) func() { m.Block(); return m.Unblock },
		Refuse: func(_ testing.TB, topic string) func() {
			m.Refuse(topic, "not authorized for topic "+topic)
			return func() { m.Allow(topic) }
		},
		Written: func(t testing.TB, _ string) {
			m.Wait(t, "a written batch", func() bool { return len(m.written) > 0 })
		},
	}
}

func TestMemoryIsASink(t *testing.T) {
	t.Parallel()
	Run(t, func(t *testing.T) Fixture { return memoryFixture(t, NewMemory()) })
}

// A sink that stutters must be no different to its user.
func TestFaultySinkIsASink(t *testing.T) {
	t.Parallel()
	Run(t, func(t *testing.T) Fixture {
		m := NewMemory()
		f := memoryFixture(t, m)
		stop := make(chan struct{})
		ended := make(chan struct{})
		go func() { // ends with the test, below
			defer close(ended)
			for {
				select {
				case <-stop:
					m.Connect()
					return
				case <-time.After(time.Duration(rand.IntN(3)) * time.Millisecond):
				}
				if rand.IntN(2) == 0 {
					m.Disconnect("connection refused")
				} else {
					m.Connect()
				}
			}
		}()
		f.Sink = settled{m, stop, ended}
		t.Cleanup(func() {
			select {
			case <-ended:
			default:
				close(stop)
				<-ended
			}
		})
		return f
	})
}

// settled shows health only once the faults have ended, so that what is looked at last is
// the sink and not the weather.
type settled struct {
	*Memory
	stop, ended chan struct{}
}

func (s settled) Link() agent.LinkStatus {
	select {
	case <-s.ended:
	default:
		close(s.stop)
		<-s.ended
	}
	return s.Memory.Link()
}

func TestFailingMemoryStoresNothing(t *testing.T) {
	t.Parallel()
	m := NewMemory()
	t.Cleanup(m.Close)
	m.Fail(agent.ErrAbandoned)
	l := newLedger(t)
	b := l.batch(service("a", "topic", ""), "/a", 0, "one")
	m.Send(b)
	if v := l.wait(b); !errors.Is(v.Err, agent.ErrAbandoned) {
		t.Errorf("want the error asked for, got %+v", v)
	}
	m.Fail(nil)
	m.Send(l.batch(service("a", "topic", ""), "/a", 4, "two"))
	if got := m.WaitLines(t, "topic", 1); string(got[0].Value) != "two" {
		t.Errorf("want only the line sent after the failure, got %q", got[0].Value)
	}
}

func TestClosedMemoryAnswersWhatItHolds(t *testing.T) {
	t.Parallel()
	m := NewMemory()
	m.Block()
	l := newLedger(t)
	before := l.batch(service("a", "topic", ""), "/a", 0, "one")
	after := l.batch(service("a", "topic", ""), "/a", 4, "two")
	m.Send(before)
	m.Close()
	m.Send(after)
	for _, b := range []*agent.Batch{before, after} {
		if v := l.wait(b); !errors.Is(v.Err, agent.ErrClosed) {
			t.Errorf("want ErrClosed, got %+v", v)
		}
	}
	if m.Held() != 0 || len(m.All()) != 0 {
		t.Errorf("want nothing held or stored, got %d and %d", m.Held(), len(m.All()))
	}
}
