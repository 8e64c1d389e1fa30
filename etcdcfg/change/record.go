package change

import (
	"encoding/json"
	"time"
)

// Who made a change: as far as the program that made it knows.
type Who struct {
	User string `json:"user,omitempty"`
	Host string `json:"host,omitempty"` // where the console or command ran
	SSH  string `json:"ssh,omitempty"`  // the address its user came from; "" where it was no SSH session
}

// String is the person as a line of the history shows him: alice@bastion (from 10.0.0.7).
func (w Who) String() string {
	s := w.User
	if s == "" {
		s = "unknown"
	}
	if w.Host != "" {
		s += "@" + w.Host
	}
	if w.SSH != "" {
		s += " (from " + w.SSH + ")"
	}
	return s
}

// Kind says what a record of the history is about.
type Kind string

const (
	KindEdit     Kind = "edit"     // entries or fields
	KindRate     Kind = "rate"     // one entry's send_rate; a whole tuning is one record
	KindApply    Kind = "apply"    // a file of documents
	KindRollback Kind = "rollback" // back to what the record Of names
	KindReverse  Kind = "reverse"  // a change set taken back; Of names it
	KindSeek     Kind = "seek"     // positions of files moved; the document is as it was
	KindForget   Kind = "forget"   // the host was forgotten, its document with it
	KindOutside  Kind = "outside"  // found, not made: somebody wrote the key by other means
)

// Meta is what the writer of a change says about it.
type Meta struct {
	// ID is the ulid of the record; "" makes a new one. A write under an ID whose record is
	// still the newest of its document, by the same Who, and whose After is what the
	// document holds, goes on with that record: one tuning of many steps is one record.
	ID     string
	Who    Who
	Note   string
	Kind   Kind   // "" means KindEdit
	Of     string // of a rollback or a reverse: the id it goes back to, or takes back
	Change string // the change set it belongs to; "" none
}

// Record is one change of one document in the history:
// ROOT.history/<host or @group>/<ulid>, written in the same transaction as the document.
type Record struct {
	Version int       `json:"v"` // RecordVersion
	ID      string    `json:"id"`
	Name    string    `json:"name"` // host or @group
	At      time.Time `json:"at"`   // the writer's clock
	Who     Who       `json:"who"`
	Kind    Kind      `json:"kind"`
	Note    string    `json:"note,omitempty"`
	Of      string    `json:"of,omitempty"`
	Change  string    `json:"change,omitempty"`
	// Base is the document's revision before; 0: there was none.
	Base int64 `json:"base"`
	// Older says that there were older records when this one was made: where it is the oldest
	// there is, they are not kept any more.
	Older bool `json:"older,omitempty"`
	// Before and After are the document as it stood, gzipped; nil: there was none. Use
	// Pack and Unpack.
	Before []byte `json:"before,omitempty"`
	After  []byte `json:"after,omitempty"`
	// Seek tells what a KindSeek asked for; its meaning belongs to agent.SeekPlan.
	Seek json.RawMessage `json:"seek,omitempty"`

	// Revision is the document's revision after, known where the record was read from etcd:
	// both were written in one transaction.
	Revision int64 `json:"-"`
}

// RecordVersion is the version of Record that is written.
const RecordVersion = 1
