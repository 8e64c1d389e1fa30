package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The socket speaks JSON, one value a line. A client sends one request; a watch is
// answered by statuses until it hangs up, a question by one answer.
type socketRequest struct {
	WatchMS  int64     `json:"watch_ms,omitempty"` // interval of the statuses
	Question *Question `json:"question,omitempty"`
}

// socketPatience bounds how long a client may take to send its request or to read an
// answer: a stalled terminal must not hold on to a goroutine for ever.
const socketPatience = 10 * time.Second

// ServeSocket answers on the socket of the state folder, mode 0600, until ctx ends. A
// socket left by an agent that died is replaced; the state folder's lock proves that it
// did.
func (a *Agent) ServeSocket(ctx context.Context) error {
	path := SocketPath(a.opt.StateDir)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("socket: %w", err)
	}
	// Bound under another name in the 0700 folder and made 0600 before it is found.
	tmp := path + ".tmp"
	os.Remove(tmp)
	addr, free, err := socketAddr(tmp)
	if err != nil {
		return fmt.Errorf("socket %s: %w", path, err)
	}
	ln, err := net.ListenUnix("unix", addr)
	free()
	if err != nil {
		return fmt.Errorf("socket %s: %w", path, err)
	}
	ln.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(tmp, 0o600), os.Rename(tmp, path)); err != nil {
		ln.Close()
		return fmt.Errorf("socket %s: %w", path, err)
	}
	defer os.Remove(path)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup // one per client
	defer wg.Wait()
	context.AfterFunc(ctx, func() { ln.Close() })
	for {
		c, err := ln.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			cancel()
			return fmt.Errorf("socket %s: %w", path, err)
		}
		wg.Go(func() { a.serve(ctx, c) })
	}
}

// serve answers one client.
func (a *Agent) serve(ctx context.Context, c net.Conn) {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(socketPatience))
	var req socketRequest
	if err := json.NewDecoder(bufio.NewReader(c)).Decode(&req); err != nil {
		return
	}
	enc := json.NewEncoder(c)
	send := func(v any) error {
		c.SetWriteDeadline(time.Now().Add(socketPatience))
		return enc.Encode(v)
	}
	if req.Question != nil {
		_ = send(a.Answer(ctx, *req.Question)) // a client that left needs no answer
		return
	}
	t := time.NewTicker(max(50*time.Millisecond, time.Duration(req.WatchMS)*time.Millisecond))
	defer t.Stop()
	for {
		if send(a.Status()) != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-a.ended:
			return
		case <-t.C:
		}
	}
}

// Remote is the agent behind a socket.
type Remote struct {
	path string
}

// ErrNoAgent is returned by DialSocket where no agent answers.
var ErrNoAgent = errors.New("no agent is running on this state folder")

// DialSocket finds the running agent of a state folder.
func DialSocket(ctx context.Context, stateDir string) (*Remote, error) {
	r := &Remote{path: SocketPath(stateDir)}
	c, err := r.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNoAgent, r.path, err)
	}
	c.Close()
	return r, nil
}

func (r *Remote) dial(ctx context.Context) (net.Conn, error) {
	addr, free, err := socketAddr(r.path)
	if err != nil {
		return nil, err
	}
	defer free()
	var d net.Dialer
	return d.DialContext(ctx, "unix", addr.Name)
}

// maxSocketPath is what fits into sockaddr_un.
const maxSocketPath = 107

// socketAddr returns an address for path. A deep folder is named through a descriptor
// of it, which free gives back once the address was used.
func socketAddr(path string) (addr *net.UnixAddr, free func(), err error) {
	if len(path) <= maxSocketPath {
		return &net.UnixAddr{Name: path, Net: "unix"}, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, nil, err
	}
	name := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	return &net.UnixAddr{Name: name, Net: "unix"}, func() { dir.Close() }, nil
}

// Watch calls f with a status every so often, from the calling goroutine, until ctx ends
// (then it returns nil) or the agent goes away.
func (r *Remote) Watch(ctx context.Context, every time.Duration, f func(Status)) error {
	c, err := r.dial(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoAgent, err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := json.NewEncoder(c).Encode(socketRequest{WatchMS: every.Milliseconds()}); err != nil {
		return fmt.Errorf("agent socket: %w", err)
	}
	dec := json.NewDecoder(bufio.NewReaderSize(c, 64<<10))
	for {
		var s Status
		if err := dec.Decode(&s); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("agent socket: %w", err)
		}
		f(s)
	}
}

// Answer puts a question to the agent.
func (r *Remote) Answer(ctx context.Context, q Question) (Answer, error) {
	c, err := r.dial(ctx)
	if err != nil {
		return Answer{}, fmt.Errorf("%w: %w", ErrNoAgent, err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := json.NewEncoder(c).Encode(socketRequest{Question: &q}); err != nil {
		return Answer{}, fmt.Errorf("agent socket: %w", err)
	}
	var ans Answer
	if err := json.NewDecoder(c).Decode(&ans); err != nil {
		return Answer{}, fmt.Errorf("agent socket: %w", errors.Join(ctx.Err(), err))
	}
	return ans, nil
}
