// Command logagent follows log files on a host and sends their lines to Kafka, steered
// from etcd; the same binary is the console that shows and steers all hosts.
//
//	logagent             the console
//	logagent --attach    the console with the agent of this host
//	logagent --daemon    the agent alone, without a terminal
//	logagent demo        everything embedded, to look at
//
// This package is the only place where the parts are wired together: node.go makes an
// agent of agent, etcdcfg and kafkaout, fleet.go feeds the console's store, and each verb
// has its file. Nothing but the console's renderer writes to the terminal while it runs
// (quiet.go), and nothing asks the terminal anything before (package dumbterm).
package main

import (
	"os"

	"logagent/cmd/logagent/dumbterm"
)

func main() {
	dumbterm.Restore()
	os.Exit(run(app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}, os.Args[1:]))
}
