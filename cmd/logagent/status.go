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
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"logagent/agent"
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
known to run what is wanted; after --watch as of the last round.`,
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
	var failed error
	watching, end := context.WithCancel(ctx)
	defer end()
	_ = every(watching, o.watch, func() { // ends with ctx, or where nobody reads
		if _, failed = r.write(away()); failed != nil {
			end()
		}
		etcdUp, kafkaUp = client.Link().Up, f.topic.Link().Up
	})
	return cmp.Or(failed, r.verdict())
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
	differs bool // in the last one
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

// block is one round of a watch: on a terminal it is written over the one before, cut to the
// screen, so that nothing scrolls and nothing flickers.
func block(head, text string, to any, round int) string {
	if !isTerminal(to) {
		if round > 1 {
			head = "\n" + head
		}
		return head + "\n" + text
	}
	width, height := screenSize(to)
	return overwritten(head, text, width, height, round)
}

// overwritten is a block for a screen of so many columns and lines.
func overwritten(head, text string, width, height, round int) string {
	lines := append([]string{head}, strings.Split(strings.TrimSuffix(text, "\n"), "\n")...)
	if len(lines) > height {
		left := len(lines) - height + 1
		lines = append(lines[:height-1], fmt.Sprintf("… lines more: %d", left))
	}
	var b strings.Builder
	b.WriteString("\x1b[H")
	if round == 1 {
		b.WriteString("\x1b[2J")
	}
	for i, l := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(ansi.Truncate(l, width, "…"))
		b.WriteString("\x1b[K")
	}
	b.WriteString("\x1b[J")
	return b.String()
}

// screenSize is the columns and lines of a terminal.
func screenSize(of any) (width, height int) {
	if f, ok := of.(*os.File); ok {
		if w, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && w.Col > 0 && w.Row > 1 {
			return int(w.Col), int(w.Row)
		}
	}
	return 80, 24
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

// hostOut is one host as status --json writes it. Counts and rates are those of its
// newest status, age_seconds old.
type hostOut struct {
	Host            string      `json:"host"`
	State           agent.State `json:"state"`
	Problem         string      `json:"problem,omitempty"`
	Live            bool        `json:"live"`
	AgeSeconds      *float64    `json:"age_seconds"` // null: nothing was heard of it
	Stale           bool        `json:"stale"`
	Files           int         `json:"files"`
	Failing         int         `json:"failing"`
	LagBytes        int64       `json:"lag_bytes"`
	BehindSeconds   float64     `json:"behind_seconds"`
	InPerSec        float64     `json:"in_lines_per_sec"`
	OutPerSec       float64     `json:"out_lines_per_sec"`
	Limit           int64       `json:"limit"`
	ThrottlePercent int         `json:"throttled_percent"`
	Config          string      `json:"config"`
	Desired         int64       `json:"desired_revision"`
	Running         int64       `json:"running_revision"`
	Refused         int64       `json:"refused_revision"` // the last one; 0: none
	Drifting        *int        `json:"drifting"`         // entries not as wanted; null: not known
	GoneLeast       float64     `json:"gone_at_least_seconds,omitempty"`
	Groups          []string    `json:"groups"`
	Documents       []docOut    `json:"documents"`
	Entries         []entryOut  `json:"entries"`
}

// docOut is one document that a host follows.
type docOut struct {
	Name    string `json:"name"` // the host, one of its addresses, or @group
	Key     string `json:"key,omitempty"`
	Config  string `json:"config"`
	Desired int64  `json:"desired_revision"`
	Running int64  `json:"running_revision"`
	Refused int64  `json:"refused_revision"` // the last one; 0: none
	Error   string `json:"error,omitempty"`  // why it was refused
}

// entryOut is one entry of a host.
type entryOut struct {
	Service  string      `json:"service"`
	LogPath  string      `json:"log_path"`
	Origin   string      `json:"origin"`    // what holds it: the host, one of its addresses, or @group
	SendRate int64       `json:"send_rate"` // 0 also of an entry that stands in no document, or in a broken one
	State    agent.State `json:"state"`
	Age      *float64    `json:"age_seconds"` // since the agent told of it; null: it did not, or not known when
	Drift    string      `json:"drift"`       // none, pending, refused, missing, unwanted, unknown
	Cause    string      `json:"cause,omitempty"`

	unwritten bool // nobody knows what is written of it: SendRate means nothing
}

func configWord(c store.Config) string {
	switch c {
	case store.ConfigRunning:
		return "running"
	case store.ConfigPending:
		return "pending"
	case store.ConfigRefused:
		return "refused"
	default:
		return "unknown"
	}
}

// table writes the hosts, and their entries where they are wanted.
func (r *statusRound) table(to io.Writer, rows []store.HostRow) {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tSTATE\tFILES\tLAG\tBEHIND\tIN/s\tOUT/s\tCONFIG\tDESIRED\tRUNNING\tREFUSED\tDRIFT\tAGE\tPROBLEM")
	for i := range rows {
		writeHost(w, &rows[i])
	}
	_ = w.Flush() // into a buffer
	if !r.ofEntries(rows) || len(rows) == 0 {
		return
	}
	fmt.Fprintln(to)
	fmt.Fprintln(w, "HOST\tSERVICE\tLOG_PATH\tORIGIN\tRATE\tSTATE\tDRIFT\tAGE\tCAUSE")
	for i := range rows {
		for _, e := range entriesOf(&rows[i], r.store.Told(rows[i].Host)) {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", termsafe.Clean(rows[i].Host), termsafe.Clean(e.Service), termsafe.Clean(e.LogPath),
				termsafe.Clean(originWord(e.Origin, rows[i].Host)), rateWord(e), e.State, e.Drift, ageWord(e.Age), termsafe.Line(e.Cause))
		}
	}
	_ = w.Flush()
}

// originWord is where an entry is written, seen from its host.
func originWord(origin, host string) string {
	if origin == host {
		return "host"
	}
	return origin
}

func rateWord(e entryOut) string {
	switch {
	case e.unwritten:
		return "-"
	case e.SendRate == 0:
		return "none"
	}
	return fmt.Sprint(e.SendRate)
}

func ageWord(seconds *float64) string {
	if seconds == nil {
		return "-"
	}
	return store.Compact(time.Duration(*seconds * float64(time.Second)))
}

func writeHost(w io.Writer, r *store.HostRow) {
	host, problem := termsafe.Clean(r.Host), termsafe.Line(r.Problem)
	desired, running, refused := revisionsWord(r)
	config := fmt.Sprintf("%s\t%s\t%s\t%s\t%s", configWord(r.Config), desired, running, refused, driftWord(r))
	if !r.HasStatus {
		fmt.Fprintf(w, "%s\t%s\t-\t-\t-\t-\t-\t%s\t-\t%s\n", host, r.State, config, problem)
		return
	}
	behind := r.BehindFor.Round(time.Second).String()
	if r.BehindAtLeast {
		behind = "≥" + behind
	}
	fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%.0f\t%.0f\t%s\t%s\t%s\n", host, r.State, r.Files, bytesWord(r.LagBytes), behind,
		r.In, r.Out, config, r.Age.Round(100*time.Millisecond), problem)
}

// revisionsWord is the revisions of the host's own document, and of others where they differ.
func revisionsWord(r *store.HostRow) (desired, running, refused string) {
	var d, n, x []string
	// A host without a document of its own is told by those of others.
	own := len(r.Documents) == 1 || len(r.Documents) > 0 && (r.Documents[0].Desired != 0 || r.Documents[0].Running != 0 || r.Documents[0].Refused != 0)
	for i := range r.Documents {
		o := &r.Documents[i]
		if i == 0 && !own {
			continue
		}
		if i > 0 && own && (o.Config == store.ConfigRunning || o.Desired == o.Running) && o.Refused == 0 {
			continue
		}
		name := ""
		if i > 0 {
			name = termsafe.Clean(o.Name) + " "
		}
		word := func(rev int64) string {
			if rev == 0 {
				return name + "-"
			}
			return fmt.Sprintf("%s%d", name, rev)
		}
		d, n = append(d, word(o.Desired)), append(n, word(o.Running))
		if o.Refused != 0 {
			x = append(x, word(o.Refused))
		}
	}
	return orDash(strings.Join(d, ", ")), orDash(strings.Join(n, ", ")), orDash(strings.Join(x, ", "))
}

func driftWord(r *store.HostRow) string {
	if n := drifting(r); n != nil {
		return fmt.Sprint(*n)
	}
	return "?"
}

// drifting is how many entries are not as wanted; nil: not known.
func drifting(r *store.HostRow) *int {
	if r.Drifting == 0 && slices.ContainsFunc(r.Entries, func(e store.Entry) bool { return e.Drift == store.DriftUnknown }) {
		return nil
	}
	if r.Drifting == 0 && (r.Config == store.ConfigUnknown || r.Config == store.ConfigRefused) {
		return nil
	}
	return &r.Drifting
}

const driftUnwanted = "unwanted"

// freshDetail is how old a detail may be whose entries are as their host is now.
const freshDetail = 5 * time.Second

// entriesOf are the wanted entries of a host with what its agent told of each, and those that
// run on of a broken document, or are not wanted.
func entriesOf(r *store.HostRow, last store.Told) []entryOut {
	told := make(map[string]*agent.CoarseEntry, len(last.Entries))
	for i := range last.Entries {
		told[last.Entries[i].LogPath] = &last.Entries[i]
	}
	late := !last.Detail || last.Age > freshDetail
	take := func(one *entryOut, t *agent.CoarseEntry) {
		if last.Age >= 0 {
			age := last.Age.Seconds()
			one.Age = &age
		}
		if r.Stale || r.Live == nil && !r.HasStatus {
			return
		}
		one.State, one.Cause = t.State, t.Cause
		if late && r.HasStatus && r.Behind > 0 && t.State == agent.StateOK && t.Files > 0 {
			one.State, one.Cause = agent.StateUnknown, "its host is behind, in this entry or in another"
		}
	}
	out := make([]entryOut, 0, len(r.Entries)+len(r.Held)+len(r.Unwanted))
	for i := range r.Entries {
		e := &r.Entries[i]
		one := entryOut{Service: e.Service.Service, LogPath: e.Service.LogPath, Origin: e.DocHost, SendRate: e.Service.SendRate,
			State: agent.StateUnknown, Drift: e.Drift.String()}
		if t := told[e.Service.LogPath]; t != nil {
			take(&one, t)
		}
		if why := whyDrift(r, e.DocHost, e.Drift); why != "" {
			one.Cause = strings.TrimPrefix(one.Cause+"; "+why, "; ")
		}
		out = append(out, one)
	}
	unwritten := func(t *agent.CoarseEntry, drift string) *entryOut {
		out = append(out, entryOut{Service: t.Service, LogPath: t.LogPath, Origin: r.Host, State: agent.StateUnknown, Drift: drift, unwritten: true})
		one := &out[len(out)-1]
		for _, d := range r.Documents {
			if t.Key != "" && d.Key == t.Key {
				one.Origin = d.Name
			}
		}
		if now := told[t.LogPath]; now != nil {
			t = now
		}
		take(one, t)
		return one
	}
	for i := range r.Held {
		one := unwritten(&r.Held[i], store.DriftRefused.String())
		one.Cause = strings.TrimPrefix(one.Cause+"; "+whyDrift(r, one.Origin, store.DriftRefused), "; ")
	}
	for i := range r.Unwanted {
		unwritten(&r.Unwanted[i], driftUnwanted)
	}
	return out
}

// whyDrift says why an entry does not run as wanted, where more is known than the word.
func whyDrift(r *store.HostRow, document string, drift store.Drift) string {
	for _, d := range r.Documents {
		switch {
		case d.Name != document:
		case drift == store.DriftRefused && d.Running != 0:
			return fmt.Sprintf("rev %d refused: %s; rev %d runs", d.Refused, d.Error, d.Running)
		case drift == store.DriftRefused:
			return fmt.Sprintf("rev %d refused: %s", d.Refused, d.Error)
		case drift == store.DriftPending && d.Running != d.Desired:
			return fmt.Sprintf("rev %d runs, rev %d is wanted", d.Running, d.Desired)
		}
	}
	return ""
}

func jsonOf(r *store.HostRow, told store.Told) hostOut {
	o := hostOut{
		Host: r.Host, State: r.State, Problem: r.Problem, Live: r.Live != nil, Stale: r.Stale,
		Files: r.Files, Failing: r.Failing, LagBytes: r.LagBytes, BehindSeconds: r.BehindFor.Seconds(),
		InPerSec: r.In, OutPerSec: r.Out, Limit: r.Limit, ThrottlePercent: r.Throttle,
		Config: configWord(r.Config), Desired: r.Desired, Running: r.Running, Refused: r.Refused, Drifting: drifting(r),
		GoneLeast: r.Gone.Seconds(), Groups: append([]string{}, r.Groups...), Documents: []docOut{}, Entries: entriesOf(r, told),
	}
	for _, d := range r.Documents {
		o.Documents = append(o.Documents, docOut{Name: d.Name, Key: d.Key, Config: configWord(d.Config), Desired: d.Desired, Running: d.Running, Refused: d.Refused, Error: d.Error})
	}
	if r.HasStatus {
		age := r.Age.Seconds()
		o.AgeSeconds = &age
	}
	return o
}

// bytesWord writes a size as people say it.
func bytesWord(n int64) string {
	v, unit := float64(n), "B"
	for _, next := range []string{"kB", "MB", "GB", "TB"} {
		if v < 1000 {
			break
		}
		v, unit = v/1000, next
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}
