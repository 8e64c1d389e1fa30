// Package termsafe makes text that came from outside harmless for a terminal: paths,
// services, host names, errors and log lines. What it returns moves no cursor, changes no
// colour, hides or reorders nothing, and is as wide as it is measured to be.
package termsafe

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// replacement stands for what has no harmless picture of its own.
const replacement = '�'

// maxCombining is how many combining marks may follow one character. Real text needs two;
// more is a way to paint over the neighbouring lines.
const maxCombining = 2

// Clean returns s as one line of printable text. Control characters of the C0 set become
// their pictures (ESC is shown as ␛, a line feed as ␊), a tab becomes a space, and C1
// controls, bidirectional overrides, invisible characters and invalid UTF-8 become �.
// Clean text is returned as it is, without a copy; Clean of Clean changes nothing.
func Clean(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 8)
	last := ' ' // what the next character is drawn after; a mark at the start stands on a blank
	marks := maxCombining
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		i += n
		if r == utf8.RuneError && n == 1 {
			r = replacement
		}
		if unicode.Is(unicode.Mn, r) {
			if marks++; marks > maxCombining || variation(r) {
				continue
			}
		} else {
			marks = 0
			r = harmless(r)
		}
		if joins(last, r) {
			r, marks = replacement, 0
		}
		b.WriteRune(r)
		last = r
	}
	return b.String()
}

// plain tells whether s is printable ASCII throughout: nearly every path and name is.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// variation selectors change how wide the character before them is drawn, and terminals
// disagree on it.
func variation(r rune) bool { return r >= 0xfe00 && r <= 0xfe0f || r >= 0xe0100 && r <= 0xe01ef }

func harmless(r rune) rune {
	switch {
	case r == '\t':
		return ' '
	case r < 0x20:
		return 0x2400 + r
	case r == 0x7f:
		return 0x2421
	case r < 0x7f:
		return r
	case unicode.IsSpace(r) && r != 0x85 && r != 0x2028 && r != 0x2029:
		return ' '
	case !unicode.IsPrint(r), blank(r):
		// Not printable: C1, format characters (bidi overrides, zero-width joiners,
		// tags), line and paragraph separators, private use, surrogates.
		return replacement
	}
	return r
}

// blank names letters that are drawn as nothing (Hangul fillers, the Braille blank).
func blank(r rune) bool {
	return r == 0x115f || r == 0x1160 || r == 0x3164 || r == 0xffa0 || r == 0x2800
}

// joins tells whether b would melt into a (skin tones, flags, conjoining Hangul, spacing
// vowels): how wide such a pair is drawn depends on the terminal.
func joins(a, b rune) bool {
	if b <= 0x7e {
		return false
	}
	return ansi.StringWidth(string([]rune{a, b})) != ansi.StringWidth(string(a))+ansi.StringWidth(string(b))
}

// Line is Clean for messages of several lines: line ends and the blanks around them
// become "; ".
func Line(s string) string {
	if !strings.ContainsAny(s, "\r\n") {
		return Clean(s)
	}
	var parts []string
	for p := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if p = strings.TrimSpace(p); p != "" {
			parts = append(parts, p)
		}
	}
	return Clean(strings.Join(parts, "; "))
}

// Width is how many cells clean text takes.
func Width(s string) int {
	if plain(s) {
		return len(s)
	}
	return ansi.StringWidth(s)
}

// Head cuts clean text to at most width cells, keeping its beginning; what was cut is
// marked with …
func Head(s string, width int) string {
	if width <= 0 {
		return ""
	}
	if Width(s) <= width {
		return s
	}
	return ansi.Truncate(s, width, "…")
}

// Tail cuts clean text to at most width cells, keeping its end: of a long path the file
// name says more than the folder.
func Tail(s string, width int) string {
	if width <= 0 {
		return ""
	}
	w := Width(s)
	if w <= width {
		return s
	}
	// A wide character on the cut is left out whole by some counts and kept by others:
	// cut one more until it fits.
	for cut := w - width + 1; cut <= w; cut++ {
		if t := "…" + ansi.TruncateLeft(s, cut, ""); Width(t) <= width {
			return t
		}
	}
	return "…"
}
