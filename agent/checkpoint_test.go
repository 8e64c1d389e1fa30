package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// anyRecord makes a record of one of few files, with anything in it.
func anyRecord(rng *rand.Rand) fileRecord {
	m := func() mark { return markOf(fmt.Append(nil, rng.Uint32()>>rng.IntN(32))[:rng.IntN(2)]) }
	paths := []string{"/l", "/var/log/app.log", "/var/log/a \"<ü>&\\\n\u2028.log", "/var/log/\xff\x00.log", ""}
	r := fileRecord{
		LogPath: paths[rng.IntN(3)], Path: paths[rng.IntN(len(paths))], fileID: fileID{Dev: 1, Ino: rng.Uint64N(20), Birth: rng.Int64N(3) - 1},
		Gen: rng.Uint64N(2), Committed: rng.Int64(), Head: m(), Anchor: m(), MTime: rng.Int64N(2), Size: rng.Int64N(2),
		Done: rng.IntN(2) > 0, Pending: rng.IntN(2) > 0, Packed: rng.IntN(2) > 0, Gone: rng.IntN(2) > 0, SeenAt: rng.Int64(),
	}
	for range rng.IntN(3) {
		r.Trail = append(r.Trail, anchorAt{rng.Int64(), m()})
		r.Ahead = append(r.Ahead, stretch{rng.Int64(), rng.Int64(), m()})
		r.Sought = &sought{ID: "01K<>", From: rng.Int64(), To: rng.Int64(), Sent: append([]SeekRange(nil), SeekRange{rng.Int64(), 7})}
	}
	return r
}

// contents is what a checkpoint tells, to be compared.
type contents struct {
	meta    metaRecord
	entries map[string]entryRecord
	files   map[fileKey]fileRecord
}

func contentsOf(meta metaRecord, entries map[string]entryRecord, files map[fileKey]*kept) contents {
	c := contents{metaRecord{StateID: meta.StateID}, make(map[string]entryRecord), make(map[fileKey]fileRecord)}
	for k, e := range entries {
		c.entries[k] = e
	}
	for k, r := range files {
		c.files[k] = r.fileRecord
	}
	return c
}

func (cp *checkpoint) contents() contents {
	if cp == nil {
		return contents{}
	}
	return contentsOf(cp.meta, cp.entries, cp.files)
}

func TestCheckpointComesBackAsItWas(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	want := newCheckpoint()
	want.meta = metaRecord{StateID: "aa", Boot: 3, Seq: 9}
	var files []*kept
	for i := range 100 {
		r := anyRecord(rng)
		r.Ino = uint64(i)
		k := &kept{fileRecord: r}
		want.files[r.key()] = k
		files = append(files, k)
	}
	want.entries["/l"] = entryRecord{LogPath: "/l", Since: 5}
	j := journal{dir: dir}
	if err := j.rewrite(want.meta, []entryRecord{want.entries["/l"]}, files); err != nil {
		t.Fatal(err)
	}
	got, notes, unended := loadCheckpoint(dir)
	if len(notes) > 0 || unended != "" || !reflect.DeepEqual(got.contents(), want.contents()) || got.meta != want.meta {
		t.Errorf("loaded %+v with notes %q", got, notes)
	}
	if got.end != j.end {
		t.Errorf("loaded up to %v, saved up to %v", got.end, j.end)
	}
}

// An agent of an earlier version must be able to go on with the checkpoint: these are the bytes
// it wrote.
func TestCheckpointIsTheOneEarlierVersionsWrote(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("testdata/checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	full := fileRecord{
		LogPath: "/var/log/*.log", Path: "/var/log/a \"<ü>&\\\n.log", fileID: fileID{Dev: 1, Ino: 2, Birth: -3}, Gen: 4, Committed: 5, Head: markOf([]byte("head")), Anchor: markOf([]byte("anchor")),
		Trail: trail{{Off: 3, Mark: markOf([]byte("x"))}, {Off: 4}}, MTime: 6, Size: 7, Done: true, Pending: true, Packed: true, Gone: true,
		Ahead: []stretch{{Start: 8, End: 9, Anchor: markOf([]byte("y"))}, {Start: 10, End: 11}}, SeenAt: 12,
	}
	j := journal{dir: t.TempDir()}
	if err := j.rewrite(metaRecord{StateID: "6f0c2a91", Boot: 3, Seq: 418}, []entryRecord{{LogPath: "/l", Since: 5, Removed: 6}},
		[]*kept{{fileRecord: full}, {fileRecord: fileRecord{LogPath: "/l", Path: "/l"}}}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(j.dir, checkpointName))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v, got\n%swant\n%s", err, got, want)
	}
}

// appendFile writes by hand what the tags of fileRecord say.
func TestRecordsAreWrittenAsTheirTagsSay(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		r := anyRecord(rng)
		l := recordLine{File: &fileLine{fileRecord: r}}
		if strings.Contains(r.Path, "\xff") {
			l.File.PathBytes = []byte(r.Path)
		}
		if got, want := appendFile(nil, &r), appendLine(nil, l); !bytes.Equal(got, want) {
			t.Fatalf("got\n%swant\n%s", got, want)
		}
		if got, want := appendDrop(nil, &r), appendLine(nil, recordLine{Drop: &dropRecord{r.LogPath, r.fileID}}); !bytes.Equal(got, want) {
			t.Fatalf("got\n%swant\n%s", got, want)
		}
	}
}

func TestMarkIsRefusedWhereItIsNone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{"len":4,"sum":"9f2e"}`, `{"len":4,"sum":"9f2e6d33a3717ee826353a404ba4618g"}`, `{"len":4,"sum":7}`, `{"len":4,"sum":""}`} {
		var m mark
		if err := json.Unmarshal([]byte(text), &m); err == nil {
			t.Errorf("%s is taken for %v", text, m)
		}
	}
}

// Not parallel: what it counts is of the whole process.
func TestMarkCostsNoMemory(t *testing.T) {
	b := []byte("some bytes")
	var m mark
	if n := testing.AllocsPerRun(100, func() { m = markOf(b) }); n > 0 || !m.matches(b) {
		t.Errorf("markOf allocates %v times", n)
	}
}

func sealed(text string) string {
	return text + fmt.Sprintf("end %d crc32c %08x\n", strings.Count(text, "\n")-2, crc32.Checksum([]byte(text), castagnoli))
}

func TestCheckpointThatIsNotWholeIsRefused(t *testing.T) {
	t.Parallel()
	record := string(appendFile(nil, &fileRecord{LogPath: "/l", Path: "/p"}))
	meta := checkpointHeader + "\n" + `{"meta":{"state_id":"aa","boot":1,"seq":2}}` + "\n"
	good := sealed(meta + record)
	if cp, err := decodeCheckpoint(strings.NewReader(good)); err != nil || len(cp.files) != 1 {
		t.Fatalf("of the control: %v", err)
	}
	for _, c := range []struct{ text, says string }{
		{"", "begins with"},
		{strings.Repeat("\x00", 5000), "begins with"},
		{strings.Replace(good, "checkpoint 1", "checkpoint 2", 1), "another version"},
		{good[:len(good)/2], "cut short"},
		{meta + record, "cut short"},
		{good[:len(good)-1], "cut short"},
		{strings.Replace(good, "/p", "/q", 1), "checksum"},
		{strings.Replace(good, "{", "x", 2), "checksum"},
		{strings.Replace(good, "end 1 ", "end 2 ", 1), "holds 1 records"},
		{strings.Replace(good, "crc32c", "crc32d", 1), "broken trailer"},
		{good + "x\n", "goes on after"},
		{sealed(meta + "{}\n"), "neither meta"},
		{sealed(checkpointHeader + "\n{\"meta\":{}}\n"), "no state id"},
	} {
		if _, err := decodeCheckpoint(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q is refused with %v, want %q", c.text, err, c.says)
		}
	}
}

func FuzzDamagedCheckpointIsNeverUsed(f *testing.F) {
	meta := checkpointHeader + "\n" + `{"meta":{"state_id":"aa"}}` + "\n"
	text := meta + string(appendFile(nil, &fileRecord{Path: "/p", Committed: 7}))
	f.Add([]byte(text))
	f.Add([]byte(text + "end 1 crc32c 00000000\n"))
	f.Add([]byte(sealed(text)))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, data []byte) {
		cp, err := decodeCheckpoint(bytes.NewReader(data))
		if err == nil && cp.meta.StateID == "" {
			t.Fatal("a checkpoint without state id was accepted")
		}
		if err == nil && !bytes.Contains(data, []byte("\nend ")) {
			t.Fatal("a checkpoint without trailer was accepted")
		}
	})
}

func FuzzRecordComesBackAsItWas(f *testing.F) {
	f.Add("/l", "/p", "head", uint64(1), int64(2), uint8(3))
	f.Add("/var/log/*.log", "/var/log/\xff<>&\u2028\"\\", "", uint64(0), int64(-1), uint8(255))
	f.Fuzz(func(t *testing.T, logPath, path, bytes string, u uint64, i int64, flags uint8) {
		m := markOf([]byte(bytes))
		r := fileRecord{
			LogPath: strings.ToValidUTF8(logPath, "?"), Path: path, fileID: fileID{u, u >> 3, i}, Gen: u, Committed: i, Head: m, Anchor: m, MTime: i, Size: i / 3, SeenAt: i,
			Done: flags&1 > 0, Pending: flags&2 > 0, Packed: flags&4 > 0, Gone: flags&8 > 0,
		}
		for range flags >> 6 {
			r.Trail = append(r.Trail, anchorAt{i, m})
			r.Ahead = append(r.Ahead, stretch{i, i, m})
		}
		l, err := readLine(appendFile(nil, &r))
		if err != nil {
			t.Fatal(err)
		}
		cp := newCheckpoint()
		cp.take(l)
		if got := cp.files[r.key()]; got == nil || !reflect.DeepEqual(got.fileRecord, r) {
			t.Fatalf("%+v came back as %+v", r, got)
		}
		if l, err = readLine(appendDrop(nil, &r)); err != nil {
			t.Fatal(err)
		}
		if cp.take(l); len(cp.files) > 0 {
			t.Fatalf("%+v is not dropped", r)
		}
	})
}
