package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"
)

// brokerProcess is the counting broker as a process of its own.
type brokerProcess struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
	addr  string
}

// startBroker starts a broker on a free port, or on the one the settings name.
func startBroker(set settings) (*brokerProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"broker", "-partitions", strconv.Itoa(set.partitions), "-delay", set.delay.String(),
		"-unpack=" + strconv.FormatBool(set.unpack), "-arrivals=" + strconv.FormatBool(set.arrivals)}
	if set.brokerAddr != "" {
		args = append(args, "-addr", set.brokerAddr)
	}
	b := &brokerProcess{cmd: exec.Command(self, args...)}
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
	b.lines.Buffer(nil, 64<<20) // arrivals are long
	if !b.lines.Scan() {
		return nil, errors.Join(errors.New("the broker did not tell its address"), b.stop())
	}
	b.addr = b.lines.Text()
	return b, nil
}

// ask gives a command and reads what is said to it.
func (b *brokerProcess) ask(command string, answer any) error {
	if _, err := io.WriteString(b.in, command+"\n"); err != nil {
		return fmt.Errorf("ask the broker: %w", err)
	}
	if !b.lines.Scan() {
		return fmt.Errorf("the broker has ended: %w", errors.Join(b.lines.Err(), io.ErrUnexpectedEOF))
	}
	if err := json.Unmarshal(b.lines.Bytes(), answer); err != nil {
		return fmt.Errorf("the broker's answer to %q: %w", command, err)
	}
	return nil
}

// tell gives a command that has no answer.
func (b *brokerProcess) tell(command string) error { return b.ask(command, &struct{}{}) }

// counts asks for what has arrived in topics, together.
func (b *brokerProcess) counts(topics ...string) (counts, error) {
	var all map[string]counts
	if err := b.ask("", &all); err != nil {
		return counts{}, err
	}
	var sum counts
	for topic, c := range all {
		if slices.Contains(topics, topic) {
			sum.add(c)
		}
	}
	return sum, nil
}

// wait waits until n records have arrived in topics. It gives up when nothing arrives for a
// minute or when the sender ends.
func (b *brokerProcess) wait(ctx context.Context, n int64, sender *process, topics ...string) error {
	const (
		patience = time.Minute
		look     = 10 * time.Millisecond // a short backlog takes a tenth of a second
	)
	var last counts
	moved := time.Now()
	for {
		c, err := b.counts(topics...)
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
		case <-time.After(look):
		}
	}
}

// stop ends the broker by closing its input.
func (b *brokerProcess) stop() error {
	return errors.Join(b.in.Close(), b.cmd.Wait())
}
