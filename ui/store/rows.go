package store

import (
	"time"

	"logagent/agent"
)

// Config is how far a host's wanted document has come.
type Config int

const (
	ConfigUnknown Config = iota // no status yet, or a stale one
	ConfigRunning               // ✓ the wanted revision runs
	ConfigPending               // ↻ not yet
	ConfigRefused               // ✕ the wanted revision was refused
)

// DrainKind tells what a Drain says.
type DrainKind int

const (
	DrainNone    DrainKind = iota // there is no lag
	DrainUnknown                  // not enough known
	DrainNever                    // the lag does not shrink
	DrainIn                       // it is gone after Drain.After
)

// Drain is when the lag will be gone if everything goes on as it does: lag / (out − in),
// in bytes.
type Drain struct {
	Kind  DrainKind
	After time.Duration
}

// Drift is whether a wanted entry runs as it is wanted. For a host that is silent, and of an
// agent that does not tell what it runs, it is not known: never fine for want of news.
type Drift int

const (
	DriftUnknown Drift = iota
	DriftNone          // runs as wanted
	DriftPending       // runs as it was before, or not yet
	DriftRefused       // its document's newest revision was refused: what ran before runs on
	DriftMissing       // its document is in force, the agent does not list it
	driftKinds
)

// String is the word for it: unknown, none, pending, refused, missing.
func (d Drift) String() string {
	return [...]string{"unknown", "none", "pending", "refused", "missing"}[d]
}

// Entry is one wanted entry and where it is written.
type Entry struct {
	Service  agent.Service
	DocHost  string // what holds it: the host id, one of its addresses, or "@web" for the group web
	Revision int64  // ModRevision of that key as last seen
	Drift    Drift  // of this entry on this host
}

// DocState is how far one document has come on one host.
type DocState struct {
	Name             string // the host, one of its addresses, or @group
	Key              string // "" where it was never seen in etcd
	Desired, Running int64  // revisions; compared for equality only; 0: none
	Refused          int64  // the last one refused; 0: none
	Error            string // why
	Config           Config
}

// HostRow is one host as Fleet shows it.
type HostRow struct {
	Host  string
	State agent.State

	HasStatus bool          // any status ever arrived
	Heard     bool          // one arrived as it was made; else what there is stood in the topic before
	Stale     bool          // the newest is older than Options.StaleAfter, or unheard and doubted
	Age       time.Duration // of the newest status; set in a View
	Live      *agent.Live   // nil: no live key

	Files, Failing, Behind int
	LagBytes               int64
	BehindFor              time.Duration
	BehindAtLeast          bool
	Drain                  Drain
	In, Out                float64 // lines per second
	InEstimate             bool
	Limit                  int64 // sum of the limits; 0: an entry has none
	Throttle               int   // percent of the last seconds, of the worst entry

	Config           Config        // over all its documents
	Desired, Running int64         // revisions of the host's own document; compared for equality only
	Refused          int64         // the last revision refused, of its own document or else of another it follows; 0: none
	PendingFor       time.Duration // how long Config is ConfigPending; set in a View

	Groups    []string            // it belongs to, in order, as in the INI; shared, never written
	Documents []DocState          // it follows, its own first; shared, never written
	Drifting  int                 // wanted entries that do not run as wanted, Unwanted and Held
	Unwanted  []agent.CoarseEntry // run and stand in no document; shared, never written
	Held      []agent.CoarseEntry // run on, of a document that is broken by now and was never seen whole; shared, never written
	Gone      time.Duration       // at least so long without an agent; 0: has one, never had, or not known; set in a View

	Problem string  // what is wrong, in words; "" when nothing is
	Entries []Entry // what is wanted, the own document's first, each in its order; shared, never written
	Series  Series  // set in a View
}

// FileKind tells what a FileRow stands for.
type FileKind int

const (
	KindFile    FileKind = iota // a file the agent follows
	KindEntry                   // an entry without any file
	KindWaiting                 // a wanted entry of which no status told yet
)

// FileRow is one file of a host, or an entry that has none.
type FileRow struct {
	Key     string // stable identity: the entry's log_path and the path
	Kind    FileKind
	Path    string // the file, or the entry's log_path
	LogPath string
	Service string
	Topic   string
	State   agent.State
	Stale   bool
	Cause   string
	Since   time.Time // the agent's clock

	Numbers       bool // the figures below mean something
	LagBytes      int64
	BehindFor     time.Duration
	BehindAtLeast bool
	Drain         Drain
	In, Out       float64
	InEstimate    bool
	Limit         int64 // in force; 0: none
	Throttle      int

	Entry  *Entry            // the wanted entry; nil: not wanted any more, or not known
	File   *agent.FileStatus // nil unless KindFile
	Series Series            // set in a View
}

// Overview is what the status lines of every page show.
type Overview struct {
	Hosts, OK, Behind, Failing, Unknown int
	Fresh                               int     // hosts whose status is not stale
	In, Out                             float64 // of the fresh hosts
	LagBytes                            int64   // of stale hosts as last known
	LagStale                            bool    // some of it is of stale hosts
	Series                              Series
	Trend                               Trend
	Newest                              time.Duration // age of the newest status of any host; negative: none yet

	Etcd, Kafka         agent.LinkStatus
	EtcdSeen, KafkaSeen bool // the link ever was up
	Revision            int64
}

// Trend is where the lag of the whole fleet goes.
type Trend int

const (
	TrendNone Trend = iota // no lag, or not enough known
	TrendGrowing
	TrendSteady
	TrendDraining
)
