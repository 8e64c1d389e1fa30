package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// newTestClient is a producer that gives an unanswered request up soon and sends it again.
func newTestClient(t *testing.T, addr string) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ProduceRequestTimeout(100*time.Millisecond), kgo.RequestTimeoutOverhead(100*time.Millisecond),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func produce(ctx context.Context, cl *kgo.Client, values ...string) error {
	var records []*kgo.Record
	for _, v := range values {
		records = append(records, &kgo.Record{Topic: "lines", Value: []byte(v)})
	}
	return cl.ProduceSync(ctx, records...).FirstErr()
}

func obey(t *testing.T, b *broker, command string) {
	t.Helper()
	if _, err := b.obey(command); err != nil {
		t.Fatal(err)
	}
}

func TestASilentBrokerCountsNothingAndLaterEachLineOnce(t *testing.T) {
	t.Parallel()
	b := &broker{partitions: 2}
	cl := newTestClient(t, startTestBroker(t, b))
	if err := produce(t.Context(), cl, "before"); err != nil {
		t.Fatal(err)
	}
	obey(t, b, doSilent)
	done := make(chan error, 1)
	go func() { done <- produce(t.Context(), cl, "one", "two", "three") }()
	select {
	case err := <-done:
		t.Fatalf("a silent broker answered: %v", err)
	case <-time.After(700 * time.Millisecond): // more than one attempt; longer would only prove more
	}
	if c := b.ledger.snapshot()["lines"]; c.Records != 1 {
		t.Errorf("a silent broker counted %d lines, want the 1 from before", c.Records)
	}
	obey(t, b, doAnswer)
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was answered after the silence")
	}
	var want uint64
	for _, v := range []string{"before", "one", "two", "three"} {
		want += lineSum([]byte(v))
	}
	if c := b.ledger.snapshot()["lines"]; c.Records != 4 || c.Sum != want {
		t.Errorf("after the silence %d lines with sum %d, want 4 with %d", c.Records, c.Sum, want)
	}
}

func TestLatencyIsFromTheWriteToTheAnswerAndOfLinesThatTellTheirTime(t *testing.T) {
	t.Parallel()
	const delay, earlier = 60 * time.Millisecond, 5 * time.Second
	b := &broker{partitions: 1, delay: delay}
	cl := newTestClient(t, startTestBroker(t, b))
	line := string(appendStamp(nil, time.Now().Add(-earlier).UnixNano())) + "GET /"
	if err := produce(t.Context(), cl, line, "no time", "@ nor here", line); err != nil {
		t.Fatal(err)
	}
	h := awaitLatencies(t, b, 2)
	if got := h.quantile(0.01); got < earlier+delay || got > earlier+delay+10*time.Second {
		t.Errorf("a line written %v ago took %v, want %v or a little more", earlier, got, earlier+delay)
	}
	obey(t, b, doForget)
	if h := b.ledger.latencies(); h.n != 0 {
		t.Errorf("%d latencies are left after forgetting", h.n)
	}
	if c := b.ledger.snapshot()["lines"]; c.Records != 4 {
		t.Errorf("forgetting leaves %d counted lines, want 4", c.Records)
	}
}

// awaitLatencies waits for them: they are taken after the answer, which the client has
// first.
func awaitLatencies(t *testing.T, b *broker, n int64) *histogram {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		h := b.ledger.latencies()
		if h.n == n {
			return h
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d lines told their time, want %d", h.n, n)
		}
	}
}

func TestBrokerRemembersArrivalsWhereAskedTo(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		b := &broker{partitions: 1}
		cl := newTestClient(t, startTestBroker(t, b))
		if keep {
			b.ledger.keepArrivals()
		}
		before := time.Now().UnixNano()
		for range 3 {
			if err := produce(t.Context(), cl, "x", "y"); err != nil {
				t.Fatal(err)
			}
		}
		said, err := b.obey(askArrivals + "lines")
		if err != nil {
			t.Fatal(err)
		}
		a := said.(arrivals)
		want := int64(0)
		if keep {
			want = 6
		}
		if got := a.between(before, time.Now().UnixNano()); got != want {
			t.Errorf("keeping %v: %d lines came, want %d", keep, got, want)
		}
	}
}

func TestTheBrokersProcessObeysItsCommandsAndEndsWithItsInput(t *testing.T) {
	t.Parallel()
	commands, out := io.Pipe()
	answers, in := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- brokerMain(t.Context(), []string{"-arrivals"}, commands, in) }()
	d := json.NewDecoder(answers)
	buf := make([]byte, 64)
	n, err := answers.Read(buf) // the address comes first
	if err != nil {
		t.Fatal(err)
	}
	if err := produce(t.Context(), newTestClient(t, strings.TrimSpace(string(buf[:n]))), string(appendStamp(nil, time.Now().UnixNano()))); err != nil {
		t.Fatal(err)
	}
	ask := func(command string, into any) {
		t.Helper()
		if _, err := fmt.Fprintln(out, command); err != nil {
			t.Fatal(err)
		}
		if err := d.Decode(into); err != nil {
			t.Fatalf("%q: %v", command, err)
		}
	}
	var all map[string]counts
	var a arrivals
	var h histogram
	ask("", &all)
	ask(askArrivals+"lines", &a)
	ask(askLatency, &h)
	ask(doSilent, &struct{}{})
	ask(doAnswer, &struct{}{})
	ask(doForget, &struct{}{})
	if all["lines"].Records != 1 || len(a) != 1 || a[0].Lines != 1 {
		t.Errorf("the counts are %v, the arrivals %v, want one line", all, a)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := brokerMain(t.Context(), nil, strings.NewReader("what\n"), io.Discard); err == nil {
		t.Error("an unknown command is no error")
	}
}

func TestLinesThatAreNotTheSameAreFoundWhateverTheirNumberAndSize(t *testing.T) {
	t.Parallel()
	b := &broker{partitions: 1}
	cl := newTestClient(t, startTestBroker(t, b))
	sent := []string{"aaa", "bbb", "ccc"}
	if err := produce(t.Context(), cl, sent...); err != nil {
		t.Fatal(err)
	}
	c := b.ledger.snapshot()["lines"]
	of := func(lines ...string) *written {
		var s summer
		if _, err := io.WriteString(&s, strings.Join(lines, "\n")+"\n"); err != nil {
			t.Fatal(err)
		}
		return &written{Lines: s.lines, Bytes: 4 * s.lines, Sum: s.sum}
	}
	if err := of("ccc", "aaa", "bbb").same(c); err != nil {
		t.Errorf("the same lines in another order: %v", err)
	}
	for _, lines := range [][]string{{"aaa", "aaa", "ccc"}, {"aaa", "bbb", "ccd"}, {"aaa", "bbb"}, {"aaa", "bbb", "ccc", "ccc"}} {
		if err := of(lines...).same(c); err == nil {
			t.Errorf("%v were written and %v arrived, which nobody saw", lines, sent)
		}
	}
	own := &bench{set: settings{lines: 3}, size: 12, sum: of("aaa", "aaa", "ccc").Sum}
	if err := own.verify(c); err == nil {
		t.Error("a backlog with a lost and a doubled line of one size is taken for whole")
	}
}

func TestALineCutByWritesIsSummedWhole(t *testing.T) {
	t.Parallel()
	text := "first\nsecond, longer\n\nlast\nunfinished"
	var want summer
	if _, err := io.WriteString(&want, text); err != nil {
		t.Fatal(err)
	}
	if want.lines != 4 {
		t.Fatalf("%d lines, want 4", want.lines)
	}
	for size := 1; size < len(text); size++ {
		var got summer
		for rest := []byte(text); len(rest) > 0; {
			n := min(size, len(rest))
			if _, err := got.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if got.lines != want.lines || got.sum != want.sum || !bytes.Equal(got.rest, want.rest) {
			t.Errorf("in pieces of %d bytes it is %+v, want %+v", size, got, want)
		}
	}
}

func TestStampsAreReadBackAndNothingElseIsOne(t *testing.T) {
	t.Parallel()
	for _, nano := range []int64{0, 1, time.Now().UnixNano(), 9_223_372_036_854_775_807} {
		got, ok := stampOf(append(appendStamp(nil, nano), "rest"...))
		if !ok || got != nano {
			t.Errorf("%d came back as %d, %v", nano, got, ok)
		}
	}
	for _, line := range []string{"", "@", "@1234567890123456789", "@123456789012345678 x", "@12345678901234567890 x", "1.2.3.4 - - [01/Mar/2026:08:00:00 +0000]", "@abcdefghijklmnopqrs x"} {
		if nano, ok := stampOf([]byte(line)); ok {
			t.Errorf("%q is taken for written at %d", line, nano)
		}
	}
}

// What a client waits for after a silence will never come, so its connection must end
// rather than answer another request first.
func TestASilentBrokerKeepsItsConnectionsUntilItIsAskedAgain(t *testing.T) {
	t.Parallel()
	b := &broker{partitions: 1}
	conn, err := net.Dial("tcp", startTestBroker(t, b))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	versions := []byte{0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff} // ApiVersions 0, correlation 7, no client id
	ask := func(patience time.Duration) (int, error) {
		t.Helper()
		if _, err := conn.Write(versions); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		return conn.Read(make([]byte, 1024))
	}
	const long = 20 * time.Second
	if n, err := ask(long); n == 0 || err != nil {
		t.Fatalf("a broker that answers gives %d bytes, %v", n, err)
	}
	obey(t, b, doSilent)
	if n, err := ask(200 * time.Millisecond); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a silent broker gives %d bytes, %v, want nothing and an open connection", n, err)
	}
	obey(t, b, doAnswer)
	if n, err := ask(long); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the silence it gives %d bytes, %v, want the connection closed", n, err)
	}
}

func TestNumbersOfARecordAreReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	for _, v := range []int64{0, 1, -1, 63, -64, 64, -65, 8191, -8192, 1 << 40, -1 << 40, 1<<63 - 1, -1 << 63} {
		c := cursor{b: append(binary.AppendVarint(nil, v), 7)}
		if got := c.varint(); got != v || c.cut || len(c.b) != 1 {
			t.Errorf("%d is read as %d, with %d bytes left", v, got, len(c.b))
		}
	}
	for _, b := range [][]byte{nil, {0x80}, bytes.Repeat([]byte{0xff}, 11)} {
		c := cursor{b: b}
		if c.varint(); !c.cut {
			t.Errorf("% x is a number", b)
		}
	}
}
