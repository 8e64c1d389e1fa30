package agent

import "time"

// moment is a point in time by the monotonic clock, in ns since the process began: a third of
// the size of a time.Time, and no clock that is set back makes it wait for hours. The zero
// value has passed.
type moment int64

var processBegan = time.Now()

// momentOf takes a time that came from time.Now.
func momentOf(t time.Time) moment { return moment(t.Sub(processBegan)) }
