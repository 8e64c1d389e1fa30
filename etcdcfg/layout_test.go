package etcdcfg

import (
	"strings"
	"testing"
)

func TestKeysStandBesideTheRootOfThePattern(t *testing.T) {
	t.Parallel()
	l, err := ParsePattern("/logagent/%s/logconfig")
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		l.Root(): "/logagent", l.Config("h"): "/logagent/h/logconfig", l.Live("h"): "/logagent.live/h",
		l.Status("h"): "/logagent.status/h", l.Watch("h"): "/logagent.watch/h", l.Ask("h", "01X"): "/logagent.ask/h/01X",
	} {
		if got != want {
			t.Errorf("want %s, got %s", want, got)
		}
	}
}

func TestHostIsReadBackFromTheKeyOfItsDocumentAlone(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"/logagent/%s/logconfig", "/a/b/%s", "x/%s/y/z"} {
		l, err := ParsePattern(pattern)
		if err != nil {
			t.Fatalf("%s: %v", pattern, err)
		}
		if host, ok := l.HostOf(l.Config("web-1.fra")); !ok || host != "web-1.fra" {
			t.Errorf("%s: got %q, %v", pattern, host, ok)
		}
		for _, key := range []string{l.Live("h"), l.Config(""), l.Config("a/b"), l.Config("h") + "/more", "", "/"} {
			if host, ok := l.HostOf(key); ok {
				t.Errorf("%s: %s is not a document's key, got host %q", pattern, key, host)
			}
		}
	}
}

func TestBadPatternIsRefusedWithAnExample(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{
		"", "/logagent/logconfig", "/%s/%s/x", "/%s/logconfig", "%s", "//%s/x", "/a//%s", "/a/x%s/y", "/a/%sx/y", "/a/%s%d", "/a/%%/%s", "/a/%d",
		"/a/%s ", "/a\x00/%s",
	} {
		_, err := ParsePattern(pattern)
		if err == nil || !strings.Contains(err.Error(), "an example: /logagent/%s/logconfig") {
			t.Errorf("%q: want a refusal with an example, got %v", pattern, err)
		}
	}
}

func TestHostIdWithASlashOrNothingIsRefused(t *testing.T) {
	t.Parallel()
	for host, ok := range map[string]bool{"web-1.fra": true, "10.0.0.1": true, "fe80::1": true, "": false, "a/b": false, "a\nb": false} {
		if err := CheckHost(host); (err == nil) != ok {
			t.Errorf("%q: want ok %v, got %v", host, ok, err)
		}
	}
}
