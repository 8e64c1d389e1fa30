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
	case strings.HasPrefix(host, "@"):
		return fmt.Errorf("host id %q begins with @, which names a group; an example: web-0187.fra1", host)
	}
	return nil
}

// CheckName tells whether a name can be that of a document: a host id, or @ and a group.
func CheckName(name string) error {
	group, ok := strings.CutPrefix(name, "@")
	if !ok {
		return CheckHost(name)
	}
	if err := CheckHost(group); err != nil || strings.Contains(group, ",") {
		return fmt.Errorf("group %q: a name of at least one character without slash, comma, @ at its start and control characters; an example: @web", name)
	}
	return nil
}

// Root is what every key begins with: the pattern before %s without its last slash.
func (l Layout) Root() string { return l.root }

// isGroup tells whether a document's name is a group's.
func isGroup(name string) bool { return strings.HasPrefix(name, "@") }

// Config is the key of a document: of a host's, or of a group's where the name begins
// with @.
func (l Layout) Config(name string) string {
	if group, ok := strings.CutPrefix(name, "@"); ok {
		return l.groups() + group
	}
	return l.before + name + l.after
}

func (l Layout) groups() string { return l.root + ".groups/" }

// histories is what the keys of a document's history begin with.
func (l Layout) histories(name string) string { return l.root + ".history/" + name + "/" }

// History is the key of one record of a document's history.
func (l Layout) History(name, id string) string { return l.histories(name) + id }

// Changes is the key of a change of several documents.
func (l Layout) Changes(id string) string { return l.root + ".changes/" + id }

// Seek is the key of one request to move positions of a host's files.
func (l Layout) Seek(host, id string) string { return l.seeks(host) + id }

func (l Layout) seeks(host string) string { return l.root + ".seek/" + host + "/" }

// Seen is the leased key that outlives a host's agent, so that it is known how long the
// host is gone.
func (l Layout) Seen(host string) string { return l.root + ".seen/" + host }

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

// NameOf returns the name of the document that stands under a key, a host's or a group's
// with its @, and false for any other key.
func (l Layout) NameOf(key string) (string, bool) {
	if group, ok := strings.CutPrefix(key, l.groups()); ok {
		name := "@" + group
		return name, CheckName(name) == nil
	}
	return l.HostOf(key)
}

// hostUnder returns the host of a key that stands directly under a prefix.
func hostUnder(prefix, key string) (string, bool) {
	host, ok := strings.CutPrefix(key, prefix)
	return host, ok && CheckHost(host) == nil
}
