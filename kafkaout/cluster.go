package kafkaout

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// cluster keeps the map: which topics and partitions there are, who leads them, and the
// producer id. It belongs to one goroutine, which may wait for dead brokers; connections
// never wait for it but by having nothing to write.
type cluster struct {
	p     *Producer
	group *sync.WaitGroup // every connection's goroutine
	seek  seeker

	mapTries, idTries int
	hadID             bool      // some id was given before
	mapAt, idAt       time.Time // not before
	mapped            time.Time // when the map was last read
}

const (
	// mapEvery is how often the map is read when nobody asks for it: so long may a dead
	// cluster go unnoticed while there is nothing to send.
	mapEvery = 30 * time.Second
	// tend is how often topics are looked after.
	tend = time.Second
	// topicMemory is how long a topic that nobody writes to is kept in mind.
	topicMemory = 10 * time.Minute
)

func newCluster(p *Producer, group *sync.WaitGroup) *cluster {
	return &cluster{p: p, group: group, seek: seeker{cfg: p.cfg, seeds: p.opts.Addrs}}
}

// run answers askMap and askID until ctx ends.
func (c *cluster) run(ctx context.Context) {
	defer c.seek.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			c.tell()
			return
		case <-timer.C:
		case <-c.p.ask:
		}
		c.readMap(ctx, time.Now())
		c.newID(time.Now())
		c.tend(time.Now())
		c.tell()
		timer.Reset(c.wait(time.Now()))
	}
}

// wait is how long there is nothing to do.
func (c *cluster) wait(now time.Time) time.Duration {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	next := now.Add(tend)
	if c.p.wantMap && c.mapAt.Before(next) {
		next = c.mapAt
	}
	if c.p.wantID && c.idAt.Before(next) {
		next = c.idAt
	}
	for _, t := range c.p.topics {
		if t.unmapped && t.pending > 0 && t.retryAt.Before(next) {
			next = t.retryAt
		}
	}
	return max(next.Sub(now), 0)
}

// tell logs what was said under the lock.
func (c *cluster) tell() {
	c.p.mu.Lock()
	list := c.p.news
	c.p.news = nil
	c.p.mu.Unlock()
	for _, n := range list {
		c.p.opts.Log.Log(context.Background(), n.level, n.words, n.pairs...)
	}
}

// readMap asks for the topics in use if that is wanted and due.
func (c *cluster) readMap(ctx context.Context, now time.Time) {
	p := c.p
	p.mu.Lock()
	if now.Before(c.mapAt) || !p.wantMap && now.Sub(c.mapped) < mapEvery {
		p.mu.Unlock()
		return
	}
	p.wantMap = false
	var missing, known []string
	for _, t := range p.topics {
		switch {
		case t.unmapped && t.retryAt.After(now):
		case t.pending > 0 && (len(t.partitions) == 0 || !t.missingSince.IsZero()):
			missing = append(missing, t.name)
		default:
			known = append(known, t.name)
		}
	}
	p.mu.Unlock()

	var answers []*sarama.MetadataResponse
	var err error
	for i, names := range [][]string{missing, known} {
		if len(names) == 0 {
			continue
		}
		var res *sarama.MetadataResponse
		if res, err = c.seek.topics(names, i == 0); err != nil {
			break
		}
		answers = append(answers, res)
	}
	if err == nil && len(answers) == 0 {
		err = c.seek.ping()
	}
	if ctx.Err() != nil {
		return
	}

	now = time.Now()
	var v verdicts
	p.mu.Lock()
	complete := err == nil
	for _, res := range answers {
		complete = c.apply(ctx, &v, res, now) && complete
	}
	if err != nil {
		p.linkDown(err.Error(), now)
	} else {
		c.mapped = now
		p.linkUp(now)
		p.retire()
	}
	if complete {
		c.mapTries = 0
		c.mapAt = now.Add(p.opts.RetryMin)
	} else {
		c.mapTries++
		c.mapAt = now.Add(pause(c.mapTries, p.opts.RetryMin, p.opts.RetryMax))
		p.wantMap = true
	}
	p.mu.Unlock()
	v.give()
}

// apply takes over a part of the map. It returns false where something that is waited for
// is still not there.
func (c *cluster) apply(ctx context.Context, v *verdicts, res *sarama.MetadataResponse, now time.Time) bool {
	p := c.p
	if len(res.Brokers) > 0 {
		clear(p.brokers)
		for _, b := range res.Brokers {
			p.brokers[b.ID()] = b.Addr()
		}
	}
	complete := true
	for _, m := range res.Topics {
		t := p.topics[m.Name]
		if t == nil {
			continue
		}
		switch {
		case len(m.Partitions) > 0 && (m.Err == sarama.ErrNoError || m.Err == sarama.ErrLeaderNotAvailable):
			t.missingSince = time.Time{}
			if t.unmapped {
				p.accepted(t)
			}
			complete = c.applyTopic(ctx, v, t, m) && complete
		case m.Err == sarama.ErrUnknownTopicOrPartition:
			if t.missingSince.IsZero() {
				t.missingSince = now
			}
			for _, part := range t.partitions {
				part.lead(nil)
			}
			if now.Sub(t.missingSince) >= p.opts.RefusedMin {
				p.refuse(t, topicWords(t.name, m.Err), now)
				t.unmapped = true
			} else {
				complete = complete && t.pending == 0
			}
		case judge(m.Err) == forbidden:
			p.refuse(t, topicWords(t.name, m.Err), now)
			t.unmapped = true
		default:
			complete = false
		}
	}
	return complete
}

// applyTopic takes over partitions and leaders, and places what waited for them.
func (c *cluster) applyTopic(ctx context.Context, v *verdicts, t *topic, m *sarama.TopicMetadata) bool {
	n := 0
	for _, pm := range m.Partitions {
		n = max(n, int(pm.ID)+1)
	}
	for len(t.partitions) < n {
		t.partitions = append(t.partitions, &partition{topic: t, index: int32(len(t.partitions))})
	}
	complete := t.shrink(v, n)
	for _, pm := range m.Partitions {
		part := t.partitions[pm.ID]
		conn := c.connection(ctx, pm.Leader, int(pm.ID))
		part.lead(conn)
		if conn == nil && !part.idle() {
			complete = false
		}
	}
	waiting := t.waiting
	t.waiting = nil
	for _, q := range waiting {
		t.place(q)
	}
	return complete
}

// connection returns the connection of a partition to its leader and starts it where it
// is new; nil where there is no leader.
func (c *cluster) connection(ctx context.Context, leader int32, index int) *connection {
	if _, ok := c.p.brokers[leader]; !ok || leader < 0 {
		return nil
	}
	at := slot{leader, index % c.p.opts.Connections}
	conn := c.p.conns[at]
	if conn == nil {
		conn = newConnection(c.p, leader)
		c.p.conns[at] = conn
		c.group.Go(func() { conn.run(ctx) })
	}
	return conn
}

// retire ends the connections to brokers that the cluster no longer names, once no
// partition is written through them. Where such a broker comes back it gets new ones.
//
// The race with an answer that is still on its way: its partition has been led elsewhere,
// but the connection stays until it has taken the answer (see over), so no record batch is
// left without one.
func (p *Producer) retire() {
	used := make(map[*connection]bool)
	for _, t := range p.topics {
		for _, part := range t.partitions {
			used[part.conn] = true
		}
	}
	for at, conn := range p.conns {
		if _, named := p.brokers[at.broker]; !named && !used[conn] {
			delete(p.conns, at)
			conn.retired = true
			signal(conn.wake)
		}
	}
}

// shrink drops the partitions from n on, which are gone because the topic was deleted and
// created again with fewer, and queues what they held elsewhere.
func (t *topic) shrink(v *verdicts, n int) bool {
	t.sticky = nil
	for len(t.partitions) > n {
		part := t.partitions[len(t.partitions)-1]
		if part.busy {
			return false
		}
		if c := part.chunk; c != nil {
			if c.unknown {
				c.doubt()
			}
			part.putBack(v)
		}
		part.lead(nil)
		t.partitions = t.partitions[:len(t.partitions)-1]
		var to *partition
		for i, s := range part.queue {
			if s.p.long != nil && s.p.long.partition == part {
				s.p.long.partition = nil
			}
			if i == 0 || s.p != part.queue[i-1].p { // a parcel stays in one partition
				to = t.choose(s.p)
			}
			to.queue = append(to.queue, s)
			to.queued += s.bytes()
			to.nudge()
		}
	}
	return true
}

// newID asks for a producer id if that is wanted and due.
func (c *cluster) newID(now time.Time) {
	p := c.p
	p.mu.Lock()
	p.wantID = p.wantID && !p.plain && !p.id.ok
	wanted := p.wantID && !now.Before(c.idAt)
	p.mu.Unlock()
	if !wanted {
		return
	}
	id, err := c.seek.producerID()
	now = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		c.idTries = 0
		p.wantID = false
		p.id = id
		if c.hadID {
			p.firstSeq = 0
		}
		c.hadID = true
	case errors.Is(err, sarama.ErrClusterAuthorizationFailed), errors.Is(err, sarama.ErrUnsupportedVersion),
		errors.Is(err, sarama.ErrTransactionalIDAuthorizationFailed):
		p.goPlain(words(err))
	default:
		c.idTries++
		c.idAt = now.Add(pause(c.idTries, p.opts.RetryMin, p.opts.RetryMax))
		return
	}
	for _, conn := range p.conns {
		signal(conn.wake)
	}
}

// tend looks after the topics: it notes changes of health, abandons what was refused for
// long, and forgets what is no longer used.
func (c *cluster) tend(now time.Time) {
	p := c.p
	var v verdicts
	p.mu.Lock()
	for name, t := range p.topics {
		p.look(t, now)
		t.limit.forget(now)
		p.abandon(&v, t, now)
		if t.unmapped && t.pending > 0 && !t.retryAt.After(now) {
			p.wantMap = true
		}
		if t.pending == 0 && now.Sub(t.lastUsed) > topicMemory && !slices.ContainsFunc(t.partitions, (*partition).kept) {
			for _, part := range t.partitions {
				part.lead(nil)
			}
			delete(p.topics, name)
		}
	}
	p.mu.Unlock()
	v.give()
}

// kept tells whether the partition still holds something.
func (part *partition) kept() bool { return !part.idle() || part.busy }
