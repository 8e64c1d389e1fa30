package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// found takes a look's report.
func (l *loop) found(r lookReport) {
	now := time.Now()
	if l.draining {
		for _, s := range r.sightings {
			if s.file != nil {
				s.file.Close()
			}
		}
		return
	}
	// What stands at the paths first, then rotated files that are known, then those nobody
	// knows: they are judged by what the loop holds by then. A glob's path may be the name of
	// a rotated file; that is asked before its other rotated files are taken.
	var ranks [5][]sighting
	for _, s := range r.sightings {
		rank := 0
		switch _, known := l.saver.file(fileKey{s.logPath, s.st.id}); {
		case s.sibling == "" && len(rotatedStems(filepath.Base(s.path))) == 0:
		case s.sibling == "" && known:
			rank = 1
		case s.sibling == "":
			rank = 2
		case known:
			rank = 3
		default:
			rank = 4
		}
		ranks[rank] = append(ranks[rank], s)
	}
	for _, sightings := range ranks {
		for _, s := range sightings {
			l.sighted(s, now)
		}
	}
	for _, c := range r.lapsed {
		if e := l.entries[c.logPath]; e != nil && e.sources[c.path] != nil && e.sources[c.path].active != nil {
			e.sources[c.path].lapsed = true // excluded now, or another entry's
			l.wake(e.sources[c.path], now)
			l.lapse(e.sources[c.path], now)
		}
	}
	for lp, e := range l.entries {
		l.listed(e, r.globErrs[lp])
		if r.taken != nil {
			e.taken = r.taken[lp]
		}
		if r.gen >= e.gen && !e.looked {
			e.looked = true
			if e.first {
				e.first = false
				e.record = entryRecord{LogPath: lp, Since: now.Unix()}
				l.saver.putEntry(e.record)
				l.saver.now = true
			}
		}
	}
}

// listed notes whether an entry's folder could be listed; said when that changes.
func (l *loop) listed(e *entry, err error) {
	before := e.globErr
	e.globErr = err
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		e.errors++
		l.a.log.Error("cannot list", "service", e.svc.Service, "log_path", e.svc.LogPath, "err", err)
	case err == nil && before != nil:
		l.a.log.Info("can be listed again", "service", e.svc.Service, "log_path", e.svc.LogPath)
	}
}

// source returns the entry's source for a path, new or not.
func (l *loop) source(e *entry, path string, now time.Time) *source {
	src := e.sources[path]
	if src == nil {
		src = &source{entry: e, path: path, born: now}
		e.sources[path] = src
		l.sorted = nil
		l.wake(src, now)
		l.revive(src, now)
	}
	return src
}

// sighted takes one finding about a path.
func (l *loop) sighted(s sighting, now time.Time) {
	e := l.entries[s.logPath]
	if e == nil || e.leaving {
		if s.file != nil {
			s.file.Close()
		}
		return
	}
	src := l.source(e, s.path, now)
	l.wake(src, now)
	src.lapsed = false
	switch {
	case s.sibling != "":
		l.siblingSeen(src, s, now)
	case s.gone:
		if !src.missing {
			l.a.log.Info("missing", "path", s.path, "service", e.svc.Service)
		}
		src.missing, src.err, src.sameAs = true, nil, ""
		l.rotate(src, now)
	case s.err != nil:
		l.a.log.Error("cannot follow", "path", s.path, "service", e.svc.Service, "err", s.err)
		src.err, src.missing = s.err, false
		src.tally(counters{errors: 1})
		l.a.signalChanged()
		if e.first && s.st.id != (fileID{}) && e.svc.startAt() == StartEnd {
			// It exists already, so it is not to be read from its beginning once it
			// can be opened.
			l.saver.putFile(fileRecord{LogPath: s.logPath, Path: s.path, fileID: s.st.id, Committed: s.st.size, Pending: true, SeenAt: now.Unix()})
		}
	default:
		l.stands(src, s, now)
	}
}

// stands takes the file that stands at a path now.
func (l *loop) stands(src *source, s sighting, now time.Time) {
	before := src.err
	src.err, src.missing, src.sameAs = nil, false, ""
	if a := src.active; a != nil && a.id == s.st.id {
		s.file.Close()
		return
	}
	for _, h := range l.held[s.st.id] {
		if h.src == src { // rotated away and back
			s.file.Close()
			l.rotate(src, now)
			i := slices.Index(src.rotated, h)
			src.rotated = slices.Delete(src.rotated, i, i+1)
			src.active, h.rotatedAt, h.name, h.deleted = h, time.Time{}, src.path, false
			l.wakeNewer(src)
			return
		}
		if h.src.path == src.path {
			// Another entry had it. It goes on from there once nothing is in flight.
			s.file.Close()
			l.reg.retry(s.path)
			return
		}
		if h.src.entry == src.entry {
			// A glob matches the new name of a file that is being read, or a link to it.
			s.file.Close()
			l.rotate(src, now)
			src.sameAs = h.src.path
			return
		}
	}
	l.rotate(src, now)
	of, known := l.rotatedFrom(src, s.st.id, now)
	if known {
		src.sameAs = of.path
		s.sibling = s.path
		l.wake(of, now)
		l.siblingSeen(of, s, now)
		return
	}
	in, err := l.open(of, s.file, s.st, s.path, now)
	if err != nil {
		s.file.Close()
		if before == nil || before.Error() != err.Error() {
			src.tally(counters{errors: 1})
			l.a.log.Error("cannot follow", "path", s.path, "err", err)
		}
		src.err = err
		l.reg.retry(s.path)
		return
	}
	if before != nil {
		l.a.log.Info("followed again", "path", src.path)
	}
	if of != src {
		l.a.log.Info("rotated unseen: read whole", "path", of.path, "file", s.path, "size", s.st.size)
		src.sameAs = of.path
		l.wake(of, now)
		if of.active != nil && of.active.rotatedName(of.path) != "" {
			l.rotate(of, now) // the finder saw this one first, and its lines are the newer ones
		}
		in.rotatedAt = now
		of.putRotated(in)
	} else {
		src.active = in
	}
	l.push(in)
}

// open makes an incarnation of an open file, beginning where the checkpoint says, or
// where start_at says for files that existed when their entry came.
func (l *loop) open(src *source, f *os.File, st stat, name string, now time.Time) (*incarnation, error) {
	e := src.entry
	in := &incarnation{
		src: src, file: f, data: f, id: st.id, name: name, seen: st, more: true,
		pollGap: l.opt.PollInterval, nextPoll: momentOf(now.Add(l.opt.PollInterval)), waitSince: now,
	}
	in.win = &window{owner: in}
	rec, known := l.saver.file(fileKey{e.svc.LogPath, st.id})
	if other, ok := l.inherited(src, st.id, now); ok && (!known || other.further(&rec)) {
		rec, known = other, true
	}
	var err error
	switch {
	case known && rec.Pending:
		in.pos, err = lastLineEnd(f, min(rec.Committed, st.size))
	case known:
		err = l.resume(in, &rec)
	case e.first && e.svc.startAt() == StartEnd:
		in.pos, err = lastLineEnd(f, st.size)
	}
	if err != nil {
		return nil, err
	}
	if err := in.betweenLines(!known || !rec.Done); err != nil {
		return nil, err
	}
	if in.head.Len == 0 {
		if in.head, err = markAt(f, min(in.pos, headBytes), headBytes); err != nil {
			return nil, err
		}
	}
	if in.anchor.Len == 0 {
		if in.anchor, err = markAt(f, in.pos, anchorBytes); err != nil {
			return nil, err
		}
	}
	if in.win.committed == 0 {
		in.win.committed, in.win.committedAnchor = in.pos, in.anchor
	}
	in.sizes.note(now, st.size)
	l.hold(in)
	l.a.log.Info("following", "path", src.path, "file", name, "service", e.svc.Service, "from", in.pos, "size", st.size, "inode", st.id.Ino)
	return in, nil
}

// betweenLines has the rest of a line passed over where the position is in the middle of one:
// start_at end in a file that has no line end for megabytes. Where rest is false that rest is
// wanted: the beginning of the line has been sent as it was.
func (in *incarnation) betweenLines(rest bool) error {
	if in.pos == 0 || !rest {
		return nil
	}
	var b [1]byte
	if _, err := in.file.ReadAt(b[:], in.pos-1); err != nil {
		return fmt.Errorf("read at %d: %w", in.pos-1, err)
	}
	if b[0] != '\n' {
		in.long = longLine{active: true, start: in.pos, discard: true}
	}
	return nil
}

// hold takes an incarnation among the open ones.
func (l *loop) hold(in *incarnation) {
	in.synced()
	l.held[in.id] = append(l.held[in.id], in)
	l.reg.hold(fileKey{in.src.entry.svc.LogPath, in.id})
	l.nudges.add(in)
	l.startLooking(in)
	l.saveFirst(in)
}

// saveFirst has the position where an incarnation begins saved before its first line is
// sent.
func (l *loop) saveFirst(in *incarnation) {
	l.saver.put(in)
	l.saver.now = true
	in.savedSeq = l.saver.nextSeq()
	l.saver.begun[in] = struct{}{}
}

// handover is how long after its removal an entry's positions are taken over by another
// entry that comes to mean the same files.
const handover = time.Minute

// inherited finds the position another entry has for a file of the same path: a literal
// entry that takes a file over from a glob, or a glob that gets it back, goes on there.
func (l *loop) inherited(src *source, id fileID, now time.Time) (best fileRecord, ok bool) {
	for r := range l.saver.at(src.path) {
		if r.fileID != id || r.LogPath == src.entry.svc.LogPath {
			continue
		}
		owner := l.saver.entries[r.LogPath]
		if src.entry.first && owner.Removed != 0 && now.Sub(time.Unix(owner.Removed, 0)) > handover {
			continue // start_at decides
		}
		rec := *r
		rec.LogPath = src.entry.svc.LogPath
		if !ok || rec.further(&best) {
			best, ok = rec, true
		}
	}
	return best, ok
}

// further tells whether r is the later position of the same file: a path belongs to one
// entry at a time, so what any of them delivered is delivered.
func (r *fileRecord) further(o *fileRecord) bool {
	return r.Gen > o.Gen || r.Gen == o.Gen && r.Committed > o.Committed
}

// resume puts a known file at its committed position, if its bytes are the ones that were
// delivered. Otherwise it was truncated while nobody looked, and begins anew.
func (l *loop) resume(in *incarnation, rec *fileRecord) error {
	in.gen = rec.Gen
	headHolds, err := rec.Head.holds(in.file, int64(rec.Head.Len))
	if err != nil {
		return err
	}
	anchorHolds := false
	if in.seen.size >= rec.Committed {
		if anchorHolds, err = rec.Anchor.holds(in.file, rec.Committed); err != nil {
			return err
		}
	}
	if headHolds && anchorHolds {
		in.pos, in.anchor, in.head, in.trail = rec.Committed, rec.Anchor, rec.Head, rec.Trail.until(rec.Committed)
		in.win.committed, in.win.committedAnchor = rec.Committed, rec.Anchor
		in.skips, in.sought = rec.skips(), rec.Sought
		return nil
	}
	l.a.log.Warn("truncated while the agent was away", "path", in.src.path, "committed", rec.Committed, "size", in.seen.size)
	l.bereave(rec.truncated(in.src), in.id, 0, time.Now())
	in.restart()
	return nil
}

// skips returns the acknowledged stretches beyond committed as a reader leaves them out.
func (r *fileRecord) skips() []*span {
	var out []*span
	for _, s := range r.Ahead {
		out = append(out, &span{start: s.Start, end: s.End, anchor: s.Anchor, lineEnd: true, verdict: acked})
	}
	return out
}

// rotate moves the active file among the rotated ones: it stands at the path no more.
func (l *loop) rotate(src *source, now time.Time) {
	in := src.active
	if in == nil {
		return
	}
	src.active = nil
	in.rotatedAt, in.quietSince, in.drained = now, time.Time{}, false
	in.more = true // look once more: lines may have come since the last turn
	in.pollGap = l.opt.PollInterval
	l.lookAgain(in, now)
	src.rotated = append(src.rotated, in)
	l.a.log.Info("rotated", "path", src.path, "inode", in.id.Ino, "left_bytes", in.unread())
	l.push(in)
}

// wakeNewer lets the files of a source go on that waited for an older one.
func (l *loop) wakeNewer(src *source) {
	for in := range src.incarnations() {
		if in.wait == waitOlder {
			l.push(in)
		}
	}
}

// release closes an incarnation. Nothing of it is in flight or being read.
func (l *loop) release(in *incarnation) {
	in.closing = true
	l.saver.release(in)
	l.nudges.drop(in)
	l.stopLooking(in)
	if in.zip != nil {
		l.deflate(in)
	}
	h := slices.DeleteFunc(l.held[in.id], func(o *incarnation) bool { return o == in })
	if len(h) == 0 {
		delete(l.held, in.id)
	} else {
		l.held[in.id] = h
	}
	if !in.polling { // else the poll's answer closes it
		in.file.Close()
	}
}

// reason puts an error about a path into an operator's words.
func reason(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "permission denied"
	case errors.Is(err, syscall.ENOTDIR):
		return "a parent is not a folder"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "too many open files: raise the limit (ulimit -n, LimitNOFILE=)"
	case errors.Is(err, syscall.EIO):
		return "input/output error of the disk"
	}
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
