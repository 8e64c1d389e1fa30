package store

import (
	"strings"

	"logagent/agent"
)

// states says how far each document of h has come, in order of precedence; its own comes
// first. What neither stands in etcd nor runs is left out, unless it is the own one. known
// tells whether the host was heard of lately enough to be believed.
func (s *Store) states(h *host, known bool) []DocState {
	out := s.scratch[:0]
	told := h.documents()
	for i, f := range s.followed(h) {
		d := DocState{Name: s.nameOf(f.key), Key: f.key}
		var doc *agent.Document // as etcd holds it
		if f.written != nil {
			d.Name, doc = f.name, f.doc
		}
		if i == 0 {
			d.Running, d.Refused = h.running[""].revision, h.refusedRevision()
		} else if f.key != "" {
			d.Running = h.running[f.key].revision
		}
		if doc != nil {
			d.Desired = wanted(doc)
		}
		for j := range told {
			r := told[j].Refused
			switch {
			case r == nil:
			case i == 0 && j == 0 && r.Revision == d.Refused: // a summary may tell of a newer one
				d.Error = r.Error
			case i > 0 && j > 0 && told[j].Key == d.Key:
				d.Refused, d.Error = r.Revision, r.Error
			}
		}
		if i > 0 && d.Desired == 0 && d.Running == 0 {
			continue
		}
		switch {
		case doc != nil && doc.Refused != nil:
			d.Config = ConfigRefused
			if d.Refused != d.Desired || d.Error == "" {
				d.Refused, d.Error = d.Desired, doc.Refused.Error
			}
		case d.Refused == d.Desired && d.Refused != 0:
			d.Config = ConfigRefused
		case !known, doc == nil && !s.synced:
			d.Config = ConfigUnknown
		case d.Running == d.Desired:
			d.Config = ConfigRunning
		default:
			d.Config = ConfigPending
		}
		out = append(out, d)
	}
	s.scratch = out
	return out
}

// configOf is the worst of all documents of a host.
func configOf(docs []DocState) Config {
	rank := [...]int{ConfigRunning: 0, ConfigUnknown: 1, ConfigPending: 2, ConfigRefused: 3}
	out := ConfigRunning
	for i := range docs {
		if rank[docs[i].Config] > rank[out] {
			out = docs[i].Config
		}
	}
	return out
}

// runs is what an agent tells of its entries, by place.
type runs struct {
	detail []agent.ServiceStatus
	coarse []agent.CoarseEntry
}

func (r *runs) len() int { return len(r.detail) + len(r.coarse) }

func (r *runs) path(i int) string {
	if r.detail != nil {
		return r.detail[i].LogPath
	}
	return r.coarse[i].LogPath
}

// is tells whether entry i runs as wanted, and whether the agent tells.
func (r *runs) is(i int, wanted *agent.Service, sum string) (same, told bool) {
	if r.detail != nil {
		return r.detail[i].Runs().Same(wanted), true
	}
	return r.coarse[i].Sum == sum, r.coarse[i].Sum != ""
}

// told is what h told last of its entries.
func (h *host) told() runs {
	if h.detailTells() {
		return runs{detail: h.detail.Services}
	}
	return runs{coarse: h.coarseEntries()}
}

// drift tells of each wanted entry whether it runs, which run that are not wanted, and which
// run of a document that nobody can read.
func (s *Store) drift(h *host, l *entryList, docs []DocState, known bool) (out []Drift, unwanted, held []agent.CoarseEntry) {
	out = s.drifts[:0]
	told := h.told()
	var place map[string]int
	matched := 0
	for i := range l.entries {
		e := &l.entries[i]
		d := DriftUnknown
		doc := stateOf(docs, e.DocHost)
		at := -1
		switch {
		case i < told.len() && told.path(i) == e.Service.LogPath:
			at = i // most hosts run what is wanted, in its order
		case told.len() > 0:
			if place == nil {
				place = make(map[string]int, told.len())
				for j := range told.len() {
					place[told.path(j)] = j
				}
			}
			if j, ok := place[e.Service.LogPath]; ok {
				at = j
			}
		}
		if at >= 0 {
			matched++
		}
		switch {
		case doc.Config == ConfigRefused && s.brokenNow(e.DocHost):
			d = DriftRefused
		case !known || doc.Config == ConfigUnknown:
		case h.detail == nil && h.coarse == nil: // a summary alone tells of no entry
		case at < 0 && doc.Config == ConfigRefused:
			d = DriftRefused
		case at < 0 && doc.Config == ConfigRunning && h.toldRunning(doc):
			d = DriftMissing
		case at < 0:
			d = DriftPending
		default:
			same, tells := told.is(at, &e.Service, l.sums[i])
			switch {
			case !tells && doc.Config != ConfigRefused:
			case tells && same:
				d = DriftNone
			case doc.Config == ConfigRefused:
				d = DriftRefused
			default:
				d = DriftPending
			}
		}
		out = append(out, d)
	}
	s.drifts = out
	if known && matched < told.len() {
		unwanted, held = s.unwanted(h, l, &told)
	}
	return out, unwanted, held
}

// unwanted are the entries that run and stand in no document. Those of a document that etcd
// holds broken, and that was never seen whole, are held apart: nobody knows what it asks for.
func (s *Store) unwanted(h *host, l *entryList, told *runs) (out, held []agent.CoarseEntry) {
	wanted := make(map[string]bool, len(l.entries))
	for i := range l.entries {
		wanted[l.entries[i].Service.LogPath] = true
	}
	all := told.coarse
	if told.detail != nil {
		c := h.detail.Coarse()
		all = c.Entries
	}
	for _, e := range all {
		name := h.name
		if e.Key != "" {
			name = s.nameOf(e.Key)
		}
		switch w := s.document(name); {
		case wanted[e.LogPath]:
		case w != nil && w.doc != nil && w.doc.Refused != nil && w.doc.Revision == 0:
			held = append(held, e)
		default:
			out = append(out, e)
		}
	}
	return out, held
}

// document returns what is known of a name's document; nil: nothing.
func (s *Store) document(name string) *written {
	if strings.HasPrefix(name, "@") {
		if g := s.groups[name]; g != nil {
			return &g.written
		}
		return nil
	}
	if h := s.hosts[name]; h != nil {
		return &h.written
	}
	return nil
}

// brokenNow tells whether etcd holds something under the name that is no document.
func (s *Store) brokenNow(name string) bool {
	w := s.document(name)
	return w != nil && w.doc != nil && w.doc.Refused != nil
}

func stateOf(docs []DocState, name string) DocState {
	for i := range docs {
		if docs[i].Name == name {
			return docs[i]
		}
	}
	return DocState{}
}

// toldRunning tells whether what h told of its entries belongs to the running revision: a
// summary may have told of a newer one since.
func (h *host) toldRunning(d DocState) bool {
	for i, t := range h.documents() {
		if i == 0 && d.Name == h.name || t.Key == d.Key {
			return t.Running == d.Running
		}
	}
	return false
}
