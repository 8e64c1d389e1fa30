package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os/signal"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/kafkaout"
)

// How a thing that was checked is.
const (
	findingOK      = "ok"
	findingWarning = "warning"
	findingFailed  = "FAILED"
)

// finding is one line of check.
type finding struct {
	What  string `json:"what"`
	State string `json:"state"` // ok, warning or FAILED
	Text  string `json:"text"`
	Do    string `json:"do,omitempty"` // what would help
}

// checkup is one run of check.
type checkup struct {
	app      *app
	settings settings
	hosts    []string
	findings []finding
	ask      asker
}

// How long a cluster may take to answer the first time: one that says nothing, and one of
// which an error is known, such as a refused connection, that may pass.
const (
	kafkaPatience  = 10 * time.Second
	kafkaSecondTry = 2 * time.Second
	kafkaLookEvery = 20 * time.Millisecond
)

func (a *app) checkVerb() *cobra.Command {
	var file string
	c := a.jsonFlag(&cobra.Command{
		Use:   "check",
		Short: "Tell in plain words whether an agent can work here; exit 1 where it can not",
		Long: `Looks at the configuration, the own log and state folder, etcd, Kafka, and the topics
and files of this host's entries, as the user who runs it: run it as the agent's. It changes
nothing. With --file it asks the running agent what it believes about one file; where none
runs, its positions on disk tell what they can.`,
		Args: args(0, 0, "check takes no arguments"),
	})
	c.Flags().StringVar(&file, "file", "", "what the agent believes about this `PATH`")
	c.RunE = func(*cobra.Command, []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		if file != "" {
			return a.checkFile(ctx, file)
		}
		return a.check(ctx)
	}
	return c
}

func (a *app) check(ctx context.Context) error {
	end, err := quietLibraries(slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer end()
	c := &checkup{app: a, ask: lookHere}
	if c.config() {
		c.host()
		c.log()
		c.state(ctx)
		documents := c.etcd(ctx)
		if c.kafka(ctx) {
			c.topics(ctx, documents)
		}
		for _, d := range documents {
			c.paths(ctx, d)
		}
	}
	return c.report()
}

func (c *checkup) add(state, what, do, format string, args ...any) {
	c.findings = append(c.findings, finding{What: what, State: state, Text: fmt.Sprintf(format, args...), Do: do})
}

// report writes the findings; it fails where one did.
func (c *checkup) report() error {
	failed := false
	for _, f := range c.findings {
		failed = failed || f.State == findingFailed
	}
	if c.app.json {
		if err := c.app.writeJSON(c.findings); err != nil {
			return err
		}
	} else {
		for _, f := range c.findings {
			fmt.Fprintf(c.app.stdout, "%-7s  %-9s  %s\n", f.State, f.What, f.Text)
			if f.Do != "" {
				fmt.Fprintf(c.app.stdout, "%20s→ %s\n", "", f.Do)
			}
		}
	}
	if failed {
		return errSaid
	}
	return nil
}

// config tells whether there is a configuration to check the rest by.
func (c *checkup) config() bool {
	path, err := findConfig(c.app.config)
	if err != nil {
		c.add(findingFailed, "config", "", "%v", err)
		return false
	}
	s, warnings, err := loadSettings(path, c.app.getenv)
	for _, w := range warnings {
		c.add(findingWarning, "config", "", "%s", w)
	}
	if err != nil {
		for _, line := range strings.Split(err.Error(), "\n") {
			c.add(findingFailed, "config", "", "%s", line)
		}
		return false
	}
	c.settings = s
	c.add(findingOK, "config", "", "%s is usable, keys set: %d", path, len(s.lines))
	return true
}

func (c *checkup) host() {
	ids, err := hostKeys(c.settings.Host)
	if err != nil {
		c.add(findingFailed, "host", "set host in "+c.settings.path, "%v", err)
		return
	}
	c.hosts = ids
	who := "an unknown user"
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	also := ""
	if len(ids) > 1 {
		also = ", following the keys of " + strings.Join(ids[1:], ", ") + " too"
	}
	if len(c.settings.Groups) > 0 {
		also += ", in the groups " + strings.Join(c.settings.Groups, ", ")
	}
	c.add(findingOK, "host", "", "the id is %s%s; checked as user %s", ids[0], also, who)
}

func (c *checkup) log() {
	if err := writable(filepath.Dir(c.settings.Log)); err != nil {
		c.add(findingFailed, "log", "let the agent's user write there, or set log in "+c.settings.path, "%v", err)
		return
	}
	c.add(findingOK, "log", "", "%s can be written", c.settings.Log)
}

// state looks at the state folder, and for an agent running on it, which then answers for
// the paths.
func (c *checkup) state(ctx context.Context) {
	dir := c.settings.StateDir
	remote, err := agent.DialSocket(ctx, dir)
	switch {
	case err == nil:
		c.ask = remote.Answer
		c.add(findingOK, "state", "", "an agent is running on %s and answers for the paths below", dir)
		return
	case errors.Is(err, fs.ErrPermission):
		c.add(findingFailed, "state", "run check as the agent's user", "%v", err)
		return
	}
	if err := writable(dir); err != nil {
		c.add(findingFailed, "state", "let the agent's user write there, or set state_dir in "+c.settings.path, "%v", err)
		return
	}
	c.add(findingOK, "state", "", "%s can be written; no agent is running on it", dir)
}

// etcd asks for the documents of this host and returns those that can be read.
func (c *checkup) etcd(ctx context.Context) [][]agent.Service {
	client, err := etcdcfg.New(c.settings.etcdOptions(nil))
	if err != nil {
		c.add(findingFailed, "etcd", "", "%v", err)
		return nil
	}
	defer client.Close()
	var out [][]agent.Service
	found, groups := 0, []string(nil) // documents, and the groups that have one
	names := slices.Clone(c.hosts)
	for _, g := range c.settings.Groups {
		names = append(names, "@"+g)
	}
	for i, name := range names {
		begin := time.Now()
		raw, revision, err := client.Get(ctx, name)
		if err != nil {
			c.add(findingFailed, "etcd", "is etcd running there, and reachable from here? see etcd_addr, etcd_user, etcd_ca in "+c.settings.path,
				"%s", naming(c.settings.EtcdAddrs, err.Error()))
			return out
		}
		if i == 0 {
			c.add(findingOK, "etcd", "", "%s answers in %s", strings.Join(c.settings.EtcdAddrs, ", "), time.Since(begin).Round(100*time.Microsecond))
			c.upkeep(ctx)
		}
		if revision == 0 {
			continue
		}
		found++
		if group, ok := strings.CutPrefix(name, "@"); ok {
			groups = append(groups, group)
		}
		key := client.Layout().Config(name)
		services, warnings, err := agent.ParseDocument(raw)
		for _, w := range warnings {
			c.add(findingWarning, "document", "", "%s: %s", key, w)
		}
		if err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				c.add(findingFailed, "document", "", "%s: %s", key, line)
			}
			continue
		}
		c.add(findingOK, "document", "", "%s at revision %d, entries %d", key, revision, len(services))
		out = append(out, services)
	}
	for _, g := range c.settings.Groups {
		if !slices.Contains(groups, g) {
			c.add(findingWarning, "document", "write one: logagent config apply, or look for a slip in groups", "the group %s has no entries: there is no %s", g, client.Layout().Config("@"+g))
		}
	}
	if found == 0 && len(c.hosts) > 0 {
		c.add(findingWarning, "document", "write one: logagent config set "+c.hosts[0]+" FILE",
			"this host follows nothing: there is no %s", client.Layout().Config(c.hosts[0]))
	}
	return out
}

// kafka waits for any broker to answer, and tells whether one did.
func (c *checkup) kafka(ctx context.Context) bool {
	host := "check"
	if len(c.hosts) > 0 {
		host = c.hosts[0]
	}
	p, err := kafkaout.New(c.settings.kafkaOptions(host, nil))
	if err != nil {
		c.add(findingFailed, "kafka", "", "%v", err)
		return false
	}
	running, stop := context.WithTimeout(ctx, kafkaPatience)
	ended := make(chan error, 1)
	go func() { ended <- p.Run(running) }() // ends with running, below
	began, first := time.Now(), p.Link()
	link := first
	_ = every(running, kafkaLookEvery, func() { // ends with running only
		if running.Err() == nil {
			link = p.Link()
		}
		if link.Up || link.Error != first.Error && time.Since(began) > kafkaSecondTry {
			stop()
		}
	})
	err = <-ended
	addrs := strings.Join(c.settings.KafkaAddrs, ", ")
	switch {
	case link.Up:
		c.add(findingOK, "kafka", "", "%s answers", addrs)
	case err != nil:
		c.add(findingFailed, "kafka", "", "%s: %v", addrs, err)
	default:
		c.add(findingFailed, "kafka", "is Kafka running there, and reachable from here? see kafka_addr, kafka_sasl_user, kafka_tls_ca in "+c.settings.path,
			"%s", naming(c.settings.KafkaAddrs, link.Error))
	}
	return link.Up
}

// topics asks Kafka for those of the entries.
func (c *checkup) topics(ctx context.Context, documents [][]agent.Service) {
	var names []string
	for _, d := range documents {
		for i := range d {
			if !slices.Contains(names, d[i].Topic) {
				names = append(names, d[i].Topic)
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, kafkaPatience)
	defer cancel()
	found, err := kafkaout.Probe(ctx, c.settings.kafkaOptions("check", nil), names)
	if err != nil {
		c.add(findingWarning, "topic", "", "Kafka was not asked for the topics: %v", err)
		return
	}
	for _, name := range names {
		const create = "create it, or let its entries name another"
		switch err := found[name]; {
		case err == nil:
			c.add(findingOK, "topic", "", "%s exists", name)
		case errors.Is(err, kafkaout.ErrTopicOnDemand):
			c.add(findingOK, "topic", "", "%s %v", name, err)
		case errors.Is(err, kafkaout.ErrTopicUnsure):
			c.add(findingWarning, "topic", create, "%s %v", name, err)
		case errors.Is(err, kafkaout.ErrTopicMissing):
			c.add(findingFailed, "topic", create, "%s %v", name, err)
		default:
			c.add(findingFailed, "topic", "", "%v", err)
		}
	}
}

// paths looks at the files of one document's entries.
func (c *checkup) paths(ctx context.Context, services []agent.Service) {
	for i := range services {
		s := &services[i]
		q := agent.Question{Kind: agent.AskPath, Path: s.LogPath}
		glob := strings.ContainsAny(s.LogPath, "*?[{")
		if glob {
			q.Kind, q.Exclude = agent.AskGlob, s.Exclude
		}
		got, err := c.ask(ctx, q)
		about := s.LogPath + " (" + s.Service + ")"
		own := c.ownFiles(s)
		if glob && len(own) > 0 && err == nil && got.Error == "" {
			got.Matches = slices.DeleteFunc(got.Matches, func(m string) bool {
				mine := slices.Contains(own, m)
				if mine {
					got.MatchCount--
				}
				return mine
			})
		}
		switch {
		case len(own) > 0 && (!glob || err == nil && got.Error == "" && got.MatchCount == 0):
			c.add(findingWarning, "path", "", "%s is the agent's own log, which is never sent: %s", about, strings.Join(own, ", "))
		case err != nil:
			c.add(findingFailed, "path", "", "%s: %v", about, err)
		case got.Error != "":
			c.add(findingFailed, "path", "", "%s: %s", about, got.Error)
		case glob && got.MatchCount == 0:
			c.add(findingWarning, "path", "", "%s matches nothing yet; files are taken up when they appear", about)
		case glob:
			c.matches(ctx, about, got)
		case !got.Exists:
			c.add(findingWarning, "path", "", "%s does not exist yet; it is taken up when it appears", about)
		case !got.Readable:
			c.add(findingFailed, "path", "let the agent's user read it", "%s can not be read: %s", about, got.Why)
		default:
			c.add(findingOK, "path", "", "%s can be read, %d bytes", about, got.SizeBytes)
		}
	}
}

// ownFiles are the agent's own log and its rotated files, as far as an entry means them.
func (c *checkup) ownFiles(s *agent.Service) []string {
	log, err := filepath.Abs(c.settings.Log)
	if err != nil {
		return nil
	}
	all := []string{log}
	if rotated, err := filepath.Glob(strings.TrimSuffix(log, ".log") + "-*"); err == nil && filepath.Ext(log) == ".log" {
		all = append(all, rotated...)
	}
	return slices.DeleteFunc(all, func(path string) bool {
		return !excluded(path, []string{s.LogPath}) || excluded(path, s.Exclude)
	})
}

// matches looks at each file of a glob.
func (c *checkup) matches(ctx context.Context, about string, got agent.Answer) {
	var bad []string
	for _, path := range got.Matches {
		one, err := c.ask(ctx, agent.Question{Kind: agent.AskPath, Path: path})
		switch {
		case err != nil:
			bad = append(bad, fmt.Sprintf("%s (%v)", path, err))
		case one.Error != "":
			bad = append(bad, fmt.Sprintf("%s (%s)", path, one.Error))
		case !one.Readable && one.Exists:
			bad = append(bad, fmt.Sprintf("%s (%s)", path, one.Why))
		}
	}
	if len(bad) > 0 {
		c.add(findingFailed, "path", "let the agent's user read them", "%s matches %d files, of which can not be read: %s", about, got.MatchCount, strings.Join(bad, ", "))
		return
	}
	c.add(findingOK, "path", "", "%s matches files: %d", about, got.MatchCount)
}
