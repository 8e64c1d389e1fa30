package etcdcfg

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"logagent/agent"
	"logagent/internal/lab"
)

// shared is the etcd of all tests that do not stop it; each test has a ROOT of its own.
var shared *lab.Etcd

type suite struct{ m *testing.M }

func (s suite) Run() int {
	var err error
	if shared, err = lab.StartEtcd(lab.EtcdOptions{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := s.m.Run()
	if err := shared.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func TestMain(m *testing.M) {
	if os.Getenv(driverProcess) != "" {
		os.Exit(driveInThisProcess())
	}
	goleak.VerifyTestMain(suite{m})
}

// eventually fails the test unless ok becomes true in good time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ownEtcd starts an etcd that the test may stop.
func ownEtcd(t *testing.T, o ...lab.EtcdOptions) *lab.Etcd {
	t.Helper()
	e, err := lab.StartEtcd(append(o, lab.EtcdOptions{})[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// newClient makes a client with a ROOT of the test's own; change may alter its options.
func newClient(t *testing.T, addr string, change ...func(*Options)) *Client {
	t.Helper()
	o := Options{Addrs: []string{addr}, Pattern: "/" + strings.ReplaceAll(t.Name(), "/", "_") + "/%s/logconfig"}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if addr == shared.Addr() { // for the next run of this test
		t.Cleanup(func() {
			for _, prefix := range []string{c.layout.Root() + "/", c.layout.Root() + "."} {
				if _, err := shared.Client().Delete(context.Background(), prefix, clientv3.WithPrefix()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// start runs something until the returned function, or the test's end, stops it.
func start(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := run(ctx); err != nil {
			t.Errorf("ended with %v", err)
		}
	})
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

func put(t *testing.T, e *lab.Etcd, key, value string, opts ...clientv3.OpOption) int64 {
	t.Helper()
	r, err := e.Client().Put(t.Context(), key, value, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return r.Header.Revision
}

func remove(t *testing.T, e *lab.Etcd, key string) {
	t.Helper()
	if _, err := e.Client().Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

// get returns a key's value and revision, 0 where it does not exist.
func get(t *testing.T, e *lab.Etcd, key string) (string, int64) {
	t.Helper()
	r, err := e.Client().Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Kvs) == 0 {
		return "", 0
	}
	return string(r.Kvs[0].Value), r.Kvs[0].ModRevision
}

// entry is a document with one entry.
func entry(service string, rate int64) string {
	return fmt.Sprintf(`[{"service":%q,"log_path":"/var/log/%s.log","topic":"t","send_rate":%d}]`, service, service, rate)
}

// recorder is an Apply that remembers.
type recorder struct {
	mu      sync.Mutex
	configs []agent.HostConfig
	running bool
	overlap bool
	hold    chan struct{} // Apply waits for it, if set
	fail    int           // so many calls fail
}

func (r *recorder) apply(ctx context.Context, c agent.HostConfig) error {
	r.mu.Lock()
	r.overlap = r.overlap || r.running
	r.running = true
	r.configs = append(r.configs, c)
	hold, fail := r.hold, r.fail > 0
	if fail {
		r.fail--
	}
	r.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	r.mu.Lock()
	r.running = false
	r.mu.Unlock()
	if fail {
		return fmt.Errorf("disk full")
	}
	return nil
}

func (r *recorder) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.configs)
}

func (r *recorder) last() agent.HostConfig {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.configs) == 0 {
		return agent.HostConfig{}
	}
	return r.configs[len(r.configs)-1]
}

func (r *recorder) effective() []agent.Service {
	c := r.last()
	return c.Effective()
}

// runs tells whether the newest config's document i has this revision in force, and none refused.
func (r *recorder) runs(i int, revision int64) bool {
	c := r.last()
	return len(c.Documents) > i && c.Documents[i].Revision == revision && c.Documents[i].Refused == nil
}

func (r *recorder) refuses(i int, revision int64) bool {
	c := r.last()
	return len(c.Documents) > i && c.Documents[i].Refused != nil && c.Documents[i].Refused.Revision == revision
}
