package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// counts is what the broker knows of one topic.
type counts struct {
	Requests   int64  `json:"requests"`
	Batches    int64  `json:"batches"`
	Records    int64  `json:"records"`
	ValueBytes int64  `json:"value_bytes"` // of the records that were walked
	Walked     int64  `json:"walked"`      // records looked at one by one
	Headers    int64  `json:"headers"`     // of those
	Sum        uint64 `json:"sum"`         // of their values' checksums: see lineSum
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
	c.Sum += o.Sum
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

// ledger holds what is known of all topics and the next offset of each partition.
type ledger struct {
	mu      sync.Mutex // guards all below
	topics  map[string]*counts
	next    map[partition]int64
	when    map[string]arrivals // nil: nobody will ask
	latency histogram           // of the lines that carry their write time
}

func newLedger() *ledger {
	return &ledger{topics: make(map[string]*counts), next: make(map[partition]int64)}
}

// keepArrivals makes the ledger remember when lines came. What that takes grows with
// each arrivalBin that something comes in.
func (l *ledger) keepArrivals() { l.when = make(map[string]arrivals) }

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
	if l.when != nil {
		l.when[p.topic] = l.when[p.topic].add(c.FirstNano, c.Records)
	}
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

// answered takes note that the lines written at these times were answered for.
func (l *ledger) answered(nano int64, written []int64) {
	if len(written) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range written {
		l.latency.add(time.Duration(nano - w))
	}
}

// forget begins arrivals and latencies anew; the counts stay.
func (l *ledger) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.latency = histogram{}
	clear(l.when)
}

// arrivals copies when the lines of a topic came.
func (l *ledger) arrivals(topic string) arrivals {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.when[topic])
}

// latencies copies the histogram from write to answer.
func (l *ledger) latencies() *histogram {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.latency
	return &h
}
