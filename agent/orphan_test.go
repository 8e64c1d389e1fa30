package agent

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// However long a look takes: the copy may be what it is about to find.
func TestOrphanIsGivenUpOnlyAfterALookThatBeganAfterIt(t *testing.T) {
	t.Parallel()
	l, e := standing(t, &Service{Service: "s", LogPath: "/x", Topic: "t"})
	src := l.source(e, "/x", time.Now())
	l.finder.begun.Store(7) // the seventh look is out
	long := time.Now().Add(-time.Hour)
	o := &orphan{old: &incarnation{src: src, win: &window{orphaned: true}, pos: 100}, unread: 50, since: long, gone: long, looks: 7}
	src.orphans = append(src.orphans, o)
	l.finder.ended.Store(7)
	l.tendOrphans(src, time.Now())
	if len(src.orphans) != 1 || src.count.lost != 0 {
		t.Fatalf("given up with %d bytes before a look could find its copy", src.count.lost)
	}
	l.finder.ended.Store(8)
	l.tendOrphans(src, time.Now())
	if len(src.orphans) != 0 || src.count.lost != 50 {
		t.Errorf("%d orphans, %d bytes lost; want none and 50", len(src.orphans), src.count.lost)
	}
}

func TestInspectionEndsWithTheAgent(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.gz")
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(bytes.Repeat([]byte("some text\n"), 100_000))
	w.Close()
	if err := os.WriteFile(path, z.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	f, st, err := openRegular(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	by, _ := compressedBy(path)
	var stop atomic.Bool
	j := inspectJob{c: &candidate{file: f, by: by}, st: st}
	if i := inspect(j, &stop); i.err != nil || i.size != 1_000_000 {
		t.Fatalf("%d bytes, %v", i.size, i.err)
	}
	stop.Store(true)
	if i := inspect(j, &stop); i.err == nil || i.size != 0 {
		t.Errorf("read %d bytes after the end: %v", i.size, i.err)
	}
}

// counted counts what is read of a file.
type counted struct{ n *int }

func (c counted) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	*c.n += len(p)
	return len(p), nil
}

func TestLineEndIsNotLookedForThroughATerabyte(t *testing.T) {
	t.Parallel()
	n := 0
	if end, err := lastLineEnd(counted{&n}, 1<<40); err != nil || end != 1<<40 || n > 2*lineEndSearch {
		t.Errorf("end %d after %d bytes, %v", end, n, err)
	}
}

// Once the record of its original is forgotten, that of a compressed file is all there is to
// know its content by.
func TestDoneCompressedFileIsRememberedByItsContent(t *testing.T) {
	t.Parallel()
	l, e := standing(t, &Service{Service: "s", LogPath: "/x", Topic: "t"})
	src := l.source(e, "/x", time.Now())
	text := bytes.Repeat([]byte("0123456789\n"), 500)
	c := &candidate{by: compressions[0], st: stat{id: fileID{Dev: 1, Ino: 2}, size: 70}, look: &inspection{size: int64(len(text)), first: text[:edgeBytes], last: text[len(text)-edgeBytes:]}}
	l.recordDone(src, c, time.Now())
	rec, ok := l.saver.file(fileKey{"/x", c.st.id})
	want := fileRecord{Committed: int64(len(text)), Head: markOf(text[:headBytes]), Anchor: markOf(text[len(text)-anchorBytes:]), Size: 70}
	if !ok || !rec.Done || !rec.Packed || rec.Committed != want.Committed || rec.Head != want.Head || rec.Anchor != want.Anchor || rec.Size != want.Size {
		t.Errorf("got %+v, want %+v, done and packed", rec, want)
	}
}
