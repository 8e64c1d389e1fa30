package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// figures are what one run has shown.
type figures struct {
	linesPerSec float64
	cpuPerM     float64 // seconds per million lines
	peakRSS     int64   // bytes
	requests    int64
	perBatch    float64 // records per record batch
	machine     usage   // of the sender and the broker stand-in, from the first line to the last
}

// table prints one row per run, and medians.
type table struct {
	w    *tabwriter.Writer
	runs map[string][]figures
}

func newTable(out io.Writer) *table {
	t := &table{w: tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight), runs: make(map[string][]figures)}
	fmt.Fprintln(t.w, "sender\trun\tlines/s\tCPU s / M lines\tpeak RSS\trequests\trecords / batch\t")
	return t
}

func (t *table) add(name string, f figures) {
	t.runs[name] = append(t.runs[name], f)
	t.row(name, fmt.Sprint(len(t.runs[name])), f)
}

func (t *table) row(name, run string, f figures) {
	fmt.Fprintf(t.w, "%s\t%s\t%.0f\t%.2f\t%.0f MB\t%d\t%.0f\t\n", name, run, f.linesPerSec, f.cpuPerM, float64(f.peakRSS)/1e6, f.requests, f.perBatch)
}

// median adds a row with the median of each figure.
func (t *table) median(name string) {
	runs := t.runs[name]
	m := figures{
		linesPerSec: median(runs, func(f figures) float64 { return f.linesPerSec }),
		cpuPerM:     median(runs, func(f figures) float64 { return f.cpuPerM }),
		peakRSS:     int64(median(runs, func(f figures) float64 { return float64(f.peakRSS) })),
		requests:    int64(median(runs, func(f figures) float64 { return float64(f.requests) })),
		perBatch:    median(runs, func(f figures) float64 { return f.perBatch }),
	}
	t.row(name, "median", m)
}

func median(runs []figures, of func(figures) float64) float64 {
	values := make([]float64, len(runs))
	for i, f := range runs {
		values[i] = of(f)
	}
	return middle(values)
}

// finish prints the table.
func (t *table) finish() error { return t.w.Flush() }
