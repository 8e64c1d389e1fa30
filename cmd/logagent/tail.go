package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/nxadm/tail"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"logagent/ui/termsafe"
)

// tailVerb follows a file for people. The agent itself never reads files this way: what
// nxadm/tail loses at a rotation does not matter to an eye.
func (a *app) tailVerb() *cobra.Command {
	var lines int
	c := &cobra.Command{
		Use:   "tail FILE",
		Short: "Show the last lines of a file and follow it, over rotations too",
		Args:  args(1, 1, "tail takes one file"),
		RunE: func(_ *cobra.Command, args []string) error {
			if lines < 0 {
				return usage("-n %d: a count of lines is wanted", lines)
			}
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
			defer stop()
			return a.tail(ctx, args[0], lines)
		},
	}
	c.Flags().IntVarP(&lines, "lines", "n", 10, "begin with the last `N` lines")
	return c
}

// tail writes the last lines of the file and what is appended to it until ctx ends.
func (a *app) tail(ctx context.Context, path string, lines int) error {
	from, err := lastLines(path, lines)
	if err != nil {
		return err
	}
	t, err := tail.TailFile(path, tail.Config{
		Location: &tail.SeekInfo{Offset: from, Whence: io.SeekStart},
		Follow:   true,
		ReOpen:   true,
		Poll:     true, // where inotify is exhausted the library ends the process
		Logger:   tail.DiscardingLogger,
	})
	if err != nil {
		return fmt.Errorf("tail %s: %w", path, err)
	}
	defer t.Cleanup()
	screen := isTerminal(a.stdout)
	for {
		select {
		case <-ctx.Done():
			return t.Stop()
		case line, ok := <-t.Lines:
			if !ok {
				if err := t.Wait(); err != nil {
					return fmt.Errorf("tail %s: %w", path, err)
				}
				return nil
			}
			text := line.Text
			if screen {
				text = termsafe.Clean(text)
			}
			if _, err := io.WriteString(a.stdout, text+"\n"); err != nil {
				return errors.Join(err, t.Stop())
			}
		}
	}
}

// lastLines returns the offset at which the last n lines of the file begin. An unfinished
// last line counts as one.
func lastLines(path string, n int) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if info.IsDir() {
		return 0, fmt.Errorf("%s is a folder", path)
	}
	end := info.Size()
	if n == 0 {
		return end, nil
	}
	const chunk = 64 << 10
	buf := make([]byte, chunk)
	left := n
	for at := end; at > 0; {
		start := max(0, at-chunk)
		part := buf[:at-start]
		if _, err := f.ReadAt(part, start); err != nil && !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("read %s at %d: %w", path, start, err)
		}
		for i := bytes.LastIndexByte(part, '\n'); i >= 0; i = bytes.LastIndexByte(part[:i], '\n') {
			if start+int64(i) == end-1 {
				continue // the end of the last line, not the beginning of another
			}
			if left--; left == 0 {
				return start + int64(i) + 1, nil
			}
		}
		at = start
	}
	return 0, nil
}

// isTerminal tells whether what is written to w is seen by a person.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
