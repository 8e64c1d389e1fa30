package agent

import "slices"

// A copy that ends before the position (lines came, and were read, between the copy and the
// truncation) cannot be proven by the anchor, and the head alone may be a banner that every
// file begins with. So some older anchors are kept, at growing distances: one of them lies
// in any such copy that is not tiny.

// anchorAt is an anchor with its position.
type anchorAt struct {
	Off  int64 `json:"off"`
	Mark mark  `json:"mark"` // the bytes before Off
}

// trailSteps are the distances: of each the newest anchor at least that far behind is kept,
// and the one that will take its place.
var trailSteps = [...]int64{1 << 10, 32 << 10, 1 << 20}

// trail are older anchors, the farthest back first. It is never changed in place: the loop may
// hold an older one.
type trail []anchorAt

// with returns the trail after a move to off.
func (t trail) with(off int64, m mark) trail {
	if n := len(t); n > 0 && off-t[n-1].Off < trailSteps[0] {
		return t
	}
	out := make(trail, 0, len(t)+1)
	for i, a := range t {
		behind := off - a.Off
		for _, step := range trailSteps {
			// a serves step if it is behind by that much and its successor is not; or it will
			// once the position has moved on, being the farthest that is nearer.
			next := int64(0)
			if i+1 < len(t) {
				next = off - t[i+1].Off
			}
			before := int64(-1)
			if i > 0 {
				before = off - t[i-1].Off
			}
			if behind >= step && next < step || behind < step && (before < 0 || before >= step) {
				out = append(out, a)
				break
			}
		}
	}
	return append(out, anchorAt{off, m})
}

// until returns the trail of a reader that went back to pos.
func (t trail) until(pos int64) trail {
	n := len(t)
	for n > 0 && t[n-1].Off > pos {
		n--
	}
	return t[:n:n]
}

// within returns the newest anchor that lies in a content of size bytes.
func (t trail) within(size int64) (a anchorAt, ok bool) {
	for _, a := range slices.Backward(t) {
		if a.Off <= size {
			return a, true
		}
	}
	return anchorAt{}, false
}

// copiedBy tells whether a content that ends before the position is a copy; known is false
// where it has to be inspected for that.
func (t trail) copiedBy(ct content) (ok, known bool) {
	a, have := t.within(ct.length())
	if !have {
		return false, true
	}
	return ct.holds(a.Mark, a.Off)
}
