package lab

import (
	"fmt"
	"slices"
	"strings"
)

// Difference is what became of lines on their way, as multisets: the order of lines is
// not compared.
type Difference struct {
	Lost    []string // written and not arrived, each as often as it is missing
	Doubled []string // arrived more often than it was written, each as often as it is too many
	Foreign []string // never written: fragments, glued lines
}

// Compare tells how the lines that arrived differ from those that were written.
func Compare(want, got []string) Difference {
	missing := make(map[string]int, len(want))
	for _, line := range want {
		missing[line]++
	}
	var d Difference
	for _, line := range got {
		n, known := missing[line]
		switch {
		case !known:
			d.Foreign = append(d.Foreign, line)
		case n <= 0:
			d.Doubled = append(d.Doubled, line)
			fallthrough
		default:
			missing[line] = n - 1
		}
	}
	for line, n := range missing {
		for range n {
			d.Lost = append(d.Lost, line)
		}
	}
	slices.Sort(d.Lost)
	slices.Sort(d.Doubled)
	slices.Sort(d.Foreign)
	return d
}

// None tells whether every line arrived exactly once and nothing else did.
func (d Difference) None() bool { return len(d.Lost)+len(d.Doubled)+len(d.Foreign) == 0 }

// String tells the counts and the first lines of each kind.
func (d Difference) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "lost %d, doubled %d, foreign %d", len(d.Lost), len(d.Doubled), len(d.Foreign))
	for _, kind := range []struct {
		name  string
		lines []string
	}{{"lost", d.Lost}, {"doubled", d.Doubled}, {"foreign", d.Foreign}} {
		for i, line := range kind.lines {
			if i == 5 {
				fmt.Fprintf(&b, "\n  %s: and %d more", kind.name, len(kind.lines)-i)
				break
			}
			fmt.Fprintf(&b, "\n  %s: %.120q", kind.name, line)
		}
	}
	return b.String()
}

// Values returns the values of records as lines, for Compare.
func Values(records []Record) []string {
	out := make([]string, len(records))
	for i := range records {
		out[i] = string(records[i].Value)
	}
	return out
}
