package kafkaout

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"
)

// produceVersion is the newest produce request that the encoder knows. From version 3 on
// they differ in nothing but what the answer says: 9 is written in another way.
const (
	produceVersion       = 8
	oldestProduceVersion = 3
)

// encoder makes the produce requests of one connection. sarama's own is correct, but makes
// each record batch twice in new memory and walks every record four times; here a request
// is made in one pass, straight from the agent's buffers into memory that is used again.
//
//	room  for the request's header, which sarama makes (see splice)
//	body  transactional id, acks, timeout, number of topics
//	      topic, number of partitions
//	        partition, size
//	          record batch of format 2: its header, then the records, which go through raw
//	          and the squeezer where they are compressed
//
// It belongs to the connection's goroutine. What it returns is good until the next call.
type encoder struct {
	room    int
	timeout uint32 // ms
	codec   sarama.CompressionCodec
	usual   int // most bytes that a request of ordinary lines takes

	out     buffer
	raw     []byte // records on their way into the squeezer
	squeeze squeezer
	like    shape
	tail    []byte // headers of a piece
}

// buffer is a slice that libraries can write to.
type buffer []byte

func (b *buffer) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

func newEncoder(o *Options) encoder {
	return encoder{
		room: requestHeader + len(o.ClientID),
		// Shorter than the network timeout, so that the broker's "not all replicas have it
		// yet" arrives before the connection is given up.
		timeout: uint32(o.Timeout / 4 * 3 / time.Millisecond),
		codec:   codecs[o.Compression],
		usual:   int(o.RequestBytes + o.BatchBytes),
	}
}

// stub is the request that sarama is given: no topics, everything else as in the real one.
func (e *encoder) stub() *sarama.ProduceRequest {
	return &sarama.ProduceRequest{RequiredAcks: sarama.WaitForAll, Timeout: int32(e.timeout), Version: produceVersion}
}

// encode makes the request, with room in front. The same chunks give the same bytes.
func (e *encoder) encode(req *request) ([]byte, error) {
	// The partitions of a topic stand together; the order of topics means nothing.
	slices.SortStableFunc(req.chunks, func(a, b *chunk) int {
		if a.part.topic == b.part.topic {
			return 0
		}
		return strings.Compare(a.part.topic.name, b.part.topic.name)
	})
	e.fit(req)
	out := e.out[:e.room]
	out = binary.BigEndian.AppendUint16(out, 0xffff) // no transactional id
	out = binary.BigEndian.AppendUint16(out, 0xffff) // acks=all
	out = binary.BigEndian.AppendUint32(out, e.timeout)
	topics := len(out)
	out = append(out, 0, 0, 0, 0)
	n := uint32(0)
	for rest := req.chunks; len(rest) > 0; n++ {
		t := rest[0].part.topic
		same := slices.IndexFunc(rest, func(c *chunk) bool { return c.part.topic != t })
		if same < 0 {
			same = len(rest)
		}
		out = binary.BigEndian.AppendUint16(out, uint16(len(t.name)))
		out = append(out, t.name...)
		out = binary.BigEndian.AppendUint32(out, uint32(same))
		for _, ch := range rest[:same] {
			out = binary.BigEndian.AppendUint32(out, uint32(ch.part.index))
			size := len(out)
			e.out = append(out, 0, 0, 0, 0)
			if err := e.batch(ch); err != nil {
				return nil, fmt.Errorf("encode for topic %s: %w", t.name, err)
			}
			out = e.out
			binary.BigEndian.PutUint32(out[size:], uint32(len(out)-size-4))
		}
		rest = rest[same:]
	}
	binary.BigEndian.PutUint32(out[topics:], n)
	e.out = out
	return out, nil
}

// Sizes in a request beside its record batches.
const (
	bodyOverhead      = 2 + 2 + 4 + 4
	topicOverhead     = 2 + 4
	partitionOverhead = 4 + 4
)

// fit has enough memory ready for a request that is not compressed, and not much more
// than is usual: after one with a very long line, what is too large is given back.
func (e *encoder) fit(req *request) {
	need := e.room + bodyOverhead
	for _, ch := range req.chunks {
		need += topicOverhead + len(ch.part.topic.name) + partitionOverhead + int(ch.bytes)
	}
	if most := max(need, e.usual+e.usual/2); cap(e.out) > most || cap(e.raw) > most {
		e.release()
	}
	if e.codec != sarama.CompressionNone {
		need = e.room + bodyOverhead // nobody knows
	}
	if cap(e.out) < need {
		e.out = make([]byte, 0, need)
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Where things are in a record batch.
const (
	batchLength     = 8
	batchChecksum   = 17
	batchAttributes = 21
)

// batch appends a record batch.
func (e *encoder) batch(ch *chunk) error {
	first := ch.spans[0].p.ms
	latest := first
	for i := range ch.spans {
		latest = max(latest, ch.spans[i].p.ms)
	}
	at := len(e.out)
	out := append(e.out, make([]byte, batchAttributes)...)
	out[at+16] = 2 // the format
	out = binary.BigEndian.AppendUint16(out, uint16(e.codec))
	out = binary.BigEndian.AppendUint32(out, uint32(ch.records-1))
	out = binary.BigEndian.AppendUint64(out, uint64(first))
	out = binary.BigEndian.AppendUint64(out, uint64(latest))
	out = binary.BigEndian.AppendUint64(out, uint64(ch.id.id))
	out = binary.BigEndian.AppendUint16(out, uint16(ch.id.epoch))
	out = binary.BigEndian.AppendUint32(out, uint32(ch.seq))
	e.out = binary.BigEndian.AppendUint32(out, uint32(ch.records))
	if e.codec == sarama.CompressionNone {
		n := 0
		for i := range ch.spans {
			sp := &ch.spans[i]
			r := e.shape(sp, first)
			e.out = r.lines(e.out, sp, n)
			n += sp.records()
		}
	} else if err := e.squeezed(ch, first); err != nil {
		return err
	}
	out = e.out
	binary.BigEndian.PutUint32(out[at+batchLength:], uint32(len(out)-at-batchLength-4))
	binary.BigEndian.PutUint32(out[at+batchChecksum:], crc32.Checksum(out[at+batchAttributes:], castagnoli))
	return nil
}

// feedBytes is how much is handed to a squeezer at a time: it is still in the processor's
// cache then, and raw stays small.
const feedBytes = 64 << 10

// squeezed appends the records of a record batch, compressed.
func (e *encoder) squeezed(ch *chunk, first int64) error {
	if e.squeeze == nil {
		var err error
		if e.squeeze, err = newSqueezer(e.codec); err != nil {
			return err
		}
	}
	e.squeeze.begin(&e.out)
	e.raw = e.raw[:0]
	n := 0
	for i := range ch.spans {
		sp := ch.spans[i]
		r := e.shape(&sp, first)
		for last := sp.to; sp.from < last; sp.from = sp.to {
			lines := sp.p.batch.Lines[sp.from:last]
			end := lines[0].From + feedBytes
			sp.to = sp.from + max(1, sort.Search(len(lines), func(i int) bool { return lines[i].To > end }))
			e.raw = r.lines(e.raw, &sp, n)
			n += sp.records()
			rest, err := e.squeeze.feed(&e.out, e.raw)
			if err != nil {
				return err
			}
			if len(rest) < len(e.raw) {
				e.raw = e.raw[:copy(e.raw, rest)]
			}
		}
	}
	return e.squeeze.end(&e.out, e.raw)
}

// shape is what the records of a span have in common.
type shape struct {
	time          []byte // varint of the timestamp delta
	key           []byte // with its length
	headers       byte   // varint of their number
	before, after []byte // headers before and after header offset; all before where there is none
	offset        bool   // header offset is wanted

	room [binary.MaxVarintLen64]byte // of time
}

// shape tells what records of sp look like. It is good until the next call.
func (e *encoder) shape(sp *span, first int64) *shape {
	q := sp.p
	r := &e.like
	*r = shape{key: q.keyField, offset: q.offsetAt >= 0}
	r.time = binary.AppendVarint(r.room[:0], q.ms-first)
	n, headers := q.plains, q.headers
	if sp.piece == nil || sp.piece.cut == nil {
		n += q.parts
	} else {
		e.tail = append(e.tail[:0], q.headers[:q.plainBytes]...)
		e.tail = appendHeader(e.tail, headerPart, sp.piece.number)
		n++
		if sp.piece.count != "" {
			e.tail = appendHeader(e.tail, headerParts, sp.piece.count)
			n++
		}
		headers = e.tail
	}
	r.before = headers
	if r.offset {
		n++
		r.before, r.after = headers[:q.offsetAt], headers[q.offsetAt:]
	}
	r.headers = byte(n << 1) // a varint: there are at most six
	return r
}

// lines appends the records of a span, the first of which is number n of the batch.
func (r *shape) lines(out []byte, sp *span, n int) []byte {
	buf, start := sp.p.batch.Buf, sp.p.batch.Start
	if c := sp.piece; c != nil {
		return r.record(out, n, buf[c.from:c.to], start+int64(c.from))
	}
	for _, l := range sp.p.batch.Lines[sp.from:sp.to] {
		out = r.record(out, n, buf[l.From:l.To], start+int64(l.From))
		n++
	}
	return out
}

// record appends record n of its batch.
func (r *shape) record(out []byte, n int, value []byte, offset int64) []byte {
	size := 1 + len(r.time) + varintSize(n) + len(r.key) + varintSize(len(value)) + len(value) + 1 + len(r.before) + len(r.after)
	var room [digitsRoom]byte
	var digits []byte
	if r.offset {
		digits = strconv.AppendInt(room[:0], offset, 10)
		size += len(offsetField) + 1 + len(digits)
	}
	out = appendVarint(out, size)
	out = append(out, 0) // attributes
	out = append(out, r.time...)
	out = appendVarint(out, n)
	out = append(out, r.key...)
	out = appendVarint(out, len(value))
	out = append(out, value...)
	out = append(out, r.headers)
	out = append(out, r.before...)
	if r.offset {
		out = append(out, offsetField...)
		out = append(out, byte(len(digits)<<1))
		out = append(out, digits...)
		out = append(out, r.after...)
	}
	return out
}

// digitsRoom is the longest offset in decimal.
const digitsRoom = 20

// offsetField is the name of header offset with its length.
var offsetField = appendField(nil, headerOffset)

// appendHeader appends a record's header.
func appendHeader[V []byte | string](out []byte, name string, value V) []byte {
	return appendField(appendField(out, name), value)
}

// appendField appends bytes with their length before them.
func appendField[V []byte | string](out []byte, v V) []byte {
	out = appendVarint(out, len(v))
	return append(out, v...)
}

// noField is nothing where bytes may stand: not even an empty slice.
const noField = 1 // varint of -1

// appendVarint appends n, which is not negative, in zigzag encoding.
func appendVarint(out []byte, n int) []byte {
	if n < 1<<6 {
		return append(out, byte(n<<1))
	}
	if n < 1<<13 {
		return append(out, byte(n<<1)|0x80, byte(n>>6))
	}
	return binary.AppendUvarint(out, uint64(n)<<1)
}

// varintSize is the number of bytes that appendVarint appends.
func varintSize(n int) int {
	size := 1
	for n >>= 6; n > 0; n >>= 7 {
		size++
	}
	return size
}

// keptBytes is how much memory an idle connection keeps for its next request.
const keptBytes = 32 << 10

// large tells whether there is something worth releasing.
func (e *encoder) large() bool { return e.squeeze != nil || cap(e.out)+cap(e.raw) > keptBytes }

// release lets go of all memory.
func (e *encoder) release() { e.out, e.raw, e.squeeze, e.tail, e.like = nil, nil, nil, nil, shape{} }
