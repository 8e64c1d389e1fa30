package main

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"maps"
	"slices"
	"unicode/utf8"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gomono"
	"golang.org/x/image/font/gofont/gomonobold"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"

	"logagent/internal/term"
)

// A cell in pixels. The advance of Go Mono is 0.6 of its size, so letters of fontSize
// fill their cells exactly.
const (
	cellWidth  = 12
	cellHeight = 24
	fontSize   = 20
	margin     = cellWidth // around the screen
)

// painter turns screens into pictures: letters from Go Mono; frames, blocks, braille and
// signs, which that font lacks or draws in other sizes, from their geometry. It is for
// one goroutine.
type painter struct {
	palette palette
	plain   typeface
	bold    typeface
	unknown map[rune]bool // characters met that have no picture; painted as an empty box
}

// typeface is a font with the face made from it.
type typeface struct {
	font *sfnt.Font
	face font.Face
}

func newPainter(p palette) (*painter, error) {
	plain, err := loadFace(gomono.TTF)
	if err != nil {
		return nil, fmt.Errorf("font Go Mono: %w", err)
	}
	bold, err := loadFace(gomonobold.TTF)
	if err != nil {
		return nil, fmt.Errorf("font Go Mono Bold: %w", err)
	}
	return &painter{palette: p, plain: plain, bold: bold, unknown: make(map[rune]bool)}, nil
}

func loadFace(ttf []byte) (typeface, error) {
	f, err := opentype.Parse(ttf)
	if err != nil {
		return typeface{}, err
	}
	face, err := opentype.NewFace(f, &opentype.FaceOptions{Size: fontSize, DPI: 72, Hinting: font.HintingFull})
	if err != nil {
		return typeface{}, err
	}
	return typeface{f, face}, nil
}

// missing returns the characters painted so far that have no picture, sorted.
func (p *painter) missing() []rune { return slices.Sorted(maps.Keys(p.unknown)) }

// paint returns the picture of a screen.
func (p *painter) paint(s term.Screen) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, s.Cols*cellWidth+2*margin, s.Rows*cellHeight+2*margin))
	draw.Draw(img, img.Bounds(), image.NewUniform(p.palette.background), image.Point{}, draw.Src)
	for y, row := range s.Cells {
		for x, c := range row {
			if c.Width == 0 {
				continue // the right half of a wide character
			}
			at := image.Rect(0, 0, cellWidth*c.Width, cellHeight).Add(image.Pt(margin+x*cellWidth, margin+y*cellHeight))
			p.cell(img, at, c)
		}
	}
	if s.CursorShown && s.CursorX < s.Cols && s.CursorY < s.Rows {
		bar := image.Rect(0, 0, 2, cellHeight).Add(image.Pt(margin+s.CursorX*cellWidth, margin+s.CursorY*cellHeight))
		draw.Draw(img, bar, image.NewUniform(p.palette.foreground), image.Point{}, draw.Src)
	}
	return img
}

func (p *painter) cell(img *image.RGBA, at image.Rectangle, c term.Cell) {
	fg, bg := p.palette.resolve(c.Fg, p.palette.foreground), p.palette.resolve(c.Bg, p.palette.background)
	if c.Reverse {
		fg, bg = bg, fg
	}
	if c.Faint {
		fg = blend(bg, fg, 0.55)
	}
	if bg != p.palette.background {
		draw.Draw(img, at, image.NewUniform(bg), image.Point{}, draw.Src)
	}
	ink := image.NewUniform(fg)
	if r, _ := utf8.DecodeRuneInString(c.Text); c.Text != " " && c.Text != "" {
		g := glyph{img: img, at: at, ink: ink, fg: fg, bg: bg}
		if !g.draw(r) {
			p.letter(img, at, ink, r, c.Bold)
		}
	}
	if c.Underline {
		draw.Draw(img, image.Rect(at.Min.X, at.Max.Y-3, at.Max.X, at.Max.Y-2), ink, image.Point{}, draw.Src)
	}
	if c.Strike {
		draw.Draw(img, image.Rect(at.Min.X, at.Min.Y+13, at.Max.X, at.Min.Y+14), ink, image.Point{}, draw.Src)
	}
}

// letter draws a character from the font, or an empty box where the font has none.
func (p *painter) letter(img *image.RGBA, at image.Rectangle, ink image.Image, r rune, bold bool) {
	tf := p.plain
	if bold {
		tf = p.bold
	}
	var buf sfnt.Buffer
	if i, err := tf.font.GlyphIndex(&buf, r); err != nil || i == 0 {
		p.unknown[r] = true
		frame := at.Inset(3)
		for _, side := range []image.Rectangle{
			{frame.Min, image.Pt(frame.Max.X, frame.Min.Y+1)}, {image.Pt(frame.Min.X, frame.Max.Y-1), frame.Max},
			{frame.Min, image.Pt(frame.Min.X+1, frame.Max.Y)}, {image.Pt(frame.Max.X-1, frame.Min.Y), frame.Max},
		} {
			draw.Draw(img, side, ink, image.Point{}, draw.Src)
		}
		return
	}
	m := tf.face.Metrics()
	baseline := at.Min.Y + (cellHeight-(m.Ascent+m.Descent).Round())/2 + m.Ascent.Round()
	d := font.Drawer{Dst: img, Src: ink, Face: tf.face, Dot: fixed.P(at.Min.X, baseline)}
	d.DrawString(string(r))
}

// blend mixes two colours: share 0 is from, 1 is to.
func blend(from, to color.RGBA, share float64) color.RGBA {
	mix := func(a, b uint8) uint8 { return uint8(float64(a)*(1-share) + float64(b)*share + 0.5) }
	return color.RGBA{mix(from.R, to.R), mix(from.G, to.G), mix(from.B, to.B), 255}
}
