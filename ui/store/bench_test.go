package store

import (
	"fmt"
	"testing"
	"time"

	"logagent/agent"
)

// detailOf is a host's detail with files, as a watched host sends it every two seconds.
func detailOf(host string, files int, seq uint64) agent.Status {
	app := agent.Service{Service: "app", LogPath: "/var/log/*.log", Topic: "app"}
	st := agent.Status{Host: host, StateID: host, Boot: 1, Seq: seq, At: start()}
	st.Services = []agent.ServiceStatus{{Service: app, State: agent.StateOK, FileCount: files}}
	for i := range files {
		f := agent.FileStatus{
			Path: fmt.Sprintf("/var/log/app-%05d.log", i), LogPath: "/var/log/*.log", Service: "app", Topic: "app",
			State: agent.StateOK, Cause: "caught up", Totals: agent.Totals{InLinesPerSec: float64(i), OutLinesPerSec: float64(i)},
		}
		if i%20 == 0 {
			f.State, f.Cause, f.Totals.LagBytes = agent.StateBehind, "catching up", int64(i)*1000
		}
		st.Files = append(st.Files, f)
	}
	return st
}

// watchedFleet is 10,000 hosts and one more whose details come.
func watchedFleet(b *testing.B) (s *Store, c *clock, host string) {
	s, c = fresh(b)
	sampleFleet(s, 10_000, 1)
	host = "web-watched.fra1"
	s.SetDocument(host, agent.Document{Key: "/logagent/" + host + "/logconfig", Revision: 7, Services: []agent.Service{{Service: "app", LogPath: "/var/log/*.log", Topic: "app"}}})
	return s, c, host
}

// BenchmarkHost is one pull of the screen of one host with many files, in a fleet of 10,000.
func BenchmarkHost(b *testing.B) {
	for _, files := range []int{10, 10_000} {
		b.Run(fmt.Sprint(files, "files"), func(b *testing.B) {
			s, _, host := watchedFleet(b)
			s.SetDetail(detailOf(host, files, 2), 0)
			q := Query{Sort: SortLag, Count: 30, Margin: 30}
			want := min(files, 60)
			s.Host(host, q)
			b.ReportAllocs()
			for b.Loop() {
				if v := s.Host(host, q); len(v.Rows) != want || v.Total != files {
					b.Fatalf("%d rows of %d, want %d of %d", len(v.Rows), v.Total, want, files)
				}
			}
		})
	}
}

// BenchmarkSetDetail takes a detail of 1,000 files.
func BenchmarkSetDetail(b *testing.B) {
	const files = 1000
	s, c, host := watchedFleet(b)
	st := detailOf(host, files, 1)
	b.ReportAllocs()
	for b.Loop() {
		st.Seq++
		c.at = c.at.Add(2 * time.Second)
		s.SetDetail(st, 0)
	}
	if v := s.Host(host, Query{Count: 10}); v.Total != files || v.Detail.Seq != st.Seq {
		b.Fatalf("%d files of detail %d, want %d of %d", v.Total, v.Detail.Seq, files, st.Seq)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/files, "ns/file")
}

// BenchmarkSummaryAndPull is a busy console's second: half of 10,000 hosts report, and the
// screen is pulled twice. The summaries are in it.
func BenchmarkSummaryAndPull(b *testing.B) {
	s, c := fresh(b)
	sampleFleet(s, 10_000, 1)
	hosts := s.Fleet(Query{Count: 10_000}).Order.keys
	seq := uint64(1)
	b.ReportAllocs()
	for b.Loop() {
		seq++
		c.at = c.at.Add(2 * time.Second)
		for half := range 2 {
			for i := half; i < len(hosts); i += 4 {
				s.SetSummary(hosts[i], summary(hosts[i], 1, seq, 5), 0)
			}
			if v := s.Fleet(Query{Count: 30, Margin: 30}); v.Total != len(hosts) || len(v.Rows) != 60 {
				b.Fatalf("%d rows of %d hosts", len(v.Rows), v.Total)
			}
		}
	}
}
