package change

import (
	"encoding/json"
	"testing"
)

func TestEffectSumsUpTheRatesOfTouchedEntries(t *testing.T) {
	t.Parallel()
	diffs := func(before, after []byte) []EntryDiff {
		d, err := Diff(before, after)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	rate := func(p, rate string) string { return entry(p, `"send_rate":`+rate) }
	got := EffectOf([][]EntryDiff{
		diffs(doc(rate("/a", "1000"), rate("/untouched", "7"), rate("/gone", "30")), doc(rate("/a", "500"), rate("/untouched", "7"), entry("/new", ""))),
		diffs(doc(rate("/a", "1")), doc(rate("/a", " 1"))),
		diffs(doc(entry("/a", "")), doc(rate("/a", "9"))),
		diffs(nil, doc(rate("/b", "0"), rate("/c", "4"))),
	})
	want := Effect{Documents: 3, Added: 3, Removed: 1, Changed: 2, RateBefore: 1030, RateAfter: 513, UnlimitedBefore: 1, UnlimitedAfter: 2}
	if got != want {
		t.Errorf("want %+v\n got %+v", want, got)
	}
}

func TestEffectOfAGroupIsThatOfItsHosts(t *testing.T) {
	t.Parallel()
	diff := func(before, after []byte) []EntryDiff {
		d, err := Diff(before, after)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	a := func(fields string) string { return entry("/a", fields) }
	for _, c := range []struct {
		part Part
		want Effect
	}{
		{Part{Diff: diff(doc(a(`"send_rate":5000`)), doc(a(`"send_rate":9000`))), Hosts: 2}, Effect{Documents: 1, Changed: 1, RateBefore: 10000, RateAfter: 18000}},
		{Part{Diff: diff(doc(a("")), doc(a(`"send_rate":9`))), Hosts: 3}, Effect{Documents: 1, Changed: 1, UnlimitedBefore: 3, RateAfter: 27}},
		{Part{Diff: diff(doc(a(`"send_rate":9`)), doc()), Hosts: 0}, Effect{Documents: 1, Removed: 1}},
		{Part{Diff: diff(doc(a(`"send_rate":5000`)), doc(a(`"send_rate":5000,"paused":true`))), Hosts: 1}, Effect{Documents: 1, Changed: 1, RateBefore: 5000}},
		{Part{Diff: diff(doc(a(`"paused":true`)), doc(a(`"paused":false`))), Hosts: 1}, Effect{Documents: 1, Changed: 1, UnlimitedAfter: 1}},
		// One of its own in place of its group's.
		{Part{Diff: diff(doc(), doc(a(`"send_rate":8`))), Hosts: 1, Instead: map[string]json.RawMessage{"/a": json.RawMessage(a(`"send_rate":5`))}},
			Effect{Documents: 1, Added: 1, RateBefore: 5, RateAfter: 8}},
	} {
		if got := EffectOn([]Part{c.part}); got != c.want {
			t.Errorf("%+v\nwant %+v\n got %+v", c.part, c.want, got)
		}
	}
}

func TestEffectIsToldInWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		effect Effect
		want   string
	}{
		{Effect{}, "nothing changes"},
		{Effect{Documents: 412, Added: 3, Changed: 409, RateBefore: 1_200_000, RateAfter: 900_000, UnlimitedBefore: 12, UnlimitedAfter: 12},
			"412 documents: 3 entries added, 409 changed; send_rate 1.2M → 900k lines/s, 12 entries without limit"},
		{Effect{Documents: 1, Hosts: 2, Changed: 1, RateBefore: 10_000, RateAfter: 18_000}, "1 document, 2 hosts: 1 entry changed; send_rate 10k → 18k lines/s"},
		{Effect{Documents: 1, Removed: 1, RateBefore: 5000}, "1 document: 1 entry removed; send_rate 5000 → 0 lines/s"},
		{Effect{Documents: 1, Changed: 2, RateBefore: 10, RateAfter: 10}, "1 document: 2 entries changed; send_rate 10 lines/s as before"},
		{Effect{Documents: 1, Changed: 1, UnlimitedBefore: 1, UnlimitedAfter: 1}, "1 document: 1 entry changed; 1 entry without limit"},
		{Effect{Documents: 2, Changed: 2, RateAfter: 100, UnlimitedBefore: 2, UnlimitedAfter: 1}, "2 documents: 2 entries changed; send_rate 0 → 100 lines/s, 2 → 1 entry without limit"},
		{Effect{Documents: 2, Changed: 2, RateBefore: 1_000_000, RateAfter: 1_000_400}, "2 documents: 2 entries changed; send_rate 1000000 → 1000400 lines/s"},
	} {
		if got := c.effect.String(); got != c.want {
			t.Errorf("want %s\n got %s", c.want, got)
		}
	}
}

func TestRateIsShortAndNotWrong(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0", 9999: "9999", 10_000: "10k", 12_345: "12.3k", 99_960: "100k", 999_499: "999k", 999_500: "1M", 1_000_000_000: "1G", 40_000_000_000_000_000: "40P", 9_223_372_036_854_775_807: "9.22E"} {
		if got := short(n); got != want {
			t.Errorf("%d: want %s, got %s", n, want, got)
		}
	}
}
