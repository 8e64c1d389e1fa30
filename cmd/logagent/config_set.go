package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
)

func (a *app) configSetVerb() *cobra.Command {
	var w writing
	var base int64
	var own bool
	c := a.jsonFlag(&cobra.Command{
		Use:   "set HOST FILE|-  |  set HOSTS LOG_PATH|SERVICE|'*' FIELD=VALUE…",
		Short: "Replace a host's document, or change fields of entries on any number of hosts",
		Long: `Replace the document of a host or @group with that of a file (- is standard input). A
document with anything wrong in it is not written. With --base it is replaced only where it
still stands at that revision (0: where there is none), as config get --json told it.

Or change fields of the entries that a log_path or a service names, '*' being every entry, on
HOSTS: ` + hostsForm + `. With
--filter the entry may be left out: then those are changed which the filter leaves, each by its
own service, path, topic and rate. Where an entry is named, rate is the sum of all of a host.
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
		if len(args) == 2 && !w.sel.all && !isField(args[1]) {
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
		which, args, err := whichEntries(sel, args)
		if err != nil {
			return err
		}
		fields, err := change.ParseFields(args)
		if err != nil {
			return usage("%w (fields are written as send_rate=N)", err)
		}
		if own && which.many() {
			return usage("--own is for an entry that is named by its log_path or its service")
		}
		sel.byEntry = which.filter != nil
		return a.writeEntries(w, sel, which, func(found []agent.Service) []change.Edit {
			return setEdits(found, fields)
		}, ownEntry{allowed: own, fields: fields, verb: "set", args: args})
	}
	return c
}

// setDocument replaces the document of one host or group.
func (a *app) setDocument(w writing, name, file string, base int64) error {
	if err := checkOne(name); err != nil {
		return err
	}
	raw, err := a.readInput(file)
	if err != nil {
		if file != "-" && !strings.ContainsAny(file, "/.") { // looks like an entry
			err = fmt.Errorf("%w; to change an entry, name fields behind it: logagent config set %s %s send_rate=5000", err, shellWord(name), shellWord(file))
		}
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

// isField tells whether an argument is FIELD=VALUE. A file of such a name is written ./FIELD=VALUE.
func isField(arg string) bool { return fieldForm.MatchString(arg) }

var fieldForm = regexp.MustCompile(`^[a-z_]+=`)
