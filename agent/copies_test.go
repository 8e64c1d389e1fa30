package agent_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"logagent/agent"
)

func TestSlowCopyOfAFileThatIsBehindIsNotReadBesideIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.svc("app.log")
	s.SendRate = 2000
	want := lines("a", 0, 20_000)
	r.write("app.log", want)
	r.start()
	r.apply(s)
	r.sink.WaitLines(t, "t", 100)
	// The copy grows past the reader's position, through whole seconds of looks.
	src, err := os.ReadFile(r.path("app.log"))
	if err != nil {
		t.Fatal(err)
	}
	for part := range 10 {
		n := len(src) / 10
		end := min(len(src), (part+1)*n)
		if part == 9 {
			end = len(src)
		}
		appendTo(t, r.path("app.log.1"), string(src[part*n:end]))
		time.Sleep(150 * time.Millisecond) // what a slow disk does; decides nothing
	}
	os.Truncate(r.path("app.log"), 0)
	s.SendRate = 0
	r.apply(s)
	r.expect("t", want)
	if n := r.a.Status().Totals.LostBytes; n != 0 {
		t.Errorf("%d bytes shown as lost", n)
	}
}

func TestCopyOverAnOldBackupIsJudgedAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	want := ""
	for i, n := range []int{100, 300, 200, 900} { // larger and smaller than what stood there
		l := lines(string(rune('a'+i)), 0, n)
		want += l
		r.write("app.log", l)
		r.expect("t", want)
		b, err := os.ReadFile(r.path("app.log"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.path("app.log.1"), b, 0o644); err != nil { // the same inode each time
			t.Fatal(err)
		}
		appendTo(t, r.path("unrelated"+string(rune('a'+i))), "x") // lets the folder be looked at between copy and truncation
		r.looks(2)
		os.Truncate(r.path("app.log"), 0)
		r.looks(2)
	}
	r.expect("t", want)
}

func TestSmallFileCopytruncatedWhilePausedIsReadOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.svc("app.log")
	r.start()
	r.apply(s)
	r.write("app.log", lines("a", 0, 5))
	r.expect("t", lines("a", 0, 5))
	s.Paused = true
	r.apply(s)
	r.write("app.log", lines("b", 0, 5))
	copytruncate(t, r.path("app.log"), r.path("app.log.1"))
	r.write("app.log", lines("c", 0, 5))
	r.looks(2)
	s.Paused = false
	r.apply(s)
	r.expect("t", lines("a", 0, 5)+lines("b", 0, 5)+lines("c", 0, 5))
	if n := r.a.Status().Totals.LostBytes; n != 0 {
		t.Errorf("%d bytes shown as lost", n)
	}
}

func TestCopyLeftByAnOriginalThatIsGoneIsReadOnFromItsPosition(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("a", 0, 500))
	r.expect("t", lines("a", 0, 500))
	r.end()
	r.write("app.log", lines("b", 0, 50))
	copytruncate(t, r.path("app.log"), r.path("app.log.1"))
	os.Remove(r.path("app.log"))
	r.start()
	r.apply(r.svc("app.log"))
	r.expect("t", lines("a", 0, 500)+lines("b", 0, 50))
}

func TestLiteralEntryGoesOnWhereTheGlobWas(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := r.svc("*.log")
	g.SendRate = 1000
	all := lines("a", 0, 2000)
	r.write("a.log", all)
	r.start()
	r.apply(g)
	r.sink.WaitLines(t, "t", 100)
	lit := agent.Service{Service: "lit", LogPath: r.path("a.log"), Topic: "t"}
	r.apply(g, lit)
	r.ordered("t", all)
	// And back: the glob gets the file where the literal entry left it.
	r.apply(g)
	r.write("a.log", lines("b", 0, 100))
	r.ordered("t", all+lines("b", 0, 100))
}

func TestExcludedFileOfALimitedEntryLeavesTheOthersMoving(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	want := ""
	for _, n := range []string{"a", "b", "c"} {
		r.write(n+".log", lines(n, 0, 400))
	}
	g := r.svc("*.log")
	g.SendRate = 500
	r.start()
	r.apply(g)
	r.sink.WaitLines(t, "t", 30)
	g.Exclude = []string{"a.log"}
	r.apply(g)
	want = lines("b", 0, 400) + lines("c", 0, 400)
	r.until("b and c arrived", func(agent.Status) bool {
		n := 0
		for _, v := range r.values("t") {
			if v[0] != 'a' {
				n++
			}
		}
		return n >= 800
	})
	var got []string
	for _, v := range r.values("t") {
		if v[0] != 'a' {
			got = append(got, v)
		}
	}
	compare(t, split(want), got)
}

func TestReadErrorAtOpenIsTriedAgain(t *testing.T) {
	t.Parallel()
	const path = "/sys/class/net/lo/speed" // a regular file whose read fails, on Linux
	if _, err := os.Stat(path); err != nil {
		t.Skip("no such file here")
	}
	r := newRig(t)
	r.start()
	r.apply(agent.Service{Service: "s", LogPath: path, Topic: "t"})
	r.until("shown", func(s agent.Status) bool { return s.Files[0].State == agent.StateFailing })
	r.until("tried again", func(agent.Status) bool { return r.a.RetriesAsked(path) })
}

func TestLinesReadBetweenCopyAndTruncationDoubleNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	want := ""
	for i := range 4 {
		tag := string(rune('a' + i))
		r.write("app.log", lines(tag, 0, 500))
		b, err := os.ReadFile(r.path("app.log"))
		if err != nil {
			t.Fatal(err)
		}
		r.write("app.log", lines(tag+"late", 0, 20))
		want += lines(tag, 0, 500) + lines(tag+"late", 0, 20)
		r.expect("t", want)
		rotated := r.path("app.log." + string(rune('1'+i)))
		if err := os.WriteFile(rotated, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 {
			compress(t, rotated)
		}
		if err := os.Truncate(r.path("app.log"), 0); err != nil {
			t.Fatal(err)
		}
		r.looks(2)
	}
	r.write("app.log", "end\n")
	r.expect("t", want+"end\n")
}

// A copy that ends before the position is held until every verdict is in. Compressed meanwhile it
// stands there twice, and nothing else remembers its bytes.
func TestShorterCopyCompressedBeforeTheVerdictsAreInDoublesNothing(t *testing.T) {
	t.Parallel()
	for _, refused := range []bool{false, true} {
		t.Run(fmt.Sprintf("refused %t", refused), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.start()
			r.apply(r.svc("app.log"))
			b := lines("a", 0, 500)
			r.write("app.log", b)
			r.expect("t", b)
			r.sink.Block()
			var once sync.Once
			r.sink.Judge(func(*agent.Batch) (v agent.Verdict) {
				once.Do(func() {
					if refused {
						v.Err = errors.New("not taken this time")
					}
				})
				return v
			})
			inFlight, late := lines("inflight", 0, 500), lines("late", 0, 5)
			read := func(n int) {
				r.until("read", func(s agent.Status) bool { return s.Files[0].ReadBytes == int64(n) })
			}
			r.write("app.log", inFlight)
			read(len(b) + len(inFlight))
			r.write("app.log", late)
			read(len(b) + len(inFlight) + len(late))
			before := time.Now().Add(-time.Minute)
			if err := os.WriteFile(r.path("copy"), []byte(b+inFlight), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(r.path("copy"), before, before); err != nil {
				t.Fatal(err)
			}
			rename(t, r.path("copy"), r.path("app.log.1"))
			if err := os.Truncate(r.path("app.log"), 0); err != nil {
				t.Fatal(err)
			}
			r.until("seen", func(agent.Status) bool { return strings.Contains(r.log.String(), "its copy is looked for") })
			compress(t, r.path("app.log.1"))
			r.until("judged", func(agent.Status) bool {
				return r.a.Copies() == 1 || strings.Contains(r.log.String(), "rotated unseen")
			})
			r.sink.Unblock()
			r.write("app.log", "end\n")
			r.expect("t", b+inFlight+late+"end\n")
		})
	}
}

// The copy is all that is left of what Kafka had not taken when the topic was changed.
func TestLinesRecalledAfterATruncationAreReadFromAShorterCopy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.svc("app.log")
	r.sink.Disconnect("not there")
	r.start()
	r.apply(s)
	r.write("app.log", lines("a", 0, 500))
	read := func(n int64) {
		r.until("read", func(s agent.Status) bool { return s.Files[0].ReadBytes == n })
	}
	b := lines("a", 0, 500)
	read(int64(len(b)))
	if err := os.WriteFile(r.path("copy"), []byte(b), 0o644); err != nil {
		t.Fatal(err)
	}
	late := lines("late", 0, 5)
	r.write("app.log", late)
	read(int64(len(b) + len(late)))
	rename(t, r.path("copy"), r.path("app.log.1"))
	if err := os.Truncate(r.path("app.log"), 0); err != nil {
		t.Fatal(err)
	}
	r.until("seen", func(agent.Status) bool { return strings.Contains(r.log.String(), "its copy is looked for") })
	s.Topic = "u"
	applied := make(chan struct{})
	go func() { r.apply(s); close(applied) }()
	<-applied
	r.sink.Connect()
	r.write("app.log", "end\n")
	// What stood in the truncated file alone is lost, and said.
	r.expect("u", b+"end\n")
	if lost := int(r.a.FreshStatus().Totals.LostBytes); lost != len(late) {
		t.Errorf("%d bytes shown as lost, %d are", lost, len(late))
	}
}

func TestCopyMadeBeforeAndTruncatedWhileTheAgentWasAwayDoublesNothing(t *testing.T) {
	t.Parallel()
	for _, zip := range []bool{false, true} {
		for _, regrown := range []int{0, 10, 2000} {
			r := newRig(t)
			r.start()
			r.apply(r.svc("app.log"))
			r.write("app.log", lines("a", 0, 500))
			b, err := os.ReadFile(r.path("app.log"))
			if err != nil {
				t.Fatal(err)
			}
			r.write("app.log", lines("late", 0, 20))
			want := lines("a", 0, 500) + lines("late", 0, 20)
			r.expect("t", want)
			r.end()
			if err := os.WriteFile(r.path("app.log.1"), b, 0o644); err != nil {
				t.Fatal(err)
			}
			if zip {
				compress(t, r.path("app.log.1"))
			}
			if err := os.Truncate(r.path("app.log"), 0); err != nil {
				t.Fatal(err)
			}
			if regrown > 0 {
				r.write("app.log", lines("b", 0, regrown))
				want += lines("b", 0, regrown)
			}
			r.start()
			r.apply(r.svc("app.log"))
			r.looks(2)
			r.write("app.log", "end\n")
			r.expect("t", want+"end\n")
		}
	}
}

// What SIGTERM leaves between a truncation and the end of its copy's compression.
func TestTruncatedFileWhoseCopyIsNotCompleteAtTheEndIsReadOnAfterTheStart(t *testing.T) {
	t.Parallel()
	for _, behind := range []bool{true, false} {
		r := newRig(t)
		r.opt.RotateWait = 10 * time.Second
		s := r.svc("app.log")
		if behind {
			s.SendRate = 500
		}
		want := lines("a", 0, 3000)
		r.write("app.log", want)
		r.start()
		r.apply(s)
		r.sink.WaitLines(t, "t", 100)
		if !behind {
			r.expect("t", want)
		}
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		w.Write([]byte(want))
		w.Close()
		appendTo(t, r.path("app.log.1.gz"), z.String()[:z.Len()/2])
		os.Truncate(r.path("app.log"), 0)
		r.until("seen", func(agent.Status) bool { return strings.Contains(r.log.String(), "its copy is looked for") })
		r.end()
		appendTo(t, r.path("app.log.1.gz"), z.String()[z.Len()/2:])
		r.write("app.log", lines("b", 0, 100))
		s.SendRate = 0
		r.start()
		r.apply(s)
		r.ordered("t", want+lines("b", 0, 100))
	}
}

// Every file begins with the same banner of more than is remembered as its head, and two
// copies end before what was delivered: one of another file must not be taken for one of
// this.
func TestCopiesOfFilesWithTheSameBannerAreToldApart(t *testing.T) {
	t.Parallel()
	banner := strings.Repeat("# the same words at the beginning of every file\n", 60)
	for _, zip := range []bool{false, true} {
		for _, away := range []bool{false, true} {
			r := newRig(t)
			s := r.svc("app.log")
			r.start()
			r.apply(s)
			a := lines("a", 0, 500)
			r.write("app.log", banner+a)
			late := lines("late", 0, 20)
			copied, err := os.ReadFile(r.path("app.log"))
			if err != nil {
				t.Fatal(err)
			}
			r.write("app.log", late)
			r.expect("t", banner+a+late)
			if away {
				r.end()
			} else {
				s.Paused = true
				r.apply(s)
			}
			// The copy, and that of the short-lived file that came after; both end early.
			b := lines("b", 0, 100)
			for name, text := range map[string]string{"app.log.2": string(copied), "app.log.1": banner + b} {
				if err := os.WriteFile(r.path("tmp"), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				rename(t, r.path("tmp"), r.path(name))
				if zip {
					compress(t, r.path(name))
				}
			}
			if err := os.Truncate(r.path("app.log"), 0); err != nil {
				t.Fatal(err)
			}
			r.write("app.log", lines("c", 0, 10))
			if away {
				r.start()
			}
			s.Paused = false
			r.apply(s)
			r.looks(2)
			r.expect("t", banner+a+late+banner+b+lines("c", 0, 10))
		}
	}
}
