package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
	"logagent/ui/store"
	"logagent/ui/termsafe"
)

func (a *app) hostsVerb() *cobra.Command {
	gone := false
	c := a.jsonFlag(&cobra.Command{
		Use:   "hosts [HOSTS]",
		Short: "List the hosts that etcd knows of: with an agent, gone, or never there",
		Long: `Reads etcd once and writes a line for every host with a document, an agent, or what an
agent left behind. Nothing of Kafka is asked: logagent status tells how hosts are.

alive has an agent; gone had one; never has a document and no agent ever took it up. How long
a host is gone is known for a week and told as a lower bound: the hours since the agent's last
sign, less two. HOSTS is a host, a glob such as 'web-*', or several with commas between.`,
		Args: args(0, 1, "hosts takes one argument: "+hostsForm),
	})
	c.Flags().BoolVar(&gone, "gone", false, "only hosts without an agent")
	c.ValidArgsFunction = a.completeHosts
	c.RunE = func(_ *cobra.Command, args []string) error {
		sel, err := parseSelection(append(args, "*")[0], "")
		if err != nil {
			return err
		}
		return a.withEtcd(func(ctx context.Context, s *settings, client *etcdcfg.Client) error {
			hosts, err := client.Survey(ctx, sel.names)
			if err != nil {
				return err
			}
			hosts = slices.DeleteFunc(hosts, func(h etcdcfg.Surveyed) bool { return h.ServedBy != "" || gone && h.Live != nil })
			var told *reports
			if gone && len(hosts) > 0 {
				r := listen(ctx, s, listenPatience)
				if err := ctx.Err(); err != nil {
					return err
				}
				if told = &r; r.unread != nil {
					fmt.Fprintf(a.stderr, "logagent: hosts that are only cut off from etcd are not told apart: %s\n", termsafe.Line(r.unread.Error()))
				}
				told.goneBy(hosts)
			}
			return a.writeSurvey(hosts, told)
		})
	}
	c.AddCommand(a.forgetVerb())
	return c
}

// States of a host in the list.
const (
	hostAlive  = "alive"
	hostGone   = "gone"
	hostNever  = "never"
	hostCutOff = "cut off" // its agent reports through Kafka; only where that was read
)

// listenPatience is how long the status topic is waited for.
const listenPatience = 5 * time.Second

func surveyState(h *etcdcfg.Surveyed) string {
	switch {
	case h.Live != nil:
		return hostAlive
	case h.Never():
		return hostNever
	}
	return hostGone
}

// surveyOut is one host as hosts --json writes it.
type surveyOut struct {
	Host      string        `json:"host"`
	State     string        `json:"state"`                     // alive, gone, never, or cut off
	GoneLeast *float64      `json:"gone_at_least_seconds"`     // null: not gone, or not known
	GoneOver  bool          `json:"gone_for_longer,omitempty"` // than that, by more than anything tells
	Groups    []string      `json:"groups"`
	Version   string        `json:"version,omitempty"`
	Entries   *int          `json:"entries"`                    // null: a document is broken, and nothing tells
	AtLeast   bool          `json:"entries_at_least,omitempty"` // a document is broken: what runs of it is counted
	Documents []surveyedDoc `json:"documents"`
}

type surveyedDoc struct {
	Name     string `json:"name"` // a host, one of its addresses, or @group
	Key      string `json:"key"`
	Revision int64  `json:"revision"`
	Error    string `json:"error,omitempty"` // why it is no document
}

func surveyJSON(h *etcdcfg.Surveyed, told *reports) surveyOut {
	o := surveyOut{Host: h.Host, State: told.state(h), Groups: append([]string{}, h.Groups...), Version: h.Version,
		Documents: []surveyedDoc{}}
	if o.State == hostGone && (h.GoneLeast > 0 || h.GoneOver) {
		s := h.GoneLeast.Seconds()
		o.GoneLeast, o.GoneOver = &s, h.GoneOver
	}
	if n, least := entriesAsked(h); n >= 0 {
		o.Entries, o.AtLeast = &n, least
	}
	for i, d := range h.Config.Documents {
		one := surveyedDoc{Name: h.Names[i], Key: d.Key, Revision: d.Revision}
		if d.Refused != nil {
			one.Error = d.Refused.Error
		}
		o.Documents = append(o.Documents, one)
	}
	return o
}

// entriesAsked is how many entries are wanted of a host: at least so many where one of its
// documents is broken and some run on; negative: not known.
func entriesAsked(h *etcdcfg.Surveyed) (n int, least bool) {
	n = len(h.Config.Effective())
	if !slices.ContainsFunc(h.Config.Documents, func(d agent.Document) bool { return d.Refused != nil }) {
		return n, false
	}
	if n += max(h.Held, 0); n == 0 {
		return -1, false
	}
	return n, true
}

func entriesWord(h *etcdcfg.Surveyed) string {
	n, least := entriesAsked(h)
	switch {
	case n < 0:
		return "?"
	case least:
		return fmt.Sprintf("≥%d", n)
	}
	return strconv.Itoa(n)
}

// goneWord is how long a host is gone, as a table shows it.
func goneWord(h *etcdcfg.Surveyed, state string) string {
	switch {
	case state != hostGone:
		return "-"
	case h.GoneOver:
		return "> " + daysWord(h.GoneLeast)
	case h.GoneLeast == 0:
		return "?"
	}
	return "≥ " + store.Compact(h.GoneLeast)
}

func daysWord(d time.Duration) string { return fmt.Sprintf("%dd", int(d.Hours()/24)) }

// writeSurvey writes the list; told may be nil.
func (a *app) writeSurvey(hosts []etcdcfg.Surveyed, told *reports) error {
	if a.json {
		out := make([]surveyOut, 0, len(hosts))
		for i := range hosts {
			out = append(out, surveyJSON(&hosts[i], told))
		}
		return a.writeJSON(out)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tSTATE\tGONE FOR\tGROUPS\tVERSION\tENTRIES\tDOCUMENTS")
	for i := range hosts {
		h := &hosts[i]
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", termsafe.Clean(h.Host), told.state(h), goneWord(h, told.state(h)),
			orDash(termsafe.Clean(strings.Join(h.Groups, ", "))), orDash(termsafe.Clean(h.Version)), entriesWord(h), orDash(documentsWord(h)))
	}
	return w.Flush()
}

// documentsWord lists the documents of a host with their revisions.
func documentsWord(h *etcdcfg.Surveyed) string {
	var out []string
	for i, d := range h.Config.Documents {
		word := fmt.Sprintf("%s rev %d", termsafe.Clean(h.Names[i]), d.Revision)
		if h.Names[i] == h.Host {
			word = fmt.Sprintf("rev %d", d.Revision)
		}
		if d.Refused != nil {
			word += " broken"
		}
		out = append(out, word)
	}
	return strings.Join(out, ", ")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (a *app) forgetVerb() *cobra.Command {
	var flags forgetFlags
	c := a.jsonFlag(&cobra.Command{
		Use:   "forget HOST…",
		Short: "Take hosts without an agent out of etcd, with their documents",
		Long: `Deletes what etcd holds of hosts that are gone: their own documents, their last statuses,
requests to move their positions, and how long they are gone. Their histories stay, with who
forgot them: config rollback puts a document back. Documents of groups and of addresses are
not touched. On a terminal it asks first. HOST is a name, or a glob such as 'old-*' of hosts
that have no agent.

A host whose agent runs is refused, also one that is cut off from etcd and reports through
Kafka: it would come back without entries of its own. So the last five minutes of the status
topic are read first. A host that reported in them, every host where Kafka does not answer,
and one that a glob finds and etcd does not tell for how long it is gone, are forgotten with
--force alone. An agent that reaches neither etcd nor Kafka nobody can tell from a gone one.
Exit 1 where one of them was not forgotten.`,
		Args: args(1, 1<<20, "which hosts? forget HOST…"),
	})
	flags.add(c)
	c.Flags().BoolVar(&flags.force, "force", false, "also where it is not sure that the agent is gone")
	c.ValidArgsFunction = a.completeForget
	c.RunE = func(_ *cobra.Command, args []string) error {
		if err := flags.check(); err != nil {
			return err
		}
		sel, err := parseSelection(strings.Join(args, ","), "")
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(sel.patterns, func(p string) bool { return strings.HasPrefix(p, "@") }); i >= 0 {
			return usage("%s is a group; its document is deleted by: logagent config delete %[1]s", sel.patterns[i])
		}
		return a.withEtcd(func(ctx context.Context, s *settings, client *etcdcfg.Client) error {
			return a.forget(ctx, s, client, sel, flags)
		})
	}
	return c
}

// forgetFlags are those of hosts forget.
type forgetFlags struct {
	writeFlags
	force bool
}

// forgotten is what became of one host, as forget --json writes it.
type forgotten struct {
	Host      string `json:"host"`
	Forgotten bool   `json:"forgotten"`
	Revision  int64  `json:"revision,omitempty"` // of its own document, which is deleted
	Error     string `json:"error,omitempty"`
}

func (a *app) forget(ctx context.Context, s *settings, client *etcdcfg.Client, sel selection, flags forgetFlags) error {
	hosts, err := client.Survey(ctx, sel.names)
	if err != nil {
		return err
	}
	named := sel.literal()
	hosts = slices.DeleteFunc(hosts, func(h etcdcfg.Surveyed) bool { // a glob means those that are gone
		return (h.Live != nil || h.ServedBy != "") && !slices.Contains(named, h.Host)
	})
	for _, name := range named {
		if !slices.ContainsFunc(hosts, func(h etcdcfg.Surveyed) bool { return h.Host == name }) {
			hosts = append(hosts, etcdcfg.Surveyed{Host: name})
		}
	}
	if len(hosts) == 0 {
		return errors.New("no host without an agent has such a name")
	}
	told := listen(ctx, s, listenPatience)
	if err := ctx.Err(); err != nil {
		return err
	}
	refused, left := make([]error, len(hosts)), 0
	for i := range hosts {
		h := &hosts[i]
		if refused[i] = told.refusal(h, slices.Contains(named, h.Host), flags.force); refused[i] == nil {
			left++
		}
	}
	told.goneBy(hosts)
	if !a.json {
		if err := a.writeSurvey(hosts, &told); err != nil {
			return err
		}
	}
	if !flags.dryRun && left > 0 {
		if told.unread != nil {
			fmt.Fprintf(a.stderr, "logagent: not checked whether their agents report through Kafka: %s\n", termsafe.Line(told.unread.Error()))
		}
		if err := a.confirmForget(ctx, flags.writeFlags, left); err != nil {
			return err
		}
	}
	return a.forgetEach(ctx, client, hosts, refused, flags.writeFlags)
}

// confirmForget asks on a terminal: for many hosts their number is typed.
func (a *app) confirmForget(ctx context.Context, flags writeFlags, hosts int) error {
	if flags.yes || !a.asks() {
		return nil
	}
	question, want := "Forget this host? [y/N] ", ""
	if hosts > 1 {
		question = fmt.Sprintf("Forget these %d hosts? [y/N] ", hosts)
	}
	if hosts > countAbove {
		question, want = fmt.Sprintf("This forgets %d hosts. Type their number to do it: ", hosts), strconv.Itoa(hosts)
	}
	answer, err := a.ask(ctx, question)
	if err == nil && (want == "" && !isYes(answer) || want != "" && answer != want) {
		err = errDeclined
	}
	return err
}

func (a *app) forgetEach(ctx context.Context, client *etcdcfg.Client, hosts []etcdcfg.Surveyed, refused []error, flags writeFlags) error {
	out, failed := make([]forgotten, 0, len(hosts)), false
	for i := range hosts {
		h := &hosts[i]
		one := forgotten{Host: h.Host}
		if len(h.Names) > 0 && h.Names[0] == h.Host {
			one.Revision = h.Config.Documents[0].Revision
		}
		err := refused[i]
		switch {
		case err != nil:
		case flags.dryRun && h.Config.Host == "":
			err = etcdcfg.ErrNothing
		case !flags.dryRun:
			err = client.Forget(ctx, h.Host, change.Meta{Who: a.who(), Note: flags.note})
		}
		one.Forgotten = err == nil && !flags.dryRun
		if err != nil {
			failed = true
			one.Error = err.Error()
		}
		out = append(out, one)
		if !a.json {
			a.sayForgotten(&one, err, flags.dryRun)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if a.json {
		if err := a.writeJSON(out); err != nil {
			return err
		}
	}
	if failed {
		return errSaid
	}
	return nil
}

func (a *app) sayForgotten(f *forgotten, err error, dry bool) {
	host := termsafe.Clean(f.Host)
	switch {
	case errors.Is(err, etcdcfg.ErrLives):
		fmt.Fprintf(a.stderr, "logagent: %s is not forgotten: an agent runs there; stop it first\n", host)
	case errors.Is(err, etcdcfg.ErrNothing):
		fmt.Fprintf(a.stderr, "logagent: %s is not forgotten: etcd knows nothing of it\n", host)
	case err != nil:
		fmt.Fprintf(a.stderr, "logagent: %s is not forgotten: %s\n", host, termsafe.Line(err.Error()))
	case dry:
		fmt.Fprintf(a.stdout, "would forget %s\n", host)
	case f.Revision != 0:
		fmt.Fprintf(a.stdout, "forgot %s; its document of rev %d is in its history\n", host, f.Revision)
	default:
		fmt.Fprintf(a.stdout, "forgot %s\n", host)
	}
}

// completeForget completes hosts, one after the other.
func (a *app) completeForget(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	hosts := slices.DeleteFunc(a.hostWords(typed), func(name string) bool {
		return strings.HasPrefix(name, "@") || slices.Contains(args, name)
	})
	return hosts, cobra.ShellCompDirectiveNoFileComp
}
