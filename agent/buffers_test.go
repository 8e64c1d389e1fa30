package agent

import "testing"

func TestBuffersThatNobodyNeedsAreLetGo(t *testing.T) {
	t.Parallel()
	var p buffers
	var lent []*buffer
	for range 64 {
		lent = append(lent, p.get(chunkBytes))
	}
	for _, b := range lent {
		p.put(b)
	}
	free := func() int { return len(p.free[len(p.free)-1]) }
	p.trim() // they were in use until now
	if free() != 64 {
		t.Fatalf("%d of 64 are kept right after they were in use", free())
	}
	for range 8 { // one is in use all the time
		p.put(p.get(chunkBytes))
		p.trim()
	}
	if free() != 1 {
		t.Errorf("%d are kept where one is used", free())
	}
	p.trim()
	if p.trim(); free() != 0 {
		t.Errorf("%d are kept where none is used", free())
	}
}

func TestBufferIsUsedAgainEmpty(t *testing.T) {
	t.Parallel()
	var p buffers
	b := p.get(100)
	b.lines = append(b.lines, Line{1, 2})
	p.put(b)
	if got := p.get(200); got != b || len(got.lines) != 0 {
		t.Errorf("got another buffer or its old %d lines", len(got.lines))
	}
}
