package kraft

import (
	_ "embed" // for pom.xml
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Variables that decide whether tests of real Kafka run, and on which.
const (
	envWanted  = "LOGAGENT_KAFKA"   // real: start one
	envAddr    = "KAFKA_ADDR"       // host:port,…: that cluster, which is not to be stopped
	envRequire = "LOGAGENT_REQUIRE" // suites that must not be skipped, among them kafka
)

//go:embed pom.xml
var pom string

// Version is that of the Kafka started.
func Version() string {
	m := regexp.MustCompile(`<kafka\.version>(.*)</kafka\.version>`).FindStringSubmatch(pom)
	if m == nil {
		return ""
	}
	return m[1]
}

// Asked skips the test where nobody asked for real Kafka, and fails it where that must not
// be. It returns the addresses of the existing cluster that is to be used; none: one is to
// be started.
func Asked(t testing.TB) (existing []string) {
	t.Helper()
	addrs, ask, required := os.Getenv(envAddr), os.Getenv(envWanted), isRequired(os.Getenv(envRequire))
	switch {
	case addrs != "":
		return strings.Split(strings.ReplaceAll(addrs, " ", ""), ",")
	case ask == "real":
		return nil
	case required:
		t.Fatalf("real Kafka must run (%s names kafka), and neither %s=real nor %s is set", envRequire, envWanted, envAddr)
	}
	t.Skipf("real Kafka was not asked for: set %s=real to have one started, or %s=host:port to use one", envWanted, envAddr)
	return nil
}

func isRequired(list string) bool {
	return slices.Contains(strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }), "kafka")
}

// home finds java and the folder that fetch.sh filled.
func home() (java, classPath string, err error) {
	if java, err = exec.LookPath("java"); err != nil {
		return "", "", fmt.Errorf("kafka %s needs a Java runtime of version 17 or later: %w", Version(), err)
	}
	cache, err := os.UserCacheDir() // XDG_CACHE_HOME, else ~/.cache, as in fetch.sh
	if err != nil {
		return "", "", err
	}
	dir := filepath.Join(cache, "logagent", "kafka-"+Version())
	if _, err := os.Stat(filepath.Join(dir, "complete")); errors.Is(err, fs.ErrNotExist) {
		return "", "", fmt.Errorf("no Kafka %s in %s: run internal/kraft/fetch.sh first", Version(), dir)
	} else if err != nil {
		return "", "", err
	}
	return java, filepath.Join(dir, "lib", "*"), nil
}
