package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bmatcuk/doublestar/v4"
)

// Answer answers a question about this host's files. It may block on the file system.
// What allow_paths hides, it does not tell about.
func (a *Agent) Answer(ctx context.Context, q Question) Answer {
	if !filepath.IsAbs(q.Path) && (q.Kind != AskSeek || q.Path != "") {
		return Answer{Error: fmt.Sprintf("path %q is not absolute", q.Path)}
	}
	switch q.Kind {
	case AskPath:
		return a.answerPath(q.Path)
	case AskGlob:
		return a.answerGlob(q)
	case AskFile:
		return a.answerFile(ctx, q.Path)
	case AskSeek:
		return a.answerSeek(ctx, q)
	}
	return Answer{Error: fmt.Sprintf("unknown kind of question %q; %s, %s, %s and %s are known", q.Kind, AskPath, AskGlob, AskFile, AskSeek)}
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

// answerFile tells what the agent believes about a followed path, or about a rotated file of
// one under the name it has now.
func (a *Agent) answerFile(ctx context.Context, path string) Answer {
	hidden := a.access.path(path)
	var st stat
	if hidden == nil {
		st, _ = statPath(path) // may hang, and so not in the loop
	}
	got := make(chan Answer, 1)
	a.mail.post(func() { got <- a.loop.believes(path, st.id) })
	select {
	case ans := <-got:
		if f := ans.File; hidden != nil && f != nil { // the entry that names it, and nothing of the file
			ans = Answer{File: &FileStatus{Path: f.Path, LogPath: f.LogPath, Service: f.Service, Topic: f.Topic, State: f.State, Cause: f.Cause, Since: f.Since, Limit: f.Limit}}
		} else if hidden != nil {
			ans = Answer{Error: hidden.Error()}
		}
		return ans
	case <-ctx.Done():
		return Answer{Error: ctx.Err().Error()}
	case <-a.ended:
		return Answer{Error: ErrNotRunning.Error()}
	}
}

// believes collects every incarnation of a path, open or remembered. id is what stands
// there now.
func (l *loop) believes(path string, id fileID) Answer {
	var ans Answer
	followed := l.followedPath(path, id)
	open := make(map[fileKey]bool)
	for lp, e := range l.entries {
		src := e.sources[followed]
		if src == nil {
			continue
		}
		f := l.fileStatus(src, time.Now()) // not the last snapshot: all of an answer is of one moment
		f.History = src.meter.history()
		ans.File = &f
		for in := range src.incarnations() {
			open[fileKey{lp, in.id}] = true
			ans.Held = append(ans.Held, in.believed())
		}
		for _, c := range src.candidates {
			open[fileKey{lp, c.st.id}] = true
			ans.Held = append(ans.Held, Incarnation{
				Path: c.name, Device: c.st.id.Dev, Inode: c.st.id.Ino, SizeBytes: c.bytes(), Unread: c.bytes(),
				State: "undecided", Writer: writerWord(writerOf(c.file)), Compressed: c.by != nil,
			})
		}
	}
	for r := range l.saver.at(followed) {
		if !open[r.key()] {
			ans.Held = append(ans.Held, r.believed())
		}
	}
	if ans.File == nil {
		for _, f := range l.status().Files { // taken by another entry
			if f.Path == followed {
				ans.File = &f
				break
			}
		}
	}
	if ans.File == nil && len(ans.Held) == 0 {
		ans.Error = path + " is not followed: no entry matches it"
	}
	return ans
}

// followedPath returns the path whose file, rotated or not, stands under a name.
func (l *loop) followedPath(name string, id fileID) string {
	for _, e := range l.entries {
		if e.sources[name] != nil {
			return name
		}
	}
	for _, in := range l.held[id] {
		return in.src.path
	}
	for _, e := range l.entries {
		for _, s := range e.sources {
			if s.hasCandidate(id) {
				return s.path
			}
		}
	}
	return rememberedPath(l.saver.files, name, id)
}

// rememberedPath returns the followed path of a file that a record knows, or whose name is
// one of its rotated ones.
func rememberedPath(files map[fileKey]*kept, name string, id fileID) string {
	stems := rotatedStems(filepath.Base(name))
	best := name
	for k, r := range files {
		if k.id == id && id != (fileID{}) {
			return r.Path
		}
		if filepath.Dir(r.Path) == filepath.Dir(name) && slices.Contains(stems, filepath.Base(r.Path)) {
			best = r.Path
		}
	}
	return best
}

// believed describes an open file.
func (in *incarnation) believed() Incarnation {
	state := "active"
	if in != in.src.active {
		state = "rotated"
	}
	return Incarnation{
		Path: in.name, Device: in.id.Dev, Inode: in.id.Ino, Generation: in.gen,
		Committed: in.win.committed, SizeBytes: in.seen.size, Unread: max(0, in.seen.size-in.readPos),
		State: state, Waits: in.wait.String(), Writer: writerWord(in.writer()), Deleted: in.deleted, Compressed: in.zip != nil,
	}
}

// believed describes a file that is not open.
func (r *fileRecord) believed() Incarnation {
	i := Incarnation{
		Path: r.Path, Device: r.Dev, Inode: r.Ino, Generation: r.Gen, Committed: r.Committed,
		SizeBytes: -1, Unread: -1, State: "known", Writer: "unknown", Compressed: r.Packed,
	}
	switch {
	case r.Done:
		i.State, i.SizeBytes, i.Unread = "done", r.Committed, 0
	case r.Gone:
		i.State = "truncated"
	}
	return i
}

func writerWord(writer, sure bool) string {
	switch {
	case !sure:
		return "unknown"
	case writer:
		return "yes"
	}
	return "no"
}

// Remembered tells what the state folder knows of a path while no agent runs on it. It
// changes nothing there, and looks only at the file that stands at the path now. It fails
// where there is no readable checkpoint.
func Remembered(stateDir, path string) (Answer, error) {
	cp, err := peekCheckpoint(stateDir)
	if err != nil {
		return Answer{}, err
	}
	st, _ := statPath(path)
	followed := rememberedPath(cp.files, path, st.id)
	var ans Answer
	for _, r := range cp.files {
		if r.Path != followed {
			continue
		}
		i := r.believed()
		if r.fileID == st.id {
			i.Path = path
			if by, _ := compressedBy(path); by == nil {
				i.SizeBytes, i.Unread = st.size, max(0, st.size-r.Committed)
			}
		}
		ans.Held = append(ans.Held, i)
	}
	slices.SortFunc(ans.Held, func(a, b Incarnation) int {
		return cmp.Or(cmp.Compare(a.Inode, b.Inode), cmp.Compare(a.Generation, b.Generation))
	})
	if len(ans.Held) == 0 {
		ans.Error = "nothing is remembered of " + path
	}
	return ans, nil
}
