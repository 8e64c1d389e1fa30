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
}

// Progress tells whether the host that follows docHost's key runs the revision, or one
// that was wanted after it. Revisions are never compared for order: what came later is
// known from the order in which they were learnt.
func (s *Store) Progress(docHost string, rev int64) Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
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
	run, ok := runner.running[key]
	p := Progress{AppliedAt: run.at}
	mine, theirs := slices.Index(h.desired, rev), slices.Index(h.desired, run.revision)
	p.Applied = ok && (run.revision == rev || mine >= 0 && theirs > mine)
	if !p.Applied {
		for _, d := range runner.documents() {
			if d.Refused != nil && d.Refused.Revision == rev {
				p.Refused, p.Error = true, d.Refused.Error
			}
		}
		if runner.best == sourceSummary && key == "" && runner.sum.Refused == rev {
			p.Refused, p.Error = true, runner.refusalError(rev)
		}
	}
	return p
}
