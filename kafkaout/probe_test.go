package kafkaout

import (
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logagent/internal/lab"
)

func TestProbeTellsOfTopicsAndCreatesNone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		setting string
		want    error
	}{{"true", ErrTopicOnDemand}, {"false", ErrTopicMissing}, {"", ErrTopicUnsure}} {
		k := startKafka(t, lab.KafkaOptions{Brokers: 2, AutoCreate: true})
		createTopic(t, k, "there", 3, nil)
		createTopic(t, k, "secret", 1, nil)
		k.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "secret", Err: kerr.TopicAuthorizationFailed, Count: -1})
		k.Cluster().ControlKey(int16(kmsg.DescribeConfigs), func(req kmsg.Request) (kmsg.Response, error, bool) {
			k.Cluster().KeepControl()
			ask := req.(*kmsg.DescribeConfigsRequest)
			res := ask.ResponseKind().(*kmsg.DescribeConfigsResponse)
			r := kmsg.NewDescribeConfigsResponseResource()
			r.ResourceType, r.ResourceName = ask.Resources[0].ResourceType, ask.Resources[0].ResourceName
			if c.setting == "" {
				r.ErrorCode = kerr.ClusterAuthorizationFailed.Code
			} else {
				one := kmsg.NewDescribeConfigsResponseResourceConfig()
				one.Name, one.Value = ask.Resources[0].ConfigNames[0], &c.setting
				r.Configs = append(r.Configs, one)
			}
			res.Resources = append(res.Resources, r)
			return res, nil, true
		})
		got, err := Probe(t.Context(), quick(k.Addrs()), []string{"there", "missing", "secret"})
		if err != nil {
			t.Fatal(err)
		}
		if got["there"] != nil || !errors.Is(got["missing"], c.want) || got["secret"] == nil || got["secret"].Error() != "not authorized for topic secret" {
			t.Errorf("with %s=%q: %v", autoCreate, c.setting, got)
		}
		if k.Cluster().TopicInfo("missing") != nil {
			t.Error("asking created the topic")
		}
	}
}

func TestProbeSaysThatNoBrokerAnswers(t *testing.T) {
	t.Parallel()
	got, err := Probe(t.Context(), quick([]string{"127.0.0.1:1"}), []string{"a"})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1: connection refused") || got != nil {
		t.Errorf("want the address and the reason, got %v, %v", got, err)
	}
}
