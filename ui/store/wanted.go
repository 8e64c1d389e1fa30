package store

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"logagent/agent"
)

// wantedFields are the fields that need no status.
func wantedFields() []string { return []string{"host", "service", "path", "topic", "rate"} }

// CheckWanted tells whether the filter can be held against documents alone: the error names a
// field that only a host's status tells.
func (f *Filter) CheckWanted() error {
	for i := range f.terms {
		if t := &f.terms[i]; t.field != nil && !slices.Contains(wantedFields(), t.field.names[0]) {
			return fmt.Errorf("%s is not written in a document; there are %s, and words", t.field.names[0], strings.Join(wantedFields(), " "))
		}
	}
	return nil
}

// NamesEntries tells whether the filter has a field that an entry of a document tells by itself.
func (f *Filter) NamesEntries() bool {
	return slices.ContainsFunc(f.terms, func(t term) bool {
		return t.field != nil && t.field.names[0] != "host" && slices.Contains(wantedFields(), t.field.names[0])
	})
}

// MatchesWanted tells whether a document passes, of a host or @group, by what is wanted in it. The
// words and fields mean what they mean on the screen of all hosts: rate is the sum of the
// entries' limits, and above every number where an entry has none.
func (f *Filter) MatchesWanted(name string, entries []agent.Service) bool {
	s := wantedSubject{name: strings.ToLower(name)}
	for i := range entries {
		e := &entries[i]
		s.services = append(s.services, strings.ToLower(e.Service))
		s.paths = append(s.paths, strings.ToLower(e.LogPath))
		s.topics = append(s.topics, strings.ToLower(e.Topic))
		if s.rate += float64(e.SendRate); e.SendRate == 0 {
			s.rate = math.Inf(1)
		}
	}
	return f.matches(s)
}

// wantedSubject is what the filter sees of a document.
type wantedSubject struct {
	name                    string // all in lower case
	services, paths, topics []string
	rate                    float64
}

func (s wantedSubject) words() string {
	parts := append([]string{s.name}, s.services...)
	return strings.Join(append(append(parts, s.paths...), s.topics...), "\n")
}

func (s wantedSubject) texts(name string) []string {
	switch name {
	case "host":
		return []string{s.name}
	case "service":
		return s.services
	case "path":
		return s.paths
	case "topic":
		return s.topics
	}
	return nil
}

func (s wantedSubject) figure(name string) float64 {
	if name == "rate" {
		return s.rate
	}
	return math.NaN()
}
