package kafkaout

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"logagent/agent"
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

func TestEverySASLMechanismIsSpoken(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			const user, password = "log=agent,1", "s3cr=et,ü"
			k := startKafka(t, lab.KafkaOptions{Options: []kfake.Opt{
				kfake.EnableSASL(), kfake.Superuser(mechanism, user, password), kfake.SeedTopics(2, "guarded"),
			}})
			o := quick(k.Addrs())
			o.SASL = &SASL{Mechanism: mechanism, User: user, Password: password}
			p, _ := startProducer(t, o)
			f := newFlow(t, p)
			f.send(entry("a", "guarded"), 3)
			if v := f.settled(); v != (agent.Verdict{}) {
				t.Errorf("want success, got %+v", v)
			}
			o.SASL = &SASL{Mechanism: mechanism, User: user, Password: "wrong-" + password}
			refused, j := startProducer(t, o)
			wait(t, "the refusal", func() bool { return strings.Contains(refused.Link().Error, "password may be wrong") })
			if l := refused.Link(); strings.Contains(l.Error, password) || strings.Contains(j.String(), password) {
				t.Errorf("want no secret shown, got %q", l.Error)
			}
		})
	}
}

func TestTLSIsSpoken(t *testing.T) {
	t.Parallel()
	certified := httptest.NewTLSServer(nil) // for its certificate alone
	t.Cleanup(certified.Close)
	pool := x509.NewCertPool()
	pool.AddCert(certified.Certificate())
	k := startKafka(t, lab.KafkaOptions{Options: []kfake.Opt{
		kfake.TLS(&tls.Config{Certificates: certified.TLS.Certificates}), kfake.SeedTopics(2, "sealed"),
	}})
	o := quick(k.Addrs())
	o.TLS = &tls.Config{RootCAs: pool}
	p, _ := startProducer(t, o)
	f := newFlow(t, p)
	f.send(entry("a", "sealed"), 3)
	if v := f.settled(); v != (agent.Verdict{}) {
		t.Errorf("want success, got %+v", v)
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
