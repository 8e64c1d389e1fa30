package store

import (
	"slices"
	"strings"
	"time"

	"logagent/agent"
)

// touchEntries marks what a change of h's document or keys makes stale: h itself, and the
// host that follows h's key too.
func (s *Store) touchEntries(h *host) {
	h.dirty, h.stirred = true, true
	if h.doc == nil {
		return
	}
	if o := s.hosts[s.servedBy[h.doc.Key]]; o != nil {
		o.dirty, o.stirred = true, true
	}
}

// hidden tells whether h is only an address whose key another host follows: its entries
// are shown there.
func (s *Store) hidden(h *host) bool {
	if h.doc == nil || h.live != nil || h.sum != nil || h.detail != nil || h.coarse != nil {
		return false
	}
	o := s.servedBy[h.doc.Key]
	return o != "" && o != h.name
}

// wantedEntries are the entries in force for h: its own document first, then those of its
// addresses in the order the agent lists them; the first to name a log_path wins.
func (s *Store) wantedEntries(h *host) []Entry {
	var out []Entry
	seen := make(map[string]bool)
	take := func(name string, d *agent.Document) {
		for _, e := range d.Services {
			if seen[e.LogPath] {
				continue
			}
			seen[e.LogPath] = true
			e.Key = d.Key
			out = append(out, Entry{Service: e, DocHost: name, Revision: d.Revision})
		}
	}
	if h.doc != nil {
		take(h.name, h.doc)
	}
	for i, d := range h.documents() {
		if i == 0 {
			continue // the own key, taken above as etcd has it now
		}
		if o := s.hosts[s.keyHost[d.Key]]; o != nil && o != h && o.doc != nil {
			take(o.name, o.doc)
		}
	}
	return out
}

// documents as the agent last told of them.
func (h *host) documents() []agent.DocumentStatus {
	if h.detail != nil && (h.coarse == nil || h.coarse.StateID != h.detail.StateID ||
		!newer(h.coarse.StateID, h.coarse.Boot, h.coarse.Seq, h.detail.StateID, h.detail.Boot, h.detail.Seq)) {
		return h.detail.Documents
	}
	if h.coarse != nil {
		return h.coarse.Documents
	}
	return nil
}

// refresh makes the row of h again where something changed or it has become stale.
func (s *Store) refresh(h *host, now time.Time) {
	at := h.statusAt()
	stale := h.best != sourceNone && (now.Sub(at) > s.stale || s.doubt && !h.heard)
	if !h.dirty && stale == h.row.Stale {
		return
	}
	if h.stirred {
		h.entries = s.wantedEntries(h)
		h.terms.fill(h)
		h.stirred = false
	}
	h.dirty = false
	r := HostRow{Host: h.name, Live: h.live, Entries: h.entries,
		HasStatus: h.best != sourceNone, Heard: h.heard, Stale: stale}
	switch h.best {
	case sourceSummary:
		r.fromSummary(h.sum, &h.slope)
		if n := h.fileless(); n > 0 { // a summary counts failing files only
			r.Failing += n
			r.State = agent.StateFailing
		}
	case sourceDetail:
		r.fromDetail(h.detail, &h.slope)
	default:
		for _, e := range h.coarseEntries() {
			r.Files += e.Files
		}
	}
	if r.BehindFor < time.Second && r.State == agent.StateOK {
		r.Drain = Drain{} // what is on its way to the broker is no lag worth a forecast
	}
	s.configOf(h, &r)
	r.State = h.state(&r)
	h.row = r
}

// statusAt is when the status the numbers come from was made, on the store's clock.
func (h *host) statusAt() time.Time {
	if h.best == sourceDetail && (h.sum == nil || h.sumAt.Before(h.detailAt)) {
		return h.detailAt
	}
	return h.sumAt
}

func (r *HostRow) fromSummary(m *agent.Summary, sl *slope) {
	r.Files, r.Failing, r.Behind = m.Files, m.Failing, m.Behind
	r.LagBytes = m.Lag
	r.BehindFor, r.BehindAtLeast = time.Duration(m.BehindS)*time.Second, m.BehindS < 0
	if r.BehindAtLeast {
		r.BehindFor = -r.BehindFor
	}
	r.In, r.Out, r.Limit, r.Throttle = float64(m.In), float64(m.Out), m.Limit, m.Throttle
	r.InEstimate = m.Behind > 0 && r.LagBytes > 0
	r.Drain = Drain{}
	if r.LagBytes > 0 {
		r.Drain = drainBySlope(r.LagBytes, sl)
	}
	switch {
	case m.Failing > 0 || m.KafkaBad:
		r.State = agent.StateFailing
	case m.Behind > 0:
		r.State = agent.StateBehind
	default:
		r.State = agent.StateOK
	}
}

func (r *HostRow) fromDetail(d *agent.Status, sl *slope) {
	m := d.Summary()
	r.fromSummary(&m, sl)
	r.In, r.Out = d.Totals.InLinesPerSec, d.Totals.OutLinesPerSec
	r.BehindFor = time.Duration(d.Totals.BehindSeconds * float64(time.Second))
	r.BehindAtLeast = d.Totals.BehindAtLeast
	for i := range d.Services { // entries without any file fail too
		if d.Services[i].FileCount == 0 && d.Services[i].State == agent.StateFailing {
			r.Failing++
			r.State = agent.StateFailing
		}
	}
}

// configOf compares the wanted with the running revision: equal or not, never more.
func (s *Store) configOf(h *host, r *HostRow) {
	own := h.running[""]
	r.Running = own.revision
	if h.doc == nil {
		if !s.synced || h.best == sourceNone && h.coarse == nil {
			return
		}
		if own.revision == 0 {
			r.Config = ConfigRunning
		} else {
			r.Config = ConfigPending
		}
		return
	}
	r.Desired = wanted(h.doc)
	switch {
	case h.doc.Refused != nil, h.refusedRevision() == r.Desired && r.Desired != 0:
		r.Config = ConfigRefused
	case h.best == sourceNone && h.coarse == nil, r.Stale:
		r.Config = ConfigUnknown
	case own.revision == r.Desired:
		r.Config = ConfigRunning
	default:
		r.Config = ConfigPending
	}
}

// refusedRevision is the document revision the agent last refused; 0: none.
func (h *host) refusedRevision() int64 {
	if h.best == sourceSummary {
		return h.sum.Refused
	}
	if ds := h.documents(); len(ds) > 0 && ds[0].Refused != nil {
		return ds[0].Refused.Revision
	}
	return 0
}

func (h *host) state(r *HostRow) agent.State {
	switch {
	case r.Config == ConfigRefused:
		return agent.StateFailing
	case r.Stale:
		return agent.StateUnknown
	case !r.HasStatus:
		if slices.ContainsFunc(h.coarseEntries(), func(e agent.CoarseEntry) bool { return e.State == agent.StateFailing }) {
			return agent.StateFailing
		}
		return agent.StateUnknown
	case r.State == agent.StateOK && h.allPaused():
		return agent.StatePaused
	}
	return r.State
}

func (h *host) allPaused() bool {
	return len(h.entries) > 0 && !slices.ContainsFunc(h.entries, func(e Entry) bool { return !e.Service.Paused })
}

// fileless counts the failing entries that have no file at all, by the status key.
func (h *host) fileless() int {
	n := 0
	for _, e := range h.coarseEntries() {
		if e.State == agent.StateFailing && e.Files == 0 {
			n++
		}
	}
	return n
}

func (h *host) coarseEntries() []agent.CoarseEntry {
	if h.coarse == nil {
		return nil
	}
	return h.coarse.Entries
}

// names is what filter words and text fields look in, in lower case.
type names struct {
	all                    string // host, services, paths and topics, one a line
	services, paths, topic []string
}

func (n *names) fill(h *host) {
	*n = names{}
	add := func(service, path, topic string) {
		n.services = append(n.services, strings.ToLower(service))
		n.paths = append(n.paths, strings.ToLower(path))
		n.topic = append(n.topic, strings.ToLower(topic))
	}
	for i := range h.entries {
		e := &h.entries[i].Service
		add(e.Service, e.LogPath, e.Topic)
	}
	if h.doc == nil {
		if h.detail != nil {
			for i := range h.detail.Services {
				e := &h.detail.Services[i]
				add(e.Service.Service, e.LogPath, e.Topic)
			}
		} else {
			for _, e := range h.coarseEntries() {
				add(e.Service, e.LogPath, "")
			}
		}
	}
	parts := append([]string{strings.ToLower(h.name)}, n.services...)
	parts = append(append(parts, n.paths...), n.topic...)
	n.all = strings.Join(parts, "\n")
}
