package agent

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	sampleEvery = time.Second
	rateSpan    = 4 // samples a rate looks back over

	historyStep  = 10 // seconds
	historySteps = 60 // ten minutes
)

// meter turns counters into rates over the last seconds and into ten minutes of history.
type meter struct {
	at      [rateSpan + 1]time.Time
	samples [rateSpan + 1]counters
	n       int // samples taken, at most rateSpan+1

	stepAt   time.Time
	stepFrom counters
	avgLine  float64 // bytes per line, of the last step that had any
	steps    []step  // a ring once it holds historySteps; begun when the first line flows
	next     int     // ring position
}

type step struct {
	in, out uint32
	lag     int64
}

func (m *meter) start(now time.Time) {
	m.at[0], m.n, m.stepAt = now, 1, now
}

// take takes a sample.
func (m *meter) take(now time.Time, c *counters, lag int64) {
	if m.n <= rateSpan {
		m.at[m.n], m.samples[m.n] = now, *c
		m.n++
	} else {
		copy(m.at[:], m.at[1:])
		copy(m.samples[:], m.samples[1:])
		m.at[rateSpan], m.samples[rateSpan] = now, *c
	}
	if lines := c.lines - m.samples[0].lines; lines > 0 {
		m.avgLine = float64(c.bytes-m.samples[0].bytes) / float64(lines)
	}
	took := now.Sub(m.stepAt)
	if took < historyStep*time.Second {
		return
	}
	s := step{out: perSecond(c.lines-m.stepFrom.lines, took), lag: lag}
	if m.avgLine > 0 {
		s.in = uint32(float64(c.inBytes-m.stepFrom.inBytes)/m.avgLine/took.Seconds() + 0.5)
	}
	m.stepAt, m.stepFrom = now, *c
	switch {
	case m.steps == nil && s == (step{}):
	case len(m.steps) < historySteps:
		m.steps = append(m.steps, s)
	default:
		m.steps[m.next] = s
		m.next = (m.next + 1) % historySteps
	}
}

func perSecond(n uint64, d time.Duration) uint32 {
	return uint32(float64(n)/d.Seconds() + 0.5)
}

// history returns the last ten minutes, or the shorter time that something has flowed
// for; nil where nothing has.
func (m *meter) history() *History {
	if m.steps == nil {
		return nil
	}
	n := len(m.steps)
	h := &History{StepSeconds: historyStep, In: make([]uint32, n), Out: make([]uint32, n), Lag: make([]int64, n)}
	for i := range n {
		s := m.steps[(m.next+i)%n]
		h.In[i], h.Out[i], h.Lag[i] = s.in, s.out, s.lag
	}
	return h
}

// totals fills in counters and rates. unknown line lengths leave the in rate at the out
// rate's lines.
func (m *meter) totals(c *counters) Totals {
	t := Totals{
		Lines: c.lines, Bytes: c.bytes, Doubled: c.doubled, LostBytes: c.lost,
		Split: c.split, Truncated: c.truncated, Skipped: c.skipped, Errors: c.errors,
	}
	if m.n < 2 {
		return t
	}
	last := m.n - 1
	secs := m.at[last].Sub(m.at[0]).Seconds()
	a, b := &m.samples[0], &m.samples[last]
	t.OutLinesPerSec = float64(b.lines-a.lines) / secs
	t.OutBytesPerSec = float64(b.bytes-a.bytes) / secs
	t.InBytesPerSec = float64(b.inBytes-a.inBytes) / secs
	if m.avgLine > 0 {
		t.InLinesPerSec = t.InBytesPerSec / m.avgLine
	}
	t.ThrottledShare = min(1, float64(b.throttledNanos-a.throttledNanos)/1e9/secs)
	return t
}

// causeTrail books where a source's readers have waited lately.
type causeTrail struct {
	spent [waitKinds]time.Duration // decays by half with every sample
	text  string
	state State
	since time.Time
}

func (c *causeTrail) book(k waitKind, d time.Duration) { c.spent[k] += d }

func (c *causeTrail) decay() {
	for i := range c.spent {
		c.spent[i] /= 2
	}
}

// processMeter tells what the agent itself costs.
type processMeter struct {
	at  time.Time
	cpu time.Duration
	pct float64
}

func (p *processMeter) take(now time.Time) {
	var ru unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &ru) != nil {
		return
	}
	cpu := time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	if !p.at.IsZero() {
		pct := 100 * float64(cpu-p.cpu) / float64(now.Sub(p.at))
		p.pct += (pct - p.pct) / 3
	}
	p.at, p.cpu = now, cpu
}

// rssBytes returns the process's resident memory, 0 where /proc does not tell.
func rssBytes() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.ParseInt(f[1], 10, 64)
	return n * int64(os.Getpagesize())
}

// quiet tells whether a sample would change nothing: an idle file costs no more than this
// question.
func (m *meter) quiet(c *counters, lag int64) bool {
	return m.steps == nil && lag == 0 && m.n > rateSpan && m.samples[0] == *c
}
