package etcdcfg

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/stats"

	"logagent/etcdcfg/change"
	"logagent/internal/lab"
)

// safeBuffer collects a log written by several goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestWrongOptionsAreNamedAllAtOnce(t *testing.T) {
	t.Parallel()
	_, err := New(Options{Addrs: []string{"nowhere", "unix:///x"}, Timeout: -1, Pattern: "/x", Password: "p"})
	if err == nil {
		t.Fatal("want a refusal")
	}
	for _, want := range []string{`"nowhere" is not host:port`, `"unix:///x" is not host:port`, "timeout is -1ns", "key pattern", "password without a user"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("want %s in\n%v", want, err)
		}
	}
	if _, err := New(Options{}); err == nil || !strings.Contains(err.Error(), "no etcd address; an example") {
		t.Errorf("no address: got %v", err)
	}
}

func TestErrorsSayInPlainWordsWhatIsWrongWithWhich(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, addr, want string
	}{
		{"nobody listens", nobody, "read the document of h: etcd: " + nobody + ": connection refused"},
		{"no such host", "no-such-host.invalid:2379", "no address for no-such-host.invalid"},
		{"TLS to a plain etcd", "https://" + shared.Addr(), "TLS handshake failed: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, c.addr, func(o *Options) { o.Timeout = time.Second; o.Pattern = "" })
			if l := client.Link(); l.Up || l.Error != "not connected yet" {
				t.Errorf("before first use: got %+v", l)
			}
			_, _, err := client.Get(t.Context(), "h")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want %s, got %v", c.want, err)
			}
			if l := client.Link(); l.Up || !strings.HasSuffix(err.Error(), l.Error) {
				t.Errorf("want the link to say the same, got %+v", l)
			}
		})
	}
}

func TestLostConnectionCountsThoughTheNextOneHasBegun(t *testing.T) {
	t.Parallel()
	l := newLink(slog.New(slog.DiscardHandler), "a, b")
	conn := func(addr string) context.Context {
		return l.TagConn(t.Context(), &stats.ConnTagInfo{RemoteAddr: &net.TCPAddr{IP: net.ParseIP(addr), Port: 2379}})
	}
	a, again, b := conn("10.0.0.1"), conn("10.0.0.1"), conn("10.0.0.2")
	l.HandleConn(a, &stats.ConnBegin{})
	l.answered()
	lost := l.lostConnection()
	l.HandleConn(again, &stats.ConnBegin{})
	l.HandleConn(a, &stats.ConnEnd{})
	if s := l.status(); s.Up || s.Error != "10.0.0.1:2379: connection lost" {
		t.Errorf("want the link down, got %+v", s)
	}
	select {
	case <-lost:
	default:
		t.Error("want it told to those who watch")
	}
	l.HandleConn(b, &stats.ConnBegin{})
	l.answered()
	l.HandleConn(again, &stats.ConnEnd{})
	if s := l.status(); !s.Up {
		t.Errorf("want the other member to keep the link up, got %+v", s)
	}
}

func TestCallersOwnEndIsNotBlamedOnEtcd(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	if _, _, err := c.Get(t.Context(), "h"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.Get(ctx, "h"); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "stopped before") {
		t.Errorf("want the end of ctx, got %v", err)
	}
	if !c.Link().Up {
		t.Errorf("want the link up, got %+v", c.Link())
	}
}

func TestClosedClientSaysSo(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Get(t.Context(), "h"); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	var r recorder
	if err := c.Follow(t.Context(), r.options("", "h")); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestAnOutageIsLoggedOnceWithItsReason(t *testing.T) {
	t.Parallel()
	e := ownEtcd(t)
	var log safeBuffer
	c := newClient(t, e.Addr(), func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)); o.Timeout = 200 * time.Millisecond })
	var r recorder
	following(t, c, r.options("", "h"))
	eventually(t, "link up", func() bool { return c.Link().Up && r.count() > 0 })
	for outage := range 2 {
		e.Stop()
		eventually(t, "reason", func() bool { return !c.Link().Up && strings.Contains(c.Link().Error, "connection refused") })
		for range 3 {
			if _, _, err := c.Get(t.Context(), "h"); err == nil {
				t.Fatal("a stopped etcd answered")
			}
		}
		if err := e.Restart(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "link up again", func() bool { return c.Link().Up })
		for _, want := range []string{"etcd is lost, trying again", "etcd is away, trying again"} {
			if n := strings.Count(log.String(), want); n != outage+1 {
				t.Errorf("want %q %d times, got %d in\n%s", want, outage+1, n, &log)
			}
		}
	}
	if n := strings.Count(log.String(), "etcd is connected"); n != 3 {
		t.Errorf("want three connections, got %d in\n%s", n, &log)
	}
}

// valve passes connections on until it is shut: then they stay open and silent.
type valve struct {
	net.Listener
	to   string
	shut atomic.Bool
}

func openValve(t *testing.T, to string) *valve {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &valve{Listener: ln, to: to}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			mu.Lock()
			conns = append(conns, in, out)
			mu.Unlock()
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				wg.Go(func() {
					defer pair[1].Close()
					b := make([]byte, 32<<10)
					for {
						n, err := pair[0].Read(b)
						if err != nil {
							return
						}
						if v.shut.Load() {
							continue
						}
						if _, err := pair[1].Write(b[:n]); err != nil {
							return
						}
					}
				})
			}
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return v
}

func TestConnectionThatFellSilentIsNoticedAndReplaced(t *testing.T) {
	t.Parallel()
	v := openValve(t, shared.Addr())
	c := newClient(t, v.Addr().String())
	key := c.layout.Config("h")
	var r recorder
	following(t, c, r.options("", "h"))
	first := put(t, shared, key, entry("a", 1))
	eventually(t, "document", func() bool { return r.runs(0, first) && c.Link().Up })
	v.shut.Store(true)
	silent := time.Now()
	eventually(t, "link down", func() bool { return !c.Link().Up })
	t.Logf("noticed after %v: %s", time.Since(silent).Round(time.Millisecond), c.Link().Error)
	second := put(t, shared, key, entry("a", 2))
	v.shut.Store(false)
	eventually(t, "what was missed", func() bool { return r.runs(0, second) && c.Link().Up })
}

func TestConsoleNoticesASilentEtcdWithinSeconds(t *testing.T) {
	t.Parallel()
	v := openValve(t, shared.Addr())
	c := newClient(t, v.Addr().String(), func(o *Options) { o.Timeout = time.Second })
	c.timing.ping = 200 * time.Millisecond
	f := watchFleet(t, c)
	eventually(t, "synced", f.look(func() bool { return f.synced > 0 }))
	v.shut.Store(true)
	silent := time.Now()
	eventually(t, "link down", func() bool { return !c.Link().Up })
	if took := time.Since(silent); took > 5*time.Second || !strings.Contains(c.Link().Error, "no answer from "+v.Addr().String()+" within 1s") {
		t.Errorf("after %v: %s", took, c.Link().Error)
	}
	v.shut.Store(false)
	eventually(t, "link up", func() bool { return c.Link().Up })
}

// withUsers turns authentication on, with one user who may do everything.
func withUsers(t *testing.T, e *lab.Etcd) {
	t.Helper()
	auth, ctx := e.Client(), t.Context()
	for _, step := range []func() error{
		func() error { _, err := auth.RoleAdd(ctx, "root"); return err },
		func() error { _, err := auth.UserAdd(ctx, "root", "secret"); return err },
		func() error { _, err := auth.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := auth.UserAdd(ctx, "nobody", "secret"); return err },
		func() error { _, err := auth.AuthEnable(ctx); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUserAndPasswordAreUsedAndRefusalsAreSaid(t *testing.T) {
	t.Parallel()
	e := ownEtcd(t)
	withUsers(t, e)
	as := func(user, password string) *Client {
		return newClient(t, e.Addr(), func(o *Options) { o.User, o.Password, o.Timeout = user, password, 15*time.Second })
	}
	if _, _, err := as("root", "wrong").Get(t.Context(), "h"); err == nil || !strings.Contains(err.Error(), `refuses user "root": wrong user or password`) {
		t.Errorf("wrong password: got %v", err)
	}
	if _, _, err := as("", "").Get(t.Context(), "h"); err == nil || !strings.Contains(err.Error(), "wants a user and password") {
		t.Errorf("no user: got %v", err)
	}
	if _, _, err := as("nobody", "secret").Get(t.Context(), "h"); err == nil || !strings.Contains(err.Error(), `does not allow this to user "nobody"`) {
		t.Errorf("no permission: got %v", err)
	}
	denied := as("nobody", "secret")
	var none recorder
	following(t, denied, none.options("", "h"))
	eventually(t, "refusal in the link", func() bool { return strings.Contains(denied.Link().Error, `does not allow this to user "nobody"`) })

	c := as("root", "secret")
	var r recorder
	following(t, c, r.options("", "h"))
	first, err := c.Save(t.Context(), "h", []byte(entry("a", 1)), 0, change.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "document", func() bool { return r.runs(0, first) })
	// A restart makes every token worthless.
	e.Stop()
	eventually(t, "link down", func() bool { return !c.Link().Up })
	restarted := make(chan struct{})
	go func() { // the lab's own client has no password
		defer close(restarted)
		_ = e.Restart()
	}()
	t.Cleanup(func() { <-restarted })
	eventually(t, "link up", func() bool { return c.Link().Up })
	second, err := c.SetRate(t.Context(), "h", "/var/log/a.log", 1, 2, change.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "change after a restart", func() bool { return r.runs(0, second) })
}

func TestRefusedReadIsShownAndSettledByItself(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	c.link.answered()
	refuse := true
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	allowed := make(chan struct{})
	go func() {
		done <- c.follow(ctx, feed{
			what: "a secret", targets: []target{{key: "/k"}}, every: 10 * time.Millisecond,
			load: func(ctx context.Context) (int64, error) {
				select {
				case <-allowed:
					refuse = false
				default:
				}
				if refuse {
					return 0, rpctypes.ErrPermissionDenied
				}
				r, err := shared.Client().Get(ctx, "/k")
				if err != nil {
					return 0, err
				}
				return r.Header.Revision, nil
			},
		})
	}()
	eventually(t, "refusal in the link", func() bool {
		return strings.Contains(c.Link().Error, "does not allow this") || c.Link().Error == "not connected yet" && len(c.link.complaints) > 0
	})
	close(allowed)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if l := c.Link(); !l.Up || l.Error != "" {
		t.Fatalf("want the link up once nobody is refused, got %+v", l)
	}
}
