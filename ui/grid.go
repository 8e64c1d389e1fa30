package ui

import (
	"slices"
	"strings"

	"logagent/ui/store"
	"logagent/ui/termsafe"
)

// column is one column of a grid. It is drawn at full width where there is room, at
// narrow where there is less, and left out where there is none.
type column struct {
	title  string
	brief  string // title where the column is narrower than its title; "" means cut
	full   int
	narrow int  // 0: as full
	whole  bool // full or narrow, nothing between
	rank   int  // the smallest comes in first
	right  bool // against the right side
	sort   store.Sort
	draw   func(l *line, row, width int) // puts exactly width cells
}

// placed is a column with the width it got.
type placed struct {
	*column
	width int
}

// lead is the cursor, the state, and a mark for what is not applied yet.
const lead = 3

// layout chooses columns for width cells. Those of rank 0 are always there.
func layout(cols []column, width int) []placed {
	room := width - lead
	order := make([]*column, len(cols))
	for i := range cols {
		order[i] = &cols[i]
		if cols[i].narrow == 0 {
			cols[i].narrow = cols[i].full
		}
	}
	slices.SortStableFunc(order, func(a, b *column) int { return a.rank - b.rank })
	widths := make(map[*column]int)
	for _, c := range order {
		need := c.narrow
		if len(widths) > 0 {
			need++ // the gap
		}
		if need <= room {
			widths[c] = c.narrow
			room -= need
		} else if c.rank == 0 && len(widths) == 0 {
			widths[c] = max(room, 1)
			room = 0
		}
	}
	for _, c := range order {
		if w, in := widths[c]; in && w < c.full {
			more := min(c.full-w, room)
			if c.whole && w+more < c.full {
				continue
			}
			widths[c] = w + more
			room -= more
		}
	}
	var out []placed
	for i := range cols {
		if w, in := widths[&cols[i]]; in {
			out = append(out, placed{&cols[i], w})
		}
	}
	return out
}

// titles is the head line; the column sorted by carries an arrow, and the order by state
// has it over the state.
func titles(th *theme, cols []placed, width int, by store.Sort, reverse bool) string {
	arrow := "▼"
	if reverse {
		arrow = "▲"
	}
	l := th.line()
	if by == store.SortWorst {
		l.put(head, " "+arrow+" ")
	} else {
		l.blank(lead)
	}
	for i, c := range cols {
		if i > 0 {
			l.blank(1)
		}
		t := c.title
		if termsafe.Width(t) > c.width && c.brief != "" {
			t = c.brief
		}
		if c.sort == by && by != store.SortWorst {
			t = termsafe.Head(t, c.width-1) + arrow
		}
		if c.right {
			l.right(head, t, c.width)
		} else {
			l.left(head, t, c.width)
		}
	}
	return l.to(width).String()
}

// row draws one row after its lead.
func row(l *line, cols []placed, i, width int) string {
	for n, c := range cols {
		if n > 0 {
			l.blank(1)
		}
		c.draw(l, i, c.width)
	}
	return l.to(width).String()
}

// lead begins a row of a list with the cursor or its place.
func (th *theme) lead(current bool) *line {
	if current {
		return th.currentLine().put(cursorMark, "▌")
	}
	return th.line().put(text, " ")
}

func dashes(n int) string { return strings.Repeat("─", max(n, 0)) }
