package store

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Filter is a parsed filter: every term must hold. The zero value lets everything pass.
//
//	nginx "two words"      words match host, service, path and topic, in any case
//	lag>1GB behind>5m      numbers with their units; rate<100; throttled>=50
//	state!=ok service=ngi* text, with * for anything
//	!word !lag>1GB         negates
type Filter struct {
	terms []term
}

// Empty tells whether everything passes.
func (f *Filter) Empty() bool { return len(f.terms) == 0 }

type term struct {
	negate bool
	word   string // lower case; set where field is nil
	field  *field
	op     string
	parts  []string // of the text, lower case, between its *
	number float64
}

// FilterError names the part of a filter that cannot be read.
type FilterError struct {
	Part string // as typed
	Why  string
}

func (e *FilterError) Error() string { return fmt.Sprintf("%q: %s", e.Part, e.Why) }

// fieldKind says how a field's value is written.
type fieldKind int

const (
	fieldText fieldKind = iota
	fieldState
	fieldConfig
	fieldNumber
	fieldBytes
	fieldDuration
)

// field is one name the language knows. Exactly one of text and number is set, according
// to kind. A number that is not known is NaN and satisfies nothing.
type field struct {
	names  []string
	kind   fieldKind
	text   func(subject) []string
	number func(subject) float64
}

// subject is what a filter looks at: a host or a file.
type subject interface {
	words() string // lower case
	texts(name string) []string
	figure(name string) float64
}

// fields are in the order an error lists them.
func fields() []field {
	text := func(name string) func(subject) []string {
		return func(s subject) []string { return s.texts(name) }
	}
	num := func(name string) func(subject) float64 {
		return func(s subject) float64 { return s.figure(name) }
	}
	return []field{
		{names: []string{"host"}, kind: fieldText, text: text("host")},
		{names: []string{"service"}, kind: fieldText, text: text("service")},
		{names: []string{"path", "file"}, kind: fieldText, text: text("path")},
		{names: []string{"topic"}, kind: fieldText, text: text("topic")},
		{names: []string{"group"}, kind: fieldText, text: text("group")},
		{names: []string{"state"}, kind: fieldState, text: text("state")},
		{names: []string{"cfg", "config"}, kind: fieldConfig, text: text("cfg")},
		{names: []string{"cause"}, kind: fieldText, text: text("cause")},
		{names: []string{"lag"}, kind: fieldBytes, number: num("lag")},
		{names: []string{"behind"}, kind: fieldDuration, number: num("behind")},
		{names: []string{"drain"}, kind: fieldDuration, number: num("drain")},
		{names: []string{"in"}, kind: fieldNumber, number: num("in")},
		{names: []string{"out"}, kind: fieldNumber, number: num("out")},
		{names: []string{"rate", "limit"}, kind: fieldNumber, number: num("rate")},
		{names: []string{"throttled"}, kind: fieldNumber, number: num("throttled")},
		{names: []string{"files"}, kind: fieldNumber, number: num("files")},
		{names: []string{"err", "errors"}, kind: fieldNumber, number: num("err")},
		{names: []string{"drift"}, kind: fieldNumber, number: num("drift")},
	}
}

// States and configs are the words of the fields state and cfg; configs in the order of Config.
func states() []string  { return []string{"ok", "behind", "failing", "unknown", "stale", "paused"} }
func configs() []string { return []string{"unknown", "ok", "pending", "refused"} }

func (f *Filter) matches(s subject) bool {
	for i := range f.terms {
		t := &f.terms[i]
		if t.holds(s) == t.negate {
			return false
		}
	}
	return true
}

func (t *term) holds(s subject) bool {
	if t.field == nil {
		if h, ok := s.(hostSubject); ok && strings.Contains(h.h.lower, t.word) {
			return true
		}
		return strings.Contains(s.words(), t.word)
	}
	if t.field.text != nil {
		any := slices.ContainsFunc(t.field.text(s), func(v string) bool { return glob(t.parts, v) })
		return any == (t.op == "=")
	}
	v := t.field.number(s)
	switch t.op { // a NaN makes every comparison false, != must not make it true
	case "=":
		return v == t.number
	case "!=":
		return v == v && v != t.number
	case "<":
		return v < t.number
	case "<=":
		return v <= t.number
	case ">":
		return v > t.number
	}
	return v >= t.number
}

// glob matches the whole of v with what stands between the * of a pattern.
func glob(parts []string, v string) bool {
	if len(parts) == 1 {
		return v == parts[0]
	}
	if !strings.HasPrefix(v, parts[0]) {
		return false
	}
	v = v[len(parts[0]):]
	last := parts[len(parts)-1]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(v, p)
		if i < 0 {
			return false
		}
		v = v[i+len(p):]
	}
	return strings.HasSuffix(v, last)
}

// hostSubject and fileSubject are what the filter sees of a row.
type hostSubject struct{ h *host }

// words are those of the entries, which hosts share: the host's name is looked at apart.
func (s hostSubject) words() string { return s.h.terms.all }

func (s hostSubject) texts(name string) []string {
	switch name {
	case "host":
		return []string{s.h.lower}
	case "service":
		return s.h.terms.services
	case "path":
		return s.h.terms.paths
	case "topic":
		return s.h.terms.topic
	case "state":
		return stateWords(string(s.h.row.State), s.h.row.Stale)
	case "cfg":
		return []string{configs()[s.h.row.Config]}
	case "group":
		return s.h.lowerGroups
	}
	return nil
}

func (s hostSubject) figure(name string) float64 {
	r := &s.h.row
	if name == "files" {
		return float64(r.Files)
	}
	if name == "err" {
		return float64(r.Failing)
	}
	if name == "drift" {
		if r.Drifting == 0 && r.Config != ConfigRunning && r.Config != ConfigPending {
			return math.NaN()
		}
		return float64(r.Drifting)
	}
	if !r.HasStatus || r.Stale {
		return math.NaN()
	}
	return figure(name, r.LagBytes, r.BehindFor.Seconds(), r.Drain, r.In, r.Out, r.Limit, r.Throttle)
}

type fileSubject struct{ r *FileRow }

func (s fileSubject) words() string {
	return strings.ToLower(s.r.Service + "\n" + s.r.Path + "\n" + s.r.Topic)
}

func (s fileSubject) texts(name string) []string {
	switch name {
	case "service":
		return []string{strings.ToLower(s.r.Service)}
	case "path":
		return []string{strings.ToLower(s.r.Path)}
	case "topic":
		return []string{strings.ToLower(s.r.Topic)}
	case "state":
		return stateWords(string(s.r.State), s.r.Stale)
	case "cause":
		return []string{strings.ToLower(s.r.Cause)}
	}
	return nil
}

func (s fileSubject) figure(name string) float64 {
	r := s.r
	if !r.Numbers {
		return math.NaN()
	}
	return figure(name, r.LagBytes, r.BehindFor.Seconds(), r.Drain, r.In, r.Out, r.Limit, r.Throttle)
}

func stateWords(state string, stale bool) []string {
	if stale {
		return []string{state, "stale"}
	}
	return []string{state}
}

func figure(name string, lag int64, behind float64, d Drain, in, out float64, limit int64, throttle int) float64 {
	switch name {
	case "lag":
		return float64(lag)
	case "behind":
		return behind
	case "drain":
		return d.seconds()
	case "in":
		return in
	case "out":
		return out
	case "rate":
		if limit == 0 {
			return math.Inf(1)
		}
		return float64(limit)
	case "throttled":
		return float64(throttle)
	}
	return math.NaN()
}
