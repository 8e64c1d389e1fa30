package ui

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"

	"logagent/agent"
	"logagent/etcdcfg/change"
	"logagent/ui/store"
)

// person sits in front of a console without a terminal: keys in, screen out, and a clock
// that only moves when told to.
type person struct {
	t      *testing.T
	app    *app
	store  *store.Store
	clock  *fakeClock
	timers []fakeTimer
	writer *fakeWriter
	past   *fakeHistory
	watch  *fakeWatcher
	quit   bool

	watching string         // the host whose watch was begun last
	underWay []chan tea.Msg // commands that have not returned
}

type fakeClock struct {
	mu sync.Mutex
	at time.Time
}

func (c *fakeClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *fakeClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

type fakeTimer struct {
	at  time.Time
	msg tea.Msg
}

// write is one call of SetRate.
type write struct {
	host, logPath string
	from, to      int64
}

// fakeWriter answers writes at once, or when told to.
type fakeWriter struct {
	mu      sync.Mutex
	calls   []write  // of SetRate
	others  []string // of the others, in words
	tunings []string // of all that have one, in order
	seen    []byte   // what the last rollback was asked about
	next    int64    // revision
	err     error
	hold    chan struct{} // nil: answers at once

	hanging chan struct{} // a write hangs
}

func (w *fakeWriter) SetRate(ctx context.Context, name, logPath string, from, to int64, tuning string) (int64, error) {
	return w.do(ctx, func() {
		w.calls = append(w.calls, write{name, logPath, from, to})
		w.tunings = append(w.tunings, tuning)
	})
}

func (w *fakeWriter) Own(ctx context.Context, host, logPath string, from agent.Service, rate int64, tuning string) (int64, error) {
	return w.do(ctx, func() {
		w.others = append(w.others, fmt.Sprintf("own %s %s %s %d → %d", host, logPath, from.Topic, from.SendRate, rate))
		w.tunings = append(w.tunings, tuning)
	})
}

func (w *fakeWriter) Disown(ctx context.Context, host, logPath string, from agent.Service, rate int64, tuning string) (int64, error) {
	return w.do(ctx, func() {
		w.others = append(w.others, fmt.Sprintf("disown %s %s %s %d", host, logPath, from.Topic, rate))
		w.tunings = append(w.tunings, tuning)
	})
}

func (w *fakeWriter) Rollback(ctx context.Context, name, id string, now []byte, note string) (int64, error) {
	return w.do(ctx, func() {
		w.others = append(w.others, fmt.Sprintf("rollback %s %s %q", name, id, note))
		w.seen = now
	})
}

func (w *fakeWriter) do(ctx context.Context, note func()) (int64, error) {
	w.mu.Lock()
	note()
	w.next++
	rev, err, hold := w.next, w.err, w.hold
	w.mu.Unlock()
	if hold != nil {
		w.hanging <- struct{}{}
		select {
		case <-hold:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	if err != nil {
		return 0, err
	}
	return rev, nil
}

// told is what was asked of everything but SetRate.
func (w *fakeWriter) told() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.others)
}

// fakeHistory answers at once, or when told to.
type fakeHistory struct {
	mu      sync.Mutex
	records map[string][]change.Record
	err     error
	reads   int
	hold    chan struct{} // nil: answers at once
	hanging chan struct{}
}

func (h *fakeHistory) History(ctx context.Context, name string, most int) ([]change.Record, error) {
	h.mu.Lock()
	h.reads++
	records, err, hold := slices.Clone(h.records[name]), h.err, h.hold
	h.mu.Unlock()
	if hold != nil {
		h.hanging <- struct{}{}
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return records[:min(len(records), most)], err
}

func (h *fakeHistory) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

func (w *fakeWriter) written() []write {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls)
}

// fakeWatcher notes who is watched.
type fakeWatcher struct {
	held  chan string // a watch began
	ended chan string
}

func (w *fakeWatcher) HoldWatch(ctx context.Context, host string) error {
	w.held <- host
	<-ctx.Done()
	w.ended <- host
	return ctx.Err()
}

// sit opens a console of the given size over the sample fleet.
func sit(t *testing.T, width, height int, change func(*Options)) *person {
	t.Helper()
	p := &person{t: t, clock: &fakeClock{at: sampleStart()}, writer: &fakeWriter{next: 48300, hanging: make(chan struct{})},
		watch: &fakeWatcher{held: make(chan string), ended: make(chan string, 8)}}
	p.past = &fakeHistory{records: samplePast(p.clock.now()), hanging: p.writer.hanging}
	p.store = sample(p.clock.now)
	o := Options{
		Store: p.store, Writer: p.writer, Watcher: p.watch, History: p.past, Fleet: "prod", Own: "web-0188.fra1", Version: "1.4.0",
		EtcdAddr: "127.0.0.1:2379", KafkaAddr: "127.0.0.1:9092", Theme: ThemeMono, Colours: ColoursNone, Now: p.clock.now,
	}
	if change != nil {
		change(&o)
	}
	p.store = o.Store
	ctx, cancel := context.WithCancel(context.Background())
	w := newWork(ctx)
	t.Cleanup(func() { cancel(); w.wait() })
	a, err := newApp(o, io.Discard, w)
	if err != nil {
		t.Fatal(err)
	}
	a.after = func(d time.Duration, msg tea.Msg) tea.Cmd {
		at := p.clock.now().Add(d)
		return func() tea.Msg { return fakeTimer{at, msg} }
	}
	p.app = a
	p.run(a.Init())
	p.send(tea.WindowSizeMsg{Width: width, Height: height})
	return p
}

func (p *person) send(msg tea.Msg) {
	_, cmd := p.app.Update(msg)
	p.run(cmd)
}

// run executes a command and what follows from it. One that holds a watch, or a write
// that was told to hang, stays under way: its message comes with late.
func (p *person) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	done := make(chan tea.Msg, 1)
	go func() { done <- cmd() }()
	select {
	case msg := <-done:
		p.take(msg)
	case host := <-p.watch.held:
		p.watching = host
		p.underWay = append(p.underWay, done)
	case <-p.writer.hanging:
		p.underWay = append(p.underWay, done)
	case <-time.After(20 * time.Second):
		p.t.Fatal("a command does not return")
	}
}

// late takes the messages of what was under way and must end now.
func (p *person) late() {
	p.t.Helper()
	for _, done := range p.underWay {
		select {
		case msg := <-done:
			p.take(msg)
		case <-time.After(20 * time.Second):
			p.t.Fatal("a command does not end")
		}
	}
	p.underWay = nil
}

// release lets the hanging writes answer.
func (p *person) release() {
	p.t.Helper()
	p.writer.mu.Lock()
	hold := p.writer.hold
	p.writer.hold = nil
	p.writer.mu.Unlock()
	close(hold)
	p.late()
}

func (p *person) take(msg tea.Msg) {
	switch m := msg.(type) {
	case nil:
	case tea.BatchMsg:
		for _, c := range m {
			p.run(c)
		}
	case fakeTimer:
		p.timers = append(p.timers, m)
	case tea.QuitMsg:
		p.quit = true
	default:
		p.send(m)
	}
}

// wait lets time pass and what is due in it happen, in order.
func (p *person) wait(d time.Duration) {
	end := p.clock.now().Add(d)
	for {
		next := -1
		for i, t := range p.timers {
			if !t.at.After(end) && (next < 0 || t.at.Before(p.timers[next].at)) {
				next = i
			}
		}
		if next < 0 {
			break
		}
		t := p.timers[next]
		p.timers = slices.Delete(p.timers, next, next+1)
		if by := t.at.Sub(p.clock.now()); by > 0 {
			p.clock.add(by)
		}
		p.send(t.msg)
	}
	if by := end.Sub(p.clock.now()); by > 0 {
		p.clock.add(by)
	}
}

// press sends keys by their names.
func (p *person) press(keys ...string) {
	named := map[string]tea.KeyType{
		"enter": tea.KeyEnter, "esc": tea.KeyEsc, "up": tea.KeyUp, "down": tea.KeyDown, "pgup": tea.KeyPgUp, "pgdown": tea.KeyPgDown,
		"home": tea.KeyHome, "end": tea.KeyEnd, "ctrl+c": tea.KeyCtrlC, "ctrl+s": tea.KeyCtrlS, "backspace": tea.KeyBackspace,
		"ctrl+a": tea.KeyCtrlA, "ctrl+v": tea.KeyCtrlV,
	}
	for _, k := range keys {
		if t, ok := named[k]; ok {
			p.send(tea.KeyMsg{Type: t})
			continue
		}
		p.send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(k)})
	}
}

// screen is what the person sees, without colours.
func (p *person) screen() string { return ansi.Strip(p.app.View()) }

// line is the one line of the screen that holds all of the words.
func (p *person) line(words ...string) string {
	p.t.Helper()
	for _, l := range strings.Split(p.screen(), "\n") {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(l, w) }) {
			return l
		}
	}
	p.t.Fatalf("no line with %q on the screen:\n%s", words, p.screen())
	return ""
}

func (p *person) sees(words ...string) {
	p.t.Helper()
	s := p.screen()
	for _, w := range words {
		if !strings.Contains(s, w) {
			p.t.Fatalf("want %q on the screen, got:\n%s", w, s)
		}
	}
}

func (p *person) doesNotSee(words ...string) {
	p.t.Helper()
	s := p.screen()
	for _, w := range words {
		if strings.Contains(s, w) {
			p.t.Fatalf("want no %q on the screen, got:\n%s", w, s)
		}
	}
}

// cursor is the row the cursor is on.
func (p *person) cursor() string {
	p.t.Helper()
	return p.line("▌")
}

func (p *person) resize(w, h int) { p.send(tea.WindowSizeMsg{Width: w, Height: h}) }
