package ui

import (
	"strings"

	"logagent/ui/termsafe"
)

// line builds one line of the screen, counting its cells. Text put in must be clean.
type line struct {
	b     strings.Builder
	looks *[roles]style
	open  *style // the look in force; nil: none
	width int
}

func (th *theme) line() *line        { return &line{looks: &th.normal} }
func (th *theme) currentLine() *line { return &line{looks: &th.current} }

// put appends text in a look. What follows in the same look costs no further escapes.
func (l *line) put(r role, s string) *line {
	if s == "" {
		return l
	}
	if st := &l.looks[r]; l.open == nil || *st != *l.open {
		l.close()
		l.b.WriteString(st.before)
		l.open = st
	}
	l.b.WriteString(s)
	l.width += termsafe.Width(s)
	return l
}

func (l *line) close() {
	if l.open != nil {
		l.b.WriteString(l.open.after)
		l.open = nil
	}
}

// blank appends n spaces.
func (l *line) blank(n int) *line {
	if n > 0 {
		l.put(text, spaces(n))
	}
	return l
}

// left puts s into exactly width cells, cut at its end.
func (l *line) left(r role, s string, width int) *line {
	s = termsafe.Head(s, width)
	w := termsafe.Width(s)
	return l.put(r, s).blank(width - w)
}

// right puts s into exactly width cells, against the right side.
func (l *line) right(r role, s string, width int) *line {
	s = termsafe.Head(s, width)
	return l.blank(width-termsafe.Width(s)).put(r, s)
}

// to fills up to a column.
func (l *line) to(width int) *line { return l.blank(width - l.width) }

// String ends the line.
func (l *line) String() string {
	l.close()
	return l.b.String()
}

func spaces(n int) string {
	const some = "                                                                                                                                "
	if n <= len(some) {
		return some[:max(n, 0)]
	}
	return strings.Repeat(" ", n)
}

// piece is a stretch of text in one look.
type piece struct {
	role role
	text string
}

func widthOf(ps []piece) int {
	w := 0
	for _, p := range ps {
		w += termsafe.Width(p.text)
	}
	return w
}

// spread draws left and right parts on one line of exactly width cells. Where both do not
// fit, the left one is cut.
func (th *theme) spread(width int, left, right []piece) string {
	l := th.line()
	rw := widthOf(right)
	if rw > width {
		right, rw = nil, 0
	}
	room := width - rw
	if rw > 0 {
		room-- // a blank between
	}
	for _, p := range left {
		if room <= l.width {
			break
		}
		l.put(p.role, termsafe.Head(p.text, room-l.width))
	}
	l.to(width - rw)
	for _, p := range right {
		l.put(p.role, p.text)
	}
	return l.String()
}
