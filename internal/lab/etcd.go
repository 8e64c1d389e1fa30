package lab

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
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

// EtcdOptions says what kind of etcd StartEtcd starts. The zero value is one for tests.
type EtcdOptions struct {
	Dir  string // where its data lives; "" means a temporary folder that Close removes
	Addr string // host:port to listen on; "" means a free port of 127.0.0.1
	// CompactEvery drops revisions older than this; 0 means never.
	CompactEvery time.Duration
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

	server *embed.Etcd // nil while stopped
	rpc    *grpc.Server
}

// StartEtcd starts an etcd and returns once it answers. The caller closes it.
func StartEtcd(o EtcdOptions) (*Etcd, error) {
	e := &Etcd{opts: o, addr: o.Addr, dir: o.Dir}
	if e.addr == "" {
		port, err := freePort()
		if err != nil {
			return nil, fmt.Errorf("start etcd: %w", err)
		}
		e.addr = fmt.Sprintf("127.0.0.1:%d", port)
	}
	if e.dir == "" {
		dir, err := os.MkdirTemp("", "logagent-etcd-")
		if err != nil {
			return nil, fmt.Errorf("start etcd: %w", err)
		}
		e.temp, e.dir = dir, filepath.Join(dir, "0")
	}
	if err := e.Restart(); err != nil {
		return nil, errors.Join(err, e.Close())
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
	if e.client == nil {
		if e.client, err = e.dial(); err != nil {
			return err
		}
	}
	if _, err := e.client.Get(ctx, "ready"); err != nil {
		return fmt.Errorf("first answer: %w", err)
	}
	return nil
}

func (e *Etcd) config() (*embed.Config, error) {
	listen, err := url.Parse("http://" + e.addr)
	if err != nil {
		return nil, err
	}
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:0"} // nobody ever joins
	cfg := embed.NewConfig()
	cfg.Dir = e.dir
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*listen}, []url.URL{*listen}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.EnableGRPCGateway = false
	cfg.TickMs, cfg.ElectionMs = etcdTickMS, etcdElectionMS
	cfg.UnsafeNoFsync = true // a crash of the machine may lose writes; one of the process does not
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	if e.opts.CompactEvery > 0 {
		cfg.AutoCompactionMode = embed.CompactorModePeriodic
		cfg.AutoCompactionRetention = e.opts.CompactEvery.String()
	}
	return cfg, nil
}

func (e *Etcd) dial() (*clientv3.Client, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{e.addr},
		Logger:    zap.NewNop(),
		// By default a client first looks again a second after its server went away.
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond},
			MinConnectTimeout: time.Second,
		})},
	})
	if err != nil {
		return nil, fmt.Errorf("dial etcd on %s: %w", e.addr, err)
	}
	return client, nil
}
