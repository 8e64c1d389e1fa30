package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// manyRecords makes records as 10,000 followed files have.
func manyRecords() []fileRecord {
	m := func(n int) mark { return markOf(fmt.Append(nil, "some bytes ", n)) }
	out := make([]fileRecord, 10_000)
	for i := range out {
		out[i] = fileRecord{
			LogPath: "/var/log/services/*/*.log", Path: fmt.Sprintf("/var/log/services/service-%05d/application.log", i),
			fileID: fileID{Dev: 64768, Ino: 1_000_000 + uint64(i), Birth: 1763800000123456789 + int64(i)}, Committed: 123456 + int64(i), Head: m(i), Anchor: m(i + 1),
			Trail: trail{{Off: 100 + int64(i), Mark: m(i + 2)}, {Off: 99999, Mark: m(i + 3)}}, SeenAt: 1763800000,
		}
	}
	return out
}

func (b *bookkeeper) putAll(records []fileRecord) {
	for _, r := range records {
		b.l.saver.putFile(r)
	}
}

func benchSaver(b *testing.B) (*bookkeeper, []fileRecord) {
	b.Helper()
	a, err := New(Options{Host: "h", StateDir: filepath.Join(b.TempDir(), "state"), Sink: &countingSink{}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { a.loop.nudges.close(); a.Close() })
	k := &bookkeeper{dir: a.opt.StateDir, l: &a.loop}
	records := manyRecords()
	k.putAll(records)
	if err := k.save(); err != nil {
		b.Fatal(err)
	}
	return k, records
}

// BenchmarkSave saves 1,000 changed records of 10,000, over and over: what the loop does for
// it, and what reaches the disk a save, checkpoints that are written anew included.
func BenchmarkSave(b *testing.B) {
	k, records := benchSaver(b)
	b.ReportAllocs()
	var inLoop time.Duration
	var written, log int64
	d := &k.l.saver.disk
	d.step = func(step string) error {
		switch step {
		case "log on disk":
			written += d.log.size - log
			log = d.log.size
		case "checkpoint on disk":
			written += d.base.size
			log = 0
		}
		return nil
	}
	at := 0
	for b.Loop() {
		t := time.Now()
		for range 1000 {
			r := &records[at%len(records)]
			r.Committed++
			at++
			k.l.saver.putFile(*r)
		}
		inLoop += time.Since(t)
		if err := k.save(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(written)/float64(b.N), "B-written/save")
	b.ReportMetric(float64(inLoop.Microseconds())/float64(b.N), "loop-µs/save")
}

// BenchmarkSaveWhole writes a checkpoint of 10,000 records anew.
func BenchmarkSaveWhole(b *testing.B) {
	k, _ := benchSaver(b)
	b.ReportAllocs()
	for b.Loop() {
		k.l.saver.whole = true
		if err := k.save(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSaveJob is what the loop does to hand over a checkpoint of 10,000 records.
func BenchmarkSaveJob(b *testing.B) {
	k, _ := benchSaver(b)
	for b.Loop() {
		k.l.saver.whole = true
		k.l.job()
	}
}

// BenchmarkGather makes the records of 10,000 files whose position moved: the longest the loop
// is at it in one go is reported.
func BenchmarkGather(b *testing.B) {
	k, records := benchSaver(b)
	e := &entry{svc: &Service{LogPath: records[0].LogPath}}
	ins := make([]*incarnation, len(records))
	for i := range ins {
		r := &records[i]
		in := &incarnation{src: &source{entry: e, path: r.Path}, id: r.fileID, readHead: r.Head, readTrail: r.Trail}
		in.win = &window{owner: in, committed: r.Committed, committedAnchor: r.Anchor}
		ins[i] = in
	}
	b.ReportAllocs()
	var longest, sum time.Duration
	var goes int
	for b.Loop() {
		for _, in := range ins {
			k.l.soil(in)
		}
		for done := false; !done; goes++ {
			t := time.Now()
			done = k.l.saver.gather(t)
			took := time.Since(t)
			longest = max(longest, took)
			sum += took
		}
		k.l.job()
	}
	b.ReportMetric(float64(sum.Microseconds())/float64(goes), "µs/go")
	b.ReportMetric(float64(longest.Microseconds()), "µs-longest")
}

// BenchmarkLoad reads a checkpoint of 10,000 records with a log of 9,000 changes.
func BenchmarkLoad(b *testing.B) {
	k, records := benchSaver(b)
	for i := range 9 {
		k.putAll(records[i*1000:][:1000])
		if err := k.save(); err != nil {
			b.Fatal(err)
		}
	}
	info, err := os.Stat(k.path(logName))
	if err != nil || info.Size() < 1e6 {
		b.Fatal("there is no log to read", err)
	}
	b.ReportAllocs()
	for b.Loop() {
		cp, notes, unended := loadCheckpoint(k.dir)
		if len(notes) > 0 || unended != "" || len(cp.files) != len(records) {
			b.Fatal(notes, unended)
		}
		var s saverState
		s.init(k.dir, cp)
	}
}

// BenchmarkRecordsInMemory tells what the saver takes for each of 10,000 files, beside its path
// and its trail: those the open file has, too.
func BenchmarkRecordsInMemory(b *testing.B) {
	records := manyRecords()
	for b.Loop() {
		var before, after runtime.MemStats
		var s saverState
		s.init("", newCheckpoint())
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range records {
			s.putFile(records[i])
		}
		s.changed = nil // as once they are saved
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(records)), "B/file")
		runtime.KeepAlive(s)
	}
}
