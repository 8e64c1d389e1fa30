package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestEntriesAreAddedAndRemovedOnManyHosts(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	p.document(t, "web-1", `[`+nginxEntry+`]`)
	p.document(t, "web-2", `[`+nginxEntry+`,{"service":"sys","log_path":"/var/log/syslog","topic":"other"}]`)
	p.put(t, "/logagent.live/web-3", `{}`) // has no document yet
	fields := []string{"service=sys", "log_path=/var/log/syslog", "topic=sys", "send_rate=100"}
	revision := p.revision(t)
	add := append([]string{"config", "add", "web-*"}, fields...)
	s.says(exitFailed, "web-2", add...)
	if p.revision(t) != revision {
		t.Fatal("one host that it cannot be done to, and something was written")
	}
	s.says(exitDone, "left out: web-2", append(add, "--skip")...)
	s.says(exitDone, "nothing to change", append(add, "--skip", "--filter", "topic=sys")...)
	if got, want := strings.Join(strings.Fields(p.documentOf(t, "web-3")), " "), `"service": "sys", "log_path": "/var/log/syslog", "topic": "sys", "send_rate": 100`; !strings.Contains(got, want) {
		t.Errorf("want %s, got %s", want, got)
	}
	if got := p.documentOf(t, "web-1"); !strings.HasPrefix(got, `[`+nginxEntry+`,`) || !strings.Contains(got, "/var/log/syslog") {
		t.Errorf("got %s", got)
	}
	s.says(exitDone, "saved /logagent/new-host/logconfig", append([]string{"config", "add", "new-host"}, fields...)...)
	s.says(exitFailed, "topic", "config", "add", "new-2", "service=x", "log_path=/x")

	s.says(exitDone, "4 of 4 documents written", "config", "remove", "--all", "sys")
	for name, want := range map[string]string{"web-1": `[` + nginxEntry + `]`, "web-2": `[` + nginxEntry + `]`, "web-3": "[]"} {
		if got := p.documentOf(t, name); strings.Join(strings.Fields(got), "") != strings.Join(strings.Fields(want), "") {
			t.Errorf("%s: want %s, got %s", name, want, got)
		}
	}
	s.says(exitFailed, "no entry", "config", "remove", "web-1", "sys")
	s.says(exitFailed, "none of", "config", "remove", "web-*", "sys")
}

func TestAnEntryFromAGroupIsChangedForAllOrGivenToTheHost(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	p.group(t, "web", `[`+nginxEntry+`]`)
	p.document(t, "web-1", `[`+appEntry+`]`)
	p.put(t, "/logagent.live/web-1", `{"host":"web-1","groups":["web"]}`)
	p.put(t, "/logagent.live/web-2", `{"host":"web-2","groups":["web"]}`) // no document of its own
	p.document(t, "gone-1", `[]`)
	p.put(t, "/logagent.status/gone-1", `{"host":"gone-1","documents":[{"key":"/logagent/gone-1/logconfig"},{"key":"/logagent.groups/web"}]}`)

	for _, verb := range []string{"get", "list"} {
		s.says(exitFailed, "logagent config get web-2 --effective shows it", "config", verb, "web-2")
	}
	revision := p.revision(t)
	for _, host := range []string{"web-1", "web-2", "gone-1", "web-*"} {
		out := s.says(exitFailed, "from group @web, which 3 hosts follow", "config", "set", host, "nginx", "send_rate=1")
		_ = out
	}
	s.says(exitFailed, "config set @web nginx send_rate=1 ", "config", "set", "web-1", "nginx", "send_rate=1")
	s.says(exitFailed, "config set web-1 nginx send_rate=1 --own", "config", "set", "web-1", "nginx", "send_rate=1")
	s.says(exitFailed, "config set web-1 nginx paused=true --own", "config", "remove", "web-1", "nginx")
	if p.revision(t) != revision {
		t.Fatal("a refusal wrote something")
	}

	s.says(exitDone, "3 hosts follow it now", "config", "set", "@web", "nginx", "send_rate=7000", "--dry-run")
	s.says(exitDone, "1 document, 3 hosts: 1 entry changed; send_rate 15k → 21k lines/s", "config", "set", "@web", "nginx", "send_rate=7000", "--dry-run")
	s.says(exitDone, "send_rate 5000 → 0 lines/s", "config", "set", "web-2", "nginx", "paused=true", "--own", "--dry-run")
	if stdout, stderr := s.run(exitDone, "config", "set", "@web", "nginx", "send_rate=7000"); !strings.HasPrefix(stdout, "saved /logagent.groups/web") || stderr != "" {
		t.Errorf("%s %s", stdout, stderr)
	}
	if got, want := p.documentOf(t, "@web"), `[`+strings.Replace(nginxEntry, "5000", "7000", 1)+`]`; got != want {
		t.Errorf("want %s, got %s", want, got)
	}
	s.says(exitDone, "saved /logagent/web-1", "config", "set", "web-1", "nginx", "send_rate=10", "--own")
	s.says(exitDone, "saved /logagent/web-2", "config", "set", "web-2", "nginx", "send_rate=20", "--own")
	var got []effectiveOut
	s.decode(&got, exitDone, "config", "get", "web-1", "--effective", "--json")
	if len(got) != 2 || got[0].From != "web-1" || got[1].From != "web-1" || !strings.Contains(string(got[1].Entry), `"colour": "red"`) || !strings.Contains(string(got[1].Entry), `10`) {
		t.Errorf("want the group's entry as one of its own, changed, got %+v", got)
	}
	s.decode(&got, exitDone, "config", "get", "gone-1", "--effective", "--json")
	if len(got) != 1 || got[0].From != "@web" {
		t.Errorf("%+v", got)
	}
	// Where the group is named too, the change reaches its hosts through it.
	s.says(exitDone, "documents written", "config", "set", "*,@web", "nginx", "topic=all")
	if strings.Contains(p.documentOf(t, "gone-1"), "nginx") || !strings.Contains(p.documentOf(t, "@web"), `"topic":"all"`) {
		t.Errorf("gone-1: %s, @web: %s", p.documentOf(t, "gone-1"), p.documentOf(t, "@web"))
	}
	// A filter sees what a host has from its groups, and leaves hosts out with that.
	s.says(exitDone, "1 of 1 document written", "config", "set", "*", "app", "send_rate=3", "--filter", "host!=gone* service=nginx")
	s.says(exitFailed, "from group @web", "config", "set", "*", "nginx", "send_rate=3", "--filter", "host=gone* service=nginx")
}

func TestEntriesAreNamedByAFilterOrAllAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	e := func(service, rate string) string {
		return fmt.Sprintf(`{"service":%q,"log_path":"/%[1]s.log","topic":"t","send_rate":%s}`, service, rate)
	}
	before := map[string]string{
		"web-1": `[` + e("a", "300") + `,` + e("b", "300") + `,` + e("c", "900") + `]`,
		"web-2": `[` + e("a", "300") + `,` + e("b", "300") + `]`, // 600 in all, none above 500
		"web-3": `[` + e("d", "501") + `]`,
	}
	reset := func() {
		for name, text := range before {
			p.document(t, name, text)
		}
	}
	reset()
	revision := p.revision(t)
	for _, args := range [][]string{
		{"web-1", "send_rate=800"}, {"--all", "send_rate=800"}, {"web-*", "send_rate=800", "paused=true"},
		{"web-*", "--filter", "host=web-1", "send_rate=800"}, {"web-*", "--filter", "web", "send_rate=800"},
	} {
		s.says(exitUsage, "which entry?", append([]string{"config", "set"}, args...)...)
	}
	s.says(exitUsage, "--own is for an entry that is named", "config", "set", "web-1", "*", "send_rate=1", "--own")
	s.says(exitUsage, "change what?", "config", "set", "--all", "*")
	s.says(exitUsage, "sendrate", "config", "set", "web-1", "a", "sendrate=1")
	s.says(exitFailed, "logagent config set web-1 a send_rate=5000", "config", "set", "web-1", "a")
	if p.revision(t) != revision {
		t.Fatal("a refusal wrote something")
	}

	s.says(exitDone, "2 of 2 documents written", "config", "set", "*", "--filter", "rate>500", "send_rate=800")
	for name, old := range map[string]string{"web-1": "900", "web-2": "", "web-3": "501"} {
		want := before[name]
		if old != "" {
			want = strings.Replace(want, old, "800", 1)
		}
		if got := p.documentOf(t, name); got != want {
			t.Errorf("%s: each entry by its own rate\nwant %s\ngot  %s", name, want, got)
		}
	}
	s.says(exitFailed, "passes the filter", "config", "set", "*", "--filter", "service=none", "send_rate=800")
	reset()
	s.says(exitDone, "saved", "config", "set", "web-2", "*", "send_rate=7")
	if got, want := p.documentOf(t, "web-2"), strings.ReplaceAll(before["web-2"], "300", "7"); got != want {
		t.Errorf("want %s, got %s", want, got)
	}
	s.says(exitDone, "3 of 3 documents written", "config", "set", "--all", "*", "send_rate=none")
	if got := p.documentOf(t, "web-1"); strings.Contains(got, "send_rate") {
		t.Errorf("got %s", got)
	}

	// What a host has from a group is not passed over in silence.
	p.group(t, "web", `[`+e("g", "5")+`,`+e("d", "6")+`]`)
	p.put(t, "/logagent.live/web-3", `{"host":"web-3","groups":["web"]}`)
	s.says(exitFailed, "config set @web '*' send_rate=4", "config", "set", "web-3", "*", "send_rate=4")
	s.says(exitFailed, "config set @web --filter 'service=g rate<9' send_rate=4", "config", "set", "*", "--filter", "service=g rate<9", "send_rate=4")
	s.says(exitDone, "documents written", "config", "set", "*,@web", "*", "send_rate=4")
	if got := p.documentOf(t, "@web"); strings.Count(got, `"send_rate":4`) != 2 {
		t.Errorf("got %s", got)
	}
}

func TestADocumentDoesNotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	raw := "[\n\t\x1b[2Jno json\u202e\n]\n"
	p.document(t, "web-1", raw)
	if stdout, _ := (shell{p, t}).run(exitDone, "config", "get", "web-1"); stdout != raw {
		t.Errorf("want the very bytes in a pipe, got %q", stdout)
	}
	o := sit(t, p.dir, 80, 24, nil, "sh", "-c", "echo before; "+shellWords([]string{binary(t), "config", "get", "web-1"})+`; echo "exit $?"; cat`)
	o.sees("␛[2Jno json�")
	o.sees("exit 0")
	o.sees("before")
}

func TestAReviewOfManyDifferentChangesIsBounded(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	for i := range 25 {
		p.document(t, fmt.Sprintf("web-%02d", i), fmt.Sprintf(`[{"service":"a","log_path":"/a","topic":"t","send_rate":%d}]`, 100+i))
	}
	stdout := s.says(exitDone, "… and 5 documents more: with --json all of them are shown", "config", "set", "web-*", "a", "send_rate=1", "--dry-run")
	if strings.Contains(stdout, "web-20") || !strings.Contains(stdout, "web-19") || !strings.Contains(stdout, "25 documents: 25 entries changed") {
		t.Errorf("got %s", stdout)
	}
	var plan planOut
	s.decode(&plan, exitDone, "config", "set", "web-*", "a", "send_rate=1", "--dry-run", "--json")
	if len(plan.Changes) != 25 {
		t.Errorf("want all, got %d", len(plan.Changes))
	}
}

func TestWrongUsageIsToldInItsOwnWords(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	p.document(t, "web-1", `[`+nginxEntry+`]`)
	for words, args := range map[string][]string{
		"how many hosts go first?":  {"web-*", "nginx", "send_rate=1", "--healthy", "5m"},
		"are what a --canary":       {"web-*", "nginx", "send_rate=1", "--max-lag-growth", "1MiB"},
		"names of hosts hold no":    {"web/*", "nginx", "send_rate=1"},
		"a bracket, a brace or":     {"web-[0", "nginx", "send_rate=1"},
		"is for what goes out behi": {"web-*", "nginx", "send_rate=1", "--wave", "2"},
	} {
		s.says(exitUsage, words, append([]string{"config", "set"}, args...)...)
	}
	p.group(t, "web", `[`+appEntry+`]`)
	p.put(t, "/logagent.live/web-1", `{"groups":["web"]}`)
	p.document(t, "web-2", `[`+appEntry+`]`)
	_, stderr := s.run(exitDone, "config", "set", "web-*", "app", "send_rate=1", "--skip")
	if !strings.Contains(stderr, "1 host follows now:\nlogagent:   logagent config set @web app send_rate=1 ") {
		t.Errorf("want a line for each advice, got %s", stderr)
	}
}

func TestADocumentIsDeletedAndPutBack(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	texts := map[string]string{"web-1": "[ " + nginxEntry + " ]", "@web": `[` + appEntry + `]`, "web-*": "[]", "broken": `[{"service":""}]`}
	for name, text := range texts {
		if group, ok := strings.CutPrefix(name, "@"); ok {
			p.group(t, group, text)
		} else {
			p.document(t, name, text)
		}
	}
	p.document(t, "web-2", "[]")
	p.put(t, "/logagent.live/web-2", `{"host":"web-2","groups":["web"]}`)
	s.says(exitDone, "1 host follows it now", "config", "delete", "@web", "--dry-run")
	for name, text := range texts {
		s.says(exitDone, "the document is deleted", "config", "delete", name, "--dry-run")
		if got := p.documentOf(t, name); got != text {
			t.Fatalf("a dry run deleted %s: %s", name, got)
		}
		stdout, stderr := s.run(exitDone, "config", "delete", name, "--note", "by mistake")
		if !strings.HasPrefix(stdout, "deleted /logagent") || stderr != "" {
			t.Errorf("%s: %s %s", name, stdout, stderr)
		}
		s.says(exitFailed, "does not exist", "config", "get", name)
		s.says(exitFailed, "does not exist", "config", "delete", name)
		s.says(exitDone, "the document is deleted", "config", "history", name)
		s.says(exitDone, `"the document is deleted"`, "config", "history", name, "--json")
	}
	s.says(exitDone, "web-2", "config", "get", "web-2", "--json") // not meant by web-*
	s.says(exitDone, "saved /logagent.groups/web", "config", "rollback", "@web")
	s.says(exitDone, "saved /logagent/web-1", "config", "rollback", "web-1")
	for _, name := range []string{"web-1", "@web"} {
		if got := p.documentOf(t, name); got != texts[name] {
			t.Errorf("%s: want %s, got %s", name, texts[name], got)
		}
	}
	s.says(exitUsage, "one host", "config", "delete", "web-1", "web-2")
	s.says(exitUsage, "config delete @web", "hosts", "forget", "@web")
}
