package agent

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
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
// a right trailer is not used: the previous one is.
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
	SeenAt int64     `json:"seen"` // Unix seconds when the file was last known to exist
}

// fileKey is what a record is stored under.
type fileKey struct {
	logPath string
	id      fileID
}

func (r *fileRecord) key() fileKey { return fileKey{r.LogPath, r.fileID} }

// checkpoint is the content of a checkpoint file.
type checkpoint struct {
	meta    metaRecord
	entries map[string]entryRecord
	files   map[fileKey]fileRecord
}

func newCheckpoint() *checkpoint {
	return &checkpoint{entries: make(map[string]entryRecord), files: make(map[fileKey]fileRecord)}
}

type recordLine struct {
	Meta  *metaRecord  `json:"meta,omitempty"`
	Entry *entryRecord `json:"entry,omitempty"`
	File  *fileRecord  `json:"file,omitempty"`
}

// encodeRecord returns one line. Plain numbers and strings cannot fail to encode.
func encodeRecord(l recordLine) []byte {
	b, err := json.Marshal(l)
	if err != nil {
		panic(fmt.Sprintf("encode checkpoint record: %v", err))
	}
	return append(b, '\n')
}

// decodeCheckpoint reads a whole checkpoint file; nothing of a damaged one is used.
func decodeCheckpoint(r io.Reader) (*checkpoint, error) {
	all, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	body, ok := bytes.CutPrefix(all, []byte(checkpointHeader+"\n"))
	if !ok {
		first, _, _ := bytes.Cut(all, []byte{'\n'})
		if bytes.HasPrefix(first, []byte("logagent-checkpoint ")) {
			return nil, fmt.Errorf("was written by another version: it begins with %.40q, this one writes %q", first, checkpointHeader)
		}
		return nil, fmt.Errorf("begins with %.40q, not %q", first, checkpointHeader)
	}
	i := bytes.LastIndex(body, []byte("\nend "))
	if i < 0 {
		return nil, errors.New("has no trailer: it was cut short")
	}
	body, trailer := body[:i+1], body[i+1:]
	var count int
	var sum uint32
	if _, err := fmt.Sscanf(string(trailer), "end %d crc32c %08x\n", &count, &sum); err != nil {
		return nil, fmt.Errorf("has a broken trailer %.60q", trailer)
	}
	if got := crc32.Checksum(all[:len(all)-len(trailer)], castagnoli); got != sum {
		return nil, fmt.Errorf("checksum is %08x, its trailer says %08x", got, sum)
	}
	cp := newCheckpoint()
	records := 0
	sc := bufio.NewScanner(bytes.NewReader(body))
	sc.Buffer(nil, 1<<20)
	for n := 2; sc.Scan(); n++ {
		var l recordLine
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		switch {
		case l.Meta != nil:
			cp.meta = *l.Meta
			continue
		case l.Entry != nil:
			cp.entries[l.Entry.LogPath] = *l.Entry
		case l.File != nil:
			cp.files[l.File.key()] = *l.File
		default:
			return nil, fmt.Errorf("line %d: neither meta, entry nor file", n)
		}
		records++
	}
	if err := sc.Err(); err != nil {
		return nil, err
	}
	if records != count {
		return nil, fmt.Errorf("holds %d records, its trailer says %d", records, count)
	}
	if cp.meta.StateID == "" {
		return nil, errors.New("names no state id")
	}
	return cp, nil
}

// loadCheckpoint reads the newest usable checkpoint of dir. notes tell in words what was
// wrong on the way; damaged files are kept aside under a name ending in .bad. No
// checkpoint at all is a new state.
func loadCheckpoint(dir string) (cp *checkpoint, notes []string) {
	newest := filepath.Join(dir, checkpointName)
	damaged := 0
	for _, name := range []string{newest, newest + ".prev"} {
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			cp, err = decodeCheckpoint(f)
			f.Close()
		}
		if err == nil {
			if damaged > 0 {
				notes = append(notes, "the previous checkpoint is used: lines delivered after it are sent again")
			}
			return cp, notes
		}
		damaged++
		aside := name + ".bad"
		if renameErr := os.Rename(name, aside); renameErr != nil {
			aside = "nowhere: " + renameErr.Error()
		}
		notes = append(notes, fmt.Sprintf("checkpoint %s %s; kept as %s", name, strings.TrimSpace(err.Error()), aside))
	}
	if damaged > 0 {
		notes = append(notes, "no checkpoint is usable: every file is read from its beginning; rotated files that are compressed already are left unread")
	}
	return nil, notes
}

// peekCheckpoint reads the newest usable checkpoint of dir and leaves everything as it is.
func peekCheckpoint(dir string) (*checkpoint, error) {
	var errs []error
	for _, name := range []string{checkpointName, checkpointName + ".prev"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err == nil {
			var cp *checkpoint
			cp, err = decodeCheckpoint(f)
			f.Close()
			if err == nil {
				return cp, nil
			}
			err = fmt.Errorf("checkpoint %s %w", filepath.Join(dir, name), err)
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// writeCheckpoint replaces the checkpoint of dir with records and keeps the one before as
// .prev: temporary file, fsync, link, rename, fsync of the folder. A crash at any point
// leaves a whole file under one of the two names.
func writeCheckpoint(dir string, meta metaRecord, records [][]byte) (err error) {
	newest := filepath.Join(dir, checkpointName)
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
	sum := crc32.New(castagnoli)
	w := bufio.NewWriterSize(io.MultiWriter(f, sum), 64<<10)
	w.WriteString(checkpointHeader + "\n")
	w.Write(encodeRecord(recordLine{Meta: &meta}))
	for _, r := range records {
		w.Write(r)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(f, "end %d crc32c %08x\n", len(records), sum.Sum32()); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	prev := newest + ".prev"
	if err := os.Remove(prev); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Link(newest, prev); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Rename(tmp, newest); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
