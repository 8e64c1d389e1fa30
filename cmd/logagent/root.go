package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"logagent/ui"
)

// Exit codes.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2
	exitDiffers = 3 // only where --exit-code asks for it
)

// app is what the verbs share: where they read and write, and the flags of all of them.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string

	config string // --config
	json   bool   // --json, of the verbs that have it
}

// usageError is a command line that means nothing: exit 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errSaid ends a verb with exit 1 that has already said on its output what is wrong.
var errSaid = errors.New("failed")

// errDiffers ends a verb with exit 3: it was asked to tell a difference so.
var errDiffers = errors.New("there are differences")

// run is the whole program; it returns the exit code.
func run(a app, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.Execute()
	var wrong usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &wrong):
		fmt.Fprintf(a.stderr, "logagent: %v\nlogagent --help tells what there is\n", err)
		return exitUsage
	case errors.Is(err, errDiffers):
		return exitDiffers
	case errors.Is(err, errSaid), errors.Is(err, ui.ErrStalled): // the latter can't be said: the terminal takes nothing
		return exitFailed
	default:
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintf(a.stderr, "logagent: %s\n", line)
		}
		return exitFailed
	}
}

// root is the command line.
func (a *app) root() *cobra.Command {
	var attach, daemon bool
	var flags consoleFlags
	root := &cobra.Command{
		Use:   "logagent",
		Short: "Send the lines of log files to Kafka, and see and steer all hosts that do",
		Long: `Without a verb: the console, over all hosts.

Agents on every host follow log files and send their lines to Kafka; what each of them
follows, and how fast, lives in etcd. The console shows all hosts and changes any of them.

Exit code: 0 done, 1 failed, 2 wrong usage; 3 where --exit-code asks to tell differences so.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("%q is no verb", args[0])
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error {
			switch err := flags.check(); {
			case err != nil:
				return err
			case attach && daemon:
				return usage("--attach and --daemon exclude each other")
			case daemon && flags.readOnly:
				return usage("--read-only is for the console; --daemon has none")
			case daemon:
				return a.daemon()
			case attach:
				return a.attach(flags)
			default:
				return a.console(flags)
			}
		},
	}
	root.PersistentFlags().StringVar(&a.config, "config", "", "configuration `PATH` (default "+configHere+", then "+configSystem+")")
	root.Flags().BoolVar(&attach, "attach", false, "with the agent of this host: join the running one, else run it inside")
	root.Flags().BoolVar(&daemon, "daemon", false, "the agent alone, without a terminal")
	flags.add(root.Flags())
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(a.demoVerb(), a.configVerb(), a.statusVerb(), a.hostsVerb(), a.seekVerb(), a.checkVerb(), a.tailVerb(), a.versionVerb())
	return root
}

// jsonFlag gives a verb its --json.
func (a *app) jsonFlag(c *cobra.Command) *cobra.Command {
	c.Flags().BoolVar(&a.json, "json", false, "write JSON; errors stay text on standard error")
	return c
}

// args makes the wrong number of arguments wrong usage.
func args(least, most int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, got []string) error {
		if len(got) < least || len(got) > most {
			return usage("%s", what)
		}
		return nil
	}
}

// writeJSON writes one indented value.
func (a *app) writeJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// settings loads the configuration and says its warnings on stderr.
func (a *app) settings() (settings, error) {
	path, err := findConfig(a.config)
	if err != nil {
		return settings{}, err
	}
	s, warnings, err := loadSettings(path, a.getenv)
	for _, w := range warnings {
		fmt.Fprintf(a.stderr, "logagent: warning: %s\n", w)
	}
	s.warnings = warnings
	return s, err
}
