package lab

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// Proxy stands between a client and a server and passes bytes on, unless it was told to
// hold them up. Its methods may be called from any goroutine.
type Proxy struct {
	ln net.Listener
	to string
	wg sync.WaitGroup

	mu     sync.Mutex // guards all below
	pairs  map[*pair]struct{}
	stall  bool
	delay  time.Duration
	change chan struct{} // closed and replaced when stall or delay changed
	closed bool
}

type pair struct{ in, out net.Conn }

// StartProxy listens on a free port of 127.0.0.1 and passes connections on to an address.
// The caller closes it.
func StartProxy(to string) (*Proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start proxy: %w", err)
	}
	p := &Proxy{ln: ln, to: to, pairs: make(map[*pair]struct{}), change: make(chan struct{})}
	p.wg.Go(p.accept)
	return p, nil
}

// Addr returns host:port.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Delay holds every piece back for so long on its way to the client; 0: not at all.
func (p *Proxy) Delay(d time.Duration) { p.set(func() { p.delay = d }) }

// Stall keeps connections open and passes nothing on, in neither direction.
func (p *Proxy) Stall() { p.set(func() { p.stall = true }) }

// Flow passes on what was held up, and what comes from now on.
func (p *Proxy) Flow() { p.set(func() { p.stall = false }) }

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.change)
	p.change = make(chan struct{})
}

// Cut ends all connections. New ones are taken.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.pairs {
		c.in.Close()
		c.out.Close()
	}
}

// Close ends everything.
func (p *Proxy) Close() error {
	err := p.ln.Close()
	p.set(func() { p.closed = true })
	p.Cut()
	p.wg.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		in, err := p.ln.Accept()
		if err != nil {
			return // closed
		}
		p.wg.Go(func() { p.serve(in) })
	}
}

func (p *Proxy) serve(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer out.Close()
	c := &pair{in, out}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.pairs[c] = struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.pairs, c)
		p.mu.Unlock()
	}()
	var up sync.WaitGroup
	up.Go(func() { p.pass(in, out, false) })
	p.pass(out, in, true)
	up.Wait()
}

// pass moves bytes one way until either side ends.
func (p *Proxy) pass(from, to net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil || !p.wait(answers) {
			return
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// wait holds a piece up for as long as it is told to; false: everything ends.
func (p *Proxy) wait(answers bool) bool {
	began := time.Now()
	for {
		p.mu.Lock()
		stall, change, closed := p.stall, p.change, p.closed
		left := time.Duration(0)
		if answers {
			left = p.delay - time.Since(began)
		}
		p.mu.Unlock()
		switch {
		case closed:
			return false
		case stall:
			<-change
		case left > 0:
			t := time.NewTimer(left)
			select {
			case <-t.C:
			case <-change:
			}
			t.Stop()
		default:
			return true
		}
	}
}
