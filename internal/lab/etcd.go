package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// etcdStartTimeout bounds the wait for a started etcd to answer. It takes 0.6 s on an
// idle machine.
const etcdStartTimeout = 60 * time.Second

// With nobody else to hear from, short terms are safe: they spare most of the wait for the
// first election, and allow leases of one second.
const (
	etcdTickMS     = 20
	etcdElectionMS = 200
)

// startTries is how often another port is tried where somebody took the free one first.
const startTries = 5

// EtcdOptions says what kind of etcd StartEtcd starts. The zero value is one for tests.
type EtcdOptions struct {
	Dir  string // where its data lives; "" means a temporary folder that Close removes
	Addr string // host:port to listen on; "" means a free port of 127.0.0.1
	// CompactEvery drops revisions older than this; 0 means never.
	CompactEvery time.Duration
	// QuotaBytes is how large the database may grow before writes are refused; 0 means
	// etcd's own 2 GiB.
	QuotaBytes int64
	// Password of the user root turns authentication on; "" means everybody may do everything.
	Password string
	// TokenTTL is how long a user is signed in. Without JWT that is since his last request,
	// in whole seconds; 0 means etcd's own 5 minutes.
	TokenTTL time.Duration
	// JWT makes etcd sign users in with tokens that nothing prolongs.
	JWT bool
	// TLS makes etcd speak TLS alone; nil means plain.
	TLS *EtcdTLS
}

// EtcdTLS is what an etcd needs to speak TLS. The files are read anew with each restart.
type EtcdTLS struct {
	Cert      PEM         // the server's own
	ClientCA  string      // file of the authority whose clients are let in; "": no certificate wanted
	ClientTLS *tls.Config // for the lab's own client
}

// Etcd is an etcd server with one member inside this process. Its methods are for one
// goroutine at a time, except Addr and Client.
type Etcd struct {
	opts   EtcdOptions
	addr   string
	temp   string // folder to remove, or ""
	dir    string // data of the running generation
	gen    int    // counts RestartEmpty
	client *clientv3.Client
	users  bool   // authentication is on
	own    string // where the key of tokens lies

	// Of a member of a cluster: its name, where it listens to the others, what stands
	// before that, and all members.
	name, peer string
	peers      *Proxy
	members    string

	server *embed.Etcd // nil while stopped
	rpc    *grpc.Server
}

// StartEtcd starts an etcd and returns once it answers. The caller closes it.
func StartEtcd(o EtcdOptions) (*Etcd, error) {
	return withFreePorts(o.Addr == "", func() (*Etcd, error) {
		e, err := newEtcd(o)
		if err != nil {
			return nil, err
		}
		if err := e.Restart(); err != nil {
			return nil, errors.Join(err, e.Close())
		}
		return e, nil
	})
}

// withFreePorts starts something on ports that were free a moment ago, and again on others
// where somebody was faster.
func withFreePorts[T any](mayMove bool, start func() (T, error)) (T, error) {
	for try := 1; ; try++ {
		started, err := start()
		if err == nil || !mayMove || try == startTries || !errors.Is(err, syscall.EADDRINUSE) {
			return started, err
		}
	}
}

// newEtcd makes an etcd that does not run yet.
func newEtcd(o EtcdOptions) (*Etcd, error) {
	e := &Etcd{opts: o, addr: o.Addr, dir: o.Dir}
	if e.addr == "" {
		port, err := freePort()
		if err != nil {
			return nil, fmt.Errorf("start etcd: %w", err)
		}
		e.addr = fmt.Sprintf("127.0.0.1:%d", port)
	}
	e.own = e.dir + ".token"
	if e.dir == "" {
		dir, err := os.MkdirTemp("", "logagent-etcd-")
		if err != nil {
			return nil, fmt.Errorf("start etcd: %w", err)
		}
		e.temp, e.dir, e.own = dir, filepath.Join(dir, "0"), filepath.Join(dir, "token")
	}
	return e, nil
}

// Addr returns host:port, the same after every restart.
func (e *Etcd) Addr() string { return e.addr }

// Client returns a client of this etcd, which is closed by Close. It survives restarts.
func (e *Etcd) Client() *clientv3.Client { return e.client }

// Stop ends the server at once, cutting every connection, and keeps its data.
func (e *Etcd) Stop() {
	if e.server == nil {
		return
	}
	// Close alone waits some seconds for watches to end by themselves.
	e.rpc.Stop()
	// Nor may a leader hand over to another member first: one that is lost does not.
	e.server.Server.HardStop()
	if e.peers != nil {
		e.peers.Cut() // its HTTP server would leave them to end by themselves
	}
	e.server.Close()
	e.server, e.rpc = nil, nil
}

// Restart stops the server if it runs and starts it on the same address and data. It
// returns once etcd answers.
func (e *Etcd) Restart() error {
	e.Stop()
	if err := e.start(); err != nil {
		return fmt.Errorf("start etcd on %s: %w", e.addr, err)
	}
	return nil
}

// RestartEmpty starts the server anew on the same address without any data: what clients
// see when an etcd was restored from an older backup. Revisions begin at 1 again.
func (e *Etcd) RestartEmpty() error {
	e.Stop()
	e.gen++
	e.users = false
	if e.temp != "" {
		e.dir = filepath.Join(e.temp, fmt.Sprint(e.gen))
	} else if err := os.RemoveAll(e.dir); err != nil {
		return fmt.Errorf("empty etcd on %s: %w", e.addr, err)
	}
	return e.Restart()
}

// Close stops the server and the client and removes temporary data.
func (e *Etcd) Close() error {
	var errs []error
	if e.client != nil {
		errs = append(errs, e.client.Close())
		e.client = nil
	}
	e.Stop()
	if e.temp != "" {
		errs = append(errs, os.RemoveAll(e.temp))
	}
	return errors.Join(errs...)
}

func (e *Etcd) start() error {
	cfg, err := e.config()
	if err != nil {
		return err
	}
	registered := make(chan *grpc.Server, 1)
	cfg.ServiceRegister = func(s *grpc.Server) { registered <- s }
	ctx, cancel := context.WithTimeout(context.Background(), etcdStartTimeout)
	defer cancel()

	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	select {
	case e.rpc = <-registered: // after the server is ready
	case err := <-server.Err():
		server.Close()
		return fmt.Errorf("while starting: %w", err)
	case <-ctx.Done():
		server.Close()
		return fmt.Errorf("not ready: %w", ctx.Err())
	}
	e.server = server
	if e.name != "" { // the cluster looks after the rest
		return nil
	}
	if e.client == nil {
		if e.client, err = dialEtcd(ctx, e.opts, e.addr); err != nil {
			return err
		}
	}
	if e.opts.Password != "" && !e.users {
		if err := turnUsersOn(ctx, &e.client, e.opts, e.addr); err != nil {
			return err
		}
		e.users = true
	}
	if _, err := e.client.Get(ctx, "ready"); err != nil {
		return fmt.Errorf("first answer: %w", err)
	}
	return nil
}

func (e *Etcd) config() (*embed.Config, error) {
	listen, err := url.Parse(e.opts.scheme() + e.addr)
	if err != nil {
		return nil, err
	}
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:0"} // nobody ever joins
	cfg := embed.NewConfig()
	cfg.Dir = e.dir
	cfg.TickMs, cfg.ElectionMs = etcdTickMS, etcdElectionMS
	if e.name != "" {
		cfg.Name, peer.Host = e.name, e.peers.Addr()
		cfg.TickMs, cfg.ElectionMs = clusterTickMS, clusterElectionMS
	}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*listen}, []url.URL{*listen}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	if e.name != "" {
		cfg.InitialCluster = e.members
		cfg.ListenPeerUrls = []url.URL{{Scheme: "http", Host: e.peer}}
	}
	cfg.EnableGRPCGateway = false
	cfg.QuotaBackendBytes = e.opts.QuotaBytes
	cfg.BcryptCost = 4 // the least: by default each password costs 60 ms of processor time
	if t := e.opts.TLS; t != nil {
		// With HTTP on the same port, stopping would wait for connections to become idle.
		cfg.ListenClientHttpUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
		cfg.ClientTLSInfo.CertFile, cfg.ClientTLSInfo.KeyFile = t.Cert.Cert, t.Cert.Key
		cfg.ClientTLSInfo.TrustedCAFile, cfg.ClientTLSInfo.ClientCertAuth = t.ClientCA, t.ClientCA != ""
	}
	if e.opts.TokenTTL > 0 {
		cfg.AuthTokenTTL = uint(max(1, e.opts.TokenTTL/time.Second))
	}
	if e.opts.JWT {
		if err := os.WriteFile(e.own, []byte("a secret of this test"), 0o600); err != nil {
			return nil, err
		}
		cfg.AuthToken = "jwt,sign-method=HS256,priv-key=" + e.own
		if e.opts.TokenTTL > 0 {
			cfg.AuthToken += ",ttl=" + e.opts.TokenTTL.String()
		}
	}
	cfg.UnsafeNoFsync = true // a crash of the machine may lose writes; one of the process does not
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	if e.opts.CompactEvery > 0 {
		cfg.AutoCompactionMode = embed.CompactorModePeriodic
		cfg.AutoCompactionRetention = e.opts.CompactEvery.String()
	}
	return cfg, nil
}

func (o EtcdOptions) scheme() string {
	if o.TLS != nil {
		return "https://"
	}
	return "http://"
}

// dialEtcd makes the lab's own client, signed in once authentication is on.
func dialEtcd(ctx context.Context, o EtcdOptions, addrs ...string) (*clientv3.Client, error) {
	c := clientv3.Config{
		Endpoints: addrs,
		Logger:    zap.NewNop(),
		// By default a client first looks again a second after its server went away.
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond},
			MinConnectTimeout: time.Second,
		})},
	}
	if o.TLS != nil {
		c.TLS = o.TLS.ClientTLS
	}
	if o.Password != "" { // an etcd that knows no users yet lets everybody in
		c.Username, c.Password = rootUser, o.Password
		deadline, _ := ctx.Deadline()
		c.DialTimeout = time.Until(deadline)
	}
	client, err := clientv3.New(c)
	if err != nil {
		return nil, fmt.Errorf("dial etcd on %v: %w", addrs, err)
	}
	return client, nil
}
