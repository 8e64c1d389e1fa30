package main

import "testing"

func TestOneProcessorIsEnoughWhileTheProcessIsCalm(t *testing.T) {
	t.Parallel()
	var c calmness
	tick := func(n int, share float64) (one bool) {
		for range n {
			one = c.next(share)
		}
		return one
	}
	if tick(calmTicks-1, 0.1) {
		t.Error("one processor too soon")
	}
	if !tick(1, 0.1) {
		t.Fatal("all processors after two calm seconds")
	}
	if !tick(100, (calmShare+busyShare)/2) {
		t.Error("what is neither calm nor work changes something")
	}
	if tick(1, 0.9) {
		t.Error("work has to do with one processor")
	}
	if tick(calmTicks-1, 0.1) || tick(1, 0.3) || tick(calmTicks-1, 0.1) || !tick(1, 0.1) {
		t.Error("it was not calm for long enough, or it was")
	}
}
