package agent

import "time"

// State is the shape of a row: fine, behind, failing or unknown.
type State string

const (
	StateOK      State = "ok"      // ●
	StateBehind  State = "behind"  // ◐ behind or throttled
	StateFailing State = "failing" // ✕
	StateUnknown State = "unknown" // ○ unknown or stale
	StatePaused  State = "paused"  // shown as ◐ with the cause paused
)

// Status is the one value every number comes from: on screens, in /metrics, in etcd and
// on the status topic. It is a snapshot: nothing in it changes after it was handed out.
//
// Two statuses of one host are ordered by (StateID, Boot, Seq), never by clocks.
type Status struct {
	Host    string    `json:"host"`
	StateID string    `json:"state_id"` // random, made once per state_dir
	Boot    uint64    `json:"boot"`     // counts the starts on this state_dir
	Seq     uint64    `json:"seq"`      // counts the statuses of this boot
	At      time.Time `json:"at"`       // the agent's clock

	Version  string    `json:"version"`
	PID      int       `json:"pid"`
	Started  time.Time `json:"started"`
	Draining bool      `json:"draining,omitempty"` // SIGTERM was received

	Documents []DocumentStatus `json:"documents"`
	Etcd      LinkStatus       `json:"etcd"`
	Kafka     LinkStatus       `json:"kafka"`
	Process   ProcessStatus    `json:"process"`
	Problems  []string         `json:"problems,omitempty"` // of the agent as a whole: state folder not writable, a second agent, …

	Totals   Totals          `json:"totals"` // over all files
	Services []ServiceStatus `json:"services"`
	Files    []FileStatus    `json:"files,omitempty"`   // by path; those another entry reads come last
	History  *History        `json:"history,omitempty"` // of the whole host

	FailingFiles int `json:"failing_files,omitempty"` // files in state failing
	BehindFiles  int `json:"behind_files,omitempty"`  // files in state behind
}

// Newer tells whether s is to be believed over o: a later boot or sequence of the same
// state. Where the state ids differ there is no order, and the one received last wins.
func (s *Status) Newer(o *Status) bool {
	if s.StateID != o.StateID {
		return true
	}
	if s.Boot != o.Boot {
		return s.Boot > o.Boot
	}
	return s.Seq > o.Seq
}

// DocumentStatus is how far one etcd key's document has come on this host.
type DocumentStatus struct {
	Key       string   `json:"key"`
	Running   int64    `json:"running"` // revision in force
	Refused   *Refusal `json:"refused,omitempty"`
	Warnings  []string `json:"warnings,omitempty"`
	FromCache bool     `json:"from_cache,omitempty"`
}

// LinkStatus is a connection to etcd or Kafka.
type LinkStatus struct {
	Up        bool      `json:"up"`
	Error     string    `json:"error,omitempty"`      // why it is not up, in plain words
	Since     time.Time `json:"since,omitzero"`       // when Up became what it is
	LatencyMS float64   `json:"latency_ms,omitempty"` // Kafka: mean time from write to ack lately
}

// ProcessStatus is what the agent itself costs.
type ProcessStatus struct {
	CPUPercent         float64 `json:"cpu_percent"` // of one core, over the last seconds
	RSSBytes           int64   `json:"rss_bytes"`
	InFlightBytes      int64   `json:"in_flight_bytes"` // sent and not yet acknowledged
	InFlightLimitBytes int64   `json:"in_flight_limit_bytes"`
}

// Totals are counters since the agent started, and rates over the last seconds.
type Totals struct {
	Lines    uint64 `json:"lines"`     // acknowledged
	Bytes    uint64 `json:"bytes"`     // of the files, acknowledged, line ends included
	LagBytes int64  `json:"lag_bytes"` // complete lines on disk not yet acknowledged

	InLinesPerSec  float64 `json:"in_lines_per_sec"` // appended to the files; an estimate from bytes while lines are unread
	InBytesPerSec  float64 `json:"in_bytes_per_sec"`
	OutLinesPerSec float64 `json:"out_lines_per_sec"` // acknowledged
	OutBytesPerSec float64 `json:"out_bytes_per_sec"`

	BehindSeconds  float64 `json:"behind_seconds"`            // how long the oldest unacknowledged line has been in the file
	BehindAtLeast  bool    `json:"behind_at_least,omitempty"` // it may be longer
	ThrottledShare float64 `json:"throttled_share"`           // 0…1: share of the last seconds spent waiting for send_rate

	Doubled   uint64 `json:"doubled,omitempty"`    // lines that may stand in Kafka twice
	LostBytes uint64 `json:"lost_bytes,omitempty"` // bytes that stood in a file and exist nowhere any more
	Split     uint64 `json:"split,omitempty"`      // long lines sent in pieces
	Truncated uint64 `json:"truncated,omitempty"`  // long lines cut
	Skipped   uint64 `json:"skipped,omitempty"`    // long lines left out
	// Moved over by seeks, never sent; and sent again because of seeks.
	SkippedBytes  uint64 `json:"sought_skipped_bytes,omitempty"`
	RepeatedBytes uint64 `json:"sought_repeated_bytes,omitempty"`
	ReturnedBytes uint64 `json:"sought_returned_bytes,omitempty"` // skipped before, and sent after all
	Errors        uint64 `json:"errors,omitempty"`                // changes into an error: unreadable, refused, …
}

// ServiceStatus is one entry.
type ServiceStatus struct {
	Service             // as it was applied last
	InForce   *Service  `json:"in_force,omitempty"` // what runs until everything sent before the change is answered; nil: what was applied
	State     State     `json:"state"`
	Cause     string    `json:"cause"` // of its worst file, in words
	Since     time.Time `json:"since,omitzero"`
	FileCount int       `json:"file_count"`
	Totals    Totals    `json:"totals"`
}

// Runs is the entry as it is in force.
func (s *ServiceStatus) Runs() *Service {
	if s.InForce != nil {
		return s.InForce
	}
	return &s.Service
}

// FileStatus is one path an entry matched, its rotated incarnations included.
type FileStatus struct {
	Path    string    `json:"path"`
	LogPath string    `json:"log_path"` // the entry's
	Service string    `json:"service"`
	Topic   string    `json:"topic"`
	State   State     `json:"state"`
	Cause   string    `json:"cause"` // caught up, limited by send_rate, …
	Since   time.Time `json:"since,omitzero"`
	Limit   int64     `json:"limit"` // lines per second of the entry; 0: none

	Device         uint64 `json:"device,omitempty"`
	Inode          uint64 `json:"inode,omitempty"`
	SizeBytes      int64  `json:"size_bytes"`
	ReadBytes      int64  `json:"read_bytes"`              // position of the reader
	CommittedBytes int64  `json:"committed_bytes"`         // end of the acknowledged prefix
	PartialBytes   int64  `json:"partial_bytes,omitempty"` // unfinished last line, not part of the lag
	RotatedFiles   int    `json:"rotated_files,omitempty"` // older incarnations still being read
	RotatedBytes   int64  `json:"rotated_bytes,omitempty"` // what is unread in them
	DeletedBytes   int64  `json:"deleted_bytes,omitempty"` // size of deleted files still held open

	Totals  Totals   `json:"totals"`
	History *History `json:"history,omitempty"`
}

// History is up to ten minutes in equal steps, oldest first; the last value is the newest
// finished step. It is shorter where nothing is known from before.
type History struct {
	StepSeconds int      `json:"step"`
	In          []uint32 `json:"in"`  // lines per second appended
	Out         []uint32 `json:"out"` // lines per second acknowledged
	Lag         []int64  `json:"lag"` // bytes
}
