package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/sys/unix"
)

// block is one round of a watch: on a terminal it is written over the one before, cut to the
// screen, so that nothing scrolls and nothing flickers.
func block(head, text string, to any, round int) string {
	if !isTerminal(to) {
		if round > 1 {
			head = "\n" + head
		}
		return head + "\n" + text
	}
	width, height := screenSize(to)
	return overwritten(head, text, width, height, round)
}

// overwritten is a block for a screen of so many columns and lines.
func overwritten(head, text string, width, height, round int) string {
	lines := append([]string{head}, strings.Split(strings.TrimSuffix(text, "\n"), "\n")...)
	if len(lines) > height {
		left := len(lines) - height + 1
		lines = append(lines[:height-1], fmt.Sprintf("… lines more: %d", left))
	}
	var b strings.Builder
	b.WriteString("\x1b[H")
	if round == 1 {
		b.WriteString("\x1b[2J")
	}
	for i, l := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(ansi.Truncate(l, width, "…"))
		b.WriteString("\x1b[K")
	}
	b.WriteString("\x1b[J")
	return b.String()
}

// screenSize is the columns and lines of a terminal.
func screenSize(of any) (width, height int) {
	if f, ok := of.(*os.File); ok {
		if w, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && w.Col > 0 && w.Row > 1 {
			return int(w.Col), int(w.Row)
		}
	}
	return 80, 24
}
