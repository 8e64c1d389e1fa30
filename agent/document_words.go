package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxQuoted is how many characters of a bad value a message repeats.
const maxQuoted = 80

// position names a byte as an editor does: lines and columns from 1, columns in characters.
func position(raw []byte, at int) string {
	before := raw[:max(0, min(at, len(raw)))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return fmt.Sprintf("line %d, column %d", 1+bytes.Count(before, []byte{'\n'}), 1+utf8.RuneCount(before[start:]))
}

// jsonKind names the JSON type of a valid value, with its article.
func jsonKind(value []byte) string {
	switch value[0] {
	case '[':
		return "an array"
	case '{':
		return "an object"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// entryLabel names an entry by all that is known of it.
func entryLabel(n int, members []member) string {
	var known []string
	for _, field := range []string{"service", "log_path"} {
		i := slices.IndexFunc(members, func(m member) bool { return m.name == field })
		var s string
		if i >= 0 && json.Unmarshal(members[i].value, &s) == nil && s != "" {
			known = append(known, strings.Trim(quote(s), `"`))
		}
	}
	if len(known) == 0 {
		return "entry " + strconv.Itoa(n)
	}
	return fmt.Sprintf("entry %d (%s)", n, strings.Join(known, ", "))
}

// quote makes foreign text fit for a message: printable and short.
func quote(s string) string { return strconv.Quote(shorten(s)) }

func quoteRaw(value json.RawMessage) string {
	var s string
	if jsonKind(value) == "a string" && json.Unmarshal(value, &s) == nil {
		return quote(s)
	}
	var b bytes.Buffer
	if json.Compact(&b, value) != nil {
		return "the value"
	}
	s = strconv.Quote(shorten(b.String()))
	return strings.ReplaceAll(s[1:len(s)-1], `\"`, `"`)
}

func shorten(s string) string {
	if r := []rune(s); len(r) > maxQuoted {
		return string(r[:maxQuoted]) + "…"
	}
	return s
}

// otherNames are what people and other collectors call a field, letters only.
var otherNames = map[string]string{
	"name": "service", "app": "service", "path": "log_path", "file": "log_path", "filename": "log_path", "log": "log_path",
	"rate": "send_rate", "limit": "send_rate", "ratelimit": "send_rate", "maxrate": "send_rate", "start": "start_at",
	"startfrom": "start_at", "ignore": "exclude", "excludes": "exclude", "pause": "paused", "disabled": "paused",
	"kafkatopic": "topic", "partitioner": "partition", "partitionby": "partition", "key": "partition", "longlines": "oversize",
}

// closestField guesses which field an unknown name was meant to be; "" where none is close.
func closestField(name string) string {
	letters := onlyLetters(name)
	if letters == "" || len(letters) > 32 {
		return ""
	}
	if field, ok := otherNames[letters]; ok {
		return field
	}
	best, distance := "", 3
	for _, field := range documentFields {
		want := onlyLetters(field)
		if d := editDistance(letters, want); d < distance && 2*d < len(want) {
			best, distance = field, d
		}
	}
	return best
}

func onlyLetters(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, s)
}

// editDistance counts the bytes to add, drop or replace to make b of a.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
