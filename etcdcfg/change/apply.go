package change

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Apply makes edits in the document of name, one after the other, and returns it as it is
// after them. raw nil means that there is none; after nil, that its key is to be deleted.
// Every byte that the edits do not ask for stays: spacing, order, unknown fields. A field
// that means already what is asked stays as it is written.
//
// The outcome is a document that agents take, or there is an error: a *ConflictError where
// entries are not what the edits' Was tells, else all problems, one a line. An entry that
// is by now what the edits would make of it is no conflict.
func Apply(name string, raw []byte, edits []Edit) (after []byte, err error) {
	if len(edits) == 0 {
		return raw, nil
	}
	a := &applier{done: make(map[string]bool)}
	if raw != nil {
		if err := check(raw); err != nil {
			a.broken = err
		} else {
			a.doc = readDocument(raw)
		}
	}
	if conflicts := a.compare(raw, edits); len(conflicts) > 0 {
		return nil, &ConflictError{Name: name, Conflicts: conflicts}
	}
	for _, e := range edits {
		a.edit(e)
	}
	if len(a.problems) > 0 {
		return nil, words(name, a.problems...)
	}
	switch {
	case a.broken != nil || !a.changed:
		return raw, nil
	case a.doc == nil:
		return nil, nil
	}
	after = a.doc.bytes()
	if err := check(after); err != nil {
		return nil, words(name, err)
	}
	return after, nil
}

// words joins problems, each line of each with the document's name before it.
func words(name string, problems ...error) error {
	var out []error
	for _, p := range problems {
		for line := range strings.SplitSeq(p.Error(), "\n") {
			if name != "" {
				line = name + ": " + line
			}
			out = append(out, errors.New(line))
		}
	}
	return errors.Join(out...)
}

// applier makes edits in one document.
type applier struct {
	doc      *document // nil: there is none
	broken   error     // what is wrong with the one there is
	changed  bool
	done     map[string]bool // entries that are by now what the edits make of them
	all      bool            // the whole document is
	lenient  bool            // entries that are not there are no problem
	problems []error
}

func (a *applier) refuse(format string, args ...any) {
	a.problems = append(a.problems, fmt.Errorf(format, args...))
}

func (a *applier) edit(e Edit) {
	switch e.Op {
	case OpReplace, OpDelete:
		a.whole(e)
		return
	case OpSet, OpAdd, OpRemove, OpOrder:
	default:
		a.refuse("%q is no operation, must be set, add, remove, order, replace or delete", e.Op)
		return
	}
	if a.broken != nil {
		// Once is enough: every further edit would say the same.
		if !slices.ContainsFunc(a.problems, func(err error) bool { return errors.Is(err, a.broken) }) {
			a.refuse("the document in etcd is broken, mend it first (replace it whole, or delete it): %w", a.broken)
		}
		return
	}
	switch e.Op {
	case OpAdd:
		a.add(e)
	case OpOrder:
		a.order(e)
	case OpSet:
		for _, i := range a.targets(e) {
			a.set(i, e.Fields)
		}
	case OpRemove:
		for _, i := range slices.Backward(a.targets(e)) {
			a.doc.remove(i)
			a.changed = true
		}
	}
}

// targets are the places of the entries that a set or a remove means, those that are done
// left out.
func (a *applier) targets(e Edit) []int {
	var out []int
	id := identity(e.LogPath)
	switch {
	case id == "" && e.Service == "":
		a.refuse("%s names neither a log_path nor a service", e.Op)
		return nil
	case a.done[id]:
		return nil
	}
	found := false
	for i, it := range a.items() {
		if (id != "" && it.id != id) || (e.Service != "" && id == "" && it.service() != e.Service) {
			continue
		}
		found = true
		if id != "" && e.Service != "" && it.service() != e.Service {
			a.refuse("entry %s is of service %s, not of %s", e.LogPath, quote(it.service()), quote(e.Service))
			continue
		}
		if !a.done[it.id] {
			out = append(out, i)
		}
	}
	switch {
	case found || a.lenient:
	case id != "":
		a.refuse("no entry with log_path %s", quote(e.LogPath))
	default:
		if !slices.ContainsFunc(slices.Collect(maps.Keys(e.Was)), func(p string) bool { return a.done[identity(p)] }) {
			a.refuse("no entry of service %s", quote(e.Service))
		}
	}
	return out
}

func (a *applier) items() []item {
	if a.doc == nil {
		return nil
	}
	return a.doc.items
}

// set gives an entry's fields their values, in the order fields are shown in.
func (a *applier) set(i int, fields map[string]json.RawMessage) {
	it := &a.doc.items[i]
	for _, name := range fieldOrder(fields) {
		value := bytes.TrimSpace(fields[name])
		old := memberOf(it.text, name)
		switch {
		case len(value) == 0 || string(value) == "null":
			if old != nil {
				it.text = dropField(it.text, name)
				it.id = identity(it.path())
				a.changed = true
			}
		case !json.Valid(value):
			a.refuse("%s: %s is no JSON", name, quote(string(value)))
		case meaning(name, old) != meaning(name, value):
			it.text = setField(it.text, name, value)
			it.id = identity(it.path())
			a.changed = true
		}
	}
}

// fieldOrder sorts names of fields: the known ones as they are shown, then the others.
func fieldOrder[V any](fields map[string]V) []string {
	out := make([]string, 0, len(fields))
	for _, f := range knownFields {
		if _, ok := fields[f.name]; ok {
			out = append(out, f.name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func (a *applier) add(e Edit) {
	value := bytes.TrimSpace(e.Value)
	if !json.Valid(value) || kindOf(value) != '{' {
		a.refuse("%s is no entry, must be an object with service, log_path and topic", quote(string(value)))
		return
	}
	logPath := text(memberOf(value, "log_path"))
	if id := identity(logPath); id != "" {
		if a.done[id] {
			return
		}
		if i := a.doc.findIn(id); i >= 0 {
			a.refuse("%s is there already, as entry %d (%s)", logPath, i+1, a.doc.items[i].service())
			return
		}
	}
	if a.doc == nil {
		a.doc = &document{head: []byte("["), foot: []byte("]\n")}
	}
	if a.lenient { // nobody reads how it is laid out
		a.doc.items = append(a.doc.items, item{text: value, id: identity(logPath)})
		return
	}
	at := len(a.doc.items)
	if e.Behind == AtStart {
		at = 0
	} else if i := a.doc.find(identity(e.Behind)); i >= 0 {
		at = i + 1
	}
	a.doc.insert(at, value)
	a.changed = true
}

// findIn is find for a document that may not be there.
func (d *document) findIn(id string) int {
	if d == nil {
		return -1
	}
	return d.find(id)
}

// order puts the entries it names into its order, each on a place that one of them had.
func (a *applier) order(e Edit) {
	var wanted, was []string
	if json.Unmarshal(e.Value, &wanted) != nil {
		a.refuse("order needs an array of log_paths")
		return
	}
	if w := e.Was[""]; w != nil && json.Unmarshal(w, &was) != nil {
		a.refuse("order needs an array of log_paths in Was")
		return
	}
	items := a.items()
	place := make(map[string]int, len(items))
	for i, it := range items {
		place[it.id] = i
	}
	last := -1
	for _, p := range was {
		if i, ok := place[identity(p)]; ok {
			if i < last {
				return // somebody else has put them into another order, which stays
			}
			last = i
		}
	}
	var from []int
	seen := make(map[string]bool)
	for _, p := range wanted {
		id := identity(p)
		if i, ok := place[id]; ok && !seen[id] {
			seen[id] = true
			from = append(from, i)
		}
	}
	to := slices.Sorted(slices.Values(from))
	if slices.Equal(from, to) {
		return
	}
	old := slices.Clone(items)
	for k := range to {
		it := old[from[k]]
		it.lead, it.trail = items[to[k]].lead, items[to[k]].trail
		items[to[k]] = it
	}
	a.changed = true
}

// whole replaces or deletes the document.
func (a *applier) whole(e Edit) {
	if a.all { // it is so by now
		return
	}
	a.broken = nil
	a.changed = true
	if e.Op == OpDelete {
		a.doc = nil
		return
	}
	raw := documentOf(e.Value)
	if raw == nil {
		raw = []byte{}
	}
	if err := check(raw); err != nil {
		a.refuse("%w", err)
		return
	}
	a.doc = readDocument(raw)
}

func quote(s string) string {
	if r := []rune(s); len(r) > 80 {
		s = string(r[:80]) + "…"
	}
	return strconv.Quote(s)
}
