package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"logagent/agent"
	"logagent/etcdcfg"
)

func (a *app) configVerb() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Read, write and check the documents that say what hosts follow",
		Args: func(_ *cobra.Command, args []string) error {
			return usage("config takes one of get, set, validate, list, add, remove, delete, edit, apply, import, export, diff, history, rollback, changes, resume, reverse, stop")
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	c.AddCommand(
		a.configListVerb(), a.configGetVerb(), a.configValidateVerb(),
		a.configSetVerb(), a.configAddVerb(), a.configRemoveVerb(), a.configDeleteVerb(), a.configEditVerb(),
		a.configApplyVerb(), a.configImportVerb(), a.configExportVerb(), a.configDiffVerb(),
		a.configHistoryVerb(), a.configRollbackVerb(),
		a.configChangesVerb(), a.configResumeVerb(), a.configReverseVerb(), a.configStopVerb(),
	)
	return c
}

// sayIdle says where no agent runs that would take up what was written: the name may be
// misspelt. An address or a group is no agent's name; which hosts follow it is not known here.
func (a *app) sayIdle(ctx context.Context, s *settings, client *etcdcfg.Client, host string) {
	if net.ParseIP(host) == nil && !strings.HasPrefix(host, "@") && s.lacks(ctx, client.Layout().Live(host)) {
		fmt.Fprintf(a.stderr, "logagent: no agent named %s is running now; it takes this up when it starts\n", host)
	}
}

func (a *app) saved(key, host string, revision int64, state string) error {
	if a.json {
		return a.writeJSON(documentOut{Host: host, Key: key, Revision: revision, State: state})
	}
	_, err := fmt.Fprintf(a.stdout, "%s\n", savedWord(key, revision))
	return err
}

// savedWord is the line that scripts read; of a document that is gone there is no revision.
func savedWord(key string, revision int64) string {
	if revision == 0 {
		return "deleted " + key
	}
	return fmt.Sprintf("saved %s at revision %d", key, revision)
}

// readInput reads a whole document, or standard input for -. What is too long for one is cut a
// byte above the limit, which the parser then refuses.
func (a *app) readInput(path string) ([]byte, error) {
	return a.readUpTo(path, agent.MaxDocumentBytes)
}

// withEtcd calls f with a client, as the verbs need it: until a signal comes.
func (a *app) withEtcd(f func(context.Context, *settings, *etcdcfg.Client) error) error {
	return a.onEtcd(func(s *settings, client *etcdcfg.Client) error {
		return a.interruptible(func(ctx context.Context) error { return f(ctx, s, client) })
	})
}

// onEtcd calls f with a client; what f does with signals is its own.
func (a *app) onEtcd(f func(*settings, *etcdcfg.Client) error) error {
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
	return f(&s, client)
}

// interruptible calls f with a context that ends with a signal.
func (a *app) interruptible(f func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := f(ctx)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// endLine ends raw with a line end, so that a shell's prompt begins its own line.
func endLine(raw []byte) []byte {
	if len(raw) > 0 && raw[len(raw)-1] == '\n' {
		return raw
	}
	return append(append([]byte(nil), raw...), '\n')
}
