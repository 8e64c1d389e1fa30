package agent

import (
	"math"
	"slices"
	"time"
)

// sizeTrail remembers when a file had which size, so that "behind" can be true time: how
// long the oldest byte beyond a position has been in the file. It keeps at most
// maxSizes samples by dropping every second one, so the answer's error grows with the age
// it tells: it is never more than a part in sixteen or so.
type sizeTrail struct {
	at    []sizeSample // by time and size, both growing
	known bool         // the first sample is the file's beginning under our eyes
}

type sizeSample struct {
	when time.Time
	size int64
}

const maxSizes = 64

// note records a look at the file.
func (t *sizeTrail) note(now time.Time, size int64) {
	n := len(t.at)
	if n > 0 && t.at[n-1].size >= size {
		return
	}
	if n > 1 && now.Sub(t.at[n-1].when) < time.Second && now.Sub(t.at[n-2].when) < time.Second {
		// Denser than a second helps nobody; the older time stands for the larger size:
		// better a little too old than too young.
		t.at[n-1].size = size
		return
	}
	if n >= maxSizes {
		t.thin(now)
	}
	t.at = append(t.at, sizeSample{when: now, size: size})
}

// thin joins the two neighbours whose distance is smallest beside their age. The joined
// sample keeps the older time with the larger size: a little too old, never too young.
func (t *sizeTrail) thin(now time.Time) {
	best, least := 1, math.Inf(1)
	for i := 1; i < len(t.at)-1; i++ {
		gap := t.at[i+1].when.Sub(t.at[i].when).Seconds()
		if r := gap / now.Sub(t.at[i].when).Seconds(); r < least {
			best, least = i, r
		}
	}
	t.at[best].size = t.at[best+1].size
	t.at = slices.Delete(t.at, best+1, best+2)
}

// forget drops what lies wholly before the position, but for the last such sample.
func (t *sizeTrail) forget(pos int64) {
	i := 0
	for i < len(t.at) && t.at[i].size <= pos {
		i++
	}
	if i > 1 {
		t.at = append(t.at[:0], t.at[i-1:]...)
		t.known = true
	}
}

// age returns how long the oldest byte beyond pos has been there, and whether it may have
// been there longer: it stood there when the file was first seen.
func (t *sizeTrail) age(now time.Time, pos int64) (d time.Duration, atLeast bool) {
	for i, s := range t.at {
		if s.size > pos {
			return now.Sub(s.when), i == 0 && !t.known
		}
	}
	return 0, false
}

// rest lets go of the samples of a file that is read to its end: whatever comes next comes
// under our eyes.
func (t *sizeTrail) rest(size, committed int64) {
	if committed >= size {
		*t = sizeTrail{known: true}
	}
}
