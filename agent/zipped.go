package agent

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"time"
)

// zipped is what an incarnation has beyond others where its file is compressed: positions
// and sizes are of the content.
type zipped struct {
	by   *compression
	look *inspection
	from *inflated

	since time.Time // when it got the memory to be read
}

// maxInflating bounds the files that hold the memory to decompress: some 350 kB each, and
// up to 9 MB where it is zstd.
const maxInflating = 8

// inflateSlice is how long a file may keep that memory while others wait for it: who gets it
// again begins from the start of his file.
const inflateSlice = 30 * time.Second

// errRewritten says that a compressed file is not the one that was inspected any more.
var errRewritten = errors.New("changed since it was inspected")

// compression is how the file is compressed; nil where it is not.
func (in *incarnation) compression() *compression {
	if in.zip == nil {
		return nil
	}
	return in.zip.by
}

// stat looks at the file. The size of a compressed one is its content's.
func (in *incarnation) stat() (stat, error) {
	st, err := statHeld(in.file, in.id)
	if err != nil || in.zip == nil {
		return st, err
	}
	was := in.zip.look
	if st.size != was.st.size || st.mtime != was.st.mtime && !bytes.Equal(lastRaw(in.file, st.size), was.raw) {
		return st, errRewritten
	}
	st.size = in.zip.look.size
	return st, nil
}

// lastRaw returns the last bytes of a compressed file as they stand on the disk: length and
// checksum of the content are among them, so a file that was only touched has the same.
func lastRaw(f *os.File, size int64) []byte {
	b := make([]byte, min(size, 64))
	if _, err := f.ReadAt(b, size-int64(len(b))); err != nil {
		return nil
	}
	return b
}

// onDisk is the size the folder shows for the file.
func (in *incarnation) onDisk() int64 {
	if in.zip != nil {
		return in.zip.look.st.size
	}
	return in.seen.size
}

// inspectedWhole tells whether all there is to know of a compressed candidate is known; else
// it sees to that. A file that is still being written is looked at again when it has
// changed, one that stays broken is read as far as it goes.
func (l *loop) inspectedWhole(src *source, c *candidate, now time.Time) bool {
	switch {
	case c.look == nil:
		// gzip gives its file the time of the original when it is done with it. One that
		// is still written is not worth reading through.
		if now.Sub(c.since) >= copyQuiet || now.Sub(time.Unix(0, c.st.mtime)) >= copyQuiet {
			l.inspect(src, c)
		}
		return false
	case c.look.err == nil:
		return true
	case now.Sub(c.since) < l.opt.RotateWait:
		return false
	}
	if writer, sure := writerOf(c.file); sure && writer && now.Sub(c.since) < leaseTrust {
		return false
	}
	if !c.damaged {
		c.damaged = true
		src.tally(counters{errors: 1})
		l.a.log.Error("compressed file is damaged: read as far as it goes", "path", src.path, "file", c.name, "bytes", c.look.size, "err", c.look.err)
	}
	return true
}

// inspect has a compressed candidate read through, with everything asked that deciding
// about it may take.
func (l *loop) inspect(src *source, c *candidate) {
	if c.asked {
		return
	}
	c.asked = true
	j := inspectJob{c: c, st: c.st}
	for _, s := range l.sourcesOf(src, c) {
		for r := range l.saver.filesOf(src.entry.svc.LogPath, s.path) {
			j.probes = append(j.probes, probe{r.Committed, r.Anchor})
			j.ask(r.Trail)
		}
	}
	for _, o := range src.orphans {
		j.probes = append(j.probes, probe{o.old.pos, o.old.anchor})
		j.ask(o.old.trail)
	}
	l.toInspect = append(l.toInspect, j)
	l.nextInspection()
}

// ask adds the anchors of a trail to what is looked for.
func (j *inspectJob) ask(t trail) {
	for _, a := range t {
		j.probes = append(j.probes, probe{a.Off, a.Mark})
	}
}

// nextInspection hands the inspector its next job, if it has none.
func (l *loop) nextInspection() {
	for !l.inspecting && len(l.toInspect) > 0 && !l.draining {
		j := l.toInspect[0]
		l.toInspect = l.toInspect[1:]
		l.inspecting = true
		l.inspections <- j
	}
}

// inspected takes the result of an inspection.
func (l *loop) inspected(c *candidate, i *inspection) {
	l.inspecting = false
	c.asked = false
	if l.draining {
		return // nothing new is begun
	}
	if c.st.size == i.st.size && c.st.mtime == i.st.mtime {
		c.look = i
	}
	l.nextInspection()
	now := time.Now()
	for _, e := range l.entries {
		for _, s := range e.sources {
			if slices.Contains(s.candidates, c) {
				l.judge(s, now)
				l.stopWaiting(s, now)
			}
		}
	}
}

// incarnate makes an incarnation of a rotated candidate; where it begins is the caller's.
func (l *loop) incarnate(src *source, c *candidate, now time.Time) *incarnation {
	in := &incarnation{
		src: src, file: c.file, data: c.file, id: c.st.id, name: c.name, seen: c.st, more: true,
		rotatedAt: now, pollGap: l.opt.PollInterval, nextPoll: momentOf(now), waitSince: now,
	}
	in.win = &window{owner: in}
	if c.by != nil {
		from := &inflated{file: c.file, by: c.by}
		in.data, in.zip = from, &zipped{by: c.by, look: c.look, from: from}
		in.seen.size = c.look.size
		in.finishing = true // nobody writes to it any more
	}
	return in
}

// takeCompressed reads a compressed rotated file from where rec knows its content, or
// whole.
func (l *loop) takeCompressed(src *source, c *candidate, rec *fileRecord, now time.Time) {
	in := l.incarnate(src, c, now)
	in.pos, in.anchor = rec.Committed, rec.Anchor
	in.head = markOf(c.look.first[:min(headBytes, len(c.look.first))])
	in.win.committed, in.win.committedAnchor = in.pos, in.anchor
	in.skips, in.sought = rec.skips(), rec.Sought
	in.sizes.note(now, in.seen.size)
	l.hold(in)
	l.a.log.Info("following", "path", src.path, "file", c.name, "service", src.entry.svc.Service, "from", in.pos, "size", in.seen.size, "compressed", in.onDisk())
	src.putRotated(in)
	l.push(in)
}

// mayInflate tells whether a compressed file may hold the memory to be read now.
func (l *loop) mayInflate(in *incarnation, now time.Time) bool {
	if slices.Contains(l.inflating, in) {
		return true
	}
	if len(l.inflating) >= maxInflating {
		i := slices.IndexFunc(l.inflating, func(o *incarnation) bool {
			return !o.busy && (!o.more || now.Sub(o.zip.since) > inflateSlice)
		})
		if i < 0 {
			return false
		}
		l.deflate(l.inflating[i])
	}
	in.zip.since = now
	l.inflating = append(l.inflating, in)
	return true
}

// deflate takes the memory to decompress back. No turn is out.
func (l *loop) deflate(in *incarnation) {
	in.zip.from.release()
	l.inflating = slices.DeleteFunc(l.inflating, func(o *incarnation) bool { return o == in })
}
