package kafkaout

import (
	"strconv"
	"time"

	"github.com/IBM/sarama"
)

// produceVersion is the newest produce request that sends record batches without first
// measuring them once more (9 and later do), and tells why a record was refused.
const produceVersion = 8

// slab is the memory in which a connection describes the records of one request. The
// library has copied everything when AsyncProduce returns, so it is used again and again.
type slab struct {
	records []sarama.Record
	refs    []*sarama.Record // to records, in order

	// Only where records carry a header offset:
	offsets []sarama.RecordHeader
	digits  []byte // room for one number per record
	headers []*sarama.RecordHeader
	used    int // records described since the last release
}

// digitsRoom is the longest offset in decimal.
const digitsRoom = 20

// encode describes the request for sarama.
func (s *slab) encode(p *Producer, req *request) *sarama.ProduceRequest {
	out := &sarama.ProduceRequest{
		RequiredAcks: sarama.WaitForAll,
		// Shorter than the network timeout, so that the broker's "not all replicas have it
		// yet" arrives before the connection is given up.
		Timeout: int32(p.opts.Timeout / 4 * 3 / time.Millisecond),
		Version: produceVersion,
	}
	withOffset := -1
	for i, h := range p.opts.Headers {
		if h == headerOffset {
			withOffset = i
		}
	}
	s.grow(req.records, withOffset >= 0, len(p.opts.Headers)+2)
	at := 0
	for _, ch := range req.chunks {
		batch := &sarama.RecordBatch{
			Version:          2,
			Codec:            codecs[p.opts.Compression],
			CompressionLevel: sarama.CompressionLevelDefault,
			LastOffsetDelta:  int32(ch.records - 1),
			ProducerID:       ch.id.id,
			ProducerEpoch:    ch.id.epoch,
			FirstSequence:    ch.seq,
			Records:          s.refs[at : at+ch.records],
		}
		first := ch.spans[0].p.ms
		latest := first
		start := at
		for i := range ch.spans {
			sp := &ch.spans[i]
			latest = max(latest, sp.p.ms)
			delta := time.Duration(sp.p.ms-first) * time.Millisecond
			if withOffset >= 0 || sp.piece != nil {
				at = s.special(sp, at, start, delta, withOffset)
			} else {
				at = s.lines(sp, at, start, delta)
			}
		}
		batch.FirstTimestamp = time.UnixMilli(first)
		batch.MaxTimestamp = time.UnixMilli(latest)
		out.AddBatch(ch.part.topic.name, ch.part.index, batch)
	}
	return out
}

// lines describes whole lines, which share everything but their value.
func (s *slab) lines(sp *span, at, start int, delta time.Duration) int {
	q := sp.p
	buf := q.batch.Buf
	for _, l := range q.batch.Lines[sp.from:sp.to] {
		r := &s.records[at]
		r.Headers = q.shared
		r.TimestampDelta = delta
		r.OffsetDelta = int64(at - start)
		r.Key = q.key
		r.Value = buf[l.From:l.To:l.To]
		at++
	}
	return at
}

// special describes records with headers of their own: offset (of a piece: its own), part.
func (s *slab) special(sp *span, at, start int, delta time.Duration, withOffset int) int {
	q := sp.p
	for i := sp.from; i < sp.to; i++ {
		from, to := q.batch.Lines[i].From, q.batch.Lines[i].To
		headers := q.shared
		if c := sp.piece; c != nil {
			from, to = c.from, c.to
			if c.cut != nil {
				headers = append([]*sarama.RecordHeader(nil), q.plain...)
				headers = append(headers, &sarama.RecordHeader{Key: partName, Value: []byte(c.number)})
				if c.count != "" {
					headers = append(headers, &sarama.RecordHeader{Key: partsName, Value: []byte(c.count)})
				}
			}
		}
		if withOffset >= 0 {
			headers = s.withOffset(headers, at, withOffset, q.batch.Start+int64(from))
		}
		r := &s.records[at]
		r.Headers = headers
		r.TimestampDelta = delta
		r.OffsetDelta = int64(at - start)
		r.Key = q.key
		r.Value = q.batch.Buf[from:to:to]
		at++
	}
	return at
}

// withOffset inserts the header offset at its place, in the slab's own memory.
func (s *slab) withOffset(headers []*sarama.RecordHeader, at, place int, offset int64) []*sarama.RecordHeader {
	digits := strconv.AppendInt(s.digits[at*digitsRoom:at*digitsRoom:(at+1)*digitsRoom], offset, 10)
	s.offsets[at] = sarama.RecordHeader{Key: offsetName, Value: digits}
	room := len(s.headers) / len(s.records)
	out := s.headers[at*room : at*room : (at+1)*room]
	out = append(out, headers[:place]...)
	out = append(out, &s.offsets[at])
	return append(out, headers[place:]...)
}

// grow makes room for n records with at most headers headers each.
func (s *slab) grow(n int, offset bool, headers int) {
	s.used = max(s.used, n)
	if n > len(s.records) {
		n += n / 4
		s.records = make([]sarama.Record, n)
		s.refs = make([]*sarama.Record, n)
		for i := range s.refs {
			s.refs[i] = &s.records[i]
		}
		s.offsets, s.digits, s.headers = nil, nil, nil
	}
	if offset && s.offsets == nil {
		n = len(s.records)
		s.offsets = make([]sarama.RecordHeader, n)
		s.digits = make([]byte, n*digitsRoom)
		s.headers = make([]*sarama.RecordHeader, n*headers)
	}
}

// keptRecords is how many records an idle connection keeps room for.
const keptRecords = 256

// release lets go of the batches that were described, so that an idle connection holds
// neither them nor much memory.
func (s *slab) release() {
	if len(s.records) > keptRecords {
		*s = slab{}
		return
	}
	clear(s.records[:s.used])
	clear(s.headers)
	s.used = 0
}
