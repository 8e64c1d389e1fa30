package main

import (
	"slices"
	"strings"
	"testing"

	"gopkg.in/ini.v1"
)

func TestValueIsWhatStandsBeforeTheComment(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"log = ./a.log":                             "./a.log",
		"log=./a.log":                               "./a.log",
		"  log\t=\t./a.log\t# tab":                  "./a.log",
		"log = ./a.log # one ; two":                 "./a.log",
		"log = ./a.log ; one":                       "./a.log",
		"log = ./a#b;c.log":                         "./a#b;c.log",
		"log = ./a.log#not a comment":               "./a.log#not a comment",
		`log = "./a # b.log"`:                       "./a # b.log",
		`log = './a ; b.log' # comment`:             "./a ; b.log",
		`log = "it's" # comment`:                    "it's",
		`log = don't # can't`:                       "don't",
		`log = " spaces kept "`:                     " spaces kept ",
		`log = ./back\slash\`:                       `./back\slash\`,
		"log = `raw # x`":                           "`raw",
		"log = a = b":                               "a = b",
		"log = %(x)s $HOME ${y}":                    "%(x)s $HOME ${y}",
		"log = ./日志 # 日志文件":                         "./日志",
		"log = ./a.log\u3000# ideographic space":    "./a.log",
		"log = \"\"":                                "",
		"log =":                                     "",
		"log = # nothing":                           "",
		"log =#5":                                   "#5",
		"\ufefflog = first line after a BOM":        "first line after a BOM",
		"log = ./a.log \xc8\xd5 # \xc8\xd5\xd6\xbe": "./a.log \xc8\xd5",
	} {
		for _, end := range []string{"", "\n", "\r\n"} {
			lines, problems, oddities := parseINI([]byte(line + end))
			if len(lines) != 1 || len(problems)+len(oddities) > 0 {
				t.Errorf("%q: lines %v, problems %v, oddities %v", line+end, lines, problems, oddities)
				continue
			}
			if got, err := lines[0].value.scalar(); got != want || err != nil || lines[0].key != "log" {
				t.Errorf("%q: want %q, got %s = %q, %v", line+end, want, lines[0].key, got, err)
			}
		}
	}
}

func TestListIsCutAtItsOwnCommasOnly(t *testing.T) {
	t.Parallel()
	for value, want := range map[string][]string{
		"":                              nil,
		"a":                             {"a"},
		"a,b , c,":                      {"a", "b", "c"},
		"10.0.0.1:1,[::1]:2":            {"10.0.0.1:1", "[::1]:2"},
		`"/a,b/*", '/c # d'`:            {"/a,b/*", "/c # d"},
		"/var/log/{a,b}/*.log, /srv/**": {"/var/log/{a,b}/*.log", "/srv/**"},
		"/x/[a,b].log,/y":               {"/x/[a,b].log", "/y"},
		"/odd}, /name":                  {"/odd}", "/name"},
	} {
		got, err := iniValue(value).list()
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: want %q, got %q, %v", value, want, got, err)
		}
	}
}

func TestQuoteLeftOpenIsRefused(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]error{
		`"open`: errOpenQuote, `a "open`: errOpenQuote, `'`: errOpenQuote,
		`"a" b`: errAfterQuote, `"a""b"`: errAfterQuote,
	} {
		if _, err := iniValue(value).scalar(); err != want {
			t.Errorf("%q: want %v, got %v", value, want, err)
		}
	}
	if _, err := iniValue(`a, "b`).list(); err != errOpenQuote {
		t.Errorf("list: want %v, got %v", errOpenQuote, err)
	}
}

func TestEveryMistakeOfTheFileIsFound(t *testing.T) {
	t.Parallel()
	lines, problems, oddities := parseINI([]byte("level = info\n[agent] # why\nno equals sign\n= value\nlevel = warn\nhost = a\x00b\n\\\nlog = x\n"))
	if len(lines) != 2 {
		t.Errorf("want level and log, got %v", lines)
	}
	var at []int
	for _, p := range problems {
		at = append(at, p.line)
	}
	if want := []int{3, 4, 5, 6, 7}; !slices.Equal(at, want) {
		t.Errorf("want problems in lines %v, got %v", want, problems)
	}
	if !strings.Contains(problems[2].text, "line 1") || !strings.Contains(problems[2].text, "level") {
		t.Errorf("a doubled key names both lines, got %q", problems[2].text)
	}
	if len(oddities) != 1 || oddities[0].line != 2 || !strings.Contains(oddities[0].text, "[agent]") {
		t.Errorf("want a warning about [agent] in line 2, got %v", oddities)
	}
}

func TestForeignEncodingsAreNamed(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"\xff\xfeh\x00", "\xfe\xff\x00h"} {
		if _, problems, _ := parseINI([]byte(text)); len(problems) != 1 || !strings.Contains(problems[0].text, "UTF-16") {
			t.Errorf("%q: %v", text, problems)
		}
	}
	if _, problems, _ := parseINI(make([]byte, maxINIBytes+1)); len(problems) != 1 {
		t.Errorf("a file of %d bytes: %v", maxINIBytes+1, problems)
	}
}

// TestPlainFilesReadAsOtherReadersDo compares with the library most agents of this kind
// were written with, on the part of the format that both have.
func TestPlainFilesReadAsOtherReadersDo(t *testing.T) {
	t.Parallel()
	original := "# agent\n; more\n\netcd_addr = 10.134.123.183:2379         # etcd 地址\r\netcd_timeout = 5 # seconds\n" +
		"etcd_watch_key=/logagent/%s/logconfig # key\nkafka_addr = 10.134.123.183:9092;x  ; kafka\nthread_num = 4\nlog = ./log/logagent.log\nlevel = debug\n"
	theirs, err := ini.LoadSources(ini.LoadOptions{IgnoreContinuation: true, SpaceBeforeInlineComment: true, KeyValueDelimiters: "="}, []byte(original))
	if err != nil {
		t.Fatal(err)
	}
	lines, problems, oddities := parseINI([]byte(original))
	if len(problems)+len(oddities) > 0 || len(lines) != 7 {
		t.Fatalf("lines %v, problems %v, oddities %v", lines, problems, oddities)
	}
	for _, l := range lines {
		want := theirs.Section("").Key(l.key).Value()
		if got, err := l.value.scalar(); got != want || err != nil {
			t.Errorf("%s: want %q, got %q, %v", l.key, want, got, err)
		}
	}
}

func FuzzINI(f *testing.F) {
	f.Add([]byte("level = debug # x\r\n[s]\nhost='a;b'\nallow_paths=/{a,b},\"/c,d\""))
	f.Add([]byte("\xef\xbb\xbfa=\"\nb='x\" # y\n=\n#\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lines, problems, oddities := parseINI(data)
		count := strings.Count(string(data), "\n") + 1
		seen := make(map[string]bool)
		for _, l := range lines {
			if l.number < 1 || l.number > count || l.key == "" || seen[l.key] {
				t.Fatalf("line %+v of %q", l, data)
			}
			seen[l.key] = true
			v := string(l.value)
			if strings.TrimSpace(v) != v || strings.Contains(v, "\n") {
				t.Fatalf("value %q of %q", v, data)
			}
			if one, err := l.value.scalar(); err == nil && !strings.Contains(v, one) {
				t.Fatalf("scalar %q is no part of %q", one, v)
			}
			items, err := l.value.list()
			if err == nil && strings.Join(items, "") != "" && len(strings.Join(items, "")) > len(v) {
				t.Fatalf("items %q are more than %q", items, v)
			}
		}
		for _, p := range append(problems, oddities...) {
			if p.line < 0 || p.line > count || p.text == "" {
				t.Fatalf("problem %+v of %q", p, data)
			}
		}
		if _, _, err := readSettings("f", data); err != nil && err.Error() == "" {
			t.Fatal("an error without words")
		}
	})
}
