package store

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// ParseFilter reads the filter language. An error is a *FilterError and names the part
// that cannot be read.
func ParseFilter(s string) (Filter, error) {
	var f Filter
	parts, err := split(s)
	if err != nil {
		return f, err
	}
	known := fields()
	for _, p := range parts {
		t, err := parseTerm(p, known)
		if err != nil {
			return Filter{}, err
		}
		f.terms = append(f.terms, t)
	}
	return f, nil
}

// ParseTyping reads a filter that is still being typed: a last term that cannot be read
// yet, or is only the name of a field, is left out of it. The error is returned all the same.
func ParseTyping(s string) (Filter, error) {
	cut := strings.LastIndexFunc(s, unicode.IsSpace) + 1
	f, err := ParseFilter(s)
	if err != nil {
		f, _ = ParseFilter(s[:cut])
		return f, err
	}
	last := strings.ToLower(strings.TrimLeft(s[cut:], "!"))
	if slices.ContainsFunc(fields(), func(f field) bool { return slices.Contains(f.names, last) }) {
		return ParseFilter(s[:cut])
	}
	return f, nil
}

// part is one term as typed. quoted is where its first quoted character stands, -1 for
// none: an operator after it is only text.
type part struct {
	raw, text string
	quoted    int
}

// split cuts at blanks outside of double quotes.
func split(s string) ([]part, error) {
	var out []part
	var text strings.Builder
	start, quoted, in := -1, -1, false
	flush := func(end int) {
		if start >= 0 {
			out = append(out, part{raw: s[start:end], text: text.String(), quoted: quoted})
		}
		text.Reset()
		start, quoted = -1, -1
	}
	for i, r := range s {
		if unicode.IsSpace(r) && !in {
			flush(i)
			continue
		}
		if start < 0 {
			start = i
		}
		if r == '"' {
			if in = !in; in && quoted < 0 {
				quoted = text.Len()
			}
			continue
		}
		text.WriteRune(r)
	}
	if in {
		return nil, &FilterError{Part: s[start:], Why: "the quote is not closed"}
	}
	flush(len(s))
	return out, nil
}

func parseTerm(p part, known []field) (term, error) {
	bad := func(format string, args ...any) (term, error) {
		return term{}, &FilterError{Part: p.raw, Why: fmt.Sprintf(format, args...)}
	}
	t := term{}
	body, quoted := p.text, p.quoted
	for strings.HasPrefix(body, "!") && quoted != 0 {
		t.negate = !t.negate
		body = body[1:]
		quoted--
	}
	open := body
	if p.quoted >= 0 {
		open = body[:min(max(quoted, 0), len(body))]
	}
	at := strings.IndexAny(open, "=<>!")
	if at < 0 {
		if body == "" {
			return bad("nothing to look for")
		}
		t.word = strings.ToLower(body)
		return t, nil
	}
	name, rest := strings.ToLower(body[:at]), body[at:]
	for _, op := range []string{"!=", "<=", ">=", "=", "<", ">"} {
		if strings.HasPrefix(rest, op) {
			t.op = op
			break
		}
	}
	if t.op == "" {
		return bad("after ! comes =, as in state!=ok")
	}
	value := rest[len(t.op):]
	i := slices.IndexFunc(known, func(f field) bool { return slices.Contains(f.names, name) })
	if i < 0 {
		var names []string
		for _, f := range known {
			names = append(names, f.names[0])
		}
		return bad("no field %q; there are %s", name, strings.Join(names, " "))
	}
	t.field = &known[i]
	if value == "" {
		return bad("a value is missing after %s", t.op)
	}
	var err error
	switch t.field.kind {
	case fieldText, fieldState, fieldConfig:
		if t.op != "=" && t.op != "!=" {
			return bad("%s is text: use = or !=", name)
		}
		t.parts = strings.Split(strings.ToLower(value), "*")
		words := map[fieldKind][]string{fieldState: states(), fieldConfig: configs()}[t.field.kind]
		if words != nil && !slices.ContainsFunc(words, func(w string) bool { return glob(t.parts, w) }) {
			return bad("%s is one of %s", name, strings.Join(words, " "))
		}
	case fieldBytes:
		t.number, err = parseBytes(value)
	case fieldDuration:
		t.number, err = parseSeconds(value)
	default:
		t.number, err = ParseCount(value)
	}
	if err != nil {
		return bad("%v", err)
	}
	return t, nil
}

// number cuts the leading number off its unit.
func number(s string) (float64, string, bool) {
	n := 0
	for n < len(s) && (s[n] >= '0' && s[n] <= '9' || s[n] == '.') {
		n++
	}
	v, err := strconv.ParseFloat(s[:n], 64)
	return v, strings.ToLower(s[n:]), err == nil
}

// ParseCount reads 100, 8.5k, 2M, 1G.
func ParseCount(s string) (float64, error) {
	v, unit, ok := number(s)
	scale, known := map[string]float64{"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "/s": 1, "k/s": 1e3, "m/s": 1e6}[unit]
	if !ok || !known {
		return 0, fmt.Errorf("%q is no number such as 100, 8.5k or 2M", s)
	}
	return v * scale, nil
}

func parseBytes(s string) (float64, error) {
	v, unit, ok := number(s)
	power := map[string]float64{
		"": 1, "b": 1, "k": 1e3, "kb": 1e3, "m": 1e6, "mb": 1e6, "g": 1e9, "gb": 1e9, "t": 1e12, "tb": 1e12, "p": 1e15, "pb": 1e15,
		"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
	}[unit]
	if !ok || power == 0 {
		return 0, fmt.Errorf("%q is no size such as 500kB, 88MB or 1.5GB", s)
	}
	return v * power, nil
}

// parseSeconds reads 90, 90s, 5m, 1h30m, 2d and never.
func parseSeconds(s string) (float64, error) {
	if strings.EqualFold(s, "never") {
		return math.Inf(1), nil
	}
	bad := fmt.Errorf("%q is no duration such as 90s, 5m, 1h30m or 2d", s)
	if v, err := strconv.ParseFloat(s, 64); err == nil && v >= 0 {
		return v, nil
	}
	days := 0.0
	rest := strings.ToLower(s)
	if d, after, ok := strings.Cut(rest, "d"); ok {
		v, unit, good := number(d)
		if !good || unit != "" {
			return 0, bad
		}
		days, rest = v, after
	}
	if rest == "" {
		return days * 86400, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 {
		return 0, bad
	}
	return days*86400 + d.Seconds(), nil
}
