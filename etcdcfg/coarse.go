package etcdcfg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/agent"
)

// turnWait is how long the first status waits to learn who holds the live key.
const turnWait = 5 * time.Second

// statusKey keeps ROOT.status/<host> true with as few writes as can be: a new running or
// refused revision at once, anything else at most once in half a minute, nothing while
// nothing changes.
type statusKey struct {
	c    *Client
	o    ReportOptions
	turn *turn
	seen *seenKey

	started  time.Time
	written  agent.Coarse // without Seq and At
	text     string       // of written; "" until something was written
	revision int64        // of the key after that
	at       time.Time
}

func (s *statusKey) run(ctx context.Context) {
	s.started = time.Now()
	what := "status key of " + s.o.Live.Host
	defer s.c.link.settled(what)
	next := time.NewTimer(turnWait)
	defer next.Stop()
	wait, lost := firstBackoff, s.c.link.lostConnection()
	var pause time.Time // after a failure: the timer alone ends it, and finds what changed meanwhile
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.turn.changed:
		case <-s.o.Changed:
		case <-lost:
			// An etcd restored from a backup may not have what was written last.
			lost = s.c.link.lostConnection()
			if s.text != "" && s.gone(ctx) {
				s.text = ""
			}
		case <-next.C:
		}
		if time.Now().Before(pause) {
			continue
		}
		again, err := s.write(ctx)
		switch {
		case ctx.Err() != nil, errors.Is(err, ErrClosed):
			return
		case err == nil:
			s.c.link.settled(what)
			wait, pause = firstBackoff, time.Time{}
		default:
			if kindOf(err) == kindAnswer {
				s.c.link.refused(what, err.Error())
			}
			wait = s.c.longer(wait, err)
			again = wait/2 + rand.N(wait/2)
			pause = time.Now().Add(again)
		}
		next.Reset(again)
	}
}

// write writes the status where it is worth a write now, and returns when to look again.
func (s *statusKey) write(ctx context.Context) (again time.Duration, err error) {
	known, mine := s.turn.get()
	if left := turnWait - time.Since(s.started); !known && left > 0 {
		return left, nil
	}
	if known && !mine {
		s.text = "" // to be written when this agent takes over
		return s.c.timing.statusEvery, nil
	}
	coarse, text, err := s.now()
	if err != nil {
		return 0, err
	}
	if text == s.text {
		return s.c.timing.statusEvery, nil
	}
	if s.text == "" && len(coarse.Documents) == 0 && time.Since(s.started) < s.c.timing.statusEvery {
		return time.Second, nil // no config yet: one write instead of two
	}
	urgent, shared := s.text == "", false
	for _, key := range changedDocuments(s.written.Documents, coarse.Documents) {
		urgent = true
		_, host := s.c.layout.HostOf(key)
		shared = shared || !host
	}
	if left := s.c.timing.statusEvery - time.Since(s.at); !urgent && left > 0 {
		return left, nil
	}
	if shared && s.text != "" {
		if !sleep(ctx, rand.N(s.c.timing.jitter)) {
			return 0, ctx.Err()
		}
		if coarse, text, err = s.now(); err != nil { // what happened meanwhile goes with it
			return 0, err
		}
	}
	b, err := json.Marshal(coarse)
	if err != nil {
		return 0, fmt.Errorf("status of %s: %w", s.o.Live.Host, err)
	}
	err = s.c.do(ctx, "write the status of "+s.o.Live.Host, func(ctx context.Context, etcd *clientv3.Client) error {
		r, err := etcd.Put(ctx, s.c.layout.Status(s.o.Live.Host), string(b))
		if err == nil {
			s.revision = r.Header.Revision
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	s.written, s.text, s.at = coarse, text, time.Now()
	return s.c.timing.statusEvery, nil
}

// now is the newest status, and its text.
func (s *statusKey) now() (agent.Coarse, string, error) {
	status := s.o.Status()
	coarse := status.Coarse()
	coarse.Seen = s.seen.kept.Load()
	text, err := steadyText(coarse)
	return coarse, text, err
}

// gone tells whether the key is not what this agent wrote last.
func (s *statusKey) gone(ctx context.Context) bool {
	gone := true
	err := s.c.read(ctx, "read the status of "+s.o.Live.Host, func(ctx context.Context, etcd *clientv3.Client) error {
		r, err := etcd.Get(ctx, s.c.layout.Status(s.o.Live.Host), clientv3.WithKeysOnly())
		if err == nil {
			gone = len(r.Kvs) != 1 || r.Kvs[0].ModRevision != s.revision
		}
		return err
	})
	return err != nil || gone
}

// steadyText is the status without what changes all the time.
func steadyText(c agent.Coarse) (string, error) {
	c.Seq, c.At = 0, time.Time{}
	b, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("status of %s: %w", c.Host, err)
	}
	return string(b), nil
}

// changedDocuments returns the keys whose running or refused revision differs.
func changedDocuments(before, after []agent.DocumentStatus) []string {
	known := make(map[string]agent.DocumentStatus, len(before))
	for _, d := range before {
		known[d.Key] = d
	}
	var keys []string
	for _, d := range after {
		b, ok := known[d.Key]
		delete(known, d.Key)
		if !ok || b.Running != d.Running || refusedRevision(b) != refusedRevision(d) {
			keys = append(keys, d.Key)
		}
	}
	for key := range known {
		keys = append(keys, key)
	}
	return keys
}

func refusedRevision(d agent.DocumentStatus) int64 {
	if d.Refused == nil {
		return 0
	}
	return d.Refused.Revision
}
