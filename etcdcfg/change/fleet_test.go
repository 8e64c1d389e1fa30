package change

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"logagent/agent"
)

func TestFileOfAFleetIsSortedAndStable(t *testing.T) {
	t.Parallel()
	f := FleetOf(map[string][]byte{
		"web-02": []byte("[]"), "web-01": []byte(" [ " + entry("/a", `"x":"<&>"`) + " ]"), "@web": doc(entry("/b", "")),
		"none": nil, "broken": []byte("[\n"), "latin": []byte("\xff"),
	})
	want := `{
  "version": 1,
  "hosts": {
    "broken": {
      "text": "[\n"
    },
    "latin": {
      "base64": "/w=="
    },
    "web-01": [
      {
        "service": "s",
        "log_path": "/a",
        "topic": "t",
        "x": "<&>"
      }
    ],
    "web-02": []
  },
  "groups": {
    "web": [
      {
        "service": "s",
        "log_path": "/b",
        "topic": "t"
      }
    ]
  }
}
`
	for range 5 {
		if got := string(f.Encode()); got != want {
			t.Fatalf("want %s\n got %s", want, got)
		}
	}
	if got := string(Fleet{}.Encode()); got != "{\n  \"version\": 1\n}\n" {
		t.Errorf("no document: got %s", got)
	}
}

func TestExportedFleetIsReadAsItWas(t *testing.T) {
	t.Parallel()
	documents := map[string][]byte{
		"web-01": []byte(indented), "web-02": []byte("[]"), "@web": doc(entry("/b", `"u":1e5`)), "@web-01": doc(entry("/c", "")),
		"broken": []byte("[\n"), "null": []byte("null"), "latin": []byte("[\xff]"), "object": []byte(`{"text":"[]"}`), "empty": {},
	}
	f, err := ParseFleet(FleetOf(documents).Encode())
	if err != nil {
		t.Fatal(err)
	}
	if want, got := slices.Sorted(maps.Keys(documents)), slices.Sorted(maps.Keys(f.Documents)); !slices.Equal(want, got) {
		t.Fatalf("want %q, got %q", want, got)
	}
	for name, want := range documents {
		got, ok := f.Document(name)
		if !ok || !Same(want, got) {
			t.Errorf("%s: want %q, got %q", name, want, got)
		}
		if _, ok := f.Document(name + "x"); ok {
			t.Errorf("%sx: found", name)
		}
	}
	if got, _ := f.Document("web-01"); string(got) != indented {
		t.Errorf("want it laid out for people, got %s", got)
	}
}

// An export indents a document more than etcd holds it.
func TestLargestDocumentIsExportedAndReadAgain(t *testing.T) {
	t.Parallel()
	var entries []string
	size := 2
	for i := 0; ; i++ {
		e := entry("/"+strings.Repeat("p", i%50)+"/"+string(rune('a'+i%26))+strings.Repeat("q", i/26), "")
		if size += len(e) + 1; size > agent.MaxDocumentBytes-100 {
			break
		}
		entries = append(entries, e)
	}
	raw := doc(entries...)
	f, err := ParseFleet(FleetOf(map[string][]byte{"web-01": raw}).Encode())
	if err != nil {
		t.Fatalf("%.300v", err)
	}
	got, _ := f.Document("web-01")
	if !Same(raw, got) || len(got) > agent.MaxDocumentBytes {
		t.Fatalf("want %d bytes, got %d that are another document or too long a one", len(raw), len(got))
	}
}

func TestEveryProblemOfAFleetsFileIsNamed(t *testing.T) {
	t.Parallel()
	_, err := ParseFleet([]byte(`{"version":2,"host":{},"hosts":{
		"web-01":[{"service":"s","log_path":"p","topic":"a b"},{"service":"s"}],
		"web-02":null, "a/b":[], "":[], "@x":[], "e\u001b":[], "web-03":{"txt":"x"}, "web-03":[], "web-03":[], "web-04":5},
		"groups":{"a,b":[],"web":[{}]}, "groups":[]}`))
	want := []string{
		`version is 2, this program reads 1`, `"host" is unknown, must be version, hosts or groups`,
		`web-01: entry 1 (s, p): log_path: "p" is not right`, `web-01: entry 1 (s, p): topic: "a b" is not right`,
		`web-01: entry 2 (s): log_path: is missing`, `web-01: entry 2 (s): topic: is missing`,
		`web-02: document is null`, `"a/b": the name of a host holds a slash`, `"": the name of a host is empty`, `"@x": the name of a host begins with @`,
		`"e\x1b": the name of a host holds a control character`, `web-03: must be an array of entries, or {"text":"…"}`, `web-03 stands there twice`,
		`web-04: document is a number`, `"a,b": the name of a group holds a comma`,
		`@web: entry 1: service: is missing`, `@web: entry 1: log_path: is missing`, `@web: entry 1: topic: is missing`, `"groups" stands there twice`,
	}
	if err == nil {
		t.Fatal("taken")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("want %d problems, got %d\n%v", len(want), len(lines), err)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, want[i]) {
			t.Errorf("want %s\n got %s", want[i], line)
		}
	}
}

func TestFileThatIsNoFleetIsRefusedInPlainWords(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"":                            "the file is no JSON: line 1, column 1: unexpected end",
		"{\n  \"version\": 1,\n}":     "the file is no JSON: line 3, column 1: invalid character '}'",
		"[]":                          `the file must be an object such as {"version":1,`,
		"{}":                          "version is missing, must be 1",
		"{\"version\":1,\"x\xff\":1}": "the file is not UTF-8",
		`{"version":1,"hosts":[]}`:    "hosts must be an object of documents by name",
	} {
		if f, err := ParseFleet([]byte(raw)); err == nil || f.Documents != nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s\nwant %s\n got %v", raw, want, err)
		}
	}
}

func FuzzFleetIsReadAsItWasWritten(f *testing.F) {
	for i, seed := range append(seeds, "", "null", "{", "\xff", `{"text":"[]"}`, `"[]"`) {
		f.Add("web-01", []byte(seed), "web", []byte(seeds[i%len(seeds)]), []byte(`{"version":1,"hosts":{"a":`+seed+`},"groups":{"b":[]}}`))
	}
	f.Fuzz(func(t *testing.T, host string, a []byte, group string, b []byte, file []byte) {
		if badName("host", host) == "" && badName("group", group) == "" && json.Valid(quoted(host)) &&
			text(quoted(host)) == host && text(quoted(group)) == group {
			documents := map[string][]byte{host: a, "@" + group: b}
			fleet := FleetOf(documents)
			again := holdFleet(t, fleet)
			for name, want := range documents {
				if got, _ := again.Document(name); want != nil && !Same(want, got) {
					t.Fatalf("%s: want %q, got %q", name, want, got)
				}
			}
		}
		if fleet, err := ParseFleet(file); err == nil {
			holdFleet(t, fleet)
		}
	})
}

// holdFleet writes and reads a fleet.
func holdFleet(t *testing.T, f Fleet) Fleet {
	t.Helper()
	encoded := f.Encode()
	again, err := ParseFleet(encoded)
	if err != nil {
		t.Fatalf("%s: %v", encoded, err)
	}
	if !maps.EqualFunc(f.Documents, again.Documents, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
		t.Fatalf("want %s\n got %s", f.Documents, again.Documents)
	}
	if twice := again.Encode(); !bytes.Equal(encoded, twice) {
		t.Fatalf("want %s\n got %s", encoded, twice)
	}
	return again
}
