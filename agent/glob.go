package agent

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// glob is a pattern with its exclusions.
type glob struct {
	pattern string
	dir     string // what stands before the first wildcard, as a folder
	deep    bool   // wildcards reach below dir
	exclude []string
}

// isGlob tells whether log_path is a pattern. A path whose wildcards are all escaped
// with backslashes is one too: doublestar unescapes it.
func isGlob(p string) bool { return strings.ContainsAny(p, `*?[{\`) }

func newGlob(pattern string, exclude []string) *glob {
	dir, rest := doublestar.SplitPattern(pattern)
	return &glob{
		pattern: pattern, dir: filepath.Clean(dir),
		deep: strings.Contains(rest, "/") || strings.Contains(rest, "**"), exclude: exclude,
	}
}

// match tells whether the pattern means path. An exclusion without a slash is held
// against the file's name alone.
func (g *glob) match(path string) bool {
	if ok, _ := doublestar.Match(g.pattern, path); !ok {
		return false
	}
	return !slices.ContainsFunc(g.exclude, func(e string) bool {
		name := path
		if !strings.Contains(e, "/") {
			name = filepath.Base(path)
		}
		ok, _ := doublestar.Match(e, name)
		return ok
	})
}

// filter returns the paths in the glob's folder that match. Whether they are files is
// seen when they are opened.
func (g *glob) filter(names []string) []string {
	var out []string
	for _, n := range names {
		if p := filepath.Join(g.dir, n); g.match(p) {
			out = append(out, p)
		}
	}
	return out
}

// expand walks the file system. It blocks as long as that takes.
func (g *glob) expand() ([]string, error) {
	all, err := doublestar.FilepathGlob(g.pattern, doublestar.WithFilesOnly())
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(p string) bool { return !g.match(p) }), nil
}
