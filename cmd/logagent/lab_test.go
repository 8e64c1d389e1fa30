package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"logagent/internal/lab"
)

// place is a machine for tests: an etcd, a Kafka, and a folder with a configuration for
// them in conf/app.cfg, where the binary finds it.
type place struct {
	dir   string
	etcd  *lab.Etcd
	kafka *lab.Kafka
}

// newPlace starts them. Lines of more are added to the configuration.
func newPlace(t *testing.T, more ...string) *place {
	t.Helper()
	p := &place{dir: t.TempDir()}
	var err error
	if p.etcd, err = lab.StartEtcd(lab.EtcdOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIn(t, p.etcd) })
	if p.kafka, err = lab.StartKafka(lab.KafkaOptions{AutoCreate: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIn(t, p.kafka) })
	p.configure(t, more...)
	return p
}

func closeIn(t *testing.T, c interface{ Close() error }) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// configure writes the configuration of the host web-1.
func (p *place) configure(t *testing.T, more ...string) {
	t.Helper()
	writeConfig(t, p.dir, append([]string{"etcd_addr = " + p.etcd.Addr(), "kafka_addr = " + strings.Join(p.kafka.Addrs(), ",")}, more...)...)
}

func writeConfig(t *testing.T, dir string, lines ...string) {
	t.Helper()
	writeFile(t, filepath.Join(dir, "conf", "app.cfg"), "host = web-1  # id\nlevel = debug\npoll_interval = 20ms\n"+strings.Join(lines, "\n")+"\n")
}

// document puts the document of a host.
func (p *place) document(t *testing.T, host, text string) {
	t.Helper()
	if _, err := p.etcd.Client().Put(t.Context(), "/logagent/"+host+"/logconfig", text); err != nil {
		t.Fatal(err)
	}
}

// entry is a document of one entry from the beginning.
func entry(path, topic string) string {
	return fmt.Sprintf(`[{"service":"svc","log_path":%q,"topic":%q,"send_rate":0,"start_at":"beginning"}]`, path, topic)
}

// key returns the value of an etcd key; "" where there is none.
func (p *place) key(t *testing.T, key string) string {
	t.Helper()
	got, err := p.etcd.Client().Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Kvs) == 0 {
		return ""
	}
	return string(got.Kvs[0].Value)
}

// arrived waits for n records in a topic and returns their values.
func (p *place) arrived(t *testing.T, topic string, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	records, err := p.kafka.WaitRecords(ctx, topic, n)
	if err != nil {
		t.Fatal(err)
	}
	return lab.Values(records)
}

// stop ends a process in the ordinary way and wants it to have written nothing.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitDone {
		t.Errorf("want exit 0, got %d", code)
	}
	if out := p.stdout.String() + p.stderr.String(); out != "" {
		t.Errorf("want nothing on stdout and stderr, got %q", out)
	}
}
