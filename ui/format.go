package ui

import (
	"fmt"
	"math"
	"strings"
	"time"

	"logagent/ui/store"
)

// three writes v with three digits: 8.41, 41.2, 412.
func three(v float64) string {
	switch {
	case v < 9.995:
		return fmt.Sprintf("%.2f", v)
	case v < 99.95:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// size writes bytes in at most seven cells: 0, 512 B, 88 MB, 8.41 GB.
func size(b int64) string {
	if b <= 0 {
		return "0"
	}
	if b < 1000 {
		return fmt.Sprintf("%d B", b)
	}
	v := float64(b)
	for _, unit := range []string{"kB", "MB", "GB", "TB", "PB"} {
		v /= 1000
		if v < 999.5 || unit == "PB" {
			if v < 99.95 && (unit == "kB" || unit == "MB") {
				return fmt.Sprintf("%.1f %s", v, unit)
			}
			return three(v) + " " + unit
		}
	}
	return ""
}

// rate writes lines per second in at most five cells: 0, 0.4, 88, 8.0k, 214k, 1.2M.
func rate(v float64) string {
	switch {
	case v < 0.05 || v != v:
		return "0"
	case v < 9.95 && math.Abs(v-math.Round(v)) >= 0.05:
		return fmt.Sprintf("%.1f", v)
	case v < 999.5:
		return fmt.Sprintf("%.0f", v)
	}
	for _, unit := range []string{"k", "M", "G"} {
		v /= 1000
		if v < 99.95 {
			return fmt.Sprintf("%.1f%s", v, unit)
		}
		if v < 999.5 {
			return fmt.Sprintf("%.0f%s", v, unit)
		}
	}
	return "≥1T"
}

// exact writes a rate that was set, without rounding away what a key changed: 4, 105,
// 5.0k, 5.25k, 12.6k. It takes at most seven cells.
func exact(v int64) string {
	switch {
	case v == 0:
		return "none"
	case v < 1000:
		return fmt.Sprintf("%d", v)
	case v < 1e6:
		return trimmed(float64(v)/1e3) + "k"
	case v < 1e9:
		return trimmed(float64(v)/1e6) + "M"
	}
	return trimmed(float64(v)/1e9) + "G"
}

// trimmed writes three decimals without the zeros at the end, one at least.
func trimmed(v float64) string {
	s := strings.TrimRight(fmt.Sprintf("%.3f", v), "0")
	if strings.HasSuffix(s, ".") {
		s += "0"
	}
	return s
}

// perSecond is exact with its unit; no limit has none.
func perSecond(v int64) string {
	if v == 0 {
		return "no limit"
	}
	return exact(v) + "/s"
}

func behind(d time.Duration, atLeast bool) string {
	if atLeast {
		return "≥" + store.Compact(d)
	}
	return store.Compact(d)
}

func drain(d store.Drain) string {
	switch d.Kind {
	case store.DrainNever:
		return "never"
	case store.DrainUnknown:
		return "?"
	case store.DrainIn:
		return store.Compact(d.After)
	}
	return "-"
}

// grouped writes a count with its thousands apart: 118,402,551,040.
func grouped(n int64) string {
	s := fmt.Sprintf("%d", n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
