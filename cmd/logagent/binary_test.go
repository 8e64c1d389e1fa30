package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Tests of the binary as its users know it: built once, on first use, and run as a process
// of its own.

func TestMain(m *testing.M) {
	if limits := os.Getenv(limitsEnv); limits != "" { // not to test: to become a logagent with few resources
		fmt.Fprintln(os.Stderr, becomeLimited(limits))
		os.Exit(exitFailed)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(builtIn); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}))
}

// builtIn is the folder of the binary, removed when all tests are over.
var builtIn = filepath.Join(os.TempDir(), fmt.Sprintf("logagent-test-%d", os.Getpid()))

// binaryEnv hands the binary on to a test that runs again in a process of its own.
const binaryEnv = "LOGAGENT_TEST_BINARY"

var built = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(binaryEnv); path != "" {
		return path, nil
	}
	path := filepath.Join(builtIn, "logagent")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// binary returns the path of the built logagent.
func binary(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// patience bounds every wait of these tests. Only a broken program needs it all.
const patience = 60 * time.Second

// process is a running logagent. It is killed at the end of the test if it still runs.
type process struct {
	*exec.Cmd
	stdout, stderr *buffer
	done           chan struct{} // closed when it has ended
}

// buffer may be read while it is written.
type buffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start runs logagent in folder dir, without a terminal.
func start(t testing.TB, dir string, args ...string) *process {
	t.Helper()
	return startWith(t, dir, args, func(*process) {})
}

// startWith runs logagent as change leaves it.
func startWith(t testing.TB, dir string, args []string, change func(*process)) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(binary(t), args...), stdout: &buffer{}, stderr: &buffer{}, done: make(chan struct{})}
	p.Dir, p.Stdout, p.Stderr = dir, p.stdout, p.stderr
	p.Env = append(os.Environ(), "HOME="+dir, "TMPDIR="+dir, "XDG_STATE_HOME=")
	change(p)
	p.WaitDelay = time.Second
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process
		_ = p.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.done
		if t.Failed() && p.ProcessState.ExitCode() == -1 { // killed just now: it hung
			t.Logf("logagent %s\nstdout: %s\nstderr: %s", strings.Join(args, " "), p.stdout, p.stderr)
		}
	})
	return p
}

// exit waits for the end and returns the exit code.
func (p *process) exit(t testing.TB) int {
	t.Helper()
	select {
	case <-p.done:
		return p.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatalf("still running after %s", patience)
		return -1
	}
}

// signal sends a signal.
func (p *process) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
}

// runBinary runs logagent to its end.
func runBinary(t testing.TB, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	p := start(t, dir, args...)
	code = p.exit(t)
	return code, p.stdout.String(), p.stderr.String()
}

// eventually waits until ok holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// writeFile writes a file, with its folder.
func writeFile(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// appendFile appends to a file, which is made where it is missing.
func appendFile(t testing.TB, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// readFile returns a file's text; "" where there is none.
func readFile(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b)
}
