package ui

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"logagent/agent"
	"logagent/etcdcfg/change"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares with testdata/name, which changes only with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s differs (go test ./ui -update, then read the difference); got:\n%s", path, got)
	}
}

func TestScreensLookAsKept(t *testing.T) {
	t.Parallel()
	looks := []struct {
		name    string
		theme   Theme
		colours Colours
	}{{"mono", ThemeMono, ColoursNone}, {"dark", ThemeDark, Colours256}, {"light", ThemeLight, Colours256}}
	for _, size := range [][2]int{{120, 36}, {80, 24}, {60, 15}} {
		for _, look := range looks {
			p := sit(t, size[0], size[1], func(o *Options) { o.Theme, o.Colours = look.theme, look.colours })
			shot := func(name string) {
				t.Helper()
				view := p.app.View()
				if look.name == "mono" && strings.Contains(view, "\x1b") {
					t.Errorf("%s: want no escape without colours", name)
				}
				view = strings.ReplaceAll(view, "\x1b", "␛") // to be read in review
				golden(t, fmt.Sprintf("%s-%dx%d-%s.txt", name, size[0], size[1], look.name), view+"\n")
			}
			p.wait(2 * time.Second)
			p.press("j")
			shot("fleet")
			p.press("+")
			shot("chooser")
			p.press("enter")
			p.wait(time.Second)
			shot("tuning")
			p.press("esc")
			p.wait(tuneHold)
			p.press("enter")
			p.wait(time.Second)
			shot("host-waiting")
			p.store.SetDetail(webDetail(p.clock.now(), 1001, 48209, 5000), 0)
			p.wait(lookBack)
			p.store.SetDetail(webDetail(p.clock.now(), 1002, 48209, 5000), 0)
			p.press("g", "j")
			p.wait(time.Second)
			shot("host")
			p.press("h", "j")
			shot("history")
			p.press("enter")
			shot("change")
			p.press("r", "j", "j", "enter")
			shot("rollback")
			p.press("n", "esc", "esc", "?")
			shot("help")
			p.press("?", "esc")
			longGone(p)
			groupOf(p, 31)
			drifts(p)
			p.goTo("cache-01")
			p.press("esc")
			shot("fleet-groups")
			p.press("enter")
			p.wait(time.Second)
			p.press("g", "j")
			shot("host-group")
			p.press("+")
			shot("for-whom")
			p.press("j", "j", "enter")
			shot("count")
			p.press("31")
			p.writer.err = &agent.ConflictError{LogPath: "/var/log/redis/*.log",
				Theirs: &agent.Service{Service: "redis", LogPath: "/var/log/redis/*.log", Topic: "redis-eu", SendRate: 800, Paused: true}}
			p.press("enter")
			p.wait(time.Second)
			shot("conflict-message")
			p.press("v")
			shot("conflict")
		}
	}
}

func TestEveryLineFitsAndEveryLineIsThere(t *testing.T) {
	t.Parallel()
	p := sit(t, 120, 36, func(o *Options) { o.Theme, o.Colours = ThemeDark, ColoursTrue })
	check := func(where string, w, h int) {
		t.Helper()
		lines := strings.Split(p.app.View(), "\n")
		if len(lines) != h {
			t.Fatalf("%s at %d×%d: %d lines", where, w, h, len(lines))
		}
		for i, l := range lines {
			if got := ansi.StringWidth(l); got > w {
				t.Fatalf("%s at %d×%d: line %d is %d wide: %q", where, w, h, i, got, ansi.Strip(l))
			}
		}
	}
	all := func(where string) {
		t.Helper()
		for _, w := range []int{1, 2, 10, 59, 60, 61, 64, 70, 79, 80, 81, 99, 100, 119, 120, 133, 200, 333} {
			for _, h := range []int{1, 2, 5, 14, 15, 16, 17, 18, 19, 20, 23, 24, 25, 30, 36, 50, 90} {
				p.resize(w, h)
				check(where, w, h)
			}
		}
		p.resize(120, 36)
	}
	evil := "日本語ログ\x1b[31m" + strings.Repeat("長い", 40)
	st := webDetail(p.clock.now(), 1001, 48209, 5000)
	st.Files[0].Path, st.Files[0].Cause = "/"+evil, evil
	p.store.SetDetail(st, 0)
	all("fleet")
	p.press("w")
	all("fleet, wide")
	p.press("w", "j", "+")
	all("chooser")
	p.press("enter")
	all("tuning")
	p.press("=")
	p.press(strings.Repeat("9", 300))
	all("typed rate")
	p.press("enter")
	all("wrong rate")
	p.press("esc", "/")
	p.press("web " + strings.Repeat("x日", 100))
	all("filter")
	p.press(" lag>zz")
	all("wrong filter")
	p.press("esc", "j")
	p.wait(tuneHold + lookBack)
	p.press("g", "j", "h")
	all("history")
	p.press("j", "j", "enter")
	all("change")
	p.past.set(func() {
		r := p.past.records["web-0187.fra1"]
		r[0].Note, r[0].Who.User, r[0].ID = evil, evil, evil
		r[0].After = change.Pack([]byte(`[{"service":"` + strings.Repeat("長い", 40) + `","log_path":"/x","topic":"t","exclude":["` + strings.Repeat("日x", 200) + `"]}]`))
	})
	p.press("esc")
	p.store.SetDocument("web-0187.fra1", agent.Document{Key: docKey("web-0187.fra1"), Revision: 48301})
	p.wait(time.Second)
	p.press("g")
	all("history, foreign")
	p.press("enter")
	all("change, foreign")
	p.press("G", "r")
	all("rollback")
	p.press("y")
	p.press(strings.Repeat("9長", 300))
	all("note")
	p.press("esc", "esc", "esc")
	groupOf(p, 31)
	drifts(p)
	p.goTo("cache-01")
	all("drift")
	p.press("enter")
	p.wait(time.Second)
	p.press("g", "j")
	all("host of a group")
	p.press("+")
	all("for whom")
	p.press("j", "j", "enter")
	all("count")
	p.press("31")
	p.writer.err = &agent.ConflictError{Theirs: &agent.Service{Service: evil, Topic: evil, SendRate: 1, StartAt: "beginning", Exclude: []string{evil}, Paused: true, Partition: "file", Oversize: "skip"}}
	p.press("enter")
	p.wait(time.Second)
	all("conflict in the message")
	p.press("v")
	all("conflict")
	p.press("t", "esc", "esc", "g", "j", "enter")
	p.wait(time.Second)
	all("host")
	p.press("w", "/")
	p.press("nginx")
	all("host, filtered")
	p.press("esc", "?")
	all("help")
	p.press("G")
	all("help, end")
	p.press("q")
	p.quit = false
	p.app.opts.AgentInside = true
	p.press("q")
	all("question")
}

func TestSmallWindowAsksForMore(t *testing.T) {
	t.Parallel()
	p := sit(t, 59, 20, nil)
	p.sees("at least 60×15 is needed, this window is 59×20")
	p.press("+", "j", "enter")
	if len(p.app.rates.list) > 0 || len(p.app.pages) != 1 {
		t.Fatal("want no key to act on what is not seen")
	}
	p.resize(60, 15)
	p.sees("logagent ▸ fleet")
}

// drifts makes cache-01 refuse what its group is to run.
func drifts(p *person) {
	redis := agent.Service{Service: "redis", LogPath: "/var/log/redis/*.log", Topic: "redis", SendRate: 400}
	own := agent.Service{Service: "own", LogPath: "/var/log/own.log", Topic: "own", SendRate: 50}
	p.store.SetGroup("@cache", agent.Document{Key: docKey("@cache"), Revision: 48215, Services: []agent.Service{redis}})
	was := redis
	was.SendRate = 300
	p.store.SetCoarse("cache-01", &agent.Coarse{Host: "cache-01", StateID: "s-cache-01", Boot: 1, Seq: 2,
		Documents: []agent.DocumentStatus{{Key: docKey("cache-01"), Running: 48002},
			{Key: docKey("@cache"), Running: 48001, Refused: &agent.Refusal{Revision: 48215, Error: "entry 1: topic: \"redis\" is not allowed here"}}},
		Entries: []agent.CoarseEntry{{Service: "redis", LogPath: redis.LogPath, State: agent.StateOK, Key: docKey("@cache"), Sum: was.Sum()},
			{Service: "own", LogPath: own.LogPath, State: agent.StateOK, Sum: own.Sum()}}})
	p.wait(time.Second)
}
