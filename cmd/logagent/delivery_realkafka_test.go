package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/agent"
	"logagent/internal/kraft"
	"logagent/internal/lab"
)

// The password of this test's user. It may be in two files, of which one is the broker's.
const (
	realKafkaUser     = "logagent"
	realKafkaPassword = "never_To-be.seen7"
)

// realPlace is a place whose Kafka is one broker of Apache Kafka with TLS and a login, and
// who signed its certificate.
func realPlace(t *testing.T) (*place, *kraft.Cluster, kraft.PEM) {
	t.Helper()
	if len(kraft.Asked(t)) > 0 {
		t.Skip("KAFKA_ADDR names a cluster whose users and certificates are not this test's, and whose brokers are not to be killed")
	}
	a, err := kraft.NewAuthority("the brokers' authority")
	if err != nil {
		t.Fatal(err)
	}
	files, err := a.Files(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	c, err := kraft.Start(t.Context(), kraft.Options{AutoCreate: true, PEM: files, Users: map[string]string{realKafkaUser: realKafkaPassword}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the broker's log ends with:\n%s", c.Log(0, 30))
		}
		closeIn(t, c)
	})
	t.Logf("one broker of Apache Kafka %s after %v", kraft.Version(), time.Since(began).Round(100*time.Millisecond))
	p := &place{dir: t.TempDir()}
	if p.etcd, err = lab.StartEtcd(lab.EtcdOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIn(t, p.etcd) })
	return p, c, files
}

// loginWith configures the host web-1 with an authority and a password file.
func (p *place) loginWith(t *testing.T, c *kraft.Cluster, authority, passwordFile string) {
	t.Helper()
	writeConfig(t, p.dir, "etcd_addr = "+p.etcd.Addr(), "kafka_addr = "+strings.Join(c.Addrs(kraft.SASLTLS), ","),
		"kafka_tls_ca = "+authority, "kafka_sasl_mechanism = SCRAM-SHA-512", "kafka_sasl_user = "+realKafkaUser,
		"kafka_sasl_password_file = "+passwordFile, "drain_timeout = 300ms")
}

func TestDeliveryToRealKafkaOverTLSWithALogin(t *testing.T) {
	p, c, files := realPlace(t)
	right := writeFile(t, filepath.Join(t.TempDir(), "password"), realKafkaPassword+"\n")
	wrong := writeFile(t, filepath.Join(t.TempDir(), "password"), "not-"+realKafkaPassword+"\n")
	stranger, err := kraft.NewAuthority("somebody else")
	if err != nil {
		t.Fatal(err)
	}
	foreign := writeFile(t, filepath.Join(t.TempDir(), "authority.pem"), string(stranger.PEM))

	logs := []*lab.Ledger{p.newLedger(t, "in/a.log", 300<<10), p.newLedger(t, "in/b.log", 0)}
	followed := document(t, p.whole("in/*.log", "lines"))
	p.document(t, "web-1", followed)
	for _, trouble := range []struct{ authority, password, cause string }{
		{foreign, right, "certificate signed by unknown authority"},
		{files.Authority, wrong, "the broker refuses user or password"},
	} {
		p.loginWith(t, c, trouble.authority, trouble.password)
		d := start(t, p.dir, "--daemon")
		appendLines(t, 500, logs...)
		eventually(t, "the status says why Kafka is away: "+trouble.cause, func() bool {
			s, ok := p.status(t)
			return ok && !s.Kafka.Up && strings.Contains(s.Kafka.Error, trouble.cause) && strings.Contains(s.Kafka.Error, c.Addrs(kraft.SASLTLS)[0])
		})
		p.cause(t, filepath.Join(p.dir, "in/b.log"), agent.StateBehind, "Kafka away")
		eventually(t, "the log says it", func() bool { return p.countLogged(t, "kafka does not answer", trouble.cause) == 1 })
		p.keepsItsSecret(t)
		p.stop(t, d)
	}
	if got, err := c.Records(t.Context(), "lines"); err != nil || len(got) > 0 {
		t.Errorf("want nothing delivered so far, got %d records and %v", len(got), err)
	}

	p.loginWith(t, c, files.Authority, right)
	d := start(t, p.dir, "--daemon")
	stop := keepWriting(t, 2000, logs...)
	more := func(n int) {
		t.Helper()
		before := 0
		eventually(t, "more lines arrive", func() bool {
			got, err := c.Records(t.Context(), "lines")
			if err == nil && before == 0 {
				before = len(got) + 1
			}
			return err == nil && len(got) > before+n
		})
	}
	for range 2 {
		more(1000)
		c.Kill(0)
		p.kafkaIs(t, false)
		if err := c.Run(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		p.kafkaIs(t, true)
	}
	more(1000)
	stop()
	p.acknowledged(t, 2*500) // and nothing is left
	p.keepsItsSecret(t)
	p.stop(t, d)

	want := written(logs...)
	got, err := c.Records(t.Context(), "lines")
	if err != nil {
		t.Fatal(err)
	}
	if d := lab.Compare(want, lab.Values(got)); !d.None() {
		t.Errorf("of %d lines: %s", len(want), d)
	}
	for _, r := range got {
		if r.Header("host") != "web-1" || r.Header("service") != "svc" || !strings.HasPrefix(r.Header("path"), filepath.Join(p.dir, "in")) {
			t.Fatalf("want host, service and path as headers, got %v", r.Headers)
		}
	}
	t.Logf("%d lines over two kill -9 of the broker", len(want))

	// The status topic is as open as any.
	words, err := c.Records(t.Context(), "logagent-status")
	if err != nil || len(words) == 0 {
		t.Errorf("want a status topic, got %d records and %v", len(words), err)
	}
	for _, r := range words {
		if strings.Contains(string(r.Value), realKafkaPassword) {
			t.Errorf("the password stands in the status topic: %s", r.Value)
		}
	}
}

// keepsItsSecret wants the password nowhere: not in the status, nor in etcd, nor in any
// file below the place, which are log and state.
func (p *place) keepsItsSecret(t *testing.T) {
	t.Helper()
	s, ok := p.status(t)
	if !ok {
		t.Fatal("no status")
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string]string{"the status": string(text)}
	keys, err := p.etcd.Client().Get(t.Context(), "", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	if len(keys.Kvs) < 3 { // document, live key, coarse status
		t.Errorf("want the agent's keys in etcd, got %d: this shows nothing", len(keys.Kvs))
	}
	for _, kv := range keys.Kvs {
		kept["the etcd key "+string(kv.Key)] = string(kv.Value)
	}
	files := 0
	err = filepath.WalkDir(p.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || strings.HasPrefix(path, filepath.Join(p.dir, "in")) {
			return nil // one may vanish while this looks
		}
		if text, err := os.ReadFile(path); err == nil {
			kept[path] = string(text)
			files++
		}
		return nil
	})
	if err != nil || files < 3 { // configuration, log, state
		t.Errorf("want configuration, log and state looked at, got %d files and %v: this shows nothing", files, err)
	}
	for where, text := range kept {
		if strings.Contains(text, realKafkaPassword) {
			t.Errorf("the password stands in %s", where)
		}
	}
}
