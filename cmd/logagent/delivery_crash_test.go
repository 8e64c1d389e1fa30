package main

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"logagent/internal/lab"
)

// crashEnv is how long the loop of crashes goes on for each kind of rotation: 40s is what
// `make crash` gives it.
const crashEnv = "LOGAGENT_CRASH"

func crashTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv(crashEnv)
	if text == "" {
		return 6 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%s: %v", crashEnv, err)
	}
	return d
}

// TestDeliveryOverSIGKILLAndRotationLosesNothing kills the daemon at random moments, freezes
// it now and then, takes Kafka away before some of its deaths, and lets files be written and
// rotated all the while.
func TestDeliveryOverSIGKILLAndRotationLosesNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		kind lab.Rotation
	}{{"rename", lab.RotateRename}, {"gz", lab.RotateGzip}, {"copytruncate", lab.RotateCopyTruncate}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			crashLoop(t, c.kind)
		})
	}
}

func crashLoop(t *testing.T, kind lab.Rotation) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	p := newPlace(t)
	var logs []*lab.Ledger
	for _, name := range []string{"a", "b"} {
		l, err := lab.NewLedger(lab.LedgerOptions{Path: filepath.Join(p.dir, "in", name+".log"), Name: name, Rotation: kind, Torn: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { closeIn(t, l) })
		logs = append(logs, l)
	}
	p.begun(t, document(t, p.whole("in/*.log", "lines")))
	stop := keepWriting(t, 1000, logs...)
	stopRotating := keepRotating(t, seed, logs...)

	kills, freezes, outages := 0, 0, 0
	// Every pause is a random moment to do the next thing at; none decides a result.
	pause := func(most time.Duration) time.Duration {
		d := time.Duration(random.Int64N(int64(most)))
		time.Sleep(d)
		return d
	}
	back := func() {
		if p.kafka.Cluster() == nil {
			if err := p.kafka.Restart(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for end := time.Now().Add(crashTime(t)); time.Now().Before(end) || kills < 3; kills++ {
		d := start(t, p.dir, "--daemon")
		left := 200*time.Millisecond + time.Duration(random.Int64N(int64(1500*time.Millisecond)))
		if kills%4 == 1 {
			// It dies with Kafka away, after positions were saved with much in flight: none
			// of that may be among them.
			back()
			left += time.Second
			left -= pause(500 * time.Millisecond)
			p.kafka.Stop()
			outages++
		}
		for left > 0 {
			if random.IntN(4) == 0 {
				d.signal(t, syscall.SIGSTOP)
				left -= pause(min(left, 500*time.Millisecond))
				d.signal(t, syscall.SIGCONT)
				freezes++
			}
			left -= max(pause(min(max(left, 1), 500*time.Millisecond)), time.Millisecond)
			if kills%4 != 1 {
				back()
			}
		}
		d.kill(t)
	}
	back()
	rotations := stopRotating()
	stop()
	want := written(logs...)
	d := start(t, p.dir, "--daemon")
	p.complete(t, want, "lines")
	eventually(t, "nothing is left to read", func() bool {
		s, ok := p.status(t)
		return ok && len(s.Files) == len(logs) && s.Totals.LagBytes == 0
	})
	p.stop(t, d)
	diff := lab.Compare(want, lab.Values(p.records(t, "lines")))
	t.Logf("seed %d: %d lines, %d kills, %d freezes, %d outages of Kafka, %d rotations: %d lost, %d doubled, %d foreign",
		seed, len(want), kills, freezes, outages, rotations, len(diff.Lost), len(diff.Doubled), len(diff.Foreign))
	if len(diff.Lost)+len(diff.Foreign) > 0 {
		t.Error(diff)
	}
	if rotations < 3 {
		t.Errorf("%d rotations prove nothing", rotations)
	}
}

// keepRotating rotates the ledgers at random moments, now and then twice at once, until
// stop is called, which returns how often it did.
func keepRotating(t *testing.T, seed uint64, logs ...*lab.Ledger) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	done := make([]int, len(logs))
	errs := make([]error, len(logs))
	for i, l := range logs {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(i)+1))
			for {
				wait := time.Duration(random.Int64N(int64(1200 * time.Millisecond)))
				if random.IntN(5) == 0 {
					wait = 0
				}
				select {
				case <-ctx.Done():
					return
				case <-time.After(wait):
				}
				if errs[i] = l.Rotate(); errs[i] != nil {
					return
				}
				done[i]++
			}
		})
	}
	sum := sync.OnceValue(func() (n int) {
		cancel()
		wg.Wait()
		for i, err := range errs {
			if err != nil {
				t.Error(err)
			}
			n += done[i]
		}
		return n
	})
	t.Cleanup(func() { sum() })
	return sum
}
