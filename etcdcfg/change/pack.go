package change

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
)

// maxUnpackedBytes bounds what Unpack makes: no value in etcd is longer.
const maxUnpackedBytes = 1 << 20

// Pack makes a document small for a record; nil, no document, stays nil.
func Pack(doc []byte) []byte {
	if doc == nil {
		return nil
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(doc); err != nil {
		panic(err) // a buffer takes everything
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// Unpack is the document that Pack was given. What has more than 1 MiB is refused.
func Unpack(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("packed document: %w", err)
	}
	doc, err := io.ReadAll(io.LimitReader(z, maxUnpackedBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("packed document: %w", err)
	case len(doc) > maxUnpackedBytes:
		return nil, fmt.Errorf("packed document has more than %d bytes", maxUnpackedBytes)
	}
	return doc, nil
}
