package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"logagent/agent"
	"logagent/etcdcfg"
	"logagent/etcdcfg/change"
	"logagent/ui/termsafe"
)

func (a *app) configEditVerb() *cobra.Command {
	var w writing
	c := &cobra.Command{
		Use:   "edit HOST|@GROUP",
		Short: "Change a document in your editor",
		Long: `Opens a document in $VISUAL, $EDITOR or vi. A text that agents would refuse is opened again with what
is wrong on top; one that is left as it was, or emptied, changes nothing. What somebody else
changed meanwhile is kept: your changes are laid over his by entry, and where both changed
one entry you get all three versions to choose from. Nothing you typed is lost: where it is
not saved, the file it is in is named.`,
		Args:              args(1, 1, "config edit takes one host or @group"),
		ValidArgsFunction: a.completeHost,
	}
	w.writeFlags.add(c)
	c.RunE = func(_ *cobra.Command, args []string) error {
		if err := checkOne(args[0]); err != nil {
			return err
		}
		return a.onEtcd(func(s *settings, client *etcdcfg.Client) error {
			e := editing{a: a, settings: s, client: client, name: args[0], flags: w.writeFlags}
			return e.run()
		})
	}
	return c
}

// editing is one person's edit of one document.
type editing struct {
	a        *app
	settings *settings
	client   *etcdcfg.Client
	name     string
	flags    writeFlags

	base     []byte // the document that the text was made of; nil: there was none
	revision int64  // of base
	shown    []byte // the text that the editor was opened with, without the words above it
	words    []string
	again    bool // asked for by the person, not by a conflict: leaving the text as it is gives up
}

// conflictMark begins the lines above a text that two have changed: while one of them stands,
// nobody has decided.
const conflictMark = "conflict:"

func (e *editing) run() error {
	if err := e.read(); err != nil {
		return err
	}
	e.shown = editable(e.base)
	e.words = append(e.words, fmt.Sprintf("%s, revision %d. Lines above the document that begin with # are left out;", hostWord(e.name), e.revision),
		"a document that is left as it is, or emptied, changes nothing.")
	if e.base != nil {
		if _, _, err := agent.ParseDocument(e.base); err != nil {
			e.words = append(e.words, "", "It is broken as it stands, agents refuse it:", err.Error())
		}
	}
	f, err := newWorkFile(e.name)
	if err != nil {
		return err
	}
	typed, err := e.loop(f)
	kept := fmt.Sprintf("what you typed is kept in %s", f.path)
	switch {
	case err != nil && (typed || f.touched()):
		return errors.Join(err, errors.New(kept))
	case err == nil && typed && e.flags.dryRun:
		fmt.Fprintln(e.a.stderr, "logagent: "+kept)
		return nil
	}
	return errors.Join(err, f.remove())
}

// read takes the document as it stands.
func (e *editing) read() error {
	return e.a.interruptible(func(ctx context.Context) error {
		raw, revision, err := e.client.Get(ctx, e.name)
		if revision == 0 {
			raw = nil
		}
		e.base, e.revision = raw, revision
		return err
	})
}

// editable is a document as people edit it: one that is written in a single line is laid out.
func editable(raw []byte) []byte {
	if raw == nil {
		return []byte("[]\n")
	}
	var b bytes.Buffer
	if !bytes.ContainsRune(bytes.TrimSpace(raw), '\n') && json.Indent(&b, bytes.TrimSpace(raw), "", "  ") == nil {
		return endLine(b.Bytes())
	}
	return endLine(raw)
}

// loop opens the editor until what comes out of it is saved, or given up; typed tells whether
// there is something to lose then.
func (e *editing) loop(f *workFile) (typed bool, err error) {
	for first := true; ; first = false {
		text, err := e.a.edit(f, append(commented(e.words...), e.shown...))
		if err != nil {
			return !first, err
		}
		if undecided(text) {
			return true, errors.New("the lines that begin with # " + conflictMark + " are still there: nothing was written")
		}
		text = uncommented(text)
		switch {
		case len(bytes.TrimSpace(text)) == 0, (first || e.again) && bytes.Equal(endLine(text), e.shown):
			if first {
				fmt.Fprintln(e.a.stderr, "logagent: nothing was changed")
				return false, nil
			}
			return true, errDeclined
		}
		_, _, wrong := agent.ParseDocument(text)
		if wrong != nil {
			if !first && bytes.Equal(endLine(text), e.shown) {
				return true, fmt.Errorf("the document is not right, nothing was written:\n%w", wrong)
			}
			e.shown = endLine(text)
			e.words = []string{"This is not right yet:", wrong.Error(), "", "Leave it as it is to give up."}
			e.again = false
			continue
		}
		e.shown = endLine(text)
		again, err := e.save(text)
		if !again {
			return true, err
		}
	}
}

// undecided tells whether a text with conflicts came back undecided.
func undecided(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if !bytes.HasPrefix(line, []byte("#")) {
			return false
		}
		if bytes.HasPrefix(bytes.TrimSpace(line[1:]), []byte(conflictMark)) {
			return true
		}
	}
	return false
}

// save writes the text, on top of what others made of the document meanwhile. again asks for the
// editor once more: there are conflicts, or the person wants it.
func (e *editing) save(text []byte) (again bool, err error) {
	err = e.a.interruptible(func(ctx context.Context) error {
		again, err = e.trySave(ctx, text)
		return err
	})
	return again, err
}

func (e *editing) trySave(ctx context.Context, text []byte) (again bool, err error) {
	for {
		now, revision, err := e.client.Get(ctx, e.name)
		if err != nil {
			return false, err
		}
		if revision == 0 {
			now = nil
		}
		wanted := text
		if !identicalText(now, e.base) {
			if wanted, err = merged(e.name, e.base, text, now); err != nil {
				var conflict *change.ConflictError
				if !errors.As(err, &conflict) {
					return false, err
				}
				e.threeWay(ctx, conflict, text, now, revision)
				e.again = false
				return true, nil
			}
			fmt.Fprintf(e.a.stderr, "logagent: %s was changed meanwhile%s; your changes are laid over that\n", hostWord(e.name), e.byWhom(ctx))
		}
		o, err := betweenTexts(e.name, revision, now, wanted)
		if err != nil {
			return false, err
		}
		o.pinned, o.exact, o.revision = true, true, revision
		err = e.a.writeEdited(ctx, e.settings, e.client, e.flags, o)
		var changed *etcdcfg.ChangedError
		switch {
		case errors.As(err, &changed):
			continue // once more, on top of that
		case errors.Is(err, errAgain):
			e.words, e.again = []string{"Once more. Leave it as it is to give up."}, true
			if !identicalText(now, e.base) {
				e.base, e.revision, e.shown = now, revision, endLine(wanted)
			}
			return true, nil
		}
		return false, err
	}
}

// identicalText tells whether two documents are the same bytes, or both not there.
func identicalText(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// merged lays what was typed over what somebody else made of the document. One that was broken
// has no entries to merge by.
func merged(name string, base, mine, theirs []byte) ([]byte, error) {
	for _, raw := range [][]byte{base, theirs} {
		if raw == nil {
			continue
		}
		if _, _, err := agent.ParseDocument(raw); err != nil {
			return nil, &etcdcfg.ChangedError{Host: name, Raw: theirs}
		}
	}
	return change.Merge(name, base, mine, theirs)
}

// threeWay makes the text of a conflict: the document as it stands now with all that was typed
// laid over it, and above it, for each entry that both have changed, its three versions.
func (e *editing) threeWay(ctx context.Context, conflict *change.ConflictError, mine, theirs []byte, revision int64) {
	e.words = []string{
		fmt.Sprintf("%s was changed%s while you were editing, in the same entries as you did.", hostWord(e.name), e.byWhom(ctx)),
		"Below stands the document as it is now, with your version of these entries in it. Make it what it",
		"should be, and take the lines away that begin with # " + conflictMark + " to save it.",
	}
	for _, c := range conflict.Conflicts {
		what := "the document"
		if c.LogPath != "" {
			what = strings.TrimSpace(c.Service + " " + c.LogPath)
		}
		e.words = append(e.words, "", conflictMark+" "+termsafe.Line(what))
		for _, side := range []struct {
			whose   string
			version json.RawMessage
		}{{"theirs", c.Theirs}, {"yours", c.Mine}} {
			if diffs, err := change.Diff(entryAlone(c.Base), entryAlone(side.version)); err == nil && c.LogPath != "" {
				for _, l := range diffLines(diffs) {
					e.words = append(e.words, fmt.Sprintf("  %-6s  %s", side.whose, l))
				}
			}
		}
		e.words = append(e.words, "  it was  "+versionWord(c.Base), "  theirs  "+versionWord(c.Theirs), "  yours   "+versionWord(c.Mine))
	}
	text := mine
	if edits, err := change.Between(e.base, mine); err == nil {
		for i := range edits {
			edits[i].Was = nil
		}
		if both, err := change.Apply(e.name, theirs, edits); err == nil && both != nil {
			text = both
		}
	}
	e.base, e.revision, e.shown = theirs, revision, editable(text)
}

// entryAlone is a document of one entry, or none.
func entryAlone(entry json.RawMessage) []byte {
	if entry == nil {
		return nil
	}
	return list(entry)
}

// versionWord is one version of an entry in a line.
func versionWord(raw json.RawMessage) string {
	if raw == nil {
		return "not there"
	}
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return termsafe.Line(string(raw))
	}
	return termsafe.Clean(b.String())
}

// byWhom names who changed the document last, where the history tells.
func (e *editing) byWhom(ctx context.Context) string {
	records, err := e.client.History(ctx, e.name, 1)
	if err != nil || len(records) == 0 || records[0].Kind == change.KindOutside {
		return ""
	}
	return " by " + termsafe.Clean(records[0].Who.String())
}

// errAgain asks for the editor once more.
var errAgain = errors.New("edit again")

// writeEdited is write with one more answer to its question: back to the editor.
func (a *app) writeEdited(ctx context.Context, s *settings, client *etcdcfg.Client, w writeFlags, o order) error {
	o.finish()
	if len(o.plan.Steps) == 0 {
		return a.nothingToDo(ctx, s, client, &o, w)
	}
	if err := o.countHosts(ctx, client); err != nil {
		return err
	}
	if w.dryRun {
		return a.dryRun(&o)
	}
	if a.asks() {
		writeReview(a.stdout, &o)
		if !w.yes {
			answer, err := a.ask(ctx, "Write this? [y/N/e to edit it again] ")
			switch {
			case err != nil:
				return err
			case answer == "e", answer == "edit":
				return errAgain
			case !isYes(answer):
				return errDeclined
			}
		}
	}
	return a.writeOne(ctx, s, client, &o, change.Meta{Who: a.who(), Note: w.note, Kind: change.KindEdit})
}
