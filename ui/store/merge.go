package store

import (
	"cmp"
	"slices"
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

// detailTells tells whether the detail is newer than the status key, or as new.
func (h *host) detailTells() bool {
	return h.detail != nil && (h.coarse == nil || h.coarse.StateID != h.detail.StateID ||
		!newer(h.coarse.StateID, h.coarse.Boot, h.coarse.Seq, h.detail.StateID, h.detail.Boot, h.detail.Seq))
}

// documents as the agent last told of them.
func (h *host) documents() []agent.DocumentStatus {
	if h.detailTells() {
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
	fresh := h.stirred || h.retold || stale != h.row.Stale // what drift depends on
	before := h.list
	if h.stirred {
		h.list = s.listOf(h)
		h.terms = h.list.terms
		if h.doc == nil && len(h.list.entries) == 0 {
			h.terms = h.unwritten()
		}
		h.stirred = false
	}
	h.dirty, h.retold = false, false
	r := HostRow{Host: h.name, Live: h.live,
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
	// An agent that only its status key tells of is believed while it has its live key.
	known := !stale && (h.best != sourceNone || h.coarse != nil && h.live != nil)
	docs := s.states(h, known)
	r.Documents = h.row.Documents
	if !slices.Equal(docs, r.Documents) {
		r.Documents, fresh = slices.Clone(docs), true
	}
	r.Config, r.Desired, r.Running = configOf(docs), docs[0].Desired, docs[0].Running
	for _, d := range docs {
		r.Refused = cmp.Or(r.Refused, d.Refused)
	}
	if r.Config == ConfigRunning && h.doc == nil && !known {
		r.Config = ConfigUnknown
	}
	if fresh || known != h.known {
		drift, unwanted, held := s.drift(h, h.list, docs, known)
		h.entries, h.known = h.list.with(drift, h.entries, before == h.list), known
		r.Unwanted, r.Held, r.Drifting = unwanted, held, len(unwanted)+len(held)
		for _, d := range drift {
			if d > DriftNone {
				r.Drifting++
			}
		}
	} else {
		r.Unwanted, r.Held, r.Drifting = h.row.Unwanted, h.row.Held, h.row.Drifting
	}
	r.Entries, r.Groups = h.entries, h.groupNames
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
	all                    string // services, paths and topics, one a line
	services, paths, topic []string
}
