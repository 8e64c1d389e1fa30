package agent_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"logagent/agent"
)

// The events at which followers of files lose lines, each with numbered lines of which
// every one has to arrive once and nothing else. Those that take another user, a mount, a
// namespace, logrotate or SIGKILL are in cmd/logagent: they run the daemon.
func TestNothingIsLostOrDoubledBy(t *testing.T) {
	t.Parallel()
	for _, event := range []struct {
		name string
		do   func(r *rig) (want string)
	}{
		{"01 lines written in two halves", func(r *rig) string {
			want := lines("half", 0, 300)
			for i, l := range strings.SplitAfter(want, "\n") {
				pause := 3 * time.Millisecond
				if i == 150 {
					pause = 600 * time.Millisecond
				}
				r.write("app.log", l[:len(l)/2])
				time.Sleep(pause) // what the writer does
				r.write("app.log", l[len(l)/2:])
			}
			return want
		}},
		{"02 ten renames without a pause", func(r *rig) (want string) {
			for i := range 10 {
				want += r.put(fmt.Sprint("before", i), 50)
				rename(r.t, r.path("app.log"), r.path(fmt.Sprintf("app.log.%d", 10-i)))
				want += r.put(fmt.Sprint("after", i), 50)
			}
			return want
		}},
		{"03 late lines to the old descriptor", func(r *rig) (want string) {
			for i := range 5 {
				old := r.open("app.log", os.O_APPEND)
				want += r.put(fmt.Sprint("early", i), 50)
				rename(r.t, r.path("app.log"), r.path(fmt.Sprintf("app.log.%d", i+1)))
				want += r.put(fmt.Sprint("fresh", i), 50)
				for j := range 50 {
					l := lines(fmt.Sprint("late", i), j, j+1)
					old.WriteString(l)
					want += l
					time.Sleep(10 * time.Millisecond) // what the writer does
				}
				old.Close()
			}
			return want
		}},
		{"04 two rotations while the sink is blocked for two seconds", func(r *rig) (want string) {
			want = r.put("a", 300)
			r.expect("t", want)
			r.sink.Block()
			end := time.Now().Add(2 * time.Second)
			for i, tag := range []string{"b", "c"} {
				rename(r.t, r.path("app.log"), r.path(fmt.Sprintf("app.log.%d", 2-i)))
				want += r.put(tag, 300)
			}
			r.until("two seconds are over", func(agent.Status) bool { return time.Now().After(end) })
			r.sink.Unblock()
			return want
		}},
		{"05 two rotations within ten milliseconds", func(r *rig) (want string) {
			for i := range 3 {
				for j := range 2 {
					want += r.put(fmt.Sprint(i, j), 20)
					os.Rename(r.path("app.log.1"), r.path(fmt.Sprintf("app.log.%d", 9-2*i-j)))
					rename(r.t, r.path("app.log"), r.path("app.log.1"))
				}
				want += r.put(fmt.Sprint(i, "end"), 20)
				r.expect("t", want)
			}
			return want
		}},
		{"06a copytruncate and twice the size in one write", func(r *rig) string { return r.regrown(200) }},
		{"06b copytruncate and the same size", func(r *rig) string { return r.regrown(100) }},
		{"06c copytruncate with 500 lines unread", func(r *rig) (want string) {
			return r.unread(func() { copytruncate(r.t, r.path("app.log"), r.path("app.log.1")) })
		}},
		{"06d copytruncate with 500 lines unread and the copy compressed at once", func(r *rig) (want string) {
			return r.unread(func() {
				copytruncate(r.t, r.path("app.log"), r.path("app.log.1"))
				compress(r.t, r.path("app.log.1"))
			})
		}},
		{"06e lines, copy and truncation before the first look", func(r *rig) (want string) {
			want = r.put("a", 100)
			copytruncate(r.t, r.path("app.log"), r.path("app.log.1"))
			return want + r.put("b", 20)
		}},
		{"07 truncation under a writer without O_APPEND", func(r *rig) string {
			w := r.open("app.log", os.O_CREATE)
			defer w.Close()
			w.WriteString(lines("a", 0, 100))
			r.expect("t", lines("a", 0, 100))
			copytruncate(r.t, r.path("app.log"), r.path("app.log.1"))
			w.WriteString(lines("b", 0, 100)) // at its old offset
			return lines("a", 0, 100) + lines("b", 0, 100)
		}},
		{"08 a symbolic link that is switched", func(r *rig) (want string) {
			r.write("one", lines("one", 0, 30))
			os.Symlink(r.path("one"), r.path("app.log"))
			r.expect("t", lines("one", 0, 30))
			old := r.open("one", os.O_APPEND)
			defer old.Close()
			r.write("two", lines("two", 0, 30))
			os.Symlink(r.path("two"), r.path("next"))
			rename(r.t, r.path("next"), r.path("app.log"))
			for i := range 30 {
				old.WriteString(lines("late", i, i+1))
				time.Sleep(3 * time.Millisecond) // what the writer does
			}
			return lines("one", 0, 30) + lines("two", 0, 30) + lines("late", 0, 30)
		}},
		{"09a removed and made anew, smaller and bigger", func(r *rig) (want string) {
			for i, n := range []int{100, 20, 300} {
				want += r.put(fmt.Sprint("a", i), n)
				r.expect("t", want)
				os.Remove(r.path("app.log"))
			}
			return want + r.put("end", 1)
		}},
		{"09b another file renamed over the path", func(r *rig) (want string) {
			want = r.put("a", 100)
			r.expect("t", want)
			r.write("new", lines("b", 0, 300))
			rename(r.t, r.path("new"), r.path("app.log"))
			return want + lines("b", 0, 300) + r.put("c", 10)
		}},
		{"09c removed while the writer goes on", func(r *rig) (want string) {
			w := r.open("app.log", os.O_CREATE|os.O_APPEND)
			w.WriteString(lines("a", 0, 100))
			r.expect("t", lines("a", 0, 100))
			os.Remove(r.path("app.log"))
			for i := range 100 {
				w.WriteString(lines("b", i, i+1))
				time.Sleep(3 * time.Millisecond) // what the writer does
			}
			w.Close()
			return lines("a", 0, 100) + lines("b", 0, 100) + r.put("c", 10)
		}},
		{"10 the inode again for another file while the agent was away", func(r *rig) (want string) {
			want = r.put("a", 100)
			r.expect("t", want)
			r.end()
			ino := func() uint64 {
				info, err := os.Stat(r.path("app.log"))
				if err != nil {
					r.t.Fatal(err)
				}
				return info.Sys().(*syscall.Stat_t).Ino
			}
			was := ino()
			for try := range 200 { // a file system that never gives it again is as good
				os.Remove(r.path("app.log"))
				os.WriteFile(r.path("app.log"), nil, 0o644)
				if ino() == was {
					break
				}
				if try%2 == 0 {
					os.WriteFile(r.path(fmt.Sprint("other", try)), nil, 0o644)
				}
			}
			want += r.put("b", 150) // past the old offset
			r.again()
			return want
		}},
		{"11a lines and two rotations, both compressed, while the agent was away", func(r *rig) (want string) {
			want = r.put("a", 50)
			r.expect("t", want)
			r.end()
			want += r.put("b", 30)
			rename(r.t, r.path("app.log"), r.path("app.log.2"))
			compress(r.t, r.path("app.log.2"))
			want += r.put("c", 30)
			rename(r.t, r.path("app.log"), r.path("app.log.1"))
			compress(r.t, r.path("app.log.1"))
			want += r.put("d", 30)
			r.again()
			return want
		}},
		{"11b copytruncate and growth while the agent was away", func(r *rig) (want string) {
			want = r.put("a", 50)
			r.expect("t", want)
			r.end()
			want += r.put("b", 30)
			copytruncate(r.t, r.path("app.log"), r.path("app.log.1"))
			want += r.put("c", 200)
			r.again()
			return want
		}},
		{"13a a last line without an end, then a rotation", func(r *rig) (want string) {
			for i := range 3 {
				r.write("app.log", lines(fmt.Sprint(i), 0, 10)+fmt.Sprint("the end of ", i))
				want += lines(fmt.Sprint(i), 0, 10) + fmt.Sprintf("the end of %d\n", i)
				rename(r.t, r.path("app.log"), r.path(fmt.Sprintf("app.log.%d", 3-i)))
			}
			return want
		}},
		{"13b line ends and bytes of every kind", func(r *rig) string {
			r.write("app.log", "crlf\r\n\n\r\n   \nnul \x00 in it\n\xff\xfe not UTF-8\ncr and")
			r.until("read", func(s agent.Status) bool { return len(s.Files) > 0 && s.Files[0].PartialBytes > 0 })
			r.write("app.log", " lf apart\r")
			time.Sleep(30 * time.Millisecond) // what the writer does
			r.write("app.log", "\n\ttab\n")
			return "crlf\nnul \x00 in it\n\xff\xfe not UTF-8\ncr and lf apart\n\ttab\n"
		}},
	} {
		for _, poll := range []time.Duration{20 * time.Millisecond, 200 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s, polled every %v", event.name, poll), func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				r.opt.PollInterval = poll
				r.start()
				r.apply(r.svc("app.log"))
				r.expect("t", event.do(r))
				if s := r.a.Status().Totals; s.LostBytes != 0 || s.Doubled != 0 {
					t.Errorf("%d bytes shown as lost, %d lines as doubled", s.LostBytes, s.Doubled)
				}
			})
		}
	}
}

// put writes n numbered lines and returns them.
func (r *rig) put(tag string, n int) string {
	r.t.Helper()
	text := lines(tag, 0, n)
	r.write("app.log", text)
	return text
}

// open opens a log as its writer does.
func (r *rig) open(name string, flags int) *os.File {
	r.t.Helper()
	f, err := os.OpenFile(r.path(name), os.O_WRONLY|flags|os.O_CREATE, 0o644)
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

// again starts the agent anew on what it remembers.
func (r *rig) again() {
	r.t.Helper()
	entries := r.entries
	r.start()
	r.apply(entries...)
}

// regrown truncates a delivered file of 100 lines and writes n at once.
func (r *rig) regrown(n int) string {
	r.t.Helper()
	want := r.put("a", 100)
	r.expect("t", want)
	copytruncate(r.t, r.path("app.log"), r.path("app.log.1"))
	want += r.put("b", n)
	return want
}

// unread truncates a file of which 500 lines are unread.
func (r *rig) unread(copytruncate func()) string {
	r.t.Helper()
	s := r.svc("app.log")
	want := r.put("a", 100)
	r.expect("t", want)
	s.Paused = true
	r.apply(s)
	want += r.put("b", 500)
	copytruncate()
	want += r.put("c", 50)
	s.Paused = false
	r.apply(s)
	return want
}

// measuring is a sink that keeps nothing: it adds up the pieces of a line.
type measuring struct {
	mu          sync.Mutex
	sum         hash.Hash
	parts, last int
	ended       bool
}

func (m *measuring) Send(b *agent.Batch) {
	m.mu.Lock()
	for _, l := range b.Lines {
		if line := b.Buf[l.From:l.To]; b.Part > 0 {
			m.parts++
			m.sum.Write(line)
			m.last = b.Parts
		} else {
			m.ended = string(line) == "end"
		}
	}
	m.mu.Unlock()
	b.Done(agent.Verdict{})
}
func (m *measuring) Recall(string)                 {}
func (m *measuring) Topic(string) agent.TopicState { return agent.TopicState{} }
func (m *measuring) Link() agent.LinkStatus        { return agent.LinkStatus{Up: true} }

// A line of 100 MB takes no more memory than others.
func TestHundredMegabyteLineGoesInPiecesInBoundedMemory(t *testing.T) {
	sink := &measuring{sum: sha256.New()} // alone: it looks at the memory of the process
	a, err := agent.New(agent.Options{Host: "h1", StateDir: t.TempDir(), Sink: sink, InFlightBytes: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	path := filepath.Join(t.TempDir(), "app.log")
	entry := agent.Service{Service: "s", LogPath: path, Topic: "t", StartAt: agent.StartBeginning}
	if err := a.Apply(ctx, agent.HostConfig{Host: "h1", Documents: []agent.Document{{Key: "k", Revision: 1, Services: []agent.Service{entry}}}}); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	want := sha256.New()
	const pieces = 100
	for i := range pieces {
		text := bytes.Repeat([]byte{byte('a' + i%26)}, 1_000_000)
		want.Write(text)
		appendTo(t, path, string(text))
	}
	appendTo(t, path, "\nend\n")
	deadline := time.Now().Add(time.Minute)
	for done := false; !done; time.Sleep(5 * time.Millisecond) {
		sink.mu.Lock()
		done = sink.ended
		sink.mu.Unlock()
		if time.Now().After(deadline) {
			t.Fatalf("never read to its end: %+v", a.Status().Files)
		}
	}
	runtime.ReadMemStats(&after)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if sink.parts != pieces || sink.last != pieces || !bytes.Equal(sink.sum.Sum(nil), want.Sum(nil)) {
		t.Errorf("%d pieces, the last says %d, wanted %d; the same bytes: %v", sink.parts, sink.last, pieces, bytes.Equal(sink.sum.Sum(nil), want.Sum(nil)))
	}
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 48<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}
