package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const exampleFile = "../../conf/app.cfg"

func noEnv(string) string { return "" }

func TestExampleHoldsEveryKeyAndEveryDefault(t *testing.T) {
	t.Parallel()
	s, warnings, err := loadSettings(exampleFile, noEnv)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("error %v, warnings %q", err, warnings)
	}
	var want, got []string
	for _, k := range keys() {
		want = append(want, k.name)
	}
	for _, l := range s.lines {
		got = append(got, l.key)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Errorf("keys of the example\nwant %q\ngot  %q", want, got)
	}
	s.path, s.lines = "", nil
	if d := defaultSettings(); !reflect.DeepEqual(s, d) {
		t.Errorf("the example sets something else than the defaults:\nwant %+v\ngot  %+v", d, s)
	}
}

func TestBoundsOfDeletedFilesReachTheAgent(t *testing.T) {
	t.Parallel()
	s, _, err := readSettings("f", []byte("deleted_max = 3 MiB\ndeleted_min_free = 7%"))
	if err != nil {
		t.Fatal(err)
	}
	if o := s.agentOptions("h", nil, nil, nil); o.DeletedMaxBytes != 3<<20 || o.DeletedMinFree != 7 {
		t.Errorf("want 3 MiB and 7 percent, got %d and %d", o.DeletedMaxBytes, o.DeletedMinFree)
	}
}

func TestOriginalFileIsTakenAsItIs(t *testing.T) {
	t.Parallel()
	text := "etcd_addr = 10.134.123.183:2379          # etcd address\n" +
		"etcd_timeout = 5                         # seconds\n" +
		"etcd_watch_key = /logagent/%s/logconfig  # key pattern\n" +
		"kafka_addr = 10.134.123.183:9092         # kafka address\n" +
		"thread_num = 4                           # sender connections\n" +
		"log = ./log/logagent.log                 # the agent's own log\n" +
		"level = debug                            # debug info warn error\n"
	s, warnings, err := readSettings("app.cfg", []byte(strings.ReplaceAll("\ufeff"+text, "\n", "\r\n")))
	if err != nil || len(warnings) > 0 {
		t.Fatalf("error %v, warnings %q", err, warnings)
	}
	want := defaultSettings()
	want.path, want.lines = "app.cfg", s.lines
	want.EtcdAddrs, want.KafkaAddrs = []string{"10.134.123.183:2379"}, []string{"10.134.123.183:9092"}
	want.Level = slog.LevelDebug
	if !reflect.DeepEqual(s, want) {
		t.Errorf("\nwant %+v\ngot  %+v", want, s)
	}
}

func TestGoodValues(t *testing.T) {
	t.Parallel()
	for line, holds := range map[string]func(*settings) bool{
		"etcd_addr = a:1, https://b:2,[::1]:3": func(s *settings) bool {
			return slices.Equal(s.EtcdAddrs, []string{"a:1", "https://b:2", "[::1]:3"})
		},
		"etcd_timeout = 0.5":        func(s *settings) bool { return s.EtcdTimeout == 500*time.Millisecond },
		"poll_interval = 50ms":      func(s *settings) bool { return s.PollInterval == 50*time.Millisecond },
		"drain_timeout = 1m30s":     func(s *settings) bool { return s.DrainTimeout == 90*time.Second },
		"deleted_max = 2 GiB":       func(s *settings) bool { return s.DeletedMaxBytes == 2<<30 },
		"deleted_max = 0":           func(s *settings) bool { return s.DeletedMaxBytes == 0 },
		"deleted_min_free = 12 %":   func(s *settings) bool { return s.DeletedMinFree == 12 },
		"deleted_min_free = 0":      func(s *settings) bool { return s.DeletedMinFree == 0 },
		"rotate_wait = 2":           func(s *settings) bool { return s.RotateWait == 2*time.Second },
		"max_line_bytes = 2 MB":     func(s *settings) bool { return s.MaxLineBytes == 2_000_000 },
		"in_flight_bytes = 1.5GiB":  func(s *settings) bool { return s.InFlightBytes == 3<<29 },
		"in_flight_bytes = 4000kB":  func(s *settings) bool { return s.InFlightBytes == 4_000_000 },
		"headers =":                 func(s *settings) bool { return len(s.Headers) == 0 },
		"headers = offset,path":     func(s *settings) bool { return slices.Equal(s.Headers, []string{"offset", "path"}) },
		"kafka_compression = ZSTD":  func(s *settings) bool { return s.KafkaCompression == "zstd" },
		"level = WARN":              func(s *settings) bool { return s.Level == slog.LevelWarn },
		"host = web-1.fra":          func(s *settings) bool { return s.Host == "web-1.fra" },
		"groups = web, fra-1":       func(s *settings) bool { return slices.Equal(s.Groups, []string{"web", "fra-1"}) },
		"groups =":                  func(s *settings) bool { return s.Groups == nil },
		"allow_paths = /a/{b,c}/**": func(s *settings) bool { return slices.Equal(s.AllowPaths, []string{"/a/{b,c}/**"}) },
		"kafka_tls_ca = system":     func(s *settings) bool { return s.KafkaTLS != nil && s.EtcdTLS == nil },
		"etcd_watch_key = /x/%s/y":  func(s *settings) bool { return s.EtcdWatchKey == "/x/%s/y" },
	} {
		s, warnings, err := readSettings("f", []byte(line))
		if err != nil || len(warnings) > 0 || !holds(&s) {
			t.Errorf("%s: error %v, warnings %q, settings %+v", line, err, warnings, s)
		}
	}
}

func TestBadValueNamesFileLineAndKey(t *testing.T) {
	t.Parallel()
	for line, words := range map[string]string{
		"etcd_addr = 10.0.0.1":            "port",
		"etcd_addr = 10.0.0.1:99999":      "host:port",
		"etcd_addr = a:1 b:2":             "host:port",
		"etcd_addr =":                     "no value",
		"kafka_addr = http://a:1":         "host:port",
		"kafka_addr = :9092":              "host:port",
		"etcd_timeout = soon":             "5 (seconds)",
		"etcd_timeout = 0":                "must be from",
		"etcd_timeout = -1s":              "must be from",
		"etcd_timeout = NaN":              "not a time",
		"etcd_timeout =":                  "no value",
		"etcd_watch_key = /logagent/":     "",
		"etcd_watch_key = /a/%s/%s":       "",
		"etcd_watch_key = /%s/x":          "",
		"etcd_watch_key = /a/x%s/y":       "",
		"thread_num = four":               "whole number",
		"thread_num = 0":                  "from 1",
		"level = loud":                    "debug info warn error",
		"level =":                         "debug info warn error",
		"log =":                           "no value",
		"state_dir = # none":              "no value",
		"host = a/b":                      "/",
		"host = a b":                      "white space",
		"host = @web":                     "@",
		"groups = web, @fra":              "without its @: fra",
		"groups = web, a/b":               "holds a /; an example: web, fra",
		"groups = web, fra, web":          "stands twice",
		"groups = 'a,b'":                  "comma",
		"groups = " + manyGroups(33):      "33 groups are too many; a host belongs to 32",
		"kafka_compression = brotli":      "zstd",
		"headers = host, user":            "user",
		"headers = host, host":            "twice",
		"status_topic = a b":              "topic",
		"max_line_bytes = much":           "size",
		"max_line_bytes = 1":              "must be from",
		"in_flight_bytes = 64 XB":         "size",
		"deleted_max = -1":                "size",
		"deleted_max = 2 PB":              "size",
		"deleted_max =":                   "no value",
		"deleted_min_free = 51":           "percent from 0 to 50",
		"deleted_min_free = -1%":          "percent",
		"deleted_min_free = a few":        "percent",
		"deleted_min_free =":              "no value",
		"allow_paths = var/log/*":         "absolute",
		"allow_paths = /var/log/[":        "glob",
		"log = \"open":                    "quote",
		"kafka_sasl_mechanism = KERBEROS": "PLAIN",
		"kafka_sasl_mechanism = PLAIN":    "kafka_sasl_user",
		"kafka_sasl_user = joe":           "kafka_sasl_mechanism",
		"etcd_ca = /does/not/exist.pem":   "exist.pem",
		"etcd_cert = /some/cert.pem":      "private key",
		"kafka_tls_key = /some/key.pem":   "certificate",
		"in_flight_bytes = 1 MiB":         "max_line_bytes",
		"no equals sign":                  "key = value",
	} {
		_, _, err := readSettings("/etc/f.cfg", []byte("# first\n"+line+"\n"))
		if err == nil {
			t.Errorf("%s: taken", line)
			continue
		}
		name, _, _ := strings.Cut(line, " =")
		if name == "no equals sign" {
			name = ""
		}
		if !strings.HasPrefix(err.Error(), "/etc/f.cfg:2: ") || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: want file, line 2, %q and %q, got: %v", line, name, words, err)
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: want one problem, got: %v", line, err)
		}
	}
}

func TestAllProblemsAndWarningsComeAtOnceInOrder(t *testing.T) {
	t.Parallel()
	_, warnings, err := readSettings("f", []byte("level = loud\nkafka_adr = x:1\nthread_num = x\n[kafka]\netcd_timeout = x\nflavour = sweet\n"))
	want := []string{"f:1: level", "f:3: thread_num", "f:5: etcd_timeout"}
	got := strings.Split(err.Error(), "\n")
	if len(got) != len(want) {
		t.Fatalf("want %d problems, got %q", len(want), got)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("want %s…, got %s", want[i], got[i])
		}
	}
	if len(warnings) != 3 || !strings.HasPrefix(warnings[0], "f:2: ") || !strings.Contains(warnings[0], "did you mean kafka_addr") ||
		!strings.HasPrefix(warnings[1], "f:4: ") || !strings.HasPrefix(warnings[2], "f:6: ") || strings.Contains(warnings[2], "did you mean") {
		t.Errorf("warnings %q", warnings)
	}
}

func TestLikelyMeaningOfUnknownKeys(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"kafka_adr": "kafka_addr", "etcd-addr": "etcd_addr", "Level": "level", "lgo": "log", "thread_nums": "thread_num",
		"kafka_brokers": "kafka_addr", "log_level": "level", "logfile": "log", "state_dri": "state_dir", "hots": "host",
		"kafka_sasl_passwd": "kafka_sasl_password", "colour": "", "x": "", "": "", strings.Repeat("k", 5000): "",
	} {
		if got := nearestKey(name); got != want {
			t.Errorf("%.40s: want %q, got %q", name, want, got)
		}
	}
}

func TestSecretsComeFromFilesAndEnvironmentAndAreShownNowhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "password")
	if err := os.WriteFile(file, []byte("from file \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "app.cfg")
	write := func(text string) {
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := func(values map[string]string) func(string) string { return func(k string) string { return values[k] } }

	write("etcd_user = u\netcd_password_file = " + file + "\nkafka_sasl_mechanism = plain\nkafka_sasl_user = u\nkafka_sasl_password = \"p # 1\"\n")
	s, _, err := loadSettings(config, noEnv)
	if err != nil || s.EtcdPassword != "from file " || s.KafkaPassword != "p # 1" {
		t.Fatalf("error %v, passwords %q %q", err, string(s.EtcdPassword), string(s.KafkaPassword))
	}
	s, _, err = loadSettings(config, env(map[string]string{envEtcdPassword: "e1", envKafkaPassword: "e2"}))
	if err != nil || s.EtcdPassword != "e1" || s.KafkaPassword != "e2" {
		t.Fatalf("the environment wins: error %v, passwords %q %q", err, string(s.EtcdPassword), string(s.KafkaPassword))
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "password", s.KafkaPassword)
	if strings.Contains(log.String(), "e2") {
		t.Errorf("the log shows the password: %s", log.String())
	}

	write("kafka_sasl_mechanism = PLAIN\nkafka_sasl_user = u\netcd_password = \"hush\n")
	if _, _, err = loadSettings(config, noEnv); err == nil || strings.Contains(err.Error(), "hush") || !strings.Contains(err.Error(), ":3: etcd_password") {
		t.Errorf("want line 3 and no password in it, got %v", err)
	}
	write("kafka_sasl_mechanism = PLAIN\nkafka_sasl_user = u\n")
	if _, _, err = loadSettings(config, noEnv); err == nil || !strings.Contains(err.Error(), envKafkaPassword) {
		t.Errorf("want the ways to give a password, got %v", err)
	}
	write("etcd_user = u\netcd_password_file = " + file + ".none\n")
	if _, _, err = loadSettings(config, noEnv); err == nil || !strings.Contains(err.Error(), ":2: etcd_password_file") {
		t.Errorf("want the missing file in line 2, got %v", err)
	}
}

func TestChangedKeysAreNamed(t *testing.T) {
	t.Parallel()
	read := func(text string) *settings {
		s, _, err := readSettings("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return &s
	}
	got := changedKeys(read("level = info\nhost = a\nlog = x # c"), read("level = debug # new\nhost = a # other\nthread_num = 4\n"))
	if want := []string{"thread_num", "log", "level"}; !slices.Equal(got, want) {
		t.Errorf("want %q, got %q", want, got)
	}
}

func manyGroups(n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprint("g", i))
	}
	return strings.Join(out, ",")
}
