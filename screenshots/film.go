package main

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"os"
	"time"
)

// A film shows one frame for every half second of the demo, at twice its speed.
const (
	filmEvery = 500 * time.Millisecond
	filmDelay = 25 // hundredths of a second between frames
	filmHold  = 300
)

// film collects screens into an animated GIF. Its palette fills as colours come; those
// beyond 255 take the nearest one. For one goroutine.
type film struct {
	colors color.Palette
	index  map[color.RGBA]uint8
	frames []*image.Paletted
	last   *image.Paletted // all of the latest frame
}

func newFilm() *film {
	return &film{colors: color.Palette{color.RGBA{}}, index: make(map[color.RGBA]uint8)}
}

// add appends a frame. What did not change since the one before is left transparent,
// which packs well.
func (f *film) add(img *image.RGBA) {
	whole := image.NewPaletted(img.Bounds(), nil)
	for i := range whole.Pix {
		p := img.Pix[4*i:]
		whole.Pix[i] = f.colour(color.RGBA{p[0], p[1], p[2], 255})
	}
	frame := whole
	if f.last != nil && f.last.Rect == whole.Rect {
		frame = image.NewPaletted(img.Bounds(), nil)
		for i, c := range whole.Pix {
			if c != f.last.Pix[i] {
				frame.Pix[i] = c // otherwise 0, which is transparent
			}
		}
	}
	f.frames, f.last = append(f.frames, frame), whole
}

// colour returns the place of a colour in the palette. The last bits of smoothed edges
// are dropped: nobody sees them, and they would fill the palette.
func (f *film) colour(c color.RGBA) uint8 {
	if i, ok := f.index[c]; ok {
		return i
	}
	coarse := color.RGBA{c.R&^7 | 4, c.G&^7 | 4, c.B&^7 | 4, 255}
	i, ok := f.index[coarse]
	switch {
	case ok:
	case len(f.colors) < 256:
		f.colors = append(f.colors, coarse)
		i = uint8(len(f.colors) - 1)
	default:
		i = uint8(f.colors[1:].Index(coarse) + 1)
	}
	f.index[c], f.index[coarse] = i, i
	return i
}

// save writes the film.
func (f *film) save(path string) error {
	g := &gif.GIF{}
	for _, frame := range f.frames {
		frame.Palette = f.colors
		g.Image = append(g.Image, frame)
		g.Delay = append(g.Delay, filmDelay)
		g.Disposal = append(g.Disposal, gif.DisposalNone)
	}
	g.Delay[len(g.Delay)-1] = filmHold
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := gif.EncodeAll(file, g); err != nil {
		return errors.Join(fmt.Errorf("encode %s: %w", path, err), file.Close())
	}
	return file.Close()
}
