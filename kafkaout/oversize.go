package kafkaout

import (
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"logagent/agent"
)

// piece is part of one line, because the topic does not take the whole one.
type piece struct {
	from, to      uint32 // of Buf
	number, count string // headers part and parts; "" is none
	cut           *cut   // nil: the line was truncated
}

func (c *piece) bytes() int64 { return int64(c.to-c.from) + partOverhead }

// cut is one line, or one piece of a line, in the pieces it was last split into.
type cut struct {
	from, to uint32
	prefix   string // of the pieces' numbers: "" or "3."
	counts   string // header parts of what was split: "" where it was not a last piece
	acked    bool   // one of the pieces stands in Kafka: their number is fixed
}

// leastPayload is the smallest piece worth sending. A topic that takes less than that
// beside the headers takes no lines at all.
const leastPayload = 64

// tooLarge deals with a chunk refused for its size. It was not stored and has consumed no
// sequence, so what replaces it begins at the same one. It returns why the topic can't
// take the line at all, "" otherwise.
func (part *partition) tooLarge(v *verdicts, most int64, now time.Time) string {
	c := part.chunk
	limit := &part.topic.limit
	limit.refuse(c.bytes, now)
	part.putBack(v)
	if c.records > 1 || len(part.queue) == 0 || part.queue[0].p != c.spans[0].p {
		return "" // the next one is smaller, or was recalled
	}
	s := part.queue[0]
	payload := limit.size(most) - batchOverhead - partOverhead - s.p.each
	if payload < leastPayload {
		limit.accepted, limit.refused = 0, 0
		return fmt.Sprintf("topic %s takes no record of %d bytes", part.topic.name, c.bytes)
	}
	switch s.p.batch.Service.Oversize {
	case agent.OversizeSkip:
		part.drop(1)
		if s.piece == nil || s.piece.cut == nil {
			s.p.verdict.Skipped++
		}
		v.settle(s.p, 1)
	case agent.OversizeTruncate:
		part.replace(1, part.truncate(s, uint32(payload)))
	default:
		part.split(s, uint32(payload))
	}
	return ""
}

// truncate cuts the only line of s so that at most payload bytes are left of it.
func (part *partition) truncate(s span, payload uint32) []span {
	from, to := s.content()
	if s.piece == nil {
		s.p.verdict.Truncated++
	}
	end := min(to, from+payload)
	for back := end; back < to && back > from && end-back < utf8.UTFMax; back-- {
		if utf8.RuneStart(s.p.batch.Buf[back]) { // not in the middle of a character
			end = back
			break
		}
	}
	s.piece = &piece{from: from, to: end}
	return []span{s}
}

// split replaces the line or piece s at the front of the queue by pieces of at most
// payload bytes.
func (part *partition) split(s span, payload uint32) {
	b := s.p.batch
	if s.piece != nil && s.piece.cut != nil && !s.piece.cut.acked {
		// None of the line's pieces stands in Kafka: cut it anew into smaller ones.
		old, n := s.piece.cut, 0
		for n < len(part.queue) && part.queue[n].piece != nil && part.queue[n].piece.cut == old {
			n++
		}
		whole := &cut{from: old.from, to: old.to, prefix: old.prefix, counts: old.counts}
		part.replace(n, whole.spans(s, payload))
		return
	}
	whole := &cut{}
	whole.from, whole.to = s.content()
	switch {
	case s.piece != nil && s.piece.cut != nil:
		whole.prefix, whole.counts = s.piece.number+".", s.piece.count
	case b.Part > 0:
		whole.prefix = strconv.Itoa(b.Part) + "."
		if b.Parts > 0 {
			whole.counts = strconv.Itoa(b.Parts)
		}
	}
	if s.piece == nil {
		s.p.verdict.Split++
	}
	part.replace(1, whole.spans(s, payload))
}

// spans are the pieces of at most payload bytes, in order. s is a span of the line.
func (c *cut) spans(s span, payload uint32) []span {
	n := int((c.to - c.from + payload - 1) / payload)
	out := make([]span, 0, n)
	for j := range n {
		from := c.from + uint32(j)*payload
		p := &piece{from: from, to: min(c.to, from+payload), number: c.prefix + strconv.Itoa(j+1), cut: c}
		if j == n-1 {
			p.count = strconv.Itoa(n)
			if c.counts != "" {
				p.count = c.counts + "." + p.count
			}
		}
		out = append(out, span{p: s.p, from: s.from, to: s.to, piece: p})
	}
	return out
}

// content is the range of Buf of a single line or piece.
func (s *span) content() (from, to uint32) {
	if s.piece != nil {
		return s.piece.from, s.piece.to
	}
	l := s.p.batch.Lines[s.from]
	return l.From, l.To
}

// replace puts spans of single records in the place of the first n.
func (part *partition) replace(n int, spans []span) {
	q := spans[0].p
	q.left += len(spans) - n
	part.drop(n)
	for i := range spans {
		part.queued += spans[i].bytes()
	}
	part.queue = slices.Insert(part.queue, 0, spans...)
}

// drop removes the first n spans, of one record each, or the first record of a span.
func (part *partition) drop(n int) {
	for range n {
		s := &part.queue[0]
		part.queued -= s.bytes()
		if s.records() > 1 {
			s.from++
			part.queued += s.bytes()
			continue
		}
		part.queue[0] = span{}
		part.queue = part.queue[1:]
	}
}
