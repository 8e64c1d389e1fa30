package kafkaout

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/IBM/sarama"
)

// requestsPerConnection is how many requests may be on their way at once on a connection.
// A broker takes them one after the other, so two are enough to keep it busy while an
// answer travels.
const requestsPerConnection = 2

// idleLimit is how long a connection may be unused: brokers and the boxes between close
// it silently some minutes later, which would look like a lost connection.
const idleLimit = 3 * time.Minute

// connection is one socket to one broker and the partitions that are written through it.
// Its goroutine alone connects, encodes and writes: sarama does all that under the
// broker's lock, so two goroutines would wait for each other.
type connection struct {
	p       *Producer
	broker  int32
	wake    chan struct{} // of size 1: there may be something to write
	answers chan answer   // of size requestsPerConnection: whoever reads the socket never waits

	// Guarded by Producer.mu:
	parts     []*partition // led by the broker and not idle, the one served longest ago first
	lost      string       // why there is no connection; "" while there is one or none was tried
	lostSince time.Time
	tries     int
	retryAt   time.Time
	retired   bool      // no partition will be written through it any more
	throttled time.Time // the broker's quota wants silence until then
	quotaBy   time.Time // when the quota began to be felt; zero while the last answer said nothing of it

	// Of run's goroutine:
	link     *sarama.Broker
	socket   *splice // link's
	inFlight int
	usedAt   time.Time
	encoder  encoder
}

// request is the record batches that travel together.
type request struct {
	chunks  []*chunk
	records int
	sent    time.Time
}

type answer struct {
	request  *request
	response *sarama.ProduceResponse
	err      error
}

func newConnection(p *Producer, broker int32) *connection {
	return &connection{
		p: p, broker: broker,
		wake:    make(chan struct{}, 1),
		answers: make(chan answer, requestsPerConnection),
		encoder: newEncoder(&p.opts),
	}
}

// run writes what is ready and takes answers until ctx ends or the broker is gone for good.
func (c *connection) run(ctx context.Context) {
	defer c.hangUp()
	timer := time.NewTimer(longWait)
	defer timer.Stop()
	armed := time.Now().Add(longWait) // when it fires: too early is no harm
	for ctx.Err() == nil && !c.over() {
		req, wait := c.next(time.Now())
		if req != nil {
			c.write(req)
			continue
		}
		if c.inFlight == 0 && c.encoder.large() {
			if time.Since(c.usedAt) >= restAfter {
				c.encoder.release()
			} else {
				wait = min(wait, restAfter)
			}
		}
		if until := time.Now().Add(wait); until.Before(armed) || !time.Now().Before(armed) {
			armed = until
			timer.Reset(wait)
		}
		select {
		case <-ctx.Done():
		case a := <-c.answers:
			c.answered(a)
		case <-c.wake:
		case <-timer.C:
		}
	}
}

// over tells whether the connection is retired and has taken every answer.
func (c *connection) over() bool {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	return c.retired && c.inFlight == 0
}

// restAfter is how long a connection keeps the memory for its last request.
const restAfter = time.Second

// longWait is for ever, for a timer.
const longWait = time.Hour

// next returns the next request, or how long there will be none if nobody wakes the
// connection.
func (c *connection) next(now time.Time) (*request, time.Duration) {
	if c.inFlight == requestsPerConnection {
		return nil, longWait
	}
	ready, wait := c.ready(now)
	if !ready {
		return nil, wait
	}
	if c.link != nil && c.inFlight == 0 && now.Sub(c.usedAt) > idleLimit {
		c.hangUp()
	}
	if c.link == nil && !c.connect() {
		return nil, 0
	}
	return c.pick(now), 0
}

// ready tells whether some partition can be written, else when the first one may be.
func (c *connection) ready(now time.Time) (bool, time.Duration) {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	switch wait := c.throttled.Sub(now); {
	case wait > 0:
		return false, wait
	case !c.quotaBy.IsZero() && c.inFlight > 0:
		// The broker reads nothing from a connection that it wants silent: a second request
		// would wait there until it counts as lost.
		return false, longWait
	}
	wait := longWait
	found := false
	c.parts = slices.DeleteFunc(c.parts, func(part *partition) bool {
		if part.idle() {
			part.listed = false
			return true
		}
		ok, until := c.p.ready(part, now)
		found = found || ok
		if !ok && !until.IsZero() {
			wait = min(wait, until.Sub(now))
		}
		return false
	})
	switch {
	case len(c.parts) == 0:
		// Nothing will be tried here, so nothing would ever show that the broker is back,
		// and the choice of partitions would leave it out for good.
		c.lost, c.tries, c.retryAt = "", 0, time.Time{}
	case c.retryAt.After(now):
		return false, c.retryAt.Sub(now)
	}
	return found, wait
}

// ready tells whether the partition has something to write now, else when it may; the
// zero time means that somebody will say so.
func (p *Producer) ready(part *partition, now time.Time) (bool, time.Time) {
	t := part.topic
	switch {
	case part.busy || part.idle():
		return false, time.Time{}
	case t.refusal != "" && t.retryAt.After(now):
		return false, t.retryAt
	case part.retryAt.After(now):
		return false, part.retryAt
	case part.chunk == nil && !p.plain && !p.id.ok:
		p.askID()
		return false, time.Time{}
	}
	return true, time.Time{}
}

// connect opens the socket; while it waits, no partition is taken.
func (c *connection) connect() bool {
	p := c.p
	p.mu.Lock()
	addr, named := p.brokers[c.broker]
	p.mu.Unlock()
	var link *sarama.Broker
	var socket *splice
	err := errNotNamed
	if named {
		link, socket, err = openSpliced(addr, p.cfg)
	} else {
		addr = strconv.Itoa(int(c.broker))
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		if c.lost == "" {
			c.lostSince = now
		}
		c.lost = "broker " + addr + ": " + words(err)
		c.tries++
		c.retryAt = now.Add(pause(c.tries, p.opts.RetryMin, p.opts.RetryMax))
		p.askMap() // the leaders may have moved
		return false
	}
	c.link, c.socket, c.usedAt = link, socket, now
	c.lost, c.tries, c.retryAt = "", 0, time.Time{}
	return true
}

// errNotNamed is why a broker is not even tried: one that is dead is left out of the map.
var errNotNamed = errors.New("the cluster does not name it now")

// hangUp closes the socket and takes the answers of what was on its way.
func (c *connection) hangUp() {
	if c.link == nil {
		return
	}
	// An error here says that the socket was closed already.
	_ = c.link.Close()
	c.link, c.socket = nil, nil
	for c.inFlight > 0 {
		c.answered(<-c.answers)
	}
}

// pick takes a record batch of every partition that is ready, until the request is full.
func (c *connection) pick(now time.Time) *request {
	p := c.p
	p.mu.Lock()
	defer p.mu.Unlock()
	req := &request{}
	var size int64
	var taken, left []*partition
	for _, part := range c.parts {
		ok, _ := p.ready(part, now)
		if ok && (size == 0 || size < p.opts.RequestBytes && req.records < mostRecords) {
			if ch := p.chunk(part, now); ch != nil {
				part.busy = true
				req.chunks = append(req.chunks, ch)
				req.records += ch.records
				size += ch.bytes
				taken = append(taken, part)
				continue
			}
		}
		left = append(left, part)
	}
	c.parts = append(left, taken...)
	if len(req.chunks) == 0 {
		return nil
	}
	return req
}

// chunk returns what is to be written to the partition: what it was before if the outcome
// of that is unknown, else a new record batch under the next sequence.
func (p *Producer) chunk(part *partition, now time.Time) *chunk {
	ch := part.chunk
	if ch == nil {
		if p.plain {
			ch = part.take(part.topic.limit.size(p.opts.BatchBytes))
			ch.id, ch.seq = producerID{id: -1, epoch: -1}, -1
		} else {
			if part.id != p.id {
				part.id, part.seq = p.id, p.firstSeq
			}
			if part.seq > lastSequence {
				p.dropID(part.id)
				return nil
			}
			ch = part.take(part.topic.limit.size(p.opts.BatchBytes))
			ch.id, ch.seq = part.id, part.seq
		}
		ch.first = now
	}
	ch.tries++
	return ch
}

// write encodes and writes the request. It returns when the socket has taken it.
func (c *connection) write(req *request) {
	body, err := c.encoder.encode(req)
	if err != nil {
		c.p.unwritten(req, err)
		return
	}
	req.sent = time.Now()
	c.usedAt = req.sent
	c.inFlight++
	c.socket.arm(body, c.encoder.room)
	err = c.link.AsyncProduce(c.encoder.stub(), func(res *sarama.ProduceResponse, err error) {
		c.answers <- answer{request: req, response: res, err: err}
	})
	written := c.socket.disarm()
	if err == nil {
		if !written { // whatever answer comes is none to this request
			c.hangUp()
		}
		return
	}
	c.inFlight-- // the callback is not called
	if !written && judge(err) == unknown {
		c.p.unwritten(req, err)
	} else {
		c.p.answered(answer{request: req, err: err})
	}
	c.hangUp()
}

// answered deals with one answer, and gives the connection up where there was none.
func (c *connection) answered(a answer) {
	c.inFlight--
	if a.response != nil {
		c.obey(a.response.ThrottleTime, time.Now())
	}
	c.p.answered(a)
	if a.err != nil {
		c.hangUp()
	}
}

// obey takes note of the silence that the broker's quota asks for. sarama would wait for it
// under its lock, deaf to everything else.
func (c *connection) obey(silence time.Duration, now time.Time) {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	switch {
	case silence <= 0:
		c.quotaBy = time.Time{}
		return
	case c.quotaBy.IsZero():
		c.quotaBy = now
	}
	c.throttled = now.Add(silence)
}
