package main

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEveryDurationHasItsBucketAndTheNextBucketBeginsAfterIt(t *testing.T) {
	t.Parallel()
	for i := range histogramBuckets - 1 {
		top := bucketTop(i)
		if bucketOf(top) != i || bucketOf(top+1) != i+1 {
			t.Fatalf("bucket %d ends at %d, which lies in %d; the next is in %d", i, top, bucketOf(top), bucketOf(top+1))
		}
	}
	if bucketOf(1<<63-1) != histogramBuckets-1 {
		t.Errorf("the longest duration lies in bucket %d of %d", bucketOf(1<<63-1), histogramBuckets)
	}
}

func TestQuantilesAreThoseOfTheSortedValues(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 3, 100, 1000, 20_011} {
		var h histogram
		var all []time.Duration
		for range n {
			d := time.Duration(r.ExpFloat64() * 1e6)
			h.add(d)
			all = append(all, d)
		}
		slices.Sort(all)
		for _, q := range []float64{0.5, 0.9, 0.99, 0.999} {
			rank := int(q * float64(n))
			if float64(rank) < q*float64(n) {
				rank++
			}
			want := all[max(0, rank-1)]
			if got := h.quantile(q); got < want || float64(got) > float64(want)*(1+1.0/64)+1 {
				t.Errorf("of %d values, the share %v lies below %v, want %v and at most 1/64 more", n, q, got, want)
			}
		}
		if h.max != all[n-1] || h.quantile(1) != all[n-1] {
			t.Errorf("of %d values, the greatest is %v and %v, want %v", n, h.max, h.quantile(1), all[n-1])
		}
	}
}

func TestAnEmptyHistogramHasNoQuantilesAndABackwardClockCountsAsNothing(t *testing.T) {
	t.Parallel()
	var h histogram
	if h.quantile(0.99) != 0 || h.String() != "" {
		t.Errorf("an empty histogram says %v and %q", h.quantile(0.99), h.String())
	}
	h.add(-time.Second)
	if h.n != 1 || h.quantile(0.5) != 0 {
		t.Errorf("a negative duration gives %d values with the middle %v", h.n, h.quantile(0.5))
	}
}

func TestAHistogramTravelsAsJSON(t *testing.T) {
	t.Parallel()
	var h, back histogram
	for i := range 1000 {
		h.add(time.Duration(i*i) * time.Microsecond)
	}
	text, err := json.Marshal(&h)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if back != h {
		t.Error("it came back another one")
	}
	if err := json.Unmarshal([]byte(`{"buckets":{"99999":1}}`), &back); err == nil {
		t.Error("a bucket that there is not is no error")
	}
}

func TestADrawnHistogramHasALineForEachDoubling(t *testing.T) {
	t.Parallel()
	var h histogram
	for range 3 {
		h.add(700 * time.Microsecond)
	}
	h.add(3 * time.Millisecond)
	got := h.String()
	want := []string{"1.024 ms         3  75.00 %", "2.048 ms         0   0.00 %", "4.096 ms         1  25.00 %"}
	if lines := strings.Count(got, "\n"); lines != len(want) {
		t.Errorf("%d lines, want %d:\n%s", lines, len(want), got)
	}
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("no %q in\n%s", w, got)
		}
	}
}
