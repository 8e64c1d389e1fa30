package etcdcfg

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// HostHealth is how a host is, as far as its real status tells: what a rollout goes by.
type HostHealth struct {
	Host     string
	Running  map[string]int64 // revision in force, by the document's key; not there or 0: none
	Refused  string           // why a newer document was refused; "" none was
	Failing  int              // files that cannot be read or delivered
	LagBytes int64            // behind the ends of its files
	Fresh    bool             // it has a live agent whose status is of now
	// Samples counts its statuses that were made since it runs what Running tells, and heard as
	// they were made; Failing and LagBytes are of the newest. What runs is known at once, how it
	// does only from these.
	Samples int
}

// enoughSamples: the first status after a document is in force may have been made before its
// files were looked at.
const enoughSamples = 2

// Silence of a host, and the time it may take to run a document, before a rollout stops.
const (
	defaultSilence = 30 * time.Second
	defaultApply   = 2 * time.Minute
)

// watch is one wave of a rollout that waits to be well.
type watch struct {
	set    *ChangeSet
	key    func(name string) string // of a document
	wave   []Outcome                // documents that were written and whose host is watched
	began  time.Time
	silent map[string]time.Time // hosts without a fresh status, since when
	mute   map[string]time.Time // hosts that run the document and have not told how they do with it, since when
	well   time.Time            // since when all are well; zero: they are not

	silence, apply time.Duration
}

// verdict is what a look at a wave tells.
type verdict struct {
	stop  string // why the rollout stops; "": it does not
	done  bool   // all were well long enough
	doing string // what is waited for
	check []Outcome
	// check are documents that their hosts do not run: somebody else may have written them.
}

// judge tells how a wave is. now is the driver's clock.
func (w *watch) judge(now time.Time, health map[string]HostHealth) verdict {
	var v verdict
	var silent, behind, unproven []string
	limit := w.set.Rollout.MaxLagGrowthBytes
	for _, o := range w.wave {
		h, known := health[o.Name]
		if !known || !h.Fresh {
			since, ok := w.silent[o.Name]
			if !ok {
				since = now
				w.silent[o.Name] = now
			}
			if now.Sub(since) >= w.silence {
				v.stop = fmt.Sprintf("%s has had no fresh status for %v", o.Name, w.silence)
				return v
			}
			silent = append(silent, o.Name)
			continue
		}
		delete(w.silent, o.Name)
		switch running := h.Running[w.key(o.Name)]; {
		case h.Refused != "" && h.Refused != o.Refused:
			v.stop = fmt.Sprintf("%s refused the document: %s", o.Name, h.Refused)
			return v
		case h.Failing > o.Failing:
			v.stop = fmt.Sprintf("%s has %d failing files, before the change it had %d", o.Name, h.Failing, o.Failing)
			return v
		case limit >= 0 && h.LagBytes-o.LagBytes > limit:
			v.stop = fmt.Sprintf("the lag of %s grew by %d bytes to %d, more than %d", o.Name, h.LagBytes-o.LagBytes, h.LagBytes, limit)
			return v
		case !w.runs(o, running):
			behind = append(behind, o.Name)
			v.check = append(v.check, o)
			if now.Sub(w.began) >= w.apply {
				v.stop = fmt.Sprintf("%s does not run revision %d after %v, it runs %d", o.Name, o.Revision, w.apply, running)
			}
		case h.Samples < enoughSamples:
			unproven = append(unproven, o.Name)
			since, ok := w.mute[o.Name]
			if !ok {
				since = now
				w.mute[o.Name] = now
			}
			if now.Sub(since) >= w.apply {
				v.stop = fmt.Sprintf("%s runs revision %d and has not told for %v how it does with it", o.Name, o.Revision, w.apply)
			}
		default:
			delete(w.mute, o.Name)
		}
	}
	switch {
	case len(silent) > 0:
		w.well = time.Time{}
		v.doing = "waiting for a fresh status of " + some(silent)
	case len(behind) > 0:
		w.well = time.Time{}
		v.doing = "waiting for the new revision on " + some(behind)
	case len(unproven) > 0:
		w.well = time.Time{}
		v.doing = "all run it, waiting to hear how it does on " + some(unproven)
	default:
		if w.well.IsZero() {
			w.well = now
		}
		left := w.set.Rollout.Healthy - now.Sub(w.well)
		v.done = left <= 0
		v.doing = fmt.Sprintf("all run it, watching for %v more", max(left, 0).Round(time.Second))
	}
	return v
}

func (w *watch) runs(o Outcome, running int64) bool {
	if o.Deleted {
		return running == 0
	}
	return running == o.Revision
}

// some names a few.
func some(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// waveName is how a rollout's wave is spoken of.
func waveName(number int) string {
	if number == 1 {
		return "canary"
	}
	return fmt.Sprintf("wave %d", number-1)
}

// rollout does what is left of a change set that goes out in waves.
func (d *driver) rollout(ctx context.Context) error {
	for {
		r := d.set.Rollout
		if len(r.Hosts) == 0 {
			hosts, err := d.nextWave(ctx)
			if err != nil || d.set.State != StateOpen {
				return err
			}
			if len(hosts) == 0 {
				return nil // nothing is left
			}
			if err := d.head(ctx, func(s *ChangeSet) { s.Rollout.Hosts = hosts }); err != nil {
				return err
			}
			continue // the head may say now that somebody stopped it
		}
		health, err := d.before(ctx, r.Hosts)
		if err != nil || d.set.State != StateOpen {
			return err
		}
		only := make(map[string]bool)
		for _, h := range r.Hosts {
			only[h] = true
		}
		for _, k := range d.chunks {
			if err := d.finish(ctx, k, only, health); err != nil {
				return err
			}
		}
		written, err := d.watch(ctx)
		if err != nil || d.set.State != StateOpen {
			return err
		}
		next := d.set.Rollout.Current
		if written || next > 1 { // of a canary that was not written others are tried
			next++
		}
		err = d.head(ctx, func(s *ChangeSet) { s.Rollout.Hosts, s.Rollout.Current = nil, next })
		if err != nil {
			return err
		}
	}
}

// nextWave chooses hosts that are left; none where nothing is. It stops the rollout where
// there is no host that could be a canary.
func (d *driver) nextWave(ctx context.Context) ([]string, error) {
	var left []string
	for _, o := range outcomes(d.chunks) {
		if o.State == StepWaiting {
			left = append(left, o.Name)
		}
	}
	r := d.set.Rollout
	if len(left) == 0 {
		return nil, nil
	}
	if r.Current > 1 {
		size := r.Wave
		if size == 0 {
			size = max(r.Canary, (len(left)+9)/10)
			if err := d.head(ctx, func(s *ChangeSet) { s.Rollout.Wave = size }); err != nil {
				return nil, err
			}
		}
		return left[:min(size, len(left))], nil
	}
	health, err := d.before(ctx, left)
	if err != nil || d.set.State != StateOpen {
		return nil, err
	}
	canaries := slices.DeleteFunc(slices.Clone(left), func(name string) bool {
		h := health[name]
		return !h.Fresh || h.Refused != ""
	})
	if len(canaries) == 0 {
		return nil, d.stop(ctx, fmt.Sprintf("no host can be the canary: of the %d that are left none has a fresh status and runs its newest document", len(left)))
	}
	return canaries[:min(r.Canary, len(canaries))], nil
}

// watch waits until the hosts of the wave run what was written and stay well, and stops the
// rollout where they do not. written tells whether there was anything to watch for.
func (d *driver) watch(ctx context.Context) (written bool, err error) {
	w := &watch{
		set: &d.set, key: d.c.layout.Config, began: time.Now(), silent: make(map[string]time.Time), mute: make(map[string]time.Time),
		silence: d.o.Silence, apply: d.o.Apply,
	}
	var hosts []string
	for _, o := range outcomes(d.chunks) {
		if o.State == StepDone && o.Wave == d.set.Rollout.Current {
			written = true
			if !o.Unwatched || o.Wave == 1 { // a canary that fell silent is one that failed
				w.wave = append(w.wave, o)
				hosts = append(hosts, o.Name)
			}
		}
	}
	if len(hosts) == 0 {
		return written, nil
	}
	name := waveName(d.set.Rollout.Current)
	for {
		health, err := d.health(ctx, hosts)
		if err != nil {
			return written, err
		}
		v := w.judge(time.Now(), health)
		if len(v.check) > 0 {
			other, err := d.overwritten(ctx, v.check)
			switch {
			case ctx.Err() != nil:
				return written, ctx.Err()
			case err == nil && other != "":
				v.stop = other
			}
		}
		switch {
		case v.stop != "":
			return written, d.stop(ctx, name+": "+v.stop)
		case v.done:
			return written, nil
		}
		d.progress(name + ": " + v.doing)
		if !sleep(ctx, d.c.timing.poll) {
			return written, ctx.Err()
		}
		if err := d.refresh(ctx); err != nil || d.set.State != StateOpen {
			return written, err
		}
	}
}

// before tells how hosts are before their documents are written. Where none of them has a
// fresh status nor any that was changed before, it is the way to them that is broken: after
// a while the rollout stops.
func (d *driver) before(ctx context.Context, hosts []string) (map[string]HostHealth, error) {
	asked := slices.Clone(hosts)
	for _, o := range outcomes(d.chunks) {
		if o.State == StepDone { // one that waits to be watched may be asked for twice
			asked = append(asked, o.Name)
		}
	}
	for began := time.Now(); ; {
		health, err := d.health(ctx, asked)
		if err != nil {
			return nil, err
		}
		for _, h := range health {
			if h.Fresh {
				return health, nil
			}
		}
		name := waveName(d.set.Rollout.Current)
		if time.Since(began) >= d.o.Silence {
			return nil, d.stop(ctx, fmt.Sprintf("%s: none of %d hosts has a fresh status", name, len(asked)))
		}
		d.progress(name + ": waiting for a fresh status of any host")
		if !sleep(ctx, d.c.timing.poll) {
			return nil, ctx.Err()
		}
		if err := d.refresh(ctx); err != nil || d.set.State != StateOpen {
			return nil, err
		}
	}
}

// health asks for the health of hosts, by name. That it cannot be told for a while stops
// nothing: a host that is not in the answer is silent.
func (d *driver) health(ctx context.Context, hosts []string) (map[string]HostHealth, error) {
	list, err := d.o.Health(ctx, hosts)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		d.c.log.Debug("health of hosts not known", "change", d.set.ID, "reason", err)
	}
	byName := make(map[string]HostHealth, len(list))
	for _, h := range list {
		byName[h.Host] = h
	}
	return byName, nil
}
