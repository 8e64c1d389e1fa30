package ui

import "strings"

const levels = "▁▂▃▄▅▆▇█" // three bytes each

// level is the block for a share from 0 to 1.
func level(share float64) string {
	i := 3 * min(max(int(share*7+0.5), 0), 7)
	return levels[i : i+3]
}

// condense makes width values of a series; each is the mean of its share, NaN where the
// share holds nothing.
func condense(v []float32, width int) []float64 {
	out := make([]float64, width)
	for i := range out {
		from, to := i*len(v)/width, (i+1)*len(v)/width
		if to == from && from < len(v) {
			to = from + 1
		}
		sum, n := 0.0, 0
		for _, x := range v[from:to] {
			if x == x {
				sum += float64(x)
				n++
			}
		}
		out[i] = sum / float64(n) // 0/0 is NaN: a gap
	}
	return out
}

// sparkline draws a series scaled to its own maximum; gaps are blank.
func sparkline(v []float32, width int) string {
	if len(v) == 0 {
		return spaces(width)
	}
	var b strings.Builder
	c := condense(v, width)
	top := 0.0
	for _, x := range c {
		if x > top {
			top = x
		}
	}
	for _, x := range c {
		switch {
		case x != x:
			b.WriteByte(' ')
		case top == 0:
			b.WriteString(level(0))
		default:
			b.WriteString(level(x / top))
		}
	}
	return b.String()
}

// flat tells whether a series never rises above zero.
func flat(v []float32) bool {
	for _, x := range v {
		if x > 0 {
			return false
		}
	}
	return true
}

// bar draws a share in percent as width cells.
func bar(percent, width int) string {
	full := (min(max(percent, 0), 100)*width + 50) / 100
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}
