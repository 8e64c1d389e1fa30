package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestTimesOfLinesAreRead(t *testing.T) {
	t.Parallel()
	loc := time.FixedZone("local", 2*3600)
	ref := time.Date(2026, 1, 10, 3, 0, 0, 0, time.UTC)
	for _, c := range []struct{ line, layout, want string }{
		{"2026-01-02T15:04:05Z hello", "RFC 3339", "2026-01-02T15:04:05Z"},
		{"2026-01-02T15:04:05.123456789+01:00 hello", "RFC 3339", "2026-01-02T14:04:05.123456789Z"},
		{"2026-01-02 15:04:05,250 -0330 [main] INFO", "RFC 3339", "2026-01-02T18:34:05.25Z"},
		{"<34>1 2026-01-02T15:04:05.003Z host app", "RFC 3339", "2026-01-02T15:04:05.003Z"},
		{`time="2026-01-02T15:04:05+02:00" level=info`, "RFC 3339", "2026-01-02T13:04:05Z"},
		{"[2026-01-02 15:04:05] local", "date and time without zone (local)", "2026-01-02T13:04:05Z"},
		{"2026/01/02 15:04:05 [error] 1234#0", "date and time without zone (local)", "2026-01-02T13:04:05Z"},
		{`1.2.3.4 - bob [02/Jan/2026:15:04:05 +0100] "GET / HTTP/1.1" 200 5`, "access log", "2026-01-02T14:04:05Z"},
		{`::1 [x] - [02/Jan/2026:15:04:05 +0000] "GET /" 200 5 "-" "curl"`, "access log", "2026-01-02T15:04:05Z"},
		{"Jan  2 15:04:05 host sshd[1]: hi", "syslog", "2026-01-02T13:04:05Z"},
		{"<13>Dec 31 23:59:59 host x", "syslog", "2025-12-31T21:59:59Z"},
		{"Jan 11 01:00:00 host a clock ahead", "syslog", "2026-01-10T23:00:00Z"},
		{"Feb 29 12:00:00 host leap", "syslog", "2024-02-29T10:00:00Z"},
		{"I0102 15:04:05.678901   12 main.go:5] hi", "klog", "2026-01-02T13:04:05.678901Z"},
		{"E1231 15:04:05.678901   12 main.go:5] hi", "klog", "2025-12-31T13:04:05.678901Z"},
		{"1767366245 up", "seconds since 1970", "2026-01-02T15:04:05Z"},
		{"1767366245.5 up", "seconds since 1970", "2026-01-02T15:04:05.5Z"},
		{"1767366245250: up", "milliseconds since 1970", "2026-01-02T15:04:05.25Z"},
		{`{"level":"info","ts":1767366245.25,"msg":"hi"}`, "JSON", "2026-01-02T15:04:05.25Z"},
		{`{"msg":{"time":"2020-01-01T00:00:00Z"},"time":"2026-01-02T15:04:05Z"}`, "JSON", "2026-01-02T15:04:05Z"},
		{`{"time":"2020-01-01T00:00:00Z","@timestamp":"2026-01-02T15:04:05Z","rest":"cut sh`, "JSON", "2026-01-02T15:04:05Z"},
		{`{"timestamp":"1767366245000"}`, "JSON", "2026-01-02T15:04:05Z"},
		{`{"time":"2026-01-02 15:04:05"}`, "JSON", "2026-01-02T13:04:05Z"},
		{`{"t":1767366245000000000}`, "JSON", "2026-01-02T15:04:05Z"},
		{"2026-01-02 15:04:05.123 UTC [77] LOG:  checkpoint", "RFC 3339", "2026-01-02T15:04:05.123Z"},
		{"2026-01-02 15:04:05 UTCX", "date and time without zone (local)", "2026-01-02T13:04:05Z"},
		{"INFO 2026-01-02T15:04:05Z up", "RFC 3339 after a word or two", "2026-01-02T15:04:05Z"},
		{"[INFO ] 2026-01-02T15:04:05.5+01:00 up", "RFC 3339 after a word or two", "2026-01-02T14:04:05.5Z"},
		{"E, [2026-01-02T15:04:05.678901 #12] ERROR -- : x", "date and time without zone (local) after a word or two", "2026-01-02T13:04:05.678901Z"},
		{"WARN  [main] 2026-01-02 15:04:05,250 x", "date and time without zone (local) after a word or two", "2026-01-02T13:04:05.25Z"},
		{"level=INFO time=2026-01-02T15:04:05Z msg=up", "RFC 3339 after a word or two", "2026-01-02T15:04:05Z"},
		{`level=info app=x host=y ts="2026-01-02T15:04:05Z"`, "RFC 3339 after a word or two", "2026-01-02T15:04:05Z"},
		{"a b c 2026-01-02T15:04:05Z too far in", "", ""},
		{"\tcaused 2026-01-02T15:04:05Z by", "", ""},
		{"a" + strings.Repeat(" ", 70) + "2026-01-02T15:04:05Z", "", ""},
		{"11/23/2026 23:57:27 a day or a month", "", ""},
		{"2026-02-30T15:04:05Z no such day", "", ""},
		{"2026-01-02T25:04:05Z no such hour", "", ""},
		{"\tat java.lang.Thread.run(Thread.java:745)", "", ""},
		{"17673662450 eleven digits", "", ""},
		{"1767366245abc a name", "", ""},
		{"0000000001 too long ago", "", ""},
		{`{"time":true,"ts":-5,"t":"soon"}`, "", ""},
		{`{"time"`, "", ""},
		{"Jan 2", "", ""}, {"I0102", "", ""}, {"[", "", ""}, {"", "", ""}, {"<34>", "", ""}, {"<", "", ""}, {"2026-", "", ""}, {"[02/Jan/2026", "", ""},
	} {
		p := &lineTimes{ref: ref, loc: loc}
		got, layout, ok := p.of([]byte(c.line))
		switch {
		case !ok && c.want == "":
		case !ok || got.UTC().Format(time.RFC3339Nano) != c.want || layout.name != c.layout:
			t.Errorf("%q: want %s (%s), got %v %v %v", c.line, c.want, c.layout, ok, got.UTC().Format(time.RFC3339Nano), layout)
		}
	}
}

func TestLayoutIsTheOneThatMostLinesHave(t *testing.T) {
	t.Parallel()
	p := &lineTimes{}
	lines := [][]byte{[]byte("1767366245 is no time here"), []byte("2026-01-02T15:04:05Z a"), []byte("trace"), []byte("2026-01-02T15:04:06Z b")}
	if !p.choose(lines) || p.layout.name != "RFC 3339" {
		t.Fatalf("got %v", p.layout)
	}
	if _, _, ok := p.of(lines[0]); ok {
		t.Error("a number counts as a time beside lines that have another layout")
	}
	if p.choose([][]byte{[]byte("a"), nil}) {
		t.Error("a layout was found where there is none")
	}
}

// findSlow is findTime by looking at every line.
func findSlow(text []byte, p *lineTimes, t time.Time) (int64, bool) {
	seen := false
	for at := 0; at < len(text); {
		end := at + bytes.IndexByte(text[at:], '\n') + 1
		if got, _, ok := p.of(text[at : end-1]); ok {
			if !got.Before(t) {
				if !seen {
					return 0, true
				}
				return int64(at), true
			}
			seen = true
		}
		at = end
	}
	return 0, false
}

func TestTimeIsFoundWhereLookingAtEveryLineFindsIt(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 7))
		var b bytes.Buffer
		at := begin
		for range rng.IntN(40) { // before the first time
			fmt.Fprintf(&b, "banner %s\n", strings.Repeat("-", rng.IntN(50)))
		}
		for range 1 + rng.IntN(400) {
			at = at.Add(time.Duration(rng.IntN(3)) * time.Second)
			fmt.Fprintf(&b, "%s %s\n", at.Format(time.RFC3339), strings.Repeat("x", rng.IntN(3)*rng.IntN(9000)))
			for range rng.IntN(3) * rng.IntN(3) * rng.IntN(20) {
				fmt.Fprintf(&b, "\tat trace %s\n", strings.Repeat("y", rng.IntN(300)))
			}
		}
		text := b.Bytes()
		for range 20 {
			t0 := begin.Add(time.Duration(rng.IntN(900)-50) * time.Second)
			p := &lineTimes{}
			want, wantFound := findSlow(text, &lineTimes{layout: lineLayouts[1]}, t0)
			for _, sequential := range []bool{false, true} {
				got, found, err := findTime(context.Background(), bytes.NewReader(text), int64(len(text)), sequential, p, t0)
				if err != nil || got != want || found != wantFound {
					t.Fatalf("seed %d, %v, sequential %v: want %d %v, got %d %v, %v", seed, t0, sequential, want, wantFound, got, found, err)
				}
			}
		}
	}
}

func TestOrderOfTimesIsSeenAlsoOfWhatIsReadForwards(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	for _, back := range []time.Duration{0, 700 * time.Second} {
		var b bytes.Buffer
		for i := range 3000 {
			at := begin.Add(time.Duration(i) * time.Second)
			if i == 1020 {
				at = at.Add(-back)
			}
			fmt.Fprintf(&b, "%s %s\n", at.Format(time.RFC3339), strings.Repeat("x", 100))
		}
		for _, sequential := range []bool{false, true} {
			p := &lineTimes{}
			if _, found, err := findTime(t.Context(), bytes.NewReader(b.Bytes()), int64(b.Len()), sequential, p, begin.Add(1000*time.Second)); !found || err != nil {
				t.Fatal(found, err)
			}
			want := max(0, back-time.Second)
			if got, _ := p.order(); got != want {
				t.Errorf("sequential %v: want %s back, got %s", sequential, want, got)
			}
			if _, found, err := findTime(t.Context(), bytes.NewReader(b.Bytes()), int64(b.Len()), sequential, p, begin.Add(time.Hour)); found || err != nil {
				t.Fatal(found, err)
			}
			if _, latest := p.order(); !latest.Equal(begin.Add(2999 * time.Second)) {
				t.Errorf("sequential %v: the latest is said to be of %s", sequential, latest)
			}
		}
	}
}

func TestTimeIsFoundWithFewReads(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	begin := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	for i := range 400_000 {
		fmt.Fprintf(&b, "%s some text to make it long\n", begin.Add(time.Duration(i)*time.Second).Format(time.RFC3339))
	}
	r := &countingReader{r: bytes.NewReader(b.Bytes())}
	n := int64(b.Len() / 400_000)
	got, found, err := findTime(context.Background(), r, int64(b.Len()), false, &lineTimes{}, begin.Add(300_000*time.Second))
	if err != nil || !found || got != 300_000*n {
		t.Fatalf("got %d %v %v, want %d", got, found, err, 300_000*n)
	}
	if r.n > 60 {
		t.Errorf("%d reads of a file of %d bytes", r.n, b.Len())
	}
}

type countingReader struct {
	r *bytes.Reader
	n int
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) { c.n++; return c.r.ReadAt(p, off) }

func TestFileWithoutTimesIsNamedByOneOfItsLinesHarmlessly(t *testing.T) {
	t.Parallel()
	text := "\n  \n\x1b[2J evil \xff " + strings.Repeat("z", 500) + "\nmore\n"
	_, _, err := findTime(context.Background(), strings.NewReader(text), int64(len(text)), false, &lineTimes{}, time.Now())
	if !errors.Is(err, errNoTimes) || strings.Contains(err.Error(), "\x1b") || !strings.Contains(err.Error(), `"\x1b[2J evil \xff zzz`) || len(err.Error()) > 200 {
		t.Errorf("got %v", err)
	}
	if _, found, err := findTime(context.Background(), strings.NewReader(""), 0, false, &lineTimes{}, time.Now()); found || err != nil {
		t.Errorf("an empty file: %v %v", found, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := findTime(ctx, strings.NewReader(text), int64(len(text)), false, &lineTimes{}, time.Now()); !errors.Is(err, context.Canceled) {
		t.Errorf("want the context's end, got %v", err)
	}
}

func FuzzTimesOfAnyLine(f *testing.F) {
	for _, s := range []string{"2026-01-02T15:04:05Z a", "Jan  2 15:04:05 h", "I0102 15:04:05.6 x", `{"time":1767366245}`, "[02/Jan/2026:15:04:05 +0100]", "1767366245 x", "<34>1 2026-01-02T15:04:05Z"} {
		f.Add([]byte(s), int64(1767366245))
	}
	f.Fuzz(func(t *testing.T, text []byte, at int64) {
		p := &lineTimes{ref: time.Unix(1767366245, 0)}
		for line := range bytes.SplitSeq(text, []byte("\n")) {
			if got, l, ok := p.of(line); ok && (!plausible(got) || l == nil) {
				t.Errorf("%q: %v", line, got)
			}
		}
		pos, found, err := findTime(t.Context(), bytes.NewReader(text), int64(len(text)), false, p, time.Unix(at%4e9, 0))
		if err == nil && found && !endsLine(bytes.NewReader(text), pos) {
			t.Errorf("%q: %d is not where a line begins", text, pos)
		}
	})
}
