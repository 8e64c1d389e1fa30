package main

import (
	"fmt"
	"io"
)

// The columns of the table for people.
const rowFormat = "%-36s %-36s %22s %10s %-8s %s\n"

func printHead(out io.Writer) {
	fmt.Fprintf(out, rowFormat, "row", "figure", "measured", "aim", "", "runs")
}

// printResult prints a row: a line for each figure.
func printResult(out io.Writer, r *result) {
	name := r.Name
	for _, f := range r.Figures {
		fmt.Fprintf(out, rowFormat, name, f.Name, f.text(), f.aimText(), f.verdict(), f.runsText())
		name = ""
	}
	if r.Other+r.Steal > 0 {
		fmt.Fprintf(out, rowFormat, name, "others on this machine", fmt.Sprintf("%.1f %%", 100*r.Other), "", "", fmt.Sprintf("stolen %.1f %%", 100*r.Steal))
		name = ""
	}
	if r.Failed != "" {
		fmt.Fprintf(out, rowFormat, name, "FAILED", "", "", "", r.Failed)
	}
}
