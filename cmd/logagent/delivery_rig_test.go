package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"logagent/agent"
	"logagent/internal/lab"
)

// The delivery tests run the daemon as a process against an etcd and a Kafka, hurt one of
// the three, and compare what stands in the topics with what was written to the files:
// lost, doubled and foreign lines.

// newLedger opens a log of unique lines under the place's folder. It is rotated by rename
// at maxBytes; 0: never.
func (p *place) newLedger(t *testing.T, path string, maxBytes int64) *lab.Ledger {
	t.Helper()
	l, err := lab.NewLedger(lab.LedgerOptions{Path: filepath.Join(p.dir, path), Name: strings.ReplaceAll(path, " ", "_"), MaxBytes: maxBytes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIn(t, l) })
	return l
}

// appendLines writes n lines to each ledger at once.
func appendLines(t *testing.T, n int, ledgers ...*lab.Ledger) {
	t.Helper()
	for _, l := range ledgers {
		if err := l.Write(n); err != nil {
			t.Fatal(err)
		}
	}
}

// appendText appends to a file.
func appendText(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	closeIn(t, f)
}

// keepWriting writes perSecond lines a second to each ledger until stop is called or the
// test ends.
func keepWriting(t *testing.T, perSecond int, ledgers ...*lab.Ledger) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	errs := make([]error, len(ledgers))
	for i, l := range ledgers {
		wg.Go(func() { errs[i] = l.Run(ctx, perSecond) })
	}
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		for _, err := range errs {
			if err != nil {
				t.Error(err)
			}
		}
	})
	t.Cleanup(stop)
	return stop
}

// written is every line of the ledgers so far.
func written(ledgers ...*lab.Ledger) []string {
	var out []string
	for _, l := range ledgers {
		out = append(out, l.Lines()...)
	}
	return out
}

// records is what stands in the topics now.
func (p *place) records(t *testing.T, topics ...string) []lab.Record {
	t.Helper()
	var out []lab.Record
	for _, topic := range topics {
		got, err := p.kafka.Records(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, got...)
	}
	return out
}

// complete waits until no line of want is missing in the topics and returns the
// difference there is then: doubled and foreign lines.
func (p *place) complete(t *testing.T, want []string, topics ...string) lab.Difference {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		began := time.Now()
		records := p.records(t, topics...)
		if len(records) >= len(want) {
			if d := lab.Compare(want, lab.Values(records)); len(d.Lost) == 0 {
				return d
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d lines written, %d records in %v after %s: %s\nthe end of the log:\n%s", len(want), len(records), topics, patience,
				lab.Compare(want, lab.Values(records)), endOf(readFile(t, filepath.Join(p.dir, daemonLog)), 30))
		}
		time.Sleep(max(100*time.Millisecond, 2*time.Since(began))) // many records cost a core to look at
	}
}

// exactly waits until every line of want stands in the topics, ends the daemon so that
// nothing can come any more, and wants each of them once and nothing else.
func (p *place) exactly(t *testing.T, d *process, want []string, topics ...string) {
	t.Helper()
	p.complete(t, want, topics...)
	p.stop(t, d)
	if diff := lab.Compare(want, lab.Values(p.records(t, topics...))); !diff.None() {
		t.Errorf("of %d lines written: %s", len(want), diff)
	}
}

// more waits until n records more than now stand in a topic.
func (p *place) more(t *testing.T, topic string, n int) {
	t.Helper()
	p.arrived(t, topic, len(p.records(t, topic))+n)
}

// coarse is the status key of a host; the zero value where there is none.
func (p *place) coarse(t *testing.T, host string) (c agent.Coarse) {
	t.Helper()
	if text := p.key(t, "/logagent.status/"+host); text != "" {
		if err := json.Unmarshal([]byte(text), &c); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
	}
	return c
}

// put writes an etcd key and returns its revision.
func (p *place) put(t *testing.T, key, text string) int64 {
	t.Helper()
	r, err := p.etcd.Client().Put(t.Context(), key, text)
	if err != nil {
		t.Fatal(err)
	}
	return r.Header.Revision
}

// apply gives the host web-1 a document and waits until it runs.
func (p *place) apply(t *testing.T, document string) {
	t.Helper()
	revision := p.put(t, "/logagent/web-1/logconfig", document)
	eventually(t, fmt.Sprintf("revision %d runs", revision), func() bool { return p.runs(t, "web-1", revision) })
}

// begun lets a daemon apply the document and end: what is written and rotated from now on
// belongs to its entries, also while no daemon runs.
func (p *place) begun(t *testing.T, document string) {
	t.Helper()
	d := start(t, p.dir, "--daemon")
	p.apply(t, document)
	p.stop(t, d)
}

// runs tells whether a host reports a revision of one of its documents as running.
func (p *place) runs(t *testing.T, host string, revision int64) bool {
	t.Helper()
	return slices.ContainsFunc(p.coarse(t, host).Documents, func(d agent.DocumentStatus) bool { return d.Running == revision })
}

// status asks the agent through its socket; false while nobody answers there.
func (p *place) status(t *testing.T) (status agent.Status, ok bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	remote, err := agent.DialSocket(ctx, filepath.Join(p.dir, "state"))
	if err != nil {
		return status, false
	}
	_ = remote.Watch(ctx, time.Second, func(s agent.Status) { // ends with the first one, or with the agent
		if !ok {
			status, ok = s, true
		}
		cancel()
	})
	return status, ok
}

// cause waits until a file has a state and a cause that holds the words.
func (p *place) cause(t *testing.T, path string, state agent.State, words string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s is %s: %s", path, state, words), func() bool {
		s, _ := p.status(t)
		return slices.ContainsFunc(s.Files, func(f agent.FileStatus) bool {
			return f.Path == path && f.State == state && strings.Contains(f.Cause, words)
		})
	})
}

// acknowledged waits until Kafka has answered for n lines, none is left, and returns the
// status then.
func (p *place) acknowledged(t *testing.T, n int) (s agent.Status) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d lines are acknowledged", n), func() bool {
		var ok bool
		s, ok = p.status(t)
		return ok && s.Totals.Lines >= uint64(n) && s.Totals.LagBytes == 0
	})
	return s
}

// logged waits until the daemon's log holds the words.
func (p *place) logged(t *testing.T, words string) {
	t.Helper()
	eventually(t, "the log says "+words, func() bool { return p.countLogged(t, words) > 0 })
}

// countLogged counts the lines of the daemon's log with all of the words.
func (p *place) countLogged(t *testing.T, words ...string) (n int) {
	t.Helper()
	for line := range strings.Lines(readFile(t, filepath.Join(p.dir, daemonLog))) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			n++
		}
	}
	return n
}

// stop ends a daemon in the ordinary way, once it is there to be ended.
func (p *place) stop(t *testing.T, d *process) {
	t.Helper()
	eventually(t, "the daemon answers on its socket", func() bool {
		s, ok := p.status(t)
		return ok && s.PID == d.Process.Pid
	})
	d.stop(t)
}

// kill ends a process without letting it do anything more.
func (p *process) kill(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGKILL)
	p.exit(t)
}

// document is the JSON of entries.
func document(t *testing.T, entries ...agent.Service) string {
	t.Helper()
	b, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// whole is an entry from the beginning without a limit.
func (p *place) whole(path, topic string) agent.Service {
	return agent.Service{Service: "svc", LogPath: filepath.Join(p.dir, path), Topic: topic, StartAt: agent.StartBeginning}
}

func endOf(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
