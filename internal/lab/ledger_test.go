package lab

import (
	"compress/gzip"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// contents returns the lines of the files, read in order.
func contents(t *testing.T, files ...string) []string {
	t.Helper()
	var out []string
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 0 && b[len(b)-1] != '\n' {
			t.Errorf("%s does not end with a whole line", file)
		}
		out = append(out, strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' })...)
	}
	return out
}

// oldestFirst returns the rotated files of a path and the path itself; compressed ones are
// uncompressed first.
func oldestFirst(t *testing.T, path string) []string {
	t.Helper()
	files := []string{path}
	for n := 1; ; n++ {
		older := (&rotatingFile{path: path}).numbered(n)
		if _, err := os.Stat(older + ".gz"); err == nil {
			uncompress(t, older+".gz", older)
		}
		if _, err := os.Stat(older); err != nil {
			slices.Reverse(files)
			return files
		}
		files = append(files, older)
	}
}

func uncompress(t *testing.T, from, to string) {
	t.Helper()
	f, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestLedgerKnowsItsLinesHoweverItIsRotated(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]Rotation{"rename": RotateRename, "gzip": RotateGzip, "copytruncate": RotateCopyTruncate} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "a.log")
			l := newLedger(t, LedgerOptions{Path: path, Name: "a", Rotation: kind, Torn: true})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- l.Run(ctx, 5000) }()
			for n := range 5 {
				eventually(t, "lines between rotations", func() bool { return l.Count() > 200*(n+1) })
				if err := l.Rotate(); err != nil {
					t.Fatal(err)
				}
			}
			cancel()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			if err := l.Write(1); err != nil {
				t.Fatal(err)
			}
			if kind == RotateGzip {
				if left, _ := filepath.Glob(path + ".*[0-9]"); len(left) > 0 {
					t.Errorf("not compressed: %q", left)
				}
			}
			files := oldestFirst(t, path)
			if len(files) != 6 {
				t.Errorf("five rotations leave %q", files)
			}
			if got := contents(t, files...); !slices.Equal(got, l.Lines()) {
				t.Errorf("the ledger against its files: %v", Compare(l.Lines(), got))
			}
		})
	}
}

func TestLedgerFollowsItsPathAfterARotationFromOutside(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	l := newLedger(t, LedgerOptions{Path: path, Name: "a"})
	write := func() {
		t.Helper()
		if err := l.Write(10); err != nil {
			t.Fatal(err)
		}
	}
	write()
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write()
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	write()
	if old, fresh := contents(t, path+".1"), contents(t, path); len(old) != 20 || len(fresh) != 10 || !slices.Equal(append(old, fresh...), l.Lines()) {
		t.Errorf("%d lines in the old file, %d in the new one", len(old), len(fresh))
	}
}

func newLedger(t *testing.T, o LedgerOptions) *Ledger {
	t.Helper()
	l, err := NewLedger(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestLedgerKnowsWhatStandsInItsFiles(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "logs", "a.log")
	l := newLedger(t, LedgerOptions{Path: path, Name: "a", MaxBytes: 4000})
	for range 20 {
		if err := l.Write(10); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Rotate(); err != nil {
		t.Fatal(err)
	}
	if err := l.Write(1); err != nil {
		t.Fatal(err)
	}
	files := oldestFirst(t, path)
	if len(files) < 6 {
		t.Errorf("20 kB in files of 4 kB make %d files, want 6 or more", len(files))
	}
	if got := contents(t, files...); !slices.Equal(got, l.Lines()) || l.Count() != 201 {
		t.Errorf("the ledger counts %d lines; against its files: %v", l.Count(), Compare(l.Lines(), got))
	}
}

func TestLedgerLinesAreUniqueEvenInParts(t *testing.T) {
	t.Parallel()
	l := newLedger(t, LedgerOptions{Path: filepath.Join(t.TempDir(), "a.log"), Name: "a", LineBytes: 60})
	if err := l.Write(2000); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, line := range l.Lines() {
		if len(line) != 60 {
			t.Fatalf("line %q has %d bytes, want 60", line, len(line))
		}
		for _, part := range []string{line, line[10:], line[:50]} {
			if seen[part] {
				t.Fatalf("%q stands in more than one line", part)
			}
			seen[part] = true
		}
	}
}

func TestLedgerRunWritesUntilItIsTold(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	l := newLedger(t, LedgerOptions{Path: path, Name: "a"})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx, 2000) }()
	eventually(t, "500 lines", func() bool { return l.Count() >= 500 })
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("still running 10 s after its end")
	}
	if d := Compare(l.Lines(), contents(t, path)); !d.None() {
		t.Error(d)
	}
}

func TestRotationKeepsAsManyFilesAsAskedFor(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.log")
	f, err := openRotating(path, 10, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"first line\n", "second line\n", "third line\n", "fourth line\n"} {
		if _, err := f.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{"second line", "third line", "fourth line"}
	if got := contents(t, oldestFirst(t, path)...); !slices.Equal(got, want) {
		t.Errorf("the files hold %q, want %q", got, want)
	}
	// What a file holds from an earlier run counts for its size.
	if f, err = openRotating(path, 10, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("fifth line\n")); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	want = []string{"third line", "fourth line", "fifth line"}
	if got := contents(t, oldestFirst(t, path)...); !slices.Equal(got, want) {
		t.Errorf("after opening again the files hold %q, want %q", got, want)
	}
}

func TestCompareTellsLostDoubledAndForeignApart(t *testing.T) {
	t.Parallel()
	want := []string{"a", "b", "b", "c", "d"}
	got := []string{"d", "b", "a", "a", "a", "b", "cd", "cd"}
	d := Compare(want, got)
	if !slices.Equal(d.Lost, []string{"c"}) || !slices.Equal(d.Doubled, []string{"a", "a"}) || !slices.Equal(d.Foreign, []string{"cd", "cd"}) {
		t.Errorf("Compare(%q, %q) = %+v", want, got, d)
	}
	if d.None() {
		t.Error("a difference says that there is none")
	}
	if !strings.HasPrefix(d.String(), "lost 1, doubled 2, foreign 2\n") {
		t.Errorf("it tells %q", d.String())
	}
	if d := Compare(want, []string{"b", "a", "d", "c", "b"}); !d.None() {
		t.Errorf("the same lines in another order: %v", d)
	}
}
