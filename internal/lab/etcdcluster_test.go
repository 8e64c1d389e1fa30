package lab

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

func startEtcdCluster(t *testing.T, o EtcdOptions) *EtcdCluster {
	t.Helper()
	c, err := StartEtcdCluster(3, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestEtcdOfThreeMembersGoesOnWithoutItsLeaderAndStopsWithoutTwo(t *testing.T) {
	t.Parallel()
	c := startEtcdCluster(t, EtcdOptions{})
	if len(c.Addrs()) != 3 {
		t.Fatalf("want three addresses, got %v", c.Addrs())
	}
	first, err := c.Leader()
	if err != nil {
		t.Fatal(err)
	}
	c.Member(first).Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	eventually(t, "a write without the first leader", func() bool { _, err := c.Client().Put(ctx, "k", "v"); return err == nil })
	second, err := c.Leader()
	if err != nil || second == first {
		t.Fatalf("want another leader than %d, got %d, %v", first, second, err)
	}
	c.Member(second).Stop()
	short, end := context.WithTimeout(ctx, time.Second)
	defer end()
	if _, err := c.Client().Put(short, "k", "w"); err == nil {
		t.Error("one member of three took a write")
	}
	for _, i := range []int{first, second} {
		if err := c.Member(i).Restart(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "a write with all of them", func() bool { _, err := c.Client().Put(ctx, "k", "x"); return err == nil })
}

func TestEtcdWithTLSAndUsersLetsOnlyThoseIn(t *testing.T) {
	t.Parallel()
	a, err := NewAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	secure, _, err := a.ForEtcd()
	if err != nil {
		t.Fatal(err)
	}
	e := startEtcd(t, EtcdOptions{TLS: secure, Password: "p", Dir: filepath.Join(t.TempDir(), "etcd")})
	if err := AddEtcdUser(t.Context(), e.Client(), "agent", "q", "/a/"); err != nil {
		t.Fatal(err)
	}
	for _, restart := range []func() error{func() error { return nil }, e.Restart} {
		if err := restart(); err != nil {
			t.Fatal(err)
		}
		as, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Addr()}, TLS: secure.ClientTLS, Username: "agent", Password: "q", Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := as.Put(t.Context(), "/a/k", "v"); err != nil {
			t.Errorf("want what is allowed to be taken, got %v", err)
		}
		if _, err := as.Put(t.Context(), "/b/k", "v"); !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Errorf("want permission denied, got %v", err)
		}
		if err := as.Close(); err != nil {
			t.Error(err)
		}
	}
	bare, err := a.Client(PEM{})
	if err != nil {
		t.Fatal(err)
	}
	if got := answers(t, clientv3.Config{Endpoints: []string{e.Addr()}, TLS: bare}); got == nil {
		t.Error("a client without a certificate was let in")
	}
	// Without a password he counts as the user of his certificate's name, whom nobody knows.
	if got := answers(t, clientv3.Config{Endpoints: []string{e.Addr()}, TLS: secure.ClientTLS}); !errors.Is(got, rpctypes.ErrPermissionDenied) {
		t.Errorf("a client without a user: got %v", got)
	}
}

// answers tells how an etcd answers a client.
func answers(t *testing.T, c clientv3.Config) error {
	t.Helper()
	c.Logger = zap.NewNop()
	client, err := clientv3.New(c)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = client.Get(ctx, "/a/k")
	return err
}

func TestEtcdTokensEndByPasswordAndByTime(t *testing.T) {
	t.Parallel()
	for _, jwt := range []bool{false, true} {
		e := startEtcd(t, EtcdOptions{Password: "p", JWT: jwt, TokenTTL: time.Second})
		signed, err := e.Client().Authenticate(t.Context(), rootUser, "p")
		if err != nil {
			t.Fatal(err)
		}
		as, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Addr()}, Token: signed.Token, Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { as.Close() })
		if _, err := as.Get(t.Context(), "k"); err != nil {
			t.Errorf("jwt %v: want a fresh token to do, got %v", jwt, err)
		}
		if !jwt { // what is used does not run out
			if err := SetEtcdPassword(t.Context(), e.Client(), rootUser, "p"); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "the token is worthless", func() bool {
			_, err := as.Get(t.Context(), "k")
			return errors.Is(err, rpctypes.ErrInvalidAuthToken)
		})
	}
}

func TestEtcdWithAQuotaIsFullAtIt(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EtcdOptions{QuotaBytes: 1 << 20})
	value := string(make([]byte, 100<<10))
	eventually(t, "no space", func() bool {
		_, err := e.Client().Put(t.Context(), "k", value)
		return errors.Is(err, rpctypes.ErrNoSpace)
	})
	if get(t, e, "k") == "" {
		t.Error("want reads to go on")
	}
}

func TestProxyHoldsBackAndCuts(t *testing.T) {
	t.Parallel()
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends with the listener
		defer close(done)
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, c)
			c.Close()
		}
	}()
	t.Cleanup(func() { echo.Close(); <-done })
	p, err := StartProxy(echo.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	b := make([]byte, 1)
	exchange := func(patience time.Duration) (time.Duration, error) {
		began := time.Now()
		if err := c.SetDeadline(began.Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); err != nil {
			return 0, err
		}
		_, err := io.ReadFull(c, b)
		return time.Since(began), err
	}
	if _, err := exchange(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	p.Delay(300 * time.Millisecond)
	if took, err := exchange(20 * time.Second); err != nil || took < 300*time.Millisecond {
		t.Errorf("delayed: took %v, %v", took, err)
	}
	p.Delay(0)
	p.Stall()
	if took, err := exchange(100 * time.Millisecond); err == nil {
		t.Errorf("stalled: an answer after %v", took)
	}
	p.Flow()
	if _, err := io.ReadFull(deadline(t, c), b); err != nil {
		t.Errorf("what was held up did not come: %v", err)
	}
	p.Cut()
	if _, err := io.ReadFull(deadline(t, c), b); err == nil {
		t.Error("the connection outlived its cut")
	}
}

func deadline(t *testing.T, c net.Conn) net.Conn {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}
