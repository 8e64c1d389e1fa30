package change

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ConflictError says that somebody else changed what a change of a document is about.
type ConflictError struct {
	Name      string // of the document
	Conflicts []Conflict
}

// Conflict is one entry that two have changed, each in his way; nil: not there. LogPath ""
// means the document as a whole, where it is broken on at least one side; such a one stands
// as its text, {"text":"…"}.
type Conflict struct {
	LogPath string          `json:"log_path,omitempty"`
	Service string          `json:"service,omitempty"`
	Base    json.RawMessage `json:"base"`
	Mine    json.RawMessage `json:"mine"`
	Theirs  json.RawMessage `json:"theirs"`
}

// Error names the document, each entry, and what differs, one entry a line.
func (e *ConflictError) Error() string {
	var lines []string
	for _, c := range e.Conflicts {
		line := c.String()
		if e.Name != "" {
			line = e.Name + ": " + line
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// String tells what somebody else did to the entry, and what was asked of it.
func (c Conflict) String() string {
	what := "the document"
	if c.LogPath != "" {
		what = c.LogPath
		if c.Service != "" {
			what = c.Service + " " + what
		}
	}
	switch {
	case c.LogPath == "":
		return what + " was changed by somebody else meanwhile"
	case c.Theirs == nil:
		return what + " was removed by somebody else meanwhile"
	case c.Base == nil && c.Mine == nil:
		return what + " was added by somebody else meanwhile"
	case c.Base == nil:
		return what + " was added by somebody else meanwhile: " + list(differences(c.Theirs, c.Mine), "%s is %s, asked was %s")
	}
	theirs := differences(c.Base, c.Theirs)
	s := what + " was changed by somebody else meanwhile: " + list(theirs, "%s was %s and is %s now")
	if c.Mine == nil {
		return s + "; asked was to remove it"
	}
	if mine := differences(c.Base, c.Mine); len(mine) > 0 {
		s += "; asked was " + list(mine, "%s %s → %s")
	}
	return s
}

func list(fields []FieldDiff, format string) string {
	var out []string
	for _, f := range fields {
		out = append(out, fmt.Sprintf(format, f.Name, f.show(f.Before), f.show(f.After)))
	}
	return strings.Join(out, ", ")
}

// compare finds the entries that are not what the edits' Was tells. What is done already
// it notes.
func (a *applier) compare(raw []byte, edits []Edit) []Conflict {
	was := make(map[string]json.RawMessage)
	for _, e := range edits {
		if w, ok := e.Was[""]; ok && (e.Op == OpReplace || e.Op == OpDelete) {
			if conflicts := a.compareWhole(raw, e, w); len(conflicts) > 0 {
				return conflicts
			}
		}
		for p, w := range e.Was {
			if p != "" {
				if kindOf(w) != '{' {
					w = nil
				}
				was[identity(p)] = w
			}
		}
	}
	if len(was) == 0 || a.broken != nil {
		return nil
	}
	// An edit of a whole service that was made when it had other entries would touch some
	// that nobody has looked at.
	for _, e := range edits {
		if e.LogPath != "" || e.Service == "" || len(e.Was) == 0 {
			continue
		}
		for _, it := range a.items() {
			if _, known := was[it.id]; !known && it.service() == e.Service {
				was[it.id] = nil
			}
		}
	}
	mine := outcome(was, a.items(), edits)
	var out []Conflict
	for _, id := range slices.Sorted(maps.Keys(was)) {
		var theirs json.RawMessage
		if i := a.doc.findIn(id); i >= 0 {
			theirs = a.doc.items[i].text
		}
		switch {
		case sameEntry(theirs, was[id]):
		case sameEntry(theirs, mine[id]), theirs == nil && a.renamed(id, mine[id]):
			a.done[id] = true
		default:
			out = append(out, conflict(was[id], mine[id], theirs))
		}
	}
	return out
}

// renamed tells whether an entry stands under its new log_path already.
func (a *applier) renamed(id string, mine json.RawMessage) bool {
	to := identity(text(memberOf(mine, "log_path")))
	i := a.doc.findIn(to)
	return to != id && i >= 0 && sameEntry(a.doc.items[i].text, mine)
}

// outcome is what the edits make of the entries as they were. Of one that was not there
// and that no edit adds, it is what they make of the one that is there.
func outcome(was map[string]json.RawMessage, now []item, edits []Edit) map[string]json.RawMessage {
	sandbox := &applier{lenient: true, doc: &document{head: []byte("["), foot: []byte("]")}}
	adds := make(map[string]bool)
	for _, e := range edits {
		if e.Op == OpAdd {
			adds[identity(text(memberOf(e.Value, "log_path")))] = true
		}
	}
	for id, w := range was {
		if w != nil {
			w = bytes.TrimSpace(w)
			sandbox.doc.items = append(sandbox.doc.items, item{text: w, id: id, was: id})
			continue
		}
		if i := slices.IndexFunc(now, func(it item) bool { return it.id == id }); i >= 0 && !adds[id] {
			sandbox.doc.items = append(sandbox.doc.items, item{text: now[i].text, id: id, was: id})
		}
	}
	for _, e := range edits {
		if e.Op != OpOrder {
			e.Behind = ""
			sandbox.edit(e)
		}
	}
	out := make(map[string]json.RawMessage)
	for _, it := range sandbox.items() {
		if it.was == "" { // an added one
			it.was = it.id
		}
		out[it.was] = it.text
	}
	return out
}

func conflict(base, mine, theirs json.RawMessage) Conflict {
	c := Conflict{Base: base, Mine: mine, Theirs: theirs}
	for _, entry := range []json.RawMessage{theirs, base, mine} {
		if entry != nil && c.LogPath == "" {
			c.LogPath, c.Service = text(memberOf(entry, "log_path")), text(memberOf(entry, "service"))
		}
	}
	return c
}

// compareWhole compares the document with what a replace or a delete was made on.
func (a *applier) compareWhole(raw []byte, e Edit, was json.RawMessage) []Conflict {
	var mine []byte
	base := documentOf(was)
	if e.Op == OpReplace {
		mine = documentOf(e.Value)
	}
	switch {
	case Same(raw, base):
		return nil
	case Same(raw, mine):
		a.all = true
		return nil
	}
	return conflictsOf(base, mine, raw)
}

// conflictsOf are the entries that were changed between base and theirs, or the document
// as a whole where that cannot be told.
func conflictsOf(base, mine, theirs []byte) []Conflict {
	if check(base) == nil && check(mine) == nil && check(theirs) == nil {
		var out []Conflict
		for _, d := range diff(base, theirs) {
			m, _ := EntryAt(mine, d.LogPath)
			if d.Moved() && len(d.Fields) == 0 {
				continue
			}
			out = append(out, conflict(d.Before, m, d.After))
		}
		if len(out) > 0 {
			return out
		}
	}
	return []Conflict{{Base: valueOf(base), Mine: valueOf(mine), Theirs: valueOf(theirs)}}
}
