package kafkaout

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logagent/agent"
)

// draft makes requests out of random batches.
type draft struct {
	p      *Producer
	random *rand.Rand
	topics []*topic
}

func newDraft(t testing.TB, seed uint64, compression string, headers ...string) *draft {
	t.Helper()
	p, err := New(Options{Addrs: []string{"127.0.0.1:1"}, Host: testHost, Headers: headers, Compression: compression})
	check(t, err)
	d := &draft{p: p, random: rand.New(rand.NewPCG(seed, 1))}
	for _, name := range []string{"web", "a", "logs.of-the_database"} {
		d.topics = append(d.topics, &topic{name: name})
	}
	return d
}

// parcel is a batch of n lines of up to most bytes.
func (d *draft) parcel(n, most int) *parcel {
	var buf []byte
	var lines []agent.Line
	for range n {
		from := len(buf)
		for range d.random.IntN(most + 1) {
			buf = append(buf, byte('a'+d.random.IntN(20)))
		}
		lines = append(lines, agent.Line{From: uint32(from), To: uint32(len(buf))})
		buf = append(buf, "\r\n"[d.random.IntN(2):]...)
	}
	s := &agent.Service{Service: []string{"web", "", strings.Repeat("s", 70)}[d.random.IntN(3)], LogPath: "/var/log/*.log"}
	s.Partition = []agent.Partitioning{"", agent.PartitionFile, agent.PartitionHost, agent.PartitionService}[d.random.IntN(4)]
	b := agent.NewBatch(s, "/var/log/"+strings.Repeat("p", d.random.IntN(100)), buf, lines, nil)
	b.Start = d.random.Int64N(1 << uint(d.random.IntN(62)+1))
	b.Read = time.UnixMilli(d.random.Int64N(1 << 42))
	if d.random.IntN(4) == 0 {
		b.Read = time.UnixMilli(-5)
	}
	if n == 1 && d.random.IntN(2) == 0 {
		b.Part = 1 + d.random.IntN(300)
		b.Parts = b.Part * d.random.IntN(2)
	}
	return d.p.newParcel(b)
}

// chunk is a record batch of spans, which are lines or pieces of them.
func (d *draft) chunk(part *partition, spans ...span) *chunk {
	c := &chunk{part: part, spans: spans, bytes: batchOverhead, id: producerID{id: -1, epoch: -1}, seq: -1}
	if d.random.IntN(4) > 0 {
		c.id, c.seq = producerID{id: d.random.Int64(), epoch: int16(d.random.IntN(1 << 15)), ok: true}, d.random.Int32()
	}
	for i := range spans {
		c.records += spans[i].records()
		c.bytes += spans[i].bytes()
	}
	return c
}

// spans cuts parcels of n lines in all as queues do.
func (d *draft) spans(n, most int) (out []span) {
	for n > 0 {
		size := 1 + d.random.IntN(n)
		n -= size
		q := d.parcel(size, most)
		if size > 1 {
			from := d.random.IntN(size)
			out = append(out, span{p: q, from: from, to: from + 1 + d.random.IntN(size-from)})
			continue
		}
		l := q.batch.Lines[0]
		middle := l.From + (l.To-l.From)/2
		switch s := (span{p: q, to: 1}); d.random.IntN(3) {
		case 0:
			out = append(out, s)
		case 1: // truncated
			s.piece = &piece{from: l.From, to: middle}
			out = append(out, s)
		default: // split
			first, second := s, s
			first.piece = &piece{from: l.From, to: middle, number: "1", cut: &cut{}}
			second.piece = &piece{from: middle, to: l.To, number: "3.12", count: "3.12", cut: &cut{}}
			out = append(out, first, second)
		}
	}
	return out
}

// described is a chunk as sarama is told of record batches.
func (d *draft) described(c *chunk) *sarama.RecordBatch {
	first, latest := c.spans[0].p.batch.Read, c.spans[0].p.batch.Read
	never := time.UnixMilli(0)
	if first.Before(never) {
		first, latest = never, never
	}
	batch := &sarama.RecordBatch{
		Version: 2, Codec: codecs[d.p.opts.Compression], CompressionLevel: sarama.CompressionLevelDefault,
		LastOffsetDelta: int32(c.records - 1), ProducerID: c.id.id, ProducerEpoch: c.id.epoch, FirstSequence: c.seq,
	}
	for _, s := range c.spans {
		b := s.p.batch
		read := b.Read
		if read.Before(never) {
			read = never
		}
		if read.After(latest) {
			latest = read
		}
		for _, l := range b.Lines[s.from:s.to] {
			part, parts := "", ""
			if b.Part > 0 {
				part = strconv.Itoa(b.Part)
			}
			if b.Parts > 0 {
				parts = strconv.Itoa(b.Parts)
			}
			if s.piece != nil {
				l = agent.Line{From: s.piece.from, To: s.piece.to}
				if s.piece.cut != nil {
					part, parts = s.piece.number, s.piece.count
				}
			}
			r := &sarama.Record{OffsetDelta: int64(len(batch.Records)), TimestampDelta: read.Sub(first), Value: b.Buf[l.From:l.To]}
			switch b.Service.Partition {
			case agent.PartitionFile:
				r.Key = []byte(b.Path)
			case agent.PartitionHost:
				r.Key = []byte(testHost)
			case agent.PartitionService:
				r.Key = []byte(b.Service.Service)
			}
			add := func(name, value string) {
				r.Headers = append(r.Headers, &sarama.RecordHeader{Key: []byte(name), Value: []byte(value)})
			}
			for _, h := range d.p.opts.Headers {
				add(h, map[string]string{
					"host": testHost, "service": b.Service.Service, "path": b.Path, "offset": fmt.Sprint(b.Start + int64(l.From)),
				}[h])
			}
			if part != "" {
				add("part", part)
			}
			if parts != "" {
				add("parts", parts)
			}
			batch.Records = append(batch.Records, r)
		}
	}
	batch.FirstTimestamp, batch.MaxTimestamp = first, latest
	return batch
}

// sent is what goes out for a request that sarama encodes, or, with a splice, the encoder.
func sent(t testing.TB, d *draft, produce *sarama.ProduceRequest, request []byte, room int) []byte {
	t.Helper()
	socket := newTestSocket()
	s := &splice{Conn: socket}
	conn := dialFunc(func(string, string) (net.Conn, error) { return socket, nil })
	if request != nil {
		conn = func(string, string) (net.Conn, error) { return s, nil }
		s.arm(request, room)
	}
	link := plainLink(t, d.p, conn)
	check(t, link.AsyncProduce(produce, func(*sarama.ProduceResponse, error) {}))
	if request != nil && !s.disarm() {
		t.Error("want the request written")
	}
	link.Close()
	return socket.bytes()
}

// headerSets are what records may carry.
var headerSets = [][]string{
	nil, {"host", "service", "path"}, {"offset"}, {"host", "offset", "service", "path"}, {"path", "service", "host", "offset"},
}

var compressions = []string{"none", "gzip", "snappy", "lz4", "zstd"}

func TestARequestIsByteForByteWhatSaramaWouldWrite(t *testing.T) {
	t.Parallel()
	for _, compression := range compressions {
		for seed := range uint64(60) {
			d := newDraft(t, seed, compression, headerSets[seed%5]...)
			spans := d.spans(1+int(seed*seed), 1+int(seed*20))
			c := d.chunk(&partition{topic: d.topics[seed%3], index: int32(seed * 1000)}, spans...)
			e := newEncoder(&d.p.opts)
			request, err := e.encode(&request{chunks: []*chunk{c}})
			check(t, err)
			got := sent(t, d, e.stub(), request, e.room)

			theirs := e.stub()
			theirs.AddBatch(c.part.topic.name, c.part.index, d.described(c))
			want := sent(t, d, theirs, nil, 0)
			if !bytes.Equal(got, want) {
				at := 0
				for at < min(len(got), len(want)) && got[at] == want[at] {
					at++
				}
				t.Errorf("%s, seed %d, %d records: %d bytes differ from sarama's %d from byte %d on", compression, seed, c.records, len(got), len(want), at)
			}
		}
	}
}

// strictly parses a request to its last byte: no field may be longer, shorter or written
// in another way than it must be.
func strictly(request []byte, codec sarama.CompressionCodec) (map[string]map[int32]*sarama.RecordBatch, error) {
	var req kmsg.ProduceRequest
	req.SetVersion(produceVersion)
	if err := req.ReadFrom(request); err != nil {
		return nil, err
	}
	if again := req.AppendTo(nil); !bytes.Equal(again, request) {
		return nil, fmt.Errorf("%d bytes that would be written as %d", len(request), len(again))
	}
	if req.TransactionID != nil || req.Acks != -1 || req.TimeoutMillis != 7500 {
		return nil, fmt.Errorf("transactional id %v, acks %d, timeout %d ms", req.TransactionID, req.Acks, req.TimeoutMillis)
	}
	out := make(map[string]map[int32]*sarama.RecordBatch)
	for _, topic := range req.Topics {
		if out[topic.Topic] != nil {
			return nil, fmt.Errorf("topic %s twice", topic.Topic)
		}
		out[topic.Topic] = make(map[int32]*sarama.RecordBatch)
		for _, part := range topic.Partitions {
			batch, err := strictBatch(part.Records, codec)
			if err != nil || out[topic.Topic][part.Partition] != nil {
				return nil, fmt.Errorf("topic %s, partition %d: twice or %w", topic.Topic, part.Partition, err)
			}
			out[topic.Topic][part.Partition] = batch
		}
	}
	return out, nil
}

func strictBatch(b []byte, codec sarama.CompressionCodec) (*sarama.RecordBatch, error) {
	var in kmsg.RecordBatch
	if err := in.ReadFrom(b); err != nil {
		return nil, err
	}
	if again := in.AppendTo(nil); !bytes.Equal(again, b) {
		return nil, fmt.Errorf("%d bytes that would be written as %d", len(b), len(again))
	}
	if int(in.Length) != len(b)-12 || in.FirstOffset != 0 || in.PartitionLeaderEpoch != 0 || in.Magic != 2 || in.Attributes != int16(codec) {
		return nil, fmt.Errorf("a record batch with the header %x", b[:batchOverhead])
	}
	if sum := crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)); uint32(in.CRC) != sum {
		return nil, fmt.Errorf("checksum %x, want %x", uint32(in.CRC), sum)
	}
	raw, err := kgo.DefaultDecompressor().Decompress(in.Records, kgo.CompressionCodecType(codec))
	if err != nil {
		return nil, err
	}
	out := &sarama.RecordBatch{
		Version: 2, Codec: codec, LastOffsetDelta: in.LastOffsetDelta, ProducerID: in.ProducerID, ProducerEpoch: in.ProducerEpoch, FirstSequence: in.FirstSequence,
		FirstTimestamp: time.UnixMilli(in.FirstTimestamp), MaxTimestamp: time.UnixMilli(in.MaxTimestamp),
	}
	r := strict{left: raw}
	for range in.NumRecords {
		inner := strict{left: r.take(r.varint())}
		if attributes := inner.take(1); len(attributes) == 1 && attributes[0] != 0 {
			return nil, fmt.Errorf("attributes %x", attributes)
		}
		rec := &sarama.Record{TimestampDelta: time.Duration(inner.varint()) * time.Millisecond, OffsetDelta: inner.varint(), Key: inner.field(), Value: inner.field()}
		for range inner.varint() {
			rec.Headers = append(rec.Headers, &sarama.RecordHeader{Key: inner.field(), Value: inner.field()})
		}
		if inner.bad || len(inner.left) > 0 {
			return nil, fmt.Errorf("record %d: wrong, or %d bytes too long", len(out.Records), len(inner.left))
		}
		out.Records = append(out.Records, rec)
	}
	if r.bad || len(r.left) > 0 {
		return nil, fmt.Errorf("records wrong, or %d bytes too long", len(r.left))
	}
	return out, nil
}

// strict reads fields; bad when one was not there or not as short as it can be.
type strict struct {
	left []byte
	bad  bool
}

func (r *strict) varint() int64 {
	v, n := binary.Varint(r.left)
	if n <= 0 || len(binary.AppendVarint(nil, v)) != n {
		r.bad = true
		return 0
	}
	r.left = r.left[n:]
	return v
}

func (r *strict) take(n int64) []byte {
	if n < 0 || n > int64(len(r.left)) {
		r.bad = true
		return nil
	}
	b := r.left[:n:n]
	r.left = r.left[n:]
	return b
}

// field is nil only where nothing stands.
func (r *strict) field() []byte {
	n := r.varint()
	if n == -1 {
		return nil
	}
	return r.take(n)
}

// differs tells how a record batch is not as it should be; "" is not at all.
func differs(got, want *sarama.RecordBatch) string {
	head := func(b *sarama.RecordBatch) string {
		return fmt.Sprint(b.Codec, b.LastOffsetDelta, b.ProducerID, b.ProducerEpoch, b.FirstSequence, b.FirstTimestamp.UnixMilli(), b.MaxTimestamp.UnixMilli(), len(b.Records))
	}
	if got == nil || head(got) != head(want) {
		return fmt.Sprintf("want %+v, got %+v", want, got)
	}
	for i, w := range want.Records {
		g := got.Records[i]
		same := g.OffsetDelta == w.OffsetDelta && g.TimestampDelta == w.TimestampDelta && (g.Key == nil) == (w.Key == nil) &&
			bytes.Equal(g.Key, w.Key) && bytes.Equal(g.Value, w.Value)
		if !same || !slices.EqualFunc(g.Headers, w.Headers, func(a, b *sarama.RecordHeader) bool {
			return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value)
		}) {
			return fmt.Sprintf("record %d: want %+v, got %+v", i, w, g)
		}
	}
	return ""
}

// arrives encodes chunks and holds what a parser finds against what was meant.
func arrives(t testing.TB, d *draft, e *encoder, chunks ...*chunk) {
	t.Helper()
	want := make(map[string]map[int32]*sarama.RecordBatch)
	for _, c := range chunks {
		if want[c.part.topic.name] == nil {
			want[c.part.topic.name] = make(map[int32]*sarama.RecordBatch)
		}
		want[c.part.topic.name][c.part.index] = d.described(c)
	}
	b, err := e.encode(&request{chunks: chunks})
	check(t, err)
	got, err := strictly(b[e.room:], e.codec)
	check(t, err)
	if len(got) != len(want) {
		t.Fatalf("want %d topics, got %d", len(want), len(got))
	}
	for topic, parts := range want {
		if len(got[topic]) != len(parts) {
			t.Errorf("topic %s: want %d partitions, got %d", topic, len(parts), len(got[topic]))
		}
		for index, batch := range parts {
			if diff := differs(got[topic][index], batch); diff != "" {
				t.Errorf("topic %s, partition %d: %s", topic, index, diff)
			}
		}
	}
}

func TestARequestHoldsWhatWasPutIn(t *testing.T) {
	t.Parallel()
	for i, compression := range compressions {
		t.Run(compression, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(25) {
				d := newDraft(t, seed, compression, headerSets[(seed+uint64(i))%5]...)
				e := newEncoder(&d.p.opts)
				for range 4 { // one after the other in the same memory
					var chunks []*chunk
					for index := range 1 + d.random.IntN(7) {
						n, most := 1+d.random.IntN(200), 1+d.random.IntN(500)
						switch d.random.IntN(20) {
						case 0:
							n, most = mostRecords/2+d.random.IntN(mostRecords/2), 30
						case 1:
							n, most = 2, 300_000
						}
						part := &partition{topic: d.topics[d.random.IntN(3)], index: int32(index)}
						chunks = append(chunks, d.chunk(part, d.spans(n, most)...))
					}
					arrives(t, d, &e, chunks...)
					if d.random.IntN(3) == 0 {
						e.release()
					}
				}
			}
			d := newDraft(t, 1, compression, headerSets[3]...)
			e := newEncoder(&d.p.opts)
			for _, n := range []int{1, mostRecords} {
				arrives(t, d, &e, d.chunk(&partition{topic: d.topics[0]}, span{p: d.parcel(n, 20), to: n}))
			}
		})
	}
}

// What is counted for a chunk bounds it, so a request that is not compressed is made
// without moving it.
func TestTheRoomForARequestIsEnough(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		d := newDraft(t, seed, "none", headerSets[seed%5]...)
		e := newEncoder(&d.p.opts)
		var chunks []*chunk
		for index := range 1 + seed%5 {
			part := &partition{topic: d.topics[d.random.IntN(3)], index: int32(index)}
			chunks = append(chunks, d.chunk(part, d.spans(1+d.random.IntN(50), 1+d.random.IntN(1<<(seed%16)))...))
		}
		req := &request{chunks: chunks}
		e.fit(req)
		room := cap(e.out)
		b, err := e.encode(req)
		check(t, err)
		if cap(b) != room {
			t.Errorf("seed %d: want %d bytes to be enough, got %d", seed, room, len(b))
		}
	}
}

func FuzzARequestHoldsWhatWasPutIn(f *testing.F) {
	f.Add(uint64(1), []byte("one\ntwo\n\nthree"), int64(0), uint16(3))
	f.Add(uint64(2), bytes.Repeat([]byte("many lines\n"), 90), int64(1<<61), uint16(1))
	f.Add(uint64(9), bytes.Repeat([]byte{0}, 900), int64(127), uint16(500))
	f.Fuzz(func(t *testing.T, seed uint64, text []byte, start int64, pieces uint16) {
		d := newDraft(t, seed, compressions[seed%5], headerSets[seed/5%5]...)
		q := d.parcel(2, 1)
		b := q.batch
		b.Buf, b.Lines, b.Start = text, nil, max(start, 0)
		at := uint32(0)
		for line := range bytes.Lines(text) {
			end := at + uint32(len(line))
			b.Lines = append(b.Lines, agent.Line{From: at, To: end - uint32(len(line)-len(bytes.TrimRight(line, "\n")))})
			at = end
		}
		if len(b.Lines) == 0 || len(b.Lines) > mostRecords {
			return
		}
		n := len(b.Lines)
		spans := append(d.spans(1, 5), span{p: q, to: n})
		if l := b.Lines[n-1]; l.To > l.From {
			whole := &cut{from: l.From, to: l.To}
			size := max(uint32(pieces), (l.To-l.From)/100, 1)
			spans[len(spans)-1].to--
			if n == 1 {
				spans = spans[:len(spans)-1]
			}
			spans = append(spans, whole.spans(span{p: q, from: n - 1, to: n}, size)...)
		}
		e := newEncoder(&d.p.opts)
		arrives(t, d, &e, d.chunk(&partition{topic: d.topics[0]}, spans...), d.chunk(&partition{topic: d.topics[1]}, d.spans(3, 9)...))
	})
}

// fullRequest is as large as requests of a backlog are: three record batches of 900 kB.
func fullRequest(d *draft) *request {
	req := &request{}
	for index := range int32(3) {
		var spans []span
		for range 3 {
			line := strings.Repeat("203.0.113.9 - - [12/May/2026] \"GET /index.html?q=7 HTTP/1.1\" 200 5123 \"-\" ", 3)[:179] + "\n"
			const n = 1456 // 256 KiB
			lines := make([]agent.Line, n)
			for i := range lines {
				lines[i] = agent.Line{From: uint32(i * 180), To: uint32(i*180 + 179)}
			}
			s := &agent.Service{Service: "web", LogPath: "/var/log/nginx/access.log", Topic: "web"}
			spans = append(spans, span{p: d.p.newParcel(agent.NewBatch(s, s.LogPath, []byte(strings.Repeat(line, n)), lines, nil)), to: n})
		}
		req.chunks = append(req.chunks, d.chunk(&partition{topic: d.topics[0], index: index}, spans...))
	}
	return req
}

// Not parallel: what others allocate meanwhile would count.
func TestEncodingAFullRequestMakesNoGarbage(t *testing.T) {
	for _, compression := range compressions {
		if underRace && (compression == "snappy" || compression == "lz4") {
			continue // their libraries keep tables in pools
		}
		d := newDraft(t, 1, compression, "host", "service", "path", "offset")
		e := newEncoder(&d.p.opts)
		req := fullRequest(d)
		encode := func() {
			if _, err := e.encode(req); err != nil {
				t.Fatal(err)
			}
		}
		if n := testing.AllocsPerRun(5, encode); n > 10 {
			t.Errorf("%s: want a handful of allocations for a request, got %v", compression, n)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 5 {
			encode()
		}
		runtime.ReadMemStats(&after)
		if got := (after.TotalAlloc - before.TotalAlloc) / 5; got > feedBytes {
			t.Errorf("%s: want at most %d bytes allocated for a request, got %d", compression, feedBytes, got)
		}
	}
}

func TestAnEncoderHoldsNoMoreThanItNeeds(t *testing.T) {
	t.Parallel()
	for _, compression := range compressions {
		d := newDraft(t, 1, compression)
		e := newEncoder(&d.p.opts)
		few := &request{chunks: []*chunk{d.chunk(&partition{topic: d.topics[0]}, d.spans(10, 100)...)}}
		encode := func(req *request) {
			t.Helper()
			_, err := e.encode(req)
			check(t, err)
		}
		encode(few)
		if compression == "none" && e.large() {
			t.Errorf("want little for ten lines, got %d bytes", cap(e.out))
		}
		encode(fullRequest(d))
		if got, most := cap(e.out)+cap(e.raw), 4_500_000; got > most {
			t.Errorf("%s: want at most %d bytes for a full request, got %d", compression, most, got)
		}
		if !e.large() {
			t.Errorf("%s: want the memory of a full request seen as large", compression)
		}
		encode(&request{chunks: []*chunk{d.chunk(&partition{topic: d.topics[0]}, span{p: d.parcel(1, 1), to: 1}, span{p: d.parcel(1, 40_000_000), to: 1})}})
		encode(few)
		if got, most := cap(e.out)+cap(e.raw), e.usual*2; got > most {
			t.Errorf("%s: want the memory of a very long line given back, got %d bytes", compression, got)
		}
		e.release()
		if e.large() || cap(e.out)+cap(e.raw)+cap(e.tail) > 0 {
			t.Errorf("%s: want nothing held after a release", compression)
		}
	}
}

func TestACompressionThatIsNotKnownIsAnError(t *testing.T) {
	t.Parallel()
	d := newDraft(t, 1, "none")
	e := newEncoder(&d.p.opts)
	e.codec = 7
	_, err := e.encode(fullRequest(d))
	if err == nil || !strings.Contains(err.Error(), "topic web") || errors.Is(err, sarama.ErrUnsupportedCompressionType) {
		t.Errorf("want an error that names the topic, got %v", err)
	}
}
