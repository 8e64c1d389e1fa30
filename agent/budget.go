package agent

import "sync"

// budget bounds the memory of everything in flight. A topic may hold as much as is still
// free (the dynamic threshold of shared-memory switches: Choudhury and Hahne, 1998, with
// alpha 1): one blocked topic ends up with half, two with a third each, and there is
// always a share left for those that flow. It belongs to the agent's loop.
type budget struct {
	limit   int64
	used    int64
	byTopic map[string]int64
}

func newBudget(limit int64) *budget {
	return &budget{limit: limit, byTopic: make(map[string]int64)}
}

// minGrantBytes is the least worth reading: one small buffer.
const minGrantBytes = 4 << 10

// available returns how many bytes the topic may take now, 0 where that is less than
// least (the smallest buffer that helps its file, such as one long line's).
func (b *budget) available(topic string, least int64) int64 {
	free := b.limit - b.used
	n := free - b.byTopic[topic]
	if n < least || n < minGrantBytes {
		// A topic with nothing in flight may always have one buffer, even past the
		// threshold, as long as it fits: a line of 1 MB must pass.
		if b.byTopic[topic] == 0 && free >= least {
			return least
		}
		return 0
	}
	return n
}

func (b *budget) take(topic string, n int64) {
	b.used += n
	b.byTopic[topic] += n
}

func (b *budget) give(topic string, n int64) {
	b.used -= n
	if b.byTopic[topic] -= n; b.byTopic[topic] == 0 {
		delete(b.byTopic, topic)
	}
}

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
type buffers struct {
	pools [len(bufferClasses)]sync.Pool
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
		if n <= c {
			if b, ok := p.pools[i].Get().(*buffer); ok {
				b.lines = b.lines[:0]
				return b
			}
			return &buffer{mem: make([]byte, c)}
		}
	}
	return &buffer{mem: make([]byte, classBytes(n))} // long lines are rare: no pool
}

func (p *buffers) put(b *buffer) {
	for i, c := range bufferClasses {
		if len(b.mem) == c {
			p.pools[i].Put(b)
			return
		}
	}
}
