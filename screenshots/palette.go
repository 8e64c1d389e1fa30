package main

import (
	"image/color"

	"github.com/charmbracelet/x/ansi"
)

// palette is what a terminal's own colours look like.
type palette struct {
	foreground, background color.RGBA
	basic                  [16]color.RGBA
}

func rgb(hex uint32) color.RGBA {
	return color.RGBA{uint8(hex >> 16), uint8(hex >> 8), uint8(hex), 255}
}

// darkPalette is a calm dark terminal.
func darkPalette() palette {
	return palette{
		foreground: rgb(0xd5d8de), background: rgb(0x14171c),
		basic: [16]color.RGBA{
			rgb(0x2a2f38), rgb(0xe0626c), rgb(0x86c17a), rgb(0xe0b25c), rgb(0x6aa5e8), rgb(0xc084d8), rgb(0x5fbfc4), rgb(0xc3c8d0),
			rgb(0x6b7382), rgb(0xf2828b), rgb(0xa5d99a), rgb(0xf2cb7d), rgb(0x8fbff5), rgb(0xd7a6ea), rgb(0x86d9dd), rgb(0xffffff),
		},
	}
}

// resolve turns a cell's colour into a picture's; nil is the terminal's own.
func (p *palette) resolve(c color.Color, own color.RGBA) color.RGBA {
	switch c := c.(type) {
	case nil:
		return own
	case ansi.BasicColor:
		return p.basic[c%16]
	case ansi.IndexedColor:
		if c < 16 {
			return p.basic[c]
		}
	}
	r, g, b, _ := c.RGBA()
	return color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 255}
}
