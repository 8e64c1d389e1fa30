package etcdcfg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/etcdcfg/change"
)

// State of a change set.
type State string

const (
	StateOpen    State = "open"    // recorded; something is left to do
	StateDone    State = "done"    // nothing is left; conflicts are counted
	StateStopped State = "stopped" // by a person or by the rollout itself, Reason says why; Drive takes it up again
)

// StepState is what became of one document of a change set.
type StepState string

const (
	StepWaiting  StepState = "waiting"
	StepDone     StepState = "done"
	StepSame     StepState = "same"     // it already was as wanted
	StepConflict StepState = "conflict" // left as it is, Error says why
)

// Outcome is what became of one document of a change set.
type Outcome struct {
	Name     string    `json:"name"`
	State    StepState `json:"state"`
	Error    string    `json:"error,omitempty"`
	Record   string    `json:"record,omitempty"`   // of the document's history
	Revision int64     `json:"revision,omitempty"` // that the document got
	Deleted  bool      `json:"deleted,omitempty"`  // the document was, by this change
	Wave     int       `json:"wave,omitempty"`     // of a rollout: 1 is the canary
	// Of a rollout: how the host was when its document was changed. One without a fresh
	// status is changed too, and not watched.
	Unwatched bool   `json:"unwatched,omitempty"`
	Failing   int    `json:"failing,omitempty"`
	LagBytes  int64  `json:"lag_bytes,omitempty"`
	Refused   string `json:"refused,omitempty"`
}

// Rollout is how a change set goes out in waves, and how far it is.
type Rollout struct {
	Canary            int           `json:"canary"`               // hosts of the first wave
	Wave              int           `json:"wave"`                 // hosts of each other; 0: a tenth of them, not less than Canary
	Healthy           time.Duration `json:"healthy"`              // how long a wave must be well
	MaxLagGrowthBytes int64         `json:"max_lag_growth_bytes"` // of one host; below 0: not watched
	Current           int           `json:"current"`              // the wave that is on its way; 1 is the canary
	Hosts             []string      `json:"hosts,omitempty"`      // of that wave
}

// ChangeSet is a change of several documents: as it is recorded, and what became of it.
type ChangeSet struct {
	Version int         `json:"v"` // 1
	ID      string      `json:"id"`
	At      time.Time   `json:"at"` // the writer's clock
	Who     change.Who  `json:"who"`
	Kind    change.Kind `json:"kind"`
	Note    string      `json:"note,omitempty"`
	Of      string      `json:"of,omitempty"` // the change set this takes back

	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"` // why it stopped
	// ReversedBy is the change set that takes this one back, "" none: it is not taken up again.
	ReversedBy string `json:"reversed_by,omitempty"`
	Atomic     bool   `json:"atomic"` // one transaction; else a sequence of them
	// Documents = Done + Same + Conflicts + those that wait.
	Documents int      `json:"documents"`
	Done      int      `json:"done"`
	Same      int      `json:"same"`
	Conflicts int      `json:"conflicts"`
	Chunks    int      `json:"chunks"`
	Rollout   *Rollout `json:"rollout,omitempty"`

	// Outcomes of all documents, sorted by name: from ChangeSet and from Drive's end only.
	Outcomes []Outcome `json:"outcomes,omitempty"`
	// Driver is who works on it now, "" nobody: from ChangeSet only.
	Driver string `json:"driver,omitempty"`
	// Doing says in words what is waited for: from Drive's Progress only.
	Doing string `json:"doing,omitempty"`

	revision int64 // of the head's key
}

// Waiting is how many documents are left to do.
func (s *ChangeSet) Waiting() int { return s.Documents - s.Done - s.Same - s.Conflicts }

// StartOptions say how a change set is done.
type StartOptions struct {
	Meta   change.Meta // Kind "" means KindEdit; ID and Change are not used
	Canary int         // above 0: a rollout, this many hosts first
	Wave   int         // hosts of each wave after that; 0: a tenth of them, not less than Canary
	// Healthy is how long every host of a wave must be well before the next; 0 means 30s.
	Healthy time.Duration
	// MaxLagGrowthBytes is by how much a host's lag may grow over what it was before; 0
	// means 64 MiB, below 0 any.
	MaxLagGrowthBytes int64

	reverses *ChangeSet // that this one takes back; its head says so from the same transaction on
}

const (
	changeVersion = 1

	// maxOps is etcd's limit (--max-txn-ops) unless set otherwise.
	maxOps = 128
	// chunkDocuments: two writes each, the chunk's record and the head make 128.
	chunkDocuments = (maxOps - 2) / 2
	// maxRequest is what a transaction may have: etcd takes 1.5 MiB unless set otherwise.
	maxRequest = 1 << 20
	// chunkPlan bounds the edits of one chunk, which is rewritten while it is done.
	chunkPlan = 256 << 10
	maxChunks = 9999

	keepChanges    = 100
	keepChangesAge = 180 * 24 * time.Hour

	defaultHealthy   = 30 * time.Second
	defaultLagGrowth = 64 << 20
)

// Why a change set is not worked on.
var (
	ErrNoChange = errors.New("no such change set")
	ErrFinished = errors.New("the change set is finished")
	ErrDriven   = errors.New("somebody else works on the change set")
	ErrReversed = errors.New("the change set was taken back")
)

// Start records a change set and returns its id. Where it has no canary and fits one
// transaction it is done in that one, and ChangeSet tells the outcome; where it does not,
// no document is written yet: Drive does it, at once or after the death of whoever drove
// before. Conflicts are outcomes, not errors. A plan without steps is an error, and so is a
// canary for a group's document, which reaches all its hosts at once.
//
// Where etcd's answers are lost the error says so, and the id, if any, is that of the
// change set whose fate is not known.
func (c *Client) Start(ctx context.Context, p Plan, o StartOptions) (id string, err error) {
	set := ChangeSet{
		Version: changeVersion, ID: ulid.MustNew(ulid.Timestamp(c.timing.now()), ulid.DefaultEntropy()).String(),
		At: c.timing.now().UTC(), Who: o.Meta.Who, Kind: cmp.Or(o.Meta.Kind, change.KindEdit), Note: o.Meta.Note, Of: o.Meta.Of,
		State: StateOpen, Documents: len(p.Steps),
	}
	if err := checkSteps(p.Steps, o); err != nil {
		return "", err
	}
	if o.Canary > 0 {
		set.Rollout = &Rollout{
			Canary: o.Canary, Wave: o.Wave, Current: 1,
			Healthy: cmp.Or(o.Healthy, defaultHealthy), MaxLagGrowthBytes: cmp.Or(o.MaxLagGrowthBytes, defaultLagGrowth),
		}
	}
	chunks, err := c.chunksOf(set.ID, p.Steps)
	if err != nil {
		return "", err
	}
	set.Chunks = len(chunks)
	if set.Rollout == nil && len(chunks) == 1 {
		if done, err := c.atOnce(ctx, set, chunks[0], o.reverses); done || err != nil {
			if err == nil {
				c.pruneChanges(ctx)
			}
			return set.ID, err
		}
	}
	if err := c.putChanges(ctx, set, chunks, o.reverses); err != nil {
		return set.ID, err
	}
	c.pruneChanges(ctx)
	return set.ID, nil
}

func checkSteps(steps []Step, o StartOptions) error {
	if len(steps) == 0 {
		return errors.New("nothing to change")
	}
	if o.Canary < 0 || o.Wave < 0 || o.Healthy < 0 {
		return fmt.Errorf("canary %d, wave %d, healthy %v: none may be below 0", o.Canary, o.Wave, o.Healthy)
	}
	names := make(map[string]bool)
	for _, s := range steps {
		if err := CheckName(s.Name); err != nil {
			return err
		}
		if names[s.Name] {
			return fmt.Errorf("%s is named twice in one change", s.Name)
		}
		names[s.Name] = true
		if o.Canary > 0 && strings.HasPrefix(s.Name, "@") {
			return fmt.Errorf("a canary cannot be had with group %s: its document reaches all hosts of the group at once; change hosts, or leave the canary out", s.Name)
		}
	}
	return nil
}

// chunksOf divides the steps, sorted by name.
func (c *Client) chunksOf(id string, steps []Step) ([]*chunk, error) {
	steps = slices.SortedFunc(slices.Values(steps), func(a, b Step) int { return strings.Compare(a.Name, b.Name) })
	var chunks []*chunk
	size := 0
	for _, s := range steps {
		p := planned{Step: s, Back: s.back}
		b, err := plainJSON(p)
		if err != nil {
			return nil, fmt.Errorf("change of %s: %w", s.Name, err)
		}
		if s.back != "" && len(b) > chunkPlan {
			p.Edits = nil // the record says it all
			b = nil
		}
		if len(b) > maxRequest*3/4 {
			return nil, fmt.Errorf("change of %s: its edits have %d bytes, too many for a change set", s.Name, len(b))
		}
		// The record is smaller than the documents in it, by how much tells the transaction.
		p.Bytes = len(s.After) + (len(s.Before)+len(s.After))/4 + outcomeBytes
		if len(chunks) == 0 || len(chunks[len(chunks)-1].Outcomes) == chunkDocuments || size+len(b) > chunkPlan {
			chunks = append(chunks, &chunk{key: c.chunkKey(id, len(chunks)+1), plan: make(map[string]planned)})
			size = 0
		}
		k := chunks[len(chunks)-1]
		k.Outcomes = append(k.Outcomes, Outcome{Name: s.Name, State: StepWaiting})
		k.plan[s.Name] = p
		size += len(b)
	}
	if len(chunks) > maxChunks {
		return nil, fmt.Errorf("change of %d documents is too large for one change set", len(steps))
	}
	return chunks, nil
}

// putChanges records a change set that is done later. The head comes last: a writer that
// dies before has begun nothing. reverses, unless nil, is marked as taken back with it.
func (c *Client) putChanges(ctx context.Context, set ChangeSet, chunks []*chunk, reverses *ChangeSet) error {
	var b batch
	send := func() error {
		return c.again(ctx, set.ID, func() (bool, error) {
			return c.commitBatch(ctx, b)
		})
	}
	for _, k := range chunks {
		value, err := k.encode()
		if err != nil {
			return fmt.Errorf("record change %s: %w", set.ID, err)
		}
		if len(b.ops) == maxOps || len(b.ops) > 0 && b.bytes+len(k.key)+len(value)+opBytes > maxRequest {
			if err := send(); err != nil {
				return err
			}
			b = batch{}
		}
		b.put(k.key, value)
	}
	if err := send(); err != nil {
		return err
	}
	value, err := set.encode()
	if err != nil {
		return fmt.Errorf("record change %s: %w", set.ID, err)
	}
	b = batch{}
	head := c.layout.Changes(set.ID)
	b.put(head, value)
	if err := c.mark(&b, reverses, set.ID); err != nil {
		return err
	}
	return c.again(ctx, set.ID, func() (bool, error) {
		ok, err := c.commitBatch(ctx, b, clientv3.Compare(clientv3.CreateRevision(head), "=", 0))
		if ok || err != nil {
			return ok, err
		}
		kvs, err := c.heads(ctx, []string{set.ID})
		switch {
		case err != nil:
			return false, err
		case kvs[0] == nil:
			return false, meanwhile(reverses)
		}
		return true, nil // an earlier try, whose answer was lost
	})
}

// mark lets a transaction say that a change set is taken back by another one, on the condition
// that its head is as it was seen: nobody took it up since. Without one to mark it does nothing.
func (c *Client) mark(b *batch, reverses *ChangeSet, by string) error {
	if reverses == nil {
		return nil
	}
	marked := *reverses
	marked.ReversedBy = by
	value, err := marked.encode()
	if err != nil {
		return fmt.Errorf("record change %s: %w", by, err)
	}
	key := c.layout.Changes(marked.ID)
	b.conditions = append(b.conditions, clientv3.Compare(clientv3.ModRevision(key), "=", marked.revision))
	b.put(key, value)
	return nil
}

// meanwhile says that a change set is not as it was when its reverse was made.
func meanwhile(reverses *ChangeSet) error {
	if reverses == nil { // nobody else writes under a new id
		return errors.New("the change set was not recorded")
	}
	return fmt.Errorf("change %s was taken up, taken back or removed by somebody else meanwhile: nothing was written", reverses.ID)
}
