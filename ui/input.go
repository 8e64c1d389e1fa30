package ui

import (
	keybind "github.com/charmbracelet/bubbles/key"
	"github.com/charmbracelet/bubbles/textinput"
	tea "github.com/charmbracelet/bubbletea"

	"logagent/ui/termsafe"
)

// field is a line being typed. The editing is bubbles' textinput; the drawing is our own,
// because textinput's styles come from the process's terminal, not from the session's.
type field struct {
	input textinput.Model
}

func newField(value string) field {
	in := textinput.New()
	in.CharLimit = 500
	on := func(keys ...string) keybind.Binding { return keybind.NewBinding(keybind.WithKeys(keys...)) }
	// Without ctrl-a and ctrl-b, which screen and tmux take, and without ctrl-v, which
	// would read the clipboard of the machine the console runs on; a terminal's own paste
	// arrives as typed text.
	in.KeyMap = textinput.KeyMap{
		CharacterForward: on("right", "ctrl+f"), CharacterBackward: on("left"),
		WordForward: on("alt+right", "ctrl+right", "alt+f"), WordBackward: on("alt+left", "ctrl+left", "alt+b"),
		DeleteWordBackward: on("alt+backspace", "ctrl+w"), DeleteWordForward: on("alt+delete", "alt+d"),
		DeleteAfterCursor: on("ctrl+k"), DeleteBeforeCursor: on("ctrl+u"),
		DeleteCharacterBackward: on("backspace", "ctrl+h"), DeleteCharacterForward: on("delete", "ctrl+d"),
		LineStart: on("home"), LineEnd: on("end", "ctrl+e"),
	}
	in.SetValue(value)
	in.CursorEnd()
	in.Focus()
	return field{in}
}

func (f *field) value() string { return f.input.Value() }

func (f *field) update(k tea.KeyMsg) {
	f.input, _ = f.input.Update(k) // its commands only blink a cursor that is not drawn
}

// draw puts the text with its cursor into at most width cells, the cursor always in sight.
func (f *field) draw(l *line, width int) {
	runes := []rune(f.value())
	at := min(f.input.Position(), len(runes))
	before, rest := termsafe.Clean(string(runes[:at])), termsafe.Clean(string(runes[at:]))
	before = termsafe.Tail(before, max(width-2, 0))
	l.put(strong, before).put(cursorMark, "▏")
	l.put(strong, termsafe.Head(rest, max(width-1-termsafe.Width(before), 0)))
}
