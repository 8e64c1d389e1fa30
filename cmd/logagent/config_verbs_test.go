package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
	"logagent/internal/lab"
)

// shell runs verbs in a place and holds them to their exit code.
type shell struct {
	*place
	t *testing.T
}

func (s shell) run(code int, args ...string) (stdout, stderr string) {
	s.t.Helper()
	got, stdout, stderr := runBinary(s.t, s.dir, args...)
	if got != code {
		s.t.Fatalf("%q: want exit %d, got %d\nstdout: %s\nstderr: %s", args, code, got, stdout, stderr)
	}
	return stdout, stderr
}

// says wants words somewhere in what a verb writes.
func (s shell) says(code int, words string, args ...string) string {
	s.t.Helper()
	stdout, stderr := s.run(code, args...)
	if !strings.Contains(stdout+stderr, words) {
		s.t.Errorf("%q: want %q\nstdout: %s\nstderr: %s", args, words, stdout, stderr)
	}
	return stdout
}

func (s shell) decode(v any, code int, args ...string) {
	s.t.Helper()
	stdout, stderr := s.run(code, args...)
	if err := json.Unmarshal([]byte(stdout), v); err != nil {
		s.t.Fatalf("%q: %v\nstdout: %s\nstderr: %s", args, err, stdout, stderr)
	}
}

// group puts the document of a group; name without its @.
func (p *place) group(t *testing.T, name, text string) { p.put(t, "/logagent.groups/"+name, text) }

// revision is that of the whole etcd: it moves with every write.
func (p *place) revision(t *testing.T) int64 {
	t.Helper()
	r, err := p.etcd.Client().Get(t.Context(), "none")
	if err != nil {
		t.Fatal(err)
	}
	return r.Header.Revision
}

func (p *place) documentOf(t *testing.T, name string) string {
	t.Helper()
	l, err := etcdcfg.ParsePattern(etcdcfg.DefaultPattern)
	if err != nil {
		t.Fatal(err)
	}
	return p.key(t, l.Config(name))
}

const (
	nginxEntry = `{"service":"nginx",  "log_path":"/var/log/nginx/access.log","topic":"web","send_rate":5000,"colour":"red"}`
	appEntry   = `{ "log_path":"/srv/app.log", "service":"app", "topic":"app" }`
)

func TestFieldsAreSetOnManyDocumentsAtOnceAndTakenBack(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	before := make(map[string]string)
	for i := range 40 {
		name := fmt.Sprintf("web-%02d", i)
		before[name] = fmt.Sprintf("[%s,\n\t%s ]", nginxEntry, appEntry)
		p.document(t, name, before[name])
	}
	p.document(t, "db-1", `[`+appEntry+`]`)
	s.says(exitDone, "40 documents: web-00 web-01 web-02 … web-39", "config", "set", "web-*", "nginx", "send_rate=8000", "--note", "evening peak")
	at := int64(0)
	for name, text := range before {
		if got, want := p.documentOf(t, name), strings.Replace(text, "5000", "8000", 1); got != want {
			t.Errorf("%s: a changed field touches nothing else\nwant %s\ngot  %s", name, want, got)
		}
		var d documentOut
		s.decode(&d, exitDone, "config", "get", name, "--json")
		if at == 0 {
			at = d.Revision
		}
		if d.Revision != at {
			t.Errorf("%s was written in another transaction", name)
		}
	}
	var records []recordOut
	s.decode(&records, exitDone, "config", "history", "web-07", "--json")
	if len(records) == 0 || records[0].Note != "evening peak" || records[0].Who.User == "" || records[0].Change == "" ||
		len(records[0].Entries) != 1 || string(records[0].Entries[0].Fields[0].After) != "8000" {
		t.Fatalf("%+v", records)
	}
	if text, _ := s.run(exitDone, "config", "history", "show", records[0].ID); !strings.Contains(text, "send_rate 5000 → 8000") || !strings.Contains(text, "evening peak") {
		t.Errorf("got %s", text)
	}
	var sets []changeSetOut
	s.decode(&sets, exitDone, "config", "changes", "--json")
	if len(sets) != 1 || sets[0].ID != records[0].Change || !sets[0].Atomic || sets[0].Done != 40 {
		t.Fatalf("%+v", sets)
	}
	p.document(t, "web-03", strings.Replace(before["web-03"], "5000", "9000", 1)) // somebody else
	p.document(t, "web-04", strings.Replace(p.documentOf(t, "web-04"), `"app" }`, `"later" }`, 1))
	p.document(t, "web-05", before["web-05"])
	var back planOut
	s.decode(&back, exitDone, "config", "reverse", sets[0].ID, "--dry-run", "--json")
	if len(back.Changes) != 38 || len(back.Conflicts) != 1 || back.Conflicts[0].Name != "web-03" || !slices.Equal(back.Same, []string{"web-05"}) || back.Effect.RateAfter != 38*5000 {
		t.Errorf("want what stands there now looked at, got %d changes, %+v, same %q, %+v", len(back.Changes), back.Conflicts, back.Same, back.Effect)
	}
	for _, c := range back.Changes {
		if len(c.Entries) != 1 {
			t.Errorf("%s: somebody else's entry is taken for the change's: %+v", c.Name, c.Entries)
		}
	}
	s.says(exitDone, "conflict: web-03", "config", "reverse", sets[0].ID, "--dry-run")
	before["web-04"] = strings.Replace(before["web-04"], `"app" }`, `"later" }`, 1)
	stdout := s.says(exitFailed, "38 of 40 documents written", "config", "reverse", sets[0].ID)
	if !strings.Contains(stdout, "conflict") || !strings.Contains(stdout, "web-03") {
		t.Errorf("want the conflict named, got %s", stdout)
	}
	for name, text := range before {
		if name == "web-03" {
			text = strings.Replace(text, "5000", "9000", 1)
		}
		if got := p.documentOf(t, name); got != text {
			t.Errorf("%s is not as it was: %s", name, got)
		}
	}
	if got := p.documentOf(t, "db-1"); got != `[`+appEntry+`]` {
		t.Errorf("a host that was not selected: %s", got)
	}
}

func TestExportAndApplyAreTheIdentity(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	documents := map[string]string{
		"web-1":    `[` + nginxEntry + `]`,
		"web-2":    "[\n  " + appEntry + "\n]\n",
		"empty":    `[]`,
		"broken":   `[{"service":""}]`,
		"garbage":  "\xff\xfe no json",
		"10.0.0.7": `[{"service":"s","log_path":"/ü \"x\".log","topic":"t","exclude":["*.gz"],"future":{"a":[1,2.50,null]}}]`,
	}
	for name, text := range documents {
		p.document(t, name, text)
	}
	p.group(t, "web", "[ "+nginxEntry+" ]")
	file := filepath.Join(p.dir, "fleet.json")
	text, _ := s.run(exitDone, "config", "export")
	writeFile(t, file, text)
	s.says(exitDone, "7 documents written", "config", "export", "-o", file+"2")
	if got := readFile(t, file+"2"); got != text {
		t.Error("-o writes something else than what standard output gets")
	}
	revision := p.revision(t)
	s.says(exitDone, "nothing to change", "config", "apply", "-f", file)
	s.says(exitDone, "no difference", "config", "diff", "-f", file, "--exit-code")
	if got := p.revision(t); got != revision {
		t.Fatalf("export and apply wrote: revision %d became %d", revision, got)
	}

	// A host that is not named stays; an entry that is not in the file goes; what is the same stays to the byte.
	p.document(t, "other", `[`+appEntry+`]`)
	p.document(t, "web-1", `[`+appEntry+","+nginxEntry+`]`)
	p.group(t, "web", `[]`)
	if _, err := p.etcd.Client().Delete(t.Context(), "/logagent/web-2/logconfig"); err != nil {
		t.Fatal(err)
	}
	s.says(exitDiffers, "- app /srv/app.log", "config", "diff", "-f", file, "--exit-code")
	s.says(exitDone, "3 of 3 documents written", "config", "apply", "-f", file)
	again, _ := s.run(exitDone, "config", "export", "web-*,@*,10.*,broken,empty,garbage")
	if again != text {
		t.Errorf("want what was exported\n%s\ngot\n%s", text, again)
	}
	if got := p.documentOf(t, "web-1"); got != documents["web-1"] {
		t.Errorf("bytes that were not asked for changed: %s", got)
	}
	if got := p.documentOf(t, "other"); got != `[`+appEntry+`]` {
		t.Errorf("a host that is not named in the file: %s", got)
	}

	// A broken document travels, and is not written where it stands otherwise.
	p.document(t, "broken", `[]`)
	s.says(exitFailed, "broken", "config", "apply", "-f", file)
	if got := p.documentOf(t, "broken"); got != `[]` {
		t.Errorf("a broken document was written: %s", got)
	}
	s.says(exitDone, "nothing to change", "config", "apply", "-f", file, "--skip")
}

func TestImportBringsInWhatIsMissing(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	p.document(t, "web-1", `[]`)
	folder := filepath.Join(p.dir, "in")
	own := "[\n" + nginxEntry + "\n]"
	writeFile(t, filepath.Join(folder, "web-1.json"), own)
	writeFile(t, filepath.Join(folder, "web-2.json"), own)
	writeFile(t, filepath.Join(folder, "@web.json"), own)
	writeFile(t, filepath.Join(folder, "README"), "no document")
	s.says(exitDone, "left as they are, because they have a document: web-1", "config", "import", "-f", folder)
	for name, want := range map[string]string{"web-1": "[]", "web-2": own, "@web": own} {
		if got := p.documentOf(t, name); got != want {
			t.Errorf("%s: want %s, got %s", name, want, got)
		}
	}
	s.run(exitDone, "config", "import", "-f", folder, "--replace")
	if got := p.documentOf(t, "web-1"); !strings.Contains(got, "nginx") {
		t.Errorf("got %s", got)
	}
	writeFile(t, filepath.Join(folder, "web-3.json"), `[{"service":"s"}]`)
	revision := p.revision(t)
	s.says(exitFailed, "web-3.json", "config", "import", "-f", folder)
	if p.revision(t) != revision {
		t.Error("a folder with a broken document is taken whole or not at all")
	}
}

func TestARefusedWriteIsNotToldAsUncertain(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	for _, host := range []string{"web-1", "web-2"} {
		p.document(t, host, `[`+nginxEntry+`]`)
	}
	c := p.etcd.Client()
	for _, err := range []error{
		lab.AddEtcdUser(t.Context(), c, "reader", "secret"),
		second(c.RoleGrantPermission(t.Context(), "reader", "/logagent", clientv3.GetPrefixRangeEnd("/logagent"), clientv3.PermissionType(clientv3.PermRead))),
		second(c.RoleAdd(t.Context(), "root")),
		second(c.UserAdd(t.Context(), "root", "root")),
		second(c.UserGrantRole(t.Context(), "root", "root")),
		second(c.AuthEnable(t.Context())),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	secret := writeFile(t, filepath.Join(p.dir, "conf", "password"), "secret\n")
	if err := os.Chmod(secret, 0o600); err != nil {
		t.Fatal(err)
	}
	p.configure(t, "etcd_user = reader", "etcd_password_file = "+secret)
	_, stderr := shell{p, t}.run(exitFailed, "config", "set", "web-*", "nginx", "send_rate=1")
	if strings.Contains(stderr, "resume") || strings.Contains(stderr, "not known") || !strings.Contains(stderr, "does not allow this") {
		t.Errorf("want a plain refusal, got %s", stderr)
	}
}

func second[T any](_ T, err error) error { return err }

func TestDryRunWritesNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	p.document(t, "web-1", `[`+nginxEntry+`]`)
	p.document(t, "web-2", `[`+nginxEntry+`]`)
	s.run(exitDone, "config", "set", "web-*", "nginx", "send_rate=6000")
	var sets []changeSetOut
	s.decode(&sets, exitDone, "config", "changes", "--json")
	file := writeFile(t, filepath.Join(p.dir, "doc.json"), `[`+appEntry+`]`)
	fleet := writeFile(t, filepath.Join(p.dir, "fleet.json"), `{"version":1,"hosts":{"web-1":[],"web-9":[`+appEntry+`]}}`)
	editor := script(t, p.dir, `sed -i s/6000/7000/ "$1"`)
	revision := p.revision(t)
	for _, args := range [][]string{
		{"set", "web-1", "nginx", "send_rate=7000"},
		{"set", "web-*", "nginx", "paused=true"},
		{"set", "web-1", file},
		{"set", "web-*", "nginx", "send_rate=1", "--canary", "1"},
		{"add", "web-*", file},
		{"remove", "--all", "nginx"},
		{"apply", "-f", fleet},
		{"import", "-f", fleet},
		{"rollback", "web-1"},
		{"reverse", sets[0].ID},
		{"edit", "web-1"},
	} {
		d := startWith(t, p.dir, append(append([]string{"config"}, args...), "--dry-run"), func(p *process) { p.Env = append(p.Env, "EDITOR="+editor) })
		if code := d.exit(t); code != exitDone || !strings.Contains(d.stdout.String(), "dry run: nothing was written") || !strings.Contains(d.stdout.String(), "web-") {
			t.Errorf("%q: exit %d\nstdout: %s\nstderr: %s", args, code, d.stdout, d.stderr)
		}
		if got := p.revision(t); got != revision {
			t.Fatalf("%q wrote: revision %d became %d", args, revision, got)
		}
	}
	var plan planOut
	for _, c := range []struct {
		state string
		args  []string
	}{
		{"planned", []string{"web-1", "nginx", "send_rate=7000", "--dry-run"}},
		{"planned", []string{"web-*", "nginx", "send_rate=7000", "--dry-run"}},
		{"unchanged", []string{"web-*", "nginx", "send_rate=6000"}},
		{"unchanged", []string{"web-1", "nginx", "send_rate=6000"}},
		{"unchanged", []string{"web-1", "nginx", "send_rate=6000", "--dry-run"}},
		{"done", []string{"web-1", "nginx", "topic=x"}},
		{"done", []string{"web-*", "nginx", "topic=y"}},
	} {
		var got struct{ State string }
		s.decode(&got, exitDone, append([]string{"config", "set", "--json"}, c.args...)...)
		if got.State != c.state {
			t.Errorf("%q: want state %s, got %q", c.args, c.state, got.State)
		}
	}
	s.decode(&plan, exitDone, "config", "set", "web-*", "nginx", "send_rate=7000", "--dry-run", "--json")
	if len(plan.Changes) != 2 || plan.Effect.RateBefore != 12000 || plan.Effect.RateAfter != 14000 {
		t.Errorf("%+v", plan)
	}
}

func TestADocumentIsRolledBackToAnyMomentOfItsHistory(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	first := "[" + nginxEntry + "]\n"
	file := writeFile(t, filepath.Join(p.dir, "doc.json"), first)
	s.run(exitDone, "config", "set", "web-1", file)
	s.run(exitDone, "config", "set", "web-1", "nginx", "send_rate=6000")
	s.run(exitDone, "config", "set", "web-1", "nginx", "send_rate=7000")
	if _, err := p.etcd.Client().Compact(t.Context(), p.revision(t)); err != nil {
		t.Fatal(err)
	}
	s.says(exitDone, "saved", "config", "rollback", "web-1")
	if got := p.documentOf(t, "web-1"); got != strings.Replace(first, "5000", "6000", 1) {
		t.Fatalf("got %s", got)
	}
	var records []recordOut
	s.decode(&records, exitDone, "config", "history", "web-1", "--json")
	if len(records) != 4 || records[0].Kind != change.KindRollback || records[0].Of != records[1].ID+"^" {
		t.Fatalf("%+v", records)
	}
	s.says(exitDone, "saved", "config", "rollback", "web-1", records[3].ID)
	if got := p.documentOf(t, "web-1"); got != first {
		t.Errorf("want the bytes of then, got %s", got)
	}
	if got, _ := s.run(exitDone, "config", "get", "web-1", "--at", records[1].ID); got != strings.Replace(first, "5000", "7000", 1) {
		t.Errorf("got %s", got)
	}
	s.says(exitDone, "send_rate 6000 → 7000", "config", "diff", "web-1", records[2].ID, records[1].ID)

	// By other means.
	p.document(t, "web-1", `[`+appEntry+`]`)
	s.says(exitDone, "outside", "config", "history", "web-1")
	s.says(exitDone, "saved", "config", "rollback", "web-1")
	if got := p.documentOf(t, "web-1"); got != first {
		t.Errorf("want what stood before the edit by other means, got %s", got)
	}
	// To before there was any.
	s.says(exitDone, "deleted /logagent/web-1/logconfig", "config", "rollback", "web-1", records[3].ID+"^")
	if got := p.documentOf(t, "web-1"); got != "" {
		t.Errorf("got %s", got)
	}
	s.says(exitDone, "saved", "config", "rollback", "web-1")
	if got := p.documentOf(t, "web-1"); got != first {
		t.Errorf("a rollback can be rolled back, got %s", got)
	}
	s.says(exitFailed, "no such record", "config", "rollback", "web-1", "01JD0000000000000000000000")
	s.says(exitFailed, "no history", "config", "rollback", "nobody")
}

func TestListTellsOfTwoThousandDocumentsQuickly(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	const hosts = 2000
	manyDocuments(t, p, hosts)
	p.document(t, "broken", "[")
	begin := time.Now()
	var out []listed
	s.decode(&out, exitDone, "config", "list", "--json")
	took := time.Since(begin)
	if len(out) != hosts+1 || out[0].Problem == "" || out[1].Name != "h-0000" || out[1].SendRate != 5000 || !slices.Equal(out[1].Services, []string{"nginx"}) {
		t.Errorf("%d documents: %+v", len(out), out[:2])
	}
	t.Logf("%d documents listed in %s", len(out), took)
	if took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	if out, _ := s.run(exitDone, "config", "list", "h-00*", "--filter", "rate<5100 nginx"); strings.Count(out, "\n") != 101 || !strings.HasPrefix(out, "NAME") {
		t.Errorf("got %d lines: %.300s", strings.Count(out, "\n"), out)
	}
}

// manyDocuments writes the documents h-0000 and so on.
func manyDocuments(t *testing.T, p *place, n int) {
	t.Helper()
	for i := range n {
		p.document(t, fmt.Sprintf("h-%04d", i), `[`+nginxEntry+`]`)
	}
}

func TestHostileTextInEtcdDoesNothingToTheTerminal(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	p.document(t, "web-1", "[{\"service\":\"\u202eevil\u200b\",\"log_path\":\"/x\",\"topic\":\"t\"}]")
	p.document(t, "web-2", "\x1b[2J\x1b]0;gone\x07")
	s.run(exitDone, "config", "set", "web-1", "/x", "send_rate=5", "--note", "a \u202e b")
	for _, args := range [][]string{{"list"}, {"list", "-l"}, {"history"}, {"history", "web-1", "-l"}, {"get", "web-1", "--effective"}, {"diff", "web-1"}, {"set", "*", "/x", "send_rate=6", "--dry-run", "--skip"}} {
		code, stdout, stderr := runBinary(t, p.dir, append([]string{"config"}, args...)...)
		if code != exitDone {
			t.Errorf("%q: exit %d: %s", args, code, stderr)
		}
		if i := strings.IndexAny(stdout+stderr, "\x1b\x07\u202e\u200b"); i >= 0 {
			t.Errorf("%q: byte %d of %q", args, i, stdout+stderr)
		}
	}
}

func TestValidateTakesTheFileOfAFleet(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := writeFile(t, filepath.Join(dir, "good.json"), `{"version":1,"hosts":{"web-1":[`+nginxEntry+`]},"groups":{"web":[`+appEntry+`]}}`)
	bad := writeFile(t, filepath.Join(dir, "bad.json"), `{"version":1,"hosts":{"web-1":[{"service":"s","log_path":"/a"}],"a/b":[]}}`)
	object := writeFile(t, filepath.Join(dir, "object.json"), nginxEntry)
	for file, want := range map[string]string{good: "valid, 2 documents, entries 2", bad: "web-1", object: "put [ and ] around it"} {
		code, stdout, stderr := runBinary(t, dir, "config", "validate", file)
		if wantCode := exitFailed; file == good {
			wantCode = exitDone
			if code != wantCode {
				t.Errorf("exit %d", code)
			}
		} else if code != wantCode {
			t.Errorf("exit %d", code)
		}
		if !strings.Contains(stdout+stderr, want) {
			t.Errorf("%s: want %q, got %s%s", file, want, stdout, stderr)
		}
	}
}

// script writes a program for EDITOR; the file is its $1.
func script(t *testing.T, dir, text string) string {
	t.Helper()
	path := filepath.Join(dir, fmt.Sprintf("editor-%d.sh", time.Now().UnixNano()))
	writeFile(t, path, "#!/bin/sh\n"+text+"\n")
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTheHistoryIsAsLongAsTheConfigurationSays(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "history_keep = 10")
	s := shell{p, t}
	p.document(t, "web-1", `[`+nginxEntry+`]`)
	for rate := range 12 {
		s.run(exitDone, "config", "set", "web-1", "nginx", fmt.Sprintf("send_rate=%d", rate+1))
	}
	var records []recordOut
	s.decode(&records, exitDone, "config", "history", "web-1", "--json", "-n", "0")
	if len(records) != 10 || string(records[0].Entries[0].Fields[0].After) != "12" {
		t.Errorf("want the newest ten and nothing by other means, got %+v", records)
	}
	p.configure(t, "history_keep = 9") // of what all write
	s.says(exitFailed, "history_keep", "config", "list")
}
