package change

import (
	"bytes"
	"encoding/json"
	"path"
	"slices"
)

// document is the text of a JSON array in pieces, so that one entry can be changed and no
// other byte:
//
//	head[ lead text trail , lead text trail ]foot
type document struct {
	head, foot []byte // with their brackets
	items      []item
	// gone is the last item that left an empty array: what is added next is laid out as
	// it was.
	gone *item
}

// item is one entry. Its lead and trail are the white space around it; they belong to the
// place, not to the entry.
type item struct {
	lead, text, trail []byte
	id                string // of its log_path; "" where it has none
	was               string // the id it was read with
}

// identity is what makes two entries the same one: two spellings of a path are one path,
// as they are for the document's parser.
func identity(logPath string) string {
	if logPath == "" {
		return ""
	}
	return path.Clean(logPath)
}

// readDocument reads a valid JSON array.
func readDocument(raw []byte) *document {
	i := skipSpace(raw, 0) + 1
	d := &document{head: raw[:i:i]}
	from := i
	i = skipSpace(raw, i)
	for raw[i] != ']' {
		it := item{lead: raw[from:i:i]}
		end := skipValue(raw, i)
		it.text = raw[i:end:end]
		it.id = identity(it.path())
		it.was = it.id
		i = skipSpace(raw, end)
		it.trail = raw[end:i:i]
		d.items = append(d.items, it)
		if raw[i] == ',' {
			from = i + 1
			i = skipSpace(raw, from)
		}
	}
	if len(d.items) == 0 {
		d.head = raw[:i:i]
	}
	d.foot = raw[i:]
	return d
}

func (d *document) bytes() []byte {
	n := len(d.head) + len(d.foot)
	for _, it := range d.items {
		n += len(it.lead) + len(it.text) + len(it.trail) + 1
	}
	out := append(make([]byte, 0, n), d.head...)
	for i, it := range d.items {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, it.lead...)
		out = append(out, it.text...)
		out = append(out, it.trail...)
	}
	return append(out, d.foot...)
}

func (it *item) path() string    { return text(memberOf(it.text, "log_path")) }
func (it *item) service() string { return text(memberOf(it.text, "service")) }

// find returns the place of the entry with this identity, -1 where there is none.
func (d *document) find(id string) int {
	return slices.IndexFunc(d.items, func(it item) bool { return it.id == id && id != "" })
}

// remove takes an entry out, with its comma and the white space before it.
func (d *document) remove(i int) {
	switch {
	case len(d.items) == 1:
		d.gone = &d.items[0]
	case i == 0:
		d.items[1].lead = d.items[0].lead
	default:
		d.items[i-1].trail = d.items[i].trail
	}
	d.items = slices.Delete(slices.Clone(d.items), i, i+1)
}

// insert puts an entry at a place, laid out as its neighbours are.
func (d *document) insert(i int, object []byte) {
	n := len(d.items)
	it := item{id: identity(text(memberOf(object, "log_path")))}
	switch {
	case n == 0 && d.gone == nil:
		d.head = bytes.TrimRight(d.head, " \t\r\n")
		it.lead, it.trail = []byte("\n  "), []byte("\n")
		it.text = render(object, plainLayout)
	case n == 0:
		it.lead, it.trail = d.gone.lead, d.gone.trail
		it.text = render(object, layoutOf(d.gone.text))
	default:
		like := d.items[max(0, i-1)]
		it.text = render(object, layoutOf(like.text))
		switch {
		case i == n: // what stood behind the last one stays before the bracket
			it.lead, it.trail = like.lead, like.trail
			d.items[n-1].trail = nil
			if n > 1 {
				d.items[n-1].trail = d.items[n-2].trail
			}
		case i == 0:
			it.lead = like.lead
			if n > 1 {
				it.trail, d.items[0].lead = like.trail, d.items[1].lead
			}
		default:
			it.lead, it.trail = d.items[i].lead, like.trail
		}
	}
	d.items = slices.Insert(d.items, i, it)
}

// layout is the white space of an object's text.
type layout struct {
	first, between, colon, last []byte
}

// plainLayout is that of an entry which has no neighbour.
var plainLayout = layout{[]byte("\n    "), []byte(",\n    "), []byte(": "), []byte("\n  ")}

// layoutOf tells how an object is laid out, by its last fields.
func layoutOf(object []byte) layout {
	if kindOf(object) != '{' {
		return plainLayout
	}
	ms := members(object)
	if len(ms) == 0 {
		return layout{between: []byte(","), colon: []byte(":")}
	}
	m := ms[len(ms)-1]
	l := layout{
		first: object[1:ms[0].at],
		colon: object[m.colon:m.from],
		last:  object[m.to : len(object)-1],
	}
	if len(ms) > 1 {
		l.between = object[ms[len(ms)-2].to:m.at]
	} else {
		l.between = append([]byte(","), l.first...)
	}
	return l
}

// render writes an object anew in a layout, its fields in their order.
func render(object []byte, l layout) []byte {
	if kindOf(object) != '{' {
		return compact(object)
	}
	object = bytes.TrimSpace(object)
	ms := members(object)
	if len(ms) == 0 {
		return []byte("{}")
	}
	out := append([]byte("{"), l.first...)
	for i, m := range ms {
		if i > 0 {
			out = append(out, l.between...)
		}
		out = append(out, object[m.at:m.colon]...)
		out = append(out, l.colon...)
		out = append(out, compact(object[m.from:m.to])...)
	}
	out = append(out, l.last...)
	return append(out, '}')
}

// setField gives an object's field a value and changes no other byte. A field it has not
// is added behind the last one, spaced as that one is.
func setField(object []byte, name string, value []byte) []byte {
	ms := members(object)
	value = compact(value)
	for _, m := range ms {
		if m.name == name {
			return splice(object, m.from, m.to, value)
		}
	}
	key := quoted(name)
	l := layoutOf(object)
	if len(ms) == 0 {
		return splice(object, 1, len(object)-1, slices.Concat(key, l.colon, value))
	}
	end := ms[len(ms)-1].to
	return splice(object, end, end, slices.Concat(l.between, key, l.colon, value))
}

// dropField takes an object's field out, with its comma and the white space before it.
func dropField(object []byte, name string) []byte {
	ms := members(object)
	i := slices.IndexFunc(ms, func(m member) bool { return m.name == name })
	switch {
	case i < 0:
		return object
	case len(ms) == 1:
		return []byte("{}")
	case i == 0:
		return splice(object, ms[0].at, ms[1].at, nil)
	default:
		return splice(object, ms[i-1].to, ms[i].to, nil)
	}
}

func splice(raw []byte, from, to int, with []byte) []byte {
	out := make([]byte, 0, len(raw)-(to-from)+len(with))
	out = append(out, raw[:from]...)
	out = append(out, with...)
	return append(out, raw[to:]...)
}

// compact is a value without white space; what is no JSON stays as it is.
func compact(value []byte) []byte {
	var b bytes.Buffer
	if json.Compact(&b, value) != nil {
		return value
	}
	return b.Bytes()
}

// EntryAt returns an entry of a document as it is written, false where the document has
// none with this log_path or is no JSON array.
func EntryAt(raw []byte, logPath string) (json.RawMessage, bool) {
	if kindOf(raw) != '[' || !json.Valid(raw) {
		return nil, false
	}
	d := readDocument(raw)
	i := d.find(identity(logPath))
	if i < 0 {
		return nil, false
	}
	return d.items[i].text, true
}
