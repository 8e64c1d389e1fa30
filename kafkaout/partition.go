package kafkaout

import (
	"math/rand/v2"
	"slices"
	"time"

	"logagent/agent"
)

// topic is what the producer knows of a topic in use. Producer.mu guards it.
type topic struct {
	name       string
	partitions []*partition // by index; empty until the cluster has told
	waiting    []*parcel    // sent before that
	pending    int          // parcels without a verdict
	lastUsed   time.Time

	sticky      *partition // where small batches go until stickyUntil
	stickyUntil time.Time

	limit sizeLimit
	lines map[lineKey][]*longLine // long lines whose last piece has not come

	missingSince time.Time // the cluster says that it does not exist since then
	unmapped     bool      // refusal is what the cluster said when asked for the topic
	refusal      string    // why it is refused for good; "" when it is not
	refusedSince time.Time
	refusals     int       // in a row
	retryAt      time.Time // a refused topic is left alone until then

	health   agent.TopicState // as last told
	lookedAt time.Time        // when that was
	slowly   time.Duration    // how long the last answer took
	slowAt   time.Time        // and when it came
}

// partition is a queue of spans in the order of Send, and at most one record batch on its
// way. Producer.mu guards it.
type partition struct {
	topic *topic
	index int32
	conn  *connection // of its leader; nil while there is none

	listed bool // it stands in conn.parts

	queue  []span
	queued int64  // bytes in queue and chunk
	chunk  *chunk // being written (busy), or kept to be written again as it is
	busy   bool

	id  producerID // whose sequence it is
	seq int32      // of the next record

	tries        int
	retryAt      time.Time
	trouble      string // the last failure in words; "" after a success
	troubleSince time.Time
}

// lineKey finds the long line that a piece continues.
type lineKey struct{ logPath, path string }

// unfinishedLines bounds the long lines remembered of one path: more than a few are left
// over from lines whose end never came.
const unfinishedLines = 8

// place puts a parcel into the queue of its partition.
func (t *topic) place(q *parcel) {
	part := t.choose(q)
	s := span{p: q, from: 0, to: len(q.batch.Lines)}
	part.queue = append(part.queue, s)
	part.queued += s.bytes()
	part.nudge()
}

// Many files with a line each now and then come in bursts. Spread over the partitions, and so over
// the connections, every line would be a request of its own; so what comes within
// stickyFor goes to one partition as long as little waits there, if its answers come as fast.
const (
	stickyFor   = 5 * time.Millisecond
	stickyBytes = 16 << 10
)

// choose decides the partition: that of the line's first piece, that of the key, the one that
// the burst goes to, or the shorter queue of two random ones that work.
func (t *topic) choose(q *parcel) *partition {
	if q.long != nil && q.long.partition != nil && int(q.long.partition.index) < len(t.partitions) {
		return q.long.partition
	}
	var part *partition
	if q.key != nil {
		part = t.partitions[keyPartition(q.key, len(t.partitions))]
	} else if s := t.sticky; s != nil && t.lastUsed.Before(t.stickyUntil) && s.queued < stickyBytes && s.works() {
		part = s
	} else {
		part = t.draw(nil)
		if other := t.draw(part); other.works() && other.queued < part.queued {
			part = other
		}
		t.sticky = nil
		if t.slowly <= stickyFor {
			t.sticky, t.stickyUntil = part, t.lastUsed.Add(stickyFor)
		}
	}
	if q.long != nil {
		q.long.partition = part
	}
	return part
}

// draw returns a random partition that works and is not but; any where none works.
func (t *topic) draw(but *partition) *partition {
	n := len(t.partitions)
	start := rand.IntN(n)
	for i := range n {
		if part := t.partitions[(start+i)%n]; part != but && part.works() {
			return part
		}
	}
	return t.partitions[start]
}

// works tells whether records can be written now, as far as is known.
func (part *partition) works() bool {
	return part.conn != nil && part.conn.lost == "" && part.trouble == ""
}

// nudge tells the connection that there may be something to write.
func (part *partition) nudge() {
	if part.conn == nil {
		return
	}
	if !part.listed {
		part.listed = true
		part.conn.parts = append(part.conn.parts, part)
	}
	signal(part.conn.wake)
}

// lead hands the partition to the connection of its leader; nil is none.
func (part *partition) lead(c *connection) {
	if part.conn == c {
		return
	}
	if part.listed {
		part.conn.parts = slices.DeleteFunc(part.conn.parts, func(o *partition) bool { return o == part })
		part.listed = false
		signal(part.conn.wake)
	}
	part.conn = c
	part.tries, part.retryAt = 0, time.Time{}
	if c != nil && !part.idle() {
		part.nudge()
	}
}

// idle tells whether there is nothing to write.
func (part *partition) idle() bool { return part.chunk == nil && len(part.queue) == 0 }

// signal says "something changed" on a channel of size 1.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// continueLine finds or begins the long line that a piece belongs to.
func (t *topic) continueLine(q *parcel) {
	b := q.batch
	key := lineKey{b.Service.LogPath, b.Path}
	known := t.lines[key]
	// Two incarnations of one path may both be in a long line: the byte where the next
	// piece starts tells them apart.
	i := slices.IndexFunc(known, func(l *longLine) bool { return l.next == b.Start })
	if b.Part == 1 {
		i = -1
	} else if i < 0 {
		i = len(known) - 1
	}
	if i < 0 {
		known = append(known, &longLine{})
		i = len(known) - 1
	}
	q.long = known[i]
	q.long.next = b.End
	if b.Parts > 0 {
		q.long.complete = true
		known = slices.Delete(known, i, i+1)
	}
	if len(known) > unfinishedLines {
		known = slices.Delete(known, 0, 1)
	}
	if len(known) == 0 {
		delete(t.lines, key)
		return
	}
	if t.lines == nil {
		t.lines = make(map[lineKey][]*longLine)
	}
	t.lines[key] = known
}

// take makes the next record batch from the front of the queue, of at most size bytes but
// at least one record.
func (part *partition) take(size int64) *chunk {
	c := &chunk{part: part, bytes: batchOverhead}
	for len(part.queue) > 0 && c.records < mostRecords {
		s := &part.queue[0]
		n := s.fit(size-c.bytes, mostRecords-c.records)
		if n == 0 && c.records == 0 {
			n = 1
		}
		if n == 0 {
			break
		}
		taken := *s
		taken.to = taken.from + n
		bytes := taken.bytes()
		c.spans = append(c.spans, taken)
		c.records += n
		c.bytes += bytes
		taken.p.out += n
		if taken.p.long != nil {
			taken.p.long.touched = true
		}
		if n < s.records() {
			whole := s.bytes()
			s.from += n
			part.queued -= whole - bytes - s.bytes() // the gap between two lines counts for neither
			break
		}
		part.queue[0] = span{}
		part.queue = part.queue[1:]
	}
	part.chunk = c
	return c
}

// mostRecords bounds what a connection keeps to describe the records of a request.
const mostRecords = 16_384

// fit returns how many of the span's records take at most size bytes.
func (s *span) fit(size int64, records int) int {
	n := min(s.records(), records)
	if s.piece != nil || n == s.records() {
		if s.bytes() <= size {
			return n
		}
		if s.piece != nil {
			return 0
		}
	}
	lines := s.p.batch.Lines
	for i := range n {
		size -= int64(lines[s.from+i].To-lines[s.from+i].From) + s.p.each
		if size < 0 {
			return i
		}
	}
	return n
}

// putBack returns a chunk that was refused for certain to the front of the queue: its
// records may be merged and recalled again, and its sequence was not consumed.
func (part *partition) putBack(v *verdicts) {
	c := part.chunk
	part.chunk = nil
	for i := range c.spans {
		c.spans[i].p.out -= c.spans[i].records()
	}
	part.queue = slices.Insert(part.queue, 0, c.spans...)
	part.sweep(v)
}

// sweep takes recalled parcels out of the queue where it can be done, and counts anew.
func (part *partition) sweep(v *verdicts) {
	part.queued = 0
	if part.chunk != nil {
		part.queued = part.chunk.bytes - batchOverhead
	}
	keep := part.queue[:0]
	for _, s := range part.queue {
		if s.p.recall && s.p.recallable() {
			if s.p.verdict.Err == nil { // its first span
				v.finish(s.p, agent.ErrRecalled)
			}
			continue
		}
		keep = append(keep, s)
		part.queued += s.bytes()
	}
	clear(part.queue[len(keep):])
	part.queue = keep
	if part.idle() && part.trouble != "" { // nothing is left that could show its end
		part.tries, part.retryAt, part.trouble = 0, time.Time{}, ""
		if part.conn != nil {
			signal(part.conn.wake)
		}
	}
}

// giveUp abandons recalled parcels that stand in the queue although a part of them may
// stand, or stands, in Kafka.
func (part *partition) giveUp(v *verdicts) {
	for _, s := range part.queue {
		if q := s.p; q.recall && q.out == 0 && q.verdict.Err == nil {
			q.verdict.Doubled += q.acked
			v.finish(q, agent.ErrAbandoned)
		}
	}
	part.queue = slices.DeleteFunc(part.queue, func(s span) bool { return s.p.verdict.Err != nil })
	part.sweep(v)
}
