package kafkaout

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logagent/agent"
	"logagent/internal/lab"
)

// viewer is a console's ear.
type viewer struct {
	mu        sync.Mutex // guards the rest
	summaries map[string][]agent.Summary
	details   map[string][]agent.Status
	ages      []time.Duration
}

func (v *viewer) Summary(host string, s agent.Summary, age time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.summaries[host] = append(v.summaries[host], s)
	v.ages = append(v.ages, age)
}

func (v *viewer) Detail(s agent.Status, age time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.details[s.Host] = append(v.details[s.Host], s)
}

func (v *viewer) count(host string) (summaries, details int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.summaries[host]), len(v.details[host])
}

func startReader(t *testing.T, addrs []string) (*viewer, *StatusReader) {
	t.Helper()
	return startReaderOf(t, StatusReaderOptions{Cluster: quick(addrs)})
}

func startReaderOf(t *testing.T, o StatusReaderOptions) (*viewer, *StatusReader) {
	t.Helper()
	r, err := NewStatusReader(o)
	if err != nil {
		t.Fatal(err)
	}
	v := &viewer{summaries: make(map[string][]agent.Summary), details: make(map[string][]agent.Status)}
	running(t, func(ctx context.Context) error { return r.Run(ctx, v) })
	return v, r
}

// running runs f until the test ends.
func running(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(waitLimit):
			t.Error("Run did not end")
		}
	})
}

// source is an agent as far as a status writer sees it.
type source struct {
	mu      sync.Mutex // guards the rest
	status  agent.Status
	watched bool
	changed chan struct{}
	log     journal
}

func newSource(host string) *source {
	return &source{
		status:  agent.Status{Host: host, StateID: "state-" + host, Boot: 3, Totals: agent.Totals{LagBytes: 77}},
		changed: make(chan struct{}, 1),
	}
}

func (s *source) get() agent.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Seq++
	s.status.At = time.Now()
	return s.status
}

func (s *source) look(watched bool) {
	s.mu.Lock()
	s.watched = watched
	s.mu.Unlock()
}

func startWriter(t *testing.T, addrs []string, s *source, every time.Duration) {
	t.Helper()
	startWriterOf(t, quick(addrs), "", s, every)
}

func startWriterOf(t *testing.T, o Options, topic string, s *source, every time.Duration) {
	t.Helper()
	o.Host = s.status.Host
	o.Log = slog.New(slog.NewTextHandler(&s.log, nil))
	w, err := NewStatusWriter(StatusWriterOptions{
		Cluster: o, Topic: topic, Status: s.get, Changed: s.changed, Every: every,
		Watched: func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.watched },
	})
	if err != nil {
		t.Fatal(err)
	}
	running(t, w.Run)
}

func TestSummariesOfEveryHostReachTheReader(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{Brokers: 2})
	v, r := startReader(t, k.Addrs())
	wait(t, "the reader to say that the topic is missing", func() bool { return strings.Contains(r.Link().Error, "does not exist yet") })
	for i := range 5 {
		s := newSource(fmt.Sprintf("host-%d", i))
		s.status.History = &agent.History{StepSeconds: 2, In: make([]uint32, 300), Out: make([]uint32, 300), Lag: make([]int64, 300)}
		startWriter(t, k.Addrs(), s, 20*time.Millisecond)
	}
	for i := range 5 {
		host := fmt.Sprintf("host-%d", i)
		wait(t, "three summaries of "+host, func() bool { n, _ := v.count(host); return n >= 3 })
		v.mu.Lock()
		for j, s := range v.summaries[host] {
			if s.Seq != uint64(j+1) || s.StateID != "state-"+host || s.Lag != 77 {
				t.Errorf("%s: want summary %d in order, got %+v", host, j+1, s)
			}
			if (s.History != nil) != (j == 0) {
				t.Errorf("%s summary %d: want history on the first of a minute alone", host, j)
			}
			if s.History != nil && (len(s.History.Lag) != 60 || s.History.StepSeconds != 10) {
				t.Errorf("want ten minutes in 60 steps of 10 s, got %d of %d", len(s.History.Lag), s.History.StepSeconds)
			}
		}
		if len(v.details[host]) != 0 {
			t.Errorf("%s: want no details while nobody looks, got %d", host, len(v.details[host]))
		}
		v.mu.Unlock()
	}
	if l := r.Link(); !l.Up || l.Error != "" {
		t.Errorf("want the reader's link up, got %+v", l)
	}
	info := k.Cluster().TopicInfo(defaultStatusTopic)
	for _, key := range []string{"retention.ms", "message.timestamp.type"} {
		if got := info.Configs[key]; got == nil || *got != statusConfig[key] {
			t.Errorf("want the topic created with %s=%s, got %v", key, statusConfig[key], got)
		}
	}
}

func TestDetailsComeInPagesWhileSomebodyLooks(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	v, _ := startReader(t, k.Addrs())
	s := newSource("big")
	for i := range 2500 {
		s.status.Files = append(s.status.Files, agent.FileStatus{
			Path: fmt.Sprintf("/var/log/app/%04d-%s.log", i, strings.Repeat("x", 300)), Cause: "caught up",
			History: &agent.History{StepSeconds: 10, In: []uint32{1, 2}, Out: []uint32{3, 4}, Lag: []int64{5, 6}},
		})
	}
	startWriter(t, k.Addrs(), s, time.Hour)
	wait(t, "a summary", func() bool { n, _ := v.count("big"); return n == 1 })
	if _, n := v.count("big"); n != 0 {
		t.Errorf("want no details while nobody looks, got %d", n)
	}
	s.look(true)
	wait(t, "details once somebody looks", func() bool { _, n := v.count("big"); return n == 1 })
	s.changed <- struct{}{}
	wait(t, "details after a change", func() bool { _, n := v.count("big"); return n == 2 })
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, d := range v.details["big"] {
		if len(d.Files) != 2500 || d.StateID != "state-big" || d.Totals.LagBytes != 77 {
			t.Fatalf("detail %d: want the whole status with 2500 files, got %d files, %+v", i, len(d.Files), d.Totals)
		}
		for j, f := range d.Files {
			if f.Path != s.status.Files[j].Path || (f.History != nil) != (i == 0) {
				t.Fatalf("detail %d file %d: want %s with history on the first detail alone, got %s, %v", i, j, s.status.Files[j].Path, f.Path, f.History)
			}
		}
	}
	pages := 0
	for _, rec := range records(t, k, defaultStatusTopic) {
		if rec.Header("kind") == "detail" {
			pages++
			if len(rec.Value) > pageBytes+2000 {
				t.Errorf("want pages of about %d bytes, got %d", pageBytes, len(rec.Value))
			}
		}
	}
	if pages < 4 {
		t.Errorf("want several pages, got %d records", pages)
	}
}

func TestReaderBeginsInThePastAndSaysHowOldItIs(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	s := newSource("early")
	startWriter(t, k.Addrs(), s, 100*time.Millisecond)
	wait(t, "some summaries in the topic", func() bool {
		return k.Cluster().TopicInfo(defaultStatusTopic) != nil && len(records(t, k, defaultStatusTopic)) >= 6
	})
	v, _ := startReader(t, k.Addrs())
	wait(t, "summaries from before", func() bool { n, _ := v.count("early"); return n >= 8 })
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.summaries["early"][0].Seq != 1 {
		t.Errorf("want the first summary there is, got number %d", v.summaries["early"][0].Seq)
	}
	if v.ages[0] < 400*time.Millisecond || v.ages[0] > 10*time.Second {
		t.Errorf("want the first one about half a second old, got %v", v.ages[0])
	}
	if last := v.ages[len(v.ages)-1]; last != 0 {
		t.Errorf("want no age on what has just arrived, got %v", last)
	}
}

func TestReaderSaysWhenItHasPassedOnAllThatStoodThere(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{Brokers: 2})
	for i := range 4 {
		startWriter(t, k.Addrs(), newSource(fmt.Sprintf("host-%d", i)), 10*time.Millisecond)
	}
	wait(t, "a past", func() bool {
		return k.Cluster().TopicInfo(defaultStatusTopic) != nil && len(records(t, k, defaultStatusTopic)) >= 400
	})
	stood := len(records(t, k, defaultStatusTopic))
	v, r := startReader(t, k.Addrs())
	if r.Current() {
		t.Error("want nothing claimed before a connection")
	}
	wait(t, "the past to be read", r.Current)
	n := 0
	for i := range 4 {
		read, _ := v.count(fmt.Sprintf("host-%d", i))
		n += read
	}
	if n < stood {
		t.Errorf("want all %d summaries passed on by then, got %d", stood, n)
	}
	k.Stop()
	wait(t, "the end of the connection", func() bool { return !r.Current() })
}

func TestTheLastWordsOfADeadAgentAreAsOldAsTheClockTells(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	s := newSource("dead")
	ctx, kill := context.WithCancel(t.Context())
	o := quick(k.Addrs())
	o.Host = "dead"
	w, err := NewStatusWriter(StatusWriterOptions{Cluster: o, Status: s.get, Every: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	wait(t, "a summary", func() bool {
		return k.Cluster().TopicInfo(defaultStatusTopic) != nil && len(records(t, k, defaultStatusTopic)) >= 2
	})
	kill()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	died := time.Now()
	wait(t, "it to be dead for a while", func() bool { return time.Since(died) > 1200*time.Millisecond })
	v, _ := startReader(t, k.Addrs())
	wait(t, "its last words", func() bool { n, _ := v.count("dead"); return n >= 2 })
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, age := range v.ages {
		if age < 1200*time.Millisecond || age > time.Since(died)+2*time.Second {
			t.Errorf("summary %d: want the age since it was written, more than 1.2 s, got %v", i, age)
		}
	}
}

func TestAClockThatIsOffMakesNothingOlderThanWhatIsRead(t *testing.T) {
	t.Parallel()
	now := time.Now()
	p := past{began: now, back: 75 * time.Second, newest: now.Add(-time.Hour), ends: map[int32]int64{0: 10}}
	age := func(offset int64, at time.Time) time.Duration {
		return p.age(&sarama.ConsumerMessage{Offset: offset, Timestamp: at}).Round(time.Second)
	}
	if got := age(9, now.Add(-time.Hour)); got != 75*time.Second {
		t.Errorf("a broker an hour behind: want 75 s, got %v", got)
	}
	p.newest = now.Add(time.Hour)
	if got := age(9, now.Add(time.Hour-20*time.Second)); got != 20*time.Second {
		t.Errorf("a broker an hour ahead: want the 20 s to the newest, got %v", got)
	}
	if got := p.age(&sarama.ConsumerMessage{Offset: 9, Timestamp: now.Add(time.Hour)}); got <= 0 {
		t.Errorf("the newest of the past: want it told from what has just arrived, got %v", got)
	}
	if got := age(10, now.Add(-time.Hour)); got != 0 {
		t.Errorf("what has just arrived: want 0, got %v", got)
	}
}

func TestStatusOutlivesABrokerRestart(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	s := newSource("tough")
	startWriter(t, k.Addrs(), s, 20*time.Millisecond)
	v, r := startReader(t, k.Addrs())
	wait(t, "a summary", func() bool { n, _ := v.count("tough"); return n > 0 })
	k.Stop()
	wait(t, "the writer to notice", func() bool { return strings.Contains(s.log.String(), "status can not be written") })
	wait(t, "the reader to notice", func() bool { return !r.Link().Up })
	if err := k.Restart(); err != nil {
		t.Fatal(err)
	}
	before, _ := v.count("tough")
	wait(t, "summaries again", func() bool { n, _ := v.count("tough"); return n > before+3 })
	wait(t, "the reader's link up again", func() bool { return r.Link().Up })
	if n := strings.Count(s.log.String(), "status can not be written"); n != 1 {
		t.Errorf("want the failure logged once, got %d times:\n%s", n, s.log.String())
	}
}

func TestRefusedTopicCreationIsSaidOnceAndWaitedOut(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.ClusterAuthorizationFailed, Count: -1})
	s := newSource("poor")
	startWriter(t, k.Addrs(), s, 20*time.Millisecond)
	wait(t, "the refusal in the log", func() bool { return strings.Contains(s.log.String(), "status topic was not created") })
	createTopic(t, k, defaultStatusTopic, 2, nil) // by the operator
	wait(t, "summaries", func() bool { return len(records(t, k, defaultStatusTopic)) >= 2 })
	if n := strings.Count(s.log.String(), "status topic was not created"); n != 1 {
		t.Errorf("want the refusal logged once, got %d times", n)
	}
}
