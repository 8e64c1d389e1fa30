package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// A demo without --dir lives in a temporary folder and holds a lock in it for as long as
// its process lives. A folder whose lock nobody holds is of a demo that was killed.
const (
	demoFolders = "logagent-demo-"
	demoLock    = "lock"
)

// temporaryDemo makes a locked folder; remove removes it.
func temporaryDemo() (dir string, remove func() error, err error) {
	if dir, err = os.MkdirTemp("", demoFolders); err != nil {
		return "", nil, err
	}
	// It gets its name when it is locked: nobody ever sees it free.
	unnamed := filepath.Join(dir, demoLock+".new")
	f, err := os.OpenFile(unnamed, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		err = os.Rename(unnamed, filepath.Join(dir, demoLock))
	}
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close(), os.RemoveAll(dir))
	}
	return dir, func() error { return errors.Join(os.RemoveAll(dir), f.Close()) }, nil
}

// removeDeadDemos removes what killed demos of this user left. What it may not remove, or
// is no such folder, stays.
func removeDeadDemos() {
	found, err := filepath.Glob(filepath.Join(os.TempDir(), demoFolders+"*"))
	if err != nil {
		return // the temporary folder's own name has a bracket in it
	}
	for _, dir := range found {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Getuid() {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, demoLock), os.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.RemoveAll(dir) // what can't be removed is tried again by the next demo
		}
		_ = f.Close()
	}
}
