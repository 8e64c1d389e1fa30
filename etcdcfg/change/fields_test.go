package change

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestFieldsOfACommandLineAreRead(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]string{
		"send_rate=5000": `5000`, "send_rate=0": `0`, "send_rate=none": `null`, "send_rate=": `null`, "send_rate=null": `null`, " send_rate = 7 ": `7`,
		"paused=true": `true`, "paused=false": `false`, "paused=": `null`,
		"topic=x": `"x"`, `topic="x"`: `"x"`, "service=5": `"5"`, `service="a b"`: `"a b"`, "service=<a&b>": `"<a&b>"`, "service=a b": `"a b"`, "service=a=b": `"a=b"`,
		"log_path=/var/log/{a,b}/[x-z]*.log": `"/var/log/{a,b}/[x-z]*.log"`,
		`exclude=["*.gz", "/old/**"]`:        `["*.gz","/old/**"]`, "exclude=*.gz": `["*.gz"]`, `exclude="*.gz"`: `["*.gz"]`, "exclude=": `null`, "exclude=[]": `[]`,
		"start_at=beginning": `"beginning"`, `partition="host"`: `"host"`, "oversize=skip": `"skip"`, "oversize=": `null`,
	} {
		name, _, _ := strings.Cut(strings.TrimSpace(arg), "=")
		got, err := ParseFields([]string{arg})
		if err != nil || len(got) != 1 || string(got[strings.TrimSpace(name)]) != want {
			t.Errorf("%s: want %s, got %s, %v", arg, want, got, err)
		}
	}
	got, err := ParseFields([]string{"topic=x", "send_rate=5"})
	if err != nil || !maps.EqualFunc(got, fields("topic", `"x"`, "send_rate", "5"), slices.Equal) {
		t.Errorf("want both, got %s, %v", got, err)
	}
	if got, err := ParseFields(nil); err != nil || len(got) > 0 {
		t.Errorf("want none, got %s, %v", got, err)
	}
}

func TestFieldThatIsNotRightIsRefusedInTheDocumentsWords(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]string{
		"paused":          `"paused": must be a field and its value, such as send_rate=5000`,
		"=5":              `"=5": must be a field and its value`,
		"send_rat=5":      `unknown field "send_rat"; did you mean send_rate?`,
		"rate=5":          `unknown field "rate"; did you mean send_rate?`,
		"sendrate=":       `unknown field "sendrate"; did you mean send_rate?`,
		"colour=red":      `unknown field "colour", must be one of service, log_path, topic, send_rate,`,
		"origin_key=x":    `unknown field "origin_key", must be one of`,
		"send_rate=5k":    `send_rate: "5k" is not right, must be a whole number of lines per second from 0 (no limit) to 1000000000`,
		"send_rate=-1":    "send_rate: -1 is not right",
		"send_rate=1e3":   "send_rate: 1e3 is not right",
		"paused=yes":      `paused: "yes" is not right, must be true or false`,
		`paused="true"`:   `paused: "true" is not right, must be true or false`,
		"topic=a b":       `topic: "a b" is not right, must be a Kafka topic`,
		"topic=":          "topic cannot be taken away: every entry has one",
		"log_path=":       "log_path cannot be taken away",
		"service=null":    "service cannot be taken away",
		"log_path=var":    `log_path: "var" is not right, must be an absolute path`,
		"log_path=/v[":    `log_path: "/v[" is not a valid glob`,
		"start_at=begin":  `start_at: "begin" is not right, must be "end" (the default) or "beginning"`,
		"exclude=[a]*.gz": `exclude: "[a]*.gz" is no JSON, must be an array of globs, such as ["*.gz"]`,
		"exclude=a/b":     `exclude: "a/b" is relative`,
		"exclude=[5]":     "exclude: 5 is not right",
		"oversize=cut":    `oversize: "cut" is not right`,
	} {
		if got, err := ParseFields([]string{arg}); got != nil || err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s\nwant %s\n got %s, %v", arg, want, got, err)
		}
	}
}

func TestEveryProblemOfACommandLinesFieldsIsNamed(t *testing.T) {
	t.Parallel()
	got, err := ParseFields([]string{"topic=a b", "send_rate=5", "send_rate=6", "nonsense", "start=x"})
	want := []string{"topic: ", "send_rate is given twice", `"nonsense": must be`, `unknown field "start"; did you mean start_at?`}
	if got != nil || err == nil {
		t.Fatalf("taken as %s", got)
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("want %q, got\n%v", want, err)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, want[i]) {
			t.Errorf("want %s\n got %s", want[i], line)
		}
	}
}

// FuzzFieldThatIsTakenMakesAnEntry: what ParseFields takes, a document takes.
func FuzzFieldThatIsTakenMakesAnEntry(f *testing.F) {
	for _, seed := range []string{"send_rate=5", "exclude=*.gz", `exclude=["a"]`, `topic="x"`, "paused=true", "log_path=/a/*", "service=\xff", "start_at="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		got, err := ParseFields([]string{arg})
		if err != nil {
			return
		}
		for name := range got {
			after, err := Apply("", doc(entry("/p", `"send_rate":1,"exclude":["x"],"paused":true`)), []Edit{{Op: OpSet, LogPath: "/p", Fields: got}})
			if err != nil {
				t.Fatalf("%s: %v", arg, err)
			}
			e := readDocument(after).items[0].text
			if want := meaning(name, got[name]); meaning(name, memberOf(e, name)) != want {
				t.Fatalf("%s: want %s in %s", arg, want, e)
			}
		}
	})
}
