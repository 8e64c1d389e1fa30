package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"logagent/agent"
)

// shift rotates by number: name.1 becomes name.2 and so on, and name becomes name.1.
func (r *rig) shift(name string) {
	r.t.Helper()
	n := 1
	for ; ; n++ {
		if _, err := os.Lstat(r.path(fmt.Sprintf("%s.%d", name, n))); err != nil {
			break
		}
	}
	for ; n > 1; n-- {
		rename(r.t, r.path(fmt.Sprintf("%s.%d", name, n-1)), r.path(fmt.Sprintf("%s.%d", name, n)))
	}
	rename(r.t, r.path(name), r.path(name+".1"))
}

// under counts the lines that came with each path.
func (r *rig) under(topic string) map[string]int {
	by := make(map[string]int)
	for _, rec := range r.sink.Lines(topic) {
		by[filepath.Base(rec.Path)]++
	}
	return by
}

// underOne fails unless every line of a topic came with the path of name.
func (r *rig) underOne(topic, name string) {
	r.t.Helper()
	if by := r.under(topic); len(by) != 1 || by[name] == 0 {
		r.t.Fatalf("want every line under %s, got %v", name, by)
	}
}

func TestFileRotatedUnseenBelongsToItsPathThoughAGlobMatchesItsNewName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		scheme, glob, name string
		rotate             func(r *rig, n int)
	}{
		{"numbers", "access.log*", "access.log", func(r *rig, _ int) { r.shift("access.log") }},
		{"dates", "access*", "access.log", func(r *rig, n int) {
			rename(r.t, r.path("access.log"), r.path(fmt.Sprintf("access.log-202611%02d", n)))
		}},
		{"dates before the extension", "app*.log", "app.log", func(r *rig, n int) { // sorts before the path
			rename(r.t, r.path("app.log"), r.path(fmt.Sprintf("app-202611%02d.log", n)))
		}},
	} {
		t.Run(c.scheme, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.opt.RotateWait = time.Minute // what was rotated is still held when the next one is
			r.start()
			want := lines("first", 0, 10)
			r.write(c.name, want)
			r.apply(r.svc(c.glob))
			r.expect("t", want)
			rotations := 1
			for i := range 5 {
				for j := range 3 { // most of them between two looks
					c.rotate(r, rotations)
					rotations++
					l := lines(fmt.Sprint(i, j), 0, 10)
					r.write(c.name, l)
					want += l
				}
				r.expect("t", want)
			}
			r.underOne("t", c.name)
		})
	}
}

func TestFilesRotatedWhileTheAgentWasAwayBelongToTheirPathThoughAGlobMatchesTheirNewNames(t *testing.T) {
	t.Parallel()
	for _, dated := range []bool{false, true} {
		r := newRig(t)
		r.start()
		want := lines("first", 0, 10)
		r.write("app.log", want)
		r.apply(r.svc("app*log*"))
		r.expect("t", want)
		r.end()
		for i := range 3 {
			l := lines(fmt.Sprint("later", i), 0, 10)
			r.write("app.log", l)
			want += l
			if dated {
				rename(t, r.path("app.log"), r.path(fmt.Sprintf("app-202611%02d.log", i+1)))
			} else {
				r.shift("app.log")
			}
		}
		r.write("app.log", lines("last", 0, 10))
		r.start()
		r.apply(r.svc("app*log*"))
		r.ordered("t", want+lines("last", 0, 10))
		r.underOne("t", "app.log")
	}
}

func TestLogsWithNamesLikeRotatedOnesAreLogsOfTheirOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	want := lines("worker", 0, 10)
	r.write("worker", want)
	r.apply(r.svc("worker*"))
	r.expect("t", want)
	for _, name := range []string{"worker-1", "worker-2", "worker-20261122"} {
		r.shift("worker")
		for _, to := range []string{name, "worker"} {
			l := lines(to+" after "+name, 0, 10)
			r.write(to, l)
			want += l
		}
		r.expect("t", want)
	}
	if by := r.under("t"); by["worker"] != 40 || by["worker-1"] != 10 || by["worker-2"] != 10 || by["worker-20261122"] != 10 {
		t.Errorf("want 40 lines under worker and 10 under each of the others, got %v", by)
	}
}

func TestRotatedFileThatGrowsAfterItWasFinishedIsReadOnThoughAGlobMatchesItsName(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	want := lines("first", 0, 10)
	r.write("access.log", want)
	r.apply(r.svc("access.log*"))
	r.expect("t", want)
	r.shift("access.log")
	r.write("access.log", lines("second", 0, 10))
	want += lines("second", 0, 10)
	for i := range 2 {
		r.until("finished", func(agent.Status) bool {
			return strings.Count(r.log.String(), "rotated file finished") > i
		})
		l := lines(fmt.Sprint("late", i), 0, 10)
		r.write("access.log.1", l)
		want += l
		r.expect("t", want)
	}
	r.underOne("t", "access.log")
}
