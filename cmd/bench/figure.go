package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// unit says what a figure counts, and so how it is printed.
type unit string

const (
	linesPerSec unit = "lines/s"
	cpuPerM     unit = "CPU s / M lines"
	cores       unit = "cores"
	percent     unit = "% of a core"
	megabytes   unit = "MB"
	millis      unit = "ms"
	share       unit = "%"
	lineCount   unit = "lines"
	seconds     unit = "s"
	times       unit = "times"
	perSec      unit = "/s"
	kilobytes   unit = "kB"
	hostCount   unit = "hosts"
	countless   unit = "" // of things that the figure's name tells
)

// aim is what a figure should be.
type aim struct {
	Least bool    `json:"least"` // at least Value; else at most
	Value float64 `json:"value"`
}

func atLeast(v float64) *aim { return &aim{Least: true, Value: v} }
func atMost(v float64) *aim  { return &aim{Value: v} }

func (a *aim) met(v float64) bool {
	if a.Least {
		return v >= a.Value
	}
	return v <= a.Value
}

// figure is one number of a row, with its value in each run.
type figure struct {
	Name   string    `json:"name"`
	Unit   unit      `json:"unit"`
	Values []float64 `json:"values"`
	Aim    *aim      `json:"aim,omitempty"` // nil: none was set
	Median float64   `json:"median"`
}

// measured is a figure of one run.
func measured(name string, u unit, v float64, a *aim) figure {
	if math.IsNaN(v) || math.IsInf(v, 0) { // nothing was there to divide by
		v = 0
	}
	return figure{Name: name, Unit: u, Values: []float64{v}, Aim: a, Median: v}
}

// and is the same figure of one more run.
func (f figure) and(o figure) figure {
	f.Values = append(slices.Clone(f.Values), o.Values...)
	f.Median = middle(f.Values)
	return f
}

func (f *figure) verdict() string {
	switch {
	case f.Aim == nil:
		return ""
	case f.Aim.met(f.Median):
		return "met"
	}
	return "NOT MET"
}

// text prints the median.
func (f *figure) text() string {
	return strings.TrimSpace(f.Unit.text(f.Median) + " " + string(f.Unit))
}

func (f *figure) aimText() string {
	switch {
	case f.Aim == nil:
		return ""
	case f.Aim.Least:
		return "≥ " + f.Unit.text(f.Aim.Value)
	}
	return "≤ " + f.Unit.text(f.Aim.Value)
}

// runsText prints the lowest and the highest run.
func (f *figure) runsText() string {
	if len(f.Values) < 2 {
		return ""
	}
	return f.Unit.text(slices.Min(f.Values)) + "–" + f.Unit.text(slices.Max(f.Values))
}

// text prints a number with as many digits as are worth reading.
func (u unit) text(v float64) string {
	switch {
	case u == hostCount, u == countless: // whole where they are
		return strconv.FormatFloat(math.Round(10*v)/10, 'f', -1, 64)
	case u == linesPerSec && v >= 100_000:
		return fmt.Sprintf("%.2f M", v/1e6)
	case u == linesPerSec, u == times, u == lineCount && v >= 1000, u == megabytes && v >= 10:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case u == cpuPerM, u == cores, u == percent, u == share, u == millis && v < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 1, 64)
}

func middle(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
