package ui

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	tea "github.com/charmbracelet/bubbletea"
)

// work runs commands. bubbletea starts a goroutine for each and forgets it; here every one
// is counted, ends with the session and turns a panic into a message, so that the terminal
// is restored and nothing is printed.
type work struct {
	child func() (context.Context, context.CancelFunc) // a part of the session's context

	mu     sync.Mutex // guards closed against Add after Wait
	closed bool
	wg     sync.WaitGroup
}

func newWork(ctx context.Context) *work {
	return &work{child: func() (context.Context, context.CancelFunc) { return context.WithCancel(ctx) }}
}

// panickedMsg ends the session with an error.
type panickedMsg struct{ err error }

func panicked(v any) error {
	return fmt.Errorf("console: panic: %v\n%s", v, debug.Stack())
}

// with is a command that gets the session's context.
func (w *work) with(f func(context.Context) tea.Msg) tea.Cmd {
	return func() (msg tea.Msg) {
		w.mu.Lock()
		if w.closed {
			w.mu.Unlock()
			return nil
		}
		w.wg.Add(1)
		w.mu.Unlock()
		defer w.wg.Done()
		defer func() {
			if v := recover(); v != nil {
				msg = panickedMsg{panicked(v)}
			}
		}()
		ctx, cancel := w.child()
		defer cancel()
		return f(ctx)
	}
}

// do is a command that takes no time worth a context.
func (w *work) do(f func() tea.Msg) tea.Cmd {
	return w.with(func(context.Context) tea.Msg { return f() })
}

// after is a command that brings msg after d.
func (w *work) after(d time.Duration, msg tea.Msg) tea.Cmd {
	return w.with(func(ctx context.Context) tea.Msg {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			return msg
		case <-ctx.Done():
			return nil
		}
	})
}

// wait ends the taking of commands and waits for those under way. The session's context
// must have ended.
func (w *work) wait() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.wg.Wait()
}
