package agent

import (
	"bytes"
	"errors"
	"io"
	"time"
)

// turn is one reader's go at one incarnation: at most one chunk, at most one batch. While
// it is out it owns the incarnation's reader fields, and touches nothing else.
type turn struct {
	in       *incarnation
	svc      *Service
	lines    int   // at most this many
	grant    int64 // buffer bytes the budget allowed
	maxLine  int
	final    bool // the unterminated rest of the file counts as a line
	lastSeen stat
}

// outcome is what a turn found.
type outcome struct {
	in        *incarnation
	st        stat
	err       error
	truncated bool    // the bytes before the position are not the ones that were read
	span      *span   // what the position moved over; nil: it did not move
	batch     *Batch  // what is to be sent of it; nil: nothing
	buf       *buffer // the batch's memory
	counted   int     // lines that count against send_rate
	truncLine bool    // a long line was cut short
	skipLine  bool    // a long line is left out
	splitLine bool    // a long line begins to go in pieces
	eof       bool    // nothing whole is left to read
	partial   int64   // bytes of the unfinished last line, its pieces included
	need      int     // the next turn needs this much buffer
}

// run reads. It blocks as long as the file system does.
func (t *turn) run(pool *buffers) outcome {
	in := t.in
	o := outcome{in: in}
	st, err := in.stat()
	if errors.Is(err, errRewritten) {
		o.truncated = true
		return o
	}
	if err != nil {
		o.err = err
		return o
	}
	o.st = st
	if st.size < in.pos {
		o.truncated = true
		return o
	}
	end := st.size
	if len(in.skips) > 0 {
		s := in.skips[0]
		if in.pos == s.start {
			in.skips = in.skips[1:]
			o.span = &span{start: s.start, end: s.end, anchor: s.anchor, lineEnd: true, verdict: acked}
			in.pos, in.anchor = s.end, s.anchor
			return o
		}
		end = min(end, s.start)
	}

	a := in.anchor.Len
	n := int(min(end-in.pos, t.grant-int64(a)))
	if n <= 0 {
		o.eof = end == st.size
		if o.eof && t.final && in.long.active {
			// A line passed over to the very end: nothing follows that could end it.
			in.long = longLine{}
			o.span = &span{start: in.pos, end: in.pos, anchor: in.anchor, lineEnd: true, verdict: acked}
			return o
		}
		if st.mtime != t.lastSeen.mtime {
			// Same size, newer: it may have been written anew.
			held, err := in.anchor.holds(in.data, in.pos)
			o.err, o.truncated = err, err == nil && !held
		}
		return o
	}
	buf := pool.get(a + n)
	read := time.Now()
	got, err := in.data.ReadAt(buf.mem[:a+n], in.pos-int64(a))
	if err != nil && err != io.EOF {
		pool.put(buf)
		o.err = err
		return o
	}
	if got < a || !in.anchor.matches(buf.mem[:a]) {
		pool.put(buf)
		o.truncated = true
		return o
	}
	data := buf.mem[a:got]
	atEnd := in.pos+int64(len(data)) >= st.size
	from, pieces := in.pos, in.long.active

	var b *Batch
	consumed, lineEnd := 0, true
	switch {
	case in.nuls && len(data) > 0 && data[0] == 0:
		consumed = len(data) - len(bytes.TrimLeft(data, "\x00"))
	case in.long.active:
		b, consumed, lineEnd = t.piece(&o, data, atEnd)
	default:
		var tooLong bool
		buf.lines, consumed, tooLong = cut(buf.lines, data, min(t.lines, maxBatchLines), t.maxLine)
		switch {
		case consumed > 0:
			in.nuls = false
			o.counted = len(buf.lines)
			if len(buf.lines) > 0 {
				b = &Batch{Buf: data[:consumed], Lines: buf.lines}
			}
			if rest := len(data) - consumed; !tooLong && atEnd && o.counted < min(t.lines, maxBatchLines) {
				o.eof, o.partial = true, int64(rest)
			}
		case tooLong || len(data) >= t.maxLine+2:
			in.long = longLine{active: true, start: in.pos, discard: t.svc.oversize() == OversizeSkip}
			o.skipLine = in.long.discard
			b, consumed, lineEnd = t.piece(&o, data, atEnd)
		case atEnd && t.final && len(data) > 0:
			consumed = len(data)
			if !blank(data) {
				buf.lines = append(buf.lines, Line{From: 0, To: uint32(len(data))})
				b = &Batch{Buf: data, Lines: buf.lines}
				o.counted = 1
			}
		case atEnd:
			o.eof, o.partial = true, int64(len(data))
		default:
			o.need = t.nextNeed(a, len(data))
		}
	}
	if consumed == 0 {
		pool.put(buf)
		return o
	}

	in.pos += int64(consumed)
	tail := buf.mem[:a+consumed]
	in.anchor = markOf(tail[max(0, len(tail)-anchorBytes):])
	if half := consumed / 2; int64(half) >= trailSteps[0] { // a backlog is read in large steps
		in.trail = in.trail.with(from+int64(half), markOf(data[half-anchorBytes:half]))
	}
	in.trail = in.trail.with(in.pos, in.anchor)
	// A file that was moved to its beginning is known by nothing before a position: another
	// content may stand there by now.
	if in.head.Len < headBytes && int64(in.head.Len) < in.pos || from == 0 && in.zip == nil {
		if from == 0 { // not read again: the file may have been truncated since
			in.head = markOf(data[:min(consumed, headBytes)])
		} else if in.head, err = markAt(in.data, min(in.pos, headBytes), headBytes); err != nil {
			in.head = mark{}
		}
	}
	o.span = &span{start: from, end: in.pos, anchor: in.anchor, lineEnd: lineEnd, piece: pieces || in.long.active}
	if b == nil {
		o.span.verdict = acked
		pool.put(buf)
		return o
	}
	if lineEnd {
		o.span.lines = len(b.Lines)
	}
	if o.counted > 0 {
		per := float32(consumed) / float32(o.counted)
		if in.avgLine == 0 {
			in.avgLine = per
		}
		in.avgLine += (per - in.avgLine) / 8
	}
	b.Start, b.End, b.Read = from, in.pos, read
	o.batch, o.buf = b, buf
	return o
}

// nextNeed doubles the buffer until it can hold the longest line that is still whole.
func (t *turn) nextNeed(a, had int) int {
	return a + min(max(2*had, minGrantBytes), t.maxLine+2)
}

// piece takes the next piece of a long line from data, which begins at the position. The
// last piece is known only when something follows it or the line ends, so two bytes
// beyond a full piece are wanted: a line of exactly max_line_bytes and "\r\n" is whole.
func (t *turn) piece(o *outcome, data []byte, atEnd bool) (b *Batch, consumed int, lineEnd bool) {
	in := t.in
	long := &in.long
	if long.discard {
		i := bytes.IndexByte(data, '\n')
		switch {
		case i >= 0:
			*long = longLine{}
			return nil, i + 1, true
		case atEnd && t.final:
			*long = longLine{}
			return nil, len(data), true
		}
		if atEnd {
			o.eof, o.partial = true, in.pos-long.start+int64(len(data))
		}
		return nil, len(data), false
	}

	one := func(to int) *Batch { return &Batch{Buf: data[:to], Lines: []Line{{From: 0, To: uint32(to)}}} }
	look := data[:min(len(data), t.maxLine+2)]
	i := bytes.IndexByte(look, '\n')
	to := len(data)
	ends := false
	if i >= 0 {
		if end := trimCR(look, 0, i); end <= t.maxLine {
			to, consumed, ends = end, i+1, true
		}
	} else if atEnd && t.final && len(data) <= t.maxLine {
		consumed, ends = len(data), true
	}
	switch {
	case ends:
		b = one(to)
		b.Part = long.part + 1
		b.Parts = b.Part
		*long = longLine{}
		return b, consumed, true
	case len(data) >= t.maxLine+2 || atEnd && t.final:
		b = one(t.maxLine)
		long.part++
		if long.part == 1 {
			o.counted = 1
		}
		if t.svc.oversize() == OversizeTruncate {
			long.discard = true
			o.truncLine = true
			return b, t.maxLine, false
		}
		o.splitLine = long.part == 1
		b.Part = long.part
		return b, t.maxLine, false
	case atEnd:
		o.eof, o.partial = true, in.pos-long.start+int64(len(data))
		return nil, 0, false
	default:
		o.need = in.anchor.Len + t.maxLine + 2
		return nil, 0, false
	}
}
