// Package term runs a program on a terminal that exists only in memory: a pty with an
// emulator behind it. It types keys, waits for what the screen shows, and hands out the
// screen as text and as cells. Tests of the console and the screenshots are its users.
//
//	program ── pty ── reader ── emulator ── Screen
//	        ◄─ pty ◄─ Type, and the answers a real terminal gives to queries
package term

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
)

// maxOutput bounds what Output returns.
const maxOutput = 4 << 20

// Terminal is a program on a terminal. Any goroutine may call its methods.
type Terminal struct {
	cmd  *exec.Cmd
	tty  *os.File
	gate chan struct{} // full while held, or while the reader works

	mu      sync.Mutex // guards everything below; the emulator has no lock of its own
	emu     *vt.Emulator
	cursor  bool // the program shows the cursor
	output  []byte
	changed chan struct{} // closed and replaced when the screen may have changed

	closing   chan struct{}
	closeOnce sync.Once
	drained   chan struct{} // closed when the program and its children have let go of the terminal and all is read
	exited    chan struct{} // closed when the program has ended and exitErr is set
	exitErr   error
	loops     sync.WaitGroup
}

// Start runs cmd on a terminal of this size. Where cmd.Env is nil the program gets this
// process's environment with TERM=xterm-256color and COLORTERM=truecolor. The caller
// closes the terminal, also after the program has ended.
func Start(cmd *exec.Cmd, cols, rows int) (*Terminal, error) {
	if cmd.Env == nil {
		cmd.Env = append(os.Environ(), "TERM=xterm-256color", "COLORTERM=truecolor")
	}
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Cols: uint16(cols), Rows: uint16(rows)})
	if err != nil {
		return nil, fmt.Errorf("start %s on a terminal: %w", cmd.Path, err)
	}
	t := &Terminal{
		cmd: cmd, tty: tty, gate: make(chan struct{}, 1),
		emu: vt.NewEmulator(cols, rows), cursor: true, changed: make(chan struct{}),
		closing: make(chan struct{}), drained: make(chan struct{}), exited: make(chan struct{}),
	}
	t.emu.SetCallbacks(vt.Callbacks{CursorVisibility: func(shown bool) { t.cursor = shown }})
	t.loops.Go(t.read)
	t.loops.Go(t.answer)
	t.loops.Go(t.reap)
	return t, nil
}

// read feeds the emulator until the pty is closed on one side.
func (t *Terminal) read() {
	defer close(t.drained)
	buf := make([]byte, 32<<10)
	for {
		n, err := t.tty.Read(buf)
		passed := false
		select {
		case t.gate <- struct{}{}:
			passed = true
		case <-t.closing:
		}
		t.mu.Lock()
		if n > 0 {
			_, _ = t.emu.Write(buf[:n]) // fails only when closed, which it never is
			t.output = append(t.output, buf[:min(n, maxOutput-len(t.output))]...)
		}
		close(t.changed)
		t.changed = make(chan struct{})
		t.mu.Unlock()
		if passed {
			<-t.gate
		}
		if err != nil {
			return
		}
	}
}

// answer passes on what a terminal says by itself: where its cursor is, what it is able
// to do. The emulator's Read and Close are not for two goroutines, so the pipe between
// them is closed instead.
func (t *Terminal) answer() {
	// When nobody is left to hear them they must still be taken, or the emulator waits.
	if _, err := io.Copy(t.tty, t.emu); err != nil {
		_, _ = io.Copy(io.Discard, t.emu)
	}
}

func (t *Terminal) reap() {
	t.exitErr = t.cmd.Wait()
	close(t.exited)
}

// Resize changes the size of the terminal and tells the program.
func (t *Terminal) Resize(cols, rows int) error {
	t.mu.Lock()
	t.emu.Resize(cols, rows)
	t.mu.Unlock()
	if err := pty.Setsize(t.tty, &pty.Winsize{Cols: uint16(cols), Rows: uint16(rows)}); err != nil {
		return fmt.Errorf("resize terminal: %w", err)
	}
	return nil
}

// Hold stops taking what the program writes, as a terminal does whose connection hangs,
// until release is called. At most one hold at a time.
func (t *Terminal) Hold() (release func()) {
	t.gate <- struct{}{}
	return sync.OnceFunc(func() { <-t.gate })
}

// Output returns everything the program wrote, escape sequences included, up to 4 MiB.
func (t *Terminal) Output() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.output[:len(t.output):len(t.output)]
}

// Signal sends a signal to the program.
func (t *Terminal) Signal(s os.Signal) error { return t.cmd.Process.Signal(s) }

// WaitExit waits for the program to end and returns its error: nil for exit code 0, an
// *exec.ExitError for another.
func (t *Terminal) WaitExit(ctx context.Context) error {
	select {
	case <-t.exited:
		return t.exitErr
	case <-ctx.Done():
		return fmt.Errorf("wait for %s to end: %w\n%s", t.cmd.Path, ctx.Err(), t.Screen().Text())
	}
}

// Wait waits until ok says yes to the screen. What names it in the error, which shows the
// screen as it was when ctx or the program ended.
func (t *Terminal) Wait(ctx context.Context, what string, ok func(Screen) bool) error {
	for last := false; ; {
		t.mu.Lock()
		changed := t.changed
		screen := t.snapshot()
		t.mu.Unlock()
		if ok(screen) {
			return nil
		}
		if last {
			return fmt.Errorf("wait for %s: %s has nothing more to show; the screen is\n%s", what, t.cmd.Path, screen.Text())
		}
		select {
		case <-changed:
		case <-t.drained:
			last = true
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; the screen is\n%s", what, ctx.Err(), screen.Text())
		}
	}
}

// WaitText waits until the text stands on one line of the screen.
func (t *Terminal) WaitText(ctx context.Context, text string) error {
	return t.Wait(ctx, fmt.Sprintf("%q", text), func(s Screen) bool { return s.Contains(text) })
}

// Close ends the program if it still runs, with all it started on this terminal, and
// takes the terminal away.
func (t *Terminal) Close() error {
	var err error
	t.closeOnce.Do(func() {
		select {
		case <-t.exited:
		default:
			// The program leads its own session. It may end by itself at this moment.
			if e := syscall.Kill(-t.cmd.Process.Pid, syscall.SIGKILL); e != nil && !errors.Is(e, syscall.ESRCH) {
				err = fmt.Errorf("kill %s: %w", t.cmd.Path, e)
			}
		}
		close(t.closing)
		<-t.exited
		if e := t.tty.Close(); e != nil {
			err = errors.Join(err, fmt.Errorf("close terminal: %w", e))
		}
		if in, ok := t.emu.InputPipe().(io.Closer); ok {
			err = errors.Join(err, in.Close())
		}
		t.loops.Wait()
	})
	return err
}
