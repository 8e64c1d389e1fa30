package agent

import (
	"errors"
	"time"
)

// A seek moves the committed position of files: over a backlog that nobody wants any more,
// or back to lines that are wanted again. It has two halves. A question (AskSeek) makes a
// plan: which incarnation goes from where to where, and what that skips or repeats; it moves
// nothing. Agent.Seek then carries out exactly that plan. Targets are absolute positions in
// incarnations that the plan names, so a plan that is carried out twice, or late, or after a
// rotation, never skips a byte that it did not tell of:
//
//	plan: inode 7, generation 2, 100 → 900. By then 950 is committed: already past, nothing
//	moves back. Inode 7 was truncated: generation 3, refused. Inode 7 was renamed: it still is
//	the same incarnation, moved.

// AskSeek asks for a SeekPlan.
const AskSeek = "seek"

// SeekTo says where positions are moved to.
type SeekTo string

const (
	SeekEnd       SeekTo = "end"       // after the last line end; rotated files that are still read are finished
	SeekBeginning SeekTo = "beginning" // to the first byte, also of the rotated files that are still read
	SeekTime      SeekTo = "time"      // to the first line of that time or later
	SeekOffset    SeekTo = "offset"    // to the first line that begins at this byte or after it
	SeekBack      SeekTo = "back"      // takes back what another seek moved
)

// SeekGoal is what an operator asks for. Without Question.Path it is about every file of the
// entry LogPath, or of the entries of Service.
type SeekGoal struct {
	To      SeekTo      `json:"to"`
	LogPath string      `json:"log_path,omitempty"` // beside Question.Path: where no followed file has that path
	Service string      `json:"service,omitempty"`
	Time    time.Time   `json:"time,omitzero"`
	Offset  int64       `json:"offset,omitempty"`
	Back    []SeekMoved `json:"back,omitempty"` // with SeekBack: the outcome to take back
}

// Where the file of a SeekFile stands.
const (
	StandsActive    = "active"    // at its path
	StandsRotated   = "rotated"   // it was rotated away and is still read
	StandsTruncated = "truncated" // it was truncated, and the copy of its bytes is waited for
)

// SeekFile names one incarnation.
type SeekFile struct {
	LogPath    string `json:"log_path"` // of its entry
	Service    string `json:"service"`
	Path       string `json:"path"`           // the followed path
	Name       string `json:"name,omitempty"` // where it stands, if that is not Path
	Stands     string `json:"stands"`         // active, rotated or truncated
	Device     uint64 `json:"device"`
	Inode      uint64 `json:"inode"`
	Birth      int64  `json:"birth,omitempty"`
	Generation uint64 `json:"generation"`
	Compressed bool   `json:"compressed,omitempty"` // positions are of the content
}

func (f *SeekFile) id() fileID { return fileID{f.Device, f.Inode, f.Birth} }

// SeekRange is a stretch of a file.
type SeekRange struct {
	Start int64 `json:"start"`
	End   int64 `json:"end"`
}

// SeekMove is what is to become of one incarnation.
type SeekMove struct {
	SeekFile
	From      int64 `json:"from"` // committed when the plan was made
	To        int64 `json:"to"`   // where a line begins
	SizeBytes int64 `json:"size_bytes"`
	// Back to To, but not beyond Until: what comes after it was delivered, and is not
	// repeated; nor is what Sent names. 0: everything is.
	Until int64       `json:"until,omitempty"`
	Sent  []SeekRange `json:"sent,omitempty"`
	// Anchor remembers the bytes before the farther of the two positions: a file that was
	// truncated before anything of it was delivered is known by nothing else.
	Anchor mark `json:"anchor"`

	SeekBytes
	Lines        int64  `json:"lines,omitempty"`         // of them all, estimated
	LinesGuessed bool   `json:"lines_guessed,omitempty"` // from the first lines of a compressed file alone
	Layout       string `json:"layout,omitempty"`        // with SeekTime: how its lines tell the time
	Note         string `json:"note,omitempty"`

	disorder time.Duration // with SeekTime: by how much its times step back
}

// SeekBytes is what a move does to lines, but for those that are delivered already and stay so.
type SeekBytes struct {
	SkippedBytes int64 `json:"skipped_bytes,omitempty"` // not sent
	// Repeated is sent again, as far as it was sent: a file that was begun at its end did not
	// send what stands before.
	RepeatedBytes int64 `json:"repeated_bytes,omitempty"`
	ReturnedBytes int64 `json:"returned_bytes,omitempty"` // was skipped by a seek, and is sent after all
}

// SeekPlan is what a seek would move. It is good for SeekGoodFor.
type SeekPlan struct {
	Path    string    `json:"path,omitempty"` // as it was asked for
	Goal    SeekGoal  `json:"goal"`           // without Back
	StateID string    `json:"state_id"`       // of the agent that made it
	Made    time.Time `json:"made"`           // the agent's clock

	Moves         []SeekMove `json:"moves"`
	Unmoved       int        `json:"unmoved,omitempty"` // files that stand where they are wanted already
	SkippedBytes  int64      `json:"skipped_bytes"`
	RepeatedBytes int64      `json:"repeated_bytes"`
	ReturnedBytes int64      `json:"returned_bytes,omitempty"`
	Lines         int64      `json:"lines"` // estimated
	LinesGuessed  bool       `json:"lines_guessed,omitempty"`
	Warnings      []string   `json:"warnings,omitempty"`
}

// SeekGoodFor is how old a plan may be when it is carried out: nobody reviewed what stands
// in the files a day later.
const SeekGoodFor = 24 * time.Hour

// maxSeekMoves bounds a plan: it travels in one etcd value, and stands in the history too.
const maxSeekMoves = 1000

// What became of a SeekMove.
const (
	SeekWasMoved   = "moved"
	SeekWasPast    = "already past" // delivered so far by itself: nothing was moved back
	SeekWasRefused = "refused"      // the file is not as the plan found it
)

// SeekMoved is what became of one incarnation.
type SeekMoved struct {
	SeekFile
	Result string      `json:"result"` // moved, already past or refused
	Why    string      `json:"why,omitempty"`
	From   int64       `json:"from"` // committed before
	To     int64       `json:"to"`
	Sent   []SeekRange `json:"sent,omitempty"`  // of what was skipped: delivered already, out of order
	Anchor mark        `json:"anchor,omitzero"` // the bytes before the farther of the two positions
	SeekBytes
}

// States of a SeekOutcome.
const (
	SeekDone    = "done"    // all of the files, or some: each tells
	SeekRefused = "refused" // nothing was moved
)

// SeekOutcome is what became of a plan.
type SeekOutcome struct {
	State         string      `json:"state"`
	Why           string      `json:"why,omitempty"` // it was refused as a whole
	At            time.Time   `json:"at"`            // the agent's clock
	Files         []SeekMoved `json:"files,omitempty"`
	SkippedBytes  int64       `json:"skipped_bytes"`
	RepeatedBytes int64       `json:"repeated_bytes"`
	ReturnedBytes int64       `json:"returned_bytes,omitempty"`
}

// Moved counts the files that were moved, and those that were refused.
func (o *SeekOutcome) Moved() (moved, refused int) {
	for i := range o.Files {
		switch o.Files[i].Result {
		case SeekWasMoved:
			moved++
		case SeekWasRefused:
			refused++
		}
	}
	return moved, refused
}

// sought is the last seek that moved a file: carried out again after a crash it is known.
// It is never written once it was made.
type sought struct {
	ID   string      `json:"id"`
	From int64       `json:"from"`
	To   int64       `json:"to"`
	Sent []SeekRange `json:"sent,omitempty"`
	// Until is how far a move that took another back sends; 0: to From.
	Until int64 `json:"until,omitempty"`
	SeekBytes

	Anchor mark  `json:"anchor"`
	At     int64 `json:"at"` // Unix seconds
}

// keepSought is how long a seek is known: by then its outcome stands in etcd, or its plan is
// too old.
const keepSought = 2 * SeekGoodFor

var errOffsetOfMany = errors.New("an offset belongs to one file: name its path")

// check tells what is wrong with a goal.
func (g *SeekGoal) check(path string) error {
	switch g.To {
	case SeekEnd, SeekBeginning:
	case SeekTime:
		if g.Time.IsZero() {
			return errors.New("seek to a time: which one is not said")
		}
	case SeekOffset:
		switch {
		case g.Offset < 0:
			return errors.New("seek to an offset: it is negative")
		case path == "":
			return errOffsetOfMany
		}
	case SeekBack:
		if len(g.Back) == 0 {
			return errors.New("there is nothing to take back")
		}
		return nil
	default:
		return errors.New("unknown goal of a seek; end, beginning, time and offset are known")
	}
	if path == "" && g.LogPath == "" && g.Service == "" {
		return errors.New("seek: neither a path nor a service is named")
	}
	return nil
}
