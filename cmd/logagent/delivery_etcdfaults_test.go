package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/agent"
	"logagent/internal/lab"
)

// The daemon on an etcd as it stands in earnest: three members, TLS with certificates of
// both sides, a user with a password in a file and rights to its own keys alone.

const faultsPassword = "pass word of the agent, 17 ?"

// safePlace is a place whose etcd lets in only whom it knows.
type safePlace struct {
	place
	cluster *lab.EtcdCluster
	ini     []string // of the configuration
}

func newSafePlace(t *testing.T, members int) *safePlace {
	t.Helper()
	p := &safePlace{place: place{dir: t.TempDir()}}
	authority, err := lab.NewAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	secure, client, err := authority.ForEtcd()
	if err != nil {
		t.Fatal(err)
	}
	o := lab.EtcdOptions{TLS: secure, Password: "of root"}
	if p.cluster, err = lab.StartEtcdCluster(members, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIn(t, p.cluster) })
	if err := lab.AddEtcdUser(t.Context(), p.cluster.Client(), "agent", faultsPassword, "/logagent/", "/logagent."); err != nil {
		t.Fatal(err)
	}
	if p.kafka, err = lab.StartKafka(lab.KafkaOptions{AutoCreate: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIn(t, p.kafka) })
	secret := filepath.Join(p.dir, "conf", "password")
	writeFile(t, secret, faultsPassword+"\n")
	p.ini = []string{
		"etcd_addr = " + strings.Join(p.cluster.Addrs(), ","), "etcd_timeout = 3s",
		"etcd_ca = " + authority.File(), "etcd_cert = " + client.Cert, "etcd_key = " + client.Key,
		"etcd_user = agent", "etcd_password_file = " + secret,
		"kafka_addr = " + strings.Join(p.kafka.Addrs(), ","),
	}
	writeConfig(t, p.dir, p.ini...)
	return p
}

// value is an etcd key as root sees it; nil where there is none.
func (p *safePlace) value(t *testing.T, key string, into any) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	got, err := p.cluster.Client().Get(ctx, key)
	if err != nil || len(got.Kvs) == 0 {
		return false
	}
	if err := json.Unmarshal(got.Kvs[0].Value, into); err != nil {
		t.Fatalf("%v in %s", err, got.Kvs[0].Value)
	}
	return true
}

// apply puts a document as soon as etcd takes it and waits until the agent says on its
// socket that it runs.
func (p *safePlace) apply(t *testing.T, document string) (revision int64) {
	t.Helper()
	eventually(t, "etcd takes a document", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		r, err := p.cluster.Client().Put(ctx, "/logagent/web-1/logconfig", document)
		if err == nil {
			revision = r.Header.Revision
		}
		return err == nil
	})
	p.running(t, revision)
	return revision
}

func (p *safePlace) running(t *testing.T, revision int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("revision %d runs", revision), func() bool {
		s, ok := p.status(t)
		return ok && len(s.Documents) == 1 && s.Documents[0].Running == revision
	})
}

// silent wants the password nowhere but in its file: not in what the agent writes to its
// folders, says on its socket, keeps in etcd or sends to Kafka.
func (p *safePlace) silent(t *testing.T) {
	t.Helper()
	secret := []byte(faultsPassword)
	err := filepath.WalkDir(p.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || filepath.Base(path) == "password" {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, secret) {
			t.Errorf("the password stands in %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	all, err := p.cluster.Client().Get(t.Context(), "", clientv3.WithPrefix())
	if err != nil || len(all.Kvs) < 2 {
		t.Fatalf("want the keys of etcd, got %v", err)
	}
	for _, kv := range all.Kvs {
		if bytes.Contains(kv.Value, secret) {
			t.Errorf("the password stands in etcd: %s", kv.Key)
		}
	}
	status, ok := p.status(t)
	text, err := json.Marshal(status)
	if !ok || err != nil || bytes.Contains(text, secret) {
		t.Errorf("the password stands in the status, or there is none: %v", err)
	}
	for _, r := range p.records(t, "lines", "logagent-status") {
		if bytes.Contains(r.Value, secret) {
			t.Error("the password stands in Kafka")
			break
		}
	}
}

func TestDeliveryUnderASafeEtcdWhoseSignInsEndAndWhoseLeadersAreLost(t *testing.T) {
	t.Parallel()
	p := newSafePlace(t, 3)
	const host = "web-1"
	one, two := p.newLedger(t, "in/one.log", 100<<10), p.newLedger(t, "in/two.log", 0)
	d := start(t, p.dir, "--daemon")
	first, second := p.whole("in/one.log", "lines"), p.whole("in/two.log", "lines")
	p.apply(t, document(t, first, second))
	stop := keepWriting(t, 1000, one, two)
	p.more(t, "lines", 300)

	// The verbs work on the same etcd, and what they change is in force at once.
	verb := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := runBinary(t, p.dir, args...)
		if code != exitDone || strings.Contains(stdout+stderr, faultsPassword) {
			t.Fatalf("logagent %v: exit %d\n%s%s", args, code, stdout, stderr)
		}
		return stdout
	}
	if out := verb("config", "get", host); !strings.Contains(out, "in/one.log") {
		t.Errorf("config get: %s", out)
	}
	changed := func(rate int64) {
		t.Helper()
		verb("config", "set", host, first.LogPath, fmt.Sprint("send_rate=", rate))
		got, err := p.cluster.Client().Get(t.Context(), "/logagent/web-1/logconfig")
		if err != nil {
			t.Fatal(err)
		}
		p.running(t, got.Kvs[0].ModRevision)
		first.SendRate = rate
	}
	changed(20_000)
	if out := verb("check"); !strings.Contains(out, "answers in") {
		t.Errorf("check: %s", out)
	}
	p.more(t, "lines", 300)

	// Sign-ins end, and a document comes right behind that.
	for rate := range int64(3) {
		if err := lab.SetEtcdPassword(t.Context(), p.cluster.Client(), "agent", faultsPassword); err != nil {
			t.Fatal(err)
		}
		first.SendRate = 30_000 + rate
		p.apply(t, document(t, first, second))
	}
	changed(40_000)
	if n := p.countLogged(t, "level=WARN", "etcd"); n > 0 {
		t.Errorf("want nothing said of sign-ins that end, got %d lines:\n%s", n, endOf(readFile(t, filepath.Join(p.dir, daemonLog)), 20))
	}

	// The leader is lost, and then the quorum.
	leader, err := p.cluster.Leader()
	if err != nil {
		t.Fatal(err)
	}
	p.cluster.Member(leader).Stop()
	first.SendRate = 50_000
	p.apply(t, document(t, first, second))
	follower := (leader + 1) % 3
	p.cluster.Member(follower).Stop()
	eventually(t, "the agent says that etcd is away", func() bool { s, ok := p.status(t); return ok && !s.Etcd.Up })
	warned := p.countLogged(t, "level=WARN", "etcd")
	p.more(t, "lines", 2000)
	if n := p.countLogged(t, "level=WARN", "etcd") - warned; n > 3 {
		t.Errorf("want an outage said once, got %d more lines:\n%s", n, endOf(readFile(t, filepath.Join(p.dir, daemonLog)), 20))
	}
	for _, i := range []int{leader, follower} {
		if err := p.cluster.Member(i).Restart(); err != nil {
			t.Fatal(err)
		}
	}
	first.SendRate = 0
	p.apply(t, document(t, first, second))
	p.more(t, "lines", 300)
	var coarse agent.Coarse
	var live agent.Live
	eventually(t, "live and status keys are there", func() bool {
		return p.value(t, "/logagent.live/web-1", &live) && p.value(t, "/logagent.status/web-1", &coarse)
	})
	stop()
	p.complete(t, written(one, two), "lines")
	p.silent(t)
	p.exactly(t, d, written(one, two), "lines")
}

func TestDeliveryBySuspendedAgentWhoseLiveKeyWasTakenAway(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	log := p.newLedger(t, "in/a.log", 0)
	d := start(t, p.dir, "--daemon")
	p.apply(t, document(t, p.whole("in/a.log", "lines")))
	appendLines(t, 100, log)
	const key = "/logagent.live/web-1"
	lease := func() clientv3.LeaseID {
		r, err := p.etcd.Client().Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Kvs) == 0 {
			return 0
		}
		return clientv3.LeaseID(r.Kvs[0].Lease)
	}
	eventually(t, "live key", func() bool { return lease() != 0 })
	before := lease()
	d.signal(t, syscall.SIGSTOP)
	// What etcd does when the lease runs out, without the wait of 90 s.
	if _, err := p.etcd.Client().Revoke(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	good := p.whole("in/a.log", "lines")
	good.SendRate = 70_000
	revision := p.put(t, "/logagent/web-1/logconfig", document(t, good))
	appendLines(t, 500, log)
	if lease() != 0 {
		t.Fatal("the live key outlived its lease")
	}
	d.signal(t, syscall.SIGCONT)
	eventually(t, "live key under another lease", func() bool { l := lease(); return l != 0 && l != before })
	eventually(t, "the document of meanwhile runs", func() bool { return p.runs(t, "web-1", revision) })
	p.exactly(t, d, written(log), "lines")
}

func TestDeliveryNeedsThePasswordThatEtcdWants(t *testing.T) {
	t.Parallel()
	p := newSafePlace(t, 1)
	secret := filepath.Join(p.dir, "conf", "password")
	writeFile(t, secret, "not this one\n")
	words := `refuses user "agent": wrong user or password (see etcd_user and etcd_password_file)`
	for _, args := range [][]string{{"config", "get", "web-1"}, {"config", "set", "web-1", "-"}, {"check"}} {
		d := startWith(t, p.dir, args, func(p *process) { p.Stdin = strings.NewReader("[]") })
		code := d.exit(t)
		if out := d.stdout.String() + d.stderr.String(); code != exitFailed || !strings.Contains(out, words) || strings.Contains(out, "not this one") || strings.Contains(out, "rpc error") {
			t.Errorf("%v: want exit %d and %s, got %d:\n%s", args, exitFailed, words, code, out)
		}
	}

	// A daemon waits for the right one and says so once.
	log := p.newLedger(t, "in/a.log", 0)
	appendLines(t, 200, log)
	d := start(t, p.dir, "--daemon")
	p.logged(t, `refuses user \"agent\"`)
	if err := lab.SetEtcdPassword(t.Context(), p.cluster.Client(), "agent", "not this one"); err != nil {
		t.Fatal(err)
	}
	p.apply(t, document(t, p.whole("in/a.log", "lines")))
	if n := p.countLogged(t, "refuses user"); n != 1 {
		t.Errorf("want it said once, got %d", n)
	}
	p.exactly(t, d, written(log), "lines")
}
