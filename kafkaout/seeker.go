package kafkaout

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/IBM/sarama"
)

// seeker puts questions to whichever broker answers: the one that answered last, else any
// of those known. It belongs to one goroutine, and blocks for the network timeout per
// broker that is dead.
type seeker struct {
	cfg   *sarama.Config
	seeds []string
	known []string // learned from the cluster
	link  *sarama.Broker
}

// ask lets f use a broker's connection. Where the connection turns out to be dead, f is
// called once more with another; an error that a broker answers is f's result.
func (s *seeker) ask(f func(*sarama.Broker) error) error {
	for again := s.link != nil; ; again = false {
		if s.link == nil {
			if err := s.connect(); err != nil {
				return err
			}
		}
		err := f(s.link)
		var code sarama.KError
		if err == nil || errors.As(err, &code) {
			return err
		}
		err = errors.New("broker " + s.link.Addr() + ": " + words(err))
		s.close()
		if !again {
			return err
		}
	}
}

// connect tries every known address once, in random order.
func (s *seeker) connect() error {
	addrs := slices.Clone(s.seeds)
	for _, a := range s.known {
		if !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	rand.Shuffle(len(addrs), func(i, j int) { addrs[i], addrs[j] = addrs[j], addrs[i] })
	var problems []string
	for _, a := range addrs {
		link, err := open(a, s.cfg)
		if err == nil {
			s.link = link
			return nil
		}
		problems = append(problems, a+": "+words(err))
	}
	slices.Sort(problems)
	if len(problems) > 3 {
		problems = append(problems[:3], "…")
	}
	return errors.New("no broker answers: " + strings.Join(problems, "; "))
}

func (s *seeker) close() {
	if s.link != nil {
		_ = s.link.Close() // an error says that it was closed already
		s.link = nil
	}
}

// ping asks nothing in particular.
func (s *seeker) ping() error {
	return s.ask(func(b *sarama.Broker) error {
		_, err := b.ApiVersions(&sarama.ApiVersionsRequest{})
		return err
	})
}

// topics asks for topics by name; there must be one. With create, a cluster that creates
// topics by itself is led to do so.
func (s *seeker) topics(names []string, create bool) (*sarama.MetadataResponse, error) {
	var res *sarama.MetadataResponse
	err := s.ask(func(b *sarama.Broker) error {
		req := sarama.NewMetadataRequest(s.cfg.Version, names)
		req.AllowAutoTopicCreation = create
		var err error
		res, err = b.GetMetadata(req)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(res.Brokers) > 0 {
		s.known = s.known[:0]
		for _, b := range res.Brokers {
			s.known = append(s.known, b.Addr())
		}
	}
	return res, nil
}

// producerID asks for a new one.
func (s *seeker) producerID() (producerID, error) {
	var id producerID
	err := s.ask(func(b *sarama.Broker) error {
		res, err := b.InitProducerID(&sarama.InitProducerIDRequest{Version: 2})
		if err != nil {
			return err
		}
		if res.Err != sarama.ErrNoError {
			return res.Err
		}
		id = producerID{id: res.ProducerID, epoch: res.ProducerEpoch, ok: true}
		return nil
	})
	return id, err
}
