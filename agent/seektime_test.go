package agent_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"logagent/agent"
)

func TestSeekToATimeGoesToTheFirstLineOfIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var before, after strings.Builder
	for i := range 4000 {
		b := &before
		if i >= 2500 {
			b = &after
		}
		fmt.Fprintf(b, "%s line %d\n", at.Add(time.Duration(i)*time.Second).Format(time.RFC3339), i)
		if i%7 == 3 {
			fmt.Fprintf(b, "\tat trace.of(%d)\n1764000000 is no time here %d\n", i, i)
		}
	}
	text := before.String() + after.String()
	r.write("app.log", text)
	r.expect("t", text)
	p := r.plan("app.log", agent.SeekGoal{To: agent.SeekTime, Time: at.Add(2500 * time.Second)})
	if len(p.Moves) != 1 || p.Moves[0].To != int64(before.Len()) || p.Moves[0].Layout != "RFC 3339" {
		t.Fatalf("want %d, got %+v", before.Len(), p)
	}
	r.carryOut("1", p)
	r.expect("t", text+after.String())

	r.write("plain.log", strings.Repeat("no time \x1b[31m here\n", 10))
	r.apply(r.svc("app.log"), r.svc("plain.log"))
	ctx, cancel := contextFor(t)
	defer cancel()
	ans := r.a.Answer(ctx, agent.Question{Kind: agent.AskSeek, Path: r.path("plain.log"), Seek: &agent.SeekGoal{To: agent.SeekTime, Time: at}})
	if !strings.Contains(ans.Error, r.path("plain.log")) || !strings.Contains(ans.Error, `"no time \x1b[31m here"`) || strings.Contains(ans.Error, "\x1b") {
		t.Errorf("want the path and a harmless line, got %q", ans.Error)
	}
	// Beside files that tell their times it stays where it is.
	p = r.plan("", agent.SeekGoal{To: agent.SeekTime, Time: at.Add(2500 * time.Second), Service: "s"})
	if len(p.Moves) != 1 || p.Moves[0].Path != r.path("app.log") || !strings.Contains(strings.Join(p.Warnings, ";"), r.path("plain.log")) {
		t.Errorf("plan: %+v", p)
	}
}

// toTime plans a move to a time in a new file.
func (r *rig) toTime(name, text string, at time.Time) agent.SeekPlan {
	r.t.Helper()
	r.write(name, text)
	r.until("seen", func(s agent.Status) bool { return len(s.Files) == 1 && s.Files[0].SizeBytes == int64(len(text)) })
	return r.plan(name, agent.SeekGoal{To: agent.SeekTime, Time: at})
}

func TestSeekToATimeWarnsWhereTimesStepBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	svc := r.svc("app.log")
	svc.Paused = true
	r.apply(svc)
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var text strings.Builder
	for i := range 4000 {
		when := at.Add(time.Duration(i) * time.Second)
		if i == 2510 { // one late line, near what is looked for alone
			when = when.Add(-40 * time.Second)
		}
		fmt.Fprintf(&text, "INFO %s line %d\n", when.Format(time.RFC3339), i)
	}
	p := r.toTime("app.log", text.String(), at.Add(2500*time.Second))
	if len(p.Moves) != 1 || p.Moves[0].Layout != "RFC 3339 after a word or two" || !strings.Contains(strings.Join(p.Warnings, ";"), "app.log: its times step back by up to 39s") {
		t.Errorf("plan: %+v", p)
	}
	if p := r.plan("app.log", agent.SeekGoal{To: agent.SeekTime, Time: at.Add(100 * time.Second)}); strings.Contains(strings.Join(p.Warnings, ";"), "step back") {
		t.Errorf("far from it nothing steps back: %q", p.Warnings)
	}
}

func TestSeekToATimeThatNoLineHasSaysSo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.start()
	r.apply(r.svc("app.log"))
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("", 3600))
	text := at.Format(time.RFC3339) + " one\n"
	r.write("app.log", text)
	r.expect("t", text)
	older := "app.log: every line is older: the latest is of 2026-03-01T11:00:00Z"
	p := r.plan("app.log", agent.SeekGoal{To: agent.SeekTime, Time: at.Add(time.Second).UTC()}) // it stands there already
	if got := strings.Join(p.Warnings, ";"); len(p.Moves) != 0 || !strings.Contains(got, older) || strings.Contains(got, "future") {
		t.Errorf("plan: %+v", p)
	}
	late := time.Now().Add(time.Hour).UTC()
	p = r.plan("app.log", agent.SeekGoal{To: agent.SeekTime, Time: late})
	if got := strings.Join(p.Warnings, ";"); !strings.Contains(got, older) || !strings.Contains(got, late.Format(time.RFC3339)+" lies in the future: on this host it is ") {
		t.Errorf("plan: %+v", p)
	}
}
