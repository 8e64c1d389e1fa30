package agent_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"logagent/agent"
)

// remove deletes a file once the agent holds it as large as it is.
func (r *rig) remove(name string) {
	r.t.Helper()
	info, err := os.Stat(r.path(name))
	if err != nil {
		r.t.Fatal(err)
	}
	r.until("held", func(s agent.Status) bool {
		return len(s.Files) > 0 && s.Files[0].SizeBytes == info.Size() && s.Files[0].Inode != 0
	})
	before := r.a.Status().Files[0].RotatedFiles
	if err := os.Remove(r.path(name)); err != nil {
		r.t.Fatal(err)
	}
	r.until("seen to be removed", func(s agent.Status) bool { return s.Files[0].RotatedFiles > before || s.Totals.LostBytes > 0 })
}

func TestOfDeletedFilesTheOldestAreGivenUpWhereTheyKeepTooMuch(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.DeletedMaxBytes = 500_000
	r.opt.RotateWait = time.Minute
	s := r.svc("app.log")
	s.Paused = true
	r.start()
	r.apply(s)
	a, b, c := lines("a", 0, 4000), lines("b", 0, 4000), lines("c", 0, 4000)
	for _, text := range []string{a, b} {
		r.write("app.log", text)
		r.remove("app.log")
	}
	r.until("shown with their size", func(s agent.Status) bool { return s.Files[0].DeletedBytes == int64(len(a)+len(b)) })
	r.write("app.log", c)
	r.remove("app.log")
	st := r.until("the oldest given up", func(s agent.Status) bool { return s.Totals.LostBytes > 0 })
	if st.Totals.LostBytes != uint64(len(a)) || st.Files[0].DeletedBytes != int64(len(b)+len(c)) {
		t.Errorf("%d bytes shown as lost, %d as kept; wanted %d and %d", st.Totals.LostBytes, st.Files[0].DeletedBytes, len(a), len(b)+len(c))
	}
	if log := r.log.String(); !strings.Contains(log, "deleted_max") {
		t.Error("the log does not say why")
	}
	s.Paused = false
	r.apply(s)
	r.ordered("t", b+c)
}

func TestDeletedFileThatItsWriterHoldsOpenIsNotGivenUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.DeletedMaxBytes = 1
	s := r.svc("app.log")
	s.Paused = true
	r.start()
	r.apply(s)
	f, err := os.OpenFile(r.path("app.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteString(lines("a", 0, 1000))
	r.remove("app.log")
	f.WriteString(lines("b", 0, 1000))
	r.cause("app.log", "paused")
	before := time.Now()
	r.until("considered", func(agent.Status) bool { return time.Since(before) > 3*time.Second }) // three looks at it
	s.Paused = false
	r.apply(s)
	r.ordered("t", lines("a", 0, 1000)+lines("b", 0, 1000))
}

func TestDeletedFileIsGivenUpWhereTheDiskIsFull(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.DeletedMinFree = 101 // whatever is free is less
	s := r.svc("app.log")
	s.Paused = true
	r.start()
	r.apply(s)
	r.write("app.log", lines("a", 0, 1000))
	r.remove("app.log")
	st := r.until("given up", func(s agent.Status) bool { return s.Totals.LostBytes > 0 })
	if want := uint64(len(lines("a", 0, 1000))); st.Totals.LostBytes != want {
		t.Errorf("%d bytes shown as lost, %d are", st.Totals.LostBytes, want)
	}
	r.write("app.log", lines("b", 0, 10))
	s.Paused = false
	r.apply(s)
	r.ordered("t", lines("b", 0, 10))
}

func TestDeletedFileShowsWhatIsUnreadInIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.sink.Disconnect("not there")
	r.opt.InFlightBytes = 4 << 20
	r.opt.MaxLineBytes = 100_000
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("a", 0, 50_000))
	r.remove("app.log")
	f := r.cause("app.log", "Kafka away")
	if f.DeletedBytes != int64(len(lines("a", 0, 50_000))) {
		t.Errorf("%d bytes shown as deleted", f.DeletedBytes)
	}
	r.sink.Connect()
	r.ordered("t", lines("a", 0, 50_000))
}
