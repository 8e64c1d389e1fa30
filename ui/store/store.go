package store

import (
	"strings"
	"sync"
	"time"

	"logagent/agent"
)

// Options of New. The zero value is usable.
type Options struct {
	// Now is the clock all ages are counted on; nil means time.Now.
	Now func() time.Time
	// StaleAfter is how long a host may be silent before its numbers are shown as stale;
	// 0 means 10s (five summaries).
	StaleAfter time.Duration
	// NameOf gives the name of the document that stands under a key of etcd, a host's or
	// @group; nil: only keys of documents that were seen are known.
	NameOf func(key string) (name string, ok bool)
}

// Store is safe for any number of goroutines. Feeding takes microseconds; the lock is
// held for the milliseconds of a View at most, and never during I/O.
type Store struct {
	opts  Options
	now   func() time.Time
	stale time.Duration

	mu       sync.Mutex // guards what follows
	hosts    map[string]*host
	byName   []*host               // the same in the order of names; nil: to be made again
	groups   map[string]*group     // by name, with the @
	keyName  map[string]string     // document key → host segment it stands under, or @group
	lists    map[string]*entryList // of the hosts that have entries of groups alone, by the groups
	servedBy map[string]string     // document key → another host that follows it too (an address's key)
	etcd     link
	kafka    link
	revision int64
	synced   bool
	syncedAt time.Time // when the tree was first known whole
	doubt    bool      // DoubtUnheard was called
	fleet    fleetSeries

	// Of one refresh at a time.
	follows []follows
	scratch []DocState
	drifts  []Drift
}

type link struct {
	agent.LinkStatus
	seen bool // was up at least once
}

// New returns an empty store.
func New(o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.StaleAfter <= 0 {
		o.StaleAfter = 10 * time.Second
	}
	return &Store{
		opts: o, now: o.Now, stale: o.StaleAfter,
		hosts: make(map[string]*host), servedBy: make(map[string]string), groups: make(map[string]*group),
		keyName: make(map[string]string), lists: make(map[string]*entryList),
	}
}

// host is everything known about one host, apart as it came.
type host struct {
	written // its own document

	live        *agent.Live
	wasLive     bool
	goneSince   time.Time // at the latest, on the store's clock; zero: not gone, or not known
	toldKeys    []string  // of the documents it told of last
	groups      []string  // with the @, in order
	lowerGroups []string  // the same without, for filters
	groupNames  []string  // as they are written
	known       bool      // the host was heard of lately enough when its drift was told

	coarse   *agent.Coarse
	sum      *agent.Summary
	sumAt    time.Time // when it was made, on the store's clock
	detail   *agent.Status
	detailAt time.Time
	heard    bool          // a status was received as it was made: the host lived since the store was made
	skew     time.Duration // how far the host's clock is ahead, as the last status so received tells

	running map[string]revisionAt // by document key; "" is the host id's own key
	slope   slope
	ring    *ring
	files   map[string]*ring

	best    source
	list    *entryList
	entries []Entry // of list, with the host's drift
	lower   string  // name, for filters
	terms   names
	row     HostRow
	dirty   bool // row must be made again
	stirred bool // the list of entries too
	retold  bool // the agent told of its entries anew
}

// source tells which status the numbers of a host come from.
type source int

const (
	sourceNone source = iota
	sourceSummary
	sourceDetail
)

// revisionAt is a running revision and when the first status with it was received.
type revisionAt struct {
	revision int64
	at       time.Time
}

func (s *Store) host(name string) *host {
	h := s.hosts[name]
	if h == nil {
		h = &host{written: written{name: name}, lower: strings.ToLower(name), dirty: true, stirred: true}
		s.hosts[name] = h
		s.byName = nil
	}
	return h
}

// SetDocument takes the document of a host as etcd holds it now. Revision 0 with no
// entries means that the key is gone.
func (s *Store) SetDocument(name string, d agent.Document) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.host(name)
	h.take(&d, s.now())
	if d.Key != "" {
		s.keyName[d.Key] = name
	}
	s.touchEntries(h)
	if d.Revision == 0 && d.Refused == nil {
		s.forget(h)
	}
}

// forget drops a host of which nothing is left to show.
func (s *Store) forget(h *host) {
	if h.gone() && h.live == nil && h.coarse == nil && h.sum == nil && h.detail == nil {
		s.leave(h)
		delete(s.hosts, h.name)
		s.byName = nil
	}
}

// SetLive takes a host's live key; nil says that it is gone.
func (s *Store) SetLive(name string, l *agent.Live) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.host(name)
	switch {
	case l != nil:
		h.goneSince = time.Time{}
	case h.live != nil:
		h.goneSince = s.now()
	}
	h.live, h.wasLive, h.dirty = l, h.wasLive || l != nil, true
	s.join(h)
	s.forget(h)
}

// renewal is how long before its end an agent may have renewed the key that outlives it.
const renewal = 2 * time.Hour

// GoneLeast is how long at least a host without a live key is without an agent. byKey is what
// the key tells that outlives an agent, 0: nothing. Silent is how long ago the host reported
// last, which is after all that its key knows of; where it was not seen to report, how long it
// was listened for.
func GoneLeast(byKey, silent time.Duration, reported bool) time.Duration {
	if reported {
		return silent
	}
	return max(byKey, silent)
}

// SetSeen takes what is left of the key that outlives an agent, of the ttl it has after each
// renewal, for a host without a live key. What is known better, from having seen the live key
// go, stays.
func (s *Store) SetSeen(name string, left, ttl time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hosts[name]
	if h == nil || h.live != nil {
		return
	}
	gone := ttl - left - renewal
	if since := s.now().Add(-gone); gone > 0 && (h.goneSince.IsZero() || since.Before(h.goneSince)) {
		h.goneSince = since
	}
}

// SetCoarse takes a host's status key; nil says that it is gone.
func (s *Store) SetCoarse(name string, c *agent.Coarse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.host(name)
	if c != nil && h.coarse != nil && !newer(c.StateID, c.Boot, c.Seq, h.coarse.StateID, h.coarse.Boot, h.coarse.Seq) {
		return
	}
	h.coarse, h.dirty, h.retold = c, true, true
	h.stirred = h.stirred || h.doc == nil
	s.join(h)
	if c == nil {
		s.forget(h)
		return
	}
	s.took(h, c.Documents, c.StateID, c.Boot, c.Seq)
}

// SetSummary takes a summary that was made age ago.
func (s *Store) SetSummary(name string, m agent.Summary, age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.host(name)
	if h.sum != nil && !newer(m.StateID, m.Boot, m.Seq, h.sum.StateID, h.sum.Boot, h.sum.Seq) {
		return
	}
	now := s.now()
	at := now.Add(-max(age, 0))
	if h.ring == nil {
		h.ring = new(ring)
	}
	if m.History != nil {
		s.fleet.outdated = h.ring.fill(m.History, at) || s.fleet.outdated
		h.slope.seed(m.History, at)
		m.History = nil // it is in the ring
	}
	h.ring.add(at, float64(m.In), float64(m.Out), float64(m.Lag))
	h.slope.add(at, float64(m.Lag))
	if !h.newerThanDetail(&m) {
		return
	}
	h.sum, h.sumAt, h.dirty = &m, at, true
	h.hear(m.At(), at, age)
	if d := h.detail; d == nil || m.StateID != d.StateID || m.Boot != d.Boot || m.Seq != d.Seq {
		h.best = sourceSummary // else the detail is the same status and says more
	}
	h.runs("", m.Running, now)
}

// newerThanDetail: a summary on its way through Kafka may be older than what the own
// agent's socket already told.
func (h *host) newerThanDetail(m *agent.Summary) bool {
	d := h.detail
	return d == nil || m.StateID == d.StateID && m.Boot == d.Boot && m.Seq == d.Seq ||
		newer(m.StateID, m.Boot, m.Seq, d.StateID, d.Boot, d.Seq)
}

// hear notes what only a status tells that was received as it was made. How old one from
// the past is, is a guess, so it says nothing about clocks.
func (h *host) hear(made, at time.Time, age time.Duration) {
	if age <= 0 {
		h.heard, h.skew = true, made.Sub(at)
	}
}

// DoubtUnheard says that every living agent has had the time to report: from now on a host
// of which there is only a status from the past is stale, however young that seems.
func (s *Store) DoubtUnheard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doubt = true
}

// SetDetail takes a whole status that was made age ago. It is kept, not copied.
func (s *Store) SetDetail(st agent.Status, age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.host(st.Host)
	if h.detail != nil && !st.Newer(h.detail) {
		return
	}
	now := s.now()
	at := now.Add(-max(age, 0))
	h.takeDetail(&st, at)
	if m := h.sum; m == nil || m.StateID == st.StateID && m.Boot == st.Boot && m.Seq == st.Seq ||
		newer(st.StateID, st.Boot, st.Seq, m.StateID, m.Boot, m.Seq) {
		if h.ring == nil {
			h.ring = new(ring)
		}
		if st.History != nil {
			s.fleet.outdated = h.ring.fill(st.History, at) || s.fleet.outdated
		}
		h.ring.add(at, st.Totals.InLinesPerSec, st.Totals.OutLinesPerSec, float64(st.Totals.LagBytes))
		h.slope.add(at, float64(st.Totals.LagBytes))
		h.best = sourceDetail
		h.hear(st.At, at, age)
	}
	h.detail, h.detailAt, h.dirty, h.retold = &st, at, true, true
	h.stirred = h.stirred || h.doc == nil
	s.join(h)
	s.took(h, st.Documents, st.StateID, st.Boot, st.Seq)
}

// took notes the running revisions of a coarse status or detail, and whose keys they are.
func (s *Store) took(h *host, docs []agent.DocumentStatus, state string, boot, seq uint64) {
	now := s.now()
	older := func(oState string, oBoot, oSeq uint64) bool {
		return oState == state && newer(oState, oBoot, oSeq, state, boot, seq)
	}
	if h.coarse != nil && older(h.coarse.StateID, h.coarse.Boot, h.coarse.Seq) ||
		h.detail != nil && older(h.detail.StateID, h.detail.Boot, h.detail.Seq) {
		return
	}
	// A summary tells of the own key alone: one that is newer says nothing of the rest.
	summed := h.sum != nil && older(h.sum.StateID, h.sum.Boot, h.sum.Seq)
	for i, d := range docs {
		if i == 0 {
			if !summed {
				h.runs("", d.Running, now)
				h.runs(d.Key, d.Running, now)
			}
			continue
		}
		h.runs(d.Key, d.Running, now)
		if s.servedBy[d.Key] != h.name && !strings.HasPrefix(s.nameOf(d.Key), "@") {
			s.servedBy[d.Key] = h.name
			s.touchEntries(h)
		}
	}
}

func (h *host) runs(key string, rev int64, at time.Time) {
	if h.running == nil {
		h.running = make(map[string]revisionAt, 2)
	}
	if r, ok := h.running[key]; !ok || r.revision != rev {
		h.running[key] = revisionAt{rev, at}
	}
}

// newer is agent.Status.Newer for the short forms: a later boot or sequence of the same
// state; between two states the one received last.
func newer(state string, boot, seq uint64, oState string, oBoot, oSeq uint64) bool {
	if state != oState {
		return true
	}
	if boot != oBoot {
		return boot > oBoot
	}
	return seq > oSeq
}

// SetEtcd takes the console's own connection to etcd. Since is on this machine's clock.
func (s *Store) SetEtcd(l agent.LinkStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.etcd = link{l, s.etcd.seen || l.Up}
}

// SetKafka takes the console's own connection to Kafka.
func (s *Store) SetKafka(l agent.LinkStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kafka = link{l, s.kafka.seen || l.Up}
}

// SetRevision takes the etcd revision up to which the tree is known.
func (s *Store) SetRevision(rev int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision = rev
	if !s.synced {
		s.synced, s.syncedAt = true, s.now()
		for _, h := range s.hosts {
			h.dirty = true
		}
	}
}
