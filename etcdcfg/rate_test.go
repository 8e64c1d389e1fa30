package etcdcfg

import (
	"testing"

	"logagent/agent"
)

func TestRateIsChangedAndNoOtherByte(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, before, after string }{
		{"one line",
			`[{"service":"s","log_path":"/p","topic":"t","send_rate":1000}]`,
			`[{"service":"s","log_path":"/p","topic":"t","send_rate":77}]`},
		{"white space, order, unknown fields and escapes",
			"\n[ {\"send_rate\" :\t5 , \"x\":{\"send_rate\":5},\n\"service\":\"s\",\"log_p\\u0061th\":\"\\/p\",\"topic\":\"t\"} ]\n",
			"\n[ {\"send_rate\" :\t77 , \"x\":{\"send_rate\":5},\n\"service\":\"s\",\"log_p\\u0061th\":\"\\/p\",\"topic\":\"t\"} ]\n"},
		{"the right entry of three",
			`[{"service":"a","log_path":"/a","topic":"t","send_rate":1},{"service":"s","log_path":"/p","topic":"t","send_rate":1}, {"service":"b","log_path":"/b","topic":"t","send_rate":1}]`,
			`[{"service":"a","log_path":"/a","topic":"t","send_rate":1},{"service":"s","log_path":"/p","topic":"t","send_rate":77}, {"service":"b","log_path":"/b","topic":"t","send_rate":1}]`},
		{"absent, dense",
			`[{"service":"s","log_path":"/p","topic":"t"}]`,
			`[{"service":"s","log_path":"/p","topic":"t","send_rate":77}]`},
		{"absent, indented",
			"[\n  {\n    \"service\": \"s\",\n    \"log_path\": \"/p\",\n    \"topic\": \"t\"\n  }\n]\n",
			"[\n  {\n    \"service\": \"s\",\n    \"log_path\": \"/p\",\n    \"topic\": \"t\",\n    \"send_rate\": 77\n  }\n]\n"},
	} {
		got, err := editRate([]byte(c.before), "/p", 77)
		if err != nil || string(got) != c.after {
			t.Errorf("%s: %v\nwant %s\n got %s", c.name, err, c.after, got)
		}
	}
}

func FuzzRateIsChangedAndNoOtherByte(f *testing.F) {
	for _, seed := range []string{
		`[{"service":"s","log_path":"/p","topic":"t","send_rate":1000}]`,
		"[\n {\n  \"topic\" : \"t\",\n  \"x\": [1, {\"send_rate\":3}],\r\n\t\"log_path\":\"/p\" , \"service\":\"s\" } , {\"service\":\"b\",\"log_path\":\"/b\",\"topic\":\"t\",\"send_rate\":-0 ,\"y\":1e9} ]",
	} {
		f.Add([]byte(seed), uint(0), int64(5))
		f.Add([]byte(seed), uint(1), int64(0))
	}
	f.Fuzz(func(t *testing.T, raw []byte, pick uint, rate int64) {
		before, _, err := agent.ParseDocument(raw)
		if err != nil || len(before) == 0 || rate < 0 || rate > agent.MaxSendRate {
			return
		}
		i := int(pick % uint(len(before)))
		edited, err := editRate(raw, before[i].LogPath, rate)
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if len(edited) > agent.MaxDocumentBytes {
			return
		}
		after, _, err := agent.ParseDocument(edited)
		if err != nil || len(after) != len(before) {
			t.Fatalf("%s\nbecame %s: %v", raw, edited, err)
		}
		want := append([]agent.Service(nil), before...)
		want[i].SendRate = rate
		for j := range want {
			if !after[j].Equal(&want[j]) {
				t.Fatalf("%s\nbecame %s\nwant %+v, got %+v", raw, edited, want[j], after[j])
			}
		}
		// What is not common to both is one number, with its name where there was none.
		head := 0
		for head < len(raw) && head < len(edited) && raw[head] == edited[head] {
			head++
		}
		tail := 0
		for tail < len(raw)-head && tail < len(edited)-head && raw[len(raw)-1-tail] == edited[len(edited)-1-tail] {
			tail++
		}
		for _, b := range raw[head : len(raw)-tail] {
			if (b < '0' || b > '9') && b != '-' {
				t.Fatalf("%s\nbecame %s: more than a number was replaced", raw, edited)
			}
		}
	})
}
