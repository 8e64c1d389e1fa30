package ui

import (
	"strings"
	"testing"
)

func TestNoKeyMeansTwoThings(t *testing.T) {
	t.Parallel()
	if _, err := newKeymap(nil); err != nil {
		t.Fatal(err)
	}
	for _, b := range bindings() {
		if len(b.keys) == 0 || b.help == "" || len(b.scopes) == 0 {
			t.Errorf("%s: want keys, help and scopes", b.action)
		}
		for _, k := range b.keys {
			if k == "ctrl+a" || k == "ctrl+b" {
				t.Errorf("%s: %s belongs to screen and tmux", b.action, k)
			}
		}
	}
}

func TestOverridesReplaceKeysAndConflictsAreAllNamed(t *testing.T) {
	t.Parallel()
	m, err := newKeymap(map[string][]string{"sort": {"o"}, "rate-up": {"+", "K"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := m.at[onFleet]["o"]; got != actSort {
		t.Errorf("want o to sort, got %q", got)
	}
	if got := m.at[onFleet]["s"]; got != "" {
		t.Errorf("want s free, got %q", got)
	}
	_, err = newKeymap(map[string][]string{"sort": {"j"}, "nothing": {"x"}, "copy": {"ctrl+a"}, "quit": {}})
	if err == nil {
		t.Fatal("want an error")
	}
	for _, want := range []string{"j means both", `no action "nothing"`, "ctrl-a", "quit needs a key"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in %q", want, err)
		}
	}
}

func TestEveryActionOfTheTableDoesSomething(t *testing.T) {
	t.Parallel()
	table := KeymapMarkdown()
	for _, k := range Keymap() {
		if !strings.Contains(table, "`"+k.Action+"`") {
			t.Errorf("%s is not in the table", k.Action)
		}
	}
	// A key on the screen that changes nothing is a lie: each is pressed once on a fresh console.
	for _, b := range bindings() {
		for _, s := range b.scopes {
			if s != onFleet || b.action == actBack {
				continue
			}
			p := sit(t, 120, 20, func(o *Options) { o.SaveDir = t.TempDir() })
			p.press("j", "j", "j")
			before := p.app.View()
			p.press(b.keys[0])
			if p.app.View() == before && !p.quit && p.app.frozen.IsZero() && b.action != actWide {
				t.Errorf("%s (%s) changes nothing", b.keys[0], b.action)
			}
		}
	}
}

func TestNumbersFitTheirColumns(t *testing.T) {
	t.Parallel()
	for v, want := range map[int64]string{0: "0", 512: "512 B", 88_000_000: "88.0 MB", 8_410_000_000: "8.41 GB", 999_999: "1.0 MB", 999_999_999_999_999: "1.00 PB", 1: "1 B"} {
		if got := size(v); got != want {
			t.Errorf("size(%d): want %q, got %q", v, want, got)
		}
	}
	for v, want := range map[float64]string{0: "0", 0.4: "0.4", 88: "88", 999.6: "1.0k", 8000: "8.0k", 21400: "21.4k", 99960: "100k", 214000: "214k", 1.2e6: "1.2M"} {
		if got := rate(v); got != want {
			t.Errorf("rate(%v): want %q, got %q", v, want, got)
		}
	}
	for v, want := range map[int64]string{0: "none", 5: "5", 999: "999", 5000: "5.0k", 5250: "5.25k", 12600: "12.6k", 999999: "999.999k", 1_500_000: "1.5M"} {
		if got := exact(v); got != want {
			t.Errorf("exact(%d): want %q, got %q", v, want, got)
		}
	}
	for i := int64(1); i < 1<<55; i = i*7/3 + 1 {
		if got := size(i); len(got) > 7 {
			t.Errorf("size(%d) is %q", i, got)
		}
		if got := rate(float64(i)); len(got) > 5 && got != "≥1T" {
			t.Errorf("rate(%d) is %q", i, got)
		}
	}
	if want, got := "118,402,551,040", grouped(118402551040); got != want {
		t.Errorf("want %q, got %q", want, got)
	}
}
