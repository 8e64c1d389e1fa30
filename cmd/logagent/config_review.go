package main

import (
	"fmt"
	"io"
	"strings"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
	"logagent/ui/termsafe"
)

// stepWords tell what the difference by entry cannot tell.
func stepWords(s *etcdcfg.Step) []string {
	switch {
	case s.Before == nil:
		return []string{"a new document"}
	case s.After == nil:
		return []string{"the document is deleted"}
	}
	var out []string
	if _, _, err := agent.ParseDocument(s.Before); err != nil {
		out = append(out, "in place of a document that is broken: "+err.Error())
	}
	if _, _, err := agent.ParseDocument(s.After); err != nil {
		out = append(out, "a document that is broken: "+err.Error())
	}
	if len(out) > 0 {
		return out
	}
	if len(s.Diff) == 0 {
		return []string{"only spacing or spelling changes"}
	}
	return nil
}

// stepLines tell people what changes, harmless for a terminal.
func stepLines(s *etcdcfg.Step) []string {
	var out []string
	for _, w := range stepWords(s) {
		out = append(out, termsafe.Line(w))
	}
	return append(out, diffLines(s.Diff)...)
}

func diffLines(diffs []change.EntryDiff) []string {
	var out []string
	for _, d := range diffs {
		for _, l := range d.Lines() {
			out = append(out, termsafe.Clean(l))
		}
	}
	return out
}

// mostGroups is how many different changes a review shows; in JSON it has all of them.
const mostGroups = 20

// writeReview shows what changes: equal changes of several documents once, of different ones the
// first.
func writeReview(w io.Writer, o *order) {
	p := &o.plan
	type group struct {
		lines []string
		names []string
	}
	var order []*group
	byText := make(map[string]*group)
	for i := range p.Steps {
		lines := stepLines(&p.Steps[i])
		if n, ok := o.followers(p.Steps[i].Name); ok {
			lines = append([]string{follow(n) + " it now"}, lines...)
		}
		text := strings.Join(lines, "\n")
		g := byText[text]
		if g == nil {
			g = &group{lines: lines}
			byText[text] = g
			order = append(order, g)
		}
		g.names = append(g.names, p.Steps[i].Name)
	}
	left := 0
	for i, g := range order {
		if i >= mostGroups && len(order) > mostGroups+1 {
			left += len(g.names)
			continue
		}
		fmt.Fprintln(w, namesWord(g.names))
		for _, l := range g.lines {
			fmt.Fprintf(w, "  %s\n", l)
		}
	}
	if left > 0 {
		fmt.Fprintf(w, "… and %s more: with --json all of them are shown\n", counted(left, "document"))
	}
	if o.kind == change.KindReverse {
		writeConflicts(w, p.Problems)
	}
	fmt.Fprintln(w, termsafe.Clean(p.Effect.String()))
}

// writeConflicts names the documents that a plan leaves as they are.
func writeConflicts(w io.Writer, problems []etcdcfg.Problem) {
	for i, p := range problems {
		if i == mostProblems {
			fmt.Fprintf(w, "conflict: and %d more documents\n", len(problems)-i)
			return
		}
		fmt.Fprintf(w, "conflict: %s\n", termsafe.Line(problemWords(p).Error()))
	}
}

// namesWord names documents in one line: many of them by the first and the last.
func namesWord(names []string) string {
	clean := make([]string, len(names))
	for i, n := range names {
		clean[i] = termsafe.Clean(n)
	}
	switch n := len(clean); {
	case n == 1:
		return clean[0]
	case n <= 5:
		return fmt.Sprintf("%d documents: %s", n, strings.Join(clean, " "))
	default:
		return fmt.Sprintf("%d documents: %s %s %s … %s", n, clean[0], clean[1], clean[2], clean[n-1])
	}
}

// counted is "1 document", "2 documents".
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if stem, ok := strings.CutSuffix(what, "y"); ok {
		return fmt.Sprintf("%d %sies", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// changeOut is one document of a review as --json writes it.
type changeOut struct {
	Name    string             `json:"name"`
	Base    int64              `json:"base"`            // revision that it is made on; 0: there is no document
	Words   []string           `json:"words,omitempty"` // what the entries do not tell
	Deletes bool               `json:"deletes,omitempty"`
	Hosts   *int               `json:"hosts,omitempty"` // that follow a group
	Entries []change.EntryDiff `json:"entries"`
}

func changesJSON(o *order) []changeOut {
	out := make([]changeOut, 0, len(o.plan.Steps))
	for i := range o.plan.Steps {
		s := &o.plan.Steps[i]
		c := changeOut{Name: s.Name, Base: s.Base, Words: stepWords(s), Deletes: s.After == nil, Entries: append([]change.EntryDiff{}, s.Diff...)}
		if n, ok := o.followers(s.Name); ok {
			c.Hosts = &n
		}
		out = append(out, c)
	}
	return out
}

// followers is how many hosts follow a group of the order, where that was counted.
func (o *order) followers(name string) (int, bool) {
	return o.hosts[name], o.hosts != nil && strings.HasPrefix(name, "@")
}

// unbroken is a document, or none where it is broken: it has no entries that could be told.
func unbroken(raw []byte) []byte {
	if _, _, err := agent.ParseDocument(raw); err != nil {
		return nil
	}
	return raw
}
