package main

import (
	"fmt"

	"logagent/agent"
	"logagent/ui/store"
)

// entries says which entries of a document are meant.
type entries struct {
	name   string        // a log_path or a service, or everyEntry
	filter *store.Filter // where no name is given: those that it leaves
	text   string        // of the filter
}

// everyEntry names all entries of a document.
const everyEntry = "*"

// whichEntries cuts the entry off what follows HOSTS. Where it is left out, the filter says which
// are meant, if it speaks of entries.
func whichEntries(sel selection, args []string) (entries, []string, error) {
	switch {
	case len(args) > 0 && isField(args[0]):
		if !sel.filter.NamesEntries() {
			return entries{}, nil, usage("which entry? its log_path or its service comes before the fields, '*' is every entry; or a --filter by service, path, topic or rate names them")
		}
		return entries{filter: &sel.filter, text: sel.text}, args, nil
	case len(args) < 2:
		return entries{}, nil, usage("change what? after the entry come fields such as send_rate=5000")
	}
	return entries{name: args[0]}, args[1:], nil
}

// many tells whether the entries have nothing in common but that they were asked for.
func (w entries) many() bool { return w.filter != nil || w.name == everyEntry }

// of finds the entries among those of a document. single asks for one by its name.
func (w entries) of(document string, services []agent.Service, single bool) ([]agent.Service, error) {
	switch {
	case w.filter != nil:
		var found []agent.Service
		for _, s := range services {
			if w.filter.MatchesWanted(document, []agent.Service{s}) {
				found = append(found, s)
			}
		}
		return found, nil
	case w.name == everyEntry:
		return append([]agent.Service{}, services...), nil
	}
	return findEntries(services, w.name, single)
}

// String is the entries in a sentence: "host web-1 has … from group @web".
func (w entries) String() string {
	switch {
	case w.filter != nil:
		return fmt.Sprintf("entries of the filter %q", w.text)
	case w.name == everyEntry:
		return "entries"
	}
	return w.name
}

// has ends the sentence "no entry …".
func (w entries) has() string {
	switch {
	case w.filter != nil:
		return fmt.Sprintf("passes the filter %q", w.text)
	case w.name == everyEntry:
		return "is in its document"
	}
	return fmt.Sprintf("has the log_path or the service %q", w.name)
}

// args are the entries as they are asked for on the command line.
func (w entries) args() []string {
	if w.filter != nil {
		return []string{"--filter", w.text}
	}
	return []string{w.name}
}
