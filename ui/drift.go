package ui

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"logagent/ui/store"
	"logagent/ui/termsafe"
)

// What a host is wanted to run and what it runs: in words for the message line and the line of
// the agent, as a mark for a row.

const (
	driftPatience = 5 * time.Second // a change may take so long before it is called drift
	forgetAfter   = 24 * time.Hour  // an agent gone for so long may be gone for good
)

// rowMessage says what is wrong with the selected host; nil where nothing is.
func rowMessage(r *store.HostRow, width int) []piece {
	words := termsafe.Line(r.Problem)
	if d := driftWords(r); d != "" {
		numbers, why := revisionWords(r)
		switch full := d + "; " + numbers + why; {
		case r.Config != store.ConfigRefused:
			words = strings.TrimSuffix(d+"; "+numbers+"; "+words, "; ")
		case termsafe.Width(full)+termsafe.Width(r.Host)+4 <= width:
			words = full
		default: // the reason is what matters most
			words += "; " + d + "; " + numbers
		}
	}
	if r.Gone >= forgetAfter {
		words = fmt.Sprintf("no agent for at least %s; logagent hosts forget %s takes it off", days(r.Gone), termsafe.Clean(r.Host))
	}
	if words == "" {
		return nil
	}
	mark, look := shape(r.State)
	return []piece{{look, " " + mark + " "}, {strong, termsafe.Clean(r.Host)}, {text, " " + words}}
}

func days(d time.Duration) string { return fmt.Sprintf("%d d", d/(24*time.Hour)) }

// driftWords counts and names the entries that do not run as wanted; "" where all do, or
// where they only have not yet had the time to.
func driftWords(r *store.HostRow) string {
	if r.Drifting == 0 || r.Config == store.ConfigPending && r.PendingFor < driftPatience {
		return ""
	}
	var names []string
	add := func(s string) {
		if s = termsafe.Clean(s); !slices.Contains(names, s) {
			names = append(names, s)
		}
	}
	for i := range r.Entries {
		if r.Entries[i].Drift > store.DriftNone {
			add(r.Entries[i].Service.Service)
		}
	}
	for _, e := range r.Unwanted {
		add(e.Service + ", which is not wanted")
	}
	for _, e := range r.Held {
		add(e.Service)
	}
	const most = 2
	more := ""
	if len(names) > most {
		names, more = names[:most], " …"
	}
	all := len(r.Entries) + len(r.Unwanted) + len(r.Held)
	return fmt.Sprintf("%d of %d %s not as wanted: %s%s", r.Drifting, all, plural(all, "entry", "entries"), strings.Join(names, ", "), more)
}

// worst is the document of a host that is furthest from in force; nil where it follows none.
func worst(r *store.HostRow) *store.DocState {
	var out *store.DocState
	rank := func(c store.Config) int {
		return slices.Index([]store.Config{store.ConfigRunning, store.ConfigUnknown, store.ConfigPending, store.ConfigRefused}, c)
	}
	for i := range r.Documents {
		d := &r.Documents[i]
		if d.Desired == 0 && d.Running == 0 && d.Refused == 0 {
			continue
		}
		if out == nil || rank(d.Config) > rank(out.Config) {
			out = d
		}
	}
	return out
}

// revisionWords tells of the host's worst document which revision is wanted, which runs and
// which was refused, and why.
func revisionWords(r *store.HostRow) (numbers, why string) {
	d := worst(r)
	if d == nil {
		return "no document", ""
	}
	if d.Name != r.Host {
		numbers = termsafe.Clean(d.Name) + " "
	}
	numbers += fmt.Sprintf("desired %s, running %s", revisionOrNone(d.Desired), revisionOrNone(d.Running))
	if d.Refused != 0 && d.Running != d.Desired {
		numbers += fmt.Sprintf(", refused %d", d.Refused)
		if why = ": " + termsafe.Line(d.Error); d.Error == "" {
			why = ""
		}
	}
	return numbers, why
}

func revisionOrNone(rev int64) string {
	if rev == 0 {
		return "none"
	}
	return fmt.Sprint(rev)
}

// configWords is how far the documents of a host are, the longest variant first.
func configWords(r *store.HostRow) [][]piece {
	d := worst(r)
	if d == nil {
		return [][]piece{{{dim, "no document"}}}
	}
	mark := map[store.Config]string{store.ConfigRunning: "✓", store.ConfigPending: "↻", store.ConfigRefused: "✕", store.ConfigUnknown: "?"}[d.Config]
	look := map[store.Config]role{store.ConfigRunning: good, store.ConfigPending: half, store.ConfigRefused: bad, store.ConfigUnknown: lost}[d.Config]
	name, since := "", ""
	if d.Name != r.Host {
		name = termsafe.Clean(d.Name) + " "
	}
	if d.Config == store.ConfigPending && r.PendingFor >= time.Second {
		since = " " + store.Ago(r.PendingFor)
	}
	short := []piece{{look, fmt.Sprintf("%srev %s %s%s", name, revisionOrNone(d.Desired), mark, since)}}
	if d.Config == store.ConfigRunning || d.Desired == d.Running {
		var rest []piece
		for i := range r.Documents {
			if o := &r.Documents[i]; o != d && o.Config == store.ConfigRunning && o.Desired != 0 {
				rest = append(rest, piece{dim, ", "}, piece{look, fmt.Sprintf("%s rev %d ✓", termsafe.Clean(o.Name), o.Desired)})
			}
		}
		return [][]piece{append(slices.Clone(short), rest...), short}
	}
	numbers, _ := revisionWords(r)
	runs := fmt.Sprintf("%s, %s runs", revisionOrNone(d.Desired), revisionOrNone(d.Running))
	if d.Config == store.ConfigRefused {
		runs = fmt.Sprintf("%s refused, %s runs", revisionOrNone(d.Refused), revisionOrNone(d.Running))
	}
	return [][]piece{{{look, numbers + " " + mark + since}}, {{look, name + runs + " " + mark + since}}, {{look, name + runs + " " + mark}}}
}

// drift marks a row whose entry does not run as it is wanted, or is just being changed.
func (p *hostPage) drift(r *store.FileRow) (string, role) {
	if r.Entry == nil {
		for i := range p.view.Row.Unwanted {
			if p.view.Row.Unwanted[i].LogPath == r.LogPath {
				return "!", half
			}
		}
		return " ", text
	}
	if _, saving := p.env.rates.pending(p.host, r.Entry); saving {
		return "↻", half
	}
	switch r.Entry.Drift {
	case store.DriftPending:
		return "↻", half
	case store.DriftRefused:
		return "✕", bad
	case store.DriftMissing:
		return "!", half
	}
	return " ", text
}

// driftMessage says what the mark of a row means; nil where it has none.
func driftMessage(r *store.FileRow) []piece {
	if r.Entry == nil {
		return nil
	}
	words := map[store.Drift]string{
		store.DriftPending: "not as wanted yet: it runs as it was before",
		store.DriftRefused: "not as wanted: its document was refused, it runs as it was before",
		store.DriftMissing: "wanted, but the agent does not list it",
	}[r.Entry.Drift]
	if words == "" {
		return nil
	}
	return []piece{{text, " "}, {strong, termsafe.Clean(r.Service)}, {half, " " + words}}
}
