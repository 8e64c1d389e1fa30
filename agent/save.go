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
	files   map[fileKey]*kept
	byPath  map[string]*kept // path → the first of its records

	soiled  map[*incarnation]struct{} // their records are stale
	orphans map[*orphan]struct{}      // those that were orphaned, too
	begun   map[*incarnation]struct{} // their first position is not on the disk yet
	left    int                       // of soiled, still to be put before the save that is being gathered

	changed        []*kept       // what the next save has to take to the disk
	changedEntries []entryRecord // its entries
	spare          []*kept       // an empty list for the save after
	lost           bool          // changed is not all that changed
	whole          bool          // the next save writes every record

	dirty bool   // something differs from what was handed out last
	now   bool   // and must not wait
	out   bool   // a save is under way
	next  uint64 // number of the next save
	done  uint64 // number of the last save that ended, well or not
	due   time.Time
	err   error // of the last save

	disk      journal // the saver's, and the loop's once no save is out
	baseBytes int64   // of the checkpoint and its log, after the last save
	logBytes  int64
}

// saveJob is what one save takes to the disk. Nobody writes its records while it is out.
type saveJob struct {
	n              uint64
	meta           metaRecord
	changed        []*kept // since the save before
	changedEntries []entryRecord
	lost           bool // that is not all

	whole   bool // the checkpoint is written anew:
	entries []entryRecord
	files   []*kept
}

func (s *saverState) init(dir string, cp *checkpoint) {
	s.meta = cp.meta
	s.entries, s.files = cp.entries, cp.files
	s.byPath = make(map[string]*kept, len(s.files))
	for _, k := range s.files {
		s.chain(k)
	}
	s.soiled = make(map[*incarnation]struct{})
	s.orphans = make(map[*orphan]struct{})
	s.begun = make(map[*incarnation]struct{})
	s.next = 1
	s.disk = journal{dir: dir, end: cp.end}
	s.whole = true // a log goes on from a checkpoint of the same run
}

func (s *saverState) chain(k *kept) {
	k.next = s.byPath[k.Path]
	s.byPath[k.Path] = k
}

// unchain takes a record out of those of its path. The last one leaves nothing behind.
func (s *saverState) unchain(k *kept) {
	first := s.byPath[k.Path]
	switch {
	case first != k:
		for first.next != k {
			first = first.next
		}
		first.next = k.next
	case k.next == nil:
		delete(s.byPath, k.Path)
	default:
		s.byPath[k.Path] = k.next
	}
}

func (s *saverState) entry(logPath string) (entryRecord, bool) {
	r, ok := s.entries[logPath]
	return r, ok
}

func (s *saverState) file(k fileKey) (fileRecord, bool) {
	if r := s.files[k]; r != nil {
		return r.fileRecord, true
	}
	return fileRecord{}, false
}

// at yields the records of a path, of whatever entry. They are not to be written.
func (s *saverState) at(path string) iter.Seq[*fileRecord] {
	return func(yield func(*fileRecord) bool) {
		for k := s.byPath[path]; k != nil; k = k.next {
			if !yield(&k.fileRecord) {
				return
			}
		}
	}
}

// filesOf yields the records of one path of an entry.
func (s *saverState) filesOf(logPath, path string) iter.Seq[fileRecord] {
	return func(yield func(fileRecord) bool) {
		for r := range s.at(path) {
			if r.LogPath == logPath && !yield(*r) {
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

// putEntry has the checkpoint itself written anew: that start_at was applied must be known
// even where the log is lost.
func (s *saverState) putEntry(r entryRecord) {
	s.entries[r.LogPath] = r
	s.changedEntries = append(s.changedEntries, r)
	s.whole, s.dirty = true, true
}

func (s *saverState) putFile(r fileRecord) {
	k := r.key()
	old := s.files[k]
	if old != nil && old.save == s.next && old.Path == r.Path { // no save has taken it yet
		old.fileRecord = r
		return
	}
	if old != nil {
		s.unchain(old)
	}
	n := &kept{fileRecord: r, save: s.next}
	s.chain(n)
	s.files[k] = n
	s.change(n)
}

// change notes what the next save has to take to the disk. While none can, what comes and
// goes does not pile up: then every record is written.
func (s *saverState) change(k *kept) {
	s.dirty = true
	if len(s.changed) > len(s.files)+1000 {
		clear(s.changed)
		s.changed, s.changedEntries = nil, nil
		s.whole, s.lost = true, true
	}
	if !s.lost {
		s.changed = append(s.changed, k)
	}
}

func (s *saverState) put(in *incarnation) { s.putAt(in, time.Now()) }

func (s *saverState) putAt(in *incarnation, now time.Time) {
	delete(s.soiled, in)
	s.putFile(in.record(now))
}

func (s *saverState) dropFile(k fileKey) {
	old := s.files[k]
	if old == nil {
		return
	}
	s.unchain(old)
	delete(s.files, k)
	s.change(&kept{fileRecord: fileRecord{LogPath: old.LogPath, fileID: old.fileID}, dropped: true})
}

// soil notes that the record of an incarnation is stale.
func (l *loop) soil(in *incarnation) {
	if in.closing {
		return
	}
	l.saver.soiled[in] = struct{}{}
	l.saver.dirty = true
}

// soilOrphan does so for the orphan that has a window, if that is one's.
func (l *loop) soilOrphan(src *source, w *window) {
	for _, o := range src.orphans {
		if o.old.win == w {
			l.saver.orphans[o] = struct{}{}
			l.saver.dirty = true
		}
	}
}

// release forgets an incarnation that is closed. What its record is to be was put.
func (s *saverState) release(in *incarnation) {
	delete(s.soiled, in)
	delete(s.begun, in)
}

// nextSeq returns the number of the save that will hold what was put until now.
func (s *saverState) nextSeq() uint64 { return s.next }

// record is what the checkpoint keeps of an incarnation.
func (in *incarnation) record(now time.Time) fileRecord {
	return fileRecord{
		LogPath: in.src.entry.svc.LogPath, Path: in.src.path, fileID: in.id, Gen: in.gen,
		Committed: in.win.committed, Head: in.readHead, Anchor: in.win.committedAnchor, Trail: in.readTrail,
		Ahead: in.win.ahead(in.readSkips), Sought: in.sought, SeenAt: now.Unix(),
	}
}

// saveIfDue hands a save to the writer: at most one every SaveEvery, at once where a file
// was begun.
func (l *loop) saveIfDue(now time.Time) {
	s := &l.saver
	if !s.dirty || s.out || !s.now && now.Before(s.due) || s.err != nil && now.Before(s.due) {
		return
	}
	if !s.gather(now) {
		l.a.mail.nudge() // goes on once others had their turn
		return
	}
	s.dirty, s.now, s.out = len(s.soiled) > 0, false, true
	s.due = now.Add(l.opt.SaveEvery)
	l.saves <- l.job()
}

// gatherAtOnce is how many records are made in one go: some 0.2 ms.
const gatherAtOnce = 500

// gather makes the stale records anew and tells whether none of those is left that were
// stale when the save began. What grows stale meanwhile goes with the next.
func (s *saverState) gather(now time.Time) bool {
	if s.left == 0 {
		s.left = len(s.soiled)
	}
	n := min(s.left, gatherAtOnce)
	s.left -= n
	for in := range s.soiled {
		if n == 0 {
			break
		}
		n--
		s.putAt(in, now)
	}
	if len(s.soiled) == 0 {
		s.left = 0
	}
	if s.left > 0 {
		return false
	}
	for o := range s.orphans {
		if slices.Contains(o.old.src.orphans, o) { // else its fate is known
			s.putFile(o.record(now))
		}
	}
	clear(s.orphans)
	return true
}

// job numbers a save and collects its records. The checkpoint is written anew where
// something asks for it, and where its log has grown as large as it is.
func (l *loop) job() *saveJob {
	s := &l.saver
	s.meta.Seq++
	j := &saveJob{n: s.next, changed: s.changed, changedEntries: s.changedEntries, lost: s.lost}
	if j.whole = s.whole || s.logBytes > max(minLogBytes, s.baseBytes); j.whole {
		s.meta.Seq++ // what changed goes into the log first
		j.entries = slices.Collect(maps.Values(s.entries))
		j.files = make([]*kept, 0, len(s.files))
		for _, k := range s.files {
			j.files = append(j.files, k)
		}
	}
	j.meta = s.meta
	s.next++
	s.changed, s.changedEntries, s.spare = s.spare, nil, nil
	s.whole, s.lost = false, false
	return j
}

// save takes a job to the disk. Before the checkpoint is written anew what changed is
// appended to its log all the same: so the checkpoint before holds as much with its log, should
// this one be damaged one day.
func (j *journal) save(job *saveJob) error {
	if !job.whole {
		return j.append(job.meta.Seq, job.changedEntries, job.changed)
	}
	if job.lost {
		j.end = point{}
	}
	if len(job.changed)+len(job.changedEntries) > 0 && j.end != (point{}) {
		if err := j.append(job.meta.Seq-1, job.changedEntries, job.changed); err != nil {
			j.end = point{}
		}
	}
	return j.rewrite(job.meta, job.entries, job.files)
}

func (l *loop) saveLoop() {
	disk := &l.saver.disk
	for j := range l.saves {
		err := disk.save(j)
		if j.whole && errors.Is(err, fs.ErrNotExist) { // the folder was removed under us
			if err = l.a.makeState(); err == nil {
				err = disk.save(j)
			}
		}
		base, log := disk.base.size, disk.log.size
		l.a.mail.post(func() { l.saved(j, base, log, err) })
	}
}

// saved takes the end of a save. A folder that cannot be written does not stop collection:
// positions stay in memory, which is said, and saving is tried again every SaveEvery.
func (l *loop) saved(j *saveJob, base, log int64, err error) {
	s := &l.saver
	s.out = false
	s.baseBytes, s.logBytes = base, log
	clear(j.changed)
	s.spare = j.changed[:0]
	if err != nil {
		s.whole, s.dirty = true, true
	}
	if err != nil && !j.whole {
		// Nobody hears of this save: the next one, at once, takes all of it.
		l.a.log.Warn("cannot append to the checkpoint's log: the checkpoint is written anew", "err", err)
		s.now = true
		return
	}
	s.done = j.n
	if err != nil {
		l.setProblem("state", "positions cannot be saved in "+l.opt.StateDir+": "+reason(err)+"; lines go on, and after a crash would be sent again: make room there, or let the agent's user write to it")
	} else {
		l.setProblem("state", "")
	}
	s.err = err
	l.tellSought()
	for in := range s.begun {
		if in.savedSeq <= s.done {
			delete(s.begun, in)
			if in.wait == waitSave {
				l.push(in)
			}
		}
	}
}

// finalSave writes the last positions from the loop itself: the writer has nothing to do
// any more. Nothing is left to be appended.
func (l *loop) finalSave() error {
	l.saver.whole, l.saver.lost = true, true
	j := l.job()
	return l.saver.disk.save(j)
}

// prune forgets what nobody can need any more: entries removed long ago with their files,
// and files that nobody has held or seen for as long.
func (l *loop) prune(now time.Time) {
	l.forgetSought(now)
	s := &l.saver
	old := now.Add(-keepRemoved)
	gone := make(map[string]bool)
	for lp, r := range s.entries {
		if r.Removed != 0 && time.Unix(r.Removed, 0).Before(old) && l.entries[lp] == nil {
			gone[lp] = true
			delete(s.entries, lp)
			s.whole, s.dirty = true, true
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
