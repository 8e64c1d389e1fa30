package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Places in a record batch of format 2.
const (
	batchLength     = 8 // of what follows it
	batchMagic      = 16
	batchCRC        = 17
	batchAttributes = 21 // the checksum covers everything from here
	batchRecords    = 57 // number of records
	batchHeader     = 61
)

// batchReader checks record batches. It is for one goroutine.
type batchReader struct {
	castagnoli *crc32.Table
	unpack     kgo.Decompressor // nil: compressed batches are taken at their header's word
	written    []int64          // when the lines were written that say so; collected until takeWritten
}

func newBatchReader(unpack bool) *batchReader {
	r := &batchReader{castagnoli: castagnoli}
	if unpack {
		r.unpack = kgo.DefaultDecompressor()
	}
	return r
}

// read counts and checks what one partition of a produce request carries.
func (r *batchReader) read(b []byte) (c counts) {
	for len(b) > 0 {
		if len(b) < batchHeader || b[batchMagic] != 2 {
			c.BadCount++
			c.Why = "not a record batch of format 2"
			return c
		}
		size := int(binary.BigEndian.Uint32(b[batchLength:])) + batchLength + 4
		if size < batchHeader || size > len(b) {
			c.BadCount++
			c.Why = fmt.Sprintf("a batch of %d bytes in %d", size, len(b))
			return c
		}
		r.batch(b[:size], &c)
		b = b[size:]
	}
	return c
}

func (r *batchReader) batch(b []byte, c *counts) {
	records := int64(int32(binary.BigEndian.Uint32(b[batchRecords:])))
	c.Batches++
	c.Records += records
	c.WireBytes += int64(len(b))
	if want, got := binary.BigEndian.Uint32(b[batchCRC:]), crc32.Checksum(b[batchAttributes:], r.castagnoli); want != got {
		c.BadCRC++
		c.Why = fmt.Sprintf("checksum %08x instead of %08x", want, got)
		return
	}
	body := b[batchHeader:]
	if codec := kgo.CompressionCodecType(b[batchAttributes+1] & 7); codec != 0 {
		if r.unpack == nil {
			return
		}
		var err error
		if body, err = r.unpack.Decompress(body, codec); err != nil {
			c.BadCount++
			c.Why = fmt.Sprintf("unpack: %v", err)
			return
		}
	}
	walked, err := r.walk(body, c)
	if err == nil && walked != records {
		err = fmt.Errorf("%d records where the header says %d", walked, records)
	}
	if err != nil {
		c.BadCount++
		c.Why = err.Error()
	}
}

var errCut = errors.New("a record is cut short")

// takeWritten returns the write times collected so far.
func (r *batchReader) takeWritten() []int64 {
	w := r.written
	r.written = nil
	return w
}

// walk goes through the records of a batch.
func (r *batchReader) walk(b []byte, c *counts) (records int64, err error) {
	for len(b) > 0 {
		size, n := binary.Varint(b)
		if n <= 0 || size < 0 || size > int64(len(b)-n) {
			return records, errCut
		}
		rec := cursor{b: b[n : n+int(size)]}
		b = b[n+int(size):]
		rec.skip(1) // attributes
		rec.varint()
		if delta := rec.varint(); delta != records {
			return records, fmt.Errorf("record %d has offset delta %d", records, delta)
		}
		rec.bytes() // key
		value := rec.bytes()
		c.ValueBytes += int64(len(value))
		c.Sum += lineSum(value)
		if nano, ok := stampOf(value); ok {
			r.written = append(r.written, nano)
		}
		headers := rec.varint()
		for range headers {
			rec.bytes()
			rec.bytes()
		}
		if rec.cut || len(rec.b) != 0 {
			return records, errCut
		}
		c.Headers += headers
		c.Walked++
		records++
	}
	return records, nil
}

// cursor reads a record; cut is set once it ends too early.
type cursor struct {
	b   []byte
	cut bool
}

func (c *cursor) skip(n int64) []byte {
	if n > int64(len(c.b)) {
		c.b, c.cut = nil, true
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) varint() int64 {
	if len(c.b) > 0 && c.b[0] < 0x80 { // nearly all: this loop is what the stand-in costs
		v := int64(c.b[0])
		c.b = c.b[1:]
		return v>>1 ^ -(v & 1)
	}
	return c.longVarint()
}

func (c *cursor) longVarint() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.b, c.cut = nil, true
		return 0
	}
	c.b = c.b[n:]
	return v
}

// bytes reads a length and as many bytes; nil for null.
func (c *cursor) bytes() []byte { return c.skip(max(0, c.varint())) }
