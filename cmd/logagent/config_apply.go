package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
	"logagent/ui/termsafe"
)

// maxFleetBytes bounds the file of a fleet: 10,000 documents of 25 KiB.
const maxFleetBytes = 256 << 20

func (a *app) configApplyVerb() *cobra.Command {
	var w writing
	var file string
	c := a.jsonFlag(&cobra.Command{
		Use:   "apply -f FILE|-",
		Short: "Make the documents of a file those of etcd",
		Long: `Makes the documents of hosts and groups what the file says, which is one that config export
wrote. Entries that are not in the file go; hosts and groups that are not in it stay as they
are. What is the same already is not written: export and apply of it writes nothing.

` + manyHelp,
		Args: args(0, 0, "config apply takes no arguments: the file is named by -f"),
	})
	w.add(c)
	c.Flags().StringVarP(&file, "file", "f", "", "the `FILE` of documents; - is standard input")
	c.RunE = func(*cobra.Command, []string) error {
		fleet, err := a.readFleet("apply", file)
		if err != nil {
			return err
		}
		return a.withEtcd(func(ctx context.Context, s *settings, client *etcdcfg.Client) error {
			o, err := planFleet(ctx, client, fleet)
			if err != nil {
				return err
			}
			return a.write(ctx, s, client, w, o)
		})
	}
	return c
}

// readFleet reads the file of a fleet.
func (a *app) readFleet(verb, file string) (change.Fleet, error) {
	if file == "" {
		return change.Fleet{}, usage("config %s needs -f FILE, or -f - for standard input", verb)
	}
	raw, err := a.readUpTo(file, maxFleetBytes)
	if err != nil {
		return change.Fleet{}, err
	}
	fleet, err := change.ParseFleet(raw)
	if err != nil {
		return fleet, inFileError(file, err)
	}
	return fleet, nil
}

// inFileError puts the file before each problem.
func inFileError(file string, err error) error {
	var errs []error
	for line := range strings.SplitSeq(err.Error(), "\n") {
		errs = append(errs, fmt.Errorf("%s: %s", file, termsafe.Clean(line)))
	}
	return errors.Join(errs...)
}

// planFleet compares a file with what etcd holds of the names in it.
func planFleet(ctx context.Context, client *etcdcfg.Client, fleet change.Fleet) (order, error) {
	want := make(map[string][]byte, len(fleet.Documents))
	for name := range fleet.Documents {
		want[name], _ = fleet.Document(name)
	}
	return planDocuments(ctx, client, want)
}

// planDocuments plans that documents are as they are wanted, entry by entry where they are there
// already: what means the same stays as it is written.
func planDocuments(ctx context.Context, client *etcdcfg.Client, want map[string][]byte) (order, error) {
	o := order{kind: change.KindApply}
	docs, _, err := client.Documents(ctx, func(name string) bool {
		_, named := want[name]
		return named
	})
	if err != nil {
		return o, err
	}
	there := make(map[string]etcdcfg.Document, len(docs))
	for _, d := range docs {
		there[d.Name] = d
	}
	for name, text := range want {
		d := there[name]
		d.Name = name
		edits := []change.Edit{change.Replace(text)}
		switch _, _, err := agent.ParseDocument(text); {
		case d.Raw != nil && change.Same(d.Raw, text):
			edits = nil
		case err != nil: // such a one is in a file of config export where etcd holds it
			o.refuse(name, fmt.Errorf("the file holds a broken document for it, which is not written: %w", err))
			continue
		case d.Raw != nil:
			if between, err := change.Between(d.Raw, text); err == nil {
				edits = between
			}
		}
		o.change(d, edits)
	}
	return o, nil
}

func (a *app) configExportVerb() *cobra.Command {
	var out, filter string
	c := &cobra.Command{
		Use:   "export [HOSTS] [-o FILE]",
		Short: "Write the documents of hosts and groups as one file",
		Long: `Writes the documents of HOSTS (` + hostsForm + `),
or of all hosts and groups, as one file of JSON: names sorted, so that two exports of the same
documents are the same bytes. config apply makes it true again, config diff compares.`,
		Args:              args(0, 1, "config export takes one glob at most"),
		ValidArgsFunction: a.completeHosts,
	}
	c.Flags().StringVarP(&out, "output", "o", "", "write to `FILE` instead of standard output")
	c.Flags().StringVar(&filter, "filter", "", "only those the console's `FILTER` leaves, by host, service, path, topic, rate")
	c.RunE = func(_ *cobra.Command, args []string) error {
		hosts := "*,@*"
		if len(args) > 0 {
			hosts = args[0]
		}
		sel, err := parseSelection(hosts, filter)
		if err != nil {
			return err
		}
		return a.withEtcd(func(ctx context.Context, _ *settings, client *etcdcfg.Client) error {
			sc, err := look(ctx, client, sel)
			if err != nil {
				return err
			}
			documents := make(map[string][]byte, len(sc.documents))
			for _, d := range sc.documents {
				documents[d.Name] = d.Raw
			}
			for _, name := range sel.literal() {
				if documents[name] == nil && sel.filter.Empty() {
					return noDocument(client, name)
				}
			}
			text := change.FleetOf(documents).Encode()
			if out == "" || out == "-" {
				_, err = a.stdout.Write(text)
				return err
			}
			if err := writeWhole(out, text); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.stdout, "%s written to %s\n", counted(len(documents), "document"), out)
			return err
		})
	}
	return c
}

// writeWhole writes a file as a whole or not at all.
func writeWhole(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone by then where all went well
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func (a *app) configImportVerb() *cobra.Command {
	var w writing
	var file string
	var replace bool
	c := a.jsonFlag(&cobra.Command{
		Use:   "import -f FILE|FOLDER",
		Short: "Bring in documents for hosts and groups that have none",
		Long: `Brings in the documents of a file that config export wrote, or of a folder with a file
HOST.json or @GROUP.json for each. Hosts and groups that have a document keep it, unless --replace
says otherwise.

` + manyHelp,
		Args: args(0, 0, "config import takes no arguments: the file or folder is named by -f"),
	})
	w.add(c)
	c.Flags().StringVarP(&file, "file", "f", "", "the `FILE` or folder of documents; - is standard input")
	c.Flags().BoolVar(&replace, "replace", false, "also for those that have a document")
	c.RunE = func(*cobra.Command, []string) error {
		want, err := a.readImport(file)
		if err != nil {
			return err
		}
		return a.withEtcd(func(ctx context.Context, s *settings, client *etcdcfg.Client) error {
			o, err := planDocuments(ctx, client, want)
			if err != nil {
				return err
			}
			var kept []string
			if !replace {
				kept = keepThere(&o.plan)
			}
			if len(kept) > 0 && !a.json {
				fmt.Fprintf(a.stderr, "logagent: left as they are, because they have a document: %s\n", namesWord(kept))
			}
			return a.write(ctx, s, client, w, o)
		})
	}
	return c
}

// keepThere takes out of a plan what would replace a document, and returns the names.
func keepThere(p *etcdcfg.Plan) []string {
	var kept []string
	p.Steps = slices.DeleteFunc(p.Steps, func(s etcdcfg.Step) bool {
		if s.Before == nil {
			return false
		}
		kept = append(kept, s.Name)
		return true
	})
	p.Same = append(p.Same, kept...)
	return kept
}

// readImport reads a file of a fleet, or a folder of documents, which are taken as they are
// written.
func (a *app) readImport(file string) (map[string][]byte, error) {
	documents := make(map[string][]byte)
	if info, err := os.Stat(file); file == "" || file == "-" || err != nil || !info.IsDir() {
		fleet, err := a.readFleet("import", file)
		if err != nil {
			return nil, err
		}
		for name := range fleet.Documents {
			documents[name], _ = fleet.Document(name)
		}
		return documents, nil
	}
	entries, err := os.ReadDir(file)
	if err != nil {
		return nil, err
	}
	var problems []error
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || e.IsDir() || strings.HasPrefix(name, ".") {
			continue
		}
		path := filepath.Join(file, e.Name())
		if err := etcdcfg.CheckName(name); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", path, err))
			continue
		}
		raw, err := a.readInput(path)
		if err == nil {
			if _, _, err = agent.ParseDocument(raw); err != nil {
				err = inFileError(path, err)
			}
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		documents[name] = raw
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	if len(documents) == 0 {
		return nil, fmt.Errorf("%s holds no document; they are named HOST.json or @GROUP.json", file)
	}
	return documents, nil
}

// readUpTo reads a whole file, or standard input for -, of a bounded size.
func (a *app) readUpTo(path string, most int64) ([]byte, error) {
	in := a.stdin
	if path != "-" {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s does not exist", path)
		}
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return raw, nil
}
