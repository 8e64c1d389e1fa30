package agent

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"compress/bzip2"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// compression is a way in which rotation compresses files.
type compression struct {
	ext  string // of the names
	open func(io.Reader) (io.Reader, error)
}

// compressions are those that are read; rotation's default is gzip.
var compressions = []*compression{
	{".gz", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
	{".bz2", func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
	{".zst", func(r io.Reader) (io.Reader, error) {
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}},
}

// maxZstdWindow bounds what one zstd file may want: the window of its highest ordinary
// level.
const maxZstdWindow = 8 << 20

// compressedBy returns how a file of this name is compressed and its name without the
// ending; nil where it is not.
func compressedBy(name string) (*compression, string) {
	for _, c := range compressions {
		if stem, ok := strings.CutSuffix(name, c.ext); ok && stem != "" {
			return c, stem
		}
	}
	return nil, name
}

// inflated reads a compressed file as if it were not: ReadAt at growing offsets goes on
// where the last one ended, and what was read last is kept, so that an anchor and the
// rest of a chunk can be read again. An offset before that begins anew from the start of
// the file. It belongs to one goroutine at a time.
type inflated struct {
	file *os.File
	by   *compression

	r    io.Reader // nil: not begun
	pos  int64     // where r is
	kept []byte    // the bytes before pos
}

// inflateBuffer is how much compressed data is read at once.
const inflateBuffer = 64 << 10

// ReadAt reads len(p) bytes at off. A file that ends before gives io.EOF.
func (z *inflated) ReadAt(p []byte, off int64) (n int, err error) {
	if z.r == nil || off < z.pos-int64(len(z.kept)) {
		if err := z.rewind(); err != nil {
			return 0, err
		}
	}
	if skip := off - z.pos; skip > 0 {
		z.kept = z.kept[:0]
		m, err := io.CopyN(io.Discard, z.r, skip)
		z.pos += m
		if err != nil {
			z.release()
			return 0, err
		}
	}
	n = copy(p, z.kept[int64(len(z.kept))-(z.pos-off):])
	if n < len(p) {
		var m int
		m, err = fill(z.r, p[n:])
		n += m
		z.pos += int64(m)
		if n == len(p) {
			err = nil
		}
		z.kept = append(z.kept[:0], p[:n]...)
	}
	return n, err
}

func (z *inflated) rewind() error {
	z.release()
	r, err := openCompressed(z.file, z.by)
	if err != nil {
		return err
	}
	z.r = r
	return nil
}

// release gives up the memory of a reader; the next read begins from the start.
func (z *inflated) release() {
	if c, ok := z.r.(io.Closer); ok {
		_ = c.Close() // frees memory, can say nothing new
	}
	z.r, z.pos, z.kept = nil, 0, nil
}

func openCompressed(f *os.File, by *compression) (io.Reader, error) {
	r, err := by.open(bufio.NewReaderSize(io.NewSectionReader(f, 0, math.MaxInt64), inflateBuffer))
	if err != nil {
		return nil, fmt.Errorf("decompress %s: %w", f.Name(), err)
	}
	return r, nil
}
