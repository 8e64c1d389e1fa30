package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports are taken from below the range the kernel gives to outgoing connections
// (32768 and up on Linux). Above it, while a stopped server's port is free, any outgoing
// connection of the machine may be given that port, and a client that keeps dialling it
// may even be connected to itself: the server could then not come back on its address.
const (
	firstPort = 12000
	lastPort  = 32000
)

// freePort returns a loopback port nobody listens on.
func freePort() (int, error) {
	var errs []error
	for range 50 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if err := ln.Close(); err != nil {
			return 0, fmt.Errorf("give back port %d: %w", port, err)
		}
		return port, nil
	}
	return 0, fmt.Errorf("no free port between %d and %d: %w", firstPort, lastPort, errors.Join(errs...))
}
