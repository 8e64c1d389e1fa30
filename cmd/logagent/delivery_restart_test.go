package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"logagent/agent"
	"logagent/internal/lab"
)

func TestDeliveryOverRenameRotationWhileFilesAreWrittenFast(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if err := p.kafka.CreateTopic("apps", 8, nil); err != nil {
		t.Fatal(err)
	}
	const file = 64 << 10 // rotated several times a second
	apps := []*lab.Ledger{p.newLedger(t, "in/app-1.log", file), p.newLedger(t, "in/app-2.log", file), p.newLedger(t, "in/deep/er/app-3.log", file)}
	web := []*lab.Ledger{p.newLedger(t, "in/web/access.log", file), p.newLedger(t, "in/web/error.log", file)}
	d := start(t, p.dir, "--daemon")
	byFile := p.whole("in/web/*", "web") // matches the rotated names, too
	byFile.Partition = agent.PartitionFile
	p.apply(t, document(t, p.whole("in/**/app-*.log", "apps"), byFile))
	stop := keepWriting(t, 3000, append(apps, web...)...)
	eventually(t, "every file was rotated several times", func() bool {
		for _, l := range append(apps, web...) {
			if l.Count() < 6000 {
				return false
			}
		}
		return true
	})
	// Files that appear while their folder is busy belong to the entry as well.
	late := p.newLedger(t, "in/late/app-4.log", file)
	appendLines(t, 3000, late)
	stop()
	p.complete(t, written(append(apps, late)...), "apps")
	p.complete(t, written(web...), "web")
	p.stop(t, d)
	for topic, want := range map[string][]string{"apps": written(append(apps, late)...), "web": written(web...)} {
		if diff := lab.Compare(want, lab.Values(p.records(t, topic))); !diff.None() {
			t.Errorf("%s, of %d lines: %s", topic, len(want), diff)
		}
	}
	partitions := make(map[int32]bool)
	for _, r := range p.records(t, "apps") {
		partitions[r.Partition] = true
	}
	if len(partitions) != 8 {
		t.Errorf("%d of 8 partitions hold lines", len(partitions))
	}
	for _, r := range p.records(t, "web") {
		if path := r.Header("path"); string(r.Key) != path || path != filepath.Join(p.dir, "in/web/access.log") && path != filepath.Join(p.dir, "in/web/error.log") {
			t.Fatalf("want the path the file was followed under as key and header, got %q and %q", r.Key, path)
		}
	}
}

func TestDeliveryOverSIGTERMInMidFlowDoublesNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	logs := []*lab.Ledger{p.newLedger(t, "in/a.log", 200<<10), p.newLedger(t, "in/b.log", 0)}
	limited := p.whole("in/b.log", "lines")
	limited.SendRate = 1500
	p.begun(t, document(t, p.whole("in/a.log", "lines"), limited))
	stop := keepWriting(t, 2000, logs...)
	for range 6 {
		d := start(t, p.dir, "--daemon")
		p.more(t, "lines", 500)
		p.stop(t, d)
	}
	stop()
	p.exactly(t, start(t, p.dir, "--daemon"), written(logs...), "lines")
}

func TestDeliveryOverSIGKILLLosesNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	logs := []*lab.Ledger{p.newLedger(t, "in/a.log", 100<<10), p.newLedger(t, "in/b.log", 300<<10), p.newLedger(t, "in/c.log", 0)}
	p.begun(t, document(t, p.whole("in/*.log", "lines")))
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	stop := keepWriting(t, 2000, logs...)
	const kills = 7
	for range kills {
		d := start(t, p.dir, "--daemon")
		p.more(t, "lines", 1+random.IntN(1500))
		time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond) // a random moment is the point; nothing is decided by it
		d.kill(t)
	}
	stop()
	want := written(logs...)
	d := start(t, p.dir, "--daemon")
	p.complete(t, want, "lines")
	p.stop(t, d)
	diff := lab.Compare(want, lab.Values(p.records(t, "lines")))
	t.Logf("seed %d: %d kills, %d lines written, %d lost, %d doubled, %d foreign", seed, kills, len(want), len(diff.Lost), len(diff.Doubled), len(diff.Foreign))
	if len(diff.Lost)+len(diff.Foreign) > 0 {
		t.Error(diff)
	}
}

func TestDeliveryAfterADaemonThatCouldNotDrain(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "drain_timeout = 300ms")
	log := p.newLedger(t, "in/a.log", 0)
	p.document(t, "web-1", document(t, p.whole("in/a.log", "lines")))
	d := start(t, p.dir, "--daemon")
	appendLines(t, 100, log)
	p.arrived(t, "lines", 100)
	p.kafka.Stop()
	appendLines(t, 2000, log)
	p.logged(t, "kafka does not answer")
	d.signal(t, syscall.SIGTERM)
	if code := d.exit(t); code != exitDone {
		t.Errorf("want exit 0 with Kafka away, got %d", code)
	}
	p.logged(t, "drain timeout")
	if err := p.kafka.Restart(); err != nil {
		t.Fatal(err)
	}
	p.exactly(t, start(t, p.dir, "--daemon"), written(log), "lines")
}

func TestDeliveryWithCompressionOfEveryKind(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	log := p.newLedger(t, "in/a.log", 100<<10)
	p.document(t, "web-1", document(t, p.whole("in/a.log", "lines")))
	for _, kind := range []string{"gzip", "snappy", "lz4", "zstd"} {
		p.configure(t, "kafka_compression = "+kind, "thread_num = 2")
		d := start(t, p.dir, "--daemon")
		appendLines(t, 3000, log)
		if diff := p.complete(t, written(log), "lines"); !diff.None() {
			t.Fatal(fmt.Errorf("%s: %s", kind, diff))
		}
		p.stop(t, d)
	}
}
