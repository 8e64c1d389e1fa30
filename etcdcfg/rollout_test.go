package etcdcfg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"logagent/etcdcfg/change"
)

// hosts are agents as a rollout sees them: each runs at once what etcd holds for it, unless
// the test says otherwise.
type hosts struct {
	c *Client

	mu sync.Mutex // guards all below
	// change alters how a host is told of; nil leaves it.
	change func(h *HostHealth)
	looks  int
	err    error
	// told counts the looks at a host since it runs a revision: each finds a new status, unless
	// it is told how many looks one lasts.
	told map[string]heardOf
	slow int
}

type heardOf struct {
	revision int64
	looks    int
}

func (h *hosts) health(ctx context.Context, names []string) ([]HostHealth, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.looks++
	if h.err != nil {
		return nil, h.err
	}
	docs, _, err := h.c.Documents(ctx, func(name string) bool { return slices.Contains(names, name) })
	if err != nil {
		return nil, err
	}
	running := make(map[string]int64)
	for _, d := range docs {
		running[d.Name] = d.Revision
	}
	var out []HostHealth
	for _, name := range names {
		if h.told == nil {
			h.told = make(map[string]heardOf)
		}
		at := h.told[name]
		if at.revision != running[name] {
			at = heardOf{revision: running[name]}
		}
		at.looks++
		h.told[name] = at
		health := HostHealth{Host: name, Running: map[string]int64{h.c.layout.Config(name): running[name]}, Failing: 1, LagBytes: 1000, Fresh: true,
			Samples: at.looks / max(h.slow, 1)}
		if h.change != nil {
			h.change(&health)
		}
		out = append(out, health)
	}
	return out, nil
}

func (h *hosts) set(change func(*HostHealth)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.change = change
}

func changed(set ChangeSet) []string {
	var names []string
	for _, o := range set.Outcomes {
		if o.State == StepDone {
			names = append(names, o.Name)
		}
	}
	return names
}

func rolloutClient(t *testing.T) *Client {
	t.Helper()
	c := newClient(t, shared.Addr())
	c.timing.poll = 5 * time.Millisecond
	c.timing.driverTTL = 1
	return c
}

func TestRolloutGoesToTheCanaryFirstAndThenInWavesThatEachStayWell(t *testing.T) {
	t.Parallel()
	c := rolloutClient(t)
	names := fleetOf(t, shared, c, 23)
	h := &hosts{c: c}
	h.set(func(h *HostHealth) { // no canary: silent, or refusing already
		h.Fresh = h.Host != names[0]
		if h.Host == names[1] {
			h.Refused = "an older document"
		}
	})
	id := begin(t, c, planRate(t, c, 2), StartOptions{Meta: change.Meta{Who: alice}, Canary: 2, Healthy: 100 * time.Millisecond, MaxLagGrowthBytes: 100})
	if set := changeSet(t, c, id); set.Done != 0 || set.Atomic {
		t.Fatalf("want nothing written yet, got %+v", set)
	}
	if _, err := c.Drive(t.Context(), id, DriveOptions{}); err == nil {
		t.Error("a rollout went on without knowing how hosts are")
	}
	written := make(map[int][]string) // hosts that had the change while a wave was watched
	watched := make(map[int]time.Time)
	set, err := c.Drive(t.Context(), id, DriveOptions{Health: h.health, Progress: func(s ChangeSet) {
		if !strings.Contains(s.Doing, "all run it") || !watched[s.Rollout.Current].IsZero() {
			return
		}
		if last := watched[s.Rollout.Current-1]; !last.IsZero() && time.Since(last) < 100*time.Millisecond {
			t.Errorf("wave %d came %v after the one before", s.Rollout.Current, time.Since(last))
		}
		watched[s.Rollout.Current] = time.Now()
		written[s.Rollout.Current] = changed(changeSet(t, c, id))
	}})
	if err != nil {
		t.Fatal(err)
	}
	everyHostOnce(t, shared, c, set, names, 2)
	if got := written[1]; !slices.Equal(got, names[2:4]) {
		t.Errorf("want the canary on %v, got %v", names[2:4], got)
	}
	// Of the 21 that are left a tenth, which is three.
	if len(watched) != 8 || len(written[2]) != 5 || len(written[3]) != 8 || len(written[8]) != 23 {
		t.Errorf("want waves of three, got %v", written)
	}
	for _, o := range set.Outcomes {
		if o.Unwatched != (o.Name == names[0]) || (o.Wave == 1) != (o.Name == names[2] || o.Name == names[3]) {
			t.Errorf("got %+v", o)
		}
	}
}

func TestRolloutStopsByItselfWhereTheCanaryFails(t *testing.T) {
	t.Parallel()
	for what, s := range map[string]struct {
		fail func(*HostHealth)
		says string
	}{
		"refused": {func(h *HostHealth) {
			h.Refused = "entry 1: topic: no such topic"
			h.Running = nil
		}, "canary: web-0000 refused the document: entry 1: topic: no such topic"},
		"failing file": {func(h *HostHealth) { h.Failing++ }, "canary: web-0000 has 2 failing files, before the change it had 1"},
		"growing lag":  {func(h *HostHealth) { h.LagBytes += 101 }, "canary: the lag of web-0000 grew by 101 bytes to 1101, more than 100"},
		"silence":      {func(h *HostHealth) { h.Fresh = false }, "canary: web-0000 has had no fresh status for 50ms"},
		"never taken up": {func(h *HostHealth) { h.Running = map[string]int64{} },
			"canary: web-0000 does not run revision"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			c := rolloutClient(t)
			names := fleetOf(t, shared, c, 12)
			h := &hosts{c: c}
			id := begin(t, c, planRate(t, c, 2), StartOptions{Meta: change.Meta{Who: alice}, Canary: 1, Healthy: 300 * time.Millisecond, MaxLagGrowthBytes: 100})
			o := DriveOptions{Health: h.health, Silence: 50 * time.Millisecond, Apply: 100 * time.Millisecond, Progress: func(set ChangeSet) {
				if set.Done > 0 { // it was well before
					h.set(func(h *HostHealth) {
						if h.Host == names[0] {
							s.fail(h)
						}
					})
				}
			}}
			set, err := c.Drive(t.Context(), id, o)
			if err != nil {
				t.Fatal(err)
			}
			if set.State != StateStopped || !strings.HasPrefix(set.Reason, s.says) || !slices.Equal(changed(set), names[:1]) {
				t.Fatalf("want %q, got %s, %q, changed %v", s.says, set.State, set.Reason, changed(set))
			}
			if got := changeSet(t, c, id); got.State != StateStopped || got.Reason != set.Reason || got.Driver != "" {
				t.Errorf("want it recorded, got %+v", got)
			}
			// As long as it fails, no other host is touched.
			if set, err = c.Drive(t.Context(), id, o); err != nil || set.State != StateStopped || set.Done != 1 {
				t.Errorf("taken up: got %s, %d, %v", set.State, set.Done, err)
			}
			// One command takes it back.
			back, err := c.Reverse(t.Context(), id, change.Meta{Who: bob})
			if err != nil {
				t.Fatal(err)
			}
			if set := changeSet(t, c, back); set.State != StateDone || set.Done != 1 {
				t.Errorf("got %+v", set)
			}
			for _, name := range names {
				if raw, _ := get(t, shared, c.layout.Config(name)); raw != entry("a", 1) {
					t.Errorf("%s: got %s", name, raw)
				}
			}
		})
	}
}

func TestCanaryPassesOnlyOnWhatItToldSinceItRunsTheDocument(t *testing.T) {
	t.Parallel()
	for _, healthy := range []time.Duration{time.Millisecond, 100 * time.Millisecond} {
		for fails := range 3 { // with which status it shows; 0: never
			t.Run(fmt.Sprint(healthy, fails), func(t *testing.T) {
				t.Parallel()
				c := rolloutClient(t)
				names := fleetOf(t, shared, c, 4)
				// A status comes every 60 looks or so, of 5 ms and more each: what the first ones
				// show is of before the change.
				h := &hosts{c: c, slow: 60}
				id := begin(t, c, planRate(t, c, 2), StartOptions{Canary: 1, Wave: 3, Healthy: healthy})
				first := changeSet(t, c, id).revision // documents of before have a lower one
				h.set(func(h *HostHealth) {
					if fails > 0 && h.Host == names[0] && h.Samples >= fails && h.Running[c.layout.Config(h.Host)] > first {
						h.Failing++
					}
				})
				set, err := c.Drive(t.Context(), id, DriveOptions{Health: h.health})
				if err != nil {
					t.Fatal(err)
				}
				if fails == 0 {
					everyHostOnce(t, shared, c, set, names, 2)
					return
				}
				if set.State != StateStopped || set.Reason != "canary: web-0000 has 2 failing files, before the change it had 1" || !slices.Equal(changed(set), names[:1]) {
					t.Errorf("got %s, %q, changed %v", set.State, set.Reason, changed(set))
				}
			})
		}
	}
}

func TestRolloutStopsWhereALaterWaveFailsAndGoesOnOnceItIsWell(t *testing.T) {
	t.Parallel()
	c := rolloutClient(t)
	names := fleetOf(t, shared, c, 10)
	h := &hosts{c: c}
	id := begin(t, c, planRate(t, c, 2), StartOptions{Canary: 1, Wave: 4, Healthy: 20 * time.Millisecond})
	set, err := c.Drive(t.Context(), id, DriveOptions{Health: h.health, Progress: func(s ChangeSet) {
		if s.Rollout.Current == 2 && s.Done == 5 {
			h.set(func(h *HostHealth) {
				if h.Host == names[3] {
					h.Failing = 5
				}
			})
		}
	}})
	if err != nil || set.State != StateStopped || set.Reason != "wave 1: web-0003 has 5 failing files, before the change it had 1" || set.Done != 5 {
		t.Fatalf("got %s, %q, %d, %v", set.State, set.Reason, set.Done, err)
	}
	h.set(nil)
	if set, err = c.Drive(t.Context(), id, DriveOptions{Health: h.health}); err != nil {
		t.Fatal(err)
	}
	everyHostOnce(t, shared, c, set, names, 2)
}

func TestRolloutStopsWhereSomebodyElseChangesTheCanary(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"changed", "deleted"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			c := rolloutClient(t)
			names := fleetOf(t, shared, c, 5)
			h := &hosts{c: c}
			id := begin(t, c, planRate(t, c, 2), StartOptions{Canary: 1, Healthy: time.Hour})
			var once sync.Once
			set, err := c.Drive(t.Context(), id, DriveOptions{Silence: time.Hour, Health: h.health, Progress: func(s ChangeSet) {
				if strings.Contains(s.Doing, "all run it") {
					once.Do(func() {
						if how == "changed" {
							put(t, shared, c.layout.Config(names[0]), entry("a", 77))
						} else {
							remove(t, shared, c.layout.Config(names[0]))
						}
					})
				}
			}})
			if err != nil || set.State != StateStopped || !strings.Contains(set.Reason, "the document of web-0000 was "+how+" by somebody else") || set.Done != 1 {
				t.Fatalf("got %s, %q, %d, %v", set.State, set.Reason, set.Done, err)
			}
		})
	}
}

func TestRolloutWithoutAHostThatCouldBeTheCanaryChangesNothing(t *testing.T) {
	t.Parallel()
	c := rolloutClient(t)
	fleetOf(t, shared, c, 3)
	h := &hosts{c: c, change: func(h *HostHealth) { h.Fresh = false }}
	p := planRate(t, c, 2)
	id := begin(t, c, p, StartOptions{Canary: 1})
	o := DriveOptions{Health: h.health, Silence: 20 * time.Millisecond}
	set, err := c.Drive(t.Context(), id, o)
	if err != nil || set.State != StateStopped || set.Reason != "canary: none of 3 hosts has a fresh status" || set.Done != 0 {
		t.Errorf("got %s, %q, %d, %v", set.State, set.Reason, set.Done, err)
	}
	h.set(func(h *HostHealth) { h.Refused = "something older" })
	set, err = c.Drive(t.Context(), id, o)
	if err != nil || set.State != StateStopped || !strings.Contains(set.Reason, "no host can be the canary") || set.Done != 0 {
		t.Errorf("got %s, %q, %d, %v", set.State, set.Reason, set.Done, err)
	}
	h.err = errors.New("etcd is away")
	if set, err = c.Drive(t.Context(), id, o); err != nil || set.State != StateStopped || set.Done != 0 {
		t.Errorf("got %s, %q, %d, %v", set.State, set.Reason, set.Done, err)
	}
	put(t, shared, c.layout.Config("@web"), entry("a", 1))
	p = planRate(t, c, 2)
	if _, err := c.Start(t.Context(), p, StartOptions{Canary: 1}); err == nil || !strings.Contains(err.Error(), "@web") {
		t.Errorf("want a canary refused for a group, got %v", err)
	}
}

func TestRolloutWhoseDriverDiedGoesOnInTheSameWaveAndWatchesIt(t *testing.T) {
	t.Parallel()
	c := rolloutClient(t)
	names := fleetOf(t, shared, c, 20)
	h := &hosts{c: c}
	id := begin(t, c, planRate(t, c, 2), StartOptions{Canary: 2, Wave: 6, Healthy: 50 * time.Millisecond, MaxLagGrowthBytes: 100})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := c.Drive(ctx, id, DriveOptions{Health: h.health, Progress: func(s ChangeSet) {
		if s.Rollout.Current == 2 && s.Done == 8 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("want the driver's end, got %v", err)
	}
	// What it was before the change still counts: the lag of one grew meanwhile.
	h.set(func(h *HostHealth) {
		if h.Host == names[4] {
			h.LagBytes = 5000
		}
	})
	set, err := c.Drive(t.Context(), id, DriveOptions{Health: h.health})
	if err != nil || set.State != StateStopped || set.Reason != "wave 1: the lag of web-0004 grew by 4000 bytes to 5000, more than 100" || set.Done != 8 {
		t.Fatalf("got %s, %q, %d, %v", set.State, set.Reason, set.Done, err)
	}
	h.set(nil)
	if set, err = c.Drive(t.Context(), id, DriveOptions{Health: h.health}); err != nil {
		t.Fatal(err)
	}
	everyHostOnce(t, shared, c, set, names, 2)
	for i, o := range set.Outcomes {
		want := 1 // of two hosts; the others have six
		if i >= 2 {
			want = 2 + (i-2)/6
		}
		if o.Wave != want {
			t.Errorf("%s: want wave %d, got %d", o.Name, want, o.Wave)
		}
	}
}

func TestRolloutWhoseWatcherLostItsPlaceLeavesTheRestToTheOther(t *testing.T) {
	t.Parallel()
	c := rolloutClient(t)
	fleetOf(t, shared, c, 10)
	h := &hosts{c: c}
	id := begin(t, c, planRate(t, c, 2), StartOptions{Canary: 1, Healthy: time.Hour})
	set, err := c.Drive(t.Context(), id, DriveOptions{Health: h.health, Progress: func(s ChangeSet) {
		if strings.Contains(s.Doing, "all run it") {
			put(t, shared, c.driverKey(id), `{"token":"x","who":{"user":"bob"}}`)
		}
	}})
	if !errors.Is(err, ErrDriven) || set.Done != 1 {
		t.Errorf("want bob named and one done, got %d, %v", set.Done, err)
	}
	if set := changeSet(t, c, id); set.State != StateOpen || set.Rollout.Current != 1 {
		t.Errorf("got %+v", set)
	}
}

func TestCanaryWithAConflictIsReplacedByAnotherHost(t *testing.T) {
	t.Parallel()
	c := rolloutClient(t)
	names := fleetOf(t, shared, c, 6)
	p := planRate(t, c, 2)
	put(t, shared, c.layout.Config(names[0]), entry("a", 50))
	h := &hosts{c: c}
	id := begin(t, c, p, StartOptions{Canary: 1, Healthy: 20 * time.Millisecond})
	set, err := c.Drive(t.Context(), id, DriveOptions{Health: h.health})
	if err != nil || set.State != StateDone || set.Conflicts != 1 || set.Done != 5 {
		t.Fatalf("got %+v, %v", set, err)
	}
	if set.Outcomes[1].Wave != 1 || set.Outcomes[2].Wave != 2 {
		t.Errorf("want the second host as canary, got %+v", set.Outcomes)
	}
}

func TestWaveIsWellOnlyAfterAllHostsWereForTheWholeTime(t *testing.T) {
	t.Parallel()
	key := func(name string) string { return "/x/" + name }
	w := &watch{
		set: &ChangeSet{Rollout: &Rollout{Healthy: 10 * time.Second, MaxLagGrowthBytes: -1}}, key: key,
		wave:   []Outcome{{Name: "a", Revision: 5}, {Name: "b", Deleted: true, Revision: 5}},
		silent: make(map[string]time.Time), mute: make(map[string]time.Time), silence: 5 * time.Second, apply: time.Minute,
	}
	now := time.Now()
	w.began = now
	ok := HostHealth{Fresh: true, Running: map[string]int64{"/x/a": 5}, LagBytes: 1 << 50, Samples: 2}
	once := ok
	once.Samples = 1
	old := HostHealth{Fresh: true, Running: map[string]int64{"/x/a": 4, "/x/b": 4}}
	stale := ok
	stale.Fresh = false
	for i, s := range []struct {
		after time.Duration
		a, b  HostHealth
		done  bool
		says  string
	}{
		{0, old, ok, false, "waiting for the new revision on a"},
		{1 * time.Second, ok, old, false, "waiting for the new revision on b"},
		{1500 * time.Millisecond, once, ok, false, "waiting to hear how it does on a"},
		{2 * time.Second, ok, ok, false, "watching for 10s"},
		{11 * time.Second, ok, ok, false, "watching for 1s"},
		{11500 * time.Millisecond, ok, stale, false, "waiting for a fresh status of b"},
		{12 * time.Second, ok, ok, false, "watching for 10s"}, // from the beginning
		{21 * time.Second, ok, ok, false, "watching for 1s"},
		{22 * time.Second, ok, ok, true, ""},
	} {
		v := w.judge(now.Add(s.after), map[string]HostHealth{"a": s.a, "b": s.b})
		if v.stop != "" || v.done != s.done || !strings.Contains(v.doing, s.says) {
			t.Errorf("step %d: want %v %q, got %+v", i, s.done, s.says, v)
		}
	}
	if v := w.judge(now.Add(22*time.Second), map[string]HostHealth{"a": ok, "b": once}); v.stop != "" || v.done {
		t.Errorf("want it watched on, got %+v", v)
	}
	if v := w.judge(now.Add(82*time.Second), map[string]HostHealth{"a": ok, "b": once}); v.stop != "b runs revision 5 and has not told for 1m0s how it does with it" {
		t.Errorf("want it stopped, got %+v", v)
	}
	if v := w.judge(now.Add(23*time.Second), map[string]HostHealth{"b": ok}); v.stop != "" {
		t.Errorf("a short silence stopped it: %s", v.stop)
	}
	if v := w.judge(now.Add(28*time.Second), map[string]HostHealth{"b": ok}); v.stop != "a has had no fresh status for 5s" {
		t.Errorf("want it stopped for silence, got %+v", v)
	}
}
