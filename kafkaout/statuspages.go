package kafkaout

import (
	"encoding/json"
	"errors"
	"fmt"

	"logagent/agent"
)

// Headers and kinds of records on the status topic. The key is the host.
const (
	headerKind  = "kind"
	kindSummary = "summary"
	kindDetail  = "detail"
	headerPage  = "page"  // from 1
	headerPages = "pages" // how many there are
)

// pageBytes bounds one record of a detail: half of what brokers take by default.
const pageBytes = 500_000

// statusPage is a detail, or the part of one with some of its files.
type statusPage struct {
	agent.Status
	Files []json.RawMessage `json:"files,omitempty"`
}

// detailPages encodes a status as one or more records: the first has everything but
// files, each has some of these. Without history, that of the files is left out.
func detailPages(s agent.Status, history bool) ([][]byte, error) {
	rest := s.Files
	page := statusPage{Status: s}
	page.Status.Files = nil
	head, err := json.Marshal(&page)
	if err != nil {
		return nil, fmt.Errorf("encode status of %s: %w", s.Host, err)
	}
	size := len(head)
	var pages [][]byte
	flush := func() error {
		out, err := json.Marshal(&page)
		if err != nil {
			return fmt.Errorf("encode status of %s: %w", s.Host, err)
		}
		pages = append(pages, out)
		page = statusPage{Status: agent.Status{Host: s.Host, StateID: s.StateID, Boot: s.Boot, Seq: s.Seq, At: s.At}}
		size = 1000 // what the few fields and their names take, generously
		return nil
	}
	for i := range rest {
		f := rest[i]
		if !history {
			f.History = nil
		}
		file, err := json.Marshal(&f)
		if err != nil {
			return nil, fmt.Errorf("encode status of %s, file %s: %w", s.Host, f.Path, err)
		}
		if size+len(file)+1 > pageBytes && len(page.Files) > 0 {
			if err := flush(); err != nil {
				return nil, err
			}
		}
		page.Files = append(page.Files, file)
		size += len(file) + 1
	}
	if err := flush(); err != nil {
		return nil, err
	}
	return pages, nil
}

// pageJoiner puts the pages of one host's details together. Pages of one status come one
// after the other; a new status drops what is left of the one before.
type pageJoiner struct {
	status agent.Status
	next   int
}

var errPage = errors.New("status detail: a page is missing")

// add takes page n of all and returns the whole status with its last page.
func (j *pageJoiner) add(b []byte, n, all int) (*agent.Status, error) {
	var s agent.Status
	if err := json.Unmarshal(b, &s); err != nil {
		j.next = 0
		return nil, fmt.Errorf("status detail: %w", err)
	}
	switch {
	case n == 1:
		j.status = s
	case n != j.next || s.StateID != j.status.StateID || s.Boot != j.status.Boot || s.Seq != j.status.Seq:
		j.next = 0
		return nil, errPage
	default:
		j.status.Files = append(j.status.Files, s.Files...)
	}
	j.next = n + 1
	if n < all {
		return nil, nil
	}
	out := j.status
	*j = pageJoiner{}
	return &out, nil
}

// historyPoints bounds the history in a summary: ten minutes in steps of ten seconds.
const historyPoints = 60

// downsample shortens a history to at most historyPoints steps: rates are averaged, lag
// is that at the end of a step. The newest steps are whole.
func downsample(h *agent.History) *agent.History {
	if h == nil || len(h.Lag) <= historyPoints {
		return h
	}
	by := (len(h.Lag) + historyPoints - 1) / historyPoints
	out := &agent.History{StepSeconds: h.StepSeconds * by}
	for end := by + (len(h.Lag) % by); end <= len(h.Lag); end += by {
		from := end - by
		out.In = append(out.In, mean(h.In, from, end))
		out.Out = append(out.Out, mean(h.Out, from, end))
		out.Lag = append(out.Lag, h.Lag[end-1])
	}
	return out
}

// mean of v[from:to]; steps that v does not have count for nothing.
func mean(v []uint32, from, to int) uint32 {
	to = min(to, len(v))
	if from >= to {
		return 0
	}
	var sum uint64
	for _, n := range v[from:to] {
		sum += uint64(n)
	}
	return uint32(sum / uint64(to-from))
}
