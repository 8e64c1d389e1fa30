package ui

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
)

// action is what a key asks for. Its text is its name in an override file.
type action string

const (
	actUp        action = "up"
	actDown      action = "down"
	actPageUp    action = "page-up"
	actPageDown  action = "page-down"
	actTop       action = "top"
	actBottom    action = "bottom"
	actOpen      action = "open"
	actBack      action = "back"
	actFilter    action = "filter"
	actProblems  action = "problems"
	actSort      action = "sort"
	actReverse   action = "reverse"
	actRateUp    action = "rate-up"
	actRateDown  action = "rate-down"
	actRateUpper action = "rate-up-25"
	actRateLower action = "rate-down-25"
	actRateType  action = "rate-type"
	actWide      action = "wide"
	actFreeze    action = "freeze"
	actCopy      action = "copy"
	actSave      action = "save-screen"
	actMouse     action = "mouse"
	actFleet     action = "fleet"
	actHelp      action = "help"
	actQuit      action = "quit"
	actAccept    action = "accept"
	actCancel    action = "cancel"
	actYes       action = "yes"
	actNo        action = "no"
	actHistory   action = "history"
	actRollback  action = "rollback"
	actConflict  action = "conflict"
	actMine      action = "mine"
	actTheirs    action = "theirs"
)

// rate tells whether it changes a rate.
func (a action) rate() bool {
	switch a {
	case actRateUp, actRateDown, actRateUpper, actRateLower, actRateType:
		return true
	}
	return false
}

// scope is where a key is in force.
type scope string

const (
	onFleet    scope = "fleet"
	onHost     scope = "host"
	onHistory  scope = "history"
	onChange   scope = "change" // one record of the history
	onHelp     scope = "help"
	inInput    scope = "input"    // while something is typed
	inChoice   scope = "choice"   // a list to choose from
	inQuestion scope = "question" // yes or no
	inConflict scope = "conflict" // two changes of one entry
)

// binding is one row of the keymap.
type binding struct {
	action action
	keys   []string // as bubbletea names them
	short  string   // word in the footer; "" keeps it out
	help   string
	scopes []scope
	pair   action // shown together with this one in the footer; "": alone
}

// bindings is the one table: help, footer and README are made from it. The footer keeps
// its order.
func bindings() []binding {
	lists := []scope{onFleet, onHost}
	pages := []scope{onFleet, onHost, onHistory, onChange, onHelp}
	moves := []scope{onFleet, onHost, onHistory, onChange, onHelp, inChoice}
	screens := []scope{onFleet, onHost, onHistory, onChange}
	return []binding{
		{actOpen, []string{"enter"}, "open", "open the host; in the history the whole of a change", []scope{onFleet, onHistory}, ""},
		{actBack, []string{"esc"}, "back", "clear the filter; put back a rate that was just changed here; else back", pages, ""},
		{actFilter, []string{"/"}, "filter", "filter rows: nginx  lag>1GB  behind>5m  state!=ok  rate<100  service=ngi*  !word", lists, ""},
		{actSort, []string{"s"}, "sort", "sort by the next column", lists, ""},
		{actReverse, []string{"S"}, "", "turn the order around", lists, ""},
		{actRateUp, []string{"+"}, "rate", "send_rate 5 % up, at least 1", lists, actRateDown},
		{actRateDown, []string{"-"}, "", "send_rate 5 % down, to 1 at least", lists, ""},
		{actRateUpper, []string{"]"}, "25%", "send_rate 25 % up", lists, actRateLower},
		{actRateLower, []string{"["}, "", "send_rate 25 % down", lists, ""},
		{actRateType, []string{"="}, "type", "type a send_rate; none for no limit", lists, ""},
		{actHistory, []string{"h"}, "history", "who changed the host's documents, when and how", lists, ""},
		{actRollback, []string{"r"}, "roll back", "back to how it was after the change under the cursor, or before it; asks", []scope{onHistory, onChange}, ""},
		{actProblems, []string{"*"}, "problems", "only rows that are not fine, and back", lists, ""},
		{actUp, []string{"up", "k"}, "", "up", moves, ""},
		{actDown, []string{"down", "j"}, "", "down", moves, ""},
		{actPageUp, []string{"pgup"}, "", "a page up", moves, ""},
		{actPageDown, []string{"pgdown"}, "", "a page down", moves, ""},
		{actTop, []string{"g", "home"}, "", "to the first row", moves, ""},
		{actBottom, []string{"G", "end"}, "", "to the last row", moves, ""},
		{actFleet, []string{"1"}, "", "to the fleet", []scope{onHost, onHistory, onChange, onHelp}, ""},
		{actConflict, []string{"v"}, "", "look at a change that was not saved because somebody else was first", screens, ""},
		{actWide, []string{"w"}, "", "whole names, fewer columns, and back", lists, ""},
		{actFreeze, []string{"z"}, "", "let the screen stand still, and go on", lists, ""},
		{actCopy, []string{"y"}, "copy", "copy the host, path or id of a change to the clipboard, over SSH too (OSC 52)", screens, ""},
		{actSave, []string{"ctrl+s"}, "", "save the screen as a text file", screens, ""},
		{actMouse, []string{"m"}, "", "mouse on and off", pages, ""},
		{actHelp, []string{"?"}, "help", "this help, and back", pages, ""},
		{actQuit, []string{"q", "ctrl+c"}, "quit", "quit; a second ctrl+c asks nothing", pages, ""},
		{actAccept, []string{"enter"}, "accept", "accept what is typed or chosen", []scope{inInput, inChoice}, ""},
		{actMine, []string{"m"}, "mine", "write what you wanted over what somebody else left", []scope{inConflict}, ""},
		{actTheirs, []string{"t"}, "theirs", "leave it as somebody else left it", []scope{inConflict}, ""},
		{actCancel, []string{"esc"}, "cancel", "leave it as it was; of two changes: as somebody else left it", []scope{inInput, inChoice, inQuestion, inConflict}, ""},
		{actYes, []string{"y"}, "yes", "yes", []scope{inQuestion}, ""},
		{actNo, []string{"n", "enter"}, "no", "no, the default", []scope{inQuestion}, ""},
	}
}

// Key is one row of the keymap for people: the README's table is made of it.
type Key struct {
	Action string   // its name in an override
	Keys   []string // as pressed
	Help   string
	Where  []string // fleet, host, history, change, help, input, choice, question, conflict
}

// Keymap returns the built-in keymap in the order of the help.
func Keymap() []Key {
	var out []Key
	for _, b := range bindings() {
		k := Key{Action: string(b.action), Keys: b.keys, Help: b.help}
		for _, s := range b.scopes {
			k.Where = append(k.Where, string(s))
		}
		out = append(out, k)
	}
	return out
}

// KeymapMarkdown returns the keymap as a Markdown table.
func KeymapMarkdown() string {
	var b strings.Builder
	b.WriteString("| key | does | where | name |\n|---|---|---|---|\n")
	for _, k := range Keymap() {
		keys := make([]string, len(k.Keys))
		for i, s := range k.Keys {
			keys[i] = "`" + shown(s) + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | `%s` |\n", strings.Join(keys, " "),
			strings.ReplaceAll(k.Help, "|", `\|`), strings.Join(k.Where, ", "), k.Action)
	}
	return b.String()
}

// shown is a key as a person reads it.
func shown(k string) string {
	if s, ok := map[string]string{"up": "↑", "down": "↓", "pgdown": "pgdn"}[k]; ok {
		return s
	}
	return strings.Replace(k, "ctrl+", "ctrl-", 1)
}

// keymap finds the action of a key.
type keymap struct {
	list []binding
	at   map[scope]map[string]action
}

// newKeymap lays overrides over the table. All problems are reported together: unknown
// actions, keys that mean two things in one place, and ctrl-a and ctrl-b, which tmux and
// screen take.
func newKeymap(overrides map[string][]string) (*keymap, error) {
	m := &keymap{list: bindings(), at: make(map[scope]map[string]action)}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		i := slices.IndexFunc(m.list, func(b binding) bool { return string(b.action) == name })
		if i < 0 {
			errs = append(errs, fmt.Errorf("keys: no action %q", name))
			continue
		}
		if len(overrides[name]) == 0 && (name == string(actQuit) || name == string(actHelp)) {
			errs = append(errs, fmt.Errorf("keys: %s needs a key", name))
			continue
		}
		m.list[i].keys = overrides[name]
	}
	for _, b := range m.list {
		for _, k := range b.keys {
			if k == "ctrl+a" || k == "ctrl+b" {
				errs = append(errs, fmt.Errorf("keys: %s on %s: screen and tmux take that key", b.action, shown(k)))
			}
			for _, s := range b.scopes {
				if m.at[s] == nil {
					m.at[s] = make(map[string]action)
				}
				if other, taken := m.at[s][k]; taken && other != b.action {
					errs = append(errs, fmt.Errorf("keys: %s means both %s and %s in %s", shown(k), other, b.action, s))
				}
				m.at[s][k] = b.action
			}
		}
	}
	return m, errors.Join(errs...)
}

// action of a key in a scope; "" where it has none.
func (m *keymap) action(s scope, k tea.KeyMsg) action { return m.at[s][k.String()] }

// first key of an action, as a person reads it.
func (m *keymap) first(a action) string {
	for _, b := range m.list {
		if b.action == a && len(b.keys) > 0 {
			return shown(b.keys[0])
		}
	}
	return ""
}

// hint is a key of a page with whether it can be used just now.
type hint struct {
	binding
	off string // why not; "" when it can
}

// hints are the keys of a scope; off gives the reason a key can't be used, or "".
func (m *keymap) hints(s scope, off func(action) string) []hint {
	var out []hint
	for _, b := range m.list {
		if slices.Contains(b.scopes, s) && len(b.keys) > 0 {
			out = append(out, hint{b, off(b.action)})
		}
	}
	return out
}

// page tells whether it is that of a page with keys of its own.
func (s scope) page() bool { return s == onFleet || s == onHost || s == onHistory || s == onChange }
