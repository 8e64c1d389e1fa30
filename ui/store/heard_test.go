package store

import (
	"strings"
	"testing"
	"time"

	"logagent/agent"
)

func TestAStatusFromThePastSaysNothingAboutClocks(t *testing.T) {
	t.Parallel()
	s, c := fresh(t)
	m := summary("a", 1, 1, 0)
	m.AtMS = c.at.Add(-5 * time.Second).UnixMilli() // made 5 s ago, and guessed to be 1 s old
	s.SetSummary("a", m, time.Second)
	if r := one(t, s, "a"); strings.Contains(r.Problem, "clock") || r.Heard {
		t.Errorf("want no word on its clock before it was heard, got %+v", r)
	}
	m = summary("a", 1, 2, 0)
	m.AtMS = c.at.Add(-5 * time.Second).UnixMilli()
	s.SetSummary("a", m, 0)
	if r := one(t, s, "a"); !strings.Contains(r.Problem, "its clock is 5 s behind this one") || !r.Heard {
		t.Errorf("want its clock behind once it was heard, got %+v", r)
	}
}

func TestAHostThatDidNotReportInTimeIsStaleHoweverYoungItsStatusSeems(t *testing.T) {
	t.Parallel()
	s, c := fresh(t)
	s.SetSummary("dead", summary("dead", 1, 1, 7), time.Second)
	s.SetSummary("alive", summary("alive", 1, 1, 7), time.Second)
	s.SetSummary("alive", summary("alive", 1, 2, 7), 0)
	if r := one(t, s, "dead"); r.Stale {
		t.Errorf("want it taken as it came while it may still report, got %+v", r)
	}
	c.at = c.at.Add(2 * time.Second)
	s.DoubtUnheard()
	r := one(t, s, "dead")
	if !r.Stale || r.State != agent.StateUnknown || r.Age != 3*time.Second || !strings.Contains(r.Problem, "no status for 3 s") {
		t.Errorf("want it stale with its age, got %+v", r)
	}
	if r := one(t, s, "alive"); r.Stale || r.State == agent.StateUnknown {
		t.Errorf("want who reported left alone, got %+v", r)
	}
	s.SetSummary("dead", summary("dead", 1, 2, 7), 0)
	if r := one(t, s, "dead"); r.Stale {
		t.Errorf("want it fresh once it reports, got %+v", r)
	}
}
