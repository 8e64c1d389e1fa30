package agent

import (
	"iter"
	"os"
	"slices"
	"time"
)

// source is one path of one entry: the file that stands there and those that stood there
// before and are not read to their end. It belongs to the loop.
type source struct {
	entry      *entry
	born       time.Time
	path       string
	active     *incarnation
	rotated    []*incarnation // the oldest first
	candidates []*candidate
	orphans    []*orphan // truncated before they were read, their copy not found yet
	waitTill   time.Time // how long at most newer lines wait for what is not decided; zero: nothing to wait for was met

	err     error  // why the path cannot be followed
	missing bool   // nothing stands at the path
	sameAs  string // what stands there is read under this path
	lapsed  bool   // the entry no longer means this path: gone once its files are read

	count counters // grow by tally alone
	meter meter
	said  judgement
	place int // in loop.awake, from 1; 0: at rest
}

// tally counts for the source and its entry.
func (s *source) tally(c counters) {
	s.count.add(&c)
	s.entry.sum.add(&c)
}

// counters only grow.
type counters struct {
	lines, bytes   uint64 // acknowledged
	inBytes        uint64 // seen to be appended
	doubled        uint64
	lost           uint64 // bytes
	split          uint64
	truncated      uint64
	skipped        uint64
	soughtSkipped  uint64 // bytes
	soughtRepeated uint64 // bytes
	soughtReturned uint64 // bytes
	errors         uint64
	throttledNanos uint64
}

func (c *counters) add(o *counters) {
	c.lines += o.lines
	c.bytes += o.bytes
	c.inBytes += o.inBytes
	c.doubled += o.doubled
	c.lost += o.lost
	c.split += o.split
	c.truncated += o.truncated
	c.skipped += o.skipped
	c.soughtSkipped += o.soughtSkipped
	c.soughtRepeated += o.soughtRepeated
	c.soughtReturned += o.soughtReturned
	c.errors += o.errors
	c.throttledNanos += o.throttledNanos
}

// candidate is a rotated file nobody knows: a copy of one that is known, or a file that
// came and went between two looks.
type candidate struct {
	file    *os.File
	name    string
	st      stat
	by      *compression // nil: none
	since   time.Time    // of its last change
	deleted bool
	like    *incarnation // was found to begin like this one, of this generation
	likeGen uint64

	look    *inspection // of a compressed one, as st says it is; nil: not yet
	asked   bool        // an inspection is out
	damaged bool        // and that was said
	copied  bool        // a copy of a known file, and not all of it delivered from there yet
}

// hasCandidate tells whether a file is one that nobody knows yet.
func (s *source) hasCandidate(id fileID) bool {
	return slices.ContainsFunc(s.candidates, func(c *candidate) bool { return c.st.id == id })
}

// hasCopied tells whether a file is the copy of one that was truncated, found before the
// finder's word of it came.
func (s *source) hasCopied(id fileID) bool {
	return slices.ContainsFunc(s.orphans, func(o *orphan) bool { return o.copied != nil && o.copied.st.id == id })
}

// incarnations yields the open files, the oldest first.
func (s *source) incarnations() iter.Seq[*incarnation] {
	return func(yield func(*incarnation) bool) {
		for _, in := range s.rotated {
			if !yield(in) {
				return
			}
		}
		if s.active != nil {
			yield(s.active)
		}
	}
}

// older tells whether a file that stood at the path before in has not been read to its
// end since it was rotated away: its lines go first.
func (s *source) older(in *incarnation) bool {
	if in == s.active && !s.waitTill.IsZero() && time.Now().Before(s.waitTill) {
		return true
	}
	for _, o := range s.rotated {
		if o == in {
			return false
		}
		if !o.drained && o.readErr == nil {
			return true
		}
	}
	return false
}

// idle tells whether nothing is left of the source.
func (s *source) idle() bool {
	return s.active == nil && len(s.rotated) == 0 && len(s.candidates) == 0 && len(s.orphans) == 0
}
