package etcdcfg

import (
	"fmt"
	"strings"
	"unicode"
)

// DefaultPattern is where a host's document stands unless the INI says otherwise.
const DefaultPattern = "/logagent/%s/logconfig"

// Layout knows the names of all keys. The zero value is not usable; make one with
// ParsePattern.
type Layout struct {
	before, after string // of the host in the document's key
	root          string // before, without its last slash
}

// ParsePattern reads etcd_watch_key: exactly one %s, which is a whole path segment and
// has a segment before it that is not empty.
func ParsePattern(pattern string) (Layout, error) {
	refuse := func(why string) (Layout, error) {
		return Layout{}, fmt.Errorf("key pattern %q %s; an example: %s", pattern, why, DefaultPattern)
	}
	if strings.Count(pattern, "%s") != 1 || strings.Count(pattern, "%") != 1 {
		return refuse("must hold exactly one %s, which stands for the host, and no other %")
	}
	if strings.ContainsFunc(pattern, unicode.IsControl) || strings.TrimSpace(pattern) != pattern {
		return refuse("must hold no control characters and no space at its ends")
	}
	before, after, _ := strings.Cut(pattern, "%s")
	if !strings.HasSuffix(before, "/") || (after != "" && !strings.HasPrefix(after, "/")) {
		return refuse("must hold %s as a whole segment between slashes")
	}
	root := strings.TrimSuffix(before, "/")
	if root == "" || strings.HasSuffix(root, "/") {
		return refuse("must hold a segment before %s that is not empty")
	}
	return Layout{before: before, after: after, root: root}, nil
}

// CheckHost tells whether a host id can stand in a key.
func CheckHost(host string) error {
	switch {
	case host == "":
		return fmt.Errorf("host id is empty; an example: web-0187.fra1")
	case strings.Contains(host, "/"):
		return fmt.Errorf("host id %q holds a slash; an example: web-0187.fra1", host)
	case strings.ContainsFunc(host, unicode.IsControl):
		return fmt.Errorf("host id %q holds a control character; an example: web-0187.fra1", host)
	}
	return nil
}

// Root is what every key begins with: the pattern before %s without its last slash.
func (l Layout) Root() string { return l.root }

// Config is the key of a host's document.
func (l Layout) Config(host string) string { return l.before + host + l.after }

// Live is the leased key that says which agent runs for the host.
func (l Layout) Live(host string) string { return l.root + ".live/" + host }

// Status is the key of the host's coarse status.
func (l Layout) Status(host string) string { return l.root + ".status/" + host }

// Watch is the leased key that says that a console looks at the host.
func (l Layout) Watch(host string) string { return l.root + ".watch/" + host }

// Ask is the leased key of one question to the host's agent.
func (l Layout) Ask(host, id string) string { return l.asks(host) + id }

func (l Layout) asks(host string) string { return l.root + ".ask/" + host + "/" }

// second is the leased key of an agent that found another one under its host id.
func (l Layout) second(host, id string) string { return l.seconds(host) + id }

func (l Layout) seconds(host string) string { return l.Live(host) + "/" }

// HostOf returns the host of a document's key, and false for any other key.
func (l Layout) HostOf(key string) (string, bool) {
	host, ok := strings.CutPrefix(key, l.before)
	if !ok {
		return "", false
	}
	host, ok = strings.CutSuffix(host, l.after)
	return host, ok && CheckHost(host) == nil
}

// hostUnder returns the host of a key that stands directly under a prefix.
func hostUnder(prefix, key string) (string, bool) {
	host, ok := strings.CutPrefix(key, prefix)
	return host, ok && CheckHost(host) == nil
}
