package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const daemonLog = "log/logagent.log"

func TestDaemonDeliversAndWritesNothingButItsLog(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	path := writeFile(t, filepath.Join(p.dir, "in", "a.log"), "one\ntwo\n")
	p.document(t, "web-1", entry(path, "lines"))
	d := start(t, p.dir, "--daemon")
	if got := p.arrived(t, "lines", 2); len(got) != 2 {
		t.Errorf("want one and two, got %q", got)
	}
	eventually(t, "the live key", func() bool { return p.key(t, "/logagent.live/web-1") != "" })
	d.stop(t)
	if got := p.key(t, "/logagent.live/web-1"); got != "" {
		t.Errorf("the live key outlives the agent: %s", got)
	}

	// What was delivered is not delivered again.
	appendFile(t, path, "three\n")
	d = start(t, p.dir, "--daemon")
	if got := p.arrived(t, "lines", 3); len(got) != 3 {
		t.Errorf("want three lines, got %q", got)
	}
	d.stop(t)
	if got := p.arrived(t, "lines", 3); len(got) != 3 {
		t.Errorf("want three lines, got %q", got)
	}
}

func TestDaemonStartsWithEtcdAndKafkaAway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeConfig(t, dir, "etcd_addr = 127.0.0.1:1", "kafka_addr = 127.0.0.1:1")
	d := start(t, dir, "--daemon")
	log := filepath.Join(dir, daemonLog)
	eventually(t, "both are named in the log", func() bool {
		text := readFile(t, log)
		return strings.Contains(text, "etcd is away") && strings.Contains(text, "kafka does not answer")
	})
	began := time.Now()
	d.stop(t)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("nothing in flight, but the end took %s", took)
	}
	if !strings.Contains(readFile(t, log), "logagent ends") {
		t.Error("the end is not in the log")
	}
}

func TestHangUpReopensTheLogAndReadsTheConfigurationAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	away := []string{"etcd_addr = 127.0.0.1:1", "kafka_addr = 127.0.0.1:1"}
	writeConfig(t, dir, away...)
	d := start(t, dir, "--daemon")
	log := filepath.Join(dir, daemonLog)
	eventually(t, "the start is in the log", func() bool { return strings.Contains(readFile(t, log), "logagent starts") })
	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	writeConfig(t, dir, append(away, "thread_num = 7", "kafka_adr = x:1")...)
	d.signal(t, syscall.SIGHUP)
	eventually(t, "the new file names what needs a restart", func() bool {
		text := readFile(t, log)
		return strings.Contains(text, "thread_num") && strings.Contains(text, "did you mean kafka_addr")
	})
	writeConfig(t, dir, append(away, "thread_num = many")...)
	d.signal(t, syscall.SIGHUP)
	eventually(t, "a refused configuration is named", func() bool {
		return strings.Contains(readFile(t, log), "the old one stays in force")
	})
	writeFile(t, filepath.Join(dir, "conf", "app.cfg"), "host = web-1\nlevel = error\n")
	d.signal(t, syscall.SIGHUP)
	if err := os.Remove(filepath.Join(dir, "conf", "app.cfg")); err != nil {
		t.Fatal(err)
	}
	d.stop(t)
}

func TestSecondSignalEndsTheDaemonAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "drain_timeout = 10m")
	path := writeFile(t, filepath.Join(p.dir, "in", "a.log"), "one\n")
	p.document(t, "web-1", entry(path, "lines"))
	d := start(t, p.dir, "--daemon")
	p.arrived(t, "lines", 1)
	p.kafka.Stop()
	appendFile(t, path, "two\n")
	log := filepath.Join(p.dir, daemonLog)
	eventually(t, "Kafka is known to be away", func() bool { return strings.Contains(readFile(t, log), "kafka does not answer") })
	d.signal(t, syscall.SIGTERM)
	eventually(t, "it drains", func() bool { return strings.Contains(readFile(t, log), "msg=stopping") })
	d.signal(t, syscall.SIGTERM)
	if code := d.exit(t); code != exitFailed {
		t.Errorf("want exit %d, got %d", exitFailed, code)
	}
}

func TestSecondDaemonOnOneStateFolderIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeConfig(t, dir, "etcd_addr = 127.0.0.1:1", "kafka_addr = 127.0.0.1:1")
	first := start(t, dir, "--daemon")
	eventually(t, "the first one runs", func() bool { return strings.Contains(readFile(t, filepath.Join(dir, daemonLog)), "logagent starts") })
	code, _, stderr := runBinary(t, dir, "--daemon")
	if code != exitFailed || !strings.Contains(stderr, "state") || !strings.Contains(stderr, fmt.Sprintf("pid %d on ", first.Process.Pid)) {
		t.Errorf("want exit 1, the state folder and the pid of who holds it, got %d, %q", code, stderr)
	}
	first.stop(t)
}

func TestWarningsOfTheConfigurationAreSaidAtTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeConfig(t, dir, "etcd_addr = 127.0.0.1:1", "kafka_addr = 127.0.0.1:1", "kafka_adr = x")
	d := start(t, dir, "--daemon")
	eventually(t, "the warning", func() bool {
		return strings.Contains(d.stderr.String(), "app.cfg:6: unknown key kafka_adr is ignored; did you mean kafka_addr?")
	})
	eventually(t, "it runs all the same", func() bool { return strings.Contains(readFile(t, filepath.Join(dir, daemonLog)), "logagent starts") })
	if !strings.Contains(readFile(t, filepath.Join(dir, daemonLog)), "did you mean kafka_addr") {
		t.Error("the warning is not in the log")
	}
	d.signal(t, syscall.SIGTERM)
	if code := d.exit(t); code != exitDone {
		t.Errorf("exit %d", code)
	}
}

func TestDrainEndsAtItsDeadlineAndLosesNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "drain_timeout = 300ms")
	path := writeFile(t, filepath.Join(p.dir, "in", "a.log"), "one\n")
	p.document(t, "web-1", entry(path, "lines"))
	d := start(t, p.dir, "--daemon")
	p.arrived(t, "lines", 1)
	p.kafka.Stop()
	appendFile(t, path, "two\n")
	log := filepath.Join(p.dir, daemonLog)
	eventually(t, "Kafka is known to be away", func() bool { return strings.Contains(readFile(t, log), "kafka does not answer") })
	d.stop(t)
	if err := p.kafka.Restart(); err != nil {
		t.Fatal(err)
	}
	d = start(t, p.dir, "--daemon")
	if got := p.arrived(t, "lines", 2); len(got) != 2 {
		t.Errorf("want one and two, got %q", got)
	}
	d.stop(t)
}

func TestKeysOfTheHostsAddressesAreFollowedToo(t *testing.T) {
	t.Parallel()
	ids, err := hostKeys("")
	if err != nil || len(ids) < 2 {
		t.Skipf("this machine has no address of its own: %q, %v", ids, err)
	}
	p := newPlace(t)
	config := filepath.Join(p.dir, "conf", "app.cfg")
	writeFile(t, config, strings.Replace(readFile(t, config), "host = web-1", "host =", 1))
	named := writeFile(t, filepath.Join(p.dir, "in", "named.log"), "by name\n")
	addressed := writeFile(t, filepath.Join(p.dir, "in", "addressed.log"), "by address\n")
	p.document(t, ids[0], entry(named, "lines"))
	p.document(t, ids[1], entry(addressed, "lines"))
	d := start(t, p.dir, "--daemon")
	if got := strings.Join(p.arrived(t, "lines", 2), ","); !strings.Contains(got, "by name") || !strings.Contains(got, "by address") {
		t.Errorf("want a line of each document, got %q", got)
	}
	eventually(t, "the live key under the host name", func() bool { return p.key(t, "/logagent.live/"+ids[0]) != "" })
	d.stop(t)
}
