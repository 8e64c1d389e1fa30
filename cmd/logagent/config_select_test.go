package main

import (
	"slices"
	"testing"

	"logagent/agent"
)

func TestHostsAreSelectedByNameGlobAndFilter(t *testing.T) {
	t.Parallel()
	names := []string{"@db", "@web", "api-1", "db-1", "web-1", "web-2", "web-10"}
	for _, c := range []struct {
		hosts string
		want  []string
	}{
		{"web-1", []string{"web-1"}},
		{"web-*", []string{"web-1", "web-2", "web-10"}},
		{"web-?, db-1", []string{"db-1", "web-1", "web-2"}},
		{"{web,api}-1,@web", []string{"@web", "api-1", "web-1"}},
		{"web-[12]", []string{"web-1", "web-2"}},
		{"*", []string{"api-1", "db-1", "web-1", "web-2", "web-10"}}, // groups are asked for
		{"@*", []string{"@db", "@web"}},
		{"*,@*", names},
	} {
		s, err := parseSelection(c.hosts, "")
		if err != nil {
			t.Errorf("%q: %v", c.hosts, err)
			continue
		}
		var got []string
		for _, n := range names {
			if s.names(n) {
				got = append(got, n)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: want %q, got %q", c.hosts, c.want, got)
		}
	}
	s, err := parseSelection("web-*", "topic=web rate>100")
	if err != nil {
		t.Fatal(err)
	}
	if s.one() != "" || !s.passes("web-1", []agent.Service{{Topic: "web", SendRate: 200}}) || s.passes("web-1", []agent.Service{{Topic: "web", SendRate: 50}}) {
		t.Error("the filter decides")
	}
	if s, err := parseSelection("@web", ""); err != nil || s.one() != "@web" {
		t.Errorf("want one name, got %q, %v", s.one(), err)
	}
}

func TestWrongSelectionsAreWrongUsage(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{{"a/b", ""}, {"", ""}, {",", ""}, {"@", ""}, {"@@x", ""}, {"web-[", ""}, {"x/*", ""}, {"*", "lag>1GB"}, {"*", "rate>lots"}} {
		_, err := parseSelection(c[0], c[1])
		if _, ok := err.(usageError); !ok {
			t.Errorf("%q: want wrong usage, got %v", c, err)
		}
	}
}
