package ui

import (
	"fmt"

	"logagent/etcdcfg/change"
	"logagent/ui/store"
	"logagent/ui/termsafe"
)

// below is how many lines stand under the rows: what the selected change changed.
func (p *historyPage) below() int {
	switch free := p.height - 2; {
	case free < 8:
		return 3
	case free < 16:
		return 5
	default:
		return min(free/3, 12)
	}
}

func (p *historyPage) View(width, height int) []string {
	th := p.env.theme
	lines := []string{p.headLine(width)}
	cols := layout(p.columns(width), width)
	lines = append(lines, titles(th, cols, width, noSort, false))
	for i := range max(height-2-p.below(), 1) {
		if k := p.offset + i; k < len(p.records) {
			lines = append(lines, p.row(cols, k, width))
		} else {
			lines = append(lines, p.empty(i, width))
		}
	}
	lines = append(lines, p.bottom(width)...)
	for len(lines) < height {
		lines = append(lines, th.line().to(width).String())
	}
	return lines[:max(height, 0)]
}

// noSort marks no column.
const noSort = store.Sort(-1)

// headLine says whose history it is and how much of it there is.
func (p *historyPage) headLine(width int) string {
	what := "its own document"
	switch {
	case isGroup(p.name):
		what = groupWords(p.name, p.size)
	case p.name != p.host:
		what = "the document of an address of " + termsafe.Clean(p.host)
	}
	var right []piece
	switch n := len(p.records); {
	case p.reading && p.read.IsZero():
	case n >= historyMost:
		right = []piece{{dim, fmt.Sprintf("the newest %d changes ", n)}}
	default:
		right = []piece{{dim, fmt.Sprintf("%d %s ", n, plural(n, "change", "changes"))}}
	}
	return p.env.theme.spread(width, []piece{{dim, " what became of "}, {strong, termsafe.Clean(p.name)}, {dim, ", "}, {text, what}}, right)
}

func (p *historyPage) empty(i, width int) string {
	l := p.env.theme.line()
	if i != 0 || len(p.records) > 0 {
		return l.to(width).String()
	}
	why := "nothing was ever changed here through logagent"
	if p.read.IsZero() {
		if why = "reading the history"; p.why != "" {
			why = "the history could not be read yet"
		}
	}
	return l.blank(lead).put(dim, termsafe.Head(why, max(width-lead, 0))).to(width).String()
}

func (p *historyPage) row(cols []placed, k, width int) string {
	r := &p.records[k]
	l := p.env.theme.lead(k == p.index)
	switch {
	case k == 0:
		l.put(good, "●") // as it is now
	case r.Kind == change.KindOutside:
		l.put(half, "◐")
	default:
		l.put(text, " ")
	}
	return row(l.put(text, " "), cols, k, width)
}

func (p *historyPage) columns(width int) []column {
	who, rev, note, what := 3, 3, 0, 6
	for i := range p.visible {
		if k := p.offset + i; k < len(p.records) {
			r := &p.records[k]
			who = max(who, termsafe.Width(whoShort(r)))
			rev = max(rev, len(revision(r)))
			note = max(note, termsafe.Width(termsafe.Line(r.Note)))
			what = max(what, termsafe.Width(r.first())+len(r.more()))
		}
	}
	room := 34 // more than the note gets
	if width < 72 {
		room = 24
	}
	cell := func(title string, full, narrow, rank int, right bool, f func(*past) (role, string)) column {
		return column{title: title, full: full, narrow: min(narrow, full), rank: rank, right: right, sort: noSort - 1, draw: func(l *line, i, w int) {
			look, s := f(&p.records[i])
			if right {
				l.right(look, s, w)
			} else {
				l.left(look, s, w)
			}
		}}
	}
	cols := []column{
		cell("WHEN", 13, 13, 0, false, func(r *past) (role, string) {
			if r.Kind == change.KindOutside { // the latest it can have been
				return dim, "≤" + day(r.At, p.env.clock)
			}
			return text, day(r.At, p.env.clock)
		}),
		cell("WHO", min(who, 30), 12, 2, false, func(r *past) (role, string) { return text, whoShort(r) }),
		cell("KIND", 8, 8, 3, false, func(r *past) (role, string) {
			if r.Kind == change.KindOutside {
				return half, string(r.Kind)
			}
			return text, termsafe.Clean(string(r.Kind))
		}),
		cell("REV", rev, rev, 5, true, func(r *past) (role, string) { return text, revision(r) }),
		{title: "CHANGE", full: min(what, max(width/2, room)), narrow: min(room, what), rank: 1, sort: noSort - 1, draw: func(l *line, i, w int) {
			r := &p.records[i]
			look := strong
			if r.wrong != "" {
				look = bad
			}
			first := termsafe.Head(r.first(), w-len(r.more()))
			l.put(look, first).left(dim, r.more(), w-termsafe.Width(first))
		}},
	}
	if note > 0 {
		cols = append(cols, cell("NOTE", max(min(note, 40), 4), 10, 4, false, func(r *past) (role, string) { return dim, termsafe.Line(r.Note) }))
	}
	return cols
}

// bottom is what the selected change changed.
func (p *historyPage) bottom(width int) []string {
	th, n := p.env.theme, p.below()
	r := p.selected()
	if r == nil {
		out := []string{rule(th, "", width)}
		for range n - 1 {
			out = append(out, th.line().to(width).String())
		}
		return out
	}
	out := []string{rule(th, r.title(), width)}
	return append(out, diffBox(th, r.lines, r.wrong, n-1, width)...)
}

// diffBox is exactly n lines of a difference; what does not fit is counted.
func diffBox(th *theme, lines []string, wrong string, n, width int) []string {
	if wrong != "" {
		lines = []string{"what changed is not to be told: " + wrong}
	}
	var out []string
	for i := range max(n, 0) {
		l := th.line()
		switch {
		case i < len(lines) && (i < n-1 || len(lines) <= n):
			l.put(text, " ").put(diffLook(lines[i], wrong), termsafe.Head(lines[i], max(width-2, 0)))
		case i < len(lines):
			l.put(dim, termsafe.Head(fmt.Sprintf(" … and %d more", len(lines)-i), width))
		}
		out = append(out, l.to(width).String())
	}
	return out
}

// diffLook is how a line of a difference is drawn; its first sign says the same.
func diffLook(line, wrong string) role {
	switch {
	case wrong != "":
		return bad
	case line == "":
		return text
	case line[0] == '+':
		return good
	case line[0] == '-':
		return bad
	case line[0] == '~':
		return half
	}
	return text
}
