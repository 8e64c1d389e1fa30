package agent

// FreshStatus makes a snapshot whatever the age of the last one.
func (a *Agent) FreshStatus() Status {
	got := make(chan *Status, 1)
	a.mail.post(func() {
		a.loop.lastAt = a.started
		got <- a.loop.status()
	})
	return *<-got
}
