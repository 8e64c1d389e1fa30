package change

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// EntryDiff is one entry that differs between two documents. Before nil: added; After nil:
// removed.
type EntryDiff struct {
	LogPath string          `json:"log_path"` // as it is spelt after, or was before where it is removed
	Service string          `json:"service"`
	Before  json.RawMessage `json:"before,omitempty"`
	After   json.RawMessage `json:"after,omitempty"`
	Fields  []FieldDiff     `json:"fields,omitempty"` // of an entry that is in both
	// PlaceBefore and PlaceAfter are set where an entry that is in both stands elsewhere
	// among the others: its number in the document, from 1. The order has a meaning: a
	// file that two globs match belongs to the first.
	PlaceBefore int `json:"place_before,omitempty"`
	PlaceAfter  int `json:"place_after,omitempty"`
}

// FieldDiff is one field that differs; nil: not there.
type FieldDiff struct {
	Name   string          `json:"name"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// Moved tells whether the entry's place among the others is another one.
func (d EntryDiff) Moved() bool { return d.PlaceAfter > 0 }

// Diff tells by entry what differs in meaning: spacing, the order of fields and the
// spelling of values are no difference. nil is no document, which has no entries. Entries
// come in the order of before, added ones last. A broken document is an error that says
// which it is.
func Diff(before, after []byte) ([]EntryDiff, error) {
	if err := check(before); err != nil {
		return nil, fmt.Errorf("the document before is broken: %w", err)
	}
	if err := check(after); err != nil {
		return nil, fmt.Errorf("the document after is broken: %w", err)
	}
	return diff(before, after), nil
}

// diff is Diff of documents that are not broken.
func diff(before, after []byte) []EntryDiff {
	old, now := entriesOf(before), entriesOf(after)
	oldAt, nowAt := places(old), places(now)
	var common []int // places after, of the entries in both, in the order of before
	for _, it := range old {
		if j, ok := nowAt[it.id]; ok {
			common = append(common, j)
		}
	}
	stays := make(map[int]bool)
	for _, j := range rising(common) {
		stays[j] = true
	}
	var out []EntryDiff
	for i, it := range old {
		j, ok := nowAt[it.id]
		if !ok {
			out = append(out, EntryDiff{LogPath: it.path(), Service: it.service(), Before: it.text})
			continue
		}
		d := EntryDiff{Before: it.text, After: now[j].text}
		if !bytes.Equal(it.text, now[j].text) {
			d.Fields = differences(it.text, now[j].text)
		}
		if !stays[j] {
			d.PlaceBefore, d.PlaceAfter = i+1, j+1
		}
		if len(d.Fields) > 0 || d.Moved() {
			d.LogPath, d.Service = now[j].path(), now[j].service()
			out = append(out, d)
		}
	}
	for _, it := range now {
		if _, ok := oldAt[it.id]; !ok {
			out = append(out, EntryDiff{LogPath: it.path(), Service: it.service(), After: it.text})
		}
	}
	return out
}

func places(items []item) map[string]int {
	out := make(map[string]int, len(items))
	for i, it := range items {
		out[it.id] = i
	}
	return out
}

// rising returns a longest part of list that rises: entries in it have kept their order,
// so that one which was moved over many is the one that moved.
func rising(list []int) []int {
	var tops []int // of each length, the place in list of the lowest end
	before := make([]int, len(list))
	for i, v := range list {
		k, _ := slices.BinarySearchFunc(tops, v, func(t, v int) int { return list[t] - v })
		before[i] = -1
		if k > 0 {
			before[i] = tops[k-1]
		}
		if k == len(tops) {
			tops = append(tops, i)
		} else {
			tops[k] = i
		}
	}
	var out []int
	if len(tops) == 0 {
		return nil
	}
	for i := tops[len(tops)-1]; i >= 0; i = before[i] {
		out = append(out, list[i])
	}
	slices.Reverse(out)
	return out
}

// differences are the fields in which two entries differ; nil is one without fields.
func differences(before, after json.RawMessage) []FieldDiff {
	type sides struct{ before, after json.RawMessage }
	fields := make(map[string]sides)
	if kindOf(before) == '{' {
		before = bytes.TrimSpace(before)
		for _, m := range members(before) {
			fields[m.name] = sides{before: before[m.from:m.to]}
		}
	}
	if kindOf(after) == '{' {
		after = bytes.TrimSpace(after)
		for _, m := range members(after) {
			fields[m.name] = sides{fields[m.name].before, after[m.from:m.to]}
		}
	}
	var out []FieldDiff
	for _, name := range fieldOrder(fields) {
		f := fields[name]
		if !bytes.Equal(f.before, f.after) && meaning(name, f.before) != meaning(name, f.after) {
			out = append(out, FieldDiff{name, f.before, f.after})
		}
	}
	return out
}

// show is a value for people: words bare, everything else as JSON, and what holds where
// there is none.
func (f FieldDiff) show(value json.RawMessage) string {
	for _, known := range knownFields {
		if known.name == f.Name && known.absent != "" && meaning(f.Name, value) == "" {
			return known.absent
		}
	}
	if value == nil {
		return "nothing"
	}
	s := text(value)
	odd := func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) || r == '"' }
	if s == "" || strings.ContainsFunc(s, odd) || json.Valid([]byte(s)) {
		return string(compact(value))
	}
	return s
}

// Lines tells the difference to people, one line an entry. It is foreign text: a terminal
// needs it cleaned.
func (d EntryDiff) Lines() []string {
	head := d.Service + " " + d.LogPath
	switch {
	case d.Before == nil:
		return []string{"+ " + head + tail(describe(d.After))}
	case d.After == nil:
		return []string{"- " + head + tail(describe(d.Before))}
	}
	var parts []string
	for _, f := range d.Fields {
		parts = append(parts, f.Name+" "+f.show(f.Before)+" → "+f.show(f.After))
	}
	if d.Moved() {
		parts = append(parts, "place "+strconv.Itoa(d.PlaceBefore)+" → "+strconv.Itoa(d.PlaceAfter))
	}
	return []string{"~ " + head + tail(strings.Join(parts, ", "))}
}

func tail(s string) string {
	if s == "" {
		return ""
	}
	return "  " + s
}

// describe tells what an entry asks for beside its service and log_path.
func describe(entry json.RawMessage) string {
	var out []string
	for _, f := range differences(nil, entry) {
		if f.Name != "service" && f.Name != "log_path" {
			out = append(out, f.Name+" "+f.show(f.After))
		}
	}
	return strings.Join(out, ", ")
}
