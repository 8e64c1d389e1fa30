package change

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Between returns the edits of entries that turn before into after, with what they find as
// their Was. nil is no document. A broken document before is replaced whole; after must be
// one that agents take.
func Between(before, after []byte) ([]Edit, error) {
	if bytes.Equal(before, after) && (before == nil) == (after == nil) {
		return nil, nil
	}
	if err := check(after); err != nil {
		return nil, fmt.Errorf("the document after is broken: %w", err)
	}
	was := map[string]json.RawMessage{"": valueOf(before)}
	switch {
	case after == nil:
		return []Edit{{Op: OpDelete, Was: was}}, nil
	case check(before) != nil, before == nil && len(entriesOf(after)) == 0:
		e := Replace(after)
		e.Was = was
		return []Edit{e}, nil
	}
	var out, adds []Edit
	old, now := entriesOf(before), entriesOf(after)
	oldAt, nowAt := places(old), places(now)
	kept := -1 // the last place after of an entry that was there before
	for i, it := range now {
		if _, ok := oldAt[it.id]; ok {
			kept = i
		}
	}
	moved := false
	for _, d := range diff(before, after) {
		moved = moved || d.Moved()
		switch {
		case d.After == nil:
			out = append(out, Edit{Op: OpRemove, LogPath: d.LogPath, Was: map[string]json.RawMessage{d.LogPath: d.Before}})
		case d.Before == nil:
			e := Edit{Op: OpAdd, Value: d.After, Was: map[string]json.RawMessage{d.LogPath: nil}}
			// Behind all that was there, adding is enough.
			if at := nowAt[identity(d.LogPath)]; at == 0 && kept > 0 {
				e.Behind = AtStart
			} else if at < kept {
				e.Behind = now[at-1].path()
			}
			adds = append(adds, e)
		case len(d.Fields) > 0:
			from := text(memberOf(d.Before, "log_path"))
			e := Edit{Op: OpSet, LogPath: from, Fields: make(map[string]json.RawMessage), Was: map[string]json.RawMessage{from: d.Before}}
			for _, f := range d.Fields {
				e.Fields[f.Name] = f.After
				if f.After == nil {
					e.Fields[f.Name] = json.RawMessage("null")
				}
			}
			out = append(out, e)
		}
	}
	out = append(out, adds...)
	if moved {
		out = append(out, Edit{Op: OpOrder, Value: paths(now), Was: map[string]json.RawMessage{"": paths(old)}})
	}
	return out, nil
}

func paths(items []item) json.RawMessage {
	list := make([]string, len(items))
	for i := range items {
		list[i] = items[i].path()
	}
	raw, err := json.Marshal(list)
	if err != nil {
		panic(err) // strings can always be encoded
	}
	return raw
}

// Merge lays what mine changes of base over theirs, by entry. Where both have changed one
// entry, each in his way, the error is a *ConflictError that names all such entries. The
// bytes of theirs stay wherever mine changes nothing, and so does their order; another
// order of mine is kept where theirs is that of base.
func Merge(name string, base, mine, theirs []byte) (merged []byte, err error) {
	if mine != nil {
		if err := check(mine); err != nil {
			return nil, words(name, err)
		}
	}
	switch {
	case equal(base, theirs):
		return mine, nil
	case equal(base, mine), Same(mine, theirs):
		return theirs, nil
	}
	if err := check(theirs); err != nil {
		return nil, words(name, errors.New("the document in etcd is broken, mend it first: "+err.Error()))
	}
	if check(base) != nil {
		// What either side changed of it cannot be told.
		return nil, &ConflictError{Name: name, Conflicts: conflictsOf(base, mine, theirs)}
	}
	if base == nil { // by entry that is a document without any
		base = []byte("[]")
	}
	if mine == nil {
		// Only what stands in base was meant to go.
		mine = []byte("[]")
		defer func() {
			if err == nil && len(entriesOf(merged)) == 0 {
				merged = nil
			}
		}()
	}
	edits, err := Between(base, mine)
	if err != nil {
		return nil, words(name, err)
	}
	return Apply(name, theirs, edits)
}

// equal tells whether two documents are the same bytes, or both not there.
func equal(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
