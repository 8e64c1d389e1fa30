package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"logagent/internal/lab"
)

// Rotation by the real logrotate while the files are written.

// How writers hear of a rotation. The script of the first returns when they have opened
// their files anew, so that nothing is written any more to what is compressed next; the
// second leaves them some late lines for the old file.
const (
	reopenAndWait = "sharedscripts\npostrotate\ntouch %[1]s; i=0; while [ -e %[1]s ] && [ $i -lt 600 ]; do sleep 0.05; i=$((i+1)); done\nendscript"
	reopenLater   = "sharedscripts\npostrotate\ntouch %[1]s\nendscript"
)

// everyRotation is a new name for each, where names are made of dates.
const everyRotation = "dateext\ndateformat -%Y%m%d-%s"

type rotator struct {
	*place
	logs []*lab.Ledger
	conf string
	done int
}

// newRotator writes the configuration of logrotate for the place's in/*.log and lets
// writers open their files anew when its scripts ask for it.
func newRotator(t *testing.T, p *place, directives []string, logs ...*lab.Ledger) *rotator {
	t.Helper()
	if _, err := exec.LookPath("logrotate"); err != nil {
		cannot(t, "logrotate", "there is no program logrotate")
	}
	// The real one takes no configuration that others may write.
	r := &rotator{place: p, logs: logs, conf: filepath.Join(p.dir, "logrotate.conf")}
	asked := filepath.Join(p.dir, "reopen")
	body := strings.ReplaceAll(strings.Join(directives, "\n"), "%[1]s", asked)
	body = strings.ReplaceAll(body, "%[2]s", filepath.Join(p.dir, "old"))
	writeFile(t, r.conf, fmt.Sprintf("%q {\nrotate 1000\n%s\n}\n", filepath.Join(p.dir, "in")+"/*.log", body))
	if err := os.MkdirAll(filepath.Join(p.dir, "old"), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { // ends with the test
		for ctx.Err() == nil {
			if _, err := os.Stat(asked); err == nil {
				for _, l := range logs {
					if err := l.Reopen(); err != nil {
						t.Error(err)
						return
					}
				}
				if err := os.Remove(asked); err != nil {
					t.Error(err)
					return
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return r
}

// keepWritingHard writes to each ledger a few lines a millisecond, so that some of them fall
// into every moment of a rotation, until stop is called or the test ends.
func keepWritingHard(t *testing.T, logs ...*lab.Ledger) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, l := range logs {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := l.Write(3); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

// rotate runs logrotate once more, when each log has got n lines more.
func (r *rotator) rotate(t *testing.T, n int) {
	t.Helper()
	for _, l := range r.logs {
		from := l.Count()
		eventually(t, "lines between rotations", func() bool { return l.Count() >= from+n })
	}
	r.done++
	// Where a name is made of the second a second rotation within it is refused.
	eventually(t, fmt.Sprintf("rotation %d by logrotate", r.done), func() bool {
		out, err := exec.Command("logrotate", "-f", "-s", filepath.Join(r.dir, "logrotate.state"), r.conf).CombinedOutput()
		if err != nil && !strings.Contains(string(out), "already exists") {
			t.Logf("logrotate: %v\n%s", err, out)
		}
		return len(r.rotated(t)) == r.done*len(r.logs)
	})
}

// rotated names the rotated files.
func (r *rotator) rotated(t *testing.T) (names []string) {
	t.Helper()
	for _, dir := range []string{"in", "old"} {
		err := filepath.WalkDir(filepath.Join(r.dir, dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && filepath.Ext(path) != ".log" {
				names = append(names, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// standing is every whole line in the logs and their rotated files, and what stands at
// their ends without a line end.
func (r *rotator) standing(t *testing.T) (lines, fragments []string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(r.dir, "in", "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, r.rotated(t)...) {
		text := []byte(readFile(t, name))
		if filepath.Ext(name) == ".gz" {
			z, err := gzip.NewReader(bytes.NewReader(text))
			if err == nil {
				text, err = io.ReadAll(z)
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		all := strings.Split(string(text), "\n")
		lines = append(lines, all[:len(all)-1]...)
		if last := all[len(all)-1]; last != "" {
			fragments = append(fragments, last)
		}
	}
	return lines, fragments
}

// settled waits until every line that stands in a file stands in the topic, ends the
// daemon, and wants nothing doubled and nothing foreign. What logrotate itself has lost,
// between its copy and its truncation, may stand in the topic or not.
func (r *rotator) settled(t *testing.T, d *process, topic string) {
	t.Helper()
	standing, fragments := r.standing(t)
	r.complete(t, standing, topic)
	r.stop(t, d)
	all := written(r.logs...)
	got := lab.Values(r.records(t, topic))
	if lost := lab.Compare(standing, got).Lost; len(lost) > 0 {
		t.Errorf("%d of the lines that stand in files are lost: %.300q", len(lost), lost)
	}
	diff := lab.Compare(all, got)
	diff.Foreign = slices.DeleteFunc(diff.Foreign, func(line string) bool { return slices.Contains(fragments, line) })
	t.Logf("%d lines, %d rotations: %d lost by logrotate itself, of which %d are delivered; %d doubled, %d foreign",
		len(all), r.done, len(all)-len(standing), len(all)-len(standing)-len(diff.Lost), len(diff.Doubled), len(diff.Foreign))
	if diff.Lost = nil; !diff.None() {
		t.Error(diff)
	}
}

func TestDeliveryOverTheRealLogrotate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		directives []string
		loses      bool // logrotate itself may lose lines
	}{
		{"create, compress", []string{"create", "compress", reopenAndWait}, false},
		{"create, delaycompress", []string{"create", "compress", "delaycompress", reopenLater}, false},
		{"create, dateext", []string{"create", everyRotation, reopenLater}, false},
		{"create, dateext, compress", []string{"create", "compress", everyRotation, reopenAndWait}, false},
		{"nocreate: the writer makes the new file", []string{"nocreate", reopenLater}, false},
		{"olddir", []string{"create", "olddir %[2]s", reopenLater}, false},
		{"olddir, compress", []string{"create", "compress", "olddir %[2]s", reopenAndWait}, false},
		{"copytruncate", []string{"copytruncate"}, true},
		{"copytruncate, compress", []string{"copytruncate", "compress"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			logs := []*lab.Ledger{p.newLedger(t, "in/a.log", 0), p.newLedger(t, "in/b.log", 0)}
			r := newRotator(t, p, c.directives, logs...)
			d := start(t, p.dir, "--daemon")
			p.apply(t, document(t, p.whole("in/*.log", "lines")))
			stop := keepWritingHard(t, logs...)
			for range 5 {
				r.rotate(t, 1000)
			}
			appendLines(t, 200, logs...)
			stop()
			if standing, _ := r.standing(t); !c.loses && len(standing) != len(written(logs...)) {
				t.Errorf("logrotate left %d of %d lines", len(standing), len(written(logs...)))
			}
			r.settled(t, d, "lines")
		})
	}
}

func TestDeliveryOverTheRealLogrotateWhileTheDaemonIsAway(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		directives []string
	}{
		{"create, compress", []string{"create", "compress", reopenAndWait}},
		{"create, delaycompress", []string{"create", "compress", "delaycompress", reopenLater}},
		{"create, dateext, compress", []string{"create", "compress", everyRotation, reopenAndWait}},
		{"copytruncate", []string{"copytruncate"}},
		{"copytruncate, compress", []string{"copytruncate", "compress"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			logs := []*lab.Ledger{p.newLedger(t, "in/a.log", 0), p.newLedger(t, "in/b.log", 0)}
			r := newRotator(t, p, c.directives, logs...)
			p.begun(t, document(t, p.whole("in/*.log", "lines")))
			stop := keepWritingHard(t, logs...)
			for range 3 {
				r.rotate(t, 200)
				d := start(t, p.dir, "--daemon")
				p.more(t, "lines", 100)
				r.rotate(t, 100)
				p.stop(t, d)
				r.rotate(t, 100) // read to somewhere
				r.rotate(t, 100) // never seen
			}
			stop()
			r.settled(t, start(t, p.dir, "--daemon"), "lines")
		})
	}
}
