package agent

import "time"

// Kinds of Question.
const (
	AskPath = "path" // does this path exist, can it be read
	AskGlob = "glob" // which files does this glob match
	AskFile = "file" // what does the agent believe about this file
)

// Question is put to an agent through its socket or through etcd (ROOT.ask). Paths are
// held to allow_paths.
type Question struct {
	Kind    string   `json:"kind"`
	Path    string   `json:"path"`
	Exclude []string `json:"exclude,omitempty"` // with AskGlob
	// Seek says where to, with AskSeek. Path is then that of one file, or empty.
	Seek *SeekGoal `json:"seek,omitempty"`
}

// Answer answers a Question. Error is set where the question could not be answered.
type Answer struct {
	Error      string        `json:"error,omitempty"`
	Exists     bool          `json:"exists,omitempty"`
	Readable   bool          `json:"readable,omitempty"`
	Why        string        `json:"why,omitempty"` // why it is not readable
	SizeBytes  int64         `json:"size_bytes,omitempty"`
	Modified   time.Time     `json:"modified,omitzero"`
	MatchCount int           `json:"match_count,omitempty"` // all files the glob matches
	Matches    []string      `json:"matches,omitempty"`     // the first MaxMatches of them, sorted
	File       *FileStatus   `json:"file,omitempty"`
	Held       []Incarnation `json:"held,omitempty"` // with AskFile: every incarnation of the path
	Seek       *SeekPlan     `json:"seek,omitempty"` // with AskSeek
}

// MaxMatches bounds the paths in an Answer.
const MaxMatches = 100

// Incarnation is one open or remembered file as the agent believes it to be.
type Incarnation struct {
	Path       string `json:"path"`
	Device     uint64 `json:"device"`
	Inode      uint64 `json:"inode"`
	Generation uint64 `json:"generation"`
	Committed  int64  `json:"committed"`
	SizeBytes  int64  `json:"size_bytes"`      // -1: not known
	Unread     int64  `json:"unread_bytes"`    // between the reader's position and the end; of one not open, beyond committed; -1: not known
	State      string `json:"state"`           // active, rotated, undecided (not known yet what it is), known (not open now), truncated (its copy is looked for), done
	Waits      string `json:"waits,omitempty"` // what its reader waits for
	Writer     string `json:"writer"`          // whether somebody has it open for writing: yes, no or unknown
	Deleted    bool   `json:"deleted,omitempty"`
	Compressed bool   `json:"compressed,omitempty"` // positions and sizes are of the content
}

// ConflictError says that somebody else changed an entry since it was read. Theirs is
// nil where the entry is gone.
type ConflictError struct {
	LogPath string
	Theirs  *Service
}

func (e *ConflictError) Error() string {
	if e.Theirs == nil {
		return "entry " + e.LogPath + " was removed by somebody else meanwhile"
	}
	return "entry " + e.LogPath + " was changed by somebody else meanwhile"
}
