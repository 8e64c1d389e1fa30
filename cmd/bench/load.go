package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is what a running process has used of the processors so far, to the nanosecond.
// The clock of a process is named by its id, as clock_getcpuclockid(3) does it.
func cpuTime(pid int) (time.Duration, error) {
	const schedulersView = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedulersView), &ts); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// machineTime is what all processors together have done since the machine started.
type machineTime struct {
	busy  time.Duration // somebody ran here
	steal time.Duration // this machine should have run and another one on the same host did
}

// tick is the unit of /proc/stat for programs, whatever the kernel's own is.
const tick = 10 * time.Millisecond

func readMachineTime() (machineTime, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return machineTime{}, err
	}
	return parseMachineTime(b)
}

// parseMachineTime reads the first line: cpu user nice system idle iowait irq softirq steal …
func parseMachineTime(stat []byte) (m machineTime, err error) {
	first, _, _ := bytes.Cut(stat, []byte("\n"))
	fields := bytes.Fields(first)
	if len(fields) < 9 || string(fields[0]) != "cpu" {
		return m, fmt.Errorf("/proc/stat begins with %q", first)
	}
	var ticks [8]time.Duration
	for i := range ticks {
		n, err := strconv.ParseInt(string(fields[i+1]), 10, 64)
		if err != nil {
			return m, fmt.Errorf("/proc/stat: %w", err)
		}
		ticks[i] = time.Duration(n) * tick
	}
	m.busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]
	m.steal = ticks[7]
	return m, nil
}

// watch measures what some processes and the rest of the machine use from its begin to its
// end.
type watch struct {
	pids  []int
	began time.Time
	cpu   []time.Duration
	all   machineTime
	own   time.Duration // of this process
}

// usage is what a watch has seen.
type usage struct {
	wall  time.Duration
	cpu   []time.Duration // of the watched processes, in their order
	other float64         // share of the machine that processes not of this measurement took, 0…1
	steal float64         // share of the machine that was not given to it, 0…1
}

func beginWatch(pids ...int) (*watch, error) {
	w := &watch{pids: pids, began: time.Now()}
	var err error
	if w.all, err = readMachineTime(); err != nil {
		return nil, err
	}
	if w.own, err = cpuTime(os.Getpid()); err != nil {
		return nil, err
	}
	for _, pid := range pids {
		t, err := cpuTime(pid)
		if err != nil {
			return nil, err
		}
		w.cpu = append(w.cpu, t)
	}
	return w, nil
}

// end reads all clocks again; the processes must still run.
func (w *watch) end() (u usage, err error) {
	own, err := cpuTime(os.Getpid())
	if err != nil {
		return u, err
	}
	ours := own - w.own
	for i, pid := range w.pids {
		t, err := cpuTime(pid)
		if err != nil {
			return u, err
		}
		u.cpu = append(u.cpu, t-w.cpu[i])
		ours += t - w.cpu[i]
	}
	u.wall = time.Since(w.began)
	all, err := readMachineTime()
	if err != nil {
		return u, err
	}
	room := u.wall.Seconds() * float64(runtime.NumCPU())
	u.other = max(0, (all.busy-w.all.busy-ours).Seconds()/room)
	u.steal = (all.steal - w.all.steal).Seconds() / room
	return u, nil
}

// percent is what the ith process used of one core.
func (u *usage) percent(i int) float64 { return 100 * u.cpu[i].Seconds() / u.wall.Seconds() }
