package etcdcfg

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"logagent/agent"
)

// link knows how the connection is, from what happens on it anyway: connections begin and
// end (gRPC's stats hook tells at once when etcd's process dies), requests are answered or
// not. An idle agent costs etcd nothing but a ping every ten seconds.
//
// It also counts lost connections. The etcd library moves a watch to a new connection by
// itself and without a word, asking for the next revision. Where etcd came back from a
// backup with a lower revision that watch waits silently for a far future, so whoever
// watches reads the whole truth again after each loss.
type link struct {
	log   *slog.Logger
	addrs string

	mu         sync.Mutex // guards all below
	state      agent.LinkStatus
	answer     bool              // etcd answered last time
	reason     string            // why not
	complaints map[string]string // what etcd answers but refuses: thing tried to reason
	open       map[string]int    // connections by the address they lead to
	lost       chan struct{}     // closed and replaced when a connection ends
	dialErr    string            // the last one, until etcd answers
	alert      string            // why etcd hung up on a connection that had begun, until it answers
	said       bool              // the log has this outage's reason
}

func newLink(log *slog.Logger, addrs string) *link {
	const first = "not connected yet"
	return &link{
		log: log, addrs: addrs,
		state:      agent.LinkStatus{Error: first, Since: time.Now()},
		reason:     first,
		complaints: make(map[string]string),
		open:       make(map[string]int),
		lost:       make(chan struct{}),
	}
}

func (l *link) status() agent.LinkStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// lostConnection returns a channel that is closed when a connection ends from now on.
func (l *link) lostConnection() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// answered notes that etcd answered.
func (l *link) answered() {
	l.update(func() { l.answer, l.reason, l.dialErr, l.alert = true, "", "", "" })
}

// failed notes that etcd did not answer.
func (l *link) failed(reason string) {
	l.update(func() { l.answer, l.reason = false, reason })
}

// refused notes that etcd answers but refuses a thing that is tried again and again, and
// says so in the log where that is news.
func (l *link) refused(what, reason string) {
	news := false
	l.update(func() {
		news = l.complaints[what] != reason
		l.complaints[what] = reason
	})
	if news {
		l.log.Warn("etcd refuses, trying again", "what", what, "reason", reason)
	}
}

// settled notes that the thing works, or is tried no more.
func (l *link) settled(what string) {
	l.update(func() { delete(l.complaints, what) })
}

// update changes what is known and says it in the log where up or down comes of it.
func (l *link) update(change func()) {
	l.mu.Lock()
	change()
	before := l.state
	reason := l.reason
	if l.answer {
		reason = strings.Join(slices.Sorted(maps.Values(l.complaints)), "; ")
	}
	up := l.answer && len(l.complaints) == 0
	if up != before.Up {
		l.state.Since = time.Now()
	}
	l.state.Up, l.state.Error = up, reason
	after := l.state
	// What follows the loss of a connection says why it stays away; after that, members
	// that take turns in refusing would fill the log.
	why := !up && !before.Up && reason != before.Error && !l.said
	l.said = !up && (l.said || why)
	l.mu.Unlock()

	switch {
	case after.Up && !before.Up:
		l.log.Info("etcd is connected", "etcd", l.addrs)
	case !after.Up && before.Up:
		l.log.Warn("etcd is lost, trying again", "etcd", l.addrs, "reason", after.Error)
	case why:
		l.log.Warn("etcd is away, trying again", "etcd", l.addrs, "reason", after.Error)
	}
}

// dialFailed notes why a connection could not be made.
func (l *link) dialFailed(reason string) {
	l.update(func() {
		l.dialErr, l.alert = reason, ""
		if len(l.open) == 0 {
			l.answer, l.reason = false, reason
		}
	})
}

// alerted notes why etcd hung up on a connection that had begun.
func (l *link) alerted(reason string) {
	l.update(func() { l.alert, l.answer, l.reason = reason, false, reason })
}

// hungUp notes a guess at that, unless etcd has said why before.
func (l *link) hungUp(guess string) {
	l.update(func() {
		if l.alert == "" {
			l.alert, l.answer, l.reason = guess, false, guess
		}
	})
}

// unreachable returns why no connection comes about, "" where there is one: why one address
// cannot be reached says nothing about a request while another is connected.
func (l *link) unreachable() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.alert != "" || len(l.open) > 0 {
		return l.alert
	}
	return l.dialErr
}

// heard is what etcd or gRPC said to one request while the library tried it again and
// again, before a mere timeout came of it.
type heard struct {
	mu  sync.Mutex // guards err
	err error
}

type heardKey struct{}

func (h *heard) last() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// listen keeps what is said to a request whose ctx holds a heard.
func listen(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, cc, opts...)
	h, ok := ctx.Value(heardKey{}).(*heard)
	if ok && err != nil && (status.Code(err) != codes.DeadlineExceeded || connectionReason(err) != "") {
		h.mu.Lock()
		h.err = err
		h.mu.Unlock()
	}
	return err
}

type remoteKey struct{}

// TagConn implements stats.Handler.
func (l *link) TagConn(ctx context.Context, info *stats.ConnTagInfo) context.Context {
	remote := "etcd"
	if info.RemoteAddr != nil {
		remote = info.RemoteAddr.String()
	}
	return context.WithValue(ctx, remoteKey{}, remote)
}

// HandleConn implements stats.Handler: it hears of every connection's begin and end. The
// end of one is told late: gRPC may have begun the next one to the same address by then,
// which proves nothing yet. Only a connection to another member keeps the link up.
func (l *link) HandleConn(ctx context.Context, s stats.ConnStats) {
	remote, _ := ctx.Value(remoteKey{}).(string)
	switch s.(type) {
	case *stats.ConnBegin:
		l.mu.Lock()
		l.open[remote]++
		l.mu.Unlock()
	case *stats.ConnEnd:
		l.update(func() {
			l.open[remote]--
			if l.open[remote] == 0 {
				delete(l.open, remote)
			}
			others := len(l.open)
			if l.open[remote] > 0 {
				others--
			}
			if others == 0 && l.answer {
				l.answer, l.reason = false, remote+": connection lost"
			}
			close(l.lost)
			l.lost = make(chan struct{})
		})
	}
}

// TagRPC implements stats.Handler.
func (l *link) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (l *link) HandleRPC(context.Context, stats.RPCStats) {}
