package kafkaout

import (
	"strconv"
	"time"

	"logagent/agent"
)

// parcel is one agent.Batch on its way. Its lines may travel in several record batches;
// it has one verdict, given when the last of them is resolved. Producer.mu guards the
// fields that change.
type parcel struct {
	batch *agent.Batch
	topic *topic
	ms    int64 // timestamp of its records

	key []byte // nil is none

	// What its records share, as they carry it:
	keyField   []byte // the key with its length
	headers    []byte // those of the options, without offset; then part and parts
	plainBytes int    // of headers, without part and parts
	offsetAt   int    // where header offset belongs in headers; negative where none is wanted
	plains     int    // number of headers, without offset, part and parts
	parts      int    // 1 with header part, 2 with parts too
	each       int64  // upper bound of a record's size without its value

	long *longLine // the line that this is a piece of; nil for whole lines

	left    int  // records not yet resolved
	acked   int  // records acknowledged or left out
	out     int  // records in a record batch that is written or about to be
	touched bool // some record may stand in Kafka although it was not acknowledged
	recall  bool // the entry was recalled: not to be written (again) if it can be helped
	verdict agent.Verdict
}

// longLine ties the pieces that the agent cut one line into: all of them go to one
// partition, and once one was written a recall leaves the others, if the last one is here.
type longLine struct {
	next      int64 // where the next piece starts
	partition *partition
	touched   bool
	complete  bool // the last piece was sent
}

// span is consecutive lines of a parcel that stand in a queue or a record batch, or a
// piece of one line.
type span struct {
	p        *parcel
	from, to int    // lines
	piece    *piece // not nil: only this part of line from
}

func (s *span) records() int { return s.to - s.from }

// bytes is an upper bound of what the span's records take in a record batch.
func (s *span) bytes() int64 {
	n := int64(s.records())
	if s.piece != nil {
		return s.piece.bytes() + s.p.each
	}
	lines := s.p.batch.Lines
	return int64(lines[s.to-1].To-lines[s.from].From) + n*s.p.each
}

// chunk is the content of one record batch: taken from a partition's queue, on its way or
// to be sent again.
type chunk struct {
	part    *partition
	spans   []span
	records int
	bytes   int64 // upper bound of the uncompressed record batch
	id      producerID
	seq     int32
	unknown bool // an attempt had an unknown outcome: only the very same may be sent
	tries   int
	first   time.Time // when it was first written
}

// Sizes in a record batch of format 2.
const (
	batchOverhead  = 61                          // header of the record batch
	recordOverhead = 5 + 1 + 6 + 4 + 5 + 5 + 1   // length, attributes, time, offset, key and value length, header count
	offsetOverhead = 1 + 6 + 1 + digitsRoom      // header offset
	partOverhead   = 2 * (1 + 5 + 1 + partsRoom) // headers part and parts
	partsRoom      = 24                          // more digits and dots than levels of splitting will ever take
)

// newParcel prepares the batch: everything its records share is made once.
func (p *Producer) newParcel(b *agent.Batch) *parcel {
	q := &parcel{batch: b, left: len(b.Lines), ms: max(0, b.Read.UnixMilli()), offsetAt: -1}
	name, path := b.Service.Service, b.Path
	switch b.Service.Partition {
	case agent.PartitionFile:
		q.key = []byte(path)
	case agent.PartitionHost:
		q.key = p.host
	case agent.PartitionService:
		q.key = []byte(name)
	}
	shared := make([]byte, 0, sharedOverhead+len(q.key)+len(p.host)+len(name)+len(path))
	if q.key == nil {
		shared = append(shared, noField)
	} else {
		shared = appendField(shared, q.key)
	}
	n := len(shared)
	for _, h := range p.opts.Headers {
		q.plains++
		switch h {
		case headerHost:
			shared = appendHeader(shared, h, p.host)
		case headerService:
			shared = appendHeader(shared, h, name)
		case headerPath:
			shared = appendHeader(shared, h, path)
		case headerOffset:
			q.plains--
			q.offsetAt = len(shared) - n
			q.each += offsetOverhead
		}
	}
	q.plainBytes = len(shared) - n
	if b.Part > 0 {
		shared = appendHeader(shared, headerPart, strconv.Itoa(b.Part))
		q.parts++
		if b.Parts > 0 {
			shared = appendHeader(shared, headerParts, strconv.Itoa(b.Parts))
			q.parts++
		}
	}
	q.keyField, q.headers = shared[:n], shared[n:]
	q.each += recordOverhead + int64(len(shared))
	return q
}

// sharedOverhead is what key and headers take beside their values: names, lengths, and
// the numbers of part and parts.
const sharedOverhead = 4*(1+7+5) + 2*(1+5+1+digitsRoom)

// recallable tells whether no broker can have stored any of it: nothing is being written
// and all that was written has been refused for certain.
func (q *parcel) recallable() bool {
	if q.acked > 0 || q.out > 0 || q.touched {
		return false
	}
	return q.long == nil || !q.long.touched || !q.long.complete
}

// verdicts collects what is given when the lock is released.
type verdicts []*parcel

// settle takes note that n records of q are resolved.
func (v *verdicts) settle(q *parcel, n int) {
	q.left -= n
	q.acked += n
	if q.left == 0 {
		v.finish(q, nil)
	}
}

func (v *verdicts) finish(q *parcel, err error) {
	q.verdict.Err = err
	q.topic.pending--
	*v = append(*v, q)
}

// give must be called without the lock.
func (v verdicts) give() {
	for _, q := range v {
		q.batch.Done(q.verdict)
	}
}
