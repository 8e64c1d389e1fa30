package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startDemo starts a demo without a console, and waits until its folder dir holds a
// configuration by which the verbs find it.
func startDemo(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	d := start(t, dir, append([]string{"demo", "--headless", "--json"}, args...)...)
	var at reachable
	eventually(t, "the addresses", func() bool { return json.Unmarshal([]byte(d.stdout.String()), &at) == nil })
	writeFile(t, filepath.Join(dir, "conf", "app.cfg"), "etcd_addr = "+at.Etcd+"\nkafka_addr = "+at.Kafka+"\n")
	return d
}

func (p *process) stopDemo(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != exitDone || p.stderr.String() != "" {
		t.Errorf("exit %d, stderr %q", code, p.stderr)
	}
}

func TestDemoIsAliveWithinSecondsAndLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	began := time.Now()
	d := startDemo(t, dir)
	eventually(t, "three hosts run and send", func() bool {
		_, stdout, _ := runBinary(t, dir, "status", "--json")
		var hosts []hostOut
		if json.Unmarshal([]byte(stdout), &hosts) != nil || len(hosts) != 3 {
			return false
		}
		for _, h := range hosts {
			if !h.Live || h.Config != "running" || h.OutPerSec == 0 {
				return false
			}
		}
		return true
	})
	t.Logf("living fleet after %s", time.Since(began))
	d.stopDemo(t)
	if left, err := filepath.Glob(filepath.Join(dir, "logagent-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func TestDemoInAFolderGoesOnWhereItEnded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := startDemo(t, dir, "--dir", "kept")
	if code, _, stderr := runBinary(t, dir, "config", "set", "web-01", "nginx", "send_rate=4321"); code != exitDone {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	d.stopDemo(t)
	d = startDemo(t, dir, "--dir", "kept")
	if code, stdout, stderr := runBinary(t, dir, "config", "get", "web-01"); code != exitDone || !strings.Contains(stdout, "4321") {
		t.Errorf("want the rate of the last run, got exit %d\n%s%s", code, stdout, stderr)
	}
	d.stopDemo(t)
}

func TestDemoRemovesWhatAKilledOneLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	folders := func() []string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(dir, demoFolders+"*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	killed := startDemo(t, dir)
	left := folders()
	if len(left) != 1 {
		t.Fatalf("want one folder, got %q", left)
	}
	living := startDemo(t, dir)
	if got := folders(); len(got) != 2 {
		t.Fatalf("want the folder of a living demo left alone, got %q", got)
	}
	killed.signal(t, syscall.SIGKILL)
	<-killed.done
	other := filepath.Join(dir, demoFolders+"of-somebody-else")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	last := startDemo(t, dir)
	if got := folders(); slices.Contains(got, left[0]) || len(got) != 3 || !slices.Contains(got, other) {
		t.Errorf("want %s gone, two living ones and %s, got %q", left[0], other, got)
	}
	living.stopDemo(t)
	last.stopDemo(t)
}
