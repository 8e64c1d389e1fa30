package kafkaout

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"
)

// config is what every connection of this package is opened with. All sockets close when
// ctx ends, which wakes whoever waits inside the library.
func (o *Options) config(ctx context.Context) *sarama.Config {
	cfg := sarama.NewConfig()
	cfg.ClientID = o.ClientID
	// Newest requests that sarama may choose; what the broker knows less of is negotiated
	// down. 2.8 is new enough for brokers of today (4.x dropped only what is older).
	cfg.Version = sarama.V2_8_0_0
	cfg.MetricRegistry = noMetrics{}
	cfg.Net.DialTimeout = o.Timeout
	cfg.Net.ReadTimeout = o.Timeout
	cfg.Net.WriteTimeout = o.Timeout
	cfg.Net.MaxOpenRequests = requestsPerConnection
	cfg.Metadata.Full = false
	cfg.Metadata.AllowAutoTopicCreation = false
	if o.TLS != nil {
		cfg.Net.TLS.Enable, cfg.Net.TLS.Config = true, o.TLS
	}
	if s := o.SASL; s != nil {
		cfg.Net.SASL.Enable = true
		cfg.Net.SASL.Mechanism = sarama.SASLMechanism(s.Mechanism)
		cfg.Net.SASL.User, cfg.Net.SASL.Password = s.User, s.Password
		cfg.Net.SASL.Version = sarama.SASLHandshakeV1
		if hash := scramHash(s.Mechanism); hash != nil {
			cfg.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{hash: hash} }
		}
	}
	cfg.Net.Proxy.Enable = true // the library's only way to take a dialer
	cfg.Net.Proxy.Dialer = boundDialer(ctx, o.Timeout)
	return cfg
}

// boundDialer dials connections that end with ctx. Without it, ending would have to wait
// until the library's own timeouts have passed: it holds a broker's lock while it dials
// and writes, and Broker.Close wants that lock.
func boundDialer(ctx context.Context, timeout time.Duration) dialFunc {
	d := &net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second}
	return func(network, addr string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &boundConn{Conn: c, unbind: context.AfterFunc(ctx, func() { c.Close() })}, nil
	}
}

type dialFunc func(network, addr string) (net.Conn, error)

func (f dialFunc) Dial(network, addr string) (net.Conn, error) { return f(network, addr) }

type boundConn struct {
	net.Conn
	unbind func() bool
}

func (c *boundConn) Close() error {
	c.unbind()
	return c.Conn.Close()
}

// open connects to a broker and waits for it, at most as long as the network timeouts.
func open(addr string, cfg *sarama.Config) (*sarama.Broker, error) {
	b := sarama.NewBroker(addr)
	if err := b.Open(cfg); err != nil {
		return nil, err
	}
	if ok, err := b.Connected(); !ok {
		switch {
		case err == nil:
			err = sarama.ErrNotConnected
		case cfg.Net.SASL.Enable && closedByPeer(err):
			err = errors.New("the broker closed the connection while logging in; user or password may be wrong")
		}
		return nil, err
	}
	return b, nil
}

// pause is the wait before attempt n (from 1): doubling from shortest to longest, with up to a
// quarter of jitter so that a fleet does not come back as one.
func pause(n int, shortest, longest time.Duration) time.Duration {
	d := shortest << min(max(n-1, 0), 16)
	if d > longest || d <= 0 {
		d = longest
	}
	return d - time.Duration(rand.Int64N(int64(d/4)+1))
}

// noMetrics is a registry that keeps nothing: go-metrics starts a goroutine for its
// meters that is never stopped, and nobody reads them here.
type noMetrics struct{}

func (noMetrics) GetOrRegister(_ string, i any) any {
	switch i.(type) {
	case func() metrics.Meter, metrics.Meter:
		return metrics.NilMeter{}
	case func() metrics.Counter, metrics.Counter:
		return metrics.NilCounter{}
	default:
		return metrics.NilHistogram{}
	}
}

// quietFetches keeps the library from measuring the fetches of a topic in go-metrics' global
// registry, which it does in one of its two encoding passes (fetch_request.go, as of
// v1.61.1): a meter there would start that goroutine after all.
func quietFetches(topic string) {
	name := "consumer-fetch-rate-for-topic-" + strings.ReplaceAll(topic, ".", "_")
	metrics.DefaultRegistry.GetOrRegister(name, metrics.NilMeter{})
}

func (noMetrics) Each(func(string, any))            {}
func (noMetrics) Get(string) any                    { return nil }
func (noMetrics) GetAll() map[string]map[string]any { return nil }
func (noMetrics) Register(string, any) error        { return nil }
func (noMetrics) RunHealthchecks()                  {}
func (noMetrics) Unregister(string)                 {}
func (noMetrics) UnregisterAll()                    {}
