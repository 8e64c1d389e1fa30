package agent

import (
	"path/filepath"
	"slices"
	"time"
)

// A glob may match the names of rotated files: /var/log/web/* means access.log.1, too. A file
// that was held when it was renamed stays what it is. One that is not held may be a log of
// its own, or one that stood at access.log before:
//
//	access.log is A; A goes to .1 and B comes; B goes to .1, A to .2 and C comes; a look.
//
// B was never seen at access.log, but its lines are of it and come between those of A and C.

// rotatedFrom returns the source that a file which nobody holds was rotated from; src itself,
// at whose path it stands, where it is a log of its own. known tells that more is known of
// it than its name: its rotation is to be gone on with.
func (l *loop) rotatedFrom(src *source, id fileID, now time.Time) (of *source, known bool) {
	e := src.entry
	if e.first || !isGlob(e.svc.LogPath) {
		return src, false // what was there before its entry is what the entry says it is
	}
	rec, recorded := l.saver.file(fileKey{e.svc.LogPath, id})
	if _, inherited := l.inherited(src, id, now); inherited && !recorded {
		return src, false
	}
	for _, stem := range rotatedStems(filepath.Base(src.path)) {
		s := e.sources[filepath.Join(filepath.Dir(src.path), stem)]
		switch {
		case s == nil || s == src || s.lapsed:
		case recorded && rec.Path == s.path, s.hasCandidate(id), s.hasCopied(id):
			return s, true
		case !recorded && s.rotatesTo(src.path):
			return s, false
		}
	}
	return src, false
}

// rotatesTo tells whether a name is one that rotation gives to the source's files: one of
// those it still holds has such a name now. worker-1 beside worker is a log of its own, and
// so is worker-2 where worker was rotated to worker.1.
func (s *source) rotatesTo(path string) bool {
	for in := range s.incarnations() {
		name := in.rotatedName(s.path)
		if name != "" && scheme(name) == scheme(filepath.Base(path)) {
			return !isLink(s.path) // whose target has a name of its own
		}
	}
	return false
}

// rotatedName returns the name an open file has now where that is a rotated one of path;
// else "".
func (in *incarnation) rotatedName(path string) string {
	real, err := pathNow(in.file)
	if name := filepath.Base(real); err == nil && slices.Contains(rotatedStems(name), filepath.Base(path)) {
		return name
	}
	return ""
}
