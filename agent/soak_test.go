package agent_test

import (
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// TestSoak runs random programs for the time in LOGAGENT_SOAK (make soak).
func TestSoak(t *testing.T) {
	d, err := time.ParseDuration(os.Getenv("LOGAGENT_SOAK"))
	if err != nil {
		t.Skip("LOGAGENT_SOAK names no duration")
	}
	var seed, done, lines, rotations, crashes, seeks, doubled atomic.Int64
	seed.Store(time.Now().UnixNano())
	end := time.Now().Add(d)
	t.Run("programs", func(t *testing.T) {
		for range 4 {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for time.Now().Before(end) && !t.Failed() {
					n := seed.Add(1)
					t.Run("", func(t *testing.T) {
						t.Logf("seed %d", n)
						c := runChaos(t, uint64(n), 60)
						done.Add(1)
						lines.Add(int64(len(c.want)))
						rotations.Add(int64(c.rotated))
						crashes.Add(int64(c.crashes))
						seeks.Add(int64(max(0, c.seeks)))
						doubled.Add(int64(c.doubled))
					})
				}
			})
		}
	})
	lost := "lost 0, corrupt 0"
	if t.Failed() {
		lost = "lines lost, doubled without a crash, or corrupt: see above"
	}
	t.Logf("%d programs of 60 steps, %d lines, %d rotations, %d crashes, %d positions moved: %s, doubled by crashes %d",
		done.Load(), lines.Load(), rotations.Load(), crashes.Load(), seeks.Load(), lost, doubled.Load())
}
