package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/ui/store"
	"logagent/ui/termsafe"
)

func (a *app) statusVerb() *cobra.Command {
	var patience time.Duration
	c := a.jsonFlag(&cobra.Command{
		Use:   "status [FILTER…]",
		Short: "Say once how all hosts are",
		Long: `Reads etcd and the status topic once and writes a line for every host, those in trouble
first. A host that does not report while this listens is stale: its numbers are the last
known. FILTER is as in the console: words, lag>1GB, behind>5m, state!=ok, !word. Exit 1
where etcd or Kafka does not answer; hosts in trouble are no failure of this verb.`,
		Args: cobra.ArbitraryArgs,
	})
	c.Flags().DurationVar(&patience, "timeout", 5*time.Second, "how long to wait for every running agent to be heard")
	c.RunE = func(_ *cobra.Command, args []string) error {
		filter, err := store.ParseFilter(strings.Join(args, " "))
		if err != nil {
			return usage("%w", err)
		}
		return a.withEtcd(func(ctx context.Context, s *settings, client *etcdcfg.Client) error {
			return a.status(ctx, s, client, filter, patience)
		})
	}
	return c
}

// status feeds a store as the console does until every running agent was heard, and
// writes what it holds then.
func (a *app) status(ctx context.Context, s *settings, client *etcdcfg.Client, filter store.Filter, patience time.Duration) error {
	f, err := newFleet(s, client, "", slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { f.run(reading, nil) })
	etcdUp, kafkaUp := false, false
	deadline, least := time.Now().Add(patience), time.Time{}
	looking, enough := context.WithCancel(ctx)
	defer enough()
	_ = every(looking, 50*time.Millisecond, func() { // ends with looking only
		now := time.Now()
		etcdUp = etcdUp || client.Link().Up
		if !kafkaUp && f.topic.Link().Up {
			kafkaUp, least = true, now.Add(summaryWait)
			if deadline.Before(least) {
				deadline = least
			}
		}
		o := f.store.Fleet(store.Query{}).Overview
		living, others := unheard(f.store)
		if now.After(deadline) || o.Revision != 0 && kafkaUp && living == 0 && (others == 0 || now.After(least)) {
			enough()
		}
	})
	etcd, kafka := client.Link(), f.topic.Link()
	f.store.DoubtUnheard()
	view := f.store.Fleet(store.Query{Filter: filter, Count: math.MaxInt32})
	stop()
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := a.writeHosts(view.Rows); err != nil {
		return err
	}
	var away []error
	if !etcdUp {
		away = append(away, fmt.Errorf("etcd: %s", naming(s.EtcdAddrs, etcd.Error)))
	}
	if !kafkaUp {
		away = append(away, fmt.Errorf("kafka: %s", naming(s.KafkaAddrs, kafka.Error)))
	}
	return errors.Join(away...)
}

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

func (a *app) writeHosts(rows []store.HostRow) error {
	if a.json {
		out := make([]hostOut, 0, len(rows))
		for i := range rows {
			out = append(out, jsonOf(&rows[i]))
		}
		return a.writeJSON(out)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tSTATE\tFILES\tLAG\tBEHIND\tIN/s\tOUT/s\tCONFIG\tAGE\tPROBLEM")
	for i := range rows {
		writeHost(w, &rows[i])
	}
	return w.Flush()
}

func writeHost(w io.Writer, r *store.HostRow) {
	host, problem := termsafe.Clean(r.Host), termsafe.Line(r.Problem)
	if !r.HasStatus {
		fmt.Fprintf(w, "%s\t%s\t-\t-\t-\t-\t-\t%s\t-\t%s\n", host, r.State, configWord(r.Config), problem)
		return
	}
	behind := r.BehindFor.Round(time.Second).String()
	if r.BehindAtLeast {
		behind = "≥" + behind
	}
	fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%.0f\t%.0f\t%s\t%s\t%s\n", host, r.State, r.Files, bytesWord(r.LagBytes), behind,
		r.In, r.Out, configWord(r.Config), r.Age.Round(100*time.Millisecond), problem)
}

func jsonOf(r *store.HostRow) hostOut {
	o := hostOut{
		Host: r.Host, State: r.State, Problem: r.Problem, Live: r.Live != nil, Stale: r.Stale,
		Files: r.Files, Failing: r.Failing, LagBytes: r.LagBytes, BehindSeconds: r.BehindFor.Seconds(),
		InPerSec: r.In, OutPerSec: r.Out, Limit: r.Limit, ThrottlePercent: r.Throttle,
		Config: configWord(r.Config), Desired: r.Desired, Running: r.Running,
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
