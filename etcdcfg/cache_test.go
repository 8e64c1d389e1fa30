package etcdcfg

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestCachedConfigIsReadBack(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	doc := "[ ]\n<&>"
	want := []cacheEntry{{Key: "/a", Revision: 7, Document: &doc}, {Key: "/b"}}
	openCache(dir, slog.New(slog.DiscardHandler)).save(want)
	got := openCache(dir, slog.New(slog.DiscardHandler)).load()
	if !reflect.DeepEqual(want, got) {
		t.Fatalf("want %+v, got %+v", want, got)
	}
	info, err := os.Stat(filepath.Join(dir, cacheName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("want mode 0600, got %v, %v", info.Mode(), err)
	}
}

func TestUnchangedConfigIsNotWrittenAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := openCache(dir, slog.New(slog.DiscardHandler))
	entries := []cacheEntry{{Key: "/a", Revision: 7}}
	c.save(entries)
	if err := os.Remove(c.path); err != nil {
		t.Fatal(err)
	}
	c.save(entries)
	if _, err := os.Stat(c.path); !os.IsNotExist(err) {
		t.Fatalf("want nothing written, got %v", err)
	}
}

func TestCorruptCacheIsSaidIgnoredAndKeptAside(t *testing.T) {
	t.Parallel()
	doc := `[]`
	whole, err := encodeCache([]cacheEntry{{Key: "/a", Revision: 7, Document: &doc}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"empty":         {},
		"half":          whole[:len(whole)/2],
		"flipped":       bytes.Replace(whole, []byte(`"/a"`), []byte(`"/b"`), 1),
		"newer version": bytes.Replace(whole, []byte(`"version":1`), []byte(`"version":2`), 1),
		"NUL":           make([]byte, 100),
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, cacheName)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		if got := openCache(dir, slog.New(slog.NewTextHandler(&log, nil))).load(); got != nil {
			t.Errorf("%s: want nothing, got %+v", name, got)
		}
		if !strings.Contains(log.String(), "cached config is corrupt") {
			t.Errorf("%s: want it in the log, got %s", name, &log)
		}
		if aside, err := os.ReadFile(path + ".bad"); err != nil || !bytes.Equal(aside, content) {
			t.Errorf("%s: want it kept aside, got %q, %v", name, aside, err)
		}
	}
}

func TestUnwritableCacheIsSaidOnceAndWrittenWhenItCanBe(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file where the folder should be
		t.Fatal(err)
	}
	var log bytes.Buffer
	c := openCache(dir, slog.New(slog.NewTextHandler(&log, nil)))
	c.save([]cacheEntry{{Key: "/a", Revision: 1}})
	c.save([]cacheEntry{{Key: "/a", Revision: 2}})
	if n := strings.Count(log.String(), "config not cached"); n != 1 {
		t.Fatalf("want it said once, got %d times", n)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	c.save([]cacheEntry{{Key: "/a", Revision: 2}})
	if got := openCache(dir, c.log).load(); len(got) != 1 || got[0].Revision != 2 {
		t.Fatalf("want it saved now, got %+v", got)
	}
	if !strings.Contains(log.String(), "config is cached again") {
		t.Errorf("want that in the log, got %s", &log)
	}
}
