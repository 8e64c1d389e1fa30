package agent

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// bookkeeper is the saving side of a loop that does not run: every save is made by hand.
type bookkeeper struct {
	t   *testing.T
	dir string
	l   *loop
	n   uint64 // files so far
	end func()
}

// keepBooks begins as an agent does that finds dir as it is.
func keepBooks(t *testing.T, dir string) *bookkeeper {
	t.Helper()
	a, err := New(Options{Host: "h", StateDir: dir, Sink: &countingSink{}})
	if err != nil {
		t.Fatal(err)
	}
	b := &bookkeeper{t: t, dir: dir, l: &a.loop}
	closed := false
	b.end = func() {
		if !closed {
			closed = true
			b.l.nudges.close()
			a.Close()
		}
	}
	t.Cleanup(b.end)
	return b
}

func (b *bookkeeper) save() error {
	s := &b.l.saver
	j := b.l.job()
	s.out = true
	err := s.disk.save(j)
	b.l.saved(j, s.disk.base.size, s.disk.log.size, err)
	return err
}

func (b *bookkeeper) mustSave() {
	b.t.Helper()
	if err := b.save(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bookkeeper) contents() contents {
	s := &b.l.saver
	return contentsOf(s.meta, s.entries, s.files)
}

func (b *bookkeeper) path(name string) string { return filepath.Join(b.dir, name) }

// grow puts records of n more files.
func (b *bookkeeper) grow(n int) {
	for range n {
		b.l.saver.putFile(fileRecord{LogPath: "/l", Path: fmt.Sprint("/var/log/", b.n), fileID: fileID{Dev: 1, Ino: b.n}, Head: markOf([]byte("head"))})
		b.n++
	}
}

// copyState copies the checkpoints and logs of a state folder to one of its own: what a crash at
// this moment leaves.
func copyState(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	names, err := filepath.Glob(filepath.Join(dir, checkpointName+"*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(to, filepath.Base(name)), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// loads wants what is found in a folder to be one of some contents, and nothing said.
func loads(t *testing.T, what, dir string, want ...contents) {
	t.Helper()
	cp, notes, _ := loadCheckpoint(dir)
	if len(notes) > 0 {
		t.Fatalf("%s: %q", what, notes)
	}
	got := cp.contents()
	if !slices.ContainsFunc(want, func(c contents) bool { return reflect.DeepEqual(c, got) }) {
		t.Fatalf("%s: found %+v, want one of %+v", what, got, want)
	}
}

// A save is interrupted at every step; what was told to be saved is always found again, and
// what is found is whole: as of this save or of the one before.
func TestCrashAtAnyStepOfASaveLosesNoneBefore(t *testing.T) {
	t.Parallel()
	steps := make(map[string]int)
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 0))
		dir := t.TempDir()
		b := keepBooks(t, dir)
		confirmed := contents{} // nothing
		wholly := false         // a save of this run has ended
		for round := range 40 {
			s := &b.l.saver
			for range rng.IntN(5) {
				switch rng.IntN(8) {
				case 0:
					s.putEntry(entryRecord{LogPath: fmt.Sprint("/e", rng.IntN(3)), Since: rng.Int64()})
				case 1, 2:
					r := anyRecord(rng)
					s.dropFile(r.key())
				case 3:
					if rng.IntN(8) == 0 {
						s.logBytes = 1 << 40 // as if it had grown too long
					}
				default:
					s.putFile(anyRecord(rng))
				}
			}
			wanted := b.contents()
			what := ""
			fail := rng.IntN(60) // at this step
			s.disk.step = func(step string) error {
				steps[step]++
				what = fmt.Sprintf("seed %d round %d after %q", seed, round, step)
				here := copyState(t, dir)
				loads(t, what, here, confirmed, wanted)
				if step == "log on disk" || step == "checkpoint on disk" {
					loads(t, what, here, wanted)
				}
				if step == "log written" { // and this is not on the disk yet
					log := filepath.Join(here, logName)
					text, err := os.ReadFile(log)
					if err != nil {
						t.Fatal(err)
					}
					for range 5 {
						cut := int(s.disk.log.size) + rng.IntN(len(text)-int(s.disk.log.size))
						if err := os.WriteFile(log, text[:cut], 0o600); err != nil {
							t.Fatal(err)
						}
						loads(t, what+", cut", here, confirmed)
						zeros := append(text[:cut:cut], make([]byte, len(text)-cut)...)
						if err := os.WriteFile(log, zeros, 0o600); err != nil {
							t.Fatal(err)
						}
						loads(t, what+", zeros", here, confirmed)
					}
				}
				if fail--; fail == 0 {
					if step == "log written" {
						if err := os.Truncate(b.path(logName), s.disk.log.size+rng.Int64N(40)); err != nil {
							t.Fatal(err)
						}
					}
					return syscall.ENOSPC
				}
				return nil
			}
			err := b.save()
			s.disk.step = nil
			if err != nil {
				if !errors.Is(err, syscall.ENOSPC) {
					t.Fatal(err)
				}
				loads(t, what+", failed", copyState(t, dir), confirmed, wanted)
				b.mustSave() // there is room again
			}
			confirmed, wholly = wanted, true
			loads(t, what+", saved", copyState(t, dir), confirmed)
			if rng.IntN(12) == 0 { // killed, or ended
				if wholly && rng.IntN(2) == 0 {
					if err := b.l.finalSave(); err != nil {
						t.Fatal(err)
					}
					if _, err := os.Stat(b.path(logName)); err == nil {
						t.Fatal("a clean end leaves a log")
					}
				}
				b.end()
				b = keepBooks(t, dir)
				if got := b.contents(); !reflect.DeepEqual(got, confirmed) {
					t.Fatalf("%s: begun with %+v, want %+v", what, got, confirmed)
				}
			}
		}
		b.end()
	}
	for _, step := range []string{"log open", "log written", "log on disk", "checkpoint written", "previous removed", "previous linked", "log renamed", "checkpoint renamed", "checkpoint on disk"} {
		if steps[step] < 8 {
			t.Errorf("%q was reached %d times: this test proves nothing about it", step, steps[step])
		}
	}
}

// The steps of rewrite are on the disk when it ends; before that any of them may be and others
// not.
func TestStepsOfARewriteMayReachTheDiskInAnyOrder(t *testing.T) {
	t.Parallel()
	b := keepBooks(t, t.TempDir())
	for range 2 { // there is a previous one with a log
		b.grow(3)
		b.l.saver.whole = true
		b.mustSave()
		b.grow(3)
		b.mustSave()
	}
	confirmed := b.contents()
	b.l.saver.whole = true
	var before, tmp string
	b.l.saver.disk.step = func(step string) error {
		if step == "checkpoint written" {
			before = copyState(t, b.dir)
			tmp = filepath.Join(before, checkpointName+".tmp")
		}
		return nil
	}
	b.mustSave()
	for _, name := range []string{tmp, filepath.Join(before, logName), filepath.Join(before, logName+".prev")} {
		if _, err := os.Stat(name); err != nil {
			t.Fatal(err)
		}
	}
	for some := range 16 {
		dir := copyState(t, before)
		at := func(name string) string { return filepath.Join(dir, name) }
		for i, step := range []func() error{
			func() error { return os.Remove(at("checkpoint.prev")) },
			func() error {
				_ = os.Remove(at("checkpoint.prev"))
				return os.Link(at("checkpoint"), at("checkpoint.prev"))
			},
			func() error { return os.Rename(at("checkpoint.log"), at("checkpoint.log.prev")) },
			func() error { return os.Rename(at("checkpoint.tmp"), at("checkpoint")) },
		} {
			if some&(1<<i) == 0 {
				continue
			}
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		loads(t, fmt.Sprintf("steps %04b", some), dir, confirmed)
	}
}

func damage(t *testing.T, name string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, change(bytes.Clone(b)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func flipped(b []byte) []byte {
	b[len(b)/2] ^= 1
	return b
}

// A damaged checkpoint costs nothing where the previous one, its log and the log of the
// damaged one are whole.
func TestDamagedCheckpointIsMadeUpForByThePreviousOneAndBothLogs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := keepBooks(t, dir)
	b.grow(10)
	b.mustSave()
	for i := range 5 {
		b.grow(1)
		b.mustSave()
		if i == 2 {
			b.l.saver.putEntry(entryRecord{LogPath: "/new", Since: 7}) // the checkpoint is written anew
			b.l.saver.dropFile(fileKey{"/l", fileID{Dev: 1, Ino: 3}})
			b.mustSave()
		}
	}
	for _, restarts := range []int{0, 1} {
		want := b.contents()
		for range restarts { // what a start saves first is made from all there was
			n := b.n
			b.end()
			b = keepBooks(t, dir)
			b.n = n
			b.mustSave()
			b.grow(1)
			want = b.contents()
			b.mustSave()
		}
		hurt := copyState(t, dir)
		damage(t, filepath.Join(hurt, checkpointName), flipped)
		peeked, err := peekCheckpoint(hurt)
		if err != nil || !reflect.DeepEqual(peeked.contents(), want) {
			t.Errorf("peeked: %v, %+v, want %+v", err, peeked.contents(), want)
		}
		cp, notes, _ := loadCheckpoint(hurt)
		if !reflect.DeepEqual(cp.contents(), want) {
			t.Fatalf("%d restarts: found %+v, want %+v", restarts, cp.contents(), want)
		}
		if len(notes) != 2 || !strings.Contains(notes[0], "checksum") || !strings.Contains(notes[1], "previous checkpoint is used with what was saved after it") {
			t.Errorf("said: %q", notes)
		}

		// The damaged one is aside now. A crash before or while the first save replaces it leaves
		// what there was.
		c := keepBooks(t, hurt)
		c.l.saver.disk.step = func(step string) error {
			loads(t, step, copyState(t, hurt), want)
			return nil
		}
		c.mustSave()
		c.end()
	}
}

func TestLogThatBelongsToNoCheckpointIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := keepBooks(t, dir)
	b.grow(3)
	b.mustSave()
	b.grow(3)
	b.mustSave()
	b.end()

	// An earlier version goes on with the checkpoint alone, and knows of no log.
	older, err := readCheckpoint(b.path(checkpointName))
	if err != nil || len(older.files) != 3 {
		t.Fatal(err, older)
	}
	older.meta.Seq++
	var files []*kept
	for _, k := range older.files {
		k.Committed = 77
		files = append(files, k)
	}
	j := journal{dir: t.TempDir()}
	if err := j.rewrite(older.meta, nil, files); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(b.path(checkpointName), b.path(checkpointName+".prev")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(j.dir, checkpointName), b.path(checkpointName)); err != nil {
		t.Fatal(err)
	}
	loads(t, "after an earlier version", dir, older.contents())
	b = keepBooks(t, dir)
	b.n = 10
	b.grow(1)
	b.mustSave()
	loads(t, "gone on with", copyState(t, dir), b.contents())
}

func TestDamageInALogIsSaidAndWhatIsBeforeItIsUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := keepBooks(t, dir)
	var want []contents
	var ends []int
	for range 4 {
		b.grow(2)
		b.mustSave()
		want = append(want, b.contents())
		ends = append(ends, int(b.l.saver.disk.log.size))
	}
	b.end()
	seen := make(map[string]bool)
	text, err := os.ReadFile(b.path(logName))
	if err != nil || len(text) != ends[3] || ends[0] != 0 {
		t.Fatal(err, len(text), ends)
	}
	first := bytes.IndexByte(text, '\n') + 1
	for at := range text {
		hurt := copyState(t, dir)
		name := filepath.Join(hurt, logName)
		damage(t, name, func(b []byte) []byte { b[at] ^= 1; return b })
		cp, notes, unended := loadCheckpoint(hurt)
		n := 0 // whole saves before the damage
		for n < 3 && at >= ends[n+1] {
			n++
		}
		if !reflect.DeepEqual(cp.contents(), want[n]) {
			t.Fatalf("byte %d of %d, %q: found %d files, want %d; %q", at, len(text), text[max(0, at-40):min(len(text), at+9)], len(cp.files), len(want[n].files), notes)
		}
		if unended != "" { // a trailer that is none any more: only of the last save it may be that it never was
			if at < ends[2] || len(notes) > 0 {
				t.Errorf("byte %d: %q was not finished, %q", at, unended, notes)
			}
			seen["unended"] = true
			continue
		}
		if len(notes) != 1 || !strings.Contains(notes[0], "kept as "+name+".bad") || !strings.Contains(notes[0], "sent again") {
			t.Fatalf("byte %d: said %q", at, notes)
		}
		if _, err := os.Stat(name + ".bad"); err != nil {
			t.Fatal(err)
		}
		_, err := os.Stat(name)
		if whole := err == nil; whole != (at >= first) {
			t.Fatalf("byte %d of %d: the log is there: %v", at, first, err)
		}
		seen["said"] = true
		if at == first { // said once: the next start finds a new checkpoint
			c := keepBooks(t, hurt)
			c.mustSave()
			loads(t, "after damage", copyState(t, hurt), want[n])
			c.end()
		}
	}
	if len(seen) != 2 {
		t.Errorf("seen: %v", seen)
	}
}

func TestLogIsReplacedByACheckpointOnceItIsAsLarge(t *testing.T) {
	t.Parallel()
	b := keepBooks(t, t.TempDir())
	b.grow(2000)
	b.mustSave()
	base := b.l.saver.baseBytes
	grown, rewritten := int64(0), 0
	for i := range 60 {
		for _, k := range b.l.saver.files {
			if k.Ino%10 == uint64(i%10) {
				r := k.fileRecord
				r.Committed++
				b.l.saver.putFile(r)
			}
		}
		before := b.l.saver.disk.base
		b.mustSave()
		if b.l.saver.disk.base != before {
			rewritten++
		}
		grown = max(grown, b.l.saver.logBytes)
	}
	if base < minLogBytes || grown < base || grown > base*5/4 || rewritten < 3 || rewritten > 6 {
		t.Errorf("beside a checkpoint of %d bytes the log grew to %d; %d of 60 saves wrote all", base, grown, rewritten)
	}
	loads(t, "at the end", copyState(t, b.dir), b.contents())
}

// What is written into a file that was removed, or beside one that is somebody else's, is
// saved nowhere.
func TestLogThatIsNotAsItWasLeftIsNotAppendedTo(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(*bookkeeper) error{
		"log removed": func(b *bookkeeper) error { return os.Remove(b.path(logName)) },
		"log replaced": func(b *bookkeeper) error {
			os.Rename(b.path(logName), b.path("x"))
			return os.WriteFile(b.path(logName), make([]byte, b.l.saver.logBytes), 0o600)
		},
		"log longer":          func(b *bookkeeper) error { return os.Truncate(b.path(logName), b.l.saver.logBytes+1) },
		"checkpoint removed":  func(b *bookkeeper) error { return os.Remove(b.path(checkpointName)) },
		"checkpoint replaced": func(b *bookkeeper) error { return os.Rename(b.path(checkpointName+".prev"), b.path(checkpointName)) },
		"folder removed":      func(b *bookkeeper) error { return os.RemoveAll(b.dir) },
		"folder made anew":    func(b *bookkeeper) error { os.RemoveAll(b.dir); return os.Mkdir(b.dir, 0o700) },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b := keepBooks(t, filepath.Join(t.TempDir(), "state"))
			for range 2 {
				b.grow(2)
				b.l.saver.whole = true
				b.mustSave()
			}
			b.grow(2)
			b.mustSave()
			if err := change(b); err != nil {
				t.Fatal(err)
			}
			b.grow(2)
			done := b.l.saver.done
			if err := b.save(); err == nil {
				t.Fatal("appended")
			}
			if s := &b.l.saver; s.done != done || !s.whole || !s.now || !s.dirty || s.err != nil {
				t.Errorf("it is not made up for at once: done %d, before %d", s.done, done)
			}
			if what == "folder removed" { // the saver makes it
				if err := os.Mkdir(b.dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			b.mustSave()
			if b.l.saver.disk.after != (point{}) {
				t.Error("the new checkpoint is said to hold no more than was saved before it")
			}
			loads(t, what, copyState(t, b.dir), b.contents())
		})
	}
}

// group adds records and a trailer that says there are n of them to the text of a log.
func group(text, records string, n int, seq uint64) string {
	text += records
	trailer, _ := groupEnd(n, seq, crc32.Checksum([]byte(text), castagnoli))
	return text + trailer + "\n"
}

func logRecord(i int) string {
	return string(appendFile(nil, &fileRecord{LogPath: "/l", Path: "/p", fileID: fileID{Ino: uint64(i)}}))
}

func TestLogThatIsSummedAndYetWrongIsUsedUpToThere(t *testing.T) {
	t.Parallel()
	of := point{7, 9}
	good := group(headerOf(of, point{})+"\n", logRecord(1), 1, 8)
	for _, c := range []struct{ text, says string }{
		{good, ""},
		{group(good, logRecord(2), 1, 9), ""},
		{group(good, logRecord(2), 2, 9), "holds 1 records"},
		{group(good, logRecord(2), 1, 8), "goes back from save 8 to 8"},
		{group(good, "{}\n", 1, 9), "line 4: neither meta"},
		{group(good, `{"meta":{"state_id":"x"}}`+"\n", 1, 9), "no place in a log"},
		{group(good, "x\n", 1, 9), "line 4: invalid"},
		{good + "end 0 seq x\n", "broken trailer"},
	} {
		cp := newCheckpoint()
		cp.end = of
		used, _, err := cp.decodeLog(strings.NewReader(c.text))
		says := ""
		if err != nil {
			says = err.Error()
		}
		if !used || !strings.Contains(says, c.says) || (c.says == "") != (err == nil) || err != nil && (len(cp.files) != 1 || cp.end.seq != 8) {
			t.Errorf("%q: used %v, %v, want %q; %d files, save %d", c.text, used, err, c.says, len(cp.files), cp.end.seq)
		}
	}
}

func FuzzLogIsTakenOnlyWhereItIsWhole(f *testing.F) {
	of := point{7, 9}
	one := group(headerOf(of, point{})+"\n", logRecord(1)+logRecord(2), 2, 8)
	drop := string(appendDrop(nil, &fileRecord{LogPath: "/l", fileID: fileID{Ino: 2}}))
	f.Add([]byte(one))
	f.Add([]byte(group(one, drop, 1, 9)))
	f.Add([]byte(group(one, `{"entry":{"log_path":"/l","since":1}}`+"\n", 1, 9)))
	f.Add([]byte(group(one, drop, 1, 8)))
	f.Add([]byte(group(one, "{}\n", 1, 9)))
	f.Add([]byte(one + logRecord(3)))
	f.Add([]byte(one[:len(one)-1]))
	f.Add([]byte(headerOf(point{1, 1}, of) + "\n"))
	f.Add([]byte("end 0 seq 1 crc32c 00000000\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		cp := newCheckpoint()
		cp.end = of
		used, _, err := cp.decodeLog(bytes.NewReader(data))
		switch {
		case !used && (cp.end != of || len(cp.files)+len(cp.entries) > 0):
			t.Fatal("taken and not used")
		case cp.end != of && (cp.end.seq <= of.seq || !bytes.Contains(data, []byte("\n"+"end "))):
			t.Fatalf("a save without a trailer was taken: %v", cp.end)
		case cp.end == of && len(cp.files)+len(cp.entries) > 0:
			t.Fatal("records were taken without their trailer")
		case err != nil && used && !errors.Is(err, io.ErrUnexpectedEOF):
			return
		case !used || err != nil:
			return
		}
		again := newCheckpoint() // a log that is whole is so with a beginning of itself
		again.end = of
		half := data[:bytes.LastIndex(data, []byte("\nend "))+1]
		if len(half) > 0 {
			if _, _, err := again.decodeLog(bytes.NewReader(half)); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("without its last trailer: %v", err)
			}
		}
	})
}
