package store

import (
	"fmt"
	"strings"
	"time"

	"logagent/agent"
)

// patience is how long a new revision may take before it is called a problem.
const patience = 5 * time.Second

// skewShown is how far a host's clock may be off before it is said.
const skewShown = 2 * time.Second

// problem says in words what is wrong with h, the worst first; "" where nothing is.
func (s *Store) problem(h *host, r *HostRow, now time.Time) string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for i := range r.Documents {
		if d := &r.Documents[i]; d.Config == ConfigRefused {
			say("config %srefused: %s", h.revision(d), h.refusalError(d))
		}
	}
	switch {
	case !r.HasStatus && h.live == nil && h.coarse == nil:
		say("no agent has reported for this host")
		return strings.Join(out, "; ")
	case !r.HasStatus && h.live == nil && r.Gone > 0:
		say("no agent has run here for at least %s", Ago(r.Gone))
	case !r.HasStatus && h.live == nil:
		say("no agent runs here; it once did")
	case !r.HasStatus:
		say("agent runs, no status from it yet")
	case r.Stale && h.live == nil && h.wasLive:
		say("agent is gone: no status for %s", Ago(r.Age))
	case r.Stale:
		say("no status for %s", Ago(r.Age))
	}
	if r.Config == ConfigPending && r.PendingFor >= patience {
		for i := range r.Documents {
			switch d := &r.Documents[i]; {
			case d.Config != ConfigPending:
			case d.Desired == 0:
				say("still runs a document that was deleted: %s", h.runningRevision(d))
			default:
				say("has not applied %sfor %s", h.revision(d), Ago(r.PendingFor))
			}
		}
	}
	if !r.Stale {
		h.sayTroubles(say)
	}
	if h.best != sourceNone && h.skew.Abs() > skewShown {
		if h.skew > 0 {
			say("its clock is %s ahead of this one", Ago(h.skew))
		} else {
			say("its clock is %s behind this one", Ago(-h.skew))
		}
	}
	return strings.Join(out, "; ")
}

func (h *host) sayTroubles(say func(string, ...any)) {
	if h.best == sourceDetail {
		d := h.detail
		if !d.Kafka.Up {
			say("no Kafka broker answers: %s", orUnknown(d.Kafka.Error))
		}
		for i := range d.Services {
			if e := &d.Services[i]; e.State == agent.StateFailing {
				say("%s %s: %s", e.Service.Service, e.LogPath, e.Cause)
			}
		}
		for _, p := range d.Problems {
			say("%s", p)
		}
		if !d.Etcd.Up {
			say("reaches no etcd, runs its last known config: %s", orUnknown(d.Etcd.Error))
		}
		if d.Totals.LostBytes > 0 {
			say("%d bytes lost since its start", d.Totals.LostBytes)
		}
		if d.Totals.Doubled > 0 {
			say("%d lines may be doubled since its start", d.Totals.Doubled)
		}
		if d.Draining {
			say("agent is stopping")
		}
		return
	}
	if h.sum != nil && h.sum.KafkaBad {
		say("no Kafka broker answers it")
	}
	for _, e := range h.coarseEntries() {
		// The status key is up to 30 s behind: files that the summary knows to be well again are left out.
		if e.State == agent.StateFailing && (h.sum == nil || h.sum.Failing > 0 || e.Files == 0) {
			say("%s %s: %s", e.Service, e.LogPath, e.Cause)
		}
	}
	if h.coarse != nil {
		for _, p := range h.coarse.Problems {
			say("%s", p)
		}
	}
	if h.sum != nil && h.sum.EtcdBad {
		say("reaches no etcd, runs its last known config")
	}
	if h.sum != nil && h.sum.Trouble {
		say("lines lost or doubled since its start: open the host for the figures")
	}
}

// revision names a wanted revision, and whose document it is where that is not h's own.
func (h *host) revision(d *DocState) string {
	if d.Name == h.name {
		return fmt.Sprintf("rev %d ", d.Desired)
	}
	return fmt.Sprintf("rev %d of %s ", d.Desired, d.Name)
}

// runningRevision names what runs of a document, and whose it is where that is not h's own.
func (h *host) runningRevision(d *DocState) string {
	switch {
	case d.Name == h.name:
		return fmt.Sprintf("rev %d", d.Running)
	case d.Name == "":
		return fmt.Sprintf("rev %d of %s", d.Running, d.Key)
	}
	return fmt.Sprintf("rev %d of %s", d.Running, d.Name)
}

// refusalError is why the wanted revision was refused, by the agent or as the console reads it.
func (h *host) refusalError(d *DocState) string {
	if d.Refused == d.Desired && d.Error != "" {
		return d.Error
	}
	return "the reason has not arrived yet"
}

func orUnknown(why string) string {
	if why == "" {
		return "no reason told"
	}
	return why
}

// Ago writes an age as the console shows it: 42 s below a minute, 4m12s, 2h11m, 12d4h.
func Ago(d time.Duration) string {
	d = max(d, 0).Truncate(time.Second)
	if d < time.Minute {
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	return Compact(d)
}

// Compact writes a duration in at most six characters below a hundred days: 42s, 4m12s,
// 2h11m, 12d4h.
func Compact(d time.Duration) string {
	s := int64(max(d, 0) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	case s < 100*86400:
		return fmt.Sprintf("%dd%dh", s/86400, s/3600%24)
	}
	return fmt.Sprintf("%dd", s/86400)
}
