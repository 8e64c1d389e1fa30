package change

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Effect is what a change of documents comes to. Rates are of the entries it touches on every
// host that follows them, in lines per second; entries without limit are counted apart, and
// paused ones send nothing.
type Effect struct {
	Documents int `json:"documents"` // with a difference
	// Hosts are those that the change reaches, told where it reaches them by their groups.
	Hosts   int `json:"hosts,omitempty"`
	Added   int `json:"added"` // entries
	Removed int `json:"removed"`
	Changed int `json:"changed"`

	RateBefore      int64 `json:"rate_before"`
	RateAfter       int64 `json:"rate_after"`
	UnlimitedBefore int   `json:"unlimited_before"`
	UnlimitedAfter  int   `json:"unlimited_after"`
}

// Part is what a change does to one document.
type Part struct {
	Diff []EntryDiff
	// Hosts follow the document: any number a group's, 1 a host's own.
	Hosts int
	// Instead are entries by log_path that the hosts followed, of their group's, before the
	// change gave them their own.
	Instead map[string]json.RawMessage
}

// EffectOf sums up the differences of documents that one host follows each.
func EffectOf(diffs [][]EntryDiff) Effect {
	parts := make([]Part, len(diffs))
	for i := range diffs {
		parts[i] = Part{Diff: diffs[i], Hosts: 1}
	}
	return EffectOn(parts)
}

// EffectOn sums up what a change comes to on all hosts that follow its documents.
func EffectOn(parts []Part) Effect {
	var e Effect
	for _, p := range parts {
		if len(p.Diff) > 0 {
			e.Documents++
		}
		for _, d := range p.Diff {
			switch {
			case d.Before == nil:
				e.Added++
			case d.After == nil:
				e.Removed++
			default:
				e.Changed++
			}
			before := d.Before
			if before == nil {
				before = p.Instead[d.LogPath]
			}
			count(before, p.Hosts, &e.RateBefore, &e.UnlimitedBefore)
			count(d.After, p.Hosts, &e.RateAfter, &e.UnlimitedAfter)
		}
	}
	return e
}

// count adds an entry as often as hosts follow it; one that is paused sends nothing.
func count(entry []byte, hosts int, sum *int64, unlimited *int) {
	if entry == nil || string(memberOf(entry, "paused")) == "true" {
		return
	}
	rate, err := strconv.ParseInt(string(memberOf(entry, "send_rate")), 10, 64)
	if err != nil || rate <= 0 {
		*unlimited += hosts
		return
	}
	*sum += rate * int64(hosts)
}

// String is the effect in words: 412 documents: 3 entries added, 409 changed; send_rate
// 1.2M → 900k lines/s, 12 entries without limit.
func (e Effect) String() string {
	if e.Documents == 0 {
		return "nothing changes"
	}
	var what []string
	for _, c := range []struct {
		n    int
		verb string
	}{{e.Added, "added"}, {e.Removed, "removed"}, {e.Changed, "changed"}} {
		switch {
		case c.n == 0:
		case len(what) == 0:
			what = append(what, plural(c.n, "entry", "entries")+" "+c.verb)
		default:
			what = append(what, strconv.Itoa(c.n)+" "+c.verb)
		}
	}
	s := plural(e.Documents, "document", "documents")
	if e.Hosts > 0 {
		s += ", " + plural(e.Hosts, "host", "hosts")
	}
	if len(what) > 0 {
		s += ": " + strings.Join(what, ", ")
	}
	var rates []string
	switch before, after := short(e.RateBefore), short(e.RateAfter); {
	case e.RateBefore == 0 && e.RateAfter == 0:
	case e.RateBefore == e.RateAfter:
		rates = append(rates, "send_rate "+before+" lines/s as before")
	case before == after:
		rates = append(rates, fmt.Sprintf("send_rate %d → %d lines/s", e.RateBefore, e.RateAfter))
	default:
		rates = append(rates, "send_rate "+before+" → "+after+" lines/s")
	}
	switch {
	case e.UnlimitedBefore == 0 && e.UnlimitedAfter == 0:
	case e.UnlimitedBefore == e.UnlimitedAfter:
		rates = append(rates, plural(e.UnlimitedAfter, "entry", "entries")+" without limit")
	default:
		rates = append(rates, fmt.Sprintf("%d → %s without limit", e.UnlimitedBefore, plural(e.UnlimitedAfter, "entry", "entries")))
	}
	if len(rates) > 0 {
		s += "; " + strings.Join(rates, ", ")
	}
	return s
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// short is a rate in at most three digits and a unit; below 10,000 it is exact.
func short(n int64) string {
	if n < 10_000 {
		return strconv.FormatInt(n, 10)
	}
	units := []string{"", "k", "M", "G", "T", "P", "E"}
	v, u := float64(n), 0
	for v >= 999.5 && u < len(units)-1 {
		v /= 1000
		u++
	}
	return strconv.FormatFloat(v, 'g', 3, 64) + units[u]
}
