package kafkaout

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"logagent/internal/lab"
)

// front stands before the brokers of a cluster and hurts what passes. It knows a request
// from the next, so it can cut inside one, or between one and its answer.
type front struct {
	mu    sync.Mutex // guards the rest
	doors map[string]*door
	rules []*rule
	moved *sync.Cond // the state of a door changed
	over  bool
	group sync.WaitGroup
}

// door is one broker's.
type door struct {
	addr, target string // told to clients, and where the broker is
	state        string // "", closed (cuts and refuses) or frozen (accepts, never passes anything)
	ln           net.Listener
	conns        map[net.Conn]struct{}
}

// rule is what becomes of the next produce requests.
type rule struct {
	what  trouble
	topic string // only requests that carry it; "" is all
	bytes int    // of the request, for cutInside; milliseconds, for silence; the code, for misname
	left  int    // requests it still applies to
	hits  int
}

type trouble int

const (
	cutInside trouble = iota // the broker gets the first bytes of the request
	cutAfter                 // the broker gets it and answers, the client does not get that
	swallow                  // the same, and the connection stays
	silence                  // the client gets the answer, and in it the wish for some silence
	misname                  // the client gets the answer with another error code for its first partition
)

func newFront(t testing.TB) *front {
	f := &front{doors: make(map[string]*door)}
	f.moved = sync.NewCond(&f.mu)
	t.Cleanup(f.close)
	return f
}

func (f *front) close() {
	f.mu.Lock()
	f.over = true
	for _, d := range f.doors {
		d.ln.Close()
		for c := range d.conns {
			c.Close()
		}
	}
	f.moved.Broadcast()
	f.mu.Unlock()
	f.group.Wait()
}

// before opens a door on a free port and returns its address.
func (f *front) before(target string) (string, error) {
	for range 50 {
		port, err := lab.FreePort()
		if err != nil {
			return "", err
		}
		ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err == nil {
			return f.open(ln, target), nil
		}
	}
	return "", errors.New("no free port for a door")
}

func (f *front) open(ln net.Listener, target string) string {
	d := &door{addr: ln.Addr().String(), target: target, ln: ln, conns: make(map[net.Conn]struct{})}
	f.mu.Lock()
	f.doors[d.addr] = d
	f.mu.Unlock()
	f.group.Go(func() { f.serve(d) })
	return d.addr
}

// listen is for a broker inside this process: what it listens on stays behind a door that
// has its address, also over a restart.
func (f *front) listen(network, address string) (net.Listener, error) {
	hidden, err := net.Listen(network, "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	d := f.doors[address]
	if d != nil {
		d.target = hidden.Addr().String()
	}
	f.mu.Unlock()
	if d == nil {
		public, err := net.Listen(network, address)
		if err != nil {
			hidden.Close()
			return nil, err
		}
		f.open(public, hidden.Addr().String())
		address = public.Addr().String()
	}
	named, err := net.ResolveTCPAddr(network, address)
	return namedListener{hidden, named}, err
}

type namedListener struct {
	net.Listener
	addr net.Addr
}

func (l namedListener) Addr() net.Addr { return l.addr }

// set puts a door into a state; address "" is all of them.
func (f *front) set(addr, state string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.doors {
		if addr != "" && addr != d.addr {
			continue
		}
		d.state = state
		if state == "closed" {
			for c := range d.conns {
				c.Close()
			}
		}
	}
	f.moved.Broadcast()
}

// cut closes every connection that there is.
func (f *front) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.doors {
		for c := range d.conns {
			c.Close()
		}
	}
}

// trouble adds a rule for the next n produce requests.
func (f *front) trouble(what trouble, bytes, n int) *rule {
	return f.troubleOf("", what, bytes, n)
}

// troubleOf is trouble for the requests that carry a topic.
func (f *front) troubleOf(topic string, what trouble, bytes, n int) *rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &rule{what: what, topic: topic, bytes: bytes, left: n}
	f.rules = append(f.rules, r)
	return r
}

// end takes a rule away.
func (f *front) end(r *rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.left = 0
}

func (f *front) hits(r *rule) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return r.hits
}

// next takes the rule for one more produce request.
func (f *front) next(request []byte) *rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rules {
		if r.left > 0 && bytes.Contains(request, []byte(r.topic)) {
			r.left--
			r.hits++
			return r
		}
	}
	return nil
}

func (f *front) serve(d *door) {
	for {
		c, err := d.ln.Accept()
		if err != nil {
			return
		}
		f.group.Go(func() { f.pass(d, c) })
	}
}

// enter takes a connection into the door's books; false where it may not be.
func (f *front) enter(d *door, conns ...net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over || d.state == "closed" {
		return false
	}
	for _, c := range conns {
		d.conns[c] = struct{}{}
	}
	return true
}

func (f *front) pass(d *door, client net.Conn) {
	defer client.Close()
	if !f.enter(d, client) {
		return
	}
	f.mu.Lock()
	target := d.target
	f.mu.Unlock()
	broker, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		f.leave(d, client)
		return
	}
	defer broker.Close()
	if f.enter(d, broker) {
		w := &way{front: f, door: d, client: client, broker: broker, lost: make(map[uint32]*rule)}
		f.group.Go(w.back)
		w.forth()
	}
	f.leave(d, client, broker)
}

func (f *front) leave(d *door, conns ...net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range conns {
		delete(d.conns, c)
	}
}

// thaw waits while the door is frozen.
func (f *front) thaw(d *door) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for d.state == "frozen" && !f.over {
		f.moved.Wait()
	}
}

// way is one connection through a door.
type way struct {
	front          *front
	door           *door
	client, broker net.Conn

	mu   sync.Mutex       // guards lost
	lost map[uint32]*rule // correlation ids whose answers do not arrive
}

const produceKey = 0

// forth passes requests.
func (w *way) forth() {
	defer w.broker.Close()
	defer w.client.Close()
	head := make([]byte, 12) // size, API key, version, correlation id
	for {
		if _, err := io.ReadFull(w.client, head); err != nil {
			return
		}
		w.front.thaw(w.door)
		request := make([]byte, 4+int(binary.BigEndian.Uint32(head)))
		copy(request, head)
		if _, err := io.ReadFull(w.client, request[len(head):]); err != nil {
			return
		}
		keep := len(request)
		if binary.BigEndian.Uint16(head[4:]) == produceKey {
			switch r := w.front.next(request); {
			case r == nil:
			case r.what == cutInside:
				keep = min(r.bytes, len(request)-1)
			default:
				w.mu.Lock()
				w.lost[binary.BigEndian.Uint32(head[8:])] = r
				w.mu.Unlock()
			}
		}
		if _, err := w.broker.Write(request[:keep]); err != nil || keep < len(request) {
			return
		}
	}
}

// back passes answers.
func (w *way) back() {
	defer w.broker.Close()
	defer w.client.Close()
	head := make([]byte, 8) // size, correlation id
	for {
		if _, err := io.ReadFull(w.broker, head); err != nil {
			return
		}
		w.front.thaw(w.door)
		rest := int64(binary.BigEndian.Uint32(head)) - 4
		id := binary.BigEndian.Uint32(head[4:])
		w.mu.Lock()
		r := w.lost[id]
		delete(w.lost, id)
		w.mu.Unlock()
		if r != nil {
			if r.what == cutAfter {
				return
			}
			if r.what == silence || r.what == misname {
				answer := make([]byte, rest)
				if _, err := io.ReadFull(w.broker, answer); err != nil {
					return
				}
				if r.what == silence {
					// Up to version 8 its last field is how long to be silent.
					binary.BigEndian.PutUint32(answer[rest-4:], uint32(r.bytes))
				} else {
					// Number of topics, length and name of the first, number of partitions, the
					// first one's index, its error.
					at := 4 + 2 + int(binary.BigEndian.Uint16(answer[4:])) + 4 + 4
					binary.BigEndian.PutUint16(answer[at:], uint16(r.bytes))
				}
				if _, err := w.client.Write(append(head, answer...)); err != nil {
					return
				}
				continue
			}
			if _, err := io.CopyN(io.Discard, w.broker, rest); err != nil {
				return
			}
			continue
		}
		if _, err := w.client.Write(head); err != nil {
			return
		}
		if _, err := io.CopyN(w.client, w.broker, rest); err != nil {
			return
		}
	}
}
