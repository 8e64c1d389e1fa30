package kafkaout

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/IBM/sarama"

	"logagent/agent"
)

// StatusWriterOptions say what a host tells about itself, and where. Cluster carries the
// addresses, timeouts, credentials and log; its Host is the key of the records.
type StatusWriterOptions struct {
	Cluster Options
	Topic   string // "" means logagent-status

	Status  func() agent.Status // the newest status, with files: called where a console looks
	Brief   func() agent.Status // the newest status, without them: called every Every where none does; nil means Status
	Watched func() bool         // does a console look at this host; nil means never
	Changed <-chan struct{}     // of size 1: something worth telling at once, if watched; may be nil

	Every        time.Duration // between summaries; 0 means 2s
	HistoryEvery time.Duration // between summaries that carry history; 0 means 1m
}

const (
	defaultStatusTopic = "logagent-status"
	statusPartitions   = 3
	statusReplicas     = 3
	// changedEvery bounds how often details follow changes.
	changedEvery = 250 * time.Millisecond
)

// statusConfig is how the status topic is created: nobody needs a status for long, and
// segments must close for retention to drop them. The broker's clock in the records lets
// readers tell their age whatever the hosts' clocks say.
var statusConfig = map[string]string{
	"retention.ms":           "900000",
	"segment.ms":             "300000",
	"message.timestamp.type": "LogAppendTime",
}

// StatusWriter sends a host's status to the status topic: a summary every two seconds,
// details while a console looks. It has connections of its own, waits for no one's data,
// and drops what could not be sent: the next status is newer anyway.
type StatusWriter struct {
	opts StatusWriterOptions

	// Of Run's goroutine:
	seek    seeker
	leader  *sarama.Broker // to the partition's leader
	part    int32
	said    string // the last failure that was logged
	created bool   // creating the topic was tried
	// When the last of each was sent:
	historyAt, fileHistoryAt time.Time
	watched                  bool
}

// NewStatusWriter checks the options.
func NewStatusWriter(o StatusWriterOptions) (*StatusWriter, error) {
	cluster, err := o.Cluster.withDefaults()
	if err != nil {
		return nil, err
	}
	o.Cluster = cluster
	if o.Status == nil {
		return nil, errors.New("a status writer needs a status to write")
	}
	if o.Watched == nil {
		o.Watched = func() bool { return false }
	}
	if o.Brief == nil {
		o.Brief = o.Status
	}
	orString(&o.Topic, defaultStatusTopic)
	orNumber(&o.Every, 2*time.Second)
	orNumber(&o.HistoryEvery, time.Minute)
	return &StatusWriter{opts: o}, nil
}

// Run writes until ctx ends. It may be called once.
func (w *StatusWriter) Run(ctx context.Context) error {
	cfg := w.opts.Cluster.config(ctx)
	w.seek = seeker{cfg: cfg, seeds: w.opts.Cluster.Addrs}
	defer w.hangUp()
	every := time.NewTicker(w.opts.Every)
	defer every.Stop()
	tries := 0
	for {
		due := time.Now()
		err := w.write(due)
		if ctx.Err() != nil {
			return nil
		}
		w.tell(err)
		if err != nil {
			w.hangUp()
			tries++
			if !sleep(ctx, pause(tries, w.opts.Cluster.RetryMin, w.opts.Cluster.RetryMax)) {
				return nil
			}
			continue
		}
		tries = 0
		if !w.wait(ctx, every.C, due) {
			return nil
		}
	}
}

// wait waits for the next thing to send; false when ctx ended.
func (w *StatusWriter) wait(ctx context.Context, every <-chan time.Time, last time.Time) bool {
	look := time.NewTicker(changedEvery) // a console that began to look is served at once
	defer look.Stop()
	changed := w.opts.Changed
	for {
		select {
		case <-ctx.Done():
			return false
		case <-every:
			return true
		case <-look.C:
			if !w.watched && w.opts.Watched() {
				return true
			}
		case _, open := <-changed:
			if !open {
				changed = nil // whoever told about changes has ended
				continue
			}
			if w.opts.Watched() {
				return sleep(ctx, changedEvery-time.Since(last))
			}
		}
	}
}

// sleep waits d; false when ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// tell logs a failure once, and its end.
func (w *StatusWriter) tell(err error) {
	log := w.opts.Cluster.Log
	switch {
	case err == nil && w.said != "":
		w.said = ""
		log.Info("status is written again", "topic", w.opts.Topic)
	case err != nil && w.said == "" && !errors.Is(err, errTopicNew):
		w.said = err.Error()
		log.Warn("status can not be written", "topic", w.opts.Topic, "why", w.said, "next", "trying again; old statuses are dropped")
	}
}

// write sends a summary, and details if somebody looks.
func (w *StatusWriter) write(now time.Time) error {
	if w.leader == nil {
		if err := w.connect(); err != nil {
			return err
		}
	}
	watched := w.opts.Watched()
	status := w.opts.Brief
	if watched {
		status = w.opts.Status
	}
	s := status()
	summary := s.Summary()
	history := now.Sub(w.historyAt) >= w.opts.HistoryEvery
	if history {
		summary.History = downsample(s.History)
	}
	if err := w.send(now, summary.Encode(), kindSummary, 0, 0); err != nil {
		return err
	}
	if history {
		w.historyAt = now
	}
	first := watched && !w.watched
	w.watched = watched
	if !watched {
		return nil
	}
	history = first || now.Sub(w.fileHistoryAt) >= w.opts.HistoryEvery
	pages, err := detailPages(s, history)
	if err != nil {
		return err
	}
	for i, page := range pages {
		if err := w.send(now, page, kindDetail, i+1, len(pages)); err != nil {
			w.watched = false // the next detail is a first one again
			return err
		}
	}
	if history {
		w.fileHistoryAt = now
	}
	return nil
}

// connect finds, or makes, the topic and connects to the leader of the host's partition.
func (w *StatusWriter) connect() error {
	topic := w.opts.Topic
	res, err := w.seek.topics([]string{topic}, w.created)
	if err != nil {
		return err
	}
	if len(res.Topics) != 1 {
		return fmt.Errorf("topic %s: the broker says nothing about it", topic)
	}
	m := res.Topics[0]
	if m.Err == sarama.ErrUnknownTopicOrPartition && !w.created {
		return w.create(res)
	}
	if m.Err != sarama.ErrNoError || len(m.Partitions) == 0 {
		return errors.New(topicWords(topic, m.Err))
	}
	w.part = int32(keyPartition([]byte(w.opts.Cluster.Host), len(m.Partitions)))
	for _, p := range m.Partitions {
		if p.ID != w.part {
			continue
		}
		for _, b := range res.Brokers {
			if b.ID() == p.Leader {
				w.leader, err = open(b.Addr(), w.seek.cfg)
				if err != nil {
					w.leader = nil
					return errors.New("broker " + b.Addr() + ": " + words(err))
				}
				return nil
			}
		}
	}
	return fmt.Errorf("partition %d of topic %s has no leader", w.part, topic)
}

// create asks the controller for the topic. A refusal is said once; then the cluster may
// create it by itself, or somebody does.
func (w *StatusWriter) create(res *sarama.MetadataResponse) error {
	topic, cfg := w.opts.Topic, w.seek.cfg
	addr := ""
	for _, b := range res.Brokers {
		if b.ID() == res.ControllerID {
			addr = b.Addr()
		}
	}
	if addr == "" {
		return fmt.Errorf("create topic %s: the cluster has no controller", topic)
	}
	controller, err := open(addr, cfg)
	if err != nil {
		return fmt.Errorf("create topic %s: broker %s: %s", topic, addr, words(err))
	}
	defer controller.Close()
	entries := make(map[string]*string)
	for k, v := range statusConfig {
		entries[k] = &v
	}
	answer, err := controller.CreateTopics(sarama.NewCreateTopicsRequest(cfg.Version, map[string]*sarama.TopicDetail{
		topic: {NumPartitions: statusPartitions, ReplicationFactor: int16(min(statusReplicas, len(res.Brokers))), ConfigEntries: entries},
	}, w.opts.Cluster.Timeout/2, false))
	if err != nil {
		return fmt.Errorf("create topic %s: %s", topic, words(err))
	}
	w.created = true
	e := answer.TopicErrors[topic]
	switch {
	case e == nil || e.Err == sarama.ErrNoError:
		w.opts.Cluster.Log.Info("status topic created", "topic", topic)
	case e.Err != sarama.ErrTopicAlreadyExists: // else another host was faster
		w.opts.Cluster.Log.Warn("status topic was not created", "topic", topic, "why", words(e.Err),
			"next", "going on; create it by hand with retention.ms=900000")
	}
	return errTopicNew
}

// errTopicNew says that creating the topic was tried just now: there is nothing to log yet.
var errTopicNew = errors.New("the topic was created just now")

// send writes one record and waits for its acknowledgement.
func (w *StatusWriter) send(now time.Time, value []byte, kind string, page, pages int) error {
	headers := []*sarama.RecordHeader{{Key: []byte(headerKind), Value: []byte(kind)}}
	if page > 0 {
		headers = append(headers,
			&sarama.RecordHeader{Key: []byte(headerPage), Value: strconv.AppendInt(nil, int64(page), 10)},
			&sarama.RecordHeader{Key: []byte(headerPages), Value: strconv.AppendInt(nil, int64(pages), 10)})
	}
	req := &sarama.ProduceRequest{
		RequiredAcks: sarama.WaitForLocal, // a lost status is replaced by the next
		Timeout:      int32(w.opts.Cluster.Timeout / time.Millisecond),
		Version:      produceVersion,
	}
	req.AddBatch(w.opts.Topic, w.part, &sarama.RecordBatch{
		Version: 2, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
		FirstTimestamp: now, MaxTimestamp: now,
		Records: []*sarama.Record{{Key: []byte(w.opts.Cluster.Host), Value: value, Headers: headers}},
	})
	res, err := w.leader.Produce(req)
	if err != nil {
		return errors.New("broker " + w.leader.Addr() + ": " + words(err))
	}
	b := res.GetBlock(w.opts.Topic, w.part)
	if b == nil {
		return errNoAnswer
	}
	if b.Err != sarama.ErrNoError {
		return errors.New(topicWords(w.opts.Topic, b.Err))
	}
	return nil
}

func (w *StatusWriter) hangUp() {
	w.seek.close()
	if w.leader != nil {
		_ = w.leader.Close() // an error says that it was closed already
		w.leader = nil
	}
}
