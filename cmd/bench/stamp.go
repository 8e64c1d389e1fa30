package main

import (
	"fmt"
	"strconv"
)

// A line that carries its write time begins with stampMark, the nanoseconds of the wall
// clock in stampDigits digits, and a space.
const (
	stampMark   = '@'
	stampDigits = 19
	stampBytes  = 1 + stampDigits + 1
)

// appendStamp begins a line written at that time.
func appendStamp(b []byte, nano int64) []byte {
	return fmt.Appendf(b, "%c%0*d ", stampMark, stampDigits, nano)
}

// stampOf reads the write time of a line, if it carries one.
func stampOf(line []byte) (nano int64, ok bool) {
	if len(line) < stampBytes || line[0] != stampMark || line[stampBytes-1] != ' ' {
		return 0, false
	}
	nano, err := strconv.ParseInt(string(line[1:1+stampDigits]), 10, 64)
	return nano, err == nil
}
