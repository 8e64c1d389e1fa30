package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// The INI file is read here and not by a library: gopkg.in/ini.v1 cuts a comment sign out
// of quotes where inline comments are allowed, joins lines at back quotes and triple
// quotes, stops at the first mistake and knows no line numbers.
//
//	# comment            a comment, like ; at the start of a line
//	key = value          # a comment, because white space stands before the sign
//	key = a#b;c          the signs belong to the value
//	key = "a # b", 'c'   quotes keep them, and commas
//
// A value ends with its line. There is no escape character.

// maxINIBytes bounds the file: something larger is not a configuration.
const maxINIBytes = 1 << 20

// iniLine is one `key = value` of the file.
type iniLine struct {
	number int // from 1
	key    string
	value  iniValue
}

// iniValue is a value as it stands in the file, without its comment.
type iniValue string

// problem is something wrong at one line; line 0 is the file as a whole.
type problem struct {
	line int
	text string
}

// parseINI reads the whole file. It returns every line it could read, what is wrong, and
// what is merely odd, each in the order of the file.
func parseINI(data []byte) (lines []iniLine, problems, oddities []problem) {
	if len(data) > maxINIBytes {
		return nil, []problem{{0, fmt.Sprintf("%d bytes are too many for a configuration (at most %d)", len(data), maxINIBytes)}}, nil
	}
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return nil, []problem{{0, "is written in UTF-16; save it as UTF-8"}}, nil
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))

	first := make(map[string]int)
	for i, text := range strings.Split(string(data), "\n") {
		number := i + 1
		text = strings.TrimSpace(text) // takes the \r of a CRLF with it
		switch {
		case text == "" || text[0] == '#' || text[0] == ';':
			continue
		case text[0] == '[':
			oddities = append(oddities, problem{number, fmt.Sprintf("section %s means nothing here: all keys are in one flat list", withoutComment(text))})
			continue
		}
		name, rest, found := strings.Cut(text, "=")
		key := strings.TrimSpace(name)
		if !found || key == "" || strings.ContainsAny(key, "#;\"'") {
			problems = append(problems, problem{number, fmt.Sprintf("%s is not a line of the form key = value", shorten(text))})
			continue
		}
		if at, doubled := first[key]; doubled {
			problems = append(problems, problem{number, fmt.Sprintf("%s stands here and in line %d: keep one of them", key, at)})
			continue
		}
		first[key] = number
		value := strings.TrimSpace(withoutComment(rest))
		if strings.ContainsFunc(value, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }) {
			problems = append(problems, problem{number, fmt.Sprintf("%s holds a control character", key)})
			continue
		}
		lines = append(lines, iniLine{number, key, iniValue(value)})
	}
	return lines, problems, oddities
}

// withoutComment cuts a comment off: a # or ; after white space and outside quotes.
func withoutComment(s string) string {
	end := len(s)
	scanQuoted(s, func(i int, r, before rune, quoted bool) bool {
		if !quoted && (r == '#' || r == ';') && unicode.IsSpace(before) {
			end = i
			return false
		}
		return true
	})
	return s[:end]
}

// scanQuoted calls f for every rune with the one before it, and whether it stands within
// quotes, the signs included, until f returns false. Quotes open at the start, after white
// space and after a comma, so that an apostrophe within a word is only an apostrophe. It
// tells whether all of them were closed.
func scanQuoted(s string, f func(i int, r, before rune, quoted bool) bool) bool {
	open, before := rune(0), rune(',')
	for i, r := range s {
		closes := open != 0 && r == open
		if open == 0 && (r == '"' || r == '\'') && (before == ',' || unicode.IsSpace(before)) {
			open = r
		}
		if !f(i, r, before, open != 0) {
			return true
		}
		if closes {
			open = 0
		}
		before = r
	}
	return open == 0
}

var (
	errOpenQuote  = errors.New("a quote is opened and not closed")
	errAfterQuote = errors.New("text stands after the closing quote")
)

// scalar returns the value with its quotes taken off.
func (v iniValue) scalar() (string, error) {
	s := string(v)
	if !scanQuoted(s, func(int, rune, rune, bool) bool { return true }) {
		return "", errOpenQuote
	}
	if s == "" || s[0] != '"' && s[0] != '\'' {
		return s, nil
	}
	inner, after, _ := strings.Cut(s[1:], s[:1])
	if after != "" {
		return "", errAfterQuote
	}
	return inner, nil
}

// list returns the items between the commas, quotes taken off each, empty ones left out.
// Commas within quotes, braces and brackets belong to their item, so that globs can be
// listed.
func (v iniValue) list() ([]string, error) {
	var items []string
	s, from, depth := string(v), 0, 0
	add := func(item string) error {
		one, err := iniValue(strings.TrimSpace(item)).scalar()
		if err == nil && one != "" {
			items = append(items, one)
		}
		return err
	}
	var err error
	closed := scanQuoted(s, func(i int, r, _ rune, quoted bool) bool {
		switch {
		case quoted:
		case r == '{' || r == '[':
			depth++
		case r == '}' || r == ']':
			depth--
		case r == ',' && depth <= 0:
			err = errors.Join(err, add(s[from:i]))
			from = i + 1
		}
		return true
	})
	if !closed {
		return nil, errOpenQuote
	}
	if err = errors.Join(err, add(s[from:])); err != nil {
		return nil, err
	}
	return items, nil
}

// shorten quotes a text for a message; what is long is cut.
func shorten(s string) string {
	const most = 60
	if len(s) > most {
		s = s[:most] + "…"
	}
	return fmt.Sprintf("%q", s)
}
