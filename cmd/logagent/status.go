package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"logagent/etcdcfg"
	"logagent/ui/store"
	"logagent/ui/termsafe"
)

// statusFlags are those of status.
type statusFlags struct {
	patience time.Duration
	entries  bool
	watch    time.Duration // 0: once
	exitCode bool
}

// watchEvery is how often --watch looks when no interval is given: agents report as often.
const watchEvery = 2 * time.Second

func (a *app) statusVerb() *cobra.Command {
	var o statusFlags
	c := a.jsonFlag(&cobra.Command{
		Use:   "status [FILTER…]",
		Short: "Say how all hosts are, and whether each runs what is wanted",
		Long: `Reads etcd and the status topic and writes a line for every host, those in trouble first. A
host that does not report while this listens is stale: its numbers are the last known. FILTER
is as in the console: words, lag>1GB, behind>5m, state!=ok, group=web, drift>0, !word. Exit 1
where etcd or Kafka does not answer; hosts in trouble are no failure of this verb.

DESIRED, RUNNING and REFUSED are revisions of the host's document, and of each other document
it follows where it does not run the desired one. DRIFT counts the entries that do not run as
they are wanted; ? is not known, as of a host that is silent. --entries adds a line for every
entry, as naming a single host does: where it is written, whether it runs as wanted and why not.
Of up to 20 hosts the agents are asked for detail then. Of more the entries are what etcd holds,
which is up to half a minute late and names no entry that is behind: AGE says since when it is
known, and the state of an entry is unknown where its host is behind and it may be the one.

--watch repeats this until it is interrupted: on a terminal in place, else one block after the
other; with --json one line of JSON a round. With --exit-code the exit is 3 where a host is not
known to run what is wanted; after --watch as of the last round, and 1 where etcd or Kafka did not answer in it.`,
		Args: cobra.ArbitraryArgs,
	})
	c.Flags().DurationVar(&o.patience, "timeout", 5*time.Second, "how long to wait for every running agent to be heard, and longer while more of them are")
	c.Flags().BoolVar(&o.entries, "entries", false, "a line for every entry")
	c.Flags().DurationVar(&o.watch, "watch", 0, "again every `INTERVAL`, 2s where none is given, until interrupted")
	c.Flags().Lookup("watch").NoOptDefVal = watchEvery.String()
	c.Flags().BoolVar(&o.exitCode, "exit-code", false, "exit 3 where a host is not known to run what is wanted")
	c.RunE = func(c *cobra.Command, args []string) error {
		filter, err := store.ParseFilter(strings.Join(args, " "))
		if err != nil {
			return usage("%w", err)
		}
		if c.Flags().Changed("watch") {
			for _, arg := range args {
				if _, err := time.ParseDuration(arg); err == nil {
					return usage("%s is taken for a filter: write --watch=%[1]s", arg)
				}
			}
		}
		if c.Flags().Changed("watch") && o.watch < 100*time.Millisecond {
			return usage("--watch=%s: at least 100ms; write --watch=5s", o.watch)
		}
		return a.withEtcd(func(ctx context.Context, s *settings, client *etcdcfg.Client) error {
			return a.status(ctx, s, client, filter, strings.Join(args, " "), o)
		})
	}
	return c
}

// status feeds a store as the console does until every running agent was heard, and writes
// what it holds then; with --watch again and again.
func (a *app) status(ctx context.Context, s *settings, client *etcdcfg.Client, filter store.Filter, words string, o statusFlags) error {
	f, err := newFleet(s, client, "", slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	reading, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { f.run(reading, nil) })
	etcdUp, kafkaUp := f.hear(ctx, o.patience)
	if o.watch > 0 && ctx.Err() != nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r := statusRound{app: a, store: f.store, filter: filter, words: words, flags: o}
	r.detail(reading, client, &wg)
	away := func() error {
		var out []error
		if !etcdUp {
			out = append(out, fmt.Errorf("etcd: %s", naming(s.EtcdAddrs, client.Link().Error)))
		}
		if !kafkaUp {
			out = append(out, fmt.Errorf("kafka: %s", naming(s.KafkaAddrs, f.topic.Link().Error)))
		}
		return errors.Join(out...)
	}
	if o.watch == 0 {
		rows, err := r.write(nil)
		if err != nil {
			return err
		}
		err = away()
		if rows == 0 && (err == nil || !filter.Empty()) {
			fmt.Fprintf(a.stderr, "logagent: %s\n", r.nobody())
		}
		return cmp.Or(err, r.verdict())
	}
	var failed, gone error
	watching, end := context.WithCancel(ctx)
	defer end()
	_ = every(watching, o.watch, func() { // ends with ctx, or where nobody reads
		gone = away()
		r.sayAway(gone)
		if _, failed = r.write(gone); failed != nil {
			end()
		}
		etcdUp, kafkaUp = client.Link().Up, f.topic.Link().Up
	})
	if gone != nil && a.json {
		gone = errSaid
	}
	return cmp.Or(failed, gone, r.verdict())
}

// mostPatience bounds how long hosts that are still being heard are waited for.
const mostPatience = time.Minute

// hear waits until every running agent was heard, and tells whether etcd and Kafka answered.
// While more of them are heard it goes on beyond patience: of ten thousand hosts the topic
// holds more than a slow machine reads in that time, and none of them is stale for that.
func (f *fleet) hear(ctx context.Context, patience time.Duration) (etcdUp, kafkaUp bool) {
	began := time.Now()
	deadline, least := began.Add(patience), time.Time{}
	missing := math.MaxInt
	looking, enough := context.WithCancel(ctx)
	defer enough()
	_ = every(looking, 50*time.Millisecond, func() { // ends with looking only
		now := time.Now()
		etcdUp = etcdUp || f.etcd.Link().Up
		if !kafkaUp && f.topic.Link().Up {
			kafkaUp, least = true, now.Add(summaryWait)
			if deadline.Before(least) {
				deadline = least
			}
		}
		o := f.store.Fleet(store.Query{}).Overview
		living, others := unheard(f.store)
		if kafkaUp && living < missing && now.Sub(began) < mostPatience && deadline.Before(now.Add(summaryWait)) {
			deadline = now.Add(summaryWait)
		}
		missing = living
		if now.After(deadline) || o.Revision != 0 && kafkaUp && living == 0 && (others == 0 || now.After(least)) {
			enough()
		}
	})
	f.store.DoubtUnheard()
	return etcdUp, kafkaUp
}

// statusRound writes what a store holds, once or again and again.
type statusRound struct {
	app    *app
	store  *store.Store
	filter store.Filter
	words  string // of filter
	flags  statusFlags

	rounds  int
	differs bool   // in the last one
	said    string // who does not answer, as last said beside JSON
}

// sayAway says once, beside lines of JSON, what does not answer, and that it does again. The
// blocks for people hold it in their first line.
func (r *statusRound) sayAway(away error) {
	text, which := "", ""
	if away != nil {
		text = away.Error()
	}
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(line, ":")
		which += name + " "
	}
	if !r.app.json || which == r.said {
		return
	}
	r.said = which
	if text == "" {
		text = "etcd and Kafka answer again"
	}
	for line := range strings.Lines(text) {
		fmt.Fprintf(r.app.stderr, "logagent: %s\n", strings.TrimSpace(line))
	}
}

// verdict is what the exit code says of the last round.
func (r *statusRound) verdict() error {
	if r.flags.exitCode && r.differs {
		return errDiffers
	}
	return nil
}

// ofEntries tells whether a line is written for every entry of these hosts.
func (r *statusRound) ofEntries(rows []store.HostRow) bool {
	return r.flags.entries || len(rows) == 1 && !r.filter.Empty()
}

// nobody says that there is no host to write a line for.
func (r *statusRound) nobody() string {
	if r.filter.Empty() {
		return "neither etcd nor the status topic knows of a host"
	}
	return "no host matches " + termsafe.Clean(r.words)
}

const (
	// mostDetailed bounds the hosts whose agents are asked for detail: each of them sends all
	// its files every two seconds while it is.
	mostDetailed = 20
	// detailWait is how long their details are waited for: an agent is told at once, and sends
	// with its next report.
	detailWait = 2 * summaryWait
)

// detail asks the agents of the hosts whose entries are written for detail until ctx ends, and
// waits for what they tell. An agent without a live key does not hear of it.
func (r *statusRound) detail(ctx context.Context, client *etcdcfg.Client, wg *sync.WaitGroup) {
	rows := r.store.Fleet(store.Query{Filter: r.filter, Count: mostDetailed + 1}).Rows
	if !r.ofEntries(rows) || len(rows) > mostDetailed {
		return
	}
	began := time.Now()
	var hosts []string
	for i := range rows {
		if host := rows[i].Host; rows[i].Live != nil && !rows[i].Stale {
			hosts = append(hosts, host)
			wg.Go(func() { _ = client.HoldWatch(ctx, host) }) // what is shown says how old it is
		}
	}
	looking, enough := context.WithTimeout(ctx, detailWait)
	defer enough()
	_ = every(looking, 50*time.Millisecond, func() { // ends with looking only
		if !slices.ContainsFunc(hosts, func(host string) bool {
			t := r.store.Told(host)
			return !t.Detail || t.Age > time.Since(began)
		}) {
			enough()
		}
	})
}

// write writes one round, and tells of how many hosts; away is what does not answer, which a
// watch tells with each.
func (r *statusRound) write(away error) (rows int, err error) {
	view := r.store.Fleet(store.Query{Filter: r.filter, Count: math.MaxInt32})
	r.differs = slices.ContainsFunc(view.Rows, func(h store.HostRow) bool { return notAsWanted(&h) })
	r.rounds++
	a := r.app
	if a.json {
		out := make([]hostOut, 0, len(view.Rows))
		for i := range view.Rows {
			out = append(out, jsonOf(&view.Rows[i], r.store.Told(view.Rows[i].Host)))
		}
		if r.flags.watch == 0 {
			return len(out), a.writeJSON(out)
		}
		e := json.NewEncoder(a.stdout)
		e.SetEscapeHTML(false)
		return len(out), e.Encode(out)
	}
	var b bytes.Buffer
	r.table(&b, view.Rows)
	if r.flags.watch == 0 {
		_, err := b.WriteTo(a.stdout)
		return len(view.Rows), err
	}
	if len(view.Rows) == 0 {
		fmt.Fprintln(&b, r.nobody())
	}
	head := view.At.Format(time.TimeOnly)
	if away != nil {
		head += "  " + termsafe.Line(away.Error())
	}
	_, err = io.WriteString(a.stdout, block(head, b.String(), a.stdout, r.rounds))
	return len(view.Rows), err
}

// notAsWanted tells whether a host is not known to run what is wanted.
func notAsWanted(r *store.HostRow) bool { return r.Config != store.ConfigRunning || r.Drifting > 0 }

// naming puts the addresses before what is wrong with them, unless that names them all.
func naming(addrs []string, why string) string {
	for _, addr := range addrs {
		if !strings.Contains(why, addr) {
			return strings.Join(addrs, ", ") + ": " + why
		}
	}
	return why
}

// unheard counts the hosts that have not told their status since this process reads: those
// with a live key, and those of which only an older status is there. An agent that is cut
// off from etcd is one of these.
func unheard(st *store.Store) (living, others int) {
	for _, r := range st.Fleet(store.Query{Count: math.MaxInt32}).Rows {
		switch {
		case r.Heard:
		case r.Live != nil:
			living++
		case r.HasStatus:
			others++
		}
	}
	return living, others
}
