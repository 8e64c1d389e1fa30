package agent

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

// throttle is the send_rate of one entry, shared by all its files. It never sleeps: the
// agent's loop asks how many lines may go now, and until when to wait for more, so a
// changed rate is in force with the next question. (A waiter asleep inside x/time/rate
// is not woken by SetLimit.) It belongs to the loop.
type throttle struct {
	lim     *rate.Limiter // nil: no limit
	perSec  int64
	quantum int // lines worth waking up for: a fiftieth of a second's, at least 1
}

// burst is a tenth of a second's worth less one quantum, at least 1, so that the flow is even
// and what arrives is, with the jitter of the way there, never more than that tenth at once.
func burst(perSec int64) int {
	return int(min(max(1, perSec/10-perSec/50), math.MaxInt32))
}

// set puts a rate in force from now on; 0 means no limit. What the old rate allowed until
// now stays allowed, up to the new burst.
func (t *throttle) set(perSec int64, now time.Time) {
	t.perSec = perSec
	if perSec == 0 {
		t.lim, t.quantum = nil, 0
		return
	}
	t.quantum = int(min(max(1, perSec/50), math.MaxInt32))
	if t.lim == nil {
		t.lim = rate.NewLimiter(rate.Limit(perSec), burst(perSec))
		// A new limiter is full; begin empty, so that switching a limit on and off
		// does not buy a burst.
		t.lim.AllowN(now, t.lim.Burst())
		return
	}
	t.lim.SetLimitAt(now, rate.Limit(perSec))
	t.lim.SetBurstAt(now, burst(perSec))
}

// available returns how many lines may go now (-1: any number). Where that is less than
// the quantum it returns 0 and the time until the quantum is there.
func (t *throttle) available(now time.Time) (lines int, wait time.Duration) {
	if t.lim == nil {
		return -1, 0
	}
	tokens := t.lim.TokensAt(now)
	// Token arithmetic is in float64: without the epsilon a wait computed to the
	// nanosecond may wake up to 0.999999 tokens and go to sleep for 0 ns again.
	const epsilon = 1e-6
	n := int(tokens + epsilon)
	if n >= t.quantum {
		return n, 0
	}
	missing := float64(t.quantum) - tokens
	wait = time.Duration(missing / float64(t.perSec) * float64(time.Second))
	return 0, max(wait, 50*time.Microsecond)
}

// took notes that n lines went at now, n being at most what available said.
func (t *throttle) took(n int, now time.Time) {
	if t.lim == nil || n == 0 {
		return
	}
	if !t.lim.AllowN(now, n) {
		// Within the epsilon of a token: the reservation may start in the future.
		t.lim.ReserveN(now, n)
	}
}
