package agent

import (
	"errors"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"time"
)

// saverState is the loop's side of the checkpoint: every record as it is wanted on disk,
// and what is under way. One goroutine writes, one save at a time: a save that began
// earlier can never land on a later one.
type saverState struct {
	meta    metaRecord
	entries map[string]entryRecord
	files   map[fileKey]fileRecord
	byPath  map[string]map[fileKey]bool // path → its records
	lines   map[any][]byte              // encoded records, by fileKey or log_path

	dirty bool   // something differs from what was handed out last
	now   bool   // and must not wait
	out   bool   // a save is under way
	next  uint64 // number of the next save
	done  uint64 // number of the last save that ended, well or not
	due   time.Time
	err   error // of the last save
}

type saveJob struct {
	n       uint64
	meta    metaRecord
	records [][]byte
}

func (s *saverState) init(cp *checkpoint) {
	s.meta = cp.meta
	s.entries, s.files = cp.entries, cp.files
	s.byPath = make(map[string]map[fileKey]bool)
	s.lines = make(map[any][]byte)
	for lp, r := range s.entries {
		s.lines[lp] = encodeRecord(recordLine{Entry: &r})
	}
	for k, r := range s.files {
		s.lines[k] = encodeRecord(recordLine{File: &r})
		s.index(k, r.Path)
	}
	s.next = 1
}

func (s *saverState) index(k fileKey, path string) {
	if s.byPath[path] == nil {
		s.byPath[path] = make(map[fileKey]bool)
	}
	s.byPath[path][k] = true
}

func (s *saverState) entry(logPath string) (entryRecord, bool) {
	r, ok := s.entries[logPath]
	return r, ok
}

func (s *saverState) file(k fileKey) (fileRecord, bool) {
	r, ok := s.files[k]
	return r, ok
}

// filesOf yields the records of one path of an entry.
func (s *saverState) filesOf(logPath, path string) iter.Seq[fileRecord] {
	return func(yield func(fileRecord) bool) {
		for k := range s.byPath[path] {
			if k.logPath == logPath && !yield(s.files[k]) {
				return
			}
		}
	}
}

// unfinished returns the paths of an entry with files that were not read to their end.
func (s *saverState) unfinished(logPath string) []string {
	var out []string
	for k, r := range s.files {
		if k.logPath == logPath && !r.Done {
			out = append(out, r.Path)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (s *saverState) putEntry(r entryRecord) {
	s.entries[r.LogPath] = r
	s.lines[r.LogPath] = encodeRecord(recordLine{Entry: &r})
	s.dirty = true
}

func (s *saverState) putFile(r fileRecord) {
	k := r.key()
	if old, ok := s.files[k]; ok && old.Path != r.Path {
		delete(s.byPath[old.Path], k)
	}
	s.files[k] = r
	s.index(k, r.Path)
	s.lines[k] = encodeRecord(recordLine{File: &r})
	s.dirty = true
}

func (s *saverState) put(in *incarnation) {
	in.dirty = false
	s.putFile(in.record(time.Now()))
}

func (s *saverState) dropFile(k fileKey) {
	delete(s.byPath[s.files[k].Path], k)
	if len(s.byPath[s.files[k].Path]) == 0 {
		delete(s.byPath, s.files[k].Path)
	}
	delete(s.files, k)
	delete(s.lines, k)
	s.dirty = true
}

// nextSeq returns the number of the save that will hold what was put until now.
func (s *saverState) nextSeq() uint64 { return s.next }

// record is what the checkpoint keeps of an incarnation.
func (in *incarnation) record(now time.Time) fileRecord {
	return fileRecord{
		LogPath: in.src.entry.svc.LogPath, Path: in.src.path, fileID: in.id, Gen: in.gen,
		Committed: in.win.committed, Head: in.readHead, Anchor: in.win.committedAnchor, Trail: in.readTrail,
		Ahead: in.win.ahead(in.readSkips), SeenAt: now.Unix(),
	}
}

// saveIfDue hands a save to the writer: at most one every SaveEvery, at once where a file
// was begun.
func (l *loop) saveIfDue(now time.Time) {
	s := &l.saver
	if !s.dirty || s.out || !s.now && now.Before(s.due) || s.err != nil && now.Before(s.due) {
		return
	}
	for _, e := range l.entries {
		for _, src := range e.sources {
			for in := range src.incarnations() {
				if in.dirty {
					s.put(in)
				}
			}
			for _, o := range src.orphans {
				s.putFile(o.record(now))
			}
		}
	}
	s.dirty, s.now, s.out = false, false, true
	s.due = now.Add(l.opt.SaveEvery)
	l.saves <- l.job()
}

// job numbers a save and collects its records. The encoded lines are never written again,
// so the writer may read them while the loop goes on.
func (l *loop) job() saveJob {
	s := &l.saver
	s.meta.Seq++
	j := saveJob{n: s.next, meta: s.meta, records: slices.Collect(maps.Values(s.lines))}
	s.next++
	return j
}

func (l *loop) saveLoop() {
	for j := range l.saves {
		err := writeCheckpoint(l.opt.StateDir, j.meta, j.records)
		if errors.Is(err, fs.ErrNotExist) { // the folder was removed under us
			if err = l.a.makeState(); err == nil {
				err = writeCheckpoint(l.opt.StateDir, j.meta, j.records)
			}
		}
		l.a.mail.post(func() { l.saved(j.n, err) })
	}
}

// saved takes the end of a save. A folder that cannot be written does not stop collection:
// positions stay in memory, which is said, and saving is tried again every SaveEvery.
func (l *loop) saved(n uint64, err error) {
	s := &l.saver
	s.out = false
	s.done = n
	if err != nil {
		s.dirty = true
		l.setProblem("state", "positions cannot be saved in "+l.opt.StateDir+": "+reason(err)+"; lines go on, and after a crash would be sent again: make room there, or let the agent's user write to it")
	} else {
		l.setProblem("state", "")
	}
	s.err = err
	for _, e := range l.entries {
		for _, src := range e.sources {
			for in := range src.incarnations() {
				if in.wait == waitSave && in.savedSeq <= n {
					l.push(in)
				}
			}
		}
	}
}

// finalSave writes the last positions from the loop itself: the writer has nothing to do
// any more.
func (l *loop) finalSave() error {
	j := l.job()
	return writeCheckpoint(l.opt.StateDir, j.meta, j.records)
}

// prune forgets what nobody can need any more: entries removed long ago with their files,
// and files that nobody has held or seen for as long.
func (l *loop) prune(now time.Time) {
	s := &l.saver
	old := now.Add(-keepRemoved)
	gone := make(map[string]bool)
	for lp, r := range s.entries {
		if r.Removed != 0 && time.Unix(r.Removed, 0).Before(old) && l.entries[lp] == nil {
			gone[lp] = true
			delete(s.entries, lp)
			delete(s.lines, lp)
			s.dirty = true
		}
	}
	for k, r := range s.files {
		seen := l.reg.lastSeen(k)
		if seen.Before(time.Unix(r.SeenAt, 0)) {
			seen = time.Unix(r.SeenAt, 0)
		}
		if gone[k.logPath] || len(l.held[k.id]) == 0 && seen.Before(old) {
			s.dropFile(k)
			l.reg.forget(k)
		}
	}
}
