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
	"logagent/ui/termsafe"
)

func (a *app) configSetVerb() *cobra.Command {
	var w writing
	var base int64
	var own bool
	c := a.jsonFlag(&cobra.Command{
		Use:   "set HOST FILE|-  |  set HOSTS LOG_PATH|SERVICE FIELD=VALUE…",
		Short: "Replace a host's document, or change fields of entries on any number of hosts",
		Long: `Replace the document of a host or @group with that of a file (- is standard input). A
document with anything wrong in it is not written. With --base it is replaced only where it
still stands at that revision (0: where there is none), as config get --json told it.

Or change fields of the entries that a log_path or a service names, on HOSTS: ` + hostsForm + `.
send_rate=5000, send_rate=none, paused=true, topic=x, exclude='["*.gz"]'; FIELD= without a value
takes the field away. Everything else in the documents stays as it is, to the byte.

An entry that a host has from its group is changed in the group's document, for all of its
hosts; --own gives the host one of its own instead, made of the group's.

` + manyHelp,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args)+w.sel.given() < 2 {
				return usage("config set takes a host and a file, or hosts, an entry and fields such as send_rate=5000")
			}
			return nil
		},
		ValidArgsFunction: a.completeEntry(&w.sel, completeFields),
	})
	w.add(c)
	w.sel.add(c)
	c.Flags().Int64Var(&base, "base", -1, "replace only the document of this `REVISION`")
	c.Flags().BoolVar(&own, "own", false, "give a host an entry of its own where it has it from its group")
	c.RunE = func(_ *cobra.Command, args []string) error {
		if len(args) == 2 && !w.sel.all {
			if own || w.sel.filter != "" {
				return usage("--own and --filter are for fields of entries, not for whole documents")
			}
			return a.setDocument(w, args[0], args[1], base)
		}
		if base >= 0 {
			return usage("--base is for whole documents")
		}
		sel, args, err := w.sel.take(args)
		if err != nil {
			return err
		}
		if len(args) < 2 {
			return usage("change what? after the entry come fields such as send_rate=5000")
		}
		entry := args[0]
		fields, err := change.ParseFields(args[1:])
		if err != nil {
			return usage("%w (fields are written as send_rate=N)", err)
		}
		return a.writeEntries(w, sel, entry, func(found []agent.Service) []change.Edit {
			return setEdits(found, fields)
		}, ownEntry{allowed: own, fields: fields, verb: "set", args: args[1:]})
	}
	return c
}

// setDocument replaces the document of one host or group.
func (a *app) setDocument(w writing, name, file string, base int64) error {
	if err := etcdcfg.CheckName(name); err != nil {
		return usage("host %q: %w", name, err)
	}
	raw, err := a.readInput(file)
	if err != nil {
		return err
	}
	return a.withEtcd(func(ctx context.Context, s *settings, client *etcdcfg.Client) error {
		if _, _, err := agent.ParseDocument(raw); err != nil {
			return fmt.Errorf("document of %s not saved: %w", name, err)
		}
		before, revision, err := client.Get(ctx, name)
		if err != nil {
			return err
		}
		if base >= 0 && base != revision {
			return &etcdcfg.ChangedError{Host: name, Base: base, Revision: revision, Raw: before}
		}
		if revision == 0 {
			before = nil
		}
		o := order{pinned: true}
		o.change(etcdcfg.Document{Name: name, Raw: before, Revision: revision}, []change.Edit{change.Replace(raw)})
		o.exact = true
		return a.write(ctx, s, client, w, o)
	})
}

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
		Use:   "remove HOSTS LOG_PATH|SERVICE",
		Short: "Take entries out of any number of documents",
		Long: `Takes the entries that a log_path or a service names out of the documents of HOSTS: ` + hostsForm + `.
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
		return a.writeEntries(w, sel, args[0], func(found []agent.Service) []change.Edit {
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
func (a *app) writeEntries(w writing, sel selection, entry string,
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
			found, err := findEntries(services, entry, sel.one() != "")
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
		if sel.one() == "" || here == 0 {
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
func nowhere(sc scene, sel selection, entry string, client *etcdcfg.Client) error {
	one := sel.one()
	switch {
	case one != "" && len(sc.documents) == 0:
		return fmt.Errorf("%s has no document: %s does not exist", hostWord(one), client.Layout().Config(one))
	case one != "":
		return fmt.Errorf("%s: no entry has the log_path or the service %q", hostWord(one), entry)
	case len(sc.documents) == 0:
		return errors.New("no host has a document that is selected; config list tells which there are")
	}
	return fmt.Errorf("none of %s has an entry with the log_path or the service %q", counted(len(sc.documents), "document"), entry)
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

// fromGroups looks after the selected hosts that have no such entry of their own, but have it
// from a group which is not selected: each gets one of its own where that is asked for, else a
// refusal with both ways. It returns how many got one.
func fromGroups(o *order, sc scene, sel selection, entry string, own ownEntry) (given int) {
	for _, host := range sc.members(sel) {
		d := sc.written[host]
		d.Name = host
		mine := make(map[string]bool) // log_paths that the host has of its own
		has := false
		if services, _, err := agent.ParseDocument(d.Raw); err == nil {
			for _, s := range services {
				mine[s.LogPath] = true
				has = has || s.LogPath == entry || s.Service == entry
			}
		} else if d.Raw != nil {
			continue // refused already
		}
		if has {
			continue
		}
		for _, group := range sc.in[host] {
			found, err := findEntries(sc.entries[group], entry, sel.one() != "")
			if err != nil {
				o.refuse(host, fmt.Errorf("group %s: %w", group, err))
				break
			}
			found = slices.DeleteFunc(found, func(s agent.Service) bool { return mine[s.LogPath] })
			if len(found) == 0 {
				continue
			}
			switch {
			case sel.names(group):
				// The change reaches the host by its group.
			case !own.allowed:
				o.refuse(host, &borrowedError{host: host, entry: entry, group: group, hosts: sc.hostsOf(group), own: own})
			default:
				edits, err := ownEdits(sc.groups[group].Raw, found, own.fields)
				if err != nil {
					o.refuse(host, err)
					break
				}
				o.change(d, edits)
				given++
			}
			break // the first group that has it is where the host has it from
		}
	}
	return given
}

// ownEdits gives a host entries of its own, made of its group's.
func ownEdits(group []byte, found []agent.Service, fields map[string]json.RawMessage) ([]change.Edit, error) {
	changed, err := change.Apply("", group, setEdits(found, fields))
	if err != nil {
		return nil, err
	}
	var edits []change.Edit
	for _, e := range found {
		value, ok := change.EntryAt(changed, e.LogPath)
		if !ok {
			return nil, fmt.Errorf("a copy of %s under another log_path would not take its place: add it by config add", e.LogPath)
		}
		edits = append(edits, change.Edit{Op: change.OpAdd, Value: value})
	}
	return edits, nil
}

// borrowedError says that a host has an entry from a group, and what can be done.
type borrowedError struct {
	host, entry, group string
	hosts              int // that have the group
	own                ownEntry
}

func (e *borrowedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s has %s from group %s, which %s now:", hostWord(e.host), e.entry, e.group, follow(e.hosts))
	rest := shellWords(append([]string{e.entry}, e.own.args...))
	fmt.Fprintf(&b, "\n  logagent config %s %s %s   changes it for all of them", e.own.verb, shellWord(e.group), rest)
	if e.own.verb == "set" {
		fmt.Fprintf(&b, "\n  logagent config set %s %s --own   gives %s an entry of its own, which the group's no longer touches", shellWord(e.host), rest, e.host)
	} else {
		fmt.Fprintf(&b, "\n  logagent config set %s %s paused=true --own   stops it on %s alone", shellWord(e.host), shellWord(e.entry), e.host)
	}
	return b.String()
}

func follow(hosts int) string {
	if hosts == 1 {
		return "1 host follows"
	}
	return fmt.Sprintf("%d hosts follow", hosts)
}

// shellWord is a word as a shell takes it.
func shellWord(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@%+=:,./_-", r))
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(termsafe.Clean(s), "'", `'\''`) + "'"
}

func shellWords(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = shellWord(w)
	}
	return strings.Join(out, " ")
}

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
