package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cost is what a process has used.
type cost struct {
	cpu     time.Duration // user and system, over the whole life of the process
	peakRSS int64         // bytes
}

// process is a child whose cost is taken. Its output is kept for error messages.
type process struct {
	cmd    *exec.Cmd
	output bytes.Buffer
	ended  chan struct{} // closed when the process has ended and err is set
	err    error
}

func startProcess(name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process, which finish or kill ends
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// finish asks the process to end and returns what it has cost.
func (p *process) finish() (cost, error) {
	rss, err := peakRSS(p.cmd.Process.Pid)
	if err != nil {
		return cost{}, errors.Join(err, p.kill())
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return cost{}, err
	}
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		return cost{}, errors.Join(errors.New("still running 30 s after SIGTERM"), p.kill())
	}
	if p.err != nil {
		return cost{}, fmt.Errorf("%w: %s", p.err, p.output.Bytes())
	}
	s := p.cmd.ProcessState
	return cost{cpu: s.UserTime() + s.SystemTime(), peakRSS: rss}, nil
}

// kill ends the process at once.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	return nil
}

// peakRSS reads the most memory a running process has had. Not from its resource usage:
// there a child inherits the peak of its parent.
func peakRSS(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("VmHWM of process %d: %w", pid, err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("no VmHWM of process %d", pid)
}

// brokerProcess is the counting broker as a process of its own.
type brokerProcess struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
	addr  string
}

func startBroker(set settings) (*brokerProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b := &brokerProcess{cmd: exec.Command(self, "broker", "-partitions", strconv.Itoa(set.partitions),
		"-delay", set.delay.String(), "-unpack="+strconv.FormatBool(set.unpack))}
	b.cmd.Stderr = os.Stderr
	if b.in, err = b.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	b.lines = bufio.NewScanner(out)
	b.lines.Buffer(nil, 1<<20)
	if !b.lines.Scan() {
		return nil, errors.Join(errors.New("the broker did not tell its address"), b.stop())
	}
	b.addr = b.lines.Text()
	return b, nil
}

// counts asks for what has arrived in a topic.
func (b *brokerProcess) counts(topic string) (counts, error) {
	if _, err := io.WriteString(b.in, "\n"); err != nil {
		return counts{}, fmt.Errorf("ask the broker: %w", err)
	}
	if !b.lines.Scan() {
		return counts{}, fmt.Errorf("the broker has ended: %w", errors.Join(b.lines.Err(), io.ErrUnexpectedEOF))
	}
	var all map[string]counts
	if err := json.Unmarshal(b.lines.Bytes(), &all); err != nil {
		return counts{}, fmt.Errorf("the broker's counts: %w", err)
	}
	return all[topic], nil
}

// wait waits until n records have arrived. It gives up when nothing arrives for a minute
// or when the sender ends.
func (b *brokerProcess) wait(ctx context.Context, topic string, n int64, sender *process) error {
	const patience = time.Minute
	var last counts
	moved := time.Now()
	for {
		c, err := b.counts(topic)
		if err != nil {
			return err
		}
		if c.Records >= n {
			return nil
		}
		if c.Records != last.Records {
			moved = time.Now()
		}
		last = c
		if time.Since(moved) > patience {
			return fmt.Errorf("%d of %d records, and no more for %v", c.Records, n, patience)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-sender.ended:
			return fmt.Errorf("the sender ended (%v) after %d of %d records: %s", sender.err, c.Records, n, sender.output.Bytes())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stop ends the broker by closing its input.
func (b *brokerProcess) stop() error {
	return errors.Join(b.in.Close(), b.cmd.Wait())
}
