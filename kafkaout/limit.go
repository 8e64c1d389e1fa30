package kafkaout

import "time"

// sizeLimit learns the largest record batch that a topic takes, in uncompressed bytes:
// between the largest accepted and the smallest refused. With compression it is no exact
// line, so a refusal below what was accepted starts the search again.
type sizeLimit struct {
	accepted int64
	refused  int64 // 0: none was
	since    time.Time
}

// limitMemory is how long a refusal is believed: somebody may raise the topic's limit.
const limitMemory = 10 * time.Minute

func (l *sizeLimit) accept(bytes int64) {
	if bytes > l.accepted && (l.refused == 0 || bytes < l.refused) {
		l.accepted = bytes
	}
}

func (l *sizeLimit) refuse(bytes int64, now time.Time) {
	if l.refused == 0 || bytes < l.refused {
		l.refused = bytes
	}
	if l.accepted >= l.refused {
		l.accepted = 0
	}
	l.since = now
}

// size is the largest record batch to try, at most most. It is always below the smallest
// refused, and comes within an eighth of it after a few tries.
func (l *sizeLimit) size(most int64) int64 {
	if l.refused == 0 {
		return most
	}
	if l.refused-l.accepted <= l.refused/8 {
		return min(most, l.accepted)
	}
	return min(most, (l.accepted+l.refused)/2)
}

func (l *sizeLimit) forget(now time.Time) {
	if l.refused > 0 && now.Sub(l.since) > limitMemory {
		*l = sizeLimit{}
	}
}
