package agent

import "bytes"

// maxBatchLines bounds the line table of one batch: 128 KiB beside a chunk of tiny lines.
const maxBatchLines = 16 << 10

// cut appends the whole lines of b to lines, at most limit of them, and returns how many
// bytes it consumed: everything up to the last line end it passed. Lines of nothing but
// ASCII white space are consumed and left out. It stops before a line of more than
// maxLine bytes and says so with tooLong.
func cut(lines []Line, b []byte, limit, maxLine int) (_ []Line, consumed int, tooLong bool) {
	at := 0
	for n := 0; n < limit; {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			break
		}
		from, to := at, trimCR(b, at, at+i)
		if to-from > maxLine {
			return lines, at, true
		}
		at += i + 1
		if blank(b[from:to]) {
			continue
		}
		lines = append(lines, Line{From: uint32(from), To: uint32(to)})
		n++
	}
	return lines, at, false
}

// trimCR returns the end of the line b[from:to] without the carriage return of a "\r\n".
func trimCR(b []byte, from, to int) int {
	if to > from && b[to-1] == '\r' {
		return to - 1
	}
	return to
}

// blank tells whether a line is nothing but ASCII white space.
func blank(line []byte) bool {
	for _, c := range line {
		switch c {
		case ' ', '\t', '\v', '\f', '\r':
		default:
			return false
		}
	}
	return true
}
