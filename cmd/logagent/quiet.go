package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/nxadm/tail/util"
	"google.golang.org/grpc/grpclog"
)

// quietLibraries sends to the own log whatever a library would write to the terminal: the
// loggers of gRPC, sarama, nxadm/tail and Go's log, and lines that anything else writes to
// os.Stderr. It is called before anything of them runs, once in a process; end gives
// os.Stderr back and returns when the last line is logged.
func quietLibraries(l *slog.Logger) (end func(), err error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("take stderr into the log: %w", err)
	}
	// gRPC and sarama tell of every attempt at a connection. Whether etcd and Kafka are
	// there or away is logged once by those who use them, so these are for debugging.
	grpclog.SetLoggerV2(grpcLog{&fewRepeats{to: lineLog{l.With("from", "grpc"), slog.LevelDebug}}})
	sarama.Logger = log.New(&fewRepeats{to: lineLog{l.With("from", "sarama"), slog.LevelDebug}}, "", 0)
	util.LOGGER.Logger = log.New(lineLog{l.With("from", "tail"), slog.LevelWarn}, "", 0)
	log.SetFlags(0)
	log.SetOutput(lineLog{l.With("from", "log"), slog.LevelWarn})

	before := os.Stderr
	os.Stderr = write
	done := make(chan struct{})
	go func() { // ends when write is closed
		defer close(done)
		lines := bufio.NewReader(read)
		out := lineLog{l.With("from", "stderr"), slog.LevelWarn}
		for {
			line, err := lines.ReadString('\n')
			if line != "" {
				_, _ = out.Write([]byte(line))
			}
			if err != nil {
				return
			}
		}
	}()
	return func() {
		os.Stderr = before
		_ = write.Close()
		<-done
		_ = read.Close()
	}, nil
}

// lineLog logs every line written to it.
type lineLog struct {
	log   *slog.Logger
	level slog.Level
}

var _ io.Writer = lineLog{}

func (w lineLog) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		if line = strings.TrimSpace(line); line != "" {
			w.log.Log(context.Background(), w.level, line)
		}
	}
	return len(p), nil
}

// fewRepeats passes a text on once in repeatAfter.
type fewRepeats struct {
	to io.Writer

	mu   sync.Mutex           // guards said
	said map[string]time.Time // when each text was passed on last
}

const (
	repeatAfter = 10 * time.Minute
	mostSaid    = 100 // texts remembered
)

func (f *fewRepeats) Write(p []byte) (int, error) {
	f.mu.Lock()
	now, text := time.Now(), string(p)
	at, known := f.said[text]
	repeated := known && now.Sub(at) < repeatAfter
	if !repeated {
		if f.said == nil || len(f.said) >= mostSaid {
			f.said = make(map[string]time.Time)
		}
		f.said[text] = now
	}
	f.mu.Unlock()
	if repeated {
		return len(p), nil
	}
	return f.to.Write(p)
}

// grpcLog is gRPC's logger, without its infos.
type grpcLog struct{ to io.Writer }

var _ grpclog.LoggerV2 = grpcLog{}

func (g grpcLog) Info(...any)                 {}
func (g grpcLog) Infoln(...any)               {}
func (g grpcLog) Infof(string, ...any)        {}
func (g grpcLog) Warning(a ...any)            { fmt.Fprint(g.to, a...) }
func (g grpcLog) Warningln(a ...any)          { fmt.Fprintln(g.to, a...) }
func (g grpcLog) Warningf(f string, a ...any) { fmt.Fprintf(g.to, f, a...) }
func (g grpcLog) Error(a ...any)              { fmt.Fprint(g.to, a...) }
func (g grpcLog) Errorln(a ...any)            { fmt.Fprintln(g.to, a...) }
func (g grpcLog) Errorf(f string, a ...any)   { fmt.Fprintf(g.to, f, a...) }
func (g grpcLog) V(int) bool                  { return false }

// The interface demands that Fatal ends the process.
func (g grpcLog) Fatal(a ...any)            { fmt.Fprint(g.to, a...); os.Exit(exitFailed) }
func (g grpcLog) Fatalln(a ...any)          { fmt.Fprintln(g.to, a...); os.Exit(exitFailed) }
func (g grpcLog) Fatalf(f string, a ...any) { fmt.Fprintf(g.to, f, a...); os.Exit(exitFailed) }
