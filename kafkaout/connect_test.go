package kafkaout

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"

	"logagent/agent"
	"logagent/internal/kraft"
	"logagent/internal/lab"
)

func authority(t testing.TB) *kraft.Authority {
	t.Helper()
	a, err := kraft.NewAuthority("the tests' authority")
	check(t, err)
	return a
}

// sealed is the setting of a broker that shows a certificate of the authority's.
func sealed(t testing.TB, a *kraft.Authority, until time.Time, hosts ...string) kfake.Opt {
	t.Helper()
	cert, err := a.Issue(until, hosts...)
	check(t, err)
	pair, err := cert.Pair()
	check(t, err)
	return kfake.TLS(&tls.Config{Certificates: []tls.Certificate{pair}})
}

// flows sends some lines and wants them acknowledged.
func flows(t *testing.T, o Options, topic string) *flow {
	t.Helper()
	p, _ := startProducer(t, o)
	f := newFlow(t, p)
	f.send(entry("a", topic), 3)
	if v := f.settled(); v != (agent.Verdict{}) {
		t.Errorf("want success, got %+v", v)
	}
	return f
}

// heldBack wants the producer to say why nothing can be sent: in its link, in the state of
// the topic and once in its log, and nowhere the secret.
func heldBack(t *testing.T, o Options, topic, secret string, words ...string) {
	t.Helper()
	p, j := startProducer(t, o)
	p.Send(agent.NewBatch(entry("a", topic), "/a", []byte("some line"), []agent.Line{{To: 9}}, func(*agent.Batch, agent.Verdict) {}))
	says := func(text string) bool {
		for _, w := range words {
			if !strings.Contains(text, w) {
				return false
			}
		}
		return text != ""
	}
	var link agent.LinkStatus
	deadline := time.Now().Add(waitLimit / 4)
	for link = p.Link(); !says(link.Error); link = p.Link() {
		if time.Now().After(deadline) {
			t.Fatalf("want the cause %q, got %q", words, link.Error)
		}
		time.Sleep(2 * time.Millisecond)
	}
	if link.Up {
		t.Error("want the link down")
	}
	wait(t, "the topic down with the cause", func() bool {
		s := p.Topic(topic)
		return s.Health == agent.HealthDown && says(s.Why)
	})
	wait(t, "the cause logged", func() bool { return strings.Contains(j.String(), "kafka does not answer") })
	if text := j.String() + link.Error + p.Topic(topic).Why; secret != "" && strings.Contains(text, secret) {
		t.Errorf("want no secret shown, got %s", text)
	}
	if n := strings.Count(j.String(), "kafka does not answer"); n != 1 {
		t.Errorf("want it said once, got %d times:\n%s", n, j)
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
			o.SASL = &SASL{Mechanism: mechanism, User: user, Password: "wrong-" + password}
			heldBack(t, o, "guarded", password, "password")
			o.SASL = &SASL{Mechanism: mechanism, User: user, Password: password}
			flows(t, o, "guarded")
		})
	}
}

func TestACertificateIsVerified(t *testing.T) {
	t.Parallel()
	ours, theirs := authority(t), authority(t)
	later := time.Now().Add(time.Hour)
	for _, c := range []struct {
		name   string
		broker kfake.Opt
		client *tls.Config
		want   string // "" is success
	}{
		{"the right one", sealed(t, ours, later, "127.0.0.1"), &tls.Config{RootCAs: ours.Pool()}, ""},
		{"another authority", sealed(t, theirs, later, "127.0.0.1"), &tls.Config{RootCAs: ours.Pool()}, "certificate signed by unknown authority"},
		{"another host", sealed(t, ours, later, "kafka-1.example"), &tls.Config{RootCAs: ours.Pool()}, "doesn't contain any IP SANs"},
		{"another address", sealed(t, ours, later, "10.1.2.3"), &tls.Config{RootCAs: ours.Pool()}, "certificate is valid for 10.1.2.3, not 127.0.0.1"},
		{"expired", sealed(t, ours, time.Now().Add(-time.Hour), "127.0.0.1"), &tls.Config{RootCAs: ours.Pool()}, "certificate has expired"},
		{"a client without TLS", sealed(t, ours, later, "127.0.0.1"), nil, "closed the connection"},
		{"a broker without TLS", nil, &tls.Config{RootCAs: ours.Pool()}, "127.0.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			opts := []kfake.Opt{kfake.SeedTopics(2, "sealed")}
			if c.broker != nil {
				opts = append(opts, c.broker)
			}
			k := startKafka(t, lab.KafkaOptions{Options: opts})
			o := quick(k.Addrs())
			o.TLS = c.client
			if c.want == "" {
				flows(t, o, "sealed")
				return
			}
			heldBack(t, o, "sealed", "", c.want, k.Addrs()[0])
		})
	}
}

func TestASealedBrokerThatWantsALoginToo(t *testing.T) {
	t.Parallel()
	a := authority(t)
	const user, password = "agent", "pass=word,1"
	k := startKafka(t, lab.KafkaOptions{Options: []kfake.Opt{
		sealed(t, a, time.Now().Add(time.Hour), "127.0.0.1"), kfake.EnableSASL(),
		kfake.Superuser("SCRAM-SHA-512", user, password), kfake.SeedTopics(2, "both"),
	}})
	o := quick(k.Addrs())
	o.TLS = &tls.Config{RootCAs: authority(t).Pool()}
	o.SASL = &SASL{Mechanism: "SCRAM-SHA-512", User: user, Password: password}
	heldBack(t, o, "both", password, "certificate signed by unknown authority")
	o.TLS = &tls.Config{RootCAs: a.Pool()}
	o.SASL = &SASL{Mechanism: "SCRAM-SHA-512", User: user, Password: "not " + password}
	heldBack(t, o, "both", password, "password")
	o.SASL = &SASL{Mechanism: "SCRAM-SHA-512", User: user, Password: password}
	flows(t, o, "both")
}

// Not parallel: one broker of real Kafka serves all its parts.
func TestConnectingToRealKafka(t *testing.T) {
	if len(kraft.Asked(t)) > 0 {
		t.Skip("KAFKA_ADDR names a cluster whose users and certificates are not the tests' own")
	}
	a := authority(t)
	files, err := a.Files(t.TempDir())
	check(t, err)
	c, err := kraft.Start(t.Context(), kraft.Options{
		AutoCreate: true, PEM: files, Users: map[string]string{realUser: realPassword},
		// A login is good for two seconds.
		Properties: map[string]string{"connections.max.reauth.ms": "2000"},
	})
	check(t, err)
	t.Cleanup(func() { check(t, c.Close()) })

	reach := func(l kraft.Listener, mechanism string) Options {
		o := quick(c.Addrs(l))
		o.SlowAfter = time.Second
		if l == kraft.TLS || l == kraft.SASLTLS {
			o.TLS = &tls.Config{RootCAs: a.Pool()}
		}
		if mechanism != "" {
			o.SASL = &SASL{Mechanism: mechanism, User: realUser, Password: realPassword}
		}
		return o
	}
	for _, way := range []struct {
		listener  kraft.Listener
		mechanism string
	}{
		{kraft.Plain, ""},
		{kraft.TLS, ""},
		{kraft.SASL, "PLAIN"},
		{kraft.SASL, "SCRAM-SHA-256"},
		{kraft.SASL, "SCRAM-SHA-512"},
		{kraft.SASLTLS, "PLAIN"},
		{kraft.SASLTLS, "SCRAM-SHA-256"},
		{kraft.SASLTLS, "SCRAM-SHA-512"},
	} {
		t.Run(fmt.Sprintf("%s %s", way.listener, way.mechanism), func(t *testing.T) {
			topic := fmt.Sprintf("by-%s-%s", way.listener, way.mechanism) // the broker creates it
			f := flows(t, reach(way.listener, way.mechanism), topic)
			f.compare(c)
			if way.mechanism == "" {
				return
			}
			o := reach(way.listener, way.mechanism)
			o.SASL.Password = "not-" + realPassword
			heldBack(t, o, topic, realPassword, c.Addrs(way.listener)[0]+": the broker refuses user or password")
		})
	}
	t.Run("a mechanism that the broker does not know", func(t *testing.T) {
		heldBack(t, reach(kraft.Plain, "PLAIN"), "any", realPassword, c.Addrs(kraft.Plain)[0])
	})
	t.Run("another authority", func(t *testing.T) {
		o := reach(kraft.SASLTLS, "SCRAM-SHA-512")
		o.TLS = &tls.Config{RootCAs: authority(t).Pool()}
		heldBack(t, o, "any", realPassword, "certificate signed by unknown authority", c.Addrs(kraft.SASLTLS)[0])
	})
	t.Run("another host name", func(t *testing.T) {
		o := reach(kraft.TLS, "")
		o.TLS.ServerName = "kafka-1.example"
		heldBack(t, o, "any", "", "kafka-1.example")
	})
	t.Run("a client without TLS", func(t *testing.T) {
		o := reach(kraft.TLS, "")
		o.TLS = nil
		heldBack(t, o, "any", "", c.Addrs(kraft.TLS)[0])
	})
	t.Run("a broker without TLS", func(t *testing.T) {
		o := reach(kraft.Plain, "")
		o.TLS = &tls.Config{RootCAs: a.Pool()}
		heldBack(t, o, "any", "", c.Addrs(kraft.Plain)[0])
	})
	t.Run("a login that must be renewed", func(t *testing.T) {
		check(t, c.CreateTopic(t.Context(), "renewed", [][]int32{{1}, {1}, {1}}, nil))
		p, j := startProducer(t, reach(kraft.SASLTLS, "SCRAM-SHA-512"))
		f := slow(newFlow(t, p))
		began := time.Now()
		stop := f.stream("renewed", 5)
		for time.Since(began) < 7*time.Second { // three logins
			f.progress(50)
		}
		stop()
		if v := f.settled(); v != (agent.Verdict{}) {
			t.Errorf("want nothing counted, got %+v", v)
		}
		f.compare(c)
		if strings.Contains(j.String(), "level=WARN") {
			t.Errorf("want nothing to be said about it, got:\n%s", j)
		}
	})
	t.Run("topics asked about", func(t *testing.T) {
		got, err := Probe(t.Context(), reach(kraft.SASLTLS, "PLAIN"), []string{"renewed", "not-there"})
		if err != nil || got["renewed"] != nil || !errors.Is(got["not-there"], ErrTopicOnDemand) {
			t.Errorf("want a topic that is there and one that would be created, got %v, %v", got, err)
		}
		grant, err := c.Deny(t.Context(), realUser, "renewed", kadm.OpAll)
		check(t, err)
		defer func() { check(t, grant(t.Context())) }()
		wait(t, "the refusal told", func() bool {
			got, err := Probe(t.Context(), reach(kraft.SASLTLS, "PLAIN"), []string{"renewed"})
			return err == nil && got["renewed"] != nil && got["renewed"].Error() == "not authorized for topic renewed"
		})
	})
}

// As a broker of Apache Kafka says it and sarama hands it on.
func TestARefusedLoginIsToldInWords(t *testing.T) {
	t.Parallel()
	err := sarama.Wrap(sarama.ErrSASLAuthenticationFailed, errors.New("Authentication failed during authentication due to invalid credentials"))
	if got, want := words(err), "the broker refuses user or password"; got != want {
		t.Errorf("want %q, got %q", want, got)
	}
}
