package store

import (
	"slices"
	"strings"
	"time"

	"logagent/agent"
)

// written is one document as it stands in etcd, a host's or a group's.
type written struct {
	name    string          // the host, or @group
	doc     *agent.Document // nil: none seen
	docAt   time.Time       // when the wanted revision changed last
	desired []int64         // wanted revisions in the order they were learnt, newest last
	sums    []string        // agent.Service.Sum of doc.Services
}

// maxDesired bounds how many wanted revisions of one document are remembered.
const maxDesired = 32

// take notes the document as etcd holds it now.
func (w *written) take(d *agent.Document, now time.Time) {
	if w.doc == nil || wanted(w.doc) != wanted(d) {
		w.docAt = now
		w.learn(wanted(d))
	}
	w.doc = d
	w.sums = make([]string, len(d.Services))
	for i := range d.Services {
		w.sums[i] = d.Services[i].Sum()
	}
}

// learn makes rev the newest wanted revision; one seen before (a restored etcd) moves up.
func (w *written) learn(rev int64) {
	if i := slices.Index(w.desired, rev); i >= 0 {
		w.desired = slices.Delete(w.desired, i, i+1)
	}
	if len(w.desired) == maxDesired {
		w.desired = slices.Delete(w.desired, 0, 1)
	}
	w.desired = append(w.desired, rev)
}

// gone tells whether etcd holds nothing under the key, as far as is known.
func (w *written) gone() bool { return w.doc == nil || w.doc.Revision == 0 && w.doc.Refused == nil }

// wanted is the revision a host should take or refuse.
func wanted(d *agent.Document) int64 {
	if d.Refused != nil {
		return d.Refused.Revision
	}
	return d.Revision
}

// group is a document that many hosts follow.
type group struct {
	written
	hosts map[*host]struct{} // its members, as far as they told
}

// group returns a group, made where it is new.
func (s *Store) group(name string) *group {
	g := s.groups[name]
	if g == nil {
		g = &group{written: written{name: name}, hosts: make(map[*host]struct{})}
		s.groups[name] = g
	}
	return g
}

// SetGroup takes the document of a group, whose name begins with @, as etcd holds it now.
// Revision 0 with no entries means that the key is gone. It touches each member once; their
// entries are one list that all of them share.
func (s *Store) SetGroup(name string, d agent.Document) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.group(name)
	g.take(&d, s.now())
	if d.Key != "" && s.keyName[d.Key] != name {
		s.keyName[d.Key] = name
		for _, h := range s.hosts { // members may have told of the key before
			s.join(h)
		}
	}
	clear(s.lists)
	for h := range g.hosts {
		h.dirty, h.stirred = true, true
	}
	s.drop(g)
}

// drop forgets a group of which nothing is left to show.
func (s *Store) drop(g *group) {
	if g.gone() && len(g.hosts) == 0 {
		delete(s.groups, g.name)
	}
}

// GroupHosts returns the hosts that follow a group's document, by name.
func (s *Store) GroupHosts(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.groups[name]
	if g == nil {
		return nil
	}
	out := make([]string, 0, len(g.hosts))
	for h := range g.hosts {
		out = append(out, h.name)
	}
	slices.Sort(out)
	return out
}

// nameOf is the document that stands under a key; "" where that is not known.
func (s *Store) nameOf(key string) string {
	if name, ok := s.keyName[key]; ok {
		return name
	}
	if s.opts.NameOf == nil {
		return ""
	}
	name, ok := s.opts.NameOf(key)
	if !ok {
		return ""
	}
	s.keyName[key] = name
	return name
}

// join puts h into the groups it says to be in, and out of those it does not, and notes where
// it follows other keys than before.
func (s *Store) join(h *host) {
	if told := h.documents(); !slices.EqualFunc(h.toldKeys, told, func(key string, d agent.DocumentStatus) bool { return key == d.Key }) {
		for _, key := range h.toldKeys { // addresses of other hosts, or of none, by now
			if s.servedBy[key] == h.name {
				delete(s.servedBy, key)
			}
		}
		h.toldKeys = h.toldKeys[:0]
		for i := range told {
			h.toldKeys = append(h.toldKeys, told[i].Key)
		}
		h.dirty, h.stirred = true, true
	}
	now := s.groupsTold(h)
	if slices.Equal(now, h.groups) {
		return
	}
	for _, name := range h.groups {
		if g := s.groups[name]; g != nil && !slices.Contains(now, name) {
			delete(g.hosts, h)
			s.drop(g)
		}
	}
	h.groups, h.groupNames, h.lowerGroups = now, nil, nil
	for _, name := range now {
		s.group(name).hosts[h] = struct{}{}
		h.groupNames = append(h.groupNames, name[1:])
		h.lowerGroups = append(h.lowerGroups, strings.ToLower(name[1:]))
	}
	h.dirty, h.stirred = true, true
}

// groupsTold are the groups of h in order: its live key names them; without one, the keys it
// told of last do.
func (s *Store) groupsTold(h *host) []string {
	var out []string
	if h.live != nil && len(h.live.Groups) > 0 {
		for _, g := range h.live.Groups {
			out = append(out, "@"+g)
		}
		return out
	}
	for i, d := range h.documents() {
		if name := s.nameOf(d.Key); i > 0 && strings.HasPrefix(name, "@") && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// leave takes h out of its groups.
func (s *Store) leave(h *host) {
	for _, name := range h.groups {
		if g := s.groups[name]; g != nil {
			delete(g.hosts, h)
			s.drop(g)
		}
	}
	h.groups = nil
}

// follows is one document that a host follows.
type follows struct {
	*written        // nil: nothing is known of it
	key      string // "" where neither etcd nor the agent told it
}

// followed returns the documents of h in order of precedence: its own, those of its addresses
// as the agent lists them, those of its groups. The own one is always first, also where there
// is none. The slice is the store's own and good until the next call.
func (s *Store) followed(h *host) []follows {
	out := append(s.follows[:0], follows{&h.written, h.key()})
	told := h.documents()
	for i, d := range told {
		if name := s.nameOf(d.Key); i > 0 && name != h.name && !strings.HasPrefix(name, "@") {
			out = append(out, follows{s.document(name), d.Key})
		}
	}
	for _, name := range h.groups {
		f := follows{s.document(name), ""}
		if f.written != nil {
			f.key = f.written.key()
		}
		for i := 1; i < len(told) && f.key == ""; i++ {
			if s.nameOf(told[i].Key) == name {
				f.key = told[i].Key
			}
		}
		out = append(out, f)
	}
	s.follows = out
	return out
}

func (w *written) key() string {
	if w.doc == nil {
		return ""
	}
	return w.doc.Key
}
