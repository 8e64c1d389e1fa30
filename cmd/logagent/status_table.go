package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"logagent/ui/store"
	"logagent/ui/termsafe"
)

func configWord(c store.Config) string {
	switch c {
	case store.ConfigRunning:
		return "running"
	case store.ConfigPending:
		return "pending"
	case store.ConfigRefused:
		return "refused"
	default:
		return "unknown"
	}
}

// table writes the hosts, and their entries where they are wanted.
func (r *statusRound) table(to io.Writer, rows []store.HostRow) {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tSTATE\tFILES\tLAG\tBEHIND\tIN/s\tOUT/s\tCONFIG\tDESIRED\tRUNNING\tREFUSED\tDRIFT\tAGE\tPROBLEM")
	for i := range rows {
		writeHost(w, &rows[i])
	}
	_ = w.Flush() // into a buffer
	if !r.ofEntries(rows) || len(rows) == 0 {
		return
	}
	fmt.Fprintln(to)
	fmt.Fprintln(w, "HOST\tSERVICE\tLOG_PATH\tORIGIN\tRATE\tSTATE\tDRIFT\tAGE\tCAUSE")
	for i := range rows {
		for _, e := range entriesOf(&rows[i], r.store.Told(rows[i].Host)) {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", termsafe.Clean(rows[i].Host), termsafe.Clean(e.Service), termsafe.Clean(e.LogPath),
				termsafe.Clean(originWord(e.Origin, rows[i].Host)), rateWord(e), e.State, e.Drift, ageWord(e.Age), termsafe.Line(e.Cause))
		}
	}
	_ = w.Flush()
}

// originWord is where an entry is written, seen from its host.
func originWord(origin, host string) string {
	if origin == host {
		return "host"
	}
	return origin
}

func rateWord(e entryOut) string {
	switch {
	case e.unwritten:
		return "-"
	case e.SendRate == 0:
		return "none"
	}
	return fmt.Sprint(e.SendRate)
}

func ageWord(seconds *float64) string {
	if seconds == nil {
		return "-"
	}
	return store.Compact(time.Duration(*seconds * float64(time.Second)))
}

func writeHost(w io.Writer, r *store.HostRow) {
	host, problem := termsafe.Clean(r.Host), termsafe.Line(r.Problem)
	desired, running, refused := revisionsWord(r)
	config := fmt.Sprintf("%s\t%s\t%s\t%s\t%s", configWord(r.Config), desired, running, refused, driftWord(r))
	if !r.HasStatus {
		fmt.Fprintf(w, "%s\t%s\t-\t-\t-\t-\t-\t%s\t-\t%s\n", host, r.State, config, problem)
		return
	}
	behind := r.BehindFor.Round(time.Second).String()
	if r.BehindAtLeast {
		behind = "≥" + behind
	}
	fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%.0f\t%.0f\t%s\t%s\t%s\n", host, r.State, r.Files, bytesWord(r.LagBytes), behind,
		r.In, r.Out, config, r.Age.Round(100*time.Millisecond), problem)
}

// revisionsWord is the revisions of the host's own document, and of others where they differ.
func revisionsWord(r *store.HostRow) (desired, running, refused string) {
	var d, n, x []string
	// A host without a document of its own is told by those of others.
	own := len(r.Documents) == 1 || len(r.Documents) > 0 && (r.Documents[0].Desired != 0 || r.Documents[0].Running != 0 || r.Documents[0].Refused != 0)
	for i := range r.Documents {
		o := &r.Documents[i]
		if i == 0 && !own {
			continue
		}
		if i > 0 && own && (o.Config == store.ConfigRunning || o.Desired == o.Running) && o.Refused == 0 {
			continue
		}
		name := ""
		if i > 0 {
			name = termsafe.Clean(o.Name) + " "
		}
		word := func(rev int64) string {
			if rev == 0 {
				return name + "-"
			}
			return fmt.Sprintf("%s%d", name, rev)
		}
		d, n = append(d, word(o.Desired)), append(n, word(o.Running))
		if o.Refused != 0 {
			x = append(x, word(o.Refused))
		}
	}
	return orDash(strings.Join(d, ", ")), orDash(strings.Join(n, ", ")), orDash(strings.Join(x, ", "))
}

func driftWord(r *store.HostRow) string {
	if n := drifting(r); n != nil {
		return fmt.Sprint(*n)
	}
	return "?"
}

// drifting is how many entries are not as wanted; nil: not known.
func drifting(r *store.HostRow) *int {
	if r.Drifting == 0 && slices.ContainsFunc(r.Entries, func(e store.Entry) bool { return e.Drift == store.DriftUnknown }) {
		return nil
	}
	if r.Drifting == 0 && (r.Config == store.ConfigUnknown || r.Config == store.ConfigRefused) {
		return nil
	}
	return &r.Drifting
}

const driftUnwanted = "unwanted"

// freshDetail is how old a detail may be whose entries are as their host is now.
const freshDetail = 5 * time.Second

// bytesWord writes a size as people say it.
func bytesWord(n int64) string {
	v, unit := float64(n), "B"
	for _, next := range []string{"kB", "MB", "GB", "TB"} {
		if v < 1000 {
			break
		}
		v, unit = v/1000, next
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}
