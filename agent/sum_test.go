package agent

import (
	"fmt"
	"strings"
	"testing"
)

func TestSumTellsEntriesApartByWhatTheyAskFor(t *testing.T) {
	t.Parallel()
	base := Service{Service: "nginx", LogPath: "/var/log/nginx.log", Topic: "web", SendRate: 5000}
	sum := base.Sum()
	// Agents and consoles of other versions compare with this: it must never change.
	if sum != "7442e7b0" {
		t.Errorf("the sum of an entry is another one: %s", sum)
	}
	same := base
	same.StartAt, same.Partition, same.Oversize, same.Key, same.Exclude = StartEnd, PartitionRandom, OversizeSplit, "/k", []string{}
	if got := same.Sum(); got != sum || !same.Same(&base) {
		t.Errorf("defaults and the key are no difference, got %s", got)
	}
	seen := map[string]string{sum: "the entry itself"}
	for what, change := range map[string]func(*Service){
		"service": func(s *Service) { s.Service = "nginy" }, "log_path": func(s *Service) { s.LogPath += "x" },
		"topic": func(s *Service) { s.Topic = "web2" }, "send_rate": func(s *Service) { s.SendRate++ },
		"no limit": func(s *Service) { s.SendRate = 0 }, "start_at": func(s *Service) { s.StartAt = StartBeginning },
		"exclude": func(s *Service) { s.Exclude = []string{"*.gz"} }, "two excludes": func(s *Service) { s.Exclude = []string{"*.gz", "a"} },
		"paused": func(s *Service) { s.Paused = true }, "partition": func(s *Service) { s.Partition = PartitionFile },
		"oversize": func(s *Service) { s.Oversize = OversizeSkip },
	} {
		s := base
		change(&s)
		got := s.Sum()
		if other, double := seen[got]; double || len(got) != 8 {
			t.Errorf("%s: want another sum of eight digits, got %s as %s", what, got, other)
		}
		if s.Same(&base) {
			t.Errorf("%s: not the same", what)
		}
		seen[got] = what
	}
}

func TestCoarseStatusTellsOriginAndSumOfWhatIsInForce(t *testing.T) {
	t.Parallel()
	own := Service{Service: "a", LogPath: "/a", Topic: "old", Key: "/logagent/h/logconfig"}
	next := own
	next.Topic = "new"
	group := Service{Service: "b", LogPath: "/b", Topic: "t", Key: "/logagent.groups/web"}
	s := Status{Host: "h", Documents: []DocumentStatus{{Key: own.Key, Running: 1}, {Key: group.Key, Running: 2}},
		Services: []ServiceStatus{{Service: next, InForce: &own}, {Service: group}}}
	c := s.Coarse()
	if e := c.Entries[0]; e.Key != "" || e.Sum != own.Sum() {
		t.Errorf("want the host's own without a key, with the sum of what runs, got %+v", e)
	}
	if e := c.Entries[1]; e.Key != group.Key || e.Sum != group.Sum() {
		t.Errorf("want the group's key, got %+v", e)
	}
}

func TestCoarseStatusBoundsWhyADocumentWasRefused(t *testing.T) {
	t.Parallel()
	var lines []string
	for i := range 100 {
		lines = append(lines, fmt.Sprintf("entry %d: topic is empty, must be a legal Kafka topic name", i+1))
	}
	whole := strings.Join(lines, "\n")
	s := Status{Documents: []DocumentStatus{{Key: "/k", Refused: &Refusal{Revision: 7, Error: whole}}, {Key: "/l", Refused: &Refusal{Revision: 8, Error: lines[0]}}}}
	c := s.Coarse()
	got := c.Documents[0].Refused
	kept := strings.Count(got.Error, "\n")
	if got.Revision != 7 || len(got.Error) > maxCoarseError+100 || !strings.HasPrefix(got.Error, strings.Join(lines[:kept], "\n")+"\n…") ||
		!strings.HasSuffix(got.Error, fmt.Sprintf("… and %d lines more in the agent's log", 100-kept)) {
		t.Errorf("%d bytes: %s", len(got.Error), got.Error)
	}
	if c.Documents[1].Refused.Error != lines[0] || s.Documents[0].Refused.Error != whole {
		t.Error("want a short one whole, and the status as it was")
	}
}
