package kafkaout

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/IBM/sarama"
)

// What Probe may say of a topic that does not exist.
var (
	ErrTopicOnDemand = errors.New("does not exist yet; the cluster creates it with the first line")
	ErrTopicMissing  = errors.New("does not exist, and the cluster creates no topics by itself")
	ErrTopicUnsure   = errors.New("does not exist yet, and the cluster does not tell this user whether it creates it")
)

// autoCreate is the broker's setting that lets it create topics.
const autoCreate = "auto.create.topics.enable"

// Probe asks the cluster about topics and creates none of them: nil for one that exists,
// one of the errors above, or in words why the topic can not be used. The second result
// says that no broker answers. It blocks for the network timeout per dead broker, and until
// ctx ends at most.
func Probe(ctx context.Context, o Options, topics []string) (map[string]error, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	found := make(map[string]error, len(topics))
	if len(topics) == 0 {
		return found, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &seeker{cfg: o.config(ctx), seeds: o.Addrs}
	defer s.close()
	res, err := s.topics(topics, false)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	missing := error(nil)
	for _, t := range res.Topics {
		switch {
		case t.Err == sarama.ErrNoError, t.Err == sarama.ErrLeaderNotAvailable:
			found[t.Name] = nil
		case t.Err == sarama.ErrUnknownTopicOrPartition:
			if missing == nil {
				missing = s.creates(res.Brokers)
			}
			found[t.Name] = missing
		default:
			found[t.Name] = errors.New(topicWords(t.Name, t.Err))
		}
	}
	for _, name := range topics {
		if _, told := found[name]; !told {
			found[name] = fmt.Errorf("topic %s: the broker says nothing about it", name)
		}
	}
	return found, nil
}

// creates tells what becomes of a topic that does not exist, as a broker's settings say.
func (s *seeker) creates(brokers []*sarama.Broker) error {
	for _, b := range brokers { // each tells its own settings only
		link, err := open(b.Addr(), s.cfg)
		if err != nil {
			continue
		}
		res, err := link.DescribeConfigs(&sarama.DescribeConfigsRequest{Version: 1, Resources: []*sarama.ConfigResource{{
			Type: sarama.BrokerResource, Name: strconv.Itoa(int(b.ID())), ConfigNames: []string{autoCreate},
		}}})
		_ = link.Close() // an error says that it was closed already
		if err != nil {
			continue
		}
		for _, r := range res.Resources {
			for _, c := range r.Configs {
				switch {
				case c.Name != autoCreate:
				case strings.EqualFold(c.Value, "true"):
					return ErrTopicOnDemand
				case strings.EqualFold(c.Value, "false"):
					return ErrTopicMissing
				}
			}
		}
		break // it answered, and does not tell
	}
	return ErrTopicUnsure
}
