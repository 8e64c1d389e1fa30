package etcdcfg

import (
	"encoding/json"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"logagent/etcdcfg/change"
)

// chunk is the value of ROOT.changes/<ulid>/<number>: some of the documents with what is to
// be done to them, and what became of it.
type chunk struct {
	Version  int       `json:"v"`
	Outcomes []Outcome `json:"outcomes"`
	Plan     []byte    `json:"plan,omitempty"` // gzipped JSON of []planned: of those that wait

	key      string
	revision int64
	plan     map[string]planned
}

// planned is a Step as it is stored.
type planned struct {
	Step
	Back  string `json:"back,omitempty"`
	Bytes int    `json:"bytes"` // about what its writes have
}

func (c *Client) chunkKey(id string, number int) string {
	return fmt.Sprintf("%s/%04d", c.layout.Changes(id), number)
}

func (c *Client) driverKey(id string) string { return c.layout.Changes(id) + "/driver" }

// encode writes a chunk. What is done needs no plan any more: its record has before and after.
func (k *chunk) encode() (string, error) {
	var left []planned
	for _, o := range k.Outcomes {
		if o.State == StepWaiting {
			left = append(left, k.plan[o.Name])
		}
	}
	stored := chunk{Version: changeVersion, Outcomes: k.Outcomes}
	if len(left) > 0 {
		plan, err := plainJSON(left)
		if err != nil {
			return "", err
		}
		stored.Plan = change.Pack(plan)
	}
	b, err := plainJSON(stored)
	return string(b), err
}

func decodeChunk(kv *mvccpb.KeyValue) (*chunk, error) {
	k := &chunk{key: string(kv.Key), revision: kv.ModRevision, plan: make(map[string]planned)}
	if err := json.Unmarshal(kv.Value, k); err != nil {
		return nil, fmt.Errorf("%s: %w", kv.Key, err)
	}
	var left []planned
	if k.Plan != nil {
		plan, err := change.Unpack(k.Plan)
		if err == nil {
			err = json.Unmarshal(plan, &left)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: plan: %w", kv.Key, err)
		}
	}
	for _, p := range left {
		presentOnly(p.Edits)
		p.back = p.Back
		k.plan[p.Name] = p
	}
	for i, o := range k.Outcomes {
		// Its transaction did not know it: that was the last one that wrote this chunk.
		if o.State == StepDone && o.Revision == 0 {
			k.Outcomes[i].Revision = kv.ModRevision
		}
	}
	return k, nil
}

func decodeHead(kv *mvccpb.KeyValue) (ChangeSet, error) {
	var s ChangeSet
	if err := json.Unmarshal(kv.Value, &s); err != nil {
		return s, fmt.Errorf("%s: %w", kv.Key, err)
	}
	s.revision = kv.ModRevision
	return s, nil
}

func (s *ChangeSet) encode() (string, error) {
	head := *s
	head.Outcomes, head.Driver, head.Doing = nil, "", ""
	b, err := plainJSON(head)
	return string(b), err
}

// meta is what the records of its documents say.
func (s *ChangeSet) meta() change.Meta {
	return change.Meta{Who: s.Who, Kind: s.Kind, Note: s.Note, Of: s.Of, Change: s.ID}
}
