package agent

import (
	"io"
	"os"
	"time"
)

// incarnation is one open file of a source: (device, inode, birth time, generation). The
// active one stands at the path; the others were rotated away and are drained through
// the descriptor held here.
//
// A turn (turn.go) owns the reader's fields while busy is set; the loop owns everything
// otherwise.
type incarnation struct {
	src  *source
	file *os.File
	data io.ReaderAt // its content: file, or what that inflates to
	zip  *zipped     // nil: not compressed
	id   fileID
	gen  uint64 // counts truncations
	name string // where it was last seen, for people

	// Reader.
	pos     int64 // next byte to read
	anchor  mark  // the bytes before pos, as they were when they were read
	head    mark  // the first bytes of the file
	trail   trail // anchors it had before
	long    longLine
	skips   []*span // after a rewind: stretches ahead of pos that are acknowledged already
	avgLine float32 // bytes per line lately

	// Loop. The order of the fields keeps it small: there may be ten thousand of them.
	need      int32  // buffer that the next turn needs, 0: any
	turns     uint32 // that went out
	lookPlace int32  // in loop.looks, from 1; 0: it is not there
	readPos   int64  // pos, head and how far pos is into a long line, after the last turn
	readHead  mark
	readTrail trail
	midLine   int64
	readSkips []*span
	win       *window
	seen      stat  // of the last look
	partial   int64 // unfinished last line, known at the end of the file
	waitSince time.Time
	sought    *sought // the last seek that moved it; nil: none did
	savedSeq  uint64  // its first checkpoint entry is on disk once the saver has reached this
	retryAt   moment  // when a failed read is tried again
	readErr   error   // the last read failed

	rotatedAt  time.Time // zero: active
	quietSince time.Time // at the end and no change since
	gaveUp     string    // why the deleted file is given up as soon as no turn is out; "": it is not

	nextPoll moment // when it is looked at next: lookAgain sets it
	pollGap  time.Duration
	lastTurn time.Time
	watch    *nudge
	sizes    sizeTrail

	nuls         bool // the reader's: at the beginning of a truncated file: skip a leading run of NULs
	busy         bool
	polling      bool // a look at its size is out
	more         bool // there may be something to read
	again        bool // a change was told while a turn was out
	told         bool // a change was told and no turn has seen it yet
	queued       bool // stands in a run queue or a waiting list
	due          bool // first of those who wait for send_rate
	wait         waitKind
	drained      bool // since rotatedAt the end was reached once
	finishing    bool // the unterminated rest may be sent
	deleted      bool
	free         int8 // percent of its file system, of the last look while deleted
	freeKnown    bool // a look has told free
	leaseRefused bool // F_SETLEASE is not allowed to us here
	closing      bool // to be closed once nothing is in flight and no turn is out
}

// longLine is the state of a line longer than max_line_bytes that is being read in pieces.
type longLine struct {
	active  bool
	start   int64 // where the line begins: committed waits there
	part    int   // pieces cut so far
	discard bool  // the rest of the line is passed over
}

// waitKind is where a reader really waits; its cause in words comes from it.
type waitKind uint8

const (
	waitNone     waitKind = iota // running or about to
	waitEOF                      // at the end of the file
	waitThrottle                 // for send_rate
	waitWindow                   // for verdicts: its own window or the agent's budget is full
	waitSave                     // for its first position to reach the disk
	waitOlder                    // for an older incarnation to be read first
	waitResolve                  // for what is in flight to be resolved before a new order of things
	waitError                    // for the next try after a read error
	waitPaused
	waitInflate // for the memory to decompress
	waitKinds
)

// String is for the person who asks what a file waits for.
func (k waitKind) String() string {
	return [...]string{
		waitNone: "reading", waitEOF: "more lines", waitThrottle: "send_rate", waitWindow: "answers of Kafka",
		waitSave: "its first position to be saved", waitOlder: "an older file to be read first",
		waitResolve: "what is in flight to be resolved", waitError: "the next try after an error", waitPaused: "the end of the pause",
		waitInflate: "its turn to be decompressed",
	}[k]
}

// synced copies what the loop needs of the reader's fields. No turn is out.
func (in *incarnation) synced() {
	in.readPos, in.readHead, in.readTrail, in.readSkips, in.midLine = in.pos, in.head, in.trail, in.skips, 0
	if in.long.active {
		in.midLine = in.pos - in.long.start
	}
}

// unread returns the bytes between what was read and the file's size, without the rest of
// an unfinished last line.
func (in *incarnation) unread() int64 {
	return max(0, in.seen.size-in.readPos-max(0, in.partial-in.midLine))
}

// lag returns the bytes of complete lines that are not acknowledged.
func (in *incarnation) lag() int64 {
	return max(0, in.seen.size-in.win.committed-in.partial)
}

// resolved tells whether nothing of it is in flight or being read.
func (in *incarnation) resolved() bool { return !in.busy && in.win.unresolved == 0 }

// rewind goes back to committed after a verdict other than success. All verdicts are in.
func (in *incarnation) rewind() {
	in.skips = append(in.win.rewind(), in.skips...)
	in.pos, in.anchor = in.win.committed, in.win.committedAnchor
	in.trail = in.trail.until(in.pos)
	in.long = longLine{}
	in.need = 0
	in.partial = 0
	in.more = true
	in.synced()
}

// restart begins the file anew after a truncation: a new generation of the same inode.
func (in *incarnation) restart() {
	in.gen++
	in.pos, in.anchor, in.head, in.trail = 0, mark{}, mark{}, nil
	in.long, in.skips, in.need, in.partial = longLine{}, nil, 0, 0
	in.win = &window{owner: in}
	in.sought = nil
	in.nuls = true
	in.more = true
	in.sizes = sizeTrail{}
	in.synced()
}
