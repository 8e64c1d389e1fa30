package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// requireEnv holds the suites that must run, separated by commas: kafka, root, logrotate,
// java. Where one of them cannot run its tests fail; any other is skipped.
const requireEnv = "LOGAGENT_REQUIRE"

// cannot ends a test of a suite that this machine cannot run.
func cannot(t testing.TB, suite, why string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv(requireEnv), ","), suite) {
		t.Fatalf("%s requires the suite %s, which cannot run here: %s", requireEnv, suite, why)
	}
	t.Skipf("suite %s: %s", suite, why)
}
