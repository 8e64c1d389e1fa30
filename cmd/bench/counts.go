package main

import (
	"fmt"
	"sync"
)

// counts is what the broker knows of one topic.
type counts struct {
	Requests   int64  `json:"requests"`
	Batches    int64  `json:"batches"`
	Records    int64  `json:"records"`
	ValueBytes int64  `json:"value_bytes"` // of the records that were walked
	Walked     int64  `json:"walked"`      // records looked at one by one
	Headers    int64  `json:"headers"`     // of those
	WireBytes  int64  `json:"wire_bytes"`  // of the record batches as sent
	BadCRC     int64  `json:"bad_crc"`
	BadCount   int64  `json:"bad_count"`     // batches whose records are not what their header says
	FirstNano  int64  `json:"first_nano"`    // when the first produce request was read
	LastNano   int64  `json:"last_nano"`     // when the last one was answered
	Why        string `json:"why,omitempty"` // the first thing that was wrong
}

func (c *counts) add(o counts) {
	c.Requests += o.Requests
	c.Batches += o.Batches
	c.Records += o.Records
	c.ValueBytes += o.ValueBytes
	c.Walked += o.Walked
	c.Headers += o.Headers
	c.WireBytes += o.WireBytes
	c.BadCRC += o.BadCRC
	c.BadCount += o.BadCount
	if c.FirstNano == 0 || o.FirstNano < c.FirstNano {
		c.FirstNano = o.FirstNano
	}
	c.LastNano = max(c.LastNano, o.LastNano)
	if c.Why == "" {
		c.Why = o.Why
	}
}

// wrong tells what the broker found wrong, or nil.
func (c *counts) wrong() error {
	if c.BadCRC+c.BadCount == 0 {
		return nil
	}
	return fmt.Errorf("%d batches with a wrong checksum, %d with wrong records: %s", c.BadCRC, c.BadCount, c.Why)
}

// partition names one partition of a topic.
type partition struct {
	topic string
	index int32
}

// ledger holds the counts of all topics and the next offset of each partition.
type ledger struct {
	mu     sync.Mutex // guards both
	topics map[string]*counts
	next   map[partition]int64
}

func newLedger() *ledger {
	return &ledger{topics: make(map[string]*counts), next: make(map[partition]int64)}
}

// add takes note of a batch and returns the offset of its first record.
func (l *ledger) add(p partition, c counts) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.topics[p.topic]
	if t == nil {
		t = &counts{}
		l.topics[p.topic] = t
	}
	t.add(c)
	base := l.next[p]
	l.next[p] = base + c.Records
	return base
}

// snapshot copies the counts of every topic.
func (l *ledger) snapshot() map[string]counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]counts, len(l.topics))
	for topic, c := range l.topics {
		out[topic] = *c
	}
	return out
}
