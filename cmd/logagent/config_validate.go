package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"logagent/agent"
	"logagent/etcdcfg/change"
	"logagent/ui/termsafe"
)

func (a *app) configValidateVerb() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "validate FILE|-",
		Short: "Check a document, or the file of a fleet, without writing it; exit 1 where an agent would refuse it",
		Args:  args(1, 1, "config validate takes one file, or - for standard input"),
		RunE: func(_ *cobra.Command, args []string) error {
			raw, err := a.readDocumentOrFleet(args[0])
			if err != nil {
				return err
			}
			return a.validate(args[0], raw)
		},
	})
}

// validation is what config validate --json writes.
type validation struct {
	Valid     bool     `json:"valid"`
	Entries   int      `json:"entries"`
	Documents int      `json:"documents,omitempty"` // of the file of a fleet
	Problems  []string `json:"problems"`
	Warnings  []string `json:"warnings"`
}

// readDocumentOrFleet reads as much as what is there may have: what begins with a brace may be the
// file of a fleet.
func (a *app) readDocumentOrFleet(path string) ([]byte, error) {
	in := a.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, agent.MaxDocumentBytes+1))
	if err == nil && bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		var rest []byte
		rest, err = io.ReadAll(io.LimitReader(in, maxFleetBytes))
		raw = append(raw, rest...)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return raw, nil
}

// isFleet tells the file of a fleet from an entry that stands without its brackets.
func isFleet(raw []byte) bool {
	var top map[string]json.RawMessage
	if json.Unmarshal(raw, &top) != nil {
		return false
	}
	return top["version"] != nil || top["hosts"] != nil || top["groups"] != nil
}

// validateFleet holds every document of a fleet to the rules.
func validateFleet(raw []byte) validation {
	v := validation{Problems: []string{}, Warnings: []string{}}
	fleet, err := change.ParseFleet(raw)
	if err != nil {
		v.Problems = strings.Split(err.Error(), "\n")
		return v
	}
	for _, name := range slices.Sorted(maps.Keys(fleet.Documents)) {
		text, _ := fleet.Document(name)
		services, warnings, err := agent.ParseDocument(text)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				v.Problems = append(v.Problems, hostWord(name)+": "+line)
			}
		}
		for _, w := range warnings {
			v.Warnings = append(v.Warnings, hostWord(name)+": "+w)
		}
		v.Entries += len(services)
	}
	v.Documents, v.Valid = len(fleet.Documents), len(v.Problems) == 0
	return v
}

func validateDocument(raw []byte) validation {
	services, warnings, err := agent.ParseDocument(raw)
	v := validation{Valid: err == nil, Entries: len(services), Problems: []string{}, Warnings: append([]string{}, warnings...)}
	if err != nil {
		v.Problems = strings.Split(err.Error(), "\n")
	}
	return v
}

func (a *app) validate(name string, raw []byte) error {
	var v validation
	if isFleet(raw) {
		v = validateFleet(raw)
	} else {
		v = validateDocument(raw)
	}
	if a.json {
		if err := a.writeJSON(v); err != nil {
			return err
		}
	} else {
		for _, p := range v.Problems {
			fmt.Fprintf(a.stdout, "%s: %s\n", name, termsafe.Clean(p))
		}
		for _, w := range v.Warnings {
			fmt.Fprintf(a.stdout, "%s: warning: %s\n", name, termsafe.Clean(w))
		}
		switch {
		case !v.Valid:
		case v.Documents > 0:
			fmt.Fprintf(a.stdout, "%s: valid, %s, entries %d\n", name, counted(v.Documents, "document"), v.Entries)
		default:
			fmt.Fprintf(a.stdout, "%s: valid, entries %d\n", name, v.Entries)
		}
	}
	if !v.Valid {
		return errSaid
	}
	return nil
}
