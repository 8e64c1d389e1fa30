package store

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"logagent/agent"
)

func start() time.Time { return time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC) }

// clock is a clock that moves only when told to.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func fresh(t testing.TB) (*Store, *clock) {
	t.Helper()
	c := &clock{at: start()}
	return New(Options{Now: c.now}), c
}

// sampleFleet feeds hosts with one document, one summary with history, and figures that
// the seed decides.
func sampleFleet(s *Store, hosts int, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	for i := range hosts {
		h := fmt.Sprintf("web-%05d.fra%d", i, i%3)
		services := []string{"nginx", "app", "audit", "batch"}
		var entries []agent.Service
		for k := range 1 + i%4 {
			entries = append(entries, agent.Service{Service: services[k], LogPath: "/var/log/" + services[k] + ".log", Topic: services[k], SendRate: 5000})
		}
		rev := int64(1000 + i)
		s.SetDocument(h, agent.Document{Key: "/logagent/" + h + "/logconfig", Revision: rev, Services: entries})
		s.SetLive(h, &agent.Live{Host: h, StateID: h, Boot: 1, Version: "1.4.0"})
		m := agent.Summary{StateID: h, Boot: 1, Seq: 1, AtMS: start().UnixMilli(), Running: rev, Files: 10,
			In: rnd.Int64N(20000), Out: rnd.Int64N(20000), Limit: 20000, Throttle: rnd.IntN(100)}
		if rnd.IntN(20) == 0 {
			m.Behind, m.Lag, m.BehindS = 1, rnd.Int64N(9e9), rnd.Int64N(600)
		}
		m.History = &agent.History{StepSeconds: 10}
		for range 60 {
			m.History.In = append(m.History.In, uint32(m.In))
			m.History.Out = append(m.History.Out, uint32(m.Out))
			m.History.Lag = append(m.History.Lag, m.Lag)
		}
		s.SetSummary(h, m, 0)
	}
	s.SetRevision(99)
}

func summary(state string, boot, seq uint64, lag int64) agent.Summary {
	return agent.Summary{StateID: state, Boot: boot, Seq: seq, AtMS: start().UnixMilli(), Files: 1, Lag: lag}
}

// one is the row of a host.
func one(t *testing.T, s *Store, host string) HostRow {
	t.Helper()
	v := s.Fleet(Query{Count: 1000})
	for _, r := range v.Rows {
		if r.Host == host {
			return r
		}
	}
	t.Fatalf("no row for %s", host)
	return HostRow{}
}

func hostNames(v FleetView) []string {
	var out []string
	for _, r := range v.Rows {
		out = append(out, r.Host)
	}
	return out
}
