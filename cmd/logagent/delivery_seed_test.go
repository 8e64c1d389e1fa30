package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// originalINI is the configuration of the original, with its comments; only addresses are
// filled in.
const originalINI = `etcd_addr = %s          # etcd address
etcd_timeout = 5                         # seconds
etcd_watch_key = /logagent/%%s/logconfig  # key pattern
kafka_addr = %s        # kafka address
thread_num = 4                           # sender connections per broker, each with its own partitions
log = ./log/logagent.log                 # the agent's own log, rotated
level = debug                            # debug info warn error
`

// originalEntry is the original's document.
const originalEntry = `[{"service":"s","log_path":"%s","topic":"nginx_log","send_rate":%d}]`

func TestDeliveryByTheOriginalsConfigurationAndEntry(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	writeFile(t, filepath.Join(p.dir, "conf", "app.cfg"), fmt.Sprintf(originalINI, p.etcd.Addr(), strings.Join(p.kafka.Addrs(), ",")))
	ids, err := hostKeys("")
	if err != nil {
		t.Fatal(err)
	}
	// The original looked under the address of its host; the host name is a key too.
	host, key := ids[0], "/logagent/"+ids[len(ids)-1]+"/logconfig"
	t.Logf("the host is %s, its document under %s", host, key)
	log := p.newLedger(t, "in/access.log", 0)
	path := filepath.Join(p.dir, "in/access.log")
	appendLines(t, 500, log)
	old := len(written(log))
	fresh := func() []string { return written(log)[old:] }

	set := func(rate int) {
		t.Helper()
		revision := p.put(t, key, fmt.Sprintf(originalEntry, path, rate))
		eventually(t, fmt.Sprintf("send_rate %d runs", rate), func() bool { return p.runs(t, host, revision) })
	}
	d := start(t, p.dir, "--daemon")
	set(1000)
	appendLines(t, 2000, log)
	p.complete(t, fresh(), "nginx_log")

	// A lower rate takes hold: at 1000 a second all would be there within moments, at 5 no
	// patience is enough.
	set(5)
	appendLines(t, 4000, log)
	p.more(t, "nginx_log", 10)
	if n := len(p.records(t, "nginx_log")); n >= len(fresh()) {
		t.Errorf("%d lines are delivered, as if there were no limit of 5 a second", n)
	}
	// A higher one, too, for a reader that sleeps until its next turn.
	set(50_000)
	p.exactly(t, d, fresh(), "nginx_log")

	for _, r := range p.records(t, "nginx_log") {
		if r.Key != nil || r.Header("host") != host || r.Header("service") != "s" || r.Header("path") != path || len(r.Headers) != 3 || r.Timestamp.IsZero() {
			t.Fatalf("want no key and the headers host %s, service s, path %s, got %+v", host, path, r)
		}
	}
	if n := p.countLogged(t, "msg=following", path); n != 1 {
		t.Errorf("a changed rate begins the file again: followed %d times", n)
	}
}

func TestDeliveryOfLinesIsByteForByte(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	path := filepath.Join(p.dir, "in", "odd.log")
	d := start(t, p.dir, "--daemon")
	p.apply(t, document(t, p.whole("in/odd.log", "odd")))
	// Windows ends, a NUL, bytes that are no text, blank lines, and an end that comes later.
	writeFile(t, path, "plain\r\nnul\x00in\n\xff\xfe\n\n   \t\r\n\u2028 separator\nsplit in ")
	p.arrived(t, "odd", 4)
	appendText(t, path, "two writes\nnever ended")
	want := []string{"plain", "nul\x00in", "\xff\xfe", "\u2028 separator", "split in two writes"}
	p.exactly(t, d, want, "odd")

	// The unfinished line is delivered once it is finished, by the daemon after this one.
	appendText(t, path, " till now\n")
	d = start(t, p.dir, "--daemon")
	p.exactly(t, d, append(want, "never ended till now"), "odd")
}
