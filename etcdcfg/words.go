package etcdcfg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// kind says what an error tells about the link.
type kind int

const (
	kindAnswer kind = iota // etcd answered; the answer was no
	kindAway               // no answer, or none that helps: no connection, no leader, not signed in
	kindCaller             // says nothing about etcd: the caller's context ended, the client is closed, a race was lost
)

func kindOf(err error) kind {
	switch {
	case errors.Is(err, ErrClosed), errors.Is(err, context.Canceled), errors.Is(err, errRaced):
		return kindCaller
	case errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, rpctypes.ErrNoLeader), errors.Is(err, rpctypes.ErrTimeout),
		errors.Is(err, rpctypes.ErrTimeoutDueToLeaderFail), errors.Is(err, rpctypes.ErrTimeoutDueToConnectionLost),
		errors.Is(err, rpctypes.ErrAuthFailed), signedOut(err):
		return kindAway
	}
	var served rpctypes.EtcdError
	if errors.As(err, &served) {
		if served.Code() == codes.Unavailable {
			return kindAway
		}
		return kindAnswer
	}
	switch status.Code(err) {
	case codes.Canceled:
		return kindCaller
	case codes.InvalidArgument, codes.NotFound, codes.PermissionDenied, codes.FailedPrecondition, codes.OutOfRange, codes.ResourceExhausted:
		return kindAnswer
	}
	return kindAway
}

// etcdError is an error in an operator's words that still wraps its cause.
type etcdError struct {
	what   string // tried
	reason string
	cause  error
}

func (e *etcdError) Error() string { return e.what + ": etcd: " + e.reason }
func (e *etcdError) Unwrap() error { return e.cause }

// explain words an error. heard is what was said to the request before that; ended is the
// caller's own context's error, if it has ended.
func (c *Client) explain(what string, err, heard, ended error) *etcdError {
	var done *etcdError
	if errors.As(err, &done) {
		return &etcdError{what: what, reason: done.reason, cause: done.cause}
	}
	e := &etcdError{what: what, cause: err}
	where := c.link.addrs
	switch {
	case errors.Is(err, ErrClosed):
		e.reason = "the client is closed"
	case errors.Is(ended, context.Canceled):
		e.reason = "stopped before " + where + " answered"
	case errors.Is(err, rpctypes.ErrNoLeader):
		e.reason = where + " has no leader"
	case c.plainRefusal(err) != "":
		e.reason = c.plainRefusal(err)
	case errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded || status.Code(err) == codes.Unavailable:
		e.reason = c.unanswered(err, heard)
	default:
		e.reason = where + ": " + strings.TrimPrefix(plainRPC(err), "etcdserver: ")
	}
	if ended != nil {
		e.cause = errors.Join(ended, err)
	}
	return e
}

// unanswered words a request that nobody answered, by the best that is known about why.
func (c *Client) unanswered(err, heard error) string {
	if errors.Is(rpctypes.Error(heard), rpctypes.ErrNoLeader) {
		return c.link.addrs + " has no leader"
	}
	if reason := c.link.unreachable(); reason != "" {
		return reason
	}
	// An end or a reset, whichever comes first.
	if !c.opts.secured() && strings.Contains(plainRPC(heard)+plainRPC(err), "error reading server preface: ") {
		return c.link.addrs + ": it hung up at the first word; does it want TLS (see etcd_ca)?"
	}
	if reason := connectionReason(heard); reason != "" {
		return c.link.addrs + ": " + reason
	}
	if reason := connectionReason(err); reason != "" {
		return c.link.addrs + ": " + reason
	}
	return fmt.Sprintf("no answer from %s within %v", c.link.addrs, c.opts.Timeout)
}

// connectionReason digs out of gRPC's message why a connection could not be made, such as
// a certificate that is not trusted; "" where it does not say.
func connectionReason(err error) string {
	text := plainRPC(err)
	if _, reason, ok := strings.Cut(text, "authentication handshake failed: "); ok {
		return "TLS handshake failed: " + strings.Trim(reason, `"`)
	}
	if _, reason, ok := strings.Cut(text, "connection error: desc = "); ok {
		reason = strings.TrimPrefix(strings.Trim(reason, `"`), "transport: ")
		return strings.TrimPrefix(reason, "Error while dialing: ")
	}
	return ""
}

// plainRPC returns an error's message without gRPC's wrapping.
func plainRPC(err error) string {
	if err == nil {
		return ""
	}
	if s, ok := status.FromError(err); ok {
		return s.Message()
	}
	return err.Error()
}

// plainDial words why a TCP connection could not be made.
func plainDial(err error) string {
	where := ""
	var op *net.OpError
	if errors.As(err, &op) && op.Addr != nil {
		where = op.Addr.String() + ": "
	}
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return "no address for " + dns.Name
	case errors.Is(err, syscall.ECONNREFUSED):
		return where + "connection refused"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return where + "no answer"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return where + "no route to it"
	case errors.Is(err, io.EOF):
		return where + "connection closed"
	}
	return err.Error()
}
