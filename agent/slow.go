package agent

import (
	"cmp"
	"fmt"
	"time"
)

// slowAfter is how long a look or a read may take before it is called a file system that
// does not answer.
const slowAfter = 10 * time.Second

// maxExtraReaders bounds the readers that stand in for those a file system does not answer.
const maxExtraReaders = 32

// watchSlow sees to those who do not come back from a file system: others take over, and
// the operator hears of it.
func (l *loop) watchSlow(now time.Time) {
	stuck, worst := 0, (*incarnation)(nil)
	for in := range l.out {
		if now.Sub(in.lastTurn) <= time.Second {
			continue
		}
		stuck++
		// Decompressing up to a position far in a file takes long, too.
		if in.zip == nil && (worst == nil || in.lastTurn.Before(worst.lastTurn)) {
			worst = in
		}
	}
	for l.readers < min(readers()+stuck, readers()+maxExtraReaders) && !l.draining {
		l.readers++
		l.idleReaders++
		l.wg.Go(l.reader)
	}
	text := ""
	if worst != nil && now.Sub(worst.lastTurn) > l.slowAfter {
		text = fmt.Sprintf("reading %s takes longer than %v: its file system does not answer", worst.name, l.slowAfter)
	}
	l.setProblem("reading", text)
	text = ""
	if at := l.finder.at.Load(); at != nil && now.Sub(at.since) > l.slowAfter {
		text = fmt.Sprintf("looking for files takes longer than %v: the file system of %s does not answer; no new file is found until it does", slowAfter, at.path)
	}
	l.setProblem("looking", text)
	text = ""
	for _, p := range l.pollsOut {
		if now.Sub(p.since) > l.slowAfter {
			text = cmp.Or(text, fmt.Sprintf("looking at %s takes longer than %v: its file system does not answer", p.path, l.slowAfter))
		}
	}
	l.setProblem("polling", text)
}
