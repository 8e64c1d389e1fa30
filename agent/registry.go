package agent

import (
	"sync"
	"time"
)

// registry tells the finder which files need no opening: those held by the loop and those
// read to their end. The loop writes it, the finder reads it.
type registry struct {
	mu       sync.Mutex        // guards all
	entries  map[string]uint32 // log_path → its number in keys
	held     map[regKey]uint32 // → when it was last known to exist, in seconds since 1970
	finished map[regKey]finished
	retries  []string // paths whose file could not be begun: to be reported again
}

// regKey is a fileKey in half the space: there is one for every file.
type regKey struct {
	dev, ino uint64
	birth    int64
	entry    uint32
}

// finished is a file that was read to its end.
type finished struct {
	size  int64 // another size or time means it was written again
	mtime int64 // 0: not remembered
	seen  uint32
}

func unixNow() uint32 { return uint32(time.Now().Unix()) }

// key returns the short form of k. mu is held.
func (r *registry) key(k fileKey) regKey {
	n, ok := r.entries[k.logPath]
	if !ok {
		if r.entries == nil {
			r.entries, r.held, r.finished = make(map[string]uint32), make(map[regKey]uint32), make(map[regKey]finished)
		}
		n = uint32(len(r.entries))
		r.entries[k.logPath] = n
	}
	return regKey{k.id.Dev, k.id.Ino, k.id.Birth, n}
}

func (r *registry) hold(k fileKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := r.key(k)
	delete(r.finished, key)
	r.held[key] = unixNow()
}

func (r *registry) done(k fileKey, size, mtime int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := r.key(k)
	delete(r.held, key)
	r.finished[key] = finished{size, mtime, unixNow()}
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
	key := r.key(k)
	delete(r.held, key)
	delete(r.finished, key)
}

// knows tells whether the file needs no opening, and notes that it exists.
func (r *registry) knows(k fileKey, st stat) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := r.key(k)
	if _, ok := r.held[key]; ok {
		r.held[key] = unixNow()
		return true
	}
	f, ok := r.finished[key]
	if !ok {
		return false
	}
	f.seen = unixNow()
	r.finished[key] = f
	return st.size == f.size && (st.mtime == f.mtime || f.mtime == 0)
}

// finishedOnce tells whether the file was read to its end and is not held since.
func (r *registry) finishedOnce(k fileKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.finished[r.key(k)]
	return ok
}

// lastSeen returns when the file was last known to exist, to the second.
func (r *registry) lastSeen(k fileKey) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := r.key(k)
	if at, ok := r.held[key]; ok {
		return time.Unix(int64(at), 0)
	}
	if f, ok := r.finished[key]; ok {
		return time.Unix(int64(f.seen), 0)
	}
	return time.Time{}
}
