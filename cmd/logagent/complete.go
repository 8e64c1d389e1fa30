package main

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
	"logagent/ui/termsafe"
)

// completeWait is what a shell waits for etcd when a key is pressed.
const completeWait = time.Second

// completer finds words for what is being typed. Whatever goes wrong, there are none, and nothing
// is said: it would stand in the middle of a command line.
type completer = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// fromEtcd asks etcd, for a second at most.
func (a *app) fromEtcd(ask func(context.Context, *etcdcfg.Client) []string) []string {
	quiet := *a
	quiet.stderr = io.Discard
	s, err := quiet.settings()
	if err != nil {
		return nil
	}
	log := slog.New(slog.DiscardHandler)
	end, err := quietLibraries(log)
	if err != nil {
		return nil
	}
	defer end()
	s.EtcdTimeout = min(s.EtcdTimeout, completeWait)
	client, err := etcdcfg.New(s.etcdOptions(log))
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), completeWait)
	defer cancel()
	got := make(chan []string, 1)
	go func() { // ends with ctx, or the process does before
		words := ask(ctx, client)
		_ = client.Close()
		got <- words
	}()
	select {
	case words := <-got:
		return words
	case <-ctx.Done():
		return nil
	}
}

// words leaves those that begin with what is typed, and are one plain word: others would need
// quotes that the shells' completions do not make.
func words(all []string, typed string) []string {
	var out []string
	for _, w := range all {
		if strings.HasPrefix(w, typed) && w == termsafe.Clean(w) && !strings.ContainsAny(w, " \t\n") {
			out = append(out, w)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// completeHosts completes hosts and @groups, also behind a comma.
func (a *app) completeHosts(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.hostWords(typed), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) hostWords(typed string) []string {
	before, last := "", typed
	if i := strings.LastIndexByte(typed, ','); i >= 0 {
		before, last = typed[:i+1], typed[i+1:]
	}
	names := words(a.fromEtcd(func(ctx context.Context, client *etcdcfg.Client) []string {
		names, _ := client.Names(ctx, last)
		return names
	}), last)
	for i := range names {
		names[i] = before + names[i]
	}
	return names
}

// completeHost completes one host or @group.
func (a *app) completeHost(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	return a.completeHosts(c, args, typed)
}

// completeEntry completes hosts, then the services and log_paths of their entries, then with more.
func (a *app) completeEntry(sel *selectFlags, more completer) completer {
	return func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		hosts := ""
		if sel != nil && sel.all {
			hosts = "*"
		} else if len(args) == 0 {
			return a.hostWords(typed), cobra.ShellCompDirectiveNoFileComp
		} else {
			hosts, args = args[0], args[1:]
		}
		if c.Name() != "add" {
			if len(args) == 0 {
				directive := cobra.ShellCompDirectiveNoFileComp
				if c.Name() == "set" {
					directive = cobra.ShellCompDirectiveDefault // a document's file may be meant
				}
				return a.entryWords(hosts, typed), directive
			}
			args = args[1:]
		}
		if more == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return more(c, args, typed)
	}
}

// entryWords are the services and log_paths of the documents that hosts stands for. Paths are
// offered once one is begun.
func (a *app) entryWords(hosts, typed string) []string {
	sel, err := parseSelection(hosts, "")
	if err != nil {
		return nil
	}
	return words(a.fromEtcd(func(ctx context.Context, client *etcdcfg.Client) []string {
		var docs []etcdcfg.Document
		if one := sel.one(); one != "" {
			names, _ := client.Follows(ctx, one)
			for _, name := range names {
				if raw, revision, err := client.Get(ctx, name); err == nil && revision != 0 {
					docs = append(docs, etcdcfg.Document{Name: name, Raw: raw})
				}
			}
		} else {
			docs, _, _ = client.Documents(ctx, sel.names)
		}
		var out []string
		for _, d := range docs {
			services, _, _ := agent.ParseDocument(d.Raw)
			for _, s := range services {
				if strings.HasPrefix(typed, "/") {
					out = append(out, s.LogPath)
				} else {
					out = append(out, s.Service)
				}
			}
		}
		return out
	}), typed)
}

// completeFields completes FIELD=VALUE.
func completeFields(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	values := map[string][]string{
		"send_rate": {"none"}, "start_at": {"end", "beginning"}, "paused": {"true", "false"},
		"partition": {"random", "file", "host", "service"}, "oversize": {"split", "truncate", "skip"},
	}
	if name, _, ok := strings.Cut(typed, "="); ok {
		var out []string
		for _, v := range values[name] {
			out = append(out, name+"="+v)
		}
		return words(out, typed), cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, name := range fieldNames() {
		if !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, name+"=") }) {
			out = append(out, name+"=")
		}
	}
	directive := cobra.ShellCompDirectiveNoSpace
	if c.Name() != "add" || len(args) > 0 {
		directive |= cobra.ShellCompDirectiveNoFileComp
	}
	return words(out, typed), directive
}

// completeRecords completes a host and ids of its history.
func (a *app) completeRecords(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return a.hostWords(typed), cobra.ShellCompDirectiveNoFileComp
	}
	return a.recordWords(args[0], typed), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completeRecordOfFirst completes a flag with ids of the history of the host that is the first
// argument.
func (a *app) completeRecordOfFirst(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.recordWords(args[0], typed), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// recordWords are ids, newest first, with what each changed where the shell shows that.
func (a *app) recordWords(name, typed string) []string {
	return a.fromEtcd(func(ctx context.Context, client *etcdcfg.Client) []string {
		records, _ := client.History(ctx, name, 30)
		var out []string
		for _, r := range records {
			if r.Kind != change.KindOutside && r.Kind != change.KindSeek && strings.HasPrefix(r.ID, typed) {
				out = append(out, cobra.CompletionWithDesc(r.ID, timeWord(r.At)+" "+termsafe.Clean(whoWord(r))+" "+summaryWord(r)))
			}
		}
		return out
	})
}

// completeChanges completes ids of changes of several documents, for what goes on with one those
// first that are not finished.
func (a *app) completeChanges(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.fromEtcd(func(ctx context.Context, client *etcdcfg.Client) []string {
		sets, _ := client.ChangeSets(ctx, 0)
		if c.Name() == "resume" || c.Name() == "stop" {
			slices.SortStableFunc(sets, func(x, y etcdcfg.ChangeSet) int {
				return cmp.Compare(finishedLast(x), finishedLast(y))
			})
		}
		sets = sets[:min(len(sets), 30)]
		var out []string
		for _, s := range sets {
			if strings.HasPrefix(s.ID, typed) {
				out = append(out, cobra.CompletionWithDesc(s.ID, timeWord(s.At)+" "+termsafe.Clean(s.Who.String())+" "+string(s.State)+" "+progressWord(s)))
			}
		}
		return out
	}), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

func finishedLast(s etcdcfg.ChangeSet) int {
	if unfinished(s) {
		return 0
	}
	return 1
}
