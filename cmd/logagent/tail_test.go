package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestTailShowsTheLastLinesAndFollowsOverARotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := writeFile(t, filepath.Join(dir, "a.log"), "one\ntwo\nthree\nfour\n")
	p := start(t, dir, "tail", "-n", "2", path)
	eventually(t, "the last two lines", func() bool { return p.stdout.String() == "three\nfour\n" })
	appendFile(t, path, "five\n")
	eventually(t, "the new line", func() bool { return p.stdout.String() == "three\nfour\nfive\n" })
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	appendFile(t, path, "six\n")
	eventually(t, "the next file", func() bool { return p.stdout.String() == "three\nfour\nfive\nsix\n" })
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitDone || p.stderr.String() != "" {
		t.Errorf("exit %d, stderr %q", code, p.stderr)
	}
}

func TestLastLinesAreCountedFromTheEnd(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		text string
		n    int
		want string
	}{
		{"", 10, ""},
		{"a\nb\nc\n", 0, ""},
		{"a\nb\nc\n", 1, "c\n"},
		{"a\nb\nc", 1, "c"},
		{"a\nb\nc\n", 3, "a\nb\nc\n"},
		{"a\nb\nc\n", 9, "a\nb\nc\n"},
		{"\n\n\n", 2, "\n\n"},
		{"first\n" + long + "\nlast\n", 2, long + "\nlast\n"},
	} {
		path := writeFile(t, filepath.Join(t.TempDir(), "f"), c.text)
		at, err := lastLines(path, c.n)
		if err != nil || c.text[at:] != c.want {
			t.Errorf("%d of %.20q: want %.20q, got offset %d, %v", c.n, c.text, c.want, at, err)
		}
	}
	if _, err := lastLines(t.TempDir(), 1); err == nil {
		t.Error("a folder has no lines")
	}
}

func TestTailIsHarmlessOnATerminalAndUnchangedInAPipe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := writeFile(t, filepath.Join(dir, "a.log"), "plain \x1b[31mred\x1b]0;title\x07\n")
	e := startInTerminal(t, dir, "tail", path)
	e.shows(t, "plain ␛[31mred␛]0;title␇")
	p := start(t, dir, "tail", path)
	eventually(t, "the bytes as they are", func() bool { return p.stdout.String() == "plain \x1b[31mred\x1b]0;title\x07\n" })
}
