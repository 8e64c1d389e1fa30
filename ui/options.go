package ui

import (
	"context"
	"io"
	"time"

	"logagent/agent"
	"logagent/etcdcfg/change"
	"logagent/ui/store"
)

// Writer is everything the console writes through; nil makes it read-only.
type Writer interface {
	// SetRate changes send_rate of the entry logPath in a document from what the caller saw
	// to what he wants; 0 is no limit. The document is a host's, or a group's where name
	// begins with @. All writes with the same tuning, a ulid, are one record of the history.
	// It returns the document's new revision, *agent.ConflictError or *change.ConflictError
	// where the entry's rate is no longer from, or another error. It may block until ctx
	// ends, as the others may.
	SetRate(ctx context.Context, name, logPath string, from, to int64, tuning string) (revision int64, err error)
	// Own gives a host an entry of its own, which wins over the group's from now on: a copy
	// of from with another rate. Errors as of SetRate.
	Own(ctx context.Context, host, logPath string, from agent.Service, rate int64, tuning string) (revision int64, err error)
	// Disown takes that entry away again where it still has the rate.
	Disown(ctx context.Context, host, logPath string, from agent.Service, rate int64, tuning string) (revision int64, err error)
	// Rollback puts a document back to what it was after the record id of its history, with ^
	// behind it: before it. now is the document that the question was asked about, nil for
	// none; where it is another one by now the error says so and nothing is written. Revision
	// 0 says that there is no document any more, because there was none then.
	Rollback(ctx context.Context, name, id string, now []byte, note string) (revision int64, err error)
}

// History is where the console reads what became of a document.
type History interface {
	// History returns the newest records of a document, newest first, those that were found
	// and not made among them. The After of the first is what the document holds now. It may
	// block until ctx ends.
	History(ctx context.Context, name string, most int) ([]change.Record, error)
}

// Watcher asks a host for detail while the console looks at it; nil where detail comes
// by itself.
type Watcher interface {
	// HoldWatch blocks until ctx ends and meanwhile makes the agent of host send detail.
	// An error before that is shown, and HoldWatch is called again two seconds later.
	HoldWatch(ctx context.Context, host string) error
}

// Theme names a set of colours. The terminal is never asked for its background.
type Theme string

const (
	ThemeDark  Theme = "dark" // the default
	ThemeLight Theme = "light"
	ThemeMono  Theme = "mono" // bold and faint only; also what NO_COLOR gives
)

// Colours says what the terminal can show.
type Colours string

const (
	ColoursAuto Colours = ""     // from Environ (TERM, COLORTERM, NO_COLOR)
	ColoursNone Colours = "none" // plain text, not even bold
	Colours16   Colours = "16"
	Colours256  Colours = "256"
	ColoursTrue Colours = "true"
)

// Options of Run. Store is required.
type Options struct {
	Store   *store.Store
	Writer  Writer  // nil: read-only
	Watcher Watcher // nil: none
	History History // nil: there is none to show

	Fleet       string // name shown beside RW, as in "RW prod"; "" for none
	Own         string // host id of the agent on this machine, marked in lists; "" for none
	ReadOnly    string // why there is no Writer, shown when a key would write; "" means "started with --read-only"
	AgentInside bool   // the agent of this host runs in this process: quitting asks
	Version     string // shown in the help
	EtcdAddr    string // shown while nothing has been heard from it
	KafkaAddr   string

	Theme   Theme
	Colours Colours
	Environ []string            // of the session; nil means os.Environ()
	Keys    map[string][]string // action → keys, over the built-in keymap; see Keymap
	SaveDir string              // where ctrl-s puts a screen as text; "" turns it off

	Input  io.Reader        // nil means the terminal on standard input
	Output io.Writer        // nil means standard output
	Now    func() time.Time // nil means time.Now

	WriteTimeout time.Duration // of one write; 0 means 5s
}
