package change

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"logagent/agent"
)

// Fleet is what the file of a whole fleet holds: the documents of hosts and of groups, by
// name. A value is the array of entries, or an object for a document that is no such
// array, so that it travels too: {"text":"…"}, or {"base64":"…"} where it is no UTF-8.
type Fleet struct{ Documents map[string]json.RawMessage }

// fleetVersion is the version of the file.
const fleetVersion = "1"

// FleetOf makes a fleet of documents as they stand in etcd; one that is nil is left out.
func FleetOf(documents map[string][]byte) Fleet {
	f := Fleet{Documents: make(map[string]json.RawMessage, len(documents))}
	for name, raw := range documents {
		if raw != nil {
			f.Documents[name] = compact(valueOf(raw))
		}
	}
	return f
}

// Document is a document of the fleet as it is to stand in etcd, laid out for people; one
// that travelled as text is what it was. false: the fleet has none of this name.
func (f Fleet) Document(name string) ([]byte, bool) {
	value, ok := f.Documents[name]
	if !ok {
		return nil, false
	}
	if raw, ok := fromText(value); ok {
		return raw, true
	}
	var b bytes.Buffer
	if json.Indent(&b, value, "", "  ") != nil || b.Len() >= agent.MaxDocumentBytes {
		return value, true
	}
	return append(b.Bytes(), '\n'), true
}

// ParseFleet reads the file. Its error names every problem at once, one a line: host,
// entry and field.
func ParseFleet(raw []byte) (Fleet, error) {
	if err := wholeJSON(raw); err != nil {
		return Fleet{}, err
	}
	p := fleetParser{fleet: Fleet{Documents: make(map[string]json.RawMessage)}}
	raw = bytes.TrimSpace(raw)
	seen := make(map[string]bool)
	for _, m := range members(raw) {
		value := raw[m.from:m.to]
		if seen[m.name] {
			p.refuse("%s stands there twice", quote(m.name))
			continue
		}
		seen[m.name] = true
		switch m.name {
		case "version":
			if string(value) != fleetVersion {
				p.refuse("version is %s, this program reads %s", value, fleetVersion)
			}
		case "hosts":
			p.part("hosts", "host", "", value)
		case "groups":
			p.part("groups", "group", "@", value)
		default:
			p.refuse("%s is unknown, must be version, hosts or groups", quote(m.name))
		}
	}
	if !seen["version"] {
		p.refuse("version is missing, must be %s", fleetVersion)
	}
	if len(p.problems) > 0 {
		return Fleet{}, errors.Join(p.problems...)
	}
	return p.fleet, nil
}

// wholeJSON tells what keeps raw from being one JSON object.
func wholeJSON(raw []byte) error {
	var whole json.RawMessage
	if err := json.Unmarshal(raw, &whole); err != nil {
		var syntax *json.SyntaxError
		if !errors.As(err, &syntax) {
			return fmt.Errorf("the file is no JSON: %w", err)
		}
		before := raw[:max(0, min(len(raw), int(syntax.Offset)-1))]
		start := bytes.LastIndexByte(before, '\n') + 1
		return fmt.Errorf("the file is no JSON: line %d, column %d: %w",
			1+bytes.Count(before, []byte{'\n'}), 1+utf8.RuneCount(before[start:]), err)
	}
	if !utf8.Valid(raw) {
		return errors.New("the file is not UTF-8")
	}
	if kindOf(raw) != '{' {
		return errors.New(`the file must be an object such as {"version":1,"hosts":{"web-01":[]}}`)
	}
	return nil
}

type fleetParser struct {
	fleet    Fleet
	problems []error
}

func (p *fleetParser) refuse(format string, args ...any) {
	p.problems = append(p.problems, fmt.Errorf(format, args...))
}

// part reads the documents of hosts or of groups.
func (p *fleetParser) part(title, kind, prefix string, value []byte) {
	if kindOf(value) != '{' {
		p.refuse("%s must be an object of documents by name", title)
		return
	}
	for _, m := range members(value) {
		doc := value[m.from:m.to]
		name := prefix + m.name
		if why := badName(kind, m.name); why != "" {
			p.refuse("%s: the name of a %s %s", quote(m.name), kind, why)
			continue
		}
		if _, double := p.fleet.Documents[name]; double {
			p.refuse("%s stands there twice", name)
			continue
		}
		if kindOf(doc) == '{' {
			if _, ok := fromText(doc); !ok {
				p.refuse(`%s: must be an array of entries, or {"text":"…"} for a document that is none`, name)
				continue
			}
		} else if err := check(compact(doc)); err != nil { // the file's indentation counts for nothing
			p.problems = append(p.problems, words(name, err))
			continue
		}
		p.fleet.Documents[name] = compact(doc)
	}
}

// badName tells what is wrong with the name of a host or a group; "" where it is fine.
func badName(kind, name string) string {
	switch {
	case name == "":
		return "is empty"
	case strings.HasPrefix(name, "@"):
		return "begins with @"
	case strings.Contains(name, "/"):
		return "holds a slash"
	case kind == "group" && strings.Contains(name, ","):
		return "holds a comma"
	case strings.ContainsFunc(name, unicode.IsControl):
		return "holds a control character"
	}
	return ""
}

// Encode writes the file: names sorted, indented, so that two exports of the same fleet
// are the same bytes.
func (f Fleet) Encode() []byte {
	var b bytes.Buffer
	b.WriteString(`{"version":` + fleetVersion)
	names := slices.Sorted(maps.Keys(f.Documents))
	for _, part := range []struct{ title, prefix string }{{"hosts", ""}, {"groups", "@"}} {
		first := true
		for _, name := range names {
			value := f.Documents[name]
			if value == nil || strings.HasPrefix(name, "@") != (part.prefix == "@") {
				continue
			}
			if !json.Valid(value) { // not from FleetOf or ParseFleet
				value = textOf(value)
			}
			if first {
				b.WriteString(`,"` + part.title + `":{`)
			} else {
				b.WriteByte(',')
			}
			first = false
			b.Write(quoted(strings.TrimPrefix(name, part.prefix)))
			b.WriteByte(':')
			b.Write(value)
		}
		if !first {
			b.WriteByte('}')
		}
	}
	b.WriteByte('}')
	var out bytes.Buffer
	if err := json.Indent(&out, b.Bytes(), "", "  "); err != nil {
		panic(err) // all of it is JSON
	}
	out.WriteByte('\n')
	return out.Bytes()
}
