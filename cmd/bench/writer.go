package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// writerVerb is how bench runs itself as the writer of live lines.
const writerVerb = "writer"

// written is what the writer tells at its end.
type written struct {
	Lines  int64     `json:"lines"`
	Bytes  int64     `json:"bytes"` // line ends included
	Sum    uint64    `json:"sum"`   // see lineSum
	Jitter histogram `json:"jitter"`
}

// writerMain appends single lines to the files of a tree by turns, each with a write(2) of
// its own at its own moment, and tells in JSON what it wrote.
func writerMain(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bench "+writerVerb, flag.ContinueOnError)
	var t tree
	flags.StringVar(&t.dir, "dir", "", "folder of the files")
	flags.IntVar(&t.files, "files", 1, "how many files")
	rate := flags.Float64("rate", 2000, "lines per second over all files")
	lasts := flags.Duration("for", 20*time.Second, "how long")
	size := flags.Int("size", 180, "bytes of a line")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *size <= stampBytes+sequenceDigits {
		return fmt.Errorf("lines of %d bytes have no room for their write time", *size)
	}
	files := make([]*os.File, t.files)
	for i := range files {
		f, err := os.OpenFile(t.path(i), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		files[i] = f
	}
	w, err := writePaced(ctx, files, *rate, int(*rate*lasts.Seconds()), *size)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(w)
}

// sequenceDigits make every line another one.
const sequenceDigits = 10

// writePaced writes n lines, the nth at the start plus n times the pause: a late line does
// not make those after it late.
func writePaced(ctx context.Context, files []*os.File, rate float64, n, size int) (*written, error) {
	runtime.LockOSThread() // so that the thread that sleeps is the one that writes
	defer runtime.UnlockOSThread()
	w := &written{}
	filler := bytes.Repeat([]byte("GET /search?q=running+shoes 200 "), size/32+1)
	start, err := monotonic()
	if err != nil {
		return nil, err
	}
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	var line []byte
	for i := range n {
		due := start + time.Duration(float64(i)/rate*1e9)
		if err := sleepUntil(due); err != nil {
			return nil, err
		}
		if i%256 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		now, err := monotonic()
		if err != nil {
			return nil, err
		}
		w.Jitter.add(now - due)
		line = appendStamp(line[:0], time.Now().UnixNano())
		line = fmt.Appendf(line, "%0*d ", sequenceDigits, i)
		line = append(line, filler[:size-1-len(line)]...)
		w.Sum += lineSum(line)
		line = append(line, '\n')
		if wrote, err := unix.Write(fds[i%len(fds)], line); err != nil || wrote != len(line) {
			return nil, fmt.Errorf("write line %d: %d of %d bytes: %w", i, wrote, len(line), err)
		}
		w.Lines++
		w.Bytes += int64(len(line))
	}
	return w, nil
}

func monotonic() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("read the monotonic clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// sleepUntil sleeps to a moment of the monotonic clock.
func sleepUntil(t time.Duration) error {
	ts := unix.NsecToTimespec(int64(t))
	for {
		err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
