package store

import (
	"slices"
	"time"

	"logagent/agent"
)

// HostView is one host at one moment. Nothing in it changes.
type HostView struct {
	Window
	At       time.Time
	Overview Overview
	Known    bool // the host is in the store at all
	Row      HostRow
	Refusal  string // why the wanted document was refused; "" where it was not

	Detail    *agent.Status // the newest detail; nil: none has arrived
	DetailAge time.Duration
	Rows      []FileRow // from Window.First on
}

// Host returns one host and the rows a query asks for.
func (s *Store) Host(name string, q Query) HostView {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	v := HostView{At: now}
	for _, h := range s.sorted() {
		s.refresh(h, now)
		if !s.hidden(h) {
			v.Overview.count(&h.row)
		}
	}
	s.overview(&v.Overview, now)
	h := s.hosts[name]
	if h == nil {
		v.Row = HostRow{Host: name, State: agent.StateUnknown, Problem: "this host is gone"}
		v.Order = &Order{}
		v.place(&q)
		return v
	}
	v.Known, v.Row = true, s.show(h, now)
	if v.Row.Config == ConfigRefused {
		for _, d := range v.Row.Documents {
			if d.Config == ConfigRefused && v.Refusal == "" {
				v.Refusal = h.refusalError(&d)
			}
		}
	}
	if h.detail != nil {
		v.Detail, v.DetailAge = h.detail, max(now.Sub(h.detailAt), 0)
	}
	rows := h.fileRows(v.Row.Stale || now.Sub(h.detailAt) > s.stale)
	v.Total = len(rows)
	if q.Keep == nil {
		rows = slices.DeleteFunc(rows, func(r FileRow) bool {
			return q.Problems && (r.State == agent.StateOK || r.State == agent.StatePaused) ||
				!q.Filter.Empty() && !q.Filter.matches(fileSubject{&r})
		})
		rows = sorted(rows, fileOrder(q.Sort, q.Reverse))
		v.Order = orderOf(rows)
	} else {
		v.Order = q.Keep
		rows = keep(rows, q.Keep)
	}
	end := v.place(&q)
	v.Rows = slices.Clone(rows[v.First:end])
	for i := range v.Rows {
		if r := h.files[v.Rows[i].Key]; r != nil {
			v.Rows[i].Series = r.series(now)
		}
	}
	return v
}

// sorted returns the rows in order. It moves pointers about: a row is some three hundred bytes,
// and taking the address of a copy puts it on the heap.
func sorted(rows []FileRow, order func(a, b *FileRow) int) []FileRow {
	at := make([]*FileRow, len(rows))
	for i := range rows {
		at[i] = &rows[i]
	}
	slices.SortFunc(at, order)
	out := make([]FileRow, len(rows))
	for i, r := range at {
		out[i] = *r
	}
	return out
}

func orderOf(rows []FileRow) *Order {
	o := &Order{keys: make([]string, len(rows))}
	for i := range rows {
		o.keys[i] = rows[i].Key
	}
	return o
}

// keep puts rows into a kept order; what is gone stays in its place, without numbers.
func keep(rows []FileRow, o *Order) []FileRow {
	at := make(map[string]int, len(rows))
	for i := range rows {
		at[rows[i].Key] = i
	}
	out := make([]FileRow, o.Len())
	for i, k := range o.keys {
		if j, ok := at[k]; ok {
			out[i] = rows[j]
			continue
		}
		logPath, path := splitKey(k)
		out[i] = FileRow{Key: k, Kind: KindEntry, Path: path, LogPath: logPath, State: agent.StateUnknown, Cause: "gone"}
	}
	return out
}

// fileKey is the identity of a FileRow. Paths hold no NUL.
func fileKey(logPath, path string) string { return logPath + "\x00" + path }

func splitKey(key string) (logPath, path string) {
	for i := range len(key) {
		if key[i] == 0 {
			return key[:i], key[i+1:]
		}
	}
	return key, key
}

// waiting is the cause of an entry of which the agent has told nothing yet.
const waiting = "waiting for detail"

// fileRows are the files and the entries without one, unordered.
func (h *host) fileRows(stale bool) []FileRow {
	wanted := make(map[string]*Entry, len(h.entries))
	for i := range h.entries {
		wanted[h.entries[i].Service.LogPath] = &h.entries[i]
	}
	told := make(map[string]bool)
	var rows []FileRow
	if d := h.detail; d != nil {
		rows = make([]FileRow, 0, len(d.Files)+len(d.Services))
		for i := range d.Files {
			f := &d.Files[i]
			told[f.LogPath] = true
			rows = append(rows, fileRow(f, wanted[f.LogPath], stale))
		}
		for i := range d.Services {
			e := &d.Services[i]
			if e.FileCount == 0 || !told[e.LogPath] && len(d.Files) == 0 {
				rows = append(rows, entryRow(e, wanted[e.LogPath], stale))
			}
			told[e.LogPath] = true
		}
	}
	for i := range h.entries {
		e := &h.entries[i]
		if told[e.Service.LogPath] {
			continue
		}
		rows = append(rows, h.waitingRow(e))
	}
	return rows
}

func fileRow(f *agent.FileStatus, e *Entry, stale bool) FileRow {
	r := FileRow{
		Key: fileKey(f.LogPath, f.Path), Kind: KindFile, Path: f.Path, LogPath: f.LogPath, Service: f.Service, Topic: f.Topic,
		State: f.State, Cause: f.Cause, Since: f.Since, Stale: stale, Limit: f.Limit, Entry: e, File: f,
	}
	r.figures(&f.Totals)
	r.InEstimate = f.RotatedBytes > 0 || f.ReadBytes < f.SizeBytes-f.PartialBytes
	return r.orStale()
}

// figures are taken where a file could be read at all.
func (r *FileRow) figures(t *agent.Totals) {
	r.Numbers = r.State != agent.StateFailing || t.LagBytes > 0 || t.Lines > 0
	r.LagBytes = t.LagBytes
	r.BehindFor, r.BehindAtLeast = time.Duration(t.BehindSeconds*float64(time.Second)), t.BehindAtLeast
	r.In, r.Out = t.InLinesPerSec, t.OutLinesPerSec
	r.Throttle = int(t.ThrottledShare*100 + 0.5)
	if r.State != agent.StateOK || r.BehindFor >= time.Second {
		r.Drain = drain(float64(t.LagBytes), t.OutBytesPerSec-t.InBytesPerSec)
	}
}

func (r FileRow) orStale() FileRow {
	if r.Stale {
		r.State = agent.StateUnknown
	}
	return r
}

func entryRow(e *agent.ServiceStatus, w *Entry, stale bool) FileRow {
	r := FileRow{
		Key: fileKey(e.LogPath, e.LogPath), Kind: KindEntry, Path: e.LogPath, LogPath: e.LogPath, Service: e.Service.Service, Topic: e.Topic,
		State: e.State, Cause: e.Cause, Since: e.Since, Stale: stale, Limit: e.SendRate, Entry: w,
	}
	if e.FileCount > 0 { // files exist but did not come along
		r.figures(&e.Totals)
	}
	return r.orStale()
}

// waitingRow shows an entry as wanted, with what the status key tells of it.
func (h *host) waitingRow(e *Entry) FileRow {
	r := FileRow{
		Key: fileKey(e.Service.LogPath, e.Service.LogPath), Kind: KindWaiting, Path: e.Service.LogPath, LogPath: e.Service.LogPath,
		Service: e.Service.Service, Topic: e.Service.Topic, State: agent.StateUnknown, Cause: waiting, Limit: e.Service.SendRate, Entry: e,
	}
	if h.detail != nil {
		r.Cause = "not taken up yet"
	}
	for _, c := range h.coarseEntries() {
		if c.LogPath == r.LogPath && c.State == agent.StateFailing {
			r.State, r.Cause = c.State, c.Cause
		}
	}
	return r
}

// takeDetail adds a detail's files to their rings and drops those of files that are gone.
func (h *host) takeDetail(d *agent.Status, at time.Time) {
	if h.files == nil {
		h.files = make(map[string]*ring, len(d.Files))
	}
	if len(h.files) > 2*len(d.Files)+16 {
		h.files = keepRings(h.files, d.Files)
	}
	for i := range d.Files {
		f := &d.Files[i]
		k := fileKey(f.LogPath, f.Path)
		r := h.files[k]
		if r == nil {
			r = new(ring)
			h.files[k] = r
		}
		if f.History != nil {
			r.fill(f.History, at)
		}
		r.add(at, f.Totals.InLinesPerSec, f.Totals.OutLinesPerSec, float64(f.Totals.LagBytes))
	}
}

func keepRings(old map[string]*ring, files []agent.FileStatus) map[string]*ring {
	out := make(map[string]*ring, len(files))
	for i := range files {
		k := fileKey(files[i].LogPath, files[i].Path)
		if r := old[k]; r != nil {
			out[k] = r
		}
	}
	return out
}
