package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestPeerConfigsNameTheWork(t *testing.T) {
	t.Parallel()
	w := peerWork{Log: "/logs/access.log", Broker: "127.0.0.1:19092", Topic: "lines", Compression: "snappy", Dir: t.TempDir()}
	for name, c := range map[string]struct {
		conf string
		want []string
	}{
		"rsyslog": {rsyslogConf, []string{
			`file="/logs/access.log"`, `broker=["127.0.0.1:19092"]`, `topic="lines"`, `"compression.codec=snappy"`,
			`workDirectory="` + w.Dir + `"`, `"request.required.acks=-1"`, `string="%msg%"`,
		}},
		"syslog-ng": {syslogNGConf, []string{
			`file("/logs/access.log"`, `bootstrap-servers("127.0.0.1:19092")`, `topic("lines")`, `compression.codec("snappy")`,
			`acks("-1")`, `message("$MSG")`, `flags(flow-control)`,
		}},
	} {
		path, err := writeConf(c.conf, w)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			if !strings.Contains(string(got), want) {
				t.Errorf("%s: no %s in\n%s", name, want, got)
			}
		}
		if strings.Contains(string(got), "{{") {
			t.Errorf("%s: something is not filled in in\n%s", name, got)
		}
	}
}

func TestPeerConfigThatAsksForSomethingUnknownIsRefused(t *testing.T) {
	t.Parallel()
	if text, err := fillConf("topic = {{.Subject}}", peerWork{}); err == nil {
		t.Errorf("filled to %q", text)
	}
}

func TestVersionsAreReadFromWhatProgramsSay(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ program, said, want string }{
		{"rsyslogd", "rsyslogd  8.2302.0 (aka 2023.02) compiled with:\n\tPLATFORM:\t\tx86_64-pc-linux-gnu\n", "8.2302.0"},
		{"rsyslogd", "rsyslogd 8.1901.0, compiled with:\n", "8.1901.0"},
		{"syslog-ng", "syslog-ng 3 (3.38.1)\nConfig version: 3.35\nInstaller-Version: 3.38.1\n", "3.38.1"},
		{"syslog-ng", "syslog-ng 4 (4.3.1)\n", "4.3.1"},
		{"rsyslogd", "error while loading shared libraries: libestr.so.0", ""},
		{"syslog-ng", "", ""},
	} {
		got, err := parseVersion(c.program, c.said)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("parseVersion(%s, %q) = %q, %v, want %q", c.program, c.said, got, err, c.want)
		}
	}
	const list = "libestr0 0.1.11-1\nlibpcre3 2:8.39-15\nlibrdkafka1 2.0.2-1\nlibrdkafka1-dbg 9-9\n"
	for name, want := range map[string]string{"librdkafka1": "2.0.2", "libpcre3": "8.39", "libestr": "", "absent": ""} {
		if got := packageVersion(list, name); got != want {
			t.Errorf("version of %s is %q, want %q", name, got, want)
		}
	}
}

// Not parallel: it says through the environment where the cache is.
func TestPeerThatWasNotFetchedIsARowThatSaysSo(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	b := &bench{set: settings{lines: 1, runs: 1, partitions: 1}, dir: t.TempDir()}
	opts := peerOptions{compressions: []string{"none", "snappy"}, only: []string{"rsyslog", "syslog-ng"}}

	t.Setenv(requireEnv, "kafka")
	results, err := runPeers(t.Context(), b, opts)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 4 {
		t.Fatalf("%d rows, want rsyslog and syslog-ng in two tables", len(results))
	}
	for _, r := range results {
		if !strings.Contains(r.missing, "cmd/bench/peers/fetch.sh") || r.linesPerSec != 0 {
			t.Errorf("%s, %s: missing is %q and the rate %f, want the reason and no figures", r.name, r.compression, r.missing, r.linesPerSec)
		}
	}
	var out strings.Builder
	if err := writePeers(&out, b, results); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "not measured: Debian's rsyslog is not in"); n != 2 {
		t.Errorf("%d rows say that rsyslog is missing, want one in each table:\n%s", n, &out)
	}

	t.Setenv(requireEnv, "kafka,peers")
	if _, err := runPeers(t.Context(), b, opts); !errors.Is(err, errNoPeer) {
		t.Errorf("with %s=kafka,peers the error is %v, want that a peer is missing", requireEnv, err)
	}
}

func TestPeerFolderThatWasNotFinishedIsNoPeer(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	dir := filepath.Join(cache, "logagent", "peers", "rsyslog")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := findPeer("rsyslog"); !errors.Is(err, errNoPeer) {
		t.Errorf("an unfinished folder gives %v, want that it is missing", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "complete"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if home, err := findPeer("rsyslog"); err != nil || string(home) != dir {
		t.Errorf("the finished folder is %q, %v, want %q", home, err, dir)
	}
}

func TestPeersAreHeldAgainstLogagentWithoutHeaders(t *testing.T) {
	t.Parallel()
	results := []peerResult{{name: "absent", missing: "not here"}, {name: "rsyslog"}, {name: baseSender}}
	compare(results, [][]figures{
		nil,
		{{linesPerSec: 100, cpuPerM: 9}, {linesPerSec: 900, cpuPerM: 1}, {linesPerSec: 500, cpuPerM: 3}},
		{{linesPerSec: 2000, cpuPerM: 0.5}, {linesPerSec: 3000, cpuPerM: 0.7}, {linesPerSec: 2000, cpuPerM: 0.6}},
	})
	if r := results[1]; r.linesPerSec != 500 || r.cpuPerM != 3 || r.rateRatio != 0.25 || r.cpuRatio != 5 {
		t.Errorf("rsyslog is %+v, want medians of 500 and 3, a quarter of the rate and 5 times the CPU", r)
	}
	if r := results[2]; r.rateRatio != 1 || r.cpuRatio != 1 {
		t.Errorf("%s against itself is %f and %f", r.name, r.rateRatio, r.cpuRatio)
	}
}

func TestLinesThatPeersLoseDoubleOrChangeAreToldInTheTable(t *testing.T) {
	t.Parallel()
	b := &bench{set: settings{lines: 10, compression: "none"}, size: 110, sum: 7}
	whole := counts{Records: 10, Walked: 10, ValueBytes: 100, Sum: 7}
	changed, longer := whole, whole
	changed.Sum, longer.ValueBytes = 8, 130
	for _, c := range []struct {
		counts counts
		want   string // in what is told; "" for nothing told
	}{
		{whole, ""},
		{counts{Records: 7}, "3 lines lost"},
		{counts{Records: 12}, "2 lines doubled"},
		{changed, "not the same"},
		{longer, "130 bytes"},
		{counts{Records: 10}, "10 lines compressed"},
	} {
		got := b.unlike(c.counts)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("of %+v is told %q, want %q", c.counts, got, c.want)
		}
	}
	packed := &bench{set: settings{lines: 10, compression: "snappy"}, size: 110, sum: 7}
	if got := packed.unlike(whole); got != "10 lines not compressed" {
		t.Errorf("of lines that came uncompressed is told %q", got)
	}
	if got := packed.unlike(counts{Records: 10}); got != "" {
		t.Errorf("of compressed lines is told %q, want nothing", got)
	}
	packed.set.unpack = true
	if got := packed.unlike(changed); !strings.Contains(got, "not the same") {
		t.Errorf("of compressed lines that are not those of the log is told %q", got)
	}
	var out strings.Builder
	writePeerTable(&out, "none", []peerResult{
		{name: "good", compression: "none"},
		{name: "bad", compression: "none", wrong: []string{"run 2: 3 lines lost", "run 3: 1 lines doubled"}},
	})
	for _, want := range []string{"| **run 2: 3 lines lost; run 3: 1 lines doubled** |", "| each once |"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

// The library that rsyslog and syslog-ng send with asks for it: see keyFetch. And it compresses
// nothing for a broker that does not offer to take produce requests of version 0.
func TestBrokerStandInIsTakenForOneThatKnowsRecordBatches(t *testing.T) {
	t.Parallel()
	resp := (&broker{}).versions(3).(*kmsg.ApiVersionsResponse)
	for _, k := range resp.ApiKeys {
		if k.ApiKey == keyProduce && k.MinVersion != 0 {
			t.Errorf("produce is offered from version %d, want 0", k.MinVersion)
		}
		if k.ApiKey == keyFetch {
			if k.MinVersion > 4 || k.MaxVersion < 4 {
				t.Errorf("fetch is offered in versions %d to %d, want 4 among them", k.MinVersion, k.MaxVersion)
			}
			return
		}
	}
	t.Error("fetch is not offered")
}

func TestPeerStaysWithAPartitionAndGoesRound(t *testing.T) {
	t.Parallel()
	p := stayingPartitioner{n: 3}
	var got []int32
	for range 14 {
		at, err := p.Partition(nil, 2)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, at)
	}
	if want := []int32{0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0}; !slices.Equal(got, want) {
		t.Errorf("partitions are %v, want %v", got, want)
	}
}
