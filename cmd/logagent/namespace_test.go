package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Tests that mount file systems or set limits of the kernel do it in a namespace of their
// own: whatever becomes of them, nothing is left of it on the machine.

// mountsEnv names the test that runs in its own mount namespace.
const mountsEnv = "LOGAGENT_TEST_MOUNTS"

// ownMounts tells whether the test may mount. Where it may not yet, the test is run once
// more in a process with a mount namespace of its own, and is over when ownMounts returns
// false. Only tests that are no subtests may call it, and before anything else.
func ownMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(mountsEnv) == t.Name() {
		return true
	}
	if os.Getuid() != 0 {
		cannot(t, "root", "only root may mount")
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=4m")
	cmd.Env = append(os.Environ(), mountsEnv+"="+t.Name(), binaryEnv+"="+binary(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, syscall.EPERM):
		cannot(t, "root", "no mount namespaces here: "+err.Error())
	case err != nil:
		t.Errorf("in a mount namespace of its own: %v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("in a mount namespace of its own:\n%s", out)
	case !strings.Contains(string(out), "--- PASS: "+t.Name()+" "):
		t.Errorf("in a mount namespace of its own nothing ran:\n%s", out)
	}
	return false
}

// mount mounts a file system on a folder, which is created, for as long as the test runs.
func mount(t *testing.T, kind, dir, options string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	switch err := syscall.Mount(kind, dir, kind, 0, options); {
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ENODEV):
		cannot(t, "root", fmt.Sprintf("%s cannot be mounted here: %v", kind, err))
	case err != nil:
		t.Fatalf("mount %s on %s: %v", kind, dir, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// fill takes all the room that is left beside path and returns what gives it back.
func fill(t *testing.T, path string) (free func()) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for size := 64 << 10; size > 0; {
		switch _, err := f.Write(make([]byte, size)); {
		case errors.Is(err, syscall.ENOSPC):
			size /= 2
		case err != nil:
			t.Fatal(err)
		}
	}
	closeIn(t, f)
	return func() {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// limitsEnv holds what the kernel is to allow a daemon, in a user namespace of its own, as
// NAME=NUMBER of /proc/sys/user.
const limitsEnv = "LOGAGENT_TEST_LIMITS"

// limited makes a process one in a user namespace with limits.
func limited(t *testing.T, d *process, limits ...string) {
	t.Helper()
	attr := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	probe := exec.Command("true")
	probe.SysProcAttr = attr
	if err := probe.Run(); err != nil {
		cannot(t, "root", "no user namespaces here: "+err.Error())
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d.Env = append(d.Env, limitsEnv+"="+strings.Join(limits, ","), binaryEnv+"="+d.Path)
	d.Path, d.SysProcAttr = self, attr
}

// becomeLimited sets the limits of this process's user namespace and becomes a logagent. It
// returns only why it could not.
func becomeLimited(limits string) error {
	for one := range strings.SplitSeq(limits, ",") {
		name, number, _ := strings.Cut(one, "=")
		if err := os.WriteFile(filepath.Join("/proc/sys/user", name), []byte(number), 0); err != nil {
			return err
		}
	}
	path := os.Getenv(binaryEnv)
	if err := errors.Join(os.Unsetenv(limitsEnv), os.Unsetenv(binaryEnv)); err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", path, syscall.Exec(path, os.Args, os.Environ()))
}
