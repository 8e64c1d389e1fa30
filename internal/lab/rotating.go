package lab

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// Rotation is how a log is rotated.
type Rotation int

const (
	// RotateRename is logrotate's create: path becomes path.1, path.1 becomes path.2 and so
	// on, and path is made anew.
	RotateRename Rotation = iota
	// RotateGzip is logrotate's compress: after the renaming path.1 is compressed at once
	// into path.1.gz and removed.
	RotateGzip
	// RotateCopyTruncate copies path to path.1 and truncates it. Nothing is written
	// between the two.
	RotateCopyTruncate
)

// rotatingFile appends to a file and rotates it. For one goroutine, but for compress.
type rotatingFile struct {
	path     string
	maxBytes int64 // rotate before a write that finds the file this big; 0 means never
	keep     int   // rotated files kept; older ones are removed
	kind     Rotation
	torn     bool // every write is two, cut at any byte

	f         *os.File
	size      int64
	rotations int
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

// reopen opens the path anew, as writers do when a rotator tells them.
func (r *rotatingFile) reopen() error {
	old := r.f
	if err := r.open(); err != nil {
		return err
	}
	return old.Close()
}

// Write appends whole lines in one write, or in two.
func (r *rotatingFile) Write(lines []byte) (int, error) {
	if r.maxBytes > 0 && r.size >= r.maxBytes {
		if err := r.rotate(); err != nil {
			return 0, err
		}
	}
	begun := 0
	if r.torn && len(lines) > 0 {
		n, err := r.f.Write(lines[:rand.IntN(len(lines))])
		r.size += int64(n)
		if err != nil {
			return n, err
		}
		begun = n
	}
	n, err := r.f.Write(lines[begun:])
	r.size += int64(n)
	return begun + n, err
}

// rotate puts the file's lines under another name and begins a new one. After RotateGzip
// compress is to follow.
func (r *rotatingFile) rotate() error {
	if err := r.shift(); err != nil {
		return fmt.Errorf("rotate %s: %w", r.path, err)
	}
	r.rotations++
	if r.kind == RotateCopyTruncate {
		if err := errors.Join(copyFile(r.path, r.numbered(1)), r.f.Truncate(0)); err != nil {
			return fmt.Errorf("rotate %s: %w", r.path, err)
		}
		r.size = 0
		return nil
	}
	if r.keep > 0 {
		if err := os.Rename(r.path, r.numbered(1)); err != nil {
			return fmt.Errorf("rotate %s: %w", r.path, err)
		}
	}
	return r.reopen()
}

// shift makes room for a new path.1.
func (r *rotatingFile) shift() error {
	for _, ending := range []string{"", ".gz"} {
		if err := os.Remove(r.numbered(r.keep) + ending); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for n := r.keep - 1; n >= 1; n-- {
			if err := os.Rename(r.numbered(n)+ending, r.numbered(n+1)+ending); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// compress makes path.1.gz of path.1 and removes that. By turns it is written under its
// own name, as gzip and logrotate do, and under another one first. The log may be written
// meanwhile, but not rotated.
func (r *rotatingFile) compress() error {
	from := r.numbered(1)
	to := from + ".gz"
	under := to
	if r.rotations%2 == 0 {
		under += ".tmp"
	}
	if err := compressFile(from, under); err != nil {
		return fmt.Errorf("compress %s: %w", from, err)
	}
	if under != to {
		if err := os.Rename(under, to); err != nil {
			return fmt.Errorf("compress %s: %w", from, err)
		}
	}
	return os.Remove(from)
}

// compressFile writes from's bytes to a new file, compressed, of the same modification time.
func compressFile(from, to string) error {
	return transfer(from, to, func(w io.Writer, r io.Reader) error {
		z := gzip.NewWriter(w)
		_, err := io.Copy(z, r)
		return errors.Join(err, z.Close())
	})
}

// copyFile writes from's bytes to a new file of the same modification time.
func copyFile(from, to string) error {
	return transfer(from, to, func(w io.Writer, r io.Reader) error {
		_, err := io.Copy(w, r)
		return err
	})
}

func transfer(from, to string, how func(io.Writer, io.Reader) error) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if err := errors.Join(how(out, in), out.Close()); err != nil {
		return err
	}
	info, err := in.Stat()
	if err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
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
