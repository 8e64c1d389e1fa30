package term

import (
	"image/color"
	"strings"

	uv "github.com/charmbracelet/ultraviolet"
)

// Screen is what a terminal shows at one moment.
type Screen struct {
	Cols, Rows int
	Cells      [][]Cell // by row, then column

	CursorX, CursorY int
	CursorShown      bool
}

// Cell is one place on a Screen. A wide character is in its left cell; the right one has
// Width 0.
type Cell struct {
	Text   string // one character with its combining marks; " " where nothing is
	Width  int
	Fg, Bg color.Color // nil: the terminal's own

	Bold, Faint, Italic, Underline, Reverse, Strike bool
}

// Screen returns what the terminal shows now.
func (t *Terminal) Screen() Screen {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.snapshot()
}

// snapshot copies the screen; the caller holds mu.
func (t *Terminal) snapshot() Screen {
	at := t.emu.CursorPosition()
	s := Screen{Cols: t.emu.Width(), Rows: t.emu.Height(), CursorX: at.X, CursorY: at.Y, CursorShown: t.cursor}
	s.Cells = make([][]Cell, s.Rows)
	for y := range s.Cells {
		s.Cells[y] = make([]Cell, s.Cols)
		for x := range s.Cells[y] {
			s.Cells[y][x] = cell(t.emu.CellAt(x, y))
		}
	}
	return s
}

func cell(c *uv.Cell) Cell {
	if c == nil {
		return Cell{Text: " ", Width: 1}
	}
	a := c.Style.Attrs
	out := Cell{
		Text: c.Content, Width: c.Width, Fg: c.Style.Fg, Bg: c.Style.Bg,
		Bold: a&uv.AttrBold != 0, Faint: a&uv.AttrFaint != 0, Italic: a&uv.AttrItalic != 0,
		Underline: c.Style.Underline != uv.UnderlineNone, Reverse: a&uv.AttrReverse != 0, Strike: a&uv.AttrStrikethrough != 0,
	}
	if out.Text == "" && out.Width > 0 {
		out.Text = " "
	}
	return out
}

// Line returns the text of one row, without trailing blanks.
func (s Screen) Line(y int) string {
	var b strings.Builder
	for _, c := range s.Cells[y] {
		b.WriteString(c.Text)
	}
	return strings.TrimRight(b.String(), " ")
}

// Text returns the whole screen, without trailing blanks on its lines.
func (s Screen) Text() string {
	lines := make([]string, s.Rows)
	for y := range lines {
		lines[y] = s.Line(y)
	}
	return strings.Join(lines, "\n") + "\n"
}

// Contains tells whether the text stands on one line of the screen.
func (s Screen) Contains(text string) bool {
	for y := range s.Rows {
		if strings.Contains(s.Line(y), text) {
			return true
		}
	}
	return false
}
