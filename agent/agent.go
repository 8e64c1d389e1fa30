package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// Options say how an agent works. The zero value of a field means its default.
type Options struct {
	Host     string // id of this host
	StateDir string // checkpoint, cache and socket; one agent at a time
	Version  string // shown in Status
	Sink     Sink
	Log      *slog.Logger

	PollInterval time.Duration // how often active files and folders are looked at; 0 means 200ms
	RotateWait   time.Duration // how long a rotated file is kept open after its last change where writers cannot be seen; 0 means 60s
	SaveEvery    time.Duration // how often positions reach disk at most; 0 means 1s
	DrainTimeout time.Duration // how long Run waits for verdicts at its end; 0 means 10s

	MaxLineBytes  int64 // longer lines follow the entry's oversize; 0 means 1,000,000
	InFlightBytes int64 // bound on everything sent and not acknowledged; 0 means 64 MiB

	// What deleted files may keep of the disk while they are read: above DeletedMaxBytes in
	// all (0: no bound), or where a file system has less than DeletedMinFree percent free (0:
	// never), the oldest of them are given up and what they held unread is counted as lost.
	DeletedMaxBytes int64
	DeletedMinFree  int

	Allow  []string // globs of the files that may be read; empty means all
	Refuse []string // log files that are never read, nor their rotated ones: the agent's own; StateDir never is

	EtcdLink func() LinkStatus // tells Status how etcd is doing; may be nil
}

func (o *Options) withDefaults() Options {
	d := *o
	def := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	def(&d.PollInterval, 200*time.Millisecond)
	def(&d.RotateWait, time.Minute)
	def(&d.SaveEvery, time.Second)
	def(&d.DrainTimeout, 10*time.Second)
	if d.MaxLineBytes == 0 {
		d.MaxLineBytes = 1_000_000
	}
	if d.InFlightBytes == 0 {
		d.InFlightBytes = 64 << 20
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	return d
}

// ErrNotRunning is returned by calls that need Run where it has ended or not begun.
var ErrNotRunning = errors.New("the agent is not running")

// Agent follows the files of one host. New makes it, Run works; every other method may be
// called from any goroutine at any time.
type Agent struct {
	opt     Options
	log     *slog.Logger
	lock    *stateLock
	cp      *checkpoint // as loaded, then kept up to date by the loop
	started time.Time
	access  access

	mail    mailbox
	changed chan struct{} // size 1: something worth telling at once changed
	ended   chan struct{} // closed when Run returns

	loop loop // touched by Run's goroutine only
}

// New takes the state folder and reads the checkpoint; it starts nothing. It fails where
// another agent holds the folder (naming it) or the folder cannot be used.
func New(o Options) (*Agent, error) {
	opt := o.withDefaults()
	if opt.Host == "" || opt.StateDir == "" || opt.Sink == nil {
		return nil, errors.New("agent: Host, StateDir and Sink are required")
	}
	if opt.MaxLineBytes < 16 || opt.MaxLineBytes > opt.InFlightBytes/4 {
		return nil, fmt.Errorf("agent: MaxLineBytes is %d; between 16 and a quarter of InFlightBytes (%d) would be right", opt.MaxLineBytes, opt.InFlightBytes/4)
	}
	acc, err := newAccess(opt.Allow, opt.StateDir, opt.Refuse)
	if err != nil {
		return nil, err
	}
	a := &Agent{
		opt: opt, log: opt.Log, started: time.Now(), access: acc,
		changed: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	if err := a.makeState(); err != nil {
		return nil, err
	}
	a.mail.wake = make(chan struct{}, 1)
	cp, notes, unended := loadCheckpoint(opt.StateDir)
	if unended != "" {
		a.log.Info("the last save was not finished and is left out", "file", unended)
	}
	for _, n := range notes {
		a.log.Error("checkpoint damaged", "what", n)
	}
	a.loop.problems = notes
	a.loop.fromZero = cp == nil && len(notes) > 0
	if cp == nil {
		cp = newCheckpoint()
		cp.meta.StateID = newStateID()
	}
	cp.meta.Boot++
	a.cp = cp
	a.loop.init(a)
	return a, nil
}

// Close gives the state folder back where Run was never called.
func (a *Agent) Close() error { return a.lock.release() }

// Run works until ctx ends. Then it stops reading, waits for the verdicts of what is in
// flight (DrainTimeout at most), saves the positions and returns. It returns an error
// where the last positions could not be saved.
func (a *Agent) Run(ctx context.Context) error {
	defer close(a.ended)
	defer func() { a.lock.release() }()
	return a.loop.run(ctx)
}

// makeState makes the state folder, if it is not there, and takes it for this agent. After
// New only the saver calls it.
func (a *Agent) makeState() error {
	if err := os.MkdirAll(a.opt.StateDir, 0o700); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	lock, err := lockState(a.opt.StateDir)
	if err != nil {
		return err
	}
	if a.lock != nil {
		a.log.Warn("the state folder was removed and is made anew", "dir", a.opt.StateDir)
		a.lock.release()
	}
	a.lock = lock
	return nil
}

// Apply puts the whole desired state in force: whatever differs from it is changed,
// nothing else is touched. It returns when the state is applied: rates in force, removed
// entries not reading, new ones with a follower, whatever its cause.
func (a *Agent) Apply(ctx context.Context, c HostConfig) error {
	done := make(chan error, 1)
	a.mail.post(func() { a.loop.apply(c, done) })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-a.ended:
		return ErrNotRunning
	}
}

// statusAge is how old a snapshot may be when it is handed out again.
const statusAge = 100 * time.Millisecond

// Status returns a snapshot, at most a tenth of a second old. It waits for the loop, which
// never blocks on a file or a network. After Run has ended it returns the last one.
func (a *Agent) Status() Status {
	got := make(chan *Status, 1)
	a.mail.post(func() { got <- a.loop.status() })
	select {
	case s := <-got:
		return *s
	case <-a.ended:
		return *a.loop.last // the loop is over: nobody writes it any more
	}
}

// Brief returns a snapshot without Files, made now: what it costs does not grow with the
// number of files that stand still. Like Status it waits for the loop alone.
func (a *Agent) Brief() Status {
	got := make(chan *Status, 1)
	a.mail.post(func() { got <- a.loop.brief(time.Now()) })
	select {
	case s := <-got:
		return *s
	case <-a.ended:
		return *a.loop.last
	}
}

// Changed carries a value when a revision, a refusal or a cause has changed since it was
// last received from. It has one reader's worth of memory: the first receiver gets it.
func (a *Agent) Changed() <-chan struct{} { return a.changed }

// Live tells which agent this is.
func (a *Agent) Live() Live {
	return Live{
		Host: a.opt.Host, StateID: a.cp.meta.StateID, Boot: a.cp.meta.Boot,
		Version: a.opt.Version, PID: os.Getpid(), Started: a.started,
	}
}

// SetProblem notes (or, with an empty text, clears) a problem of the agent as a whole
// under a name of the caller's, such as a second agent with the same host id.
func (a *Agent) SetProblem(name, text string) {
	a.mail.post(func() { a.loop.setProblem(name, text) })
}

// SocketPath returns where an agent on this state folder listens.
func SocketPath(stateDir string) string { return filepath.Join(stateDir, "agent.sock") }

func (a *Agent) signalChanged() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}
