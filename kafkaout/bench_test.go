package kafkaout

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"logagent/agent"
)

// counter is a broker that counts records and stores nothing: what a benchmark measures
// is then the sender.
type counter struct {
	listener   net.Listener
	partitions int32
	records    atomic.Int64
	conns      sync.WaitGroup

	produced func(*kmsg.ProduceRequest) // told of each before it is answered; may be nil
}

func startCounter(b testing.TB, partitions int32, produced func(*kmsg.ProduceRequest)) *counter {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	c := &counter{listener: l, partitions: partitions, produced: produced}
	c.conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.conns.Go(func() {
				defer conn.Close()
				if err := c.serve(conn); err != nil && err != io.EOF {
					b.Logf("counter: %v", err)
				}
			})
		}
	})
	b.Cleanup(func() {
		l.Close()
		c.conns.Wait()
	})
	return c
}

func (c *counter) serve(conn net.Conn) error {
	var size [4]byte
	var buf []byte
	for {
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return io.EOF
		}
		n := int(binary.BigEndian.Uint32(size[:]))
		if n > cap(buf) {
			buf = make([]byte, n)
		}
		buf = buf[:n]
		if _, err := io.ReadFull(conn, buf); err != nil {
			return io.EOF
		}
		key, version := int16(binary.BigEndian.Uint16(buf)), int16(binary.BigEndian.Uint16(buf[2:]))
		req := kmsg.RequestForKey(key)
		req.SetVersion(version)
		body := buf[10+int(binary.BigEndian.Uint16(buf[8:])):]
		if req.IsFlexible() {
			body = body[1:]
		}
		if err := req.ReadFrom(body); err != nil {
			return fmt.Errorf("request %d version %d: %w", key, version, err)
		}
		res := req.ResponseKind()
		c.answer(req, res)
		out := append(make([]byte, 4), buf[4:8]...)
		if res.IsFlexible() && key != int16(kmsg.ApiVersions) {
			out = append(out, 0)
		}
		out = res.AppendTo(out)
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		if _, err := conn.Write(out); err != nil {
			return io.EOF
		}
	}
}

func (c *counter) answer(req kmsg.Request, res kmsg.Response) {
	switch res := res.(type) {
	case *kmsg.ApiVersionsResponse:
		for _, k := range []struct{ key, most int16 }{{0, 8}, {3, 9}, {18, 3}, {22, 2}} {
			res.ApiKeys = append(res.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: k.key, MaxVersion: k.most})
		}
	case *kmsg.MetadataResponse:
		addr := c.listener.Addr().(*net.TCPAddr)
		res.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 1, Host: addr.IP.String(), Port: int32(addr.Port)}}
		for _, t := range req.(*kmsg.MetadataRequest).Topics {
			m := kmsg.NewMetadataResponseTopic()
			m.Topic = t.Topic
			for i := range c.partitions {
				m.Partitions = append(m.Partitions, kmsg.MetadataResponseTopicPartition{Partition: i, Leader: 1, Replicas: []int32{1}, ISR: []int32{1}})
			}
			res.Topics = append(res.Topics, m)
		}
	case *kmsg.InitProducerIDResponse:
		res.ProducerID = 7
	case *kmsg.ProduceResponse:
		if c.produced != nil {
			c.produced(req.(*kmsg.ProduceRequest))
		}
		for _, t := range req.(*kmsg.ProduceRequest).Topics {
			out := kmsg.ProduceResponseTopic{Topic: t.Topic}
			for _, p := range t.Partitions {
				c.records.Add(int64(binary.BigEndian.Uint32(p.Records[57:])))
				out.Partitions = append(out.Partitions, kmsg.ProduceResponseTopicPartition{Partition: p.Partition})
			}
			res.Topics = append(res.Topics, out)
		}
	}
}

// accessLog is n lines of 180 bytes with their ends, as different from each other as those of
// a web server are: what compression makes of them is what it makes of such a log.
func accessLog(n int) (buf []byte, lines []agent.Line) {
	rnd := rand.New(rand.NewPCG(1, 2))
	paths := []string{"/", "/index.html", "/shop/item", "/shop/basket", "/api/v1/orders", "/static/site.css", "/search"}
	agents := []string{"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/130.0", "curl/8.9.1", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)"}
	for i := range n {
		from := len(buf)
		buf = fmt.Appendf(buf, "203.0.%d.%d - - [22/Nov/2026:10:%02d:%02d +0000] \"GET %s?id=%d HTTP/1.1\" %d %d \"https://example.org/%x\" \"%s\"",
			rnd.IntN(256), rnd.IntN(256), i/60%60, i%60, paths[rnd.IntN(len(paths))], rnd.IntN(1e7), 200+rnd.IntN(2)*104, rnd.IntN(1e5), rnd.Uint32(), agents[rnd.IntN(len(agents))])
		for len(buf)-from < 179 {
			buf = append(buf, ' ')
		}
		buf = append(buf[:from+179], '\n')
		lines = append(lines, agent.Line{From: uint32(from), To: uint32(from + 179)})
	}
	return buf, lines
}

// BenchmarkSend is the way of a line from Send to its verdict: queue, record, encoding,
// socket. One op is one line of 180 bytes; the broker's share of the CPU is in it.
func BenchmarkSend(b *testing.B) {
	for _, c := range []struct {
		name        string
		headers     string
		compression string
	}{
		{"plain", "", ""},
		{"headers", "host service path", ""},
		{"offset", "host service path offset", ""},
		{"headers-snappy", "host service path", "snappy"},
		{"headers-zstd", "host service path", "zstd"},
	} {
		b.Run(c.name, func(b *testing.B) {
			broker := startCounter(b, 8, nil)
			o := Options{Addrs: []string{broker.listener.Addr().String()}, Host: testHost, Compression: c.compression, Headers: strings.Fields(c.headers)}
			p, err := New(o)
			if err != nil {
				b.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			var run sync.WaitGroup
			run.Go(func() { p.Run(ctx) })
			defer run.Wait()
			defer cancel()

			const perBatch = 1456 // 256 KiB of lines
			const batches = 16    // different ones: no codec finds one in another
			buf, lines := accessLog(perBatch * batches)
			lines = lines[:perBatch]
			s := &agent.Service{Service: "web", LogPath: "/var/log/nginx/access.log", Topic: "web"}
			room := make(chan struct{}, 64) // 16 MiB on their way
			done := func(_ *agent.Batch, v agent.Verdict) {
				if v.Err != nil {
					b.Error(v.Err)
				}
				<-room
			}
			b.SetBytes(180)
			b.ReportAllocs()
			b.ResetTimer()
			start := time.Now()
			for sent := 0; sent < b.N; sent += perBatch {
				room <- struct{}{}
				one := buf[sent/perBatch%batches*perBatch*180:][: perBatch*180 : perBatch*180]
				p.Send(agent.NewBatch(s, s.LogPath, one, lines[:min(perBatch, b.N-sent)], done))
			}
			for range cap(room) {
				room <- struct{}{}
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "lines/s")
			if got := broker.records.Load(); got < int64(b.N) {
				b.Errorf("want %d records at the broker, got %d", b.N, got)
			}
		})
	}
}
