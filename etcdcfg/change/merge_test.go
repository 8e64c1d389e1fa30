package change

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// alone is a document that was made by adding an entry.
func alone(entry string) []byte {
	return []byte("[\n  " + strings.NewReplacer(`{`, "{\n    ", `,`, ",\n    ", `:`, ": ", "}", "\n  }").Replace(entry) + "\n]\n")
}

func TestChangesOfDifferentEntriesAreBothKept(t *testing.T) {
	t.Parallel()
	a, b, c := entry("/a", ""), entry("/b", ""), entry("/c", "")
	fast := func(p string) string { return entry(p, `"send_rate":9`) }
	for _, x := range []struct {
		name                     string
		base, mine, theirs, want []byte
	}{
		{"each changes one", doc(a, b), doc(fast("/a"), b), doc(a, fast("/b")), doc(fast("/a"), fast("/b"))},
		{"each adds one", doc(a), doc(a, b), doc(a, c), doc(a, c, b)},
		{"mine stands where it was put", doc(a, b), doc(a, fast("/x"), b), doc(a, b, c), doc(a, fast("/x"), b, c)},
		{"mine stands first", doc(a), doc(b, a), doc(a, c), doc(b, a, c)},
		{"each removes one", doc(a, b, c), doc(b, c), doc(a, b), doc(b)},
		{"one adds, one removes", doc(a), doc(a, b), doc(), bytes.TrimSpace(alone(b))},
		{"both do the same", doc(a, b), doc(fast("/a"), c), doc(fast("/a"), c), doc(fast("/a"), c)},
		{"both do the same, and each something more", doc(a, b, c), doc(fast("/a"), fast("/b")), doc(fast("/a"), b, entry("/d", "")), doc(fast("/a"), fast("/b"), entry("/d", ""))},
		{"my order, where theirs is that of base", doc(a, b, c), doc(c, b, a), doc(a, fast("/b"), c), doc(c, fast("/b"), a)},
		{"their order, where they changed it", doc(a, b, c), doc(c, b, fast("/a")), doc(b, a, c), doc(b, fast("/a"), c)},
		{"their spacing and their spelling of what nobody changed", doc(a, b), doc(a, fast("/b")), []byte("[\n " + entry("/a", `"send_rate": -0`) + ",\n " + b + "\n]\n"),
			[]byte("[\n " + entry("/a", `"send_rate": -0`) + ",\n " + fast("/b") + "\n]\n")},
		{"only they changed something", doc(a), []byte("[ " + a + " ]"), doc(b), doc(b)},
		{"only I changed something", doc(a), []byte("[ " + b + " ]"), doc(a), []byte("[ " + b + " ]")},
		{"there was no document", nil, doc(a), doc(b), doc(b, a)},
		{"there was none, and I made an empty one", nil, doc(), doc(b), doc(b)},
		{"I deleted it, they added", doc(a), nil, doc(a, b), doc(b)},
		{"I deleted it, they removed", doc(a, b), nil, doc(b), nil},
		{"they deleted it, I added", doc(a), doc(a, b), nil, alone(b)},
		{"they deleted it, I emptied it", doc(a), doc(), nil, nil},
		{"both deleted it", doc(a), nil, nil, nil},
		{"they broke it, I did nothing", doc(a), doc(a), []byte("{"), []byte("{")},
		{"I mended it", []byte("{"), doc(a), []byte("{"), doc(a)},
		{"both mended it alike", []byte("{"), doc(a), []byte("[ " + a + " ]"), []byte("[ " + a + " ]")},
	} {
		got, err := Merge("web-01", x.base, x.mine, x.theirs)
		if err != nil || !equal(got, x.want) {
			t.Errorf("%s: %v\nwant %s\n got %s", x.name, err, x.want, got)
		}
	}
}

func TestChangesOfOneEntryAreShownFromThreeSides(t *testing.T) {
	t.Parallel()
	a, b := entry("/a", ""), entry("/b", "")
	fast := func(p, rate string) string { return entry(p, `"send_rate":`+rate) }
	for _, x := range []struct {
		name               string
		base, mine, theirs []byte
		want               []string // log_path, base, mine, theirs
	}{
		{"changed and changed", doc(a, b), doc(fast("/a", "1"), b), doc(fast("/a", "2"), b), []string{"/a", a, fast("/a", "1"), fast("/a", "2")}},
		{"changed and removed", doc(a, b), doc(fast("/a", "1"), b), doc(b), []string{"/a", a, fast("/a", "1"), ""}},
		{"changed and deleted", doc(a, b), doc(fast("/a", "1"), b), nil, []string{"/a", a, fast("/a", "1"), ""}},
		{"removed and changed", doc(a, b), doc(b), doc(b, fast("/a", "2")), []string{"/a", a, "", fast("/a", "2")}},
		{"deleted and changed", doc(a, b), nil, doc(b, fast("/a", "2")), []string{"/a", a, "", fast("/a", "2")}},
		{"added and added", doc(b), doc(b, fast("/a", "1")), doc(fast("/a", "2"), b), []string{"/a", "", fast("/a", "1"), fast("/a", "2")}},
		{"added and added in another spelling", doc(b), doc(b, a), doc(b, entry("//a", "")), []string{"//a", "", a, entry("//a", "")}},
		{"added and added, there was no document", nil, doc(fast("/a", "1")), doc(fast("/a", "2")), []string{"/a", "", fast("/a", "1"), fast("/a", "2")}},
		{"both mended it", []byte("{"), doc(fast("/a", "1")), doc(fast("/a", "2")), []string{"", `{"text":"{"}`, string(doc(fast("/a", "1"))), string(doc(fast("/a", "2")))}},
	} {
		merged, err := Merge("web-01", x.base, x.mine, x.theirs)
		got := conflicts(t, err)
		if merged != nil || len(got) != 1 {
			t.Errorf("%s: want one conflict, got %s, %v", x.name, merged, err)
			continue
		}
		g := []string{got[0].LogPath, string(got[0].Base), string(got[0].Mine), string(got[0].Theirs)}
		if !slices.Equal(x.want, g) {
			t.Errorf("%s\nwant %q\n got %q", x.name, x.want, g)
		}
	}
}

func TestBrokenDocumentIsNotMergedWith(t *testing.T) {
	t.Parallel()
	a := entry("/a", "")
	for _, x := range []struct {
		mine, theirs []byte
		want         string
	}{
		{[]byte("{"), doc(), "web-01: document is not JSON"},
		{doc(), []byte("{"), "web-01: the document in etcd is broken, mend it first"},
	} {
		merged, err := Merge("web-01", doc(a), x.mine, x.theirs)
		var c *ConflictError
		if merged != nil || err == nil || errors.As(err, &c) || !strings.HasPrefix(err.Error(), x.want) {
			t.Errorf("want %s, got %s, %v", x.want, merged, err)
		}
	}
}

func TestEditsBetweenDocumentsTurnOneIntoTheOther(t *testing.T) {
	t.Parallel()
	a, b, c := entry("/a", ""), entry("/b", ""), entry("/c", "")
	docs := [][]byte{nil, doc(), doc(a), doc(b, a), doc(a, b, c), doc(c, b, a), doc(c, a, entry("/d", ""), b), doc(entry("//a", `"x":null,"paused":true`), c), []byte(indented)}
	for _, before := range append(docs, []byte("{"), []byte("\xff"), []byte("null"), []byte("[ null ]"), []byte(`"[]"`), []byte(`{"text":"[]"}`), []byte{}) {
		for _, after := range docs {
			edits, err := Between(before, after)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Apply("", before, edits)
			if err != nil || !Same(got, after) {
				t.Errorf("%s\nto %s: %v\nby %+v\ncame to %s", before, after, err, edits, got)
			}
		}
	}
	if _, err := Between(nil, []byte("{")); err == nil || !strings.HasPrefix(err.Error(), "the document after is broken: ") {
		t.Errorf("want the side that is broken, got %v", err)
	}
}

func TestEditsBetweenTouchOnlyWhatDiffers(t *testing.T) {
	t.Parallel()
	edits, err := Between(doc(entry("/a", `"x":1`), entry("/b", `"send_rate":5`)), doc(entry("/a", `"x":1.0`), entry("/b", "")))
	if err != nil || len(edits) != 1 || edits[0].Op != OpSet || edits[0].LogPath != "/b" || len(edits[0].Fields) != 1 ||
		string(edits[0].Fields["send_rate"]) != "null" || string(edits[0].Was["/b"]) != entry("/b", `"send_rate":5`) {
		t.Fatalf("want one set of /b with what it was, got %+v, %v", edits, err)
	}
}

// randomDocument draws entries of a few paths, so that three documents meet in them.
func randomDocument(r *rand.Rand) []byte {
	if r.IntN(12) == 0 {
		return nil
	}
	var entries []string
	for _, i := range r.Perm(5)[:r.IntN(6)] {
		more := ""
		if r.IntN(2) == 0 {
			more = fmt.Sprintf(`"send_rate":%d`, r.IntN(3))
		}
		entries = append(entries, entry(strings.Repeat("/", 1+r.IntN(8)/7)+string(rune('a'+i)), more))
	}
	return doc(entries...)
}

func FuzzMergeLosesNothingThatOneSideChanged(f *testing.F) {
	for seed := range uint64(32) {
		r := rand.New(rand.NewPCG(seed, 1))
		f.Add(randomDocument(r), randomDocument(r), randomDocument(r))
	}
	for i := range seeds {
		f.Add([]byte(seeds[i]), []byte(seeds[(i+1)%len(seeds)]), []byte(seeds[(i+2)%len(seeds)]))
	}
	f.Fuzz(func(t *testing.T, base, mine, theirs []byte) {
		// An empty value of the fuzzer is no document.
		none := func(b []byte) []byte {
			if len(b) == 0 {
				return nil
			}
			return b
		}
		holdMerge(t, none(base), none(mine), none(theirs))
	})
}

func TestMergeLosesNothingThatOneSideChanged(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 7))
	merged := 0
	for range 4000 {
		base, mine, theirs := randomDocument(r), randomDocument(r), randomDocument(r)
		if holdMerge(t, base, mine, theirs) {
			merged++
		}
	}
	if merged < 400 || merged > 3600 {
		t.Errorf("%d of 4000 were merged: neither case is proven", merged)
	}
}

// holdMerge merges, and holds the outcome against what either side did to each entry. It
// tells whether there was an outcome.
func holdMerge(t *testing.T, base, mine, theirs []byte) bool {
	t.Helper()
	if check(base) != nil || check(mine) != nil || check(theirs) != nil {
		return false
	}
	merged, err := Merge("web-01", base, mine, theirs)
	at := func(raw []byte, id string) []byte {
		e, _ := EntryAt(raw, id)
		return e
	}
	ids := make(map[string]bool)
	for _, raw := range [][]byte{base, mine, theirs, merged} {
		for _, it := range entriesOf(raw) {
			ids[it.id] = true
		}
	}
	says := fmt.Sprintf("base   %s\nmine   %s\ntheirs %s\nmerged %s, %v\n", base, mine, theirs, merged, err)
	var c *ConflictError
	if err != nil && !errors.As(err, &c) {
		if strings.Contains(err.Error(), "bytes, at most") {
			return false
		}
		t.Fatalf("%swant a merge or a conflict", says)
	}
	clash := 0
	for id := range ids {
		b, m, th, got := at(base, id), at(mine, id), at(theirs, id), at(merged, id)
		var want []byte
		switch {
		case sameEntry(b, m):
			if err == nil && !bytes.Equal(got, th) && !equal(base, theirs) {
				t.Fatalf("%s%s: theirs is to stay byte for byte", says, id)
			}
			continue
		case sameEntry(b, th):
			want = m
		case sameEntry(m, th):
			want = th
		default:
			clash++
			if c == nil || !slices.ContainsFunc(c.Conflicts, func(c Conflict) bool {
				return identity(c.LogPath) == id && sameEntry(c.Base, b) && sameEntry(c.Mine, m) && sameEntry(c.Theirs, th)
			}) {
				t.Fatalf("%s%s: want a conflict", says, id)
			}
			continue
		}
		if err == nil && !sameEntry(got, want) {
			t.Fatalf("%s%s: want %s", says, id, want)
		}
	}
	if c != nil {
		if clash != len(c.Conflicts) {
			t.Fatalf("%swant %d conflicts", says, clash)
		}
		return false
	}
	if check(merged) != nil {
		t.Fatalf("%sis broken", says)
	}
	return true
}

// FuzzEditsBetweenTurnOneIntoTheOther is what a rollback, and a file of documents, rely on.
func FuzzEditsBetweenTurnOneIntoTheOther(f *testing.F) {
	for i, seed := range seeds {
		f.Add([]byte(seed), []byte(seeds[(i+1)%len(seeds)]))
	}
	f.Add(doc(entry("/a", ""), entry("/b", ""), entry("/c", `"x":null`)), doc(entry("/d", ""), entry("//c", ""), entry("/b", ""), entry("/e", "")))
	f.Fuzz(func(t *testing.T, before, after []byte) {
		if check(after) != nil {
			return
		}
		edits, err := Between(before, after)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Apply("", before, edits)
		if err != nil && strings.Contains(err.Error(), "bytes, at most") {
			return
		}
		if err != nil || !Same(got, after) {
			t.Fatalf("%s\nto %s: %v\nby %+v\ncame to %s", before, after, err, edits, got)
		}
		// Made once more they find all done.
		if again, err := Apply("", got, edits); err != nil || !bytes.Equal(again, got) {
			t.Fatalf("%s\nto %s: %v\nby %+v once more\ncame to %s", before, after, err, edits, again)
		}
	})
}
