package term

import (
	"fmt"
	"strings"
)

// named are the keys that Type knows by name, as bubbletea calls them.
var named = map[string]string{
	"enter": "\r", "esc": "\x1b", "tab": "\t", "shift+tab": "\x1b[Z", "space": " ", "backspace": "\x7f",
	"up": "\x1b[A", "down": "\x1b[B", "right": "\x1b[C", "left": "\x1b[D",
	"home": "\x1b[H", "end": "\x1b[F", "pgup": "\x1b[5~", "pgdown": "\x1b[6~", "delete": "\x1b[3~", "insert": "\x1b[2~",
}

// Type sends keys: a name such as enter, esc, up, pgdown or ctrl+s, or else the text
// itself. Each is one write, but a busy program may read several at once: wait for what
// esc does before typing on, or it becomes alt with the next key.
func (t *Terminal) Type(keys ...string) error {
	for _, key := range keys {
		if _, err := t.tty.WriteString(bytesOf(key)); err != nil {
			return fmt.Errorf("type %q: %w", key, err)
		}
	}
	return nil
}

func bytesOf(key string) string {
	if s, ok := named[key]; ok {
		return s
	}
	if letter, ok := strings.CutPrefix(key, "ctrl+"); ok && len(letter) == 1 {
		return string(letter[0] & 0x1f)
	}
	return key
}
