package main

import (
	"bytes"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// lineSum is what a line adds to the sum of all: equal sums and equal numbers mean that the
// same lines were sent, in whatever order, each as often as it was written.
func lineSum(line []byte) uint64 { return uint64(crc32.Checksum(line, castagnoli)) }

// summer counts what is written to it line by line. Its zero value is ready.
type summer struct {
	lines int64
	sum   uint64 // of all finished lines: see lineSum
	rest  []byte // of a line that is not finished
}

func (s *summer) Write(b []byte) (int, error) {
	n := len(b)
	for {
		line, after, found := bytes.Cut(b, []byte("\n"))
		if !found {
			s.rest = append(s.rest, b...)
			return n, nil
		}
		if len(s.rest) > 0 {
			s.rest = append(s.rest, line...)
			line = s.rest
		}
		s.sum += lineSum(line)
		s.lines++
		s.rest = s.rest[:0]
		b = after
	}
}
