package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// seekJob is a plan that is being carried out.
type seekJob struct {
	id    string
	open  int // entries that are not resolved yet
	out   []SeekMoved
	done  chan []SeekMoved // of size 1
	saved uint64           // the save that takes the new positions to the disk; 0: nothing was moved
	stale string           // why nothing is moved any more: what was moved before is told
}

// entrySeek is the part of a job that waits for one entry's batches to be resolved.
type entrySeek struct {
	job   *seekJob
	moves []*seekReady
}

// seekReady is a move with what had to be read for it.
type seekReady struct {
	*SeekMove
	place  int // in seekJob.out
	anchor mark
	head   mark
	inside bool   // To is in the middle of a line: its rest is passed over
	sent   []mark // anchors of the ends of Sent
}

// seekPatience is how often Seek looks whether the entries are in force yet.
const seekPatience = 50 * time.Millisecond

// Seek carries out a plan under an id, which is the same where the same request is carried
// out again. It waits until the entries have been applied for the first time, and until what
// is in flight of those it moves is resolved: where Kafka does not answer, that is until it
// does. A new position is on disk before the first line after it is sent, and before Seek
// returns.
//
// A file that is not as the plan found it is refused, and the others go on. The error is
// for what leaves everything undone: ctx or the agent has ended. Where that happens in the
// middle, the same id may be carried out again: what was moved is known and stays as it is.
func (a *Agent) Seek(ctx context.Context, id string, plan SeekPlan) (SeekOutcome, error) {
	out := SeekOutcome{State: SeekRefused}
	if err := a.applied(ctx); err != nil {
		return out, err
	}
	out.At = time.Now()
	var state string
	if err := a.ask(ctx, func(l *loop) { state = l.saver.meta.StateID }); err != nil {
		return out, err
	}
	age := out.At.Sub(plan.Made)
	switch {
	case plan.StateID != state:
		out.Why = "the plan was made by an agent with another state folder"
		return out, nil
	case len(plan.Moves) > maxSeekMoves:
		out.Why = fmt.Sprintf("more than %d files", maxSeekMoves)
		return out, nil
	}
	job := &seekJob{id: id, done: make(chan []SeekMoved, 1)}
	if age > SeekGoodFor {
		job.stale = fmt.Sprintf("the plan is too old: it was made %s ago", age.Round(time.Minute))
	}
	var ready []*seekReady
	for i := range plan.Moves {
		m := &plan.Moves[i]
		job.out = append(job.out, SeekMoved{SeekFile: m.SeekFile, From: m.From, To: m.From})
		r := &seekReady{SeekMove: m, place: i}
		if m.Stands != StandsTruncated {
			err := a.access.path(m.Path)
			if err == nil && job.stale == "" {
				err = a.prepare(ctx, r)
			}
			if ctx.Err() != nil || errors.Is(err, ErrNotRunning) {
				return out, cmp.Or(ctx.Err(), err)
			}
			if err != nil {
				job.out[i].refuse(err.Error())
				continue
			}
		}
		ready = append(ready, r)
	}
	a.mail.post(func() { a.loop.seek(job, ready) })
	select {
	case out.Files = <-job.done:
	case <-ctx.Done():
		return out, ctx.Err()
	case <-a.ended:
		return out, ErrNotRunning
	}
	out.At = time.Now()
	for i := range out.Files {
		f := &out.Files[i]
		out.SkippedBytes += f.SkippedBytes
		out.RepeatedBytes += f.RepeatedBytes
		out.ReturnedBytes += f.ReturnedBytes
		if f.Result != SeekWasRefused {
			out.State = SeekDone
		}
	}
	if out.State == SeekRefused {
		out.Why = cmp.Or(job.stale, "no file is as the plan found it")
	}
	return out, nil
}

func (m *SeekMoved) refuse(why string) { m.Result, m.Why = SeekWasRefused, why }

// applied waits until the entries are in force and their files have been looked for.
func (a *Agent) applied(ctx context.Context) error {
	t := time.NewTicker(seekPatience)
	defer t.Stop()
	for {
		inForce := false
		if err := a.ask(ctx, func(l *loop) { inForce = l.docs != nil && len(l.applies) == 0 }); err != nil || inForce {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// prepare reads what the loop needs of the file, which it must not wait for.
func (a *Agent) prepare(ctx context.Context, r *seekReady) error {
	b, err := a.lend(ctx, &r.SeekFile)
	if err != nil {
		return err
	}
	defer b.file.Close()
	if r.To < 0 || r.To > b.size {
		return errors.New("it was truncated meanwhile")
	}
	data := b.content()
	if r.head, err = markAt(data, min(r.To, headBytes), headBytes); err == nil {
		r.anchor, err = markAt(data, r.To, anchorBytes)
	}
	if err == nil {
		var holds bool
		if holds, err = r.Anchor.holds(data, r.proof()); err == nil && !holds {
			err = io.EOF
		}
	}
	r.inside = b.by == nil && !endsLine(data, r.To)
	// A reader leaves out whole lines or it would never get past them.
	before := r.To
	for _, s := range r.Sent {
		if s.Start < before || s.End <= s.Start || s.End > min(r.Until, b.size) || !endsLine(data, s.Start) || !endsLine(data, s.End) {
			return errors.New("the plan makes no sense: what was sent is not whole lines in their order")
		}
		before = s.End
		if err == nil {
			var m mark
			m, err = markAt(data, s.End, anchorBytes)
			r.sent = append(r.sent, m)
		}
	}
	if r.Until > 0 && (r.Until < r.To || r.Until < b.size && !endsLine(data, r.Until)) {
		return errors.New("the plan makes no sense: it ends in the middle of a line")
	}
	if errors.Is(err, io.EOF) {
		return errors.New("it was truncated meanwhile")
	}
	return err
}

// proof is where the plan's anchor has to stand: before the farther of its positions, and of
// a move that takes another back, before where that one had led to, or come from.
func (m *SeekMove) proof() int64 {
	if m.Until > 0 {
		return m.Until
	}
	return max(m.From, m.To)
}

// seek has the moves carried out once what is in flight of their entries is resolved.
func (l *loop) seek(job *seekJob, ready []*seekReady) {
	now := time.Now()
	if job.stale != "" { // only told of: nothing has to be resolved for that
		for _, r := range ready {
			l.moveOne(job, r, now)
		}
		job.done <- job.out
		return
	}
	parts := make(map[*entry]*entrySeek)
	for _, r := range ready {
		e := l.entries[r.LogPath]
		if e == nil || e.leaving {
			job.out[r.place].refuse("its entry is not followed any more")
			continue
		}
		if parts[e] == nil {
			parts[e] = &entrySeek{job: job}
			e.seeks = append(e.seeks, parts[e])
			job.open++
		}
		parts[e].moves = append(parts[e].moves, r)
	}
	if job.open == 0 {
		job.done <- job.out
		return
	}
	for e := range parts {
		l.a.log.Info("moving positions", "service", e.svc.Service, "log_path", e.svc.LogPath, "files", len(parts[e].moves), "seek", job.id)
		l.opt.Sink.Recall(e.svc.LogPath)
		l.settle(e, now)
	}
}

// carryOut does what an entry's seeks ask for. Nothing of it is in flight or being read.
func (l *loop) carryOut(e *entry, now time.Time) {
	seeks := e.seeks
	e.seeks = nil
	for _, s := range seeks {
		for _, r := range s.moves {
			if e.leaving {
				s.job.out[r.place].refuse("its entry was removed meanwhile")
				continue
			}
			l.moveOne(s.job, r, now)
		}
		if s.job.open--; s.job.open == 0 {
			l.sought = append(l.sought, s.job)
		}
	}
	l.tellSought()
}

// tellSought tells what became of the jobs whose positions are on the disk: what is told must
// hold after a crash.
func (l *loop) tellSought() {
	l.sought = slices.DeleteFunc(l.sought, func(j *seekJob) bool {
		told := j.saved <= l.saver.done
		if told {
			j.done <- j.out
		}
		return told
	})
}

// moveOne carries out one move of a job.
func (l *loop) moveOne(job *seekJob, r *seekReady, now time.Time) {
	out := &job.out[r.place]
	if r.Stands == StandsTruncated {
		l.giveUpOrphan(job, r, out, now)
	} else {
		l.move(job, r, out, now)
	}
	if out.Result == SeekWasRefused {
		l.a.log.Warn("position not moved", "path", r.Path, "file", cmp.Or(r.Name, r.Path), "inode", r.Inode, "why", out.Why, "seek", job.id)
	}
}

// move puts one incarnation at its target.
func (l *loop) move(job *seekJob, r *seekReady, out *SeekMoved, now time.Time) {
	id := job.id
	in, gone := l.incarnationNamed(&r.SeekFile)
	switch {
	case gone != "":
		out.refuse(gone)
		return
	case in.sought != nil && in.sought.ID == id: // before a crash, or an answer that was lost
		l.wasMoved(in.sought, out)
		return
	case job.stale != "":
		out.refuse(job.stale)
		return
	case in.zip == nil && !in.intact():
		out.refuse("it was truncated meanwhile")
		return
	}
	now0 := in.win.committed
	out.From, out.To = now0, now0
	if r.To > r.From && now0 >= r.To || r.To <= r.From && now0 <= r.To {
		out.Result = SeekWasPast
		return
	}
	ahead := in.ahead() // acknowledged already, out of order
	skips := r.skipsFrom(now0, in.win.committedAnchor, ahead, r.sent)
	was := &sought{ID: id, From: now0, To: r.To, Until: r.Until, Anchor: r.anchor, At: now.Unix()}
	was.SeekBytes, _ = r.counts(now0, ahead, skips, in.sought)
	if r.To < now0 {
		was.Anchor = in.win.committedAnchor
	}
	if r.To > now0 {
		for _, s := range ahead {
			if s.start < r.To {
				was.Sent = append(was.Sent, SeekRange{s.start, min(s.end, r.To)})
			}
		}
	}
	l.wasMoved(was, out)

	in.turns++ // what is being looked at was asked for before
	in.pos, in.anchor, in.head = r.To, r.anchor, longer(in.head, r.head)
	in.trail = in.trail.until(r.To)
	if r.To > now0 {
		in.trail = in.trail.with(r.To, r.anchor)
	}
	in.long, in.need, in.partial, in.skips = longLine{}, 0, 0, skips
	if r.inside {
		in.long = longLine{active: true, start: r.To, discard: true}
	}
	in.nuls = r.To == 0 && in.gen > 0
	in.win = &window{owner: in, committed: r.To, committedAnchor: r.anchor}
	in.sought = was
	if r.To > now0 {
		in.sizes.forget(r.To)
	} else {
		in.sizes = sizeTrail{}
		in.sizes.note(now, in.seen.size)
	}
	in.more, in.told = true, false
	in.drained, in.quietSince = false, time.Time{}
	in.finishing = in.zip != nil
	in.synced()
	for o := range l.saver.at(in.src.path) { // whoever had the file before: a start must not find him further
		if o.fileID == in.id && o.LogPath != in.src.entry.svc.LogPath {
			l.saver.dropFile(o.key())
		}
	}
	l.saveFirst(in)
	job.saved = in.savedSeq
	in.src.tally(counters{soughtSkipped: uint64(out.SkippedBytes), soughtRepeated: uint64(out.RepeatedBytes), soughtReturned: uint64(out.ReturnedBytes)})
	l.wake(in.src, now)
	l.lookAgain(in, now)
	l.a.log.Warn("position moved", "path", in.src.path, "file", in.name, "inode", in.id.Ino, "from", now0, "to", r.To,
		"skipped_bytes", out.SkippedBytes, "repeated_bytes", out.RepeatedBytes, "returned_bytes", out.ReturnedBytes, "seek", id)
}

// wasMoved tells of a move that was made.
func (l *loop) wasMoved(was *sought, out *SeekMoved) {
	out.Result, out.From, out.To, out.Sent, out.Anchor, out.SeekBytes = SeekWasMoved, was.From, was.To, was.Sent, was.Anchor, was.SeekBytes
}

// forgetSought lets go of seeks that nobody asks for any more: a record is written often.
func (l *loop) forgetSought(now time.Time) {
	for _, of := range l.held {
		for _, in := range of {
			if in.sought != nil && now.Sub(time.Unix(in.sought.At, 0)) > keepSought {
				in.sought = nil
				l.soil(in)
			}
		}
	}
}

// longer is the mark that remembers more.
func longer(a, b mark) mark {
	if b.Len > a.Len {
		return b
	}
	return a
}

// ahead are the stretches beyond the committed position that are acknowledged already, in
// file order: those in the window, and those a rewound reader has not come to yet.
func (in *incarnation) ahead() []*span {
	return append(in.win.leftOut(), in.readSkips...)
}

// skipsFrom are the acknowledged stretches that a reader leaves out after a move, in file
// order: those ahead of the committed position that it was to leave out anyhow, and what a move
// back is not to repeat. sent are the anchors of the ends of Sent; a plan needs none.
func (m *SeekMove) skipsFrom(committed int64, anchor mark, ahead []*span, sent []mark) []*span {
	var all []*span
	for i, s := range m.Sent {
		var end mark
		if i < len(sent) {
			end = sent[i]
		}
		all = append(all, &span{start: s.Start, end: s.End, anchor: end, lineEnd: true, verdict: acked})
	}
	if m.Until > 0 && m.Until < committed {
		all = append(all, &span{start: m.Until, end: committed, anchor: anchor, lineEnd: true, verdict: acked})
	}
	for _, s := range ahead {
		switch {
		case s.end <= m.To:
		case s.start < m.To:
			all = append(all, &span{start: m.To, end: s.end, anchor: s.anchor, lineEnd: true, verdict: acked})
		default:
			all = append(all, s)
		}
	}
	// The same is taken back a second time while the first is being sent: what Sent names is
	// ahead already. A reader never gets past a stretch that begins behind it.
	slices.SortStableFunc(all, func(a, b *span) int { return cmp.Compare(a.start, b.start) })
	var out []*span
	for _, s := range all {
		switch n := len(out); {
		case n == 0 || s.start >= out[n-1].end:
			out = append(out, s)
		case s.end > out[n-1].end:
			out[n-1] = &span{start: out[n-1].start, end: s.end, anchor: s.anchor, lineEnd: true, verdict: acked}
		}
	}
	return slices.Clip(out)
}

// counts says what a move does to the lines of an incarnation, and where those stand. ahead is
// acknowledged before, skips is left out afterwards; was is the seek that moved it last.
func (m *SeekMove) counts(committed int64, ahead, skips []*span, was *sought) (n SeekBytes, lines []SeekRange) {
	if m.To > committed {
		lines = outside(SeekRange{committed, m.To}, rangesOf(ahead))
		n.SkippedBytes = sum(lines)
		return n, lines
	}
	lines = outside(SeekRange{m.To, committed}, rangesOf(skips))
	// What is known not to have been sent since it was skipped.
	var owed []SeekRange
	switch {
	case m.Until > 0 && was != nil && was.To < was.From: // taken back once already, or sent from before it
		owed = outside(SeekRange{m.To, m.Until}, []SeekRange{{was.To, cmp.Or(was.Until, was.From)}})
	case m.Until > 0:
		owed = []SeekRange{{m.To, m.Until}}
	case was != nil && was.To > was.From:
		owed = outside(SeekRange{was.From, was.To}, was.Sent)
	}
	for _, l := range lines {
		n.ReturnedBytes += l.End - l.Start - sum(outside(l, owed))
	}
	n.RepeatedBytes = sum(lines) - n.ReturnedBytes
	return n, lines
}

func rangesOf(spans []*span) []SeekRange {
	out := make([]SeekRange, 0, len(spans))
	for _, s := range spans {
		out = append(out, SeekRange{s.start, s.end})
	}
	return out
}

// outside is what is left of a stretch without others, which stand in file order.
func outside(r SeekRange, others []SeekRange) (left []SeekRange) {
	for _, o := range others {
		if o.End <= r.Start || o.Start >= r.End {
			continue
		}
		if o.Start > r.Start {
			left = append(left, SeekRange{r.Start, o.Start})
		}
		r.Start = o.End
	}
	if r.Start < r.End {
		left = append(left, r)
	}
	return left
}

func sum(ranges []SeekRange) (n int64) {
	for _, r := range ranges {
		n += r.End - r.Start
	}
	return n
}

// orphanNamed finds what is left of a truncated file.
func (l *loop) orphanNamed(f *SeekFile) *orphan {
	e := l.entries[f.LogPath]
	if e == nil {
		return nil
	}
	for _, s := range e.sources {
		for _, o := range s.orphans {
			if o.old.id == f.id() && o.old.gen == f.Generation {
				return o
			}
		}
	}
	return nil
}

// skippedBytes is what giving up its copy skips.
func (o *orphan) skippedBytes() int64 {
	return sum(outside(SeekRange{o.old.win.committed, o.old.pos + o.unread}, rangesOf(o.old.ahead())))
}

// giveUpOrphan ends the wait for the copy of a truncated file. A record stays by which the
// copy is known should it come after all: what it holds is not sent then. Only where lines came
// that no look had seen before the truncation, the copy is read from where the file was.
func (l *loop) giveUpOrphan(job *seekJob, r *seekReady, out *SeekMoved, now time.Time) {
	id := job.id
	o := l.orphanNamed(&r.SeekFile)
	if o == nil {
		key := fileKey{r.LogPath, fileID{r.Device, r.Inode, -1 - int64(r.Generation)}}
		if rec, ok := l.saver.file(key); ok && rec.Sought != nil && rec.Sought.ID == id {
			l.wasMoved(rec.Sought, out)
			return
		}
		out.refuse(cmp.Or(job.stale, "its copy was found meanwhile, or given up"))
		return
	}
	if job.stale != "" {
		out.refuse(job.stale)
		return
	}
	src, end := o.old.src, o.old.pos+o.unread
	from := o.old.win.committed
	was := &sought{ID: id, From: from, To: end, At: now.Unix()}
	was.SkippedBytes = o.skippedBytes()
	l.wasMoved(was, out)
	if o.copied != nil {
		l.recordDone(src, o.copied, now)
		o.copied.file.Close()
		o.copied = nil
	}
	o.old.win.orphaned = false
	rec := o.record(now)
	l.settled(src, o, now)
	rec.Gone, rec.Done, rec.Sought, rec.Ahead = false, true, was, nil
	rec.Committed, rec.Anchor = o.old.pos, o.old.anchor
	l.saver.putFile(rec)
	l.saver.now = true
	job.saved = l.saver.nextSeq()
	src.tally(counters{soughtSkipped: uint64(out.SkippedBytes)})
	l.a.log.Warn("truncated file given up", "path", src.path, "inode", o.old.id.Ino, "from", from, "to", end, "skipped_bytes", out.SkippedBytes, "seek", id)
	l.stopWaiting(src, now)
}
