package ui

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares with testdata/name, which changes only with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s differs (go test ./ui -update, then read the difference); got:\n%s", path, got)
	}
}

func TestScreensLookAsKept(t *testing.T) {
	t.Parallel()
	looks := []struct {
		name    string
		theme   Theme
		colours Colours
	}{{"mono", ThemeMono, ColoursNone}, {"dark", ThemeDark, Colours256}, {"light", ThemeLight, Colours256}}
	for _, size := range [][2]int{{120, 36}, {80, 24}, {60, 15}} {
		for _, look := range looks {
			p := sit(t, size[0], size[1], func(o *Options) { o.Theme, o.Colours = look.theme, look.colours })
			shot := func(name string) {
				t.Helper()
				view := p.app.View()
				if look.name == "mono" && strings.Contains(view, "\x1b") {
					t.Errorf("%s: want no escape without colours", name)
				}
				view = strings.ReplaceAll(view, "\x1b", "␛") // to be read in review
				golden(t, fmt.Sprintf("%s-%dx%d-%s.txt", name, size[0], size[1], look.name), view+"\n")
			}
			p.wait(2 * time.Second)
			p.press("j")
			shot("fleet")
			p.press("+")
			shot("chooser")
			p.press("enter")
			p.wait(time.Second)
			shot("tuning")
			p.press("esc")
			p.wait(tuneHold)
			p.press("enter")
			p.wait(time.Second)
			shot("host-waiting")
			p.store.SetDetail(webDetail(p.clock.now(), 1001, 48209, 5000), 0)
			p.wait(lookBack)
			p.store.SetDetail(webDetail(p.clock.now(), 1002, 48209, 5000), 0)
			p.press("g", "j")
			p.wait(time.Second)
			shot("host")
			p.press("?")
			shot("help")
		}
	}
}

func TestEveryLineFitsAndEveryLineIsThere(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, func(o *Options) { o.Theme, o.Colours = ThemeDark, ColoursTrue })
	check := func(where string, w, h int) {
		t.Helper()
		lines := strings.Split(p.app.View(), "\n")
		if len(lines) != h {
			t.Fatalf("%s at %d×%d: %d lines", where, w, h, len(lines))
		}
		for i, l := range lines {
			if got := ansi.StringWidth(l); got > w {
				t.Fatalf("%s at %d×%d: line %d is %d wide: %q", where, w, h, i, got, ansi.Strip(l))
			}
		}
	}
	all := func(where string) {
		t.Helper()
		for _, w := range []int{1, 2, 10, 59, 60, 61, 64, 70, 79, 80, 81, 99, 100, 119, 120, 133, 200, 333} {
			for _, h := range []int{1, 2, 5, 14, 15, 16, 17, 18, 19, 20, 23, 24, 25, 30, 36, 50, 90} {
				p.resize(w, h)
				check(where, w, h)
			}
		}
		p.resize(120, 36)
	}
	evil := "日本語ログ\x1b[31m" + strings.Repeat("長い", 40)
	st := webDetail(p.clock.now(), 1001, 48209, 5000)
	st.Files[0].Path, st.Files[0].Cause = "/"+evil, evil
	p.store.SetDetail(st, 0)
	all("fleet")
	p.press("w")
	all("fleet, wide")
	p.press("w", "j", "+")
	all("chooser")
	p.press("enter")
	all("tuning")
	p.press("=")
	p.press(strings.Repeat("9", 300))
	all("typed rate")
	p.press("enter")
	all("wrong rate")
	p.press("esc", "/")
	p.press("web " + strings.Repeat("x日", 100))
	all("filter")
	p.press(" lag>zz")
	all("wrong filter")
	p.press("esc", "j")
	p.wait(tuneHold + lookBack)
	p.press("g", "j", "enter")
	p.wait(time.Second)
	all("host")
	p.press("w", "/")
	p.press("nginx")
	all("host, filtered")
	p.press("esc", "?")
	all("help")
	p.press("G")
	all("help, end")
	p.press("q")
	p.quit = false
	p.app.opts.AgentInside = true
	p.press("q")
	all("question")
}

func TestSmallWindowAsksForMore(t *testing.T) {
	t.Parallel()
	p := sit(t, 59, 20, nil)
	p.sees("at least 60×15 is needed, this window is 59×20")
	p.press("+", "j", "enter")
	if len(p.app.rates.list) > 0 || len(p.app.pages) != 1 {
		t.Fatal("want no key to act on what is not seen")
	}
	p.resize(60, 15)
	p.sees("logagent ▸ fleet")
}
