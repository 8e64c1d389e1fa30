package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
)

func (a *app) configVerb() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Read, write and check the documents that say what hosts follow",
		Args:  func(_ *cobra.Command, _ []string) error { return usage("config takes one of get, set, validate") },
		RunE:  func(*cobra.Command, []string) error { return nil },
	}
	c.AddCommand(a.configGetVerb(), a.configSetVerb(), a.configValidateVerb())
	return c
}

func (a *app) configGetVerb() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "get [HOST]",
		Short: "Write a host's document as it stands in etcd (default: this host's)",
		Args:  args(0, 1, "config get takes one host at most"),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.withEtcd(func(ctx context.Context, s *settings, client *etcdcfg.Client) error {
				host, err := hostArgument(s, args)
				if err != nil {
					return err
				}
				raw, revision, err := client.Get(ctx, host)
				if err != nil {
					return err
				}
				if revision == 0 {
					return fmt.Errorf("host %s has no document: %s does not exist", host, client.Layout().Config(host))
				}
				if a.json {
					return a.writeJSON(documentJSON(client.Layout().Config(host), host, raw, revision))
				}
				_, err = a.stdout.Write(endLine(raw))
				return err
			})
		},
	})
}

// documentOut is a document with where it stands. One that is no JSON is given as text.
type documentOut struct {
	Host     string          `json:"host"`
	Key      string          `json:"key"`
	Revision int64           `json:"revision"`
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

func (a *app) configSetVerb() *cobra.Command {
	var base int64
	c := a.jsonFlag(&cobra.Command{
		Use:   "set HOST FILE|-  |  set HOST LOG_PATH|SERVICE send_rate=N",
		Short: "Replace a host's document, or change the rate of one of its entries",
		Long: `Replace a host's document with that of a file (- is standard input), or change the
rate of one entry, named by its log_path or its service. A document with anything wrong in
it is not written. With --base the document is replaced only where it still stands at that
revision (0: where there is none), as config get --json told it.`,
		Args: args(2, 3, "config set takes a host and a file, or a host, an entry and send_rate=N"),
	})
	c.Flags().Int64Var(&base, "base", -1, "replace only the document of this `REVISION`")
	c.RunE = func(_ *cobra.Command, args []string) error {
		host := args[0]
		if err := checkHostID(host); err != nil {
			return usage("host %q: %w", host, err)
		}
		if len(args) == 3 {
			rate, err := parseRate(args[2])
			if err != nil {
				return err
			}
			if base >= 0 {
				return usage("--base is for whole documents")
			}
			return a.withEtcd(func(ctx context.Context, s *settings, client *etcdcfg.Client) error {
				if err := a.setRate(ctx, client, host, args[1], rate); err != nil {
					return err
				}
				a.sayIdle(ctx, s, client, host)
				return nil
			})
		}
		raw, err := a.readInput(args[1])
		if err != nil {
			return err
		}
		return a.withEtcd(func(ctx context.Context, s *settings, client *etcdcfg.Client) error {
			if err := a.setDocument(ctx, client, host, raw, base); err != nil {
				return err
			}
			a.sayIdle(ctx, s, client, host)
			return nil
		})
	}
	return c
}

// sayIdle says where no agent runs that would take up what was written: the name may be
// misspelt. An address is no agent's name; which host follows it is not known here.
func (a *app) sayIdle(ctx context.Context, s *settings, client *etcdcfg.Client, host string) {
	if net.ParseIP(host) == nil && s.lacks(ctx, client.Layout().Live(host)) {
		fmt.Fprintf(a.stderr, "logagent: no agent named %s is running now; it takes this up when it starts\n", host)
	}
}

// parseRate reads send_rate=N; none is 0, without a limit.
func parseRate(text string) (int64, error) {
	value, ok := strings.CutPrefix(text, "send_rate=")
	if !ok {
		return 0, usage("%q: only send_rate=N can be changed by itself", text)
	}
	if value == "none" {
		return 0, nil
	}
	rate, err := strconv.ParseInt(value, 10, 64)
	if err != nil || rate < 0 || rate > agent.MaxSendRate {
		return 0, usage("send_rate=%s: lines per second from 1 to %d, or none", value, agent.MaxSendRate)
	}
	return rate, nil
}

func (a *app) setRate(ctx context.Context, client *etcdcfg.Client, host, entry string, rate int64) error {
	raw, revision, err := client.Get(ctx, host)
	if err != nil {
		return err
	}
	if revision == 0 {
		return fmt.Errorf("host %s has no document: %s does not exist", host, client.Layout().Config(host))
	}
	services, _, err := agent.ParseDocument(raw)
	if err != nil {
		return fmt.Errorf("document of %s: %w", host, err)
	}
	e, err := findEntry(services, entry)
	if err != nil {
		return fmt.Errorf("host %s: %w", host, err)
	}
	if e.SendRate != rate {
		if revision, err = client.SetRate(ctx, host, e.LogPath, e.SendRate, rate, change.Meta{}); err != nil {
			return err
		}
	}
	return a.saved(client.Layout().Config(host), host, revision)
}

// findEntry finds the entry by its log_path, else by its service.
func findEntry(services []agent.Service, name string) (*agent.Service, error) {
	var found []*agent.Service
	var paths []string
	for i := range services {
		if services[i].LogPath == name {
			return &services[i], nil
		}
		if services[i].Service == name {
			found = append(found, &services[i])
			paths = append(paths, services[i].LogPath)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, fmt.Errorf("no entry has the log_path or the service %q", name)
	default:
		return nil, fmt.Errorf("service %q has several entries, name one by its log_path: %s", name, strings.Join(paths, ", "))
	}
}

func (a *app) setDocument(ctx context.Context, client *etcdcfg.Client, host string, raw []byte, base int64) error {
	if base < 0 {
		var err error
		if _, base, err = client.Get(ctx, host); err != nil {
			return err
		}
	}
	revision, err := client.Save(ctx, host, raw, base, change.Meta{})
	if err != nil {
		return err
	}
	return a.saved(client.Layout().Config(host), host, revision)
}

func (a *app) saved(key, host string, revision int64) error {
	if a.json {
		return a.writeJSON(documentOut{Host: host, Key: key, Revision: revision})
	}
	_, err := fmt.Fprintf(a.stdout, "saved %s at revision %d\n", key, revision)
	return err
}

func (a *app) configValidateVerb() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use:   "validate FILE|-",
		Short: "Check a document without writing it; exit 1 where an agent would refuse it",
		Args:  args(1, 1, "config validate takes one file, or - for standard input"),
		RunE: func(_ *cobra.Command, args []string) error {
			raw, err := a.readInput(args[0])
			if err != nil {
				return err
			}
			return a.validate(args[0], raw)
		},
	})
}

// validation is what config validate --json writes.
type validation struct {
	Valid    bool     `json:"valid"`
	Entries  int      `json:"entries"`
	Problems []string `json:"problems"`
	Warnings []string `json:"warnings"`
}

func (a *app) validate(name string, raw []byte) error {
	services, warnings, err := agent.ParseDocument(raw)
	v := validation{Valid: err == nil, Entries: len(services), Problems: []string{}, Warnings: append([]string{}, warnings...)}
	if err != nil {
		v.Problems = strings.Split(err.Error(), "\n")
	}
	if a.json {
		if err := a.writeJSON(v); err != nil {
			return err
		}
	} else {
		for _, p := range v.Problems {
			fmt.Fprintf(a.stdout, "%s: %s\n", name, p)
		}
		for _, w := range v.Warnings {
			fmt.Fprintf(a.stdout, "%s: warning: %s\n", name, w)
		}
		if v.Valid {
			fmt.Fprintf(a.stdout, "%s: valid, entries %d\n", name, v.Entries)
		}
	}
	if !v.Valid {
		return errSaid
	}
	return nil
}

// readInput reads a whole file, or standard input for -. What is too long for a document
// is cut one byte above the limit, which the parser then refuses.
func (a *app) readInput(path string) ([]byte, error) {
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
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return raw, nil
}

// withEtcd calls f with a client, as the verbs need it: until a signal comes.
func (a *app) withEtcd(f func(context.Context, *settings, *etcdcfg.Client) error) error {
	s, err := a.settings()
	if err != nil {
		return err
	}
	quiet := slog.New(slog.DiscardHandler)
	end, err := quietLibraries(quiet)
	if err != nil {
		return err
	}
	defer end()
	client, err := etcdcfg.New(s.etcdOptions(quiet))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err = f(ctx, &s, client)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// hostArgument is the host that a verb names, or this one.
func hostArgument(s *settings, args []string) (string, error) {
	if len(args) > 0 {
		if err := checkHostID(args[0]); err != nil {
			return "", usage("host %q: %w", args[0], err)
		}
		return args[0], nil
	}
	ids, err := hostKeys(s.Host)
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

// endLine ends raw with a line end, so that a shell's prompt begins its own line.
func endLine(raw []byte) []byte {
	if len(raw) > 0 && raw[len(raw)-1] == '\n' {
		return raw
	}
	return append(append([]byte(nil), raw...), '\n')
}
