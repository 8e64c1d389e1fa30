package main

import (
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"logagent/internal/lab"
)

func TestDeliveryGoesOnByPollingWhereInotifyRunsOut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, limit, why string }{
		{"no instance", "max_inotify_instances=0", "too many open files"},
		{"one watch", "max_inotify_watches=1", "no space left on device"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			var logs []*lab.Ledger
			for _, name := range []string{"a", "b", "c"} {
				logs = append(logs, p.newLedger(t, "in/"+name+".log", 50<<10))
			}
			d := startWith(t, p.dir, []string{"--daemon"}, func(d *process) { limited(t, d, c.limit) })
			p.apply(t, document(t, p.whole("in/*.log", "lines")))
			p.logged(t, "files are polled")
			stop := keepWriting(t, 1000, logs...)
			p.more(t, "lines", 5000) // several rotations of each
			stop()
			p.exactly(t, d, written(logs...), "lines")
			if n := p.countLogged(t, "files are polled", c.why); n != 1 || p.countLogged(t, "files are polled") != 1 {
				t.Errorf("want it said once that files are polled, and why (%s), got %d times", c.why, n)
			}
		})
	}
}

func TestDeliveryFromAMountWithoutInotifyEvents(t *testing.T) {
	t.Parallel()
	if !ownMounts(t) {
		return
	}
	p := newPlace(t)
	// What is written through the upper folder of an overlay is told to nobody who watches
	// the merged one.
	layers, merged := filepath.Join(p.dir, "layers"), filepath.Join(p.dir, "in")
	mount(t, "tmpfs", layers, "size=64m")
	for _, dir := range []string{"lower", "upper", "work"} {
		if err := unix.Mkdir(filepath.Join(layers, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mount(t, "overlay", merged, "lowerdir="+layers+"/lower,upperdir="+layers+"/upper,workdir="+layers+"/work")
	log := p.newLedger(t, "layers/upper/a.log", 0)
	path := filepath.Join(merged, "a.log")

	d := start(t, p.dir, "--daemon")
	p.apply(t, document(t, p.whole("in/a.log", "lines")))
	appendLines(t, 1000, log)
	p.complete(t, written(log), "lines")

	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	if _, err := unix.InotifyAddWatch(watch, path, unix.IN_MODIFY); err != nil {
		t.Fatal(err)
	}
	stop := keepWriting(t, 1000, log)
	p.more(t, "lines", 1000)
	if n, err := unix.Read(watch, make([]byte, 4096)); !errors.Is(err, unix.EAGAIN) {
		t.Fatalf("this mount does tell of changes: %d bytes of events, %v", n, err)
	}
	stop()

	// An overlay does not see what changes the names in its upper folder, so the renaming
	// goes through the merged one, and the new file is written below it again.
	for n := range 3 {
		fresh := path + ".new"
		writeFile(t, fresh, "")
		appendLines(t, 300, log)
		if err := errors.Join(unix.Rename(path, path+"."+string(rune('1'+n))), unix.Rename(fresh, path)); err != nil {
			t.Fatal(err)
		}
		appendLines(t, 300, log) // late ones
		if err := log.Reopen(); err != nil {
			t.Fatal(err)
		}
		appendLines(t, 300, log)
		p.complete(t, written(log), "lines")
	}
	p.exactly(t, d, written(log), "lines")
}
