package store

import (
	"slices"
	"time"
)

// Progress is how far a written revision has come on the host that runs it.
type Progress struct {
	Applied   bool
	AppliedAt time.Time // when the first status that says so was received, on the store's clock
	Refused   bool
	Error     string // why it was refused

	Hosts   int // that follow the document; of a group those that have an agent
	Running int // of them, that run the revision or a later one
}

// Progress tells whether the host that follows docHost's key runs the revision, or one that
// was wanted after it. Revisions are never compared for order: what came later is known from
// the order in which they were learnt. Of a group ("@web") it tells of all its hosts that have
// an agent: applied where each of them runs it, refused where one of them refuses it.
func (s *Store) Progress(docHost string, rev int64) Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[docHost]; g != nil {
		return s.groupProgress(g, rev)
	}
	h := s.hosts[docHost]
	if h == nil {
		return Progress{}
	}
	runner, key := h, ""
	if h.doc != nil {
		if o := s.hosts[s.servedBy[h.doc.Key]]; o != nil && o != h {
			runner, key = o, h.doc.Key
		}
	}
	p := runner.progress(&h.written, key, rev)
	p.Hosts = 1
	if p.Applied {
		p.Running = 1
	}
	return p
}

// groupProgress leaves out hosts without an agent: they take the revision when they come back.
func (s *Store) groupProgress(g *group, rev int64) Progress {
	var p Progress
	for h := range g.hosts {
		if h.live == nil {
			continue
		}
		one := h.progress(&g.written, g.key(), rev)
		p.Hosts++
		if one.Refused && !p.Refused {
			p.Refused, p.Error = true, h.name+": "+one.Error
		}
		if one.Applied {
			p.Running++
			if one.AppliedAt.After(p.AppliedAt) {
				p.AppliedAt = one.AppliedAt
			}
		}
	}
	p.Applied = p.Hosts > 0 && p.Running == p.Hosts
	return p
}

// progress of one document on the host that follows it; key "" is the host's own.
func (h *host) progress(w *written, key string, rev int64) Progress {
	run, ok := h.running[key]
	p := Progress{AppliedAt: run.at}
	mine, theirs := slices.Index(w.desired, rev), slices.Index(w.desired, run.revision)
	p.Applied = ok && (run.revision == rev || mine >= 0 && theirs > mine)
	if p.Applied {
		return p
	}
	for _, d := range h.documents() {
		if d.Refused != nil && d.Refused.Revision == rev {
			p.Refused, p.Error = true, d.Refused.Error
		}
	}
	if h.best == sourceSummary && key == "" && h.sum.Refused == rev && !p.Refused {
		p.Refused, p.Error = true, "the reason has not arrived yet"
	}
	return p
}
