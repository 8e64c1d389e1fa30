package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
)

const (
	// MaxDocumentBytes is the largest document that is taken.
	MaxDocumentBytes = 256 << 10
	// MaxSendRate is the largest send_rate in lines per second; above it a number is a
	// slip of the finger, not a limit.
	MaxSendRate = 1_000_000_000
	// MaxServiceBytes bounds a service name: it travels as a header on every record.
	MaxServiceBytes = 255
	// MaxPathBytes bounds log_path and each glob of exclude: no file has a longer path.
	MaxPathBytes = 4096

	maxProblems = 100 // of one document; the rest is counted, so that a status stays small
)

// documentFields are the fields an entry may have, as they are pinned.
var documentFields = []string{
	"service", "log_path", "topic", "send_rate", "start_at", "exclude", "paused", "partition", "oversize",
}

var legalTopic = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// ParseDocument reads the value of a host's key: a JSON array of entries, in its order.
// A document with anything wrong in it is refused whole: services is nil and err joins
// every problem (errors.Join), one a line, each naming the entry by number, service and
// log_path where they are known, the field, and what would be right. Warnings are about
// what is kept but has no effect, such as fields this version does not know; they come
// with a refusal too.
//
// `[]` is a document without entries. An empty value and `null` are refused: a slip must
// not stop a host. Service.Key is left empty for the caller to set.
func ParseDocument(raw []byte) (services []Service, warnings []string, err error) {
	p := &documentParser{paths: make(map[string]int)}
	if err := checkDocument(raw); err != nil {
		return nil, nil, err
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(raw, &entries); err != nil {
		return nil, nil, fmt.Errorf("document: %w", err)
	}
	services = make([]Service, 0, len(entries))
	for i, e := range entries {
		services = append(services, p.entry(i+1, e))
	}
	if p.problems > 0 {
		return nil, p.warnings, p.err()
	}
	return services, p.warnings, nil
}

// checkDocument tells what keeps raw from being a JSON array at all.
func checkDocument(raw []byte) error {
	if len(raw) > MaxDocumentBytes {
		return fmt.Errorf("document has %d bytes, at most %d are taken", len(raw), MaxDocumentBytes)
	}
	text := bytes.TrimLeft(raw, " \t\r\n")
	if len(text) == 0 {
		return errors.New("document is empty; write [] for no entries, or delete the key")
	}
	if bytes.HasPrefix(text, []byte("\xef\xbb\xbf")) {
		return errors.New("document begins with a byte order mark; store it as UTF-8 without one")
	}
	if at := invalidUTF8(raw); at >= 0 {
		return fmt.Errorf("document: %s is not UTF-8", position(raw, at))
	}
	var whole json.RawMessage
	if err := json.Unmarshal(raw, &whole); err != nil {
		var syntax *json.SyntaxError
		if !errors.As(err, &syntax) {
			return fmt.Errorf("document: %w", err)
		}
		at := int(syntax.Offset)
		if strings.HasPrefix(syntax.Error(), "invalid character") {
			at-- // the offset is behind the character that was wrong
		}
		return fmt.Errorf("document is not JSON: %s: %w", position(raw, at), err)
	}
	switch kind := jsonKind(text); kind {
	case "an array":
		return nil
	case "an object":
		return errors.New("document is one object, must be an array of entries: put [ and ] around it")
	case "null":
		return errors.New("document is null; write [] for no entries, or delete the key")
	default:
		return fmt.Errorf("document is %s, must be an array of entries such as %s", kind, exampleDocument)
	}
}

const exampleDocument = `[{"service":"nginx","log_path":"/var/log/nginx/access.log","topic":"nginx-access","send_rate":1000}]`

func invalidUTF8(raw []byte) int {
	for i := 0; i < len(raw); {
		r, n := utf8.DecodeRune(raw[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
	return -1
}

// documentParser collects what is wrong in one document.
type documentParser struct {
	paths    map[string]int // cleaned log_path: the entry that named it first
	warnings []string
	warned   int
	errs     []error
	problems int

	label string // of the entry at hand
	field string // at hand; "" where the entry as a whole is meant
}

func (p *documentParser) err() error {
	if more := p.problems - len(p.errs); more > 0 {
		p.errs = append(p.errs, fmt.Errorf("and %d more problems", more))
	}
	return errors.Join(p.errs...)
}

func (p *documentParser) refuse(format string, args ...any) {
	p.problems++
	if p.problems <= maxProblems {
		p.errs = append(p.errs, errors.New(p.where()+fmt.Sprintf(format, args...)))
	}
}

func (p *documentParser) warn(format string, args ...any) {
	p.warned++
	if p.warned <= maxProblems {
		p.warnings = append(p.warnings, p.where()+fmt.Sprintf(format, args...))
	}
}

func (p *documentParser) where() string {
	if p.field == "" {
		return p.label + ": "
	}
	return p.label + ": " + p.field + ": "
}

// member is one key of an entry with its value as it was written.
type member struct {
	name  string
	value json.RawMessage
}

// entry reads entry n and notes what is wrong with it.
func (p *documentParser) entry(n int, raw json.RawMessage) Service {
	p.label, p.field = "entry "+strconv.Itoa(n), ""
	if kind := jsonKind(raw); kind != "an object" {
		p.refuse("is %s, must be an object with service, log_path and topic", kind)
		return Service{}
	}
	members, err := readMembers(raw)
	if err != nil {
		p.refuse("%v", err)
		return Service{}
	}
	p.label = entryLabel(n, members)

	var s Service
	seen := make(map[string]bool, len(members))
	for _, m := range members {
		p.field = m.name
		if seen[m.name] {
			p.field = ""
			p.refuse("has the field %s twice; leave one of them out", quote(m.name))
			continue
		}
		seen[m.name] = true
		p.read(&s, m, n)
	}
	for _, required := range documentFields[:3] {
		if !seen[required] {
			p.field = required
			p.refuse("is missing, must be %s", fieldRules[required])
		}
	}
	return s
}

// fieldRules say what would be right.
var fieldRules = map[string]string{
	"service":   "a name that is not empty",
	"log_path":  "an absolute path of a file or a glob, such as /var/log/nginx/*.log",
	"topic":     "a Kafka topic: 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-', not \".\" or \"..\"",
	"send_rate": "a whole number of lines per second from 0 (no limit) to " + strconv.Itoa(MaxSendRate),
	"start_at":  `"end" (the default) or "beginning"`,
	"exclude":   `an array of globs, such as ["*.gz", "/var/log/nginx/old/**"]`,
	"paused":    "true or false",
	"partition": `"random" (the default), "file", "host" or "service"`,
	"oversize":  `"split" (the default), "truncate" or "skip"`,
}

func (p *documentParser) read(s *Service, m member, n int) {
	switch m.name {
	case "service":
		s.Service = p.service(m.value)
	case "log_path":
		s.LogPath = p.logPath(m.value, n)
	case "topic":
		s.Topic = p.topic(m.value)
	case "send_rate":
		s.SendRate = p.sendRate(m.value)
	case "start_at":
		s.StartAt = StartAt(p.oneOf(m.value, string(StartEnd), string(StartBeginning)))
	case "exclude":
		s.Exclude = p.exclude(m.value)
	case "paused":
		switch string(m.value) {
		case "true":
			s.Paused = true
		case "false":
		default:
			p.wrong(m.value)
		}
	case "partition":
		s.Partition = Partitioning(p.oneOf(m.value,
			string(PartitionRandom), string(PartitionFile), string(PartitionHost), string(PartitionService)))
	case "oversize":
		s.Oversize = Oversize(p.oneOf(m.value, string(OversizeSplit), string(OversizeTruncate), string(OversizeSkip)))
	default:
		p.field = ""
		hint := ""
		if close := closestField(m.name); close != "" {
			hint = "; did you mean " + close + "?"
		}
		p.warn("unknown field %s is kept and has no effect%s", quote(m.name), hint)
	}
}

// wrong refuses the value of the field at hand with the rule for it.
func (p *documentParser) wrong(value json.RawMessage) {
	p.refuse("%s is not right, must be %s", quoteRaw(value), fieldRules[p.field])
}

// text reads a string; ok is false where the field was refused.
func (p *documentParser) text(value json.RawMessage) (string, bool) {
	var s string
	if jsonKind(value) != "a string" || json.Unmarshal(value, &s) != nil {
		p.wrong(value)
		return "", false
	}
	return s, true
}

// plain holds names and paths to characters that can be shown and that a file can have.
func (p *documentParser) plain(s string, maxBytes int) bool {
	for _, r := range s {
		if unicode.IsControl(r) || r == utf8.RuneError {
			p.refuse("%s holds a control or broken character (%U), must be %s", quote(s), r, fieldRules[p.field])
			return false
		}
	}
	if len(s) > maxBytes {
		p.refuse("%s has %d bytes, at most %d are taken", quote(s), len(s), maxBytes)
		return false
	}
	return true
}

func (p *documentParser) service(value json.RawMessage) string {
	s, ok := p.text(value)
	if !ok || !p.plain(s, MaxServiceBytes) {
		return ""
	}
	if strings.TrimSpace(s) == "" {
		p.wrong(value)
	}
	return s
}

func (p *documentParser) logPath(value json.RawMessage, n int) string {
	s, ok := p.text(value)
	if !ok || !p.plain(s, MaxPathBytes) {
		return ""
	}
	switch {
	case !strings.HasPrefix(s, "/"):
		p.wrong(value)
		return s
	case strings.HasSuffix(s, "/"):
		p.refuse("%s names a folder, must be %s", quote(s), fieldRules[p.field])
		return s
	case !doublestar.ValidatePattern(s):
		p.refuse("%s is not a valid glob; check its brackets and braces, and write \\[ for a [ in a name", quote(s))
		return s
	}
	// Two spellings of one path are one path: both entries would send the same file.
	clean := path.Clean(s)
	if first, double := p.paths[clean]; double {
		p.refuse("%s is named by entry %d already; a file belongs to one entry", quote(s), first)
		return s
	}
	p.paths[clean] = n
	return s
}

func (p *documentParser) topic(value json.RawMessage) string {
	s, ok := p.text(value)
	if ok && (!legalTopic.MatchString(s) || s == "." || s == "..") {
		p.wrong(value)
	}
	return s
}

func (p *documentParser) sendRate(value json.RawMessage) int64 {
	rate, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || rate < 0 || rate > MaxSendRate {
		p.wrong(value)
		return 0
	}
	return rate
}

func (p *documentParser) oneOf(value json.RawMessage, allowed ...string) string {
	s, ok := p.text(value)
	if ok && !slices.Contains(allowed, s) {
		p.wrong(value)
	}
	return s
}

func (p *documentParser) exclude(value json.RawMessage) []string {
	var globs []json.RawMessage
	if jsonKind(value) != "an array" || json.Unmarshal(value, &globs) != nil {
		p.wrong(value)
		return nil
	}
	var out []string
	for _, g := range globs {
		s, ok := p.text(g)
		if !ok || !p.plain(s, MaxPathBytes) {
			continue
		}
		switch {
		case s == "":
			p.wrong(g)
		case !doublestar.ValidatePattern(s):
			p.refuse("%s is not a valid glob; check its brackets and braces, and write \\[ for a [ in a name", quote(s))
		case strings.Contains(s, "/") && !strings.HasPrefix(s, "/"):
			p.refuse("%s is relative; write a file name's glob such as *.gz, or begin it with /", quote(s))
		}
		out = append(out, s)
	}
	return out
}

// readMembers splits a valid JSON object, in its order and with what stands twice.
func readMembers(raw []byte) ([]member, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if _, err := d.Token(); err != nil { // the opening brace
		return nil, err
	}
	var out []member
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		out = append(out, member{name.(string), value}) // the decoder gives nothing else as a key
	}
	return out, nil
}
