package ui

import (
	"fmt"

	tea "github.com/charmbracelet/bubbletea"

	"logagent/ui/termsafe"
)

// dialog takes every key until it is done. Its words stand in the message line, a box of
// it above.
type dialog interface {
	scope() scope
	// update returns done when the dialog is over.
	update(e *env, k tea.KeyMsg) (done bool, cmd tea.Cmd)
	// box is drawn above the message line; nil: none.
	box(e *env, width int) []string
	message(e *env, width int) string
}

// question asks for yes or no; everything but the key for yes is no.
type question struct {
	text string
	yes  func() tea.Cmd
	quit bool // the question of q: a second ctrl-c is a yes

	title string   // of a difference that is shown above; "" for none
	lines []string // of it, clean
}

func (q *question) scope() scope { return inQuestion }

// questionRows bounds the difference shown at once.
const questionRows = 9

func (q *question) box(e *env, width int) []string {
	if q.title == "" {
		return nil
	}
	rows := min(len(q.lines), questionRows, max(e.size.height-8, 1))
	return append([]string{rule(e.theme, q.title, width)}, diffBox(e.theme, q.lines, "", rows, width)...)
}

func (q *question) message(e *env, w int) string {
	l := e.theme.line().put(text, " ").put(prompt, termsafe.Head(q.text, max(w-16, 0)))
	l.put(text, "  ").put(key, e.keys.first(actYes)).put(text, "/").put(strong, "N")
	return l.to(w).String()
}

func (q *question) update(e *env, k tea.KeyMsg) (bool, tea.Cmd) {
	switch e.keys.action(inQuestion, k) {
	case actYes:
		return true, q.yes()
	case actNo, actCancel:
		return true, nil
	}
	return false, nil
}

// chooser lets one row of a short list be chosen.
type chooser struct {
	title  string   // clean
	ask    string   // "" means which one
	items  []string // clean
	cursor int
	chosen func(i int) tea.Cmd
}

// chooserRows bounds the list shown at once.
const chooserRows = 6

func (c *chooser) scope() scope { return inChoice }

func (c *chooser) update(e *env, k tea.KeyMsg) (bool, tea.Cmd) {
	switch e.keys.action(inChoice, k) {
	case actUp:
		c.cursor--
	case actDown:
		c.cursor++
	case actPageUp:
		c.cursor -= chooserRows
	case actPageDown:
		c.cursor += chooserRows
	case actTop:
		c.cursor = 0
	case actBottom:
		c.cursor = len(c.items) - 1
	case actAccept:
		return true, c.chosen(c.cursor)
	case actCancel:
		return true, nil
	}
	c.cursor = min(max(c.cursor, 0), len(c.items)-1)
	return false, nil
}

func (c *chooser) box(e *env, width int) []string {
	rows := min(len(c.items), chooserRows)
	first := min(max(c.cursor-rows/2, 0), len(c.items)-rows)
	out := []string{rule(e.theme, c.title, width)}
	for i := first; i < first+rows; i++ {
		l := e.theme.lead(i == c.cursor)
		out = append(out, l.put(text, " ").left(text, c.items[i], max(width-2, 0)).String())
	}
	return out
}

func (c *chooser) message(e *env, w int) string {
	ask := c.ask
	if ask == "" {
		ask = "which one?"
	}
	return e.theme.spread(w, []piece{{prompt, " " + ask}},
		[]piece{{dim, fmt.Sprintf("%d of %d ", c.cursor+1, len(c.items))}})
}

// rule is a line across the screen with a title in it.
func rule(th *theme, title string, width int) string {
	l := th.line().put(dim, "── ")
	if title == "" {
		l = th.line()
	} else {
		l.put(strong, termsafe.Tail(title, max(width-6, 0))).put(dim, " ")
	}
	return l.put(dim, dashes(width-l.width)).String()
}
