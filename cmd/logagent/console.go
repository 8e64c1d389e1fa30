package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/pflag"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/ui"
	"logagent/ui/store"
)

// screen is one run of the console.
type screen struct {
	settings *settings
	etcd     *etcdcfg.Client
	log      *slog.Logger
	own      string                              // the own host; "" none
	feed     func(context.Context, *store.Store) // of the own host; nil none
	inside   bool                                // the agent of the own host runs in this process
	flags    consoleFlags
	name     string // of the fleet, on the first line
}

// consoleFlags are those of every console.
type consoleFlags struct {
	readOnly bool
	theme    string
}

func (f *consoleFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.readOnly, "read-only", false, "look only, change nothing")
	flags.StringVar(&f.theme, "theme", string(ui.ThemeDark), "`COLOURS` of the console: dark, light or mono")
}

func (f *consoleFlags) check() error {
	if !slices.Contains([]ui.Theme{ui.ThemeDark, ui.ThemeLight, ui.ThemeMono}, ui.Theme(f.theme)) {
		return usage("--theme %s: dark, light or mono", f.theme)
	}
	return nil
}

// console is the verb-less logagent: all hosts, no agent.
func (a *app) console(flags consoleFlags) error {
	s, err := a.settings()
	if err != nil {
		return err
	}
	if err := a.onTerminal(); err != nil {
		return err
	}
	return a.beside(&s, screen{flags: flags})
}

// beside is a console without an agent in its process. Where sc names an own host it joins
// the daemon of this one.
func (a *app) beside(s *settings, sc screen) error {
	log, endLog, err := a.consoleLog()
	if err != nil {
		return err
	}
	defer endLog()
	client, err := etcdcfg.New(s.etcdOptions(log))
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	defer client.Close()
	ctx, end := untilSignal()
	defer end()
	sc.settings, sc.etcd, sc.log = s, client, log
	if sc.own != "" {
		sc.feed = joinedAgent(s.StateDir, log)
	}
	return a.show(ctx, sc)
}

// attach is the console with the agent of this host: of a running daemon where there is
// one, else inside.
func (a *app) attach(flags consoleFlags) error {
	s, err := a.settings()
	if err != nil {
		return err
	}
	if err := a.onTerminal(); err != nil {
		return err
	}
	ids, err := hostKeys(s.Host)
	if err != nil {
		return err
	}
	probe, cancel := context.WithTimeout(context.Background(), s.EtcdTimeout)
	defer cancel()
	_, err = agent.DialSocket(probe, s.StateDir)
	switch {
	case err == nil:
		return a.beside(&s, screen{own: ids[0], flags: flags})
	case errors.Is(err, fs.ErrPermission): // it may run, as another user
		return fmt.Errorf("join the agent of this host: %w", err)
	default:
		return a.inside(&s, ids, flags)
	}
}

// inside is the console on top of an agent of its own, which drains and saves when the
// console ends, however it ends: by q, by a signal, by a lost terminal.
func (a *app) inside(s *settings, ids []string, flags consoleFlags) error {
	log, endLog, err := agentLog(s)
	if err != nil {
		return err
	}
	defer endLog()
	n, err := newNode(s, ids, log.Logger)
	if err != nil {
		return err
	}
	ctx, end := untilSignal()
	defer end()

	running, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	var ran error
	shown, hide := context.WithCancel(ctx)
	defer hide()
	wg.Go(func() {
		ran = n.run(running)
		hide() // an agent that gave up ends the console: what it says then is the agent's error
	})
	err = a.show(shown, screen{
		settings: s, etcd: n.etcd, log: log.Logger, own: ids[0], feed: ownAgent(n.agent), inside: true, flags: flags,
	})
	stop()
	if !errors.Is(err, ui.ErrStalled) { // a write to such a terminal may never return
		fmt.Fprintf(a.stderr, "logagent: waiting for Kafka's last answers, at most %s\n", s.DrainTimeout)
	}
	wg.Wait()
	if err = errors.Join(err, ran); err != nil {
		log.Error("logagent ends", "error", err)
	}
	return err
}

// show runs the console until it is quit, the terminal is lost or ctx ends.
func (a *app) show(ctx context.Context, sc screen) error {
	f, err := newFleet(sc.settings, sc.etcd, sc.own, sc.log)
	if err != nil {
		return err
	}
	feeding, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { f.run(feeding, sc.feed) })
	defer wg.Wait()
	defer stop()

	o := ui.Options{
		Store: f.store, Watcher: sc.etcd, History: sc.etcd, Own: sc.own, AgentInside: sc.inside, Fleet: sc.name, Version: thisBuild().Version,
		EtcdAddr: strings.Join(sc.settings.EtcdAddrs, ","), KafkaAddr: strings.Join(sc.settings.KafkaAddrs, ","),
		Theme: ui.Theme(sc.flags.theme), SaveDir: ".", Output: a.stdout,
	}
	if !sc.flags.readOnly {
		o.Writer = writer{sc.etcd, a.who()}
	}
	return ui.Run(ctx, o)
}

// onTerminal tells whether there is a screen to draw on.
func (a *app) onTerminal() error {
	if isTerminal(a.stdin) && isTerminal(a.stdout) {
		return nil
	}
	return errors.New("the console needs a terminal; without one there are --daemon and the verbs, such as logagent status")
}

// untilSignal returns a context that ends with the first SIGTERM, SIGINT or SIGHUP (the
// terminal is lost); a second SIGTERM or SIGINT ends the process at once.
func untilSignal() (ctx context.Context, end func()) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { steer(done, signals, func(os.Signal) { stop() }, stop) })
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		wg.Wait()
		stop()
	}
}

// consoleLog opens the log of a console without an agent: its user may not write the
// agent's, and two processes must not rotate one file. Where it cannot be written there is
// none.
func (a *app) consoleLog() (*slog.Logger, func(), error) {
	logger, closeLog := slog.New(slog.DiscardHandler), func() {}
	if path := consoleLogPath(a.getenv); path != "" {
		s := defaultSettings()
		s.Log, s.LogMaxSizeBytes, s.LogKeep = path, 4<<20, 1
		if l, err := openLog(&s); err == nil {
			logger, closeLog = l.Logger, func() { _ = l.Close() }
		}
	}
	endQuiet, err := quietLibraries(logger)
	if err != nil {
		closeLog()
		return nil, nil, err
	}
	return logger, func() { endQuiet(); closeLog() }, nil
}

// consoleLogPath is where a console writes its log; "" where its user has no home.
func consoleLogPath(getenv func(string) string) string {
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "logagent", "console.log")
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "state", "logagent", "console.log")
	}
	return ""
}
