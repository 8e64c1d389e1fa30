package agent

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// hand is an agent whose loop does not run: its steps are made one at a time, on real files,
// so that a test can count in turns what time would blur, and a benchmark can time one stage
// alone. Nothing tells it of changes but tell and look.
type hand struct {
	tb   testing.TB
	l    *loop
	sink *handSink
	dir  string
	took func(*turn) // told of each turn before it reads; may be nil

	word nudge // of the kernel's
}

// handSink checks what it is sent, byte for byte, and acknowledges it at once, but for the
// topics that are stuck: those wait for answer.
type handSink struct {
	tb    testing.TB
	files map[string]*handFile // by path
	stuck map[string]bool
	held  []*Batch
	lines int64
	bytes int64
}

// handFile is a file whose content is known.
type handFile struct {
	in      *incarnation
	content []byte
	sent    int64 // everything before it was handed to the sink
	lines   int
	batches int
}

func (s *handSink) Send(b *Batch) {
	s.check(b)
	if s.stuck[b.Service.Topic] {
		s.held = append(s.held, b)
		return
	}
	b.Done(Verdict{})
}

func (s *handSink) check(b *Batch) {
	s.lines += int64(len(b.Lines))
	s.bytes += b.End - b.Start
	f := s.files[b.Path]
	if f == nil || f.content == nil {
		return // a benchmark's: counted and no more
	}
	if b.Start != f.sent {
		s.tb.Fatalf("%s: a batch begins at %d, the one before ended at %d", b.Path, b.Start, f.sent)
	}
	if rest := b.End - b.Start - int64(len(b.Buf)); rest != 0 && (b.Part == 0 || rest != 1) || !bytes.HasPrefix(f.content[b.Start:b.End], b.Buf) {
		s.tb.Fatalf("%s: what was sent for the bytes from %d to %d is not what stands there", b.Path, b.Start, b.End)
	}
	at := uint32(0)
	for _, l := range b.Lines {
		if l.From != at || b.Part == 0 && b.Buf[l.To] != '\n' {
			s.tb.Fatalf("%s: the line at %d of the batch from %d on is not where it stands", b.Path, l.From, b.Start)
		}
		at = l.To + 1
	}
	f.sent, f.lines, f.batches = b.End, f.lines+len(b.Lines), f.batches+1
}

// answer acknowledges the oldest batch of a stuck topic and tells whether there was one.
func (s *handSink) answer(topic string) bool {
	for i, b := range s.held {
		if b.Service.Topic == topic {
			s.held = append(s.held[:i:i], s.held[i+1:]...)
			b.Done(Verdict{})
			return true
		}
	}
	return false
}

func (s *handSink) Recall(string)           {}
func (s *handSink) Topic(string) TopicState { return TopicState{} }
func (s *handSink) Link() LinkStatus        { return LinkStatus{Up: true} }

// newHand makes an agent of the options' sizes.
func newHand(tb testing.TB, o Options) *hand {
	tb.Helper()
	s := &handSink{tb: tb, files: make(map[string]*handFile), stuck: make(map[string]bool)}
	o.Host, o.StateDir, o.Sink, o.Log = "h", filepath.Join(tb.TempDir(), "state"), s, slog.New(slog.DiscardHandler)
	a, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	h := &hand{tb: tb, l: &a.loop, sink: s, dir: tb.TempDir()}
	h.l.nudges.watch.closed = true // nothing is told
	h.l.saver.done = 1 << 40       // positions count as saved
	h.l.saver.out = true           // and nobody writes them
	h.l.nextPoll = farFuture()     // nor looks by itself
	h.l.nextSample, h.l.nextPrune = h.l.nextPoll, h.l.nextPoll
	tb.Cleanup(func() {
		h.l.wg.Wait()
		for _, f := range s.files {
			f.in.file.Close()
		}
		a.Close()
	})
	return h
}

// farFuture is a time that no test reaches.
func farFuture() time.Time { return time.Now().Add(10000 * time.Hour) }

// entry puts an entry in force.
func (h *hand) entry(name, topic string, rate int64) *entry {
	svc := &Service{Service: name, LogPath: filepath.Join(h.dir, name+"-*.log"), Topic: topic, StartAt: StartBeginning, SendRate: rate}
	e := &entry{svc: svc, sources: make(map[string]*source), looked: true}
	e.throttle.set(rate, time.Now())
	h.l.entries[svc.LogPath] = e
	h.l.order = append(h.l.order, svc.LogPath)
	return e
}

// file begins a file of the entry that holds content; the loop knows of it as after a look.
func (h *hand) file(e *entry, content []byte) *handFile {
	h.tb.Helper()
	path := filepath.Join(h.dir, fmt.Sprintf("%s-%d.log", e.svc.Service, len(e.sources)))
	if err := os.WriteFile(path, content, 0o644); err != nil {
		h.tb.Fatal(err)
	}
	f := &handFile{in: h.open(e, path), content: content}
	h.sink.files[path] = f
	h.l.push(f.in)
	return f
}

func (h *hand) open(e *entry, path string) *incarnation {
	h.tb.Helper()
	file, st, err := openRegular(path)
	if err != nil {
		h.tb.Fatal(err)
	}
	src := h.l.source(e, path, time.Now())
	in, err := h.l.open(src, file, st, path, time.Now())
	if err != nil {
		h.tb.Fatal(err)
	}
	src.active = in
	return in
}

// append adds to a file without telling the loop.
func (h *hand) append(f *handFile, text string) {
	h.tb.Helper()
	file, err := os.OpenFile(f.in.name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		h.tb.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString(text); err != nil {
		h.tb.Fatal(err)
	}
	if f.content != nil {
		f.content = append(f.content, text...)
	}
}

// tell is a change told by the kernel.
func (h *hand) tell(in *incarnation) {
	in.watch = &h.word
	h.l.nudged(in)
	in.watch = nil
}

// look is a look of the poll at one file.
func (h *hand) look(in *incarnation) {
	h.tb.Helper()
	st, err := in.stat()
	if err != nil {
		h.tb.Fatal(err)
	}
	h.l.looked(in, st, time.Now())
}

// step is one go of the loop, with the turns that it hands out, and tells whether there
// were any.
func (h *hand) step() bool {
	l := h.l
	l.mailIn()
	now := time.Now()
	l.clock(now)
	l.dispatch(now)
	moved := false
	for {
		select {
		case t := <-l.turns:
			moved = true
			if h.took != nil {
				h.took(&t)
			}
			o := t.run(&l.pool)
			l.read(&t, o)
			l.mailIn()
		default:
			return moved
		}
	}
}

// run makes steps until cond holds; without turns there is nothing to wait for.
func (h *hand) run(what string, cond func() bool) {
	h.tb.Helper()
	for !cond() {
		if !h.step() && !cond() {
			h.tb.Fatalf("nothing moves any more, and it is not so that %s", what)
		}
	}
}

// read tells whether everything that the files hold was sent.
func read(files ...*handFile) bool {
	for _, f := range files {
		if f.sent < int64(len(f.content)) {
			return false
		}
	}
	return true
}

// numbered makes at least size bytes of lines of n bytes each, all of them different.
func numbered(tag string, n, size int) []byte {
	filler := strings.Repeat("abcdefghijklmnopqrstuvwxyz", n/26+1)
	b := make([]byte, 0, size+n+1)
	for i := int64(0); len(b) < size; i++ {
		from := len(b)
		b = strconv.AppendInt(append(b, tag...), i, 10)
		b = append(b, ' ')
		b = append(b, filler[:max(0, from+n-len(b))]...)
		b = append(b[:from+n], '\n')
	}
	return b
}
