package etcdcfg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"logagent/agent"
	"logagent/etcdcfg/change"
)

// Document is one document as etcd holds it.
type Document struct {
	Name     string // host or @group
	Raw      []byte // nil: there is none
	Revision int64  // 0: there is none
}

// Documents reads the documents of hosts and groups whose name matches, all at one revision,
// which is returned too, sorted by name. A nil match takes all.
func (c *Client) Documents(ctx context.Context, match func(name string) bool) (docs []Document, revision int64, err error) {
	const tries = 3 // etcd may drop the revision between two pages
	for range tries {
		docs, revision, err = c.documents(ctx, match)
		if !errors.Is(err, rpctypes.ErrCompacted) {
			break
		}
	}
	return docs, revision, err
}

func (c *Client) documents(ctx context.Context, match func(string) bool) ([]Document, int64, error) {
	var docs []Document
	add := func(name string, kv *mvccpb.KeyValue) {
		if match == nil || match(name) {
			docs = append(docs, Document{Name: name, Raw: append([]byte{}, kv.Value...), Revision: kv.ModRevision})
		}
	}
	revision, err := c.pages(ctx, c.layout.before, 0, false, func(kv *mvccpb.KeyValue) {
		if host, ok := c.layout.HostOf(string(kv.Key)); ok {
			add(host, kv)
		}
	})
	if err != nil {
		return nil, 0, err
	}
	_, err = c.pages(ctx, c.layout.groups(), revision, false, func(kv *mvccpb.KeyValue) {
		name := "@" + strings.TrimPrefix(string(kv.Key), c.layout.groups())
		if CheckName(name) == nil {
			add(name, kv)
		}
	})
	if err != nil {
		return nil, 0, err
	}
	slices.SortFunc(docs, func(a, b Document) int { return strings.Compare(a.Name, b.Name) })
	return docs, revision, nil
}

// Step is what a change set does to one document.
type Step struct {
	Name  string        `json:"name"`
	Edits []change.Edit `json:"edits"`
	// Base is the document's revision when the step was planned. A document that has another
	// one by now is merged by entry, which Was in the edits decides; edits of the whole
	// document that have no Was are a conflict.
	Base int64 `json:"base"`

	// Of a preview: the document before and after, nil where there is none, and what differs.
	Before []byte             `json:"-"`
	After  []byte             `json:"-"`
	Diff   []change.EntryDiff `json:"-"`

	// back is the id of the record that a step takes back.
	back string
}

// Problem is why a change cannot be made to one document.
type Problem struct {
	Name string
	Err  error
}

// Plan is a preview of a change set: plain data, made by PlanEdits and PlanFleet from what
// Documents read. Nothing was written.
type Plan struct {
	Steps    []Step // sorted by name; those are what Start does
	Same     []string
	Problems []Problem // documents that have no step; Start does not look at them
	Effect   change.Effect
}

// PlanEdits plans the same edits for each document. Entries that an edit names by their
// service are named by their log_path in the plan, and what they are now is kept in Was, so
// that an entry that somebody else changes before the plan is carried out is a conflict.
// A document without an entry of that service stays the same.
func PlanEdits(docs []Document, edits []change.Edit) Plan {
	var p Plan
	for _, d := range docs {
		p.add(d, concreteEdits(d, edits))
	}
	return p.finish()
}

// PlanFleet plans that the documents of a file are what etcd holds; docs are those of the
// names in it as they are now. Documents the file does not name stay as they are. A broken
// one that travelled as text can only stay as it is.
func PlanFleet(docs []Document, fleet change.Fleet) Plan {
	var p Plan
	now := make(map[string]Document)
	for _, d := range docs {
		now[d.Name] = d
	}
	for _, name := range slices.Sorted(maps.Keys(fleet.Documents)) {
		d := now[name]
		d.Name = name
		want, _ := fleet.Document(name)
		if identical(d.Raw, want) || d.Raw != nil && change.Same(d.Raw, want) {
			p.Same = append(p.Same, name)
			continue
		}
		edits, err := change.Between(d.Raw, want)
		if err != nil {
			p.Problems = append(p.Problems, Problem{name, err})
			continue
		}
		if d.Raw == nil { // laid out as the file has it
			whole := change.Replace(want)
			whole.Was = map[string]json.RawMessage{"": nil}
			edits = []change.Edit{whole}
		}
		p.add(d, edits)
	}
	return p.finish()
}

// add previews one document's edits.
func (p *Plan) add(d Document, edits []change.Edit) {
	if err := CheckName(d.Name); err != nil {
		p.Problems = append(p.Problems, Problem{d.Name, err})
		return
	}
	// As they come back from etcd, so that the preview is what will be done.
	stored, err := asStored(edits)
	if err != nil {
		p.Problems = append(p.Problems, Problem{d.Name, err})
		return
	}
	s := Step{Name: d.Name, Edits: stored, Base: d.Revision, Before: d.Raw}
	if s.After, err = change.Apply(d.Name, d.Raw, s.Edits); err == nil {
		s.Diff, err = previewDiff(s.Before, s.After)
	}
	switch {
	case err != nil:
		p.Problems = append(p.Problems, Problem{d.Name, err})
	case identical(s.Before, s.After):
		p.Same = append(p.Same, d.Name)
	default:
		p.Steps = append(p.Steps, s)
	}
}

// previewDiff is the difference of two documents; one that was broken before had no entries.
func previewDiff(before, after []byte) ([]change.EntryDiff, error) {
	if _, _, err := agent.ParseDocument(before); before != nil && err != nil {
		before = nil
	}
	return change.Diff(before, after)
}

func asStored(edits []change.Edit) ([]change.Edit, error) {
	b, err := plainJSON(edits)
	if err != nil {
		return nil, fmt.Errorf("edits: %w", err)
	}
	var stored []change.Edit
	if err := json.Unmarshal(b, &stored); err != nil {
		return nil, fmt.Errorf("edits: %w", err)
	}
	presentOnly(stored)
	return stored, nil
}

// presentOnly gives edits that were read from JSON back what it has no word for: an entry
// that was not there.
func presentOnly(edits []change.Edit) {
	for _, e := range edits {
		for path, was := range e.Was {
			if string(was) == "null" {
				e.Was[path] = nil
			}
		}
	}
}

func (p *Plan) finish() Plan {
	slices.SortFunc(p.Steps, func(a, b Step) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(p.Problems, func(a, b Problem) int { return strings.Compare(a.Name, b.Name) })
	slices.Sort(p.Same)
	diffs := make([][]change.EntryDiff, len(p.Steps))
	for i, s := range p.Steps {
		diffs[i] = s.Diff
	}
	p.Effect = change.EffectOf(diffs)
	return *p
}

// concreteEdits names each entry by its log_path and notes what it is now.
func concreteEdits(d Document, edits []change.Edit) []change.Edit {
	services, _, err := agent.ParseDocument(d.Raw)
	if err != nil && d.Raw != nil {
		return edits // each is refused, or replaces it whole
	}
	var out []change.Edit
	note := func(e change.Edit, path string) {
		if e.Was == nil {
			was, _ := change.EntryAt(d.Raw, path)
			e.Was = map[string]json.RawMessage{path: was}
		}
		out = append(out, e)
	}
	for _, e := range edits {
		switch {
		case e.Op == change.OpAdd:
			var added struct {
				LogPath string `json:"log_path"`
			}
			if json.Unmarshal(e.Value, &added) == nil && added.LogPath != "" {
				if _, there := change.EntryAt(d.Raw, added.LogPath); !there {
					note(e, added.LogPath)
					continue
				}
			}
			out = append(out, e) // refused in words
		case e.Op != change.OpSet && e.Op != change.OpRemove:
			out = append(out, e)
		case e.LogPath != "":
			note(e, e.LogPath)
		default:
			for _, s := range services {
				if s.Service == e.Service {
					one := e
					one.LogPath, one.Service = s.LogPath, ""
					note(one, s.LogPath)
				}
			}
		}
	}
	return out
}
