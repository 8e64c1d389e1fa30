package agent

import (
	"sync"
	"time"
)

// registry tells the finder which files need no opening: those held by the loop and those
// read to their end. The loop writes it, the finder reads it.
type registry struct {
	mu      sync.Mutex // guards both
	files   map[fileKey]*known
	retries []string // paths whose file could not be begun: to be reported again
}

type known struct {
	held  bool
	size  int64 // of a done file; another size or time means it was written again
	mtime int64 // 0: not remembered
	seen  time.Time
}

func (r *registry) hold(k fileKey) { r.set(k, known{held: true}) }

func (r *registry) done(k fileKey, size, mtime int64) { r.set(k, known{size: size, mtime: mtime}) }

func (r *registry) set(k fileKey, f known) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.files == nil {
		r.files = make(map[fileKey]*known)
	}
	f.seen = time.Now()
	r.files[k] = &f
}

// retry asks the finder to report a path again with its next look.
func (r *registry) retry(path string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.retries = append(r.retries, path)
}

func (r *registry) takeRetries() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	paths := r.retries
	r.retries = nil
	return paths
}

func (r *registry) forget(k fileKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.files, k)
}

// knows tells whether the file needs no opening, and notes that it exists.
func (r *registry) knows(k fileKey, st stat) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.files[k]
	if f == nil {
		return false
	}
	f.seen = time.Now()
	return f.held || st.size == f.size && (st.mtime == f.mtime || f.mtime == 0)
}

// lastSeen returns when the file was last known to exist.
func (r *registry) lastSeen(k fileKey) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.files[k]; f != nil {
		return f.seen
	}
	return time.Time{}
}
