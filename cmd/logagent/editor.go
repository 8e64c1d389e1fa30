package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// workFile is the file that an editor is opened on. It outlives this process unless it is
// removed: what somebody typed is not lost.
type workFile struct {
	path  string
	given []byte // what the editor was opened with
}

// newWorkFile makes one, readable by nobody else, that shows the name of the document.
func newWorkFile(name string) (*workFile, error) {
	dir, err := os.MkdirTemp("", "logagent-edit-")
	if err != nil {
		return nil, fmt.Errorf("a file to edit: %w", err)
	}
	return &workFile{path: filepath.Join(dir, strings.Trim(name, ".")+".json")}, nil
}

// touched tells whether the file is another than the editor was opened with, however that ended.
// One that cannot be read may hold anything.
func (f *workFile) touched() bool {
	if f.given == nil {
		return false
	}
	file, err := os.Open(f.path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	defer file.Close()
	now, err := io.ReadAll(io.LimitReader(file, int64(len(f.given))+1))
	return err != nil || !bytes.Equal(now, f.given)
}

func (f *workFile) remove() error { return os.RemoveAll(filepath.Dir(f.path)) }

// edit writes the text into the file, lets the editor work on it, and returns what is in it
// then.
func (a *app) edit(f *workFile, text []byte) ([]byte, error) {
	if err := os.WriteFile(f.path, text, 0o600); err != nil {
		return nil, fmt.Errorf("a file to edit: %w", err)
	}
	f.given = text
	if err := a.runEditor(f.path); err != nil {
		return nil, err
	}
	return readLimited(f.path)
}

// editor is the operator's choice, which may have arguments.
func (a *app) editor() string {
	for _, name := range []string{"VISUAL", "EDITOR"} {
		if e := strings.TrimSpace(a.getenv(name)); e != "" {
			return e
		}
	}
	return "vi"
}

// runEditor runs the editor on a file, in this terminal. An interrupt belongs to the editor
// while it runs.
func (a *app) runEditor(path string) error {
	editor := a.editor()
	c := exec.Command("sh", "-c", editor+` "$1"`, "sh", path)
	c.Stdin, c.Stdout, c.Stderr = a.stdin, a.stdout, a.stderr
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, syscall.SIGINT, syscall.SIGQUIT) // taken here, not ignored: that the editor would inherit
	defer signal.Stop(interrupts)
	err := c.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exit) && exit.ExitCode() == 127:
		return fmt.Errorf("editor %q was not found; set EDITOR to one that is there", editor)
	default:
		return fmt.Errorf("editor %q: %w", editor, err)
	}
}

// maxEditedBytes bounds what is read back from an editor: a document and the words above it.
const maxEditedBytes = 1 << 20

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path) // editors may have put another file in its place
	if err != nil {
		return nil, fmt.Errorf("read what was edited: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxEditedBytes+1))
	if err == nil && len(raw) > maxEditedBytes {
		err = fmt.Errorf("more than %d bytes are no document", maxEditedBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return raw, nil
}

// commented makes lines for the top of the file of words for the operator.
func commented(words ...string) []byte {
	var b bytes.Buffer
	for _, w := range words {
		for line := range strings.SplitSeq(w, "\n") {
			b.WriteString(strings.TrimRight("# "+line, " ") + "\n")
		}
	}
	return b.Bytes()
}

// uncommented takes the lines off the top that begin with #.
func uncommented(text []byte) []byte {
	for {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		if line = bytes.TrimSpace(line); !bytes.HasPrefix(line, []byte("#")) {
			return text
		}
		text = rest
	}
}
