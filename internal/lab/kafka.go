package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// retentionEvery is how often old records are dropped. The cluster's own cleaner only runs
// for topics that name a retention themselves, which topics made by producers don't.
const retentionEvery = time.Minute

// Limits of a segment file: retention drops whole files only.
const (
	minSegmentBytes = 1 << 20
	maxSegmentBytes = 64 << 20
)

// KafkaOptions says what kind of cluster StartKafka starts. The zero value is one broker
// for tests.
type KafkaOptions struct {
	Dir        string // where its data lives; "" means a temporary folder that Close removes
	Ports      []int  // one per broker; empty means free ones
	Brokers    int    // 0 means 1, or as many as Ports
	Partitions int    // of topics that don't say; 0 means 4

	// AutoCreate lets clients create topics by asking for them.
	AutoCreate bool
	// TopicBytes is about how much a topic with Partitions partitions keeps; 0 means
	// everything. Checked once a minute.
	TopicBytes int64
	// Options are passed on to the cluster: SASL, TLS, ACLs, versions.
	Options []kfake.Opt
}

// Kafka is a cluster inside this process. Its methods are for one goroutine at a time,
// except Addrs, Cluster, DropConnections and those that read records.
type Kafka struct {
	opts  KafkaOptions
	ports []int
	temp  string // folder to remove, or ""

	mu      sync.Mutex // guards cluster
	cluster *kfake.Cluster

	stop  context.CancelFunc // ends the retention of the running cluster
	done  sync.WaitGroup
	conns connections
}

// StartKafka starts a cluster that listens on 127.0.0.1. The caller closes it.
func StartKafka(o KafkaOptions) (*Kafka, error) {
	if o.Partitions == 0 {
		o.Partitions = 4
	}
	if o.Brokers == 0 {
		o.Brokers = max(1, len(o.Ports))
	}
	k := &Kafka{opts: o, ports: o.Ports}
	for len(k.ports) < o.Brokers {
		port, err := freePort()
		if err != nil {
			return nil, fmt.Errorf("start kafka: %w", err)
		}
		if !slices.Contains(k.ports, port) {
			k.ports = append(k.ports, port)
		}
	}
	if o.Dir == "" {
		dir, err := os.MkdirTemp("", "logagent-kafka-")
		if err != nil {
			return nil, fmt.Errorf("start kafka: %w", err)
		}
		k.temp, k.opts.Dir = dir, dir
	}
	if err := k.Restart(); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// FreePort returns a loopback port nobody listens on, which the kernel gives to no outgoing
// connection either: a server that is stopped finds it free when it comes back.
func FreePort() (int, error) { return freePort() }

// Addrs returns host:port of every broker, the same after every restart.
func (k *Kafka) Addrs() []string {
	addrs := make([]string, len(k.ports))
	for i, p := range k.ports {
		addrs[i] = net.JoinHostPort("127.0.0.1", strconv.Itoa(p))
	}
	return addrs
}

// Cluster returns the running cluster, for faults and for looking inside; nil while
// stopped. Faults end with the cluster: a restart is a new one.
func (k *Kafka) Cluster() *kfake.Cluster {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.cluster
}

// CreateTopic creates a topic; partitions 0 means the default. configs may be nil.
func (k *Kafka) CreateTopic(topic string, partitions int, configs map[string]string) error {
	if err := k.Cluster().CreateTopic(topic, int32(partitions), configs); err != nil {
		return fmt.Errorf("create topic %s: %w", topic, err)
	}
	return nil
}

// DropConnections cuts the connections of all clients; the cluster goes on. What a broker
// has read by then is still stored, and its answer is lost.
func (k *Kafka) DropConnections() { k.conns.drop() }

// Stop ends the brokers, cutting every connection, and keeps their data.
func (k *Kafka) Stop() {
	c := k.Cluster()
	if c == nil {
		return
	}
	k.stop()
	k.done.Wait()
	c.Close()
	k.conns.drop()
	k.mu.Lock()
	k.cluster = nil
	k.mu.Unlock()
}

// Restart stops the brokers if they run and starts them on the same ports and data:
// topics, records and what the cluster knows of its producers.
func (k *Kafka) Restart() error {
	k.Stop()
	opts := []kfake.Opt{
		kfake.DataDir(k.opts.Dir),
		kfake.Ports(k.ports...),
		kfake.DefaultNumPartitions(k.opts.Partitions),
		kfake.ListenFn(k.conns.listen),
	}
	if k.opts.AutoCreate {
		opts = append(opts, kfake.AllowAutoTopicCreation())
	}
	if n := k.opts.TopicBytes / int64(k.opts.Partitions); n > 0 {
		opts = append(opts, kfake.BrokerConfigs(map[string]string{
			"log.retention.bytes":    strconv.FormatInt(n, 10),
			"log.segment.bytes":      strconv.FormatInt(min(max(n/4, minSegmentBytes), maxSegmentBytes), 10),
			"log.cleaner.backoff.ms": strconv.FormatInt(retentionEvery.Milliseconds(), 10),
		}))
	}
	c, err := kfake.NewCluster(append(opts, k.opts.Options...)...)
	if err != nil {
		return fmt.Errorf("start kafka on %v: %w", k.Addrs(), err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.stop = cancel
	k.done.Go(func() { retain(ctx, c) })
	k.mu.Lock()
	k.cluster = c
	k.mu.Unlock()
	return nil
}

// Close stops the brokers and removes temporary data.
func (k *Kafka) Close() error {
	k.Stop()
	if k.temp == "" {
		return nil
	}
	return os.RemoveAll(k.temp)
}

// retain drops old records until ctx ends.
func retain(ctx context.Context, c *kfake.Cluster) {
	tick := time.NewTicker(retentionEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.ApplyRetention()
		}
	}
}

// connections knows the accepted connections of all listeners made by listen.
type connections struct {
	mu   sync.Mutex // guards open
	open map[*trackedConn]struct{}
}

type trackedListener struct {
	net.Listener
	all *connections
}

type trackedConn struct {
	net.Conn
	all *connections
}

func (c *connections) listen(network, address string) (net.Listener, error) {
	ln, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return trackedListener{ln, c}, nil
}

func (c *connections) drop() {
	c.mu.Lock()
	open := c.open
	c.open = nil
	c.mu.Unlock()
	for conn := range open {
		conn.Conn.Close() // the only thing wanted is that it is gone
	}
}

func (l trackedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	t := &trackedConn{conn, l.all}
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	if l.all.open == nil {
		l.all.open = make(map[*trackedConn]struct{})
	}
	l.all.open[t] = struct{}{}
	return t, nil
}

func (t *trackedConn) Close() error {
	t.all.mu.Lock()
	delete(t.all.open, t)
	t.all.mu.Unlock()
	return t.Conn.Close()
}
