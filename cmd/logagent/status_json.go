package main

import (
	"fmt"
	"strings"

	"logagent/agent"
	"logagent/ui/store"
)

// hostOut is one host as status --json writes it. Counts and rates are those of its
// newest status, age_seconds old.
type hostOut struct {
	Host            string      `json:"host"`
	State           agent.State `json:"state"`
	Problem         string      `json:"problem,omitempty"`
	Live            bool        `json:"live"`
	AgeSeconds      *float64    `json:"age_seconds"` // null: nothing was heard of it
	Stale           bool        `json:"stale"`
	Files           int         `json:"files"`
	Failing         int         `json:"failing"`
	LagBytes        int64       `json:"lag_bytes"`
	BehindSeconds   float64     `json:"behind_seconds"`
	InPerSec        float64     `json:"in_lines_per_sec"`
	OutPerSec       float64     `json:"out_lines_per_sec"`
	Limit           int64       `json:"limit"`
	ThrottlePercent int         `json:"throttled_percent"`
	Config          string      `json:"config"`
	Desired         int64       `json:"desired_revision"`
	Running         int64       `json:"running_revision"`
	Refused         int64       `json:"refused_revision"` // the last one; 0: none
	Drifting        *int        `json:"drifting"`         // entries not as wanted; null: not known
	GoneLeast       float64     `json:"gone_at_least_seconds,omitempty"`
	Groups          []string    `json:"groups"`
	Documents       []docOut    `json:"documents"`
	Entries         []entryOut  `json:"entries"`
}

// docOut is one document that a host follows.
type docOut struct {
	Name    string `json:"name"` // the host, one of its addresses, or @group
	Key     string `json:"key,omitempty"`
	Config  string `json:"config"`
	Desired int64  `json:"desired_revision"`
	Running int64  `json:"running_revision"`
	Refused int64  `json:"refused_revision"` // the last one; 0: none
	Error   string `json:"error,omitempty"`  // why it was refused
}

// entryOut is one entry of a host.
type entryOut struct {
	Service  string      `json:"service"`
	LogPath  string      `json:"log_path"`
	Origin   string      `json:"origin"`    // what holds it: the host, one of its addresses, or @group
	SendRate int64       `json:"send_rate"` // 0 also of an entry that stands in no document, or in a broken one
	State    agent.State `json:"state"`
	Age      *float64    `json:"age_seconds"` // since the agent told of it; null: it did not, or not known when
	Drift    string      `json:"drift"`       // none, pending, refused, missing, unwanted, unknown
	Cause    string      `json:"cause,omitempty"`

	unwritten bool // nobody knows what is written of it: SendRate means nothing
}

// entriesOf are the wanted entries of a host with what its agent told of each, and those that
// run on of a broken document, or are not wanted.
func entriesOf(r *store.HostRow, last store.Told) []entryOut {
	told := make(map[string]*agent.CoarseEntry, len(last.Entries))
	for i := range last.Entries {
		told[last.Entries[i].LogPath] = &last.Entries[i]
	}
	late := !last.Detail || last.Age > freshDetail
	take := func(one *entryOut, t *agent.CoarseEntry) {
		if last.Age >= 0 {
			age := last.Age.Seconds()
			one.Age = &age
		}
		if r.Stale || r.Live == nil && !r.HasStatus {
			return
		}
		one.State, one.Cause = t.State, t.Cause
		if late && r.HasStatus && r.Behind > 0 && t.State == agent.StateOK && t.Files > 0 {
			one.State, one.Cause = agent.StateUnknown, "its host is behind, in this entry or in another"
		}
	}
	out := make([]entryOut, 0, len(r.Entries)+len(r.Held)+len(r.Unwanted))
	for i := range r.Entries {
		e := &r.Entries[i]
		one := entryOut{Service: e.Service.Service, LogPath: e.Service.LogPath, Origin: e.DocHost, SendRate: e.Service.SendRate,
			State: agent.StateUnknown, Drift: e.Drift.String()}
		if t := told[e.Service.LogPath]; t != nil {
			take(&one, t)
		}
		if why := whyDrift(r, e.DocHost, e.Drift); why != "" {
			one.Cause = strings.TrimPrefix(one.Cause+"; "+why, "; ")
		}
		out = append(out, one)
	}
	unwritten := func(t *agent.CoarseEntry, drift string) *entryOut {
		out = append(out, entryOut{Service: t.Service, LogPath: t.LogPath, Origin: r.Host, State: agent.StateUnknown, Drift: drift, unwritten: true})
		one := &out[len(out)-1]
		for _, d := range r.Documents {
			if t.Key != "" && d.Key == t.Key {
				one.Origin = d.Name
			}
		}
		if now := told[t.LogPath]; now != nil {
			t = now
		}
		take(one, t)
		return one
	}
	for i := range r.Held {
		one := unwritten(&r.Held[i], store.DriftRefused.String())
		one.Cause = strings.TrimPrefix(one.Cause+"; "+whyDrift(r, one.Origin, store.DriftRefused), "; ")
	}
	for i := range r.Unwanted {
		unwritten(&r.Unwanted[i], driftUnwanted)
	}
	return out
}

// whyDrift says why an entry does not run as wanted, where more is known than the word.
func whyDrift(r *store.HostRow, document string, drift store.Drift) string {
	for _, d := range r.Documents {
		switch {
		case d.Name != document:
		case drift == store.DriftRefused && d.Running != 0:
			return fmt.Sprintf("rev %d refused: %s; rev %d runs", d.Refused, d.Error, d.Running)
		case drift == store.DriftRefused:
			return fmt.Sprintf("rev %d refused: %s", d.Refused, d.Error)
		case drift == store.DriftPending && d.Running != d.Desired:
			return fmt.Sprintf("rev %d runs, rev %d is wanted", d.Running, d.Desired)
		}
	}
	return ""
}

func jsonOf(r *store.HostRow, told store.Told) hostOut {
	o := hostOut{
		Host: r.Host, State: r.State, Problem: r.Problem, Live: r.Live != nil, Stale: r.Stale,
		Files: r.Files, Failing: r.Failing, LagBytes: r.LagBytes, BehindSeconds: r.BehindFor.Seconds(),
		InPerSec: r.In, OutPerSec: r.Out, Limit: r.Limit, ThrottlePercent: r.Throttle,
		Config: configWord(r.Config), Desired: r.Desired, Running: r.Running, Refused: r.Refused, Drifting: drifting(r),
		GoneLeast: r.Gone.Seconds(), Groups: append([]string{}, r.Groups...), Documents: []docOut{}, Entries: entriesOf(r, told),
	}
	for _, d := range r.Documents {
		o.Documents = append(o.Documents, docOut{Name: d.Name, Key: d.Key, Config: configWord(d.Config), Desired: d.Desired, Running: d.Running, Refused: d.Refused, Error: d.Error})
	}
	if r.HasStatus {
		age := r.Age.Seconds()
		o.AgeSeconds = &age
	}
	return o
}
