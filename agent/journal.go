package agent

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A save does not write every record anew: it appends those that changed to a log beside the
// checkpoint, as one group that counts only with its trailer.
//
//	logagent-log 1 of 418 5d1c3f0a after 417 0badcafe crc32c 6f3e21c7
//	{"file":{"log_path":"/var/log/app.log","path":"/var/log/app.log","dev":…,"committed":…}}
//	{"drop":{"log_path":"/var/log/app.log","dev":…,"ino":…}}
//	end 2 seq 419 crc32c 91ab02d4
//
// A trailer counts the records of its group and sums every byte before the sum. The first line
// names the checkpoint that the log goes on from, by its save and its trailer's sum: a log
// beside a checkpoint that is not its own is left alone, which is what a crash between the
// steps of rewrite leaves, and an older version that knows of no log.
//
// It also names the save that its checkpoint was made from. Where that checkpoint is
// damaged, the one before it, the log of that one (checkpoint.log.prev) and this log
// together hold all that was saved.
const (
	logHeader = "logagent-log 1"
	logName   = checkpointName + ".log"
)

// minLogBytes is how large a log may grow at least, however small its checkpoint is.
const minLogBytes = 256 << 10

func headerOf(of, after point) string {
	h := fmt.Sprintf(logHeader+" of %d %08x after %d %08x", of.seq, of.sum, after.seq, after.sum)
	return h + fmt.Sprintf(" crc32c %08x", crc32.Checksum([]byte(h), castagnoli))
}

func readHeader(line []byte) (of, after point, err error) {
	var sum uint32
	_, err = fmt.Sscanf(string(line), logHeader+" of %d %08x after %d %08x crc32c %08x", &of.seq, &of.sum, &after.seq, &after.sum, &sum)
	if err != nil || string(line) != headerOf(of, after) {
		return of, after, fmt.Errorf("begins with %.80q, which this version did not write", line)
	}
	return of, after, nil
}

// logError is damage in a log.
type logError struct {
	name string
	part bool // what stands before the damage is used
	err  error
}

func (e *logError) Error() string { return "checkpoint log " + e.name + " " + e.err.Error() }

// readLogs adds what was saved after the checkpoint. It returns what is damaged, and the log
// that ends in a save that was never finished, if one does.
func (cp *checkpoint) readLogs(dir string) (bad []*logError, unended string) {
	names := []string{filepath.Join(dir, logName), filepath.Join(dir, logName+".prev")}
	for range names { // a log may lead to the other
		for i, name := range names {
			if name == "" {
				continue
			}
			used, part, err := cp.readLog(name)
			switch {
			case errors.Is(err, io.ErrUnexpectedEOF):
				unended = name
			case err != nil:
				bad = append(bad, &logError{name, part, err})
			case !used:
				continue
			}
			names[i] = ""
		}
	}
	return bad, unended
}

func (cp *checkpoint) readLog(name string) (used, part bool, err error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	defer f.Close()
	return cp.decodeLog(f)
}

// decodeLog takes the whole saves of a log, if it goes on where the checkpoint ends. The
// error is io.ErrUnexpectedEOF where the last save was never finished; part tells whether
// there are others before what is wrong.
func (cp *checkpoint) decodeLog(r io.Reader) (used, part bool, err error) {
	lines := linesOf(r)
	first, err := lines.next()
	switch {
	case err == io.EOF:
		return false, false, io.ErrUnexpectedEOF
	case err != nil:
		return false, false, err
	}
	of, after, err := readHeader(first)
	if err != nil {
		return false, false, err
	}
	if of != cp.end && (after != cp.end || after == point{}) {
		return false, false, nil
	}
	var group []recordLine
	var broken error
	for {
		line, err := lines.next()
		switch {
		case err == io.EOF && len(group) == 0 && broken == nil:
			return true, true, nil
		case err == io.EOF:
			return true, true, io.ErrUnexpectedEOF
		case err != nil:
			return true, true, err
		}
		if !bytes.HasPrefix(line, []byte("end ")) {
			l, err := readLine(line)
			if err == nil && l.Meta != nil {
				err = errors.New("meta has no place in a log")
			}
			if err != nil && broken == nil {
				broken = fmt.Errorf("line %d: %w", lines.n, err)
			}
			group = append(group, l)
			continue
		}
		var count int
		var says point
		_, err = fmt.Sscanf(string(line), "end %d seq %d crc32c %08x", &count, &says.seq, &says.sum)
		want, end := groupEnd(count, says.seq, lines.sum)
		switch {
		case err != nil || len(line) != len(want):
			return true, true, fmt.Errorf("has a broken trailer %.60q in line %d", line, lines.n)
		case string(line) != want:
			return true, true, fmt.Errorf("checksum is %08x up to line %d, which says %08x", end.sum, lines.n, says.sum)
		case broken != nil:
			return true, true, broken
		case len(group) != count:
			return true, true, fmt.Errorf("holds %d records before line %d, which says %d", len(group), lines.n, count)
		case end.seq <= cp.end.seq:
			return true, true, fmt.Errorf("goes back from save %d to %d in line %d", cp.end.seq, end.seq, lines.n)
		}
		for _, l := range group {
			cp.take(l)
		}
		clear(group)
		group = group[:0]
		cp.end, cp.meta.Seq = end, end.seq
	}
}

// groupEnd makes the trailer of a group. sum is of every byte before it.
func groupEnd(count int, seq uint64, sum uint32) (string, point) {
	text := fmt.Sprintf("end %d seq %d crc32c ", count, seq)
	end := point{seq, crc32.Update(sum, castagnoli, []byte(text))}
	return text + fmt.Sprintf("%08x", end.sum), end
}

// journal writes checkpoints and logs into a state folder. One goroutine at a time uses it.
type journal struct {
	dir   string
	base  written
	of    point // names base
	after point // what base was made from; the zero value: from more than was saved
	log   written
	end   point // the last save; the zero value: nothing can be appended to it

	step func(string) error // for tests: called between the steps of a save
}

// written is a file as it was left. Another one in its place, or none, means that the folder
// was removed or is somebody else's now.
type written struct {
	id   fileID
	size int64
	sum  uint32 // of all its bytes
}

var errNotAsLeft = errors.New("is not as it was left")

func (j *journal) did(step string) error {
	if j.step == nil {
		return nil
	}
	return j.step(step)
}

// summedWriter writes lines and sums them.
type summedWriter struct {
	b    *bufio.Writer
	size int64
	sum  uint32
}

// room is where a line may be appended to, without a copy as long as there is room.
func (w *summedWriter) room() []byte { return w.b.AvailableBuffer() }

// line writes one. An error shows when the writer is flushed.
func (w *summedWriter) line(b []byte) {
	w.sum = crc32.Update(w.sum, castagnoli, b)
	w.size += int64(len(b))
	w.b.Write(b)
}

func (w *summedWriter) text(s string) { w.line(append(append(w.room(), s...), '\n')) }

const writeBytes = 64 << 10

// append adds what changed to the log, and returns when it is on the disk. After an error
// only rewrite can go on: the log may end in half a save, which nothing must follow.
func (j *journal) append(seq uint64, entries []entryRecord, files []*kept) (err error) {
	last := j.end
	j.end = point{}
	if last == (point{}) {
		return errors.New("there is no whole save to go on from")
	}
	name := filepath.Join(j.dir, checkpointName)
	if st, err := statPath(name); err != nil || st.id != j.base.id {
		return cmp.Or(err, fmt.Errorf("%s %w", name, errNotAsLeft))
	}
	begun := j.log != written{}
	name = filepath.Join(j.dir, logName)
	how := os.O_WRONLY | os.O_APPEND
	if !begun {
		how |= os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(name, how, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			j.end = point{}
		}
	}()
	st, err := statFile(f)
	if err != nil {
		return err
	}
	if begun && (st.id != j.log.id || st.size != j.log.size) {
		return fmt.Errorf("%s %w", name, errNotAsLeft)
	}
	if err := j.did("log open"); err != nil {
		return err
	}
	w := &summedWriter{b: bufio.NewWriterSize(f, writeBytes), size: j.log.size, sum: j.log.sum}
	if !begun {
		w.text(headerOf(j.of, j.after))
	}
	for i := range entries {
		w.line(appendLine(w.room(), recordLine{Entry: &entries[i]}))
	}
	for _, k := range files {
		w.line(k.append(w.room()))
	}
	trailer, end := groupEnd(len(entries)+len(files), seq, w.sum)
	w.text(trailer)
	if err := w.b.Flush(); err != nil {
		return err
	}
	if err := j.did("log written"); err != nil {
		return err
	}
	if err := fdatasync(f); err != nil {
		return err
	}
	if !begun {
		if err := syncDir(j.dir); err != nil {
			return err
		}
	}
	j.log, j.end = written{st.id, w.size, w.sum}, end
	return j.did("log on disk")
}

// append appends the line of the record, or the one that takes it away.
func (k *kept) append(b []byte) []byte {
	if k.dropped {
		return appendDrop(b, &k.fileRecord)
	}
	return appendFile(b, &k.fileRecord)
}

// rewrite replaces the checkpoint by one of all records, keeps the one before as .prev with
// its log, and begins with no log: temporary file, fsync, link, rename, fsync of the folder.
// A crash at any point leaves a whole checkpoint with its log under one of their two names.
func (j *journal) rewrite(meta metaRecord, entries []entryRecord, files []*kept) (err error) {
	after := j.end
	j.end = point{}
	newest := filepath.Join(j.dir, checkpointName)
	tmp := newest + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(tmp)
		}
	}()
	w := &summedWriter{b: bufio.NewWriterSize(f, writeBytes)}
	w.text(checkpointHeader)
	w.line(appendLine(w.room(), recordLine{Meta: &meta}))
	for i := range entries {
		w.line(appendLine(w.room(), recordLine{Entry: &entries[i]}))
	}
	for _, k := range files {
		w.line(appendFile(w.room(), &k.fileRecord))
	}
	of := point{meta.Seq, w.sum}
	w.text(fmt.Sprintf("end %d crc32c %08x", len(entries)+len(files), w.sum))
	if err := w.b.Flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	st, err := statFile(f)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := j.did("checkpoint written"); err != nil {
		return err
	}
	if err := j.keepPrevious(); err != nil {
		return err
	}
	if err := os.Rename(tmp, newest); err != nil {
		return err
	}
	if err := j.did("checkpoint renamed"); err != nil {
		return err
	}
	if err := syncDir(j.dir); err != nil {
		return err
	}
	j.base, j.log = written{st.id, w.size, w.sum}, written{}
	j.of, j.after, j.end = of, after, of
	return j.did("checkpoint on disk")
}

// keepPrevious makes the newest checkpoint and its log the ones before. Where there is no
// newest (being damaged it was put aside) the one before and its log are all there is, and
// stay.
func (j *journal) keepPrevious() error {
	newest, log := filepath.Join(j.dir, checkpointName), filepath.Join(j.dir, logName)
	prev := newest + ".prev"
	err := os.Link(newest, prev)
	if errors.Is(err, fs.ErrExist) {
		if err := os.Remove(prev); err != nil {
			return err
		}
		if err := j.did("previous removed"); err != nil {
			return err
		}
		err = os.Link(newest, prev)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := j.did("previous linked"); err != nil {
		return err
	}
	if err := os.Rename(log, log+".prev"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return j.did("log renamed")
}

// fdatasync is File.Sync that leaves the times to the kernel.
func fdatasync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}
