package agent

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// idleTree makes 10,000 files and the globs that mean them.
var idleTrees = []struct {
	name            string
	folders, levels int
	globs           func(dir string) []string
}{
	{"100folders-100globs", 100, 10, func(dir string) (g []string) {
		for i := range 100 {
			g = append(g, fmt.Sprintf("%s/g%d/%05d/*.log", dir, i%10, i))
		}
		return g
	}},
	{"100folders-10deepglobs", 100, 10, func(dir string) (g []string) {
		for i := range 10 {
			g = append(g, fmt.Sprintf("%s/g%d/*/*.log", dir, i))
		}
		return g
	}},
	{"10000folders-10deepglobs", 10_000, 10, func(dir string) (g []string) {
		for i := range 10 {
			g = append(g, fmt.Sprintf("%s/g%d/*/*.log", dir, i))
		}
		return g
	}},
}

const idleFiles = 10_000

func idleTree(b *testing.B, folders int) string {
	b.Helper()
	dir, err := filepath.EvalSymlinks(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	for i := range folders {
		sub := fmt.Sprintf("%s/g%d/%05d", dir, i%10, i)
		if err := os.MkdirAll(sub, 0o755); err != nil {
			b.Fatal(err)
		}
		for j := range idleFiles / folders {
			if err := os.WriteFile(fmt.Sprintf("%s/app-%c%05d.log", sub, 'a'+j%26, j), []byte("x\n"), 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	return dir
}

// restCPU returns the share of a core that looks take over a while in which all that is looked
// at now and then falls due.
func restCPU(f *finder) float64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cpu := func() time.Duration {
		var u syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_THREAD, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	var sum time.Duration
	began := time.Now()
	for time.Since(began) < backstopPolls*f.poll {
		time.Sleep(f.poll)
		at := cpu()
		f.look(false)
		sum += cpu() - at
	}
	return float64(sum) / float64(time.Since(began))
}

// BenchmarkFinderAtRest tells what 10,000 files cost that nobody writes to: ns of a look in which
// nothing is due, heap per file (the strings of the paths, 80 bytes each, and the registry
// included), and with LOGAGENT_BENCH_REST=1, for half a minute each, the share of a core.
func BenchmarkFinderAtRest(b *testing.B) {
	for _, tree := range idleTrees {
		b.Run(tree.name, func(b *testing.B) {
			dir := idleTree(b, tree.folders)
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			reg := &registry{}
			var files int
			f, end := finderFor(reg, func(r lookReport) {
				for _, s := range r.sightings {
					if s.file != nil {
						reg.hold(fileKey{s.logPath, s.st.id})
						s.file.Close()
						files++
					}
				}
			})
			defer end()
			set := wantSet{gen: 1}
			for _, g := range tree.globs(dir) {
				set.list = append(set.list, want{logPath: g, born: 1, glob: newGlob(g, nil)})
			}
			f.set = set
			f.look(true)
			for range 3 {
				f.look(false)
			}
			if files != idleFiles {
				b.Fatalf("%d files found", files)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			perFile := float64(after.HeapAlloc-before.HeapAlloc) / idleFiles
			b.ReportAllocs()
			for b.Loop() {
				f.look(false)
			}
			b.StopTimer()
			if os.Getenv("LOGAGENT_BENCH_REST") != "" {
				b.ReportMetric(100*restCPU(f), "%core")
			}
			b.ReportMetric(perFile, "B/file")
		})
	}
}

func finderFor(reg *registry, report func(lookReport)) (*finder, func()) {
	f := newFinder(200*time.Millisecond, &access{}, reg, report)
	f.watch = newInotify(&mailbox{wake: make(chan struct{}, 1)}, slog.New(slog.DiscardHandler), func(*incarnation) {}, f.hurry)
	return f, f.watch.close
}

// BenchmarkWatches tells what a watched file takes of the heap, the incarnation not counted.
func BenchmarkWatches(b *testing.B) {
	dir := b.TempDir()
	n := newNudges(&mailbox{wake: make(chan struct{}, 1)}, slog.New(slog.DiscardHandler), func(*incarnation) {}, func() {})
	defer n.close()
	ins := make([]*incarnation, idleFiles)
	for i := range ins {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			b.Fatal(err)
		}
		f, st, err := openRegular(path)
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		ins[i] = &incarnation{src: &source{path: path}, file: f, id: st.id}
	}
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		for _, in := range ins {
			n.add(in)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		for _, in := range ins {
			n.drop(in)
		}
		n.watch.drain()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/idleFiles, "ns/add+drop")
	b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc)+float64(after.StackInuse)-float64(before.StackInuse))/idleFiles, "B/watch")
	b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
}
