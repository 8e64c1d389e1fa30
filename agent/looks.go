package agent

import (
	"container/heap"
	"time"
)

// looks are the open files in the order in which they are looked at next. An incarnation
// stands in it from hold to release.
type looks []*incarnation

func (q looks) Len() int           { return len(q) }
func (q looks) Less(i, j int) bool { return q[i].nextPoll < q[j].nextPoll }

func (q looks) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].lookPlace, q[j].lookPlace = int32(i+1), int32(j+1)
}

func (q *looks) Push(x any) {
	in := x.(*incarnation)
	*q = append(*q, in)
	in.lookPlace = int32(len(*q))
}

func (q *looks) Pop() any {
	old := *q
	in := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	in.lookPlace = 0
	return in
}

// due tells whether the first of them is to be looked at now.
func (q looks) due(now time.Time) bool {
	return len(q) > 0 && q[0].nextPoll <= momentOf(now)
}

// lookAgain sets when an open file is looked at next.
func (l *loop) lookAgain(in *incarnation, at time.Time) {
	in.nextPoll = momentOf(at)
	if in.lookPlace > 0 {
		heap.Fix(&l.looks, int(in.lookPlace)-1)
	}
}

// startLooking has an open file looked at from time to time.
func (l *loop) startLooking(in *incarnation) {
	if in.lookPlace == 0 {
		heap.Push(&l.looks, in)
	}
}

// stopLooking ends that.
func (l *loop) stopLooking(in *incarnation) {
	if in.lookPlace > 0 {
		heap.Remove(&l.looks, int(in.lookPlace)-1)
	}
}
