package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
)

// A compressed file has to be read through before anything can be said of it: how long it
// is, whether it is whole, and of which file it is the copy. One goroutine does that for
// all of them, so that the loop never waits for it.

// edgeBytes is how much of both ends an inspection keeps, to compare them with a file.
const edgeBytes = 4 << 10

// probe asks whether a file has the remembered bytes directly before off.
type probe struct {
	off int64
	m   mark
}

// inspection is what one pass over a compressed file found.
type inspection struct {
	st          stat   // of the file when the pass began; the size is what it takes on disk
	raw         []byte // its last bytes, as they are
	size        int64  // of the content, as far as it could be read
	err         error  // why it is not whole: still being written, or damaged
	first, last []byte
	held        map[probe]bool
}

// inspectJob is one file to be inspected.
type inspectJob struct {
	c      *candidate
	st     stat
	probes []probe
}

// inspector works through jobs until there are no more.
func (l *loop) inspector() {
	for j := range l.inspections {
		i := inspect(j, &l.stopInspecting)
		l.a.mail.post(func() { l.inspected(j.c, i) })
	}
}

// inspect reads a compressed file from end to end, or until stop is set. It blocks as long
// as that takes.
func inspect(j inspectJob, stop *atomic.Bool) *inspection {
	i := &inspection{st: j.st, raw: lastRaw(j.c.file, j.st.size), held: make(map[probe]bool)}
	probes := slices.Clone(j.probes)
	slices.SortFunc(probes, func(a, b probe) int { return int(min(1, max(-1, a.off-b.off))) })
	for _, p := range probes {
		i.held[p] = false
	}
	r, err := openCompressed(j.c.file, j.c.by)
	if err != nil {
		i.err = err
		return i
	}
	if c, ok := r.(io.Closer); ok {
		defer c.Close()
	}
	buf := make([]byte, edgeBytes+chunkBytes) // the bytes before, and a chunk
	before := 0
	for {
		if stop.Load() {
			i.err = errors.New("not read through: the agent ends")
			break
		}
		n, err := fill(r, buf[before:before+chunkBytes])
		have := buf[:before+n]
		if len(i.first) < edgeBytes {
			i.first = append(i.first, have[before:min(len(have), before+edgeBytes-len(i.first))]...)
		}
		from := i.size - int64(before) // where have begins in the content
		i.size += int64(n)
		for len(probes) > 0 && probes[0].off <= i.size {
			p := probes[0]
			probes = probes[1:]
			end := int(p.off - from)
			i.held[p] = end >= p.m.Len && p.m.matches(have[end-p.m.Len:end])
		}
		keep := min(len(have), edgeBytes)
		copy(buf, have[len(have)-keep:])
		before = keep
		if err != nil {
			if !errors.Is(err, io.EOF) {
				i.err = fmt.Errorf("decompress: %w", err)
			}
			break
		}
	}
	i.last = bytes.Clone(buf[:before])
	return i
}

// fill reads until p is full or an error comes. Unlike io.ReadFull it leaves the error as
// it is: io.EOF is the end of the content, anything else an end in the middle of it.
func fill(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}

// content answers for a candidate's bytes.
type content interface {
	length() int64
	// holds tells whether the remembered bytes stand directly before off; known is false
	// where that has to be looked up first.
	holds(m mark, off int64) (ok, known bool)
	// begins tells whether the content is the beginning of an open file.
	begins(in *incarnation) bool
}

func (i *inspection) length() int64 { return i.size }

func (i *inspection) holds(m mark, off int64) (ok, known bool) {
	n := int64(m.Len)
	switch {
	case n == 0:
		return true, true
	case off > i.size || off < n:
		return false, true
	case off <= int64(len(i.first)):
		return m.matches(i.first[off-n : off]), true
	case off-n >= i.size-int64(len(i.last)):
		at := off - (i.size - int64(len(i.last)))
		return m.matches(i.last[at-n : at]), true
	}
	ok, known = i.held[probe{off, m}]
	return ok, known
}

func (i *inspection) begins(in *incarnation) bool {
	if in.zip != nil {
		o := in.zip.look
		return o.size == i.size && bytes.Equal(o.first, i.first) && bytes.Equal(o.last, i.last)
	}
	same := func(b []byte, from int64) bool {
		have := make([]byte, len(b))
		_, err := in.file.ReadAt(have, from)
		return err == nil && bytes.Equal(have, b)
	}
	return i.size > 0 && same(i.first, 0) && same(i.last, i.size-int64(len(i.last)))
}

// plain is the content of a candidate that is not compressed.
type plain struct{ c *candidate }

func (p plain) length() int64 { return p.c.st.size }

func (p plain) holds(m mark, off int64) (ok, known bool) {
	if off > p.c.st.size {
		return m.Len == 0, true
	}
	ok, err := m.holds(p.c.file, off)
	return ok && err == nil, true
}

func (p plain) begins(in *incarnation) bool {
	if in.zip == nil {
		return samePrefix(in.file, p.c.file, p.c.st.size)
	}
	o := in.zip.look
	return o.size == p.c.st.size && o.begins(&incarnation{file: p.c.file})
}
