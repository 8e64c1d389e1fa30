package ui

import (
	"math"
	"strings"

	"logagent/ui/store"
	"logagent/ui/termsafe"
)

// graph draws in, out and limit of the last ten minutes into height lines: the curve of
// what is appended in Braille, what is acknowledged as a heavy line, the limit dashed. Each
// is named at the right, at its own height where there is room.
func (th *theme) graph(s store.Series, limit int64, width, height int) []string {
	const axis = 8 // "  214k ┤"
	const names = 22
	rows := height - 1 // the last line is time
	cols := width - axis - names
	if rows < 1 || cols < 8 || len(s.In) == 0 {
		out := make([]string, height)
		for i := range out {
			out[i] = th.line().to(width).String()
		}
		return out
	}
	in, out := condense(s.In, cols*2), condense(s.Out, cols)
	top := ceiling(in, out, limit)
	canvas := newCanvas(cols, rows)
	if limit > 0 && float64(limit) <= top {
		canvas.dashes(float64(limit)/top, graphLimit)
	}
	canvas.curve(in, top, graphIn)
	canvas.steps(out, top, graphOut)
	marks := make([][]piece, rows)
	place := func(v float64, p piece) {
		r := canvas.row(v / top)
		for off := range rows { // the nearest free line
			for _, at := range []int{r - off, r + off} {
				if at >= 0 && at < rows && marks[at] == nil {
					marks[at] = []piece{p}
					return
				}
			}
		}
	}
	nowIn, nowOut := last(s.In), last(s.Out)
	place(nowOut, piece{graphOut, " out " + rate(nowOut) + "/s"})
	place(nowIn, piece{graphIn, " in  " + rate(nowIn) + "/s"})
	if limit > 0 {
		place(math.Min(float64(limit), top), piece{graphLimit, " limit " + perSecond(limit)})
	}
	lines := make([]string, 0, height)
	for r := range rows {
		l := th.line()
		value := ""
		if r == 0 {
			value = onAxis(top)
		} else if r == rows/2 && rows > 2 {
			value = onAxis(top * (1 - (float64(r)+0.5)/float64(rows)))
		}
		l.right(dim, value, axis-2).put(dim, " ┤")
		canvas.draw(l, r)
		for _, p := range marks[r] {
			l.put(p.role, termsafe.Head(p.text, names))
		}
		lines = append(lines, l.to(width).String())
	}
	l := th.line().right(dim, "0", axis-2).put(dim, " ┼"+timeAxis(cols))
	return append(lines, l.to(width).String())
}

// onAxis is a rate without a needless decimal.
func onAxis(v float64) string { return strings.Replace(rate(v), ".0", "", 1) }

// timeAxis marks ten, five and no minutes ago.
func timeAxis(cols int) string {
	b := make([]rune, cols)
	for i := range b {
		b[i] = '─'
	}
	write := func(at int, s string) {
		for i, r := range []rune(s) {
			if at+i >= 0 && at+i < cols {
				b[at+i] = r
			}
		}
	}
	write(0, "10 min ago")
	if cols >= 40 {
		write(cols/2-1, "5 min")
	}
	write(cols-3, "now")
	return string(b)
}

// ceiling is a round number above everything drawn; a limit far above the traffic is left out.
func ceiling(in, out []float64, limit int64) float64 {
	top := 1.0
	for _, v := range [][]float64{in, out} {
		for _, x := range v {
			if x > top {
				top = x
			}
		}
	}
	if l := float64(limit); l > top && l <= 2.5*top {
		top = l
	}
	unit := math.Pow(10, math.Floor(math.Log10(top)))
	for _, m := range []float64{1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10} {
		if m*unit >= top {
			return m * unit
		}
	}
	return 10 * unit
}

func last(v []float32) float64 {
	for i := len(v) - 1; i >= 0; i-- {
		if v[i] == v[i] {
			return float64(v[i])
		}
	}
	return 0
}

// canvas is a grid of cells, each with a character and a look.
type canvas struct {
	cols, rows int
	runes      [][]rune
	looks      [][]role
}

func newCanvas(cols, rows int) *canvas {
	c := &canvas{cols: cols, rows: rows, runes: make([][]rune, rows), looks: make([][]role, rows)}
	for r := range rows {
		c.runes[r] = make([]rune, cols)
		c.looks[r] = make([]role, cols)
	}
	return c
}

// row of a share from 0 (bottom) to 1.
func (c *canvas) row(share float64) int {
	return min(max(int((1-share)*float64(c.rows)), 0), c.rows-1)
}

func (c *canvas) set(col, row int, r rune, look role) {
	c.runes[row][col], c.looks[row][col] = r, look
}

func (c *canvas) dashes(share float64, look role) {
	r := c.row(share)
	for col := range c.cols {
		c.set(col, r, '╌', look)
	}
}

// steps draws a heavy line that changes level with corners.
func (c *canvas) steps(v []float64, top float64, look role) {
	before := -1
	for col, x := range v {
		if x != x {
			before = -1
			continue
		}
		r := c.row(x / top)
		switch {
		case before < 0 || before == r:
			c.set(col, r, '━', look)
		case before > r: // up
			c.set(col, before, '┛', look)
			for y := r + 1; y < before; y++ {
				c.set(col, y, '┃', look)
			}
			c.set(col, r, '┏', look)
		default:
			c.set(col, before, '┓', look)
			for y := before + 1; y < r; y++ {
				c.set(col, y, '┃', look)
			}
			c.set(col, r, '┗', look)
		}
		before = r
	}
}

// curve draws two points a cell, in Braille, joined upright.
func (c *canvas) curve(v []float64, top float64, look role) {
	// Bits of the Braille patterns, from the top down, left and right column.
	bits := [2][4]rune{{0x01, 0x02, 0x04, 0x40}, {0x08, 0x10, 0x20, 0x80}}
	before := -1
	for x, value := range v {
		if value != value {
			before = -1
			continue
		}
		dots := c.rows * 4
		y := min(max(int(math.Round((1-value/top)*float64(dots-1))), 0), dots-1)
		from, to := y, y
		if before >= 0 {
			if before < y {
				from = before + 1
			} else if before > y {
				to = before - 1
			}
		}
		for d := min(from, y); d <= max(to, y); d++ {
			row, col := d/4, x/2
			if col >= c.cols {
				continue
			}
			if r := c.runes[row][col]; r < 0x2800 || r > 0x28ff {
				c.runes[row][col] = 0x2800
			}
			c.runes[row][col] |= bits[x%2][d%4]
			c.looks[row][col] = look
		}
		before = y
	}
}

// draw appends one row, a look at a time.
func (c *canvas) draw(l *line, row int) {
	start := 0
	flush := func(end int) {
		if start < end {
			rs := make([]rune, 0, end-start)
			for _, r := range c.runes[row][start:end] {
				if r == 0 {
					r = ' '
				}
				rs = append(rs, r)
			}
			l.put(c.looks[row][start], string(rs))
		}
		start = end
	}
	for col := 1; col < c.cols; col++ {
		if c.looks[row][col] != c.looks[row][start] {
			flush(col)
		}
	}
	flush(c.cols)
}
