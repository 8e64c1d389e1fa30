package ui

import (
	"fmt"

	tea "github.com/charmbracelet/bubbletea"

	"logagent/etcdcfg/change"
	"logagent/ui/termsafe"
)

// changePage is the whole of one record of a history.
type changePage struct {
	env     *env
	history *historyPage
	past    past
	scroller
}

func newChange(h *historyPage, r *past) *changePage {
	return &changePage{env: h.env, history: h, past: *r}
}

func (p *changePage) Init() tea.Cmd   { return nil }
func (p *changePage) Capturing() bool { return false }

func (p *changePage) Update(msg tea.Msg) tea.Cmd {
	switch m := msg.(type) {
	case resizedMsg:
		p.height = m.height
	case tickMsg:
		return p.history.Update(m) // the top line stays alive
	case actionMsg:
		switch action(m) {
		case actBack:
			return p.env.pop()
		case actFleet:
			return p.env.home()
		case actCopy:
			return p.env.copy(p.past.ID)
		case actRollback:
			return p.history.askRollback(&p.past)
		default:
			p.move(action(m))
		}
	}
	return nil
}

func (p *changePage) Keys() []hint {
	return p.env.keys.hints(onChange, func(a action) string {
		switch a {
		case actRollback:
			return p.history.cannotRollBack()
		case actSave:
			return p.env.cannotSave()
		}
		return ""
	})
}

func (p *changePage) Frame() frame {
	f := p.history.Frame()
	f.scope, f.crumbs, f.position = onChange, append(f.crumbs, "change"), ""
	f.position = p.position()
	return f
}

func (p *changePage) View(width, height int) []string {
	th := p.env.theme
	body := p.text(width)
	p.lines = len(body)
	p.offset = min(p.offset, max(len(body)-height, 0))
	var out []string
	for i := range max(height, 0) {
		if k := p.offset + i; k < len(body) {
			out = append(out, body[k])
		} else {
			out = append(out, th.line().to(width).String())
		}
	}
	return out
}

// text is everything the record tells; nothing is cut, long lines go on below.
func (p *changePage) text(width int) []string {
	th, r := p.env.theme, &p.past
	var out []string
	field := func(name, value string) {
		if value == "" {
			return
		}
		for i, part := range chop(value, max(width-13, 10)) {
			if i > 0 {
				name = ""
			}
			out = append(out, th.line().put(text, " ").left(dim, name, 10).put(text, " ").put(text, part).to(width).String())
		}
	}
	when := "not known"
	if !r.At.IsZero() {
		when = r.At.In(p.env.clock.Location()).Format("2006-01-02 15:04:05 MST") + ", by the clock of who made it"
	}
	field("document", termsafe.Clean(p.history.name))
	field("when", when)
	field("who", whoWords(r)+" "+kindWords(r))
	field("note", termsafe.Line(r.Note))
	rev := revision(r)
	if r.Base != 0 {
		rev += fmt.Sprintf(", made on %d", r.Base)
	}
	field("revision", rev)
	if r.Change != "" {
		field("part of", "the change "+termsafe.Clean(r.Change)+" of several documents")
	}
	field("id", termsafe.Clean(r.ID))
	out = append(out, rule(th, "what changed", width))
	lines, look := r.lines, func(s string) role { return diffLook(s, r.wrong) }
	if r.wrong != "" {
		lines = []string{"not to be told: " + r.wrong}
	}
	for _, s := range lines {
		for i, part := range chop(s, max(width-4, 10)) {
			l := th.line().put(text, " ")
			if i > 0 {
				l.put(text, "  ")
			}
			out = append(out, l.put(look(s), part).to(width).String())
		}
	}
	if r.wrong != "" {
		out = append(out, p.raw("before", r.Before, width)...)
		out = append(out, p.raw("after", r.After, width)...)
	}
	return out
}

// raw is a document that cannot be read as one, as it stands.
func (p *changePage) raw(name string, packed []byte, width int) []string {
	th := p.env.theme
	out := []string{rule(th, name, width)}
	b, err := change.Unpack(packed)
	switch {
	case err != nil:
		b = []byte(err.Error())
	case b == nil:
		b = []byte("there was none")
	}
	const most = 64 << 10 // a broken document is looked at, not read
	for _, part := range chop(termsafe.Clean(string(b[:min(len(b), most)])), max(width-2, 10)) {
		out = append(out, th.line().put(text, " ").put(text, part).to(width).String())
	}
	return out
}

// chop cuts a clean text into pieces of at most width cells, behind a blank where there is
// one, and loses nothing.
func chop(s string, width int) []string {
	var out []string
	start, w := 0, 0     // of the piece
	blank, after := 0, 0 // behind its last blank, and how wide it is up to there
	for i, r := range s {
		n := termsafe.Width(string(r))
		if w+n > width && i > start {
			end := i
			if blank > start && after > width/3 {
				end, w = blank, w-after
			} else {
				w = 0
			}
			out = append(out, s[start:end])
			start = end
		}
		w += n
		if r == ' ' {
			blank, after = i+1, w
		}
	}
	return append(out, s[start:])
}
