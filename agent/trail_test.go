package agent

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestTrailKeepsAnAnchorInEveryCopyThatIsNotTiny(t *testing.T) {
	t.Parallel()
	at := func(pos int64) mark { return markOf(fmt.Append(nil, pos)) }
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var tr trail
		pos := int64(0)
		most := int64(1) << (8 + rng.IntN(12))
		for range 2000 {
			pos += 1 + rng.Int64N(most)
			tr = tr.with(pos, at(pos))
			if len(tr) > 2*len(trailSteps)+1 {
				t.Fatalf("%d anchors kept", len(tr))
			}
			// A copy that misses n bytes has an anchor not much farther back than that.
			for _, n := range []int64{0, 100, 1 << 10, 5000, 32 << 10, 100_000, 1 << 20} {
				if pos < 4*max(n, most, 1<<20) {
					continue
				}
				a, ok := tr.within(pos - n)
				if !ok || a.Mark != at(a.Off) || a.Off > pos-n {
					t.Fatalf("seed %d: at %d no anchor in a copy that misses %d bytes: %v", seed, pos, n, tr)
				}
			}
		}
		back := tr.until(pos / 2)
		if a, ok := back.within(pos); ok && a.Off > pos/2 {
			t.Fatalf("after going back to %d there is an anchor at %d", pos/2, a.Off)
		}
	}
}
