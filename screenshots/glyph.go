package main

import (
	"image"
	"image/color"
	"image/draw"
	"math"

	"golang.org/x/image/vector"
)

// glyph draws one character into one cell by geometry.
type glyph struct {
	img    *image.RGBA
	at     image.Rectangle
	ink    image.Image
	fg, bg color.RGBA
}

// point is a place in the cell in pixels from its top left corner.
type point struct{ x, y float64 }

// draw draws the character and tells whether it knows it.
func (g *glyph) draw(r rune) bool {
	switch {
	case r >= 0x2500 && r <= 0x257f:
		g.box(r)
	case r >= 0x2580 && r <= 0x259f:
		g.block(r)
	case r >= 0x2800 && r <= 0x28ff:
		g.braille(r)
	default:
		return g.sign(r)
	}
	return true
}

func (g *glyph) width() float64  { return float64(g.at.Dx()) }
func (g *glyph) height() float64 { return float64(g.at.Dy()) }
func (g *glyph) centre() point   { return point{g.width() / 2, g.height() / 2} }

// rect fills whole pixels: x0 ≤ x < x1, y0 ≤ y < y1.
func (g *glyph) rect(x0, y0, x1, y1 int) {
	draw.Draw(g.img, image.Rect(x0, y0, x1, y1).Add(g.at.Min).Intersect(g.at), g.ink, image.Point{}, draw.Src)
}

// fill fills polygons with smooth edges. Where they overlap in opposite directions a hole
// is left.
func (g *glyph) fill(shapes ...[]point) {
	z := vector.NewRasterizer(g.at.Dx(), g.at.Dy())
	for _, shape := range shapes {
		for i, p := range shape {
			if i == 0 {
				z.MoveTo(float32(p.x), float32(p.y))
			} else {
				z.LineTo(float32(p.x), float32(p.y))
			}
		}
		z.ClosePath()
	}
	z.Draw(g.img, g.at, g.ink, image.Point{})
}

// stroke draws a line of the given width through the points.
func (g *glyph) stroke(width float64, points ...point) {
	for i := 1; i < len(points); i++ {
		a, b := points[i-1], points[i]
		length := math.Hypot(b.x-a.x, b.y-a.y)
		dx, dy := (b.x-a.x)/length*width/2, (b.y-a.y)/length*width/2
		g.fill([]point{{a.x + dy, a.y - dx}, {b.x + dy, b.y - dx}, {b.x - dy, b.y + dx}, {a.x - dy, a.y + dx}})
		if i < len(points)-1 {
			g.fill(arc(b, width/2, 0, 2*math.Pi))
		}
	}
}

// arc returns points of a circle around c, angles clockwise from the right.
func arc(c point, radius, from, to float64) []point {
	const steps = 32
	out := make([]point, steps+1)
	for i := range out {
		a := from + (to-from)*float64(i)/steps
		out[i] = point{c.x + radius*math.Cos(a), c.y + radius*math.Sin(a)}
	}
	return out
}

// ring fills the space between two circles.
func (g *glyph) ring(c point, outer, inner float64) {
	g.fill(arc(c, outer, 0, 2*math.Pi), arc(c, inner, 2*math.Pi, 0))
}
