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

// meter turns counters into rates over the last seconds and into ten minutes of history. An
// idle file's holds neither: what does not flow costs nothing.
type meter struct {
	pulse *pulse // nil: at rest, every rate is 0
	past  *past  // nil: nothing has flowed in ten minutes
}

// flow are the counters that rates are made of.
type flow struct{ lines, bytes, inBytes, throttledNanos uint64 }

func (c *counters) flow() flow { return flow{c.lines, c.bytes, c.inBytes, c.throttledNanos} }

// pulse are the samples of the last seconds, and where readers have waited meanwhile.
type pulse struct {
	n       int // samples taken, at most rateSpan+1
	at      [rateSpan + 1]time.Time
	samples [rateSpan + 1]flow
	spent   [waitKinds]time.Duration // decays by half with every sample
}

// begin starts to take samples.
func (m *meter) begin(now time.Time, c *counters) {
	m.pulse = &pulse{n: 1}
	m.pulse.at[0], m.pulse.samples[0] = now, c.flow()
}

// beginStill starts to take samples of what has stood still until now. So the samples of the last
// seconds are known: a line that comes a moment before the next one is a line in rateSpan
// seconds, not in that moment.
func (m *meter) beginStill(now time.Time, c *counters) {
	m.pulse = &pulse{n: rateSpan + 1}
	for i := range m.pulse.at {
		m.pulse.at[i], m.pulse.samples[i] = now.Add(time.Duration(i-rateSpan-1)*sampleEvery), c.flow()
	}
}

// steady tells whether every sample is the same as the counters are now: all rates are 0.
func (p *pulse) steady(c *counters) bool {
	return p.n > rateSpan && p.samples[0] == c.flow()
}

// take takes a sample, in step s of the agent's.
func (m *meter) take(now time.Time, s stepClock, c *counters, lag int64) {
	if m.pulse == nil {
		m.begin(now, c)
		return
	}
	f, p := c.flow(), m.pulse
	if m.past == nil && (lag > 0 || f != p.samples[p.n-1]) {
		m.past = &past{step: s.n, from: p.samples[p.n-1]}
	}
	if p.n <= rateSpan {
		p.n++
	} else {
		copy(p.at[:], p.at[1:])
		copy(p.samples[:], p.samples[1:])
	}
	p.at[p.n-1], p.samples[p.n-1] = now, f
	if m.past == nil {
		return
	}
	if lines := f.lines - p.samples[0].lines; lines > 0 {
		m.past.avgLine = float64(f.bytes-p.samples[0].bytes) / float64(lines)
	}
	m.catchUp(s, f, lag)
}

// catchUp brings the history to the agent's step.
func (m *meter) catchUp(s stepClock, f flow, lag int64) {
	if m.past != nil && m.past.upTo(s, f, lag) {
		m.past = nil
	}
}

// stepClock counts the steps of history, the same for the whole agent.
type stepClock struct {
	n    int64         // that have ended
	took time.Duration // by the last one
	at   time.Time     // when it ended
}

// tick tells the clock the time.
func (s *stepClock) tick(now time.Time) {
	if took := now.Sub(s.at); took >= historyStep*time.Second {
		s.n, s.took, s.at = s.n+1, took, now
	}
}

// past is the history of what flows, or has flowed in the last ten minutes.
type past struct {
	step    int64 // the agent's, when the last step here was ended
	from    flow  // counters by then
	avgLine float64
	steps   []step // a ring once it holds historySteps
	next    int    // ring position
	still   int    // empty steps at the end
}

type step struct {
	in, out uint32
	lag     int64
}

// upTo ends the steps that the agent has ended since, and tells whether nothing is left to
// remember.
func (p *past) upTo(s stepClock, f flow, lag int64) (empty bool) {
	if s.n-p.step > historySteps { // at rest for longer
		return true
	}
	for p.step < s.n {
		took := s.took
		if s.n-p.step > 1 {
			took = historyStep * time.Second // that of an older step is not known any more; it is hardly longer
		}
		t := step{out: perSecond(f.lines-p.from.lines, took), lag: lag}
		if p.avgLine > 0 {
			t.in = uint32(float64(f.inBytes-p.from.inBytes)/p.avgLine/took.Seconds() + 0.5)
		}
		p.step, p.from = p.step+1, f
		p.add(t)
	}
	return p.still >= historySteps
}

func (p *past) add(t step) {
	p.still++
	if t != (step{}) {
		p.still = 0
	}
	if len(p.steps) < historySteps {
		p.steps = append(p.steps, t)
		return
	}
	p.steps[p.next] = t
	p.next = (p.next + 1) % historySteps
}

func perSecond(n uint64, d time.Duration) uint32 {
	return uint32(float64(n)/d.Seconds() + 0.5)
}

// history returns the last ten minutes, or the shorter time that something has flowed
// for; nil where nothing has.
func (m *meter) history() *History {
	if m.past == nil || len(m.past.steps) == 0 {
		return nil
	}
	p := m.past
	n := len(p.steps)
	h := &History{StepSeconds: historyStep, In: make([]uint32, n), Out: make([]uint32, n), Lag: make([]int64, n)}
	for i := range n {
		s := p.steps[(p.next+i)%n]
		h.In[i], h.Out[i], h.Lag[i] = s.in, s.out, s.lag
	}
	return h
}

// totals fills in what the counters tell.
func (c *counters) totals() Totals {
	return Totals{
		Lines: c.lines, Bytes: c.bytes, Doubled: c.doubled, LostBytes: c.lost,
		Split: c.split, Truncated: c.truncated, Skipped: c.skipped, Errors: c.errors,
		SkippedBytes: c.soughtSkipped, RepeatedBytes: c.soughtRepeated, ReturnedBytes: c.soughtReturned,
	}
}

// rates fills in what flows. Unknown line lengths leave out the lines coming in.
func (m *meter) rates(t *Totals) {
	if m.pulse == nil || m.pulse.n < 2 {
		return
	}
	last := m.pulse.n - 1
	secs := m.pulse.at[last].Sub(m.pulse.at[0]).Seconds()
	a, b := &m.pulse.samples[0], &m.pulse.samples[last]
	t.OutLinesPerSec = float64(b.lines-a.lines) / secs
	t.OutBytesPerSec = float64(b.bytes-a.bytes) / secs
	t.InBytesPerSec = float64(b.inBytes-a.inBytes) / secs
	if m.past != nil && m.past.avgLine > 0 {
		t.InLinesPerSec = t.InBytesPerSec / m.past.avgLine
	}
	t.ThrottledShare = min(1, float64(b.throttledNanos-a.throttledNanos)/1e9/secs)
}

// lately returns the bytes acknowledged per second since the sample before the last.
func (m *meter) lately() float64 {
	p := m.pulse
	if p == nil || p.n < 2 {
		return 0
	}
	a, b := p.n-2, p.n-1
	return float64(p.samples[b].bytes-p.samples[a].bytes) / p.at[b].Sub(p.at[a]).Seconds()
}

// book notes where a reader has waited.
func (p *pulse) book(k waitKind, d time.Duration) {
	if p != nil {
		p.spent[k] += d
	}
}

func (p *pulse) decay() {
	for i := range p.spent {
		p.spent[i] /= 2
	}
}

// share is the part of the last seconds that the readers spent in a wait.
func (p *pulse) share(k waitKind) float64 {
	if p == nil {
		return 0
	}
	var sum time.Duration
	for _, d := range p.spent {
		sum += d
	}
	if sum == 0 {
		return 0
	}
	return float64(p.spent[k]) / float64(sum)
}

// judgement is what was last said of a source.
type judgement struct {
	text  string
	state State
	since time.Time
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
