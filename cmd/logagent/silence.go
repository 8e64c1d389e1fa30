package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/kafkaout"
	"logagent/ui/store"
)

// lookBack is how far back the status topic is read for hosts that may be gone. Agents report
// every two seconds; one whose Kafka is shaky reports within this.
const lookBack = 5 * time.Minute

// reports are what the status topic tells of hosts: an agent that is cut off from etcd has no
// live key, runs on from what it knows, and reports there.
type reports struct {
	ago    map[string]time.Duration // how long ago each reported last, of those that did within lookBack
	now    map[string]bool          // reported while this listened
	unread error                    // why not all of the topic was read; nil: it was
}

// ear is a kafkaout.Handler that notes when hosts reported last.
type ear struct {
	mu  sync.Mutex // guards what follows
	at  map[string]time.Time
	now map[string]bool
}

var _ kafkaout.Handler = (*ear)(nil)

func (e *ear) Summary(host string, _ agent.Summary, age time.Duration) { e.hear(host, age) }
func (e *ear) Detail(s agent.Status, age time.Duration)                { e.hear(s.Host, age) }

func (e *ear) hear(host string, age time.Duration) {
	at := time.Now().Add(-age)
	e.mu.Lock()
	defer e.mu.Unlock()
	if at.After(e.at[host]) {
		e.at[host] = at
	}
	if age <= 0 {
		e.now[host] = true
	}
}

// listen reads the status topic from lookBack on until it has all that stood there, and until
// every agent that runs could report once more. It waits patience for Kafka, and up to
// mostPatience while it still reads: ten thousand agents write much in five minutes.
func listen(ctx context.Context, s *settings, patience time.Duration) reports {
	topic, err := kafkaout.NewStatusReader(kafkaout.StatusReaderOptions{
		Cluster: s.kafkaOptions("console", slog.New(slog.DiscardHandler)), Topic: s.StatusTopic, Back: lookBack})
	if err != nil {
		return reports{unread: err}
	}
	e := &ear{at: make(map[string]time.Time), now: make(map[string]bool)}
	reading, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = topic.Run(reading, e) }) // ends with reading only
	began := time.Now()
	whole := false
	looking, enough := context.WithCancel(ctx)
	defer enough()
	_ = every(looking, 50*time.Millisecond, func() { // ends with looking only
		link := topic.Link()
		if whole = link.Up && topic.Current() && time.Since(link.Since) >= summaryWait; whole {
			enough()
		}
		most := patience
		if link.Up {
			most = mostPatience
		}
		if time.Since(began) > most {
			enough()
		}
	})
	link := topic.Link()
	stop()
	wg.Wait()
	r := reports{ago: make(map[string]time.Duration, len(e.at)), now: e.now}
	for host, at := range e.at {
		r.ago[host] = max(time.Since(at), 0)
	}
	switch {
	case whole:
	case ctx.Err() != nil:
		r.unread = ctx.Err()
	case !link.Up:
		r.unread = fmt.Errorf("kafka: %s", naming(s.KafkaAddrs, link.Error))
	default:
		r.unread = fmt.Errorf("kafka: the status topic holds more than was read in %s", mostPatience)
	}
	return r
}

// goneBy makes how long hosts are gone what their keys and their reports tell together. r may
// be nil: nothing of Kafka was asked.
func (r *reports) goneBy(hosts []etcdcfg.Surveyed) {
	if r == nil {
		return
	}
	for i := range hosts {
		h := &hosts[i]
		if surveyState(h) != hostGone {
			continue
		}
		ago, reported := r.ago[h.Host]
		switch {
		case r.now[h.Host]:
			h.GoneLeast = 0
		case r.unread != nil && reported: // since then, and perhaps again where it was not read
			h.GoneLeast = min(h.GoneLeast, ago)
		case r.unread != nil:
			continue
		case reported:
			h.GoneLeast = store.GoneLeast(h.GoneLeast, ago, true)
		default:
			h.GoneLeast = store.GoneLeast(h.GoneLeast, lookBack, false)
		}
		h.GoneOver = h.GoneOver && !reported
	}
}

// state is that of a host in the list. r may be nil.
func (r *reports) state(h *etcdcfg.Surveyed) string {
	state := surveyState(h)
	if r != nil && state != hostAlive && r.now[h.Host] {
		return hostCutOff
	}
	return state
}

// errReports says that a host has an agent though etcd does not know of it.
var errReports = errors.New("its agent runs and reports through Kafka, cut off from etcd; stop it first")

// refusal is why a host is not forgotten; nil: it may be. byName tells whether the host was
// named and not found by a glob. What is known for sure force does not help against.
func (r *reports) refusal(h *etcdcfg.Surveyed, byName, force bool) error {
	ago, reported := r.ago[h.Host]
	switch {
	case h.Live != nil:
		return etcdcfg.ErrLives
	case h.ServedBy != "":
		return fmt.Errorf("it is an address of %s, which follows its document", h.ServedBy)
	case r.now[h.Host]:
		return errReports
	case force, h.Config.Host == "": // the latter: etcd knows nothing of it
		return nil
	case reported:
		return fmt.Errorf("its agent reported through Kafka %s ago: wait until it is silent for %s, or use --force", store.Ago(ago), store.Ago(lookBack))
	case r.unread != nil:
		return fmt.Errorf("it was not checked whether its agent reports through Kafka (%w); --force does without", r.unread)
	case !byName && surveyState(h) == hostGone && h.GoneLeast == 0:
		return errors.New("etcd does not tell for how long it is gone, and it may only be cut off: name it, or use --force")
	}
	return nil
}
