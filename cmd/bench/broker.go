package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxRequest bounds one request, so that a broken length is found rather than allocated.
const maxRequest = 128 << 20

// broker stands in for a Kafka cluster of one broker with any topic a client names. It
// speaks what producers need, checks and counts what they send, and keeps nothing.
type broker struct {
	host       string
	port       int32
	partitions int
	delay      time.Duration
	unpack     bool
	ledger     *ledger
	producers  atomic.Int64 // producer ids given out
	silent     atomic.Bool  // requests are read, and neither counted nor answered
}

// supported are the requests the broker answers, with the newest version of each.
var supported = map[int16]int16{
	keyProduce: 11, 3: 12, 18: 3, 19: 7, 22: 4, 32: 4, 2: 7, 10: 4,
	// No producer fetches. But librdkafka takes a broker that does not offer it for one from
	// before record batches, and sends it the message sets of those days.
	keyFetch: 11,
}

const (
	keyProduce = 0
	keyFetch   = 1
)

// brokerMain is the broker's process: it prints its address, answers every command on in
// with a line of JSON, and ends with in.
func brokerMain(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("bench broker", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:0", "where to listen")
	partitions := flags.Int("partitions", 8, "partitions of every topic")
	delay := flags.Duration("delay", 0, "how long answers to produce requests are held back")
	unpack := flags.Bool("unpack", false, "unpack and walk compressed batches too")
	when := flags.Bool("arrivals", false, "remember when lines came")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	at := ln.Addr().(*net.TCPAddr)
	b := &broker{host: at.IP.String(), port: int32(at.Port), partitions: *partitions, delay: *delay, unpack: *unpack, ledger: newLedger()}
	if *when {
		b.ledger.keepArrivals()
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { b.serve(ctx, ln) })
	defer wg.Wait()
	defer cancel()

	if _, err := fmt.Fprintln(out, ln.Addr()); err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	encoder := json.NewEncoder(out)
	for lines.Scan() {
		said, err := b.obey(lines.Text())
		if err != nil {
			return err
		}
		if err := encoder.Encode(said); err != nil {
			return err
		}
	}
	return lines.Err()
}

// Commands to the broker's process. An empty line asks for the counts of all topics, and
// askArrivals is followed by a topic.
const (
	askArrivals = "arrivals "
	askLatency  = "latency" // from the write of a line to the answer for it
	doForget    = "forget"  // arrivals and latencies so far
	doSilent    = "silent"  // read everything, answer nothing
	doAnswer    = "answer"  // the end of that
)

// obey does what a command says and returns what is to be told.
func (b *broker) obey(command string) (any, error) {
	if topic, ok := strings.CutPrefix(command, askArrivals); ok {
		return b.ledger.arrivals(topic), nil
	}
	switch command {
	case "":
		return b.ledger.snapshot(), nil
	case askLatency:
		return b.ledger.latencies(), nil
	case doForget:
		b.ledger.forget()
	case doSilent:
		b.silent.Store(true)
	case doAnswer:
		b.silent.Store(false)
	default:
		return nil, fmt.Errorf("no command %q", command)
	}
	return struct{}{}, nil
}

// serve accepts connections until ctx ends, and returns when all of them are done.
func (b *broker) serve(ctx context.Context, ln net.Listener) {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return // closed
		}
		wg.Go(func() {
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			// A client may go away whenever it likes; what it sent wrong is in the counts.
			_ = b.converse(conn)
		})
	}
}

// reply is a response on its way to a client.
type reply struct {
	due     time.Time
	bytes   []byte
	written []int64 // when the lines were written that it answers for and that say so
}

// converse answers the requests of one client in their order.
func (b *broker) converse(conn net.Conn) error {
	replies := make(chan reply, 1024)
	var wg sync.WaitGroup
	wg.Go(func() {
		for r := range replies {
			time.Sleep(time.Until(r.due))
			if _, err := conn.Write(r.bytes); err != nil {
				conn.Close() // ends the reading side
				continue
			}
			b.ledger.answered(time.Now().UnixNano(), r.written)
		}
	})
	defer wg.Wait()
	defer close(replies)

	in := bufio.NewReaderSize(conn, 64<<10)
	batches := newBatchReader(b.unpack)
	var buf []byte
	missed := false // an answer the client waits for will never come
	for {
		var head [4]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return err
		}
		size := binary.BigEndian.Uint32(head[:])
		if size < 8 || size > maxRequest {
			return fmt.Errorf("a request of %d bytes", size)
		}
		if int(size) > cap(buf) {
			buf = make([]byte, size)
		}
		buf = buf[:size]
		if _, err := io.ReadFull(in, buf); err != nil {
			return err
		}
		if b.silent.Load() {
			missed = true
			continue
		}
		if missed {
			return errors.New("was silent")
		}
		r, err := b.respond(batches, buf)
		if err != nil {
			return err
		}
		if r.bytes != nil {
			replies <- r
		}
	}
}

// respond makes the reply to a request, or none.
func (b *broker) respond(batches *batchReader, req []byte) (reply, error) {
	key := int16(binary.BigEndian.Uint16(req))
	version := int16(binary.BigEndian.Uint16(req[2:]))
	correlation := req[4:8]
	body, ok := afterClientID(req[8:])
	if !ok {
		return reply{}, errors.New("no client id")
	}
	newest, known := supported[key]
	if !known || (version > newest && key != int16(kmsg.ApiVersions)) {
		return reply{}, fmt.Errorf("request %s version %d is not answered", kmsg.NameForKey(key), version)
	}

	out := append(make([]byte, 4, 256), correlation...)
	if key == keyProduce {
		if version >= firstFlexibleProduce {
			body, out = body[1:], append(out, 0) // no tagged fields
		}
		out, answer, err := b.produce(batches, version, body, out)
		if err != nil || !answer {
			return reply{}, err
		}
		return reply{time.Now().Add(b.delay), sealed(out), batches.takeWritten()}, nil
	}
	resp, err := b.answer(key, version, body)
	if err != nil {
		return reply{}, err
	}
	if resp.IsFlexible() && key != int16(kmsg.ApiVersions) {
		out = append(out, 0)
	}
	return reply{bytes: sealed(resp.AppendTo(out))}, nil
}

// afterClientID returns what follows the client id of a request's header.
func afterClientID(b []byte) ([]byte, bool) {
	if len(b) < 2 {
		return nil, false
	}
	n := max(0, int(int16(binary.BigEndian.Uint16(b))))
	if n > len(b)-2 {
		return nil, false
	}
	return b[2+n:], true
}

// sealed writes the length in front of a reply.
func sealed(b []byte) []byte {
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}
