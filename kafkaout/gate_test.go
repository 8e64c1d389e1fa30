package kafkaout

import (
	"net"
	"sync"
	"testing"
)

// gates stand before the brokers of a cluster, by address: a closed one cuts and refuses,
// a frozen one accepts and never answers.
type gates struct {
	mu    sync.Mutex // guards the rest
	state map[string]string
	conns map[*gatedConn]struct{}
	moved *sync.Cond // state changed
}

func newGates(t *testing.T) *gates {
	g := &gates{state: make(map[string]string), conns: make(map[*gatedConn]struct{})}
	g.moved = sync.NewCond(&g.mu)
	t.Cleanup(func() { g.set("", "over") })
	return g
}

// set puts a gate into a state: "", "closed" or "frozen". Address "" is all of them.
func (g *gates) set(addr, state string) {
	g.mu.Lock()
	g.state[addr] = state
	for c := range g.conns {
		if (addr == "" || c.addr == addr) && state == "closed" {
			c.Conn.Close()
		}
	}
	g.moved.Broadcast()
	g.mu.Unlock()
}

func (g *gates) at(addr string) string {
	if s := g.state[""]; s != "" {
		return s
	}
	return g.state[addr]
}

func (g *gates) listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return gatedListener{l, g}, nil
}

type gatedListener struct {
	net.Listener
	gates *gates
}

func (l gatedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		out := &gatedConn{c, l.gates, l.Addr().String()}
		l.gates.mu.Lock()
		closed := l.gates.at(out.addr) == "closed"
		if !closed {
			l.gates.conns[out] = struct{}{}
		}
		l.gates.mu.Unlock()
		if !closed {
			return out, nil
		}
		c.Close()
	}
}

type gatedConn struct {
	net.Conn
	gates *gates
	addr  string
}

func (c *gatedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.gates.mu.Lock()
	for err == nil && c.gates.at(c.addr) == "frozen" {
		c.gates.moved.Wait()
	}
	c.gates.mu.Unlock()
	return n, err
}

func (c *gatedConn) Close() error {
	c.gates.mu.Lock()
	delete(c.gates.conns, c)
	c.gates.mu.Unlock()
	return c.Conn.Close()
}
