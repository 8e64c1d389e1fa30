package agent

import (
	"errors"
	"time"
)

// Verdicts other than success. All of them mean: the agent goes back to committed and
// reads those lines again for whatever is desired by then.
var (
	// ErrRecalled: the batch was taken back before any broker can have stored it.
	ErrRecalled = errors.New("recalled before it was written")
	// ErrAbandoned: given up with an unknown outcome; its lines may be doubled.
	ErrAbandoned = errors.New("abandoned with an unknown outcome")
	// ErrClosed: the sink was closed before a broker answered.
	ErrClosed = errors.New("sink closed before the broker answered")
)

// Line is one line of a Batch: Buf[From:To], without its line end.
type Line struct {
	From, To uint32
}

// Batch is the unit on the way from a file to Kafka: consecutive whole lines of one
// file incarnation in one buffer, the byte range they came from, and one verdict. Between
// Send and Done the batch belongs to the sink, which reads it and writes nothing in it.
// What a batch is made of (ranges, lines) is enough to make it again from the file.
type Batch struct {
	Service *Service // the entry it was read for; immutable
	Path    string   // value of header path: the path the entry matched, also for rotated files

	Start, End int64 // byte range of the incarnation that this batch accounts for
	// Buf holds the bytes from Start on. It is shorter than End-Start where a skipped or
	// truncated line was left out.
	Buf   []byte
	Lines []Line    // never empty in a batch handed to a Sink; blank lines are left out
	Read  time.Time // when Buf was read: the records' timestamp

	// Part is 0 for whole lines. Otherwise Lines holds one piece of a long line: its
	// number from 1, with Parts set to their count on the last one.
	Part, Parts int

	done   func(*Batch, Verdict)
	flight *flight // where the agent's window keeps it
}

// NewBatch is for tests of sinks: done is called exactly once with the verdict.
func NewBatch(s *Service, path string, buf []byte, lines []Line, done func(*Batch, Verdict)) *Batch {
	return &Batch{Service: s, Path: path, Buf: buf, End: int64(len(buf)), Lines: lines, Read: time.Now(), done: done}
}

// Verdict is what became of a batch.
type Verdict struct {
	Err       error // nil: every record is acknowledged, or left out by the oversize policy
	Doubled   int   // lines that may stand in Kafka twice
	Split     int   // lines sent in several records because the topic takes less than max_line_bytes
	Truncated int   // lines cut to what the topic takes
	Skipped   int   // lines left out because the topic takes less
}

// Done gives the verdict. The sink calls it exactly once, from any goroutine; it does not
// block. The sink must not touch the batch afterwards.
func (b *Batch) Done(v Verdict) { b.done(b, v) }

// Sink takes batches and gives each one a verdict.
type Sink interface {
	// Send takes the batch and returns without waiting for a broker. Batches of one path
	// that go to one partition arrive there in the order of Send. Any goroutine may call
	// it, one at a time for one file.
	Send(*Batch)
	// Recall asks for the batches of an entry (by its log_path): those that no broker can
	// have stored (not yet written, or definitely refused) get ErrRecalled before Recall
	// returns or soon after; those of unknown outcome stay until the broker has answered.
	Recall(logPath string)
	// Topic tells how a topic is doing; the zero value for one never seen.
	Topic(topic string) TopicState
	// Link tells how the connection to the cluster is doing.
	Link() LinkStatus
}

// Health is how a topic is doing.
type Health int

const (
	HealthOK      Health = iota // batches are acknowledged
	HealthSlow                  // answers take long or are retried
	HealthDown                  // no broker, or no leader, answers
	HealthRefused               // a permanent refusal: authorization, invalid topic
)

// TopicState is the health of one topic with the reason in words.
type TopicState struct {
	Health Health
	Why    string    // the broker's error in plain words; "" when ok
	Since  time.Time // when Health became what it is
}
