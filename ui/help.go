package ui

import (
	"slices"
	"strings"

	tea "github.com/charmbracelet/bubbletea"

	"logagent/ui/termsafe"
)

// helpPage is the keymap in words, with the keys that are off just now in grey and why,
// and the words and signs the screens use.
type helpPage struct {
	env  *env
	from page
	scroller
}

func newHelp(e *env) *helpPage { return &helpPage{env: e, from: e.top(), scroller: scroller{fixed: 2}} }

func (p *helpPage) Init() tea.Cmd   { return nil }
func (p *helpPage) Capturing() bool { return false }

func (p *helpPage) Update(msg tea.Msg) tea.Cmd {
	switch m := msg.(type) {
	case resizedMsg:
		p.height = m.height
	case tickMsg:
		return p.from.Update(m) // the top line stays alive
	case actionMsg:
		switch action(m) {
		case actBack:
			return p.leave()
		case actFleet:
			return p.env.home()
		default:
			p.move(action(m))
		}
	}
	return nil
}

func (p *helpPage) leave() tea.Cmd { return p.env.pop() }

func (p *helpPage) Keys() []hint {
	return p.env.keys.hints(onHelp, func(action) string { return "" })
}

func (p *helpPage) Frame() frame {
	f := p.from.Frame()
	f.scope, f.crumbs, f.message, f.position = onHelp, append(f.crumbs, "help"), nil, p.position()
	return f
}

func (p *helpPage) View(width, height int) []string {
	th := p.env.theme
	title := "logagent " + termsafe.Clean(p.env.opts.Version)
	out := []string{th.spread(width, []piece{{text, " "}, {strong, strings.TrimSpace(title)}}, []piece{{dim, "every key, and the words of the screens "}}),
		rule(th, "", width)}
	body := p.text(width)
	p.lines = len(body)
	for i := range max(height-2, 0) {
		if k := p.offset + i; k < len(body) {
			out = append(out, body[k])
		} else {
			out = append(out, th.line().to(width).String())
		}
	}
	return out[:max(height, 0)]
}

// text is the whole help: first the keys of the page it was opened from.
func (p *helpPage) text(width int) []string {
	th := p.env.theme
	var out []string
	section := func(name string) {
		if len(out) > 0 {
			out = append(out, th.line().to(width).String())
		}
		out = append(out, th.line().put(head, " "+name).to(width).String())
	}
	row := func(look role, label, words, off string) {
		l := th.line().put(text, "  ").left(look, label, 16).put(text, " ")
		body := text
		if off != "" {
			body = dim
			words += " (off: " + off + ")"
		}
		for i, part := range wrap(words, max(width-l.width-1, 10)) {
			if i > 0 {
				l = th.line().blank(19)
			}
			out = append(out, l.put(body, part).to(width).String())
		}
	}
	here := p.from.Frame().scope
	section("keys on " + strings.Replace(string(here), "change", "a change", 1))
	for _, h := range p.from.Keys() {
		look := key
		if h.off != "" {
			look = dim
		}
		row(look, labels(h.keys), h.help, h.off)
	}
	for _, s := range []scope{onFleet, onHost, onHistory, onChange, inInput, inChoice, inQuestion, inConflict} {
		if s == here {
			continue
		}
		section(map[scope]string{onFleet: "keys on fleet", onHost: "keys on host", onHistory: "keys on history", onChange: "keys on a change",
			inInput: "while typing", inChoice: "in a list to choose from", inQuestion: "in a question",
			inConflict: "where two people changed one entry"}[s])
		for _, h := range p.env.keys.hints(s, func(action) string { return "" }) {
			// What is the same everywhere was told above.
			if s.page() {
				if slices.Contains(h.scopes, here) {
					continue
				}
			}
			row(key, labels(h.keys), h.help, "")
		}
	}
	section("filter")
	for _, l := range [][2]string{
		{"nginx", "the word in host, service, path or topic; several words must all be there"},
		{`"two words"`, "a word with blanks in it"},
		{"lag>1GB", "lag behind drain in out rate throttled files err, with = != < <= > >= and units: 88MB 5m 1h30m 8.5k"},
		{"state!=ok", "state is ok behind failing unknown stale or paused; cfg is ok pending refused or unknown"},
		{"service=ngi*", "host service path topic cause; * stands for anything"},
		{"!word", "not; works before every term"},
	} {
		row(strong, l[0], l[1], "")
	}
	section("signs and words")
	for _, l := range [][2]string{
		{"● ◐ ✕ ○", "fine; behind, throttled or paused; failing; unknown or stale"},
		{"✓ ↻ ✕ ?", "config: the wanted revision runs; not yet; refused; not known"},
		{"↻ ✕ !", "before a file: its entry runs not yet as wanted; was refused; runs unwanted, or is wanted and not listed"},
		{"@web", "the entry is the group's: all hosts that name the group have it"},
		{"gone ≥", "no agent at least that long; logagent hosts forget takes the host off the lists"},
		{"LAG", "bytes of complete lines on disk that Kafka has not acknowledged"},
		{"BEHIND", "how long the oldest of them has been in the file; ≥ at least that long"},
		{"DRAIN", "when the lag is gone if all goes on like this; never: it does not shrink"},
		{"~", "an estimate: lines not read yet are guessed from bytes"},
		{"THROTTLED", "share of the last seconds spent waiting for send_rate"},
		{"LAST 10 MIN", "the lag; where there was none what goes out, dimmer; each by its own greatest"},
		{"saved, applied", "etcd has the change; the host says it runs it, that long after"},
	} {
		row(strong, l[0], l[1], "")
	}
	return out
}

func labels(keys []string) string {
	var out []string
	for _, k := range keys {
		out = append(out, shown(k))
	}
	return strings.Join(out, " ")
}

// wrap cuts text at blanks into lines of at most width cells.
func wrap(s string, width int) []string {
	var out []string
	line := ""
	for _, w := range strings.Fields(s) {
		if line != "" && termsafe.Width(line)+1+termsafe.Width(w) > width {
			out = append(out, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += termsafe.Head(w, width)
	}
	return append(out, line)
}
