package kraft

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const (
	envParent = "KRAFT_TEST_PARENT"
	script    = "fetch.sh"
)

func TestMain(m *testing.M) {
	if log := os.Getenv(envParent); log != "" { // the child of the test below
		p, err := spawn(exec.Command("sleep", "600"), log)
		if err != nil {
			os.Exit(1)
		}
		os.Stdout.WriteString(strconv.Itoa(p.cmd.Process.Pid) + "\n")
		<-p.ended
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// gone waits until no process of that number runs; a dead one that nobody has waited for
// yet counts as gone.
func gone(t *testing.T, pid int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if err != nil {
			return
		}
		if _, rest, _ := strings.Cut(string(stat), ") "); strings.HasPrefix(rest, "Z") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d still runs", pid)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestABrokerDiesWithTheTestThatIsKilled(t *testing.T) {
	t.Parallel()
	parent := exec.CommandContext(t.Context(), os.Args[0])
	parent.Env = append(os.Environ(), envParent+"="+filepath.Join(t.TempDir(), "log"))
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(child, 0); err != nil {
		t.Fatalf("the child does not run: %v", err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := parent.Wait(); err == nil {
		t.Error("the parent ended well, want it killed")
	}
	gone(t, child)
}

func TestASignalReachesEveryProcessOfABroker(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "log")
	p, err := spawn(exec.Command("sh", "-c", "sleep 600 & echo $!; wait"), log)
	if err != nil {
		t.Fatal(err)
	}
	var child int
	for deadline := time.Now().Add(10 * time.Second); child == 0; time.Sleep(5 * time.Millisecond) {
		child, _ = strconv.Atoi(tail(log, 1))
		if time.Now().After(deadline) {
			t.Fatalf("want the child's number in the log, got %q", tail(log, 1))
		}
	}
	if !p.running() {
		t.Error("want it running")
	}
	p.signal(syscall.SIGKILL)
	<-p.ended
	if p.running() || p.err == nil {
		t.Errorf("want it killed, got %v", p.err)
	}
	gone(t, child)
}

func TestFetchingSaysWhatTheMachineLacks(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		java, want string
	}{
		{"", "no java on this machine"},
		{"echo 'openjdk version \"11.0.2\" 2019-01-15' >&2", "java is of version 11"},
		{"echo 'openjdk version \"17.0.15\" 2025-04-15' >&2", "no mvn on this machine"},
	} {
		dir := t.TempDir()
		for _, tool := range []string{"dirname", "sed", "head"} {
			path, err := exec.LookPath(tool)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(path, filepath.Join(dir, tool)); err != nil {
				t.Fatal(err)
			}
		}
		if c.java != "" {
			if err := os.WriteFile(filepath.Join(dir, "java"), []byte("#!"+bash+"\n"+c.java+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), bash, script)
		cmd.Env = []string{"PATH=" + dir, "HOME=" + dir}
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("with java %q: want %q and a failure, got %v: %s", c.java, c.want, err, out)
		}
	}
}

func TestWhatIsFetchedAlreadyIsLeftAlone(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	home := filepath.Join(cache, "logagent", "kafka-"+Version())
	if err := os.MkdirAll(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "complete"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	for name, text := range map[string]string{"java": `echo 'openjdk version "17.0.1"' >&2`, "mvn": "exit 1"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "bash", script)
	cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "XDG_CACHE_HOME=" + cache}
	out, err := cmd.CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != home {
		t.Errorf("want %s and nothing fetched, got %v: %s", home, err, out)
	}
}

func TestARequiredSuiteIsFoundInTheList(t *testing.T) {
	t.Parallel()
	for list, want := range map[string]bool{"": false, "kafka": true, "root,kafka": true, "root, kafka, java": true, "kafkaesque": false} {
		if got := isRequired(list); got != want {
			t.Errorf("%q: want %v, got %v", list, want, got)
		}
	}
	if Version() == "" {
		t.Error("pom.xml names no kafka.version")
	}
}
