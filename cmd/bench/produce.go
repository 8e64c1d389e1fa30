package main

import (
	"encoding/binary"
	"errors"
	"time"
)

// Produce requests from this version on use the compact encoding.
const firstFlexibleProduce = 9

var errShortRequest = errors.New("a produce request is cut short")

// produce reads a produce request where it lies, without copying a record, and appends
// the response's body. acks 0 wants no answer.
func (b *broker) produce(r *batchReader, version int16, req, resp []byte) (_ []byte, answer bool, err error) {
	now := time.Now()
	w := wire{b: req, flexible: version >= firstFlexibleProduce}
	w.text() // transactional id
	acks := int16(binary.BigEndian.Uint16(w.take(2)))
	w.take(4) // timeout
	topics := w.count()
	resp = w.appendCount(resp, topics)
	for range topics {
		topic := w.text()
		parts := w.count()
		resp = w.appendText(resp, topic)
		resp = w.appendCount(resp, parts)
		for range parts {
			index := int32(binary.BigEndian.Uint32(w.take(4)))
			records := w.records()
			w.tags()
			if w.short {
				return nil, false, errShortRequest
			}
			c := r.read(records)
			c.Requests, c.FirstNano = 1, now.UnixNano()
			c.LastNano = time.Now().Add(b.delay).UnixNano()
			base := b.ledger.add(partition{string(topic), index}, c)

			resp = binary.BigEndian.AppendUint32(resp, uint32(index))
			resp = binary.BigEndian.AppendUint16(resp, 0) // no error
			resp = binary.BigEndian.AppendUint64(resp, uint64(base))
			if version >= 2 {
				resp = binary.BigEndian.AppendUint64(resp, ^uint64(0)) // the client's timestamps stand
			}
			if version >= 5 {
				resp = binary.BigEndian.AppendUint64(resp, 0) // log start offset
			}
			if version >= 8 {
				resp = w.appendCount(resp, 0) // record errors
				resp = w.appendNull(resp)     // error message
			}
			resp = w.appendTags(resp)
		}
		w.tags()
		resp = w.appendTags(resp)
	}
	if w.short {
		return nil, false, errShortRequest
	}
	if version >= 1 {
		resp = binary.BigEndian.AppendUint32(resp, 0) // throttle time
	}
	resp = w.appendTags(resp)
	return resp, acks != 0, nil
}

// wire reads the two encodings of a request; short is set once it ends too early.
type wire struct {
	b        []byte
	flexible bool
	short    bool
}

var zeros [8]byte

// take returns the next n bytes, or zeros where there are not as many.
func (w *wire) take(n int) []byte {
	if n < 0 || n > len(w.b) {
		w.b, w.short = nil, true
		return zeros[:min(max(n, 0), len(zeros))]
	}
	out := w.b[:n]
	w.b = w.b[n:]
	return out
}

func (w *wire) uvarint() int {
	v, n := binary.Uvarint(w.b)
	if n <= 0 || v > uint64(len(w.b))+1 { // no length or count is longer than what holds it
		w.b, w.short = nil, true
		return 0
	}
	w.b = w.b[n:]
	return int(v)
}

// count reads the length of an array; 0 for null.
func (w *wire) count() int {
	if w.flexible {
		return max(0, w.uvarint()-1)
	}
	n := int(int32(binary.BigEndian.Uint32(w.take(4))))
	if n > len(w.b) {
		w.b, w.short = nil, true
		return 0
	}
	return max(0, n)
}

// text reads a string; nil for null.
func (w *wire) text() []byte {
	if w.flexible {
		return w.take(max(0, w.uvarint()-1))
	}
	return w.take(max(0, int(int16(binary.BigEndian.Uint16(w.take(2))))))
}

// records reads the bytes of record batches.
func (w *wire) records() []byte { return w.take(w.count()) }

// tags skips tagged fields.
func (w *wire) tags() {
	if !w.flexible {
		return
	}
	for range w.uvarint() {
		w.uvarint()
		w.take(w.uvarint())
	}
}

func (w *wire) appendCount(b []byte, n int) []byte {
	if w.flexible {
		return binary.AppendUvarint(b, uint64(n+1))
	}
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

func (w *wire) appendText(b, text []byte) []byte {
	if w.flexible {
		b = binary.AppendUvarint(b, uint64(len(text)+1))
	} else {
		b = binary.BigEndian.AppendUint16(b, uint16(len(text)))
	}
	return append(b, text...)
}

func (w *wire) appendNull(b []byte) []byte {
	if w.flexible {
		return append(b, 0)
	}
	return append(b, 0xff, 0xff)
}

func (w *wire) appendTags(b []byte) []byte {
	if w.flexible {
		return append(b, 0)
	}
	return b
}
