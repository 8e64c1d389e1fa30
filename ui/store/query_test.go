package store

import (
	"slices"
	"testing"
	"time"

	"logagent/agent"
)

func TestCursorFollowsItsKeyAndTheWindowTheCursor(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	sampleFleet(s, 100, 1)
	v := s.Fleet(Query{Sort: SortName, Count: 10, Cursor: "web-00050.fra2"})
	if v.Cursor != 50 || v.Offset != 41 || v.Rows[v.Cursor-v.First].Host != "web-00050.fra2" {
		t.Fatalf("want the cursor at 50 in the window, got %d from %d", v.Cursor, v.Offset)
	}
	v = s.Fleet(Query{Sort: SortName, Reverse: true, Count: 10, Offset: 41, Cursor: "web-00050.fra2"})
	if v.Cursor != 49 || v.Offset != 41 {
		t.Errorf("want it at 49 in the reversed order, got %d from %d", v.Cursor, v.Offset)
	}
	v = s.Fleet(Query{Sort: SortName, Count: 10, Margin: 10, Offset: 95, Near: 99, Cursor: "gone"})
	if v.Cursor != 99 || v.Offset != 90 || v.First != 80 || len(v.Rows) != 20 {
		t.Errorf("want the nearest row and the last window with its margin, got %+v", v.Window)
	}
	v = s.Fleet(Query{Sort: SortName, Count: 10})
	if v.Cursor != 0 || v.Offset != 0 || len(v.Rows) != 10 {
		t.Errorf("want the first window, got %+v", v.Window)
	}
}

func TestWhatIsFineStandsStillWhileItsNumbersFlicker(t *testing.T) {
	t.Parallel()
	s, c := fresh(t)
	sampleFleet(s, 200, 1)
	before := hostNames(s.Fleet(Query{Count: 300}))
	if first := one(t, s, before[0]); first.State != agent.StateBehind {
		t.Fatalf("want what is behind on top, got %+v", first)
	}
	c.at = c.at.Add(2 * time.Second)
	for i, h := range before {
		if r := one(t, s, h); r.State == agent.StateOK {
			m := summary(h, 1, 2, int64(i*7919%5000)) // a little is always on its way
			m.Running = r.Running
			s.SetSummary(h, m, 0)
		}
	}
	if after := hostNames(s.Fleet(Query{Count: 300})); !slices.Equal(before, after) {
		t.Error("want no row to move because of a flicker")
	}
}

func TestKeptOrderStandsAndANewOneSorts(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	for i, h := range []string{"a", "b", "c"} {
		s.SetSummary(h, summary(h, 1, 1, int64(1000-i)), 0)
	}
	v := s.Fleet(Query{Sort: SortLag, Count: 9})
	s.SetSummary("c", summary("c", 1, 2, 9999), 0)
	kept := s.Fleet(Query{Sort: SortLag, Count: 9, Keep: v.Order})
	if got := hostNames(kept); !slices.Equal(got, []string{"a", "b", "c"}) || kept.Rows[2].LagBytes != 9999 {
		t.Errorf("want the old order with new numbers, got %v", got)
	}
	if got := hostNames(s.Fleet(Query{Sort: SortLag, Count: 9})); !slices.Equal(got, []string{"c", "a", "b"}) {
		t.Errorf("want a new order, got %v", got)
	}
}

func TestWhatIsNotKnownComesLastInEitherDirection(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	s.SetSummary("a", summary("a", 1, 1, 10), 0)
	s.SetSummary("b", summary("b", 1, 1, 20), 0)
	s.SetDocument("0-none", agent.Document{Key: "k", Revision: 1})
	for by := SortWorst; by <= SortCause; by++ {
		for _, reverse := range []bool{false, true} {
			first := hostNames(s.Fleet(Query{Sort: by, Reverse: reverse, Count: 9}))
			if again := hostNames(s.Fleet(Query{Sort: by, Reverse: reverse, Count: 9})); !slices.Equal(first, again) {
				t.Errorf("sort %d: two orders of the same: %v, %v", by, first, again)
			}
			if by >= SortLag && by <= SortThrottle && first[2] != "0-none" {
				t.Errorf("sort %d reverse %v: want the unknown last, got %v", by, reverse, first)
			}
		}
	}
	if got := hostNames(s.Fleet(Query{Sort: SortLag, Reverse: true, Count: 9})); got[0] != "a" {
		t.Errorf("want the least lag first in reverse, got %v", got)
	}
}

func TestOnlyProblemsLeavesWhatIsFineOut(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	sampleFleet(s, 200, 1)
	v := s.Fleet(Query{Problems: true, Count: 300})
	if v.Total != 200 || v.Order.Len() == 0 || v.Order.Len() > 50 {
		t.Fatalf("want a few of 200, got %d of %d", v.Order.Len(), v.Total)
	}
	for _, r := range v.Rows {
		if r.State == agent.StateOK {
			t.Errorf("want no fine host, got %+v", r)
		}
	}
	if o := v.Overview; o.Hosts != 200 || o.OK+o.Behind != 200 || o.Behind != v.Order.Len() || o.Newest != 0 {
		t.Errorf("want the overview to count all hosts, got %+v", o)
	}
}

// BenchmarkFleet is one pull of a screen: count, filter, sort and cut the window.
func BenchmarkFleet(b *testing.B) {
	for name, q := range map[string]Query{
		"worst":    {Count: 30, Margin: 30},
		"lag":      {Sort: SortLag, Count: 30, Margin: 30},
		"filtered": {Filter: must(ParseFilter("service=audit lag>1GB !web-0001")), Count: 30, Margin: 30},
	} {
		b.Run(name, func(b *testing.B) {
			s, _ := fresh(b)
			sampleFleet(s, 10_000, 1)
			s.Fleet(q)
			b.ReportAllocs()
			for b.Loop() {
				s.Fleet(q)
			}
		})
	}
	b.Run("all hosts reported", func(b *testing.B) {
		s, c := fresh(b)
		sampleFleet(s, 10_000, 1)
		hosts := s.Fleet(Query{Count: 10_000}).Order.keys
		seq := uint64(1)
		for b.Loop() {
			b.StopTimer()
			seq++
			c.at = c.at.Add(2 * time.Second)
			for _, h := range hosts {
				s.SetSummary(h, summary(h, 1, seq, 5), 0)
			}
			b.StartTimer()
			s.Fleet(Query{Count: 30, Margin: 30})
		}
	})
}

func BenchmarkSetSummary(b *testing.B) {
	s, c := fresh(b)
	sampleFleet(s, 10_000, 1)
	hosts := s.Fleet(Query{Count: 10_000}).Order.keys
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		if i%len(hosts) == 0 {
			c.at = c.at.Add(2 * time.Second)
		}
		s.SetSummary(hosts[i%len(hosts)], summary(hosts[i%len(hosts)], 1, uint64(i+2), 5), 0)
		i++
	}
}

func must(f Filter, err error) Filter {
	if err != nil {
		panic(err)
	}
	return f
}

func TestSilenceIsNoDraining(t *testing.T) {
	t.Parallel()
	s, c := fresh(t)
	for i := range 60 {
		for _, h := range []string{"a", "b"} {
			m := summary(h, 1, uint64(i+1), 1_000_000_000)
			m.In, m.Out = 10, 10
			s.SetSummary(h, m, 0)
		}
		c.at = c.at.Add(2 * time.Second)
	}
	if o := s.Fleet(Query{Count: 9}).Overview; o.Trend != TrendSteady || o.LagBytes != 2_000_000_000 || o.LagStale || o.Fresh != 2 || o.In != 20 {
		t.Fatalf("want both hosts in the sums, got %+v", o)
	}
	for i := range 40 { // b falls silent
		s.SetSummary("a", summary("a", 1, uint64(i+100), 1_000_000_000), 0)
		c.at = c.at.Add(2 * time.Second)
	}
	o := s.Fleet(Query{Count: 9}).Overview
	if o.Trend != TrendSteady || o.LagBytes != 2_000_000_000 || !o.LagStale || o.Fresh != 1 {
		t.Errorf("want the silent host's lag to stay as last known, got %+v", o)
	}
	c.at = c.at.Add(time.Minute)
	o = s.Fleet(Query{Count: 9}).Overview
	if o.Trend != TrendNone || o.Fresh != 0 || o.Newest < time.Minute {
		t.Errorf("want no trend when nobody reports, got %+v", o)
	}
}
