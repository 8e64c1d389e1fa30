package main

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// histogram counts durations in buckets that are at most 1/64 wide of what they hold, in
// memory that does not grow. The zero value is empty. It is for one goroutine.
type histogram struct {
	buckets [histogramBuckets]int64
	n       int64
	max     time.Duration // exact
}

const (
	histogramFine    = 6 // bits kept of a duration
	histogramBuckets = (64 - histogramFine) << histogramFine
)

// bucketOf names the bucket of a duration; below 64 ns each has its own.
func bucketOf(d time.Duration) int {
	v := uint64(max(0, d))
	shift := max(0, bits.Len64(v)-histogramFine-1)
	return shift<<histogramFine + int(v>>shift)
}

// bucketTop is the longest duration in a bucket.
func bucketTop(i int) time.Duration {
	shift := max(0, i>>histogramFine-1)
	return time.Duration((uint64(i-shift<<histogramFine)+1)<<shift - 1)
}

// add counts a duration; negative ones (a clock was set back) count as 0.
func (h *histogram) add(d time.Duration) {
	h.buckets[bucketOf(d)]++
	h.n++
	h.max = max(h.max, d)
}

// quantile is the duration that a share q of all does not exceed, 0 where there is none.
func (h *histogram) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := min(h.n, max(1, int64(q*float64(h.n)+0.999999)))
	for i, n := range h.buckets {
		if rank -= n; rank <= 0 {
			return min(bucketTop(i), h.max)
		}
	}
	return h.max
}

// histogramJSON is how a histogram travels: only the buckets that hold something.
type histogramJSON struct {
	Max     time.Duration    `json:"max"`
	Buckets map[string]int64 `json:"buckets"`
}

func (h *histogram) MarshalJSON() ([]byte, error) {
	out := histogramJSON{Max: h.max, Buckets: make(map[string]int64)}
	for i, n := range h.buckets {
		if n > 0 {
			out.Buckets[strconv.Itoa(i)] = n
		}
	}
	return json.Marshal(out)
}

func (h *histogram) UnmarshalJSON(b []byte) error {
	var in histogramJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*h = histogram{max: in.Max}
	for name, n := range in.Buckets {
		i, err := strconv.Atoi(name)
		if err != nil || i < 0 || i >= histogramBuckets {
			return fmt.Errorf("a histogram has no bucket %q", name)
		}
		h.buckets[i] = n
		h.n += n
	}
	return nil
}

// String draws the histogram, a line for each doubling of the time.
func (h *histogram) String() string {
	const width = 50
	var octaves [64]int64
	first, last, most := 64, 0, int64(1)
	for i, n := range h.buckets {
		if n == 0 {
			continue
		}
		o := bits.Len64(uint64(bucketTop(i) / time.Microsecond))
		octaves[o] += n
		first, last, most = min(first, o), max(last, o), max(most, octaves[o])
	}
	var b strings.Builder
	for o := first; o <= last && h.n > 0; o++ {
		top := time.Duration(1<<o) * time.Microsecond
		bar := int(octaves[o] * width / most)
		fmt.Fprintf(&b, "< %9.3f ms %9d %6.2f %% %s\n", float64(top)/1e6, octaves[o], 100*float64(octaves[o])/float64(h.n), strings.Repeat("#", bar))
	}
	return b.String()
}
