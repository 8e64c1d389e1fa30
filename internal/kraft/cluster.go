package kraft

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logagent/internal/lab"
)

// Listener is one of the ways into a broker.
type Listener string

// The listeners of every broker. Brokers talk to each other through Plain, where everybody
// may do everything; through the others a user may do what no rule denies.
const (
	Plain   Listener = "PLAINTEXT"
	SASL    Listener = "SASL_PLAINTEXT"
	TLS     Listener = "SSL"
	SASLTLS Listener = "SASL_SSL"
)

var listeners = []Listener{Plain, SASL, TLS, SASLTLS}

// mechanisms are those that every user may log in with.
var mechanisms = []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}

// readyWithin is how long a cluster may take to start on a machine that has much else to do.
const readyWithin = 2 * time.Minute

// stopWithin is how long a broker may take to hand over its leaders and end.
const stopWithin = 30 * time.Second

// Options say what kind of cluster Start starts. The zero value is one broker.
type Options struct {
	Dir        string            // where its data lives; "" means a temporary folder that Close removes
	Brokers    int               // 0 means 1; 3 go on without one
	AutoCreate bool              // clients create topics by asking for them
	Users      map[string]string // passwords of users, for all mechanisms; neither holds quotes, commas or brackets
	PEM        PEM               // for the listeners with TLS; the zero value: there are none
	Properties map[string]string // more of server.properties

	// Front returns the address that clients are told in place of addr, which is that of a
	// broker's SASL listener; nil means addr itself. So a test may stand between.
	Front func(addr string) (string, error)
}

// PEM are files: the brokers' key with its certificate, and who signed it.
type PEM struct{ KeyAndCertificate, Authority string }

// Cluster is brokers that run until Close. Its methods are for one goroutine at a time,
// except Addrs and Admin's.
type Cluster struct {
	*Admin
	opts  Options
	temp  string // folder to remove, or ""
	java  string
	path  string // where its classes are
	id    string
	nodes []*node
}

// node is one broker: 0 is broker 1.
type node struct {
	dir       string
	ports     map[Listener]int
	control   int    // port among the controllers
	advertise string // of the SASL listener
	proc      *process
}

// Start starts a cluster and waits until all its brokers are there. The caller closes it.
func Start(ctx context.Context, o Options) (_ *Cluster, err error) {
	o.Brokers = max(o.Brokers, 1)
	c := &Cluster{opts: o, id: "bG9nYWdlbnQtdGVzdHMtMQ"} // any 16 bytes in base64
	if c.java, c.path, err = home(); err != nil {
		return nil, err
	}
	if o.Dir == "" {
		if c.temp, err = os.MkdirTemp("", "logagent-kraft-"); err != nil {
			return nil, err
		}
		c.opts.Dir = c.temp
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("start kafka %s: %w", Version(), err), c.Close())
		}
	}()
	if err := c.layOut(); err != nil {
		return nil, err
	}
	if err := together(o.Brokers, func(i int) error { return c.format(ctx, i) }); err != nil {
		return nil, err
	}
	for i := range c.nodes {
		if err := c.launch(i); err != nil {
			return nil, err
		}
	}
	if c.Admin, err = NewAdmin(c.Addrs(Plain)); err != nil {
		return nil, err
	}
	return c, c.ready(ctx)
}

// layOut chooses ports and folders.
func (c *Cluster) layOut() error {
	var taken []int
	port := func() (int, error) {
		for {
			p, err := lab.FreePort()
			if err != nil {
				return 0, err
			}
			if !slices.Contains(taken, p) {
				taken = append(taken, p)
				return p, nil
			}
		}
	}
	for i := range c.opts.Brokers {
		n := &node{dir: filepath.Join(c.opts.Dir, strconv.Itoa(i+1)), ports: make(map[Listener]int)}
		if err := os.MkdirAll(n.dir, 0o700); err != nil {
			return err
		}
		var err error
		if n.control, err = port(); err != nil {
			return err
		}
		for _, l := range c.listeners() {
			if n.ports[l], err = port(); err != nil {
				return err
			}
		}
		n.advertise = local(n.ports[SASL])
		if c.opts.Front != nil {
			if n.advertise, err = c.opts.Front(n.advertise); err != nil {
				return err
			}
		}
		c.nodes = append(c.nodes, n)
	}
	for i, n := range c.nodes {
		if err := os.WriteFile(filepath.Join(n.dir, "server.properties"), []byte(c.properties(i)), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// listeners are those that the cluster has.
func (c *Cluster) listeners() []Listener {
	return slices.DeleteFunc(slices.Clone(listeners), func(l Listener) bool {
		return strings.HasPrefix(string(l), "SASL_") && len(c.opts.Users) == 0 ||
			strings.HasSuffix(string(l), "SSL") && c.opts.PEM == (PEM{})
	})
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// properties is a broker's configuration. Its times are short: tests wait for them.
func (c *Cluster) properties(i int) string {
	n := c.nodes[i]
	var voters, listen, advertised, protocols []string
	for j, o := range c.nodes {
		voters = append(voters, fmt.Sprintf("%d@%s", j+1, local(o.control)))
	}
	protocols = append(protocols, "CONTROLLER:PLAINTEXT")
	listen = append(listen, "CONTROLLER://"+local(n.control))
	for _, l := range c.listeners() {
		listen = append(listen, fmt.Sprintf("%s://%s", l, local(n.ports[l])))
		told := local(n.ports[l])
		if l == SASL {
			told = n.advertise
		}
		advertised = append(advertised, fmt.Sprintf("%s://%s", l, told))
		protocols = append(protocols, fmt.Sprintf("%s:%s", l, l))
	}
	copies := strconv.Itoa(min(c.opts.Brokers, 3))
	p := map[string]string{
		"process.roles":                  "broker,controller",
		"node.id":                        strconv.Itoa(i + 1),
		"controller.quorum.voters":       strings.Join(voters, ","),
		"controller.listener.names":      "CONTROLLER",
		"listeners":                      strings.Join(listen, ","),
		"advertised.listeners":           strings.Join(advertised, ","),
		"listener.security.protocol.map": strings.Join(protocols, ","),
		"inter.broker.listener.name":     string(Plain),
		"log.dirs":                       filepath.Join(n.dir, "data"),

		"auto.create.topics.enable":        strconv.FormatBool(c.opts.AutoCreate),
		"num.partitions":                   "4",
		"default.replication.factor":       copies,
		"offsets.topic.replication.factor": copies,
		"offsets.topic.num.partitions":     "1",
		"log.segment.bytes":                "16777216",

		// Who is silent is taken for dead soon, and leaders are found anew soon.
		"broker.heartbeat.interval.ms":          "500",
		"broker.session.timeout.ms":             "4000",
		"controller.quorum.election.timeout.ms": "1000",
		"controller.quorum.fetch.timeout.ms":    "2000",
		"replica.lag.time.max.ms":               "3000",
		"replica.fetch.wait.max.ms":             "250",
		"controlled.shutdown.retry.backoff.ms":  "500",
		"unclean.leader.election.enable":        "false",
		"auto.leader.rebalance.enable":          "false",
		// A deleted topic's files are gone at once, a producer is forgotten when it is asked for.
		"file.delete.delay.ms":                     "100",
		"producer.id.expiration.check.interval.ms": "500",
		// A second's worth of a quota, not ten.
		"quota.window.num":          "2",
		"quota.window.size.seconds": "1",

		"authorizer.class.name":          "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"super.users":                    "User:ANONYMOUS",
		"allow.everyone.if.no.acl.found": "true",

		// Small threads and buffers: three of these share a machine with the tests.
		"num.network.threads":               "2",
		"num.io.threads":                    "4",
		"background.threads":                "2",
		"log.cleaner.enable":                "false",
		"num.recovery.threads.per.data.dir": "2",
	}
	if len(c.opts.Users) > 0 {
		p["sasl.enabled.mechanisms"] = strings.Join(mechanisms, ",")
		plain := "org.apache.kafka.common.security.plain.PlainLoginModule required"
		for user, password := range c.opts.Users {
			plain += fmt.Sprintf(" user_%s=\"%s\"", user, password)
		}
		for _, l := range c.listeners() {
			name := "listener.name." + strings.ToLower(string(l)) + "."
			if !strings.HasPrefix(string(l), "SASL_") {
				continue
			}
			p[name+"plain.sasl.jaas.config"] = plain + ";"
			for _, m := range []string{"scram-sha-256", "scram-sha-512"} {
				p[name+m+".sasl.jaas.config"] = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
			}
		}
	}
	if c.opts.PEM != (PEM{}) {
		p["ssl.keystore.type"], p["ssl.keystore.location"] = "PEM", c.opts.PEM.KeyAndCertificate
		p["ssl.truststore.type"], p["ssl.truststore.location"] = "PEM", c.opts.PEM.Authority
		p["ssl.client.auth"] = "none"
	}
	for k, v := range c.opts.Properties {
		p[k] = v
	}
	var lines []string
	for k, v := range p {
		lines = append(lines, k+"="+v+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// jvm is a command that runs a class of Kafka's.
func (c *Cluster) jvm(ctx context.Context, class string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, c.java, append([]string{
		"-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
		"-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
		"-cp", c.path, class,
	}, args...)...)
}

func (c *Cluster) file(i int, name string) string { return filepath.Join(c.nodes[i].dir, name) }

// format prepares a broker's empty folder, with the users that log in by SCRAM.
func (c *Cluster) format(ctx context.Context, i int) error {
	args := []string{"format", "--config", c.file(i, "server.properties"), "--cluster-id", c.id}
	for user, password := range c.opts.Users {
		for _, m := range mechanisms[1:] {
			args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", m, user, password))
		}
	}
	if err := run(c.jvm(ctx, "kafka.tools.StorageTool", args...)); err != nil {
		return fmt.Errorf("format the folder of broker %d: %w", i+1, err)
	}
	return nil
}

// launch starts a broker's process.
func (c *Cluster) launch(i int) error {
	n := c.nodes[i]
	if n.proc != nil && n.proc.running() {
		return fmt.Errorf("broker %d runs already", i+1)
	}
	var err error
	n.proc, err = spawn(c.jvm(context.Background(), "kafka.Kafka", c.file(i, "server.properties")), c.file(i, "log"))
	return err
}

// ready waits until every running broker is known to all of them and can be written to.
func (c *Cluster) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	want := 0
	for _, n := range c.nodes {
		if n.proc != nil && n.proc.running() {
			want++
		}
	}
	for {
		err := c.each(ctx, want)
		if err == nil {
			return nil
		}
		for i, n := range c.nodes {
			if n.proc != nil && !n.proc.running() && n.proc.err != nil && !n.proc.asked.Load() {
				return fmt.Errorf("broker %d ended: %w; its log ends with:\n%s", i+1, n.proc.err, tail(c.file(i, "log"), 30))
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the brokers are not ready: %w; the first one's log ends with:\n%s", err, tail(c.file(0, "log"), 30))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// each asks every running broker how many it knows.
func (c *Cluster) each(ctx context.Context, want int) error {
	for i, n := range c.nodes {
		if n.proc == nil || !n.proc.running() {
			continue
		}
		one, err := kgo.NewClient(kgo.SeedBrokers(local(n.ports[Plain])))
		if err != nil {
			return err
		}
		ask, cancel := context.WithTimeout(ctx, 2*time.Second)
		req := kmsg.NewPtrMetadataRequest()
		req.Topics = []kmsg.MetadataRequestTopic{}
		res, err := req.RequestWith(ask, one.SeedBrokers()[0])
		cancel()
		one.Close()
		if err != nil {
			return fmt.Errorf("broker %d: %w", i+1, err)
		}
		if len(res.Brokers) != want {
			return fmt.Errorf("broker %d knows %d of %d brokers", i+1, len(res.Brokers), want)
		}
	}
	return nil
}

// Brokers is how many there are, running or not.
func (c *Cluster) Brokers() int { return len(c.nodes) }

// Addrs returns host:port of every broker's listener, the same after every restart.
func (c *Cluster) Addrs(l Listener) []string {
	var out []string
	for _, n := range c.nodes {
		if l == SASL {
			out = append(out, n.advertise)
		} else {
			out = append(out, local(n.ports[l]))
		}
	}
	return out
}

// Stop ends broker i (from 0) in the ordinary way: it hands over its leaders first.
func (c *Cluster) Stop(i int) error {
	p := c.nodes[i].proc
	p.asked.Store(true)
	p.signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopWithin):
		p.signal(syscall.SIGKILL)
		<-p.ended
		return fmt.Errorf("broker %d did not end within %v; its log ends with:\n%s", i+1, stopWithin, tail(c.file(i, "log"), 20))
	}
}

// Kill ends broker i at once.
func (c *Cluster) Kill(i int) {
	p := c.nodes[i].proc
	p.asked.Store(true)
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// Pause freezes broker i: its sockets stay, and nobody answers.
func (c *Cluster) Pause(i int) { c.nodes[i].proc.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (c *Cluster) Resume(i int) { c.nodes[i].proc.signal(syscall.SIGCONT) }

// Run starts broker i again on its data and waits until the cluster knows it.
func (c *Cluster) Run(ctx context.Context, i int) error {
	if err := c.launch(i); err != nil {
		return err
	}
	return c.ready(ctx)
}

// RunAll is Run for all brokers that do not run, at once.
func (c *Cluster) RunAll(ctx context.Context) error {
	for i, n := range c.nodes {
		if n.proc.running() {
			continue
		}
		if err := c.launch(i); err != nil {
			return err
		}
	}
	return c.ready(ctx)
}

// Log is the end of what broker i has said.
func (c *Cluster) Log(i, lines int) string { return tail(c.file(i, "log"), lines) }

// Close kills the brokers and removes temporary data.
func (c *Cluster) Close() error {
	if c.Admin != nil {
		c.Admin.Close()
	}
	for _, n := range c.nodes {
		if n.proc != nil {
			n.proc.signal(syscall.SIGKILL)
			<-n.proc.ended
		}
	}
	if c.temp == "" {
		return nil
	}
	return os.RemoveAll(c.temp)
}
