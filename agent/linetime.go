package agent

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// When was a line written? A lineTimes answers from the line itself, by one of the layouts that
// programs write at the beginning of their lines. A line without a time (the rest of a stack
// trace) belongs to the line before it.
//
// What a line leaves out is made up for: a missing year is that of the file's last change, or
// the one before; a missing zone is the local one. Nothing here can fail but to find no time.

// lineLayout is one way of writing the time.
type lineLayout struct {
	name  string // in an operator's words
	parse func(p *lineTimes, line []byte) (time.Time, bool)
}

// lineLayouts are tried in this order where it is not known yet which one a file has.
var lineLayouts = []*lineLayout{
	{"JSON", parseJSONTime},
	{"RFC 3339", func(p *lineTimes, b []byte) (time.Time, bool) { return p.iso(leadIn(b), true) }},
	{"date and time without zone (local)", func(p *lineTimes, b []byte) (time.Time, bool) { return p.iso(leadIn(b), false) }},
	{"access log", parseAccessTime},
	{"syslog", parseSyslogTime},
	{"klog", parseKlogTime},
	{"seconds since 1970", func(_ *lineTimes, b []byte) (time.Time, bool) { return parseEpoch(leadIn(b), 10, time.Second) }},
	{"milliseconds since 1970", func(_ *lineTimes, b []byte) (time.Time, bool) { return parseEpoch(leadIn(b), 13, time.Millisecond) }},
	{"RFC 3339 after a word or two", func(p *lineTimes, b []byte) (time.Time, bool) { return p.isoAfterWords(b, true) }},
	{"date and time without zone (local) after a word or two", func(p *lineTimes, b []byte) (time.Time, bool) { return p.isoAfterWords(b, false) }},
}

// lineTimes finds the times of one file's lines. The zero value knows no year and is of UTC.
type lineTimes struct {
	ref    time.Time      // when the file was last changed: no line is much younger
	loc    *time.Location // of times without a zone; nil: UTC
	layout *lineLayout    // nil: each line may have another one

	// What findTime has seen of their order.
	seen   []timedLine   // lines that were looked at, in no order
	latest time.Time     // of the lines that were gone through
	back   time.Duration // by how much the times of those step back
}

// timedLine is where a line begins, and its time.
type timedLine struct {
	start int64
	at    time.Time
}

// maxTimeBytes is how much of a line is looked at.
const maxTimeBytes = 16 << 10

// of returns when a line was written. Of layouts that fit, the file's own alone counts, once
// one was chosen.
func (p *lineTimes) of(line []byte) (time.Time, *lineLayout, bool) {
	line = line[:min(len(line), maxTimeBytes)]
	if p.layout != nil {
		t, ok := p.layout.parse(p, line)
		return t, p.layout, ok
	}
	for _, l := range lineLayouts {
		if t, ok := l.parse(p, line); ok {
			return t, l, true
		}
	}
	return time.Time{}, nil, false
}

// choose settles on the layout that most of some lines have, and tells whether any has one. A
// number at the beginning of a trace is no time only because it looks like one.
func (p *lineTimes) choose(lines [][]byte) bool {
	p.layout = nil
	votes := make(map[*lineLayout]int)
	for _, line := range lines {
		if _, l, ok := p.of(line); ok {
			votes[l]++
		}
	}
	for _, l := range lineLayouts { // in their order: the first of equals
		if votes[l] > 0 && (p.layout == nil || votes[l] > votes[p.layout]) {
			p.layout = l
		}
	}
	return p.layout != nil
}

// note remembers lines that a search has looked at.
func (p *lineTimes) note(lines [][]byte, starts []int64) {
	for i, line := range lines {
		if at, _, ok := p.of(line); ok {
			p.seen = append(p.seen, timedLine{starts[i], at})
		}
	}
}

// passed goes on by one line.
func (p *lineTimes) passed(at time.Time) {
	if at.After(p.latest) {
		p.latest = at
	}
	p.back = max(p.back, p.latest.Sub(at))
}

// order tells by how much the times step back, of the lines that were looked at, and which is
// the latest of them.
func (p *lineTimes) order() (back time.Duration, latest time.Time) {
	all := lineTimes{}
	slices.SortFunc(p.seen, func(a, b timedLine) int { return cmp.Compare(a.start, b.start) })
	for _, s := range p.seen {
		all.passed(s.at)
	}
	if p.latest.After(all.latest) {
		all.latest = p.latest
	}
	return max(all.back, p.back), all.latest
}

func (p *lineTimes) zone() *time.Location {
	if p.loc == nil {
		return time.UTC
	}
	return p.loc
}

// plausible keeps numbers that are no times from being taken for such.
func plausible(t time.Time) bool { return t.Year() >= 1990 && t.Year() < 2200 }

// leadIn takes away what may stand before a time: blanks, <13>1 of syslog, a bracket or a
// quote, and ts= of logfmt.
func leadIn(b []byte) []byte {
	b = bytes.TrimLeft(b, " \t")
	if len(b) > 0 && b[0] == '<' {
		if i := bytes.IndexByte(b[:min(len(b), 5)], '>'); i > 1 && digits(b[1:i]) == i-1 {
			b = b[i+1:]
			if len(b) > 1 && b[0] == '1' && b[1] == ' ' {
				b = b[2:]
			}
		}
	}
	b = b[timeKey(b):]
	if len(b) > 0 && (b[0] == '[' || b[0] == '"' || b[0] == '(') {
		b = b[1:]
	}
	return b
}

// timeKey is the length of a field's name of logfmt that tells a time; 0: b begins with none.
func timeKey(b []byte) int {
	for _, key := range []string{"time=", "ts=", "t=", "timestamp="} {
		if bytes.HasPrefix(b, []byte(key)) {
			return len(key)
		}
	}
	return 0
}

// digits counts the digits that b begins with.
func digits(b []byte) (n int) {
	for n < len(b) && '0' <= b[n] && b[n] <= '9' {
		n++
	}
	return n
}

// number reads exactly n digits.
func number(b []byte, n int) (v int, rest []byte, ok bool) {
	if len(b) < n || digits(b[:n]) != n {
		return 0, b, false
	}
	for _, c := range b[:n] {
		v = 10*v + int(c-'0')
	}
	return v, b[n:], true
}

// oneOf reads one of some bytes.
func oneOf(b []byte, any string) ([]byte, bool) {
	if len(b) == 0 || strings.IndexByte(any, b[0]) < 0 {
		return b, false
	}
	return b[1:], true
}

// clockTime reads 15:04:05 with a fraction, if there is one.
func clockTime(b []byte) (h, m, s, ns int, rest []byte, ok bool) {
	if h, b, ok = number(b, 2); !ok {
		return
	}
	if b, ok = oneOf(b, ":"); !ok {
		return
	}
	if m, b, ok = number(b, 2); !ok {
		return
	}
	if b, ok = oneOf(b, ":"); !ok {
		return
	}
	if s, b, ok = number(b, 2); !ok {
		return
	}
	if ok = h < 24 && m < 60 && s <= 60; !ok {
		return
	}
	if len(b) > 1 && (b[0] == '.' || b[0] == ',') && '0' <= b[1] && b[1] <= '9' {
		n := digits(b[1:])
		scale := int(time.Second)
		for _, c := range b[1 : 1+min(n, 9)] {
			scale /= 10
			ns += int(c-'0') * scale
		}
		b = b[1+n:]
	}
	return h, m, s, ns, b, true
}

// zoneOffset reads Z, +02:00, +0200 or +02.
func zoneOffset(b []byte) (*time.Location, bool) {
	if len(b) == 0 {
		return nil, false
	}
	if b[0] == 'Z' || b[0] == 'z' {
		return time.UTC, true
	}
	sign := 1
	switch b[0] {
	case '+':
	case '-':
		sign = -1
	default:
		return nil, false
	}
	h, rest, ok := number(b[1:], 2)
	if !ok || h > 14 {
		return nil, false
	}
	if r, colon := oneOf(rest, ":"); colon {
		rest = r
	}
	m, _, ok := number(rest, 2)
	if !ok || m > 59 {
		m = 0
	}
	return time.FixedZone("", sign*(h*3600+m*60)), true
}

// iso reads 2006-01-02T15:04:05, also with a blank for the T, slashes and a fraction. A zone
// has to follow, or must not.
func (p *lineTimes) iso(b []byte, zoned bool) (time.Time, bool) {
	y, b, ok := number(b, 4)
	if !ok || len(b) == 0 || b[0] != '-' && b[0] != '/' {
		return time.Time{}, false
	}
	sep := string(b[0])
	mo, b, ok := number(b[1:], 2)
	if !ok {
		return time.Time{}, false
	}
	if b, ok = oneOf(b, sep); !ok {
		return time.Time{}, false
	}
	d, b, ok := number(b, 2)
	if !ok {
		return time.Time{}, false
	}
	if b, ok = oneOf(b, "Tt _"); !ok {
		return time.Time{}, false
	}
	h, mi, s, ns, b, ok := clockTime(b)
	if !ok {
		return time.Time{}, false
	}
	loc, has := zoneOffset(b)
	if !has && len(b) > 1 && b[0] == ' ' && (b[1] == '+' || b[1] == '-') { // 15:04:05 +0200
		loc, has = zoneOffset(b[1:])
	}
	if !has && (bytes.HasPrefix(b, []byte(" UTC")) || bytes.HasPrefix(b, []byte(" GMT"))) && (len(b) == 4 || !isLetter(b[4])) {
		loc, has = time.UTC, true
	}
	if has != zoned {
		return time.Time{}, false
	}
	if !has {
		loc = p.zone()
	}
	return date(y, mo, d, h, mi, s, ns, loc)
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// wordsWithin is how far into a line a time behind other words begins.
const wordsWithin = 64

// isoAfterWords is iso behind a level, a name, or both, as in "INFO 2026-01-02T15:04:05Z", and
// of logfmt behind any fields. The rest of a trace, which begins with a blank, has no time.
func (p *lineTimes) isoAfterWords(line []byte, zoned bool) (time.Time, bool) {
	blank := func(c byte) bool { return c == ' ' || c == '\t' }
	if len(line) == 0 || blank(line[0]) {
		return time.Time{}, false
	}
	words := 0
	for i := 1; i < min(len(line), wordsWithin); i++ {
		if !blank(line[i-1]) || blank(line[i]) {
			continue
		}
		words++
		if words > 2 && timeKey(line[i:]) == 0 {
			continue
		}
		if t, ok := p.iso(leadIn(line[i:]), zoned); ok {
			return t, true
		}
	}
	return time.Time{}, false
}

// date refuses days that no month has.
func date(y, mo, d, h, mi, s, ns int, loc *time.Location) (time.Time, bool) {
	if mo < 1 || mo > 12 || d < 1 || d > 31 {
		return time.Time{}, false
	}
	t := time.Date(y, time.Month(mo), d, h, mi, s, ns, loc)
	return t, plausible(t) && (t.Day() == d || s == 60 || h < 3) // a leap second, an hour that summer time left out
}

var months = []string{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}

func month(b []byte) (mo int, rest []byte, ok bool) {
	if len(b) < 3 {
		return 0, b, false
	}
	for i, m := range months {
		if string(b[:3]) == m {
			return i + 1, b[3:], true
		}
	}
	return 0, b, false
}

// accessWithin is how far into a line the time of an access log is looked for.
const accessWithin = 1 << 10

// parseAccessTime finds [10/Oct/2000:13:55:36 -0700] of the common and combined formats.
func parseAccessTime(_ *lineTimes, line []byte) (time.Time, bool) {
	for b := line[:min(len(line), accessWithin)]; ; {
		i := bytes.IndexByte(b, '[')
		if i < 0 {
			return time.Time{}, false
		}
		b = b[i+1:]
		if t, ok := accessTime(b); ok {
			return t, true
		}
	}
}

func accessTime(b []byte) (time.Time, bool) {
	d, b, ok := number(b, 2)
	if !ok {
		return time.Time{}, false
	}
	if b, ok = oneOf(b, "/"); !ok {
		return time.Time{}, false
	}
	mo, b, ok := month(b)
	if !ok {
		return time.Time{}, false
	}
	if b, ok = oneOf(b, "/"); !ok {
		return time.Time{}, false
	}
	y, b, ok := number(b, 4)
	if !ok {
		return time.Time{}, false
	}
	if b, ok = oneOf(b, ":"); !ok {
		return time.Time{}, false
	}
	h, mi, s, ns, b, ok := clockTime(b)
	if !ok {
		return time.Time{}, false
	}
	if b, ok = oneOf(b, " "); !ok {
		return time.Time{}, false
	}
	loc, ok := zoneOffset(b)
	if !ok {
		return time.Time{}, false
	}
	return date(y, mo, d, h, mi, s, ns, loc)
}

// parseSyslogTime reads "Jan _2 15:04:05", which has no year and no zone.
func parseSyslogTime(p *lineTimes, line []byte) (time.Time, bool) {
	mo, b, ok := month(leadIn(line))
	if !ok {
		return time.Time{}, false
	}
	if b, ok = oneOf(b, " "); !ok {
		return time.Time{}, false
	}
	if rest, blank := oneOf(b, " "); blank {
		b = rest
	}
	n := digits(b)
	if n < 1 || n > 2 {
		return time.Time{}, false
	}
	d, b, _ := number(b, n)
	if b, ok = oneOf(b, " "); !ok {
		return time.Time{}, false
	}
	h, mi, s, ns, _, ok := clockTime(b)
	if !ok {
		return time.Time{}, false
	}
	return p.withYear(mo, d, h, mi, s, ns)
}

// parseKlogTime reads I0102 15:04:05.000000.
func parseKlogTime(p *lineTimes, line []byte) (time.Time, bool) {
	b, ok := oneOf(line, "IWEF")
	if !ok {
		return time.Time{}, false
	}
	mo, b, ok := number(b, 2)
	if !ok {
		return time.Time{}, false
	}
	d, b, ok := number(b, 2)
	if !ok {
		return time.Time{}, false
	}
	if b, ok = oneOf(b, " "); !ok {
		return time.Time{}, false
	}
	h, mi, s, ns, _, ok := clockTime(b)
	if !ok {
		return time.Time{}, false
	}
	return p.withYear(mo, d, h, mi, s, ns)
}

// withYear gives a time its year: the last one in which it is not later than the file's
// last change, a day aside for clocks and zones.
func (p *lineTimes) withYear(mo, d, h, mi, s, ns int) (time.Time, bool) {
	latest := p.ref.Add(24 * time.Hour)
	for y := latest.In(p.zone()).Year(); y > latest.Year()-9; y-- { // 29 February: eight years at most
		if t, ok := date(y, mo, d, h, mi, s, ns, p.zone()); ok && !t.After(latest) {
			return t, true
		}
	}
	return time.Time{}, false
}

// parseEpoch reads n digits of a unit since 1970, with a fraction of seconds.
func parseEpoch(b []byte, n int, unit time.Duration) (time.Time, bool) {
	if digits(b) != n {
		return time.Time{}, false
	}
	v, err := strconv.ParseInt(string(b[:n]), 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	var t time.Time
	if unit == time.Second {
		t = time.Unix(v, 0)
		if rest := b[n:]; len(rest) > 1 && rest[0] == '.' {
			if f, err := strconv.ParseFloat("0"+string(rest[:1+digits(rest[1:])]), 64); err == nil {
				t = t.Add(time.Duration(f * float64(time.Second)))
			}
		}
	} else {
		t = time.UnixMilli(v)
	}
	// A number that goes on with letters is a name.
	if rest := b[n:]; len(rest) > 0 && !strings.ContainsRune(" .\t]:,;|\")", rune(rest[0])) {
		return time.Time{}, false
	}
	return t, plausible(t)
}

// jsonTimeKeys are the fields that tell the time, in the order in which they are believed.
var jsonTimeKeys = []string{"@timestamp", "timestamp", "time", "ts", "t"}

// parseJSONTime reads the time from one of the fields of a line that is a JSON object. What
// comes after the field may be anything, also cut short.
func parseJSONTime(p *lineTimes, line []byte) (time.Time, bool) {
	line = bytes.TrimLeft(line, " \t")
	if len(line) == 0 || line[0] != '{' {
		return time.Time{}, false
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	if _, err := dec.Token(); err != nil {
		return time.Time{}, false
	}
	best, found := len(jsonTimeKeys), time.Time{}
	for dec.More() {
		key, err := dec.Token()
		name, isName := key.(string)
		if err != nil || !isName {
			break
		}
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			break
		}
		for i, k := range jsonTimeKeys[:best] {
			if name == k {
				if t, ok := p.jsonValue(value); ok {
					best, found = i, t
				}
				break
			}
		}
		if best == 0 {
			break
		}
	}
	return found, best < len(jsonTimeKeys)
}

// jsonValue is a time as text, or a number of seconds, ms, µs or ns since 1970.
func (p *lineTimes) jsonValue(value []byte) (time.Time, bool) {
	if len(value) > 0 && value[0] == '"' {
		var text string
		if json.Unmarshal(value, &text) != nil {
			return time.Time{}, false
		}
		b := []byte(text)
		if t, ok := p.iso(b, true); ok {
			return t, true
		}
		if t, ok := p.iso(b, false); ok {
			return t, true
		}
		value = b
	}
	f, err := strconv.ParseFloat(string(value), 64)
	if err != nil || math.IsNaN(f) || f < 0 {
		return time.Time{}, false
	}
	for _, unit := range []float64{1, 1e3, 1e6, 1e9} {
		if secs := f / unit; secs < 7e9 {
			whole := math.Floor(secs)
			t := time.Unix(int64(whole), int64((secs-whole)*1e9))
			return t, plausible(t)
		}
	}
	return time.Time{}, false
}

// lineScan goes through the lines of a file.
type lineScan struct {
	r      io.ReaderAt
	pos    int64 // of buf
	end    int64 // of what is looked at
	buf    []byte
	at     int   // in buf: where the next line begins
	length int64 // of the last line, its end included
}

const scanBytes = 64 << 10

// linesFrom begins at a position, wherever that is in a line.
func linesFrom(r io.ReaderAt, from, end int64) *lineScan {
	return &lineScan{r: r, pos: from, end: end}
}

// next returns the next whole line, at most most bytes of it, without its end, and where it
// begins. The line is good until the next call.
func (s *lineScan) next(ctx context.Context, most int) (line []byte, start int64, ok bool, err error) {
	start = s.pos + int64(s.at)
	var head []byte // of a line longer than what is read at once
	for {
		rest := s.buf[s.at:]
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			s.at += i + 1
			s.length = s.pos + int64(s.at) - start
			if head == nil {
				return rest[:min(i, most)], start, true, nil
			}
			return append(head, rest[:min(i, most-len(head))]...), start, true, nil
		}
		if ctx.Err() != nil {
			return nil, start, false, ctx.Err()
		}
		if head == nil {
			head = make([]byte, 0, min(most, 2*scanBytes))
		}
		head = append(head, rest[:min(len(rest), most-len(head))]...)
		s.pos += int64(len(s.buf))
		s.at = 0
		n := min(scanBytes, s.end-s.pos)
		if n <= 0 {
			s.buf = s.buf[:0]
			return nil, start, false, nil
		}
		if int64(cap(s.buf)) < n {
			s.buf = make([]byte, scanBytes)
		}
		got, err := s.r.ReadAt(s.buf[:n], s.pos)
		s.buf = s.buf[:got]
		if err != nil && err != io.EOF {
			return nil, start, false, err
		}
		if got == 0 {
			return nil, start, false, nil
		}
	}
}

// errNoTimes says that the lines of a file tell no time.
var errNoTimes = errors.New("no time is recognised in its lines")

// sampleLines is how many lines a file's layout is chosen from.
const sampleLines = 200

// nearBytes is how far before the position found the order of the lines is looked at.
const nearBytes = 8 << 10

// findTime finds the first line of a time or later in the lines before end; not found: all are
// older. The lines are taken to be in the order of their times: where they are not, some before
// the position found may be younger, and some after it older, by as much as the order is
// broken. Lines without a time belong to the line before them; those before the first time, to
// that one. A content that can only be read forwards is read through (sequential), any
// other is bisected. times gets its layout, and what was seen of their order. The error wraps errNoTimes where the lines have none.
func findTime(ctx context.Context, r io.ReaderAt, end int64, sequential bool, times *lineTimes, t time.Time) (pos int64, found bool, err error) {
	times.seen, times.latest, times.back = nil, time.Time{}, 0
	first, starts, err := sample(ctx, r, 0, end)
	if err != nil {
		return 0, false, err
	}
	some := first[:len(first):len(first)]
	if !sequential && end > scanBytes {
		for _, at := range []int64{end / 2, end - scanBytes} {
			more, begin, err := sample(ctx, r, at, end)
			if err != nil {
				return 0, false, err
			}
			some = append(some, more[min(1, len(more)):]...) // the first may be cut
			starts = append(starts, begin[min(1, len(begin)):]...)
		}
	}
	if len(some) == 0 {
		return 0, false, nil // no line, so none of that time
	}
	if !times.choose(some) {
		return 0, false, fmt.Errorf("%w; the first is %s", errNoTimes, shownLine(first))
	}
	times.note(some, starts)
	// after returns the first line with a time that begins in [from, limit).
	after := func(from, limit int64) (start int64, at time.Time, ok bool, err error) {
		s := linesFrom(r, max(0, from-1), end)
		if from > 0 { // up to the next line start
			if _, _, ok, err := s.next(ctx, 0); !ok || err != nil {
				return 0, time.Time{}, false, err
			}
		}
		for {
			line, start, ok, err := s.next(ctx, maxTimeBytes)
			if err != nil || !ok || start >= limit {
				return 0, time.Time{}, false, err
			}
			if at, _, ok := times.of(line); ok {
				times.seen = append(times.seen, timedLine{start, at})
				return start, at, true, nil
			}
		}
	}
	if sequential {
		s := linesFrom(r, 0, end)
		for more := sampleLines; more > 0; { // some more, to see their order
			line, start, ok, err := s.next(ctx, maxTimeBytes)
			if err != nil {
				return 0, false, err
			}
			if !ok {
				break
			}
			if found {
				more--
			}
			at, _, ok := times.of(line)
			if !ok {
				continue
			}
			if !found && !at.Before(t) {
				if !times.latest.IsZero() {
					pos = start
				}
				found = true
			}
			times.passed(at)
		}
		return pos, found, nil
	}
	defer func() { // the lines around it, to see their order
		if err != nil || !found || pos == 0 {
			return
		}
		for _, from := range []int64{max(0, pos-nearBytes), pos} {
			var near [][]byte
			if near, starts, err = sample(ctx, r, from, end); err != nil {
				return
			}
			if from > 0 && from < pos { // the first may be cut
				near, starts = near[min(1, len(near)):], starts[min(1, len(starts)):]
			}
			times.note(near, starts)
		}
	}()
	start, at, ok, err := after(0, end)
	if err != nil {
		return 0, false, err
	}
	if ok && !at.Before(t) {
		return 0, true, nil
	}
	// Of the lines that begin in [low, high) it is not known yet. pos is the earliest known
	// to be t or later.
	low, high := start+1, end
	for low < high {
		mid := low + (high-low)/2
		start, at, ok, err := after(mid, high)
		switch {
		case err != nil:
			return 0, false, err
		case !ok: // nothing with a time begins in [mid, high)
			high = mid
		case at.Before(t):
			low = start + 1
		default:
			pos, found, high = start, true, mid
		}
	}
	return pos, found, nil
}

// sample copies lines from a position on, and tells where they begin.
func sample(ctx context.Context, r io.ReaderAt, from, end int64) (out [][]byte, starts []int64, err error) {
	s := linesFrom(r, from, end)
	for len(out) < sampleLines {
		line, start, ok, err := s.next(ctx, maxTimeBytes)
		if err != nil || !ok || start-from > scanBytes {
			return out, starts, err
		}
		out, starts = append(out, bytes.Clone(line)), append(starts, start)
	}
	return out, starts, nil
}

// shownLine shows the first line that is not blank, harmlessly and in short.
func shownLine(lines [][]byte) string {
	const most = 80
	for _, l := range lines {
		if l = bytes.TrimSpace(l); len(l) > most {
			return strconv.QuoteToASCII(string(l[:most])) + "…"
		} else if len(l) > 0 {
			return strconv.QuoteToASCII(string(l))
		}
	}
	return "blank"
}
