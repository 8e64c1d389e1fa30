package store

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"logagent/agent"
)

// Order is the sequence of rows that a query found. It is never changed: a View of a
// later moment may be asked to keep it, so that rows stand still under a hand that moves.
type Order struct {
	keys []string
}

// Len is how many rows passed the filter.
func (o *Order) Len() int {
	if o == nil {
		return 0
	}
	return len(o.keys)
}

// Key is the key of row i.
func (o *Order) Key(i int) string { return o.keys[i] }

// Index is where a key stands; -1 where it does not.
func (o *Order) Index(key string) int {
	if o == nil {
		return -1
	}
	return slices.Index(o.keys, key)
}

// Query says which rows a page wants.
type Query struct {
	Filter   Filter
	Problems bool // only rows that are not fine
	Sort     Sort
	Reverse  bool
	Keep     *Order // use this order instead of filter and sort; nil: a new one

	Cursor string // the row the cursor is on; "" for the first
	Near   int    // where the cursor stood, for when its row is gone
	// Offset is the first row wanted and Count how many; the window is moved so that the
	// cursor is inside. Margin more rows are given on either side.
	Offset, Count, Margin int
}

// Window places rows in an Order.
type Window struct {
	Order  *Order
	Total  int // rows before the filter
	Cursor int // index of the cursor's row; -1 where there are no rows
	Offset int // first row to show
	First  int // index of the first row given
}

// place finds the cursor and cuts the window, and returns the end of what to give.
func (w *Window) place(q *Query) int {
	n := w.Order.Len()
	w.Cursor = w.Order.Index(q.Cursor)
	if w.Cursor < 0 {
		w.Cursor = min(q.Near, n-1)
		if q.Cursor == "" {
			w.Cursor = min(0, n-1)
		}
	}
	count := max(q.Count, 1)
	w.Offset = min(q.Offset, max(n-count, 0))
	w.Offset = min(w.Offset, max(w.Cursor, 0))
	w.Offset = max(w.Offset, w.Cursor-count+1, 0)
	w.First = max(w.Offset-q.Margin, 0)
	return min(w.Offset+count+q.Margin, n)
}

// FleetView is Fleet at one moment. Nothing in it changes.
type FleetView struct {
	Window
	At       time.Time
	Overview Overview
	Rows     []HostRow // from Window.First on
}

// Fleet returns the rows a query asks for. 10,000 hosts take a few milliseconds.
func (s *Store) Fleet(q Query) FleetView {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	v := FleetView{At: now}
	hosts := s.sorted()
	keyOf := hostKey(q.Sort, q.Reverse)
	matched := make([]hostRank, 0, len(hosts))
	for i, h := range hosts {
		s.refresh(h, now)
		if s.hidden(h) {
			continue
		}
		v.Total++
		v.Overview.count(&h.row)
		if q.Keep != nil || q.Problems && !h.row.troubled() {
			continue
		}
		if q.Filter.Empty() || q.Filter.matches(hostSubject{h}) {
			first, second := keyOf(i, &h.row)
			matched = append(matched, hostRank{first, second, int32(i)})
		}
	}
	s.overview(&v.Overview, now)
	v.Order = q.Keep
	if q.Keep == nil {
		slices.SortFunc(matched, hostRank.compare)
		keys := make([]string, len(matched))
		for i, m := range matched {
			keys[i] = hosts[m.place].name
		}
		v.Order = &Order{keys: keys}
	}
	end := v.place(&q)
	for i := v.First; i < end; i++ {
		h := s.hosts[v.Order.Key(i)]
		if h == nil { // gone since the kept order was made
			v.Rows = append(v.Rows, HostRow{Host: v.Order.Key(i), State: agent.StateUnknown, Problem: "this host is gone"})
			continue
		}
		v.Rows = append(v.Rows, s.show(h, now))
	}
	return v
}

// sorted returns the hosts in the order of their names.
func (s *Store) sorted() []*host {
	if s.byName == nil {
		s.byName = slices.SortedFunc(maps.Values(s.hosts), func(a, b *host) int { return strings.Compare(a.name, b.name) })
	}
	return s.byName
}

// show completes a row with what depends on the moment.
func (s *Store) show(h *host, now time.Time) HostRow {
	r := h.row
	if r.HasStatus {
		r.Age = max(now.Sub(h.statusAt()), 0)
	}
	if r.Config == ConfigPending {
		if since := s.pendingSince(&r); !since.IsZero() {
			r.PendingFor = max(now.Sub(since), 0)
		}
	}
	if h.live == nil && (!r.HasStatus || r.Stale) {
		r.Gone = s.goneFor(h, &r, now)
	}
	r.Problem = s.problem(h, &r, now)
	if h.ring != nil {
		r.Series = h.ring.series(now)
	}
	return r
}

// goneFor is how long a host without a live key and without reports is gone at least; 0: not
// known. While Kafka is away its silence tells nothing.
func (s *Store) goneFor(h *host, r *HostRow, now time.Time) time.Duration {
	var byKey time.Duration
	if !h.goneSince.IsZero() {
		byKey = max(now.Sub(h.goneSince), 0)
	}
	switch {
	case !r.HasStatus:
		return GoneLeast(byKey, 0, false)
	case !s.kafka.Up || !s.synced: // nobody said yet that it has no live key
		return min(byKey, r.Age)
	}
	return GoneLeast(byKey, r.Age, true)
}

// pendingSince is when the first of the revisions was wanted that do not run yet.
func (s *Store) pendingSince(r *HostRow) (since time.Time) {
	for i := range r.Documents {
		d := &r.Documents[i]
		if d.Config != ConfigPending {
			continue
		}
		at := s.syncedAt // that there is none is known since then
		if w := s.document(d.Name); w != nil && !w.docAt.IsZero() {
			at = w.docAt
		}
		if since.IsZero() || at.Before(since) {
			since = at
		}
	}
	return since
}

// troubled is what "only problems" leaves: a paused host is as somebody wants it.
func (r *HostRow) troubled() bool {
	return r.State != agent.StateOK && r.State != agent.StatePaused ||
		r.Config == ConfigPending || r.Config == ConfigRefused
}

func (o *Overview) count(r *HostRow) {
	o.Hosts++
	switch r.State {
	case agent.StateOK, agent.StatePaused:
		o.OK++
	case agent.StateBehind:
		o.Behind++
	case agent.StateFailing:
		o.Failing++
	default:
		o.Unknown++
	}
	if !r.HasStatus {
		return
	}
	o.LagBytes += r.LagBytes // what is on disk stays there while nobody reports it
	if r.Stale {
		o.LagStale = o.LagStale || r.LagBytes > 0
		return
	}
	o.Fresh++
	o.In += r.In
	o.Out += r.Out
}

// fleetSeries is the sum of all hosts' rings. Finished steps change only when a history
// fills a gap: the sum is made again then, every two seconds at most, and for each new step.
type fleetSeries struct {
	at       time.Time
	outdated bool
	series   Series
}

func (s *Store) overview(o *Overview, now time.Time) {
	o.Etcd, o.EtcdSeen = s.etcd.LinkStatus, s.etcd.seen
	o.Kafka, o.KafkaSeen = s.kafka.LinkStatus, s.kafka.seen
	o.Revision = s.revision
	o.Newest = -1
	var newest time.Time
	for _, h := range s.sorted() {
		if at := h.statusAt(); h.best != sourceNone && at.After(newest) {
			newest = at
		}
	}
	if !newest.IsZero() {
		o.Newest = max(now.Sub(newest), 0)
	}
	if f := &s.fleet; slotOf(now) != slotOf(f.at) || f.outdated && now.Sub(f.at) >= 2*time.Second {
		f.at, f.outdated = now, false
		f.series = gaps()
		for _, h := range s.sorted() {
			if h.ring != nil {
				h.ring.addTo(&f.series, slotOf(now))
			}
		}
	}
	// The last step still runs and not every host has reported in it: the sum of the
	// newest figures stands for it.
	o.Series = Series{In: slices.Clone(s.fleet.series.In), Out: slices.Clone(s.fleet.series.Out), Lag: slices.Clone(s.fleet.series.Lag)}
	if o.Fresh > 0 {
		o.Series.In[Steps-1], o.Series.Out[Steps-1], o.Series.Lag[Steps-1] = float32(o.In), float32(o.Out), float32(o.LagBytes)
	}
	if o.Fresh > 0 {
		o.Trend = trend(o.Series.Lag)
	}
}

func gaps() Series {
	nan := float32(math.NaN())
	return Series{In: slices.Repeat([]float32{nan}, Steps), Out: slices.Repeat([]float32{nan}, Steps), Lag: slices.Repeat([]float32{nan}, Steps)}
}

// trendBytes is how much lag must have changed within a minute to speak of a trend.
const trendBytes = 1 << 20

func trend(lag []float32) Trend {
	last, before := lag[Steps-1], lag[Steps-1-6]
	switch {
	case last != last || before != before, last < trendBytes && before < trendBytes:
		return TrendNone
	case last > before*1.02 && last-before > trendBytes:
		return TrendGrowing
	case last < before*0.98 && before-last > trendBytes:
		return TrendDraining
	}
	return TrendSteady
}
