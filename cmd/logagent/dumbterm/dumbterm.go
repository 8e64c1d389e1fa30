// Package dumbterm keeps libraries from asking the terminal anything before main runs.
//
// bubbletea v1 asks the terminal for its background colour in a package init, in every
// verb of the binary: an escape sequence in a script's output, and five seconds of silence
// on a terminal that does not answer. termenv asks nothing of a terminal called dumb, so
// this package calls it that in its own init, and main gives the name back with Restore.
//
// The order is certain, not luck: Go initialises, again and again, the package with the
// smallest import path among those whose imports are initialised. This package imports
// nothing but syscall and sorts before os; whatever asks a terminal needs os first.
package dumbterm

import "syscall"

// before holds TERM as the process was started with it.
type before struct {
	term string
	set  bool
}

var saved before

func init() {
	saved.term, saved.set = syscall.Getenv("TERM")
	if saved.set {
		_ = syscall.Setenv("TERM", "dumb")
	}
}

// Restore gives TERM back. main calls it first, before anything draws or starts a child.
func Restore() {
	if saved.set {
		_ = syscall.Setenv("TERM", saved.term)
	}
}
