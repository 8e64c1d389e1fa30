package agent_test

import (
	"fmt"
	"testing"
)

// More files than may hold the memory to decompress at once, all slow: they take turns.
func TestMoreCompressedFilesThanMayBeReadAtOnceAllArrive(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.svc("*.log")
	r.start()
	r.apply(s)
	want := ""
	const n = 30
	for i := range n {
		want += fmt.Sprintf("begin %d\n", i)
		r.write(fmt.Sprintf("%d.log", i), fmt.Sprintf("begin %d\n", i))
	}
	r.expect("t", want)
	r.end()
	for i := range n {
		text := lines(fmt.Sprint(i), 0, 400)
		want += text
		name := fmt.Sprintf("%d.log", i)
		r.write(name, text)
		rename(t, r.path(name), r.path(name+".1"))
		compress(t, r.path(name+".1"))
	}
	s.SendRate = 5000
	r.start()
	r.apply(s)
	r.expect("t", want)
}
