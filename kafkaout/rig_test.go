package kafkaout

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logagent/internal/kraft"
	"logagent/internal/lab"
)

// rig is a Kafka of three brokers (0, 1 and 2) that a test can hurt. Every method waits
// until what it does is in force, and fails the test where it can't be done.
type rig interface {
	// options reach the cluster as a user who may be denied things.
	options() Options
	// name is the topic's name on this cluster.
	name(topic string) string

	create(t testing.TB, topic string, partitions, replicas int, configs map[string]string) // leaders go round: partition i at broker i mod 3
	remove(t testing.TB, topic string)
	widen(t testing.TB, topic string, partitions int)
	lead(t testing.TB, topic string, partition, broker int)

	stop(t testing.TB, broker int) // it hands over its leaders first
	kill(t testing.TB, broker int)
	run(t testing.TB)                // all that do not run
	mayStop(t testing.TB)            // skips the test where brokers are not to be stopped
	front(t testing.TB) *front       // skips the test where nothing can stand between
	client(t testing.TB) *kgo.Client // of somebody else, who may do everything

	stall(t testing.TB, topic string) (end func())    // a replica is in sync and silent
	starve(t testing.TB, topic string) (feed func())  // too few replicas in sync
	orphan(t testing.TB, topic string) (adopt func()) // no partition has a leader; the topic has one replica
	deny(t testing.TB, topic string) (grant func())   // writing
	hide(t testing.TB, topic string) (show func())    // everything, also that it exists
	forget(t testing.TB, topic string)                // its producers
	throttle(t testing.TB) (end func())               // by a quota of the user's

	Records(ctx context.Context, topic string) ([]lab.Record, error)
}

var (
	_ rig = (*fakeRig)(nil)
	_ rig = (*realRig)(nil)
)

// fakeRig is a cluster inside this process.
type fakeRig struct {
	*lab.Kafka
	before   *front
	down     [3]bool
	replicas map[string]int
}

func newFakeRig(t *testing.T) *fakeRig {
	f := newFront(t)
	return &fakeRig{
		Kafka:  startKafka(t, lab.KafkaOptions{Brokers: 3, Options: []kfake.Opt{kfake.ListenFn(f.listen)}}),
		before: f, replicas: make(map[string]int),
	}
}

func (r *fakeRig) options() Options          { return quick(r.Addrs()) }
func (r *fakeRig) name(topic string) string  { return topic }
func (r *fakeRig) mayStop(testing.TB)        {}
func (r *fakeRig) front(t testing.TB) *front { return r.before }

func (r *fakeRig) create(t testing.TB, topic string, partitions, replicas int, configs map[string]string) {
	t.Helper()
	createTopic(t, r.Kafka, topic, partitions, configs)
	r.replicas[topic] = replicas
	for i := range partitions {
		r.lead(t, topic, i, i%3)
	}
}

func (r *fakeRig) remove(t testing.TB, topic string) {
	t.Helper()
	if err := r.Cluster().DeleteTopic(topic); err != nil {
		t.Fatal(err)
	}
	delete(r.replicas, topic)
}

func (r *fakeRig) widen(t testing.TB, topic string, partitions int) {
	t.Helper()
	if err := addPartitions(r.Kafka, topic, int32(partitions)); err != nil {
		t.Fatal(err)
	}
}

func (r *fakeRig) lead(t testing.TB, topic string, partition, broker int) {
	t.Helper()
	if err := r.Cluster().MoveTopicPartition(topic, int32(partition), int32(broker)); err != nil {
		t.Fatal(err)
	}
}

func (r *fakeRig) stop(t testing.TB, broker int) {
	t.Helper()
	r.down[broker] = true
	r.elect(t)
	r.before.set(r.Addrs()[broker], "closed")
}

func (r *fakeRig) kill(t testing.TB, broker int) {
	t.Helper()
	r.down[broker] = true
	r.before.set(r.Addrs()[broker], "closed")
	r.elect(t)
}

// elect moves the leaders of copied topics away from brokers that are down.
func (r *fakeRig) elect(t testing.TB) {
	t.Helper()
	for topic, n := range r.replicas {
		for _, p := range r.Cluster().PartitionInfos(topic) {
			for to := p.Leader; n > 1 && r.down[p.Leader]; {
				if to = (to + 1) % 3; !r.down[to] {
					r.lead(t, topic, int(p.Partition), int(to))
					break
				}
				if to == p.Leader {
					break // all are down
				}
			}
		}
	}
}

func (r *fakeRig) run(testing.TB) {
	r.down = [3]bool{}
	r.before.set("", "")
}

func (r *fakeRig) client(t testing.TB) *kgo.Client { return newClient(t, r.Addrs()) }

func newClient(t testing.TB, addrs []string) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func (r *fakeRig) stall(t testing.TB, topic string) func() {
	return produceFault(r.Kafka, topic, kerr.RequestTimedOut, -1).Remove
}

func (r *fakeRig) starve(t testing.TB, topic string) func() {
	return produceFault(r.Kafka, topic, kerr.NotEnoughReplicas, -1).Remove
}

func (r *fakeRig) deny(t testing.TB, topic string) func() {
	return produceFault(r.Kafka, topic, kerr.TopicAuthorizationFailed, -1).Remove
}

func (r *fakeRig) hide(t testing.TB, topic string) func() {
	return r.Cluster().Fault(
		kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: topic, Err: kerr.TopicAuthorizationFailed, Count: -1},
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.TopicAuthorizationFailed, Count: -1},
	).Remove
}

func (r *fakeRig) forget(t testing.TB, topic string) {
	t.Helper()
	produceFault(r.Kafka, topic, kerr.UnknownProducerID, 1)
}

// orphan answers for the topic as a cluster does whose only copy is at a dead broker.
func (r *fakeRig) orphan(t testing.TB, topic string) func() {
	c := r.Cluster()
	var over bool // the cluster's goroutine alone reads and writes it
	end := make(chan struct{})
	partitions := len(c.PartitionInfos(topic))
	var addrs []string
	addrs = append(addrs, r.Addrs()...)
	c.ControlKey(int16(kmsg.Metadata), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		select {
		case <-end:
			over = true
		default:
		}
		req := kreq.(*kmsg.MetadataRequest)
		asked := slices.ContainsFunc(req.Topics, func(t kmsg.MetadataRequestTopic) bool { return t.Topic != nil && *t.Topic == topic })
		if over || !asked || len(req.Topics) > 1 {
			return nil, nil, false
		}
		res := req.ResponseKind().(*kmsg.MetadataResponse)
		for i, a := range addrs {
			b := kmsg.NewMetadataResponseBroker()
			b.NodeID, b.Host = int32(i), "127.0.0.1"
			fmt.Sscanf(a, "127.0.0.1:%d", &b.Port)
			res.Brokers = append(res.Brokers, b)
		}
		mt := kmsg.NewMetadataResponseTopic()
		mt.Topic = &topic
		for i := range partitions {
			p := kmsg.NewMetadataResponseTopicPartition()
			p.Partition, p.Leader, p.ErrorCode = int32(i), -1, kerr.LeaderNotAvailable.Code
			mt.Partitions = append(mt.Partitions, p)
		}
		res.Topics = append(res.Topics, mt)
		return res, nil, true
	})
	h := produceFault(r.Kafka, topic, kerr.NotLeaderForPartition, -1)
	return func() {
		close(end)
		h.Remove()
	}
}

// throttle has every answer ask for some silence, as a broker's quota does.
func (r *fakeRig) throttle(testing.TB) func() {
	rule := r.before.trouble(silence, 300, 1<<30)
	return func() { r.before.end(rule) }
}

// Who the tests are on real Kafka.
const (
	realUser     = "agent"
	realPassword = "Pass-word_1"
)

// realRig is brokers of Apache Kafka, or of whatever cluster was named. Topics are named
// anew for every run, so what others keep there is left alone.
type realRig struct {
	*kraft.Admin
	cluster *kraft.Cluster // nil: an existing one
	before  *front         // nil there
	addrs   []string
	tag     string
	ids     []int32 // of the brokers
}

// startReal starts Kafka for the tests of t, or uses the cluster that was named.
func startReal(t *testing.T) *realRig {
	t.Helper()
	r := &realRig{tag: fmt.Sprintf("t%d-", time.Now().UnixMilli())}
	if r.addrs = kraft.Asked(t); len(r.addrs) > 0 {
		var err error
		if r.Admin, err = kraft.NewAdmin(r.addrs); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Admin.Close)
		return r
	}
	began := time.Now()
	r.before = newFront(t)
	c, err := kraft.Start(t.Context(), kraft.Options{
		Brokers: 3, Users: map[string]string{realUser: realPassword}, Front: r.before.before,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for i := range c.Brokers() {
				t.Logf("broker %d's log ends with:\n%s", i, c.Log(i, 25))
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	r.cluster, r.Admin, r.addrs = c, c.Admin, c.Addrs(kraft.SASL)
	t.Logf("three brokers of Apache Kafka %s after %v", kraft.Version(), time.Since(began).Round(100*time.Millisecond))
	return r
}

func (r *realRig) options() Options {
	o := quick(r.addrs)
	o.SlowAfter = time.Second // a broker that has just created a topic takes a while for the first record
	if r.cluster != nil {
		o.SASL = &SASL{Mechanism: "SCRAM-SHA-256", User: realUser, Password: realPassword}
	}
	return o
}

func (r *realRig) name(topic string) string { return r.tag + topic }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *realRig) create(t testing.TB, topic string, partitions, replicas int, configs map[string]string) {
	t.Helper()
	placement := make([][]int32, partitions)
	brokers := r.nodes(t)
	for i := range placement {
		for j := range min(replicas, len(brokers)) {
			placement[i] = append(placement[i], brokers[(i+j)%len(brokers)])
		}
	}
	check(t, r.CreateTopic(t.Context(), topic, placement, configs))
	if r.cluster == nil {
		t.Cleanup(func() { _ = r.DeleteTopic(context.Background(), topic) }) // the test may have done it
	}
}

// nodes are the ids of the brokers.
func (r *realRig) nodes(t testing.TB) []int32 {
	t.Helper()
	if r.ids == nil {
		ids, err := r.Nodes(t.Context())
		check(t, err)
		r.ids = ids
	}
	return r.ids
}

func (r *realRig) remove(t testing.TB, topic string) {
	t.Helper()
	check(t, r.DeleteTopic(t.Context(), topic))
}

func (r *realRig) widen(t testing.TB, topic string, partitions int) {
	t.Helper()
	check(t, r.AddPartitions(t.Context(), topic, partitions))
}

func (r *realRig) lead(t testing.TB, topic string, partition, broker int) {
	t.Helper()
	nodes := r.nodes(t)
	check(t, r.MoveLeader(t.Context(), topic, int32(partition), nodes[broker%len(nodes)]))
}

func (r *realRig) mayStop(t testing.TB) {
	t.Helper()
	if r.cluster == nil {
		t.Skip("KAFKA_ADDR names a cluster that is not the tests' own: its brokers and rights are left alone")
	}
}

func (r *realRig) front(t testing.TB) *front {
	t.Helper()
	if r.before == nil {
		t.Skip("KAFKA_ADDR names a cluster that is not the tests' own: nothing can stand between")
	}
	return r.before
}

func (r *realRig) stop(t testing.TB, broker int) {
	t.Helper()
	check(t, r.cluster.Stop(broker))
}

func (r *realRig) kill(t testing.TB, broker int) {
	t.Helper()
	r.cluster.Kill(broker)
}

func (r *realRig) run(t testing.TB) {
	t.Helper()
	check(t, r.cluster.RunAll(t.Context()))
}

func (r *realRig) client(t testing.TB) *kgo.Client {
	if r.cluster == nil {
		return newClient(t, r.addrs)
	}
	return newClient(t, r.cluster.Addrs(kraft.Plain))
}

// stall freezes broker 2, which leads nothing of a topic of one partition.
func (r *realRig) stall(t testing.TB, topic string) func() {
	t.Helper()
	r.mayStop(t)
	r.cluster.Pause(2)
	t.Cleanup(func() { r.cluster.Resume(2) })
	return func() {
		r.cluster.Resume(2)
		r.run(t)
	}
}

func (r *realRig) starve(t testing.TB, topic string) func() {
	t.Helper()
	r.mayStop(t)
	check(t, r.Configure(t.Context(), topic, "min.insync.replicas", "3"))
	r.stop(t, 2)
	check(t, r.InSync(t.Context(), topic, 2))
	return func() { r.run(t) }
}

func (r *realRig) orphan(t testing.TB, topic string) func() {
	t.Helper()
	r.mayStop(t)
	parts, err := r.Partitions(t.Context(), topic)
	check(t, err)
	for i := range parts {
		if parts[i].Leader != parts[0].Leader {
			t.Fatal("want all partitions at one broker")
		}
	}
	r.kill(t, int(parts[0].Leader)-1)
	check(t, r.Leaderless(t.Context(), topic))
	return func() { r.run(t) }
}

func (r *realRig) deny(t testing.TB, topic string) func() { return r.rule(t, topic, kadm.OpWrite) }
func (r *realRig) hide(t testing.TB, topic string) func() { return r.rule(t, topic, kadm.OpAll) }

func (r *realRig) rule(t testing.TB, topic string, what kadm.ACLOperation) func() {
	t.Helper()
	r.mayStop(t)
	grant, err := r.Deny(t.Context(), realUser, topic, what)
	check(t, err)
	return func() { check(t, grant(context.Background())) }
}

// forget waits until the brokers know nothing of the topic's producers any more.
func (r *realRig) forget(t testing.TB, topic string) {
	t.Helper()
	r.mayStop(t)
	check(t, r.ConfigureBrokers(t.Context(), "producer.id.expiration.ms", "100"))
	wait(t, "the producers forgotten", func() bool {
		n, err := r.Producers(t.Context(), topic)
		return err == nil && n == 0
	})
	check(t, r.ConfigureBrokers(t.Context(), "producer.id.expiration.ms", "86400000"))
}

func (r *realRig) throttle(t testing.TB) func() {
	t.Helper()
	r.mayStop(t)
	check(t, r.SetQuota(t.Context(), realUser, 60_000))
	return func() { check(t, r.SetQuota(context.Background(), realUser, 0)) }
}
