package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// requireEnv lists suites that must run; where it names peers, one that is missing is an
// error and not a note in the table.
const requireEnv = "LOGAGENT_REQUIRE"

func peersRequired() bool {
	list := strings.FieldsFunc(os.Getenv(requireEnv), func(r rune) bool { return r == ',' || r == ' ' })
	return slices.Contains(list, "peers")
}

// errNoPeer is wrapped by errors that say why a collector cannot be measured here.
var errNoPeer = errors.New("not measured")

// peerHome is the folder into which peers/fetch.sh has unpacked a collector.
type peerHome string

func findPeer(name string) (peerHome, error) {
	cache, err := os.UserCacheDir() // XDG_CACHE_HOME, else ~/.cache, as in fetch.sh
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "logagent", "peers", name)
	if _, err := os.Stat(filepath.Join(dir, "complete")); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%w: Debian's %s is not in %s; cmd/bench/peers/fetch.sh puts it there", errNoPeer, name, dir)
	} else if err != nil {
		return "", err
	}
	return peerHome(dir), nil
}

// command is how a program of the home is run: with its own libraries, as the process that
// is started and not as a child of it.
func (h peerHome) command(program string, args ...string) []string {
	var dirs []string
	for _, pattern := range []string{"usr/lib/*-linux-gnu*", "lib/*-linux-gnu*", "usr/lib/syslog-ng"} {
		found, err := filepath.Glob(filepath.Join(string(h), pattern))
		if err == nil { // it is not for these patterns
			dirs = append(dirs, found...)
		}
	}
	return slices.Concat([]string{"env", "LD_LIBRARY_PATH=" + strings.Join(dirs, ":"), filepath.Join(string(h), "usr", "sbin", program)}, args)
}

// modules is the one folder that matches.
func (h peerHome) modules(pattern string) (string, error) {
	found, err := filepath.Glob(filepath.Join(string(h), pattern))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%s holds %d of %s instead of one", h, len(found), pattern)
	}
	return found[0], nil
}

// version asks the program itself, and adds the Kafka library that came with it.
func (h peerHome) version(program, flag string) (string, error) {
	c := h.command(program, flag)
	out, err := exec.Command(c[0], c[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s does not start: %v: %s", errNoPeer, program, err, out)
	}
	v, err := parseVersion(program, string(out))
	if err != nil {
		return "", err
	}
	packages, err := os.ReadFile(filepath.Join(string(h), "complete"))
	if err != nil {
		return "", err
	}
	if lib := packageVersion(string(packages), "librdkafka1"); lib != "" {
		v += ", librdkafka " + lib
	}
	return v, nil
}

var versionPatterns = map[string]*regexp.Regexp{
	"rsyslogd":  regexp.MustCompile(`^rsyslogd\s+([0-9][0-9.]*)`),
	"syslog-ng": regexp.MustCompile(`^syslog-ng [0-9]+ \(([0-9][^)]*)\)`),
}

// parseVersion finds the version in what a program says of itself.
func parseVersion(program, said string) (string, error) {
	m := versionPatterns[program].FindStringSubmatch(said)
	if m == nil {
		first, _, _ := strings.Cut(said, "\n")
		return "", fmt.Errorf("no version of %s in %q", program, first)
	}
	return m[1], nil
}

// packageVersion is the upstream version of a package in the list that fetch.sh leaves;
// "" when it is not there.
func packageVersion(list, name string) string {
	for line := range strings.Lines(list) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			if _, after, epoch := strings.Cut(v, ":"); epoch {
				v = after
			}
			if i := strings.LastIndexByte(v, '-'); i > 0 {
				v = v[:i]
			}
			return v
		}
	}
	return ""
}
