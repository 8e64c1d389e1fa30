package main

import (
	"context"
	"image"
	"image/color"
	"image/draw"
	"image/gif"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"go.uber.org/goleak"

	"logagent/internal/term"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// line is a screen of one row.
func line(cells ...term.Cell) term.Screen {
	return term.Screen{Cols: len(cells), Rows: 1, Cells: [][]term.Cell{cells}}
}

func painted(t *testing.T, s term.Screen) (*painter, *image.RGBA) {
	t.Helper()
	p, err := newPainter(darkPalette())
	if err != nil {
		t.Fatal(err)
	}
	return p, p.paint(s)
}

// within returns the pixels of one cell.
func within(img *image.RGBA, x, y int) *image.RGBA {
	at := image.Pt(margin+x*cellWidth, margin+y*cellHeight)
	return img.SubImage(image.Rectangle{at, at.Add(image.Pt(cellWidth, cellHeight))}).(*image.RGBA)
}

// count tells how many pixels of a cell have the colour.
func count(img *image.RGBA, c color.RGBA) (n int) {
	b := img.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			if img.RGBAAt(x, y) == c {
				n++
			}
		}
	}
	return n
}

func TestEveryCharacterOfTheConsoleHasItsOwnPicture(t *testing.T) {
	t.Parallel()
	const used = "aZ09 ▁▂▃▄▅▆▇█░▒▓●◐○✕▌↻✓*─│┤├┼┬┴┏┗┓┛━┃╭╮╰╯▸▴▾▲▼▶◀◆←→↑↓×·…–—≤≥⢀⡠⠤⠒⠊⠉⣀⣿"
	var cells []term.Cell
	for _, r := range used {
		cells = append(cells, term.Cell{Text: string(r), Width: 1})
	}
	p, img := painted(t, line(cells...))
	if m := p.missing(); len(m) > 0 {
		t.Errorf("no picture of %q", m)
	}
	seen := make(map[string]rune)
	for i, r := range []rune(used) {
		sub := within(img, i, 0)
		var pix []byte
		for y := sub.Bounds().Min.Y; y < sub.Bounds().Max.Y; y++ {
			o := sub.PixOffset(sub.Bounds().Min.X, y)
			pix = append(pix, sub.Pix[o:o+4*cellWidth]...)
		}
		if other, twice := seen[string(pix)]; twice {
			t.Errorf("%q and %q look the same", r, other)
		}
		seen[string(pix)] = r
	}
}

func TestACharacterWithoutPictureIsReported(t *testing.T) {
	t.Parallel()
	p, _ := painted(t, line(term.Cell{Text: "漢", Width: 2}, term.Cell{}))
	if got := p.missing(); !slices.Equal(got, []rune{'漢'}) {
		t.Errorf("reported %q, want 漢", got)
	}
}

func TestColoursAndReverseArePainted(t *testing.T) {
	t.Parallel()
	pal := darkPalette()
	red, own := pal.basic[1], color.RGBA{1, 2, 3, 255}
	_, img := painted(t, line(
		term.Cell{Text: "█", Width: 1, Fg: ansi.BasicColor(1)},
		term.Cell{Text: " ", Width: 1, Fg: ansi.BasicColor(1), Reverse: true},
		term.Cell{Text: "█", Width: 1, Fg: color.RGBA{1, 2, 3, 255}},
		term.Cell{Text: " ", Width: 1, Bg: ansi.IndexedColor(1)},
		term.Cell{Text: " ", Width: 1},
	))
	for x, want := range []color.RGBA{red, red, own, red, pal.background} {
		if n := count(within(img, x, 0), want); n != cellWidth*cellHeight {
			t.Errorf("cell %d has %d pixels of %v, want all %d", x, n, want, cellWidth*cellHeight)
		}
	}
}

func TestBoldAndFaintLookDifferent(t *testing.T) {
	t.Parallel()
	pal := darkPalette()
	_, img := painted(t, line(
		term.Cell{Text: "M", Width: 1}, term.Cell{Text: "M", Width: 1, Bold: true}, term.Cell{Text: "M", Width: 1, Faint: true},
	))
	plain, bold := count(within(img, 0, 0), pal.background), count(within(img, 1, 0), pal.background)
	if bold >= plain {
		t.Errorf("a bold letter leaves %d pixels free, a plain one %d", bold, plain)
	}
	if n := count(within(img, 2, 0), pal.foreground); n != 0 {
		t.Errorf("a faint letter has %d pixels in full colour", n)
	}
}

func TestFrameLinesMeetAtTheEdgesOfCells(t *testing.T) {
	t.Parallel()
	pal := darkPalette()
	_, img := painted(t, term.Screen{Cols: 3, Rows: 2, Cells: [][]term.Cell{
		{{Text: "╭", Width: 1}, {Text: "─", Width: 1}, {Text: "┐", Width: 1}},
		{{Text: "│", Width: 1}, {Text: "┼", Width: 1}, {Text: "┤", Width: 1}},
	}})
	lit := func(x, y int) bool { return img.RGBAAt(margin+x, margin+y) != pal.background }
	for _, edge := range []struct {
		name   string
		x1, y1 int
		x2, y2 int
	}{
		{"╭─", cellWidth - 1, cellHeight / 2, cellWidth, cellHeight / 2},
		{"─┐", 2*cellWidth - 1, cellHeight / 2, 2 * cellWidth, cellHeight / 2},
		{"╭ over │", cellWidth / 2, cellHeight - 1, cellWidth / 2, cellHeight},
		{"┐ over ┤", 2*cellWidth + cellWidth/2, cellHeight - 1, 2*cellWidth + cellWidth/2, cellHeight},
		{"┼┤", 2*cellWidth - 1, cellHeight + cellHeight/2, 2 * cellWidth, cellHeight + cellHeight/2},
	} {
		if !lit(edge.x1, edge.y1) || !lit(edge.x2, edge.y2) {
			t.Errorf("%s: there is a gap between the cells", edge.name)
		}
	}
	if lit(0, 0) {
		t.Error("a rounded corner fills its cell")
	}
}

func TestAScriptKeepsItsPicturesAndFailsWhereAScreenDoesNotCome(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	p, err := newPainter(darkPalette())
	if err != nil {
		t.Fatal(err)
	}
	tm, err := term.Start(exec.Command("/bin/sh", "-c", "echo one; read x; echo two; read x"), 20, 5)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := tm.Close(); err != nil {
			t.Error(err)
		}
	}()
	s := &studio{out: t.TempDir(), painter: p, film: newFilm()}
	if err := s.step(ctx, tm, step{want: []string{"one"}, picture: "first"}); err != nil {
		t.Fatal(err)
	}
	if err := s.step(ctx, tm, step{keys: []string{"enter"}, want: []string{"two"}, picture: "second"}); err != nil {
		t.Fatal(err)
	}
	for _, film := range []bool{false, true} {
		if err := s.step(ctx, tm, step{keys: []string{"enter"}, want: []string{"two", "three"}, film: film}); err == nil || ctx.Err() != nil {
			t.Errorf("waiting for a text that never comes gives %v (%v)", err, ctx.Err())
		}
	}
	if n := len(s.film.frames); n == 0 || n > 3 {
		t.Errorf("the film of a program that had ended has %d frames", n)
	}
	text, err := os.ReadFile(filepath.Join(s.out, "second.txt"))
	if err != nil || !strings.Contains(string(text), "two\n") {
		t.Errorf("the text of the second picture is %q (%v)", text, err)
	}
	f, err := os.Open(filepath.Join(s.out, "second.png"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if img, err := png.Decode(f); err != nil || img.Bounds() != image.Rect(0, 0, 20*cellWidth+2*margin, 5*cellHeight+2*margin) {
		t.Errorf("the second picture is %v (%v)", img.Bounds(), err)
	}
}

func TestAFilmShowsEveryFrameWhole(t *testing.T) {
	t.Parallel()
	pal := darkPalette()
	frames := []*image.RGBA{}
	f := newFilm()
	for _, text := range []string{"█ ", "██", " █"} {
		var cells []term.Cell
		for _, r := range text {
			cells = append(cells, term.Cell{Text: string(r), Width: 1})
		}
		_, img := painted(t, line(cells...))
		frames = append(frames, img)
		f.add(img)
	}
	path := filepath.Join(t.TempDir(), "film.gif")
	if err := f.save(path); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	g, err := gif.DecodeAll(file)
	if err != nil || len(g.Image) != len(frames) {
		t.Fatalf("the film has %d frames (%v), want %d", len(g.Image), err, len(frames))
	}
	shown := image.NewRGBA(frames[0].Bounds())
	for i, frame := range g.Image {
		draw.Draw(shown, shown.Bounds(), frame, image.Point{}, draw.Over)
		for x := range 2 {
			lit := shown.RGBAAt(margin+x*cellWidth+3, margin+3).R > 128
			if want := frames[i].RGBAAt(margin+x*cellWidth+3, margin+3) != pal.background; lit != want {
				t.Errorf("frame %d, cell %d: lit is %v, want %v", i, x, lit, want)
			}
		}
	}
}
