package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"logagent/internal/term"
)

// edited runs config edit with a script as the editor; in the script other writes a document
// as another console would, while the editor is open.
func edited(t *testing.T, p *place, host, editor string, args ...string) *process {
	t.Helper()
	path := script(t, p.dir, "other() { "+binary(t)+" config set \"$@\" >other.log 2>&1 || { cat other.log >&2; exit 9; }; }\n"+editor)
	e := startWith(t, p.dir, append([]string{"config", "edit", host}, args...), func(e *process) { e.Env = append(e.Env, "VISUAL=", "EDITOR="+path) })
	e.exit(t)
	return e
}

func (p *process) saw(t *testing.T, code int, words ...string) {
	t.Helper()
	if got := p.exit(t); got != code || !holdsAll(p.stdout.String()+p.stderr.String(), words) {
		t.Fatalf("want exit %d and %q, got %d\nstdout: %s\nstderr: %s", code, words, got, p.stdout, p.stderr)
	}
}

var keptIn = regexp.MustCompile(`what you typed is kept in (\S+)`)

// kept is the text of the file that a failed edit names.
func (p *process) kept(t *testing.T) string {
	t.Helper()
	m := keptIn.FindStringSubmatch(p.stderr.String())
	if m == nil {
		t.Fatalf("no file is named: %s", p.stderr)
	}
	return readFile(t, m[1])
}

func noWorkFiles(t *testing.T, p *place) {
	t.Helper()
	if left, err := filepath.Glob(filepath.Join(p.dir, "logagent-edit-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func TestEditSavesWhatTheEditorLeaves(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.document(t, "web-1", `[`+nginxEntry+`,`+appEntry+`]`)
	edited(t, p, "web-1", `sed -i 's/"send_rate": 5000/"send_rate": 6000/' "$1"`, "--note", "why not").saw(t, exitDone, "saved /logagent/web-1/logconfig")
	if got := p.documentOf(t, "web-1"); !strings.Contains(got, `"send_rate": 6000`) || strings.Contains(got, "#") {
		t.Errorf("got %s", got)
	}
	if stdout, _ := (shell{p, t}).run(exitDone, "config", "history", "web-1"); !strings.Contains(stdout, "send_rate 5000 → 6000  # why not") {
		t.Errorf("got %s", stdout)
	}
	revision := p.revision(t)
	edited(t, p, "web-1", `true`).saw(t, exitDone, "nothing was changed")
	edited(t, p, "web-1", `: > "$1"`).saw(t, exitDone, "nothing was changed")
	edited(t, p, "web-1", `exit 3`).saw(t, exitFailed, "exit status 3")
	edited(t, p, "web-1", `no-such-editor`).saw(t, exitFailed, "was not found")
	if got := p.revision(t); got != revision {
		t.Errorf("an edit without a change wrote")
	}
	// A document that there is none of yet, and one of a group.
	edited(t, p, "@new", `echo '[`+appEntry+`]' > "$1"`).saw(t, exitDone, "saved /logagent.groups/new")
	if got := p.documentOf(t, "@new"); got != `[`+appEntry+"]\n" {
		t.Errorf("got %s", got)
	}
	noWorkFiles(t, p)
}

func TestEditOpensWhatIsNotRightAgainAndLosesNothing(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.document(t, "web-1", "[\n"+nginxEntry+"\n]\n")
	// First broken, then mended, by what stands on top.
	edited(t, p, "web-1", `if grep -q '^# .*topic' "$1"; then sed -i 's/"topic":""/"topic":"better"/' "$1"; else sed -i 's/"topic":"web"/"topic":""/' "$1"; fi`).
		saw(t, exitDone, "saved")
	if got, want := p.documentOf(t, "web-1"), "[\n"+strings.Replace(nginxEntry, `"web"`, `"better"`, 1)+"\n]\n"; got != want {
		t.Errorf("want %s, got %s", want, got)
	}
	// Left broken: given up, and kept.
	e := edited(t, p, "web-1", `grep -q "not right" "$1" || sed -i 's/"topic":"better"/"topic":"a b"/' "$1"`)
	e.saw(t, exitFailed, "nothing was written", "topic")
	if got := e.kept(t); !strings.Contains(got, `"a b"`) {
		t.Errorf("what was typed is lost: %s", got)
	}
	// etcd goes away under the editor.
	e = edited(t, p, "web-1", `sed -i 's/better/best/' "$1"; sed -i 's/^etcd_addr.*/etcd_addr = 127.0.0.1:1/' conf/app.cfg`)
	e.saw(t, exitDone, "saved") // the client was made before
	p.configure(t, "etcd_timeout = 300ms")
	ready, gone := filepath.Join(p.dir, "ready"), filepath.Join(p.dir, "gone")
	path := script(t, p.dir, fmt.Sprintf(`sed -i 's/best/lost/' "$1"; touch %s; while [ ! -e %s ]; do sleep 0.02; done`, ready, gone))
	e = startWith(t, p.dir, []string{"config", "edit", "web-1"}, func(e *process) { e.Env = append(e.Env, "EDITOR="+path) })
	eventually(t, "the editor is open", func() bool { _, err := os.Stat(ready); return err == nil })
	p.etcd.Stop()
	writeFile(t, gone, "")
	e.saw(t, exitFailed, "etcd")
	if got := e.kept(t); !strings.Contains(got, `"lost"`) {
		t.Errorf("what was typed is lost: %s", got)
	}
}

func TestWhatWasTypedIsKeptHoweverTheEditorEnds(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.document(t, "web-1", "[\n"+nginxEntry+"\n]\n")
	revision := p.revision(t)
	type1 := `sed -i 's/"topic":"web"/"topic":"typed"/' "$1"; `
	for name, c := range map[string]struct {
		editor string
		code   int
		args   []string
	}{
		"killed":   {type1 + `kill -9 $$`, exitFailed, nil},
		"failed":   {type1 + `exit 1`, exitFailed, nil},
		"too long": {type1 + `head -c 2097152 /dev/zero | tr '\0' ' ' >> "$1"`, exitFailed, nil},
		"dry run":  {type1, exitDone, []string{"--dry-run"}},
	} {
		e := edited(t, p, "web-1", c.editor, c.args...)
		e.saw(t, c.code, "what you typed is kept in")
		if got := e.kept(t); !strings.Contains(got, `"topic":"typed"`) {
			t.Errorf("%s: what was typed is lost: %s", name, got)
		}
	}
	if got := p.revision(t); got != revision {
		t.Error("it was written")
	}
}

func TestAWholeDocumentIsForOneHost(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s := shell{p, t}
	p.document(t, "web-1", `[`+nginxEntry+`]`)
	p.document(t, "web-2", `[`+nginxEntry+`]`)
	file := writeFile(t, filepath.Join(p.dir, "doc.json"), `[`+appEntry+`]`)
	revision := p.revision(t)
	for _, hosts := range []string{"web-*", "web-1,web-2", "web-?", "web-[12]", "{web-1,web-2}", "@*"} {
		s.says(exitUsage, "a whole document is for one host", "config", "set", hosts, file)
		edited(t, p, hosts, `echo '[]' > "$1"`).saw(t, exitUsage, "a whole document is for one host")
	}
	if got := p.revision(t); got != revision {
		t.Error("a host of that literal name was made")
	}
}

func TestOfTwoWhoEditOneDocumentBothSucceedOnDifferentEntries(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.document(t, "web-1", `[`+nginxEntry+`,`+appEntry+`]`)
	edited(t, p, "web-1", `sed -i 's/"topic": "web"/"topic": "mine"/' "$1"; other web-1 app send_rate=77`).
		saw(t, exitDone, "saved", "was changed meanwhile by", "laid over that")
	got := p.documentOf(t, "web-1")
	if !strings.Contains(got, `"topic":"mine"`) || !strings.Contains(got, "77") || !strings.Contains(got, `"colour":"red"`) {
		t.Errorf("want both changes, got %s", got)
	}
	noWorkFiles(t, p)
}

func TestOfTwoWhoEditOneEntryTheSecondSeesAllThreeVersions(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	whole := `[` + nginxEntry + `,` + appEntry + `]`
	p.document(t, "web-1", whole)
	mine := `sed -i 's/"send_rate": 5000/"send_rate": 6000/; s/"topic": "app"/"topic": "mine"/' "$1"`
	// Left undecided: theirs stays, what was typed is kept.
	e := edited(t, p, "web-1", `grep -q conflict: "$1" || { `+mine+`; other web-1 nginx send_rate=7000; }`)
	e.saw(t, exitFailed, "nothing was written", "conflict:")
	text := e.kept(t)
	for _, words := range []string{
		`# conflict: nginx /var/log/nginx/access.log`, `it was  {"service":"nginx","log_path":"/var/log/nginx/access.log","topic":"web","send_rate":5000`,
		`theirs  {"service":"nginx","log_path":"/var/log/nginx/access.log","topic":"web","send_rate":7000`, `yours   {`, `was changed by`, `6000`, `mine`,
	} {
		if !strings.Contains(text, words) {
			t.Errorf("want %q in\n%s", words, text)
		}
	}
	if got := p.documentOf(t, "web-1"); got != strings.Replace(whole, "5000", "7000", 1) {
		t.Errorf("got %s", got)
	}
	// Decided: the lines are taken away.
	p.document(t, "web-1", whole)
	edited(t, p, "web-1", `if grep -q conflict: "$1"; then sed -i '/^#/d' "$1"; else `+mine+`; other web-1 nginx send_rate=7000; fi`).saw(t, exitDone, "saved")
	if got := p.documentOf(t, "web-1"); !strings.Contains(got, "6000") || strings.Contains(got, "7000") || !strings.Contains(got, `"mine"`) || strings.Contains(got, "#") {
		t.Errorf("want what was decided, got %s", got)
	}
}

func TestOnATerminalWritesAreShownAndAskedFor(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	for i := range 21 {
		p.document(t, fmt.Sprintf("web-%02d", i), `[`+nginxEntry+`]`)
	}
	ask := func(args ...string) *operator {
		t.Helper()
		return sit(t, p.dir, 160, 24, []string{"VISUAL=", "EDITOR=" + script(t, p.dir, `if grep -q '"send_rate": 42' "$1"; then sed -i 's/42/43/' "$1"; elif ! grep -q '"send_rate": 43' "$1"; then sed -i 's/"send_rate": [0-9]*/"send_rate": 42/' "$1"; fi`)},
			"sh", "-c", shellWords(append([]string{binary(t), "config"}, args...))+`; echo "exit $?"; cat`)
	}
	revision := p.revision(t)
	o := ask("set", "web-00", "nginx", "send_rate=1")
	o.sees("~ nginx", "send_rate 5000 → 1")
	o.sees("Write this? [y/N]")
	o.press("enter")
	o.sees("nothing was written")
	o.sees("exit 1")

	o = ask("set", "web-00", "nginx", "send_rate=1")
	o.sees("Write this? [y/N]")
	o.press("ctrl+c")
	o.sees("interrupted")

	o = ask("set", "web-*", "nginx", "send_rate=1")
	o.sees("21 documents: web-00 web-01 web-02 … web-20")
	o.sees("This writes 21 documents. Type their number to write them:")
	o.press("y", "enter")
	o.sees("nothing was written")
	if got := p.revision(t); got != revision {
		t.Fatal("written without a yes")
	}

	o = ask("set", "web-*", "nginx", "send_rate=1")
	o.sees("Type their number to write them:")
	o.press("2", "1", "enter")
	o.sees("done: 21 of 21 documents written in one transaction")
	o.sees("exit 0")

	o = ask("edit", "web-00")
	o.sees("send_rate 1 → 42")
	o.sees("Write this? [y/N/e to edit it again]")
	o.press("e", "enter")
	o.until("the editor was open again", func(s term.Screen) bool { return strings.Count(s.Text(), "[y/N/e") == 2 })
	o.sees("send_rate 1 → 43")
	o.press("y", "enter")
	o.sees("saved /logagent/web-00/logconfig")

	// Left as it is the second time, it is given up.
	o = sit(t, p.dir, 160, 24, []string{"VISUAL=", "EDITOR=" + script(t, p.dir, `grep -q "Once more" "$1" || sed -i 's/"send_rate": 43/"send_rate": 44/' "$1"`)},
		"sh", "-c", shellWords([]string{binary(t), "config", "edit", "web-00"})+`; echo "exit $?"; cat`)
	o.sees("Write this? [y/N/e to edit it again]")
	o.press("e", "enter")
	o.sees("what you typed is kept in")
	o.sees("exit 1")

	o = ask("set", "web-00", "nginx", "send_rate=2", "--yes")
	o.sees("saved /logagent/web-00/logconfig")
}
