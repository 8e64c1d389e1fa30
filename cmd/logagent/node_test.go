package main

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestPartThatGivesUpEndsTheNode(t *testing.T) {
	t.Parallel()
	s := defaultSettings()
	s.EtcdAddrs, s.KafkaAddrs = []string{"127.0.0.1:1"}, []string{"127.0.0.1:1"}
	s.StateDir, s.Log = t.TempDir(), t.TempDir()+"/agent.log"
	n, err := newNode(&s, []string{"web-1"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := n.etcd.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.run(t.Context()); err == nil || !strings.Contains(err.Error(), "etcd") {
		t.Errorf("want an error that names etcd, got %v", err)
	}
}

func TestNodeNeedsItsStateFolder(t *testing.T) {
	t.Parallel()
	s := defaultSettings()
	s.StateDir = t.TempDir()
	log := slog.New(slog.DiscardHandler)
	first, err := newNode(&s, []string{"web-1"}, log)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newNode(&s, []string{"web-1"}, log); err == nil || !strings.Contains(err.Error(), s.StateDir) {
		t.Errorf("want an error that names the folder, got %v", err)
	}
	if err := errors.Join(first.agent.Close(), first.etcd.Close()); err != nil {
		t.Error(err)
	}
}

func TestNodeWaitsForAStateFolderThatIsAboutToBeFree(t *testing.T) {
	t.Parallel()
	s := defaultSettings()
	s.StateDir = t.TempDir()
	log := slog.New(slog.DiscardHandler)
	first, err := newNode(&s, []string{"web-1"}, log)
	if err != nil {
		t.Fatal(err)
	}
	freed := make(chan error, 1)
	time.AfterFunc(300*time.Millisecond, func() { freed <- errors.Join(first.agent.Close(), first.etcd.Close()) })
	second, err := newNode(&s, []string{"web-1"}, log)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-freed, second.agent.Close(), second.etcd.Close()); err != nil {
		t.Error(err)
	}
}
