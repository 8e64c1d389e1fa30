package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/bmatcuk/doublestar/v4"
)

// Answer answers a question about this host's files. It may block on the file system.
// What allow_paths hides, it does not tell about.
func (a *Agent) Answer(ctx context.Context, q Question) Answer {
	if !filepath.IsAbs(q.Path) {
		return Answer{Error: fmt.Sprintf("path %q is not absolute", q.Path)}
	}
	switch q.Kind {
	case AskPath:
		return a.answerPath(q.Path)
	case AskGlob:
		return a.answerGlob(q)
	case AskFile:
		return a.answerFile(ctx, q.Path)
	}
	return Answer{Error: fmt.Sprintf("unknown kind of question %q; %s, %s and %s are known", q.Kind, AskPath, AskGlob, AskFile)}
}

func (a *Agent) answerPath(path string) Answer {
	if err := a.access.path(path); err != nil {
		return Answer{Error: err.Error()}
	}
	f, st, err := openRegular(path)
	if err == nil {
		defer f.Close()
		if err := a.access.file(f); err != nil {
			return Answer{Error: err.Error()}
		}
		info, err := f.Stat()
		if err != nil {
			return Answer{Error: err.Error()}
		}
		return Answer{Exists: true, Readable: true, SizeBytes: st.size, Modified: info.ModTime()}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return Answer{Why: "missing"}
	}
	ans := Answer{Why: reason(err)}
	if info, statErr := os.Stat(path); statErr == nil {
		ans.Exists, ans.SizeBytes, ans.Modified = true, info.Size(), info.ModTime()
	}
	return ans
}

func (a *Agent) answerGlob(q Question) Answer {
	if !doublestar.ValidatePattern(q.Path) {
		return Answer{Error: fmt.Sprintf("%q is not a valid glob", q.Path)}
	}
	found, err := newGlob(q.Path, q.Exclude).expand()
	if err != nil {
		return Answer{Error: err.Error()}
	}
	found = slices.DeleteFunc(found, func(p string) bool { return a.access.path(p) != nil })
	slices.Sort(found)
	return Answer{Exists: len(found) > 0, MatchCount: len(found), Matches: found[:min(len(found), MaxMatches)]}
}

// answerFile tells what the agent believes about a followed path.
func (a *Agent) answerFile(ctx context.Context, path string) Answer {
	got := make(chan Answer, 1)
	a.mail.post(func() { got <- a.loop.believes(path) })
	select {
	case ans := <-got:
		return ans
	case <-ctx.Done():
		return Answer{Error: ctx.Err().Error()}
	case <-a.ended:
		return Answer{Error: ErrNotRunning.Error()}
	}
}

// believes collects every incarnation of a path, open or remembered.
func (l *loop) believes(path string) Answer {
	var ans Answer
	s := l.status()
	for i := range s.Files {
		if s.Files[i].Path == path {
			f := s.Files[i]
			ans.File = &f
			break
		}
	}
	open := make(map[fileKey]bool)
	for lp, e := range l.entries {
		src := e.sources[path]
		if src == nil {
			continue
		}
		for in := range src.incarnations() {
			state := "active"
			if in != src.active {
				state = "rotated"
			}
			open[fileKey{lp, in.id}] = true
			ans.Held = append(ans.Held, Incarnation{Path: in.name, Device: in.id.Dev, Inode: in.id.Ino, Generation: in.gen, Committed: in.win.committed, SizeBytes: in.seen.size, State: state, Waits: in.wait.String()})
		}
	}
	for k := range l.saver.byPath[path] {
		if r := l.saver.files[k]; !open[k] {
			state := "known"
			switch {
			case r.Done:
				state = "done"
			case r.Gone:
				state = "truncated"
			}
			ans.Held = append(ans.Held, Incarnation{Path: path, Device: r.Dev, Inode: r.Ino, Generation: r.Gen, Committed: r.Committed, State: state})
		}
	}
	if ans.File == nil && len(ans.Held) == 0 {
		ans.Error = path + " is not followed: no entry matches it"
	}
	return ans
}
