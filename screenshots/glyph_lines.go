package main

import (
	"math"
	"strings"
)

// Thickness of frame lines in pixels.
const (
	lightLine = 2
	heavyLine = 4
	doubleGap = 2 // between the two light lines of a double one
)

// boxArms holds for each character from U+2500 to U+257F the weights of its arms up,
// right, down and left: 0 none, 1 light, 2 heavy, 3 double. Dashed lines are drawn solid;
// arcs and diagonals are not in it.
const boxArms = "" +
	"0101 0202 1010 2020 0101 0202 1010 2020 0101 0202 1010 2020 0110 0210 0120 0220 " +
	"0011 0012 0021 0022 1100 1200 2100 2200 1001 1002 2001 2002 1110 1210 2110 1120 " +
	"2120 2210 1220 2220 1011 1012 2011 1021 2021 2012 1022 2022 0111 0112 0211 0212 " +
	"0121 0122 0221 0222 1101 1102 1201 1202 2101 2102 2201 2202 1111 1112 1211 1212 " +
	"2111 1121 2121 2112 2211 1122 1221 2212 1222 2122 2221 2222 0101 0202 1010 2020 " +
	"0303 3030 0310 0130 0330 0013 0031 0033 1300 3100 3300 1003 3001 3003 1310 3130 " +
	"3330 1013 3031 3033 0313 0131 0333 1303 3101 3303 1313 3131 3333 0000 0000 0000 " +
	"0000 0000 0000 0000 0001 1000 0100 0010 0002 2000 0200 0020 0201 1020 0102 2010 "

// box draws frames.
func (g *glyph) box(r rune) {
	w, h, c := g.width(), g.height(), g.centre()
	switch r {
	case '╭', '╮', '╯', '╰':
		g.corner(strings.ContainsRune("╭╰", r), strings.ContainsRune("╭╮", r))
		return
	case '╱':
		g.stroke(lightLine, point{0, h}, point{w, 0})
		return
	case '╲':
		g.stroke(lightLine, point{0, 0}, point{w, h})
		return
	case '╳':
		g.stroke(lightLine, point{0, h}, point{w, 0})
		g.stroke(lightLine, point{0, 0}, point{w, h})
		return
	}
	arms := boxArms[5*(r-0x2500):][:4]
	cx, cy := int(c.x), int(c.y)
	for side, weight := range arms {
		thick, offsets := lightLine, []int{0}
		switch weight {
		case '0':
			continue
		case '2':
			thick = heavyLine
		case '3':
			offsets = []int{-(lightLine + doubleGap) / 2, (lightLine + doubleGap) / 2}
		}
		// An arm reaches over the centre as far as the lines it meets there are thick.
		over := reach(arms[(side+1)%4], arms[(side+3)%4])
		for _, o := range offsets {
			from, to := o-thick/2, o-thick/2+thick
			switch side {
			case 0:
				g.rect(cx+from, 0, cx+to, cy+over)
			case 1:
				g.rect(cx-over, cy+from, int(w), cy+to)
			case 2:
				g.rect(cx+from, cy-over, cx+to, int(h))
			case 3:
				g.rect(0, cy+from, cx+over, cy+to)
			}
		}
	}
}

func reach(a, b byte) int {
	switch max(a, b) {
	case '2':
		return heavyLine / 2
	case '3':
		return lightLine + doubleGap/2
	}
	return lightLine / 2
}

// corner draws a rounded corner that opens to the right or left, down or up.
func (g *glyph) corner(right, down bool) {
	w, h, c := g.width(), g.height(), g.centre()
	radius := w / 2
	x, y := 0.0, 0.0 // where the two ends leave the cell
	sx, sy := -1.0, -1.0
	if right {
		x, sx = w, 1
	}
	if down {
		y, sy = h, 1
	}
	turn := point{c.x + sx*radius, c.y + sy*radius} // centre of the arc
	from := math.Atan2(0, -sx)
	to := math.Atan2(-sy, 0)
	if to-from > math.Pi {
		to -= 2 * math.Pi
	} else if from-to > math.Pi {
		to += 2 * math.Pi
	}
	g.stroke(lightLine, append(append([]point{{c.x, y}}, arc(turn, radius, from, to)...), point{x, c.y + 0.001})...)
}
