package agent

import "sync"

// chunkBytes is how much of a file is read at once.
const chunkBytes = 256 << 10

// buffer is the memory of one batch: the file's bytes, preceded by the anchor that was
// read with them, and the line table.
type buffer struct {
	mem   []byte
	lines []Line
}

// Buffer sizes are few, so that the pools serve: an idle file's single line must not
// hold a quarter of a megabyte while it is in flight.
var bufferClasses = [...]int{4 << 10, 32 << 10, chunkBytes + 4<<10}

// buffers lends memory for batches. Any goroutine may call it.
//
// It is no sync.Pool: that one is emptied by the collector, which runs often where little
// garbage is allowed to pile up, and a backlog would then make its buffers anew all the time.
// What was not used for a while is let go by trim.
type buffers struct {
	mu   sync.Mutex // guards both
	free [len(bufferClasses)][]*buffer
	low  [len(bufferClasses)]int // fewest that were free since the last trim
}

// classBytes returns the memory that get(n) will hold.
func classBytes(n int) int {
	for _, c := range bufferClasses {
		if n <= c {
			return c
		}
	}
	return (n + chunkBytes - 1) / chunkBytes * chunkBytes
}

func (p *buffers) get(n int) *buffer {
	for i, c := range bufferClasses {
		if n > c {
			continue
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		last := len(p.free[i]) - 1
		if last < 0 {
			return &buffer{mem: make([]byte, c)}
		}
		b := p.free[i][last]
		p.free[i][last] = nil
		p.free[i] = p.free[i][:last]
		p.low[i] = min(p.low[i], last)
		b.lines = b.lines[:0]
		return b
	}
	return &buffer{mem: make([]byte, classBytes(n))} // long lines are rare: none is kept
}

func (p *buffers) put(b *buffer) {
	for i, c := range bufferClasses {
		if len(b.mem) == c {
			p.mu.Lock()
			p.free[i] = append(p.free[i], b)
			p.mu.Unlock()
			return
		}
	}
}

// trim lets go of half of what nobody has needed since the last trim: after a backlog the
// memory comes back within seconds.
func (p *buffers) trim() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.free {
		keep := len(p.free[i]) - (p.low[i]+1)/2
		clear(p.free[i][keep:])
		p.free[i] = p.free[i][:keep]
		if keep == 0 {
			p.free[i] = nil
		}
		p.low[i] = keep
	}
}
