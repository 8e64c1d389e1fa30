package change

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"unicode/utf8"
)

// A document travels in JSON as itself, an array, or as the object of its text where its
// spacing counts or it is no such array: {"text":"…"}, or {"base64":"…"} where it is not
// UTF-8, which no JSON string can hold.

// textOf is a document as the object of its text.
func textOf(raw []byte) json.RawMessage {
	if utf8.Valid(raw) {
		return slices.Concat([]byte(`{"text":`), quoted(string(raw)), []byte("}"))
	}
	return []byte(`{"base64":"` + base64.StdEncoding.EncodeToString(raw) + `"}`)
}

// valueOf is a document as a JSON value: itself where it is one that agents take. nil, no
// document, stays nil.
func valueOf(raw []byte) json.RawMessage {
	if raw == nil || check(raw) == nil {
		return raw
	}
	return textOf(raw)
}

// documentOf is the document that a value stands for; nil and null are none.
func documentOf(value json.RawMessage) []byte {
	if kindOf(value) == 'n' || len(value) == 0 {
		return nil
	}
	if raw, ok := fromText(value); ok {
		return raw
	}
	return value
}

// fromText is the document in the object of its text.
func fromText(value json.RawMessage) ([]byte, bool) {
	if kindOf(value) != '{' || !json.Valid(value) {
		return nil, false
	}
	value = bytes.TrimSpace(value)
	ms := members(value)
	if len(ms) != 1 || value[ms[0].from] != '"' {
		return nil, false
	}
	s := text(value[ms[0].from:ms[0].to])
	switch ms[0].name {
	case "text":
		return []byte(s), true
	case "base64":
		raw, err := base64.StdEncoding.DecodeString(s)
		return raw, err == nil
	}
	return nil, false
}

// quoted is a string as JSON.
func quoted(s string) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // a string can always be encoded
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}
