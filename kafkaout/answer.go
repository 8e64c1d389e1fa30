package kafkaout

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/IBM/sarama"
)

// outcome is what an answer says about a record batch.
type outcome int

const (
	stored    outcome = iota // it stands in the partition, once
	refused                  // for certain not stored by this attempt; try again
	forbidden                // the same, but only somebody's action will change it
	tooLarge                 // the same, for its size
	forgotten                // the broker knows another story of this producer id
	unknown                  // it may have been stored
)

// judge tells what a broker's error code means for the record batch it answers.
func judge(err error) outcome {
	var code sarama.KError
	if !errors.As(err, &code) {
		return unknown
	}
	switch code {
	case sarama.ErrNoError, sarama.ErrDuplicateSequenceNumber:
		return stored
	case sarama.ErrMessageSizeTooLarge, sarama.ErrMessageSetSizeTooLarge:
		return tooLarge
	case sarama.ErrOutOfOrderSequenceNumber, sarama.ErrUnknownProducerID, sarama.ErrInvalidProducerEpoch,
		sarama.ErrProducerFenced, sarama.ErrInvalidProducerIDMapping, sarama.ErrInvalidTxnState:
		return forgotten
	case sarama.ErrTopicAuthorizationFailed, sarama.ErrInvalidTopic, sarama.ErrClusterAuthorizationFailed,
		sarama.ErrInvalidRecord, sarama.ErrInvalidTimestamp, sarama.ErrUnsupportedForMessageFormat,
		sarama.ErrUnsupportedCompressionType, sarama.ErrPolicyViolation, sarama.ErrInvalidRequiredAcks,
		sarama.ErrUnsupportedVersion:
		return forbidden
	case sarama.ErrUnknownTopicOrPartition, sarama.ErrLeaderNotAvailable, sarama.ErrNotEnoughReplicas, sarama.ErrReplicaNotAvailable, sarama.ErrFencedLeaderEpoch,
		sarama.ErrUnknownLeaderEpoch, sarama.ErrInvalidMessage, sarama.ErrThrottlingQuotaExceeded:
		return refused
	}
	// Among these is NOT_LEADER_OR_FOLLOWER: a leader that is replaced while it waits for the
	// other replicas answers so, and the new one may well have got the record batch from it.
	return unknown
}

// answered deals with the answer to a request: a response, or an error in its place.
func (p *Producer) answered(a answer) {
	now := time.Now()
	var v verdicts
	p.mu.Lock()
	for _, c := range a.request.chunks {
		err := a.err
		if err == nil {
			err = errNoAnswer
			if b := a.response.GetBlock(c.part.topic.name, c.part.index); b != nil {
				err = b.Err
			}
		}
		p.resolve(&v, c, judge(err), err, now)
	}
	if a.err == nil {
		p.measure(now.Sub(a.request.sent), a.request, now)
	}
	p.mu.Unlock()
	v.give()
}

var errNoAnswer = errors.New("the broker's response leaves the partition out")

// unwritten deals with a request of which no byte was written.
func (p *Producer) unwritten(req *request, err error) {
	now := time.Now()
	var v verdicts
	p.mu.Lock()
	for _, c := range req.chunks {
		p.resolve(&v, c, refused, err, now)
	}
	p.mu.Unlock()
	v.give()
}

// resolve applies an outcome to a chunk that is no longer on its way.
func (p *Producer) resolve(v *verdicts, c *chunk, o outcome, err error, now time.Time) {
	part := c.part
	t := part.topic
	part.busy = false
	if o == forbidden && errors.Is(err, sarama.ErrClusterAuthorizationFailed) && c.id.ok {
		p.goPlain("the cluster does not let this user write idempotently")
		o = forgotten
	}
	switch o {
	case stored:
		if c.unknown && !c.id.ok {
			c.doubt() // without a producer id nobody notices a repetition
		}
		part.acknowledge(v, c)
		p.accepted(t)
		t.limit.accept(c.bytes)
	case tooLarge, forgotten:
		if c.unknown || o == forgotten {
			// Its sequence may be used up, so it can't be sent under it in another shape.
			if c.unknown {
				c.doubt()
			}
			p.dropID(c.id)
		}
		if o == tooLarge {
			if why := part.tooLarge(v, p.opts.BatchBytes, now); why != "" {
				p.refuse(t, why, now)
			}
			break
		}
		part.putBack(v)
		part.failed(words(err), now)
		if part.tries > 1 { // a new producer id did not help at once
			part.retryAt = now.Add(pause(part.tries-1, p.opts.RetryMin, p.opts.RetryMax))
		}
	case forbidden:
		if !c.unknown {
			part.putBack(v)
		}
		p.refuse(t, topicWords(t.name, err), now)
		t.unmapped = false
	case refused, unknown:
		if o == unknown {
			c.unknown = true
		}
		if !c.unknown {
			part.putBack(v)
		}
		part.failed(words(err), now)
		part.retryAt = now.Add(pause(part.tries, p.opts.RetryMin, p.opts.RetryMax))
		p.askMap()
	}
	if !part.idle() {
		part.nudge()
	}
}

// acknowledge resolves every record of a stored chunk.
func (part *partition) acknowledge(v *verdicts, c *chunk) {
	part.chunk = nil
	part.queued -= c.bytes - batchOverhead
	if c.id.ok && part.id == c.id {
		part.seq = c.seq + int32(c.records)
	}
	part.tries, part.retryAt, part.trouble = 0, time.Time{}, ""
	for i := range c.spans {
		s := &c.spans[i]
		s.p.out -= s.records()
		if s.piece != nil && s.piece.cut != nil {
			s.piece.cut.acked = true
		}
		v.settle(s.p, s.records())
	}
}

// doubt counts the lines of a chunk that may stand in Kafka and will be, or were, written
// again.
func (c *chunk) doubt() {
	for i := range c.spans {
		c.spans[i].p.touched = true
		c.spans[i].p.verdict.Doubled += c.spans[i].records()
	}
}

// failed notes what is wrong with the partition.
func (part *partition) failed(why string, now time.Time) {
	if part.trouble == "" {
		part.troubleSince = now
	}
	part.trouble = why
	part.tries++
}

// refuse leaves the topic alone for a while.
func (p *Producer) refuse(t *topic, why string, now time.Time) {
	if t.refusal == "" {
		t.refusedSince = now
	}
	t.refusal = why
	if t.retryAt.After(now) {
		return // another of its partitions said so already
	}
	t.refusals++
	t.retryAt = now.Add(pause(t.refusals, p.opts.RefusedMin, p.opts.RefusedMax))
}

// accepted ends a refusal.
func (p *Producer) accepted(t *topic) {
	if t.refusal == "" {
		return
	}
	t.refusal, t.refusals, t.retryAt, t.unmapped = "", 0, time.Time{}, false
	for _, part := range t.partitions {
		if !part.idle() {
			part.nudge()
		}
	}
}

// abandon gives up record batches of unknown outcome whose entry was recalled, in a topic
// that has been refused for long. Others in the same record batch are queued anew; both
// are counted as doubled, and the sequence they had is never used again.
func (p *Producer) abandon(v *verdicts, t *topic, now time.Time) {
	if t.refusal == "" || now.Sub(t.refusedSince) < p.opts.AbandonAfter {
		return
	}
	for _, part := range t.partitions {
		if c := part.chunk; c != nil && !part.busy && c.recalled() {
			c.doubt()
			p.dropID(c.id)
			part.putBack(v)
		}
		part.giveUp(v)
	}
}

func (c *chunk) recalled() bool {
	for i := range c.spans {
		if c.spans[i].p.recall {
			return true
		}
	}
	return false
}

// goPlain ends idempotence.
func (p *Producer) goPlain(why string) {
	if p.plain {
		return
	}
	p.plain, p.id, p.wantID = true, producerID{}, false
	p.say(slog.LevelWarn, "writing without idempotence: a lost connection may double lines", "why", why)
}

// measure notes how long an answer took.
func (p *Producer) measure(took time.Duration, req *request, now time.Time) {
	ms := float64(took) / float64(time.Millisecond)
	if p.latency == 0 {
		p.latency = ms
	}
	p.latency += (ms - p.latency) / 8
	for _, c := range req.chunks {
		c.part.topic.slowly, c.part.topic.slowAt = took, now
	}
}

// words is an error without the prefixes of the library, for people.
func words(err error) string {
	if errors.Is(err, sarama.ErrSASLAuthenticationFailed) { // which may be wrapped so that errors.As does not see it
		return "the broker refuses user or password"
	}
	var code sarama.KError
	if errors.As(err, &code) {
		switch code {
		case sarama.ErrNotEnoughReplicas:
			return "too few replicas are in sync"
		case sarama.ErrNotEnoughReplicasAfterAppend:
			return "written, but too few replicas are in sync"
		case sarama.ErrNotLeaderForPartition:
			return "the leader has moved"
		case sarama.ErrLeaderNotAvailable:
			return "a leader is being elected"
		case sarama.ErrRequestTimedOut:
			return "the replicas do not answer in time"
		case sarama.ErrUnknownTopicOrPartition:
			return "the broker does not know the partition"
		case sarama.ErrOutOfOrderSequenceNumber, sarama.ErrUnknownProducerID:
			return "the broker lost its memory of this producer"
		case sarama.ErrInvalidProducerEpoch, sarama.ErrProducerFenced:
			return "the producer was fenced"
		case sarama.ErrUnsupportedSASLMechanism:
			return "the broker does not know this SASL mechanism"
		}
	}
	return trimmed(err)
}

// topicWords tells why a topic is refused.
func topicWords(topic string, err error) string {
	switch {
	case errors.Is(err, sarama.ErrTopicAuthorizationFailed):
		return fmt.Sprintf("not authorized for topic %s", topic)
	case errors.Is(err, sarama.ErrInvalidTopic):
		return fmt.Sprintf("%s is not a topic that the broker allows", topic)
	case errors.Is(err, sarama.ErrUnknownTopicOrPartition):
		return fmt.Sprintf("topic %s does not exist and the broker does not create it", topic)
	}
	return fmt.Sprintf("topic %s: %s", topic, trimmed(err))
}
