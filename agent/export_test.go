package agent

import "slices"

// FreshStatus makes a snapshot whatever the age of the last one.
func (a *Agent) FreshStatus() Status {
	got := make(chan *Status, 1)
	a.mail.post(func() {
		a.loop.lastAt = a.started
		got <- a.loop.status()
	})
	return *<-got
}

// do runs f in the loop and waits for it.
func (a *Agent) do(f func(l *loop)) {
	did := make(chan struct{})
	a.mail.post(func() { f(&a.loop); close(did) })
	<-did
}

// Undecided counts the rotated files nobody knows yet what they are.
func (a *Agent) Undecided() (n int) {
	a.do(func(l *loop) {
		for _, e := range l.entries {
			for _, s := range e.sources {
				n += len(s.orphans)
				for _, c := range s.candidates {
					if !c.copied {
						n++
					}
				}
			}
		}
	})
	return n
}

// Copies counts the rotated files that are held until what they are copies of is delivered.
func (a *Agent) Copies() (n int) {
	a.do(func(l *loop) {
		for _, e := range l.entries {
			for _, s := range e.sources {
				for _, c := range s.candidates {
					if c.copied {
						n++
					}
				}
			}
		}
	})
	return n
}

// RetriesAsked tells whether the finder is asked to report a path again.
func (a *Agent) RetriesAsked(path string) bool {
	a.loop.reg.mu.Lock()
	defer a.loop.reg.mu.Unlock()
	return slices.Contains(a.loop.reg.retries, path)
}
