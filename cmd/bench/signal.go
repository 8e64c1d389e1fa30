package main

import (
	"context"
	"os/signal"
	"syscall"
)

// withTermination returns a context that also ends with SIGTERM.
func withTermination(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, syscall.SIGTERM)
}
