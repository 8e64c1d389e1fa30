package ui

import (
	"errors"
	"fmt"
	"io"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"logagent/ui/termsafe"
)

// The smallest screen that is drawn on.
const (
	minWidth  = 60
	minHeight = 15
)

// app is the program's model: it draws the lines around the page and hands messages on.
type app struct {
	*env
}

// newApp checks the options and makes a session. Nothing runs yet.
func newApp(o Options, out io.Writer, w *work) (*app, error) {
	if o.Store == nil {
		return nil, errors.New("console: no store")
	}
	switch o.Theme {
	case "":
		o.Theme = ThemeDark
	case ThemeDark, ThemeLight, ThemeMono:
	default:
		return nil, fmt.Errorf("console: no theme %q; there are dark, light and mono", o.Theme)
	}
	switch o.Colours {
	case ColoursAuto, ColoursNone, Colours16, Colours256, ColoursTrue:
	default:
		return nil, fmt.Errorf("console: colours %q; there are none, 16, 256, true and auto (empty)", o.Colours)
	}
	keys, err := newKeymap(o.Keys)
	if err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = 5 * time.Second
	}
	r := renderer(&o, out)
	e := &env{store: o.Store, watcher: o.Watcher, opts: o, now: o.Now, keys: keys, work: w, after: w.after,
		theme: newTheme(r, o.Theme), clock: o.Now()}
	e.rates = &rates{writer: o.Writer, env: e, timeout: o.WriteTimeout}
	e.pages = []page{newFleet(e)}
	return &app{e}, nil
}

// Init is part of tea.Model.
func (a *app) Init() tea.Cmd {
	return tea.Batch(a.top().Init(), a.after(a.pace(), tickMsg{}))
}

// Update is part of tea.Model. A panic ends the session with an error and the terminal
// restored.
func (a *app) Update(msg tea.Msg) (m tea.Model, cmd tea.Cmd) {
	defer func() {
		if v := recover(); v != nil {
			m, cmd = a, a.end(panicked(v))
		}
	}()
	return a, a.update(msg)
}

func (a *app) end(err error) tea.Cmd {
	a.ending = err
	return tea.Quit
}

func (a *app) update(msg tea.Msg) tea.Cmd {
	if a.ending != nil {
		return tea.Quit
	}
	switch m := msg.(type) {
	case tea.WindowSizeMsg:
		a.size = resizedMsg{m.Width, m.Height}
		return a.top().Update(a.body())
	case tea.KeyMsg:
		return a.typed(m)
	case tea.MouseMsg:
		return a.clicked(m)
	case tickMsg:
		a.clock = a.now()
		if !a.clock.Before(a.notice.until) {
			a.notice = notice{}
		}
		cmd := tea.Batch(a.rates.update(m), a.top().Update(m), a.after(a.pace(), tickMsg{}))
		if a.small() {
			return cmd
		}
		return tea.Batch(cmd, a.showConflict())
	case panickedMsg:
		return a.end(m.err)
	case copiedMsg:
		a.copying = ""
		return nil
	case rolledBackMsg:
		a.rolledBack(m) // its page may be gone
	case savedScreenMsg:
		if m.err != nil {
			a.say(bad, " screen not saved: %s", termsafe.Line(m.err.Error()))
		} else {
			a.say(good, " screen saved as %s", termsafe.Clean(m.path))
		}
		return nil
	}
	cmds := []tea.Cmd{a.rates.update(msg)}
	for _, p := range a.pages {
		cmds = append(cmds, p.Update(msg))
	}
	return tea.Batch(cmds...)
}

// typed takes a key. Keys typed faster than they are read come as one message, each of
// them is a key of its own; pasted text is text for a field and never a key.
func (a *app) typed(k tea.KeyMsg) tea.Cmd {
	if k.Paste {
		if a.dialog != nil || a.top().Capturing() {
			return a.key(k)
		}
		return nil
	}
	if k.Type != tea.KeyRunes || len(k.Runes) < 2 {
		return a.key(k)
	}
	var cmds []tea.Cmd
	for _, r := range k.Runes {
		cmds = append(cmds, a.key(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune{r}, Alt: k.Alt}))
	}
	return tea.Batch(cmds...)
}

func (a *app) key(k tea.KeyMsg) tea.Cmd {
	a.keyAt = a.now()
	if k.Type == tea.KeyCtrlC {
		if q, asked := a.dialog.(*question); asked && q.quit {
			return tea.Quit
		}
		return a.quit()
	}
	if d := a.dialog; d != nil {
		done, cmd := d.update(a.env, k)
		if done && a.dialog == d {
			a.dialog = nil
		}
		if a.dialog != d {
			cmd = tea.Batch(cmd, a.top().Update(a.body()))
		}
		return cmd
	}
	if a.small() {
		if a.keys.action(onFleet, k) == actQuit {
			return a.quit()
		}
		return nil
	}
	if a.top().Capturing() {
		return a.top().Update(k)
	}
	return a.act(a.keys.action(a.top().Frame().scope, k))
}

// act does what keys mean on every page and hands the rest to it.
func (a *app) act(do action) tea.Cmd {
	switch do {
	case "":
		return nil
	case actQuit:
		return a.quit()
	case actHelp:
		if h, open := a.top().(*helpPage); open {
			return h.leave()
		}
		return a.push(newHelp(a.env))
	case actFreeze:
		if !a.frozen.IsZero() {
			a.frozen = time.Time{}
			return a.top().Update(tickMsg{})
		}
		a.frozen = a.now()
		return nil
	case actWide:
		a.wide = !a.wide
		return nil
	case actMouse:
		if a.mouse = !a.mouse; a.mouse {
			a.say(text, " mouse on: click a row, turn the wheel; %s turns it off", a.keys.first(actMouse))
			return tea.EnableMouseCellMotion
		}
		a.say(text, " mouse off")
		return tea.DisableMouse
	case actSave:
		return a.saveScreen()
	case actBack:
		if a.putsBack() {
			return a.rates.putBack()
		}
	case actConflict:
		u := a.rates.conflict()
		if u == nil {
			a.say(text, " nobody else changed what you change")
			return nil
		}
		return a.openDialog(&conflictDialog{tune: u})
	case actRateUp, actRateDown, actRateUpper, actRateLower, actRateType:
		a.frozen = time.Time{} // the effect is to be seen
	}
	return a.top().Update(actionMsg(do))
}

// quit asks where something would be lost or stopped.
func (a *app) quit() tea.Cmd {
	why := ""
	switch {
	case a.rates.conflict() != nil:
		why = "A rate is not written: somebody else changed its entry. Quit all the same?"
	case a.rates.unwritten():
		why = "A rate is not written yet. Quit all the same?"
	case a.rollingBack > 0:
		why = "A rollback is not written yet. Quit all the same?"
	case a.opts.AgentInside:
		why = "The agent of this host runs inside this console and stops with it. Quit?"
	default:
		return tea.Quit
	}
	return a.openDialog(&question{text: why, quit: true, yes: func() tea.Cmd { return tea.Quit }})
}

func (a *app) clicked(m tea.MouseMsg) tea.Cmd {
	if a.dialog != nil || a.small() {
		return nil
	}
	switch {
	case m.Button == tea.MouseButtonWheelUp:
		return tea.Batch(a.act(actUp), a.act(actUp), a.act(actUp))
	case m.Button == tea.MouseButtonWheelDown:
		return tea.Batch(a.act(actDown), a.act(actDown), a.act(actDown))
	case m.Button == tea.MouseButtonLeft && m.Action == tea.MouseActionPress:
		return a.top().Update(clickMsg{line: m.Y - 1})
	}
	return nil
}

func (a *app) small() bool { return a.size.width < minWidth || a.size.height < minHeight }
