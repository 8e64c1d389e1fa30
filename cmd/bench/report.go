package main

import (
	"bytes"
	"context"
	_ "embed" // for the page
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"text/template"
	"time"
)

//go:embed report.md.tmpl
var reportText string

// report is what the page is made of.
type report struct {
	Machine machine
	Date    string
	Scale   scale
	LogMB   string
	Rows    []result
	INI     string
	Peers   string // Markdown, as peers prints it
	Fleet   string // Markdown, as fleet wrote it when it was measured last; "" where it never was
	Notes   string // Markdown kept by hand
}

// writeReport measures rows and peers in one run and writes the page. Nothing is written
// when a line was lost, doubled or changed.
func writeReport(ctx context.Context, args []string, out io.Writer) error {
	var page, notes, fleet string
	o, err := parseRowOptions("report", args, func(f *flag.FlagSet) {
		f.StringVar(&page, "o", "BENCHMARKS.md", "file to write")
		f.StringVar(&notes, "notes", "cmd/bench/notes.md", "text to include, where there is one")
		f.StringVar(&fleet, "fleet", "cmd/bench/fleet.md", "section that bench fleet wrote, where there is one")
	})
	if err != nil {
		return err
	}
	r := report{Date: time.Now().UTC().Format("2 January 2006"), Scale: o.scale}
	if r.Machine, err = thisMachine(); err != nil {
		return err
	}
	set, err := parseSettings(nil)
	if err != nil {
		return err
	}
	r.INI = iniText(&set, "127.0.0.1:2379", "127.0.0.1:9092", ".")
	if r.Notes, err = readNotes(notes); err != nil {
		return err
	}
	if r.Fleet, err = readNotes(fleet); err != nil {
		return err
	}
	if r.Rows, err = o.measure(ctx, out); err != nil {
		return err
	}
	fmt.Fprintln(out, "\npeers")
	var peers bytes.Buffer
	more := []string{"-lines", strconv.Itoa(o.scale.Lines), "-runs", strconv.Itoa(o.scale.Runs), "-binary", o.binary, "-dir", o.dir}
	if err := measurePeers(ctx, more, io.MultiWriter(out, &peers)); err != nil {
		return err
	}
	r.Peers = peers.String()
	var text bytes.Buffer
	if err := r.write(&text); err != nil {
		return err
	}
	return os.WriteFile(page, text.Bytes(), 0o644)
}

// readNotes reads a text to include; there may be none.
func readNotes(path string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(text)), err
}

// pageWords are what templates of the page call.
var pageWords = template.FuncMap{
	"percent": func(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) },
	"verdict": func(f figure) string { return strings.ReplaceAll(f.verdict(), "NOT MET", "**not met**") },
	"text":    func(f figure) string { return f.text() },
	"aim":     func(f figure) string { return f.aimText() },
	"runs":    func(f figure) string { return f.runsText() },
	"trim":    strings.TrimSpace,
}

// write makes the page.
func (r *report) write(out io.Writer) error {
	t, err := template.New("report").Funcs(pageWords).Parse(reportText)
	if err != nil {
		return fmt.Errorf("the report's template: %w", err)
	}
	return t.Execute(out, r)
}
