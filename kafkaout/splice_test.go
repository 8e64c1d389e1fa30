package kafkaout

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logagent/agent"
	"logagent/internal/lab"
)

// testSocket keeps what is written to it and never has anything to read.
type testSocket struct {
	net.Conn // none: what is not below must not be called

	mu     sync.Mutex // guards what follows
	text   []byte
	writes int
	take   int   // bytes taken of each write, if fail or short
	fail   error // of each write
	short  bool

	closed chan struct{}
	once   sync.Once
}

func newTestSocket() *testSocket { return &testSocket{closed: make(chan struct{})} }

func (s *testSocket) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	if s.fail != nil || s.short {
		b = b[:min(s.take, len(b))]
	}
	s.text = append(s.text, b...)
	return len(b), s.fail
}

func (s *testSocket) Read([]byte) (int, error) {
	<-s.closed
	return 0, net.ErrClosed
}

func (s *testSocket) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *testSocket) SetDeadline(time.Time) error      { return nil }
func (s *testSocket) SetReadDeadline(time.Time) error  { return nil }
func (s *testSocket) SetWriteDeadline(time.Time) error { return nil }

func (s *testSocket) bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.text)
}

// plainLink is a broker that sarama writes to without asking it anything first.
func plainLink(t testing.TB, p *Producer, dial dialFunc) *sarama.Broker {
	t.Helper()
	cfg := p.opts.config(context.Background())
	cfg.ApiVersionsRequest = false
	cfg.Net.Proxy.Dialer = dial
	link, err := open("broker:9092", cfg)
	check(t, err)
	return link
}

// request is the bytes of one with an empty body of n bytes.
func plainRequest(key, version int16, client string, body []byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(requestHeader-4+len(client)+len(body)))
	out = binary.BigEndian.AppendUint16(out, uint16(key))
	out = binary.BigEndian.AppendUint16(out, uint16(version))
	out = binary.BigEndian.AppendUint32(out, 77)
	out = binary.BigEndian.AppendUint16(out, uint16(len(client)))
	return append(append(out, client...), body...)
}

const (
	testClient = "logagent"
	stubBody   = "\xff\xff\xff\xff\x00\x00\x1d\x4c\x00\x00\x00\x00"
	realBody   = "\xff\xff\xff\xff\x00\x00\x1d\x4c\x00\x00\x00\x01 and what else there is"
)

func armed(s *splice) {
	room := requestHeader + len(testClient)
	s.arm(append(bytes.Repeat([]byte{0xee}, room), realBody...), room)
}

func TestASpliceReplacesTheStubUnderItsHeader(t *testing.T) {
	t.Parallel()
	for version := int16(oldestProduceVersion); version <= produceVersion; version++ {
		for _, client := range []string{testClient, "short", ""} {
			socket := newTestSocket()
			s := &splice{Conn: socket}
			armed(s)
			login := plainRequest(17, 1, client, []byte("\x00\x05PLAIN")) // a login that must be renewed first
			if n, err := s.Write(login); n != len(login) || err != nil {
				t.Fatalf("want %d bytes of another request written, got %d, %v", len(login), n, err)
			}
			stub := plainRequest(0, version, client, []byte(stubBody))
			if n, err := s.Write(stub); n != len(stub) || err != nil {
				t.Errorf("want %d bytes written, got %d, %v", len(stub), n, err)
			}
			if !s.disarm() {
				t.Error("want it told that the request was written")
			}
			if want := append(login, plainRequest(0, version, client, []byte(realBody))...); !bytes.Equal(socket.bytes(), want) {
				t.Errorf("version %d, client %q: want %q, got %q", version, client, want, socket.bytes())
			}
			if socket.writes != 2 {
				t.Errorf("want each request written at once, got %d writes", socket.writes)
			}
			if _, err := s.Write(login); err != nil {
				t.Errorf("want other requests passed on, got %v", err)
			}
		}
	}
}

func TestASpliceRefusesWhatItDoesNotExpect(t *testing.T) {
	t.Parallel()
	stub := plainRequest(0, 8, testClient, []byte(stubBody))
	for _, c := range []struct {
		name  string
		arm   func(*splice)
		write []byte
		want  string
	}{
		{"nothing armed", func(*splice) {}, stub, "that nobody ordered"},
		{"disarmed", func(s *splice) { armed(s); s.disarm() }, stub, "that nobody ordered"},
		{"an older version", armed, plainRequest(0, 2, testClient, []byte(stubBody)), "version 2"},
		{"a newer version", armed, plainRequest(0, 9, testClient, []byte(stubBody)), "version 9"},
		{"the size alone", armed, stub[:4], "4 bytes that are no request"},
		{"the header alone", armed, stub[:len(stub)-len(stubBody)], "no request"},
		{"more behind it", armed, append(bytes.Clone(stub), 0), "no request"},
		{"nothing", armed, nil, "no request"},
		{"other acks", armed, plainRequest(0, 8, testClient, []byte(strings.Replace(stubBody, "\xff\xff\xff\xff", "\xff\xff\x00\x01", 1))), "not the one ordered"},
		{"a topic in it", armed, plainRequest(0, 8, testClient, []byte(realBody)), "not the one ordered"},
		{"a topic's number in it", armed, plainRequest(0, 8, testClient, []byte(realBody[:bodyOverhead])), "not the one ordered"},
		{"more in it", armed, plainRequest(0, 8, testClient, []byte(stubBody+"\x00")), "not the one ordered"},
		{"a longer client id", armed, plainRequest(0, 8, testClient+"x", []byte(stubBody)), "not the one ordered"},
		{"a huge client id", armed, plainRequest(0, 8, strings.Repeat("x", 1<<15), []byte(stubBody)), "not the one ordered"},
		{"a huge request", func(s *splice) {
			body := make([]byte, int(sarama.MaxRequestSize)+1)
			copy(body[requestHeader+len(testClient):], realBody)
			s.arm(body, requestHeader+len(testClient))
		}, stub, "larger than any broker takes"},
	} {
		socket := newTestSocket()
		s := &splice{Conn: socket}
		c.arm(s)
		n, err := s.Write(c.write)
		if n != 0 || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: want an error with %q, got %d bytes and %v", c.name, c.want, n, err)
		}
		if s.disarm() || socket.writes > 0 {
			t.Errorf("%s: want nothing written, got %q", c.name, socket.bytes())
		}
	}

	socket := newTestSocket()
	s := &splice{Conn: socket}
	armed(s)
	if _, err := s.Write(stub); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(stub); err == nil || !strings.Contains(err.Error(), "twice") || socket.writes != 1 {
		t.Errorf("want a second one refused, got %v and %d writes", err, socket.writes)
	}
}

func TestASpliceTellsHowAWriteFailed(t *testing.T) {
	t.Parallel()
	stub := plainRequest(0, 8, testClient, []byte(stubBody))
	for _, c := range []struct {
		name string
		take int
		fail error
		want error
	}{
		{"an error before the first byte", 0, errBroken, errBroken},
		{"an error in the middle", 20, errBroken, errBroken},
		{"an error behind as many bytes as the stub has", 40, errBroken, errBroken},
		{"a short write without an error", 20, nil, io.ErrShortWrite},
	} {
		socket := newTestSocket()
		socket.take, socket.fail, socket.short = c.take, c.fail, true
		s := &splice{Conn: socket}
		armed(s)
		n, err := s.Write(stub)
		if n >= len(stub) || n < 0 || !errors.Is(err, c.want) {
			t.Errorf("%s: want fewer than %d bytes and %v, got %d and %v", c.name, len(stub), c.want, n, err)
		}
		if !s.disarm() {
			t.Errorf("%s: want it told that some of the request may have been written", c.name)
		}
	}
}

var errBroken = errors.New("broken")

// A broker that takes nothing any more is found out by sarama's deadline.
func TestASpliceKeepsDeadlines(t *testing.T) {
	t.Parallel()
	d := newDraft(t, 1, "none")
	d.p.opts.Timeout = 50 * time.Millisecond
	ours, theirs := net.Pipe()
	defer theirs.Close()
	s := &splice{Conn: ours}
	link := plainLink(t, d.p, func(string, string) (net.Conn, error) { return s, nil })
	defer link.Close()
	e := newEncoder(&d.p.opts)
	body, err := e.encode(fullRequest(d))
	check(t, err)
	s.arm(body, e.room)
	err = link.AsyncProduce(e.stub(), func(*sarama.ProduceResponse, error) { t.Error("want no answer") })
	if err == nil || words(err) != "no answer in time" {
		t.Errorf("want the deadline told, got %v", err)
	}
	if !s.disarm() {
		t.Error("want it told that some of the request may have been written")
	}
}

// outdate has the cluster tell that it knows no produce request that carries record
// batches, until the end.
func outdate(k *lab.Kafka) (end func()) {
	var over atomic.Bool
	k.Cluster().ControlKey(int16(kmsg.ApiVersions), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		k.Cluster().KeepControl()
		if over.Load() {
			return nil, nil, false
		}
		res := kreq.ResponseKind().(*kmsg.ApiVersionsResponse)
		for key, most := range map[int16]int16{0: 2, 3: 9, 18: 3, 22: 2} {
			v := kmsg.NewApiVersionsResponseApiKey()
			v.ApiKey, v.MaxVersion = key, most
			res.ApiKeys = append(res.ApiKeys, v)
		}
		return res, nil, true
	})
	return func() { over.Store(true) }
}

func TestARequestThatIsRefusedBeforeItIsWrittenLosesNothing(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	createTopic(t, k, "old", 3, nil)
	end := outdate(k)
	var mu sync.Mutex // guards seen
	seen := make(map[int16]int)
	k.Cluster().ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		k.Cluster().KeepControl()
		mu.Lock()
		defer mu.Unlock()
		seen[kreq.GetVersion()]++
		return nil, nil, false
	})
	p, _ := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	for range 20 {
		f.send(entry("a", "old"), 5)
		f.send(entry("b", "old"), 5)
	}
	wait(t, "the cause told", func() bool { return strings.Contains(p.Topic("old").Why, "sarama wrote version 2") })
	end()
	if v := f.settled(); v != (agent.Verdict{}) {
		t.Errorf("want nothing counted, got %+v", v)
	}
	f.compare(k)
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 1 || seen[produceVersion] == 0 {
		t.Errorf("want requests of version %d alone, got %v", produceVersion, seen)
	}
}

// What was not written may be merged and recalled; what sarama lost track of may not.
func TestARequestThatSaramaKeepsHasAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		other bool // the splice that is armed is not the socket
		want  bool // the outcome is unknown
	}{
		{"refused by the splice", false, false},
		{"not seen by the splice", true, true},
	} {
		d := newDraft(t, 1, "none")
		part := &partition{topic: d.topics[0], busy: true, queue: nil}
		d.topics[0].partitions = []*partition{part}
		socket := newTestSocket()
		s := &splice{Conn: socket}
		conn := newConnection(d.p, 1)
		conn.link, conn.socket = plainLink(t, d.p, func(string, string) (net.Conn, error) {
			if c.other {
				return socket, nil
			}
			return s, nil
		}), s
		if !c.other {
			conn.encoder.room = 3 // no header fits before it
		}
		ch := d.chunk(part, span{p: d.parcel(3, 10), to: 3})
		ch.spans[0].p.topic, ch.spans[0].p.out = d.topics[0], 3
		part.chunk = ch
		conn.write(&request{chunks: []*chunk{ch}, records: 3})
		if conn.link != nil || conn.inFlight != 0 {
			t.Errorf("%s: want the connection given up", c.name)
		}
		if ch.unknown != c.want || (part.chunk == ch) != c.want || part.busy {
			t.Errorf("%s: want an unknown outcome: %t, got %t", c.name, c.want, ch.unknown)
		}
		if !c.want && (len(part.queue) != 1 || len(socket.bytes()) > 0) {
			t.Errorf("%s: want the records queued again and nothing written, got %d spans, %q", c.name, len(part.queue), socket.bytes())
		}
	}
}

func TestADataConnectionIsSealedBelowTheSplice(t *testing.T) {
	t.Parallel()
	ours, theirs := authority(t), authority(t)
	for _, c := range []struct {
		name   string
		broker kfake.Opt
		client *tls.Config
		want   string // "" is success
	}{
		{"the right one", sealed(t, ours, time.Now().Add(time.Hour), "127.0.0.1"), &tls.Config{RootCAs: ours.Pool()}, ""},
		{"a name that is asked for", sealed(t, ours, time.Now().Add(time.Hour), "kafka.example"), &tls.Config{RootCAs: ours.Pool(), ServerName: "kafka.example"}, ""},
		{"another authority", sealed(t, theirs, time.Now().Add(time.Hour), "127.0.0.1"), &tls.Config{RootCAs: ours.Pool()}, "certificate signed by unknown authority"},
		{"another host", sealed(t, ours, time.Now().Add(time.Hour), "10.1.2.3"), &tls.Config{RootCAs: ours.Pool()}, "certificate is valid for 10.1.2.3, not 127.0.0.1"},
	} {
		k := startKafka(t, lab.KafkaOptions{Options: []kfake.Opt{c.broker}})
		o := quick(k.Addrs())
		o.TLS = c.client
		link, s, err := openSpliced(k.Addrs()[0], o.config(t.Context()))
		if c.want != "" {
			if err == nil || !strings.Contains(words(err), c.want) {
				t.Errorf("%s: want %q, got %v", c.name, c.want, err)
			}
			continue
		}
		check(t, err)
		if _, ok := s.Conn.(*tls.Conn); !ok {
			t.Errorf("%s: want TLS, got %T", c.name, s.Conn)
		}
		check(t, link.Close())
	}
}

// silentBroker hears what it is told and says nothing.
func silentBroker(t *testing.T) (addr string, heard chan struct{}) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	heard = make(chan struct{}, 10)
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer c.Close()
				if _, err := c.Read(make([]byte, 1)); err != nil {
					return
				}
				heard <- struct{}{}
				io.Copy(io.Discard, c) // until the client gives up
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		conns.Wait()
	})
	return l.Addr().String(), heard
}

func TestASealedBrokerThatIsSilentIsGivenUp(t *testing.T) {
	t.Parallel()
	addr, _ := silentBroker(t)
	o, err := quick([]string{addr}).withDefaults()
	check(t, err)
	o.TLS, o.Timeout = &tls.Config{}, 100*time.Millisecond
	if _, _, err := openSpliced(addr, o.config(t.Context())); err == nil || words(err) != "no answer in time" {
		t.Errorf("want the network timeout told, got %v", err)
	}

	addr, heard := silentBroker(t)
	o.Timeout = waitLimit
	ctx, cancel := context.WithCancel(t.Context())
	var ending sync.WaitGroup
	ending.Go(func() {
		select {
		case <-heard: // in the middle of the handshake
		case <-time.After(waitLimit):
		}
		cancel()
	})
	if _, _, err := openSpliced(addr, o.config(ctx)); err == nil || !closedByPeer(err) {
		t.Errorf("want the handshake ended with the context, got %v", err)
	}
	ending.Wait()
}

// A request of any size is away when the connection rests, and so is what compressed it.
func TestAConnectionAtRestHoldsNoRequest(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	createTopic(t, k, "rest", 1, nil)
	for pause := restAfter + restAfter/4; ; pause *= 2 {
		o := quick(k.Addrs())
		o.Compression = "zstd"
		p, err := New(o)
		check(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		f := newFlow(t, p)
		f.send(entry("a", "rest"), 10_000)
		f.settled()
		time.Sleep(pause) // too short on a busy machine, then longer
		cancel()
		check(t, <-ended)
		large := false
		for _, c := range p.conns {
			large = large || c.encoder.large()
		}
		if !large {
			return
		}
		if pause > 20*restAfter {
			t.Fatalf("want no memory held %v after the last request", pause)
		}
	}
}
