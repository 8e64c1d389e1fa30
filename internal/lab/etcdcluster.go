package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Members that have to hear from each other must bear a machine that is busy: a term that
// is too short has them elect new leaders all the time. A leader is missed after 0.5 to 1 s,
// and streams that want one end a second or two after the last one is gone for good.
const (
	clusterTickMS     = 50
	clusterElectionMS = 500
)

// EtcdCluster is an etcd with several members inside this process. Its methods are for one
// goroutine at a time, except Addrs and Client.
type EtcdCluster struct {
	opts    EtcdOptions
	temp    string
	members []*Etcd
	client  *clientv3.Client
}

// StartEtcdCluster starts an etcd with so many members and returns once it answers. The
// options' Addr does not count; Dir holds a folder for each member. The caller closes it.
func StartEtcdCluster(members int, o EtcdOptions) (*EtcdCluster, error) {
	return withFreePorts(true, func() (*EtcdCluster, error) {
		c := &EtcdCluster{opts: o}
		if err := c.start(members); err != nil {
			return nil, errors.Join(fmt.Errorf("start etcd with %d members: %w", members, err), c.Close())
		}
		return c, nil
	})
}

func (c *EtcdCluster) start(n int) error {
	dir := c.opts.Dir
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "logagent-etcd-"); err != nil {
			return err
		}
		c.temp = dir
	}
	var names []string
	for i := range n {
		o := c.opts
		o.Addr, o.Dir = "", filepath.Join(dir, fmt.Sprint(i))
		m, err := newEtcd(o)
		if err != nil {
			return err
		}
		port, err := freePort()
		if err != nil {
			return err
		}
		m.name, m.peer = fmt.Sprint("m", i), fmt.Sprintf("127.0.0.1:%d", port)
		if m.peers, err = StartProxy(m.peer); err != nil { // which members are told to the others
			return err
		}
		c.members = append(c.members, m)
		names = append(names, fmt.Sprintf("%s=http://%s", m.name, m.peers.Addr()))
	}
	for _, m := range c.members {
		m.members = strings.Join(names, ",")
	}
	// None is ready before most of them are there.
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i, m := range c.members {
		wg.Go(func() { errs[i] = m.Restart() })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), etcdStartTimeout)
	defer cancel()
	var err error
	if c.client, err = dialEtcd(ctx, c.opts, c.Addrs()...); err != nil {
		return err
	}
	if c.opts.Password != "" {
		if err := turnUsersOn(ctx, &c.client, c.opts, c.Addrs()...); err != nil {
			return err
		}
	}
	if _, err := c.client.Get(ctx, "ready"); err != nil {
		return fmt.Errorf("first answer: %w", err)
	}
	return nil
}

// Addrs returns host:port of every member.
func (c *EtcdCluster) Addrs() []string {
	var out []string
	for _, m := range c.members {
		out = append(out, m.addr)
	}
	return out
}

// Client returns a client of all members, which is closed by Close.
func (c *EtcdCluster) Client() *clientv3.Client { return c.client }

// Member returns one of them, to be stopped and restarted. A member alone is no etcd: it
// has no Client, and its Restart returns once most of the members are there.
func (c *EtcdCluster) Member(i int) *Etcd { return c.members[i] }

// Leader returns which member leads, once there is one that leads and still runs.
func (c *EtcdCluster) Leader() (int, error) {
	for deadline := time.Now().Add(etcdStartTimeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for i, m := range c.members {
			if m.server == nil {
				continue
			}
			if s := m.server.Server; s.Leader() == s.MemberID() {
				return i, nil
			}
		}
	}
	return 0, errors.New("no member of etcd leads")
}

// Close stops all members and removes temporary data.
func (c *EtcdCluster) Close() error {
	var errs []error
	if c.client != nil {
		errs = append(errs, c.client.Close())
		c.client = nil
	}
	var wg sync.WaitGroup // one after the other they would look for new leaders in between
	for _, m := range c.members {
		wg.Go(m.Stop)
	}
	wg.Wait()
	for _, m := range c.members {
		errs = append(errs, m.peers.Close())
	}
	c.members = nil
	if c.temp != "" {
		errs = append(errs, os.RemoveAll(c.temp))
	}
	return errors.Join(errs...)
}
