package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is what figures were measured on, without a name or a path of it.
type machine struct {
	Cores  int
	CPU    string
	Memory string
	Kernel string
	Go     string
}

func thisMachine() (m machine, err error) {
	m = machine{Cores: runtime.NumCPU(), Go: runtime.Version()}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m, err
	}
	m.CPU = procField(info, "model name")
	memory, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return m, err
	}
	var kib int64
	if _, err := fmt.Sscanf(procField(memory, "MemTotal"), "%d kB", &kib); err != nil {
		return m, fmt.Errorf("memory of this machine: %w", err)
	}
	m.Memory = fmt.Sprintf("%.0f GiB", float64(kib)/(1<<20))
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return m, fmt.Errorf("kernel of this machine: %w", err)
	}
	// What follows the version is its packager's.
	release, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	m.Kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + release
	return m, nil
}

// procField finds the first "name : value" of a file under /proc.
func procField(text []byte, name string) string {
	for line := range bytes.Lines(text) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		if string(bytes.TrimSpace(key)) == name {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}
