package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/spf13/cobra"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/ui/store"
)

// selection says which documents a verb is about: of hosts, and of groups, which begin with @.
type selection struct {
	patterns []string // names and globs
	filter   store.Filter
	text     string // of the filter, as it was typed
	byEntry  bool   // the filter is held against each entry by itself, not against all of a host
}

// selectFlags are those of every verb that takes several documents.
type selectFlags struct {
	all    bool
	filter string
}

func (f *selectFlags) add(c *cobra.Command) {
	c.Flags().BoolVar(&f.all, "all", false, "every host, instead of HOSTS")
	c.Flags().StringVar(&f.filter, "filter", "", "of these, the hosts that the console's `FILTER` leaves, by host, service, path, topic, rate: a host's rate is the sum of its entries'")
}

// given is how many arguments the flags stand for.
func (f *selectFlags) given() int {
	if f.all {
		return 1
	}
	return 0
}

const hostsForm = "a host, @group, a glob such as 'web-*', or several with commas between"

// take cuts HOSTS off the arguments, unless --all stands for it.
func (f *selectFlags) take(args []string) (selection, []string, error) {
	hosts := "*"
	if !f.all {
		if len(args) == 0 {
			return selection{}, nil, usage("which hosts? %s, or --all", hostsForm)
		}
		hosts, args = args[0], args[1:]
	}
	s, err := parseSelection(hosts, f.filter)
	return s, args, err
}

// parseSelection reads HOSTS and a filter.
func parseSelection(hosts, filter string) (selection, error) {
	s := selection{text: filter}
	for _, p := range splitOutside(hosts) {
		if p = strings.TrimSpace(p); p == "" {
			continue
		}
		var err error
		if isGlob(p) {
			switch {
			case strings.Contains(p, "/"):
				err = fmt.Errorf("%s: names of hosts hold no slash", shorten(p))
			case !doublestar.ValidatePattern(p):
				err = fmt.Errorf("%s is no glob: a bracket, a brace or an escape in it does not end", shorten(p))
			}
		} else {
			err = etcdcfg.CheckName(p)
		}
		if err != nil {
			return s, usage("%w", err)
		}
		s.patterns = append(s.patterns, p)
	}
	if len(s.patterns) == 0 {
		return s, usage("%q names no host: %s", hosts, hostsForm)
	}
	var err error
	if s.filter, err = store.ParseFilter(filter); err == nil {
		err = s.filter.CheckWanted()
	}
	if err != nil {
		return s, usage("--filter: %w", err)
	}
	return s, nil
}

func isGlob(s string) bool { return strings.ContainsAny(s, `*?[]{}\`) }

// checkOne refuses what several documents are asked for with, where a whole one is meant: it
// would become a host of that literal name.
func checkOne(name string) error {
	if isGlob(name) || strings.Contains(name, ",") {
		return usage("%s: a whole document is for one host or @group; for several use config import or config apply", shorten(name))
	}
	if err := etcdcfg.CheckName(name); err != nil {
		return usage("host %q: %w", name, err)
	}
	return nil
}

// splitOutside cuts at commas outside of braces and brackets.
func splitOutside(s string) []string {
	var out []string
	from, depth := 0, 0
	for i, r := range s {
		switch {
		case r == '{' || r == '[':
			depth++
		case r == '}' || r == ']':
			depth--
		case r == ',' && depth <= 0:
			out, from = append(out, s[from:i]), i+1
		}
	}
	return append(out, s[from:])
}

// one is the name that is asked for by itself; "" where it may be several.
func (s *selection) one() string {
	if len(s.patterns) == 1 && !isGlob(s.patterns[0]) && s.filter.Empty() {
		return s.patterns[0]
	}
	return ""
}

// literal are the names that are asked for by name.
func (s *selection) literal() []string {
	var out []string
	for _, p := range s.patterns {
		if !isGlob(p) {
			out = append(out, p)
		}
	}
	return out
}

// names tells whether a document is asked for by its name. A glob stands for groups only where
// it begins with @.
func (s *selection) names(name string) bool {
	for _, p := range s.patterns {
		if p == name {
			return true
		}
		if strings.HasPrefix(p, "@") == strings.HasPrefix(name, "@") && doublestar.MatchUnvalidated(p, name) {
			return true
		}
	}
	return false
}

// passes tells whether the filter leaves a document, whose entries are nil where it is broken.
func (s *selection) passes(name string, entries []agent.Service) bool {
	switch {
	case s.filter.Empty():
		return true
	case s.byEntry:
		return slices.ContainsFunc(entries, func(e agent.Service) bool { return s.filter.MatchesWanted(name, []agent.Service{e}) })
	}
	return s.filter.MatchesWanted(name, entries)
}
