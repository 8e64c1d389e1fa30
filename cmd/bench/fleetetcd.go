package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"logagent/internal/lab"
)

// How bench runs itself as the servers of a fleet.
const (
	fleetEtcdVerb  = "fleet-etcd"
	fleetKafkaVerb = "fleet-kafka"
)

// served is what a server says first.
type served struct {
	Addr string `json:"addr"`
}

// fleetEtcdMain is the process of etcd.
func fleetEtcdMain(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("bench "+fleetEtcdVerb, flag.ContinueOnError)
	dir := flags.String("dir", "", "folder of its data")
	clients := flags.Int("clients", 100, "connections it must take")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := allowFiles(*clients); err != nil {
		return err
	}
	etcd, err := lab.StartEtcd(lab.EtcdOptions{Dir: *dir})
	if err != nil {
		return err
	}
	defer etcd.Close() // its folder is its caller's
	return serveOrders(ctx, in, out, served{etcd.Addr()}, nil)
}

// fleetTopicBytes bounds the status topic: 10,000 hosts write some 1.3 MB a second, and a
// console reads the last 75 s.
const fleetTopicBytes = 400 << 20

// fleetKafkaMain is the process of Kafka.
func fleetKafkaMain(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("bench "+fleetKafkaVerb, flag.ContinueOnError)
	dir := flags.String("dir", "", "folder of its data")
	if err := flags.Parse(args); err != nil {
		return err
	}
	kafka, err := lab.StartKafka(lab.KafkaOptions{Dir: *dir, TopicBytes: fleetTopicBytes})
	if err != nil {
		return err
	}
	defer kafka.Close() // as above
	return serveOrders(ctx, in, out, served{kafka.Addrs()[0]}, nil)
}

// etcdCounts is what etcd tells of itself: counters since its start, and sizes.
type etcdCounts struct {
	at        time.Time
	renewals  float64 // of leases
	grants    float64
	puts      float64 // keys written, alone or in transactions
	deletes   float64
	ranges    float64 // reads
	txns      float64 // of several operations
	putBytes  float64 // keys and values
	events    float64 // sent to watches
	watches   float64
	streams   float64 // connections' watch streams
	dbBytes   float64
	usedBytes float64 // of dbBytes
}

// names of the counts in etcd's own metrics.
func (c *etcdCounts) names() map[string]*float64 {
	return map[string]*float64{
		"etcd_debugging_lease_renewed_total":          &c.renewals,
		"etcd_debugging_lease_granted_total":          &c.grants,
		"etcd_mvcc_put_total":                         &c.puts,
		"etcd_mvcc_delete_total":                      &c.deletes,
		"etcd_mvcc_range_total":                       &c.ranges,
		"etcd_mvcc_txn_total":                         &c.txns,
		"etcd_debugging_mvcc_total_put_size_in_bytes": &c.putBytes,
		"etcd_debugging_mvcc_events_total":            &c.events,
		"etcd_debugging_mvcc_watcher_total":           &c.watches,
		"etcd_debugging_mvcc_watch_stream_total":      &c.streams,
		"etcd_mvcc_db_total_size_in_bytes":            &c.dbBytes,
		"etcd_mvcc_db_total_size_in_use_in_bytes":     &c.usedBytes,
	}
}

// readEtcdCounts asks an etcd for its metrics.
func readEtcdCounts(ctx context.Context, addr string) (c etcdCounts, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/metrics", nil)
	if err != nil {
		return c, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return c, fmt.Errorf("metrics of etcd: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return c, fmt.Errorf("metrics of etcd: %s", res.Status)
	}
	c.at = time.Now()
	return c, c.parse(res.Body)
}

// parse reads the lines "name value"; those of more than one kind have {labels}, and none
// of ours has. One that is missing is an error: a zero would look like a promise kept.
func (c *etcdCounts) parse(in io.Reader) error {
	names := c.names()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		to := names[name]
		if to == nil {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return fmt.Errorf("metrics of etcd: %s: %w", name, err)
		}
		*to = v
		delete(names, name)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("metrics of etcd: %w", err)
	}
	for name := range names {
		return fmt.Errorf("etcd does not tell its %s", name)
	}
	return nil
}
