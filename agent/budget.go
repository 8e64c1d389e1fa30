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
