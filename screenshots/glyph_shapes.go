package main

import (
	"image"
	"image/draw"
	"math"
)

// block draws the block elements.
func (g *glyph) block(r rune) {
	w, h := g.at.Dx(), g.at.Dy()
	switch {
	case r == '▀':
		g.rect(0, 0, w, h/2)
	case r <= '█':
		eighths := int(r - '▁' + 1)
		g.rect(0, h-h*eighths/8, w, h)
	case r <= '▏':
		eighths := int('▏' - r + 1)
		g.rect(0, 0, (w*eighths+4)/8, h)
	case r == '▐':
		g.rect(w/2, 0, w, h)
	case r <= '▓':
		share := 0.25 * float64(r-'░'+1)
		draw.Draw(g.img, g.at, image.NewUniform(blend(g.bg, g.fg, share)), image.Point{}, draw.Src)
	case r == '▔':
		g.rect(0, 0, w, h/8)
	case r == '▕':
		g.rect(w-(w+4)/8, 0, w, h)
	default:
		// Quarters from U+2596 on: 1 upper left, 2 upper right, 4 lower left, 8 lower right.
		quarters := [10]int{4, 8, 1, 13, 9, 7, 11, 2, 6, 14}[r-0x2596]
		for i := range 4 {
			if quarters&(1<<i) != 0 {
				x, y := i%2*(w/2), i/2*(h/2)
				g.rect(x, y, x+w/2, y+h/2)
			}
		}
	}
}

// braille draws the eight dots of a braille pattern.
func (g *glyph) braille(r rune) {
	places := [8][2]int{{0, 0}, {0, 1}, {0, 2}, {1, 0}, {1, 1}, {1, 2}, {0, 3}, {1, 3}}
	for bit, place := range places {
		if (r-0x2800)&(1<<bit) != 0 {
			c := point{g.width() * (0.25 + 0.5*float64(place[0])), g.height() * (0.125 + 0.25*float64(place[1]))}
			g.fill(arc(c, 1.9, 0, 2*math.Pi))
		}
	}
}

// sign draws the signs the console uses beside letters, and tells whether it knows r.
func (g *glyph) sign(r rune) bool {
	c := g.centre()
	const radius = 5.2
	const line = 2.0
	left, right, up, down := math.Pi, 0.0, -math.Pi/2, math.Pi/2
	switch r {
	case '●':
		g.fill(arc(c, radius, 0, 2*math.Pi))
	case '○':
		g.ring(c, radius, radius-1.8)
	case '◐':
		g.ring(c, radius, radius-1.8)
		g.fill(arc(c, radius, down, down+math.Pi))
	case '◑':
		g.ring(c, radius, radius-1.8)
		g.fill(arc(c, radius, up, up+math.Pi))
	case '•':
		g.fill(arc(c, 2.6, 0, 2*math.Pi))
	case '◆':
		g.fill(arrowhead(c, 5.5, left), arrowhead(c, 5.5, right))
	case '◇':
		g.stroke(1.6, point{c.x, c.y - 5}, point{c.x + 5, c.y}, point{c.x, c.y + 5}, point{c.x - 5, c.y}, point{c.x, c.y - 5})
	case '■':
		g.rect(2, 7, 10, 17)
	case '✕', '✗', '✖':
		g.stroke(line, point{c.x - 4, c.y - 4}, point{c.x + 4, c.y + 4})
		g.stroke(line, point{c.x - 4, c.y + 4}, point{c.x + 4, c.y - 4})
	case '✓', '✔':
		g.stroke(line, point{c.x - 4.5, c.y + 0.5}, point{c.x - 1.5, c.y + 4}, point{c.x + 4.5, c.y - 4.5})
	case '↻':
		g.stroke(1.8, arc(c, 4, -math.Pi/4, 1.5*math.Pi-0.4)...)
		g.fill([]point{{c.x + 5.4, c.y - 6}, {c.x + 5.4, c.y - 0.6}, {c.x + 0.2, c.y - 2.2}})
	case '▶', '▸':
		g.fill(arrowhead(point{c.x - 2.5, c.y}, size(r == '▶'), right))
	case '◀', '◂':
		g.fill(arrowhead(point{c.x + 2.5, c.y}, size(r == '◀'), left))
	case '▲', '▴':
		g.fill(arrowhead(point{c.x, c.y + 2.5}, size(r == '▲'), up))
	case '▼', '▾':
		g.fill(arrowhead(point{c.x, c.y - 2.5}, size(r == '▼'), down))
	case '→', '←', '↑', '↓':
		way := map[rune]float64{'→': right, '←': left, '↑': up, '↓': down}[r]
		tip := point{c.x + 5*math.Cos(way), c.y + 5*math.Sin(way)}
		g.stroke(1.6, point{c.x - 5*math.Cos(way), c.y - 5*math.Sin(way)}, point{c.x + 3*math.Cos(way), c.y + 3*math.Sin(way)})
		g.fill(arrowhead(point{tip.x - 4*math.Cos(way), tip.y - 4*math.Sin(way)}, 4, way))
	default:
		return false
	}
	return true
}

// size returns how far a triangle reaches.
func size(big bool) float64 {
	if big {
		return 6
	}
	return 4.5
}

// arrowhead returns a triangle whose base is centred at c and whose tip lies the given
// way from it, in radians clockwise from the right.
func arrowhead(c point, length, way float64) []point {
	dx, dy := math.Cos(way), math.Sin(way)
	return []point{
		{c.x + dx*length, c.y + dy*length},
		{c.x - dy*length*0.9, c.y + dx*length*0.9},
		{c.x + dy*length*0.9, c.y - dx*length*0.9},
	}
}
