package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// child is a process of this program's own that obeys orders: a line of JSON each way. One
// goroutine at a time gives them.
type child struct {
	name    string
	cmd     *exec.Cmd
	in      io.WriteCloser
	said    *json.Decoder
	ended   chan struct{} // closed when the process has ended and err is set
	err     error
	reaping sync.WaitGroup
}

// order is what a child is told to do.
type order struct {
	Do   string          `json:"do"`
	With json.RawMessage `json:"with,omitempty"`
}

// answered is what it says to that.
type answered struct {
	Error string          `json:"error,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// childPatience is how long a child may take to end once its input is closed.
const childPatience = 30 * time.Second

// startChild starts this program with a verb, and reads what it says first into hello.
func startChild(ctx context.Context, name string, hello any, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{name: name, cmd: exec.Command(self, args...), ended: make(chan struct{})}
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	// Not the command's own pipe: waiting for the end of the process would close that under
	// the one who reads it.
	out, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.cmd.Stdout = theirs
	c.said = json.NewDecoder(out)
	err = c.cmd.Start()
	theirs.Close()
	if err != nil {
		out.Close()
		return nil, err
	}
	c.reaping.Go(func() {
		c.err = c.cmd.Wait()
		close(c.ended)
	})
	if err := c.hear(ctx, hello); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), c.kill())
	}
	return c, nil
}

// ask gives an order and reads what is said to it; with and value may be nil. A child that
// does not answer before ctx ends is killed: nobody would know any more what its next word
// answers.
func (c *child) ask(ctx context.Context, do string, with, value any) error {
	o := order{Do: do}
	var err error
	if with != nil {
		if o.With, err = json.Marshal(with); err != nil {
			return fmt.Errorf("%s: %s: %w", c.name, do, err)
		}
	}
	line, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("%s: %s: %w", c.name, do, err)
	}
	if _, err := c.in.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("%s: %s: %w", c.name, do, err)
	}
	if err := c.hear(ctx, value); err != nil {
		return fmt.Errorf("%s: %s: %w", c.name, do, err)
	}
	return nil
}

func (c *child) hear(ctx context.Context, value any) error {
	stop := context.AfterFunc(ctx, func() { _ = c.cmd.Process.Kill() }) // it may have ended
	defer stop()
	var a answered
	if err := c.said.Decode(&a); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("the process has ended: %w", err)
	}
	if a.Error != "" {
		return errors.New(a.Error)
	}
	if value == nil {
		return nil
	}
	return json.Unmarshal(a.Value, value)
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// stop ends the child by closing its input. One that was told nothing is left to end by
// itself for childPatience.
func (c *child) stop() error {
	err := c.in.Close()
	select {
	case <-c.ended:
	case <-time.After(childPatience):
		return errors.Join(fmt.Errorf("%s still runs after %v", c.name, childPatience), c.kill())
	}
	c.reaping.Wait()
	if c.err != nil {
		err = errors.Join(err, fmt.Errorf("%s: %w", c.name, c.err))
	}
	return err
}

func (c *child) kill() error {
	err := c.cmd.Process.Kill()
	c.reaping.Wait()
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// deed is what a child does for an order.
type deed func(ctx context.Context, with json.RawMessage) (any, error)

// serveOrders says hello, then does what each line of in asks for until in ends.
func serveOrders(ctx context.Context, in io.Reader, out io.Writer, hello any, deeds map[string]deed) error {
	encoder := json.NewEncoder(out)
	say := func(value any, err error) error {
		if err != nil {
			return encoder.Encode(answered{Error: err.Error()})
		}
		b, err := json.Marshal(value)
		if err != nil {
			return err
		}
		return encoder.Encode(answered{Value: b})
	}
	if err := say(hello, nil); err != nil {
		return err
	}
	for orders := json.NewDecoder(in); ; {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var err error
		do, known := deeds[o.Do]
		if !known {
			err = say(nil, fmt.Errorf("no order %q", o.Do))
		} else {
			err = say(do(ctx, o.With))
		}
		if err != nil {
			return err
		}
	}
}

// spareFiles are those a process opens beside its connections.
const spareFiles = 200

// allowFiles sees to it that this process may open so many files. Who starts it may do so
// with a limit below what the system would give.
func allowFiles(connections int) error {
	need := uint64(connections + spareFiles)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Cur >= need {
		return nil
	}
	limit.Cur, limit.Max = need, max(limit.Max, need)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("%d connections need %d open files (ulimit -n): %w", connections, need, err)
	}
	return nil
}
