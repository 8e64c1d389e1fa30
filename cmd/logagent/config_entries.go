package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
)

// setEdits changes fields of entries.
func setEdits(found []agent.Service, fields map[string]json.RawMessage) []change.Edit {
	var edits []change.Edit
	for _, e := range found {
		edits = append(edits, change.Edit{Op: change.OpSet, LogPath: e.LogPath, Fields: fields})
	}
	return edits
}

func (a *app) configRemoveVerb() *cobra.Command {
	var w writing
	c := a.jsonFlag(&cobra.Command{
		Use:   "remove HOSTS LOG_PATH|SERVICE|'*'",
		Short: "Take entries out of any number of documents",
		Long: `Takes the entries that a log_path or a service names, '*' being every entry, out of the documents
of HOSTS: ` + hostsForm + `.
Their positions are kept for seven days: an entry that is added back goes on where it was.

` + manyHelp,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args)+w.sel.given() != 2 {
				return usage("config remove takes hosts, or --all, and an entry")
			}
			return nil
		},
		ValidArgsFunction: a.completeEntry(&w.sel, nil),
	})
	w.add(c)
	w.sel.add(c)
	c.RunE = func(_ *cobra.Command, args []string) error {
		sel, args, err := w.sel.take(args)
		if err != nil {
			return err
		}
		return a.writeEntries(w, sel, entries{name: args[0]}, func(found []agent.Service) []change.Edit {
			var edits []change.Edit
			for _, e := range found {
				edits = append(edits, change.Edit{Op: change.OpRemove, LogPath: e.LogPath})
			}
			return edits
		}, ownEntry{verb: "remove"})
	}
	return c
}

// ownEntry says what to do where a host has an entry from its group.
type ownEntry struct {
	allowed bool // give it one of its own, with fields changed
	fields  map[string]json.RawMessage
	verb    string // to be named in advice
	args    []string
}

// writeEntries changes the entries that entry names in the selected documents.
func (a *app) writeEntries(w writing, sel selection, entry entries,
	edit func(found []agent.Service) []change.Edit, own ownEntry) error {
	return a.withEtcd(func(ctx context.Context, s *settings, client *etcdcfg.Client) error {
		sc, err := lookThrough(ctx, client, sel)
		if err != nil {
			return err
		}
		o := order{pinned: sel.one() != ""}
		here := 0 // documents that have the entry
		for _, d := range sc.documents {
			services, _, err := agent.ParseDocument(d.Raw)
			if err != nil {
				o.refuse(d.Name, fmt.Errorf("its document is broken, mend it first (config edit %s): %w", d.Name, err))
				continue
			}
			found, err := entry.of(d.Name, services, sel.one() != "")
			switch {
			case err != nil:
				o.refuse(d.Name, err)
				continue
			case len(found) == 0:
				continue
			}
			here++
			o.change(d, edit(found))
		}
		borrowed := 0
		if sel.one() == "" || here == 0 || entry.many() {
			if sel.one() != "" {
				if err := sc.learnGroups(ctx, client); err != nil {
					return err
				}
			}
			borrowed = fromGroups(&o, sc, sel, entry, own)
		}
		if here+borrowed+len(o.plan.Problems) == 0 {
			return nowhere(sc, sel, entry, client)
		}
		return a.write(ctx, s, client, w, o)
	})
}

// nowhere says that no document has the entry.
func nowhere(sc scene, sel selection, entry entries, client *etcdcfg.Client) error {
	one := sel.one()
	switch {
	case one != "" && len(sc.documents) == 0:
		return fmt.Errorf("%s has no document: %s does not exist", hostWord(one), client.Layout().Config(one))
	case one != "":
		return fmt.Errorf("%s: no entry %s", hostWord(one), entry.has())
	case entry.filter != nil:
		return fmt.Errorf("no entry %s", entry.has())
	case entry.name == everyEntry && len(sc.documents) > 0:
		return fmt.Errorf("there is no entry in %s", counted(len(sc.documents), "document"))
	case len(sc.documents) == 0:
		return errors.New("no host has a document that is selected; config list tells which there are")
	}
	return fmt.Errorf("none of the entries of %s %s", counted(len(sc.documents), "document"), entry.has())
}

// hostWord is "host web-1" or "group @web".
func hostWord(name string) string {
	if strings.HasPrefix(name, "@") {
		return "group " + name
	}
	return "host " + name
}

// findEntries finds the entries of a log_path, else of a service. Of a document that is named by
// itself the service must name one entry only: it may have been meant so.
func findEntries(services []agent.Service, entry string, single bool) ([]agent.Service, error) {
	var found []agent.Service
	var paths []string
	for _, s := range services {
		if s.LogPath == entry {
			return []agent.Service{s}, nil
		}
		if s.Service == entry {
			found = append(found, s)
			paths = append(paths, s.LogPath)
		}
	}
	if single && len(found) > 1 {
		return nil, fmt.Errorf("service %q has several entries, name one by its log_path: %s", entry, strings.Join(paths, ", "))
	}
	return found, nil
}
