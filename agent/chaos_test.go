package agent_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"logagent/agent"
)

// chaos runs a random program of what writers, rotation and operators do against an
// agent, and compares what arrived with what was written. A crash may double lines and
// nothing else may.
type chaos struct {
	*rig
	rng        *rand.Rand
	path       string
	n          int      // lines written
	want       []string // whole lines, in the order of writing
	open       string   // begun and not ended
	rotated    int
	crashed    bool
	crashes    int
	doubled    int // by crashes: without one the comparison fails
	compressed map[int]bool
	dated      bool // rotated names have a date
	deleted    bool // a file was deleted that may not be read to its end: it must not be closed
	svc        agent.Service
	seeks      int               // moved positions; negative: this program moves none
	last       agent.SeekOutcome // that may be taken back
	exact      bool              // no crash: what comes twice or not at all is what seeks owe
	owed       map[string]int    // how often a line comes more than once (or, -1, not at all), by seeks
	steps      []string          // for the report
}

func (c *chaos) say(format string, args ...any) {
	c.steps = append(c.steps, fmt.Sprintf(format, args...))
}

func (c *chaos) write() {
	var s strings.Builder
	for range 1 + c.rng.IntN(60) {
		l := fmt.Sprintf("%06d %s", c.n, strings.Repeat("x", c.rng.IntN(200)))
		c.n++
		s.WriteString(l + "\n")
		c.want = append(c.want, c.open+l)
		c.open = ""
	}
	if c.rng.IntN(4) == 0 { // and the beginning of one more
		c.open = fmt.Sprintf("%06d begun ", c.n)
		c.n++
		s.WriteString(c.open)
	}
	appendTo(c.t, c.path, s.String())
	c.say("write to %d", c.n)
}

// name is that of the nth rotated file.
func (c *chaos) name(n int) string {
	if c.dated {
		return fmt.Sprintf("%s-20261122-%06d", c.path, n)
	}
	return fmt.Sprintf("%s.%d", c.path, n)
}

// end finishes a begun line: what is rotated away ends with a whole line or, now and
// then, without.
func (c *chaos) end() {
	if c.open == "" {
		return
	}
	if c.rng.IntN(3) > 0 {
		appendTo(c.t, c.path, "end\n")
		c.open += "end"
	}
	c.want = append(c.want, c.open)
	c.open = ""
}

func (c *chaos) step() {
	if c.seeks >= 0 && c.rng.IntN(8) == 0 {
		c.seek()
		return
	}
	switch c.rng.IntN(21) {
	case 0, 1, 2, 3, 4, 5:
		c.write()
	case 6, 7:
		if _, err := os.Stat(c.path); err != nil {
			return
		}
		c.end()
		c.rotated++
		rename(c.t, c.path, c.name(c.rotated))
		c.say("rename to .%d", c.rotated)
		if c.rng.IntN(2) == 0 {
			c.write()
		}
	case 8:
		if info, err := os.Stat(c.path); err != nil || info.Size() == 0 {
			return
		}
		if c.open != "" { // the copy is not read as finished in time for a doubled tail
			appendTo(c.t, c.path, "end\n")
			c.want = append(c.want, c.open+"end")
			c.open = ""
		}
		c.rotated++
		copytruncate(c.t, c.path, c.name(c.rotated))
		c.say("copytruncate to .%d", c.rotated)
	case 9:
		c.say("unblock, wait until caught up")
		c.sink.Unblock()
		c.until("caught up", func(s agent.Status) bool { return c.svc.Paused || s.Totals.LagBytes == 0 })
	case 10:
		c.svc.SendRate = []int64{0, 0, 500, 5000}[c.rng.IntN(4)]
		c.say("send_rate %d", c.svc.SendRate)
		c.rig.apply(c.svc)
	case 11:
		c.svc.Topic = []string{"t", "u"}[c.rng.IntN(2)]
		c.say("topic %s", c.svc.Topic)
		c.rig.apply(c.svc)
	case 12:
		c.say("restart")
		c.saveDeleted()
		c.sink.Unblock()
		c.rig.end()
		if c.rng.IntN(2) == 0 {
			c.write()
		}
		c.start()
		c.rig.apply(c.svc)
	case 13:
		c.say("remove and add back")
		c.saveDeleted()
		c.rig.apply()
		c.rig.apply(c.svc)
	case 14:
		c.svc.Paused = !c.svc.Paused
		c.say("paused %v", c.svc.Paused)
		c.rig.apply(c.svc)
	case 15:
		if c.exact {
			return
		}
		c.saveDeleted()
		// What SIGKILL leaves is the state folder as it is at some moment; the agent that
		// runs on meanwhile is the one whose doings are forgotten.
		state := ""
		c.until("a copy taken", func(agent.Status) bool { // a save may rename a file under it
			state = filepath.Join(c.t.TempDir(), "state")
			return os.CopyFS(state, os.DirFS(c.state)) == nil
		})
		c.say("crash")
		c.sink.Unblock()
		c.rig.end()
		c.state, c.crashed = state, true
		c.crashes++
		c.start()
		c.rig.apply(c.svc)
	case 17, 18:
		// Any rotated file that is not compressed yet, as rotation with and without delay does.
		if n := 1 + c.rng.IntN(max(1, c.rotated)); !c.compressed[n] && c.rotated > 0 {
			c.compressed[n] = true
			c.say("compress .%d", n)
			compress(c.t, c.name(n))
		}
	case 19:
		// Removed under the agent, which reads it from the descriptor it holds.
		if _, err := os.Stat(c.path); err != nil || c.open != "" {
			return
		}
		c.say("remove")
		c.held()
		c.deleted = true
		os.Remove(c.path)
		if c.rng.IntN(2) == 0 {
			c.write()
		}
	case 20:
		// A new file is moved over the path.
		if _, err := os.Stat(c.path); err != nil || c.open != "" {
			return
		}
		c.say("move a new one over it")
		c.held()
		c.deleted = true
		path := c.path
		c.path += ".new"
		c.write()
		rename(c.t, c.path, path)
		c.path = path
	case 16:
		if c.rng.IntN(2) == 0 {
			c.say("block")
			c.sink.Block()
		} else {
			c.say("unblock")
			c.sink.Unblock()
		}
	}
	// Lets the agent run into the middle of things; decides nothing.
	time.Sleep(time.Duration(c.rng.IntN(15)) * time.Millisecond)
}

// seek moves positions somewhere, and notes what that makes of the lines.
func (c *chaos) seek() {
	goal := agent.SeekGoal{To: agent.SeekEnd, Service: "s"}
	path := ""
	switch c.rng.IntN(8) {
	case 0, 1:
		goal.To = agent.SeekBeginning
	case 2, 3:
		goal.To, goal.Offset, path = agent.SeekOffset, c.rng.Int64N(20_000), c.path
	case 4, 5:
		if moved, _ := c.last.Moved(); moved == 0 {
			return
		}
		goal = agent.SeekGoal{To: agent.SeekBack, Back: c.last.Files}
	}
	ctx, cancel := contextFor(c.t)
	defer cancel()
	ans := c.a.Answer(ctx, agent.Question{Kind: agent.AskSeek, Path: path, Seek: &goal})
	if ans.Seek == nil {
		return
	}
	// The bytes of a truncated file stand nowhere that this could look them up.
	ans.Seek.Moves = slices.DeleteFunc(ans.Seek.Moves, func(m agent.SeekMove) bool { return m.Stands == agent.StandsTruncated })
	if len(ans.Seek.Moves) == 0 { // nothing is there to be moved
		return
	}
	// A batch of unknown outcome is waited for, and nobody answers while this waits.
	c.sink.Unblock()
	var before []string
	for _, m := range ans.Seek.Moves { // of files that are truncated, or closed, with the seek
		before = append(before, c.contentOf(&m.SeekFile))
	}
	id := fmt.Sprint("seek", len(c.steps))
	out, err := c.a.Seek(ctx, id, *ans.Seek)
	if err != nil {
		c.t.Fatalf("seek: %v\nsteps:\n%s", err, strings.Join(c.steps, "\n"))
	}
	c.last = out
	for i := range out.Files {
		f := &out.Files[i]
		c.say("seek %s to %s: %s inode %d %s %s, %d → %d, %d skipped, %d repeated", id, goal.To, f.Stands, f.Inode, f.Result, f.Why, f.From, f.To, f.SkippedBytes, f.RepeatedBytes)
		if f.Result != agent.SeekWasMoved {
			continue
		}
		c.seeks++
		n := c.owe(before[i], min(f.From, f.To), max(f.From, f.To), f, &ans.Seek.Moves[i])
		if n != f.SkippedBytes+f.RepeatedBytes+f.ReturnedBytes {
			c.t.Errorf("%s: %d bytes of lines are told, %d were found; steps:\n%s", id, f.SkippedBytes+f.RepeatedBytes+f.ReturnedBytes, n, strings.Join(c.steps, "\n"))
		}
	}
	if c.rng.IntN(3) == 0 { // told again: nothing moves
		again, err := c.a.Seek(ctx, id, *ans.Seek)
		if err != nil {
			c.t.Errorf("the same request again: %v", err)
		}
		for i := range again.Files {
			f, first := &again.Files[i], &out.Files[i]
			if f.Result == agent.SeekWasMoved && (first.Result != f.Result || f.From != first.From || f.To != first.To || f.SeekBytes != first.SeekBytes) {
				c.t.Errorf("the same request again: %+v, first %+v", f, first)
			}
		}
	}
}

// owe notes the lines between two positions but for what was sent or is not repeated, and
// returns how many bytes they are.
func (c *chaos) owe(content string, from, to int64, f *agent.SeekMoved, m *agent.SeekMove) (bytes int64) {
	sign := 1
	sent := m.Sent
	if f.To > f.From {
		sign, sent = -1, f.Sent
	} else if m.Until > 0 {
		to = min(to, m.Until)
	}
	at := from
	for line := range strings.Lines(content[from:to]) {
		begins := at
		at += int64(len(line))
		if slices.ContainsFunc(sent, func(r agent.SeekRange) bool { return r.Start <= begins && begins < r.End }) {
			continue
		}
		bytes += int64(len(line))
		c.owed[strings.TrimSuffix(line, "\n")] += sign
	}
	return bytes
}

// contentOf reads what an incarnation holds, through a descriptor of the agent, which is
// this process: the file may stand under another name by now, or under none.
func (c *chaos) contentOf(f *agent.SeekFile) string {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		c.t.Fatal(err)
	}
	for _, d := range fds {
		name := "/proc/self/fd/" + d.Name()
		info, err := os.Stat(name)
		if err != nil {
			continue
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Ino != f.Inode || uint64(st.Dev) != f.Device || !info.Mode().IsRegular() {
			continue
		}
		file, err := os.Open(name)
		if err != nil {
			continue
		}
		defer file.Close()
		var r io.Reader = file
		if f.Compressed {
			if r, err = gzip.NewReader(file); err != nil {
				c.t.Fatal(err)
			}
		}
		b, err := io.ReadAll(r)
		if err != nil {
			c.t.Fatal(err)
		}
		return string(b)
	}
	c.t.Fatalf("nobody has %+v open", f)
	return ""
}

// expected is what must have come, by lines; in a program with crashes some may have come though
// they count as skipped.
func (c *chaos) expected(want []string) (must []string, may map[string]bool) {
	may = make(map[string]bool)
	for _, l := range want {
		n := 1 + c.owed[l]
		if n < 1 {
			may[l] = c.crashed
		}
		if c.crashed {
			n = min(n, 1)
		}
		for range n {
			must = append(must, l)
		}
	}
	return must, may
}

// saveDeleted lets the agent read deleted files to their end: an agent that is ended
// before, or an entry that is removed, loses them with their descriptors, and nothing can
// help that.
func (c *chaos) saveDeleted() {
	if !c.deleted {
		return
	}
	c.deleted = false
	c.sink.Unblock()
	c.svc.Paused, c.svc.SendRate = false, 0
	c.rig.apply(c.svc)
	c.until("deleted files read", func(s agent.Status) bool {
		var now uint64
		if info, err := os.Stat(c.path); err == nil {
			now = info.Sys().(*syscall.Stat_t).Ino
		}
		return s.Totals.LagBytes == 0 && s.Process.InFlightBytes == 0 && (now == 0 || inode(s) == now)
	})
}

// inode is that of the file the agent has open at the path; 0 where it has none.
func inode(s agent.Status) uint64 {
	if len(s.Files) == 0 { // a glob that matches nothing
		return 0
	}
	return s.Files[0].Inode
}

// held waits until the agent has the file that stands at the path open, as large as it is:
// what is removed before it was ever seen is nobody's.
func (c *chaos) held() {
	info, err := os.Stat(c.path)
	if err != nil {
		c.t.Fatal(err)
	}
	ino := info.Sys().(*syscall.Stat_t).Ino
	c.until("held", func(s agent.Status) bool {
		return inode(s) == ino && s.Files[0].SizeBytes == info.Size()
	})
}

// check waits for every line and compares.
func (c *chaos) check() {
	appendTo(c.t, c.path, "the last line\n")
	want, may := c.expected(append(c.want, c.open+"the last line"))
	c.sink.Unblock()
	c.svc.Paused, c.svc.SendRate = false, 0
	c.rig.apply(c.svc)
	got := func() []string {
		var v []string
		for _, r := range c.sink.All() {
			v = append(v, string(r.Value))
		}
		if c.crashed {
			slices.Sort(v)
			v = slices.Compact(v) // every line is unique
		}
		if len(may) > 0 {
			v = slices.DeleteFunc(v, func(l string) bool { return may[l] })
		}
		return v
	}
	for end := time.Now().Add(20 * time.Second); len(got()) < len(want) && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	c.looks(1) // what was done last has been seen
	c.settle()
	defer func() {
		if c.t.Failed() {
			c.t.Logf("steps:\n%s", strings.Join(c.steps, "\n"))
		}
	}()
	compare(c.t, want, got())
	c.doubled = len(c.sink.All()) - len(want)
}

func runChaos(t *testing.T, seed uint64, steps int) *chaos {
	r := newRig(t)
	r.opt.RotateWait = 200 * time.Millisecond
	c := &chaos{rig: r, rng: rand.New(rand.NewPCG(seed, 1)), path: filepath.Join(r.dir, "app.log"), compressed: make(map[int]bool)}
	c.svc = r.svc("app.log")
	if seed%2 == 1 {
		c.svc = r.svc("*.log")
	}
	c.dated = seed%3 == 1
	c.owed, c.exact = make(map[string]int), seed/12%2 == 1
	if seed/6%2 == 0 {
		c.seeks = -1
	}
	r.start()
	r.apply(c.svc)
	for range steps {
		c.step()
	}
	c.check()
	return c
}

// FuzzAnythingWritersAndOperatorsDo takes a seed and a number of steps. Failing ones are
// kept as seeds under testdata/fuzz.
func FuzzAnythingWritersAndOperatorsDo(f *testing.F) {
	for seed := range uint64(24) { // every second half dozen moves positions, every second dozen has no crash
		f.Add(seed, uint8(40))
	}
	f.Fuzz(func(t *testing.T, seed uint64, steps uint8) { runChaos(t, seed, int(steps)) })
}
