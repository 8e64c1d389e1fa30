package main

import (
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
)

// rolloutFlags say how a change of several documents goes out.
type rolloutFlags struct {
	canary, wave int
	healthy      time.Duration
	growth       sizeFlag
	given        func(flag string) bool
}

func (r *rolloutFlags) add(c *cobra.Command) {
	r.given = c.Flags().Changed
	r.healthy, r.growth = time.Minute, 64<<20
	c.Flags().IntVar(&r.canary, "canary", 0, "to this `MANY` hosts first; go on in waves once they run it and stay well")
	c.Flags().IntVar(&r.wave, "wave", 0, "hosts of each wave behind the canary (default: a tenth of them)")
	c.Flags().DurationVar(&r.healthy, "healthy", r.healthy, "how long the hosts of a wave must be well before the next")
	c.Flags().Var(&r.growth, "max-lag-growth", "by how much a host's lag may grow in that time: a `SIZE`; -1 for any")
}

// set tells whether the change goes out in waves.
func (r *rolloutFlags) set() bool { return r.canary > 0 }

func (r *rolloutFlags) check() error {
	switch {
	case r.canary < 0 || r.wave < 0:
		return usage("--canary and --wave are numbers of hosts, from 0")
	case r.canary > 0 && r.healthy <= 0:
		return usage("--healthy %s: a time above 0, such as 60s", r.healthy)
	case r.canary == 0 && r.wave > 0:
		return usage("--wave is for what goes out behind a --canary")
	case r.canary == 0 && (r.given("healthy") || r.given("max-lag-growth")):
		return usage("--healthy and --max-lag-growth are what a --canary is held to: how many hosts go first?")
	}
	return nil
}

// options of a change set. Of the library's numbers 0 means the default.
func (r *rolloutFlags) options(m change.Meta) etcdcfg.StartOptions {
	o := etcdcfg.StartOptions{Meta: m, Canary: r.canary, Wave: r.wave, Healthy: r.healthy, MaxLagGrowthBytes: int64(r.growth)}
	if o.MaxLagGrowthBytes == 0 {
		o.MaxLagGrowthBytes = 1 // 0 would mean the default: no more than a byte comes next
	}
	return o
}

// sizeFlag is a number of bytes on the command line; -1 is any.
type sizeFlag int64

var _ pflag.Value = (*sizeFlag)(nil)

func (f *sizeFlag) Set(text string) error {
	if text == "-1" {
		*f = -1
		return nil
	}
	n, err := parseSize(text, 0, 1<<50)
	*f = sizeFlag(n)
	return err
}

func (f *sizeFlag) String() string {
	if n := int64(*f); n >= 1<<20 && n%(1<<20) == 0 {
		return strconv.FormatInt(n>>20, 10) + "MiB"
	}
	return strconv.FormatInt(int64(*f), 10)
}

func (*sizeFlag) Type() string { return "SIZE" }
