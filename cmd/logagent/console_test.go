package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
)

// terminal is a logagent in a terminal of 120×36 that draws what it is sent and answers
// nothing.
type terminal struct {
	*process
	keyboard *os.File

	mu     sync.Mutex // guards screen
	screen *vt.Emulator
}

func startInTerminal(t *testing.T, dir string, args ...string) *terminal {
	t.Helper()
	ours, theirs, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(ours, &pty.Winsize{Cols: 120, Rows: 36}); err != nil {
		t.Fatal(err)
	}
	e := &terminal{keyboard: ours, screen: vt.NewEmulator(120, 36)}
	e.process = startWith(t, dir, args, func(p *process) {
		p.Stdin, p.Stdout = theirs, theirs
		p.Env = append(p.Env, "TERM=xterm-256color")
		p.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	})
	if err := theirs.Close(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { // ends when the terminal is closed
		buf := make([]byte, 32<<10)
		for {
			n, err := ours.Read(buf)
			e.mu.Lock()
			_, _ = e.screen.Write(buf[:n])
			e.mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	reading.Go(func() { // what the emulator answers is thrown away; ends when it is closed
		buf := make([]byte, 1<<10)
		for {
			if _, err := e.screen.Read(buf); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		_ = e.Process.Kill()
		<-e.done
		_ = ours.Close()
		_ = e.screen.InputPipe().(io.Closer).Close() // Close of the emulator itself races with its Read
		reading.Wait()
	})
	return e
}

// text is what the screen shows.
func (e *terminal) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.screen.String()
}

// shows waits until the screen shows all words.
func (e *terminal) shows(t *testing.T, words ...string) {
	t.Helper()
	eventually(t, "the screen shows "+strings.Join(words, " and "), func() bool {
		text := e.text()
		for _, w := range words {
			if !strings.Contains(text, w) {
				return false
			}
		}
		return true
	})
}

func (e *terminal) press(t *testing.T, keys string) {
	t.Helper()
	if _, err := e.keyboard.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

func TestConsoleShowsTheFleetAndQuits(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	path := writeFile(t, filepath.Join(p.dir, "in", "a.log"), "one\n")
	p.document(t, "web-1", entry(path, "lines"))
	d := start(t, p.dir, "--daemon")
	e := startInTerminal(t, p.dir)
	e.shows(t, "fleet", "web-1")
	e.press(t, "q")
	if code := e.exit(t); code != exitDone || e.stderr.String() != "" {
		t.Errorf("exit %d, stderr %q", code, e.stderr)
	}
	d.stop(t)
}

func TestAttachJoinsTheRunningDaemon(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	path := writeFile(t, filepath.Join(p.dir, "in", "a.log"), "one\n")
	p.document(t, "web-1", entry(path, "lines"))
	d := start(t, p.dir, "--daemon")
	eventually(t, "the live key", func() bool { return p.key(t, "/logagent.live/web-1") != "" })
	e := startInTerminal(t, p.dir, "--attach")
	e.shows(t, "web-1")
	e.press(t, "q")
	if code := e.exit(t); code != exitDone || e.stderr.String() != "" {
		t.Errorf("exit %d, stderr %q", code, e.stderr)
	}
	if p.key(t, "/logagent.live/web-1") == "" {
		t.Error("the daemon went with the console")
	}
	d.stop(t)
}

func TestLostTerminalDrainsAndSavesTheAgentInside(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	path := writeFile(t, filepath.Join(p.dir, "in", "a.log"), "one\n")
	p.document(t, "web-1", entry(path, "lines"))
	e := startInTerminal(t, p.dir, "--attach")
	e.shows(t, "web-1")
	p.arrived(t, "lines", 1)
	if err := e.keyboard.Close(); err != nil { // the line is cut
		t.Fatal(err)
	}
	if code := e.exit(t); code != exitDone {
		t.Errorf("exit %d, stderr %q", code, e.stderr)
	}
	if log := readFile(t, filepath.Join(p.dir, daemonLog)); strings.Contains(log, "from=stderr") {
		t.Errorf("something wrote to stderr:\n%s", log)
	}

	// Its positions are saved: a daemon after it sends nothing twice.
	appendFile(t, path, "two\n")
	d := start(t, p.dir, "--daemon")
	if got := p.arrived(t, "lines", 2); len(got) != 2 {
		t.Errorf("want one and two, got %q", got)
	}
	d.stop(t)
	if got := p.arrived(t, "lines", 2); len(got) != 2 {
		t.Errorf("want one and two, got %q", got)
	}
}
