package etcdcfg

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// A user's sign-in, etcd calls it a token, ends: five minutes after its last use, with a
// change of his password, and with each change of users and roles. A request that meets
// this signs in again by itself. What the etcd library leaves to its user is here:
//
//   - All watches share one stream, and a stream keeps the token it began with. A watch that
//     is added after that ended is refused until the last old one has gone (etcd issue
//     12385). streams has the next one begin on a stream of its own.
//   - A client that met etcd while it had no users asks without a token from then on, and
//     with a TLS certificate counts as the user of its name: it is denied for ever, on a
//     stream that began then too. doubtful has it sign in again.
//   - The library signs in twice a second while its password is refused, and each time costs
//     etcd 60 ms. signIn holds that back.

// streams names the stream that watches share.
type streams struct {
	mu     sync.Mutex // guards number
	number int
}

// streamKey sets one stream apart from another; etcd does not read it.
const streamKey = "logagent-stream"

// current returns the stream for a new watch, and a ctx that leads to it.
func (s *streams) current(ctx context.Context) (context.Context, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return metadata.AppendToOutgoingContext(ctx, streamKey, fmt.Sprint(s.number)), s.number
}

// leave has watches begin on another stream than this one.
func (s *streams) leave(number int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.number == number {
		s.number++
	}
}

// signedOut tells whether an error says that a sign-in has ended.
func signedOut(err error) bool {
	return errors.Is(err, rpctypes.ErrInvalidAuthToken) || errors.Is(err, rpctypes.ErrAuthOldRevision) || errors.Is(err, rpctypes.ErrUserEmpty)
}

const (
	authenticate = "/etcdserverpb.Auth/Authenticate"
	firstSignIn  = time.Second
)

// signIn keeps a refused user from asking again at once.
type signIn struct {
	// most bounds the wait after a refused password, and so how long a corrected one takes
	// to be noticed.
	most time.Duration

	mu      sync.Mutex // guards all below
	refused error
	wait    time.Duration
	until   time.Time
	doubted time.Time // when a denied user signed in again last
}

func (s *signIn) intercept(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if method != authenticate {
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	if err := s.held(); err != nil {
		return err
	}
	err := invoke(ctx, method, req, reply, cc, opts...)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.refused, s.wait = nil, 0
	case errors.Is(rpctypes.Error(err), rpctypes.ErrAuthFailed):
		s.refused, s.wait = err, min(max(2*s.wait, firstSignIn), s.most)
		s.until = time.Now().Add(s.wait)
	}
	return err
}

// held returns the refusal that still stands.
func (s *signIn) held() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused != nil && time.Now().Before(s.until) {
		return s.refused
	}
	return nil
}

// due tells whether a denied user should sign in again now.
func (s *signIn) due(every time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.doubted) < every {
		return false
	}
	s.doubted = time.Now()
	return true
}

// doubtful tells, now and then, that a user who is denied something should sign in again:
// he may have been taken for another one.
func (c *Client) doubtful(err error) bool {
	return c.opts.User != "" && errors.Is(err, rpctypes.ErrPermissionDenied) && c.signIn.due(c.timing.signInAgain)
}

// doubt signs in again where that is due.
func (c *Client) doubt(ctx context.Context, etcd *clientv3.Client, err error) {
	if etcd == nil || !c.doubtful(err) {
		return
	}
	// The library signs in as it begins a stream, and in no other way.
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	_, _ = etcd.KeepAliveOnce(ctx, clientv3.NoLease) // there is no such lease
}

// plainRefusal words why a user may not do something, "" where the error says nothing of it.
func (c *Client) plainRefusal(err error) string {
	where := c.link.addrs
	switch {
	case errors.Is(err, rpctypes.ErrAuthFailed):
		return fmt.Sprintf("%s refuses user %q: wrong user or password (%s)", where, c.opts.User, mendPassword)
	case errors.Is(err, rpctypes.ErrUserEmpty):
		return where + " wants a user and password (" + mendPassword + ")"
	case errors.Is(err, rpctypes.ErrInvalidAuthToken), errors.Is(err, rpctypes.ErrAuthOldRevision):
		return fmt.Sprintf("%s has signed user %q out", where, c.opts.User)
	case errors.Is(err, rpctypes.ErrPermissionDenied) && c.opts.User == "":
		return where + " does not allow this without a user (" + mendPassword + ")"
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return fmt.Sprintf("%s does not allow this to user %q: his role lacks the key", where, c.opts.User)
	case errors.Is(err, rpctypes.ErrNoSpace):
		return where + " is full (its quota): compact it, defragment it, disarm the alarm"
	case errors.Is(err, rpctypes.ErrRequestTooLarge), tooLargeToSend(err):
		return where + " takes no request as large as this (its limit is 1.5 MiB unless set otherwise)"
	}
	return ""
}

// takesNoWrites tells whether nothing but an operator's hand will have the same write
// succeed. Each one that a full etcd refuses costs all its members an entry in their logs.
func takesNoWrites(err error) bool {
	return errors.Is(err, rpctypes.ErrNoSpace) || errors.Is(err, rpctypes.ErrRequestTooLarge) || tooLargeToSend(err)
}

// tooLargeToSend tells whether the library did not even send a request for its size.
func tooLargeToSend(err error) bool {
	return err != nil && strings.Contains(err.Error(), "trying to send message larger than max")
}
