package etcdcfg

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// driverProcess names the variable that makes this test program a process that drives a
// change set until it is killed: address, pattern, id.
const driverProcess = "LOGAGENT_TEST_DRIVER"

// driveInThisProcess says on its standard output how far it is. It waits after each
// transaction until it reads a line: its parent decides when it is killed.
func driveInThisProcess() int {
	o := strings.Split(os.Getenv(driverProcess), "\n")
	c, err := New(Options{Addrs: o[:1], Pattern: o[1]})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	c.timing.driverTTL = 1
	go1 := bufio.NewReader(os.Stdin)
	last := -1
	_, err = c.Drive(context.Background(), o[2], DriveOptions{Who: alice, Progress: func(s ChangeSet) {
		if s.Done == last {
			return
		}
		last = s.Done
		fmt.Println("done", s.Done)
		if _, err := go1.ReadString('\n'); err != nil {
			os.Exit(1) // its parent is gone
		}
	}})
	fmt.Println("ended", err)
	return 0
}

// killedDriver is a process that drives a change set. Its test kills it.
type killedDriver struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startDriver(t *testing.T, c *Client, id string) *killedDriver {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d := &killedDriver{cmd: exec.CommandContext(t.Context(), self)}
	d.cmd.Env = append(os.Environ(), driverProcess+"="+strings.Join([]string{c.opts.Addrs[0], c.opts.Pattern, id}, "\n"))
	if d.in, err = d.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.out = bufio.NewReader(out)
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.kill)
	return d
}

// done waits for the process's next word and returns how many documents it has done.
func (d *killedDriver) done(t *testing.T) (n int) {
	t.Helper()
	line, err := d.out.ReadString('\n')
	if _, scanErr := fmt.Sscanf(line, "done %d\n", &n); err != nil || scanErr != nil {
		t.Fatalf("driver said %q: %v, %v", line, err, scanErr)
	}
	return n
}

// next lets it go on.
func (d *killedDriver) next(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(d.in, "\n"); err != nil {
		t.Fatal(err)
	}
}

// kill ends it with no chance to tidy up.
func (d *killedDriver) kill() {
	_ = d.cmd.Process.Kill()
	_ = d.cmd.Wait()
}
