package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"logagent/etcdcfg"
)

// key is one key of the INI file. conf/app.cfg describes each for people.
type key struct {
	name   string
	secret bool // the value is shown nowhere
	read   func(*settings, iniValue) error
}

// keys is every key there is, in the order of the example file.
func keys() []key {
	return []key{
		{name: "etcd_addr", read: addresses(func(s *settings) *[]string { return &s.EtcdAddrs }, 2379, true)},
		{name: "etcd_timeout", read: duration(func(s *settings) *time.Duration { return &s.EtcdTimeout }, time.Millisecond, time.Hour)},
		{name: "etcd_watch_key", read: readWatchKey},
		{name: "etcd_user", read: text(func(s *settings) *string { return &s.EtcdUser })},
		{name: "etcd_password", secret: true, read: password(func(s *settings) *secret { return &s.EtcdPassword })},
		{name: "etcd_password_file", read: text(func(s *settings) *string { return &s.passwordFiles[0] })},
		{name: "etcd_ca", read: text(func(s *settings) *string { return &s.etcdPEM.ca })},
		{name: "etcd_cert", read: text(func(s *settings) *string { return &s.etcdPEM.cert })},
		{name: "etcd_key", read: text(func(s *settings) *string { return &s.etcdPEM.key })},

		{name: "kafka_addr", read: addresses(func(s *settings) *[]string { return &s.KafkaAddrs }, 9092, false)},
		{name: "thread_num", read: readThreadNum},
		{name: "kafka_compression", read: word(func(s *settings) *string { return &s.KafkaCompression }, "none", "gzip", "snappy", "lz4", "zstd")},
		{name: "headers", read: readHeaders},
		{name: "status_topic", read: readStatusTopic},
		{name: "kafka_tls_ca", read: text(func(s *settings) *string { return &s.kafkaPEM.ca })},
		{name: "kafka_tls_cert", read: text(func(s *settings) *string { return &s.kafkaPEM.cert })},
		{name: "kafka_tls_key", read: text(func(s *settings) *string { return &s.kafkaPEM.key })},
		{name: "kafka_sasl_mechanism", read: readMechanism},
		{name: "kafka_sasl_user", read: text(func(s *settings) *string { return &s.KafkaUser })},
		{name: "kafka_sasl_password", secret: true, read: password(func(s *settings) *secret { return &s.KafkaPassword })},
		{name: "kafka_sasl_password_file", read: text(func(s *settings) *string { return &s.passwordFiles[1] })},

		{name: "host", read: readHost},
		{name: "state_dir", read: filled(func(s *settings) *string { return &s.StateDir })},
		{name: "allow_paths", read: readAllowPaths},
		{name: "poll_interval", read: duration(func(s *settings) *time.Duration { return &s.PollInterval }, 10*time.Millisecond, time.Minute)},
		{name: "rotate_wait", read: duration(func(s *settings) *time.Duration { return &s.RotateWait }, time.Millisecond, 24*time.Hour)},
		{name: "drain_timeout", read: duration(func(s *settings) *time.Duration { return &s.DrainTimeout }, time.Millisecond, time.Hour)},
		{name: "max_line_bytes", read: size(func(s *settings) *int64 { return &s.MaxLineBytes }, 16, 50_000_000)},
		{name: "in_flight_bytes", read: size(func(s *settings) *int64 { return &s.InFlightBytes }, 1<<20, 16<<30)},

		{name: "log", read: filled(func(s *settings) *string { return &s.Log })},
		{name: "level", read: readLevel},
		{name: "log_max_size", read: size(func(s *settings) *int64 { return &s.LogMaxSizeBytes }, 1<<20, 1<<40)},
		{name: "log_keep", read: readLogKeep},
	}
}

var errNoValue = errors.New("has no value; leave the line out for the default")

// text takes any value, also none.
func text(field func(*settings) *string) func(*settings, iniValue) error {
	return func(s *settings, v iniValue) (err error) {
		*field(s), err = v.scalar()
		return err
	}
}

// filled takes any value but none.
func filled(field func(*settings) *string) func(*settings, iniValue) error {
	return func(s *settings, v iniValue) error {
		one, err := v.scalar()
		if err != nil {
			return err
		}
		if one == "" {
			return errNoValue
		}
		*field(s) = one
		return nil
	}
}

func password(field func(*settings) *secret) func(*settings, iniValue) error {
	return func(s *settings, v iniValue) error {
		one, err := v.scalar()
		*field(s) = secret(one)
		return err
	}
}

// word takes one of a few words.
func word(field func(*settings) *string, words ...string) func(*settings, iniValue) error {
	return func(s *settings, v iniValue) error {
		one, err := v.scalar()
		if err != nil {
			return err
		}
		one = strings.ToLower(one)
		if !slices.Contains(words, one) {
			return fmt.Errorf("must be one of %s", strings.Join(words, " "))
		}
		*field(s) = one
		return nil
	}
}

// addresses takes a list of host:port; with schemes also http:// and https:// before them.
func addresses(field func(*settings) *[]string, port int, schemes bool) func(*settings, iniValue) error {
	return func(s *settings, v iniValue) error {
		list, err := v.list()
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return errNoValue
		}
		for _, a := range list {
			bare := a
			if schemes {
				bare = strings.TrimPrefix(strings.TrimPrefix(a, "http://"), "https://")
			}
			host, number, err := net.SplitHostPort(bare)
			if err != nil && strings.Contains(err.Error(), "missing port") {
				return fmt.Errorf("%s has no port; the usual one is %s:%d", a, bare, port)
			}
			if n, bad := strconv.Atoi(number); err != nil || bad != nil || n < 1 || n > 65535 || host == "" || strings.ContainsAny(host, " \t/") {
				return fmt.Errorf("%s is not host:port (several are separated by commas)", shorten(a))
			}
		}
		*field(s) = list
		return nil
	}
}

// duration takes 10s, 200ms, 1h30m, or a bare number of seconds.
func duration(field func(*settings) *time.Duration, least, most time.Duration) func(*settings, iniValue) error {
	return func(s *settings, v iniValue) error {
		one, err := v.scalar()
		if err != nil {
			return err
		}
		if one == "" {
			return errNoValue
		}
		d, err := time.ParseDuration(one)
		if n, bad := strconv.ParseFloat(one, 64); bad == nil && math.Abs(n) < 1e9 {
			d, err = time.Duration(n*float64(time.Second)), nil
		}
		if err != nil {
			return errors.New("is not a time; write 5 (seconds), 200ms, 10s or 2m")
		}
		if d < least || d > most {
			return fmt.Errorf("must be from %s to %s", least, most)
		}
		*field(s) = d
		return nil
	}
}

var sizeForm = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)$`)

// size takes bytes, or a number with one of kB MB GB (thousands) and KiB MiB GiB (1024s).
func size(field func(*settings) *int64, least, most int64) func(*settings, iniValue) error {
	return func(s *settings, v iniValue) error {
		one, err := v.scalar()
		if err != nil {
			return err
		}
		if one == "" {
			return errNoValue
		}
		units := map[string]float64{"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
		parts := sizeForm.FindStringSubmatch(one)
		if parts == nil || units[strings.ToLower(parts[2])] == 0 {
			return errors.New("is not a size; write bytes, or a number with kB, MB, KiB or MiB, like 64 MiB")
		}
		number, err := strconv.ParseFloat(parts[1], 64)
		bytes := number * units[strings.ToLower(parts[2])]
		if err != nil || bytes < float64(least) || bytes > float64(most) {
			return fmt.Errorf("must be from %d to %d bytes", least, most)
		}
		*field(s) = int64(bytes)
		return nil
	}
}

// number takes a whole number in a range.
func number(v iniValue, least, most int) (int, error) {
	one, err := v.scalar()
	if err != nil {
		return 0, err
	}
	if one == "" {
		return 0, errNoValue
	}
	n, err := strconv.Atoi(one)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("must be a whole number from %d to %d", least, most)
	}
	return n, nil
}

func readThreadNum(s *settings, v iniValue) (err error) {
	s.ThreadNum, err = number(v, 1, 64)
	return err
}

func readLogKeep(s *settings, v iniValue) (err error) {
	s.LogKeep, err = number(v, 1, 1000)
	return err
}

func readWatchKey(s *settings, v iniValue) error {
	one, err := v.scalar()
	if err != nil {
		return err
	}
	if _, err := etcdcfg.ParsePattern(one); err != nil {
		return err
	}
	s.EtcdWatchKey = one
	return nil
}

func readHeaders(s *settings, v iniValue) error {
	list, err := v.list()
	if err != nil {
		return err
	}
	for i, h := range list {
		if !slices.Contains([]string{"host", "service", "path", "offset"}, h) {
			return fmt.Errorf("%s is no header; choose of host, service, path, offset", shorten(h))
		}
		if slices.Contains(list[:i], h) {
			return fmt.Errorf("%s stands twice", h)
		}
	}
	s.Headers = list
	return nil
}

var legalTopic = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

func readStatusTopic(s *settings, v iniValue) error {
	one, err := v.scalar()
	if err != nil {
		return err
	}
	if !legalTopic.MatchString(one) || one == "." || one == ".." {
		return errors.New("is not a Kafka topic name: letters, digits, . _ and -, at most 249")
	}
	s.StatusTopic = one
	return nil
}

// saslMechanisms is what kafka_sasl_mechanism may be.
func saslMechanisms() []string { return []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} }

func readMechanism(s *settings, v iniValue) error {
	one, err := v.scalar()
	if err != nil {
		return err
	}
	one = strings.ToUpper(one)
	if one != "" && !slices.Contains(saslMechanisms(), one) {
		return fmt.Errorf("must be one of %s", strings.Join(saslMechanisms(), " "))
	}
	s.KafkaMechanism = one
	return nil
}

func readHost(s *settings, v iniValue) error {
	one, err := v.scalar()
	if err != nil {
		return err
	}
	if one != "" {
		if err := checkHostID(one); err != nil {
			return err
		}
	}
	s.Host = one
	return nil
}

func readAllowPaths(s *settings, v iniValue) error {
	list, err := v.list()
	if err != nil {
		return err
	}
	for _, glob := range list {
		if !strings.HasPrefix(glob, "/") {
			return fmt.Errorf("%s is not absolute", shorten(glob))
		}
		if !doublestar.ValidatePattern(glob) {
			return fmt.Errorf("%s is not a glob", shorten(glob))
		}
	}
	s.AllowPaths = list
	return nil
}

func readLevel(s *settings, v iniValue) error {
	one, err := v.scalar()
	if err != nil {
		return err
	}
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[strings.ToLower(one)]
	if !ok {
		return errors.New("must be one of debug info warn error")
	}
	s.Level = level
	return nil
}
