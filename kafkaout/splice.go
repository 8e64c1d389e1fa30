package kafkaout

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/IBM/sarama"
)

// splice is the socket of a data connection. sarama is handed a request without content,
// the stub, and what the connection has encoded goes out in its place, under the header
// that sarama made for the stub: so logging in, versions, correlation ids, deadlines and
// answers stay sarama's.
//
// It has no lock, because all its writers stand in one line. sarama's Open writes (versions,
// logging in) in a goroutine of its own under the broker's lock, and open waits for that
// lock before anybody gets the connection. After that only AsyncProduce writes, within
// the call and in the caller's goroutine, which is the connection's: first what renews a
// login, with its answers awaited, then the stub, in one Write. The goroutine that reads
// answers only reads and sets read deadlines; what closes the socket when the context ends
// closes the one below.
//
// All this is as of sarama v1.61.1. Whatever is not as expected is refused before a byte
// of it is written, and the connection is given up.
type splice struct {
	net.Conn
	request []byte // armed: room bytes, then the body
	room    int
	written bool // the request was given to the socket, maybe in vain
}

// requestHeader is the header of a request without the client id: size, API key, version,
// correlation id, length of the client id.
const requestHeader = 4 + 2 + 2 + 4 + 2

// arm has the next produce request replaced by body, which has room bytes in front.
func (s *splice) arm(request []byte, room int) {
	s.request, s.room, s.written = request, room, false
}

// disarm tells whether the request was given to the socket since arm.
func (s *splice) disarm() (written bool) {
	s.request = nil
	return s.written
}

// Write passes everything but produce requests. It returns what a plain Write of b would.
func (s *splice) Write(b []byte) (int, error) {
	whole := len(b) >= requestHeader && int(binary.BigEndian.Uint32(b)) == len(b)-4
	produce := whole && binary.BigEndian.Uint16(b[4:]) == 0
	switch {
	case !produce && (whole || s.request == nil):
		return s.Conn.Write(b)
	case !produce:
		return 0, refusal("%d bytes that are no request", len(b))
	case s.request == nil:
		return 0, refusal("a request that nobody ordered")
	case s.written:
		return 0, refusal("a request twice")
	}
	if v := binary.BigEndian.Uint16(b[6:]); v < oldestProduceVersion || v > produceVersion {
		return 0, refusal("version %d", v)
	}
	header := requestHeader + int(binary.BigEndian.Uint16(b[12:]))
	start := s.room - header
	body := s.request[s.room:]
	// Transactional id, acks and timeout, then no topics.
	if start < 0 || len(b) != header+bodyOverhead || string(b[header:header+8]) != string(body[:8]) || binary.BigEndian.Uint32(b[header+8:]) != 0 {
		return 0, refusal("a request that is not the one ordered")
	}
	out := s.request[start:]
	if len(out) > int(sarama.MaxRequestSize) {
		return 0, fmt.Errorf("a request of %d bytes is larger than any broker takes", len(out))
	}
	copy(out, b[:header])
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	s.written = true
	n, err := s.Conn.Write(out)
	switch {
	case err == nil && n == len(out):
		return len(b), nil
	case err == nil:
		err = io.ErrShortWrite
	}
	return min(n, len(b)-1), err
}

func refusal(format string, args ...any) error {
	return fmt.Errorf("sarama wrote "+format+" where a produce request was expected", args...)
}

// openSpliced connects to a broker as open does. TLS begins below the splice, so it is not
// left to sarama.
func openSpliced(addr string, cfg *sarama.Config) (*sarama.Broker, *splice, error) {
	var s *splice // set under the broker's lock, which open waits for
	own := *cfg
	own.Net.TLS.Enable = false
	own.Net.Proxy.Dialer = dialFunc(func(network, addr string) (net.Conn, error) {
		c, err := cfg.Net.Proxy.Dialer.Dial(network, addr)
		if err != nil {
			return nil, err
		}
		if cfg.Net.TLS.Enable {
			if c, err = sealedConn(c, addr, cfg); err != nil {
				return nil, err
			}
		}
		s = &splice{Conn: c}
		return s, nil
	})
	link, err := open(addr, &own)
	return link, s, err
}

// sealedConn does what sarama does for TLS, and at once: its own handshake comes with the
// first write.
func sealedConn(c net.Conn, addr string, cfg *sarama.Config) (net.Conn, error) {
	conf := cfg.Net.TLS.Config
	if conf.ServerName == "" {
		conf = conf.Clone()
		// An address without a port was refused by the dialer.
		conf.ServerName, _, _ = net.SplitHostPort(addr)
	}
	sealed := tls.Client(c, conf)
	// A deadline and no context: what ends the producer closes the socket, and what takes
	// too long is told in the same words as any other silence.
	err := c.SetDeadline(time.Now().Add(cfg.Net.DialTimeout))
	if err == nil {
		err = sealed.Handshake()
	}
	if err == nil {
		err = c.SetDeadline(time.Time{})
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return sealed, nil
}
