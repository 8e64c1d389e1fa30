package agent

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// stateLock holds a state folder for one agent. The kernel gives it back when the process
// ends, however it ends.
type stateLock struct {
	f *os.File
}

// ErrStateHeld is returned by New where another agent holds the state folder.
var ErrStateHeld = errors.New("held by another agent")

func lockState(dir string) (*stateLock, error) {
	name := filepath.Join(dir, "lock")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		b := make([]byte, 200)
		n, _ := f.Read(b)
		f.Close()
		return nil, fmt.Errorf("state folder %s is %w: %s; give this one a state_dir of its own or stop the other", dir, ErrStateHeld, strings.TrimSpace(string(b[:n])))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	host, _ := os.Hostname()
	if err := f.Truncate(0); err == nil {
		// Only for the person who reads it: the lock itself is the kernel's.
		fmt.Fprintf(f, "pid %d on %s\n", os.Getpid(), host)
	}
	return &stateLock{f: f}, nil
}

func (l *stateLock) release() error { return l.f.Close() }

func newStateID() string {
	b := make([]byte, 4)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
