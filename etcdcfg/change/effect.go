package change

import (
	"fmt"
	"strconv"
	"strings"
)

// Effect is what a change of documents comes to. Rates are of the entries it touches, in
// lines per second; entries without limit are counted apart.
type Effect struct {
	Documents int `json:"documents"` // with a difference
	Added     int `json:"added"`     // entries
	Removed   int `json:"removed"`
	Changed   int `json:"changed"`

	RateBefore      int64 `json:"rate_before"`
	RateAfter       int64 `json:"rate_after"`
	UnlimitedBefore int   `json:"unlimited_before"`
	UnlimitedAfter  int   `json:"unlimited_after"`
}

// EffectOf sums up the differences of documents.
func EffectOf(diffs [][]EntryDiff) Effect {
	var e Effect
	for _, entries := range diffs {
		if len(entries) > 0 {
			e.Documents++
		}
		for _, d := range entries {
			switch {
			case d.Before == nil:
				e.Added++
			case d.After == nil:
				e.Removed++
			default:
				e.Changed++
			}
			count(d.Before, &e.RateBefore, &e.UnlimitedBefore)
			count(d.After, &e.RateAfter, &e.UnlimitedAfter)
		}
	}
	return e
}

func count(entry []byte, sum *int64, unlimited *int) {
	if entry == nil {
		return
	}
	rate, err := strconv.ParseInt(string(memberOf(entry, "send_rate")), 10, 64)
	if err != nil || rate <= 0 {
		*unlimited++
		return
	}
	*sum += rate
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
