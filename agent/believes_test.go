package agent_test

import (
	"os"
	"path/filepath"
	"testing"

	"logagent/agent"
)

func TestRemovedStateFolderIsMadeAnewAndPositionsAreSavedInIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("a", 0, 100))
	r.expect("t", lines("a", 0, 100))
	r.until("removed", func(agent.Status) bool { return os.RemoveAll(r.state) == nil }) // a save may be under way
	r.write("app.log", lines("b", 0, 100))
	r.expect("t", lines("a", 0, 100)+lines("b", 0, 100))
	r.until("made anew", func(agent.Status) bool {
		_, err := os.Stat(filepath.Join(r.state, "checkpoint"))
		return err == nil
	})
	if _, err := agent.New(agent.Options{Host: "h2", StateDir: r.state, Sink: r.sink}); err == nil {
		t.Error("another agent could take the folder")
	}
	r.end()
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("c", 0, 100))
	r.expect("t", lines("a", 0, 100)+lines("b", 0, 100)+lines("c", 0, 100))
}

func TestRotatedFileIsToldOfUnderTheNameItHasNow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.svc("app.log")
	s.SendRate = 100
	r.start()
	r.apply(s)
	text := lines("a", 0, 5000)
	r.write("app.log", text)
	r.sink.WaitLines(t, "t", 1)
	rename(t, r.path("app.log"), r.path("app.log.1"))
	r.write("app.log", "b\n")
	r.until("rotated", func(s agent.Status) bool { return s.Files[0].RotatedFiles == 1 && s.Files[0].Inode != 0 })
	for _, name := range []string{"app.log", "app.log.1"} {
		ans := r.a.Answer(t.Context(), agent.Question{Kind: agent.AskFile, Path: r.path(name)})
		if ans.Error != "" || ans.File == nil || ans.File.Path != r.path("app.log") || len(ans.Held) != 2 {
			t.Fatalf("%s: %+v", name, ans)
		}
		old := ans.Held[0]
		if old.State != "rotated" || old.SizeBytes != int64(len(text)) || old.Unread < int64(len(text))/2 || old.Writer != "no" {
			t.Errorf("%s: %+v", name, old)
		}
	}
	if ans := r.a.Answer(t.Context(), agent.Question{Kind: agent.AskFile, Path: r.path("other.log")}); ans.Error == "" {
		t.Errorf("of a file that nobody follows: %+v", ans)
	}
	r.end()
	ans, err := agent.Remembered(r.state, r.path("app.log.1"))
	if err != nil || len(ans.Held) != 2 {
		t.Fatalf("%+v, %v", ans, err)
	}
	for _, h := range ans.Held {
		if h.Path == r.path("app.log.1") && (h.Committed == 0 || h.Unread != int64(len(text))-h.Committed) {
			t.Errorf("remembered: %+v", h)
		}
	}
	if _, err := agent.Remembered(t.TempDir(), r.path("app.log")); err == nil {
		t.Error("an empty folder remembers something")
	}
}

func TestOfWhatAllowPathsHidesOnlyTheEntryIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	r.write("app.log", lines("a", 0, 10))
	r.expect("t", lines("a", 0, 10))
	r.end()
	r.opt.Allow = []string{"/nowhere/**"} // from now on
	r.start()
	r.apply(r.svc("app.log"))
	r.until("refused", func(s agent.Status) bool { return s.Files[0].State == agent.StateFailing })
	ans := r.a.Answer(t.Context(), agent.Question{Kind: agent.AskFile, Path: r.path("app.log")})
	if ans.File == nil || ans.File.State != agent.StateFailing || ans.File.Inode != 0 || ans.File.CommittedBytes != 0 || len(ans.Held) > 0 {
		t.Errorf("of the entry's file: %+v, %+v", ans.File, ans)
	}
	if ans := r.a.Answer(t.Context(), agent.Question{Kind: agent.AskFile, Path: r.path("other.log")}); ans.Error == "" || ans.File != nil || len(ans.Held) > 0 {
		t.Errorf("of another: %+v", ans)
	}
}
