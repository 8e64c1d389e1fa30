package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"

	"logagent/agent"
	"logagent/etcdcfg/change"
	"logagent/internal/lab"
)

// editor is a console's writer on an etcd of its own.
func editor(t *testing.T) (*place, writer) {
	t.Helper()
	etcd, err := lab.StartEtcd(lab.EtcdOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIn(t, etcd) })
	p := &place{etcd: etcd}
	return p, writer{p.client(t), change.Who{User: "alice", Host: "bastion-1"}}
}

func TestTuningOfAnOwnEntryIsOneRecordAndLeavesTheOthersAlone(t *testing.T) {
	t.Parallel()
	p, w := editor(t)
	before := "[ {\"service\":\"own\",\"log_path\":\"/own\",\"topic\":\"t\",\"send_rate\":5 , \"later_field\":1} ]\n"
	p.document(t, "web-1", before)
	from := agent.Service{Service: "svc", LogPath: "/p/*.log", Topic: "t", SendRate: 100, Exclude: []string{"*.gz"}, Key: "/logagent.groups/web"}
	id := ulid.Make().String()
	if _, err := w.Own(t.Context(), "web-1", from.LogPath, from, 105, id); err != nil {
		t.Fatal(err)
	}
	if got := p.key(t, "/logagent/web-1/logconfig"); strings.Contains(got, "origin_key") || !strings.Contains(got, `"send_rate":5 , "later_field":1`) || !strings.Contains(got, "*.gz") {
		t.Errorf("want the whole entry without where it came from, beside what was there, got %s", got)
	}
	if _, err := w.SetRate(t.Context(), "web-1", from.LogPath, 105, 110, id); err != nil {
		t.Fatal(err)
	}
	h := p.history(t, "web-1")
	if len(h) != 2 || h[0].Kind != change.KindRate || h[0].Who.User != "alice" || h[1].Kind != change.KindOutside {
		t.Fatalf("want one record above what was found, got %+v", h)
	}
	diffs, err := difference(h[0])
	if err != nil || len(diffs) != 1 || !strings.Contains(diffs[0], "+ svc /p/*.log") || !strings.Contains(diffs[0], "send_rate 110") {
		t.Errorf("want the entry added in it, got %q, %v", diffs, err)
	}
	if _, err := w.Disown(t.Context(), "web-1", from.LogPath, from, 110, id); err != nil {
		t.Fatal(err)
	}
	if got := p.key(t, "/logagent/web-1/logconfig"); got != before {
		t.Errorf("want every byte as before, got %s", got)
	}
	for _, r := range p.history(t, "web-1") {
		if r.Kind == change.KindRate && r.ID != h[0].ID {
			t.Errorf("want no second record of the tuning, got %+v", r)
		}
	}
}

func difference(r change.Record) (out []string, err error) {
	before, errB := change.Unpack(r.Before)
	after, errA := change.Unpack(r.After)
	diffs, err := change.Diff(before, after)
	for _, d := range diffs {
		out = append(out, d.Lines()...)
	}
	return out, errors.Join(errB, errA, err)
}

func TestOwnEntryThatIsThereOrIsAnotherByNowIsAConflict(t *testing.T) {
	t.Parallel()
	p, w := editor(t)
	from := agent.Service{Service: "svc", LogPath: "/p", Topic: "t", SendRate: 100}
	theirs := `[{"service":"svc","log_path":"/p","topic":"other","send_rate":77}]`
	p.document(t, "web-1", theirs)
	var conflict *change.ConflictError
	if _, err := w.Own(t.Context(), "web-1", "/p", from, 105, ulid.Make().String()); !errors.As(err, &conflict) || !strings.Contains(string(conflict.Conflicts[0].Theirs), "other") {
		t.Errorf("want their entry in the conflict, got %v", err)
	}
	if _, err := w.Disown(t.Context(), "web-1", "/p", from, 105, ulid.Make().String()); !errors.As(err, &conflict) {
		t.Errorf("want a conflict, got %v", err)
	}
	if got := p.key(t, "/logagent/web-1/logconfig"); got != theirs {
		t.Errorf("want theirs untouched, got %s", got)
	}
}

func TestRollbackIsOfTheDocumentTheQuestionWasAbout(t *testing.T) {
	t.Parallel()
	p, w := editor(t)
	one := `[{"service":"svc","log_path":"/p","topic":"t","send_rate":100}]`
	p.document(t, "web-1", one)
	if _, err := w.SetRate(t.Context(), "web-1", "/p", 100, 105, ulid.Make().String()); err != nil {
		t.Fatal(err)
	}
	seen := p.key(t, "/logagent/web-1/logconfig")
	id := p.history(t, "web-1")[0].ID + "^"
	theirs := strings.Replace(one, "100", "777", 1)
	p.document(t, "web-1", theirs)
	if _, err := w.Rollback(t.Context(), "web-1", id, []byte(seen), ""); err == nil || !strings.Contains(err.Error(), "changed by somebody else meanwhile") {
		t.Errorf("want no rollback of what was not shown, got %v", err)
	}
	if got := p.key(t, "/logagent/web-1/logconfig"); got != theirs {
		t.Fatalf("want theirs untouched, got %s", got)
	}
	// The same bytes written again are the same document, whatever its revision.
	p.document(t, "web-1", theirs)
	revision, err := w.Rollback(t.Context(), "web-1", id, []byte(theirs), "back")
	if err != nil || revision == 0 {
		t.Fatal(revision, err)
	}
	if got := p.key(t, "/logagent/web-1/logconfig"); got != one {
		t.Errorf("want %s, got %s", one, got)
	}
	if h := p.history(t, "web-1"); h[0].Kind != change.KindRollback || h[0].Of != id || h[0].Note != "back" || h[0].Who.User != "alice" {
		t.Errorf("want a record of it, got %+v", h[0])
	}
	// Back to when there was none.
	p.document(t, "web-2", one)
	if _, err := w.etcd.Save(t.Context(), "web-3", []byte(one), 0, change.Meta{Who: w.who}); err != nil {
		t.Fatal(err)
	}
	revision, err = w.Rollback(t.Context(), "web-3", p.history(t, "web-3")[0].ID+"^", []byte(one), "")
	if err != nil || revision != 0 || p.key(t, "/logagent/web-3/logconfig") != "" {
		t.Errorf("want the document gone, got revision %d, %v", revision, err)
	}
}
