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
}

func newBatchReader(unpack bool) *batchReader {
	r := &batchReader{castagnoli: crc32.MakeTable(crc32.Castagnoli)}
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
	walked, err := walk(body, c)
	if err == nil && walked != records {
		err = fmt.Errorf("%d records where the header says %d", walked, records)
	}
	if err != nil {
		c.BadCount++
		c.Why = err.Error()
	}
}

var errCut = errors.New("a record is cut short")

// walk goes through the records of a batch.
func walk(b []byte, c *counts) (records int64, err error) {
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
		c.ValueBytes += rec.bytes()
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

func (c *cursor) skip(n int64) {
	if n > int64(len(c.b)) {
		c.b, c.cut = nil, true
		return
	}
	c.b = c.b[n:]
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.b, c.cut = nil, true
		return 0
	}
	c.b = c.b[n:]
	return v
}

// bytes skips a length and as many bytes and returns the length, 0 for null.
func (c *cursor) bytes() int64 {
	n := max(0, c.varint())
	c.skip(n)
	return n
}
