package kafkaout

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/IBM/sarama"
)

// Options say how to reach a cluster and how to send. The zero value of a field means
// what its comment says.
type Options struct {
	Addrs    []string // host:port of at least one broker
	ClientID string   // "" means logagent
	Host     string   // header host, and the key where an entry asks for partition host

	// Headers are those of host, service, path and offset that records carry, in this
	// order; nil means none.
	Headers []string

	Connections int    // sender connections per broker, each with its own partitions; 0 means 4
	Compression string // none, gzip, snappy, lz4 or zstd; "" means none

	MaxLineBytes int64 // longest line in a Batch; 0 means 1,000,000
	BatchBytes   int64 // uncompressed size at which a record batch is full; 0 means 900,000
	RequestBytes int64 // uncompressed size at which a request is full; 0 means 2,000,000

	Timeout      time.Duration // for connecting, writing and waiting for an answer; 0 means 10s
	RetryMin     time.Duration // first pause after a failure; 0 means 100ms
	RetryMax     time.Duration // longest pause after a failure; 0 means 5s
	RefusedMin   time.Duration // first pause before a refused topic is tried again; 0 means 5s
	RefusedMax   time.Duration // longest of those pauses; 0 means 30s
	SlowAfter    time.Duration // an answer or a retry that takes longer makes a topic slow; 0 means 2s
	AbandonAfter time.Duration // a topic refused that long loses recalled batches of unknown outcome; 0 means 1m

	TLS  *tls.Config // nil means plain TCP
	SASL *SASL       // nil means none
	Log  *slog.Logger
}

// SASL is how the agent authenticates.
type SASL struct {
	Mechanism string // PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
	User      string
	Password  string
}

// Names of headers in Options.Headers and in records.
const (
	headerHost    = "host"
	headerService = "service"
	headerPath    = "path"
	headerOffset  = "offset"
	headerPart    = "part"
	headerParts   = "parts"
)

// largestLine keeps any request far below sarama.MaxRequestSize (100 MiB).
const largestLine = 50_000_000

var codecs = map[string]sarama.CompressionCodec{
	"":       sarama.CompressionNone,
	"none":   sarama.CompressionNone,
	"gzip":   sarama.CompressionGZIP,
	"snappy": sarama.CompressionSnappy,
	"lz4":    sarama.CompressionLZ4,
	"zstd":   sarama.CompressionZSTD,
}

// withDefaults checks the options, naming every problem, and fills in the defaults.
func (o Options) withDefaults() (Options, error) {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if len(o.Addrs) == 0 {
		bad("no Kafka address given: want host:port, for example 10.1.2.3:9092")
	}
	for _, a := range o.Addrs {
		if _, port, err := net.SplitHostPort(a); err != nil || port == "" {
			bad("Kafka address %q: want host:port, for example 10.1.2.3:9092", a)
		}
	}
	if o.Host == "" {
		bad("no host id given")
	}
	known := []string{headerHost, headerService, headerPath, headerOffset}
	for i, h := range o.Headers {
		switch {
		case !slices.Contains(known, h):
			bad("header %q is not known: want some of %s", h, strings.Join(known, ", "))
		case slices.Contains(o.Headers[:i], h):
			bad("header %q is named twice", h)
		}
	}
	if _, ok := codecs[o.Compression]; !ok {
		bad("compression %q is not known: want none, gzip, snappy, lz4 or zstd", o.Compression)
	}
	if o.Connections < 0 || o.Connections > 64 {
		bad("%d connections per broker: want 1 to 64", o.Connections)
	}
	if o.MaxLineBytes < 0 || o.MaxLineBytes > largestLine {
		bad("lines of %d bytes: want 1 to %d", o.MaxLineBytes, largestLine)
	}
	if s := o.SASL; s != nil {
		switch s.Mechanism {
		case sarama.SASLTypePlaintext, sarama.SASLTypeSCRAMSHA256, sarama.SASLTypeSCRAMSHA512:
		default:
			bad("SASL mechanism %q is not known: want PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", s.Mechanism)
		}
		if s.User == "" {
			bad("SASL without a user")
		}
	}
	if err := errors.Join(problems...); err != nil {
		return Options{}, err
	}
	orString(&o.ClientID, "logagent")
	orNumber(&o.Connections, 4)
	orNumber(&o.MaxLineBytes, 1_000_000)
	orNumber(&o.BatchBytes, 900_000)
	orNumber(&o.RequestBytes, 2_000_000)
	orNumber(&o.Timeout, 10*time.Second)
	orNumber(&o.RetryMin, 100*time.Millisecond)
	orNumber(&o.RetryMax, 5*time.Second)
	orNumber(&o.RefusedMin, 5*time.Second)
	orNumber(&o.RefusedMax, 30*time.Second)
	orNumber(&o.SlowAfter, 2*time.Second)
	orNumber(&o.AbandonAfter, time.Minute)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

func orString(p *string, def string) {
	if *p == "" {
		*p = def
	}
}

func orNumber[T int | int64 | time.Duration](p *T, def T) {
	if *p == 0 {
		*p = def
	}
}
