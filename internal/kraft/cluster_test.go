package kraft

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"logagent/internal/lab"
)

func TestRealKafkaKeepsItsRecordsOverStopAndKill(t *testing.T) {
	if len(Asked(t)) > 0 {
		t.Skip("KAFKA_ADDR names a cluster that is not this package's")
	}
	began := time.Now()
	c, err := Start(t.Context(), Options{Brokers: 3, Users: map[string]string{"agent": "secret-1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("3 brokers after %v", time.Since(began).Round(time.Millisecond))
	if err := c.CreateTopic(t.Context(), "lines", [][]int32{{1, 2, 3}, {2, 3, 1}, {3, 1, 2}}, nil); err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Addrs(Plain)...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var want []string
	write := func(line string) {
		t.Helper()
		want = append(want, line)
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "lines", Value: []byte(line)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	for i, end := range []func(int) error{c.Stop, func(i int) error { c.Kill(i); return nil }, func(i int) error { c.Pause(i); c.Kill(i); return nil }} {
		if err := end(i); err != nil {
			t.Fatal(err)
		}
		write("without " + c.Addrs(Plain)[i])
		began := time.Now()
		if err := c.Run(t.Context(), i); err != nil {
			t.Fatal(err)
		}
		t.Logf("broker %d back after %v", i+1, time.Since(began).Round(time.Millisecond))
		if err := c.InSync(t.Context(), "lines", 3); err != nil {
			t.Fatal(err)
		}
	}
	for broker := int32(1); broker <= 3; broker++ {
		if err := c.MoveLeader(t.Context(), "lines", 0, broker); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.Records(t.Context(), "lines")
	if err != nil {
		t.Fatal(err)
	}
	if d := lab.Compare(want, lab.Values(got)); !d.None() {
		t.Error(d)
	}
}
