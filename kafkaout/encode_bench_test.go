package kafkaout

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"logagent/agent"
)

// drain is a connection to a broker that is not there: it counts what is written to it and
// answers each request as soon as its last byte is written. No socket, no copy.
type drain struct {
	counter // knows the answers to everything but produce requests
	produce kmsg.ProduceResponse
	ready   map[int16][]byte // produce response by version, without a correlation id
	head    []byte           // of the request that is being written: all of it, but for produce requests
	left    int              // bytes of it still to come
	written int64            // by produce requests
	out     chan []byte
	rest    []byte
	closed  chan struct{}
	once    sync.Once
}

func newDrain(topic string, partitions int) *drain {
	d := &drain{ready: make(map[int16][]byte), out: make(chan []byte, requestsPerConnection), closed: make(chan struct{})}
	t := kmsg.NewProduceResponseTopic()
	t.Topic = topic
	for i := range partitions {
		p := kmsg.NewProduceResponseTopicPartition()
		p.Partition = int32(i)
		t.Partitions = append(t.Partitions, p)
	}
	d.produce.Topics = append(d.produce.Topics, t)
	return d
}

// Write takes requests in pieces of any size.
func (d *drain) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if need := 12 - len(d.head); need > 0 { // size, key, version, correlation id
			take := min(need, len(b))
			d.head, b = append(d.head, b[:take]...), b[take:]
			if take < need {
				break
			}
			d.left = int(binary.BigEndian.Uint32(d.head)) - 8
		}
		take := min(d.left, len(b))
		if d.key() == int16(kmsg.Produce) {
			d.written += int64(take)
		} else {
			d.head = append(d.head, b[:take]...)
		}
		if d.left -= take; d.left == 0 {
			if err := d.reply(); err != nil {
				return 0, err
			}
			d.head = d.head[:0]
		}
		b = b[take:]
	}
	return n, nil
}

func (d *drain) key() int16 { return int16(binary.BigEndian.Uint16(d.head[4:])) }

func (d *drain) reply() error {
	key, version := d.key(), int16(binary.BigEndian.Uint16(d.head[6:]))
	var out []byte
	if key == int16(kmsg.Produce) {
		out = d.ready[version]
		if out == nil {
			d.produce.Version = version
			out = d.produce.AppendTo(make([]byte, 8))
			binary.BigEndian.PutUint32(out, uint32(len(out)-4))
			d.ready[version] = out
		}
		d.written += 12
	} else {
		req := kmsg.RequestForKey(key)
		req.SetVersion(version)
		res := req.ResponseKind()
		d.answer(req, res)
		out = res.AppendTo(make([]byte, 8))
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	}
	out = append([]byte(nil), out...)
	copy(out[4:8], d.head[8:12])
	select {
	case d.out <- out:
		return nil
	case <-d.closed:
		return net.ErrClosed
	}
}

func (d *drain) Read(b []byte) (int, error) {
	if len(d.rest) == 0 {
		select {
		case d.rest = <-d.out:
		case <-d.closed:
			return 0, net.ErrClosed
		}
	}
	n := copy(b, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

func (d *drain) Close() error                     { d.once.Do(func() { close(d.closed) }); return nil }
func (d *drain) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (d *drain) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (d *drain) SetDeadline(time.Time) error      { return nil }
func (d *drain) SetReadDeadline(time.Time) error  { return nil }
func (d *drain) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkEncode is what a connection does with the records of one request of two
// partitions, 900 kB each, until its bytes are written: describe, encode, compress, checksum.
// No queue, no verdict, no socket. One op is one request.
func BenchmarkEncode(b *testing.B) {
	for _, headers := range []string{"", "host service path", "host service path offset"} {
		for _, codec := range []string{"none", "snappy", "lz4", "zstd"} {
			if strings.Contains(headers, "offset") && codec != "none" {
				continue
			}
			b.Run(fmt.Sprintf("%dheaders-%s", len(strings.Fields(headers)), codec), func(b *testing.B) {
				benchmarkEncode(b, Options{Addrs: []string{"b:9092"}, Host: testHost, Headers: strings.Fields(headers), Compression: codec}, 2)
			})
		}
	}
}

func benchmarkEncode(b *testing.B, o Options, partitions int) {
	p, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	p.plain = true // no broker gives a producer id
	p.cfg = p.opts.config(context.Background())
	d := newDrain("web", partitions)
	p.cfg.Net.Proxy.Dialer = dialFunc(func(string, string) (net.Conn, error) { return d, nil })
	c := newConnection(p, 1)
	if c.link, c.socket, err = openSpliced("b:9092", p.cfg); err != nil {
		b.Fatal(err)
	}
	defer c.hangUp()
	s := &agent.Service{Service: "web", LogPath: "/var/log/nginx/access.log", Topic: "web"}
	t := &topic{name: "web"}
	req := &request{}
	const perBatch, batches = 1456, 4 // 256 KiB each: more than a record batch holds
	buf, lines := accessLog(perBatch * batches * partitions)
	lines = lines[:perBatch]
	for i := range partitions {
		part := &partition{topic: t, index: int32(i)}
		t.partitions = append(t.partitions, part)
		for range batches {
			q := p.newParcel(agent.NewBatch(s, s.LogPath, buf[:perBatch*180], lines, nil))
			buf = buf[perBatch*180:]
			q.topic = t
			part.queue = append(part.queue, span{p: q, to: len(lines)})
		}
		ch := p.chunk(part, time.Now())
		req.chunks = append(req.chunks, ch)
		req.records += ch.records
	}
	values := int64(req.records) * 179
	b.SetBytes(values)
	b.ReportAllocs()
	for b.Loop() {
		c.write(req)
		a := <-c.answers
		c.inFlight--
		if a.err != nil || a.response.GetBlock("web", int32(partitions-1)) == nil {
			b.Fatal(a.err, a.response)
		}
	}
	n := float64(b.N) * float64(req.records)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/line")
	b.ReportMetric(n/b.Elapsed().Seconds(), "lines/s")
	b.ReportMetric(float64(d.written)/n, "wire-bytes/line")
	if codec := o.Compression; codec == "none" && d.written < int64(b.N)*values {
		b.Errorf("%d bytes were written for %d requests of %d bytes", d.written, b.N, values)
	} else if codec != "none" && d.written == 0 {
		b.Error("nothing was written")
	}
}

// BenchmarkSendLine is the way of a single line, with nothing else on its way: from Send to
// the verdict, over a socket of this machine. Its time is latency; the broker's is in it.
func BenchmarkSendLine(b *testing.B) {
	broker := startCounter(b, 1, nil)
	p, err := New(Options{Addrs: []string{broker.listener.Addr().String()}, Host: testHost, Headers: []string{"host", "service", "path"}})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var run sync.WaitGroup
	run.Go(func() { p.Run(ctx) })
	defer run.Wait()
	defer cancel()
	s := &agent.Service{Service: "web", LogPath: "/var/log/nginx/access.log", Topic: "web"}
	buf, lines := accessLog(1)
	verdict := make(chan error, 1)
	send := func() {
		p.Send(agent.NewBatch(s, s.LogPath, buf, lines, func(_ *agent.Batch, v agent.Verdict) { verdict <- v.Err }))
		if err := <-verdict; err != nil {
			b.Fatal(err)
		}
	}
	send() // connected, and the topic is known
	before := broker.records.Load()
	b.ReportAllocs()
	for b.Loop() {
		send()
	}
	if got := broker.records.Load() - before; got != int64(b.N) {
		b.Errorf("%d records at the broker, want %d", got, b.N)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}

// BenchmarkDetail encodes the details of a host with 1,000 files, as every two seconds while a
// console looks, and once a minute with history.
func BenchmarkDetail(b *testing.B) {
	const files = 1000
	h := &agent.History{StepSeconds: 10}
	for i := range 60 {
		h.In, h.Out, h.Lag = append(h.In, uint32(1000+i)), append(h.Out, uint32(900+i)), append(h.Lag, int64(i)*1_000_000)
	}
	s := agent.Status{Host: testHost, StateID: "0123abcd", Boot: 3, Seq: 1000, At: time.UnixMilli(1763800000000), History: h}
	for i := range files {
		s.Files = append(s.Files, agent.FileStatus{
			Path: fmt.Sprintf("/var/log/app-%04d/access.log", i), LogPath: "/var/log/*/access.log", Service: "web", Topic: "web",
			State: agent.StateOK, Cause: "caught up", Device: 64512, Inode: uint64(5_242_880 + i), SizeBytes: 1 << 30, ReadBytes: 1 << 30, CommittedBytes: 1 << 30,
			Totals: agent.Totals{Lines: 1e6, Bytes: 18e7, InLinesPerSec: 88.5, OutLinesPerSec: 88.25}, History: h,
		})
	}
	for _, history := range []bool{false, true} {
		name := "plain"
		if history {
			name = "history"
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			size := 0
			for b.Loop() {
				pages, err := detailPages(s, history)
				if err != nil {
					b.Fatal(err)
				}
				size = 0
				for _, p := range pages {
					size += len(p)
				}
			}
			if size < files*300 {
				b.Fatalf("%d bytes for %d files", size, files)
			}
			b.ReportMetric(float64(size), "bytes")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/files, "ns/file")
		})
	}
}
