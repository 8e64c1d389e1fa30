package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// access decides which files may be read: anyone who can write to etcd chooses paths, and
// an agent that runs as root would otherwise send any file anywhere.
type access struct {
	allow  []string // globs; empty: everything
	refuse []string // absolute paths of files and folders, links resolved
	logs   []string // those of them that are log files: their rotated files stand beside them
}

var errNotAllowed = errors.New("not allowed")

// newAccess checks allow; state is the agent's folder, and logs are its own log files.
func newAccess(allow []string, state string, logs []string) (access, error) {
	a := access{allow: slices.Clone(allow)}
	for _, g := range allow {
		if !filepath.IsAbs(g) || !doublestar.ValidatePattern(g) {
			return a, fmt.Errorf("allow_paths: %q is not an absolute glob such as /var/log/**", g)
		}
		// Files are also checked by the path they really have: /var/log may be a link.
		base, rest := doublestar.SplitPattern(g)
		if real, err := filepath.EvalSymlinks(base); err == nil && real != base {
			a.allow = append(a.allow, filepath.Join(real, rest))
		}
	}
	for i, r := range append([]string{state}, logs...) {
		abs, err := filepath.Abs(r)
		if err != nil {
			return a, fmt.Errorf("refused path %q: %w", r, err)
		}
		names := []string{abs}
		if real, err := filepath.EvalSymlinks(abs); err == nil && real != abs {
			names = append(names, real)
		}
		a.refuse = append(a.refuse, names...)
		if i > 0 {
			a.logs = append(a.logs, names...)
		}
	}
	return a, nil
}

// own tells whether a path is the agent's own log (its rotated files beside it included)
// or state.
func (a *access) own(p string) bool {
	return slices.ContainsFunc(a.refuse, func(r string) bool {
		return p == r || strings.HasPrefix(p, r+"/")
	}) || slices.ContainsFunc(a.logs, func(r string) bool {
		return filepath.Dir(p) == filepath.Dir(r) && strings.HasPrefix(filepath.Base(p), logStem(r))
	})
}

// path checks a path as it is written.
func (a *access) path(p string) error {
	if a.own(p) {
		return fmt.Errorf("%w: %s is the agent's own log or state", errNotAllowed, p)
	}
	if len(a.allow) == 0 {
		return nil
	}
	for _, g := range a.allow {
		if ok, _ := doublestar.Match(g, p); ok {
			return nil
		}
	}
	return fmt.Errorf("%w: %s is outside allow_paths (%s)", errNotAllowed, p, strings.Join(a.allow, ", "))
}

// logStem is what the names of a rotated log begin with: logagent- for logagent.log.
func logStem(p string) string {
	return strings.TrimSuffix(filepath.Base(p), filepath.Ext(p)) + "-"
}

// file checks an open file by the path it really has: a symbolic link must not lead out
// of what is allowed.
func (a *access) file(f *os.File) error {
	real, err := pathNow(f)
	if err != nil {
		return nil // no /proc: the written path was checked
	}
	return a.path(real)
}

// pathNow returns where an open file stands now, or stood last. It takes /proc.
func pathNow(f *os.File) (string, error) {
	real, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	return strings.TrimSuffix(real, " (deleted)"), err
}
