package agent

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestDocumentOfTheOriginalIsTaken(t *testing.T) {
	t.Parallel()
	got, warnings, err := ParseDocument([]byte(`[{"service":"s","log_path":"/p","topic":"t","send_rate":1000}]`))
	if err != nil || len(warnings) > 0 {
		t.Fatalf("err %v, warnings %q", err, warnings)
	}
	want := []Service{{Service: "s", LogPath: "/p", Topic: "t", SendRate: 1000}}
	if !reflect.DeepEqual(want, got) {
		t.Fatalf("want %+v\n got %+v", want, got)
	}
}

func TestDocumentWithEveryFieldIsReadInItsOrder(t *testing.T) {
	t.Parallel()
	got, warnings, err := ParseDocument([]byte("\r\n[ {\n\t\"oversize\" : \"skip\", \"partition\":\"host\",\"paused\":  true ," +
		`"exclude":["*.gz","/var/log/**/old"],"start_at":"beginning","send_rate" : 0,"topic":"a.B_c-9",` +
		`"log_path":"/var/log/{a,b}/**/[x-z]?.log","service":"größe 1"},{"service":"b","log_path":"/b","topic":"t","paused":false} ] ` + "\n"))
	if err != nil || len(warnings) > 0 {
		t.Fatalf("err %v, warnings %q", err, warnings)
	}
	want := []Service{
		{Service: "größe 1", LogPath: "/var/log/{a,b}/**/[x-z]?.log", Topic: "a.B_c-9", StartAt: StartBeginning,
			Exclude: []string{"*.gz", "/var/log/**/old"}, Paused: true, Partition: PartitionHost, Oversize: OversizeSkip},
		{Service: "b", LogPath: "/b", Topic: "t"},
	}
	if !reflect.DeepEqual(want, got) {
		t.Fatalf("want %+v\n got %+v", want, got)
	}
}

func TestEmptyArrayMeansNoEntries(t *testing.T) {
	t.Parallel()
	got, warnings, err := ParseDocument([]byte(" [ ] "))
	if err != nil || len(warnings) > 0 || got == nil || len(got) > 0 {
		t.Fatalf("want no entries, got %v, %q, %v", got, warnings, err)
	}
}

func TestBrokenDocumentIsRefusedInPlainWords(t *testing.T) {
	t.Parallel()
	entry := `"service":"s","log_path":"/p","topic":"t"`
	for _, c := range []struct{ raw, want string }{
		{``, "document is empty; write [] for no entries"},
		{" \n", "document is empty"},
		{`null`, "document is null; write [] for no entries"},
		{"\xef\xbb\xbf[]", "byte order mark"},
		{`{` + entry + `}`, "is one object, must be an array of entries: put [ and ] around it"},
		{`"x"`, "document is a string, must be an array"},
		{`7`, "document is a number, must be an array"},
		{`true`, "document is a boolean, must be an array"},
		{"[\n  {\"service\": 'x'}\n]", "not JSON: line 2, column 15: invalid character '\\''"},
		{"[\n\n{\"grö\":x}]", "line 3, column 8"},
		{`[{` + entry, "line 1, column 44: unexpected end"},
		{`[{` + entry + `}] ]`, "line 1, column 47: invalid character ']' after top-level value"},
		{`[] []`, "line 1, column 4"},
		{`[{` + entry + `},]`, "line 1, column 46"},
		{"[{\"service\":\"\xff\"}]", "line 1, column 14 is not UTF-8"},
		{"[{\"service\":\"a\x00b\"}]", "line 1, column 15"},
		{`[` + strings.Repeat(" ", MaxDocumentBytes) + `]`, "has 262146 bytes, at most 262144"},
		{`[null]`, "entry 1: is null, must be an object with service, log_path and topic"},
		{`[[]]`, "entry 1: is an array, must be an object"},
		{`[{}]`, "entry 1: service: is missing, must be a name"},
		{`[{}]`, "entry 1: log_path: is missing, must be an absolute path"},
		{`[{}]`, "entry 1: topic: is missing, must be a Kafka topic"},
		{`[{` + entry + `},{"service":"s"}]`, "entry 2 (s): log_path: is missing"},
		{`[{"service":"","log_path":"/p","topic":"t"}]`, `entry 1 (/p): service: "" is not right, must be a name that is not empty`},
		{`[{"service":" ","log_path":"/p","topic":"t"}]`, `service: " " is not right`},
		{`[{"service":5,"log_path":"/p","topic":"t"}]`, `service: 5 is not right`},
		{`[{"service":"a\u0000b","log_path":"/p","topic":"t"}]`, `service: "a\x00b" holds a control or broken character (U+0000)`},
		{`[{"service":"s","log_path":"/p\u001b[2J","topic":"t"}]`, `holds a control or broken character (U+001B)`},
		{`[{"service":"s","log_path":"/p\ud800","topic":"t"}]`, `holds a control or broken character (U+FFFD)`},
		{`[{"service":"` + strings.Repeat("s", 256) + `","log_path":"/p","topic":"t"}]`, "has 256 bytes, at most 255"},
		{`[{"service":"s","log_path":"/` + strings.Repeat("p", 4096) + `","topic":"t"}]`, "has 4097 bytes, at most 4096"},
		{`[{"service":"s","log_path":"var/log/x","topic":"t"}]`, `entry 1 (s, var/log/x): log_path: "var/log/x" is not right, must be an absolute path`},
		{`[{"service":"s","log_path":"","topic":"t"}]`, `log_path: "" is not right`},
		{`[{"service":"s","log_path":"/var/log/","topic":"t"}]`, "names a folder"},
		{`[{"service":"s","log_path":["/p"],"topic":"t"}]`, `log_path: ["/p"] is not right`},
		{`[{"service":"s","log_path":"/p[","topic":"t"}]`, `log_path: "/p[" is not a valid glob`},
		{`[{"service":"s","log_path":"/p{a","topic":"t"}]`, `is not a valid glob`},
		{`[{` + entry + `},{` + entry + `}]`, `entry 2 (s, /p): log_path: "/p" is named by entry 1 already`},
		{`[{` + entry + `},{"service":"s","log_path":"//./p","topic":"t"}]`, `"//./p" is named by entry 1 already`},
		{`[{"service":"s","log_path":"/p","topic":""}]`, `topic: "" is not right, must be a Kafka topic`},
		{`[{"service":"s","log_path":"/p","topic":"a b"}]`, `topic: "a b" is not right`},
		{`[{"service":"s","log_path":"/p","topic":"t\n"}]`, `topic: "t\n" is not right`},
		{`[{"service":"s","log_path":"/p","topic":".."}]`, `topic: ".." is not right`},
		{`[{"service":"s","log_path":"/p","topic":"."}]`, `topic: "." is not right`},
		{`[{"service":"s","log_path":"/p","topic":"` + strings.Repeat("t", 250) + `"}]`, `is not right, must be a Kafka topic: 1 to 249`},
		{`[{` + entry + `,"send_rate":-1}]`, "send_rate: -1 is not right, must be a whole number of lines per second from 0 (no limit)"},
		{`[{` + entry + `,"send_rate":0.5}]`, "send_rate: 0.5 is not right"},
		{`[{` + entry + `,"send_rate":1e3}]`, "send_rate: 1e3 is not right"},
		{`[{` + entry + `,"send_rate":1000000001}]`, "send_rate: 1000000001 is not right"},
		{`[{` + entry + `,"send_rate":99999999999999999999}]`, "send_rate: 99999999999999999999 is not right"},
		{`[{` + entry + `,"send_rate":"100"}]`, `send_rate: "100" is not right`},
		{`[{` + entry + `,"send_rate":null}]`, `send_rate: null is not right`},
		{`[{` + entry + `,"start_at":"begin"}]`, `start_at: "begin" is not right, must be "end" (the default) or "beginning"`},
		{`[{` + entry + `,"start_at":""}]`, `start_at: "" is not right`},
		{`[{` + entry + `,"partition":"topic"}]`, `partition: "topic" is not right, must be "random"`},
		{`[{` + entry + `,"oversize":"cut"}]`, `oversize: "cut" is not right, must be "split"`},
		{`[{` + entry + `,"oversize":false}]`, `oversize: false is not right`},
		{`[{` + entry + `,"paused":"yes"}]`, `paused: "yes" is not right, must be true or false`},
		{`[{` + entry + `,"paused":1}]`, `paused: 1 is not right`},
		{`[{` + entry + `,"exclude":"*.gz"}]`, `exclude: "*.gz" is not right, must be an array of globs`},
		{`[{` + entry + `,"exclude":[1]}]`, `exclude: 1 is not right`},
		{`[{` + entry + `,"exclude":[""]}]`, `exclude: "" is not right`},
		{`[{` + entry + `,"exclude":["[a"]}]`, `exclude: "[a" is not a valid glob`},
		{`[{` + entry + `,"exclude":["old/*"]}]`, `exclude: "old/*" is relative`},
		{`[{` + entry + `,"topic":"u"}]`, `entry 1 (s, /p): has the field "topic" twice`},
		{`[{` + entry + `,"topi\u0063":"u"}]`, `has the field "topic" twice`},
		{`[{` + entry + `,"note":1,"note":1}]`, `has the field "note" twice`},
	} {
		services, _, err := ParseDocument([]byte(c.raw))
		if err == nil || !strings.Contains(err.Error(), c.want) || services != nil {
			t.Errorf("%.120s\nwant refusal with %s\ngot %v, %v", c.raw, c.want, services, err)
		}
	}
}

func TestEveryProblemOfADocumentIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	_, warnings, err := ParseDocument([]byte(`[
		{"service":"","log_path":"p","topic":"a b","send_rate":-1},
		{"service":"ok","log_path":"/ok","topic":"t"},
		{"service":"c","log_path":"/ok","topic":"t","start_at":"x","colour":1}]`))
	if err == nil {
		t.Fatal("want a refusal")
	}
	for _, want := range []string{
		`entry 1 (p): service: ""`, `entry 1 (p): log_path: "p"`, `entry 1 (p): topic: "a b"`, `entry 1 (p): send_rate: -1`,
		`entry 3 (c, /ok): log_path: "/ok" is named by entry 2 already`, `entry 3 (c, /ok): start_at: "x"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("want %s in\n%v", want, err)
		}
	}
	if lines := strings.Count(err.Error(), "\n") + 1; lines != 6 {
		t.Errorf("want 6 problems, one a line, got\n%v", err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], `entry 3 (c, /ok): unknown field "colour"`) {
		t.Errorf("want the warning beside the refusal, got %q", warnings)
	}
}

func TestThousandsOfProblemsStayReadable(t *testing.T) {
	t.Parallel()
	_, _, err := ParseDocument([]byte("[0" + strings.Repeat(",0", 9999) + "]"))
	if err == nil || !strings.HasSuffix(err.Error(), "and 9900 more problems") || len(err.Error()) > 16<<10 {
		t.Fatalf("want a bounded refusal that counts the rest, got %d bytes: %.200v", len(err.Error()), err)
	}
}

func TestUnknownFieldIsAWarningWithItsLikelyMeaning(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"sendrate": "send_rate", "Send_Rate": "send_rate", "send-rate": "send_rate", "rate": "send_rate", "sned_rate": "send_rate",
		"logpath": "log_path", "path": "log_path", "startat": "start_at", "excludes": "exclude", "pause": "paused",
		"partitions": "partition", "over_size": "oversize", "topics": "topic", "owner": "", "origin_key": "", "": "", "ß": "",
	} {
		raw := fmt.Sprintf(`[{"service":"s","log_path":"/p","topic":"t",%q:{"a":[1]}}]`, name)
		services, warnings, err := ParseDocument([]byte(raw))
		if err != nil || len(services) != 1 || len(warnings) != 1 {
			t.Errorf("%s: want one entry and one warning, got %v, %q, %v", raw, services, warnings, err)
			continue
		}
		hint := ""
		if want != "" {
			hint = "; did you mean " + want + "?"
		}
		if all := fmt.Sprintf("entry 1 (s, /p): unknown field %q is kept and has no effect%s", name, hint); warnings[0] != all {
			t.Errorf("want %s\n got %s", all, warnings[0])
		}
	}
}

func FuzzParseDocument(f *testing.F) {
	f.Add([]byte(exampleDocument))
	f.Add([]byte(`[]`))
	f.Add([]byte(`null`))
	f.Add([]byte(` [ {"service" : "a", "service":1, "log_path":"/a/{b,c}/**","topic":"t","exclude":["*.gz"],"x":[{}]} , {} ] `))
	f.Add([]byte(`[{"service":"s","log_path":"/p\ud800","topic":"t","send_rate":-0}]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		services, warnings, err := ParseDocument(raw)
		for _, text := range append(warnings, fmt.Sprint(err)) {
			if !utf8.ValidString(text) || strings.ContainsAny(text, "\x00\x1b\r\u009b") {
				t.Fatalf("message unfit for a terminal: %q", text)
			}
		}
		if err != nil {
			if services != nil {
				t.Fatalf("refused with services %v", services)
			}
			return
		}
		// What was taken is taken again, and means the same, when it is written anew.
		again, err := json.Marshal(services)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := ParseDocument(again)
		if err != nil && len(again) <= MaxDocumentBytes {
			t.Fatalf("%s refused: %v", again, err)
		}
		for i := range got {
			if !got[i].Equal(&services[i]) {
				t.Fatalf("want %+v, got %+v", services[i], got[i])
			}
		}
	})
}
