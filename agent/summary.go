package agent

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Summary is the short form of a Status that every agent sends every two seconds: at most
// MaxSummaryBytes as JSON. With History it is longer and sent once a minute.
type Summary struct {
	StateID  string   `json:"i"`
	Boot     uint64   `json:"b"`
	Seq      uint64   `json:"q"`
	AtMS     int64    `json:"t"`           // the agent's clock, Unix ms
	Running  int64    `json:"r"`           // revision in force of the host id's own key
	Refused  int64    `json:"x,omitempty"` // revision refused, if any
	Files    int      `json:"f"`           // files followed
	Failing  int      `json:"e,omitempty"` // files in state failing
	Behind   int      `json:"s,omitempty"` // files in state behind
	Lag      int64    `json:"l"`           // bytes
	BehindS  int64    `json:"h,omitempty"` // seconds; negative: at least that many
	In       int64    `json:"n"`           // lines per second
	Out      int64    `json:"o"`           // lines per second
	Limit    int64    `json:"m,omitempty"` // sum of the limits, 0 where any entry has none
	Throttle int      `json:"p,omitempty"` // percent of time throttled, of the worst entry
	KafkaBad bool     `json:"k,omitempty"` // no broker answers
	EtcdBad  bool     `json:"c,omitempty"` // etcd away
	Trouble  bool     `json:"z,omitempty"` // lines lost or doubled since start
	History  *History `json:"y,omitempty"`
}

// MaxSummaryBytes bounds a summary without history.
const MaxSummaryBytes = 200

// Encode returns the summary as it travels on the status topic.
func (s *Summary) Encode() []byte {
	b, err := json.Marshal(s)
	if err != nil { // plain numbers and strings cannot fail
		panic(fmt.Sprintf("encode summary: %v", err))
	}
	return b
}

// DecodeSummary reads what Encode wrote. Unknown fields of newer agents are ignored.
func DecodeSummary(b []byte) (Summary, error) {
	var s Summary
	if err := json.Unmarshal(b, &s); err != nil {
		return Summary{}, fmt.Errorf("status summary: %w", err)
	}
	return s, nil
}

// At returns the agent's clock at the summary.
func (s *Summary) At() time.Time { return time.UnixMilli(s.AtMS) }

// Summary shortens the status, without its history.
func (s *Status) Summary() Summary {
	out := Summary{
		StateID: s.StateID, Boot: s.Boot, Seq: s.Seq, AtMS: s.At.UnixMilli(),
		Lag: s.Totals.LagBytes, BehindS: int64(s.Totals.BehindSeconds),
		In: int64(s.Totals.InLinesPerSec + 0.5), Out: int64(s.Totals.OutLinesPerSec + 0.5),
		Failing: s.FailingFiles, Behind: s.BehindFiles,
		KafkaBad: !s.Kafka.Up, EtcdBad: !s.Etcd.Up,
		Trouble: s.Totals.Doubled > 0 || s.Totals.LostBytes > 0,
	}
	if s.Totals.BehindAtLeast {
		out.BehindS = -out.BehindS
	}
	if len(s.Documents) > 0 {
		out.Running = s.Documents[0].Running
		if r := s.Documents[0].Refused; r != nil {
			out.Refused = r.Revision
		}
	}
	unlimited := false
	for i := range s.Services {
		e := &s.Services[i]
		out.Files += e.FileCount
		out.Limit += e.SendRate
		unlimited = unlimited || e.SendRate == 0
		out.Throttle = max(out.Throttle, int(e.Totals.ThrottledShare*100+0.5))
	}
	if unlimited {
		out.Limit = 0
	}
	if len(s.Files) > 0 { // else a brief status: its counts stand
		out.Failing, out.Behind = 0, 0
	}
	for i := range s.Files {
		switch s.Files[i].State {
		case StateFailing:
			out.Failing++
		case StateBehind:
			out.Behind++
		}
	}
	return out
}

// Live is the leased key that says which agent runs for a host.
type Live struct {
	Host    string    `json:"host"`
	StateID string    `json:"state_id"`
	Boot    uint64    `json:"boot"`
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
	Groups  []string  `json:"groups,omitempty"` // whose documents it follows beside its own, in order
}

// Coarse is the status kept in etcd: never counters, so that it is written rarely.
type Coarse struct {
	Host      string           `json:"host"`
	StateID   string           `json:"state_id"`
	Boot      uint64           `json:"boot"`
	Seq       uint64           `json:"seq"`
	At        time.Time        `json:"at"`
	Documents []DocumentStatus `json:"documents"`
	Entries   []CoarseEntry    `json:"entries"`
	Problems  []string         `json:"problems,omitempty"`
	// Seen says that the agent keeps the key that tells how long a host is gone: where that
	// key is missing it ran out.
	Seen bool `json:"seen,omitempty"`
}

// CoarseEntry is one entry of a Coarse status. Being behind is not a change worth a
// write, so State is ok, paused or failing here.
type CoarseEntry struct {
	LogPath string `json:"log_path"`
	Service string `json:"service"`
	State   State  `json:"state"`
	Cause   string `json:"cause,omitempty"` // only where failing
	Files   int    `json:"files"`
	Key     string `json:"key,omitempty"` // the etcd key it came from; "" means the host id's own
	Sum     string `json:"sum,omitempty"` // Service.Sum of what runs; "" from agents that tell none
}

// maxCoarseError bounds why a document was refused: 10,000 hosts of a group write the same
// words into etcd. The agent's log has all of them.
const maxCoarseError = 1 << 10

// brief shortens a refusal to whole lines.
func (r *Refusal) brief() *Refusal {
	if r == nil || len(r.Error) <= maxCoarseError {
		return r
	}
	kept := r.Error[:maxCoarseError]
	if i := strings.LastIndexByte(kept, '\n'); i > 0 {
		kept = kept[:i]
	}
	left := strings.Count(r.Error[len(kept):], "\n")
	return &Refusal{Revision: r.Revision, Error: fmt.Sprintf("%s\n… and %d lines more in the agent's log", strings.ToValidUTF8(kept, ""), max(left, 1))}
}

// Coarse shortens the status to what is kept in etcd.
func (s *Status) Coarse() Coarse {
	out := Coarse{
		Host: s.Host, StateID: s.StateID, Boot: s.Boot, Seq: s.Seq, At: s.At,
		Documents: slices.Clone(s.Documents), Problems: s.Problems,
	}
	for i := range out.Documents {
		out.Documents[i].Refused = out.Documents[i].Refused.brief()
	}
	for i := range s.Services {
		e := &s.Services[i]
		c := CoarseEntry{LogPath: e.LogPath, Service: e.Service.Service, State: StateOK, Files: e.FileCount, Key: e.Key, Sum: e.Runs().Sum()}
		if len(s.Documents) > 0 && e.Key == s.Documents[0].Key {
			c.Key = ""
		}
		switch e.State {
		case StateFailing:
			c.State, c.Cause = e.State, e.Cause
		case StatePaused:
			c.State = e.State
		}
		out.Entries = append(out.Entries, c)
	}
	return out
}
