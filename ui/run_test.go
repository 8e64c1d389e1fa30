package ui

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/creack/pty"
	"go.uber.org/goleak"

	"logagent/ui/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// terminal is what a console writes to.
type terminal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *terminal) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not come", what)
		}
	}
}

// restored tells whether the alternate screen was entered and left and the cursor is back.
func restored(out string) bool {
	return strings.Contains(out, "\x1b[?1049h") && strings.LastIndex(out, "\x1b[?1049l") > strings.LastIndex(out, "\x1b[?1049h") &&
		strings.LastIndex(out, "\x1b[?25h") > strings.LastIndex(out, "\x1b[?25l")
}

// sitAt opens a pseudo-terminal of 100×30 and collects what is written to it.
func sitAt(t *testing.T) (keys io.Writer, tty *os.File, out *terminal) {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(master, &pty.Winsize{Cols: 100, Rows: 30}); err != nil {
		t.Fatal(err)
	}
	out = &terminal{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		io.Copy(out, master)
	}()
	t.Cleanup(func() { tty.Close(); master.Close(); <-read })
	return master, tty, out
}

func TestRunEndsByKeyAndByContextAndRestoresTheTerminal(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(in io.Writer, cancel func()){
		"key":     func(in io.Writer, _ func()) { io.WriteString(in, "q") },
		"context": func(_ io.Writer, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			keys, tty, out := sitAt(t)
			watch := &fakeWatcher{held: make(chan string, 1), ended: make(chan string, 1)}
			done := make(chan error, 1)
			go func() {
				done <- Run(ctx, Options{Store: sample(time.Now), Watcher: watch, Input: tty, Output: tty, Environ: []string{"TERM=xterm-256color", "NO_COLOR=1"}})
			}()
			until(t, "the fleet", func() bool { return strings.Contains(out.String(), "web-0187.fra1") })
			io.WriteString(keys, "jy") // copying passes through the renderer
			until(t, "the copy", func() bool { return strings.Contains(out.String(), "\x1b]52;c;") })
			io.WriteString(keys, "\r")
			until(t, "the watch", func() bool { return len(watch.held) == 1 })
			until(t, "the host", func() bool { return strings.Contains(out.String(), "waiting for detail") })
			end(keys, cancel)
			select {
			case err := <-done:
				if err != nil {
					t.Fatalf("want nil, got %v", err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("Run does not return")
			}
			if len(watch.ended) != 1 {
				t.Error("want the watch ended when Run returns")
			}
			until(t, "the restored terminal", func() bool { return restored(out.String()) })
			if strings.Contains(out.String(), "\x1b]11;?") || strings.Contains(out.String(), "\x1b[6n") {
				t.Error("want the terminal asked nothing")
			}
		})
	}
}

// stuck is a terminal that takes nothing until it is let go.
type stuck struct{ letGo chan struct{} }

func (s *stuck) Write(p []byte) (int, error) {
	<-s.letGo
	return len(p), nil
}

func TestStalledTerminalDoesNotHoldTheEnd(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	in, keys := io.Pipe()
	out := &stuck{make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Options{Store: sample(time.Now), Input: in, Output: out, Environ: []string{"TERM=xterm"}})
	}()
	cancel()
	select {
	case err := <-done:
		if err != nil && !errors.Is(err, ErrStalled) {
			t.Errorf("want nil or ErrStalled, got %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("Run waits for the terminal")
	}
	keys.Close()
	close(out.letGo)
}

func TestPanicRestoresTheTerminalAndIsAnError(t *testing.T) {
	t.Parallel()
	_, tty, out := sitAt(t)
	err := Run(t.Context(), Options{Store: store.New(store.Options{Now: func() time.Time { panic("the clock stopped") }}), Input: tty, Output: tty, Environ: []string{"TERM=xterm"}})
	if err == nil || !strings.Contains(err.Error(), "the clock stopped") {
		t.Fatalf("want the panic as an error, got %v", err)
	}
	until(t, "the restored terminal", func() bool { return restored(out.String()) })
	if strings.Contains(out.String(), "the clock stopped") {
		t.Errorf("want nothing printed, got %q", out.String())
	}
}

func TestWatchEndsWithTheSession(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	w := newWork(ctx)
	watch := &fakeWatcher{held: make(chan string, 1), ended: make(chan string, 1)}
	a, err := newApp(Options{Store: sample(time.Now), Watcher: watch, Colours: ColoursNone}, io.Discard, w)
	if err != nil {
		t.Fatal(err)
	}
	cmd := newHost(a.env, "web-0187.fra1").Init()
	go cmd()
	<-watch.held
	cancel()
	w.wait()
	if got := <-watch.ended; got != "web-0187.fra1" {
		t.Fatalf("want the watch ended, got %q", got)
	}
	if msg := cmd(); msg != nil {
		t.Fatalf("want no command taken after the end, got %v", msg)
	}
}

func TestWrongOptionsAreRefused(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"no store": {},
		"theme":    {Store: store.New(store.Options{}), Theme: "pink"},
		"colours":  {Store: store.New(store.Options{}), Colours: "7"},
		"keys":     {Store: store.New(store.Options{}), Keys: map[string][]string{"x": {"y"}}},
	} {
		if err := Run(t.Context(), o); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}

func TestNoColorLeavesNoColours(t *testing.T) {
	t.Parallel()
	w := newWork(t.Context())
	a, err := newApp(Options{Store: sample(time.Now), Environ: []string{"TERM=xterm-256color", "COLORTERM=truecolor", "NO_COLOR=1"}}, io.Discard, w)
	if err != nil {
		t.Fatal(err)
	}
	a.Update(tea.WindowSizeMsg{Width: 80, Height: 24})
	for _, l := range a.theme.normal {
		for _, n := range []string{"[3", "[4", "8;5", "8;2"} {
			if strings.Contains(l.before, n) {
				t.Errorf("want no colour, got %q", l.before)
			}
		}
	}
	if a.theme.normal[strong].before == "" {
		t.Error("want bold to stay: it is no colour")
	}
}
