package kafkaout

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logagent/internal/lab"
)

func TestEveryProblemOfTheOptionsIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := New(Options{
		Addrs: []string{"kafka"}, Headers: []string{"host", "colour", "host"}, Compression: "zip",
		Connections: -1, MaxLineBytes: 1 << 40, SASL: &SASL{Mechanism: "GSSAPI"},
	})
	if err == nil {
		t.Fatal("want an error")
	}
	for _, want := range []string{
		`address "kafka"`, "no host id", `header "colour"`, `"host" is named twice`, `compression "zip"`,
		"-1 connections", "lines of 1099511627776 bytes", `"GSSAPI"`, "without a user",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("want %q named, got:\n%v", want, err)
		}
	}
	if _, err := New(Options{Host: "a"}); err == nil || !strings.Contains(err.Error(), "no Kafka address") {
		t.Errorf("want a missing address named, got %v", err)
	}
}

func TestKeysGoWhereTheJavaClientPutsThem(t *testing.T) {
	t.Parallel()
	// From org.apache.kafka.common.utils.UtilsTest.testMurmur2.
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2 of %q: want %d, got %d", key, want, got)
		}
	}
	partitioner := kgo.StickyKeyPartitioner(nil).ForTopic("any")
	for i := range 500 {
		key := []byte(fmt.Sprintf("/var/log/app-%d/%s.log", i, strings.Repeat("é", i%9)))
		for _, n := range []int{1, 2, 7, 50} {
			want := partitioner.Partition(&kgo.Record{Key: key}, n)
			if got := keyPartition(key, n); got != want {
				t.Errorf("%q of %d: want partition %d, got %d", key, n, want, got)
			}
		}
	}
}

func TestAQuotaOfTheBrokerIsHonouredWithoutDeafness(t *testing.T) {
	t.Parallel()
	k := startKafka(t, lab.KafkaOptions{})
	createTopic(t, k, "quota", 1, nil)
	var throttled atomic.Int32
	k.Cluster().ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.Cluster().KeepControl()
		if throttled.Add(1) > 1 {
			return nil, nil, false
		}
		req := r.(*kmsg.ProduceRequest)
		res := req.ResponseKind().(*kmsg.ProduceResponse)
		res.ThrottleMillis = 60_000
		res.Topics = []kmsg.ProduceResponseTopic{{Topic: "quota", Partitions: []kmsg.ProduceResponseTopicPartition{{ErrorCode: 19}}}}
		return res, nil, true
	})
	p, _ := startProducer(t, quick(k.Addrs()))
	f := newFlow(t, p)
	s := entry("a", "quota")
	f.send(s, 3)
	wait(t, "the first answer", func() bool { return strings.Contains(p.Topic("quota").Why, "too few replicas") })
	p.Recall(s.LogPath) // works while the broker wants silence for a minute
	f.settled()
	if f.recalls != 1 || throttled.Load() != 1 {
		t.Errorf("want the batch recalled and no second request, got %d recalls, %d requests", f.recalls, throttled.Load())
	}
}
