package agent

import (
	"errors"
	"math/rand/v2"
	"time"
)

// pollItem asks for, and then holds, a look at one open file.
type pollItem struct {
	in     *incarnation
	turns  uint32 // of in when it was asked for
	st     stat
	err    error
	free   int // with freeOK: percent of its file system that is free
	freeOK bool
}

// pollOut is what is being looked at on one file system.
type pollOut struct {
	path  string
	since time.Time
}

// idlePoll is the longest time between two looks at a file: with a nudge that was seen to
// work, polling is only the net below it.
const (
	idlePoll       = time.Second
	idlePollNudged = 30 * time.Second
)

// longestGap is how long a file is left alone by the poll.
func (in *incarnation) longestGap() time.Duration {
	if in.watch.relied() && in.rotatedAt.IsZero() && !in.deleted { // a deleted file keeps the disk
		return idlePollNudged
	}
	return idlePoll
}

// poll has every file looked at whose time has come, by one goroutine for each file
// system: one that hangs leaves the files of the others seen.
func (l *loop) poll(now time.Time) {
	if l.draining {
		return
	}
	var due map[uint64][]pollItem
	for l.looks.due(now) {
		in := l.looks[0]
		if _, out := l.pollsOut[in.id.Dev]; out || in.busy {
			l.lookAgain(in, now.Add(l.opt.PollInterval))
			continue
		}
		l.lookAgain(in, now.Add(idlePollNudged)) // the answer sets it anew
		in.polling = true
		if due == nil {
			due = make(map[uint64][]pollItem)
		}
		due[in.id.Dev] = append(due[in.id.Dev], pollItem{in: in, turns: in.turns})
	}
	for dev, items := range due {
		l.pollsOut[dev] = pollOut{items[0].in.name, now}
		l.wg.Go(func() {
			look(items, l.opt.DeletedMinFree > 0)
			l.a.mail.post(func() {
				delete(l.pollsOut, dev)
				l.polled(items)
			})
		})
	}
}

// look stats files. It may block on a file system that hangs.
func look(items []pollItem, free bool) {
	for i := range items {
		it := &items[i]
		it.st, it.err = it.in.stat()
		if free && it.err == nil && it.st.links == 0 {
			it.free, it.freeOK = freePercent(it.in.file)
		}
	}
}

func (l *loop) polled(items []pollItem) {
	now := time.Now()
	for _, it := range items {
		in := it.in
		in.polling = false
		switch {
		case in.closing:
			in.file.Close()
		case in.turns != it.turns:
			// A turn went out since: "asked at size 100; a line comes; the turn reads to 150; the
			// look says 100" is no truncation. What the turn saw is newer.
			l.lookAgain(in, now.Add(in.pollGap))
		case errors.Is(it.err, errRewritten):
			l.foundTruncated(in, it.st, now)
		case it.err != nil:
			l.readFailed(in, it.err, now)
		default:
			in.free, in.freeKnown = int8(it.free), it.freeOK
			l.looked(in, it.st, now)
		}
	}
}

// looked takes a look at a file that is not being read.
func (l *loop) looked(in *incarnation, st stat, now time.Time) {
	changed := st.size != in.seen.size || st.mtime != in.seen.mtime
	if in.readErr != nil {
		l.lookAgain(in, now.Add(l.opt.PollInterval))
		l.push(in)
		return
	}
	if !changed {
		in.deleted = st.links == 0
		in.pollGap = min(2*in.pollGap, in.longestGap())
		if in.watch.relied() { // the one look after it was begun is enough
			in.pollGap = in.longestGap()
		}
		l.lookAgain(in, now.Add(in.pollGap-rand.N(in.pollGap/8+1))) // those found together are looked at apart
		return
	}
	l.wake(in.src, now)
	if !in.queued {
		in.watch.seenChanged()
	}
	in.pollGap = l.opt.PollInterval
	l.lookAgain(in, now.Add(in.pollGap))
	if st.size < in.pos { // seen here, also where no turn may come: a pause lasts
		l.foundTruncated(in, st, now)
		return
	}
	in.quietSince, in.finishing = time.Time{}, false
	in.more = true
	if st.size < in.seen.size {
		in.sizes = sizeTrail{known: true}
	}
	// The turn learns of a new modification time by itself.
	mtime := in.seen.mtime
	l.observe(in, st, now)
	in.seen.mtime = mtime
	l.push(in)
}

// foundTruncated is what follows a look or a turn that found the file shorter, or other,
// than what was read of it.
func (l *loop) foundTruncated(in *incarnation, st stat, now time.Time) {
	l.truncated(in, now)
	if !in.closing {
		l.observe(in, st, now)
	}
	l.settle(in.src.entry, now)
}

// observe notes a file's size: growth is what comes in.
func (l *loop) observe(in *incarnation, st stat, now time.Time) {
	if grown := st.size - in.seen.size; grown > 0 {
		in.src.tally(counters{inBytes: uint64(grown)})
	}
	in.sizes.note(now, st.size)
	in.seen = st
	in.deleted = st.links == 0
}
