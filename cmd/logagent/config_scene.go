package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	"logagent/agent"
	"logagent/etcdcfg"
)

// scene is what a verb found in etcd.
type scene struct {
	documents []etcdcfg.Document          // selected, sorted by name
	written   map[string]etcdcfg.Document // what HOSTS names, also what the filter did not leave
	// What follows learnGroups has read.
	groups  map[string]etcdcfg.Document // every group's, selected or not
	entries map[string][]agent.Service  // of the groups
	in      map[string][]string         // the groups of each host that is in some, @names in their order
}

// look reads the selected documents; the filter is held against each by itself.
func look(ctx context.Context, client *etcdcfg.Client, sel selection) (scene, error) {
	sc, err := read(ctx, client, sel)
	sc.choose(sel)
	return sc, err
}

// lookThrough reads the selected documents; the filter is held against all that a host follows,
// what it has from its groups included.
func lookThrough(ctx context.Context, client *etcdcfg.Client, sel selection) (scene, error) {
	sc, err := read(ctx, client, sel)
	if err == nil && sel.one() == "" {
		err = sc.learnGroups(ctx, client)
	}
	sc.choose(sel)
	return sc, err
}

// read reads what HOSTS names.
func read(ctx context.Context, client *etcdcfg.Client, sel selection) (scene, error) {
	sc := scene{written: make(map[string]etcdcfg.Document)}
	if one := sel.one(); one != "" { // no need to read them all
		raw, revision, err := client.Get(ctx, one)
		if err == nil && revision != 0 {
			sc.written[one] = etcdcfg.Document{Name: one, Raw: raw, Revision: revision}
		}
		return sc, err
	}
	docs, _, err := client.Documents(ctx, sel.names)
	for _, d := range docs {
		sc.written[d.Name] = d
	}
	return sc, err
}

// choose takes the documents that the filter leaves.
func (sc *scene) choose(sel selection) {
	for _, name := range slices.Sorted(maps.Keys(sc.written)) {
		if sel.passes(name, sc.follows(name)) {
			sc.documents = append(sc.documents, sc.written[name])
		}
	}
}

// follows are the entries of a document and, where they are learnt, of its host's groups. A broken
// document has none: it is found by its name.
func (sc *scene) follows(name string) []agent.Service {
	var services []agent.Service
	if d, ok := sc.written[name]; ok {
		services, _, _ = agent.ParseDocument(d.Raw)
	}
	for _, group := range sc.in[name] {
		for _, e := range sc.entries[group] {
			if !slices.ContainsFunc(services, func(s agent.Service) bool { return s.LogPath == e.LogPath }) {
				services = append(services, e)
			}
		}
	}
	return services
}

// learnGroups reads which hosts are in which groups, and what stands in these.
func (sc *scene) learnGroups(ctx context.Context, client *etcdcfg.Client) error {
	var err error
	if sc.in, err = client.Groups(ctx, nil); err != nil || len(sc.in) == 0 {
		return err
	}
	docs, _, err := client.Documents(ctx, func(name string) bool { return strings.HasPrefix(name, "@") })
	sc.groups, sc.entries = make(map[string]etcdcfg.Document), make(map[string][]agent.Service)
	for _, d := range docs {
		sc.groups[d.Name] = d
		sc.entries[d.Name], _, _ = agent.ParseDocument(d.Raw) // a broken one gives its hosts nothing new
	}
	return err
}

// members are the selected hosts that are in groups, sorted.
func (sc *scene) members(sel selection) []string {
	var out []string
	for host := range sc.in {
		if sel.names(host) && sel.passes(host, sc.follows(host)) {
			out = append(out, host)
		}
	}
	slices.Sort(out)
	return out
}

// hostsOf counts the hosts that follow a group.
func (sc *scene) hostsOf(group string) int {
	n := 0
	for _, in := range sc.in {
		if slices.Contains(in, group) {
			n++
		}
	}
	return n
}

// addHosts adds the selected hosts that have no document yet: those that are named, and those of
// a glob that run an agent.
func (sc *scene) addHosts(ctx context.Context, client *etcdcfg.Client, sel selection) error {
	known := make(map[string]bool)
	add := func(name string) {
		if _, written := sc.written[name]; !written && !known[name] && sel.passes(name, sc.follows(name)) {
			known[name] = true
			sc.documents = append(sc.documents, etcdcfg.Document{Name: name})
		}
	}
	if sel.one() == "" {
		hosts, err := client.Hosts(ctx)
		if err != nil {
			return err
		}
		for _, host := range hosts {
			if sel.names(host) {
				add(host)
			}
		}
	}
	for _, name := range sel.literal() {
		add(name)
	}
	return nil
}
