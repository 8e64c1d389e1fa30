package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// fileID is what the kernel knows a file by. An inode number is given out again after a
// deletion; the birth time tells the two files apart where the file system keeps one.
type fileID struct {
	Dev   uint64 `json:"dev"`
	Ino   uint64 `json:"ino"`
	Birth int64  `json:"birth,omitempty"` // ns since 1970; 0: the file system keeps none
}

// stat is what one statx call tells of a file.
type stat struct {
	id      fileID
	size    int64
	mtime   int64 // ns since 1970
	links   uint32
	disk    int64 // what it takes on the disk
	regular bool
	dir     bool
}

const statMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME

// statPath follows symbolic links: a followed path means what it leads to.
func statPath(path string) (stat, error) {
	var x unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, statMask, &x); err != nil {
		return stat{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return fromStatx(&x), nil
}

func statFile(f *os.File) (stat, error) {
	var x unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, statMask, &x); err != nil {
		return stat{}, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return fromStatx(&x), nil
}

// statHeld is statFile of a file whose identity is known: a held descriptor keeps it, and
// fstat costs half of what statx does.
func statHeld(f *os.File, id fileID) (stat, error) {
	var x unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &x); err != nil {
		return stat{}, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return stat{
		id: id, size: x.Size, mtime: x.Mtim.Nano(), links: uint32(x.Nlink), disk: x.Blocks * 512,
		regular: x.Mode&unix.S_IFMT == unix.S_IFREG,
	}, nil
}

func fromStatx(x *unix.Statx_t) stat {
	s := stat{
		id:      fileID{Dev: unix.Mkdev(x.Dev_major, x.Dev_minor), Ino: x.Ino},
		size:    int64(x.Size),
		mtime:   x.Mtime.Sec*int64(time.Second) + int64(x.Mtime.Nsec),
		links:   x.Nlink,
		disk:    int64(x.Blocks) * 512,
		regular: x.Mode&unix.S_IFMT == unix.S_IFREG,
		dir:     x.Mode&unix.S_IFMT == unix.S_IFDIR,
	}
	if x.Mask&unix.STATX_BTIME != 0 {
		s.id.Birth = x.Btime.Sec*int64(time.Second) + int64(x.Btime.Nsec)
	}
	return s
}

// openRegular opens path for reading and tells what it opened: the descriptor's identity
// counts, not the path's, which may lead elsewhere a moment later. O_NONBLOCK keeps a
// named pipe from blocking the open; it changes nothing for a regular file.
func openRegular(path string) (*os.File, stat, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, stat{}, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := newFile(fd, path)
	st, err := statFile(f)
	if err == nil && !st.regular {
		err = fmt.Errorf("open %s: not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, stat{}, err
	}
	return f, st, nil
}

// newFile wraps a descriptor without handing it to the runtime's poller, which has no use
// for regular files.
func newFile(fd int, path string) *os.File {
	_ = unix.SetNonblock(fd, false)
	return os.NewFile(uintptr(fd), path)
}

// lineEndSearch is how far back a line end is looked for.
const lineEndSearch = 4 << 20

const (
	headBytes   = 1024 // how much of a file's beginning is remembered
	anchorBytes = 256  // how much before a position is remembered
)

// mark remembers a stretch of a file by length and hash. The zero value remembers nothing.
type mark struct {
	Len int     `json:"len"`
	Sum markSum `json:"sum,omitzero"`
}

// markSum is the first 16 bytes of SHA-256; in text, hex.
type markSum [16]byte

// MarshalText is for encoding/json.
func (m markSum) MarshalText() ([]byte, error) {
	return hex.AppendEncode(nil, m[:]), nil
}

// UnmarshalText is for encoding/json.
func (m *markSum) UnmarshalText(b []byte) error {
	if len(b) != hex.EncodedLen(len(m)) {
		return fmt.Errorf("%q is not the hex of %d bytes", b, len(m))
	}
	_, err := hex.Decode(m[:], b)
	return err
}

func markOf(b []byte) mark {
	if len(b) == 0 {
		return mark{}
	}
	sum := sha256.Sum256(b)
	return mark{Len: len(b), Sum: markSum(sum[:16])}
}

// matches tells whether b, of the mark's length, is what was remembered.
func (m mark) matches(b []byte) bool {
	return len(b) == m.Len && markOf(b) == m
}

// markAt reads the up to n bytes that end at off and remembers them.
func markAt(f io.ReaderAt, off int64, n int) (mark, error) {
	n = int(min(int64(n), off))
	if n == 0 {
		return mark{}, nil
	}
	b := make([]byte, n)
	if _, err := f.ReadAt(b, off-int64(n)); err != nil {
		return mark{}, fmt.Errorf("read %d bytes before %d: %w", n, off, err)
	}
	return markOf(b), nil
}

// holds tells whether f has the remembered bytes directly before off. A file that is too
// short does not.
func (m mark) holds(f io.ReaderAt, off int64) (bool, error) {
	if m.Len == 0 {
		return true, nil
	}
	b := make([]byte, m.Len)
	n, err := f.ReadAt(b, off-int64(m.Len))
	if n < len(b) {
		if err == io.EOF {
			return false, nil
		}
		return false, fmt.Errorf("read %d bytes before %d: %w", m.Len, off, err)
	}
	return m.matches(b), nil
}

// lastLineEnd returns the end of the last whole line that ends at or before size: 0 where
// there is none. Where the last lineEndSearch bytes hold no line end it returns size: a
// sparse file of a terabyte must not be read backwards.
func lastLineEnd(f io.ReaderAt, size int64) (int64, error) {
	const step = 64 << 10
	b := make([]byte, step)
	for end := size; end > 0; {
		if size-end >= lineEndSearch {
			return size, nil
		}
		from := max(0, end-step)
		n, err := f.ReadAt(b[:end-from], from)
		if int64(n) < end-from {
			return 0, fmt.Errorf("look for the last line end before %d: %w", size, err)
		}
		for i := n - 1; i >= 0; i-- {
			if b[i] == '\n' {
				return from + int64(i) + 1, nil
			}
		}
		end = from
	}
	return 0, nil
}
