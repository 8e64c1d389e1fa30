package etcdcfg

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

const (
	cacheName    = "config.json"
	cacheVersion = 1
)

// cache keeps the last applied documents on disk, so that an agent started while etcd is
// away works from them. One goroutine uses it.
type cache struct {
	path string // "" means there is no cache
	log  *slog.Logger
	last []byte // what the file holds; nil if not known
	sick bool   // the last save failed, and the log says so
}

// cacheFile is the file: the checksum is over the bytes of Documents.
type cacheFile struct {
	Version   int             `json:"version"`
	CRC32C    string          `json:"crc32c"`
	Documents json.RawMessage `json:"documents"`
}

// cacheEntry is one key with its last good document.
type cacheEntry struct {
	Key      string  `json:"key"`
	Revision int64   `json:"revision"`
	Document *string `json:"document,omitempty"` // as it stands in etcd; nil: the key did not exist
}

func openCache(dir string, log *slog.Logger) *cache {
	if dir == "" {
		return &cache{log: log}
	}
	return &cache{path: filepath.Join(dir, cacheName), log: log}
}

// load returns what was saved. A file that cannot be used is said in the log, and one that
// is corrupt is kept aside.
func (c *cache) load() []cacheEntry {
	if c.path == "" {
		return nil
	}
	b, err := os.ReadFile(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		c.log.Error("cached config not readable, going on without", "path", c.path, "reason", err)
		return nil
	}
	entries, err := decodeCache(b)
	if err != nil {
		aside := c.path + ".bad"
		if renamed := os.Rename(c.path, aside); renamed != nil {
			aside = "nowhere: " + renamed.Error()
		}
		c.log.Error("cached config is corrupt, going on without", "path", c.path, "reason", err, "kept_as", aside)
		return nil
	}
	c.last = b
	return entries
}

func decodeCache(b []byte) ([]cacheEntry, error) {
	var f cacheFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, err
	}
	if f.Version != cacheVersion {
		return nil, fmt.Errorf("version is %d, this program knows %d", f.Version, cacheVersion)
	}
	if sum := checksum(f.Documents); sum != f.CRC32C {
		return nil, fmt.Errorf("checksum is %s, the file says %q", sum, f.CRC32C)
	}
	var entries []cacheEntry
	if err := json.Unmarshal(f.Documents, &entries); err != nil {
		return nil, err
	}
	return entries, nil
}

func encodeCache(entries []cacheEntry) ([]byte, error) {
	documents, err := json.Marshal(entries)
	if err != nil {
		return nil, err
	}
	return json.Marshal(cacheFile{Version: cacheVersion, CRC32C: checksum(documents), Documents: documents})
}

func checksum(b []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// save writes the entries unless the file holds them already. A failure is said once; the
// next save tries again.
func (c *cache) save(entries []cacheEntry) {
	if c.path == "" {
		return
	}
	b, err := encodeCache(entries)
	if err == nil {
		if bytes.Equal(b, c.last) {
			return
		}
		err = writeFile(c.path, b)
	}
	if err != nil {
		c.last = nil
		if !c.sick {
			c.log.Error("config not cached; a start without etcd would use an older one", "path", c.path, "reason", err)
		}
		c.sick = true
		return
	}
	if c.sick {
		c.log.Info("config is cached again", "path", c.path)
	}
	c.last, c.sick = b, false
}

// writeFile replaces a file so that a crash leaves the old one or the new one.
func writeFile(path string, b []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = temp.Write(b)
	if err == nil {
		err = temp.Sync()
	}
	if err := errors.Join(err, temp.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
