package lab

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"time"
)

// LedgerOptions says how a Ledger writes.
type LedgerOptions struct {
	Path      string
	Name      string // begins every line; tells the lines of several ledgers apart
	LineBytes int    // about how long a line is; 0 means 100
	MaxBytes  int64  // rotate at this size; 0 means only when Rotate is called
	Keep      int    // rotated files kept; 0 means 1000

	Rotation Rotation // not RotateGzip where MaxBytes is set
	// Torn makes two of every write, cut at any byte: a reader who looks between them finds
	// no whole line at the end.
	Torn bool
}

// Ledger writes unique numbered lines into a log that it rotates, and knows what it wrote.
// Each line carries a checksum, so neither a fragment nor two glued lines can pass for
// another line. Any goroutine may call its methods.
type Ledger struct {
	opts LedgerOptions

	rotating sync.Mutex // held while the log is rotated; taken before mu

	mu    sync.Mutex // guards file and lines
	file  *rotatingFile
	lines []string
}

// NewLedger opens the log, creating its folder, and writes nothing yet.
func NewLedger(o LedgerOptions) (*Ledger, error) {
	if o.LineBytes == 0 {
		o.LineBytes = 100
	}
	if o.Keep == 0 {
		o.Keep = 1000
	}
	if o.Rotation == RotateGzip && o.MaxBytes > 0 {
		return nil, errors.New("ledger: rotation with compression is for Rotate, not for MaxBytes")
	}
	f, err := openRotating(o.Path, o.MaxBytes, o.Keep)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	f.kind, f.torn = o.Rotation, o.Torn
	return &Ledger{opts: o, file: f}, nil
}

// Write appends n lines in one write, or in two where the ledger is Torn.
func (l *Ledger) Write(n int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var buf []byte
	fresh := make([]string, n)
	for i := range fresh {
		fresh[i] = l.line(len(l.lines) + i + 1)
		buf = append(buf, fresh[i]...)
		buf = append(buf, '\n')
	}
	if _, err := l.file.Write(buf); err != nil {
		return fmt.Errorf("ledger %s: %w", l.opts.Path, err)
	}
	l.lines = append(l.lines, fresh...)
	return nil
}

// Rotate rotates the log. Lines may be written while its old ones are compressed.
func (l *Ledger) Rotate() error {
	l.rotating.Lock()
	defer l.rotating.Unlock()
	l.mu.Lock()
	err := l.file.rotate()
	l.mu.Unlock()
	if err == nil && l.opts.Rotation == RotateGzip {
		err = l.file.compress()
	}
	if err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}

// Reopen opens the log by its name anew, for those who rotate it from outside.
func (l *Ledger) Reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.file.reopen(); err != nil {
		return fmt.Errorf("ledger: %w", err)
	}
	return nil
}

// Run writes about perSecond lines a second until ctx ends, then returns nil.
func (l *Ledger) Run(ctx context.Context, perSecond int) error {
	return paced(ctx, func(time.Duration) float64 { return float64(perSecond) },
		func(_ time.Time, n int) error { return l.Write(n) })
}

// Lines returns every line written so far, without line ends.
func (l *Ledger) Lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines[:len(l.lines):len(l.lines)]
}

// Count returns how many lines were written so far.
func (l *Ledger) Count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lines)
}

// Close closes the log; what was written stays.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}

// line makes the nth line: name, number, filler, checksum.
func (l *Ledger) line(n int) string {
	const filler = "the quick brown fox jumps over the lazy dog "
	b := fmt.Appendf(make([]byte, 0, l.opts.LineBytes+len(filler)), "%s %09d ", l.opts.Name, n)
	for at := n; len(b) < l.opts.LineBytes-8; at++ {
		b = append(b, filler[at%len(filler)])
	}
	return string(fmt.Appendf(b, "%08x", crc32.ChecksumIEEE(b)))
}
