package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/agent"
)

// What a fleet must keep to: see the budget of etcd in the page.
const (
	mostRenewals = 500 // a second, whatever the fleet's size
	mostWrites   = 0   // while nothing changes
)

// rows are what is measured, in their order: each finds things as the one before left them.
func (f *fleet) rows() []fleetRow {
	o := &f.o
	return []fleetRow{
		{"start", fmt.Sprintf("All agents start, %.0f a second; each has a connection of its own to etcd. Live: its live key stands. "+
			"Told: its first status stands. Then until each status tells of all documents and entries, and how much was written for that.", o.Ramp), f.measureStart},
		{"quiet", fmt.Sprintf("Nothing changes for %v, and no console looks. Agents keep their leases, watch their keys, read them again now and then, "+
			"and tell Kafka their summaries. By etcd's own metrics, and by the clocks of the processes.", o.Quiet), f.measureQuiet},
		{"one change", fmt.Sprintf("The send_rate of one entry of one host, %d times, one after the other, at hosts picked at random, by the console's own way of writing. "+
			"From the moment before the write is asked for: until etcd has answered, until the host's Apply was called, and until the console's store has the status that says so.",
			o.Changes), f.measureOne},
		{"change set", fmt.Sprintf("The send_rate of one entry on %d hosts picked at random, as one change set: read, planned, recorded and carried out, "+
			"from its start on.", o.Set), f.measureSet},
		{"document of a group", "The send_rate of an entry of a group, to which a tenth of the fleet belongs. Agents wait up to a second at random before they tell of a document " +
			"that others share.", f.measureGroup(fleetPart(0), fleetPart(0), func(i int) bool { return i%fleetParts == 0 })},
		{"document of all", "The same for the group of all hosts: the most that one write can set off.", f.measureGroup(fleetAll, "auth", func(int) bool { return true })},
		{"history", fmt.Sprintf("What these changes left below %s.history and %s.changes, keys and values, as an etcd without compaction holds them, "+
			"and what an hour would leave in which operators make %d changes of one host; then with a change set as above in it.", f.layout.Root(), f.layout.Root(), hourlyChanges), f.measureHistory},
		{"console", "A process with the console's store and feeds: how long until every host is in it as wanted with numbers of its own, and the memory that nothing but the store " +
			"refers to once the feeds have ended. Then the real program on a terminal of " + fmt.Sprintf("%d by %d", fleetCols, fleetRows) +
			", from the start of its process until the screen counts some host, all of them, and none whose numbers are not fresh; and logagent status.", f.measureConsole},
	}
}

const startPatience = 5 * time.Minute

func (f *fleet) measureStart(ctx context.Context) (out outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	began := time.Now()
	if err := f.startAgents(ctx); err != nil {
		return out, err
	}
	before, err := readEtcdCounts(ctx, f.etcdAddr)
	if err != nil {
		return out, err
	}
	var live, told, whole time.Duration
	for _, step := range []struct {
		took *time.Duration
		lack func(context.Context) (string, error)
	}{
		{&live, f.lackOf(f.layout.Live(""))},
		{&told, f.lackOf(f.layout.Status(""))},
		{&whole, f.untold},
	} {
		if err := f.untilNoLack(ctx, step.lack); err != nil {
			return out, err
		}
		*step.took = time.Since(began)
	}
	if err := f.settle(ctx); err != nil {
		return out, err
	}
	after, err := readEtcdCounts(ctx, f.etcdAddr)
	if err != nil {
		return out, err
	}
	state, err := f.agentsState(ctx)
	if err != nil {
		return out, err
	}
	out.figures = []figure{
		measured("agents", hostCount, float64(state.Agents), nil),
		measured("until all are live", seconds, live.Seconds(), nil),
		measured("until all have told", seconds, told.Seconds(), nil),
		measured("until nothing is left to tell", seconds, whole.Seconds(), nil),
		measured("keys written, by each", countless, (after.puts-before.puts)/float64(f.o.Hosts), nil),
		measured("bytes written, by each", kilobytes, (after.putBytes-before.putBytes)/1e3/float64(f.o.Hosts), nil),
	}
	return out, state.wrong()
}

// lackOf tells of hosts without a key below a prefix.
func (f *fleet) lackOf(prefix string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		n, err := f.count(ctx, prefix)
		if err != nil || n >= f.o.Hosts {
			return "", err
		}
		return fmt.Sprintf("%d of %d hosts have a key below %s", n, f.o.Hosts, prefix), nil
	}
}

// untold tells of hosts whose status does not say all that there is to say.
func (f *fleet) untold(ctx context.Context) (string, error) {
	for from, end := f.layout.Status(""), clientv3.GetPrefixRangeEnd(f.layout.Status("")); ; {
		r, err := f.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(statusesAtOnce))
		if err != nil {
			return "", fmt.Errorf("read the statuses: %w", err)
		}
		for _, kv := range r.Kvs {
			var c agent.Coarse
			if err := json.Unmarshal(kv.Value, &c); err != nil {
				return "", fmt.Errorf("%s: %w", kv.Key, err)
			}
			if lack := lackIn(&c); lack != "" {
				return fmt.Sprintf("%s: %s", c.Host, lack), nil
			}
		}
		if !r.More {
			return "", nil
		}
		from = string(r.Kvs[len(r.Kvs)-1].Key) + "\x00"
	}
}

const statusesAtOnce = 500 // statuses in one read

// lackIn says what a status does not tell yet.
func lackIn(c *agent.Coarse) string {
	if len(c.Entries) != fleetEntries {
		return fmt.Sprintf("%d entries of %d", len(c.Entries), fleetEntries)
	}
	for _, d := range c.Documents {
		if d.Running == 0 {
			return "nothing runs of " + d.Key
		}
	}
	if !c.Seen {
		return "no word of its seen key"
	}
	return ""
}

// untilNoLack waits until nothing is lacking.
func (f *fleet) untilNoLack(ctx context.Context, lack func(context.Context) (string, error)) error {
	last := "nothing is known"
	for {
		what, err := lack(ctx)
		switch {
		case err == nil && what == "":
			return nil
		case err == nil:
			last = what
		case ctx.Err() == nil:
			return err
		}
		select {
		case <-ctx.Done():
			after := context.WithoutCancel(ctx)
			state, err := f.agentsState(after)
			return errors.Join(fmt.Errorf("after %v: %s", startPatience, last), state.wrong(), err)
		case <-time.After(lookAgain):
		}
	}
}

// How long a start's last writes may take, and how long none must come to call it over.
const (
	settlePatience = 2 * time.Minute
	settledFor     = 5 * time.Second
)

// settle waits until etcd's revision stands still.
func (f *fleet) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	var last int64
	since := time.Now()
	for {
		revision, err := f.revision(ctx)
		if err != nil {
			return err
		}
		if revision != last {
			last, since = revision, time.Now()
		}
		if time.Since(since) >= settledFor {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("etcd is still written to %v after the last change: %w", settlePatience, ctx.Err())
		case <-time.After(lookAgain):
		}
	}
}

func (f *fleet) measureQuiet(ctx context.Context) (out outcome, err error) {
	pids := []int{f.etcd.pid(), f.kafka.pid()}
	const firstAgents = 2 // in pids
	for _, c := range f.agents {
		pids = append(pids, c.pid())
	}
	revision, err := f.revision(ctx)
	if err != nil {
		return out, err
	}
	before, err := readEtcdCounts(ctx, f.etcdAddr)
	if err != nil {
		return out, err
	}
	w, err := beginWatch(pids...)
	if err != nil {
		return out, err
	}
	after, most, err := f.watchRenewals(ctx, before)
	if err != nil {
		return out, err
	}
	if out.machine, err = w.end(); err != nil {
		return out, err
	}
	standing, err := f.revision(ctx)
	if err != nil {
		return out, err
	}
	var rss int64
	for _, pid := range pids[firstAgents:] {
		n, err := currentRSS(pid)
		if err != nil {
			return out, err
		}
		rss += n
	}
	etcdRSS, err := currentRSS(pids[0])
	if err != nil {
		return out, err
	}
	state, err := f.agentsState(ctx)
	if err != nil {
		return out, err
	}
	var agentsCPU float64
	for i := firstAgents; i < len(pids); i++ {
		agentsCPU += out.machine.percent(i)
	}
	n, wall := float64(f.o.Hosts), after.at.Sub(before.at).Seconds()
	rate := func(name string, to, from float64, a *aim) figure { return measured(name, perSec, (to-from)/wall, a) }
	out.figures = []figure{
		rate("lease renewals", after.renewals, before.renewals, atMost(mostRenewals)),
		measured("lease renewals, busiest second", perSec, most, nil),
		measured("revisions written", countless, float64(standing-revision), atMost(mostWrites)),
		measured("keys written", countless, after.puts-before.puts, atMost(mostWrites)),
		measured("leases granted", countless, after.grants-before.grants, atMost(mostWrites)),
		measured("watch events", countless, after.events-before.events, atMost(mostWrites)),
		rate("reads", after.ranges, before.ranges, nil),
		measured("watches", countless, after.watches, nil),
		measured("etcd CPU", percent, out.machine.percent(0), nil),
		measured("etcd RSS", megabytes, float64(etcdRSS)/1e6, nil),
		measured("etcd RSS, by agents", kilobytes, float64(etcdRSS)/1e3/n, nil),
		measured("agents' CPU, of 1,000", percent, agentsCPU/n*1000, nil),
		measured("agents' RSS, of each", kilobytes, float64(rss)/1e3/n, nil),
		measured("live heap, of each", kilobytes, float64(state.HeapBytes)/1e3/n, nil),
		measured("stacks, of each", kilobytes, float64(state.StackBytes)/1e3/n, nil),
		measured("goroutines, of each", countless, float64(state.Goroutines)/n, nil),
	}
	if state.Unsent > 0 {
		err = fmt.Errorf("%d summaries were not taken: %s", state.Unsent, state.SendFailure)
	}
	return out, errors.Join(err, f.moved(ctx, revision, standing), state.wrong())
}

// watchRenewals lets the quiet pass, and returns what etcd counts after it and how many
// leases were renewed in the busiest second.
func (f *fleet) watchRenewals(ctx context.Context, before etcdCounts) (last etcdCounts, most float64, err error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for last = before; last.at.Sub(before.at) < f.o.Quiet; {
		select {
		case <-ctx.Done():
			return last, most, ctx.Err()
		case <-tick.C:
		}
		now, err := readEtcdCounts(ctx, f.etcdAddr)
		if err != nil {
			return last, most, err
		}
		most = max(most, (now.renewals-last.renewals)/now.at.Sub(last.at).Seconds())
		last = now
	}
	return last, most, nil
}

// revision is where etcd stands.
func (f *fleet) revision(ctx context.Context) (int64, error) {
	r, err := f.client.Get(ctx, "none", clientv3.WithKeysOnly())
	if err != nil {
		return 0, fmt.Errorf("revision of etcd: %w", err)
	}
	return r.Header.Revision, nil
}

// moved says what was written between two revisions that should be one.
func (f *fleet) moved(ctx context.Context, from, to int64) error {
	if from == to {
		return nil
	}
	r, err := f.client.Get(ctx, f.layout.Root(), clientv3.WithPrefix(), clientv3.WithMinModRev(from+1), clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("revision of etcd: %w", err)
	}
	var keys []string
	for _, kv := range r.Kvs[:min(len(r.Kvs), keptComplaints)] {
		keys = append(keys, string(kv.Key))
	}
	return fmt.Errorf("etcd moved from revision %d to %d while nothing changed: %d keys were written and not deleted, for example %s",
		from, to, len(r.Kvs), strings.Join(keys, ", "))
}

// consoleReady starts the console's process, where it does not run, and waits until its
// store has every host.
func (f *fleet) consoleReady(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	if f.console == nil {
		var hello bool
		c, err := startChild(ctx, "console", &hello, fleetConsoleVerb, "-etcd", f.etcdAddr, "-kafka", f.kafkaAddr)
		if err != nil {
			return 0, err
		}
		f.console = c
	}
	err := f.console.ask(ctx, "ready", readyWith{f.o.Hosts}, nil)
	return time.Since(began), err
}

// applied asks all agents what they were given since they were asked last.
func (f *fleet) applied(ctx context.Context) (map[appliedAt]int64, error) {
	all := make(map[appliedAt]int64)
	for _, c := range f.agents {
		var some []appliedAt
		if err := c.ask(ctx, "applied", nil, &some); err != nil {
			return nil, err
		}
		for _, a := range some {
			all[appliedAt{Host: a.Host, Key: a.Key, Revision: a.Revision}] = a.Nano
		}
	}
	return all, nil
}

// latencies are how long changes took, each from before its write was asked for.
type latencies struct {
	written, applied, seen histogram
}

// latenciesOf joins what the console and the agents noted. A change that no Apply was given
// is an error.
func latenciesOf(made []changeMade, applied map[appliedAt]int64) (l latencies, err error) {
	for _, m := range made {
		at, ok := applied[appliedAt{Host: m.Host, Key: m.Key, Revision: m.Revision}]
		if !ok {
			return l, fmt.Errorf("%s was never given revision %d of %s", m.Host, m.Revision, m.Key)
		}
		l.written.add(time.Duration(m.Wrote - m.Began))
		l.applied.add(time.Duration(at - m.Began))
		l.seen.add(time.Duration(m.Seen - m.Began))
	}
	return l, nil
}

// figures of the latencies of single changes.
func (l *latencies) figures() []figure {
	return append(quantiles("write", &l.written), l.arrivals()...)
}

// arrivals are the figures of what follows the write.
func (l *latencies) arrivals() []figure {
	return append(quantiles("to Apply", &l.applied), quantiles("to applied, as the console sees it", &l.seen)...)
}

func quantiles(name string, h *histogram) []figure {
	ms := func(d time.Duration) float64 { return float64(d) / 1e6 }
	return []figure{
		measured(name+", p50", millis, ms(h.quantile(0.5)), nil),
		measured(name+", p99", millis, ms(h.quantile(0.99)), nil),
		measured(name+", max", millis, ms(h.max), nil),
	}
}

// change has the console make changes, and joins what it and the agents noted.
func (f *fleet) change(ctx context.Context, do string, with any) (l latencies, made []changeMade, err error) {
	if _, err := f.consoleReady(ctx); err != nil {
		return l, nil, err
	}
	if _, err := f.applied(ctx); err != nil { // what came before
		return l, nil, err
	}
	if err := f.console.ask(ctx, do, with, &made); err != nil {
		return l, nil, err
	}
	applied, err := f.applied(ctx)
	if err != nil {
		return l, nil, err
	}
	l, err = latenciesOf(made, applied)
	return l, made, err
}

func (f *fleet) measureConsole(ctx context.Context) (out outcome, err error) {
	if f.console != nil { // a fresh one, as a person would start it
		err := f.console.stop()
		f.console = nil
		if err != nil {
			return out, err
		}
	}
	ready, err := f.consoleReady(ctx)
	if err != nil {
		return out, err
	}
	rss, err := currentRSS(f.console.pid())
	if err != nil {
		return out, err
	}
	var heap consoleHeap
	if err := f.console.ask(ctx, "heap", nil, &heap); err != nil {
		return out, err
	}
	err = f.console.stop()
	f.console = nil
	if err != nil {
		return out, err
	}
	if heap.Rows != f.o.Hosts {
		return out, fmt.Errorf("the store had %d hosts of %d when it was measured", heap.Rows, f.o.Hosts)
	}
	screen, err := f.measureScreen(ctx)
	if err != nil {
		return out, err
	}
	status, err := f.measureStatus(ctx)
	if err != nil {
		return out, err
	}
	out.figures = []figure{
		measured("store alone, heap", megabytes, float64(heap.Store)/1e6, nil),
		measured("store alone, heap of a host", kilobytes, float64(heap.Store)/1e3/float64(heap.Rows), nil),
		measured("store and feeds, RSS", megabytes, float64(rss)/1e6, nil),
		measured("store complete after", seconds, ready.Seconds(), nil),
		measured("first screen with a host", seconds, screen.first.Seconds(), nil),
		measured("screen with all hosts", seconds, screen.all.Seconds(), nil),
		measured("screen, all numbers fresh", seconds, screen.heard.Seconds(), nil),
		measured("console, RSS", megabytes, float64(screen.rss)/1e6, nil),
		measured("console, peak RSS", megabytes, float64(screen.peak)/1e6, nil),
		measured("logagent status", seconds, status.Seconds(), nil),
	}
	return out, nil
}
