package etcdcfg

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// slowLeases is an etcd that grants leases and takes its time for renewing them.
type slowLeases struct {
	pb.UnimplementedLeaseServer
	asked atomic.Int64
	slow  chan struct{} // closed: what is asked from now on is answered
}

func (s *slowLeases) LeaseGrant(_ context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	return &pb.LeaseGrantResponse{Header: &pb.ResponseHeader{}, ID: 7, TTL: r.TTL}, nil
}

func (s *slowLeases) LeaseKeepAlive(stream pb.Lease_LeaseKeepAliveServer) error {
	for {
		r, err := stream.Recv()
		if err != nil {
			return nil
		}
		s.asked.Add(1)
		select {
		case <-s.slow:
		default:
			continue // its answer is out
		}
		if err := stream.Send(&pb.LeaseKeepAliveResponse{Header: &pb.ResponseHeader{}, ID: r.ID, TTL: 90}); err != nil {
			return nil
		}
	}
}

func TestSlowEtcdIsNotAskedAgainForALeaseWhileItsAnswerIsOut(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &slowLeases{slow: make(chan struct{})}
	server := grpc.NewServer()
	pb.RegisterLeaseServer(server, s)
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(ln) }()
	t.Cleanup(func() { server.Stop(); <-served })
	c := newClient(t, ln.Addr().String(), func(o *Options) { o.Timeout = 2500 * time.Millisecond })
	l := c.newLease("a test", 6)
	if _, err := l.get(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	kept := make(chan struct{})
	go func() { defer close(kept); l.keep(ctx) }()
	t.Cleanup(func() { cancel(); <-kept })
	eventually(t, "first renewal", func() bool { return s.asked.Load() > 0 })
	began := time.Now()
	eventually(t, "time in which the library would ask again and again", func() bool { return time.Since(began) > 1800*time.Millisecond })
	if n := s.asked.Load(); n != 1 {
		t.Errorf("asked %d times while the first answer is out", n)
	}
	close(s.slow)
	eventually(t, "second renewal", func() bool { return s.asked.Load() > 1 })
}
