package termsafe

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

func TestEscapesAndControlsAreShownAndDoNothing(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"/var/log/nginx/access.log":       "/var/log/nginx/access.log",
		"\x1b[2J\x1b]52;c;aGk=\x07x":      "␛[2J␛]52;c;aGk=␇x",
		"a\tb\r\nc":                       "a b␍␊c",
		"\u009b31mred":                    "�31mred",
		"user\u202egnp.exe":               "user�gnp.exe",
		"zero\u200bwidth":                 "zero�width",
		"bad\xff\xfeutf8":                 "bad��utf8",
		"日本語ログ":                           "日本語ログ",
		"cafe\u0301":                      "cafe\u0301",
		"z" + strings.Repeat("\u0336", 9): "z\u0336\u0336",
		"\u0301start":                     "start",
		"line\u2028sep":                   "line�sep",
		"\x7f":                            "␡",
		"":                                "",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q): want %q, got %q", in, want, got)
		}
	}
}

func TestSeveralLinesBecomeOne(t *testing.T) {
	t.Parallel()
	if want, got := "entry 1: no topic; entry 2: no path", Line("entry 1: no topic\n  entry 2: no path\r\n"); got != want {
		t.Errorf("want %q, got %q", want, got)
	}
}

func TestCutTextFitsAndKeepsTheAskedEnd(t *testing.T) {
	t.Parallel()
	path := "/var/log/nginx/access.log"
	if want, got := "…/access.log", Tail(path, 12); got != want {
		t.Errorf("tail: want %q, got %q", want, got)
	}
	if want, got := "/var/log/ng…", Head(path, 12); got != want {
		t.Errorf("head: want %q, got %q", want, got)
	}
	for w := range 12 {
		for _, s := range []string{path, "日本語ログ/日本語", "é日e\u0301/x"} {
			if got := Width(Tail(s, w)); got > w {
				t.Errorf("Tail(%q, %d) is %d wide", s, w, got)
			}
			if got := Width(Head(s, w)); got > w {
				t.Errorf("Head(%q, %d) is %d wide", s, w, got)
			}
		}
	}
}

func FuzzCleanTextIsHarmless(f *testing.F) {
	for _, s := range []string{"plain", "\x1b[31m", "\u202e\u2066", "\xff", "日本\u0301", "👩‍👩‍👧", "\u1100\u1161", "🇩🇪", "☎\ufe0f", "\u0600"} {
		f.Add(s, 7)
	}
	f.Fuzz(func(t *testing.T, s string, w int) {
		c := Clean(s)
		if !utf8.ValidString(c) {
			t.Fatalf("Clean(%q) is not UTF-8: %q", s, c)
		}
		if again := Clean(c); again != c {
			t.Fatalf("Clean twice differs: %q, %q", c, again)
		}
		for _, r := range c {
			if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r) {
				t.Fatalf("Clean(%q) holds %U", s, r)
			}
		}
		if ansi.Strip(c) != c {
			t.Fatalf("Clean(%q) holds an escape sequence: %q", s, c)
		}
		sum := 0
		for _, r := range c {
			sum += ansi.StringWidth(string(r))
		}
		if got := Width(c); got != sum {
			t.Fatalf("%q is %d wide, its characters %d", c, got, sum)
		}
		w = min(max(w, 0), 200)
		if got := Width(Head(c, w)); got > w {
			t.Fatalf("Head(%q, %d) is %d wide", c, w, got)
		}
		if got := Width(Tail(c, w)); got > w {
			t.Fatalf("Tail(%q, %d) is %d wide", c, w, got)
		}
	})
}
