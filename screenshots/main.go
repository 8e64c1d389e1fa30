// Command screenshots makes the pictures of the documentation from the real program: it
// runs `logagent demo` on a terminal in memory, types the keys of a script, waits for what
// the screen must show, and paints the cells into PNG files. The text of each picture is
// kept beside it, and the change of a rate is filmed. A screen that does not come is an error, so a picture never shows
// something else than its name says.
//
//	go run ./screenshots [-out DIR] [-binary FILE] [-settle 150s] [-seed 1]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"image/png"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"logagent/internal/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "screenshots:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("screenshots", flag.ContinueOnError)
	out := flags.String("out", "screenshots", "folder for the pictures")
	binary := flags.String("binary", "", "program to run; built from ./cmd/logagent when empty")
	settle := flags.Duration("settle", 150*time.Second, "how long the demo runs before the first picture, so that graphs have a shape")
	seed := flags.Int("seed", 1, "seed of the demo's logs")
	if err := flags.Parse(args); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "logagent-screenshots-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work) // a temporary folder that stays is no reason to fail
	if *binary == "" {
		*binary = filepath.Join(work, "logagent")
		build := exec.CommandContext(ctx, "go", "build", "-o", *binary, "./cmd/logagent")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build logagent: %w", err)
		}
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	p, err := newPainter(darkPalette())
	if err != nil {
		return err
	}
	studio := &studio{out: *out, painter: p, film: newFilm()}
	if err := studio.play(ctx, *binary, *seed, script(*settle)); err != nil {
		return err
	}
	if err := studio.film.save(filepath.Join(*out, "rate.gif")); err != nil {
		return err
	}
	if runes := p.missing(); len(runes) > 0 {
		return fmt.Errorf("characters without a picture: %q", runes)
	}
	return nil
}

// studio plays scripts and keeps their pictures.
type studio struct {
	out     string
	painter *painter
	film    *film
}

// play runs the demo and goes through the script.
func (s *studio) play(ctx context.Context, binary string, seed int, script []step) (err error) {
	cmd := exec.Command(binary, "demo", "--seed", fmt.Sprint(seed))
	t, err := term.Start(cmd, pictureCols, pictureRows)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	for _, step := range script {
		if err := s.step(ctx, t, step); err != nil {
			return errors.Join(fmt.Errorf("step %q: %w", step.what, err), end(ctx, t))
		}
	}
	return end(ctx, t)
}

// end lets the demo put away what it has on disk.
func end(ctx context.Context, t *term.Terminal) error {
	if err := t.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("end the demo: %w", err)
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTimeout)
	defer cancel()
	if err := t.WaitExit(limited); err != nil {
		return fmt.Errorf("end the demo: %w", err)
	}
	return nil
}

func (s *studio) step(ctx context.Context, t *term.Terminal, step step) error {
	if step.cols > 0 {
		if err := t.Resize(step.cols, step.rows); err != nil {
			return err
		}
	}
	if err := t.Type(step.keys...); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	if err := s.await(limited, t, step); err != nil {
		return err
	}
	if err := s.settle(ctx, t, step); err != nil {
		return err
	}
	if step.picture == "" {
		return nil
	}
	return s.keep(step.picture, t.Screen())
}

// await waits for what the step wants, filming if it is to be filmed.
func (s *studio) await(ctx context.Context, t *term.Terminal, step step) error {
	what := fmt.Sprintf("all of %q", step.want)
	if !step.film {
		return t.Wait(ctx, what, step.shown)
	}
	for {
		s.film.add(s.painter.paint(t.Screen()))
		frame, cancel := context.WithTimeout(ctx, filmEvery)
		err := t.Wait(frame, what, step.shown)
		again := err != nil && frame.Err() != nil && ctx.Err() == nil
		cancel()
		if !again {
			return err
		}
	}
}

// settle waits as long as the step asks for, filming if it is to be filmed.
func (s *studio) settle(ctx context.Context, t *term.Terminal, step step) error {
	if step.settle == 0 {
		return nil
	}
	over := time.After(step.settle)
	frame := time.NewTicker(filmEvery)
	defer frame.Stop()
	for {
		if step.film {
			s.film.add(s.painter.paint(t.Screen()))
		}
		select {
		case <-frame.C:
		case <-over:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// keep writes the picture and the text of a screen.
func (s *studio) keep(name string, screen term.Screen) error {
	path := filepath.Join(s.out, name)
	if err := os.WriteFile(path+".txt", []byte(screen.Text()), 0o644); err != nil {
		return err
	}
	f, err := os.Create(path + ".png")
	if err != nil {
		return err
	}
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(f, s.painter.paint(screen)); err != nil {
		return errors.Join(fmt.Errorf("encode %s: %w", f.Name(), err), f.Close())
	}
	return f.Close()
}
