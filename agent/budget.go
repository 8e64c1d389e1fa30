package agent

// budget bounds the memory of everything in flight. A topic may hold as much as is still
// free (the dynamic threshold of shared-memory switches: Choudhury and Hahne, 1998, with
// alpha 1): one blocked topic ends up with half, two with a third each, and there is
// always a share left for those that flow. It belongs to the agent's loop.
type budget struct {
	limit   int64
	used    int64
	byTopic map[string]int64
}

func newBudget(limit int64) *budget {
	return &budget{limit: limit, byTopic: make(map[string]int64)}
}

// fit sets the limit to what the way to Kafka can use: half as much again as was on it,
// acknowledged bytes a second by the time an answer takes, at least least, at most what the
// operator allows. To read further ahead makes nothing faster and only takes memory. Where
// the limit is what slows the flow it grows by half each second. What topics hold that are
// not well comes on top, twice: however much they held when they fell ill, the others keep
// their share.
func (b *budget) fit(bytesPerSec, latencySeconds float64, unwell, least, most int64) {
	b.limit = min(most, max(least, int64(1.5*bytesPerSec*latencySeconds))+2*unwell)
}

// leastFlight is what may be in flight at any rate: two large requests to each of four
// connections of a broker.
const leastFlight = 16 << 20

// minGrantBytes is the least worth reading: one small buffer.
const minGrantBytes = 4 << 10

// available returns how many bytes the topic may take now, 0 where that is less than
// least (the smallest buffer that helps its file, such as one long line's).
func (b *budget) available(topic string, least int64) int64 {
	free := b.limit - b.used
	n := free - b.byTopic[topic]
	if n < least || n < minGrantBytes {
		// A topic with nothing in flight may always have one buffer, even past the
		// threshold, as long as it fits: a line of 1 MB must pass.
		if b.byTopic[topic] == 0 && free >= least {
			return least
		}
		return 0
	}
	return n
}

func (b *budget) take(topic string, n int64) {
	b.used += n
	b.byTopic[topic] += n
}

func (b *budget) give(topic string, n int64) {
	b.used -= n
	if b.byTopic[topic] -= n; b.byTopic[topic] == 0 {
		delete(b.byTopic, topic)
	}
}
