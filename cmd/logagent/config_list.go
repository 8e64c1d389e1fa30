package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
	"logagent/ui/termsafe"
)

func (a *app) configListVerb() *cobra.Command {
	var long bool
	var filter string
	c := a.jsonFlag(&cobra.Command{
		Use:   "list [HOSTS]",
		Short: "List the documents of hosts and groups",
		Long: `Lists the documents there are: of HOSTS (` + hostsForm + `), or of all hosts and
groups. --long adds who changed each last, and when.`,
		Args:              args(0, 1, "config list takes one glob at most"),
		ValidArgsFunction: a.completeHosts,
	})
	c.Flags().BoolVarP(&long, "long", "l", false, "with the last change of each")
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
			return a.list(ctx, client, sel, long)
		})
	}
	return c
}

// listed is one document as config list shows it.
type listed struct {
	Name      string      `json:"name"`
	Key       string      `json:"key"`
	Revision  int64       `json:"revision"`
	Entries   int         `json:"entries"`
	Services  []string    `json:"services"`
	SendRate  int64       `json:"send_rate"` // sum of the entries' limits
	Unlimited int         `json:"unlimited"` // entries without a limit
	Problem   string      `json:"problem,omitempty"`
	Last      *lastChange `json:"last_change,omitempty"`
}

type lastChange struct {
	ID   string      `json:"id"`
	At   time.Time   `json:"at"`
	Who  string      `json:"who"`
	Kind change.Kind `json:"kind"`
	Note string      `json:"note,omitempty"`
}

func (a *app) list(ctx context.Context, client *etcdcfg.Client, sel selection, long bool) error {
	sc, err := look(ctx, client, sel)
	if err != nil {
		return err
	}
	out := make([]listed, 0, len(sc.documents))
	for _, d := range sc.documents {
		out = append(out, listedOf(client, d))
	}
	for _, name := range sel.literal() {
		if !slices.ContainsFunc(sc.documents, func(d etcdcfg.Document) bool { return d.Name == name }) && sel.filter.Empty() {
			return noDocumentOf(ctx, client, name)
		}
	}
	if long {
		if err := lastChanges(ctx, client, out); err != nil {
			return err
		}
	}
	if a.json {
		return a.writeJSON(out)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	head := "NAME\tENTRIES\tRATE\tREVISION\tSERVICES"
	if long {
		head = "NAME\tENTRIES\tRATE\tREVISION\tCHANGED\tBY\tNOTE\tSERVICES"
	}
	fmt.Fprintln(w, head)
	for i := range out {
		l := &out[i]
		services := strings.Join(l.Services, " ")
		if l.Problem != "" {
			services = "broken: " + l.Problem
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%d\t", termsafe.Clean(l.Name), l.Entries, sumWord(l.SendRate, l.Unlimited), l.Revision)
		if long {
			changed, by, note := "-", "-", ""
			if l.Last != nil {
				changed, by, note = timeWord(l.Last.At), l.Last.Who, l.Last.Note
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t", changed, termsafe.Clean(by), termsafe.Clean(note))
		}
		fmt.Fprintln(w, termsafe.Line(services))
	}
	return w.Flush()
}

func listedOf(client *etcdcfg.Client, d etcdcfg.Document) listed {
	l := listed{Name: d.Name, Key: client.Layout().Config(d.Name), Revision: d.Revision, Services: []string{}}
	services, _, err := agent.ParseDocument(d.Raw)
	if err != nil {
		l.Problem = err.Error()
	}
	l.Entries = len(services)
	for _, s := range services {
		if !slices.Contains(l.Services, s.Service) {
			l.Services = append(l.Services, s.Service)
		}
		if l.SendRate += s.SendRate; s.SendRate == 0 {
			l.Unlimited++
		}
	}
	return l
}

// sumWord is a sum of limits, with how many entries have none.
func sumWord(rate int64, unlimited int) string {
	switch {
	case unlimited == 0:
		return fmt.Sprint(rate)
	case rate == 0:
		return "no limit"
	}
	return fmt.Sprintf("%d + %d without", rate, unlimited)
}

// timeWord is a moment as tables show it, on this machine's clock.
func timeWord(at time.Time) string { return at.Local().Format("2006-01-02 15:04:05") }

// historyReads is how many histories are read at a time.
const historyReads = 16

// lastChanges asks for the newest record of each document.
func lastChanges(ctx context.Context, client *etcdcfg.Client, out []listed) error {
	var mu sync.Mutex // guards first
	var first error
	var wg sync.WaitGroup
	slots := make(chan struct{}, historyReads)
	for i := range out {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			records, err := client.History(ctx, out[i].Name, 1)
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				if first == nil {
					first = err
				}
				return
			}
			if len(records) > 0 {
				r := records[0]
				out[i].Last = &lastChange{ID: r.ID, At: r.At, Who: whoWord(r), Kind: r.Kind, Note: r.Note}
			}
		})
	}
	wg.Wait()
	return first
}

// whoWord is who made a change; of one that was found, by other means is all that is known.
func whoWord(r change.Record) string {
	if r.Kind == change.KindOutside {
		return "by other means"
	}
	return r.Who.String()
}
