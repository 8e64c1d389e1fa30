package change

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"logagent/agent"
)

// ParseFields reads what a command line asks of fields: send_rate=5000, send_rate=none,
// paused=true, topic=x, exclude='["*.gz"]'. A value is JSON or, where it is clear, a bare
// word; an empty one takes the field away, which is null in the outcome. Names and values
// are held to the document's own rules; all problems come at once.
func ParseFields(args []string) (map[string]json.RawMessage, error) {
	out := make(map[string]json.RawMessage, len(args))
	var problems []error
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" {
			problems = append(problems, fmt.Errorf("%s: must be a field and its value, such as send_rate=5000", quote(arg)))
			continue
		}
		if _, double := out[name]; double {
			problems = append(problems, fmt.Errorf("%s is given twice", name))
			continue
		}
		field, err := parseField(name, strings.TrimSpace(value))
		if err != nil {
			problems = append(problems, err)
			continue
		}
		out[name] = field
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return out, nil
}

// required are the fields that an entry cannot do without.
var required = []string{"service", "log_path", "topic"}

func parseField(name, value string) (json.RawMessage, error) {
	if !slices.ContainsFunc(knownFields, func(f struct{ name, absent string }) bool { return f.name == name }) {
		return nil, unknownField(name)
	}
	if value == "" || value == "null" || (name == "send_rate" && value == "none") {
		if slices.Contains(required, name) {
			return nil, fmt.Errorf("%s cannot be taken away: every entry has one", name)
		}
		return json.RawMessage("null"), nil
	}
	raw := json.RawMessage(value)
	switch name {
	case "send_rate", "paused":
		if !json.Valid(raw) {
			raw = quoted(value) // refused below, in the document's words
		}
	case "exclude":
		if value[0] != '[' {
			raw = slices.Concat([]byte("["), bare(value), []byte("]"))
		} else if !json.Valid(raw) {
			return nil, fmt.Errorf(`exclude: %s is no JSON, must be an array of globs, such as ["*.gz"]`, quote(value))
		}
	default:
		raw = bare(value)
	}
	if err := checkField(name, raw); err != nil {
		return nil, err
	}
	return compact(raw), nil
}

// bare is a word as a JSON string; one that is a JSON string already stays.
func bare(value string) json.RawMessage {
	if value[0] == '"' && json.Valid([]byte(value)) {
		return json.RawMessage(value)
	}
	return quoted(value)
}

// probe is an entry to hold a field against the document's rules.
func probe(name string, value json.RawMessage) (warnings []string, err error) {
	entry := setField([]byte(`{"service":"s","log_path":"/p","topic":"t"}`), name, value)
	_, warnings, err = agent.ParseDocument(slices.Concat([]byte("["), entry, []byte("]")))
	return warnings, err
}

// checkField holds a value to the document's rules, in its words.
func checkField(name string, value json.RawMessage) error {
	_, err := probe(name, value)
	if err == nil {
		return nil
	}
	var out []error
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if _, rest, ok := strings.Cut(line, ": "+name+": "); ok {
			line = name + ": " + rest
		}
		out = append(out, errors.New(line))
	}
	return errors.Join(out...)
}

// unknownField names the field that was likely meant, as the document's parser would.
func unknownField(name string) error {
	warnings, _ := probe(name, json.RawMessage("0"))
	for _, w := range warnings {
		if _, hint, ok := strings.Cut(w, "; did you mean "); ok {
			return fmt.Errorf("unknown field %s; did you mean %s", quote(name), hint)
		}
	}
	var names []string
	for _, f := range knownFields {
		names = append(names, f.name)
	}
	return fmt.Errorf("unknown field %s, must be one of %s", quote(name), strings.Join(names, ", "))
}
