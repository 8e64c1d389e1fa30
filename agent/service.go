package agent

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"
)

// StartAt says where the files that exist when an entry is first applied are begun.
type StartAt string

const (
	StartEnd       StartAt = "end"       // after the last line end; the default
	StartBeginning StartAt = "beginning" // at the first byte
)

// Partitioning says what decides the partition of a record.
type Partitioning string

const (
	PartitionRandom  Partitioning = "random"  // null key, one partition per batch; the default
	PartitionFile    Partitioning = "file"    // key: the path header
	PartitionHost    Partitioning = "host"    // key: the host id
	PartitionService Partitioning = "service" // key: the service name
)

// Oversize says what becomes of a line longer than a record may be.
type Oversize string

const (
	OversizeSplit    Oversize = "split"    // several records with headers part and parts; the default
	OversizeTruncate Oversize = "truncate" // the first bytes only
	OversizeSkip     Oversize = "skip"     // not sent; counted
)

// Service is one entry of a host's document: which files, to which topic, how fast. Its
// identity is LogPath. A Service that was handed out is never written again: readers may
// keep it without a lock.
type Service struct {
	Service   string       `json:"service"`              // name shown everywhere
	LogPath   string       `json:"log_path"`             // absolute file or glob
	Topic     string       `json:"topic"`                // Kafka topic
	SendRate  int64        `json:"send_rate"`            // lines per second for the whole entry; 0: no limit
	StartAt   StartAt      `json:"start_at,omitempty"`   // "" means end
	Exclude   []string     `json:"exclude,omitempty"`    // globs left out
	Paused    bool         `json:"paused,omitempty"`     // keep the position, send nothing
	Partition Partitioning `json:"partition,omitempty"`  // "" means random
	Oversize  Oversize     `json:"oversize,omitempty"`   // "" means split
	Key       string       `json:"origin_key,omitempty"` // the etcd key it came from; set by the reader of the document
}

// Equal tells whether both entries ask for the same thing.
func (s *Service) Equal(o *Service) bool {
	return s.Service == o.Service && s.LogPath == o.LogPath && s.Topic == o.Topic &&
		s.SendRate == o.SendRate && s.startAt() == o.startAt() && slices.Equal(s.Exclude, o.Exclude) &&
		s.Paused == o.Paused && s.partition() == o.partition() && s.oversize() == o.oversize() && s.Key == o.Key
}

// Sum is eight hexadecimal digits of what the entry asks for, wherever it is written: two
// entries that differ in anything but Key have different sums, as far as 32 bits can tell,
// and a field that is left out counts as its default. Agents of other versions must come to
// the same: a field that is added here stays out of the sum while it has its default.
func (s *Service) Sum() string {
	b, err := json.Marshal(struct {
		Service, LogPath, Topic string
		SendRate                int64
		StartAt                 StartAt
		Exclude                 []string `json:",omitempty"`
		Paused                  bool
		Partition               Partitioning
		Oversize                Oversize
	}{s.Service, s.LogPath, s.Topic, s.SendRate, s.startAt(), s.Exclude, s.Paused, s.partition(), s.oversize()})
	if err != nil { // plain numbers and strings cannot fail
		panic(fmt.Sprintf("sum of %s: %v", s.LogPath, err))
	}
	return fmt.Sprintf("%08x", crc32.Checksum(b, castagnoli))
}

// Same tells whether both entries ask for the same thing, wherever they are written.
func (s *Service) Same(o *Service) bool {
	a := *s
	a.Key = o.Key
	return a.Equal(o)
}

func (s *Service) startAt() StartAt {
	if s.StartAt == "" {
		return StartEnd
	}
	return s.StartAt
}

func (s *Service) partition() Partitioning {
	if s.Partition == "" {
		return PartitionRandom
	}
	return s.Partition
}

func (s *Service) oversize() Oversize {
	if s.Oversize == "" {
		return OversizeSplit
	}
	return s.Oversize
}

// Refusal is a document that was not taken: the running one stays in force.
type Refusal struct {
	Revision int64  `json:"revision"` // etcd ModRevision of the refused document
	Error    string `json:"error"`    // every problem, each naming entry and field
}

// Document is what one etcd key asks of this host, in its last valid form.
type Document struct {
	Key       string    `json:"key"`                  // the whole etcd key
	Revision  int64     `json:"revision"`             // ModRevision of the document in force; 0: the key does not exist. Compared for equality only
	Services  []Service `json:"services"`             // in the document's order
	Warnings  []string  `json:"warnings,omitempty"`   // unknown fields and the like
	Refused   *Refusal  `json:"refused,omitempty"`    // a newer document that was refused, if any
	FromCache bool      `json:"from_cache,omitempty"` // from state_dir, because etcd has not answered yet
}

// HostConfig is the whole desired state of one host. Documents are in order of
// precedence: the host id's own key first, then the keys of its addresses, then those of
// its groups in the order the host names them. Where two of them name one log_path, the
// first wins.
type HostConfig struct {
	Host      string     `json:"host"`
	Documents []Document `json:"documents"`
}

// Effective returns the entries in force, without those overruled by an earlier document.
func (c *HostConfig) Effective() []Service {
	seen := make(map[string]bool)
	var out []Service
	for _, d := range c.Documents {
		for _, s := range d.Services {
			if seen[s.LogPath] {
				continue
			}
			seen[s.LogPath] = true
			s.Key = d.Key
			out = append(out, s)
		}
	}
	return out
}
