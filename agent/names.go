package agent

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// This file knows how rotation names files.

// rotatedStems returns the names that name may be a rotated file of, compressed or not: what
// stands before .N, .DATE or -DATE at its end, or what is left without a date before its
// extension (app-20261122.log, app.2026-11-22.1.log). Editors' copies have none.
func rotatedStems(name string) []string {
	by, name := compressedBy(name)
	out := numberedStems(name)
	if stem, ext := cutExt(name); ext != "" {
		for _, s := range numberedStems(stem) {
			if dated.MatchString(stem[len(s):]) {
				out = append(out, s+ext)
			}
		}
	}
	if by != nil {
		out = append(out, name)
	}
	return out
}

// dated matches a date that stands between a name and its extension. A bare number may not:
// app.1.log may be a log of its own.
var dated = regexp.MustCompile(`^[._-](19|20)[0-9]{2}([._-]?)(0[1-9]|1[0-2])[._-]?([0-2][0-9]|3[01])([^0-9]|$)`)

// numberedStems returns what stands before numbers and dates at the end of name.
func numberedStems(name string) []string {
	var out []string
	for i := len(name) - 1; i > 0; i-- {
		c := name[i]
		if !strings.ContainsRune("0123456789._:T-", rune(c)) {
			break
		}
		if (c == '.' || c == '-' || c == '_') && i+1 < len(name) && name[i+1] >= '0' && name[i+1] <= '9' {
			out = append(out, name[:i])
		}
	}
	slices.Reverse(out) // the shortest stem has the longest date: app.log before app.log-2026-11
	return out
}

// cutExt cuts an extension of letters off a name.
func cutExt(name string) (stem, ext string) {
	i := strings.LastIndexByte(name, '.')
	if i <= 0 || i+1 == len(name) {
		return name, ""
	}
	for _, c := range name[i+1:] {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return name, ""
		}
	}
	return name[:i], name[i:]
}

// byAge orders the names of rotated files of one path by age where their times are equal (a
// kernel's clock ticks every few milliseconds): app.log.2 is older than app.log.1, and
// app.log-20261121 older than app.log-20261122.
func byAge(a, b string) int {
	na, nb := rotationNumber(a), rotationNumber(b)
	if na >= 0 && nb >= 0 {
		return cmp.Compare(nb, na)
	}
	return cmp.Compare(a, b)
}

// scheme is what a rotated name has in common with those before and after it: all but its
// numbers and how it is compressed.
func scheme(name string) string {
	_, name = compressedBy(name)
	return digitRuns.ReplaceAllString(name, "0")
}

var digitRuns = regexp.MustCompile(`[0-9]+`)

// rotationNumber returns N of name.N and name.N.gz; -1 where there is none. What is
// longer is a date.
func rotationNumber(name string) int {
	_, name = compressedBy(name)
	i := strings.LastIndexByte(name, '.')
	n, err := strconv.Atoi(name[i+1:])
	if err != nil || i < 0 || len(name)-i > 5 || n < 0 {
		return -1
	}
	return n
}
