package ui

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"

	"logagent/ui/termsafe"
)

// copiedMsg ends the copying: the sequence has been drawn.
type copiedMsg struct{}

// savedScreenMsg tells where a screen was saved.
type savedScreenMsg struct {
	path string
	err  error
}

// copy hands text to the terminal's clipboard by OSC 52, which passes through SSH. The
// sequence rides on a frame, because nothing but the renderer writes to the terminal.
func (e *env) copy(s string) tea.Cmd {
	e.copying = ansi.SetSystemClipboard(s)
	e.say(good, " copied: %s", termsafe.Clean(s))
	return e.after(300*time.Millisecond, copiedMsg{})
}

// cannotSave is why a screen can't be saved; "" when it can.
func (e *env) cannotSave() string {
	if e.opts.SaveDir == "" {
		return "no folder to save screens in"
	}
	return ""
}

// saveScreen writes the screen as plain text into a new file.
func (a *app) saveScreen() tea.Cmd {
	if why := a.cannotSave(); why != "" {
		a.say(half, " %s", why)
		return nil
	}
	lines := a.lines()
	for i := range lines {
		lines[i] = strings.TrimRight(ansi.Strip(lines[i]), " ")
	}
	content := strings.Join(lines, "\n") + "\n"
	name := filepath.Join(a.opts.SaveDir, "logagent-"+a.now().Format("20060102-150405.000")+".txt")
	return a.work.do(func() tea.Msg {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return savedScreenMsg{err: err}
		}
		_, err = f.WriteString(content)
		if cerr := f.Close(); err == nil && cerr != nil {
			err = cerr
		}
		if err != nil {
			err = fmt.Errorf("write %s: %w", name, err)
		}
		return savedScreenMsg{name, err}
	})
}
