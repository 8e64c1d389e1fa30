package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"
)

// Where the configuration is looked for when no --config names one.
const (
	configHere   = "./conf/app.cfg"
	configSystem = "/etc/logagent/app.cfg"
)

// secret is a password. It never shows itself in a log or a message.
type secret string

func (secret) String() string       { return "(secret)" }
func (secret) GoString() string     { return "(secret)" }
func (secret) LogValue() slog.Value { return slog.StringValue("(secret)") }

// settings is the INI file with every default filled in. Paths are as they stand in the
// file, relative ones relative to the working directory.
type settings struct {
	path string // the file; "" where there is none

	EtcdAddrs    []string
	EtcdTimeout  time.Duration // of one request
	EtcdWatchKey string        // with one %s for the host id
	EtcdUser     string
	EtcdPassword secret
	EtcdTLS      *tls.Config // nil: none
	HistoryKeep  int         // changes of each document that are kept
	HistoryDays  int         // for how long at most

	KafkaAddrs        []string
	ThreadNum         int // sender connections per broker
	KafkaCompression  string
	KafkaTLS          *tls.Config // nil: none
	KafkaMechanism    string      // "" none
	KafkaUser         string
	KafkaPassword     secret
	Headers           []string
	StatusTopic       string
	Host              string   // "" the host name and the local addresses
	Groups            []string // whose documents are followed too, in order of precedence
	StateDir          string
	PollInterval      time.Duration
	RotateWait        time.Duration
	DeletedMaxBytes   int64 // that deleted files may keep of the disk while they are read; 0: no bound
	DeletedMinFree    int   // percent of a file system below which they are given up; 0: never
	DrainTimeout      time.Duration
	MaxLineBytes      int64
	InFlightBytes     int64
	AllowPaths        []string // globs; empty: everything
	Log               string
	Level             slog.Level
	LogMaxSizeBytes   int64
	LogKeep           int // rotated logs kept
	passwordFiles     [2]string
	etcdPEM, kafkaPEM pemFiles

	lines    []iniLine // as they were read
	warnings []string  // said on stderr at the start
}

// pemFiles names the files that TLS is made of.
type pemFiles struct{ ca, cert, key string }

// defaultSettings is what an empty file means.
func defaultSettings() settings {
	return settings{
		EtcdAddrs:        []string{"127.0.0.1:2379"},
		EtcdTimeout:      5 * time.Second,
		EtcdWatchKey:     "/logagent/%s/logconfig",
		HistoryKeep:      50,
		HistoryDays:      180,
		KafkaAddrs:       []string{"127.0.0.1:9092"},
		ThreadNum:        4,
		KafkaCompression: "none",
		Headers:          []string{"host", "service", "path"},
		StatusTopic:      "logagent-status",
		StateDir:         "./state",
		PollInterval:     200 * time.Millisecond,
		RotateWait:       time.Minute,
		DeletedMinFree:   5,
		DrainTimeout:     10 * time.Second,
		MaxLineBytes:     1_000_000,
		InFlightBytes:    64 << 20,
		Log:              "./log/logagent.log",
		Level:            slog.LevelInfo,
		LogMaxSizeBytes:  100 << 20,
		LogKeep:          5,
	}
}

// findConfig returns the file that --config names, or the first of the usual ones.
func findConfig(named string) (string, error) {
	if named != "" {
		return named, nil
	}
	for _, path := range []string{configHere, configSystem} {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("configuration: %w", err)
		}
	}
	return "", fmt.Errorf("no configuration: neither %s nor %s exists; copy the example conf/app.cfg to one of them, or name a file with --config PATH", configHere, configSystem)
}

// loadSettings reads the file at path. What is odd comes back as warnings in the order of
// the file; what is wrong as one error with a line for every problem. Both name file, line
// and key.
func loadSettings(path string, getenv func(string) string) (settings, []string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return settings{}, nil, fmt.Errorf("configuration: %w", err)
	}
	s, warnings, err := readSettings(path, data)
	if err != nil {
		return settings{}, warnings, err
	}
	if err := s.readSecrets(getenv); err != nil {
		return settings{}, warnings, err
	}
	return s, warnings, nil
}

// readSettings is loadSettings without the secrets of files and environment.
func readSettings(path string, data []byte) (settings, []string, error) {
	s := defaultSettings()
	s.path = path
	lines, problems, oddities := parseINI(data)
	s.lines = lines

	known := make(map[string]key)
	for _, k := range keys() {
		known[k.name] = k
	}
	for _, l := range lines {
		k, ok := known[l.key]
		if !ok {
			oddities = append(oddities, problem{l.number, unknownKey(l.key)})
			continue
		}
		if err := k.read(&s, l.value); err != nil {
			shown := ""
			if !k.secret {
				shown = " = " + shorten(string(l.value))
			}
			problems = append(problems, problem{l.number, fmt.Sprintf("%s%s: %v", l.key, shown, err)})
		}
	}
	if len(problems) == 0 {
		problems = s.check()
	}
	return s, inFile(path, oddities), joined(inFile(path, problems))
}

// inFile puts file and line before each problem.
func inFile(path string, problems []problem) []string {
	slices.SortStableFunc(problems, func(a, b problem) int { return cmp.Compare(a.line, b.line) })
	var out []string
	for _, p := range problems {
		if p.line == 0 {
			out = append(out, fmt.Sprintf("%s: %s", path, p.text))
			continue
		}
		out = append(out, fmt.Sprintf("%s:%d: %s", path, p.line, p.text))
	}
	return out
}

// joined makes one error of all lines; nil of none.
func joined(lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	return errors.New(strings.Join(lines, "\n"))
}

// check finds what is wrong between keys, each problem at the line of the key to change,
// and loads the files that TLS is made of.
func (s *settings) check() []problem {
	var out []problem
	wrong := func(name, format string, args ...any) {
		out = append(out, problem{s.lineOf(name), name + ": " + fmt.Sprintf(format, args...)})
	}
	if s.InFlightBytes < 4*s.MaxLineBytes {
		wrong("in_flight_bytes", "%d bytes hold less than four lines of max_line_bytes (%d)", s.InFlightBytes, s.MaxLineBytes)
	}
	if s.EtcdPassword != "" && s.passwordFiles[0] != "" {
		wrong("etcd_password", "etcd_password_file is set too: keep one of them")
	}
	if s.KafkaPassword != "" && s.passwordFiles[1] != "" {
		wrong("kafka_sasl_password", "kafka_sasl_password_file is set too: keep one of them")
	}
	if s.KafkaMechanism == "" && s.KafkaUser != "" {
		wrong("kafka_sasl_user", "does nothing without kafka_sasl_mechanism (one of %s)", strings.Join(saslMechanisms(), " "))
	}
	if s.KafkaMechanism != "" && s.KafkaUser == "" {
		wrong("kafka_sasl_mechanism", "needs kafka_sasl_user")
	}
	var err error
	var at string
	if s.EtcdTLS, at, err = s.etcdPEM.load(); err != nil {
		wrong("etcd_"+at, "%v", err)
	}
	if s.KafkaTLS, at, err = s.kafkaPEM.load(); err != nil {
		wrong("kafka_tls_"+at, "%v", err)
	}
	return out
}

// lineOf is where the file sets a key; 0 where it does not.
func (s *settings) lineOf(name string) int {
	for _, l := range s.lines {
		if l.key == name {
			return l.number
		}
	}
	return 0
}

// changedKeys names the keys that two readings of the file set differently.
func changedKeys(old, new *settings) []string {
	before, after := make(map[string]iniValue), make(map[string]iniValue)
	for _, l := range old.lines {
		before[l.key] = l.value
	}
	for _, l := range new.lines {
		after[l.key] = l.value
	}
	var out []string
	for _, k := range keys() {
		a, hadIt := before[k.name]
		b, hasIt := after[k.name]
		if a != b || hadIt != hasIt {
			out = append(out, k.name)
		}
	}
	return out
}
