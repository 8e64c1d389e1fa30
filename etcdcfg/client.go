package etcdcfg

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"

	"logagent/agent"
)

// Options of a Client.
type Options struct {
	Addrs    []string      // host:port, or with http:// or https:// before it; at least one
	Timeout  time.Duration // of one request; 0 means 5s
	Pattern  string        // of the documents' keys; "" means DefaultPattern
	Log      *slog.Logger  // nil: nothing is logged
	TLS      *tls.Config   // nil: plain, or the system's roots where an address begins with https://
	User     string        // "": no authentication
	Password string
	History  Limits // of what is kept of each document's changes
}

// ErrClosed is returned by a Client after Close.
var ErrClosed = errors.New("etcd client is closed")

const (
	defaultTimeout = 5 * time.Second
	// reconnectCap bounds gRPC's own backoff, which would sleep two minutes after an outage.
	reconnectCap = 2 * time.Second
	// A connection that went silent is noticed after pingEvery+pingWait. gRPC allows no
	// shorter pingEvery, and etcd cuts clients that ping more often than every 5s.
	pingEvery = 10 * time.Second
	pingWait  = 5 * time.Second
	// maxSignIn: 10,000 hosts whose password is refused ask 333 times a second.
	maxSignIn = 30 * time.Second
)

// timing holds what tests make shorter.
type timing struct {
	liveTTL, watchTTL int64         // seconds
	resync            time.Duration // every feed reads the whole truth again this often
	followResync      time.Duration // the documents of the own host
	cacheAfter        time.Duration // how long etcd may stay silent before the cache is used
	statusEvery       time.Duration // between two coarse statuses that are not urgent
	jitter            time.Duration // most delay of an urgent one after a shared key changed
	fullRetry         time.Duration // most wait between two writes that etcd has no room for
	signInAgain       time.Duration // between two times that a denied user signs in anew
	unwatchedAfter    time.Duration // how long ROOT.watch must stay away to count as gone
	ping              time.Duration // of a console

	now       func() time.Time // the clock that changes are stamped with
	driverTTL int64            // seconds until the work of a driver that died is free for another
	poll      time.Duration    // between two looks at the hosts of a rollout
	driveWait time.Duration    // how long Drive goes on without an answer of etcd
}

func defaultTiming(timeout time.Duration) timing {
	return timing{
		// 10,000 hosts renew 333 times a second.
		liveTTL: 90, watchTTL: 30,
		resync: 5 * time.Minute, followResync: time.Minute,
		cacheAfter:  min(2*time.Second, timeout),
		statusEvery: 30 * time.Second, jitter: time.Second,
		fullRetry:      30 * time.Second,
		signInAgain:    30 * time.Second,
		unwatchedAfter: 3 * time.Second,
		ping:           2 * time.Second,
		now:            time.Now,
		driverTTL:      10,
		poll:           time.Second,
		driveWait:      time.Minute,
	}
}

// Client is a connection to etcd and the layout of the keys in it.
type Client struct {
	opts   Options
	layout Layout
	log    *slog.Logger
	link   *link
	timing timing

	// connecting is a lock that a context can stop waiting for: signing in takes a round trip.
	connecting chan struct{}
	etcd       *clientv3.Client   // nil until first used; guarded by connecting
	end        context.CancelFunc // of etcd's life; guarded by connecting
	closed     bool               // guarded by connecting

	streams streams
	signIn  signIn
	tunings tunings
}

// New checks the options, all of them at once. It does not need etcd to answer: the
// connection is made on first use and again whenever it breaks.
func New(o Options) (*Client, error) {
	var problems []error
	if len(o.Addrs) == 0 {
		problems = append(problems, errors.New("no etcd address; an example: 10.134.123.183:2379"))
	}
	o.Addrs = slices.Clone(o.Addrs)
	for i, a := range o.Addrs {
		o.Addrs[i] = strings.TrimRight(strings.TrimSpace(a), "/")
		if err := checkAddr(o.Addrs[i]); err != nil {
			problems = append(problems, err)
		}
	}
	if o.Timeout < 0 {
		problems = append(problems, fmt.Errorf("etcd timeout is %v, must be above 0", o.Timeout))
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Pattern == "" {
		o.Pattern = DefaultPattern
	}
	if o.Password != "" && o.User == "" {
		problems = append(problems, errors.New("etcd password without a user"))
	}
	if o.User != "" && o.Password == "" {
		problems = append(problems, errors.New("etcd user without a password"))
	}
	if o.History.Keep < 0 || o.History.MaxAge < 0 {
		problems = append(problems, fmt.Errorf("history of %d records and %v: both must be 0, the default, or above", o.History.Keep, o.History.MaxAge))
	}
	layout, err := ParsePattern(o.Pattern)
	if err != nil {
		problems = append(problems, err)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{
		opts: o, layout: layout, log: o.Log,
		link:       newLink(o.Log, strings.Join(o.Addrs, ", ")),
		timing:     defaultTiming(o.Timeout),
		connecting: make(chan struct{}, 1),
	}
	c.signIn.most = maxSignIn
	return c, nil
}

func checkAddr(addr string) error {
	bare := strings.TrimPrefix(strings.TrimPrefix(addr, "http://"), "https://")
	host, port, err := net.SplitHostPort(bare)
	if err != nil || host == "" || port == "" || strings.ContainsAny(bare, "/@ ") {
		return fmt.Errorf("etcd address %q is not host:port; an example: 10.134.123.183:2379", addr)
	}
	return nil
}

// Layout returns the names of the keys.
func (c *Client) Layout() Layout { return c.layout }

// Link tells how the connection is. It never blocks.
func (c *Client) Link() agent.LinkStatus { return c.link.status() }

// Close ends the connection. End the contexts of everything that runs on the client first.
// It blocks at most for one request's timeout.
func (c *Client) Close() error {
	c.connecting <- struct{}{}
	defer func() { <-c.connecting }()
	c.closed = true
	if c.etcd == nil {
		return nil
	}
	defer c.end()
	etcd := c.etcd
	c.etcd = nil
	if err := etcd.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("close etcd client: %w", err)
	}
	return nil
}

// connection returns the etcd client, made on first use: with a user the library signs in
// while it is made, and gives up for good where etcd is away at that moment.
func (c *Client) connection(ctx context.Context) (*clientv3.Client, error) {
	select {
	case c.connecting <- struct{}{}:
		defer func() { <-c.connecting }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c.closed {
		return nil, ErrClosed
	}
	if c.etcd != nil {
		return c.etcd, nil
	}
	// Signing in ends with ctx; once that is done the client lives until Close.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	release := context.AfterFunc(ctx, end)
	etcd, err := clientv3.New(clientv3.Config{
		Context:              life,
		Endpoints:            c.opts.Addrs,
		DialTimeout:          c.opts.Timeout,
		DialKeepAliveTime:    pingEvery,
		DialKeepAliveTimeout: pingWait,
		TLS:                  c.opts.TLS,
		Username:             c.opts.User,
		Password:             c.opts.Password,
		Logger:               zap.NewNop(), // the default one writes to stderr
		DialOptions: append(c.handshake(),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectCap},
				MinConnectTimeout: c.opts.Timeout,
			}),
			grpc.WithContextDialer(c.dial),
			grpc.WithStatsHandler(c.link),
			grpc.WithChainUnaryInterceptor(c.signIn.intercept, listen),
		),
	})
	if !release() { // ctx has ended, and the client with it
		end()
		if err == nil {
			err = etcd.Close()
		}
		return nil, cmp.Or(ctx.Err(), err)
	}
	if err != nil {
		end()
		return nil, err
	}
	c.etcd, c.end = etcd, end
	return etcd, nil
}

// dial makes one TCP connection and remembers why it could not be made: what a request
// that waits for a connection returns is a timeout only.
func (c *Client) dial(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		c.link.dialFailed(plainDial(err))
	}
	return conn, err
}

// do makes one request, bounded by Options.Timeout, and takes note of how the link is. The
// error is in words, what is the thing tried.
func (c *Client) do(ctx context.Context, what string, request func(context.Context, *clientv3.Client) error) error {
	h := &heard{}
	rctx, cancel := context.WithTimeout(context.WithValue(ctx, heardKey{}, h), c.opts.Timeout)
	defer cancel()
	etcd, err := c.connection(rctx)
	if err == nil {
		err = request(rctx, etcd)
	}
	if err == nil {
		c.link.answered()
		return nil
	}
	if ctx.Err() != nil {
		// The caller's own end says nothing about etcd, but the reason helps him.
		return c.explain(what, err, h.last(), ctx.Err())
	}
	c.doubt(ctx, etcd, err)
	explained := c.explain(what, err, h.last(), nil)
	switch kindOf(err) {
	case kindAway:
		c.link.failed(explained.reason)
	case kindAnswer:
		c.link.answered()
	}
	return explained
}

// read is do for a request that changes nothing. A member that has no leader says so, and
// the others are asked; a write waits for the next leader instead.
func (c *Client) read(ctx context.Context, what string, request func(context.Context, *clientv3.Client) error) error {
	return c.do(ctx, what, func(ctx context.Context, etcd *clientv3.Client) error {
		return request(clientv3.WithRequireLeader(ctx), etcd)
	})
}

// handshake makes gRPC shake hands through this client's link.
func (c *Client) handshake() []grpc.DialOption {
	if !c.opts.secured() {
		return nil
	}
	return []grpc.DialOption{grpc.WithTransportCredentials(handshake{credentials.NewTLS(c.opts.TLS), c.link})}
}

// sleep waits, and returns false where ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
