package lab

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func put(t *testing.T, e *Etcd, key, value string) int64 {
	t.Helper()
	r, err := e.Client().Put(t.Context(), key, value)
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return r.Header.Revision
}

func get(t *testing.T, e *Etcd, key string) string {
	t.Helper()
	r, err := e.Client().Get(t.Context(), key)
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	if len(r.Kvs) == 0 {
		return ""
	}
	return string(r.Kvs[0].Value)
}

func TestEtcdKeepsItsDataAndItsAddressOverARestart(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EtcdOptions{})
	addr, before := e.Addr(), put(t, e, "k", "v")
	// A watch that is open while the server stops must not hold it up, and goes on after.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	watch := e.Client().Watch(ctx, "k", clientv3.WithRev(before+1), clientv3.WithCreatedNotify())
	<-watch

	e.Stop()
	e.Stop() // stopping twice is harmless
	if err := e.Restart(); err != nil {
		t.Fatal(err)
	}
	if got := get(t, e, "k"); got != "v" {
		t.Errorf("after a restart k is %q, want %q", got, "v")
	}
	if e.Addr() != addr {
		t.Errorf("after a restart etcd is on %s, want %s", e.Addr(), addr)
	}
	if after := put(t, e, "k", "w"); after != before+1 {
		t.Errorf("the revision went from %d to %d over a restart, want the next", before, after)
	}
	for r := range watch {
		if len(r.Events) > 0 && string(r.Events[0].Kv.Value) == "w" {
			return
		}
	}
	t.Error("the watch ended without the write after the restart")
}

func TestEtcdRestartedEmptyBeginsAtRevisionOne(t *testing.T) {
	t.Parallel()
	for name, dir := range map[string]string{"temporary folder": "", "given folder": filepath.Join(t.TempDir(), "etcd")} {
		e := startEtcd(t, EtcdOptions{Dir: dir})
		put(t, e, "k", "v")
		if err := e.RestartEmpty(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := get(t, e, "k"); got != "" {
			t.Errorf("%s: k is still %q", name, got)
		}
		if rev := put(t, e, "k", "v"); rev != 2 {
			t.Errorf("%s: the first write has revision %d, want 2", name, rev)
		}
	}
}

func TestEtcdInAGivenFolderIsFoundAgainByTheNextOne(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e := startEtcd(t, EtcdOptions{Dir: dir})
	put(t, e, "k", "v")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if got := get(t, startEtcd(t, EtcdOptions{Dir: dir}), "k"); got != "v" {
		t.Errorf("the next etcd in the same folder has k = %q, want %q", got, "v")
	}
}

func TestTemporaryEtcdLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	e := startEtcd(t, EtcdOptions{})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(e.temp); !os.IsNotExist(err) {
		t.Errorf("%s is still there (%v)", e.temp, err)
	}
}

func TestEtcdThatCannotListenSaysWhere(t *testing.T) {
	t.Parallel()
	first := startEtcd(t, EtcdOptions{})
	if e, err := StartEtcd(EtcdOptions{Addr: first.Addr()}); err == nil {
		t.Errorf("a second etcd started on %s", e.Addr())
		_ = e.Close()
	}
}
