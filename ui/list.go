package ui

import (
	"errors"
	"fmt"
	"slices"

	tea "github.com/charmbracelet/bubbletea"

	"logagent/ui/store"
	"logagent/ui/termsafe"
)

// list is what Fleet and Host have in common: a cursor that follows its row's key, an
// order that can stand still, a filter and a sort.
type list struct {
	puller
	env   *env
	fetch func(store.Query) any // runs in a command
	sorts []sortChoice

	window  store.Window
	given   int    // rows in the last view, from window.First on
	cursor  string // key of the row under the cursor; "" until a key was pressed: the first row
	index   int
	offset  int
	visible int // rows on the screen

	by       store.Sort
	reverse  bool
	problems bool
	filter   store.Filter
	text     string // of the filter
	wrong    string // why what is typed is no filter yet
	typing   *field // nil: not typing
	before   string // the filter's text before typing began
	anew     bool   // the next pull makes a new order even while rows stand still
}

type sortChoice struct {
	by   store.Sort
	name string
}

// query is what the screen needs now.
func (l *list) query() store.Query {
	q := store.Query{
		Filter: l.filter, Problems: l.problems, Sort: l.by, Reverse: l.reverse,
		Cursor: l.cursor, Near: l.index, Offset: l.offset, Count: l.visible, Margin: l.visible,
	}
	if l.env.standing() && !l.anew {
		q.Keep = l.window.Order
	}
	return q
}

// refresh pulls what the query asks for.
func (l *list) refresh() tea.Cmd {
	q := l.query()
	if !l.busy {
		l.anew = false
	}
	return l.pull(l.env, func() any { return l.fetch(q) })
}

// requery pulls at once because the question changed; older answers are worthless.
func (l *list) requery() tea.Cmd {
	l.changed()
	l.anew = true
	return l.refresh()
}

// take puts a new window in place. The cursor may have moved since it was asked for.
func (l *list) take(w store.Window, given int) {
	l.window, l.given = w, given
	l.index = w.Cursor
	if i := w.Order.Index(l.cursor); l.cursor != "" && i >= 0 {
		l.index = i
	} else if l.cursor != "" && l.index >= 0 {
		l.cursor = w.Order.Key(l.index)
	}
	l.scroll()
}

// scroll moves the offset so that the cursor is on the screen.
func (l *list) scroll() {
	n := max(l.visible, 1)
	l.offset = min(l.offset, max(l.window.Order.Len()-n, 0))
	l.offset = min(l.offset, max(l.index, 0))
	l.offset = max(l.offset, l.index-n+1, 0)
}

// resize sets how many rows are on the screen.
func (l *list) resize(rows int) tea.Cmd {
	l.visible = max(rows, 1)
	l.scroll()
	return l.refresh()
}

// hold fixes the cursor on the row it is on: from the first key on it follows the key.
func (l *list) hold() {
	if l.cursor == "" && l.index >= 0 && l.index < l.window.Order.Len() {
		l.cursor = l.window.Order.Key(l.index)
	}
}

// move takes the cursor by rows.
func (l *list) move(by int) tea.Cmd {
	n := l.window.Order.Len()
	if n == 0 {
		return nil
	}
	l.index = min(max(l.index+by, 0), n-1)
	l.cursor = l.window.Order.Key(l.index)
	l.scroll()
	if l.offset < l.window.First || min(l.offset+l.visible, n) > l.window.First+l.given {
		return l.refresh()
	}
	return nil
}

// at is the index in the given rows of line i of the screen; -1 where there is none.
func (l *list) at(i int) int {
	k := l.offset + i - l.window.First
	if k < 0 || k >= l.given {
		return -1
	}
	return k
}

// selected is the index in the given rows of the row under the cursor; -1: none.
func (l *list) selected() int { return l.at(l.index - l.offset) }

// act does what keys mean on every list; known says whether it was one of those.
func (l *list) act(a action) (cmd tea.Cmd, known bool) {
	page := max(l.visible-1, 1)
	moves := map[action]int{
		actUp: -1, actDown: 1, actPageUp: -page, actPageDown: page,
		actTop: -l.window.Order.Len(), actBottom: l.window.Order.Len(),
	}
	if by, ok := moves[a]; ok {
		return l.move(by), true
	}
	switch a {
	case actFilter:
		f := newField(l.text)
		l.typing, l.before = &f, l.text
		return l.env.top().Update(l.env.body()), true
	case actProblems:
		l.problems = !l.problems
		return l.requery(), true
	case actSort:
		i := slices.IndexFunc(l.sorts, func(s sortChoice) bool { return s.by == l.by })
		next := l.sorts[(i+1)%len(l.sorts)]
		l.by, l.reverse = next.by, false
		l.env.say(text, " sorted by %s", next.name)
		return l.requery(), true
	case actReverse:
		l.reverse = !l.reverse
		return l.requery(), true
	}
	return nil, false
}

// clear takes filter and "only problems" away; false where there was neither.
func (l *list) clear() (tea.Cmd, bool) {
	if l.text == "" && !l.problems {
		return nil, false
	}
	l.problems = false
	return l.setFilter(""), true
}

// key takes typed text for the filter; it acts while it is typed.
func (l *list) key(k tea.KeyMsg) tea.Cmd {
	switch l.env.keys.action(inInput, k) {
	case actAccept:
		if l.wrong != "" {
			return nil
		}
		l.typing = nil
		return tea.Batch(l.setFilter(l.text), l.env.top().Update(l.env.body()))
	case actCancel:
		l.typing = nil
		return tea.Batch(l.setFilter(l.before), l.env.top().Update(l.env.body()))
	}
	l.typing.update(k)
	return l.setFilter(l.typing.value())
}

// setFilter puts a filter in force. While it is typed, what cannot be read yet is left
// out of it and named.
func (l *list) setFilter(s string) tea.Cmd {
	parse := store.ParseFilter
	if l.typing != nil {
		parse = store.ParseTyping
	}
	f, err := parse(s)
	l.wrong = ""
	if err != nil {
		l.wrong = err.Error()
		if bad, ok := errors.AsType[*store.FilterError](err); ok {
			l.wrong = fmt.Sprintf("%s: %s", bad.Part, bad.Why)
		}
	}
	l.filter, l.text = f, s
	return l.requery()
}

// filtered tells whether rows are left out or a filter is being typed.
func (l *list) filtered() bool { return l.typing != nil || l.text != "" || l.problems }

// filterLine shows the filter and how many rows it leaves.
func (l *list) filterLine(width int, what string) string {
	th := l.env.theme
	n := l.window.Order.Len()
	right := fmt.Sprintf("%d of %d ", n, l.window.Total)
	room := max(width-len(right)-2, 0)
	out := th.line().put(text, " ")
	switch {
	case l.typing != nil:
		out.put(prompt, "/")
		if l.wrong == "" {
			l.typing.draw(out, max(room-3, 1))
		} else {
			l.typing.draw(out, max(min(room-3, termsafe.Width(l.typing.value())+2), 1))
			out.put(bad, termsafe.Head("  "+termsafe.Clean(l.wrong), max(room-out.width, 0)))
		}
	case l.text != "":
		out.put(prompt, "/").put(strong, termsafe.Head(termsafe.Clean(l.text), max(room-2, 0)))
	case !l.problems:
		out.put(dim, what)
		right = fmt.Sprintf("%d ", l.window.Total)
	}
	if l.problems && l.typing == nil {
		out.put(prompt, termsafe.Head("  only problems", max(room-out.width, 0)))
	}
	if out.width+len(right) > width {
		return out.to(width).String()
	}
	return out.to(width-len(right)).put(dim, right).String()
}

// position is where the cursor stands.
func (l *list) position() string {
	n := l.window.Order.Len()
	if n == 0 {
		return "no rows"
	}
	return fmt.Sprintf("row %d of %d", l.index+1, n)
}
