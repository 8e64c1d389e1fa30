package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"logagent/agent"
)

// checkFile tells what the agent of this host believes about one file. It fails where no
// running agent follows it.
func (a *app) checkFile(ctx context.Context, path string) error {
	s, err := a.settings()
	if err != nil {
		return err
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	got, err := a.believed(ctx, &s, abs)
	if err != nil {
		return err
	}
	slices.SortFunc(got.Held, byAge)
	if a.json {
		if err := a.writeJSON(got); err != nil {
			return err
		}
	} else {
		a.writeFile(abs, &got)
	}
	if got.Error != "" || got.File == nil {
		return errSaid
	}
	return nil
}

// believed asks the running agent. Where none runs, its positions on disk tell what they can.
func (a *app) believed(ctx context.Context, s *settings, path string) (agent.Answer, error) {
	remote, err := agent.DialSocket(ctx, s.StateDir)
	if err == nil {
		got, err := remote.Answer(ctx, agent.Question{Kind: agent.AskFile, Path: path})
		if err != nil {
			return got, fmt.Errorf("ask the agent of this host: %w", err)
		}
		return got, nil
	}
	if errors.Is(err, fs.ErrPermission) { // one may be running
		return agent.Answer{}, fmt.Errorf("ask the agent of this host: %w", err)
	}
	fmt.Fprintf(a.stderr, "logagent: %v; what follows is what it has left on disk\n", err)
	got, err := agent.Remembered(s.StateDir, path)
	if err != nil {
		return got, fmt.Errorf("positions of the agent of this host: %w", err)
	}
	return got, nil
}

// heldStates are the states of an incarnation, the living first.
var heldStates = []string{"active", "rotated", "undecided", "truncated", "known", "done"}

// byAge puts what is read now before what is only remembered.
func byAge(a, b agent.Incarnation) int {
	return cmp.Or(
		cmp.Compare(slices.Index(heldStates, a.State), slices.Index(heldStates, b.State)),
		strings.Compare(a.Path, b.Path),
		cmp.Compare(a.Inode, b.Inode),
		cmp.Compare(a.Generation, b.Generation),
	)
}

// writeFile says in words what the agent believes.
func (a *app) writeFile(path string, got *agent.Answer) {
	switch {
	case got.Error != "":
		fmt.Fprintf(a.stdout, "%s: %s\n", path, got.Error)
		return
	case got.File == nil:
		fmt.Fprintf(a.stdout, "%s: followed by nobody now\n", path)
	default:
		f := got.File
		fmt.Fprintf(a.stdout, "%s\n  entry      %s (%s → %s)\n  state      %s: %s\n  committed  %d of %d bytes, lag %d\n",
			path, f.LogPath, f.Service, f.Topic, f.State, f.Cause, f.CommittedBytes, f.SizeBytes, f.Totals.LagBytes)
		if f.Totals.LostBytes > 0 || f.Totals.Doubled > 0 {
			fmt.Fprintf(a.stdout, "  since start  lost %d bytes, doubled %d lines\n", f.Totals.LostBytes, f.Totals.Doubled)
		}
	}
	for i := range got.Held {
		fmt.Fprintf(a.stdout, "  %-9s  %s\n", got.Held[i].State, heldInWords(&got.Held[i]))
	}
}

// heldInWords is one incarnation: where it is, how far it is read, and what is waited for.
func heldInWords(i *agent.Incarnation) string {
	words := []string{
		fmt.Sprintf("%s  device %d inode %d generation %d", i.Path, i.Device, i.Inode, i.Generation),
		progressOf(i),
	}
	if i.Compressed {
		words = append(words, "compressed (bytes are of its content)")
	}
	if i.Deleted {
		words = append(words, "deleted, and kept on the disk while it is read")
	}
	switch i.Writer {
	case "yes":
		words = append(words, "open for writing")
	case "no":
		words = append(words, "nobody writes it")
	}
	switch i.Waits {
	case "": // only remembered
	case "reading":
		words = append(words, "is being read")
	default:
		words = append(words, "waits for "+i.Waits)
	}
	return strings.Join(words, "  ")
}

// progressOf says how far a file is delivered.
func progressOf(i *agent.Incarnation) string {
	if i.SizeBytes < 0 {
		return fmt.Sprintf("committed %d bytes of a file whose size is not known now", i.Committed)
	}
	return fmt.Sprintf("committed %d of %d bytes, unread %d", i.Committed, i.SizeBytes, i.Unread)
}
