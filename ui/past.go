package ui

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"logagent/etcdcfg/change"
	"logagent/ui/termsafe"
)

// past is a record of the history as it is shown. Everything is clean.
type past struct {
	change.Record
	lines []string // what changed, one a line
	short string   // the first of them without its path, which is long
	wrong string   // why that is not known; "" where it is
}

// pastOf tells what a record changed.
func pastOf(r change.Record) past {
	p := past{Record: r}
	diffs, err := differenceOf(r.Before, r.After)
	if err != nil {
		p.wrong = termsafe.Line(err.Error())
		return p
	}
	p.lines = diffLines(diffs)
	if len(diffs) > 0 {
		d := diffs[0]
		p.short = termsafe.Clean(strings.Replace(d.Lines()[0], d.Service+" "+d.LogPath, d.Service, 1))
	}
	if r.After == nil && r.Before != nil {
		p.lines = append([]string{"- the document itself"}, p.lines...)
		p.short = ""
	}
	if len(p.lines) == 0 {
		switch {
		case r.Kind == change.KindSeek:
			p.lines = []string{"positions of files moved; the document is as it was"}
		case string(r.Before) != string(r.After):
			p.lines = []string{"only spacing or order; it means the same"}
		default:
			p.lines = []string{"nothing"}
		}
	}
	return p
}

func differenceOf(before, after []byte) ([]change.EntryDiff, error) {
	b, errB := change.Unpack(before)
	a, errA := change.Unpack(after)
	if err := errors.Join(errB, errA); err != nil {
		return nil, err
	}
	return change.Diff(b, a)
}

// diffLines writes a difference for people, clean.
func diffLines(diffs []change.EntryDiff) []string {
	var out []string
	for _, d := range diffs {
		for _, l := range d.Lines() {
			out = append(out, termsafe.Clean(l))
		}
	}
	return out
}

// first is the first line of the difference, as short as it can be.
func (r *past) first() string {
	if r.wrong != "" {
		return "not to be told: " + r.wrong
	}
	if r.short != "" {
		return r.short
	}
	return r.lines[0]
}

// more counts the others.
func (r *past) more() string {
	if r.wrong != "" || len(r.lines) < 2 {
		return ""
	}
	return fmt.Sprintf("  and %d more", len(r.lines)-1)
}

// whoShort is who made a change without where he came from.
func whoShort(r *past) string {
	if r.Kind == change.KindOutside {
		return whoWords(r)
	}
	return termsafe.Line(change.Who{User: r.Who.User, Host: r.Who.Host}.String())
}

func revision(r *past) string {
	if r.Revision == 0 {
		return "?"
	}
	return strconv.FormatInt(r.Revision, 10)
}

// moment names a change by when it was made and by whom.
func (r *past) moment(now time.Time) string {
	if r.Kind == change.KindOutside {
		return "before " + day(r.At, now) + " by somebody"
	}
	return day(r.At, now) + " by " + whoShort(r)
}

// day writes a moment in at most twelve cells, the less exactly the longer it is ago.
func day(at, now time.Time) string {
	at = at.In(now.Location())
	switch {
	case at.IsZero():
		return "?"
	case at.Year() == now.Year() && at.YearDay() == now.YearDay():
		return at.Format("15:04:05")
	case now.Sub(at).Abs() < 300*24*time.Hour:
		return at.Format("Jan 02 15:04")
	}
	return at.Format("2006-01-02")
}

// title names a change: when, and what it made of the document.
func (r *past) title() string {
	s := r.At.Format("2006-01-02 15:04:05")
	if r.At.IsZero() {
		s = "some time"
	}
	if r.Revision != 0 {
		s += fmt.Sprintf("  rev %d", r.Revision)
	}
	return s + "  " + termsafe.Clean(r.ID)
}

// whoWords is who made a change, clean.
func whoWords(r *past) string {
	if r.Kind == change.KindOutside {
		return "somebody"
	}
	return termsafe.Line(r.Who.String())
}

// kindWords is what kind of change it was, as a sentence goes on behind who made it.
func kindWords(r *past) string {
	of := ""
	if r.Of != "" {
		of = " " + termsafe.Clean(r.Of)
	}
	switch r.Kind {
	case change.KindEdit:
		return "edited it"
	case change.KindRate:
		return "changed a send_rate"
	case change.KindApply:
		return "applied a file"
	case change.KindRollback:
		if id, before := strings.CutSuffix(of, "^"); before {
			return "rolled it back to before" + id
		}
		return "rolled it back to" + of
	case change.KindReverse:
		return "took the change" + of + " back"
	case change.KindSeek:
		return "moved positions of files"
	case change.KindForget:
		return "forgot the host"
	case change.KindOutside:
		return "wrote it by other means than logagent, some time before the next change"
	}
	return "made a change of kind " + termsafe.Clean(string(r.Kind))
}
