package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
	"logagent/ui/termsafe"
)

func (a *app) configGetVerb() *cobra.Command {
	var effective bool
	var at string
	c := a.jsonFlag(&cobra.Command{
		Use:   "get [HOST|@GROUP [LOG_PATH|SERVICE]]",
		Short: "Write a document as it stands in etcd (default: this host's)",
		Long: `Writes the document of a host or @group to the byte, or its entries that a log_path or a
service names. --at writes it as it was after a record of its history (ID^: before it).
--effective lists what the host follows in all, and where each entry stands: in its own
document, in one of its addresses or in one of its groups.`,
		Args:              args(0, 2, "config get takes one host at most, and one entry of it"),
		ValidArgsFunction: a.completeEntry(nil, nil),
		RunE: func(_ *cobra.Command, args []string) error {
			if effective && at != "" {
				return usage("--effective tells how it is now; --at is for one document")
			}
			if len(args) > 0 {
				if err := etcdcfg.CheckName(args[0]); err != nil {
					return usage("host %q: %w", args[0], err)
				}
			}
			return a.withEtcd(func(ctx context.Context, s *settings, client *etcdcfg.Client) error {
				name, err := nameArgument(s, args)
				if err != nil {
					return err
				}
				entry := ""
				if len(args) == 2 {
					entry = args[1]
				}
				if effective {
					return a.getEffective(ctx, client, name, entry)
				}
				return a.getDocument(ctx, client, name, entry, at)
			})
		},
	})
	c.Flags().BoolVar(&effective, "effective", false, "everything the host follows, with where it stands")
	c.Flags().StringVar(&at, "at", "", "as it was after this `ID` of its history")
	_ = c.RegisterFlagCompletionFunc("at", a.completeRecordOfFirst)
	return c
}

// nameArgument is the host or @group that a verb names, or this host.
func nameArgument(s *settings, args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	ids, err := hostKeys(s.Host)
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

func (a *app) getDocument(ctx context.Context, client *etcdcfg.Client, name, entry, at string) error {
	var raw []byte
	var revision int64
	var err error
	if at != "" {
		if raw, _, err = client.Version(ctx, name, at); err == nil && raw == nil {
			err = fmt.Errorf("%s had no document then", hostWord(name))
		}
	} else if raw, revision, err = client.Get(ctx, name); err == nil && revision == 0 {
		err = noDocumentOf(ctx, client, name)
	}
	if err != nil {
		return err
	}
	if entry != "" {
		if raw, err = entriesNamed(name, raw, entry); err != nil {
			return err
		}
	}
	if a.json {
		d := documentJSON(client.Layout().Config(name), name, raw, revision)
		d.At = at
		return a.writeJSON(d)
	}
	text := endLine(raw)
	if isTerminal(a.stdout) {
		text = harmless(text)
	}
	_, err = a.stdout.Write(text)
	return err
}

// harmless is a document for a terminal: what would steer it is shown instead.
func harmless(raw []byte) []byte {
	var b strings.Builder
	for line := range strings.Lines(string(raw)) {
		text := strings.TrimSuffix(line, "\n")
		for i, part := range strings.Split(text, "\t") {
			if i > 0 {
				b.WriteByte('\t')
			}
			b.WriteString(termsafe.Clean(part))
		}
		if len(text) < len(line) {
			b.WriteByte('\n')
		}
	}
	return []byte(b.String())
}

func noDocument(client *etcdcfg.Client, name string) error {
	return fmt.Errorf("%s has no document: %s does not exist", hostWord(name), client.Layout().Config(name))
}

// noDocumentOf says also where else a host has its entries from.
func noDocumentOf(ctx context.Context, client *etcdcfg.Client, name string) error {
	err := noDocument(client, name)
	if strings.HasPrefix(name, "@") {
		return err
	}
	names, _ := client.Follows(ctx, name)
	for _, from := range names {
		if from == name {
			continue
		}
		if _, revision, getErr := client.Get(ctx, from); getErr == nil && revision != 0 {
			return fmt.Errorf("%w; it follows that of %s: logagent config get %s --effective shows it", err, termsafe.Clean(from), shellWord(name))
		}
	}
	return err
}

// entriesNamed returns the one entry of a log_path as it is written, or those of a service, one
// behind the other.
func entriesNamed(name string, raw []byte, entry string) ([]byte, error) {
	services, _, err := agent.ParseDocument(raw)
	if err != nil {
		return nil, fmt.Errorf("document of %s: %w", name, err)
	}
	found, err := findEntries(services, entry, false)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: no entry has the log_path or the service %q", hostWord(name), entry)
	}
	var texts []string
	for _, s := range found {
		value, _ := change.EntryAt(raw, s.LogPath)
		texts = append(texts, string(value))
	}
	if len(texts) == 1 {
		return []byte(texts[0]), nil
	}
	return []byte("[" + strings.Join(texts, ",\n") + "]"), nil
}

// documentOut is a document with where it stands. One that is no JSON is given as text.
type documentOut struct {
	Host     string          `json:"host"` // or @group
	Key      string          `json:"key"`
	Revision int64           `json:"revision"`
	State    string          `json:"state,omitempty"` // of a write: done, unchanged
	At       string          `json:"at,omitempty"`    // a record of the history: as it was after that
	Document json.RawMessage `json:"document,omitempty"`
	Text     string          `json:"text,omitempty"`
}

func documentJSON(key, host string, raw []byte, revision int64) documentOut {
	d := documentOut{Host: host, Key: key, Revision: revision}
	if json.Valid(raw) {
		d.Document = raw
	} else {
		d.Text = string(raw)
	}
	return d
}

// effectiveOut is one entry that a host follows.
type effectiveOut struct {
	From     string          `json:"from"` // host, address or @group whose document holds it
	Revision int64           `json:"revision"`
	Entry    json.RawMessage `json:"entry"`
}

// getEffective lists what a host follows: of entries with one log_path the first document's.
func (a *app) getEffective(ctx context.Context, client *etcdcfg.Client, name, entry string) error {
	if strings.HasPrefix(name, "@") {
		return usage("--effective is what one host follows; config get %s shows the group's own entries", name)
	}
	names, err := client.Follows(ctx, name)
	if err != nil {
		return err
	}
	var services []agent.Service
	out, found, broken := []effectiveOut{}, false, []error(nil)
	taken := make(map[string]bool)
	for _, from := range names {
		raw, revision, err := client.Get(ctx, from)
		if err != nil {
			return err
		}
		if revision == 0 {
			continue
		}
		found = true
		list, _, err := agent.ParseDocument(raw)
		if err != nil { // the agent goes on with the one before it, which only its status tells
			broken = append(broken, fmt.Errorf("document of %s: %w", from, err))
			continue
		}
		for _, s := range list {
			if taken[s.LogPath] || entry != "" && s.LogPath != entry && s.Service != entry {
				continue
			}
			taken[s.LogPath] = true
			value, _ := change.EntryAt(raw, s.LogPath)
			services = append(services, s)
			out = append(out, effectiveOut{from, revision, value})
		}
	}
	switch {
	case !found:
		return noDocument(client, name)
	case a.json:
		err = a.writeJSON(out)
	default:
		w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "SERVICE\tLOG_PATH\tTOPIC\tRATE\tFROM")
		for i, s := range services {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", termsafe.Clean(s.Service), termsafe.Clean(s.LogPath), s.Topic, limitWord(s.SendRate), termsafe.Clean(out[i].From))
		}
		err = w.Flush()
	}
	return errors.Join(append(broken, err)...)
}

func limitWord(rate int64) string {
	if rate == 0 {
		return "none"
	}
	return fmt.Sprint(rate)
}
