package ui

import "fmt"

// scroller moves a text of more lines than there is room for.
type scroller struct {
	offset int // first line shown
	height int // of the page
	lines  int // of the text at the last View
	fixed  int // lines of the page that do not move
}

// move does what a key means for the text.
func (s *scroller) move(a action) {
	page := max(s.height-s.fixed-1, 1)
	switch a {
	case actUp:
		s.offset--
	case actDown:
		s.offset++
	case actPageUp:
		s.offset -= page
	case actPageDown:
		s.offset += page
	case actTop:
		s.offset = 0
	case actBottom:
		s.offset = s.lines
	}
	s.offset = min(max(s.offset, 0), max(s.lines-s.height+s.fixed, 0))
}

// position is where the text stands; "" where all of it is shown.
func (s *scroller) position() string {
	if s.lines <= s.height-s.fixed {
		return ""
	}
	return fmt.Sprintf("line %d of %d", min(s.offset+1, s.lines), s.lines)
}
