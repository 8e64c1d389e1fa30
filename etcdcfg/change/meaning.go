package change

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"logagent/agent"
)

// knownFields are the fields that have a meaning for the agent, as they are shown, each
// with what it is where it is not there.
var knownFields = []struct{ name, absent string }{
	{"service", ""}, {"log_path", ""}, {"topic", ""},
	{"send_rate", "no limit"}, {"start_at", string(agent.StartEnd)}, {"exclude", "nothing"}, {"paused", "false"},
	{"partition", string(agent.PartitionRandom)}, {"oversize", string(agent.OversizeSplit)},
}

// meaning is a field's value in one form: two values with the same meaning are no
// difference, however they are written. "" is that of a field which is not there, and of
// one that says what holds without it.
func meaning(name string, value json.RawMessage) string {
	if value == nil || kindOf(value) == 'n' {
		return ""
	}
	switch name {
	case "send_rate":
		if rate, err := strconv.ParseInt(string(value), 10, 64); err == nil {
			if rate == 0 {
				return ""
			}
			return strconv.FormatInt(rate, 10)
		}
	case "start_at", "partition", "oversize":
		i := slices.IndexFunc(knownFields, func(f struct{ name, absent string }) bool { return f.name == name })
		if text(value) == knownFields[i].absent {
			return ""
		}
	case "paused":
		if string(value) == "false" {
			return ""
		}
	case "exclude":
		if c := canonical(value); c != "[]" {
			return c
		}
		return ""
	}
	return canonical(value)
}

// canonical writes a value in the one form that all its spellings have: without white
// space, names sorted, characters unescaped, numbers as their digits and an exponent.
func canonical(value json.RawMessage) string {
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return string(value)
	}
	var b strings.Builder
	writeCanonical(&b, v)
	return b.String()
}

func writeCanonical(b *strings.Builder, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case json.Number:
		b.WriteString(canonicalNumber(v.String()))
	case string:
		b.Write(quoted(v))
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			writeCanonical(b, e)
		}
		b.WriteByte(']')
	case map[string]any:
		b.WriteByte('{')
		for i, name := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b.WriteByte(',')
			}
			b.Write(quoted(name))
			b.WriteByte(':')
			writeCanonical(b, v[name])
		}
		b.WriteByte('}')
	}
}

// canonicalNumber makes 5000, 5e3 and 5000.0 one: the digits without zeros at their ends,
// e, and the exponent.
func canonicalNumber(s string) string {
	digits, exponent, _ := strings.Cut(strings.ToLower(s), "e")
	minus := ""
	if rest, ok := strings.CutPrefix(digits, "-"); ok {
		minus, digits = "-", rest
	}
	e := int64(0)
	if exponent != "" {
		var err error
		if e, err = strconv.ParseInt(exponent, 10, 32); err != nil {
			return s // nobody means such a number
		}
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	e -= int64(len(fraction))
	digits = strings.TrimLeft(whole+fraction, "0")
	short := strings.TrimRight(digits, "0")
	if short == "" {
		return "0"
	}
	e += int64(len(digits) - len(short))
	return minus + short + "e" + strconv.FormatInt(e, 10)
}

// meanings are those of all fields of an entry that say something.
func meanings(entry []byte) map[string]string {
	ms := members(entry)
	out := make(map[string]string, len(ms))
	for _, m := range ms {
		if s := meaning(m.name, entry[m.from:m.to]); s != "" {
			out[m.name] = s
		}
	}
	return out
}

// sameEntry tells whether two entries mean the same; nil is one that is not there.
func sameEntry(a, b json.RawMessage) bool {
	switch {
	case bytes.Equal(a, b):
		return (a == nil) == (b == nil)
	case a == nil || b == nil:
		return false
	case kindOf(a) != '{' || kindOf(b) != '{':
		return false
	}
	return maps.Equal(meanings(bytes.TrimSpace(a)), meanings(bytes.TrimSpace(b)))
}

// Same tells whether two documents mean the same: the same entries in the same order,
// however they are written. nil, no document, is not the same as one without entries. A
// broken document is the same only as itself.
func Same(a, b []byte) bool {
	if (a == nil) != (b == nil) {
		return false
	}
	if bytes.Equal(a, b) {
		return true
	}
	if check(a) != nil || check(b) != nil {
		return false
	}
	x, y := readDocument(a).items, readDocument(b).items
	return slices.EqualFunc(x, y, func(x, y item) bool { return sameEntry(x.text, y.text) })
}

// check tells what is wrong with a document; one that is not there is fine.
func check(raw []byte) error {
	if raw == nil {
		return nil
	}
	_, _, err := agent.ParseDocument(raw)
	return err
}

// entriesOf reads a valid document; nil has no entries.
func entriesOf(raw []byte) []item {
	if raw == nil {
		return nil
	}
	return readDocument(raw).items
}
