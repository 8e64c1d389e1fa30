package agent

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// nudges tell the loop that files it holds have changed. They belong to the loop.
type nudges struct {
	watch   *inotify
	mail    *mailbox
	notify  func(*incarnation)        // runs in the loop
	waiting map[*incarnation]struct{} // could not be watched: polled, and tried again
	again   *time.Timer               // nil: nothing waits
}

// nudge is one watched file.
type nudge struct {
	in     *incarnation
	next   *nudge      // of the same file; inotify's
	wd     int32       // inotify's
	flag   atomic.Bool // a change was told and not yet acted on
	ended  atomic.Bool // nothing is told any more
	worked bool        // a change was told before a poll saw it; the loop's
	local  bool        // its file system tells of every write
	missed bool        // a poll saw a change that was not told; the loop's
}

func newNudges(mail *mailbox, log *slog.Logger, notify func(*incarnation), moved func()) *nudges {
	return &nudges{watch: newInotify(mail, log, notify, moved), mail: mail, notify: notify, waiting: make(map[*incarnation]struct{})}
}

// add watches an open file, if watching works here. The loop calls it, and looks at the file
// afterwards: what was written before is not told.
func (n *nudges) add(in *incarnation) {
	w := &nudge{in: in}
	if err := n.watch.addFile(w); err != nil {
		n.watch.failed(in.src.path, err)
		n.waiting[in] = struct{}{}
		n.tryLater()
		return
	}
	in.watch = w
}

// drop ends the watch of a file that is about to be closed.
func (n *nudges) drop(in *incarnation) {
	delete(n.waiting, in)
	if in.watch == nil {
		return
	}
	n.watch.dropFile(in.watch)
	in.watch = nil
}

func (n *nudges) tryLater() {
	if n.again == nil {
		n.again = time.AfterFunc(watchAgain, func() { n.mail.post(n.retry) })
	}
}

// retry tries again to watch what could not be watched, until the first that still cannot be.
func (n *nudges) retry() {
	n.again = nil
	for in := range n.waiting {
		if !n.watch.tells(in.id.Dev) {
			continue // asking may wait for a file system that hangs, and the loop must not: it stays polled
		}
		w := &nudge{in: in}
		if n.watch.addFile(w) != nil {
			n.tryLater()
			return
		}
		delete(n.waiting, in)
		in.watch = w
		if w.trusted() {
			n.notify(in) // it may have grown since its last poll, and is polled seldom from now on
		}
	}
	n.watch.mended()
}

// close waits for the reader; all files have been dropped.
func (n *nudges) close() {
	if n.again != nil {
		n.again.Stop()
	}
	n.watch.close()
}

// trusted tells whether a file that nothing is told of has not changed: it is watched on a file
// system that tells of every write. It may be called where in.watch is nil.
func (n *nudge) trusted() bool {
	return n != nil && n.local && !n.missed && !n.ended.Load()
}

// relied tells whether the poll is only the net below the nudges: they are trusted, or have
// worked.
func (n *nudge) relied() bool { return n != nil && !n.ended.Load() && (n.worked || n.trusted()) }

// seenChanged notes that a poll has found the file changed. Where nothing was told of that its
// nudges are not trusted until one works: some kernels do not tell of what is written through
// an overlay to those who watch the file in the layer below, whatever file system that is on.
func (n *nudge) seenChanged() {
	if n != nil && !n.flag.Load() {
		n.missed, n.worked = true, false
	}
}

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
	in.pollGap = in.longestGap() // the look that is due comes when it is due: a turn sees what is new
	in.more = true
	in.quietSince, in.finishing = time.Time{}, false
	in.queued = true
	l.soon = append(l.soon, in)
}
