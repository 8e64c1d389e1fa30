package kafkaout

import (
	"encoding/binary"
	"fmt"

	"github.com/IBM/sarama"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// squeezer compresses the records of one record batch after another. With the same
// libraries, levels and framing as sarama's it keeps its memory, and is fed piece by piece
// where the format allows, so that a whole record batch never stands beside its
// compressed form.
type squeezer interface {
	begin(out *buffer)
	// feed appends what it has made of the records so far and returns what it wants to see
	// again, with more behind it.
	feed(out *buffer, raw []byte) (rest []byte, err error)
	end(out *buffer, raw []byte) error
}

func newSqueezer(codec sarama.CompressionCodec) (squeezer, error) {
	switch codec {
	case sarama.CompressionSnappy:
		return &snappy{}, nil
	case sarama.CompressionGZIP:
		return &streamed{w: gzip.NewWriter(nil), reset: func(w writer, out *buffer) { w.(*gzip.Writer).Reset(out) }}, nil
	case sarama.CompressionLZ4:
		w := lz4.NewWriter(nil)
		if err := w.Apply(lz4.BlockSizeOption(lz4.Block64Kb)); err != nil {
			return nil, err
		}
		return &streamed{w: w, reset: func(w writer, out *buffer) { w.(*lz4.Writer).Reset(out) }}, nil
	case sarama.CompressionZSTD:
		// sarama's level is the library's default too. The library would keep two windows of
		// 8 MiB for a record batch of 900 kB: one of 1 MiB holds that as well.
		w, err := zstd.NewWriter(nil, zstd.WithZeroFrames(true), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return nil, err
		}
		return &atOnce{w: w}, nil
	}
	return nil, fmt.Errorf("compression %v is not known", codec)
}

// snappy is cut into blocks, in the framing of the Java library by Xerial, which is what
// Kafka means by snappy.
type snappy struct {
	block []byte // one block, compressed
}

const (
	snappyFrame = "\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"
	snappyBlock = 32 << 10
)

func (s *snappy) begin(out *buffer) { *out = append(*out, snappyFrame...) }

func (s *snappy) feed(out *buffer, raw []byte) ([]byte, error) {
	for len(raw) >= snappyBlock {
		s.add(out, raw[:snappyBlock])
		raw = raw[snappyBlock:]
	}
	return raw, nil
}

func (s *snappy) end(out *buffer, raw []byte) error {
	if len(raw) > 0 {
		s.add(out, raw)
	}
	return nil
}

func (s *snappy) add(out *buffer, raw []byte) {
	if s.block == nil {
		s.block = make([]byte, s2.MaxEncodedLen(snappyBlock))
	}
	block := s2.EncodeSnappy(s.block, raw)
	*out = binary.BigEndian.AppendUint32(*out, uint32(len(block)))
	*out = append(*out, block...)
}

// streamed is a format that is written bit by bit.
type streamed struct {
	w     writer
	reset func(writer, *buffer)
}

type writer interface {
	Write([]byte) (int, error)
	Close() error
}

func (s *streamed) begin(out *buffer) { s.reset(s.w, out) }

func (s *streamed) feed(_ *buffer, raw []byte) ([]byte, error) {
	_, err := s.w.Write(raw)
	return nil, err
}

func (s *streamed) end(*buffer, []byte) error { return s.w.Close() }

// atOnce is zstd, whose frame begins with the size of what is in it.
type atOnce struct {
	w *zstd.Encoder
}

func (s *atOnce) begin(*buffer) {}

func (s *atOnce) feed(_ *buffer, raw []byte) ([]byte, error) { return raw, nil }

func (s *atOnce) end(out *buffer, raw []byte) error {
	*out = s.w.EncodeAll(raw, *out)
	return nil
}
