package main

import (
	"bytes"
	"errors"
	"fmt"
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
func peakRSS(pid int) (int64, error) { return memory(pid, "VmHWM:") }

// currentRSS reads the memory a running process has now.
func currentRSS(pid int) (int64, error) { return memory(pid, "VmRSS:") }

func memory(pid int, field string) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s of process %d: %w", field, pid, err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("no %s of process %d", field, pid)
}
