package agent

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// answerSeek makes a plan. The loop tells which incarnations there are and lends a descriptor
// of each; the files are read here, as long as that takes.
func (a *Agent) answerSeek(ctx context.Context, q Question) Answer {
	plan, err := a.planSeek(ctx, q)
	if err != nil {
		return Answer{Error: err.Error()}
	}
	return Answer{Seek: plan}
}

func (a *Agent) planSeek(ctx context.Context, q Question) (*SeekPlan, error) {
	if q.Seek == nil {
		return nil, errors.New("seek: where to is not said")
	}
	goal := *q.Seek
	if err := goal.check(q.Path); err != nil {
		return nil, err
	}
	plan := &SeekPlan{Path: q.Path, Goal: goal, Made: time.Now(), Moves: []SeekMove{}}
	plan.Goal.Back = nil
	var st stat
	if q.Path != "" {
		if err := a.access.path(q.Path); err == nil {
			st, _ = statPath(q.Path) // may hang, and so not in the loop
		} else if goal.LogPath == "" {
			return nil, err
		}
	}
	var found seekable
	err := a.ask(ctx, func(l *loop) {
		found = l.seekable(q.Path, st.id, &goal)
		if q.Path != "" && goal.LogPath != "" && !found.known {
			plan.Path = ""
			found = l.seekable("", fileID{}, &goal)
		}
		plan.StateID = l.saver.meta.StateID
	})
	if err != nil {
		return nil, err
	}
	if found.problem != "" {
		return nil, errors.New(found.problem)
	}
	if plan.Path != "" {
		plan.Goal.LogPath = ""
	} else if goal.To == SeekOffset {
		return nil, errOffsetOfMany
	}
	if goal.To == SeekTime && goal.Time.After(plan.Made) {
		plan.warn("%s lies in the future: on this host it is %s; is the zone right?", goal.Time.Format(time.RFC3339), plan.Made.In(goal.Time.Location()).Format(time.RFC3339))
	}
	if goal.To == SeekBack {
		if err := a.planBack(ctx, plan, goal.Back); err != nil {
			return nil, err
		}
		return plan, nil
	}
	rotated, orphans := 0, 0
	var timeless, unmoved, disordered []string
	var timelessErr error // the first
	for _, f := range found.files {
		if err := a.access.path(f.Path); err != nil {
			return nil, err
		}
		if goal.To == SeekOffset && f.Stands != StandsActive && !found.one {
			continue // an offset of what stands at the path
		}
		if f.Stands == StandsTruncated {
			if goal.To != SeekEnd {
				plan.warn("%s was truncated before it was read, and its copy is waited for: what stands in it stays as it is", f.Path)
				continue
			}
			orphans++
		}
		m, err := a.planMove(ctx, f, &goal)
		if errors.Is(err, errNoTimes) {
			timelessErr = cmp.Or(timelessErr, err)
			timeless = append(timeless, fmt.Sprintf("%v: it stays as it is", err))
			continue
		}
		if err != nil {
			return nil, err
		}
		if m != nil && m.disorder > 0 {
			disordered = append(disordered, fmt.Sprintf("%s: its times step back by up to %s: lines before the position may be of that time, and lines after it older", cmp.Or(f.Name, f.Path), m.disorder))
		}
		if m == nil || m.From == m.To {
			plan.Unmoved++
			if m != nil && m.Note != "" {
				unmoved = append(unmoved, fmt.Sprintf("%s: %s", cmp.Or(f.Name, f.Path), m.Note))
			}
			continue
		}
		if f.Stands == StandsRotated {
			rotated++
		}
		if err := plan.add(m); err != nil {
			return nil, err
		}
	}
	if len(timeless) > 0 && len(plan.Moves)+plan.Unmoved == 0 {
		return nil, timelessErr
	}
	plan.warnOfFiles(timeless, "and %d more files whose lines tell no time: they stay as they are")
	plan.warnOfFiles(disordered, "and %d more files whose times step back")
	plan.warnOfFiles(unmoved, "and so with %d more files that stay as they are")
	switch {
	case rotated > 0 && goal.To == SeekEnd:
		plan.warn("rotated files that are still read go with it: %d", rotated)
	case rotated > 0:
		plan.warn("rotated files that are still read are moved too: %d", rotated)
	}
	if orphans > 0 {
		plan.warn("truncated files whose copy is waited for go with it: %d", orphans)
	}
	if plan.RepeatedBytes+plan.ReturnedBytes > 0 || goal.To == SeekBeginning {
		plan.warn("rotated files that were read to their end already are not taken up again: that would be a replay")
	}
	if found.undecided > 0 {
		plan.warn("rotated files that are not decided about yet: %d; they stay as they are, ask again in a moment", found.undecided)
	}
	for _, service := range found.paused {
		plan.warn("%s is paused: its positions are moved, and nothing is sent until it goes on", service)
	}
	return plan, nil
}

// maxNamed is how many files a plan names for one reason.
const maxNamed = 5

// warnOfFiles warns of some files, and counts the others.
func (p *SeekPlan) warnOfFiles(all []string, others string) {
	for i, w := range all {
		if i == maxNamed {
			p.warn(others, len(all)-i)
			return
		}
		p.warn("%s", w)
	}
}

func (p *SeekPlan) warn(format string, args ...any) {
	if w := fmt.Sprintf(format, args...); !slices.Contains(p.Warnings, w) {
		p.Warnings = append(p.Warnings, w)
	}
}

func (p *SeekPlan) add(m *SeekMove) error {
	if len(p.Moves) == maxSeekMoves {
		return fmt.Errorf("more than %d files would be moved: name fewer of them, by their paths", maxSeekMoves)
	}
	p.Moves = append(p.Moves, *m)
	p.SkippedBytes += m.SkippedBytes
	p.RepeatedBytes += m.RepeatedBytes
	p.ReturnedBytes += m.ReturnedBytes
	p.Lines += m.Lines
	p.LinesGuessed = p.LinesGuessed || m.LinesGuessed
	return nil
}

// ask runs f in the loop and waits for it.
func (a *Agent) ask(ctx context.Context, f func(*loop)) error {
	did := make(chan struct{})
	a.mail.post(func() { f(&a.loop); close(did) })
	select {
	case <-did:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-a.ended:
		return ErrNotRunning
	}
}

// seekable is what a seek could move.
type seekable struct {
	files     []SeekFile // by path, the oldest of each first
	one       bool       // the path is that of a rotated file
	known     bool       // an entry has it
	undecided int        // rotated files nobody knows yet
	paused    []string   // services
	problem   string     // why there is nothing
}

// seekable collects the incarnations a goal is about: those of a path (or, where the path is
// that of a rotated file, that one), of an entry, or of the entries of a service. id is what
// stands at the path.
func (l *loop) seekable(path string, id fileID, goal *SeekGoal) (out seekable) {
	var only fileID
	followed := path
	if path != "" {
		if followed = l.followedPath(path, id); followed != path {
			only, out.one = id, true
		}
	}
	for lp, e := range l.entries {
		switch {
		case e.leaving:
			continue
		case path != "":
			if e.sources[followed] == nil {
				continue
			}
		case goal.LogPath != "":
			if lp != goal.LogPath {
				continue
			}
		case e.svc.Service != goal.Service:
			continue
		}
		out.known = true
		if e.wanted().Paused {
			out.paused = append(out.paused, e.svc.Service)
		}
		for p, src := range e.sources {
			if path != "" && p != followed {
				continue
			}
			for _, o := range src.orphans {
				if only == (fileID{}) {
					out.files = append(out.files, o.seekFile())
				}
			}
			for in := range src.incarnations() {
				if only == (fileID{}) || in.id == only {
					out.files = append(out.files, in.seekFile())
				}
			}
			for _, c := range src.candidates {
				if !c.copied && (only == (fileID{}) || c.st.id == only) {
					out.undecided++
				}
			}
		}
	}
	slices.SortStableFunc(out.files, func(a, b SeekFile) int { return strings.Compare(a.Path, b.Path) })
	slices.Sort(out.paused)
	switch {
	case goal.To == SeekBack:
	case !out.known && path != "":
		out.problem = path + " is not followed: no entry matches it"
	case !out.known:
		out.problem = fmt.Sprintf("no entry has the service or the log_path %q", cmp.Or(goal.LogPath, goal.Service))
	case len(out.files) == 0 && out.undecided > 0:
		out.problem = "nothing is decided about these rotated files yet: ask again in a moment"
	case len(out.files) == 0:
		out.problem = cmp.Or(path, goal.LogPath, goal.Service) + ": no file is there to be moved"
	}
	return out
}

func (in *incarnation) seekFile() SeekFile {
	f := SeekFile{
		LogPath: in.src.entry.svc.LogPath, Service: in.src.entry.svc.Service, Path: in.src.path, Stands: StandsActive,
		Device: in.id.Dev, Inode: in.id.Ino, Birth: in.id.Birth, Generation: in.gen, Compressed: in.zip != nil,
	}
	if in != in.src.active {
		f.Stands = StandsRotated
	}
	if in.name != f.Path {
		f.Name = in.name
	}
	return f
}

func (o *orphan) seekFile() SeekFile {
	f := o.old.seekFile()
	f.Stands, f.Name, f.Compressed = StandsTruncated, "", false
	return f
}

// lent is an incarnation as the loop lends it: a descriptor of its own, to be closed.
type lent struct {
	file      *os.File
	by        *compression // nil: not compressed
	look      *inspection  // of a compressed one
	committed int64
	ahead     []*span // acknowledged beyond it
	sought    *sought
	size      int64
	mtime     int64
}

// errGone says why an incarnation that was named is not there.
type errGone struct{ why string }

func (e *errGone) Error() string { return e.why }

// lend finds an incarnation and lends it. The error is an *errGone where it is no more.
func (a *Agent) lend(ctx context.Context, f *SeekFile) (b lent, err error) {
	asked := a.ask(ctx, func(l *loop) {
		in, gone := l.incarnationNamed(f)
		if gone != "" {
			err = &errGone{gone}
			return
		}
		b = lent{committed: in.win.committed, sought: in.sought, size: in.seen.size, mtime: in.seen.mtime}
		for _, s := range in.ahead() { // the loop goes on writing to its own
			b.ahead = append(b.ahead, &span{start: s.start, end: s.end})
		}
		if in.zip != nil {
			b.by, b.look = in.zip.by, in.zip.look
		}
		fd, dupErr := unix.FcntlInt(in.file.Fd(), unix.F_DUPFD_CLOEXEC, 0) // blocks on nothing
		if dupErr != nil {
			err = fmt.Errorf("%s: %w", f.Path, dupErr)
			return
		}
		b.file = newFile(fd, in.name)
	})
	if asked != nil {
		return lent{}, asked
	}
	if err != nil || b.by != nil {
		return b, err
	}
	st, err := statFile(b.file)
	if err != nil {
		b.file.Close()
		return lent{}, err
	}
	b.size, b.mtime = st.size, st.mtime
	return b, nil
}

// incarnationNamed finds the incarnation that a SeekFile names; gone tells why there is none.
func (l *loop) incarnationNamed(f *SeekFile) (in *incarnation, gone string) {
	e := l.entries[f.LogPath]
	if e == nil || e.leaving {
		return nil, "its entry is not followed any more"
	}
	for _, h := range l.held[f.id()] {
		if h.src.entry != e {
			continue
		}
		switch {
		case h.gen != f.Generation:
			return nil, "it was truncated meanwhile"
		case h.gaveUp != "":
			return nil, "it is deleted and being given up"
		}
		return h, ""
	}
	switch r, known := l.saver.file(fileKey{f.LogPath, f.id()}); {
	case known && r.Done:
		return nil, "it was read to its end and closed"
	case known && r.Gen != f.Generation:
		return nil, "it was truncated meanwhile"
	}
	return nil, "it is gone"
}

// planMove decides where one incarnation goes. Nil: nowhere.
func (a *Agent) planMove(ctx context.Context, f SeekFile, goal *SeekGoal) (*SeekMove, error) {
	if f.Stands == StandsTruncated {
		return a.planOrphan(ctx, f)
	}
	b, err := a.lend(ctx, &f)
	var gone *errGone
	if errors.As(err, &gone) {
		return nil, nil // this moment
	}
	if err != nil {
		return nil, err
	}
	defer b.file.Close()
	m := &SeekMove{SeekFile: f, From: b.committed, SizeBytes: b.size}
	data := b.content()
	switch goal.To {
	case SeekEnd:
		m.To, m.Note, err = b.end()
	case SeekBeginning:
		m.To = 0
	case SeekOffset:
		m.To, m.Note, err = b.lineStart(ctx, data, goal.Offset)
	case SeekTime:
		err = b.since(ctx, data, goal.Time, m)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cmp.Or(f.Name, f.Path), err)
	}
	if m.From != m.To {
		if m.Anchor, err = markAt(data, max(m.From, m.To), anchorBytes); err != nil {
			return nil, fmt.Errorf("%s was truncated this moment: ask again (%w)", cmp.Or(f.Name, f.Path), err)
		}
		err = b.count(ctx, data, m)
	}
	return m, err
}

// count says what a move does to the lines of what is lent, as the move itself counts it.
func (b *lent) count(ctx context.Context, data io.ReaderAt, m *SeekMove) (err error) {
	var lines []SeekRange
	m.SeekBytes, lines = m.counts(b.committed, b.ahead, m.skipsFrom(b.committed, mark{}, b.ahead, nil), b.sought)
	m.Lines, m.LinesGuessed, err = countLines(ctx, data, lines, b.by != nil)
	return err
}

// planOrphan gives up what is waited for.
func (a *Agent) planOrphan(ctx context.Context, f SeekFile) (m *SeekMove, err error) {
	asked := a.ask(ctx, func(l *loop) {
		if o := l.orphanNamed(&f); o != nil && o.old.head.Len > 0 {
			end := o.old.pos + o.unread
			m = &SeekMove{SeekFile: f, From: o.old.win.committed, To: end, SizeBytes: end, Note: "truncated, its copy is waited for"}
			m.SkippedBytes = o.skippedBytes()
		}
	})
	return m, asked
}

// planBack takes back what an outcome tells was moved.
func (a *Agent) planBack(ctx context.Context, plan *SeekPlan, moved []SeekMoved) error {
	for i := range moved {
		was := &moved[i]
		if was.Result != SeekWasMoved {
			continue
		}
		name := cmp.Or(was.Name, was.Path)
		if err := a.access.path(was.Path); err != nil {
			return err
		}
		if was.Stands == StandsTruncated {
			plan.warn("%s: what was given up of a truncated file can not be had back", name)
			continue
		}
		b, err := a.lend(ctx, &was.SeekFile)
		var gone *errGone
		if errors.As(err, &gone) {
			plan.warn("%s (inode %d): %s; it stays as it is", name, was.Inode, gone.why)
			continue
		}
		if err != nil {
			return err
		}
		m := was.back(b.committed, b.size)
		if m == nil {
			plan.Unmoved++
		} else {
			err = b.count(ctx, b.content(), m)
			err = errors.Join(err, plan.add(m))
		}
		b.file.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// back is the move that undoes one, of a file whose committed position is now as told. Nil:
// there is nothing to undo.
func (was *SeekMoved) back(committed, size int64) *SeekMove {
	m := &SeekMove{SeekFile: was.SeekFile, From: committed, To: was.From, SizeBytes: size, Anchor: was.Anchor}
	switch {
	case was.To > was.From && committed > was.From: // lines were skipped: they are read again, and none of the others
		m.Until, m.Sent = was.To, was.Sent
	case was.To < was.From && committed < was.From: // lines are repeated: the rest of them is skipped
	default:
		return nil
	}
	return m
}

// content reads what is lent as if it were not compressed.
func (b *lent) content() io.ReaderAt {
	if b.by == nil {
		return b.file
	}
	return &inflated{file: b.file, by: b.by}
}

// end is where the last whole line ends, no farther back than what is committed.
func (b *lent) end() (to int64, note string, err error) {
	if b.by != nil {
		if b.look.err == nil || len(b.look.last) == 0 {
			return b.size, "", nil // nobody writes to it any more: an unterminated last line is one
		}
		if i := bytes.LastIndexByte(b.look.last, '\n'); i >= 0 { // damaged
			return max(b.committed, b.size-int64(len(b.look.last)-i-1)), "", nil
		}
		return b.committed, "", nil
	}
	to, err = lastLineEnd(b.file, b.size)
	switch {
	case err != nil || to <= b.committed:
		return b.committed, "", err
	case to < b.size || b.size-b.committed <= lineEndSearch || endsLine(b.file, to):
		return to, "", nil
	}
	return to, "in the middle of a very long line: the rest of that line is skipped too", nil
}

// endsLine tells whether a line begins at off.
func endsLine(r io.ReaderAt, off int64) bool {
	if off == 0 {
		return true
	}
	var c [1]byte
	_, err := r.ReadAt(c[:], off-1)
	return (err == nil || err == io.EOF) && c[0] == '\n'
}

// lineStart is the first line start at or after an offset; where no line ends after it, that of
// the last line.
func (b *lent) lineStart(ctx context.Context, data io.ReaderAt, off int64) (to int64, note string, err error) {
	if off > b.size {
		to, _, err = b.end()
		return max(to, 0), fmt.Sprintf("%d is beyond the end of the file, which has %d bytes", off, b.size), err
	}
	if off == 0 {
		return 0, "", nil
	}
	lines := linesFrom(data, off-1, b.size)
	_, start, ok, err := lines.next(ctx, 0)
	switch {
	case err != nil:
		return 0, "", err
	case ok && start+lines.length == off:
		return off, "", nil
	case ok:
		return start + lines.length, fmt.Sprintf("%d is in the middle of a line: the next one begins at %d", off, start+lines.length), nil
	}
	to, _, err = b.end()
	return min(to, off), fmt.Sprintf("%d is in the unfinished last line, which begins before it", off), err
}

// since moves to the first line of a time or later.
func (b *lent) since(ctx context.Context, data io.ReaderAt, t time.Time, m *SeekMove) error {
	end, _, err := b.end()
	if err != nil {
		return err
	}
	times := &lineTimes{ref: time.Unix(0, b.mtime), loc: time.Local}
	to, found, err := findTime(ctx, data, end, b.by != nil, times, t)
	if err != nil {
		return err
	}
	m.To = to
	var latest time.Time
	m.disorder, latest = times.order()
	if times.layout != nil {
		m.Layout = times.layout.name
	}
	if !found {
		m.To, m.Note = end, "it has no line yet"
		if !latest.IsZero() {
			m.Note = "every line is older: the latest is of " + latest.In(t.Location()).Format(time.RFC3339)
		}
	}
	return nil
}

// countSample is how much is read to estimate a number of lines.
const countSample = 256 << 10

// countLines estimates how many lines stand in some stretches; of a few of them it is exact. A
// compressed file is not read through for that: its first lines stand for all, and that is
// a guess.
func countLines(ctx context.Context, r io.ReaderAt, in []SeekRange, compressed bool) (lines int64, guessed bool, err error) {
	total := sum(in)
	if total == 0 {
		return 0, false, nil
	}
	count := func(at, n int64) (int64, int64, error) {
		buf := make([]byte, n)
		got, err := r.ReadAt(buf, at)
		if err != nil && err != io.EOF {
			return 0, 0, err
		}
		return int64(bytes.Count(buf[:got], []byte{'\n'})), int64(got), ctx.Err()
	}
	var read int64
	switch last := in[len(in)-1].End; {
	case compressed && last > countSample:
		guessed = true
		lines, read, err = count(0, countSample)
	case total <= 4*countSample:
		for _, s := range in {
			n, _, err := count(s.Start, s.End-s.Start)
			if err != nil {
				return 0, false, err
			}
			lines += n
		}
		return lines, false, nil
	default:
		for _, skip := range []int64{0, total / 2, total - countSample} {
			for _, s := range in { // the place that far into the stretches
				size := s.End - s.Start
				if skip >= size {
					skip -= size
					continue
				}
				n, got, err := count(s.Start+skip, min(countSample, size-skip))
				if err != nil {
					return 0, false, err
				}
				lines, read = lines+n, read+got
				break
			}
		}
	}
	if read == 0 || err != nil {
		return 0, false, err
	}
	return int64(float64(lines) * float64(total) / float64(read)), guessed, nil
}
