package kraft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logagent/internal/lab"
)

// Admin does what operators do to topics, leaders, rights and quotas, on any cluster where
// it may, and waits until all of it is in force. Every call ends within adminWithin.
type Admin struct {
	addrs []string
	cl    *kgo.Client
	adm   *kadm.Client
}

const adminWithin = 30 * time.Second

// NewAdmin returns an Admin of the cluster at addrs. It touches no network yet.
func NewAdmin(addrs []string) (*Admin, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.MetadataMinAge(20*time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }))
	if err != nil {
		return nil, err
	}
	return &Admin{addrs: addrs, cl: cl, adm: kadm.NewClient(cl)}, nil
}

// Close gives up the Admin's connections.
func (a *Admin) Close() { a.cl.Close() }

// until repeats ask until it says yes.
func until(ctx context.Context, what string, ask func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, adminWithin)
	defer cancel()
	for {
		ok, err := ask(ctx)
		if ok && err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, errors.Join(err, ctx.Err()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// CreateTopic creates a topic whose partition i has the brokers placement[i], the preferred
// leader first (from 1, as Kafka numbers them), and waits until every broker knows of all
// its leaders.
func (a *Admin) CreateTopic(ctx context.Context, topic string, placement [][]int32, configs map[string]string) error {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topic, -1, -1
	for i, brokers := range placement {
		r := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		r.Partition, r.Replicas = int32(i), brokers
		t.ReplicaAssignment = append(t.ReplicaAssignment, r)
	}
	for k, v := range configs {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = k, &v
		t.Configs = append(t.Configs, c)
	}
	// A topic just deleted may still be on its way out.
	if err := until(ctx, "topic "+topic+" created", func(ctx context.Context) (bool, error) {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.TimeoutMillis = 10_000
		req.Topics = []kmsg.CreateTopicsRequestTopic{t}
		res, err := req.RequestWith(ctx, a.cl)
		if err != nil {
			return false, err
		}
		return true, kerr.ErrorForCode(res.Topics[0].ErrorCode)
	}); err != nil {
		return err
	}
	return a.everywhere(ctx, fmt.Sprintf("%d leaders of %s", len(placement), topic), topic, func(t kadm.TopicDetail) bool {
		return t.Err == nil && len(t.Partitions) == len(placement) && !slices.ContainsFunc(t.Partitions.Sorted(), func(p kadm.PartitionDetail) bool {
			return p.Err != nil || p.Leader < 0
		})
	})
}

// DeleteTopic deletes a topic and waits until no broker knows it.
func (a *Admin) DeleteTopic(ctx context.Context, topic string) error {
	res, err := a.adm.DeleteTopic(ctx, topic)
	if err = errors.Join(err, res.Err); err != nil {
		return err
	}
	return a.everywhere(ctx, topic+" gone", topic, func(t kadm.TopicDetail) bool {
		return errors.Is(t.Err, kerr.UnknownTopicOrPartition)
	})
}

// AddPartitions widens a topic to n partitions.
func (a *Admin) AddPartitions(ctx context.Context, topic string, n int) error {
	res, err := a.adm.UpdatePartitions(ctx, n, topic)
	if err = errors.Join(err, res.Error()); err != nil {
		return err
	}
	return a.everywhere(ctx, fmt.Sprintf("%d partitions of %s", n, topic), topic, func(t kadm.TopicDetail) bool {
		return len(t.Partitions) == n && !slices.ContainsFunc(t.Partitions.Sorted(), func(p kadm.PartitionDetail) bool { return p.Leader < 0 })
	})
}

// everywhere waits until what every broker of the cluster says of the topic is so.
func (a *Admin) everywhere(ctx context.Context, what, topic string, so func(kadm.TopicDetail) bool) error {
	return until(ctx, what, func(ctx context.Context) (bool, error) {
		brokers, err := a.adm.ListBrokers(ctx)
		if err != nil {
			return false, err
		}
		for _, b := range brokers {
			req := kmsg.NewPtrMetadataRequest()
			t := kmsg.NewMetadataRequestTopic()
			t.Topic = &topic
			req.Topics = []kmsg.MetadataRequestTopic{t}
			got, err := req.RequestWith(ctx, a.cl.Broker(int(b.NodeID)))
			if err != nil {
				return false, err
			}
			if !so(detail(got)) {
				return false, fmt.Errorf("broker %d does not say so", b.NodeID)
			}
		}
		return true, nil
	})
}

// detail is what an answer says about its only topic.
func detail(m *kmsg.MetadataResponse) kadm.TopicDetail {
	t := kadm.TopicDetail{Partitions: make(kadm.PartitionDetails)}
	for _, got := range m.Topics {
		t.Err = kerr.ErrorForCode(got.ErrorCode)
		for _, p := range got.Partitions {
			t.Partitions[p.Partition] = kadm.PartitionDetail{Partition: p.Partition, Leader: p.Leader, Replicas: p.Replicas, ISR: p.ISR, Err: kerr.ErrorForCode(p.ErrorCode)}
		}
	}
	return t
}

// Partitions is what is known of a topic's partitions now.
func (a *Admin) Partitions(ctx context.Context, topic string) (kadm.PartitionDetails, error) {
	got, err := a.adm.ListTopics(ctx, topic)
	if err != nil {
		return nil, err
	}
	return got[topic].Partitions, got[topic].Err
}

// InSync waits until n brokers are in sync in every partition of a topic.
func (a *Admin) InSync(ctx context.Context, topic string, n int) error {
	return until(ctx, fmt.Sprintf("%d replicas of %s in sync", n, topic), func(ctx context.Context) (bool, error) {
		parts, err := a.Partitions(ctx, topic)
		for _, p := range parts {
			if len(p.ISR) != n {
				return false, nil
			}
		}
		return len(parts) > 0, err
	})
}

// MoveLeader makes a broker (from 1) the leader of a partition of which it has a copy.
func (a *Admin) MoveLeader(ctx context.Context, topic string, partition, broker int32) error {
	return until(ctx, fmt.Sprintf("broker %d the leader of %s %d", broker, topic, partition), func(ctx context.Context) (bool, error) {
		parts, err := a.Partitions(ctx, topic)
		if err != nil {
			return false, err
		}
		p := parts[partition]
		if p.Leader == broker {
			return true, nil
		}
		if p.Replicas[0] != broker {
			order := append([]int32{broker}, slices.DeleteFunc(slices.Clone(p.Replicas), func(b int32) bool { return b == broker })...)
			var req kadm.AlterPartitionAssignmentsReq
			req.Assign(topic, partition, order)
			res, err := a.adm.AlterPartitionAssignments(ctx, req)
			if err = errors.Join(err, res.Error()); err != nil {
				return false, err
			}
		}
		var set kadm.TopicsSet
		set.Add(topic, partition)
		_, err = a.adm.ElectLeaders(ctx, kadm.ElectPreferredReplica, set)
		return false, err
	})
}

// Configure sets a topic's configuration.
func (a *Admin) Configure(ctx context.Context, topic, name, value string) error {
	res, err := a.adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &value}}, topic)
	if err != nil {
		return err
	}
	for _, r := range res {
		if r.Err != nil {
			return r.Err
		}
	}
	return until(ctx, name+" of "+topic, func(ctx context.Context) (bool, error) {
		got, err := a.adm.DescribeTopicConfigs(ctx, topic)
		if err != nil {
			return false, err
		}
		for _, r := range got {
			for _, c := range r.Configs {
				if c.Key == name {
					return c.MaybeValue() == value, r.Err
				}
			}
		}
		return false, nil
	})
}

// ConfigureBrokers sets a configuration of all brokers that can be changed while they run.
func (a *Admin) ConfigureBrokers(ctx context.Context, name, value string) error {
	res, err := a.adm.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &value}})
	if err != nil {
		return err
	}
	for _, r := range res {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}

// Deny takes the right to do something to a topic from a user, and grant gives it back.
func (a *Admin) Deny(ctx context.Context, user, topic string, what kadm.ACLOperation) (grant func(context.Context) error, err error) {
	rule := func() *kadm.ACLBuilder {
		return kadm.NewACLs().Topics(topic).ResourcePatternType(kadm.ACLPatternLiteral).Operations(what).
			Deny("User:" + user).DenyHosts("*")
	}
	res, err := a.adm.CreateACLs(ctx, rule())
	if err != nil {
		return nil, err
	}
	for _, r := range res {
		if r.Err != nil {
			return nil, r.Err
		}
	}
	return func(ctx context.Context) error {
		res, err := a.adm.DeleteACLs(ctx, rule())
		if err != nil {
			return err
		}
		for _, r := range res {
			if r.Err != nil {
				return r.Err
			}
		}
		return a.rules(ctx, topic, 0)
	}, a.rules(ctx, topic, 1)
}

// rules waits until every broker knows n rules for a topic: each answers from what has
// reached it.
func (a *Admin) rules(ctx context.Context, topic string, n int) error {
	return until(ctx, fmt.Sprintf("%d rules for %s", n, topic), func(ctx context.Context) (bool, error) {
		brokers, err := a.adm.ListBrokers(ctx)
		if err != nil {
			return false, err
		}
		for _, b := range brokers {
			req := kmsg.NewPtrDescribeACLsRequest()
			req.ResourceType, req.ResourceName = kmsg.ACLResourceTypeTopic, &topic
			req.ResourcePatternType = kmsg.ACLResourcePatternTypeLiteral
			req.Operation, req.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
			got, err := req.RequestWith(ctx, a.cl.Broker(int(b.NodeID)))
			if err != nil {
				return false, err
			}
			have := 0
			for _, r := range got.Resources {
				have += len(r.ACLs)
			}
			if have != n {
				return false, fmt.Errorf("broker %d knows %d", b.NodeID, have)
			}
		}
		return true, nil
	})
}

// SetQuota bounds what a user may write, in bytes per second; 0 ends that.
func (a *Admin) SetQuota(ctx context.Context, user string, bytesPerSecond float64) error {
	res, err := a.adm.AlterClientQuotas(ctx, []kadm.AlterClientQuotaEntry{{
		Entity: kadm.ClientQuotaEntity{{Type: "user", Name: &user}},
		Ops:    []kadm.AlterClientQuotaOp{{Key: "producer_byte_rate", Value: bytesPerSecond, Remove: bytesPerSecond == 0}},
	}})
	if err != nil {
		return err
	}
	for _, r := range res {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}

// Producers is how many producers the leaders of a topic remember.
func (a *Admin) Producers(ctx context.Context, topic string) (int, error) {
	parts, err := a.Partitions(ctx, topic)
	if err != nil {
		return 0, err
	}
	var set kadm.TopicsSet
	for p := range parts {
		set.Add(topic, p)
	}
	got, err := a.adm.DescribeProducers(ctx, set)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, t := range got {
		for _, p := range t.Partitions {
			if p.Err != nil {
				return 0, p.Err
			}
			n += len(p.ActiveProducers)
		}
	}
	return n, nil
}

// Records returns everything that stands in a topic now, by partition and offset.
func (a *Admin) Records(ctx context.Context, topic string) ([]lab.Record, error) {
	return lab.ReadTopic(ctx, a.addrs, topic)
}

// Nodes are the ids of the brokers that are there, in order.
func (a *Admin) Nodes(ctx context.Context) ([]int32, error) {
	brokers, err := a.adm.ListBrokers(ctx)
	if err != nil {
		return nil, err
	}
	ids := brokers.NodeIDs()
	slices.Sort(ids)
	return ids, nil
}

// Leaderless waits until every broker says that no partition of the topic has a leader.
func (a *Admin) Leaderless(ctx context.Context, topic string) error {
	return a.everywhere(ctx, topic+" without leaders", topic, func(t kadm.TopicDetail) bool {
		return len(t.Partitions) > 0 && !slices.ContainsFunc(t.Partitions.Sorted(), func(p kadm.PartitionDetail) bool { return p.Leader >= 0 })
	})
}
