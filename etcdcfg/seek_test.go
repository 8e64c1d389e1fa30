package etcdcfg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"logagent/agent"
	"logagent/etcdcfg/change"
)

// aPlan moves one file to the position.
func aPlan(to int64) agent.SeekPlan {
	return agent.SeekPlan{
		Path: "/a.log", Goal: agent.SeekGoal{To: agent.SeekEnd}, StateID: "s", Made: time.Now(), SkippedBytes: to,
		Moves: []agent.SeekMove{{SeekFile: agent.SeekFile{LogPath: "/a.log", Path: "/a.log", Stands: agent.StandsActive, Inode: 7}, To: to, SeekBytes: agent.SeekBytes{SkippedBytes: to}}},
	}
}

// mover is an agent that carries out whatever is asked, and remembers.
type mover struct {
	mu   sync.Mutex
	ids  []string
	to   []int64
	fail int // so many calls end without an outcome
}

func (m *mover) seek(_ context.Context, id string, p agent.SeekPlan) (agent.SeekOutcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ids, m.to = append(m.ids, id), append(m.to, p.Moves[0].To)
	if m.fail > 0 {
		m.fail--
		return agent.SeekOutcome{}, agent.ErrNotRunning
	}
	return agent.SeekOutcome{State: agent.SeekDone, At: time.Now(), SkippedBytes: p.SkippedBytes}, nil
}

func (m *mover) moved() []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.to)
}

func TestSeekIsRecordedCarriedOutAndAnsweredInPlace(t *testing.T) {
	t.Parallel()
	console, host := newClient(t, shared.Addr()), newClient(t, shared.Addr())
	document := entry("nginx", 5)
	base := put(t, shared, console.layout.Config("h"), document)
	m := &mover{}
	start(t, func(ctx context.Context) error { return host.ServeSeeks(ctx, "h", m.seek) })
	who := change.Who{User: "alice", Host: "bastion"}
	id, err := console.RequestSeek(t.Context(), "h", aPlan(900), change.Meta{Who: who, Note: "too old to matter"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := console.AwaitSeek(t.Context(), "h", id)
	if err != nil || got.ID != id || got.Who != who || got.Note != "too old to matter" || got.Outcome == nil || got.Outcome.SkippedBytes != 900 || got.Plan.Moves[0].To != 900 {
		t.Fatalf("got %+v, %v", got, err)
	}
	all, err := console.Seeks(t.Context(), "h")
	if err != nil || len(all) != 1 || all[0].Outcome == nil {
		t.Fatalf("list: %+v, %v", all, err)
	}

	// The record stands in the history of the host under the same id, and says that the
	// document is as it was.
	text, revision := get(t, shared, console.layout.History("h", id))
	var r change.Record
	var plan agent.SeekPlan
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	before, err1 := change.Unpack(r.Before)
	after, err2 := change.Unpack(r.After)
	if err := errors.Join(err1, err2, json.Unmarshal(r.Seek, &plan)); err != nil {
		t.Fatal(err)
	}
	if r.Kind != change.KindSeek || r.ID != id || r.Name != "h" || r.Who != who || r.Base != base || string(before) != document || string(after) != document || plan.SkippedBytes != 900 {
		t.Errorf("record: %s", text)
	}
	if _, requested := get(t, shared, console.layout.Config("h")); requested != base || revision == 0 {
		t.Errorf("the document was written")
	}
	if _, err := console.AwaitSeek(t.Context(), "h", "none"); !errors.Is(err, ErrNoSeek) {
		t.Errorf("want ErrNoSeek, got %v", err)
	}
	if _, err := console.RequestSeek(t.Context(), "h", agent.SeekPlan{}, change.Meta{}); err == nil {
		t.Error("a plan that moves nothing is asked for")
	}
	big := aPlan(1)
	for range 999 {
		big.Moves = append(big.Moves, big.Moves[0])
		big.Moves[len(big.Moves)-1].Name = strings.Repeat("x", 2000)
	}
	if _, err := console.RequestSeek(t.Context(), "h", big, change.Meta{}); err == nil || !strings.Contains(err.Error(), "name fewer") {
		t.Errorf("a request that etcd takes not at all: %v", err)
	}
}

func TestSeeksThatWaitForTheAgentAreCarriedOutInTheirOrderOnce(t *testing.T) {
	t.Parallel()
	console, host := newClient(t, shared.Addr()), newClient(t, shared.Addr())
	host.timing.resync = 30 * time.Millisecond // noted again and again
	var ids []string
	for i := range 5 {
		id, err := console.RequestSeek(t.Context(), "h", aPlan(int64(i)+1), change.Meta{})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if !slices.IsSorted(ids) {
		t.Fatalf("ids are not in their order: %v", ids)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := console.AwaitSeek(ctx, "h", ids[0]); !errors.Is(err, ErrSeekWaits) {
		t.Errorf("want ErrSeekWaits, got %v", err)
	}
	m := &mover{fail: 1} // the agent ends in the middle of the first
	stop := start(t, func(ctx context.Context) error { return host.ServeSeeks(ctx, "h", m.seek) })
	eventually(t, "begun", func() bool { return len(m.moved()) > 0 })
	stop()
	again := &mover{}
	start(t, func(ctx context.Context) error { return host.ServeSeeks(ctx, "h", again.seek) })
	for _, id := range ids {
		if r, err := console.AwaitSeek(t.Context(), "h", id); err != nil || r.Outcome == nil {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	late, err := console.RequestSeek(t.Context(), "h", aPlan(6), change.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := console.AwaitSeek(t.Context(), "h", late); err != nil {
		t.Fatal(err)
	}
	// Each was carried out until it had an outcome, and never again after a later one.
	all := append(m.moved(), again.moved()...)
	last := all[len(all)-1]
	if want := []int64{1, 2, 3, 4, 5, 6}; !slices.Equal(slices.Compact(all), want) || last != 6 {
		t.Errorf("want %v each until it was done, got %v", want, all)
	}
}

func TestSeekRequestsAreWrittenOnTopOfChangesAndOfClocksThatAreAhead(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	ahead, err := ulid.New(ulid.Timestamp(time.Now().Add(time.Hour)), ulid.DefaultEntropy())
	if err != nil {
		t.Fatal(err)
	}
	put(t, shared, c.layout.History("h", ahead.String()), "{}")
	var wg sync.WaitGroup
	ids := make([]string, 8)
	for i := range ids {
		wg.Go(func() {
			put(t, shared, c.layout.Config("h"), entry("nginx", int64(i)))
			var err error
			if ids[i], err = c.RequestSeek(t.Context(), "h", aPlan(1), change.Meta{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	all, err := c.Seeks(t.Context(), "h")
	if err != nil || len(all) != len(ids) {
		t.Fatalf("%d requests of %d, %v", len(all), len(ids), err)
	}
	for _, r := range all {
		if r.ID <= ahead.String() {
			t.Errorf("%s is not above %s", r.ID, ahead)
		}
	}
}

func TestOldSeeksAreRemovedAndBrokenOnesRefused(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	id := func(age time.Duration) string {
		return ulid.MustNew(ulid.Timestamp(time.Now().Add(-age)), ulid.DefaultEntropy()).String()
	}
	old, broken, newer := id(31*24*time.Hour), id(3*time.Hour), id(2*time.Hour)
	put(t, shared, c.layout.Seek("h", old), `{"v":1,"outcome":{"state":"done"}}`)
	put(t, shared, c.layout.Seek("h", broken), `not JSON`)
	put(t, shared, c.layout.Seek("h", newer), fmt.Sprintf(`{"v":%d,"plan":{}}`, SeekVersion+1))
	put(t, shared, c.layout.Seek("h2", old), `{"v":1}`) // another host's
	m := &mover{}
	start(t, func(ctx context.Context) error { return c.ServeSeeks(ctx, "h", m.seek) })
	for wanted, key := range map[string]string{"not understood": broken, "newer version": newer} {
		eventually(t, wanted, func() bool {
			text, _ := get(t, shared, c.layout.Seek("h", key))
			return strings.Contains(text, `"refused"`) && strings.Contains(text, wanted)
		})
	}
	eventually(t, "old one gone", func() bool { _, revision := get(t, shared, c.layout.Seek("h", old)); return revision == 0 })
	if _, revision := get(t, shared, c.layout.Seek("h2", old)); revision == 0 {
		t.Error("another host's request was removed")
	}
	if len(m.moved()) > 0 {
		t.Errorf("carried out: %v", m.moved())
	}
}

func TestSeekWhoseOutcomeCanNotBeToldIsToldOnceEtcdIsBack(t *testing.T) {
	t.Parallel()
	e := ownEtcd(t)
	console, host := newClient(t, e.Addr()), newClient(t, e.Addr(), func(o *Options) { o.Timeout = 500 * time.Millisecond })
	id, err := console.RequestSeek(t.Context(), "h", aPlan(9), change.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	m := &mover{}
	calls := make(chan struct{}, 1)
	start(t, func(ctx context.Context) error {
		return host.ServeSeeks(ctx, "h", func(ctx context.Context, id string, p agent.SeekPlan) (agent.SeekOutcome, error) {
			if len(m.moved()) == 0 {
				e.Stop()
			}
			defer func() { calls <- struct{}{} }()
			return m.seek(ctx, id, p)
		})
	})
	<-calls
	if err := e.Restart(); err != nil {
		t.Fatal(err)
	}
	r, err := console.AwaitSeek(t.Context(), "h", id)
	if err != nil || r.Outcome == nil || r.Outcome.SkippedBytes != 9 {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := m.moved(); len(got) != 1 {
		t.Errorf("carried out %d times", len(got))
	}
}

func TestSeekThatHasAnOutcomeIsNotCarriedOutAgainThoughItWasNoted(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	id, err := c.RequestSeek(t.Context(), "h", aPlan(9), change.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	m := &mover{}
	s := &seekServer{c: c, host: "h", seek: m.seek, waiting: make(map[string]bool), some: make(chan struct{}, 1)}
	for range 2 { // noted when it had none, and read anew meanwhile
		s.serve(t.Context(), c.layout.Seek("h", id))
	}
	s.serve(t.Context(), c.layout.Seek("h", "gone"))
	if got := m.moved(); len(got) != 1 {
		t.Errorf("carried out %d times", len(got))
	}
}
