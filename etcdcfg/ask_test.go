package etcdcfg

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"logagent/agent"
)

func serving(t *testing.T, c *Client, answer func(context.Context, agent.Question) agent.Answer) (stop func()) {
	t.Helper()
	return start(t, func(ctx context.Context) error { return c.ServeQuestions(ctx, "h", answer) })
}

func echo(_ context.Context, q agent.Question) agent.Answer {
	return agent.Answer{Exists: true, Matches: []string{q.Kind, q.Path}}
}

func questions(t *testing.T, c *Client) []string {
	t.Helper()
	r, err := shared.Client().Get(t.Context(), c.layout.asks("h"), clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, kv := range r.Kvs {
		out = append(out, string(kv.Value))
	}
	return out
}

func TestQuestionIsAnsweredAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	console, host := newClient(t, shared.Addr()), newClient(t, shared.Addr())
	put(t, shared, host.layout.Live("h"), "{}")
	serving(t, host, echo)
	var wg sync.WaitGroup
	for _, path := range []string{"/a", "/b", "/c"} {
		wg.Go(func() {
			got, err := console.Ask(t.Context(), "h", agent.Question{Kind: agent.AskPath, Path: path})
			if err != nil || !got.Exists || strings.Join(got.Matches, " ") != "path "+path {
				t.Errorf("%s: got %+v, %v", path, got, err)
			}
		})
	}
	wg.Wait()
	if left := questions(t, console); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestQuestionToAHostWithoutAgentIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	if _, err := c.Ask(t.Context(), "h", agent.Question{Kind: agent.AskPath}); !errors.Is(err, ErrNoAgent) || !strings.Contains(err.Error(), "ask h: host has no live agent") {
		t.Fatalf("want ErrNoAgent, got %v", err)
	}
	if left := questions(t, c); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestQuestionThatStaysUnansweredEndsWithItsDeadline(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	put(t, shared, c.layout.Live("h"), "{}")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := c.Ask(ctx, "h", agent.Question{Kind: agent.AskPath}); !errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), "ask h: agent did not answer within 300ms") {
		t.Fatalf("want ErrNoAnswer, got %v", err)
	}
	if left := questions(t, c); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if !c.Link().Up {
		t.Errorf("a silent agent is not etcd's fault: %+v", c.Link())
	}
}

func TestQuestionsThatWaitAtStartAreAnsweredAndAnsweredOnesLeftAlone(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	put(t, shared, c.layout.Ask("h", "1"), `{"question":{"kind":"path","path":"/old"}}`)
	put(t, shared, c.layout.Ask("h", "2"), `{"question":{"kind":"path","path":"/done"},"answer":{"why":"before"}}`)
	put(t, shared, c.layout.Ask("h", "3"), `not JSON`)
	serving(t, c, echo)
	eventually(t, "answers", func() bool {
		all := strings.Join(questions(t, c), "\n")
		return strings.Contains(all, `"matches":["path","/old"]`) && strings.Contains(all, `"answer":{"why":"before"}`) &&
			strings.Contains(all, "question not understood")
	})
}

func TestAnswerStandsUnderTheLeaseOfItsQuestion(t *testing.T) {
	t.Parallel()
	c := newClient(t, shared.Addr())
	lease, err := shared.Client().Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	key := c.layout.Ask("h", "1")
	put(t, shared, key, `{"question":{"kind":"path","path":"/p"}}`, clientv3.WithLease(lease.ID))
	serving(t, c, echo)
	eventually(t, "answer", func() bool { s, _ := get(t, shared, key); return strings.Contains(s, `"answer"`) })
	if _, err := shared.Client().Revoke(t.Context(), lease.ID); err != nil {
		t.Fatal(err)
	}
	if s, revision := get(t, shared, key); revision != 0 {
		t.Fatalf("want the answer gone with the lease, got %s", s)
	}
}

func TestAgentHearsWhetherAConsoleLooksAtIt(t *testing.T) {
	t.Parallel()
	host, one, two := newClient(t, shared.Addr()), newClient(t, shared.Addr()), newClient(t, shared.Addr())
	host.timing.unwatchedAfter = 500 * time.Millisecond
	var mu sync.Mutex
	var told []bool
	heard := func() []bool {
		mu.Lock()
		defer mu.Unlock()
		return told
	}
	start(t, func(ctx context.Context) error {
		return host.FollowWatched(ctx, "h", func(w bool) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, w)
		})
	})
	key := host.layout.Watch("h")
	stopOne := start(t, func(ctx context.Context) error { return one.HoldWatch(ctx, "h") })
	eventually(t, "watched", func() bool { h := heard(); return len(h) == 1 && h[0] })
	_, first := get(t, shared, key)
	stopTwo := start(t, func(ctx context.Context) error { return two.HoldWatch(ctx, "h") })
	// The second console has its lease once it follows the key; then it takes over.
	eventually(t, "second console", func() bool { return two.Link().Up })
	stopOne()
	eventually(t, "second console's key", func() bool { _, r := get(t, shared, key); return r != 0 && r != first })
	stopTwo()
	eventually(t, "not watched", func() bool { h := heard(); return len(h) == 2 && !h[1] })
	if _, r := get(t, shared, key); r != 0 {
		t.Errorf("watch key left behind")
	}
}
