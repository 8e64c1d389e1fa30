package ui

import (
	"fmt"
	"strconv"
	"strings"

	tea "github.com/charmbracelet/bubbletea"

	"logagent/ui/store"
	"logagent/ui/termsafe"
)

// An entry may come from a group of hosts. A key on one host's row then asks first for whom it
// is meant: for all of them, or for this one, which gets an entry of its own.

// countTyped is how many hosts a change may be meant for before their count must be typed.
const countTyped = 20

// groupSizes counts the hosts of the groups that a host belongs to.
func groupSizes(st *store.Store, sizes map[string]int, r *store.HostRow) {
	for _, d := range r.Documents {
		if _, counted := sizes[d.Name]; isGroup(d.Name) && !counted {
			sizes[d.Name] = len(st.GroupHosts(d.Name))
		}
	}
}

// groupWords is a group with its size as far as known: the group @web, 412 hosts.
func groupWords(group string, hosts int) string {
	s := "the group " + termsafe.Clean(group)
	if hosts > 0 {
		s += fmt.Sprintf(", %s %s", grouped(int64(hosts)), plural(hosts, "host", "hosts"))
	}
	return s
}

// rateFor asks for whom a rate key on an entry of a group is meant. Nothing is written before
// that, and the first answer is to change nothing.
func (e *env) rateFor(a action, t target, hosts int) tea.Cmd {
	whole := "for " + groupWords(t.docHost, hosts)
	c := &chooser{
		title: termsafe.Clean(t.service) + " " + termsafe.Clean(t.logPath) + " comes from " + groupWords(t.docHost, hosts),
		ask:   "for whom is the new send_rate?",
		items: []string{"change nothing", "for " + termsafe.Clean(t.host) + " only: its own entry from now on", whole},
	}
	c.chosen = func(i int) tea.Cmd {
		switch {
		case i == 1:
			return e.rateOn(a, t.owned())
		case i == 2 && hosts > countTyped:
			return e.openDialog(newCountInput(fmt.Sprintf("%s hosts of %s get another rate for %s",
				grouped(int64(hosts)), termsafe.Clean(t.docHost), termsafe.Clean(t.service)), hosts, func() tea.Cmd { return e.rateOn(a, t) }))
		case i == 2:
			return e.rateOn(a, t)
		}
		return nil
	}
	return e.openDialog(c)
}

// countInput goes on when the number of hosts is typed that it is about.
type countInput struct {
	field
	what  string // clean
	hosts int
	yes   func() tea.Cmd
	wrong bool
}

func newCountInput(what string, hosts int, yes func() tea.Cmd) *countInput {
	return &countInput{field: newField(""), what: what, hosts: hosts, yes: yes}
}

func (c *countInput) scope() scope           { return inInput }
func (c *countInput) box(*env, int) []string { return nil }

func (c *countInput) update(e *env, k tea.KeyMsg) (bool, tea.Cmd) {
	switch e.keys.action(inInput, k) {
	case actCancel:
		return true, nil
	case actAccept:
		if v := strings.TrimSpace(c.value()); v != strconv.Itoa(c.hosts) && v != grouped(int64(c.hosts)) {
			c.wrong = true
			return false, nil
		}
		return true, c.yes()
	}
	c.wrong = false
	c.field.update(k)
	return false, nil
}

func (c *countInput) message(e *env, w int) string {
	ask := fmt.Sprintf("; type %d: ", c.hosts)
	l := e.theme.line().put(text, " ").put(prompt, termsafe.Head(c.what, max(w-len(ask)-9, 0))).put(text, ask)
	c.draw(l, max(min(w-l.width-2, 12), 1))
	if c.wrong {
		l.put(bad, termsafe.Head("  not that number", max(w-l.width, 0)))
	}
	return l.to(w).String()
}
