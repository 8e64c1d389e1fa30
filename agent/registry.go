package agent

import (
	"math"
	"sync"
	"time"
)

// registry tells the finder which files need no opening: those held by the loop and those
// read to their end. The loop writes it, the finder reads it.
type registry struct {
	mu    sync.Mutex // guards files
	files map[fileKey]*known
}

type known struct {
	size int64 // a larger file has grown after it was done; held files: beyond any size
	seen time.Time
}

func (r *registry) hold(k fileKey) { r.set(k, math.MaxInt64) }

func (r *registry) done(k fileKey, size int64) { r.set(k, size) }

func (r *registry) set(k fileKey, size int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.files == nil {
		r.files = make(map[fileKey]*known)
	}
	r.files[k] = &known{size: size, seen: time.Now()}
}

func (r *registry) forget(k fileKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.files, k)
}

// knows tells whether the file needs no opening, and notes that it exists.
func (r *registry) knows(k fileKey, size int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.files[k]
	if f == nil {
		return false
	}
	f.seen = time.Now()
	return size <= f.size
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
