package main

import (
	"context"

	"github.com/spf13/cobra"

	"logagent/etcdcfg"
)

func (a *app) configDeleteVerb() *cobra.Command {
	var w writing
	c := a.jsonFlag(&cobra.Command{
		Use:   "delete HOST|@GROUP",
		Short: "Take a whole document away",
		Long: `Deletes the document of one host or @group. Its history stays: config rollback puts it back. A
host without a document of its own goes on with what it has from its groups; hosts forget takes
all of a host away that is gone.`,
		Args:              args(1, 1, "config delete takes one host or @group"),
		ValidArgsFunction: a.completeHost,
	})
	w.writeFlags.add(c)
	c.RunE = func(_ *cobra.Command, args []string) error {
		name := args[0]
		if err := etcdcfg.CheckName(name); err != nil { // a glob is no selection here: of such a name a document may be
			return usage("host %q: %w", name, err)
		}
		return a.withEtcd(func(ctx context.Context, s *settings, client *etcdcfg.Client) error {
			raw, revision, err := client.Get(ctx, name)
			if err != nil {
				return err
			}
			if revision == 0 {
				return noDocument(client, name)
			}
			o, err := betweenTexts(name, revision, raw, nil)
			if err != nil {
				return err
			}
			o.pinned, o.exact, o.revision = true, true, revision
			return a.write(ctx, s, client, w, o)
		})
	}
	return c
}
