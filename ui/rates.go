package ui

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/oklog/ulid/v2"

	"logagent/agent"
	"logagent/ui/store"
)

const (
	settle   = 300 * time.Millisecond // a burst of keys is written this long after its last one
	tuneHold = 5 * time.Second        // how long after the last key a tuning goes on: order stands, esc on its page puts back
	lookBack = 20 * time.Second       // how long the outcome stays in the message line
	topRate  = int64(1_000_000_000)   // lines per second; no one means more
)

// target is the entry a rate key means, as the screen shows it.
type target struct {
	docHost, logPath string        // identity: whose document, which entry
	host, service    string        // for words
	rate             int64         // as wanted by the document
	revision         int64         // of the document seen
	entry            agent.Service // as seen
	from             string        // the group whose entry it is, where docHost is to get one of its own; "" none
}

func targetOf(host string, e *store.Entry) target {
	return target{docHost: e.DocHost, logPath: e.Service.LogPath, host: host, service: e.Service.Service,
		rate: e.Service.SendRate, revision: e.Revision, entry: e.Service}
}

// ofGroup tells whether the entry belongs to a group of hosts.
func (t target) ofGroup() bool { return isGroup(t.docHost) }

// isGroup tells whether a document is that of a group.
func isGroup(docHost string) bool { return strings.HasPrefix(docHost, "@") }

// owned is the entry of a group as one that its host alone is to have.
func (t target) owned() target {
	t.from, t.docHost = t.docHost, t.host
	return t
}

type phase int

const (
	phaseEditing  phase = iota // keys still come
	phaseSaving                // the write is under way
	phaseSaved                 // etcd has it, the host not yet
	phaseApplied               // the host runs it
	phaseRefused               // the host refused the document
	phaseFailed                // the write failed
	phaseConflict              // somebody else was first; nothing was written
	phaseUndone                // put back before anything was written
)

// tune is one tuning of one entry: from the first key until the outcome.
type tune struct {
	target
	id   string // one record of the history
	page page   // where the last key of it was pressed
	base int64  // what esc puts back
	held int64  // what etcd holds as far as known: what the next write compares with
	want int64
	sent int64 // of the write under way
	own  bool  // the host has got an entry of its own by this tuning

	phase    phase
	burst    int // counts keys; a timer of an older burst means nothing
	saving   bool
	due      bool // a burst ended while saving
	back     bool // esc was pressed
	lastKey  time.Time
	revision int64 // written
	savedAt  time.Time
	applied  time.Duration // from the write's answer to the host's word
	settled  time.Time     // when the outcome came
	hosts    int           // that are to run it, of a group
	running  int           // of them, that do
	why      string
	theirs   *agent.Service // of a conflict; nil: the entry is gone
}

// rates holds the tunings of a session. They live on while pages come and go.
type rates struct {
	writer  Writer // nil: read-only
	env     *env
	timeout time.Duration
	list    []*tune
	current *tune // the last one touched; nil: none
}

// rateDueMsg ends a burst of keys.
type rateDueMsg struct {
	tune  *tune
	burst int
}

// writtenMsg is the answer to a write.
type writtenMsg struct {
	tune     *tune
	sent     int64
	own      bool // whether the host has an entry of its own now, of a tuning that gives it one
	revision int64
	at       time.Time
	err      error
}

// waitingRevision asks the store how far a written revision is.
type waitingRevision struct {
	tune     *tune
	docHost  string
	revision int64
}

type progressAt struct {
	waitingRevision
	store.Progress
}

// step moves the rate of t by a share of itself, at least by 1 and never below 1.
func (r *rates) step(t target, share float64) tea.Cmd {
	u := r.open(t)
	by := max(int64(math.Round(math.Abs(share)*float64(u.want))), 1)
	if share < 0 {
		by = -by
	}
	u.want = min(max(u.want+by, 1), topRate)
	return r.touched(u)
}

// unlimited tells whether steps mean nothing because there is no limit to move.
func (r *rates) unlimited(t target) bool {
	if u := r.find(t); u != nil && u.live(r.env.now()) {
		return u.want == 0
	}
	return t.rate == 0
}

// set takes a typed rate; 0 is no limit.
func (r *rates) set(t target, v int64) tea.Cmd {
	u := r.open(t)
	u.want = v
	cmd := r.touched(u)
	u.burst++ // a typed value waits for no further key
	return tea.Batch(cmd, r.write(u))
}

// open continues the tuning of an entry or begins one.
func (r *rates) open(t target) *tune {
	u := r.find(t)
	if u != nil && u.live(r.env.now()) {
		r.current = u
		return u
	}
	rate := t.rate
	if u != nil {
		// The screen may be behind the write that was just answered.
		if (u.phase == phaseSaved || u.phase == phaseApplied) && t.revision == u.target.revision {
			rate = u.held
			if u.own {
				t.from = "" // the host has its entry by now
			}
		}
		r.drop(u)
	}
	u = &tune{target: t, id: ulid.Make().String(), base: rate, held: rate, want: rate}
	r.list = append(r.list, u)
	r.current = u
	return u
}

func (r *rates) drop(u *tune) {
	for i, o := range r.list {
		if o == u {
			r.list = append(r.list[:i:i], r.list[i+1:]...)
			return
		}
	}
}

func (r *rates) find(t target) *tune {
	for _, u := range r.list {
		if u.docHost == t.docHost && u.logPath == t.logPath {
			return u
		}
	}
	return nil
}

// live tells whether further keys belong to this tuning.
func (u *tune) live(now time.Time) bool {
	switch u.phase {
	case phaseEditing, phaseSaving:
		return true
	case phaseSaved, phaseApplied:
		return now.Sub(u.lastKey) < tuneHold
	}
	return false
}

func (r *rates) touched(u *tune) tea.Cmd {
	u.lastKey, u.back, u.page = r.env.now(), false, r.env.top()
	u.burst++
	u.phase = phaseEditing
	return r.env.after(settle, rateDueMsg{u, u.burst})
}

// tuning says that a hand is on a rate: rows stand still, and env.putsBack may hold.
func (r *rates) tuning() bool {
	u := r.current
	return u != nil && !u.back && u.live(r.env.now())
}

// unwritten tells whether a rate has not reached etcd yet.
func (r *rates) unwritten() bool {
	for _, u := range r.list {
		if u.phase == phaseEditing || u.phase == phaseSaving {
			return true
		}
	}
	return false
}

// putBack returns to the rate from before the tuning.
func (r *rates) putBack() tea.Cmd {
	u := r.current
	u.want, u.back = u.base, true
	u.burst++
	if !u.saving && u.held == u.base && !u.own {
		u.phase, u.settled = phaseUndone, r.env.now()
		return nil
	}
	return r.write(u)
}

// write sends what is wanted, one write of an entry at a time.
func (r *rates) write(u *tune) tea.Cmd {
	if u.saving {
		u.due = true
		return nil
	}
	if u.want == u.held && !(u.back && u.own) {
		// Back where it was. Without any write there is nothing to wait for.
		if u.phase = phaseSaved; u.revision == 0 {
			u.phase, u.settled = phaseUndone, r.env.now()
		}
		return nil
	}
	u.saving, u.due, u.sent, u.phase = true, false, u.want, phaseSaving
	t, id, from, to, now := u.target, u.id, u.held, u.want, r.env.now
	own := t.from != ""
	send := func(ctx context.Context) (int64, error) {
		return r.writer.SetRate(ctx, t.docHost, t.logPath, from, to, id)
	}
	switch {
	case own && !u.own:
		send = func(ctx context.Context) (int64, error) {
			return r.writer.Own(ctx, t.docHost, t.logPath, t.entry, to, id)
		}
	case u.own && u.back:
		own = false
		send = func(ctx context.Context) (int64, error) {
			return r.writer.Disown(ctx, t.docHost, t.logPath, t.entry, from, id)
		}
	}
	return r.env.work.with(func(ctx context.Context) tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, r.timeout)
		defer cancel()
		rev, err := send(ctx)
		return writtenMsg{u, to, own, rev, now(), err}
	})
}

// update takes the messages of tunings.
func (r *rates) update(msg tea.Msg) tea.Cmd {
	switch m := msg.(type) {
	case rateDueMsg:
		if m.burst == m.tune.burst && m.tune.phase != phaseConflict { // that is for a person to decide
			return r.write(m.tune)
		}
	case writtenMsg:
		return r.written(m)
	case pulledMsg:
		for _, p := range m.progress {
			r.progress(p)
		}
	case tickMsg:
		r.forget()
	}
	return nil
}

func (r *rates) written(m writtenMsg) tea.Cmd {
	u := m.tune
	u.saving = false
	if m.err != nil {
		u.settled = m.at
		u.why = m.err.Error()
		u.phase = phaseFailed
		if theirs, ok := theirsOf(m.err); ok {
			u.phase, u.theirs = phaseConflict, theirs
		} else if errors.Is(m.err, context.DeadlineExceeded) {
			u.why = "no answer in time; it may have been written all the same"
		}
		return nil
	}
	u.held, u.own, u.revision, u.savedAt = m.sent, m.own, m.revision, m.at
	if u.due || u.back && u.want != u.held {
		return r.write(u)
	}
	if u.want == u.held {
		u.phase = phaseSaved
	} else {
		u.phase = phaseEditing // its timer still runs
	}
	return nil
}

// unsettled are the written revisions of which no host told yet.
func (r *rates) unsettled() []waitingRevision {
	var out []waitingRevision
	for _, u := range r.list {
		if u.phase == phaseSaved {
			out = append(out, waitingRevision{u, u.docHost, u.revision})
		}
	}
	return out
}

func (r *rates) progress(p progressAt) {
	u := p.tune
	if u.phase != phaseSaved || u.revision != p.waitingRevision.revision {
		return
	}
	u.hosts, u.running = p.Hosts, p.Running
	switch {
	case p.Applied:
		u.phase, u.applied, u.settled = phaseApplied, max(p.AppliedAt.Sub(u.savedAt), 0), r.env.now()
	case p.Refused:
		u.phase, u.why, u.settled = phaseRefused, p.Error, r.env.now()
	}
}

// forget drops outcomes that were seen long enough.
func (r *rates) forget() {
	now := r.env.now()
	for _, u := range append([]*tune(nil), r.list...) {
		if !u.settled.IsZero() && u.phase != phaseSaved && !u.saving && u.phase != phaseEditing && u.phase != phaseConflict &&
			now.Sub(u.settled) > lookBack && now.Sub(u.lastKey) > lookBack {
			r.drop(u)
			if r.current == u {
				r.current = nil
			}
		}
	}
}

// pending is the rate that an entry of host will have, while it does not run it yet.
func (r *rates) pending(host string, e *store.Entry) (int64, bool) {
	for _, u := range r.list {
		if u.logPath != e.Service.LogPath || u.docHost != e.DocHost && (u.from != e.DocHost || u.docHost != host) {
			continue
		}
		if u.phase == phaseEditing || u.phase == phaseSaving || u.phase == phaseSaved {
			return u.want, true
		}
	}
	return 0, false
}
