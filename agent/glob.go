package agent

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// glob is a pattern with its exclusions.
type glob struct {
	pattern string
	dir     string // what stands before the first wildcard, as a folder
	rest    string // what stands after it
	names   bool   // rest tells of a name in dir what pattern tells of its path
	deep    bool   // wildcards reach below dir
	exclude []string
}

// isGlob tells whether log_path is a pattern. A path whose wildcards are all escaped
// with backslashes is one too: doublestar unescapes it.
func isGlob(p string) bool { return strings.ContainsAny(p, `*?[{\`) }

func newGlob(pattern string, exclude []string) *glob {
	dir, rest := doublestar.SplitPattern(pattern)
	g := &glob{
		pattern: pattern, dir: filepath.Clean(dir), rest: rest,
		deep: strings.Contains(rest, "/") || strings.Contains(rest, "**"), exclude: exclude,
	}
	g.names = !g.deep && !strings.Contains(pattern, `\`) && filepath.Join(g.dir, rest) == pattern
	return g
}

// match tells whether the pattern means path.
func (g *glob) match(path string) bool {
	ok, _ := doublestar.Match(g.pattern, path)
	return ok && !g.excluded(path)
}

// excluded tells whether an exclusion means path. One without a slash is held against the
// file's name alone.
func (g *glob) excluded(path string) bool {
	return slices.ContainsFunc(g.exclude, func(e string) bool {
		name := path
		if !strings.Contains(e, "/") {
			name = filepath.Base(path)
		}
		ok, _ := doublestar.Match(e, name)
		return ok
	})
}

// pick returns the paths in the glob's folder that match, sorted: the strings of before, which
// is sorted, where it has them. Whether they are files is seen when they are opened.
func (g *glob) pick(names, before []string) []string {
	names = slices.Clone(names)
	if g.names {
		names = slices.DeleteFunc(names, func(n string) bool {
			ok, _ := doublestar.Match(g.rest, n)
			return !ok
		})
	}
	slices.Sort(names) // all in one folder: so are their paths
	out := names[:0]
	for _, n := range names {
		p, ok := sameName(&before, n)
		if !ok {
			p = filepath.Join(g.dir, n)
		}
		if !g.names && !g.match(p) || g.names && g.excluded(p) {
			continue
		}
		out = append(out, p)
	}
	return out
}

// sameName moves on in sorted paths of one folder to a name.
func sameName(paths *[]string, name string) (string, bool) {
	for len(*paths) > 0 {
		p := (*paths)[0]
		have := p[strings.LastIndexByte(p, '/')+1:]
		if have >= name {
			return p, have == name
		}
		*paths = (*paths)[1:]
	}
	return "", false
}

// expand walks the file system. It blocks as long as that takes.
func (g *glob) expand() ([]string, error) { return g.expandIn(os.DirFS(g.dir)) }

// expandIn is expand where fsys is what stands below dir. The paths are sorted.
func (g *glob) expandIn(fsys fs.FS) ([]string, error) {
	all, err := doublestar.Glob(fsys, g.rest, doublestar.WithFilesOnly())
	if err != nil {
		return nil, err
	}
	for i, p := range all {
		all[i] = filepath.Join(g.dir, p)
	}
	all = slices.DeleteFunc(all, func(p string) bool { return !g.match(p) })
	slices.Sort(all)
	return slices.Compact(all), nil
}
