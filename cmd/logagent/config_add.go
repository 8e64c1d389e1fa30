package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
)

func (a *app) configAddVerb() *cobra.Command {
	var w writing
	c := a.jsonFlag(&cobra.Command{
		Use:   "add HOSTS FIELD=VALUE…  |  add HOSTS FILE|-",
		Short: "Add entries to any number of documents",
		Long: `Adds an entry made of fields, or the entries of a file (one object, or an array of them; - is
standard input), to the documents of HOSTS: ` + hostsForm + `.
A glob finds hosts that have a document or a running agent. A host that is named gets a
document where it has none. One that has the very entry stays as it is; one that has another
with the same log_path is refused.

  logagent config add 'web-*' service=nginx log_path=/var/log/nginx/access.log topic=nginx-access

` + manyHelp,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args)+w.sel.given() < 2 {
				return usage("config add takes hosts, or --all, and fields such as service=nginx, or a file")
			}
			return nil
		},
		ValidArgsFunction: a.completeEntry(&w.sel, completeFields),
	})
	w.add(c)
	w.sel.add(c)
	c.RunE = func(_ *cobra.Command, args []string) error {
		sel, args, err := w.sel.take(args)
		if err != nil {
			return err
		}
		entries, err := a.newEntries(args)
		if err != nil {
			return err
		}
		return a.withEtcd(func(ctx context.Context, s *settings, client *etcdcfg.Client) error {
			return a.addEntries(ctx, s, client, w, sel, entries)
		})
	}
	return c
}

// newEntry is an entry to be added.
type newEntry struct {
	logPath string
	value   json.RawMessage
}

// newEntries reads them from fields or a file, and checks them as a document of their own.
func (a *app) newEntries(args []string) ([]newEntry, error) {
	var raw []byte
	if len(args) == 1 && !strings.Contains(args[0], "=") {
		var err error
		if raw, err = a.readInput(args[0]); err != nil {
			return nil, err
		}
		if text := bytes.TrimSpace(raw); bytes.HasPrefix(text, []byte("{")) {
			raw = slices.Concat([]byte("["), text, []byte("]"))
		}
	} else {
		fields, err := change.ParseFields(args)
		if err != nil {
			return nil, usage("%w (fields are written as service=nginx)", err)
		}
		raw = entryOf(fields)
	}
	services, _, err := agent.ParseDocument(raw)
	if err != nil {
		return nil, err
	}
	var out []newEntry
	for _, s := range services {
		value, _ := change.EntryAt(raw, s.LogPath)
		out = append(out, newEntry{s.LogPath, value})
	}
	if len(out) == 0 {
		return nil, errors.New("there is no entry to add")
	}
	return out, nil
}

// entryOf writes a document of one entry, its fields in the order in which people read them. A
// field without a value is left out.
func entryOf(fields map[string]json.RawMessage) []byte {
	var b bytes.Buffer
	b.WriteString("[{")
	n := 0
	for _, name := range fieldNames() {
		value, ok := fields[name]
		if !ok || value == nil || string(value) == "null" {
			continue
		}
		if n++; n > 1 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q: %s", name, value)
	}
	b.WriteString("}]")
	return b.Bytes()
}

// fieldNames are the fields of an entry.
func fieldNames() []string {
	return []string{"service", "log_path", "topic", "send_rate", "start_at", "exclude", "paused", "partition", "oversize"}
}

func (a *app) addEntries(ctx context.Context, s *settings, client *etcdcfg.Client, w writing, sel selection, entries []newEntry) error {
	sc, err := lookThrough(ctx, client, sel)
	if err != nil {
		return err
	}
	if err := sc.addHosts(ctx, client, sel); err != nil {
		return err
	}
	if len(sc.documents) == 0 {
		return errors.New("no host is selected; config list tells which there are")
	}
	o := order{pinned: sel.one() != ""}
	for _, d := range sc.documents {
		var edits []change.Edit
		for _, e := range entries {
			if there, ok := change.EntryAt(d.Raw, e.logPath); ok && change.Same(list(there), list(e.value)) {
				continue
			}
			edits = append(edits, change.Edit{Op: change.OpAdd, Value: e.value})
		}
		o.change(d, edits)
	}
	return a.write(ctx, s, client, w, o)
}

// list is a document of one entry.
func list(entry json.RawMessage) []byte { return slices.Concat([]byte("["), entry, []byte("]")) }
