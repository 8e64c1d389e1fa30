package agent

// span is a stretch of a file between two positions of its reader: one batch's bytes, or
// bytes that needed no sending.
type span struct {
	start, end int64
	anchor     mark // the bytes before end
	lineEnd    bool // end is the end of a line: committed may rest there
	piece      bool // part of a line longer than max_line_bytes
	lines      int  // lines that count as delivered with this span
	verdict    verdictState
}

type verdictState uint8

const (
	waiting verdictState = iota
	acked
	failed
)

// window knows what of one incarnation is in flight, in file order, and moves committed
// over the contiguous acknowledged prefix. It belongs to the agent's loop.
type window struct {
	owner           *incarnation // whose position it moves; nil: its bytes are gone from its file
	orphaned        bool         // they may stand in a copy that is looked for
	committed       int64
	committedAnchor mark
	spans           []*span // in file order; the first is never acked
	unresolved      int     // spans without a verdict
	inFlightBytes   int64   // memory of the batches without a verdict
	failedAny       bool    // a span failed: reading stops until all are resolved, then rewind
}

func (w *window) add(s *span) {
	w.spans = append(w.spans, s)
	if s.verdict == waiting {
		w.unresolved++
	} else {
		w.advance()
	}
}

// resolve notes a verdict and tells whether committed moved.
func (w *window) resolve(s *span, ok bool) bool {
	w.unresolved--
	if !ok {
		s.verdict = failed
		w.failedAny = true
		return false
	}
	s.verdict = acked
	return w.advance()
}

// advance drops the acked prefix. Committed moves to the last line end in it; pieces of a
// line whose end is not acked yet stay, so that a crash begins the line again.
func (w *window) advance() bool {
	n := 0
	for i, s := range w.spans {
		if s.verdict != acked {
			break
		}
		if s.lineEnd {
			n = i + 1
		}
	}
	if n == 0 {
		return false
	}
	last := w.spans[n-1]
	w.committed, w.committedAnchor = last.end, last.anchor
	clear(w.spans[:n])
	w.spans = w.spans[n:]
	if len(w.spans) == 0 {
		w.spans = nil
	}
	return true
}

// rewind empties a window in which every span has its verdict, and returns the acked
// stretches beyond committed, in order: reading begins again at committed and leaves them
// out, so that nothing is doubled. Pieces of a line that was not wholly sent are not
// left out: that line is sent again from its first piece.
func (w *window) rewind() []*span {
	keep := w.leftOut()
	w.spans, w.failedAny = nil, false
	return keep
}

// leftOut are the acked stretches that a rewind would keep at this moment.
func (w *window) leftOut() []*span {
	var keep []*span
	lineStart := 0 // index in keep where the pieces of an open line begin
	whole := true  // all spans of the open line are acked
	for _, s := range w.spans {
		if s.verdict == acked {
			keep = append(keep, s)
		} else {
			whole = false
		}
		if s.lineEnd {
			if !whole {
				keep = keep[:lineStart] // its pieces are sent again with it
			}
			lineStart, whole = len(keep), true
		}
	}
	return keep[:lineStart] // a line may still be open at the end of the window
}

// flight is a batch on its way: where its verdict belongs and what memory it holds.
type flight struct {
	win  *window
	span *span
	src  *source
	buf  *buffer
	cost int64 // memory charged to the budget
}

// stretch is an acknowledged part of a file beyond committed, as the checkpoint keeps it.
type stretch struct {
	Start  int64 `json:"start"`
	End    int64 `json:"end"`
	Anchor mark  `json:"anchor"`
}

// maxAhead bounds the stretches kept of one file; beyond it lines are sent again after
// a restart rather than the checkpoint growing without bound.
const maxAhead = 64

// ahead returns the acknowledged stretches beyond committed, joined where they touch:
// those in the window and those a rewound reader has not come to yet.
func (w *window) ahead(skips []*span) []stretch {
	var out []stretch
	for _, s := range append(w.spans[:len(w.spans):len(w.spans)], skips...) {
		if s.verdict != acked || s.piece || s.end == s.start {
			continue
		}
		if n := len(out); n > 0 && out[n-1].End == s.start {
			out[n-1].End, out[n-1].Anchor = s.end, s.anchor
			continue
		}
		if len(out) == maxAhead {
			break
		}
		out = append(out, stretch{s.start, s.end, s.anchor})
	}
	return out
}
