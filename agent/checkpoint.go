package agent

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The checkpoint file is text, one JSON record a line, between a header and a trailer:
//
//	logagent-checkpoint 1
//	{"meta":{"state_id":"6f0c2a91","boot":3,"seq":418}}
//	{"entry":{"log_path":"/var/log/app.log","since":1763800000}}
//	{"file":{"log_path":"/var/log/app.log","path":"/var/log/app.log","dev":…,"committed":…}}
//	end 2 crc32c 5d1c3f0a
//
// The trailer counts the records after meta and sums every byte before it. A file without
// a right trailer is not used: the previous one is. What was saved since stands in the log
// beside it (journal.go).
const (
	checkpointHeader = "logagent-checkpoint 1"
	checkpointName   = "checkpoint"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// metaRecord says whose state this is.
type metaRecord struct {
	StateID string `json:"state_id"`
	Boot    uint64 `json:"boot"` // counts the starts
	Seq     uint64 `json:"seq"`  // counts the saves, over all boots
}

// entryRecord remembers that an entry was applied here, so that start_at applies once.
type entryRecord struct {
	LogPath string `json:"log_path"`
	Since   int64  `json:"since"`             // Unix seconds of the first application
	Removed int64  `json:"removed,omitempty"` // Unix seconds; its records are kept for keepRemoved
}

// fileRecord is one incarnation's committed position and how to know the file again.
type fileRecord struct {
	LogPath string `json:"log_path"`
	Path    string `json:"path"` // the followed path, also when it was rotated away
	fileID
	Gen       uint64 `json:"gen,omitempty"`
	Committed int64  `json:"committed"`
	Head      mark   `json:"head"`
	Anchor    mark   `json:"anchor"`            // the bytes before Committed
	Trail     trail  `json:"trail,omitempty"`   // anchors it had before
	MTime     int64  `json:"mtime,omitempty"`   // modification time of a done file, ns since 1970
	Size      int64  `json:"size,omitempty"`    // of a done file; of one that is gone, what was seen of it
	Done      bool   `json:"done,omitempty"`    // read to its end; taken up again only if it grows
	Pending   bool   `json:"pending,omitempty"` // not opened yet: begin after the last line end at or before Committed
	Packed    bool   `json:"packed,omitempty"`  // compressed: Committed is of the content, Size of the file
	Gone      bool   `json:"gone,omitempty"`    // truncated: its bytes stand in a copy, if anywhere
	// Ahead are stretches beyond Committed that are acknowledged already: with several
	// partitions verdicts arrive out of file order.
	Ahead  []stretch `json:"ahead,omitempty"`
	Sought *sought   `json:"sought,omitempty"` // the last seek that moved it
	SeenAt int64     `json:"seen"`             // Unix seconds when the file was last known to exist
}

// fileKey is what a record is stored under.
type fileKey struct {
	logPath string
	id      fileID
}

func (r *fileRecord) key() fileKey { return fileKey{r.LogPath, r.fileID} }

// fileLine is a fileRecord as it stands in the file. JSON knows no other text than UTF-8; a
// path may be any bytes.
type fileLine struct {
	fileRecord
	PathBytes []byte `json:"path_bytes,omitempty"` // the path where Path is not it
}

// kept is a fileRecord in memory. Once a save has taken it, the saver's goroutine may read
// it and nobody writes it any more, but for next.
type kept struct {
	fileRecord
	next    *kept  // another record of the same path; the loop's alone
	save    uint64 // the save that takes it to the disk
	dropped bool   // a save that takes it takes the record away
}

// checkpoint is the content of a checkpoint file, with what its log adds.
type checkpoint struct {
	meta    metaRecord
	entries map[string]entryRecord
	files   map[fileKey]*kept
	end     point // how far it goes
}

// point is where a save ended: its number, and the sum in its trailer.
// The zero value is no point.
type point struct {
	seq uint64
	sum uint32
}

func newCheckpoint() *checkpoint {
	return &checkpoint{entries: make(map[string]entryRecord), files: make(map[fileKey]*kept)}
}

// recordLine is one line of a checkpoint or its log.
type recordLine struct {
	Meta  *metaRecord  `json:"meta,omitempty"`
	Entry *entryRecord `json:"entry,omitempty"`
	File  *fileLine    `json:"file,omitempty"`
	Drop  *dropRecord  `json:"drop,omitempty"` // in a log only
}

// dropRecord says that a file's record is no more.
type dropRecord struct {
	LogPath string `json:"log_path"`
	fileID
}

// appendLine appends one line in the ordinary way. Plain numbers and strings cannot fail to
// encode.
func appendLine(b []byte, l recordLine) []byte {
	j, err := json.Marshal(l)
	if err != nil {
		panic(fmt.Sprintf("encode checkpoint record: %v", err))
	}
	return append(append(b, j...), '\n')
}

// appendFile appends the line of a file's record: what appendLine does, eight times as fast.
func appendFile(b []byte, r *fileRecord) []byte {
	b = appendString(append(b, `{"file":{"log_path":`...), r.LogPath)
	b = appendString(append(b, `,"path":`...), r.Path)
	b = r.fileID.append(b)
	b = appendUint(b, `,"gen":`, r.Gen)
	b = strconv.AppendInt(append(b, `,"committed":`...), r.Committed, 10)
	b = r.Head.append(append(b, `,"head":`...))
	b = r.Anchor.append(append(b, `,"anchor":`...))
	for i, a := range r.Trail {
		b = append(b, pick(i == 0, `,"trail":[`, `,`)...)
		b = strconv.AppendInt(append(b, `{"off":`...), a.Off, 10)
		b = append(a.Mark.append(append(b, `,"mark":`...)), '}')
	}
	b = append(b, pick(len(r.Trail) > 0, `]`, ``)...)
	b = appendInt(b, `,"mtime":`, r.MTime)
	b = appendInt(b, `,"size":`, r.Size)
	b = append(b, pick(r.Done, `,"done":true`, ``)...)
	b = append(b, pick(r.Pending, `,"pending":true`, ``)...)
	b = append(b, pick(r.Packed, `,"packed":true`, ``)...)
	b = append(b, pick(r.Gone, `,"gone":true`, ``)...)
	for i, s := range r.Ahead {
		b = append(b, pick(i == 0, `,"ahead":[`, `,`)...)
		b = strconv.AppendInt(append(b, `{"start":`...), s.Start, 10)
		b = strconv.AppendInt(append(b, `,"end":`...), s.End, 10)
		b = append(s.Anchor.append(append(b, `,"anchor":`...)), '}')
	}
	b = append(b, pick(len(r.Ahead) > 0, `]`, ``)...)
	if r.Sought != nil {
		j, _ := json.Marshal(r.Sought) // never fails
		b = append(append(b, `,"sought":`...), j...)
	}
	b = strconv.AppendInt(append(b, `,"seen":`...), r.SeenAt, 10)
	if !utf8.ValidString(r.Path) {
		j, _ := json.Marshal([]byte(r.Path)) // never fails
		b = append(append(b, `,"path_bytes":`...), j...)
	}
	return append(b, "}}\n"...)
}

// appendDrop appends the line that takes a file's record away.
func appendDrop(b []byte, r *fileRecord) []byte {
	b = appendString(append(b, `{"drop":{"log_path":`...), r.LogPath)
	return append(r.fileID.append(b), "}}\n"...)
}

func (id fileID) append(b []byte) []byte {
	b = strconv.AppendUint(append(b, `,"dev":`...), id.Dev, 10)
	b = strconv.AppendUint(append(b, `,"ino":`...), id.Ino, 10)
	return appendInt(b, `,"birth":`, id.Birth)
}

func (m mark) append(b []byte) []byte {
	b = strconv.AppendInt(append(b, `{"len":`...), int64(m.Len), 10)
	if m.Sum != (markSum{}) {
		b = append(hex.AppendEncode(append(b, `,"sum":"`...), m.Sum[:]), '"')
	}
	return append(b, '}')
}

// appendInt appends a field that 0 leaves out.
func appendInt(b []byte, name string, n int64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendInt(append(b, name...), n, 10)
}

func appendUint(b []byte, name string, n uint64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendUint(append(b, name...), n, 10)
}

// appendString leaves everything but the ordinary to encoding/json.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			j, _ := json.Marshal(s) // never fails
			return append(b, j...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

func pick(yes bool, a, b string) string {
	if yes {
		return a
	}
	return b
}

// summedLines reads lines and sums what it has read.
type summedLines struct {
	r    *bufio.Reader
	n    int    // number of the last line
	sum  uint32 // of the lines before the last one
	line []byte // the last one, with its end
}

func linesOf(r io.Reader) *summedLines { return &summedLines{r: bufio.NewReaderSize(r, 64<<10)} }

// next returns the next line without its end, good until the next call. After the last one it
// returns io.EOF, and io.ErrUnexpectedEOF with one that has no end.
func (s *summedLines) next() ([]byte, error) {
	s.sum = crc32.Update(s.sum, castagnoli, s.line)
	s.line = nil
	line, err := s.r.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		var rest []byte
		line = bytes.Clone(line)
		rest, err = s.r.ReadBytes('\n')
		line = append(line, rest...)
	}
	if err == io.EOF && len(line) > 0 {
		return line, io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	s.n++
	s.line = line
	return line[:len(line)-1], nil
}

// readLine reads one record.
func readLine(line []byte) (l recordLine, err error) {
	if err := json.Unmarshal(line, &l); err != nil {
		return l, err
	}
	if l.Meta == nil && l.Entry == nil && l.File == nil && l.Drop == nil {
		return l, errors.New("neither meta, entry, file nor drop")
	}
	return l, nil
}

// take puts a record into the checkpoint.
func (cp *checkpoint) take(l recordLine) {
	switch {
	case l.Meta != nil:
		cp.meta = *l.Meta
	case l.Entry != nil:
		cp.entries[l.Entry.LogPath] = *l.Entry
	case l.File != nil:
		k := &kept{fileRecord: l.File.fileRecord}
		if len(l.File.PathBytes) > 0 {
			k.Path = string(l.File.PathBytes)
		}
		if e, ok := cp.entries[k.LogPath]; ok {
			k.LogPath = e.LogPath // one string for all of an entry's files
		}
		if k.Path == k.LogPath {
			k.Path = k.LogPath
		}
		cp.files[k.key()] = k
	case l.Drop != nil:
		delete(cp.files, fileKey{l.Drop.LogPath, l.Drop.fileID})
	}
}

// decodeCheckpoint reads a whole checkpoint file; nothing of a damaged one is used.
func decodeCheckpoint(r io.Reader) (*checkpoint, error) {
	lines := linesOf(r)
	first, err := lines.next()
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	if string(first) != checkpointHeader {
		if bytes.HasPrefix(first, []byte("logagent-checkpoint ")) {
			return nil, fmt.Errorf("was written by another version: it begins with %.40q, this one writes %q", first, checkpointHeader)
		}
		return nil, fmt.Errorf("begins with %.40q, not %q", first, checkpointHeader)
	}
	cp := newCheckpoint()
	records := 0
	var broken error // the first line that is none; said if the sum is right nevertheless
	for {
		line, err := lines.next()
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return nil, errors.New("has no trailer: it was cut short")
		case err != nil:
			return nil, err
		}
		if bytes.HasPrefix(line, []byte("end ")) {
			var count int
			var sum uint32
			n, scanErr := fmt.Sscanf(string(line), "end %d crc32c %08x", &count, &sum)
			switch {
			case n != 2 || scanErr != nil || string(line) != fmt.Sprintf("end %d crc32c %08x", count, sum):
				return nil, fmt.Errorf("has a broken trailer %.60q", line)
			case sum != lines.sum:
				return nil, fmt.Errorf("checksum is %08x, its trailer says %08x", lines.sum, sum)
			case broken != nil:
				return nil, broken
			case records != count:
				return nil, fmt.Errorf("holds %d records, its trailer says %d", records, count)
			case cp.meta.StateID == "":
				return nil, errors.New("names no state id")
			}
			cp.end = point{cp.meta.Seq, sum}
			if _, err := lines.next(); err != io.EOF {
				return nil, errors.New("goes on after its trailer")
			}
			return cp, nil
		}
		if broken != nil {
			continue
		}
		l, err := readLine(line)
		if err != nil {
			broken = fmt.Errorf("line %d: %w", lines.n, err)
			continue
		}
		cp.take(l)
		if l.Meta == nil {
			records++
		}
	}
}

// loadCheckpoint reads the newest usable checkpoint of dir. notes tell in words what was
// wrong on the way; damaged files are kept aside under a name ending in .bad. unended tells of
// a save that was never finished: nobody was told that it was. No checkpoint at all is a
// new state.
func loadCheckpoint(dir string) (cp *checkpoint, notes []string, unended string) {
	newest := filepath.Join(dir, checkpointName)
	damaged := 0
	for _, name := range []string{newest, newest + ".prev"} {
		cp, err := readCheckpoint(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			base := cp.end
			bad, unended := cp.readLogs(dir)
			if damaged > 0 && base == cp.end {
				notes = append(notes, "the previous checkpoint is used: lines delivered after it are sent again")
			} else if damaged > 0 {
				notes = append(notes, "the previous checkpoint is used with what was saved after it")
			}
			for _, err := range bad {
				if err.part { // a second link: what is whole of it is needed until the next checkpoint is written
					notes = append(notes, fmt.Sprintf("%v; what was saved before that is used, lines delivered later are sent again; kept as %s", err, aside(err.name, os.Link)))
				} else {
					notes = append(notes, fmt.Sprintf("%v; it is not used, lines delivered after the checkpoint are sent again; kept as %s", err, aside(err.name, os.Rename)))
				}
			}
			return cp, notes, unended
		}
		damaged++
		notes = append(notes, fmt.Sprintf("checkpoint %s %s; kept as %s", name, strings.TrimSpace(err.Error()), aside(name, os.Rename)))
	}
	if damaged > 0 {
		notes = append(notes, "no checkpoint is usable: every file is read from its beginning; rotated files that are compressed already are left unread")
	}
	return nil, notes, ""
}

// aside keeps a damaged file for people and returns where.
func aside(name string, keep func(from, to string) error) string {
	bad := name + ".bad"
	_ = os.Remove(bad)
	if err := keep(name, bad); err != nil {
		return "nowhere: " + err.Error()
	}
	return bad
}

func readCheckpoint(name string) (*checkpoint, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return decodeCheckpoint(f)
}

// peekCheckpoint reads the newest usable checkpoint of dir and leaves everything as it is.
func peekCheckpoint(dir string) (*checkpoint, error) {
	var errs []error
	for _, name := range []string{checkpointName, checkpointName + ".prev"} {
		cp, err := readCheckpoint(filepath.Join(dir, name))
		if err == nil {
			cp.readLogs(dir)
			return cp, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("checkpoint %s %w", filepath.Join(dir, name), err)
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
