package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// rotatingFile appends to a file and rotates it by renaming, as logrotate does with
// `create`: path becomes path.1, path.1 becomes path.2 and so on. For one goroutine.
type rotatingFile struct {
	path     string
	maxBytes int64 // rotate before a write that finds the file this big; 0 means never
	keep     int   // rotated files kept; older ones are removed

	f    *os.File
	size int64
}

// openRotating opens the file for appending, with its folder; what is in it stays.
func openRotating(path string, maxBytes int64, keep int) (*rotatingFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("folder of log %s: %w", path, err)
	}
	r := &rotatingFile{path: path, maxBytes: maxBytes, keep: keep}
	if err := r.open(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *rotatingFile) open() error {
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("size of log: %w", err), f.Close())
	}
	r.f, r.size = f, info.Size()
	return nil
}

// Write appends whole lines in one write.
func (r *rotatingFile) Write(lines []byte) (int, error) {
	if r.maxBytes > 0 && r.size >= r.maxBytes {
		if err := r.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := r.f.Write(lines)
	r.size += int64(n)
	return n, err
}

// rotate renames the file away and begins a new one.
func (r *rotatingFile) rotate() error {
	if err := os.Remove(r.numbered(r.keep)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rotate %s: %w", r.path, err)
	}
	for n := r.keep - 1; n >= 1; n-- {
		if err := os.Rename(r.numbered(n), r.numbered(n+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate %s: %w", r.path, err)
		}
	}
	old := r.f
	if r.keep > 0 {
		if err := os.Rename(r.path, r.numbered(1)); err != nil {
			return fmt.Errorf("rotate %s: %w", r.path, err)
		}
	}
	if err := r.open(); err != nil {
		return err
	}
	return old.Close()
}

// numbered names the nth older file; the 0th is the path itself.
func (r *rotatingFile) numbered(n int) string {
	if n == 0 {
		return r.path
	}
	return fmt.Sprintf("%s.%d", r.path, n)
}

// Close closes the file; what was written stays.
func (r *rotatingFile) Close() error { return r.f.Close() }
