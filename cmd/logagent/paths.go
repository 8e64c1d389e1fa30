package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/sys/unix"

	"logagent/agent"
)

// Paths as check sees them: through the running agent where there is one, for it may be
// another user with other rights; else by itself.

// asker answers what a path or a glob is.
type asker func(context.Context, agent.Question) (agent.Answer, error)

// lookHere is the asker without an agent.
func lookHere(ctx context.Context, q agent.Question) (agent.Answer, error) {
	if q.Kind == agent.AskGlob {
		matches, err := doublestar.FilepathGlob(q.Path, doublestar.WithFilesOnly(), doublestar.WithFailOnIOErrors())
		if err != nil {
			return agent.Answer{Error: err.Error()}, nil
		}
		var out agent.Answer
		for _, m := range matches {
			if !excluded(m, q.Exclude) {
				out.MatchCount++
				out.Matches = append(out.Matches, m)
			}
		}
		return out, nil
	}
	info, err := os.Stat(q.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return agent.Answer{}, nil
	case err != nil:
		return agent.Answer{Exists: true, Why: err.Error()}, nil
	case info.IsDir():
		return agent.Answer{Exists: true, Why: "it is a folder"}, nil
	}
	out := agent.Answer{Exists: true, Readable: true, SizeBytes: info.Size(), Modified: info.ModTime()}
	if err := unix.Access(q.Path, unix.R_OK); err != nil {
		out.Readable, out.Why = false, err.Error()
	}
	return out, ctx.Err()
}

// excluded tells whether one of the globs means the path.
func excluded(path string, globs []string) bool {
	for _, g := range globs {
		if ok, err := doublestar.PathMatch(g, path); err == nil && ok {
			return true
		}
	}
	return false
}

// writable tells in words what keeps this user from writing in a folder that is made where
// it is missing; nil where nothing does.
func writable(folder string) error {
	abs, err := filepath.Abs(folder)
	if err != nil {
		return err
	}
	for at := abs; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist) && at != "/":
			continue
		case err != nil:
			return err
		case !info.IsDir():
			return fmt.Errorf("%s is no folder", at)
		}
		if err := unix.Access(at, unix.W_OK|unix.X_OK); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		return nil
	}
}
