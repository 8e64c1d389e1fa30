package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

// sarama's metrics keep one goroutine for the whole process.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

// startTestBroker serves a broker inside the test and returns its address.
func startTestBroker(t *testing.T, b *broker) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := ln.Addr().(*net.TCPAddr)
	b.host, b.port, b.ledger = at.IP.String(), int32(at.Port), newLedger()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { b.serve(ctx, ln) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return ln.Addr().String()
}

// wantCounts checks what arrived: n records whose values have size bytes, with one header
// each.
func wantCounts(t *testing.T, b *broker, n, size int) {
	t.Helper()
	c := b.ledger.snapshot()["lines"]
	if err := c.wrong(); err != nil {
		t.Error(err)
	}
	if c.Records != int64(n) || c.Walked != int64(n) || c.ValueBytes != int64(size) || c.Headers != int64(n) {
		t.Errorf("counted %+v, want %d records with a header each and %d bytes", c, n, size)
	}
	if c.Requests == 0 || c.FirstNano == 0 || c.LastNano < c.FirstNano {
		t.Errorf("requests and times are %+v", c)
	}
}

func value(i int) string { return strings.Repeat("x", i%300) + fmt.Sprint(i) }

var codecs = map[string]struct {
	sarama sarama.CompressionCodec
	kgo    kgo.CompressionCodec
}{
	"none":   {sarama.CompressionNone, kgo.NoCompression()},
	"gzip":   {sarama.CompressionGZIP, kgo.GzipCompression()},
	"snappy": {sarama.CompressionSnappy, kgo.SnappyCompression()},
	"lz4":    {sarama.CompressionLZ4, kgo.Lz4Compression()},
	"zstd":   {sarama.CompressionZSTD, kgo.ZstdCompression()},
}

func TestBrokerCountsWhatSaramaSends(t *testing.T) {
	t.Parallel()
	for name, codec := range codecs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &broker{partitions: 3, unpack: true}
			cfg := sarama.NewConfig()
			cfg.Version = sarama.V2_8_0_0
			cfg.Producer.Idempotent = true
			cfg.Net.MaxOpenRequests = 1
			cfg.Producer.RequiredAcks = sarama.WaitForAll
			cfg.Producer.Compression = codec.sarama
			cfg.Producer.Return.Successes = true
			p, err := sarama.NewSyncProducer([]string{startTestBroker(t, b)}, cfg)
			if err != nil {
				t.Fatal(err)
			}
			var messages []*sarama.ProducerMessage
			size := 0
			for i := range 2000 {
				size += len(value(i))
				messages = append(messages, &sarama.ProducerMessage{
					Topic: "lines", Value: sarama.StringEncoder(value(i)), Headers: []sarama.RecordHeader{{Key: []byte("host"), Value: []byte("h")}},
				})
			}
			if err := p.SendMessages(messages); err != nil {
				t.Fatal(err)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			wantCounts(t, b, len(messages), size)
		})
	}
}

func TestBrokerCountsWhatFranzGoSends(t *testing.T) {
	t.Parallel()
	for name, codec := range codecs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &broker{partitions: 3, unpack: true}
			cl, err := kgo.NewClient(kgo.SeedBrokers(startTestBroker(t, b)), kgo.ProducerBatchCompression(codec.kgo))
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			var records []*kgo.Record
			size := 0
			for i := range 2000 {
				size += len(value(i))
				records = append(records, &kgo.Record{Topic: "lines", Value: []byte(value(i)), Headers: []kgo.RecordHeader{{Key: "host", Value: []byte("h")}}})
			}
			if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			offsets := make(map[int32]int64) // every partition counts up from 0
			for _, r := range records {
				offsets[r.Partition] = max(offsets[r.Partition], r.Offset+1)
			}
			var sum int64
			for _, end := range offsets {
				sum += end
			}
			if sum != int64(len(records)) {
				t.Errorf("the offsets given out end at %v, together %d, want %d", offsets, sum, len(records))
			}
			wantCounts(t, b, len(records), size)
		})
	}
}

func TestBrokerHoldsBackItsAnswers(t *testing.T) {
	t.Parallel()
	const delay = 80 * time.Millisecond
	b := &broker{partitions: 1, delay: delay}
	cl, err := kgo.NewClient(kgo.SeedBrokers(startTestBroker(t, b)))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	start := time.Now()
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "lines", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < delay {
		t.Errorf("the answer came after %v, want %v or more", took, delay)
	}
}

// capture returns the record batches that a producer sends for the given number of lines.
func capture(t *testing.T, lines int) []byte {
	t.Helper()
	var batch sarama.RecordBatch
	batch.Version = 2
	for i := range lines {
		batch.Records = append(batch.Records, &sarama.Record{OffsetDelta: int64(i), Value: []byte(value(i))})
	}
	batch.LastOffsetDelta = int32(lines - 1)
	req := &sarama.ProduceRequest{Version: 3, RequiredAcks: sarama.WaitForAll}
	req.AddBatch("lines", 0, &batch)
	seen := make(chan []byte, 1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			seen <- nil
			return
		}
		defer conn.Close()
		head := make([]byte, 4)
		_, _ = io.ReadFull(conn, head)
		body := make([]byte, binary.BigEndian.Uint32(head))
		_, _ = io.ReadFull(conn, body)
		seen <- body
	}()
	b := sarama.NewBroker(ln.Addr().String())
	cfg := sarama.NewConfig()
	cfg.ApiVersionsRequest = false
	if err := b.Open(cfg); err != nil {
		t.Fatal(err)
	}
	_, _ = b.Produce(req) // nobody answers
	_ = b.Close()
	body, ok := afterClientID((<-seen)[8:])
	if !ok {
		t.Fatal("a request without a client id")
	}
	return body
}

func TestABatchThatIsNotWhatItSaysIsFound(t *testing.T) {
	t.Parallel()
	const before = 2 + 2 + 4 + 4 + 2 + len("lines") + 4 + 4 + 4 // of a produce request before its one batch
	batch := capture(t, 10)[before:]
	fresh := func() []byte { return bytes.Clone(batch) }
	r := newBatchReader(false)
	if c := r.read(fresh()); c.wrong() != nil || c.Records != 10 || c.Walked != 10 {
		t.Fatalf("a good batch gives %+v", c)
	}
	flipped := fresh()
	flipped[len(flipped)-1] ^= 1
	if c := r.read(flipped); c.BadCRC != 1 {
		t.Errorf("a flipped bit gives %+v, want a bad checksum", c)
	}
	many := fresh()
	many[batchRecords+3] = 11
	resum(r, many)
	if c := r.read(many); c.BadCount != 1 || c.BadCRC != 0 {
		t.Errorf("a header that claims a record too many gives %+v", c)
	}
	for n := 1; n < len(batch); n++ {
		if c := r.read(fresh()[:n]); c.wrong() == nil {
			t.Errorf("a batch cut to %d of %d bytes gives %+v", n, len(batch), c)
		}
	}
}

// resum makes the checksum of a changed batch right again.
func resum(r *batchReader, b []byte) {
	binary.BigEndian.PutUint32(b[batchCRC:], crc32.Checksum(b[batchAttributes:], r.castagnoli))
}

func TestACutProduceRequestIsAnErrorAndNothingWorse(t *testing.T) {
	t.Parallel()
	whole := capture(t, 3)
	for _, version := range []int16{3, 9} {
		for n := range len(whole) {
			b := &broker{partitions: 1, ledger: newLedger()}
			if _, _, err := b.produce(newBatchReader(false), version, whole[:n], nil); version == 3 && err == nil {
				t.Errorf("%d of %d bytes are no error", n, len(whole))
			}
		}
	}
}

func TestMedianIsTheMiddle(t *testing.T) {
	t.Parallel()
	rate := func(f figures) float64 { return f.linesPerSec }
	for _, c := range []struct {
		runs []figures
		want float64
	}{
		{[]figures{{linesPerSec: 3}, {linesPerSec: 1}, {linesPerSec: 2}}, 2},
		{[]figures{{linesPerSec: 4}, {linesPerSec: 1}}, 2.5},
	} {
		if got := median(c.runs, rate); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.runs, got, c.want)
		}
	}
}
