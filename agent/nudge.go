package agent

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/nxadm/tail/watch"
	"golang.org/x/sys/unix"
)

// This file holds all there is to know about github.com/nxadm/tail/watch, which tells
// cheaply that a file has changed. Polling is always behind it: whatever goes wrong here
// costs latency, never a line.
//
// Its tracker ends the process when no inotify instance is left; one is probed for before
// the first use. It watches names, not descriptors: /proc/self/fd/N of a file we hold
// names the file itself, whatever becomes of its path; the number is used again for
// another file, so a watch is dropped before its descriptor is closed. The tracker
// delivers events for one name at a time and waits for the receiver, so receivers only
// set a flag.

// maxNudged bounds the watched files: each costs a goroutine and a kernel watch. The
// others are polled.
const maxNudged = 4096

type nudges struct {
	mail   *mailbox
	log    *slog.Logger
	on     bool
	probed bool
	said   bool
	count  int
	wg     sync.WaitGroup     // one per watched file
	notify func(*incarnation) // runs in the loop
	moved  func()             // the file's name may have changed; any goroutine
}

// nudge is one watched file.
type nudge struct {
	name   string
	flag   atomic.Bool // a change was told and not yet acted on
	worked bool        // a change was told before a poll saw it; the loop's
}

func newNudges(mail *mailbox, log *slog.Logger, notify func(*incarnation), moved func()) *nudges {
	return &nudges{mail: mail, log: log, notify: notify, moved: moved}
}

// add watches an open file, if watching works here. The loop calls it.
func (n *nudges) add(in *incarnation) {
	if !n.probed {
		n.probed = true
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		if err != nil {
			n.log.Warn("no inotify: files are polled", "err", err)
			return
		}
		unix.Close(fd)
		n.on = true
	}
	if !n.on || n.count >= maxNudged {
		return
	}
	w := &nudge{name: fmt.Sprintf("/proc/self/fd/%d", in.file.Fd())}
	if err := watch.Watch(w.name); err != nil {
		if !n.said {
			n.said = true
			n.log.Warn("cannot watch for changes: files are polled", "path", in.src.path, "err", err)
		}
		// A failed Watch leaves its channel behind; RemoveWatch would count below zero.
		return
	}
	events := watch.Events(w.name)
	in.watch = w
	n.count++
	n.wg.Go(func() {
		for ev := range events {
			if ev.Op&(fsnotify.Rename|fsnotify.Remove|fsnotify.Chmod) != 0 {
				n.moved() // IN_ATTRIB is what an unlink of an open file gives
			}
			if !w.flag.Swap(true) {
				n.mail.post(func() { n.notify(in) })
			}
		}
	})
}

// drop ends the watch of a file that is about to be closed.
func (n *nudges) drop(in *incarnation) {
	if in.watch == nil {
		return
	}
	n.count--
	// An error means the kernel dropped the watch first: the file was deleted.
	_ = watch.RemoveWatch(in.watch.name)
	in.watch = nil
}

// close waits for the receivers, all of whose files have been dropped.
func (n *nudges) close() { n.wg.Wait() }

// nudged acts on a change that was told: at once, or when coalesce has passed since the
// last turn.
func (l *loop) nudged(in *incarnation) {
	if in.watch == nil || in.closing {
		return
	}
	in.watch.flag.Store(false)
	in.watch.worked, in.told = true, true
	switch {
	case in.busy:
		in.again = true // the turn that is out may just have read to the end
		return
	case in.queued && in.wait == waitNone, in.wait == waitEOF && in.queued:
		return // a turn is about to come
	case in.wait != waitEOF:
		l.lookAgain(in, time.Now()) // its size, and so its lag, is news however long it waits
		return
	}
	in.pollGap = in.longestGap()
	l.lookAgain(in, time.Now().Add(in.pollGap))
	in.more = true
	in.quietSince, in.finishing = time.Time{}, false
	in.queued = true
	l.soon = append(l.soon, in)
}
