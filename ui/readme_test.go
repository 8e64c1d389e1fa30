package ui

import (
	"os"
	"strings"
	"testing"
)

// The table of keys in the README is made from the keymap: go test ./ui -run Readme -update.
func TestReadmeHoldsTheKeymap(t *testing.T) {
	const name, begin, end = "../README.md", "<!-- keys: made from the keymap -->\n", "<!-- end of keys -->"
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(b), begin)
	had, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks %q and %q", name, begin, end)
	}
	want := "\n" + strings.TrimSpace(KeymapMarkdown()) + "\n\n"
	if had == want {
		return
	}
	if !*update {
		t.Fatalf("the keys in %s are not the keymap's: go test ./ui -run Readme -update", name)
	}
	if err := os.WriteFile(name, []byte(head+begin+want+end+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
