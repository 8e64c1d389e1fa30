package change

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"logagent/agent"
)

// entry is one in one line: service s, topic t, and what more is given.
func entry(logPath, more string) string {
	if more != "" {
		more = "," + more
	}
	return fmt.Sprintf(`{"service":"s","log_path":%q,"topic":"t"%s}`, logPath, more)
}

func doc(entries ...string) []byte { return []byte("[" + strings.Join(entries, ",") + "]") }

func fields(nameValues ...string) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage)
	for i := 0; i < len(nameValues); i += 2 {
		out[nameValues[i]] = json.RawMessage(nameValues[i+1])
	}
	return out
}

// raws are values by name; "" is one that is not there.
func raws(nameValues ...string) map[string]json.RawMessage {
	out := fields(nameValues...)
	for name, value := range out {
		if len(value) == 0 {
			out[name] = nil
		}
	}
	return out
}

func set(logPath string, nameValues ...string) Edit {
	return Edit{Op: OpSet, LogPath: logPath, Fields: fields(nameValues...)}
}

func add(value string) Edit { return Edit{Op: OpAdd, Value: json.RawMessage(value)} }

func remove(logPath string) Edit { return Edit{Op: OpRemove, LogPath: logPath} }

func (e Edit) with(was map[string]json.RawMessage) Edit {
	e.Was = was
	return e
}

const indented = `[
  {
    "service": "a",
    "log_path": "/a",
    "topic": "t"
  },
  {
    "service": "b",
    "log_path": "/b",
    "topic": "t",
    "send_rate": 5
  }
]
`

func TestEditChangesWhatItAsksForAndNoOtherByte(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, before string
		edits        []Edit
		after        string
	}{
		{"a value is replaced in its place",
			"\n[ {\"send_rate\" :\t5 , \"x\":{\"send_rate\":5},\n\"service\":\"s\",\"log_p\\u0061th\":\"\\/p\",\"topic\":\"t\"} ]\n",
			[]Edit{set("/p", "send_rate", "77")},
			"\n[ {\"send_rate\" :\t77 , \"x\":{\"send_rate\":5},\n\"service\":\"s\",\"log_p\\u0061th\":\"\\/p\",\"topic\":\"t\"} ]\n"},
		{"a new field stands as the last one does", indented, []Edit{set("/a", "paused", "true", "send_rate", "7")},
			strings.Replace(indented, "\"topic\": \"t\"\n", "\"topic\": \"t\",\n    \"send_rate\": 7,\n    \"paused\": true\n", 1)},
		{"a dense one too", `[{"service":"s","log_path":"/p","topic":"t"}]`, []Edit{set("/p", "exclude", `[ "*.gz", "b" ]`)},
			`[{"service":"s","log_path":"/p","topic":"t","exclude":["*.gz","b"]}]`},
		{"a field goes with its comma", indented, []Edit{set("/b", "send_rate", "null")},
			strings.Replace(indented, ",\n    \"send_rate\": 5", "", 1)},
		{"the first field goes with its comma", `[{ "x" : [1] , "service":"s","log_path":"/p","topic":"t" }]`, []Edit{set("/p", "x", "null")},
			`[{ "service":"s","log_path":"/p","topic":"t" }]`},
		{"fields that mean it already stay as written",
			`[{"service":"\u0073","log_path":"/p","topic":"t","send_rate":-0,"start_at":"end","x":{"b":5e3,"a":"\u00e4"}}, {"service":"s","log_path":"/q","topic":"t"}]`,
			[]Edit{set("/p", "service", `"s"`, "send_rate", "0", "start_at", `"\u0065nd"`, "x", `{"a":"ä","b":5000.0}`),
				set("/q", "send_rate", "0", "paused", "false", "exclude", "[]", "partition", `"random"`, "oversize", `"split"`, "y", "null")},
			`[{"service":"\u0073","log_path":"/p","topic":"t","send_rate":-0,"start_at":"end","x":{"b":5e3,"a":"\u00e4"}}, {"service":"s","log_path":"/q","topic":"t"}]`},
		{"another spelling of the path names the entry", indented, []Edit{set("//./b", "send_rate", "6")},
			strings.Replace(indented, "5", "6", 1)},
		{"all entries of a service", `[{"service":"s","log_path":"/p","topic":"t"},{"service":"z","log_path":"/q","topic":"t"},{"topic":"t","log_path":"/r","service":"s"}]`,
			[]Edit{{Op: OpSet, Service: "s", Fields: fields("topic", `"u"`)}},
			`[{"service":"s","log_path":"/p","topic":"u"},{"service":"z","log_path":"/q","topic":"t"},{"topic":"u","log_path":"/r","service":"s"}]`},
		{"an added entry is laid out as the last one", indented, []Edit{add(`{"service":"c","log_path":"/c","topic":"t","exclude":[ "*.gz" ]}`)},
			strings.TrimSuffix(indented, "\n]\n") + ",\n  {\n    \"service\": \"c\",\n    \"log_path\": \"/c\",\n    \"topic\": \"t\",\n    \"exclude\": [\"*.gz\"]\n  }\n]\n"},
		{"behind the only one", "[\n\t{\"service\": \"a\", \"log_path\": \"/a\", \"topic\": \"t\"}\n]", []Edit{add(entry("/p", ""))},
			"[\n\t{\"service\": \"a\", \"log_path\": \"/a\", \"topic\": \"t\"},\n\t{\"service\": \"s\", \"log_path\": \"/p\", \"topic\": \"t\"}\n]"},
		{"dense", string(doc(entry("/a", ""), entry("/b", ""))), []Edit{add(`{ "service" : "s", "log_path" : "/p", "topic" : "t" }`)},
			string(doc(entry("/a", ""), entry("/b", ""), entry("/p", "")))},
		{"with commas before the entries", "[ " + entry("/a", "") + "\n, " + entry("/b", "") + "\n]", []Edit{add(entry("/p", ""))},
			"[ " + entry("/a", "") + "\n, " + entry("/b", "") + "\n, " + entry("/p", "") + "\n]"},
		{"at the start", "[\n " + entry("/a", "") + ",\n " + entry("/b", "") + "\n]", []Edit{{Op: OpAdd, Behind: AtStart, Value: json.RawMessage(entry("/p", ""))}},
			"[\n " + entry("/p", "") + ",\n " + entry("/a", "") + ",\n " + entry("/b", "") + "\n]"},
		{"in between", "[\n " + entry("/a", "") + ",\n " + entry("/b", "") + "\n]", []Edit{{Op: OpAdd, Behind: "/a", Value: json.RawMessage(entry("/p", ""))}},
			"[\n " + entry("/a", "") + ",\n " + entry("/p", "") + ",\n " + entry("/b", "") + "\n]"},
		{"into an empty array", " [ ]\r\n", []Edit{add(entry("/p", ""))},
			" [\n  {\n    \"service\": \"s\",\n    \"log_path\": \"/p\",\n    \"topic\": \"t\"\n  }\n]\r\n"},
		{"the last one goes with its comma", indented, []Edit{remove("/b")},
			"[\n  {\n    \"service\": \"a\",\n    \"log_path\": \"/a\",\n    \"topic\": \"t\"\n  }\n]\n"},
		{"the first one", indented, []Edit{remove("/a")},
			"[\n  {\n    \"service\": \"b\",\n    \"log_path\": \"/b\",\n    \"topic\": \"t\",\n    \"send_rate\": 5\n  }\n]\n"},
		{"the first of unequal spacing", "[" + entry("/a", "") + ",\n " + entry("/b", "") + " ]", []Edit{remove("/a")}, "[" + entry("/b", "") + " ]"},
		{"the one between", "[ " + entry("/a", "") + " , " + entry("/b", "") + " ,\n" + entry("/c", "") + "\n]", []Edit{remove("/b")},
			"[ " + entry("/a", "") + " ,\n" + entry("/c", "") + "\n]"},
		{"the only one", "\n[ " + entry("/a", "") + " ]\n", []Edit{remove("/a")}, "\n[]\n"},
		{"all of a service", string(doc(entry("/a", ""), `{"service":"z","log_path":"/q","topic":"t"}`, entry("/b", ""))),
			[]Edit{{Op: OpRemove, Service: "s"}}, `[{"service":"z","log_path":"/q","topic":"t"}]`},
		{"what replaces the only one is laid out as it was", "[\n\t{ \"service\": \"a\", \"log_path\": \"/a\", \"topic\": \"t\" }\n]\n", []Edit{remove("/a"), add(entry("/p", ""))},
			"[\n\t{ \"service\": \"s\", \"log_path\": \"/p\", \"topic\": \"t\" }\n]\n"},
		{"one renamed, and its old path added anew", string(doc(entry("/a", ""))), []Edit{set("/a", "log_path", `"/b"`), add(entry("/a", ""))},
			string(doc(entry("/b", ""), entry("/a", "")))},
		{"another order", "[ " + entry("/a", "") + ",\n" + entry("/b", "") + " ,\t" + entry("/c", "") + "\n]",
			[]Edit{{Op: OpOrder, Value: json.RawMessage(`["/c","/gone","/a"]`)}},
			"[ " + entry("/c", "") + ",\n" + entry("/b", "") + " ,\t" + entry("/a", "") + "\n]"},
		{"the whole document, byte for byte", indented, []Edit{Replace([]byte(" [ ] \n"))}, " [ ] \n"},
		{"and its entries", indented, []Edit{Replace([]byte("[ " + entry("/a", `"x":"<&>"`) + "\n]\t"))}, "[ " + entry("/a", `"x":"<&>"`) + "\n]\t"},
		{"the whole document as a value", indented, []Edit{{Op: OpReplace, Value: json.RawMessage(`[]`)}}, "[]"},
	} {
		after, err := Apply("web-01", []byte(c.before), c.edits)
		if err != nil || string(after) != c.after {
			t.Errorf("%s: %v\nwant %s\n got %s", c.name, err, c.after, after)
		}
	}
}

func TestFirstEntryMakesADocument(t *testing.T) {
	t.Parallel()
	after, err := Apply("web-01", nil, []Edit{add(entry("/p", ""))})
	want := "[\n  {\n    \"service\": \"s\",\n    \"log_path\": \"/p\",\n    \"topic\": \"t\"\n  }\n]\n"
	if err != nil || string(after) != want {
		t.Fatalf("%v\nwant %s\n got %s", err, want, after)
	}
}

func TestDeletedDocumentIsNoDocument(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{indented, "broken", ""} {
		after, err := Apply("web-01", []byte(raw), []Edit{{Op: OpDelete}})
		if after != nil || err != nil {
			t.Errorf("%s: want no document, got %q, %v", raw, after, err)
		}
	}
}

func TestBrokenDocumentIsMendedBeforeItsEntriesAre(t *testing.T) {
	t.Parallel()
	for _, broken := range []string{"", "null", "{", "[" + entry("/a", "") + "," + entry("//a", "") + "]"} {
		for _, e := range []Edit{set("/a", "topic", `"u"`), add(entry("/b", "")), remove("/a"), {Op: OpOrder, Value: json.RawMessage(`[]`)}} {
			after, err := Apply("web-01", []byte(broken), []Edit{e, e})
			if err == nil || after != nil || !strings.HasPrefix(err.Error(), "web-01: the document in etcd is broken, mend it first") ||
				strings.Count(err.Error(), "mend it first") != 1 {
				t.Errorf("%s of %q: want to be told once to mend it, got %q, %v", e.Op, broken, after, err)
			}
		}
		after, err := Apply("web-01", []byte(broken), []Edit{Replace([]byte("[]")), add(entry("/b", ""))})
		if err != nil || !Same(after, doc(entry("/b", ""))) {
			t.Errorf("%q: want it replaced, got %q, %v", broken, after, err)
		}
	}
}

func TestEveryProblemOfAnEditIsNamedWithItsDocument(t *testing.T) {
	t.Parallel()
	_, err := Apply("@web", doc(entry("/a", "")), []Edit{
		set("/gone", "topic", `"u"`), set("/a", "x", `{`), remove("/gone2"), add(entry("//a", "")), add(`5`), {Op: OpSet}, {Op: "mend"},
		{Op: OpRemove, Service: "z"}, {Op: OpSet, LogPath: "/a", Service: "z"}, {Op: OpOrder, Value: json.RawMessage(`5`)}, {Op: OpReplace, Value: json.RawMessage(`5`)},
	})
	want := []string{`no entry with log_path "/gone"`, `x: "{" is no JSON`, `no entry with log_path "/gone2"`, `//a is there already, as entry 1 (s)`,
		`"5" is no entry`, `set names neither a log_path nor a service`, `"mend" is no operation`, `no entry of service "z"`,
		`entry /a is of service "s", not of "z"`, `order needs an array`, `document is a number`}
	var lines []string
	if err != nil {
		lines = strings.Split(err.Error(), "\n")
	}
	if len(lines) != len(want) {
		t.Fatalf("want %d lines, got\n%v", len(want), err)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, "@web: ") || !strings.Contains(line, want[i]) {
			t.Errorf("want @web: %s\n got %s", want[i], line)
		}
	}
}

func TestOutcomeThatAgentsWouldRefuseIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		edit Edit
		want []string
	}{
		{set("/a", "send_rate", "1.5", "topic", `"a b"`), []string{`web-01: entry 1 (s, /a): topic: "a b" is not right`, `web-01: entry 1 (s, /a): send_rate: 1.5 is not right`}},
		{set("/a", "topic", "null"), []string{"topic: is missing"}},
		{set("/a", "log_path", `"/b"`), []string{"is named by entry 1 already"}},
		{add(`{"service":"x","service":"y"}`), []string{"has the field \"service\" twice", "log_path: is missing"}},
		{add(entry("/c", `"x":"`+strings.Repeat("x", agent.MaxDocumentBytes)+`"`)), []string{"bytes, at most 262144 are taken"}},
	} {
		after, err := Apply("web-01", doc(entry("/a", ""), entry("/b", "")), []Edit{c.edit})
		for _, want := range c.want {
			if err == nil || after != nil || !strings.Contains(err.Error(), want) {
				t.Errorf("want %s, got %q, %v", want, after, err)
			}
		}
	}
}

// conflicts are those of an error, "" where it is none.
func conflicts(t *testing.T, err error) []Conflict {
	t.Helper()
	var c *ConflictError
	if !errors.As(err, &c) {
		t.Fatalf("want a conflict, got %v", err)
	}
	return c.Conflicts
}

func TestEntryThatIsAnotherByNowIsAConflictOfThreeSides(t *testing.T) {
	t.Parallel()
	base := entry("/a", `"send_rate":5`)
	for _, c := range []struct {
		name   string
		now    []byte
		edit   Edit
		want   []Conflict
		inText []string
	}{
		{"changed and changed", doc(entry("/a", `"send_rate":8`)), set("/a", "send_rate", "6").with(raws("/a", base)),
			[]Conflict{{"/a", "s", json.RawMessage(base), json.RawMessage(entry("/a", `"send_rate":6`)), json.RawMessage(entry("/a", `"send_rate":8`))}},
			[]string{"web-01: s /a was changed by somebody else meanwhile: send_rate was 5 and is 8 now; asked was send_rate 5 → 6"}},
		{"another field", doc(entry("/a", `"send_rate":5,"paused":true`)), set("/a", "send_rate", "6").with(raws("/a", base)),
			[]Conflict{{"/a", "s", json.RawMessage(base), json.RawMessage(entry("/a", `"send_rate":6`)), json.RawMessage(entry("/a", `"send_rate":5,"paused":true`))}},
			[]string{"paused was false and is true now; asked was send_rate 5 → 6"}},
		{"removed", doc(), set("/a", "send_rate", "6").with(raws("/a", base)),
			[]Conflict{{"/a", "s", json.RawMessage(base), json.RawMessage(entry("/a", `"send_rate":6`)), nil}},
			[]string{"s /a was removed by somebody else meanwhile"}},
		{"the document deleted", nil, set("/a", "send_rate", "6").with(raws("/a", base)),
			[]Conflict{{"/a", "s", json.RawMessage(base), json.RawMessage(entry("/a", `"send_rate":6`)), nil}},
			[]string{"s /a was removed by somebody else meanwhile"}},
		{"to be removed, changed", doc(entry("/a", "")), remove("/a").with(raws("/a", base)),
			[]Conflict{{"/a", "s", json.RawMessage(base), nil, json.RawMessage(entry("/a", ""))}},
			[]string{"send_rate was 5 and is no limit now; asked was to remove it"}},
		{"added by both, differently", doc(entry("/a", `"send_rate":8`)), add(base).with(raws("/a", "")),
			[]Conflict{{"/a", "s", nil, json.RawMessage(base), json.RawMessage(entry("/a", `"send_rate":8`))}},
			[]string{"s /a was added by somebody else meanwhile: send_rate is 8, asked was 5"}},
		{"to be renamed, changed", doc(entry("/a", `"send_rate":8`)), set("/a", "log_path", `"/b"`).with(raws("/a", base)),
			[]Conflict{{"/a", "s", json.RawMessage(base), json.RawMessage(entry("/b", `"send_rate":5`)), json.RawMessage(entry("/a", `"send_rate":8`))}},
			[]string{"send_rate was 5 and is 8 now; asked was log_path /a → /b"}},
		{"to be renamed, removed, and its new path taken by another", doc(entry("/b", `"send_rate":8`)), set("/a", "log_path", `"/b"`).with(raws("/a", base)),
			[]Conflict{{"/a", "s", json.RawMessage(base), json.RawMessage(entry("/b", `"send_rate":5`)), nil}},
			[]string{"web-01: s /a was removed by somebody else meanwhile"}},
		{"one more of the service", doc(base, entry("/b", "")), Edit{Op: OpSet, Service: "s", Fields: fields("send_rate", "6")}.with(raws("/a", base)),
			[]Conflict{{"/b", "s", nil, json.RawMessage(entry("/b", `"send_rate":6`)), json.RawMessage(entry("/b", ""))}},
			[]string{"s /b was added by somebody else meanwhile: send_rate is no limit, asked was 6"}},
		{"a replaced document has one more", doc(base, entry("/b", "")), Replace([]byte("[]")).with(raws("", "["+base+"]")),
			[]Conflict{{"/b", "s", nil, nil, json.RawMessage(entry("/b", ""))}}, []string{"s /b was added by somebody else meanwhile"}},
		{"there is a document by now", doc(), Edit{Op: OpReplace, Value: json.RawMessage("[" + base + "]")}.with(raws("", "null")),
			[]Conflict{{"", "", nil, json.RawMessage("[" + base + "]"), json.RawMessage("[]")}}, []string{"the document was changed"}},
		{"a broken one is to go, which is broken otherwise now", []byte("{{"), Edit{Op: OpDelete}.with(raws("", `{"text":"{"}`)),
			[]Conflict{{"", "", json.RawMessage(`{"text":"{"}`), nil, json.RawMessage(`{"text":"{{"}`)}}, []string{"the document was changed"}},
	} {
		after, err := Apply("web-01", c.now, []Edit{c.edit})
		if got := conflicts(t, err); after != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\nwant %s\n got %s", c.name, c.want, got)
		}
		for _, want := range c.inText {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: want %s\n in %v", c.name, want, err)
			}
		}
	}
}

func TestAllConflictsOfADocumentAreNamed(t *testing.T) {
	t.Parallel()
	_, err := Apply("web-01", doc(entry("/a", ""), entry("/b", "")), []Edit{
		set("/b", "topic", `"u"`).with(raws("/b", entry("/b", `"paused":true`))), remove("/a").with(raws("/a", entry("/a", `"paused":true`))),
	})
	if got := conflicts(t, err); len(got) != 2 || got[0].LogPath != "/a" || got[1].LogPath != "/b" || strings.Count(err.Error(), "web-01: ") != 2 {
		t.Fatalf("want both, got %v", err)
	}
}

// A driver that was killed behind its write makes the same edits once more.
func TestWhatIsByNowAsAskedIsNoConflict(t *testing.T) {
	t.Parallel()
	base := entry("/a", `"send_rate":5`)
	for _, c := range []struct {
		name string
		now  []byte
		edit Edit
	}{
		{"set", doc(entry("/a", `"send_rate":6`)), set("/a", "send_rate", "6").with(raws("/a", base))},
		{"written in another way", doc(entry("//a", "  \"send_rate\":\t6")), set("/a", "send_rate", "6", "log_path", `"//a"`).with(raws("/a", base))},
		{"renamed", doc(entry("/b", `"send_rate":5`)), set("/a", "log_path", `"/b"`).with(raws("/a", base))},
		{"removed", doc(entry("/b", "")), remove("/a").with(raws("/a", base))},
		{"all of a service removed", doc(), Edit{Op: OpRemove, Service: "s"}.with(raws("/a", base))},
		{"the document deleted", nil, remove("/a").with(raws("/a", base))},
		{"added", doc(base), add(base).with(raws("/a", ""))},
		{"replaced", doc(base), Replace([]byte(" [ " + base + " ]")).with(raws("", "[]"))},
		{"deleted", nil, Edit{Op: OpDelete}.with(raws("", "[]"))},
		{"broken and deleted", nil, Edit{Op: OpDelete}.with(raws("", `{"text":"{"}`))},
	} {
		after, err := Apply("web-01", c.now, []Edit{c.edit})
		if err != nil || !equal(after, c.now) {
			t.Errorf("%s: want %s as it stands, got %s, %v", c.name, c.now, after, err)
		}
	}
}

func TestEntriesThatNobodyElseTouchedAreEditedBesideOthersChanges(t *testing.T) {
	t.Parallel()
	a, b := entry("/a", ""), entry("/b", "")
	edits := []Edit{set("/a", "send_rate", "6").with(raws("/a", a)), remove("/b").with(raws("//b", b)), add(entry("/c", "")).with(raws("/c", ""))}
	after, err := Apply("web-01", doc(entry("/new", ""), b, a), edits)
	if want := doc(entry("/new", ""), entry("/a", `"send_rate":6`), entry("/c", "")); err != nil || string(after) != string(want) {
		t.Fatalf("%v\nwant %s\n got %s", err, want, after)
	}
}

// An edit goes through the record of a change set.
func TestEditsMeanTheSameAfterTheirJSON(t *testing.T) {
	t.Parallel()
	a := entry("/a", "")
	for _, c := range []struct {
		now  []byte
		edit Edit
	}{
		{doc(a), Replace([]byte("[\n]\n")).with(raws("", "["+a+"]"))},
		{nil, add(a).with(raws("/a", ""))},
		{doc(a), set("/a", "send_rate", "5", "x", "null").with(raws("/a", a))},
	} {
		raw, err := json.Marshal([]Edit{c.edit})
		if err != nil {
			t.Fatal(err)
		}
		var again []Edit
		if err := json.Unmarshal(raw, &again); err != nil {
			t.Fatal(err)
		}
		want, err := Apply("", c.now, []Edit{c.edit})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Apply("", c.now, again); err != nil || !equal(want, got) {
			t.Errorf("%s: %v\nwant %s\n got %s", raw, err, want, got)
		}
		// null in JSON is still "was not there".
		if c.now == nil {
			conflicts(t, func() error { _, err := Apply("", doc(entry("/a", `"paused":true`)), again); return err }())
		}
	}
}

func TestApplyWritesIntoNoneOfItsArguments(t *testing.T) {
	t.Parallel()
	raw := []byte(indented)
	edits := []Edit{set("/a", "send_rate", "7"), remove("/b"), {Op: OpAdd, Behind: AtStart, Value: json.RawMessage(entry("/c", ""))},
		{Op: OpOrder, Value: json.RawMessage(`["/a","/c"]`)}}
	before, err := json.Marshal(edits)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Apply("", raw, edits); err != nil {
		t.Fatal(err)
	}
	if after, err := json.Marshal(edits); err != nil || string(raw) != indented || string(before) != string(after) {
		t.Fatalf("%v: changed to %s, %s", err, raw, after)
	}
}

func TestEntryIsFoundAsItIsWritten(t *testing.T) {
	t.Parallel()
	if got, ok := EntryAt([]byte(indented), "/./a"); !ok || "[\n  "+string(got) != indented[:strings.Index(indented, ",\n  {")] {
		t.Errorf("want the entry, got %v, %q", ok, got)
	}
	for _, raw := range []string{"", "null", "{}", "[", "[5,{}]", indented} {
		if got, ok := EntryAt([]byte(raw), "/none"); ok || got != nil {
			t.Errorf("%s: want none, got %s", raw, got)
		}
	}
	if got, ok := EntryAt([]byte("[5,{},null,"+entry("/a", "")+"]"), "/a"); !ok || string(got) != entry("/a", "") {
		t.Errorf("want the entry between what is none, got %s", got)
	}
}

// seeds are documents of many spacings and spellings.
var seeds = []string{
	`[]`, " [ ]\n", indented, string(doc(entry("/a", `"send_rate":1000`))),
	"[\n {\n  \"topic\" : \"t\",\n  \"x\": [1, {\"send_rate\":3}],\r\n\t\"log_path\":\"/p\" , \"service\":\"s\" } , {\"service\":\"b\",\"log_path\":\"/b\",\"topic\":\"t\",\"send_rate\":-0 ,\"y\":1e9} ]",
	"[ " + entry("/a", `"exclude":[]`) + "\n, " + entry("/b", `"note":"[]{},:\"\\"`) + "\n, " + entry("/c", `"":null`) + "\n]",
}

func FuzzEditKeepsEveryByteItDoesNotAskFor(f *testing.F) {
	for _, seed := range seeds {
		for op := range uint8(5) {
			f.Add([]byte(seed), op, uint(1), "send_rate", []byte("5"))
			f.Add([]byte(seed), op, uint(0), "x", []byte(`{"a": [ ]}`))
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, op uint8, pick uint, name string, value []byte) {
		if check(raw) != nil {
			return
		}
		before := readDocument(raw)
		n := len(before.items)
		var e Edit
		touched := ""
		if n > 0 {
			touched = before.items[pick%uint(n)].id
		}
		switch op % 5 {
		case 0:
			if !json.Valid(value) || name == "log_path" {
				return
			}
			e = set(touched, name, string(value))
		case 1:
			e = set(touched, name, "null")
		case 2:
			touched = ""
			e = add(entry("/added", fmt.Sprintf(`"n":%d`, pick)))
		case 3:
			touched = ""
			e = Edit{Op: OpAdd, Behind: AtStart, Value: json.RawMessage(entry("/added", ""))}
			if n > 0 && pick%2 == 0 {
				e.Behind = before.items[pick%uint(n)].path()
			}
		case 4:
			e = remove(touched)
		}
		after, err := Apply("", raw, []Edit{e})
		if err != nil {
			return
		}
		if check(after) != nil {
			t.Fatalf("%+v of %s\nmade %s: %v", e, raw, after, check(after))
		}
		now := readDocument(after)
		var kept []string
		for _, it := range now.items {
			if it.id != "/added" {
				kept = append(kept, it.id)
			}
		}
		var want []string
		for _, it := range before.items {
			if it.id == touched {
				if op%5 != 4 {
					want = append(want, it.id)
				}
				continue
			}
			want = append(want, it.id)
			if i := now.find(it.id); i < 0 || string(now.items[i].text) != string(it.text) {
				t.Fatalf("%+v of %s\nmade %s: %s is another", e, raw, after, it.id)
			}
		}
		if before.find("/added") < 0 && !slices.Equal(want, kept) {
			t.Fatalf("%+v of %s\nmade %s: want entries %q, got %q", e, raw, after, want, kept)
		}
		// What is common at both ends and what stands between: all of raw but one piece.
		head := 0
		for head < min(len(raw), len(after)) && raw[head] == after[head] {
			head++
		}
		end := 0
		for end < min(len(raw), len(after))-head && raw[len(raw)-1-end] == after[len(after)-1-end] {
			end++
		}
		gone, came := string(raw[head:len(raw)-end]), string(after[head:len(after)-end])
		switch {
		case (op%5 == 2 || op%5 == 3) && n > 0 && gone != "":
			t.Fatalf("%+v of %s\nmade %s: an added entry replaced %q", e, raw, after, gone)
		case (op%5 == 1 || op%5 == 4) && n > 1 && came != "":
			t.Fatalf("%+v of %s\nmade %s: what was taken away left %q", e, raw, after, came)
		}
	})
}

func FuzzArrayOfAnythingIsReadAndSpliced(f *testing.F) {
	for _, seed := range append(seeds, `[1,"a\"]",[[{}],{"]":"["}],null,{"a":1,"a":2,"":{}}]`, `[{}]`, "[{\"\\u0061\\\\\":-1.5e+9\t}\n]") {
		f.Add([]byte(seed), "a", []byte("[1, 2]"))
	}
	f.Fuzz(func(t *testing.T, raw []byte, name string, value []byte) {
		var list []json.RawMessage
		if kindOf(raw) != '[' || json.Unmarshal(raw, &list) != nil || !json.Valid(value) || !utf8.Valid(raw) {
			return
		}
		d := readDocument(raw)
		if got := d.bytes(); string(got) != string(raw) && len(list) > 0 {
			t.Fatalf("want %q\n got %q", raw, got)
		}
		if len(d.items) != len(list) {
			t.Fatalf("%s: want %d items, got %d", raw, len(list), len(d.items))
		}
		name = text(quoted(name)) // valid UTF-8
		for i, it := range d.items {
			if string(it.text) != string(list[i]) {
				t.Fatalf("%s: want item %s, got %s", raw, list[i], it.text)
			}
			if kindOf(it.text) != '{' {
				continue
			}
			var want map[string]any
			if json.Unmarshal(it.text, &want) != nil {
				continue // a number that no float holds
			}
			double := make(map[string]bool)
			for _, m := range members(it.text) {
				if double[m.name] {
					return // which of the two is meant nobody can say
				}
				double[m.name] = true
			}
			var v any
			if json.Unmarshal(value, &v) != nil {
				return
			}
			want[name] = v
			var got map[string]any
			changed := setField(it.text, name, value)
			if err := json.Unmarshal(changed, &got); err != nil || !reflect.DeepEqual(want, got) {
				t.Fatalf("%s with %q %s\nmade %s: %v", it.text, name, value, changed, err)
			}
			delete(want, name)
			got = nil
			dropped := dropField(changed, name)
			if err := json.Unmarshal(dropped, &got); err != nil || !reflect.DeepEqual(want, got) {
				t.Fatalf("%s without %q\nmade %s: %v", changed, name, dropped, err)
			}
			if got := render(changed, layoutOf(it.text)); string(compact(got)) != string(compact(changed)) {
				t.Fatalf("%s laid out as %s\nmade %s", changed, it.text, got)
			}
		}
	})
}
