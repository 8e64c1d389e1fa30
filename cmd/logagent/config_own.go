package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"logagent/agent"
	"logagent/etcdcfg/change"
	"logagent/ui/termsafe"
)

// fromGroups looks after the selected hosts that have no such entry of their own, but have it
// from a group which is not selected: each gets one of its own where that is asked for, else a
// refusal with both ways. It returns how many got one.
func fromGroups(o *order, sc scene, sel selection, entry entries, own ownEntry) (given int) {
	for _, host := range sc.members(sel) {
		d := sc.written[host]
		d.Name = host
		mine := make(map[string]bool) // log_paths that the host has of its own
		has := false
		if services, _, err := agent.ParseDocument(d.Raw); err == nil {
			for _, s := range services {
				mine[s.LogPath] = true
			}
			if found, err := entry.of(host, services, false); err == nil && len(found) > 0 {
				has = !entry.many() // of many, one that it has of its own says nothing of the others
			}
		} else if d.Raw != nil {
			continue // refused already
		}
		if has {
			continue
		}
		for _, group := range sc.in[host] {
			found, err := entry.of(host, sc.entries[group], sel.one() != "")
			if err != nil {
				o.refuse(host, fmt.Errorf("group %s: %w", group, err))
				break
			}
			found = slices.DeleteFunc(found, func(s agent.Service) bool { return mine[s.LogPath] })
			if len(found) == 0 {
				continue
			}
			switch {
			case sel.names(group): // the change reaches the host by its group
				if entry.many() { // and another group may hold more of them
					for _, e := range found {
						mine[e.LogPath] = true
					}
					continue
				}
			case !own.allowed:
				o.refuse(host, &borrowedError{host: host, entry: entry, group: group, hosts: sc.hostsOf(group), own: own})
			default:
				edits, err := ownEdits(sc.groups[group].Raw, found, own.fields)
				if err != nil {
					o.refuse(host, err)
					break
				}
				o.change(d, edits)
				for _, e := range found {
					o.had(host, e.LogPath, sc.groups[group].Raw)
				}
				given++
			}
			break // the first group that has it is where the host has it from
		}
	}
	return given
}

// had notes the entry that a host has from its group so far.
func (o *order) had(host, logPath string, group []byte) {
	entry, ok := change.EntryAt(group, logPath)
	if !ok {
		return
	}
	if o.instead == nil {
		o.instead = make(map[string]map[string]json.RawMessage)
	}
	if o.instead[host] == nil {
		o.instead[host] = make(map[string]json.RawMessage)
	}
	o.instead[host][logPath] = entry
}

// ownEdits gives a host entries of its own, made of its group's.
func ownEdits(group []byte, found []agent.Service, fields map[string]json.RawMessage) ([]change.Edit, error) {
	changed, err := change.Apply("", group, setEdits(found, fields))
	if err != nil {
		return nil, err
	}
	var edits []change.Edit
	for _, e := range found {
		value, ok := change.EntryAt(changed, e.LogPath)
		if !ok {
			return nil, fmt.Errorf("a copy of %s under another log_path would not take its place: add it by config add", e.LogPath)
		}
		edits = append(edits, change.Edit{Op: change.OpAdd, Value: value})
	}
	return edits, nil
}

// borrowedError says that a host has an entry from a group, and what can be done.
type borrowedError struct {
	host, group string
	entry       entries
	hosts       int // that have the group
	own         ownEntry
}

func (e *borrowedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s has %s from group %s, which %s now:", hostWord(e.host), e.entry, e.group, follow(e.hosts))
	rest := shellWords(append(e.entry.args(), e.own.args...))
	fmt.Fprintf(&b, "\n  logagent config %s %s %s   changes it for all of them", e.own.verb, shellWord(e.group), rest)
	if e.entry.many() {
		return b.String()
	}
	if e.own.verb == "set" {
		fmt.Fprintf(&b, "\n  logagent config set %s %s --own   gives %s an entry of its own, which the group's no longer touches", shellWord(e.host), rest, e.host)
	} else {
		fmt.Fprintf(&b, "\n  logagent config set %s %s paused=true --own   stops it on %s alone", shellWord(e.host), shellWords(e.entry.args()), e.host)
	}
	return b.String()
}

func follow(hosts int) string {
	if hosts == 1 {
		return "1 host follows"
	}
	return fmt.Sprintf("%d hosts follow", hosts)
}

// shellWord is a word as a shell takes it.
func shellWord(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@%+=:,./_-", r))
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(termsafe.Clean(s), "'", `'\''`) + "'"
}

func shellWords(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = shellWord(w)
	}
	return strings.Join(out, " ")
}
