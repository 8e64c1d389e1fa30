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
	var seed, done atomic.Uint64
	seed.Store(uint64(time.Now().UnixNano()))
	end := time.Now().Add(d)
	t.Run("programs", func(t *testing.T) {
		for range 4 {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for time.Now().Before(end) && !t.Failed() {
					n := seed.Add(1)
					t.Run("", func(t *testing.T) {
						t.Logf("seed %d", n)
						runChaos(t, n, 60)
						done.Add(1)
					})
				}
			})
		}
	})
	t.Logf("%d programs of 60 steps", done.Load())
}
