package main

import (
	"context"
	"fmt"
	"path/filepath"

	"logagent/agent"
)

// checkFile asks the running agent of this host what it believes about one file.
func (a *app) checkFile(ctx context.Context, path string) error {
	s, err := a.settings()
	if err != nil {
		return err
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	remote, err := agent.DialSocket(ctx, s.StateDir)
	if err != nil {
		return fmt.Errorf("ask the agent of this host: %w", err)
	}
	got, err := remote.Answer(ctx, agent.Question{Kind: agent.AskFile, Path: abs})
	if err != nil {
		return fmt.Errorf("ask the agent of this host: %w", err)
	}
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

// writeFile says in words what the agent believes.
func (a *app) writeFile(path string, got *agent.Answer) {
	switch {
	case got.Error != "":
		fmt.Fprintf(a.stdout, "%s: %s\n", path, got.Error)
		return
	case got.File == nil:
		fmt.Fprintf(a.stdout, "%s: no entry of this host follows it\n", path)
	default:
		f := got.File
		fmt.Fprintf(a.stdout, "%s\n  entry      %s (%s → %s)\n  state      %s: %s\n  committed  %d of %d bytes, lag %d\n",
			path, f.LogPath, f.Service, f.Topic, f.State, f.Cause, f.CommittedBytes, f.SizeBytes, f.Totals.LagBytes)
	}
	for _, i := range got.Held {
		fmt.Fprintf(a.stdout, "  %-9s  %s  device %d inode %d generation %d  committed %d of %d bytes\n",
			i.State, i.Path, i.Device, i.Inode, i.Generation, i.Committed, i.SizeBytes)
	}
}
