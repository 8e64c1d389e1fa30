package main

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
)

// daemon runs the agent alone until SIGTERM or SIGINT. What keeps it from starting is
// returned and so said on stderr; from then on only the log is written.
func (a *app) daemon() error {
	s, err := a.settings()
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	log, endLog, err := agentLog(&s)
	if err != nil {
		return err
	}
	defer endLog()
	limitMemory(a.getenv)

	ids, err := hostKeys(s.Host)
	if err != nil {
		return err
	}
	n, err := newNode(&s, ids, log.Logger)
	if err != nil {
		log.Error("not started", "error", err)
		return err
	}
	for _, w := range s.warnings {
		log.Warn("configuration", "warning", w)
	}
	log.Info("logagent starts", "version", thisBuild().Version, "pid", os.Getpid(), "config", s.path, "host", ids[0], "keys", ids, "groups", s.Groups)

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var steering sync.WaitGroup
	done := make(chan struct{})
	steering.Go(func() {
		steer(done, signals, func(sig os.Signal) {
			log.Info("stopping", "signal", sig.String(), "drain_timeout", s.DrainTimeout)
			stop()
		}, func() { a.reload(&s, log) })
	})
	steering.Go(func() { giveBack(done) })
	steering.Go(func() { keepCalm(done, a.getenv) })
	err = n.run(ctx)
	close(done)
	steering.Wait()
	if err != nil {
		log.Error("logagent ends", "error", err)
		return err
	}
	log.Info("logagent ends, positions are saved")
	return nil
}

// steer obeys signals until done is closed: the first SIGTERM or SIGINT calls stop, the
// second ends the process at once without draining (what was sent and is not saved as
// answered is sent again at the next start), and each SIGHUP calls hup: a lost terminal
// may bring several.
func steer(done <-chan struct{}, signals <-chan os.Signal, stop func(os.Signal), hup func()) {
	stopping := false
	for {
		select {
		case <-done:
			return
		case sig := <-signals:
			switch {
			case sig == syscall.SIGHUP:
				hup()
			case stopping:
				os.Exit(exitFailed)
			default:
				stopping = true
				stop(sig)
			}
		}
	}
}

// reload reopens the log and reads the configuration again. The level takes hold; what
// else has changed is named, because only a restart puts it in force.
func (a *app) reload(s *settings, log *ownLog) {
	if err := log.Reopen(); err != nil {
		log.Warn("log not closed cleanly", "error", err)
	}
	fresh, warnings, err := loadSettings(s.path, a.getenv)
	for _, w := range warnings {
		log.Warn("configuration", "warning", w)
	}
	if err != nil {
		log.Error("configuration refused, the old one stays in force", "error", err)
		return
	}
	log.level.Set(fresh.Level)
	restart := slices.DeleteFunc(changedKeys(s, &fresh), func(name string) bool { return name == "level" })
	log.Info("log reopened, configuration read again", "level", fresh.Level.String())
	if len(restart) > 0 {
		log.Warn("changed in the configuration, takes hold at the next start", "keys", restart)
	}
}
