package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"logagent/agent"
)

func TestEveryEntryOfADemoHostHasALogAndATopic(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hosts := Hosts(dir, 1)
	if len(hosts) != 3 {
		t.Fatalf("%d hosts, want 3", len(hosts))
	}
	for _, h := range hosts {
		var read []agent.Service
		if err := json.Unmarshal(h.Document(), &read); err != nil {
			t.Fatalf("document of %s: %v", h.ID, err)
		}
		if len(read) != len(h.Services) || len(read) == 0 {
			t.Fatalf("document of %s has %d entries, want %d", h.ID, len(read), len(h.Services))
		}
		for _, s := range read {
			matched := slices.ContainsFunc(h.logs, func(l source) bool {
				ok, err := filepath.Match(s.LogPath, l.path)
				return ok && err == nil
			})
			if !matched || s.Topic == "" || s.Service == "" {
				t.Errorf("%s: nobody writes for entry %+v", h.ID, s)
			}
		}
	}
}

func TestOneDemoServiceIsLimitedBelowItsTraffic(t *testing.T) {
	t.Parallel()
	var over []string
	for _, h := range Hosts("/demo", 1) {
		for _, s := range h.Services {
			var mean float64
			const span = 30 * time.Minute
			for _, l := range h.logs {
				if ok, err := filepath.Match(s.LogPath, l.path); err != nil || !ok {
					continue
				}
				for at := time.Duration(0); at < span; at += time.Second {
					mean += l.wave.at(at) / span.Seconds()
				}
			}
			if s.SendRate > 0 && mean > float64(s.SendRate) {
				over = append(over, s.Service)
			}
		}
	}
	if !slices.Equal(over, []string{"nginx"}) {
		t.Errorf("limited below their traffic are %q, want nginx alone", over)
	}
}

func TestDemoLogsComeToLife(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	hosts := Hosts(dir, 1)
	ended := make(chan error, len(hosts))
	for _, h := range hosts {
		go func() { ended <- h.Run(ctx) }()
	}
	for _, h := range hosts {
		for _, l := range h.logs {
			eventually(t, l.path+" is written", func() bool {
				info, err := os.Stat(l.path)
				return err == nil && info.Size() > 0
			})
		}
	}
	cancel()
	for range hosts {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestEveryDemoLogExistsBeforeItIsWritten(t *testing.T) {
	t.Parallel()
	for _, h := range Hosts(t.TempDir(), 1) {
		for range 2 { // what exists stays
			if err := h.Create(); err != nil {
				t.Fatal(err)
			}
		}
		for _, l := range h.logs {
			if info, err := os.Stat(l.path); err != nil || info.Size() != 0 {
				t.Errorf("want %s empty, got %v", l.path, err)
			}
		}
	}
}

func TestALogThatCanNotBeWrittenEndsItsHostWithTheReason(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := Hosts(dir, 1)[0]
	if err := os.MkdirAll(h.logs[0].path, 0o755); err != nil { // a folder where the log should be
		t.Fatal(err)
	}
	if err := h.Run(t.Context()); err == nil {
		t.Error("the host ended without an error")
	}
}

func TestTheSameSeedGivesTheSameLines(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 123_000_000, time.UTC)
	for _, h := range Hosts("/demo", 7) {
		for _, l := range h.logs {
			made := func(seed uint64) []byte {
				r := rand.New(rand.NewPCG(seed, 3))
				var b []byte
				for range 200 {
					b = l.write(b, now, r)
				}
				return b
			}
			first := made(1)
			if !bytes.Equal(first, made(1)) {
				t.Errorf("%s: two runs with one seed differ", l.path)
			}
			if bytes.Equal(first, made(2)) {
				t.Errorf("%s: two seeds give the same lines", l.path)
			}
			if bytes.Contains(first, []byte("%!")) || first[len(first)-1] != '\n' {
				t.Errorf("%s: badly made lines, first %.200q", l.path, first)
			}
		}
	}
}

func TestTheAccessLogHasAsManyLinesAsAskedFor(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	const lines = 20_000
	size, err := WriteAccessLog(&b, 1, lines)
	if err != nil {
		t.Fatal(err)
	}
	if got := bytes.Count(b.Bytes(), []byte("\n")); got != lines || size != int64(b.Len()) {
		t.Errorf("%d lines and %d bytes, want %d lines and %d bytes", got, size, lines, b.Len())
	}
	if mean := b.Len() / lines; mean < 165 || mean > 195 {
		t.Errorf("a line has %d bytes, want about 180", mean)
	}
}

func TestWhatASlowWriterOwesIsBounded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var most int
	err := paced(ctx, func(time.Duration) float64 { return 1000 }, func(_ time.Time, n int) error {
		if most = max(most, n); most == n && n < 1000 {
			time.Sleep(1500 * time.Millisecond) // a machine that was asleep
			return nil
		}
		cancel()
		return nil
	})
	if err != nil || most != 1000 {
		t.Errorf("wrote up to %d lines at once (%v), want one second's worth, 1000", most, err)
	}
}
