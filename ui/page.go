package ui

import (
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"logagent/ui/store"
)

// page is one screen. It is only ever called from the program's own loop and blocks
// nowhere.
type page interface {
	// Init is called once, when the page is opened.
	Init() tea.Cmd
	// Update takes actionMsg for its keys, tea.KeyMsg only while Capturing, and every
	// other message, also those meant for other pages. leftMsg is the last one.
	Update(tea.Msg) tea.Cmd
	// View returns exactly height lines of at most width cells.
	View(width, height int) []string
	// Keys are those in force now, for the footer and the help.
	Keys() []hint
	// Capturing says that keys are typed text just now.
	Capturing() bool
	// Frame is what the page puts into the lines around it.
	Frame() frame
}

// frame is what the lines around a page show of it.
type frame struct {
	scope    scope
	crumbs   []string // where we are, the outermost first
	overview store.Overview
	at       time.Time     // when the overview was taken; zero: nothing was pulled yet
	age      time.Duration // of the numbers shown; negative: there are none
	stale    bool          // those numbers are stale
	message  []piece       // about the row under the cursor
	position string        // "row 1 of 37"
	filtered bool          // rows are left out, and going back shows them
}

// actionMsg is a key that the keymap gave a meaning.
type actionMsg action

// tickMsg comes at the pace of the screen.
type tickMsg struct{}

// leftMsg tells a page that it is gone from the screen for good.
type leftMsg struct{}

// resizedMsg tells a page how much room View will get.
type resizedMsg struct{ width, height int }

// clickMsg is the mouse on a line of the page's View.
type clickMsg struct{ line int }

// pulledMsg brings what a page pulled.
type pulledMsg struct {
	owner    *puller
	gen      uint
	view     any
	progress []progressAt
}

// puller lets one pull at a time run for a page. Each carries a generation: an answer to
// an older question than the last one is dropped.
type puller struct {
	gen   uint
	busy  bool
	again bool
}

// pull asks fetch for a view. While one is under way the next is only noted: answered
// returns the command for it.
func (p *puller) pull(e *env, fetch func() any) tea.Cmd {
	if p.busy {
		p.again = true
		return nil
	}
	p.busy = true
	gen := p.gen
	wanted := e.rates.unsettled()
	st := e.store
	return e.work.do(func() tea.Msg {
		m := pulledMsg{owner: p, gen: gen, view: fetch()}
		for _, w := range wanted {
			m.progress = append(m.progress, progressAt{w, st.Progress(w.docHost, w.revision)})
		}
		return m
	})
}

// changed makes answers to what was asked before worthless.
func (p *puller) changed() { p.gen++ }

// answered tells whether m is for this puller and still wanted, and whether another pull
// was asked for meanwhile.
func (p *puller) answered(m pulledMsg) (wanted, again bool) {
	if m.owner != p {
		return false, false
	}
	again = p.again
	p.busy, p.again = false, false
	return m.gen == p.gen, again
}
