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
		{name: "etcd_watch_key", read: one(readWatchKey)},
		{name: "etcd_user", read: text(func(s *settings) *string { return &s.EtcdUser })},
		{name: "etcd_password", secret: true, read: password(func(s *settings) *secret { return &s.EtcdPassword })},
		{name: "etcd_password_file", read: text(func(s *settings) *string { return &s.passwordFiles[0] })},
		{name: "etcd_ca", read: text(func(s *settings) *string { return &s.etcdPEM.ca })},
		{name: "etcd_cert", read: text(func(s *settings) *string { return &s.etcdPEM.cert })},
		{name: "etcd_key", read: text(func(s *settings) *string { return &s.etcdPEM.key })},
		{name: "history_keep", read: whole(func(s *settings) *int { return &s.HistoryKeep }, 10, 10_000)},
		{name: "history_days", read: whole(func(s *settings) *int { return &s.HistoryDays }, 1, 36_500)},

		{name: "kafka_addr", read: addresses(func(s *settings) *[]string { return &s.KafkaAddrs }, 9092, false)},
		{name: "thread_num", read: whole(func(s *settings) *int { return &s.ThreadNum }, 1, 64)},
		{name: "kafka_compression", read: word(func(s *settings) *string { return &s.KafkaCompression }, "none", "gzip", "snappy", "lz4", "zstd")},
		{name: "headers", read: readHeaders},
		{name: "status_topic", read: one(readStatusTopic)},
		{name: "kafka_tls_ca", read: text(func(s *settings) *string { return &s.kafkaPEM.ca })},
		{name: "kafka_tls_cert", read: text(func(s *settings) *string { return &s.kafkaPEM.cert })},
		{name: "kafka_tls_key", read: text(func(s *settings) *string { return &s.kafkaPEM.key })},
		{name: "kafka_sasl_mechanism", read: one(readMechanism)},
		{name: "kafka_sasl_user", read: text(func(s *settings) *string { return &s.KafkaUser })},
		{name: "kafka_sasl_password", secret: true, read: password(func(s *settings) *secret { return &s.KafkaPassword })},
		{name: "kafka_sasl_password_file", read: text(func(s *settings) *string { return &s.passwordFiles[1] })},

		{name: "host", read: one(readHost)},
		{name: "groups", read: readGroups},
		{name: "state_dir", read: filled(func(s *settings) *string { return &s.StateDir })},
		{name: "allow_paths", read: readAllowPaths},
		{name: "poll_interval", read: duration(func(s *settings) *time.Duration { return &s.PollInterval }, 10*time.Millisecond, time.Minute)},
		{name: "rotate_wait", read: duration(func(s *settings) *time.Duration { return &s.RotateWait }, time.Millisecond, 24*time.Hour)},
		{name: "deleted_max", read: size(func(s *settings) *int64 { return &s.DeletedMaxBytes }, 0, 1<<50)},
		{name: "deleted_min_free", read: percent(func(s *settings) *int { return &s.DeletedMinFree }, 50)},
		{name: "drain_timeout", read: duration(func(s *settings) *time.Duration { return &s.DrainTimeout }, time.Millisecond, time.Hour)},
		{name: "max_line_bytes", read: size(func(s *settings) *int64 { return &s.MaxLineBytes }, 16, 50_000_000)},
		{name: "in_flight_bytes", read: size(func(s *settings) *int64 { return &s.InFlightBytes }, 1<<20, 16<<30)},

		{name: "log", read: filled(func(s *settings) *string { return &s.Log })},
		{name: "level", read: one(readLevel)},
		{name: "log_max_size", read: size(func(s *settings) *int64 { return &s.LogMaxSizeBytes }, 1<<20, 1<<40)},
		{name: "log_keep", read: whole(func(s *settings) *int { return &s.LogKeep }, 1, 1000)},
	}
}

var errNoValue = errors.New("has no value; leave the line out for the default")

// one takes a single value, also none.
func one(take func(*settings, string) error) func(*settings, iniValue) error {
	return func(s *settings, v iniValue) error {
		value, err := v.scalar()
		if err != nil {
			return err
		}
		return take(s, value)
	}
}

// some takes a single value but none.
func some(take func(*settings, string) error) func(*settings, iniValue) error {
	return one(func(s *settings, value string) error {
		if value == "" {
			return errNoValue
		}
		return take(s, value)
	})
}

// text takes any value, also none.
func text(field func(*settings) *string) func(*settings, iniValue) error {
	return one(func(s *settings, value string) error {
		*field(s) = value
		return nil
	})
}

// filled takes any value but none.
func filled(field func(*settings) *string) func(*settings, iniValue) error {
	return some(func(s *settings, value string) error {
		*field(s) = value
		return nil
	})
}

func password(field func(*settings) *secret) func(*settings, iniValue) error {
	return one(func(s *settings, value string) error {
		*field(s) = secret(value)
		return nil
	})
}

// word takes one of a few words.
func word(field func(*settings) *string, words ...string) func(*settings, iniValue) error {
	return one(func(s *settings, value string) error {
		value = strings.ToLower(value)
		if !slices.Contains(words, value) {
			return fmt.Errorf("must be one of %s", strings.Join(words, " "))
		}
		*field(s) = value
		return nil
	})
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
	return some(func(s *settings, value string) error {
		d, err := time.ParseDuration(value)
		if n, bad := strconv.ParseFloat(value, 64); bad == nil && math.Abs(n) < 1e9 {
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
	})
}

var sizeForm = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)$`)

// size takes bytes, or a number with one of kB MB GB (thousands) and KiB MiB GiB (1024s).
func size(field func(*settings) *int64, least, most int64) func(*settings, iniValue) error {
	return some(func(s *settings, value string) error {
		n, err := parseSize(value, least, most)
		if err != nil {
			return err
		}
		*field(s) = n
		return nil
	})
}

func parseSize(value string, least, most int64) (int64, error) {
	units := map[string]float64{"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
	parts := sizeForm.FindStringSubmatch(value)
	if parts == nil || units[strings.ToLower(parts[2])] == 0 {
		return 0, errors.New("is not a size; write bytes, or a number with kB, MB, KiB or MiB, like 64 MiB")
	}
	number, err := strconv.ParseFloat(parts[1], 64)
	bytes := number * units[strings.ToLower(parts[2])]
	if err != nil || bytes < float64(least) || bytes > float64(most) {
		return 0, fmt.Errorf("must be from %d to %d bytes", least, most)
	}
	return int64(bytes), nil
}

// whole takes a whole number in a range.
func whole(field func(*settings) *int, least, most int) func(*settings, iniValue) error {
	return some(func(s *settings, value string) error {
		n, err := strconv.Atoi(value)
		if err != nil || n < least || n > most {
			return fmt.Errorf("must be a whole number from %d to %d", least, most)
		}
		*field(s) = n
		return nil
	})
}

// percent takes a whole number from 0 to most, with or without its sign.
func percent(field func(*settings) *int, most int) func(*settings, iniValue) error {
	return some(func(s *settings, value string) error {
		n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(value, "%")))
		if err != nil || n < 0 || n > most {
			return fmt.Errorf("must be a whole number of percent from 0 to %d", most)
		}
		*field(s) = n
		return nil
	})
}

func readWatchKey(s *settings, value string) error {
	if _, err := etcdcfg.ParsePattern(value); err != nil {
		return err
	}
	s.EtcdWatchKey = value
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

func readStatusTopic(s *settings, value string) error {
	if !legalTopic.MatchString(value) || value == "." || value == ".." {
		return errors.New("is not a Kafka topic name: letters, digits, . _ and -, at most 249")
	}
	s.StatusTopic = value
	return nil
}

// saslMechanisms is what kafka_sasl_mechanism may be.
func saslMechanisms() []string { return []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} }

func readMechanism(s *settings, value string) error {
	value = strings.ToUpper(value)
	if value != "" && !slices.Contains(saslMechanisms(), value) {
		return fmt.Errorf("must be one of %s", strings.Join(saslMechanisms(), " "))
	}
	s.KafkaMechanism = value
	return nil
}

func readHost(s *settings, value string) error {
	if value != "" {
		if err := checkHostID(value); err != nil {
			return err
		}
	}
	s.Host = value
	return nil
}

// maxGroups bounds the groups of a host: each is a key that it follows.
const maxGroups = 32

func readGroups(s *settings, v iniValue) error {
	list, err := v.list()
	if err != nil {
		return err
	}
	for i, g := range list {
		if bare := strings.TrimPrefix(g, "@"); bare != g {
			return fmt.Errorf("%s: a group stands here without its @: %s", shorten(g), bare)
		}
		if strings.Contains(g, ",") {
			return fmt.Errorf("%s holds a comma: quotes keep it from separating", shorten(g))
		}
		if err := checkHostID(g); err != nil {
			return fmt.Errorf("%s is no group: its name %w; an example: web, fra", shorten(g), err)
		}
		if slices.Contains(list[:i], g) {
			return fmt.Errorf("%s stands twice: name each group once", shorten(g))
		}
	}
	if len(list) > maxGroups {
		return fmt.Errorf("%d groups are too many; a host belongs to %d at most", len(list), maxGroups)
	}
	s.Groups = list
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

func readLevel(s *settings, value string) error {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[strings.ToLower(value)]
	if !ok {
		return errors.New("must be one of debug info warn error")
	}
	s.Level = level
	return nil
}
