package kafkaout

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"logagent/agent"
)

// Topic tells how a topic is doing; the zero value for one that was never sent to. It
// takes a look at each of its partitions and asks nobody.
func (p *Producer) Topic(name string) agent.TopicState {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.topics[name]
	if t == nil {
		return agent.TopicState{}
	}
	if now := time.Now(); now.Sub(t.lookedAt) > lookEvery {
		p.look(t, now)
	}
	return t.health
}

// lookEvery is how long a look at a topic lasts: an agent may ask for each of its files.
const lookEvery = 20 * time.Millisecond

// Link tells whether any broker answers, and how fast lately.
func (p *Producer) Link() agent.LinkStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.link
	l.LatencyMS = p.latency
	return l
}

func (p *Producer) linkUp(now time.Time) {
	if p.link.Up {
		return
	}
	p.link = agent.LinkStatus{Up: true, Since: now}
	p.say(slog.LevelInfo, "kafka answers", "addrs", strings.Join(p.opts.Addrs, ","))
}

func (p *Producer) linkDown(why string, now time.Time) {
	if p.link.Up || !p.saidDown {
		p.link.Since = now
		p.saidDown = true
		p.say(slog.LevelWarn, "kafka does not answer", "why", why, "next", "trying again; the files are the buffer")
	}
	p.link.Up, p.link.Error = false, why
}

// news is something to be logged once the lock is released.
type news struct {
	level slog.Level
	words string
	pairs []any
}

// say leaves a log entry to the cluster loop: the lock is held here.
func (p *Producer) say(level slog.Level, words string, pairs ...any) {
	p.news = append(p.news, news{level, words, pairs})
	signal(p.ask)
}

// look brings t.health up to date and says once what changed.
func (p *Producer) look(t *topic, now time.Time) {
	t.lookedAt = now
	s := p.state(t, now)
	switch {
	case s.Health != t.health.Health:
		if s.Since.IsZero() {
			s.Since = now
		}
		if s.Health == agent.HealthOK {
			p.say(slog.LevelInfo, "topic is written again", "topic", t.name, "before", t.health.Why)
		} else {
			p.say(slog.LevelWarn, healthWords[s.Health], "topic", t.name, "why", s.Why)
		}
	default:
		s.Since = t.health.Since
	}
	t.health = s
}

var healthWords = map[agent.Health]string{
	agent.HealthSlow:    "topic is slow",
	agent.HealthDown:    "topic can not be written",
	agent.HealthRefused: "topic is refused",
}

// state works out the health of a topic from what its partitions wait for: the worst of
// them counts.
func (p *Producer) state(t *topic, now time.Time) agent.TopicState {
	if t.refusal != "" {
		return agent.TopicState{Health: agent.HealthRefused, Why: t.refusal, Since: t.refusedSince}
	}
	if len(t.waiting) > 0 && !p.link.Up && p.saidDown {
		return agent.TopicState{Health: agent.HealthDown, Why: p.link.Error, Since: p.link.Since}
	}
	if !t.missingSince.IsZero() && now.Sub(t.missingSince) > p.opts.SlowAfter && t.pending > 0 {
		return agent.TopicState{Health: agent.HealthSlow, Why: "the topic does not exist yet", Since: t.missingSince}
	}
	var slow agent.TopicState
	worse := func(why string, since time.Time) {
		if slow.Health == agent.HealthOK || since.Before(slow.Since) {
			slow = agent.TopicState{Health: agent.HealthSlow, Why: why, Since: since}
		}
	}
	for _, part := range t.partitions {
		switch {
		case part.idle():
		case part.conn == nil:
			return agent.TopicState{Health: agent.HealthDown, Why: fmt.Sprintf("partition %d has no leader", part.index)}
		case part.conn.lost != "":
			return agent.TopicState{Health: agent.HealthDown, Why: part.conn.lost, Since: part.conn.lostSince}
		case part.trouble != "" && now.Sub(part.troubleSince) > p.opts.SlowAfter:
			worse(fmt.Sprintf("partition %d: %s", part.index, part.trouble), part.troubleSince)
		case part.busy && now.Sub(part.chunk.first) > p.opts.SlowAfter:
			worse(fmt.Sprintf("broker %d has not answered for %s", part.conn.broker,
				now.Sub(part.chunk.first).Round(time.Second)), part.chunk.first)
		case part.conn.throttled.After(now) && now.Sub(part.conn.quotaBy) > p.opts.SlowAfter:
			worse(fmt.Sprintf("the quota of broker %d lets this agent write only now and then", part.conn.broker), part.conn.quotaBy)
		}
	}
	if slow.Health == agent.HealthOK && t.slowly > p.opts.SlowAfter && now.Sub(t.slowAt) < slowMemory {
		worse(fmt.Sprintf("answers take %s", t.slowly.Round(100*time.Millisecond)), t.slowAt.Add(-t.slowly))
	}
	return slow
}

// slowMemory is how long one slow answer keeps a topic slow.
const slowMemory = 10 * time.Second

// trimmed is an error's text without what only a programmer needs.
func trimmed(err error) string {
	var timeout net.Error
	switch {
	case closedByPeer(err):
		return "the broker closed the connection"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "no answer in time"
	}
	text := err.Error()
	text = strings.TrimPrefix(text, "kafka server: ")
	return strings.TrimPrefix(text, "kafka: ")
}

func closedByPeer(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}
