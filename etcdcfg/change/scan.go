package change

import (
	"encoding/json"
	"strings"
)

// What follows reads valid JSON in UTF-8 only, and tells where things stand in it.

// skipSpace returns where the next character that is not white space stands.
func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// skipString returns the end of the string that begins at i.
func skipString(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// skipValue returns the end of the value that begins at i.
func skipValue(b []byte, i int) int {
	switch b[i] {
	case '"':
		return skipString(b, i)
	case '{', '[':
		for depth := 0; ; i++ {
			switch b[i] {
			case '"':
				i = skipString(b, i) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
	}
	for i < len(b) && strings.IndexByte(" \n\t\r,]}", b[i]) < 0 {
		i++
	}
	return i
}

// kindOf is the first character of a value, 0 where there is none: { [ " t f n or of a
// number.
func kindOf(value []byte) byte {
	if i := skipSpace(value, 0); i < len(value) {
		return value[i]
	}
	return 0
}

// text reads a string; "" for any other value.
func text(value []byte) string {
	if len(value) < 2 || value[0] != '"' {
		return ""
	}
	plain := value[1 : len(value)-1]
	for _, c := range plain {
		if c == '\\' {
			var s string
			if json.Unmarshal(value, &s) != nil {
				return ""
			}
			return s
		}
	}
	return string(plain)
}

// member is one field of an object and where it stands in the object's text.
type member struct {
	name     string
	at       int // of the name's first quote
	colon    int // behind the name's last quote
	from, to int // of the value
}

// members reads the fields of an object that begins with its brace.
func members(object []byte) []member {
	var out []member
	i := skipSpace(object, 1)
	for object[i] != '}' {
		m := member{at: i}
		m.colon = skipString(object, i)
		m.name = text(object[m.at:m.colon])
		m.from = skipSpace(object, skipSpace(object, m.colon)+1) // over the colon
		m.to = skipValue(object, m.from)
		out = append(out, m)
		if i = skipSpace(object, m.to); object[i] == ',' {
			i = skipSpace(object, i+1)
		}
	}
	return out
}

// memberOf returns the value of an object's field as it is written; nil where it has none.
func memberOf(object []byte, name string) json.RawMessage {
	if kindOf(object) != '{' {
		return nil
	}
	object = object[skipSpace(object, 0):]
	for _, m := range members(object) {
		if m.name == name {
			return object[m.from:m.to]
		}
	}
	return nil
}
