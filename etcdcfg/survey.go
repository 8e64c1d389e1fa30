package etcdcfg

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/agent"
)

// Surveyed is what etcd tells of one host.
type Surveyed struct {
	Host   string
	Live   *agent.Live   // nil: no agent runs
	Coarse *agent.Coarse // nil: none ever told its status
	// Config is what the host is wanted to follow: its own document first, those of the
	// addresses it told of, those of its groups; documents that are not there are left out.
	// A broken one has Refused set and no entries.
	Config agent.HostConfig
	// Held counts the entries that run of those broken ones; -1: nothing tells.
	Held    int
	Names   []string // of Config.Documents: the host, an address, @group
	Groups  []string // it belongs to, as it told last
	Version string   // of its agent, as it told last; "" not known
	// ServedBy is another host that follows this one's document, this being one of its
	// addresses; "" none.
	ServedBy string

	// GoneLeast is how long the host is without an agent at least; 0: it has one, never had,
	// or it is not known. GoneOver says that it is so long that nothing tells by how much more.
	GoneLeast time.Duration
	GoneOver  bool
}

// Never tells whether no agent ever told anything under this host id, as far as etcd knows.
func (s *Surveyed) Never() bool {
	return s.Live == nil && s.Coarse == nil && s.GoneLeast == 0 && !s.GoneOver
}

// Survey reads all hosts at one revision: those with a document, a live key, a status or a
// seen key, sorted. How long hosts are gone is asked for those that match only, one by one.
func (c *Client) Survey(ctx context.Context, match func(host string) bool) ([]Surveyed, error) {
	v := survey{c: c, docs: make(map[string]agent.Document), hosts: make(map[string]*Surveyed), leases: make(map[string]clientv3.LeaseID), seen: make(map[string]seenValue)}
	revision, err := v.documents(ctx)
	if err != nil {
		return nil, err
	}
	for prefix, take := range map[string]func(*Surveyed, *mvccpb.KeyValue){
		c.layout.Live(""): func(h *Surveyed, kv *mvccpb.KeyValue) {
			h.Live = new(agent.Live) // also where its value is nobody's: the key is what counts
			_ = json.Unmarshal(kv.Value, h.Live)
		},
		c.layout.Status(""): func(h *Surveyed, kv *mvccpb.KeyValue) {
			h.Coarse = new(agent.Coarse)
			_ = json.Unmarshal(kv.Value, h.Coarse)
		},
		c.layout.Seen(""): func(h *Surveyed, kv *mvccpb.KeyValue) {
			var s seenValue
			_ = json.Unmarshal(kv.Value, &s)
			v.leases[h.Host], v.seen[h.Host] = clientv3.LeaseID(kv.Lease), s
		},
	} {
		if _, err := c.pages(ctx, prefix, revision, false, func(kv *mvccpb.KeyValue) {
			if host, ok := hostUnder(prefix, string(kv.Key)); ok {
				take(v.host(host), kv)
			}
		}); err != nil {
			return nil, err
		}
	}
	return v.told(ctx, match)
}

// survey is what one Survey has read.
type survey struct {
	c      *Client
	docs   map[string]agent.Document // by name
	hosts  map[string]*Surveyed
	leases map[string]clientv3.LeaseID // of the seen keys
	seen   map[string]seenValue
}

func (v *survey) host(name string) *Surveyed {
	h := v.hosts[name]
	if h == nil {
		h = &Surveyed{Host: name}
		v.hosts[name] = h
	}
	return h
}

func (v *survey) documents(ctx context.Context) (revision int64, err error) {
	take := func(kv *mvccpb.KeyValue) {
		name, ok := v.c.layout.NameOf(string(kv.Key))
		if !ok {
			return
		}
		d := agent.Document{Key: string(kv.Key), Revision: kv.ModRevision}
		services, warnings, err := agent.ParseDocument(kv.Value)
		if err != nil {
			d.Refused = &agent.Refusal{Revision: kv.ModRevision, Error: err.Error()}
		}
		d.Services, d.Warnings = own(services, d.Key), warnings
		v.docs[name] = d
		if !isGroup(name) {
			v.host(name)
		}
	}
	if revision, err = v.c.pages(ctx, v.c.layout.before, 0, false, take); err != nil {
		return 0, err
	}
	_, err = v.c.pages(ctx, v.c.layout.groups(), revision, false, take)
	return revision, err
}

// told puts together what was read.
func (v *survey) told(ctx context.Context, match func(string) bool) ([]Surveyed, error) {
	served := make(map[string]string) // addresses whose document another host follows, by that one
	for _, h := range v.hosts {
		h.Groups, h.Version = v.seen[h.Host].Groups, v.seen[h.Host].Version
		if h.Live != nil {
			h.Groups, h.Version = h.Live.Groups, h.Live.Version
		}
		var names []string
		if h.Coarse != nil {
			for i, d := range h.Coarse.Documents {
				name, ok := v.c.layout.NameOf(d.Key)
				switch {
				case !ok || i == 0 || name == h.Host:
				case !isGroup(name):
					served[name] = h.Host
					names = append(names, name)
				case h.Live == nil && v.seen[h.Host].Version == "": // its agent tells no groups any more
					h.Groups = append(h.Groups, strings.TrimPrefix(name, "@"))
				}
			}
		}
		names = append([]string{h.Host}, names...)
		for _, g := range h.Groups {
			names = append(names, "@"+g)
		}
		h.Config.Host = h.Host
		for _, name := range names {
			if d, ok := v.docs[name]; ok {
				h.Names = append(h.Names, name)
				h.Config.Documents = append(h.Config.Documents, d)
			}
		}
	}
	for _, h := range v.hosts {
		h.Held = held(h)
	}
	var out []Surveyed
	for _, name := range slices.Sorted(maps.Keys(v.hosts)) {
		h := v.hosts[name]
		if !match(name) {
			continue
		}
		if h.Live == nil && h.Coarse == nil {
			h.ServedBy = served[name]
		}
		if h.Live == nil {
			if err := v.gone(ctx, h); err != nil {
				return nil, err
			}
		}
		out = append(out, *h)
	}
	return out, nil
}

// held counts the entries that a host runs of documents that are broken.
func held(h *Surveyed) int {
	broken := make(map[string]bool)
	for i, d := range h.Config.Documents {
		if d.Refused != nil {
			broken[d.Key] = true
			broken[""] = broken[""] || h.Names[i] == h.Host // its own goes without its key
		}
	}
	switch {
	case len(broken) == 0:
		return 0
	case h.Coarse == nil:
		return -1
	}
	wanted := make(map[string]bool)
	for _, e := range h.Config.Effective() {
		wanted[e.LogPath] = true
	}
	n := 0
	for _, e := range h.Coarse.Entries {
		if broken[e.Key] && !wanted[e.LogPath] {
			n++
		}
	}
	return n
}

// gone asks for how long a host is without an agent.
func (v *survey) gone(ctx context.Context, h *Surveyed) error {
	id := v.leases[h.Host]
	if id == clientv3.NoLease {
		h.GoneOver = h.Coarse != nil && h.Coarse.Seen
		if h.GoneOver {
			h.GoneLeast = GoneFor(0, seenTTL)
		}
		return nil
	}
	return v.c.read(ctx, "read how long "+h.Host+" is gone", func(ctx context.Context, etcd *clientv3.Client) error {
		left, ttl, err := leaseLeft(ctx, etcd, id)
		if err != nil {
			return err
		}
		if h.GoneOver = ttl == 0; h.GoneOver {
			ttl = seenTTL
		}
		h.GoneLeast = GoneFor(left, ttl)
		return nil
	})
}

// GoneFor is how long a host is gone at least, of whose seen key so much is left of what it
// has after each renewal: its agent may have lived on until just before the next one.
func GoneFor(left, ttl time.Duration) time.Duration { return max(ttl-left-2*seenEvery, 0) }
