package ui

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	tea "github.com/charmbracelet/bubbletea"
)

// ErrStalled is returned when ctx ended and the terminal took no more output, so that it
// could not be restored.
var ErrStalled = errors.New("console: the terminal takes no output; it is left as it is")

// partingTime is how long an ending program may take to restore the terminal before it is
// killed, and again before it is left alone.
const partingTime = time.Second

// Run shows the console until a key or ctx ends it, and restores the terminal, after a
// panic too. It returns nil when the operator quit or ctx ended. Signals are the caller's:
// SIGTERM and SIGHUP should end ctx. Nothing is printed. When Run returns, all it started
// has ended, provided that Writer and Watcher return when their ctx ends; only with
// ErrStalled a goroutine stays behind in the terminal's write.
func Run(ctx context.Context, o Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if o.Output == nil {
		o.Output = os.Stdout
	}
	w := newWork(ctx)
	a, err := newApp(o, o.Output, w)
	if err != nil {
		return err
	}
	// The program ends by a message when ctx does, and is killed only if that does not
	// help: a killed bubbletea leaves its input reader behind.
	life, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	opts := []tea.ProgramOption{tea.WithContext(life), tea.WithAltScreen(), tea.WithOutput(o.Output), tea.WithoutSignalHandler()}
	if o.Input != nil {
		opts = append(opts, tea.WithInput(o.Input))
	}
	if o.Environ != nil {
		opts = append(opts, tea.WithEnvironment(o.Environ))
	}
	program := tea.NewProgram(a, opts...)
	ended := make(chan error, 1)
	go func() {
		_, err := program.Run()
		ended <- err
	}()
	err = await(ctx, program, kill, ended)
	cancel()
	kill()
	w.wait()
	switch {
	case errors.Is(err, ErrStalled):
		return err
	case a.ending != nil:
		return a.ending
	case err != nil:
		return fmt.Errorf("console: %w", err)
	}
	return nil
}

// await waits for the program, and for a while only once ctx has ended.
func await(ctx context.Context, program *tea.Program, kill func(), ended chan error) error {
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	go program.Quit() // returns at the latest when killed
	select {
	case err := <-ended:
		return err
	case <-time.After(partingTime):
	}
	kill()
	select {
	case <-ended:
		return nil
	case <-time.After(partingTime):
		return ErrStalled
	}
}
