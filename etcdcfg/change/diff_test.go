package change

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"logagent/agent"
)

func lines(t *testing.T, before, after []byte) []string {
	t.Helper()
	diffs, err := Diff(before, after)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range diffs {
		out = append(out, d.Lines()...)
	}
	return out
}

func TestDifferenceIsToldByEntryAndField(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, before, after string
		want                []string
	}{
		{"a value", entry("/a", `"send_rate":5000`), entry("/a", `"send_rate":8000`), []string{"~ s /a  send_rate 5000 → 8000"}},
		{"what is not there is what holds without it", entry("/a", `"send_rate":5000`), entry("/a", `"start_at":"beginning","exclude":["*.gz"],"paused":true,"partition":"host","oversize":"skip","x":{"y": 1}`),
			[]string{`~ s /a  send_rate 5000 → no limit, start_at end → beginning, exclude nothing → ["*.gz"], paused false → true, partition random → host, oversize split → skip, x nothing → {"y":1}`}},
		{"added and removed", entry("/a", `"send_rate":5`), entry("/b", `"paused":true`), []string{"- s /a  topic t, send_rate 5", "+ s /b  topic t, paused true"}},
		{"another service", entry("/a", ""), strings.Replace(entry("/a", ""), `"s"`, `"new one"`, 1), []string{`~ new one /a  service s → "new one"`}},
		{"another spelling of a path", entry("/a", ""), entry("//a", ""), []string{"~ s //a  log_path /a → //a"}},
		{"one moved up", entry("/a", "") + "," + entry("/b", "") + "," + entry("/c", `"paused":true`), entry("/c", "") + "," + entry("/a", "") + "," + entry("/b", ""),
			[]string{"~ s /c  paused true → false, place 3 → 1"}},
		{"others come and go around those that stay", entry("/x", "") + "," + entry("/a", "") + "," + entry("/b", ""), entry("/a", "") + "," + entry("/y", "") + "," + entry("/b", ""),
			[]string{"- s /x  topic t", "+ s /y  topic t"}},
		{"a word that could be taken for something else is quoted", entry("/a", `"x":"a, b → c"`), entry("/a", `"x":"5"`), []string{`~ s /a  x "a, b → c" → "5"`}},
	} {
		got := lines(t, []byte("["+c.before+"]"), []byte("["+c.after+"]"))
		if !slices.Equal(c.want, got) {
			t.Errorf("%s\nwant %q\n got %q", c.name, c.want, got)
		}
	}
}

func TestSpellingIsNoDifference(t *testing.T) {
	t.Parallel()
	same := []string{
		string(doc(entry("/a", `"x":{"a":5000,"b":["ä",-0]}`))),
		"\n[ {\t\"x\": {\"b\":[\"\\u00e4\",0.0],\"a\":5e3}, \"topic\":\"\\u0074\",\"log_path\":\"\\/a\",\"service\":\"s\"} ]",
		string(doc(entry("/a", `"x":{"b":["ä",0],"a":500.0e1},"send_rate":0,"start_at":"end","exclude":[],"paused":false,"partition":"random","oversize":"split","y":null`))),
	}
	for _, a := range same {
		for _, b := range same {
			if !Same([]byte(a), []byte(b)) {
				t.Errorf("%s\nis another than %s", a, b)
			}
			if got := lines(t, []byte(a), []byte(b)); len(got) > 0 {
				t.Errorf("%s\ndiffers from %s: %q", a, b, got)
			}
		}
	}
}

func TestWhatAgentsWouldDoOtherwiseIsADifference(t *testing.T) {
	t.Parallel()
	base := doc(entry("/a", `"exclude":["a","b"]`), entry("/b", ""))
	for _, other := range []string{
		string(doc(entry("/a", `"exclude":["b","a"]`), entry("/b", ""))),
		string(doc(entry("/b", ""), entry("/a", `"exclude":["a","b"]`))),
		string(doc(entry("/a", `"exclude":["a","b"],"x":1`), entry("/b", ""))),
		string(doc(entry("//a", `"exclude":["a","b"]`), entry("/b", ""))),
		string(doc(entry("/a", `"exclude":["a","b"]`))), "[]",
	} {
		if Same(base, []byte(other)) {
			t.Errorf("taken for the same: %s", other)
		}
		if len(lines(t, base, []byte(other))) == 0 {
			t.Errorf("no difference told: %s", other)
		}
	}
}

func TestNoDocumentIsNotOneWithoutEntries(t *testing.T) {
	t.Parallel()
	if Same(nil, []byte("[]")) || Same([]byte("[]"), nil) || !Same(nil, nil) {
		t.Error("nil is the same as [], or not as itself")
	}
	if got := lines(t, nil, []byte("[]")); len(got) > 0 {
		t.Errorf("want no entry to differ, got %q", got)
	}
	if got := lines(t, nil, doc(entry("/a", ""))); !slices.Equal(got, []string{"+ s /a  topic t"}) {
		t.Errorf("want one added, got %q", got)
	}
}

func TestBrokenDocumentIsNamedByItsSide(t *testing.T) {
	t.Parallel()
	for _, broken := range []string{"", "null", "{", `[{"service":"s"}]`} {
		if _, err := Diff([]byte(broken), []byte("[]")); err == nil || !strings.HasPrefix(err.Error(), "the document before is broken: ") {
			t.Errorf("%q before: got %v", broken, err)
		}
		if _, err := Diff(nil, []byte(broken)); err == nil || !strings.HasPrefix(err.Error(), "the document after is broken: ") {
			t.Errorf("%q after: got %v", broken, err)
		}
		if !Same([]byte(broken), []byte(broken)) || Same([]byte(broken), []byte("[]")) || Same([]byte(broken), []byte(broken+" ")) {
			t.Errorf("%q must be the same as itself only", broken)
		}
	}
}

func TestNumbersThatAreEqualAreOne(t *testing.T) {
	t.Parallel()
	for _, same := range [][]string{
		{"0", "-0", "0.00", "0e5", "-0.0e-9"}, {"5000", "5e3", "5E+3", "50.00e2", "500000e-2"}, {"-1.25", "-125e-2", "-0.125e1"},
		{"1e999", "10e998", "0.1e1000"}, {"12345678901234567890123", "12345678901234567890123.0"},
	} {
		for _, s := range same {
			if canonicalNumber(s) != canonicalNumber(same[0]) {
				t.Errorf("%s is another than %s", s, same[0])
			}
		}
	}
	for _, other := range [][2]string{{"1", "-1"}, {"1", "10"}, {"0.1", "1"}, {"12345678901234567890123", "12345678901234567890124"}, {"1e99999999999999999999", "1e99999999999999999998"}} {
		if canonicalNumber(other[0]) == canonicalNumber(other[1]) {
			t.Errorf("%s is taken for %s", other[0], other[1])
		}
	}
}

// FuzzSameIsWhatAgentsTakeForTheSame holds the view of this package against that of the
// agents, which decides what a change does.
func FuzzSameIsWhatAgentsTakeForTheSame(f *testing.F) {
	for i, seed := range seeds {
		f.Add([]byte(seed), []byte(seeds[(i+1)%len(seeds)]))
	}
	f.Add(doc(entry("/a", `"send_rate":0`)), doc(entry("/a", `"oversize":"split"`)))
	f.Add(doc(entry("/a", `"exclude":["a"],"partition":"random"`)), doc(entry("/a", `"exclude":["\u0061"],"start_at":"end"`)))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		x, _, err := agent.ParseDocument(a)
		if err != nil {
			return
		}
		y, _, err := agent.ParseDocument(b)
		if err != nil {
			return
		}
		services := slices.EqualFunc(x, y, func(x, y agent.Service) bool { return x.Equal(&y) })
		same := Same(a, b)
		if same && !services {
			t.Fatalf("%s\nis taken for %s", a, b)
		}
		if services && !same {
			// Then an unknown field differs, which the agent does not see.
			for _, d := range diff(a, b) {
				for _, field := range d.Fields {
					if slices.ContainsFunc(knownFields, func(k struct{ name, absent string }) bool { return k.name == field.Name }) {
						t.Fatalf("%s\ndiffers from %s: %q", a, b, d.Lines())
					}
				}
			}
		}
		if diffs := diff(a, b); same != (len(diffs) == 0) {
			t.Fatalf("%s\nand %s: same is %v, differences are %v", a, b, same, diffs)
		}
	})
}

func TestFieldsWithAMeaningAreThoseOfTheAgent(t *testing.T) {
	t.Parallel()
	service := reflect.TypeFor[agent.Service]()
	var want, got []string
	for i := range service.NumField() {
		name, _, _ := strings.Cut(service.Field(i).Tag.Get("json"), ",")
		if name != "origin_key" { // set by the reader of a document
			want = append(want, name)
		}
	}
	for _, f := range knownFields {
		got = append(got, f.name)
	}
	if !slices.Equal(want, got) {
		t.Errorf("want %q, got %q", want, got)
	}
	for _, name := range got {
		if warnings, _ := probe(name, []byte("0")); len(warnings) > 0 {
			t.Errorf("%s: %q", name, warnings)
		}
	}
}
