package etcdcfg

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"logagent/etcdcfg/change"
	"logagent/internal/lab"
)

// An etcd with users: their sign-ins end, their passwords change, rights are taken away.

const agentPassword = "a secret of the agent"

// agentUser lets a user named agent at the keys of a client with this pattern.
func agentUser(t *testing.T, e *lab.Etcd) func(*Options) {
	t.Helper()
	root := "/" + strings.ReplaceAll(t.Name(), "/", "_")
	if err := lab.AddEtcdUser(t.Context(), e.Client(), "agent", agentPassword, root+"/", root+"."); err != nil {
		t.Fatal(err)
	}
	return func(o *Options) { o.User, o.Password = "agent", agentPassword }
}

// expire ends the agent's sign-ins. A token that time ends is waited for: one that was
// given out later has ended too.
func expire(t *testing.T, e *lab.Etcd, byTime bool) {
	t.Helper()
	if !byTime {
		if err := lab.SetEtcdPassword(t.Context(), e.Client(), "agent", agentPassword); err != nil {
			t.Fatal(err)
		}
		return
	}
	late, err := e.Client().Authenticate(t.Context(), "agent", agentPassword)
	if err != nil {
		t.Fatal(err)
	}
	other, err := clientv3.New(clientv3.Config{Endpoints: []string{e.Addr()}, Token: late.Token, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	eventually(t, "the token runs out", func() bool {
		_, err := other.Get(t.Context(), "/")
		return errors.Is(err, rpctypes.ErrInvalidAuthToken)
	})
}

// receive takes the next value, which must come in good time.
func receive[T any](t *testing.T, what string, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(30 * time.Second):
		t.Fatalf("not within 30 s: %s", what)
	}
	return v
}

func TestSignInThatEndedStopsNoRequestNoWatchAndNoLease(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]lab.EtcdOptions{
		"password set anew": {Password: "secret"},
		"token runs out":    {Password: "secret", JWT: true, TokenTTL: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := ownEtcd(t, o)
			var log safeBuffer
			c := newClient(t, e.Addr(), agentUser(t, e), logTo(&log))
			c.timing.liveTTL = 15 // renewed every five seconds
			r, a := agentOn(t, c)
			revision := put(t, e, c.layout.Config("h"), entry("a", 1))
			eventually(t, "document", func() bool { return r.runs(0, revision) })
			var lease clientv3.LeaseID
			eventually(t, "live key", func() bool { _, lease = holder(t, e, c.layout.Live("h")); return lease != 0 })

			// Beside them a watch that begins anew each time, on the stream of the others.
			again := make(chan struct{}, 1)
			loads, events := make(chan struct{}, 100), make(chan int64, 100)
			start(t, func(ctx context.Context) error {
				return c.follow(ctx, feed{
					what: "a test", targets: []target{{key: c.layout.Config("x")}}, every: time.Hour, again: again,
					load: func(ctx context.Context) (int64, error) {
						_, _, err := c.Get(ctx, "x")
						if err == nil {
							loads <- struct{}{}
						}
						return 1, err // whatever is read: each change has to come through the watch
					},
					event: func(e *clientv3.Event) { events <- e.Kv.ModRevision },
				})
			})
			receive(t, "the first read", loads)
			for round := range int64(2) {
				expire(t, e, o.JWT)
				poke(again)
				receive(t, "a read", loads)
				want := put(t, e, c.layout.Config("x"), fmt.Sprint(round))
				for receive(t, "the change through the watch", events) != want {
				}
				expire(t, e, o.JWT)
				if _, err := c.SetRate(t.Context(), "h", "/var/log/a.log", 1+round, 2+round, change.Meta{}); err != nil {
					t.Errorf("round %d: a write: %v", round, err)
				}
				_, revision = get(t, e, c.layout.Config("h"))
				eventually(t, "change", func() bool { return r.runs(0, revision) })
			}
			least := c.timing.liveTTL
			eventually(t, "the lease is renewed", func() bool {
				left, err := e.Client().TimeToLive(t.Context(), lease)
				if err != nil || left.TTL > least {
					return err == nil
				}
				least = left.TTL
				return false
			})
			if l, id := holder(t, e, c.layout.Live("h")); id != lease || !sameLive(l, a.live) {
				t.Errorf("want the live key under its first lease %x, got %x with %+v", lease, id, l)
			}
			if !c.Link().Up || strings.Contains(log.String(), "level=WARN") {
				t.Errorf("want nothing to be said, got %+v and\n%s", c.Link(), &log)
			}
		})
	}
}

func TestChangedPasswordIsSaidHeldBackAndMendedWhenPutBack(t *testing.T) {
	t.Parallel()
	e := ownEtcd(t, lab.EtcdOptions{Password: "secret"})
	var log safeBuffer
	c := newClient(t, e.Addr(), agentUser(t, e), logTo(&log), func(o *Options) { o.Timeout = 2 * time.Second })
	c.timing.followResync, c.timing.liveTTL = 50*time.Millisecond, 1
	r, _ := agentOn(t, c)
	first := put(t, e, c.layout.Config("h"), entry("a", 1))
	eventually(t, "document", func() bool { return r.runs(0, first) })
	said := strings.Count(log.String(), "\n")
	if err := lab.SetEtcdPassword(t.Context(), e.Client(), "agent", "another"); err != nil {
		t.Fatal(err)
	}
	words := `refuses user "agent": wrong user or password (see etcd_user and etcd_password_file)`
	eventually(t, "words in the link", func() bool { return !c.Link().Up && strings.Contains(c.Link().Error, words) })
	second := put(t, e, c.layout.Config("h"), entry("a", 2))
	for range 100 {
		if _, _, err := c.Get(t.Context(), "h"); err == nil || !strings.Contains(err.Error(), words) {
			t.Fatalf("want %s, got %v", words, err)
		}
	}
	c.signIn.mu.Lock()
	wait := c.signIn.wait
	c.signIn.mu.Unlock()
	if wait == 0 || wait > 4*time.Second { // each try doubles it
		t.Errorf("a hundred requests and all that an agent runs: the wait for the next sign-in is %v", wait)
	}
	eventually(t, "the lease is lost", func() bool { _, id := holder(t, e, c.layout.Live("h")); return id == 0 })
	if text := log.String(); strings.Count(text, "\n")-said > 5 || strings.Contains(text, agentPassword) {
		t.Errorf("want a few lines without the password, got\n%s", text)
	}
	// A watch that etcd had granted before may still tell of the second one.
	if !r.runs(0, first) && !r.runs(0, second) {
		t.Errorf("want the document to stay, got %+v", r.last())
	}
	if err := lab.SetEtcdPassword(t.Context(), e.Client(), "agent", agentPassword); err != nil {
		t.Fatal(err)
	}
	c.signIn.mu.Lock()
	c.signIn.until = time.Time{} // the wait is up
	c.signIn.mu.Unlock()
	eventually(t, "what was missed", func() bool { return r.runs(0, second) && c.Link().Up })
	eventually(t, "live key", func() bool { _, id := holder(t, e, c.layout.Live("h")); return id != 0 })
}

func TestRefusedPasswordIsTriedLessAndLessOften(t *testing.T) {
	t.Parallel()
	e := ownEtcd(t, lab.EtcdOptions{Password: "secret"})
	var log safeBuffer
	c := newClient(t, e.Addr(), logTo(&log), func(o *Options) { o.User, o.Password, o.Timeout = "root", "wrong", time.Second })
	c.signIn.most = 100 * time.Millisecond
	r, _ := agentOn(t, c)
	began := time.Now()
	eventually(t, "several refused sign-ins", func() bool {
		c.signIn.mu.Lock()
		defer c.signIn.mu.Unlock()
		return c.signIn.until.Sub(began) > 2*time.Second
	})
	if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "wrong user or password") {
		t.Errorf("want one line, got\n%s", &log)
	}
	if r.count() > 0 || c.Link().Up {
		t.Errorf("want nothing applied and the link down, got %d and %+v", r.count(), c.Link())
	}
	if err := lab.SetEtcdPassword(t.Context(), e.Client(), "root", "wrong"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the password is right now", func() bool { return c.Link().Up && r.count() > 0 })
}

func TestRevokedPermissionLeavesTheDocumentInForceUntilItIsGrantedAgain(t *testing.T) {
	t.Parallel()
	e := ownEtcd(t, lab.EtcdOptions{Password: "secret"})
	var log safeBuffer
	c := newClient(t, e.Addr(), agentUser(t, e), logTo(&log))
	c.timing.followResync = 50 * time.Millisecond
	key, prefix := c.layout.Config("h"), c.layout.Root()+"/"
	r, _ := agentOn(t, c)
	revision := put(t, e, key, entry("a", 1))
	eventually(t, "document", func() bool { return r.runs(0, revision) })
	for round := range 2 {
		if _, err := e.Client().RoleRevokePermission(t.Context(), "agent", prefix, clientv3.GetPrefixRangeEnd(prefix)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "refusal in the link", func() bool {
			return !c.Link().Up && strings.Contains(c.Link().Error, `documents of h: etcd: `+e.Addr()+` does not allow this to user "agent"`)
		})
		hidden := put(t, e, key, entry("a", int64(10+round)))
		for range 20 {
			if _, _, err := c.Get(t.Context(), "h"); err == nil {
				t.Fatal("a read without permission")
			}
		}
		if !r.runs(0, revision) {
			t.Errorf("want revision %d to stay in force, got %+v", revision, r.last())
		}
		if n := strings.Count(log.String(), "etcd refuses, trying again"); n != round+1 {
			t.Errorf("want each refusal said once, got %d of %d:\n%s", n, round+1, &log)
		}
		if _, err := e.Client().RoleGrantPermission(t.Context(), "agent", prefix, clientv3.GetPrefixRangeEnd(prefix), clientv3.PermissionType(clientv3.PermReadWrite)); err != nil {
			t.Fatal(err)
		}
		revision = hidden
		eventually(t, "what was hidden", func() bool { return r.runs(0, revision) && c.Link().Up })
	}
}

func TestUsersThatAreTurnedOnOrOffUnderARunningAgentStopNothing(t *testing.T) {
	t.Parallel()
	a, err := lab.NewAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	// With a certificate one counts as the user of its name wherever one is not signed in.
	secure, _, err := a.ForEtcd()
	if err != nil {
		t.Fatal(err)
	}
	e := ownEtcd(t, lab.EtcdOptions{Password: "secret", TLS: secure})
	c := newClient(t, e.Addr(), agentUser(t, e), func(o *Options) { o.TLS = secure.ClientTLS })
	c.timing.followResync, c.timing.signInAgain = 50*time.Millisecond, 100*time.Millisecond
	r, _ := agentOn(t, c)
	key := c.layout.Config("h")
	for round := range int64(2) {
		revision := put(t, e, key, entry("a", 10+round))
		eventually(t, "with users", func() bool { return r.runs(0, revision) && c.Link().Up })
		if _, err := e.Client().AuthDisable(t.Context()); err != nil {
			t.Fatal(err)
		}
		revision = put(t, e, key, entry("a", 20+round))
		eventually(t, "without users", func() bool { return r.runs(0, revision) && c.Link().Up })
		// A stream that begins now has the library forget its token.
		if _, err := c.etcd.KeepAliveOnce(t.Context(), clientv3.NoLease); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			t.Fatal(err)
		}
		if _, err := e.Client().AuthEnable(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the lab is signed in again", func() bool {
			signed, err := e.Client().Authenticate(t.Context(), "root", "secret")
			return err == nil && signed.Token != ""
		})
	}
}
