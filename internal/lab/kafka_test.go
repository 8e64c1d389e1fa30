package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// produce sends lines and waits until all are acknowledged.
func produce(t *testing.T, k *Kafka, topic string, lines ...string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Addrs()...), kgo.AllowAutoTopicCreation(),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	records := make([]*kgo.Record, len(lines))
	for i, line := range lines {
		records[i] = &kgo.Record{Topic: topic, Value: []byte(line), Headers: []kgo.RecordHeader{{Key: "n", Value: fmt.Append(nil, i)}}}
	}
	if err := cl.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatalf("produce: %v", err)
	}
}

func numbered(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("line %06d", i)
	}
	return out
}

func TestKafkaKeepsItsRecordsAndItsPortsOverARestart(t *testing.T) {
	t.Parallel()
	k := startKafka(t, KafkaOptions{Brokers: 2})
	if err := k.CreateTopic("lines", 0, nil); err != nil {
		t.Fatal(err)
	}
	addrs, lines := fmt.Sprint(k.Addrs()), numbered(5000)
	produce(t, k, "lines", lines[:2500]...)
	k.Stop()
	k.Stop() // stopping twice is harmless
	if err := k.Restart(); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(k.Addrs()); got != addrs {
		t.Errorf("after a restart the brokers are on %s, want %s", got, addrs)
	}
	produce(t, k, "lines", lines[2500:]...)
	records, err := k.Records(t.Context(), "lines")
	if err != nil {
		t.Fatal(err)
	}
	if d := Compare(lines, Values(records)); !d.None() {
		t.Error(d)
	}
	for i := range records {
		if records[i].Header("n") == "" {
			t.Fatalf("record %+v has lost its header", records[i])
		}
	}
}

func TestRecordsOfATopicThatDoesNotExistAreNone(t *testing.T) {
	t.Parallel()
	k := startKafka(t, KafkaOptions{AutoCreate: true})
	for range 2 { // asking must not create it either
		records, err := k.Records(t.Context(), "nobody")
		if err != nil || len(records) != 0 {
			t.Errorf("got %d records and %v, want none of both", len(records), err)
		}
	}
	if k.Cluster().TopicInfo("nobody") != nil {
		t.Error("reading a topic has created it")
	}
}

func TestWaitRecordsWaitsForATopicYetToCome(t *testing.T) {
	t.Parallel()
	k := startKafka(t, KafkaOptions{AutoCreate: true, Partitions: 3})
	type result struct {
		records []Record
		err     error
	}
	waited := make(chan result, 1)
	go func() {
		records, err := k.WaitRecords(t.Context(), "late", 100)
		waited <- result{records, err}
	}()
	produce(t, k, "late", numbered(60)...)
	select {
	case r := <-waited:
		t.Fatalf("came back with %d records and %v before there were enough", len(r.records), r.err)
	case <-time.After(100 * time.Millisecond):
	}
	produce(t, k, "late", numbered(60)...)
	r := <-waited
	if r.err != nil || len(r.records) < 100 {
		t.Errorf("got %d records and %v, want 100 or more", len(r.records), r.err)
	}
}

func TestWaitRecordsThatEndsEarlyTellsWhatIsThere(t *testing.T) {
	t.Parallel()
	k := startKafka(t, KafkaOptions{AutoCreate: true})
	produce(t, k, "few", numbered(7)...)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	records, err := k.WaitRecords(ctx, "few", 8)
	if len(records) != 7 || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "7 are there") {
		t.Errorf("got %d records and %v, want the 7 that are there and a deadline", len(records), err)
	}
}

func TestDroppedConnectionsAreMadeAnew(t *testing.T) {
	t.Parallel()
	k := startKafka(t, KafkaOptions{AutoCreate: true})
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Addrs()...), kgo.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.conns.mu.Lock()
	open := len(k.conns.open)
	k.conns.mu.Unlock()
	if open == 0 {
		t.Fatal("no connection is known after a ping")
	}
	k.DropConnections()
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte("x")}).FirstErr(); err != nil {
		t.Errorf("produce after the cut: %v", err)
	}
}

func TestOldRecordsGoWhenATopicIsFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const kept = 8 << 20
	k := startKafka(t, KafkaOptions{Dir: dir, AutoCreate: true, Partitions: 2, TopicBytes: kept})
	filler := strings.Repeat("x", 64<<10)
	lines := make([]string, 80)
	for round := range 5 { // 5 MB each
		for i := range lines {
			lines[i] = fmt.Sprintf("%d %d %s", round, i, filler)
		}
		produce(t, k, "big", lines...)
	}
	k.Cluster().ApplyRetention()
	records, err := k.Records(t.Context(), "big")
	if err != nil {
		t.Fatal(err)
	}
	if n := int64(len(records)) * int64(len(filler)); n == 0 || n > kept {
		t.Errorf("the topic keeps %d bytes, want some and at most %d", n, kept)
	}
	var disk int64
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		disk += info.Size()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if disk > 2*kept {
		t.Errorf("the topic takes %d bytes of disk, want at most twice the %d it may keep", disk, kept)
	}
}
