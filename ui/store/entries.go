package store

import (
	"slices"
	"strings"
	"time"

	"logagent/agent"
)

// entryList is what a host is wanted to follow. Hosts that have no entries but those of the
// same groups share one.
type entryList struct {
	entries []Entry  // with the drift of the host; of a shared list: DriftUnknown
	sums    []string // of entries
	shared  bool
	as      [][]Entry // of a shared list: with the same drift for all, by Drift; made on demand
	terms   names     // what filters look in
}

// listOf makes the list in force for h: the first document to name a log_path wins.
func (s *Store) listOf(h *host) *entryList {
	var docs []*written
	shared := true
	for _, f := range s.followed(h) {
		if w := f.written; w != nil && w.doc != nil && len(w.doc.Services) > 0 {
			docs = append(docs, w)
			shared = shared && strings.HasPrefix(w.name, "@")
		}
	}
	if !shared || len(docs) == 0 {
		return merged(docs)
	}
	var key strings.Builder
	for _, w := range docs {
		key.WriteString(w.name)
		key.WriteByte(0)
	}
	l := s.lists[key.String()]
	if l == nil {
		l = merged(docs)
		l.shared, l.as = true, make([][]Entry, driftKinds)
		l.as[DriftUnknown] = l.entries
		s.lists[key.String()] = l
	}
	return l
}

func merged(docs []*written) *entryList {
	l := &entryList{}
	n := 0
	for _, w := range docs {
		n += len(w.doc.Services)
	}
	if n == 0 {
		return l
	}
	l.entries, l.sums = make([]Entry, 0, n), make([]string, 0, n)
	var seen map[string]bool // one document names no path twice
	if len(docs) > 1 {
		seen = make(map[string]bool, n)
	}
	for _, w := range docs {
		for i, e := range w.doc.Services {
			if seen[e.LogPath] {
				continue
			}
			if seen != nil {
				seen[e.LogPath] = true
			}
			e.Key = w.doc.Key
			l.entries = append(l.entries, Entry{Service: e, DocHost: w.name, Revision: w.doc.Revision})
			l.sums = append(l.sums, w.sums[i])
			l.terms.add(e.Service, e.LogPath, e.Topic)
		}
	}
	l.terms.end()
	return l
}

// with returns the entries with their drift. What was handed out before stays as it is;
// before is what this host had, mine whether it was of this list.
func (l *entryList) with(drift []Drift, before []Entry, mine bool) []Entry {
	if len(drift) == 0 {
		return l.entries
	}
	if !l.shared {
		if !says(l.entries, drift) {
			l.entries = drifted(l.entries, drift)
		}
		return l.entries
	}
	if first := drift[0]; !slices.ContainsFunc(drift, func(d Drift) bool { return d != first }) {
		if l.as[first] == nil {
			l.as[first] = drifted(l.entries, drift)
		}
		return l.as[first]
	}
	if mine && says(before, drift) {
		return before
	}
	return drifted(l.entries, drift)
}

func says(entries []Entry, drift []Drift) bool {
	for i := range entries {
		if entries[i].Drift != drift[i] {
			return false
		}
	}
	return true
}

func drifted(entries []Entry, drift []Drift) []Entry {
	out := make([]Entry, len(entries))
	copy(out, entries)
	for i := range out {
		out[i].Drift = drift[i]
	}
	return out
}

// add takes one entry's names; end must follow the last one.
func (n *names) add(service, path, topic string) {
	n.services = append(n.services, strings.ToLower(service))
	n.paths = append(n.paths, strings.ToLower(path))
	n.topic = append(n.topic, strings.ToLower(topic))
}

func (n *names) end() {
	parts := append(append(append([]string(nil), n.services...), n.paths...), n.topic...)
	n.all = strings.Join(parts, "\n")
}

// unwritten is what filters look in where no document tells: what the agent says it follows.
func (h *host) unwritten() names {
	var n names
	if h.detail != nil {
		for i := range h.detail.Services {
			e := &h.detail.Services[i]
			n.add(e.Service.Service, e.LogPath, e.Topic)
		}
	} else {
		for _, e := range h.coarseEntries() {
			n.add(e.Service, e.LogPath, "")
		}
	}
	n.end()
	return n
}

// Told is what the agent of a host told last of its entries.
type Told struct {
	Entries []agent.CoarseEntry // in its order; shared, never written
	// Detail says that the states are those of the newest detail. Those of the status key are
	// up to half a minute late, and tell of no entry that it is behind.
	Detail bool
	Age    time.Duration // since the agent told; negative: not known
}

// Told returns what the agent of a host told last of its entries; none where it told nothing.
func (s *Store) Told(name string) Told {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hosts[name]
	now := s.now()
	switch {
	case h == nil:
		return Told{Age: -1}
	case h.detailTells():
		entries := h.detail.Coarse().Entries
		for i := range entries {
			entries[i].State, entries[i].Cause = h.detail.Services[i].State, h.detail.Services[i].Cause
			if entries[i].State == agent.StateOK {
				entries[i].Cause = ""
			}
		}
		return Told{Entries: entries, Detail: true, Age: max(now.Sub(h.detailAt), 0)}
	case h.coarse == nil || h.coarse.At.IsZero():
		return Told{Entries: h.coarseEntries(), Age: -1}
	}
	return Told{Entries: h.coarse.Entries, Age: max(now.Sub(h.coarse.At.Add(-h.skew)), 0)}
}
