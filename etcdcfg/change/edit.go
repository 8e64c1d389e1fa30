package change

import "encoding/json"

// Op is what an Edit does.
type Op string

const (
	OpSet     Op = "set"     // fields of entries
	OpAdd     Op = "add"     // one entry; refused where its log_path is there already
	OpRemove  Op = "remove"  // entries
	OpReplace Op = "replace" // the whole document
	OpDelete  Op = "delete"  // the whole document: the key goes
	OpOrder   Op = "order"   // the order of entries; others stay where they stand
)

// Edit asks something of one document. It is JSON in the record of a change set.
type Edit struct {
	Op Op `json:"op"`
	// LogPath names one entry (set, remove). "" with a Service names every entry of it.
	LogPath string `json:"log_path,omitempty"`
	Service string `json:"service,omitempty"`
	// Fields of a set: each to its value; null takes the field away.
	Fields map[string]json.RawMessage `json:"fields,omitempty"`
	// Value is the entry of an add, the document of a replace, the log_paths of an order. A
	// document may be its text, which keeps its spacing: {"text":"…"}; see Replace.
	Value json.RawMessage `json:"value,omitempty"`
	// Behind is the log_path that an added entry stands behind, or AtStart; "" and one
	// that is not there mean the end.
	Behind string `json:"behind,omitempty"`
	// Was holds the entries as they were when the change was made, by log_path; nil value:
	// not there. Where it is set, an entry that is another by now is a conflict.
	//
	// With "" it holds the whole document of a replace or a delete, null where there was
	// none; and the log_paths of an order, which leaves all as it stands where their order
	// is another by now.
	Was map[string]json.RawMessage `json:"was,omitempty"`
}

// AtStart in Edit.Behind makes an added entry the first one.
const AtStart = "["

// Replace is the edit that makes text the whole document, byte for byte.
func Replace(text []byte) Edit { return Edit{Op: OpReplace, Value: textOf(text)} }
