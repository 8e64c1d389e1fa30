package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
)

// countAbove is from how many documents on the number is typed instead of y: a finger that is
// used to y stops there.
const countAbove = 20

// maxNoteBytes bounds --note: it stands in the history of every document of a change.
const maxNoteBytes = 500

// errDeclined ends a verb whose question was answered with no.
var errDeclined = errors.New("nothing was written")

// writeFlags are those of every verb that writes.
type writeFlags struct {
	yes, dryRun bool
	note        string
}

func (w *writeFlags) add(c *cobra.Command) {
	c.Flags().BoolVarP(&w.yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&w.dryRun, "dry-run", false, "show what would be written, write nothing")
	c.Flags().StringVar(&w.note, "note", "", "why, for the history: a `TEXT`")
	c.PreRunE = func(*cobra.Command, []string) error { return w.check() }
}

func (w *writeFlags) check() error {
	switch {
	case len(w.note) > maxNoteBytes:
		return usage("--note has %d bytes, at most %d are kept", len(w.note), maxNoteBytes)
	case strings.ContainsFunc(w.note, unicode.IsControl):
		return usage("--note is one line without control characters")
	}
	return nil
}

// asks tells whether there is somebody to ask: a script's input is no terminal, and then the
// verbs write at once, as they always did.
func (a *app) asks() bool { return isTerminal(a.stdin) && isTerminal(a.stderr) }

// confirm asks before documents are written, where somebody can be asked; errDeclined where the
// answer is no.
func (a *app) confirm(ctx context.Context, w writeFlags, documents int) error {
	if w.yes || !a.asks() {
		return nil
	}
	if documents <= countAbove {
		answer, err := a.ask(ctx, "Write this? [y/N] ")
		if err == nil && !isYes(answer) {
			err = errDeclined
		}
		return err
	}
	answer, err := a.ask(ctx, fmt.Sprintf("This writes %d documents. Type their number to write them: ", documents))
	if err == nil && answer != strconv.Itoa(documents) {
		err = errDeclined
	}
	return err
}

func isYes(answer string) bool { return answer == "y" || answer == "yes" }

// ask writes a question on the terminal and reads the answer, trimmed and in lower case; an
// end of the input is an empty one.
func (a *app) ask(ctx context.Context, question string) (string, error) {
	fmt.Fprint(a.stderr, question)
	type read struct {
		line string
		err  error
	}
	got := make(chan read, 1)
	go func() { // a signal does not end a read: the process may end before this does
		line, err := readLine(a.stdin)
		got <- read{line, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.stderr)
		return "", ctx.Err()
	case r := <-got:
		if r.err != nil && !errors.Is(r.err, io.EOF) {
			return "", fmt.Errorf("read the answer: %w", r.err)
		}
		if r.err != nil {
			fmt.Fprintln(a.stderr) // the line that nobody has ended
		}
		return strings.ToLower(strings.TrimSpace(r.line)), nil
	}
}

// readLine reads up to a line end and no byte more: what follows answers the next question.
func readLine(r io.Reader) (string, error) {
	var line []byte
	for one := make([]byte, 1); len(line) < 1<<10; {
		n, err := r.Read(one)
		switch {
		case n > 0 && one[0] == '\n':
			return string(line), nil
		case n > 0:
			line = append(line, one[0])
		case err != nil:
			return string(line), err
		}
	}
	return string(line), nil
}
