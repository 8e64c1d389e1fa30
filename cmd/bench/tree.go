package main

import (
	"fmt"
	"os"
	"path/filepath"

	"logagent/agent"
)

// tree is many log files in 10 times 10 folders, and the 10 globs that match them.
type tree struct {
	dir   string
	files int
}

const (
	treeGlobs   = 10
	treeFolders = 10 // of each glob
)

// path names the ith file; neighbours lie in different globs.
func (t tree) path(i int) string {
	return filepath.Join(t.folder(i), fmt.Sprintf("f%05d.log", i))
}

func (t tree) folder(i int) string {
	return filepath.Join(t.dir, fmt.Sprintf("g%d", i%treeGlobs), fmt.Sprintf("d%d", i/treeGlobs%treeFolders))
}

// entries follow the tree, each glob one.
func (t tree) entries() []agent.Service {
	out := make([]agent.Service, treeGlobs)
	for g := range out {
		out[g] = agent.Service{
			Service: fmt.Sprintf("glob-%d", g), LogPath: filepath.Join(t.dir, fmt.Sprintf("g%d", g), "*", "*.log"),
			Topic: benchTopic, StartAt: agent.StartBeginning,
		}
	}
	return out
}

// fill makes every file with some lines in it, and tells what they are.
func (t tree) fill(lines int) (written, error) {
	var w written
	for i := range t.files {
		if i < treeGlobs*treeFolders {
			if err := os.MkdirAll(t.folder(i), 0o755); err != nil {
				return w, err
			}
		}
		var text []byte
		for n := range lines {
			from := len(text)
			text = fmt.Appendf(text, "file %05d line %04d: started, listening, everything as it should be", i, n)
			w.Sum += lineSum(text[from:])
			text = append(text, '\n')
		}
		if err := os.WriteFile(t.path(i), text, 0o644); err != nil {
			return w, err
		}
		w.Lines += int64(lines)
		w.Bytes += int64(len(text))
	}
	return w, nil
}

// and is both together.
func (w written) and(o written) written {
	return written{Lines: w.Lines + o.Lines, Bytes: w.Bytes + o.Bytes, Sum: w.Sum + o.Sum, Jitter: o.Jitter}
}
