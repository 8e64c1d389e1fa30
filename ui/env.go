package ui

import (
	"fmt"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"logagent/ui/store"
)

// env is what the pages of one session share. Only the program's loop touches it.
type env struct {
	store   *store.Store
	watcher Watcher
	opts    Options
	now     func() time.Time
	theme   *theme
	keys    *keymap
	work    *work
	after   func(time.Duration, tea.Msg) tea.Cmd // work.after; tests bring their own time
	rates   *rates

	pages  []page // the last one is shown
	dialog dialog // nil: none
	size   resizedMsg
	clock  time.Time // of the last tick
	keyAt  time.Time // of the last key

	rollingBack int // writes of rollbacks under way

	wide    bool
	mouse   bool
	frozen  time.Time // when z was pressed; zero: not frozen
	notice  notice
	copying string // an OSC 52 sequence on its way to the terminal
	ending  error  // why the session ends, if not by a key
}

// notice is a short word on what a key did.
type notice struct {
	pieces []piece
	until  time.Time
}

// say shows a notice for some seconds.
func (e *env) say(r role, format string, args ...any) {
	e.notice = notice{[]piece{{r, fmt.Sprintf(format, args...)}}, e.now().Add(6 * time.Second)}
}

func (e *env) top() page { return e.pages[len(e.pages)-1] }

// push opens a page over the others.
func (e *env) push(p page) tea.Cmd {
	e.pages = append(e.pages, p)
	return tea.Batch(p.Init(), p.Update(e.body()))
}

// pop goes back to the page before; the first one stays.
func (e *env) pop() tea.Cmd {
	if len(e.pages) == 1 {
		return nil
	}
	gone := e.top()
	e.pages = e.pages[:len(e.pages)-1]
	return tea.Batch(gone.Update(leftMsg{}), e.top().Update(e.body()))
}

// home goes back to the first page.
func (e *env) home() tea.Cmd {
	var cmds []tea.Cmd
	for len(e.pages) > 1 {
		cmds = append(cmds, e.pop())
	}
	return tea.Batch(cmds...)
}

// body is the room between the top line and the two bottom lines.
func (e *env) body() resizedMsg {
	h := e.size.height - 3
	if e.dialog != nil {
		h -= len(e.dialog.box(e, e.size.width))
	}
	return resizedMsg{e.size.width, max(h, 0)}
}

// standing says that rows must not move: a dialog is open or a rate is being tuned. The
// question about a conflict came by itself and is not about a row.
func (e *env) standing() bool {
	_, conflict := e.dialog.(*conflictDialog)
	return e.dialog != nil && !conflict || e.rates.tuning() || !e.frozen.IsZero()
}

// putsBack tells whether going back means the rate that is being tuned: on the page where
// that began, and only where nothing else is there to go back from.
func (e *env) putsBack() bool {
	return e.rates.tuning() && e.rates.current.page == e.top() && !e.top().Frame().filtered
}

// pace is the time between two pulls.
func (e *env) pace() time.Duration {
	if e.rates.tuning() {
		return 250 * time.Millisecond
	}
	return 500 * time.Millisecond
}

// readOnly is why nothing can be written; "" when it can.
func (e *env) readOnly() string {
	switch {
	case e.rates.writer != nil:
		return ""
	case e.opts.ReadOnly != "":
		return "read-only: " + e.opts.ReadOnly
	}
	return "read-only: started with --read-only"
}

// own tells whether a host is the one of the agent on this machine.
func (e *env) own(host string) bool { return host != "" && host == e.opts.Own }
