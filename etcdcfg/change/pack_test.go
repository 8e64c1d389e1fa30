package change

import (
	"bytes"
	"strings"
	"testing"
)

func TestPackedDocumentIsTheSameBytes(t *testing.T) {
	t.Parallel()
	for _, doc := range [][]byte{nil, {}, []byte(indented), []byte("\xff"), bytes.Repeat([]byte("x"), maxUnpackedBytes)} {
		packed := Pack(doc)
		got, err := Unpack(packed)
		if err != nil || !equal(doc, got) || (doc == nil) != (packed == nil) {
			t.Errorf("%.40q: %v, got %.40q", doc, err, got)
		}
		if again := Pack(doc); !bytes.Equal(packed, again) {
			t.Errorf("%.40q is packed otherwise the second time", doc)
		}
	}
}

func TestPackedDocumentIsBoundedAndChecked(t *testing.T) {
	t.Parallel()
	big := Pack(make([]byte, 64<<20))
	torn := Pack([]byte(indented))
	bent := bytes.Clone(torn)
	bent[len(bent)-5] ^= 1 // in its sum
	for name, c := range map[string]struct {
		packed []byte
		want   string
	}{
		"a bomb": {big, "has more than 1048576 bytes"}, "no gzip": {[]byte("[]"), "packed document: "},
		"a torn one": {torn[:len(torn)-9], "packed document: unexpected EOF"}, "a bent one": {bent, "packed document: gzip: invalid checksum"},
	} {
		doc, err := Unpack(c.packed)
		if doc != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: want %s, got %.40q, %v", name, c.want, doc, err)
		}
	}
}
